"""The five stages of a run. Each reads the files of earlier stages and writes its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import clone

from permgrad.assess.assess import fill
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import Budget, Clock, Say
from permgrad.assess.model import Cache, EvaluatedModel, Network, TrainedOther
from permgrad.assess.sections.provenance import this_machine
from permgrad.assess.store import Store
from permgrad.assess.work import Work
from permgrad.attribution.explain_refits import refit
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.frames import file_frame
from permgrad.attribution.model import Model
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.csv_files import write_csv
from permgrad.base.dependence import Dependence
from permgrad.base.errors import by_count, counted, keeping_warnings, listed
from permgrad.base.files import file_hash, plain, write_json_atomic, write_text_atomic
from permgrad.base.folders import believed
from permgrad.base.frames import stacked
from permgrad.base.progress import readable
from permgrad.base.random import generator
from permgrad.base.stored import TIMES, read_json, write_npz
from permgrad.base.versions import versions
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scores import Target
from permgrad.data.types.column_notes import scores_said
from permgrad.data.types.column_types import with_categories
from permgrad.evaluation.baselines.fitting import (
    FIT_TIMES,
    BaselineRows,
    baselines,
    estimate_seconds,
    run_baselines,
    why_absent,
)
from permgrad.evaluation.baselines.models import natural_table
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.leaks import columns_that_tell
from permgrad.evaluation.related import related_columns
from permgrad.imaging.layout import StoredLayout, extent, layout_to_dict
from permgrad.imaging.path import is_ordered
from permgrad.models.estimators.building import place_columns
from permgrad.models.estimators.inputs import code_target
from permgrad.models.estimators.kept_rows import draw_background, rows_in
from permgrad.models.estimators.order import Order
from permgrad.models.estimators.prepared import EncodedRows
from permgrad.models.estimators.settings import choose_device, resolve_settings
from permgrad.models.save.saving import load, load_trusting
from permgrad.models.train.guard import untouched
from permgrad.pages.headline import headline
from permgrad.pages.sentences import leak_words
from permgrad.pages.words import training_words
from permgrad.runs.folder.documents import COLUMNS, DATA, GROUPS
from permgrad.runs.folder.folder import CACHE, RECORD, RunFolder
from permgrad.runs.options import data_sets, is_file, separated
from permgrad.runs.requests import Outcome, RunRequest
from permgrad.runs.run.assessing import BASELINE_PREDICTIONS, data_section, look_of, read_assessment, write_page
from permgrad.runs.run.choosing import trusted
from permgrad.runs.run.clock import MOST_HELD, SLOW_BASELINE
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.others import choose, fit_other
from permgrad.runs.run.predicting import prediction_table
from permgrad.runs.run.splitting import PARTS
from permgrad.runs.run.summary import summarise
from permgrad.runs.run.training import fit_encoder, make_estimator, train_network

LAYOUT = "layout.json"
#: Said of a model of a file.
FITTED_BEFORE = (
    "{} was fitted before: permgrad does not know on which rows. If test rows are among them, the scores are too good."
)
#: Tables with more columns are not searched for groups of columns that move together.
MOST_RELATED = 1000


@dataclass
class RunWork:
    """What stages pass on in memory. What is missing is read from the folder or computed again.

    ``encoded``: the rows of each part of the split. ``documents``: what JSON files of the folder hold.
    """

    request: RunRequest
    inputs: Inputs
    folder: RunFolder
    say: Say
    clock: Clock = field(default_factory=Clock)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    encoded: dict[str, EncodedRows] = field(default_factory=dict)

    def read(self, name: str) -> dict[str, Any]:
        """Return what a document of the folder holds."""
        if name not in self.documents:
            self.documents[name] = read_json(self.folder.path / name)
        return self.documents[name]

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a document of the folder."""
        self.documents[name] = plain(dict(content))
        write_json_atomic(self.folder.path / name, self.documents[name])

    @cached_property
    def untrained(self) -> tuple[Any, EncodedRows]:
        """The model that is to be trained, and the training rows, by which its encoder is fitted."""
        model = make_estimator(self.request, self.inputs, self.chosen)
        rows = fit_encoder(model, self.inputs)
        self.encoded["train"] = rows
        return model, rows

    @property
    def chosen(self) -> str:
        """The model that is trained: of ``auto`` the best one, which a run that resumes does not choose again."""
        if self.request.model != "auto":
            return self.request.model
        facts = self.folder.record["facts"]
        if "auto" not in facts:
            facts["auto"] = choose(self)
            write_json_atomic(self.folder.path / RECORD, self.folder.record)
        return str(facts["auto"]["model"])

    @cached_property
    def model(self) -> Any:
        """The trained model. One that was saved without rows draws them from the training rows again."""
        folder, request = self.folder.path / "model", self.request
        if self.chosen != "network":
            return load_trusting(folder, trust=trusted(request))
        model = load(folder, device=request.device)
        if not rows_in(model)[0]:
            train = self.inputs.parts["train"]
            encoded = self.encoded["train"] = model.encode_rows(train.inputs)
            draw_background(model, encoded.encoded, code_target(model, train.y))
        return model

    @cached_property
    def assessing(self) -> Work:
        """What the sections are computed from. What earlier sessions stored of them is read."""
        inputs, request, folder = self.inputs, self.request, self.folder.path
        facts: dict[str, Any] = {
            "positive": None if inputs.positive is None else str(inputs.positive),
            "seed": request.seed,
            # This file holds the checksums of the other files of the model.
            "cache": Cache(folder / CACHE, file_hash(folder / "model" / "model.json")),
        }
        if self.chosen == "network":
            model: EvaluatedModel = Network.of(self.model, **facts)
        else:
            # If none, none is searched for. What dates say are features of their own.
            facts["options"] = (
                {"groups": inputs.groups} if inputs.groups or not hasattr(self.model, "of_encoded") else {}
            )
            facts["counts"] = inputs.counts
            model = TrainedOther.of(self.model, inputs.parts["train"].frame, self.clock, **facts)
        content = Assessment(
            title=inputs.name, target=inputs.target, task=inputs.task, positive=inputs.positive, subject=model.subject
        )
        if "model" in self.folder.record["finished_stages"]:
            content = read_assessment(folder, self.model)
        content.data = data_section(self.read(DATA), self.read(COLUMNS))
        notes: dict[str, list[str]] = {}
        for note in () if inputs.card is None else inputs.card.notes:
            notes.setdefault(note.split(" ")[0], []).append(note)
        for part, rows in inputs.parts.items():  # it is encoded once
            known = self.encoded.get(part)
            if known is None or known.encoder is not self.model.preprocessor_:
                self.encoded[part] = self.model.encode_rows(rows.inputs if known is None else known)
        parts = {part: replace(rows, inputs=self.encoded[part]) for part, rows in inputs.parts.items()}
        return Work(
            model,
            parts["test"],
            content,
            self.budget,
            train=parts["train"],
            validation=parts["validation"],
            store=Store(folder),
            fit_others=self.fit_baselines if request.wanted_baselines else None,
            refit=self.refit,
            card_notes=notes,
        )

    @cached_property
    def budget(self) -> Budget:
        """What the assessment may cost."""
        options = {name: getattr(self.request, name) for name in ("seed", "refits", "cost")}
        return Budget(clock=self.clock, say=self.say, max_rows=self.request.most_rows or "auto", **options)

    def write_page(self) -> Path:
        """Write the report of what there is so far, in the look asked for now, else that of the record."""
        record = self.folder.record
        look = record["facts"]["page"] = look_of(record, keep_rows=self.request.keep_rows)
        return write_page(self.folder.path, record, self.assessing.content, self.model, look)

    def fit_baselines(self, guesses: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Train baselines on the rows of the network. Some of them read categories as categories."""
        inputs, names = self.inputs, self.request.wanted_baselines
        natural: dict[str, pd.DataFrame | None] = dict.fromkeys(inputs.parts)
        if any(baselines.get(name).takes_natural for name in names):
            encoder = TableEncoder("standard", **inputs.encoder_options)
            train = inputs.parts["train"]
            encoder.fit(train.frame, schema=inputs.feature_types)
            units = None if train.dependence is None else train.dependence.codes
            target = Target.of(train.y, inputs.task, self.request.seed, units=units)
            encoded = {"train": encoder.learn(train.frame, target)}
            encoded |= {part: encoder.transform(inputs.parts[part].frame) for part in PARTS[1:]}
            # What images say is taken from the network's encoding. Reading them again would take long.
            known = self.model.preprocessor_
            photos = np.flatnonzero([known.schema_.columns[at].kind == "image" for at in known.feature_of_]).tolist()
            for part, rows in encoded.items():
                seen = {known.encoded_names_[at]: self.encoded[part].encoded[:, at] for at in photos}
                natural[part] = natural_table(encoder, rows).assign(**seen)
        parts = {
            part: BaselineRows(self.encoded[part].encoded, rows.y, natural[part], self.encoded[part], rows.weights)
            for part, rows in inputs.parts.items()
        }
        scores = run_baselines(
            inputs.task,
            parts,
            classes=getattr(self.model, "classes_", np.zeros(0)),
            names=names,
            seed=self.request.seed,
            threads=torch.get_num_threads(),
            positive=inputs.positive,
            guesses=guesses,
            counts=inputs.counts,
        )
        times = {name: {key: one.pop(key) for key in FIT_TIMES} for name, one in scores.items()}
        self.write(TIMES, {"baselines": times})
        return scores

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The lines of ``predictions.csv``."""
        test, predicted = self.inputs.parts["test"], self.assessing.predictions
        parts = {"prediction": predicted.guess}
        if predicted.classes:
            best = np.asarray(self.model.classes_)[predicted.guess.argmax(axis=1)]
            parts = {"prediction": best, "probabilities": predicted.guess}
        parts |= {} if predicted.inside is None else {"inside": predicted.inside}
        assert test.identifiers is not None
        return prediction_table(test.numbers, test.identifiers, parts, self.model, truth=test.y)

    @cached_property
    def importances(self) -> pd.DataFrame:
        """The lines of ``importance.csv``."""
        assert self.assessing.content.explanation is not None
        return file_frame(self.assessing.content.explanation)

    def summary(self) -> Outcome:
        """Return what the terminal shows of the finished run."""
        path = self.folder.path
        return summarise(
            path,
            self.assessing.content,
            self.importances,
            times=self.read(TIMES)["baselines"] if (path / TIMES).is_file() else {},
            time=self.folder.record["facts"].get("time"),
            grouped=bool(self.read(GROUPS)),
        )

    def refit(self, refits: int) -> Explanation:
        """Repeat the training on parts of its rows. A run that was stopped resumes with the next part."""
        parts = [self.inputs.parts[part] for part in ("train", "validation")]
        self.say(f"  refits: {refits} trainings on parts of {sum(map(len, parts)):,} rows")
        related = [part.dependence for part in parts if part.dependence is not None]
        further: dict[str, Any] = {}
        further |= {related[0].argument[0]: np.concatenate([one.codes for one in related])} if related else {}
        if self.chosen == "network":
            layout = self.model.order_.layout if is_ordered(self.model.layout) else None
            estimator = clone(self.model).set_params(layout=layout, device=self.request.device)
        else:
            estimator = make_estimator(self.request, self.inputs, self.chosen)
        features = len(self.model.preprocessor_.features())
        arguments = Arguments(
            Model(estimator, positive=self.inputs.positive),
            pd.concat([part.table for part in parts], ignore_index=True),
            np.concatenate([part.y for part in parts]),
            n_repeats=Budget().ranking_options(1, features, some=False)["n_repeats"],
            random_state=self.request.seed,
            **further,
        )
        return refit(arguments, refits=refits, out=self.folder.path / CACHE / "refits")


# ---- before the stages -----------------------------------------------------------------------------------------------
def check_options(request: RunRequest, task: str) -> None:
    """Refuse a preset or a device that cannot be used."""
    preset = request.network if request.model == "network" else "default"
    arguments = {"preset": preset, "branches": request.branches or None, "device": request.device}
    resolve_settings(arguments, task)


def dry_run(request: RunRequest, inputs: Inputs) -> None:
    """Do all steps that could be refused up to the first training step and to predictions of test rows.

    This takes about as long as the layout, so it is done only before another run is removed.
    """
    # Its warnings are shown when the step is really done. How rows are encoded, auto does not change.
    with untouched(), keeping_warnings():
        model = make_estimator(request, inputs, "linear" if request.model == "auto" else request.model)
        train = fit_encoder(model, inputs)
        held, _ = (model.encode_rows(inputs.parts[part].inputs) for part in PARTS[1:])
        if request.model != "network":
            if is_file(request.model):  # it is known at once whether its columns and classes are those of the table
                model.fit(train, inputs.parts["train"].y)
            return
        places = np.flatnonzero(inputs.learned)
        eval_set = held.take(places), inputs.parts["validation"].y[places]
        model.prepare(train, inputs.parts["train"].y, eval_set=eval_set)


# ---- data ------------------------------------------------------------------------------------------------------------
def _notes(work: RunWork) -> list[str]:
    """Return the notes on the table, on the choice of the model, and on columns without a score that helps."""
    inputs, request = work.inputs, work.request
    why = [] if work.chosen == request.model else [work.folder.record["facts"]["auto"]["sentence"]]
    if is_file(request.model):
        why = [FITTED_BEFORE.format(Path(request.model).name)]
    notes = [*inputs.notes, *why]
    # Only text and rare levels may have no score that helps. Other tables are encoded where that is needed.
    if any(one.kind in ("text", "categorical") for one in inputs.feature_types):
        encoder = work.untrained[0].preprocessor_
        notes += scores_said(encoder.schema_, encoder.scoreless_, encoder.max_levels)
    return notes


def _together(request: RunRequest, inputs: Inputs) -> dict[str, Any] | None:
    """Return what may say that rows belong together, with the command of a run that keeps them together."""
    if inputs.together is None:
        return None
    facts = inputs.together.facts()
    group = facts["columns"][0] if len(facts["columns"]) == 1 else None
    command = replace(request, row_group=group, out=Path(f"{request.folder}-together")).command
    return facts | {"command": None if group is None else command}


def data_stage(work: RunWork) -> None:
    """Write the types of the columns and the split."""
    inputs, request = work.inputs, work.request
    shown, columns = inputs.described
    for line in shown.to_text(most=40).splitlines():
        work.say(f"  {line}")
    counts = inputs.class_counts
    if counts is not None:
        frequent = sorted(((sum(parts.values()), name) for name, parts in counts.items()), key=lambda one: -one[0])
        work.say(f"  classes of {inputs.target!r}: {listed([f'{name} ({count:,})' for count, name in frequent], 8)}")
    notes = _notes(work)
    for note in notes:
        work.say(f"note: {note}")
    train, held, test = (inputs.parts[part] for part in PARTS)
    tables = [with_categories(part.frame, inputs.feature_types) for part in (train, held, test)]
    held_out = stacked(tables[1:]), np.concatenate([held.y, test.y])
    leaks = columns_that_tell((tables[0], train.y), held_out, inputs.task, inputs.na)
    if leaks:
        work.say(f"ALARM: {leak_words(inputs.target, leaks)}")
    same = "target", "task", "task_reason", "split", "shared_rows", "blank_rows", "alike_rows", "groups", "units"
    content: dict[str, Any] = {
        "table": inputs.name,
        **{name: getattr(inputs, name) for name in (*same, "decimals", "texts")},
        "notes": notes,
        "rows": {part: len(inputs.parts[part]) for part in PARTS},
        "columns": columns,
        "identifiers": list(request.identifier),
        "weight": request.weight,
        **({"offset": request.offset} if request.offset is not None else {}),
        "na": list(inputs.na),
        "not_na": list(separated(request.not_na)),
        "leaks": leaks,
        "together": _together(request, inputs),
        "card": None if inputs.card is None else inputs.card.to_dict(),
        "class_counts": counts,
        "positive": plain(inputs.positive),
    }
    work.write(DATA, content)
    targets = (inputs.target, train.y, test.y)
    both = Dependence.of_both(train.dependence, test.dependence)
    options: dict[str, Any] = {"targets": targets, "na": inputs.na, "dependence": both}
    compared = compare_parts(tables[0], tables[2], **options)
    # Test rows are later by the split.
    compared["drift"] = [one for one in compared["drift"] if one["column"] != request.time]
    work.write(COLUMNS, compared)
    write_npz(work.folder.path / "split.npz", {part: inputs.parts[part].numbers for part in PARTS})
    threads = torch.get_num_threads()
    machine = f"{this_machine()}, {counted(threads, 'thread')}, device {choose_device(request.device)}"
    # Paths that are valid from any folder, or names of data sets.
    paths = {role: path for role in ("table", "test") if (path := getattr(request, role)) is not None}
    sources = {role: os.fspath(path if path in data_sets() else Path(path).absolute()) for role, path in paths.items()}
    work.folder.record["facts"].update(
        plain({"versions": versions(), "machine": machine, "threads": threads, "sources": sources})
    )


# ---- layout ----------------------------------------------------------------------------------------------------------
def layout_stage(work: RunWork) -> None:
    """Place the encoded columns on the pixel grid, and draw the grid, if their image is drawn."""
    if work.chosen != "network":
        work.write(LAYOUT, {"order": None})
        return
    model, rows = work.untrained
    settings = resolve_settings(model.get_params(deep=False), model.task)
    _, layout = place_columns(model, settings, rows.encoded, work.inputs.parts["train"].y)
    names, order = list(rows.encoder.encoded_names_), model.order_
    content: dict[str, Any] = {"order": None if order is None else asdict(order)}
    if order is not None:
        work.say(f"  {order.sentence(model.task)}")
    if layout is not None:
        if layout.pixels > 20:
            work.say(f"note: the image has {extent(layout.shape)}, to hold {len(names)} columns")
        from permgrad.imaging.picture import layout_svg  # loads matplotlib, which few networks need

        write_text_atomic(work.folder.path / "layout.svg", layout_svg(layout, names))
        content |= {**layout_to_dict(layout), "columns": names}
    work.write(LAYOUT, content)


# ---- model -----------------------------------------------------------------------------------------------------------
def model_stage(work: RunWork) -> None:
    """Train the model, evaluate it on validation and test rows, and train the baselines if requested.

    Only validation rows of known classes stop the training.
    """
    request, folder, parts = work.request, work.folder, work.inputs.parts
    model = work.untrained[0]
    if work.chosen == "network":
        with believed(folder.path):
            placed = work.read(LAYOUT)
            layout = StoredLayout.from_dict(placed) if "positions" in placed else None
        model.set_params(layout=layout, **({"image": "never"} if layout is None else {}))
        model.order_ = Order(**placed["order"]) if placed.get("order") else None
    for part in PARTS[1:]:
        work.encoded[part] = model.encode_rows(parts[part].inputs)
    judging = np.flatnonzero(work.inputs.learned)
    if len(judging) > MOST_HELD and not work.clock.thorough:
        # A random part of very many rows is enough to compare epochs by.
        judging = judging[np.sort(generator(request.seed, "rows that judge").permutation(len(judging))[:MOST_HELD])]
    baseline_seconds = say_baselines(work) if request.wanted_baselines else 0.0
    if work.chosen == "network":
        train_network(work, *work.untrained, judging, baseline_seconds)
    else:
        fit_other(work, judging, baseline_seconds)
    folder.record["facts"]["time"] = work.clock.facts()
    work.model = model
    model.save(folder.path / "model", overwrite=True, keep_rows=request.keep_rows)
    write_measures(work)
    if work.chosen != "network":
        work.say(f"  {headline(work.assessing.content)}")
    if count := int((~work.inputs.learned).sum()):
        rows = f"{counted(count, 'validation row')} {by_count(count, 'has', 'have')} a class that no training row has"
        work.say(f"note: {rows}; {by_count(count, 'it is', 'they are')} not used to stop the training")


def say_baselines(work: RunWork) -> float:
    """Report about how long the baselines will take, and which cannot be trained here and why. Return the seconds."""
    request = work.request
    reasons = {name: why_absent(name) for name in request.wanted_baselines}
    for name, why in reasons.items():
        if why:
            work.say(f"note: {name} is left out, because {why}")
    names = [name for name, why in reasons.items() if not why]
    quick, seconds = [name for name in names if not baselines.get(name).costly], 0.0
    if quick:
        rows = BaselineRows(work.encoded["train"].encoded, work.inputs.parts["train"].y)
        seconds = estimate_seconds(work.inputs.task, rows, quick, seed=request.seed, threads=torch.get_num_threads())
        work.say(f"  baselines: about {readable(seconds)} for {listed(quick)}")
    if slow := [name for name in names if name not in quick]:
        work.say(f"  baselines: minutes for {listed(slow)}")
    return seconds + SLOW_BASELINE * len(slow)


def write_measures(work: RunWork) -> None:
    """Evaluate the network on validation and test rows, train the baselines if requested, and write the metrics."""
    folder, rows = work.folder.path, work.inputs.parts["test"].numbers
    content, predicted = fill(work.assessing, ("model",)), work.assessing.predictions
    write_csv(work.predictions, folder / "predictions.csv")
    if work.chosen == "network":
        write_csv(work.model.history_.drop(columns="seconds"), folder / "history.csv")
    if content.guesses:
        classes = {"classes": np.asarray(predicted.classes)} if predicted.classes else {}
        write_npz(folder / BASELINE_PREDICTIONS, {"row": rows, **classes, **content.guesses})


# ---- explanation and report ------------------------------------------------------------------------------------------
def explanation_stage(work: RunWork) -> None:
    """Explain a run's model on its test rows. Writes ``explanations/``, ``importance.csv`` and ``branches.json``."""
    folder = work.folder.path
    with work.clock.whole.part("explanation"):
        content = fill(work.assessing, ("explanation",))
    write_csv(work.importances, folder / "importance.csv")
    if content.gradients is not None:
        write_csv(content.gradients.table, folder / "integrated_gradients.csv")
    cells = work.assessing.undated
    assert cells is not None
    # Groups of columns that move together, in the form of --groups. Very wide tables are not compared.
    found = related_columns(cells) if 1 < cells.shape[1] <= MOST_RELATED and len(cells) > 3 else {}
    members = work.assessing.members
    work.write(
        GROUPS, {name: [one for own in names for one in members.get(own, (own,))] for name, names in found.items()}
    )
    if content.refits is not None:
        work.say(f"  {training_words(content.refits)}")


def report_stage(work: RunWork) -> None:
    """Write the page. Its title stays in the record."""
    record = work.folder.record
    # What was cut from a training of an earlier session stays.
    earlier = [words for words in record["facts"].get("time", {}).get("cut", ()) if words.startswith("training")]
    work.clock.cut = list(dict.fromkeys([*earlier, *work.clock.cut]))
    for words in work.clock.cut:
        work.say(f"note: the time limit cut the {words}")
    record["facts"]["time"] = work.clock.facts()
    with work.clock.whole.part("report"):
        work.write_page()


STAGE_WORK: dict[str, Callable[[RunWork], Any]] = {
    "data": data_stage,
    "layout": layout_stage,
    "model": model_stage,
    "explanation": explanation_stage,
    "report": report_stage,
}


def do_stages(work: RunWork, reading: float = 0.0, **instead: Callable[[RunWork], Any]) -> None:
    """Do the stages that are not finished, some by a function ``instead`` of the usual one.

    ``reading``: seconds that the table took before there was a folder.
    """
    folder = work.folder
    for number, (name, stage) in enumerate({**STAGE_WORK, **instead}.items(), start=1):
        title = f"[{number}/{len(STAGE_WORK)}] {name}"
        if name in folder.record["finished_stages"]:
            work.say(f"{title}: finished before")
            continue
        work.say(title)
        with folder.stage(name, reading if name == "data" else 0.0):
            stage(work)
        work.say(f"  {name} took {folder.record['stages'][name]['seconds']:.1f} s")
