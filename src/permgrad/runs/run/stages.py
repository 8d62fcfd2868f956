"""The five stages of a run. Each reads the files of earlier stages and writes its own."""

from __future__ import annotations

import io
import math
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, by_count, counted, keeping_warnings, listed
from permgrad.base.files import atomic_path, plain, write_json_atomic, write_text_atomic
from permgrad.base.progress import readable
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.base.stored import parse_json
from permgrad.base.versions import versions
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
from permgrad.models.devices import computing_threads
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.image_table import ImageTableModel, image_presets
from permgrad.models.estimators.prepared import EncodedFrame, FitRows, Prepared, encode_training, train_model
from permgrad.models.estimators.presets import Preset, get_preset
from permgrad.models.estimators.settings import (
    TASK_LOSSES,
    FitSettings,
    choose_device,
    device_faults,
    resolve_settings,
)
from permgrad.models.network.summary import TrainingTime, measure_training_time
from permgrad.models.save.saving import load
from permgrad.models.train.checkpoint import epochs_in
from permgrad.models.train.guard import untouched
from permgrad.models.train.learner import Course, EpochWatcher, mean_loss
from permgrad.models.train.rows import Rows
from permgrad.report.sentences import leak_words
from permgrad.runs.commands.report import Look, write_run_report
from permgrad.runs.folder.documents import COLUMNS, DATA, SEGMENTS
from permgrad.runs.folder.folder import RECORD, RunFolder, believed
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import gradients
from permgrad.runs.run.clock import (
    MOST_HELD,
    REPORT,
    ROWS_SEEN,
    SLOW_BASELINE,
    USUAL_EPOCHS,
    Clock,
    TrainingPlan,
    plan_training,
    plan_words,
)
from permgrad.runs.run.dividing import PARTS
from permgrad.runs.run.explaining import expected_explanation, expected_refinement, expected_refits, explain_run
from permgrad.runs.run.images import model_rows
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.judging import compare_parts, find_leaks, judge, score_segments, write_guesses
from permgrad.runs.run.predicting import Predicted, coverage_of, prediction_table, predictions_of

Say = Callable[[str], None]


@dataclass
class RunWork:
    """What stages pass on in memory. What is missing is read from the folder or computed again.

    ``settings`` is for a network of a table alone. ``encoder`` comes with the encoded training rows.
    """

    request: RunRequest
    inputs: Inputs
    folder: RunFolder
    say: Say
    settings: FitSettings | None = None
    encoder: tuple[TableEncoder, npt.NDArray[np.float32]] | None = None
    predicted: dict[str, Predicted] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)

    @cached_property
    def model(self) -> Any:
        """The trained model."""
        return load(self.folder.path / "model", device=self.request.device)

    @property
    def look(self) -> Look:
        """Title and theme of the page: those asked for now, else those of the record."""
        theme = None if self.request.theme == "auto" else self.request.theme
        stored = Look.of(self.folder.record)
        return stored.changed(self.request.title, theme, what_if=self.request.what_if)

    def write_page(self) -> Path:
        """Write the report of what there is so far."""
        return write_run_report(self.folder.path, self.folder.record, model=self.model, look=self.look)

    def predictions(self, part: str) -> Predicted:
        """Return the predictions for the rows of a part."""
        if part not in self.predicted:
            rows, coverage = model_rows(self.inputs.parts[part]), coverage_of(self.model)
            self.predicted[part] = predictions_of(self.model, rows, coverage)
        return self.predicted[part]


# ---- before the stages -----------------------------------------------------------------------------------------------
def check_model_options(request: RunRequest) -> None:
    """Refuse a preset or a device that cannot be used before a table is read."""
    if request.images:
        image_presets.get(request.preset)
        if faults := device_faults(request.device):
            raise faults[0]
        return
    # Whether the preset's loss suits the task is checked with the table, see check_inputs.
    arguments = {"preset": request.preset, "batch_size": request.batch_size, "device": request.device}
    resolve_settings({**arguments, "loss": TASK_LOSSES["classification"][0]}, "classification")


