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
from permgrad.data.read.cells import MissingCodes, RowLines, canonical
from permgrad.data.read.reading import Reading, Written
from permgrad.data.read.table import blank_codes, read_written
from permgrad.data.splitting import count_shared_rows, split_rows
from permgrad.data.types.column_types import Kind
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import gradients
from permgrad.runs.run.target import Task, choose_task, doubt_on_task, find_column, target_values

PARTS = ("train", "validation", "test")
#: Fewer rows than these are not divided in three.
FEWEST_ROWS = 10
#: Why a named data set has its task.
_OF_CARD = "known from its data card"
Codes = Sequence[str | int | float]
Rows = npt.NDArray[np.int64]


@dataclass
class Divided:
    """The rows of a run: every part's table with its target values, ``files`` those of parts that have a file."""

    task: Task
    reason: str
    files: dict[str, pd.DataFrame]
    tables: dict[str, pd.DataFrame]
    truths: dict[str, npt.NDArray[Any]]
    split: str
    lines: dict[str, RowLines]


def text_columns(written: Written, kinds: Mapping[str, Kind]) -> list[str]:
    """Return the columns that are text also in a table in which they happen to hold numbers alone."""
    return [*written.texts, *(name for name in written.coded if kinds.get(name) == "categorical")]


def divided(
    request: RunRequest,
    card: DataCard | None,
    written: Written,
    target: str,
    codes: Codes,
    notes: list[str],
    *,
    undivided: bool,
) -> Divided:
    """Return the rows whose target is known, in three parts; all of them in the first if they stay undivided."""
    sources = _sources(request, written, target, codes)
    tables = {
        name: _with_target(source.frame, target, codes, notes, "the table" if name == "table" else f"the {name} file")
        for name, source in sources.items()
    }
    frame, files = tables["table"], {part: table for part, table in tables.items() if part != "table"}
    fewest, why = (2, "to learn from") if len(files) == 2 else (FEWEST_ROWS, "to be divided")
    if len(frame) < fewest:
        fix = "give more rows" + ("" if len(files) == 2 else ", or --test and --validation files")
        raise InputError(
            f"a table must have at least {fewest} rows with a target {why}, however: it has {len(frame)}; {fix}"
        )
    if card is not None and request.task == "auto" and target == card.target:
        task, reason = card.task, _OF_CARD
    else:
        task, reason = choose_task(frame[target], request.task, target)
        notes += doubt_on_task(frame[target], task, target) if request.task == "auto" else []
    labels = {}
    for name, table in tables.items():
        with sources[name].lines.named():
            alike = written.alike.get(target) if name == "table" else None
            labels[name] = target_values(table[target], task, target, alike=alike)
    if undivided:
        none = np.zeros(0, dtype=np.int64)
        places, split = {"train": np.arange(len(frame)), "validation": none, "test": none}, "not divided"
    else:
        places, split = _divide(request, frame, labels["table"], task, files)
    truths = {part: labels["table"][places[part]] if part in places else labels[part] for part in PARTS}
    if task == "classification":
        _check_classes(request, target, labels, truths["train"])
    parts = {part: frame.iloc[places[part]] if part in places else files[part] for part in PARTS}
    lines = {part: sources.get(part, written).lines for part in PARTS}
    return Divided(task, reason, files, parts, truths, split, lines)


def _sources(request: RunRequest, written: Written, target: str, codes: Codes) -> dict[str, Written]:
    """Return the table, and the parts that have a file of their own, read as the table is."""
    reading = Reading(
        like=written.decimals,
        texts=frozenset(text_columns(written, request.kinds)),
        codes=MissingCodes.of(codes),
        classes=[target],
        identifiers=request.names_of_rows,
        named=list(written.frame.columns),
        not_na=request.kept_texts,
        units=written.units,
    )
    paths = {part: getattr(request, part) for part in ("test", "validation")}
    sources = {part: read_written(path, reading) for part, path in paths.items() if path is not None}
    for part, source in sources.items():
        find_column(target, list(source.frame.columns), f"target of the {part} file")
    return {"table": written, **sources}


def _check_classes(
    request: RunRequest, target: str, labels: Mapping[str, npt.NDArray[Any]], learned: npt.NDArray[Any]
) -> None:
    """Refuse classes of one type in the table and of another in the files, and training rows of one class."""
    kinds = {name: ("text" if values.dtype.kind in "UO" else "numbers") for name, values in labels.items()}
    if len(set(kinds.values())) > 1:
        raise InputError(
            f"classes must be of one type in all files, however: column {target!r} holds "
            f"{', '.join(f'{kind} in the {name} file' for name, kind in kinds.items())}; "
            f"write them alike in {request.table} and the other files"
        )
    if len(np.unique(learned)) < 2:
        raise InputError(
            f"training rows must have at least two classes, however: with this split column {target!r} holds only "
            f"{learned[0].item()!r} in them; choose another --split-seed, --group or --time, or give more rows"
        )


def _with_target(frame: pd.DataFrame, target: str, codes: Codes, notes: list[str], where: str) -> pd.DataFrame:
    """Return the rows whose target is known, numbered as in the file; what is left out is noted."""
    blanked = blank_codes(frame[[target]], list(codes))[target]
    if not pd.api.types.is_numeric_dtype(blanked.dtype):
        blanked = blanked.mask(blanked.astype(str).str.strip() == "")
    missing = blanked.isna().to_numpy()
    if missing.all():
        raise InputError(
            f"the target must be known, however: column {target!r} of {where} is missing in every row; "
            "choose another target, or check --na"
        )
    if count := int(missing.sum()):
        words = f"{by_count(count, 'has', 'have')} no target and {by_count(count, 'is', 'are')} left out"
        notes.append(f"{count} of {len(frame)} rows of {where} {words}")
    return frame.assign(**{target: blanked}).loc[~missing]


def _divide(
    request: RunRequest, frame: pd.DataFrame, y: npt.NDArray[Any], task: Task, files: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, Rows], str]:
    """Return for each part taken from the table its places there, and in words how they came about."""
    by: dict[str, Any] = {} if request.group is None else {"groups": frame[request.group].to_numpy()}
    if request.time is not None:
        by["time"] = frame[request.time]
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
    how = f"by groups of {request.group!r}" if request.group else f"by time, {request.time!r}" if request.time else ""
    how = how or ("stratified by class" if split.kind == "stratified" else "at random")
    seed = "" if request.time is not None else f", seed {request.split_seed}"
    return places, f"{text}; {how}{seed}"


def notes_on_division(request: RunRequest, train: pd.DataFrame, files: Mapping[str, pd.DataFrame]) -> list[str]:
    """Say which groups of the training rows stand in the files, too, and where nothing is left to be divided."""
    notes = [
        f"--{name} divides nothing, because --test and --validation are both given; the column is left out all the same"
        for name in ("group", "time")
        if len(files) == 2 and getattr(request, name) is not None
    ]
    for part, table in files.items() if request.group is not None else ():
        if request.group not in table.columns:
            continue
        there, learned = (set(map(canonical, rows[request.group].dropna().unique())) for rows in (table, train))
        if shared := len(there & learned):
            notes.append(
                f"{shared} of {len(there)} groups of {request.group!r} in the {part} file also "
                f"{by_count(shared, 'stands', 'stand')} in the training rows"
            )
    return notes


def shared_rows(notes: list[str], train: pd.DataFrame, test: pd.DataFrame, read: Sequence[str]) -> tuple[int, int]:
    """Return how many test rows equal a training row in every column, and in those that are ``read``; note both."""
    # Columns that only one of the two files has cannot be compared.
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
