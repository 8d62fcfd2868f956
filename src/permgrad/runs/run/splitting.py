"""Second step of a run: the task of the target, and which rows train, validate and test."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Integers
from permgrad.base.checks import check_class_names
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    counted,
    listed,
    option_of,
    refusing,
)
from permgrad.base.numerals import percent
from permgrad.data.read.cells import (
    CellError,
    MissingCodes,
    RowLines,
    canonical,
    first_no_number,
)
from permgrad.data.read.dates import are_durations, find_date_format, is_moment
from permgrad.data.read.table import blank_codes
from permgrad.data.splitting import are_expected, count_shared_rows, halve, split_rows
from permgrad.data.types.column_types import odd_among_numbers
from permgrad.data.types.positive import find_positive, one_spelling, usual_positive
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.table import ReadTable

PARTS = ("train", "validation", "test")
#: Tables with fewer rows are not split in three.
FEWEST_ROWS = 10
#: Share of the training rows of the published example that is held out to choose thresholds.
_HELD_OUT = 0.1
#: Presets that read the row as a table and as an image. Their settings need not be loaded, and with them torch.
_HYBRID = ("default", "fast", "paper")
Task = Literal["classification", "regression"]
#: Seed of every split, which a run's own seed does not change: other models are tested on the same rows.
SPLIT_SEED = 42
POSITIVE = "Average precision and lift are for the positive class {!r} (change it with --positive)."

#: At most this many different whole numbers are read as classes by default.
MOST_CLASSES = 10
#: Fewest rows of each such class. With fewer, some of training, validation and test rows would have none.
FEWEST_IN_CLASS = 5
#: Above this many different whole numbers, a target is not suspected to hold classes.
_MOST_DOUBTFUL = 50
#: What to do with classes that are written with leading zeros.
AS_TEXT = "write them as text, for example with a letter in front"
#: At most this many different numbers may be classes written with a decimal point.
_FEW_NUMBERS = 5


@dataclass(frozen=True)
class SplitTable:
    """The rows of a run: every part's table with its target values, ``files`` those of parts that have a file."""

    task: Task
    reason: str
    files: Mapping[str, pd.DataFrame]
    tables: Mapping[str, pd.DataFrame]
    truths: Mapping[str, npt.NDArray[Any]]
    split: str
    lines: Mapping[str, RowLines]
    notes: tuple[str, ...] = ()


def split_table(
    request: RunRequest, read: ReadTable, *, undivided: bool = False
) -> SplitTable:
    """Return the rows with a target, split in three parts, or all in the first if ``undivided``."""
    target = read.target
    tables, notes = _rows_with_target(request, read)
    frame, files = (
        tables["table"],
        {part: table for part, table in tables.items() if part != "table"},
    )
    if not undivided and len(frame) < FEWEST_ROWS:
        problem = f"The table needs at least {FEWEST_ROWS} rows with a target to be split, got {len(frame)}"
        raise InputError(problem, hint="Add rows.", code="PG013")
    if read.task == "auto" and read.card is not None and read.is_of_card:
        task, reason = read.card.task, "by its data card"
    else:
        task, reason = choose_task(frame[target], read.task, target)
        if read.task == "auto" and task == "regression":
            notes += doubt_on_task(frame[target], target, "--task classification")
    labels = {}
    for name, table in tables.items():
        with read.sources[name].lines.named():
            alike = read.written.alike.get(target) if name == "table" else None
            labels[name] = target_values(table[target], task, target, alike=alike)
    if undivided:
        none = np.zeros(0, dtype=np.int64)
        places, split = (
            {"train": np.arange(len(frame)), "validation": none, "test": none},
            "not divided",
        )
    else:
        places, split = _divide(request, frame, labels["table"], task, files)
    truths = {
        part: labels["table"][places[part]] if part in places else labels[part]
        for part in PARTS
    }
    _check_truths(request, target, task, labels, truths)
    parts = {
        part: frame.iloc[places[part]] if part in places else files[part]
        for part in PARTS
    }
    lines = {part: read.sources.get(part, read.written).lines for part in PARTS}
    return SplitTable(task, reason, files, parts, truths, split, lines, tuple(notes))


