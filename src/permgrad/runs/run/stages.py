"""The five stages of a run. Each takes what earlier stages left in the folder, and leaves its own files there."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, by_count, counted, keeping_warnings, listed
from permgrad.base.files import atomic_path, plain, write_json_atomic, write_text_atomic
from permgrad.base.progress import readable
from permgrad.base.random import derive_seed, resolve_seed
from permgrad.base.stored import parse_json
from permgrad.data.datasets import list_datasets
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.column_notes import told_of_columns
from permgrad.evaluation.competitors import (
    CompetitorRows,
    competitors,
    estimate_seconds,
    natural_table,
    run_competitors,
    why_absent,
)
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.thresholds import never_predicted
from permgrad.imaging.layout import StoredLayout, fit_layout, layout_to_dict, make_layout
from permgrad.imaging.picture import draw_layout
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.image_table import ImageTableModel, image_presets
from permgrad.models.estimators.prepared import EncodedFrame, FitRows, encode_training
from permgrad.models.estimators.presets import Preset, get_preset
from permgrad.models.estimators.settings import (
    TASK_LOSSES,
    FitSettings,
    choose_device,
    device_faults,
    resolve_settings,
)
from permgrad.models.network.summary import measure_training_time
from permgrad.models.save.saving import load
from permgrad.models.train.checkpoint import epochs_in
from permgrad.models.train.guard import untouched
from permgrad.runs.commands.report import write_run_report
from permgrad.runs.folder.documents import DATA, read_json
from permgrad.runs.folder.folder import RunFolder, believed
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import gradients
from permgrad.runs.run.dividing import PARTS
from permgrad.runs.run.explaining import explain_run
from permgrad.runs.run.images import model_rows
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.judging import find_leaks, judge, leak_words, write_guesses
from permgrad.runs.run.predicting import Predicted, prediction_table, predictions_of

Say = Callable[[str], None]


@dataclass
class RunWork:
    """What stages hand on in memory; what is missing is read from the folder, or made again.

    The settings are of a network of a table alone; the encoder comes with the training rows that it encoded.
    """

    request: RunRequest
    inputs: Inputs
    folder: RunFolder
    say: Say
    settings: FitSettings | None = None
    encoder: tuple[TableEncoder, npt.NDArray[np.float32]] | None = None
    predicted: dict[str, Predicted] = field(default_factory=dict)

    @cached_property
    def model(self) -> Any:
        """The trained model."""
        return load(self.folder.path / "model", device=self.request.device)

    def predictions(self, part: str) -> Predicted:
        """Return what the model says of the rows of a part."""
        if part not in self.predicted:
            self.predicted[part] = predictions_of(self.model, model_rows(self.inputs.parts[part]))
        return self.predicted[part]


# ---- before the stages -----------------------------------------------------------------------------------------------
def check_model_options(request: RunRequest) -> None:
    """Refuse a preset or a device that cannot be used, before a table is read."""
    if request.images:
        image_presets.get(request.preset)
        if faults := device_faults(request.device):
            raise InputError(faults[0])
        return
    # Which loss the preset may say is known with the table, see check_inputs.
    arguments = {"preset": request.preset, "batch_size": request.batch_size, "device": request.device}
    resolve_settings({**arguments, "loss": TASK_LOSSES["classification"][0]}, "classification")


def check_inputs(request: RunRequest, inputs: Inputs) -> FitSettings | None:
    """Refuse options that do not go with the task or the rows; return the settings of a network of a table alone."""
    classes = len(np.unique(inputs.parts["train"].y)) if inputs.task == "classification" else 0
    if request.cost is not None and classes != 2:
        fact = f"the training rows of {inputs.target!r} hold {classes} class{'es' * (classes != 1)}"
        fact = fact if classes else f"{inputs.target!r} is a number"
        raise InputError(
            f"--cost must go with a target of two classes, however: {fact}; leave --cost out, or choose another "
            "--target"
        )
    validation_rows(inputs)
    if request.images:
        return None
    return resolve_settings(make_estimator(request, inputs, None).get_params(deep=False), inputs.task)


def rehearse(request: RunRequest, inputs: Inputs) -> None:
    """Do all that can be refused on the way to a training's first step, and to predictions of test rows.

    It takes about as long as the layout, hence only where it comes before another run is removed.
    """
    train = inputs.parts["train"]
    # What it warns of is said when it is done in earnest.
    with untouched(), keeping_warnings():
        if request.images:
            encoder = TableEncoder(image_presets.get(request.preset).numeric, **inputs.encoder_options).fit(train.X)
        else:
            model = make_estimator(request, inputs, None)
            model._prepare(train.X, train.y, None, validation_rows(inputs))  # noqa: SLF001 — see docs/architecture.md
            encoder = model.preprocessor_
        for part in PARTS[1:]:
            encoder.transform(inputs.parts[part].X)


def make_estimator(request: RunRequest, inputs: Inputs, layout: Any, *, preset: Preset | None = None) -> Any:
    """Return the unfitted estimator of a run, or of another ``preset`` than the request names."""
    options: dict[str, Any] = {"random_state": request.seed, "device": request.device, **inputs.encoder_options}
    if request.images:
        return ImageTableModel(inputs.task, preset=request.preset, image_size=request.image_size, **options)
    kind = HyNNClassifier if inputs.task == "classification" else HyNNRegressor
    chosen: Any = request.preset if preset is None else preset
    return kind(preset=chosen, batch_size=request.batch_size, layout=layout, **options)


def validation_rows(inputs: Inputs) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Return the validation rows whose class also stands in the training rows: others cannot say when to stop."""
    part, learned = inputs.parts["validation"], inputs.learned
    if not learned.any():
        raise InputError(
            "validation rows must hold classes of the training rows, however: none does; "
            "give another --validation file, or another --split-seed"
        )
    return part.X[learned], part.y[learned]


