"""Which rows of a run train, which validate and which test; and what their target asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError, by_count
from permgrad.data.datasets import DataCard
from permgrad.data.read.cells import RowLines
from permgrad.data.read.reading import Written
from permgrad.data.splitting import count_shared_rows, split_rows
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import gradients
from permgrad.runs.run.part_files import read_part_files, with_target
from permgrad.runs.run.target import Task, choose_task, doubt_on_task, target_values

PARTS = ("train", "validation", "test")
#: Fewer rows than these are not divided in three.
FEWEST_ROWS = 10
#: Why a named data set has its task.
OF_CARD = "known from its data card"
Rows = npt.NDArray[np.int64]


@dataclass
class Divided:
    """The rows of a run.

    Attributes:
        task: What the target asks for, and ``reason`` why.
        files: Tables of the parts that have a file of their own.
        tables: Every part's table, the target in it, and ``truths`` its target values.
        split: How the rows were divided, in words.
        lines: Where the rows of every part stand in their file.
    """

    task: Task
    reason: str
    files: dict[str, pd.DataFrame]
    tables: dict[str, pd.DataFrame]
    truths: dict[str, npt.NDArray[Any]]
    split: str
    lines: dict[str, RowLines]


def divided(
    request: RunRequest,
    card: DataCard | None,
    written: Written,
    target: str,
    codes: Sequence[str | int | float],
    notes: list[str],
    *,
    undivided: bool,
) -> Divided:
    """Return the rows whose target is known, in three parts; all of them in the first if they stay undivided."""
    frame = with_target(written.frame, target, codes, notes)
    files, lines = read_part_files(request, written, target, codes, notes)
    _check_rows(len(frame), files)
    task, reason = _task(request, card, frame[target], target)
    if request.task == "auto" and reason != OF_CARD:
        notes += doubt_on_task(frame[target], task, target)
    all_tables = {"table": frame, **files}
    alike = {"table": written.alike.get(target)}
    labels = {}
    for name, table in all_tables.items():
        with lines.get(name, written.lines).named():
            labels[name] = target_values(table[target], task, target, alike=alike.get(name))
    _check_labels(labels, task, target, request)
    places, split = _undivided(len(frame)) if undivided else _divide(request, frame, labels["table"], task, files)
    tables = {part: frame.iloc[places[part]] if part in places else files[part] for part in PARTS}
    truths = {part: labels["table"][places[part]] if part in places else labels[part] for part in PARTS}
    _check_training(truths["train"], task, target)
    places_of_rows = {part: lines.get(part, written.lines) for part in PARTS}
    return Divided(task, reason, files, tables, truths, split, places_of_rows)


def _check_rows(count: int, files: Mapping[str, pd.DataFrame]) -> None:
    fewest, why = (2, "to learn from") if len(files) == 2 else (FEWEST_ROWS, "to be divided")
    if count < fewest:
        fix = "give more rows" + ("" if len(files) == 2 else ", or --test and --validation files")
        raise InputError(
            f"a table must have at least {fewest} rows with a target {why}, however: it has {count}; {fix}"
        )


def _task(request: RunRequest, card: DataCard | None, values: pd.Series[Any], target: str) -> tuple[Task, str]:
    if card is not None and request.task == "auto" and target == card.target:
        return card.task, OF_CARD
    return choose_task(values, request.task, target)


def _check_labels(labels: Mapping[str, npt.NDArray[Any]], task: Task, target: str, request: RunRequest) -> None:
    """Refuse classes of one kind in the table and of another in the files."""
    kinds = {name: ("text" if values.dtype.kind in "UO" else "numbers") for name, values in labels.items()}
    if task == "classification" and len(set(kinds.values())) > 1:
        raise InputError(
            f"classes must be of one type in all files, however: column {target!r} holds "
            f"{', '.join(f'{kind} in the {name} file' for name, kind in kinds.items())}; "
            f"write them alike in {request.table} and the other files"
        )


def _check_training(y: npt.NDArray[Any], task: Task, target: str) -> None:
    if task == "classification" and len(np.unique(y)) < 2:
        raise InputError(
            f"training rows must have at least two classes, however: with this split column {target!r} holds only "
            f"{y[0].item()!r} in them; choose another --split-seed, --group or --time, or give more rows"
        )


def _divide(
    request: RunRequest, frame: pd.DataFrame, y: npt.NDArray[Any], task: Task, files: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, Rows], str]:
    """Return for each part taken from the table its places there, and in words how they came about."""
    by: dict[str, Any] = {} if request.group is None else {"groups": frame[request.group].to_numpy()}
    if request.time is not None:
        by["time"] = frame[request.time]
    how = f"by groups of {request.group!r}" if request.group else f"by time, {request.time!r}" if request.time else ""
    sources = " and ".join(f"{part} rows from {getattr(request, part)}" for part in files)
    if len(files) == 2:
        return {"train": np.arange(len(frame), dtype=np.int64)}, sources
    if not files and not by and task == "classification" and gradients.leads(request.preset):
        text = "72 % training, 8 % held out of training to choose thresholds, 20 % test"
        return gradients.divide(len(frame), y, request.split_seed), f"{text}; stratified, seed {request.split_seed}"
    shares = (0.8, 0.1, 0.1) if files else (0.6, 0.2, 0.2)
    split = split_rows(len(frame), y, task=task, seed=request.split_seed, fractions=shares, **by)
    places = {"train": split.train, "validation": split.validation, "test": split.test}
    text = "60 % training, 20 % validation, 20 % test"
    if files:
        # Two parts are wanted: both halves of what was taken off serve as the part that has no file.
        wanted = "validation" if "test" in files else "test"
        places = {"train": split.train, wanted: np.sort(np.concatenate([split.validation, split.test]))}
        text = f"80 % training, 20 % {wanted}; {sources}"
    how = how or ("stratified by class" if split.kind == "stratified" else "at random")
    seed = "" if request.time is not None else f", seed {request.split_seed}"
    return places, f"{text}; {how}{seed}"


def _undivided(count: int) -> tuple[dict[str, Rows], str]:
    none = np.zeros(0, dtype=np.int64)
    return {"train": np.arange(count, dtype=np.int64), "validation": none, "test": none}, "not divided"


def shared_rows(notes: list[str], train: pd.DataFrame, test: pd.DataFrame, read: Sequence[str]) -> tuple[int, int]:
    """Count the test rows that are equal to a training row, and note it.

    Args:
        notes: Take the sentence.
        train: The training rows with every column of their file.
        test: The test rows alike; columns that only one of the two files has cannot be compared.
        read: The columns that the model learns from, and the target.

    Returns:
        Rows that are equal in every column, and rows that are equal at least in the columns that are read.
    """
    columns = [name for name in train.columns if name in test.columns]
    alike = count_shared_rows(train[list(read)], test[list(read)])
    equal = count_shared_rows(train[columns], test[columns]) if alike else 0
    if equal:
        stand = by_count(equal, "stands", "stand")
        notes.append(f"{equal} of {len(test)} test rows ({equal / len(test):.1%}) also {stand} in the training rows")
    if alike > equal:
        further = f"a further {alike - equal}" if equal else str(alike)
        agree = by_count(alike - equal, "agrees", "agree")
        notes.append(
            f"{further} of {len(test)} test rows {agree} with a training row in every feature and the target, but not "
            "in the columns that are left out"
        )
    return equal, alike
