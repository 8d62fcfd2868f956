"""The five stages of a run. Each takes what earlier stages left in the folder, and leaves its own files there."""

from __future__ import annotations

import io
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, by_count, counted, keeping_warnings, listed
from permgrad.base.files import atomic_path, plain, write_json_atomic, write_text_atomic
from permgrad.base.random import derive_seed, resolve_seed
from permgrad.base.stored import parse_json
from permgrad.data.read.whole_numbers import without_points
from permgrad.data.types.column_notes import told_of_columns
from permgrad.runs.commands.report import write_run_report
from permgrad.runs.folder.documents import DATA, read_json
from permgrad.runs.folder.folder import RunFolder, believed
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import gradients
from permgrad.runs.run.dividing import PARTS
from permgrad.runs.run.explaining import explain_run
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.judging import find_leaks, judge, leak_words, write_guesses
from permgrad.runs.run.own_rows import sources

if TYPE_CHECKING:
    from permgrad.models.estimators.presets import Preset

Say = Callable[[str], None]


@dataclass
class Work:
    """What stages hand on in memory; what is missing is read from the folder."""

    request: RunRequest
    inputs: Inputs
    folder: RunFolder
    say: Say
    model: Any = None
    notes: list[str] = field(default_factory=list)

    def load_model(self) -> Any:
        """Return the trained model."""
        if self.model is None:
            from permgrad.models.save.saving import load

            self.model = load(self.folder / "model", device=self.request.device)
        return self.model