# ---- data ------------------------------------------------------------------------------------------------------------
def data_stage(work: RunWork) -> None:
    """Write what the table is taken for and how it is split."""
    import torch

    inputs, folder, request = work.inputs, work.folder.path, work.request
    for line in inputs.shown.to_text(most=40).splitlines():
        work.say(f"  {line}")
    for note in inputs.notes:
        work.say(f"note: {note}")
    leaks = find_leaks(inputs)
    if leaks:
        work.say(f"ALARM: {leak_words(inputs.target, leaks)}")
    same = "target", "task", "task_reason", "split", "shared_rows", "alike_rows", "variables", "decimals", "units"
    content: dict[str, Any] = {
        "table": inputs.name,
        **{name: getattr(inputs, name) for name in (*same, "texts", "notes")},
        "rows": {part: len(inputs.parts[part].X) for part in PARTS},
        "columns": inputs.columns.to_dict(orient="records"),
        "identifiers": list(request.identifier),
        "na_codes": list(inputs.na_codes),
        "not_na": list(request.kept_texts),
        "leaks": leaks,
        "card": None if inputs.card is None else inputs.card.to_dict(),
        "class_counts": None,
        "positive": plain(inputs.positive),
    }
    if inputs.task == "classification":
        counts = {part: pd.Series(inputs.parts[part].y).value_counts() for part in PARTS}
        classes = np.unique(np.concatenate([inputs.parts[part].y for part in PARTS])).tolist()
        content["class_counts"] = {
            str(label): {part: int(counts[part].get(label, 0)) for part in PARTS} for label in classes
        }
    write_json_atomic(folder / "data.json", content)
    with atomic_path(folder / "split.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{part: inputs.parts[part].rows for part in PARTS})  # type: ignore[arg-type]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    device = choose_device(request.device) if work.settings is None else work.settings.device
    machine += f", {counted(torch.get_num_threads(), 'thread')}, device {device}"
    # Paths that hold in any folder, or names of data sets.
    files = {"table": request.table, "test": request.test}
    sources = {
        role: os.fspath(path) if path in list_datasets() else os.fspath(Path(path).absolute())
        for role, path in files.items()
        if path is not None
    }
    work.folder.record["facts"].update(plain({"versions": versions(), "machine": machine, "sources": sources}))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter for the result."""
    from importlib.metadata import PackageNotFoundError, version

    from permgrad import __version__

    numbers = {"permgrad": __version__, "python": platform.python_version()}
    for package in ("numpy", "pandas", "scikit-learn", "torch", "matplotlib", "lightgbm", "xgboost"):
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            continue
    return numbers


# ---- layout ----------------------------------------------------------------------------------------------------------
def layout_stage(work: RunWork) -> None:
    """Place the encoded columns on the pixel grid, and draw where they are; images that are given need no layout."""
    if work.request.images:
        files = {name: len(set(paths)) for name, paths in work.inputs.parts["train"].images.items()}
        work.say("  images are given: " + ", ".join(f"{name} ({n:,} training files)" for name, n in files.items()))
        return
    from matplotlib import rc_context

    work.encoder = fit_encoder(make_estimator(work.request, work.inputs, None), work.inputs, work.settings)
    layout, names = place_columns(*work.encoder, get_preset(work.request.preset), work.request.seed)
    if layout.pixels > 20:
        work.say(f"note: the image has grown to {layout.pixels} × {layout.pixels} pixels for {len(names)} columns")
    stream = io.StringIO()
    # The same layout gives the same bytes.
    with rc_context({"svg.hashsalt": "permgrad"}):
        draw_layout(layout, names).savefig(stream, format="svg", metadata={"Date": None})
    write_text_atomic(work.folder.path / "layout.svg", stream.getvalue())
    write_json_atomic(work.folder.path / "layout.json", {**layout_to_dict(layout), "columns": names})


def fit_encoder(
    model: Any, inputs: Inputs, settings: FitSettings | None = None
) -> tuple[TableEncoder, npt.NDArray[np.float32]]:
    """Return the encoder that an estimator would fit on the training rows, and these rows encoded."""
    frame = inputs.parts["train"].X
    settings = resolve_settings(model.get_params(deep=False), inputs.task) if settings is None else settings
    encoder = inputs.fit(model._make_encoder(frame, settings))  # noqa: SLF001 — see docs/architecture.md
    return encoder, encode_training(encoder, frame)


def place_columns(
    encoder: TableEncoder, encoded: npt.NDArray[np.float32], preset: Preset, seed: int
) -> tuple[Any, list[str]]:
    """Return the fitted layout of the encoded training columns, and their names."""
    # The seed that the estimator would use itself, so that a run equals a fit in Python with the same random_state.
    layout_seed = derive_seed(resolve_seed(seed), "layout") % 2**31
    names = list(encoder.encoded_names_)
    return fit_layout(make_layout(preset.layout, 20, layout_seed), encoded, names, layout_seed), names


# ---- model -----------------------------------------------------------------------------------------------------------
def model_stage(work: RunWork) -> None:
    """Train the network, measure it on validation and test rows, and train the baselines if asked for."""
    work.folder.checkpoint.mkdir(exist_ok=True)
    # The notes of the data stage have said what there is to say of columns.
    with told_of_columns():
        work.model = fit_on_images(work) if work.request.images else fit_on_table(work)
    work.model.save(work.folder.path / "model", overwrite=True)
    write_measures(work)
    if count := int((~work.inputs.learned).sum()):
        rows = f"{counted(count, 'validation row')} {by_count(count, 'has', 'have')} a class that no training row has"
        work.say(f"note: {rows}; {by_count(count, 'it', 'they')} did not stop the training")


def fit_on_table(work: RunWork) -> Any:
    """Return the trained network of a table; training stops by the validation rows with classes that it learns."""
    with believed(work.folder.path):
        layout = StoredLayout.from_dict(parse_json((work.folder.path / "layout.json").read_bytes()))
    parts, model = work.inputs.parts, make_estimator(work.request, work.inputs, layout)
    encoder, encoded = work.encoder or fit_encoder(model, work.inputs, work.settings)
    validation, test = (EncodedFrame.of(parts[part].X, encoder) for part in PARTS[1:])
    parts["validation"].X, parts["test"].X = validation, test
    train, learned = FitRows(encoded, parts["train"].y, np.ones(len(encoded))), work.inputs.learned
    held = FitRows(validation.encoded[learned], parts["validation"].y[learned], np.ones(learned.sum()))
    done = say_resumed(work)
    settings = None if work.settings is None else replace(work.settings, layout=layout)
    with untouched():
        ready = model._prepare_encoded(encoder, train, held, settings)  # noqa: SLF001 — see docs/architecture.md
        work.say(f"  training: {measure_training_time(ready.course, ready.device).after(done)}")
        say_baselines(work)
        return model._train(ready, work.folder.checkpoint, None)  # noqa: SLF001 — as above


def fit_on_images(work: RunWork) -> Any:
    """Return the trained network of a table and its images."""
    model = make_estimator(work.request, work.inputs, None)
    say_resumed(work)
    say_baselines(work)
    train, held = (model_rows(work.inputs.parts[part]) for part in ("train", "validation"))
    model.fit(train, held, checkpoint_folder=work.folder.checkpoint)
    for image in model.images_:
        colours = "colour" if image.channels == 3 else "grey"
        work.say(f"  images of {image.name!r}: {image.height} × {image.width} pixels, {colours}")
    if work.request.wanted_baselines:
        # What the images add to the table is seen beside models of the table alone.
        work.say("  baselines see the table alone")
    return model


def say_resumed(work: RunWork) -> int:
    """Say from which epoch an interrupted training goes on; return how many it has behind it."""
    done = epochs_in(work.folder.checkpoint)
    if done:
        work.say(f"  training resumes from epoch {done + 1}: {counted(done, 'epoch')} were done before")
    return done


def say_baselines(work: RunWork) -> None:
    """Say about how long the baselines will take, and which cannot be trained here and why."""
    train, request = work.inputs.parts["train"], work.request
    reasons = {name: why_absent(name) for name in request.wanted_baselines}
    for name, why in reasons.items():
        if why:
            work.say(f"note: {name} is left out, because {why}")
    names = [name for name, why in reasons.items() if not why]
    quick = [name for name in names if not competitors.get(name).costly]
    if quick:
        rows = CompetitorRows(work.inputs.standard_encoder.transform(train.X), train.y)
        threads = request.threads or os.cpu_count() or 1
        seconds = estimate_seconds(work.inputs.task, rows, quick, seed=request.seed, threads=threads)
        work.say(f"  baselines: about {readable(seconds)} more for {listed(quick)}")
    if slow := [name for name in names if name not in quick]:
        work.say(f"  baselines: minutes more for {listed(slow)}")


def write_measures(work: RunWork) -> None:
    """Measure the trained network on validation and test rows, train the baselines if asked for, and write it down."""
    inputs, request, parts = work.inputs, work.request, work.inputs.parts
    model = work.model
    with atomic_path(work.folder.path / "history.csv") as temporary:
        write_csv(model.history_, temporary)
    metrics: dict[str, Any] = {"task": inputs.task, "rows": {part: len(parts[part].X) for part in PARTS}}
    predicted = {part: work.predictions(part) for part in ("validation", "test")}
    classes = getattr(model, "classes_", np.zeros(0))
    for part, says in predicted.items():
        if inputs.task == "regression":
            metrics[part] = evaluate("regression", parts[part].y, predictions=says["prediction"])
        else:
            options = {"classes": classes, "positive": inputs.positive}
            metrics[part] = evaluate("classification", parts[part].y, probabilities=says["probabilities"], **options)
    if inputs.task == "classification":
        pairs = [(parts[part].y, says["probabilities"]) for part, says in predicted.items()]
        metrics |= {"positive": plain(inputs.positive), "never_predicted": never_predicted(classes, *pairs)}
    guesses: dict[str, npt.NDArray[Any]] = {}
    metrics["baselines"] = _fit_baselines(work, guesses) if request.wanted_baselines else {}
    if guesses:
        write_guesses(work.folder.path, inputs, classes, guesses)
    leaks = read_json(work.folder.path / DATA).get("leaks", [])
    judge(metrics, inputs, classes, predicted["test"], guesses, leaks=leaks, seed=request.seed)
    leads = not request.images and gradients.leads(request.preset)
    if len(classes) == 2 and (leads or request.cost is not None):
        cuts = gradients.cuts(model, inputs, request.cost)
        metrics |= {} if cuts is None else {"cuts": cuts}
    test = parts["test"]
    with atomic_path(work.folder.path / "predictions.csv") as temporary:
        write_csv(prediction_table(test.rows, test.identifiers, predicted["test"], model, truth=test.y), temporary)
    write_json_atomic(work.folder.path / "metrics.json", metrics)


def _fit_baselines(work: RunWork, guesses: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Train baselines on the rows that the network sees; some read categories as categories."""
    inputs, names, model = work.inputs, work.request.wanted_baselines, work.model
    natural: dict[str, pd.DataFrame | None] = dict.fromkeys(inputs.parts)
    if any(competitors.get(name).takes_natural for name in names):
        encoder = inputs.standard_encoder
        natural = {part: natural_table(encoder, encoder.transform(rows.X)) for part, rows in inputs.parts.items()}
    encode = model.preprocessor_.transform
    parts = {part: CompetitorRows(encode(rows.X), rows.y, natural[part]) for part, rows in inputs.parts.items()}
    return run_competitors(
        inputs.task,
        parts,
        classes=getattr(model, "classes_", np.zeros(0)),
        names=names,
        seed=work.request.seed,
        threads=work.request.threads or os.cpu_count() or 1,
        positive=inputs.positive,
        guesses=guesses,
    )


STAGE_WORK: dict[str, Callable[[RunWork], Any]] = {
    "data": data_stage,
    "layout": layout_stage,
    "model": model_stage,
    "explanation": explain_run,
    "report": lambda work: write_run_report(work.folder.path, work.folder.record, model=work.model),
}