def _rows_with_target(
    request: RunRequest, read: ReadTable
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the rows with a target of each file, numbered as in it, and notes on the others and on equal classes."""
    target, tables, notes = read.target, dict[str, pd.DataFrame](), list[str]()
    for name, source in read.sources.items():
        where, frame = (
            "the table" if name == "table" else f"the {name} file",
            source.frame,
        )
        blanked = blank_codes(frame[[target]], read.reading.codes)[target]
        if not pd.api.types.is_numeric_dtype(blanked.dtype):
            blanked = blanked.mask(blanked.astype(str).str.strip() == "")
        missing = blanked.isna().to_numpy()
        if missing.all():
            problem = f"Column {target!r} of {where} is missing in every row, so it cannot be the target"
            raise InputError(
                problem, hint="Choose another target, or check --na.", code="PG015"
            )
        if count := int(missing.sum()):
            words = f"{by_count(count, 'has', 'have')} no target and {by_count(count, 'is', 'are')} left out"
            notes.append(f"{count:,} of {len(frame):,} rows of {where} {words}")
        tables[name] = frame.assign(**{target: blanked}).loc[~missing]
    spelled = Counter(
        text
        for table in tables.values()
        for text in table[target]
        if isinstance(text, str)
    )
    if (merged := one_spelling(spelled)) and request.kinds.get(target) != "categorical":
        pairs = [f"{one!r} is {other!r}" for one, other in merged.items()]
        fix = f"if they differ, pass {option_of('--kind', target)}=categorical"
        notes.append(
            f"classes of {target!r} that differ only in capitals or blanks are one: {listed(pairs)}; {fix}."
        )
        for name, table in tables.items():
            tables[name] = table.assign(
                **{target: table[target].astype(object).replace(merged)}
            )
    return tables, notes


@refusing
def _check_truths(
    request: RunRequest,
    target: str,
    task: Task,
    labels: Mapping[str, npt.NDArray[Any]],
    truths: Mapping[str, npt.NDArray[Any]],
) -> Iterator[Fault]:
    """Refuse a target that cannot be learned or stopped by in the parts, and options that do not suit it."""
    learned, held = truths["train"], truths["validation"]
    classes = np.unique(learned) if task == "classification" else np.zeros(0)
    kinds = {
        name: ("text" if values.dtype.kind in "UO" else "numbers")
        for name, values in labels.items()
    }
    if task == "classification" and len(set(kinds.values())) > 1:
        problem = (
            f"The classes in column {target!r} are of different types: "
            f"{', '.join(f'{kind} in the {name} file' for name, kind in kinds.items())}"
        )
        yield (
            problem,
            f"Write them alike in {request.table} and the other files.",
            "PG015",
        )
    if "test" in labels and task == "classification" and len(set(kinds.values())) == 1:
        yield from _other_spelling(target, classes, labels["test"])
    if len(classes) == 1:
        problem = f"The training rows have only one class in column {target!r}: {learned[0].item()!r}"
        hint = "Choose another --row-group or --time, or add rows."
        yield problem, hint, "PG018"
    flag = "--cost" if request.threshold is None else "--threshold"
    decides = request.cost is not None or request.threshold is not None
    if decides and len(classes) != 2:
        fact = f"the training rows of {target!r} hold {len(classes)} classes"
        problem = f"{flag} needs a target of two classes, but {fact if len(classes) else f'{target!r} is a number'}"
        yield problem, f"Leave {flag} out, or choose another --target.", "PG004"
    if len(classes) and len(held) and not np.isin(held, classes).any():
        problem = "No validation row has a class of the training rows"
        yield problem, "Choose another --row-group or --time, or add rows.", "PG018"


def _other_spelling(
    target: str, classes: npt.NDArray[Any], tested: npt.NDArray[Any]
) -> Iterator[Fault]:
    """Refuse a test file whose classes are those of training in another spelling, or all others."""
    known = {canonical(label): _letters(label) for label in classes}
    other = [canonical(label) for label in np.unique(tested)]
    new = [text for text in other if text not in known]
    by_letters = {letters: name for name, letters in known.items()}
    alike = {
        text: by_letters[_letters(text)] for text in new if _letters(text) in by_letters
    }
    if not new or not (alike or len(new) == len(other)):
        return
    pairs = [f"{text!r} is {name!r}" for text, name in alike.items()]
    problem = (
        f"The classes of {target!r} in the test file are {listed(other, 4, show=repr)}, in the table "
        f"{listed(list(known), 4, show=repr)}"
    )
    same = f": {listed(pairs, 4)}" if pairs else ""
    yield problem, f"Write them as in the table{same}.", "PG015"


def _letters(label: object) -> str:
    """Return the letters, digits and comparisons of a class: those of ``<=50K.`` are those of ``<=50k``."""
    return re.sub(r"[^\w<>=+-]+", "", canonical(label)).casefold()


def _divide(
    request: RunRequest,
    frame: pd.DataFrame,
    y: npt.NDArray[Any],
    task: Task,
    files: Mapping[str, pd.DataFrame],
) -> tuple[dict[str, Integers], str]:
    """Return the places in the table of each part that is taken from it, and a description of the split."""
    by: dict[str, Any] = (
        {}
        if request.row_group is None
        else {"groups": frame[request.row_group].to_numpy()}
    )
    if request.time is not None:
        by["time"] = frame[request.time]
    if not files and not by and task == "classification" and _is_published(request):
        text = "72 % training, 8 % held out of training to choose thresholds, 20 % test"
        places = divide_as_published(len(frame), y, SPLIT_SEED)
        return places, f"{text}; stratified, seed {SPLIT_SEED}"
    # In time, the training rows next to the test rows tell the most of them.
    usual = (0.6, 0.2, 0.2) if request.time is None else (0.7, 0.1, 0.2)
    shares = (0.8, 0.1, 0.1) if files else usual
    split = split_rows(
        len(frame), y, task=task, seed=SPLIT_SEED, fractions=shares, **by
    )
    places = {"train": split.train, "validation": split.validation, "test": split.test}
    text = (
        f"{usual[0] * 100:.0f} % training, {usual[1] * 100:.0f} % validation, 20 % test"
    )
    if files:
        # Two parts are needed: both that were split off stop the training.
        places = {
            "train": split.train,
            "validation": np.sort(np.concatenate([split.validation, split.test])),
        }
        text = f"80 % training, 20 % validation; test rows from {request.test}"
    how = (
        f"by groups of {request.row_group!r}"
        if request.row_group
        else f"by time, {request.time!r}"
        if request.time
        else ""
    )
    how = how or ("stratified by class" if split.kind == "stratified" else "at random")
    seed = "" if request.time is not None else f", seed {SPLIT_SEED}"
    return places, f"{text}; {how}{seed}"


def _is_published(request: RunRequest) -> bool:
    """Whether a preset is that of the published example, a plain network with one logit."""
    if request.model != "network" or request.network in _HYBRID:
        return False
    from permgrad.models.estimators.presets import get_preset  # loads torch

    settings = get_preset(request.network)
    return settings.network.single_logit and (
        request.branches or tuple(settings.branches)
    ) == ("tabular",)


def shared_rows(
    request: RunRequest, rows: SplitTable, read: Sequence[str], codes: MissingCodes
) -> tuple[dict[str, Any], list[str]]:
    """Return what training and test rows have in common, and notes on it.

    Counts how many test rows equal a training row in every column (``shared_rows``), in how many of these every
    feature is missing (``blank_rows``), and how many are equal in the columns ``read``, which are the features and the
    target (``alike_rows``). ``shared_expected``: the first are no surprise.
    """
    train, test, notes = rows.tables["train"], rows.tables["test"], list[str]()
    for part, table in rows.files.items():
        if request.row_group is None or request.row_group not in table.columns:
            continue
        there, learned = (
            set(map(canonical, side[request.row_group].dropna().unique()))
            for side in (table, train)
        )
        if shared := len(there & learned):
            notes.append(
                f"{shared:,} of {len(there):,} groups of {request.row_group!r} in the {part} file "
                f"{by_count(shared, 'is', 'are')} also in the training rows"
            )
    # Only columns of both files can be compared.
    columns = [name for name in train.columns if name in test.columns]
    alike = count_shared_rows(train[list(read)], test[list(read)])
    equal = count_shared_rows(train[columns], test[columns]) if alike else 0
    blank = 0
    expected = are_expected(train[columns], test[columns], equal)
    if equal:
        empty = blank_codes(test[list(read[:-1])], codes).isna().all(axis=1).to_numpy()
        blank = count_shared_rows(train[columns], test.loc[empty, columns])
        # Rows without any value need not be copies.
        if (copies := equal - blank) and not expected:
            words = f"{copies:,} of {len(test):,} test rows ({percent(copies / len(test))}) {by_count(copies, 'is', 'are')}"
            notes.append(f"{words} also in the training rows")
    if alike > equal and not are_expected(train[list(read)], test[list(read)], alike):
        apart = listed([name for name in columns if name not in read], 3)
        further = f"{'a further ' * bool(equal)}{counted(alike - equal, 'test row')}"
        notes.append(
            f"{further} {by_count(alike - equal, 'is', 'are')} equal to a training row, apart from {apart}"
        )
    counts = {
        "shared_rows": equal,
        "blank_rows": blank,
        "alike_rows": alike,
        "shared_expected": expected,
    }
    return counts, notes


# ---- the target ------------------------------------------------------------------------------------------------------
def choose_task(values: pd.Series[Any], wanted: str, name: str) -> tuple[Task, str]:
    """Return the task and the reason. The values must not be missing.

    Text, booleans and categories are classes. So are whole numbers with at most 10 different values, each in at least
    5 rows, and any two whole numbers. Other numbers are for regression.
    """
    if wanted == "classification":
        return "classification", "as requested"
    is_flag = pd.api.types.is_bool_dtype(values.dtype)
    is_text = not (is_flag or pd.api.types.is_numeric_dtype(values.dtype))
    if is_text:
        # Texts that are no classes are refused: dates, times, and numbers beside cells that are none.
        cells = values.astype(str).value_counts(sort=False)
        texts = cells.index.tolist()
        if is_moment(values) or find_date_format(texts) or are_durations(texts):
            hint = "Choose another target, or make it a number, such as days since the first date."
            problem = (
                f"Column {name!r} holds dates or times, and these cannot be predicted"
            )
            raise InputError(problem, hint=hint, code="PG015")
        odd = odd_among_numbers(texts, cells.to_numpy())
        fix = (
            ""
            if odd is None
            else f"Pass {option_of('--na', odd[0])} if it means missing, or correct the cell."
        )
        if wanted in ("regression", "counts"):
            text = first_no_number(texts) if odd is None else odd[0]
            problem = f"A regression target must be numeric, but column {name!r} holds text such as {text!r}"
            raise InputError(
                problem,
                hint=fix or "Choose another target, or --task classification.",
                code="PG015",
            )
        # A code such as 250 may be a class. Dozens of numbers beside a cell such as '-' are hardly meant as classes.
        if odd is not None and len(texts) > MOST_CLASSES + 1:
            problem = (
                f"Most cells of the target {name!r} are numbers, but {odd[0]!r} is not"
            )
            raise InputError(
                problem,
                hint=f"{fix} If all are classes, pass --task classification.",
                code="PG015",
            )
    if wanted == "counts":
        if is_flag or (values < 0).any():
            example = "True and False" if is_flag else f"{values[values < 0].iloc[0]:g}"
            problem = f"Counts must be numbers of at least 0, but column {name!r} holds {example}"
            raise InputError(
                problem, hint="Choose another target, or --task.", code="PG015"
            )
        return "regression", "counts, as requested"
    if wanted == "regression":
        return "regression", "as requested"
    return (
        ("classification", "its values are not numbers")
        if is_text or is_flag
        else _task_of_numbers(values)
    )


def _task_of_numbers(values: pd.Series[Any]) -> tuple[Task, str]:
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
    return "regression", reason + (
        f", the rarest in {counted(fewest, 'row')}" if thin else ""
    )


def doubt_on_task(values: pd.Series[Any], name: str, option: str) -> list[str]:
    """Return a note if a target that is read as numbers may hold classes."""
    numbers = np.unique(values.to_numpy(dtype=np.float64))
    if len(numbers) > _MOST_DOUBTFUL or not np.all(numbers == np.floor(numbers)):
        return []
    _, reason = choose_task(values, "auto", name)
    return [
        f"target {name!r} is predicted as a number: {reason}. If these are classes, pass {option}."
    ]


def positive_label(
    y: npt.NDArray[Any], task: Task, wanted: Any, stated: Any = None
) -> Any:
    """Return the positive class of two among the rows of a table ``(rows,)`` as a Python value. None: not two classes.

    It is the class that the user ``wanted``, else the one ``stated`` by the data card, else the rarer one.
    """
    classes = np.unique(y) if task == "classification" else np.zeros(0)
    if wanted is not None:
        return classes[find_positive(classes.tolist(), wanted)].item()
    if len(classes) != 2:
        return None
    named = [
        label
        for label in classes.tolist()
        if stated is not None and canonical(label) == canonical(stated)
    ]
    return (
        named[0]
        if named
        else classes[usual_positive(classes.tolist(), y == classes[1])].item()
    )


def target_values(
    values: pd.Series[Any],
    task: Task,
    name: str,
    *,
    alike: tuple[str, str] | None = None,
) -> npt.NDArray[Any]:
    """Return the values as an array: float64 for regression, else classes as whole numbers, booleans or text."""
    if task == "regression":
        numbers = values.to_numpy(dtype=np.float64)
        if not np.all(np.isfinite(numbers)):
            row = int(np.argmin(np.isfinite(numbers)))
            raise CellError.at(
                row,
                values.index,
                f"A regression target must be finite, but column {name!r} holds {numbers[row]}",
                "Correct the cell or leave it empty.",
            )
        if len(np.unique(numbers)) < 2:
            problem = f"Column {name!r} cannot be the target: it is {numbers[0]:g} in every row"
            raise InputError(problem, hint="Choose another target.", code="PG015")
        # Here all rows are checked as fit checks training rows.
        from permgrad.models.estimators.inputs import number_target

        return number_target(numbers)
    if pd.api.types.is_bool_dtype(values.dtype):
        classes = values.to_numpy(dtype=bool)
    elif pd.api.types.is_numeric_dtype(values.dtype) and bool(
        (values == np.floor(values)).all()
    ):
        classes = values.to_numpy(dtype=np.int64)
    else:
        classes = np.array([str(value) for value in values], dtype=object).astype(str)
    levels = np.unique(classes)
    check_class_names(levels.tolist())
    if len(levels) < 2:
        why = (
            ""
            if alike is None
            else f" ({alike[0]!r} and {alike[1]!r} are both read as it)"
        )
        fix = (
            "Choose another target."
            if alike is None
            else f"{AS_TEXT[0].upper()}{AS_TEXT[1:]}, or choose another target."
        )
        raise InputError(
            f"Column {name!r} has only one class: {levels[0].item()!r}{why}",
            hint=fix,
            code="PG015",
        )
    if len(levels) > 2 and len(levels) > len(classes) / 2:
        problem = f"Column {name!r} has a class for nearly every row: {len(levels)} classes in {len(classes)} rows"
        raise InputError(
            problem,
            hint="Choose another target, or --task regression for numbers.",
            code="PG015",
        )
    return np.asarray(classes)


# ---- the published example -------------------------------------------------------------------------------------------
def divide_as_published(n: int, y: npt.NDArray[Any], seed: int) -> dict[str, Integers]:
    """Split as published, 80/20 and stratified. A tenth of the 80 is held out of training to choose thresholds."""
    labels = np.unique(y, return_inverse=True)[1]
    learned, test, _ = halve(np.arange(n, dtype=np.int64), labels, 0.2, seed)
    train, held, _ = halve(learned, labels, _HELD_OUT, seed)
    return {"train": train, "validation": held, "test": test}