# ---- data ------------------------------------------------------------------------------------------------------------
def data_stage(work: Work) -> None:
    """Write what the table is taken for and how it is split."""
    inputs, folder = work.inputs, work.folder
    for line in inputs.shown.to_text(most=40).splitlines():
        work.say(f"  {line}")
    for note in inputs.notes:
        work.say(f"note: {note}")
    leaks = find_leaks(inputs)
    if leaks:
        work.say(f"ALARM: {leak_words(inputs.target, leaks)}")
    counts = {part: len(inputs.parts[part].X) for part in PARTS}
    content: dict[str, Any] = {
        "table": inputs.name,
        "target": inputs.target,
        "task": inputs.task,
        "task_reason": inputs.task_reason,
        "rows": counts,
        "split": inputs.split,
        "shared_rows": inputs.shared_rows,
        "alike_rows": inputs.alike_rows,
        "columns": inputs.columns.to_dict(orient="records"),
        "identifiers": list(work.request.identifier),
        "variables": inputs.variables,
        "na_codes": list(inputs.na_codes),
        "decimals": inputs.decimals,
        "units": inputs.units,
        "texts": inputs.texts,
        "not_na": list(work.request.kept_texts),
        "notes": inputs.notes,
        "leaks": leaks,
        "card": None if inputs.card is None else inputs.card.to_dict(),
        "class_counts": None,
        "positive": plain(inputs.positive),
    }
    if inputs.task == "classification":
        tables = {part: pd.Series(inputs.parts[part].y).value_counts() for part in PARTS}
        classes = np.unique(np.concatenate([inputs.parts[part].y for part in PARTS]))
        content["class_counts"] = {
            str(label): {part: int(tables[part].get(label, 0)) for part in PARTS} for label in classes.tolist()
        }
    write_json_atomic(folder / "data.json", content)
    with atomic_path(folder / "split.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{part: inputs.parts[part].rows for part in PARTS})  # type: ignore[arg-type]
    folder.note(versions=versions(), machine=machine(work.request), sources=sources(work.request))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter for the result."""
    from importlib.metadata import PackageNotFoundError, version

    from permgrad import __version__

    found = {"permgrad": __version__, "python": platform.python_version()}
    for package in ("numpy", "pandas", "scikit-learn", "torch", "lightning", "matplotlib", "lightgbm", "xgboost"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine(request: RunRequest) -> str:
    """Say in a few words what the run is computed on."""
    import torch

    from permgrad.models.estimators.settings import choose_device

    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}"
    device = choose_device(request.device)
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {threads}, device {device}"


# ---- layout ----------------------------------------------------------------------------------------------------------
def layout_stage(work: Work) -> None:
    """Place the encoded columns on the pixel grid, and draw where they are."""
    from matplotlib import rc_context

    from permgrad.imaging import draw_layout, layout_to_dict
    from permgrad.models.estimators.presets import get_preset

    layout, names = place_columns(work.inputs, get_preset(work.request.preset), work.request.seed)
    if layout.pixels > 20:
        work.say(f"note: the image has grown to {layout.pixels} × {layout.pixels} pixels for {len(names)} columns")
    stream = io.StringIO()
    # The same layout gives the same bytes.
    with rc_context({"svg.hashsalt": "permgrad"}):
        draw_layout(layout, names).savefig(stream, format="svg", metadata={"Date": None})
    write_text_atomic(work.folder / "layout.svg", stream.getvalue())
    write_json_atomic(work.folder / "layout.json", {**layout_to_dict(layout), "columns": names})


def place_columns(inputs: Inputs, preset: Preset, seed: int) -> tuple[Any, list[str]]:
    """Return the fitted layout of the encoded training columns, and their names.

    Raises:
        InputError: No column varies.
    """
    from permgrad.data.encode.encoding import TableEncoder
    from permgrad.imaging import fit_layout, make_layout

    numeric: Any = preset.numeric
    encoder = TableEncoder(numeric, **inputs.encoder_options)
    encoded = encoder.fit_transform(inputs.parts["train"].X)
    if encoded.shape[1] == 0:
        raise InputError(
            "a table must have a column that varies and is no identifier, however: among the training rows none does; "
            "add columns, or check --na"
        )
    # The seed that the estimator would use itself, so that a run equals a fit in Python with the same random_state.
    own_seed = derive_seed(resolve_seed(seed), "layout") % 2**31
    names = list(encoder.encoded_names_)
    return fit_layout(make_layout(preset.layout, 20, own_seed), encoded, names, own_seed), names


def stored_layout(work: Work) -> Any:
    """Return the layout of the layout stage."""
    from permgrad.imaging import StoredLayout

    with believed(work.folder.path):
        return StoredLayout.from_dict(parse_json((work.folder / "layout.json").read_bytes()))


# ---- model -----------------------------------------------------------------------------------------------------------
def model_stage(work: Work) -> None:
    """Train the network, measure it on validation and test rows, and train the baselines if asked for."""
    inputs, request = work.inputs, work.request
    train = inputs.parts["train"]
    model = make_estimator(request, inputs, stored_layout(work))
    held = validation_rows(inputs)
    work.folder.checkpoint.mkdir(exist_ok=True)
    # The notes of the data stage have said what there is to say of columns.
    with told_of_columns():
        done = say_resumed(work)
        work.say(f"  training: {model.estimate_training_time(train.X, train.y, eval_set=held).after(done)}")
        say_baselines(work)
        model._fit(train.X, train.y, eval_set=held, checkpoint_folder=work.folder.checkpoint)  # noqa: SLF001 — see docs/architecture.md
    model.save(work.folder / "model", overwrite=True)
    work.model = model
    write_measures(work)
    say_skipped(work, len(inputs.parts["validation"].y) - len(held[1]))


def say_resumed(work: Work) -> int:
    """Say from which epoch an interrupted training goes on; return how many it has behind it."""
    from permgrad.models.train.checkpoint import epochs_in

    done = epochs_in(work.folder.checkpoint)
    if done:
        work.say(f"  training resumes from epoch {done + 1}: {counted(done, 'epoch')} were done before")
    return done


def say_baselines(work: Work) -> None:
    """Say about how long the baselines will take, and which cannot be trained here and why."""
    from permgrad.base.progress import readable
    from permgrad.data.encode.encoding import TableEncoder
    from permgrad.evaluation.competitors import EncodedRows, competitors, estimate_seconds, why_absent

    train, request = work.inputs.parts["train"], work.request
    for name in request.wanted_baselines:
        if why := why_absent(name):
            work.say(f"note: {name} is left out, because {why}")
    names = [name for name in request.wanted_baselines if competitors.get(name).available()]
    quick = [name for name in names if not competitors.get(name).costly]
    slow = [name for name in names if name not in quick]
    if quick:
        encoded = TableEncoder("standard", **work.inputs.encoder_options).fit_transform(train.X)
        part, threads = EncodedRows(encoded, train.y), request.threads or os.cpu_count() or 1
        seconds = estimate_seconds(work.inputs.task, part, quick, seed=request.seed, threads=threads)
        work.say(f"  baselines: about {readable(seconds)} more for {listed(quick)}")
    if slow:
        work.say(f"  baselines: minutes more for {listed(slow)}")


def say_skipped(work: Work, count: int) -> None:
    """Say how many validation rows had no say in when to stop."""
    if count:
        said = f"{counted(count, 'validation row')} {by_count(count, 'has', 'have')} a class that no training row has"
        work.say(f"note: {said}; {by_count(count, 'it', 'they')} did not stop the training")


def write_measures(work: Work) -> None:
    """Measure the trained network on validation and test rows, train the baselines if asked for, and write it down."""
    inputs, request = work.inputs, work.request
    model = work.load_model()
    with atomic_path(work.folder / "history.csv") as temporary:
        write_csv(model.history_, temporary)
    predicted = {part: predictions_of(model, inputs.parts[part].X) for part in ("validation", "test")}
    metrics = measures(inputs, predicted, model)
    train_baselines(work, model, model.encode, metrics, predicted["test"])
    if len(getattr(model, "classes_", ())) == 2 and (gradients.leads(request.preset) or request.cost is not None):
        metrics["cuts"] = gradients.cuts(model, inputs, request.cost)
    write_predictions(work, predicted["test"])
    write_json_atomic(work.folder / "metrics.json", metrics)


def check_model_options(request: RunRequest) -> None:
    """Refuse a preset or a device that cannot be used, before anything is written.

    Raises:
        InputError: Unknown preset or values in it, or a device that this machine does not have.
    """
    from permgrad.models.estimators.argument_rules import TASK_LOSSES
    from permgrad.models.estimators.hynn import HyNNClassifier
    from permgrad.models.estimators.settings import resolve_settings

    # Which loss the preset may say is known with the table, see check_inputs.
    task = "classification"
    estimator = HyNNClassifier(
        preset=request.preset, batch_size=request.batch_size, device=request.device, loss=TASK_LOSSES[task][0]
    )
    resolve_settings(estimator.get_params(deep=False), task)


def check_inputs(request: RunRequest, inputs: Inputs) -> None:
    """Refuse options that do not go with the task or the rows, before anything is written; takes no time.

    Raises:
        InputError: Costs where there are not two classes, a loss of another task, or validation rows that cannot say
            when to stop.
    """
    from permgrad.models.estimators.settings import resolve_settings

    _check_cost(request, inputs)
    resolve_settings(make_estimator(request, inputs, None).get_params(deep=False), inputs.task)
    validation_rows(inputs)


def _check_cost(request: RunRequest, inputs: Inputs) -> None:
    """Refuse costs where no threshold between two classes can be chosen."""
    if request.cost is None:
        return
    if inputs.task == "regression":
        fact = f"{inputs.target!r} is a number"
    else:
        classes = len(np.unique(inputs.parts["train"].y))
        fact = f"the training rows of {inputs.target!r} hold {classes} class{'es' * (classes != 1)}"
        if classes == 2:
            return
    raise InputError(
        f"--cost must go with a target of two classes, however: {fact}; leave --cost out, or choose another --target"
    )


def rehearse(request: RunRequest, inputs: Inputs) -> None:
    """Do all that can be refused on the way to a training's first step, and to predictions of test rows.

    It takes about as long as the layout, hence only where it comes before another run is removed.

    Raises:
        InputError: The options and the table do not go together.
    """
    from permgrad.models.train.guard import untouched

    model, train = make_estimator(request, inputs, None), inputs.parts["train"]
    # What it warns of is said when it is done in earnest.
    with untouched(), keeping_warnings():
        model._prepare(train.X, train.y, None, validation_rows(inputs))  # noqa: SLF001 — see docs/architecture.md
        model.preprocessor_.transform(inputs.parts["validation"].X)
        model.preprocessor_.transform(inputs.parts["test"].X)


def make_estimator(request: RunRequest, inputs: Inputs, layout: Any, *, preset: Preset | None = None) -> Any:
    """Return the unfitted estimator of a run, or of another ``preset`` than the request names."""
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor

    kind = HyNNClassifier if inputs.task == "classification" else HyNNRegressor
    chosen: Any = request.preset if preset is None else preset
    return kind(
        preset=chosen,
        batch_size=request.batch_size,
        layout=layout,
        random_state=request.seed,
        device=request.device,
        **inputs.encoder_options,
    )


def validation_rows(inputs: Inputs) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Return the validation rows whose class also stands in the training rows: others cannot say when to stop."""
    part = inputs.parts["validation"]
    if inputs.task == "regression":
        return part.X, part.y
    known = np.isin(part.y, inputs.parts["train"].y)
    if not known.any():
        raise InputError(
            "validation rows must hold classes of the training rows, however: none does; "
            "give another --validation file, or another --split-seed"
        )
    return part.X[known], part.y[known]


def predictions_of(model: Any, X: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """Return ``{"prediction": (rows,)}``, for classifiers also ``"probabilities": (rows, classes)``."""
    if not hasattr(model, "classes_"):
        return {"prediction": model.predict(X)}
    probabilities = model.predict_proba(X)
    return {"prediction": model.classes_[probabilities.argmax(axis=1)], "probabilities": probabilities}


def measures(inputs: Inputs, predicted: Mapping[str, Mapping[str, npt.NDArray[Any]]], model: Any) -> dict[str, Any]:
    """Return what ``metrics.json`` says of a model, but for its baselines; ``predicted`` is by part of the split."""
    from permgrad.evaluation.metrics import evaluate
    from permgrad.evaluation.thresholds import never_predicted

    parts = inputs.parts
    found: dict[str, Any] = {"task": inputs.task, "rows": {part: len(parts[part].X) for part in PARTS}}
    if inputs.task == "regression":
        return found | {
            part: evaluate("regression", parts[part].y, predictions=own["prediction"])
            for part, own in predicted.items()
        }
    given = {part: (parts[part].y, own["probabilities"]) for part, own in predicted.items()}
    for part, (y, table) in given.items():
        found[part] = evaluate(
            "classification", y, probabilities=table, classes=model.classes_, positive=inputs.positive
        )
    found["positive"] = plain(inputs.positive)
    found["never_predicted"] = never_predicted(np.asarray(model.classes_), given["validation"], given["test"])
    return found


def train_baselines(
    work: Work,
    model: Any,
    encode: Callable[[pd.DataFrame], Any],
    metrics: dict[str, Any],
    predicted: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Train the baselines that are asked for, and compare the network with them and with a constant.

    Args:
        work: The run; its folder gets what the baselines say of the test rows.
        model: The fitted network.
        encode: Gives the rows that the network sees; some baselines read categories as categories.
        metrics: The content of ``metrics.json`` so far, which gets what is found.
        predicted: What the network says of the test rows.
    """
    inputs, classes = work.inputs, getattr(model, "classes_", np.zeros(0))
    guesses: dict[str, npt.NDArray[Any]] = {}
    metrics["baselines"] = _fit_baselines(work, classes, encode, guesses) if work.request.wanted_baselines else {}
    if guesses:
        write_guesses(work.folder.path, inputs, classes, guesses)
    leaks = read_json(work.folder / DATA).get("leaks", [])
    judge(metrics, inputs, classes, predicted, guesses, leaks=leaks, seed=work.request.seed)


def _fit_baselines(
    work: Work, classes: Any, encode: Callable[[pd.DataFrame], Any], guesses: dict[str, npt.NDArray[Any]]
) -> dict[str, Any]:
    from permgrad.evaluation.competitors import EncodedRows, competitors, natural_table, run_competitors

    inputs, names = work.inputs, work.request.wanted_baselines
    natural: dict[str, pd.DataFrame | None] = dict.fromkeys(inputs.parts)
    if any(competitors.get(name).takes_natural for name in names):
        from permgrad.data.encode.encoding import TableEncoder

        plain = TableEncoder("standard", **inputs.encoder_options)
        plain.fit(inputs.parts["train"].X)
        natural = {part: natural_table(plain, plain.transform(own.X)) for part, own in inputs.parts.items()}
    parts = {part: EncodedRows(encode(own.X), own.y, natural[part]) for part, own in inputs.parts.items()}
    return run_competitors(
        inputs.task,
        parts["train"],
        parts["validation"],
        parts["test"],
        classes=classes,
        names=names,
        seed=work.request.seed,
        threads=work.request.threads or os.cpu_count() or 1,
        progress="auto",
        positive=inputs.positive,
        guesses=guesses,
    )


def write_predictions(work: Work, predicted: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write ``predictions.csv``: one line per test row."""
    part = work.inputs.parts["test"]
    table = prediction_table(part.rows, part.identifiers, predicted, work.model, truth=part.y)
    with atomic_path(work.folder / "predictions.csv") as temporary:
        write_csv(table, temporary)


def identifier_names(identifiers: Sequence[str], model: Any) -> dict[str, str]:
    """Return the names of identifiers among predictions: their own, with ``_`` behind one that predictions have.

    Examples:
        >>> identifier_names(["patient", "prediction"], None)
        {'patient': 'patient', 'prediction': 'prediction_'}
    """
    taken = {"row", "truth", "prediction", *(f"probability_{label}" for label in getattr(model, "classes_", ()))}
    names: dict[str, str] = {}
    for name in identifiers:
        shown = name
        while shown in taken or (shown != name and shown in identifiers):
            shown += "_"
        names[name] = shown
    return names


def prediction_table(
    rows: npt.NDArray[np.int64],
    identifiers: pd.DataFrame,
    predicted: Mapping[str, npt.NDArray[Any]],
    model: Any,
    *,
    truth: npt.NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Return one line per row: its number in the file, identifiers, (truth,) prediction, class probabilities."""
    table = pd.DataFrame({"row": rows})
    for name, shown in identifier_names(list(identifiers.columns), model).items():
        table[shown] = without_points(identifiers[name]).array
    if truth is not None:
        table["truth"] = truth
    table["prediction"] = predicted["prediction"]
    if "probabilities" in predicted:
        for place, label in enumerate(model.classes_.tolist()):
            table[f"probability_{label}"] = predicted["probabilities"][:, place]
    return table


# ---- explanation, report ---------------------------------------------------------------------------------------------
def explanation_stage(work: Work) -> None:
    """Explain the model on the test rows."""
    explain_run(work.load_model(), work.inputs, work.folder.path, seed=work.request.seed, say=work.say)


def report_stage(work: Work) -> None:
    """Write ``report.html`` from the files of the folder."""
    record = dict(work.folder.record)
    write_run_report(work.folder.path, record, model=work.load_model())


STAGE_WORK: dict[str, Callable[[Work], None]] = {
    "data": data_stage,
    "layout": layout_stage,
    "model": model_stage,
    "explanation": explanation_stage,
    "report": report_stage,
}


def use_threads(threads: int | None) -> None:
    """Limit torch to a number of threads, for the whole process."""
    if threads is not None and "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
