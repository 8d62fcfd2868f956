"""Which rows of a run train, which validate and which test; the column to predict, and which task it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import check_class_names
from permgrad.base.errors import InputError, by_count, counted, listed, suggest
from permgrad.data.datasets import DataCard
from permgrad.data.read.cells import CellError, MissingCodes, RowLines, canonical
from permgrad.data.read.reading import Reading, Written
from permgrad.data.read.table import blank_codes, read_written
from permgrad.data.splitting import count_shared_rows, split_rows
from permgrad.data.types.column_types import Kind
from permgrad.data.types.positive import find_positive, usual_positive
from permgrad.runs.requests import RunRequest
from permgrad.runs.run import gradients

PARTS = ("train", "validation", "test")
#: Fewer rows than these are not divided in three.
FEWEST_ROWS = 10
#: Why a named data set has its task.
_OF_CARD = "known from its data card"
Task = Literal["classification", "regression"]

#: Most different whole numbers that are read as classes when nobody says.
MOST_CLASSES = 10
#: Fewest rows of each such class: with fewer, training, validation and test rows cannot all have some of them.
FEWEST_IN_CLASS = 5
#: With more different whole numbers than these nobody takes a target for classes.
_MOST_DOUBTFUL = 50
#: What to do with classes that are written with zeros in front.
AS_TEXT = "write them as text, for example with a letter in front"
#: So few different numbers, or fewer, may well be classes written with a decimal point.
_FEW_NUMBERS = 5
#: What a target's kind says of the task.
_TASK_OF: Mapping[str, str] = {"categorical": "classification", "boolean": "classification", "numeric": "regression"}
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
    codes: Codes


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
    return Divided(task, reason, files, parts, truths, split, lines, codes)


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


def notes_on_division(notes: list[str], request: RunRequest, rows: Divided, read: Sequence[str]) -> tuple[int, int]:
    """Note where nothing is left to be divided, and what training and test rows have in common.

    Returns how many test rows equal a training row in every column, and in those that are ``read``.
    """
    train, test = rows.tables["train"], rows.tables["test"]
    notes += [
        f"--{name} divides nothing, because --test and --validation are both given; the column is left out all the same"
        for name in ("group", "time")
        if len(rows.files) == 2 and getattr(request, name) is not None
    ]
    for part, table in rows.files.items():
        if request.group is None or request.group not in table.columns:
            continue
        there, learned = (set(map(canonical, side[request.group].dropna().unique())) for side in (table, train))
        if shared := len(there & learned):
            notes.append(
                f"{shared} of {len(there)} groups of {request.group!r} in the {part} file also "
                f"{by_count(shared, 'stands', 'stand')} in the training rows"
            )
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


# ---- the target ------------------------------------------------------------------------------------------------------
def find_column(name: str, names: Sequence[str], role: str) -> None:
    """Refuse a column that is not in the table, with a guess and a hint at a wrong delimiter."""
    if name in names:
        return
    fix = f"its columns are {listed(names, 8, repr)}"
    if len(names) == 1:
        fix += "; is the file's delimiter one of , ; tab | or space?"
    raise InputError(
        f"{role} must be a column of the table, however: there is no column {name!r}{suggest(name, names)}; {fix}"
    )


def choose_task(values: pd.Series[Any], wanted: str, name: str) -> tuple[Task, str]:
    """Return the task and why; the values must not be missing.

    Text, booleans and categories are classes, and so are whole numbers with at most 10 different values, each in at
    least 5 rows, and two whole numbers anyhow; other numbers are for regression.
    """
    is_flag = pd.api.types.is_bool_dtype(values.dtype)
    is_number = pd.api.types.is_numeric_dtype(values.dtype) and not is_flag
    if wanted == "classification":
        return "classification", "asked for"
    if wanted == "regression":
        if not is_number and not is_flag:
            raise InputError(
                f"a regression target must hold numbers, however: column {name!r} holds text such as "
                f"{str(values.iloc[0])!r}; choose another target, or --task classification"
            )
        return "regression", "asked for"
    if not is_number:
        return "classification", "its values are not numbers"
    numbers = values.to_numpy(dtype=np.float64)
    counts = np.unique(numbers, return_counts=True)[1]
    different, fewest = len(counts), int(counts.min(initial=len(numbers)))
    if not np.all(numbers == np.floor(numbers)):
        reason = f"numbers with {different} different values"
        if different <= _FEW_NUMBERS and different * FEWEST_IN_CLASS <= len(numbers):
            reason += "; if these are classes, pass --task classification"
        return "regression", reason
    reason = f"whole numbers with {different} different values"
    if different <= 2 or (different <= MOST_CLASSES and fewest >= FEWEST_IN_CLASS):
        return "classification", reason
    thin = different <= MOST_CLASSES
    return "regression", reason + (f", the rarest in {counted(fewest, 'row')}" if thin else "")


def doubt_on_task(values: pd.Series[Any], task: Task, name: str, option: str = "--task classification") -> list[str]:
    """Return a sentence if a target that is taken for numbers, though nobody said so, may well hold classes."""
    if task == "classification":
        return []
    numbers = np.unique(values.to_numpy(dtype=np.float64))
    if len(numbers) > _MOST_DOUBTFUL or not np.all(numbers == np.floor(numbers)):
        return []
    _, reason = choose_task(values, "auto", name)
    return [f"target {name!r} is predicted as a number: {reason}; if they are classes, pass {option}"]


def positive_label(y: npt.NDArray[Any], task: Task, wanted: Any, stated: Any = None) -> Any:
    """Return the positive one of two classes of training rows ``(rows,)``, as Python's value; None: not two classes.

    It is the class that the user ``wanted``, else the one that the data card ``stated``, else the rarer one.
    """
    classes = np.unique(y) if task == "classification" else np.zeros(0)
    if wanted is not None:
        return classes[find_positive(classes.tolist(), wanted)].item()
    if len(classes) != 2:
        return None
    named = [label for label in classes.tolist() if stated is not None and canonical(label) == canonical(stated)]
    return named[0] if named else classes[usual_positive(classes.tolist(), y == classes[1])].item()


def positive_words(positive: Any) -> list[str]:
    """Return a sentence that says which of two classes metrics are of; nothing where there are not two."""
    if positive is None:
        return []
    return [f"Average precision and lift are of {str(positive)!r}, the positive class (--positive chooses another)."]


def target_values(
    values: pd.Series[Any], task: Task, name: str, *, alike: tuple[str, str] | None = None
) -> npt.NDArray[Any]:
    """Return the values as an array: float64 for regression; classes as whole numbers, booleans or text."""
    if task == "regression":
        numbers = values.to_numpy(dtype=np.float64)
        if not np.all(np.isfinite(numbers)):
            row = int(np.argmin(np.isfinite(numbers)))
            raise CellError.at(
                row,
                values.index,
                f"a regression target must be finite, however: column {name!r} holds {numbers[row]} in ",
                "; correct the cell or leave it empty",
            )
        if len(np.unique(numbers)) < 2:
            raise InputError(
                f"a regression target must vary, however: column {name!r} holds {numbers[0]:g} in every row; "
                "choose another target"
            )
        # What a fit refuses of training rows is refused here of all of them.
        from permgrad.models.estimators.inputs import number_target

        return number_target(numbers)
    if pd.api.types.is_bool_dtype(values.dtype):
        classes = values.to_numpy(dtype=bool)
    elif pd.api.types.is_numeric_dtype(values.dtype) and bool((values == np.floor(values)).all()):
        classes = values.to_numpy(dtype=np.int64)
    else:
        classes = np.array([str(value) for value in values], dtype=object).astype(str)
    levels = np.unique(classes)
    check_class_names(levels.tolist())
    if len(levels) < 2:
        why = "" if alike is None else f", which {alike[0]!r} and {alike[1]!r} are both read as"
        fix = "choose another target" if alike is None else f"{AS_TEXT}, or choose another target"
        raise InputError(
            f"a classification target must have at least two classes, however: column {name!r} holds only "
            f"{levels[0].item()!r}{why}; {fix}"
        )
    if len(levels) > 2 and len(levels) > len(classes) / 2:
        raise InputError(
            f"a classification target must have several rows for each class, however: column {name!r} holds "
            f"{len(levels)} classes in {len(classes)} rows; choose another target, or --task regression for numbers"
        )
    return np.asarray(classes)


def task_of_target(kinds: dict[str, Kind], target: str, task: str) -> str:
    """Take the target's kind from the kinds and return the task that it asks for; without one the ``task`` as it is."""
    kind = kinds.pop(target, None)
    if kind is None:
        return task
    kind_task = _TASK_OF.get(kind)
    if kind_task is None:
        raise InputError(
            f"The target {target!r} cannot be of kind {kind}. Say --kind {target}=categorical to predict classes, or "
            f"--kind {target}=numeric to predict a number."
        )
    if task not in ("auto", kind_task):
        raise InputError(
            f"--kind {target}={kind} asks for a {kind_task}, --task {task} does not. Leave one of them out."
        )
    return kind_task