def check_inputs(request: RunRequest, inputs: Inputs) -> FitSettings | None:
    """Refuse options that do not suit the task or the rows. Return the settings of a network of a table alone."""
    classes = len(np.unique(inputs.parts["train"].y)) if inputs.task == "classification" else 0
    if request.cost is not None and classes != 2:
        fact = f"the training rows of {inputs.target!r} hold {classes} class{'es' * (classes != 1)}"
        fact = fact if classes else f"{inputs.target!r} is a number"
        raise InputError(
            f"--cost needs a target of two classes, but {fact}",
            hint="Leave --cost out, or choose another --target.",
            code="PG004",
        )
    validation_rows(inputs)
    if request.images:
        return None
    return resolve_settings(make_estimator(request, inputs, None).get_params(deep=False), inputs.task)


def rehearse(request: RunRequest, inputs: Inputs) -> None:
    """Do all steps that could be refused up to the first training step and to predictions of test rows.

    This takes about as long as the layout, so it is done only before another run is removed.
    """
    train = inputs.parts["train"]
    # Its warnings are shown when the step is really done.
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
    """Return the validation rows whose class is also in the training rows. Others cannot stop the training."""
    part, learned = inputs.parts["validation"], inputs.learned
    if not learned.any():
        raise InputError(
            "No validation row has a class of the training rows",
            hint="Pass another --validation file, or another --split-seed.",
            code="PG018",
        )
    return part.X[learned], part.y[learned]


