"""Second step of a run: the task of the target, and which rows train, validate and
test.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.arrays import Floats, Integers
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
from permgrad.data.kinds.column import kinds
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
from permgrad.data.tasks import CLASSIFICATION, REGRESSION, Task, tasks
from permgrad.data.types.column_types import odd_among_numbers
from permgrad.data.types.positive import find_positive, one_spelling, usual_positive
from permgrad.models.branches.head_branches import TABLE
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_table import ReadTable

PARTS = ("train", "validation", "test")
#: Tables with fewer rows are not split in three.
FEWEST_ROWS = 10
#: Share of the training rows of the published example that is held out to choose
#: thresholds.
_HELD_OUT = 0.1
#: Presets that read the row as a table and as an image. Their settings need not be
#: loaded, and with them torch.
_HYBRID = ("default", "fast", "paper")
#: Seed of every split, which a run's own seed does not change: other models are tested
#: on the same rows.
SPLIT_SEED = 42
POSITIVE = (
    "Average precision and lift are for the positive class {!r} (change it with "
    "--positive)."
)

#: At most this many different whole numbers are read as classes by default.
MOST_CLASSES = 10
#: Fewest rows of each such class. With fewer, some of training, validation and test
#: rows would have none.
FEWEST_IN_CLASS = 5
#: Above this many different whole numbers, a target is not suspected to hold classes.
_MOST_DOUBTFUL = 50
#: What to do with classes that are written with leading zeros.
AS_TEXT = "write them as text, for example with a letter in front"
#: At most this many different numbers may be classes written with a decimal point.
_FEW_NUMBERS = 5


@dataclass(frozen=True)
class SplitTable:
    """The rows of a run: every part's table with its target values, ``files`` those of
    parts that have a file.
    """

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
    """Return the rows with a target, split in three parts, or all in the first if
    ``undivided``.
    """
    target = read.target
    tables, notes = _rows_with_target(request, read)
    frame = tables["table"]
    files = {
        part_name: table for part_name, table in tables.items() if part_name != "table"
    }
    if not undivided and len(frame) < FEWEST_ROWS:
        problem = (
            f"The table needs at least {FEWEST_ROWS} rows with a target to be "
            f"split, got {len(frame)}"
        )
        raise InputError(problem, hint="Add rows.", code="PG013")
    if read.task == "auto" and read.card is not None and read.is_of_card:
        task = tasks.get(read.card.task)
        reason = "by its data card"
    else:
        task, reason = choose_task(frame[target], read.task, target)
        if read.task == "auto" and task.numeric:
            notes += doubt_on_task(frame[target], target, "--task classification")
    labels = {}
    for table_part, table in tables.items():
        with read.sources[table_part].lines.named():
            alike = read.written.alike.get(target) if table_part == "table" else None
            file_part = None if table_part == "table" else table_part
            labels[table_part] = target_values(
                table[target], task, target, alike=alike, file_part=file_part
            )
    if undivided:
        no_rows = np.zeros(0, dtype=np.int64)
        row_indices = {
            "train": np.arange(len(frame)),
            "validation": no_rows,
            "test": no_rows,
        }
        split = "not divided"
    else:
        row_indices, split = _divide(request, frame, labels["table"], task, files)
    truths = {
        part_name: labels["table"][row_indices[part_name]]
        if part_name in row_indices
        else labels[part_name]
        for part_name in PARTS
    }
    _check_truths(request, target, task, labels, truths)
    part_tables = {
        part_name: frame.iloc[row_indices[part_name]]
        if part_name in row_indices
        else files[part_name]
        for part_name in PARTS
    }
    lines = {
        part_name: read.sources.get(part_name, read.written).lines
        for part_name in PARTS
    }
    return SplitTable(
        task, reason, files, part_tables, truths, split, lines, tuple(notes)
    )


def _rows_with_target(
    request: RunRequest, read: ReadTable
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the rows with a target of each file, numbered as in it, and notes on the
    others and on equal classes.
    """
    target = read.target
    tables = dict[str, pd.DataFrame]()
    notes = list[str]()
    for source_name, source in read.sources.items():
        if source_name == "table":
            where = "the table"
        else:
            where = f"the {source_name} file"
        frame = source.frame
        blanked = blank_codes(frame[[target]], read.reading.codes)[target]
        if not pd.api.types.is_numeric_dtype(blanked.dtype):
            blanked = blanked.mask(blanked.astype(str).str.strip() == "")
        missing = blanked.isna().to_numpy()
        if missing.all():
            problem = (
                f"Column {target!r} of {where} is missing in every row, so it "
                "cannot be the target"
            )
            raise InputError(
                problem, hint="Choose another target, or check --na.", code="PG015"
            )
        if count := int(missing.sum()):
            words = (
                f"{by_count(count, 'has', 'have')} no target and "
                f"{by_count(count, 'is', 'are')} left out"
            )
            notes.append(f"{count:,} of {len(frame):,} rows of {where} {words}")
        tables[source_name] = frame.assign(**{target: blanked}).loc[~missing]
    spelled = Counter(
        text
        for table in tables.values()
        for text in table[target]
        if isinstance(text, str)
    )
    merged = one_spelling(spelled)
    target_kind = kinds.get(request.kinds.get(target, ""), None)
    if merged and (target_kind is None or not target_kind.is_levels):
        pairs = []
        for merged_spelling, kept_spelling in merged.items():
            pairs.append(f"{merged_spelling!r} is {kept_spelling!r}")
        kind_advice = f"if they differ, pass {option_of('--kind', target)}=categorical"
        notes.append(
            f"classes of {target!r} that differ only in capitals or blanks are one: "
            f"{listed(pairs)}; {kind_advice}."
        )
        for table_part, table in tables.items():
            tables[table_part] = table.assign(
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
    """Refuse a target that cannot be learned or stopped by in the parts, and options
    that do not suit it.
    """
    learned = truths["train"]
    held_out_labels = truths["validation"]
    if task.has_classes:
        classes = np.unique(learned)
    else:
        classes = np.zeros(0)
    kinds = {}
    for part_name, values in labels.items():
        if values.dtype.kind in "UO":
            kinds[part_name] = "text"
        else:
            kinds[part_name] = "numbers"
    if task.has_classes and len(set(kinds.values())) > 1:
        kinds_of_parts = []
        for part_name, label_kind in kinds.items():
            kinds_of_parts.append(f"{label_kind} in the {part_name} file")
        problem = (
            f"The classes in column {target!r} are of different types: "
            f"{', '.join(kinds_of_parts)}"
        )
        yield (
            problem,
            f"Write them alike in {request.table} and the other files.",
            "PG015",
        )
    if "test" in labels and task.has_classes and len(set(kinds.values())) == 1:
        yield from _other_spelling(target, classes, labels["test"])
    if len(classes) == 1:
        problem = (
            f"The training rows have only one class in column {target!r}: "
            f"{learned[0].item()!r}"
        )
        problem_hint = "Choose another --row-group or --time, or add rows."
        yield problem, problem_hint, "PG018"
    decision_flag = "--cost" if request.threshold is None else "--threshold"
    decides = request.cost is not None or request.threshold is not None
    if decides and len(classes) != 2:
        class_text = f"the training rows of {target!r} hold {len(classes)} classes"
        problem = (
            f"{decision_flag} needs a target of two classes, but "
            f"{class_text if len(classes) else f'{target!r} is a number'}"
        )
        yield (
            problem,
            f"Leave {decision_flag} out, or choose another --target.",
            "PG004",
        )
    if (
        len(classes)
        and len(held_out_labels)
        and not np.isin(held_out_labels, classes).any()
    ):
        problem = "No validation row has a class of the training rows"
        yield problem, "Choose another --row-group or --time, or add rows.", "PG018"


def _other_spelling(
    target: str, classes: npt.NDArray[Any], tested: npt.NDArray[Any]
) -> Iterator[Fault]:
    """Refuse a test file whose classes are those of training in another spelling, or
    all others.
    """
    letters_by_class = {canonical(label): _letters(label) for label in classes}
    tested_classes = list(map(canonical, np.unique(tested)))
    new_classes = []
    for class_text in tested_classes:
        if class_text not in letters_by_class:
            new_classes.append(class_text)
    by_letters = {}
    for class_name, letters in letters_by_class.items():
        by_letters[letters] = class_name
    alike = {}
    for class_text in new_classes:
        if _letters(class_text) in by_letters:
            alike[class_text] = by_letters[_letters(class_text)]
    if not new_classes or not (alike or len(new_classes) == len(tested_classes)):
        return
    pairs = []
    for class_text, class_name in alike.items():
        pairs.append(f"{class_text!r} is {class_name!r}")
    problem = (
        f"The classes of {target!r} in the test file are "
        f"{listed(tested_classes, 4, show=repr)}, in the table "
        f"{listed(list(letters_by_class), 4, show=repr)}"
    )
    if pairs:
        same_words = f": {listed(pairs, 4)}"
    else:
        same_words = ""
    yield problem, f"Write them as in the table{same_words}.", "PG015"


def _letters(label: object) -> str:
    """Return the letters, digits and comparisons of a class: those of ``<=50K.`` are
    those of ``<=50k``.
    """
    return re.sub(r"[^\w<>=+-]+", "", canonical(label)).casefold()


def _divide(
    request: RunRequest,
    frame: pd.DataFrame,
    y: npt.NDArray[Any],
    task: Task,
    files: Mapping[str, pd.DataFrame],
) -> tuple[dict[str, Integers], str]:
    """Return the places in the table of each part that is taken from it, and a
    description of the split.
    """
    split_options: dict[str, Any] = (
        {}
        if request.row_group is None
        else {"groups": frame[request.row_group].to_numpy()}
    )
    if request.time is not None:
        split_options["time"] = frame[request.time]
    if not files and not split_options and task.has_classes and _is_published(request):
        split_words = (
            "72 % training, 8 % held out of training to choose thresholds, 20 % test"
        )
        row_indices = divide_as_published(len(frame), y, SPLIT_SEED)
        return row_indices, f"{split_words}; stratified, seed {SPLIT_SEED}"
    # In time, the training rows next to the test rows tell the most of them.
    usual = (0.6, 0.2, 0.2) if request.time is None else (0.7, 0.1, 0.2)
    shares = (0.8, 0.1, 0.1) if files else usual
    split = split_rows(
        len(frame), y, task=task, seed=SPLIT_SEED, fractions=shares, **split_options
    )
    row_indices = {
        "train": split.train,
        "validation": split.validation,
        "test": split.test,
    }
    split_words = (
        f"{usual[0] * 100:.0f} % training, {usual[1] * 100:.0f} % validation, 20 % test"
    )
    if files:
        # Two parts are needed: both that were split off stop the training.
        row_indices = {
            "train": split.train,
            "validation": np.sort(np.concatenate([split.validation, split.test])),
        }
        split_words = f"80 % training, 20 % validation; test rows from {request.test}"
    if request.row_group:
        division_words = f"by groups of {request.row_group!r}"
    elif request.time:
        division_words = f"by time, {request.time!r}"
    elif split.kind == "stratified":
        division_words = "stratified by class"
    else:
        division_words = "at random"
    seed_words = "" if request.time is not None else f", seed {SPLIT_SEED}"
    return row_indices, f"{split_words}; {division_words}{seed_words}"


def _is_published(request: RunRequest) -> bool:
    """Whether a preset is that of the published example, a plain network with one
    logit.
    """
    if request.model != "network" or request.network in _HYBRID:
        return False
    from permgrad.models.estimators.presets import get_preset  # loads torch

    settings = get_preset(request.network)
    return settings.network.single_logit and (
        request.branches or tuple(settings.branches)
    ) == (TABLE.name,)


def shared_rows(
    request: RunRequest, rows: SplitTable, read: Sequence[str], codes: MissingCodes
) -> tuple[dict[str, Any], list[str]]:
    """Return what training and test rows have in common, and notes on it.

    Counts how many test rows equal a training row in every column (``shared_rows``), in
    how many of these every feature is missing (``blank_rows``), and how many are equal
    in the columns ``read``, which are the features and the target (``alike_rows``).
    ``shared_expected``: the first are no surprise.
    """
    train = rows.tables["train"]
    tested = rows.tables["test"]
    notes = list[str]()
    for part_name, table in rows.files.items():
        if request.row_group is None or request.row_group not in table.columns:
            continue
        there = set(map(canonical, table[request.row_group].dropna().unique()))
        learned = set(map(canonical, train[request.row_group].dropna().unique()))
        if shared := len(there & learned):
            notes.append(
                f"{shared:,} of {len(there):,} groups of {request.row_group!r} in the "
                f"{part_name} file "
                f"{by_count(shared, 'is', 'are')} also in the training rows"
            )
    # Only columns of both files can be compared.
    columns = []
    for column_name in train.columns:
        if column_name in tested.columns:
            columns.append(column_name)
    alike = count_shared_rows(train[list(read)], tested[list(read)])
    if alike:
        equal = count_shared_rows(train[columns], tested[columns])
    else:
        equal = 0
    blank = 0
    expected = are_expected(train[columns], tested[columns], equal)
    if equal:
        empty = (
            blank_codes(tested[list(read[:-1])], codes).isna().all(axis=1).to_numpy()
        )
        blank = count_shared_rows(train[columns], tested.loc[empty, columns])
        # Rows without any value need not be copies.
        if (copies := equal - blank) and not expected:
            words = (
                f"{copies:,} of {len(tested):,} test rows "
                f"({percent(copies / len(tested))}) {by_count(copies, 'is', 'are')}"
            )
            notes.append(f"{words} also in the training rows")
    if alike > equal and not are_expected(train[list(read)], tested[list(read)], alike):
        apart = listed(
            [column_name for column_name in columns if column_name not in read], 3
        )
        further = f"{'a further ' * bool(equal)}{counted(alike - equal, 'test row')}"
        notes.append(
            f"{further} {by_count(alike - equal, 'is', 'are')} equal to a training "
            f"row, apart from {apart}"
        )
    counts = {
        "shared_rows": equal,
        "blank_rows": blank,
        "alike_rows": alike,
        "shared_expected": expected,
    }
    return counts, notes


# ---- the target ----------------------------------------------------------------------
def choose_task(
    values: pd.Series[Any], requested_task: str, name: str
) -> tuple[Task, str]:
    """Return the task and the reason. The values must not be missing.

    Text, booleans and categories are classes. So are whole numbers with at most 10
    different values, each in at least 5 rows, and any two whole numbers. Other numbers
    are for regression.
    """
    requested: Task | None = tasks.get(requested_task, None)
    if requested is not None and requested.has_classes:
        return requested, "as requested"
    is_flag = pd.api.types.is_bool_dtype(values.dtype)
    is_text = not (is_flag or pd.api.types.is_numeric_dtype(values.dtype))
    if is_text:
        _refuse_texts(values, name, as_number=requested is not None)
    if requested is not None and requested.of_counts:
        if is_flag or (values < 0).any():
            example = "True and False" if is_flag else f"{values[values < 0].iloc[0]:g}"
            problem = (
                f"Counts must be numbers of at least 0, but column {name!r} "
                f"holds {example}"
            )
            raise InputError(
                problem, hint="Choose another target, or --task.", code="PG015"
            )
        return requested.fitted, "counts, as requested"
    if requested is not None:
        return requested, "as requested"
    if is_text or is_flag:
        return CLASSIFICATION, "its values are not numbers"
    return _task_of_numbers(values)


def _refuse_texts(values: pd.Series[Any], name: str, *, as_number: bool) -> None:
    """Refuse texts that are no classes: dates, times, and numbers beside cells that are
    none. ``as_number``: a number is asked for.
    """
    cells = values.astype(str).value_counts(sort=False)
    texts = cells.index.tolist()
    if is_moment(values) or find_date_format(texts) or are_durations(texts):
        hint = (
            "Choose another target, or make it a number, such as days since the first "
            "date."
        )
        problem = f"Column {name!r} holds dates or times, and these cannot be predicted"
        raise InputError(problem, hint=hint, code="PG015")
    odd_cell = odd_among_numbers(texts, cells.to_numpy())
    if odd_cell is not None:
        correct_it = (
            f"Pass {option_of('--na', odd_cell[0])} if it means missing, or correct "
            "the cell."
        )
    if as_number:
        example_text = first_no_number(texts)
        hint = "Choose another target, or --task classification."
        if odd_cell is not None:
            example_text = odd_cell[0]
            hint = correct_it
        problem = (
            f"A regression target must be numeric, but column {name!r} holds text such "
            f"as {example_text!r}"
        )
        raise InputError(problem, hint=hint, code="PG015")
    # A code such as 250 may be a class. Dozens of numbers beside a cell such as '-' are
    # hardly meant as classes.
    if odd_cell is not None and len(texts) > MOST_CLASSES + 1:
        problem = (
            f"Most cells of the target {name!r} are numbers, but {odd_cell[0]!r} is not"
        )
        hint = f"{correct_it} If all are classes, pass --task classification."
        raise InputError(problem, hint=hint, code="PG015")


def _task_of_numbers(values: pd.Series[Any]) -> tuple[Task, str]:
    numbers = values.to_numpy(dtype=np.float64)
    counts = np.unique(numbers, return_counts=True)[1]
    different = len(counts)
    fewest = int(counts.min(initial=len(numbers)))
    if not np.all(numbers == np.floor(numbers)):
        reason = f"numbers with {different} different values"
        if different <= _FEW_NUMBERS and different * FEWEST_IN_CLASS <= len(numbers):
            reason += "; if these are classes, pass --task classification"
        return REGRESSION, reason
    reason = f"whole numbers with {different} different values"
    if different <= 2 or (different <= MOST_CLASSES and fewest >= FEWEST_IN_CLASS):
        return CLASSIFICATION, reason
    has_thin_class = different <= MOST_CLASSES
    return REGRESSION, reason + (
        f", the rarest in {counted(fewest, 'row')}" if has_thin_class else ""
    )


def doubt_on_task(values: pd.Series[Any], name: str, option: str) -> list[str]:
    """Return a note if a target that is read as numbers may hold classes."""
    numbers = np.unique(values.to_numpy(dtype=np.float64))
    if len(numbers) > _MOST_DOUBTFUL or not np.all(numbers == np.floor(numbers)):
        return []
    _, reason = choose_task(values, "auto", name)
    return [
        (
            f"target {name!r} is predicted as a number: {reason}. If these are "
            f"classes, pass {option}."
        )
    ]


def positive_label(
    y: npt.NDArray[Any], task: str, requested_label: Any, stated: Any = None
) -> Any:
    """Return the positive class of two among the rows of a table ``(rows,)`` as a
    Python value. None: not two classes.

    It is the class that the user ``requested_label``, else the one ``stated`` by the
    data card, else the rarer one.
    """
    if tasks.get(task).has_classes:
        classes = np.unique(y)
    else:
        classes = np.zeros(0)
    if requested_label is not None:
        return classes[find_positive(classes.tolist(), requested_label)].item()
    if len(classes) != 2:
        return None
    named = []
    for label in classes.tolist():
        if stated is not None and canonical(label) == canonical(stated):
            named.append(label)
    if named:
        return named[0]
    return classes[usual_positive(classes.tolist(), y == classes[1])].item()


def target_values(
    values: pd.Series[Any],
    task: str,
    name: str,
    *,
    alike: tuple[str, str] | None = None,
    file_part: str | None = None,
) -> npt.NDArray[Any]:
    """Return the values as an array: float64 for regression, else classes as whole
    numbers, booleans or text.

    ``alike``: two classes that are read as one. ``file_part``: the part that has a file
    of its own, which these are.
    """
    if tasks.get(task).numeric:
        return _numbers_of(values, name, file_part)
    if pd.api.types.is_bool_dtype(values.dtype):
        classes = values.to_numpy(dtype=bool)
    elif pd.api.types.is_numeric_dtype(values.dtype) and bool(
        (values == np.floor(values)).all()
    ):
        classes = values.to_numpy(dtype=np.int64)
    else:
        classes = np.array(list(map(str, values)), dtype=object).astype(str)
    levels = np.unique(classes)
    check_class_names(levels.tolist())
    if len(levels) < 2:
        problem = f"has only one class: {levels[0].item()!r}"
        if alike is not None:
            problem += f" ({alike[0]!r} and {alike[1]!r} are both read as it)"
        raise _unsuited_target(
            name, problem, file_part, is_read_as_one=alike is not None
        )
    if len(levels) > 2 and len(levels) > len(classes) / 2:
        problem = (
            f"Column {name!r} has a class for nearly every row: {len(levels)} "
            f"classes in {len(classes)} rows"
        )
        raise InputError(
            problem,
            hint="Choose another target, or --task regression for numbers.",
            code="PG015",
        )
    return np.asarray(classes)


def _numbers_of(values: pd.Series[Any], name: str, file_part: str | None) -> Floats:
    """Return the values of a target that is a number."""
    numbers = values.to_numpy(dtype=np.float64)
    if not np.all(np.isfinite(numbers)):
        row_index = int(np.argmin(np.isfinite(numbers)))
        raise CellError.at(
            row_index,
            values.index,
            f"A regression target must be finite, but column {name!r} holds "
            f"{numbers[row_index]}",
            "Correct the cell or leave it empty.",
        )
    if len(np.unique(numbers)) < 2:
        problem = f"cannot be the target: it is {numbers[0]:g} in every row"
        raise _unsuited_target(name, problem, file_part)
    # Here all rows are checked as fit checks training rows.
    from permgrad.models.estimators.fit_inputs import number_target

    return number_target(numbers)


def _unsuited_target(
    name: str, problem: str, file_part: str | None, *, is_read_as_one: bool = False
) -> InputError:
    """Return the error of a target with one value, in the table or in a file of a
    part.
    """
    column_words = f"Column {name!r}"
    problem_hint = "Choose another target."
    if file_part is not None:
        column_words += f" of the {file_part} file"
        problem_hint = f"Add rows with other values, or leave --{file_part} out."
    elif is_read_as_one:
        problem_hint = f"{AS_TEXT[0].upper()}{AS_TEXT[1:]}, or choose another target."
    return InputError(f"{column_words} {problem}", hint=problem_hint, code="PG015")


# ---- the published example -----------------------------------------------------------
def divide_as_published(n: int, y: npt.NDArray[Any], seed: int) -> dict[str, Integers]:
    """Split as published, 80/20 and stratified.

    A tenth of the 80 is held out of training to choose thresholds.
    """
    labels = np.unique(y, return_inverse=True)[1]
    tested = halve(np.arange(n, dtype=np.int64), labels, 0.2, seed)
    held_out = halve(tested.first, labels, _HELD_OUT, seed)
    return {
        "train": held_out.first,
        "validation": held_out.second,
        "test": tested.second,
    }
