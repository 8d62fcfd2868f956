"""The column to predict: which task it asks for, and its values as the estimators take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.checks import check_class_names
from permgrad.base.errors import InputError, counted, listed, suggest
from permgrad.data.read.cells import CellError, canonical
from permgrad.data.types.column_types import Kind
from permgrad.data.types.positive import find_positive, usual_positive

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