# ---- data ------------------------------------------------------------------------------------------------------------
def data_stage(work: RunWork) -> None:
    """Write the types of the columns and the split."""
    inputs, folder, request = work.inputs, work.folder.path, work.request
    for line in inputs.shown.to_text(most=40).splitlines():
        work.say(f"  {line}")
    for note in inputs.notes:
        work.say(f"note: {note}")
    leaks = find_leaks(inputs)
    if leaks:
        work.say(f"ALARM: {leak_words(inputs.target, leaks)}")
    same = "target", "task", "task_reason", "split", "shared_rows", "blank_rows", "alike_rows", "variables", "units"
    content: dict[str, Any] = {
        "table": inputs.name,
        **{name: getattr(inputs, name) for name in (*same, "decimals", "texts", "notes")},
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
    write_json_atomic(folder / DATA, content)
    write_json_atomic(folder / COLUMNS, compare_parts(inputs))
    with atomic_path(folder / "split.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{part: inputs.parts[part].rows for part in PARTS})  # type: ignore[arg-type]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    device = choose_device(request.device) if work.settings is None else work.settings.device
    threads = computing_threads()
    machine += f", {counted(threads, 'thread')}, device {device}"
    # Paths that are valid from any folder, or names of data sets.
    files = {"table": request.table, "test": request.test}
    sources = {
        role: os.fspath(path) if path in list_datasets() else os.fspath(Path(path).absolute())
        for role, path in files.items()
        if path is not None
    }
    work.folder.record["facts"].update(
        plain({"versions": versions(), "machine": machine, "threads": threads, "sources": sources})
    )


# ---- layout ----------------------------------------------------------------------------------------------------------
def layout_stage(work: RunWork) -> None:
    """Place the encoded columns on the pixel grid, and draw the grid. Tables with images need no layout."""
    if work.request.images:
        files = {name: len(set(paths)) for name, paths in work.inputs.parts["train"].images.items()}
        work.say("  images are given: " + ", ".join(f"{name} ({n:,} training files)" for name, n in files.items()))
        return
    from matplotlib import rc_context

    work.encoder = fit_encoder(make_estimator(work.request, work.inputs, None), work.inputs, work.settings)
    layout, names = place_columns(*work.encoder, get_preset(work.request.preset), work.request.seed)
    if layout.pixels > 20:
        work.say(f"note: the image has {layout.pixels} × {layout.pixels} pixels, to hold {len(names)} columns")
    stream = io.StringIO()
    # Equal layouts give equal bytes. Letters are text.
    with rc_context({"svg.hashsalt": "permgrad", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}):
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
    # The seed that the estimator would use, so that a run equals a fit in Python with the same random_state.
    layout_seed = derive_seed(resolve_seed(seed), "layout") % 2**31
    names = list(encoder.encoded_names_)
    return fit_layout(make_layout(preset.layout, 20, layout_seed), encoded, names, layout_seed), names


# ---- model -----------------------------------------------------------------------------------------------------------
def model_stage(work: RunWork) -> None:
    """Train the network, evaluate it on validation and test rows, and train the baselines if requested."""
    work.folder.checkpoint.mkdir(exist_ok=True)
    # Warnings on columns were shown in the data stage.
    with told_of_columns():
        work.model = fit_on_images(work) if work.request.images else fit_on_table(work)
    work.model.save(work.folder.path / "model", overwrite=True)
    write_measures(work)
    if count := int((~work.inputs.learned).sum()):
        rows = f"{counted(count, 'validation row')} {by_count(count, 'has', 'have')} a class that no training row has"
        work.say(f"note: {rows}; {by_count(count, 'it is', 'they are')} not used to stop the training")


def fit_on_table(work: RunWork) -> Any:
    """Return the trained network of a table. Only validation rows of known classes stop the training."""
    with believed(work.folder.path):
        layout = StoredLayout.from_dict(parse_json((work.folder.path / "layout.json").read_bytes()))
    parts, model = work.inputs.parts, make_estimator(work.request, work.inputs, layout)
    encoder, encoded = work.encoder or fit_encoder(model, work.inputs, work.settings)
    validation, test = (EncodedFrame.of(parts[part].X, encoder) for part in PARTS[1:])
    parts["validation"].X, parts["test"].X = validation, test
    train, learned = FitRows(encoded, parts["train"].y, np.ones(len(encoded))), work.inputs.learned
    held = FitRows(validation.encoded[learned], parts["validation"].y[learned], np.ones(learned.sum()))
    done = say_resumed(work)
    baselines = say_baselines(work)
    settings = work.settings or resolve_settings(model.get_params(deep=False), work.inputs.task)
    rows = (encoder, train, _judged(work, held), replace(settings, layout=layout))
    with untouched():
        ready, watch = _planned(work, model, rows, done, baselines)
        with work.clock.whole.part("training"):
            model._train(ready, work.folder.checkpoint, watch)  # noqa: SLF001 — see docs/architecture.md
    work.folder.record["facts"]["time"] = work.clock.facts()
    return model


def _judged(work: RunWork, held: FitRows) -> FitRows:
    """Return the validation rows by which epochs are compared: of very many a random part."""
    if work.clock.thorough or len(held.y) <= MOST_HELD:
        return held
    drawn = generator(work.request.seed, "rows that judge").permutation(len(held.y))[:MOST_HELD]
    return _some_rows(held, np.sort(drawn))


def _some_rows(rows: FitRows, chosen: npt.NDArray[np.int64]) -> FitRows:
    return FitRows(rows.x[chosen], rows.y[chosen], rows.weights[chosen])


def _planned(
    work: RunWork, model: Any, prepared: tuple[TableEncoder, FitRows, FitRows, FitSettings], done: int, baselines: float
) -> tuple[Prepared, EpochWatcher]:
    """Plan the rest of the run on a table. Return what is ready for training, and what watches its epochs."""
    encoder, train, held, settings = prepared
    ready = model._prepare_encoded(encoder, train, held, settings)  # noqa: SLF001 — see docs/architecture.md
    plan, watch = _plan(work, ready, len(encoder.features()), done, baselines)
    if plan.rows < len(train.y):
        train = _some_rows(train, _rows_in_time(work, train.y, plan.rows))
    if (plan.epochs, plan.rows) != (ready.course.options.max_epochs, len(ready.course.train_rows)):
        settings = replace(settings, training=replace(settings.training, max_epochs=plan.epochs))
        ready = model._prepare_encoded(encoder, train, held, settings)  # noqa: SLF001 — as above
    return ready, watch


def _rows_in_time(work: RunWork, y: npt.NDArray[Any], rows: int) -> npt.NDArray[np.int64]:
    """Draw so many training rows. Every class is learned."""
    drawn = generator(work.request.seed, "rows in time").permutation(len(y))[:rows]
    if work.inputs.task == "classification":
        drawn = np.union1d(drawn, np.unique(y, return_index=True)[1])
    return np.sort(drawn)


def _plan(
    work: RunWork, ready: Prepared, features: int, done: int, baselines: float
) -> tuple[TrainingPlan, EpochWatcher]:
    """Plan the rest of the run, and say so. Return the plan of the training, and what watches its epochs."""
    clock, facts, rows = work.clock, work.folder.record["facts"], len(ready.course.train_rows)
    measured = measure_training_time(ready.course, ready.device)
    clock.per_row = measured.seconds_per_epoch / rows
    explanation = expected_explanation(work, features)
    # Baselines that were asked for count where a limit was asked for.
    reserved = explanation + REPORT + (baselines if work.request.time_limit is not None else 0.0)
    plan = TrainingPlan(**facts["training"]) if done and "training" in facts else None
    if plan is None:
        usual = work.request.preset == "default" and not (clock.thorough or work.request.images)
        seconds = max(clock.left() - reserved, 0.1 * clock.left())
        plan = plan_training(ready.course.options, rows, measured, seconds, most_seen=ROWS_SEEN if usual else math.inf)
        facts["training"] = asdict(plan)
        write_json_atomic(work.folder.path / RECORD, work.folder.record)
    if plan.cut:
        clock.cut.append(plan.cut)
    per_epoch = clock.per_row * plan.rows
    left = TrainingTime(per_epoch, per_epoch * plan.epochs, plan.epochs).after(done)
    expected = {"training": per_epoch * min(left.epochs_at_most, USUAL_EPOCHS)}
    expected |= {"baselines": baselines} if baselines else {}
    refinement = expected_refinement(work, features)
    refits = expected_refits(work, expected["training"])
    expected |= {"explanation": explanation, **({"refinement": refinement} if refinement else {}), "report": REPORT}
    expected |= {"refits": refits} if refits else {}
    work.say(f"  {plan_words(left, expected, clock.limit + refits)}")
    clock.whole.expect(**expected)
    options = replace(ready.course.options, max_epochs=plan.epochs)
    until = clock.started + clock.limit - reserved
    return plan, clock.watch(options, per_epoch, until, _constant_loss(ready.course))


def _constant_loss(course: Course) -> float:
    """Return the validation loss of a constant prediction: how frequent the classes are, or the mean."""
    held = cast("Rows", course.validation_rows)
    outputs = held.y.mean()[None] if held.y.is_floating_point() else torch.bincount(held.y, held.weight).log()
    return mean_loss(outputs.expand(len(held), -1), held, course.options.loss)


def fit_on_images(work: RunWork) -> Any:
    """Return the trained network of a table and its images."""
    model = make_estimator(work.request, work.inputs, None)
    done = say_resumed(work)
    baselines = say_baselines(work)
    train, held = (model_rows(work.inputs.parts[part]) for part in ("train", "validation"))
    with untouched():
        ready = model._prepare(train, held)  # noqa: SLF001 — see docs/architecture.md
        plan, watch = _plan(work, ready, len(model.groups_), done, baselines)
        course = replace(ready.course, options=replace(ready.course.options, max_epochs=plan.epochs))
        if plan.rows < len(train):
            drawn = torch.from_numpy(_rows_in_time(work, train.y, plan.rows))
            course = replace(course, train_rows=cast("Rows", course.train_rows).take(drawn))
        with work.clock.whole.part("training"):
            train_model(model, replace(ready, course=course), work.folder.checkpoint, watch)
    work.folder.record["facts"]["time"] = work.clock.facts()
    for image in model.images_:
        colours = "colour" if image.channels == 3 else "grey"
        work.say(f"  images of {image.name!r}: {image.height} × {image.width} pixels, {colours}")
    if work.request.wanted_baselines:
        # Compared with models of the table alone, this shows what the images add.
        work.say("  baselines use the table only")
    return model


def say_resumed(work: RunWork) -> int:
    """Report from which epoch an interrupted training resumes. Return the number of finished epochs."""
    done = epochs_in(work.folder.checkpoint)
    if done:
        work.say(f"  training resumes from epoch {done + 1}: {counted(done, 'epoch')} were done before")
    return done


def say_baselines(work: RunWork) -> float:
    """Report about how long the baselines will take, and which cannot be trained here and why. Return the seconds."""
    train, request = work.inputs.parts["train"], work.request
    reasons = {name: why_absent(name) for name in request.wanted_baselines}
    for name, why in reasons.items():
        if why:
            work.say(f"note: {name} is left out, because {why}")
    names = [name for name, why in reasons.items() if not why]
    quick, seconds = [name for name in names if not competitors.get(name).costly], 0.0
    if quick:
        rows = CompetitorRows(work.inputs.standard_encoder.transform(train.X), train.y)
        seconds = estimate_seconds(work.inputs.task, rows, quick, seed=request.seed, threads=computing_threads())
        work.say(f"  baselines: about {readable(seconds)} for {listed(quick)}")
    if slow := [name for name in names if name not in quick]:
        work.say(f"  baselines: minutes for {listed(slow)}")
    return seconds + SLOW_BASELINE * len(slow)


def write_measures(work: RunWork) -> None:
    """Evaluate the network on validation and test rows, train the baselines if requested, and write the metrics."""
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
    with work.clock.whole.part("baselines"):
        metrics["baselines"] = _fit_baselines(work, guesses) if request.wanted_baselines else {}
    if guesses:
        write_guesses(work.folder.path, inputs, classes, guesses)
    judge(metrics, inputs, classes, predicted["test"], guesses, seed=request.seed)
    leads = not request.images and gradients.leads(request.preset)
    if len(classes) == 2 and (leads or request.cost is not None):
        cuts = gradients.cuts(model, inputs, request.cost)
        metrics |= {} if cuts is None else {"cuts": cuts}
    test = parts["test"]
    with atomic_path(work.folder.path / "predictions.csv") as temporary:
        write_csv(prediction_table(test.rows, test.identifiers, predicted["test"], model, truth=test.y), temporary)
    write_json_atomic(work.folder.path / SEGMENTS, score_segments(inputs, classes, predicted["test"]))
    write_json_atomic(work.folder.path / "metrics.json", metrics)


def _fit_baselines(work: RunWork, guesses: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Train baselines on the rows of the network. Some of them read categories as categories."""
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
        threads=computing_threads(),
        positive=inputs.positive,
        guesses=guesses,
    )


def report_stage(work: RunWork) -> None:
    """Write the page, and keep its title and theme in the record."""
    record = work.folder.record
    # What was cut from a training of an earlier session stays.
    earlier = [words for words in record["facts"].get("time", {}).get("cut", ()) if words.startswith("training")]
    work.clock.cut = list(dict.fromkeys([*earlier, *work.clock.cut]))
    record["facts"] |= {"page": asdict(work.look), "time": work.clock.facts()}
    for words in work.clock.cut:
        work.say(f"note: the time limit cut the {words}")
    with work.clock.whole.part("report"):
        work.write_page()


STAGE_WORK: dict[str, Callable[[RunWork], Any]] = {
    "data": data_stage,
    "layout": layout_stage,
    "model": model_stage,
    "explanation": explain_run,
    "report": report_stage,
}
