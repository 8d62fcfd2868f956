"""The five stages of a run. Each reads the files of earlier stages and writes its own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from permgrad.assess.assess import fill
from permgrad.assess.budget import REPORT, Budget, Clock
from permgrad.assess.sections.provenance import this_machine
from permgrad.assess.work import Work
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, by_count, counted, keeping_warnings, listed
from permgrad.base.files import atomic_path, plain, write_json_atomic, write_text_atomic
from permgrad.base.folders import believed
from permgrad.base.progress import readable
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.base.stored import parse_json
from permgrad.base.versions import versions
from permgrad.data.datasets import list_datasets
from permgrad.data.types.column_notes import told_of_columns
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.leaks import columns_that_tell
from permgrad.imaging.layout import StoredLayout, fit_layout, layout_to_dict, make_layout
from permgrad.imaging.picture import layout_svg
from permgrad.models.devices import computing_threads
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.estimators.image_table import ImageTableModel, image_presets
from permgrad.models.estimators.prepared import EncodedRows, Prepared
from permgrad.models.estimators.presets import Preset, get_preset
from permgrad.models.estimators.settings import (
    TASK_LOSSES,
    choose_device,
    device_faults,
    resolve_settings,
)
from permgrad.models.network.summary import TrainingTime, measure_training_time
from permgrad.models.save.saving import load
from permgrad.models.train.checkpoint import epochs_in
from permgrad.models.train.guard import untouched
from permgrad.models.train.learner import EpochWatcher, TrainingJob, mean_loss
from permgrad.models.train.rows import Rows
from permgrad.pages.sentences import leak_words
from permgrad.runs.folder.documents import COLUMNS, DATA, read_data, read_json
from permgrad.runs.folder.folder import RECORD, RunFolder
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.assessing import Look, assessing, explanation_stage, summary_of, write_guesses, write_page
from permgrad.runs.run.clock import (
    MOST_HELD,
    ROWS_SEEN,
    SLOW_BASELINE,
    USUAL_EPOCHS,
    TrainingPlan,
    plan_training,
    plan_words,
    watch_epochs,
)
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.predicting import prediction_table
from permgrad.runs.run.splitting import PARTS
from permgrad.runs.run.summary import Summary

Say = Callable[[str], None]


@dataclass
class RunWork:
    """What stages pass on in memory. What is missing is read from the folder or computed again.

    ``untrained`` is the model before its training, ``encoded`` the rows of each part of the split. ``data`` and
    ``columns`` are the contents of the files of these names.
    """

    request: RunRequest
    inputs: Inputs
    folder: RunFolder
    say: Say
    clock: Clock = field(default_factory=Clock)
    untrained: Any = None
    encoded: dict[str, EncodedRows] = field(default_factory=dict)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What ``data.json`` holds."""
        return read_data(self.folder.path / DATA)

    @cached_property
    def columns(self) -> dict[str, Any]:
        """What ``columns.json`` holds."""
        return read_json(self.folder.path / COLUMNS)

    @cached_property
    def model(self) -> Any:
        """The trained model."""
        return load(self.folder.path / "model", device=self.request.device)

    @cached_property
    def assessing(self) -> Work:
        """What the sections are computed from."""
        return assessing(self)

    @cached_property
    def budget(self) -> Budget:
        """What the assessment may cost."""
        options = {
            name: getattr(self.request, name) for name in ("seed", "ensure_top", "interactions", "refits", "cost")
        }
        return Budget(clock=self.clock, images=len(self.request.images), say=self.say, early=self.write_page, **options)

    @property
    def look(self) -> Look:
        """Title and theme of the page: those asked for now, else those of the record."""
        theme = None if self.request.theme == "auto" else self.request.theme
        stored = Look.of(self.folder.record)
        return stored.changed(self.request.title, theme, what_if=self.request.what_if)

    def write_page(self) -> Path:
        """Write the report of what there is so far."""
        return write_page(self.folder.path, self.folder.record, self.assessing.content, self.model, self.look)

    @property
    def summary(self) -> Summary:
        """What the terminal shows of the finished run."""
        return summary_of(self.folder.path, self.assessing)

    def rows(self, part: str) -> EncodedRows:
        """Return the rows of a part as the model reads them. A table is encoded once, and an image is read once."""
        if part not in self.encoded or self.encoded[part].encoder is not self.model.preprocessor_:
            self.encoded[part] = self.model.encode_rows(self.encoded.get(part, self.inputs.parts[part].inputs))
        return self.encoded[part]

    def fit_baselines(self, guesses: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Train baselines on the rows of the network. Some of them read categories as categories."""
        from permgrad.evaluation.baselines import BaselineRows, baselines, natural_table, run_baselines

        inputs, names = self.inputs, self.request.wanted_baselines
        natural: dict[str, pd.DataFrame | None] = dict.fromkeys(inputs.parts)
        if any(baselines.get(name).takes_natural for name in names):
            encoder = inputs.standard_encoder
            natural = {
                part: natural_table(encoder, encoder.transform(rows.frame)) for part, rows in inputs.parts.items()
            }
        parts = {
            part: BaselineRows(self.rows(part).encoded, rows.y, natural[part]) for part, rows in inputs.parts.items()
        }
        return run_baselines(
            inputs.task,
            parts,
            classes=getattr(self.model, "classes_", np.zeros(0)),
            names=names,
            seed=self.request.seed,
            threads=computing_threads(),
            positive=inputs.positive,
            guesses=guesses,
        )


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


def check_inputs(request: RunRequest, inputs: Inputs) -> None:
    """Refuse options that do not suit the task or the rows."""
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
    if not request.images:
        resolve_settings(make_estimator(request, inputs, None).get_params(deep=False), inputs.task)


def dry_run(request: RunRequest, inputs: Inputs) -> None:
    """Do all steps that could be refused up to the first training step and to predictions of test rows.

    This takes about as long as the layout, so it is done only before another run is removed.
    """
    # Its warnings are shown when the step is really done.
    with untouched(), keeping_warnings():
        model = make_estimator(request, inputs, None)
        train = fit_encoder(model, inputs)
        held, _ = (model.encode_rows(inputs.parts[part].inputs) for part in PARTS[1:])
        places = np.flatnonzero(inputs.learned)
        eval_set = held.take(places), inputs.parts["validation"].y[places]
        model.prepare(train, inputs.parts["train"].y, eval_set=eval_set)


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
    return part.frame[learned], part.y[learned]


# ---- data ------------------------------------------------------------------------------------------------------------
def data_stage(work: RunWork) -> None:
    """Write the types of the columns and the split."""
    inputs, folder, request = work.inputs, work.folder.path, work.request
    for line in inputs.shown.to_text(most=40).splitlines():
        work.say(f"  {line}")
    for note in inputs.notes:
        work.say(f"note: {note}")
    train, held, test = (inputs.parts[part] for part in PARTS)
    others = pd.concat([held.frame, test.frame]), np.concatenate([held.y, test.y])
    leaks = columns_that_tell((train.frame, train.y), others, inputs.task, inputs.na_codes)
    if leaks:
        work.say(f"ALARM: {leak_words(inputs.target, leaks)}")
    same = "target", "task", "task_reason", "split", "shared_rows", "blank_rows", "alike_rows", "variables", "units"
    content: dict[str, Any] = {
        "table": inputs.name,
        **{name: getattr(inputs, name) for name in (*same, "decimals", "texts", "notes")},
        "rows": {part: len(inputs.parts[part]) for part in PARTS},
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
    work.data = plain(content)
    targets = (inputs.target, train.y, test.y)
    work.columns = plain(compare_parts(train.frame, test.frame, targets=targets, na_codes=inputs.na_codes))
    write_json_atomic(folder / DATA, work.data)
    write_json_atomic(folder / COLUMNS, work.columns)
    with atomic_path(folder / "split.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **{part: inputs.parts[part].numbers for part in PARTS})  # type: ignore[arg-type]
    threads = computing_threads()
    machine = f"{this_machine()}, {counted(threads, 'thread')}, device {choose_device(request.device)}"
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
        files = {name: len(set(paths)) for name, paths in work.inputs.parts["train"].inputs.images.items()}
        work.say("  images are given: " + ", ".join(f"{name} ({n:,} training files)" for name, n in files.items()))
        return
    untrained_model(work)
    layout, names = place_columns(work.encoded["train"], get_preset(work.request.preset), work.request.seed)
    if layout.pixels > 20:
        work.say(f"note: the image has {layout.pixels} × {layout.pixels} pixels, to hold {len(names)} columns")
    write_text_atomic(work.folder.path / "layout.svg", layout_svg(layout, names))
    write_json_atomic(work.folder.path / "layout.json", {**layout_to_dict(layout), "columns": names})


def fit_encoder(model: Any, inputs: Inputs) -> EncodedRows:
    """Fit the encoder of a model on the training rows, and return them encoded."""
    rows: EncodedRows = model.fit_encoder(inputs.parts["train"].inputs, inputs.feature_types)
    return rows


def untrained_model(work: RunWork) -> Any:
    """Return the model that is to be trained, with the encoder of the training rows."""
    if work.untrained is None:
        work.untrained = make_estimator(work.request, work.inputs, None)
        with told_of_columns():  # warnings on columns were shown in the data stage
            work.encoded["train"] = fit_encoder(work.untrained, work.inputs)
    return work.untrained


def place_columns(rows: EncodedRows, preset: Preset, seed: int) -> tuple[Any, list[str]]:
    """Return the fitted layout of the columns of encoded training rows, and their names."""
    # The seed that the estimator would use, so that a run equals a fit in Python with the same random_state.
    layout_seed = derive_seed(resolve_seed(seed), "layout") % 2**31
    names = list(rows.encoder.encoded_names_)
    return fit_layout(make_layout(preset.layout, 20, layout_seed), rows.encoded, names, layout_seed), names


# ---- model -----------------------------------------------------------------------------------------------------------
def model_stage(work: RunWork) -> None:
    """Train the network, evaluate it on validation and test rows, and train the baselines if requested."""
    work.folder.checkpoint.mkdir(exist_ok=True)
    work.model = fit_model(work)
    work.model.save(work.folder.path / "model", overwrite=True)
    write_measures(work)
    if count := int((~work.inputs.learned).sum()):
        rows = f"{counted(count, 'validation row')} {by_count(count, 'has', 'have')} a class that no training row has"
        work.say(f"note: {rows}; {by_count(count, 'it is', 'they are')} not used to stop the training")


def fit_model(work: RunWork) -> Any:
    """Return the trained model. Only validation rows of known classes stop the training."""
    model, parts = untrained_model(work), work.inputs.parts
    if not work.request.images:
        with believed(work.folder.path):
            layout = StoredLayout.from_dict(parse_json((work.folder.path / "layout.json").read_bytes()))
        model.set_params(layout=layout)
    for part in PARTS[1:]:
        work.encoded[part] = model.encode_rows(parts[part].inputs)
    done = say_resumed(work)
    others = say_baselines(work)
    train, y, judging = work.encoded["train"], parts["train"].y, _judging_places(work)
    eval_set = work.encoded["validation"].take(judging), parts["validation"].y[judging]
    ready = model.prepare(train, y, eval_set=eval_set)
    plan, watch = _plan(work, ready, len(train.encoder.features()), done, others)
    if plan.rows < len(y):
        chosen = _rows_in_time(work, y, plan.rows)
        ready = model.prepare(train.take(chosen), y[chosen], eval_set=eval_set)
    with work.clock.whole.part("training"):
        model.train(ready.with_epochs(plan.epochs), checkpoint_folder=work.folder.checkpoint, on_epoch=watch)
    work.folder.record["facts"]["time"] = work.clock.facts()
    for image in model.images_ if work.request.images else ():
        colours = "colour" if image.channels == 3 else "grey"
        work.say(f"  images of {image.name!r}: {image.height} × {image.width} pixels, {colours}")
    if work.request.images and work.request.wanted_baselines:
        # Compared with models of the table alone, this shows what the images add.
        work.say("  baselines use the table only")
    return model


def _judging_places(work: RunWork) -> npt.NDArray[np.int64]:
    """Return the validation rows by which epochs are compared: of known classes, and of very many a random part."""
    places = np.flatnonzero(work.inputs.learned)
    if work.clock.thorough or len(places) <= MOST_HELD:
        return places
    return places[np.sort(generator(work.request.seed, "rows that judge").permutation(len(places))[:MOST_HELD])]


def _rows_in_time(work: RunWork, y: npt.NDArray[Any], rows: int) -> npt.NDArray[np.int64]:
    """Draw so many training rows. Every class is learned."""
    drawn = generator(work.request.seed, "rows in time").permutation(len(y))[:rows]
    if work.inputs.task == "classification":
        drawn = np.union1d(drawn, np.unique(y, return_index=True)[1])
    return np.sort(drawn)


def _plan(work: RunWork, ready: Prepared, features: int, done: int, others: float) -> tuple[TrainingPlan, EpochWatcher]:
    """Plan the rest of the run, and say so. Return the plan of the training, and what watches its epochs."""
    clock, facts, rows = work.clock, work.folder.record["facts"], len(ready.job.train_rows)
    measured = measure_training_time(ready.job, ready.device)
    clock.per_row = measured.seconds_per_epoch / rows
    parts = work.inputs.parts
    tested, outputs = len(parts["test"]), 1 if work.inputs.task == "regression" else len(np.unique(parts["train"].y))
    explanation, refinement = work.budget.expected(tested, features, outputs)
    # Baselines that were asked for count where a limit was asked for.
    reserved = explanation + REPORT + (others if work.request.time_limit is not None else 0.0)
    plan = TrainingPlan(**facts["training"]) if done and "training" in facts else None
    if plan is None:
        usual = work.request.preset == "default" and not (clock.thorough or work.request.images)
        seconds = max(clock.left() - reserved, 0.1 * clock.left())
        plan = plan_training(ready.job.options, rows, measured, seconds, most_seen=ROWS_SEEN if usual else math.inf)
        facts["training"] = asdict(plan)
        write_json_atomic(work.folder.path / RECORD, work.folder.record)
    if plan.cut:
        clock.cut.append(plan.cut)
    per_epoch = clock.per_row * plan.rows
    left = TrainingTime(per_epoch, per_epoch * plan.epochs, plan.epochs).after(done)
    expected = {"training": per_epoch * min(left.epochs_at_most, USUAL_EPOCHS)}
    expected |= {"baselines": others} if others else {}
    refits = work.budget.expected_refits(expected["training"], len(parts["train"]), len(parts["validation"]))
    expected |= {"explanation": explanation, **({"refinement": refinement} if refinement else {}), "report": REPORT}
    expected |= {"refits": refits} if refits else {}
    work.say(f"  {plan_words(left, expected, clock.limit + refits)}")
    clock.whole.expect(**expected)
    options = replace(ready.job.options, max_epochs=plan.epochs)
    until = clock.started + clock.limit - reserved
    return plan, watch_epochs(clock, options, per_epoch, until, _constant_loss(ready.job))


def _constant_loss(job: TrainingJob) -> float:
    """Return the validation loss of a constant prediction: how frequent the classes are, or the mean."""
    held = cast("Rows", job.validation_rows)
    outputs = held.y.mean()[None] if held.y.is_floating_point() else torch.bincount(held.y, held.weight).log()
    return mean_loss(outputs.expand(len(held), -1), held, job.options.loss)


def say_resumed(work: RunWork) -> int:
    """Report from which epoch an interrupted training resumes. Return the number of finished epochs."""
    done = epochs_in(work.folder.checkpoint)
    if done:
        work.say(f"  training resumes from epoch {done + 1}: {counted(done, 'epoch')} were done before")
    return done


def say_baselines(work: RunWork) -> float:
    """Report about how long the baselines will take, and which cannot be trained here and why. Return the seconds."""
    train, request = work.inputs.parts["train"], work.request
    if not request.wanted_baselines:
        return 0.0
    from permgrad.evaluation.baselines import BaselineRows, baselines, estimate_seconds, why_absent

    reasons = {name: why_absent(name) for name in request.wanted_baselines}
    for name, why in reasons.items():
        if why:
            work.say(f"note: {name} is left out, because {why}")
    names = [name for name, why in reasons.items() if not why]
    quick, seconds = [name for name in names if not baselines.get(name).costly], 0.0
    if quick:
        rows = BaselineRows(work.inputs.standard_encoder.transform(train.frame), train.y)
        seconds = estimate_seconds(work.inputs.task, rows, quick, seed=request.seed, threads=computing_threads())
        work.say(f"  baselines: about {readable(seconds)} for {listed(quick)}")
    if slow := [name for name in names if name not in quick]:
        work.say(f"  baselines: minutes for {listed(slow)}")
    return seconds + SLOW_BASELINE * len(slow)


def write_measures(work: RunWork) -> None:
    """Evaluate the network on validation and test rows, train the baselines if requested, and write the metrics."""
    folder, test = work.folder.path, work.inputs.parts["test"]
    content, predicted = fill(work.assessing, ("model",)), work.assessing.predictions
    parts = {"prediction": predicted.guess}
    if predicted.classes:
        best = np.asarray(work.model.classes_)[predicted.guess.argmax(axis=1)]
        parts = {"prediction": best, "probabilities": predicted.guess}
    parts |= {} if predicted.inside is None else {"inside": predicted.inside}
    assert test.identifiers is not None
    listed_rows = prediction_table(test.numbers, test.identifiers, parts, work.model, truth=test.y)
    for name, table in (("history.csv", work.model.history_), ("predictions.csv", listed_rows)):
        with atomic_path(folder / name) as temporary:
            write_csv(table, temporary)
    if content.guesses:
        write_guesses(folder, content, test.numbers)


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
    "explanation": explanation_stage,
    "report": report_stage,
}
