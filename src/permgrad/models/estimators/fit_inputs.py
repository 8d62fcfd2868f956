"""What users hand to ``fit`` and ``predict``: tables and targets, checked, with nothing
of theirs changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import check_class_names, check_rows, is_number
from permgrad.base.dependence import Dependence
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    counted,
    listed,
    refusing,
    shown,
    turned,
    warn_user,
)
from permgrad.base.random import generator
from permgrad.base.sequences import positions_of
from permgrad.data.read.cells import check_characters, first_no_number
from permgrad.data.read.image_cells import with_image_cells
from permgrad.data.splitting import dependence_of
from permgrad.data.weights import exposures
from permgrad.models.decision import choose_decision
from permgrad.models.losses import Loss, losses

if TYPE_CHECKING:
    from permgrad.models.estimators.settings import FitSettings

#: Weights of classes scale the loss and are not brought to a mean of 1. Beyond these
#: the optimiser's steps suffer.
LEAST_OF_CLASS = 1e-6
MOST_OF_CLASS = 1e6
#: Differences below it vanish when they are squared in float64, and values above its
#: inverse become infinite.
_SMALLEST_SPAN = 1e-150


#: How scikit-learn prints an array of another shape.
_PRINTED_ARRAY = re.compile(r":\narray=.*\.\n(?=Reshape)", re.DOTALL)


def as_frame(estimator: Any, X: Any, *, reset: bool) -> pd.DataFrame:
    """Return the table as a data frame.

    Names and the number of features are remembered (``reset``) or compared.
    """
    from sklearn.utils.validation import check_array, validate_data

    if isinstance(X, (str, os.PathLike)):
        path_hint = (
            "Read it with pandas, or train from the files with "
            "fit_stream(path, target)."
        )
        raise InputError(
            f"X must be a table in memory, got the path {shown(os.fspath(X))}",
            hint=path_hint,
            code="PG001",
        )
    if not isinstance(X, pd.DataFrame) and hasattr(X, "to_pandas"):
        X = X.to_pandas()
    is_frame = isinstance(X, pd.DataFrame)
    least_rows = 2 if reset else 1
    if is_frame:
        _check_frame(X, least_rows)
        X = with_image_cells(X)
    else:
        plain = _plain_rows(X)
    try:
        if not is_frame:
            checks: dict[str, Any] = {
                "dtype": None,
                "ensure_all_finite": False,
                "ensure_min_samples": least_rows,
            }
            array = check_array(plain, estimator=estimator, **checks)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    except (ValueError, TypeError) as error:
        # The sentence stands as it is, because users of scikit-learn look for it. Its
        # print of the array goes, as no error has cells of rows.
        expected_table = (
            "a table of rows and columns"
            if reset
            else "the columns that the model was trained on, in their order"
        )
        problem = _PRINTED_ARRAY.sub(". ", str(error).strip())
        raise InputError(
            problem, hint=f"Pass {expected_table}.", code="PG017"
        ) from None
    if reset:
        estimator.target_name_ = None  # rows in memory come without their target
    if is_frame and (reset or hasattr(estimator, "feature_names_in_")):
        return X
    if is_frame:
        # Trained without names: columns are taken by their place, as scikit-learn does.
        return X.set_axis(list(estimator.preprocessor_.feature_names_in_), axis=1)
    names = (
        [f"x{column_index}" for column_index in range(array.shape[1])]
        if reset
        else list(estimator.preprocessor_.feature_names_in_)
    )
    frame = pd.DataFrame(array, columns=names)
    return _with_types(frame) if array.dtype == object else frame


def _plain_rows(X: Any) -> Any:
    """Return rows with cells of their original types: NumPy would turn numbers beside
    text into text.
    """
    if not hasattr(X, "__array__") and not hasattr(X, "__len__"):
        problem = (
            "X must be a table of numbers or text. Expected 2D array, got scalar array "
            "instead"
        )
        raise InputError(
            problem,
            hint="Reshape your data, or pass a table of rows and columns.",
            code="PG007",
        )
    if hasattr(X, "dtype") and np.iscomplexobj(X):
        problem = "Complex data not supported: X must hold real numbers"
        raise InputError(
            problem, hint="Pass X.real and X.imag as columns.", code="PG001"
        )
    if isinstance(X, (list, tuple)):
        # Rows of different lengths are refused by scikit-learn, in its own words.
        with contextlib.suppress(ValueError, TypeError):
            if np.asarray(X).dtype.kind in "US":
                return np.asarray(X, dtype=object)
            return X
    return X


@refusing
def _check_frame(frame: pd.DataFrame, least_rows: int) -> Iterator[Fault]:
    kinds = sorted({type(column_name).__name__ for column_name in frame.columns})
    if len(kinds) > 1 and "str" in kinds:
        problem = (
            "Column names must be all text or all of another type, got "
            f"{', '.join(kinds)}"
        )
        yield problem, "Write X.columns = X.columns.astype(str).", "PG008"
    if frame.shape[1] == 0:
        problem = (
            f"X has 0 feature(s) (shape={frame.shape}) while a minimum of 1 is required"
        )
        yield problem, "Add columns.", "PG013"
    if len(frame) < least_rows:
        least = counted(least_rows, "row")
        yield (
            f"X must have at least {least}, got n_samples={len(frame)}",
            "Add rows.",
            "PG013",
        )
    names = list(map(str, frame.columns))
    check_characters(names, "column names")
    # 0 and False are different as text, and the same as names.
    twice = []
    for repeated_name, count in Counter(names).items():
        if count > 1:
            twice.append(repeated_name)
    twice = twice or list(map(str, frame.columns[frame.columns.duplicated(keep=False)]))
    if twice:
        problem = (
            f"Column names must differ, but {', '.join(map(repr, twice[:5]))} "
            f"{by_count(len(twice), 'is', 'are')} repeated"
        )
        yield problem, "Rename them.", "PG008"


def _with_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Give the columns of an object array their own types.

    A cell that is not a value is refused.
    """
    for column_name in frame.columns:
        for cell_value in frame[column_name]:
            if isinstance(cell_value, (dict, list, set, tuple, np.ndarray)):
                raise TypeError(
                    "every cell's argument must be a string or a real number, but "
                    f"column {column_name!r} holds a "
                    f"{type(cell_value).__name__}; turn it into values"
                )
    return frame.infer_objects()


def one_column(
    y: Any, *, estimator: Any, rows: int | None = None, what: str = "y"
) -> Array:
    """Return the target as a one-dimensional array.

    Several targets and missing values are refused.

    ``rows``: of X, of which there must be as many. ``what``: how the target is called
    where there are not.
    """
    from sklearn.exceptions import DataConversionWarning

    if y is None:
        problem = (
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None"
        )
        raise InputError(problem, hint="Pass one value for each row.", code="PG005")
    if isinstance(y, (pd.DataFrame, pd.Series, pd.Index)) or hasattr(y, "to_numpy"):
        values = np.asarray(
            _plain_series(y) if isinstance(y, pd.Series) else y.to_numpy()
        )
    else:
        try:
            values = np.asarray(y)
        except ValueError:
            problem = (
                "y must hold one value for each row, but some of its values are "
                "sequences and others are not"
            )
            raise InputError(
                problem, hint="Pass a list of labels or of numbers.", code="PG007"
            ) from None
        if values.dtype.kind in "US" and not isinstance(y, np.ndarray):
            # NumPy turns what stands among texts into text: a missing label would
            # become a class 'nan'.
            labels = np.asarray(y, dtype=object)
            if not all(isinstance(value, str) for value in labels.ravel()):
                values = labels
    if values.ndim == 2 and values.shape[1] == 1:
        warning_text = (
            "A column-vector y was passed when a 1d array was expected; it "
            "is taken as one target"
        )
        warnings.warn(warning_text, DataConversionWarning, stacklevel=4)
        values = values[:, 0]
    _check_column(values, rows, what)
    return values


@refusing
def _check_column(values: Array, rows: int | None, what: str) -> Iterator[Fault]:
    """Refuse targets of which a row is no single real number or label."""
    if values.ndim != 1:
        problem = (
            f"y must be one target of shape (rows,), got shape {values.shape} (y "
            "should be a 1d array)"
        )
        yield problem, "Fit one model per target.", "PG007"
    if values.dtype.names:
        problem = (
            "y must be one class or number per row, but its rows have the "
            f"fields {listed(values.dtype.names)}"
        )
        yield (
            problem,
            f"Fit one of them, for example y[{values.dtype.names[0]!r}].",
            "PG007",
        )
    if np.iscomplexobj(values):
        problem = "Complex data not supported: y must be real"
        yield problem, "Fit its real and imaginary part separately.", "PG015"
    if count := int(pd.isna(values).sum()):
        problem = (
            f"{count:,} of {len(values):,} values of y "
            f"{by_count(count, 'is', 'are')} missing (NaN)"
        )
        yield (
            problem,
            f"Leave {by_count(count, 'that row', 'those rows')} out.",
            "PG015",
        )
    if rows is not None and len(values) != rows:
        problem = (
            f"X and {what} have inconsistent numbers of rows: X has {rows} and "
            f"{what} has {len(values)}"
        )
        yield problem, "Pass those that belong together.", "PG007"


def _plain_series(y: pd.Series[Any]) -> Any:
    """Return plain NumPy values of a series, whatever its extension type."""
    if not isinstance(y.dtype, pd.CategoricalDtype) and not y.hasnans:
        if pd.api.types.is_bool_dtype(y.dtype):
            return y.to_numpy(dtype=bool)
        if pd.api.types.is_numeric_dtype(
            y.dtype
        ) and pd.api.types.is_extension_array_dtype(y.dtype):
            return y.to_numpy(
                dtype=np.int64 if pd.api.types.is_integer_dtype(y.dtype) else np.float64
            )
    return y.to_numpy()


def class_target(y: Array) -> tuple[Array, Integers]:
    """Return the sorted classes and each row's class index."""
    from sklearn.utils.multiclass import check_classification_targets

    if y.dtype == object:
        kinds = sorted({type(value).__name__ for value in y.tolist()})
        if len(kinds) > 1 and "str" in kinds:
            problem = f"Classes must be of one type, but y mixes {' and '.join(kinds)}"
            raise InputError(problem, hint="Turn all labels into text.", code="PG015")
        if kinds != ["str"]:
            y = np.array(y.tolist())
        else:
            y = y.astype(str).astype(object)
    if y.dtype.kind == "S":  # scikit-learn refuses them only from 1.7 on
        problem = (
            f"Classes must be text or numbers, but y holds bytes ({y.tolist()[0]!r})"
        )
        class_hint = "Turn them into text, for example [label.decode() for label in y]."
        raise InputError(problem, hint=class_hint, code="PG015")
    class_hint = "Use HyNNRegressor for numbers, or turn the numbers into labels."
    with turned(
        lambda error: InputError(f"y must hold classes: {error}", class_hint, "PG015"),
        TypeError,
        ValueError,
    ):
        check_classification_targets(y)
    classes, indexes = np.unique(y, return_inverse=True)
    check_characters(classes.tolist(), "classes")
    check_class_names(classes.tolist())
    if len(classes) < 2:
        problem = (
            "y must hold at least 2 classes, but it has one class "
            f"({classes.tolist()[0]!r})"
        )
        raise InputError(problem, hint="Add rows of another class.", code="PG015")
    return classes, indexes.astype(np.int64)


def number_target(y: Array) -> Floats:
    """Return the target in float64."""
    numbers = None
    if y.dtype.kind not in "USMm" and not (
        y.dtype == object and any(isinstance(value, str) for value in y.tolist())
    ):
        with contextlib.suppress(TypeError, ValueError):
            numbers = y.astype(np.float64)
    if numbers is None:
        problem = (
            "y must be numbers for regression, but it holds "
            f"{first_no_number(y.tolist())!r} (type {y.dtype})"
        )
        raise InputError(
            problem,
            hint="Use HyNNClassifier for labels, or turn the text into numbers.",
            code="PG015",
        )
    _check_numbers(numbers)
    return numbers


@refusing
def _check_numbers(numbers: Floats) -> Iterator[Fault]:
    if count := int((~np.isfinite(numbers)).sum()):
        problem = (
            f"y must be finite, but {counted(count, 'value')} "
            f"{by_count(count, 'is', 'are')} infinite (inf)"
        )
        yield (
            problem,
            f"Leave {by_count(count, 'that row', 'those rows')} out.",
            "PG015",
        )
    largest = float(np.abs(numbers).max(initial=0))
    if len(numbers):
        value_range = float(np.ptp(numbers))
    else:
        value_range = 0.0
    if largest > 1 / _SMALLEST_SPAN or 0 < value_range < _SMALLEST_SPAN:
        problem = (
            f"y's squares do not fit into float64: its largest value is {largest:.2g} "
            f"in size and its values span {value_range:.2g}"
        )
        yield problem, "Give y in another unit.", "PG015"


def check_numbers(loss: Loss, y: Floats) -> None:
    """Refuse numbers that a loss cannot judge."""
    refused = loss.refused_y(y)
    if len(refused):
        problem = (
            f"loss={loss.name!r} needs y {loss.needs}, but it holds {refused[0]:g}"
        )
        raise InputError(problem, hint="Leave loss out, or correct y.", code="PG036")


def per_exposure(
    loss: str, y: Array, weights: Floats, offset: Any
) -> tuple[Array, Floats]:
    """Return counts per unit of exposure, and the weights of such rates, where a log of
    the exposure is given.

    The Poisson likelihood of counts with an offset is that of their rates with the
    exposures as weights.
    """
    if offset is None:
        return y, weights
    if not losses[loss].counts:
        raise InputError(
            "offset is for loss='poisson'",
            hint="Leave it out, or pass loss='poisson'.",
            code="PG006",
        )
    exposure = exposures(offset, len(y))
    return number_target(y) / exposure, weights * exposure


def learn_target(model: Any, y: Array, settings: FitSettings, weights: Floats) -> Array:
    """Give a model what it must know of the training rows' target, and return it as the
    network sees it.

    Of classes ``classes_``, ``class_weights_`` and ``decision_``. Of numbers
    ``target_mean_`` and ``target_scale_``, the deviation. Of counts, by ``loss``, the
    scale is their mean rate, which the ``weights`` of the rows belong to, and the mean
    is 0.
    """
    if model.task.has_classes:
        model.classes_, coded = class_target(y)
        counts = np.bincount(coded)
        model.class_weights_ = class_weights(
            settings.class_weight, model.classes_, counts
        )
        model.decision_ = choose_decision(
            model.classes_, counts, cost=model.cost, threshold=model.threshold
        )
        return coded
    numbers = number_target(y)
    target_mean = float(numbers.mean())
    spread = float(numbers.std())
    if spread == 0:
        warn_user(
            f"All {len(y)} training values of y are {target_mean:.6g}. There is "
            "nothing to learn, and predictions stay near that value."
        )
    loss = losses[settings.training.loss]
    check_numbers(loss, numbers)
    if loss.positive:
        target_mean = 0.0
        spread = float(np.average(numbers, weights=weights))
    model.target_mean_ = target_mean
    if spread > 0:
        model.target_scale_ = spread
    else:
        model.target_scale_ = 1.0
    return np.asarray((numbers - target_mean) / model.target_scale_)


def code_target(model: Any, y: Array) -> Array:
    """Return other rows' target as the network sees it: class indexes, or standardised
    numbers.
    """
    if model.task.numeric:
        return np.asarray((number_target(y) - model.target_mean_) / model.target_scale_)
    class_indices = {}
    for position, label in enumerate(model.classes_.tolist()):
        class_indices[label] = position
    indexes = np.array(
        [class_indices.get(label, -1) for label in y.tolist()], dtype=np.int64
    )
    if (indexes < 0).any():
        strange = y[indexes < 0].tolist()[0]
        problem = (
            "eval_set's y must hold classes of y "
            f"({', '.join(map(str, model.classes_[:10]))}), but it holds {strange!r}"
        )
        raise InputError(problem, hint="Leave those rows out.", code="PG015")
    return indexes


def class_weights(class_weight: Any, classes: Array, rows: Integers) -> Floats:
    """Return one weight per class, of which there are ``rows (classes,)``.

    ``"balanced"``: rows / (classes × rows of the class). ``"pos_weight"``: rows of the
    first class / rows of the class.
    """
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        counts = np.maximum(rows, 1)
        if class_weight == "pos_weight":
            return np.asarray(counts[0] / counts)
        return np.asarray(rows.sum() / (len(classes) * counts))
    class_indices = positions_of(classes.tolist())
    weights = np.ones(len(classes))
    assert isinstance(class_weight, Mapping)
    _check_weights(
        class_weight,
        {label: int(rows[class_index]) for label, class_index in class_indices.items()},
    )
    for label, weight in class_weight.items():
        weights[class_indices[label]] = weight
    return weights


@refusing
def _check_weights(
    class_weight: Mapping[Any, Any], rows: Mapping[Any, int]
) -> Iterator[Fault]:
    """Refuse weights of other classes, or of a size that training cannot use.

    ``rows``: of each class.
    """
    for label, weight in class_weight.items():
        if label not in rows:
            problem = (
                "class_weight must name classes of y "
                f"({', '.join(map(repr, list(rows)[:10]))}), got {label!r}"
            )
            yield problem, "Correct the name.", "PG035"
        if not is_number(weight) or not (
            weight == 0 or LEAST_OF_CLASS <= weight <= MOST_OF_CLASS
        ):
            problem = (
                f"class_weight[{label!r}] must be 0 or between {LEAST_OF_CLASS:g} and "
                f"{MOST_OF_CLASS:,.0f}, got {shown(weight)}"
            )
            yield problem, f"Pass for example class_weight={{{label!r}: 2.0}}.", "PG020"
    if not any(
        class_weight.get(label, 1) > 0 for label, count in rows.items() if count
    ):
        problem = (
            f"class_weight={class_weight!r} is 0 for every class of the training rows"
        )
        yield problem, "Weigh a class, or leave class_weight out.", "PG020"


def dependence_between(
    row_groups: Any, row_time: Any, rows: int, eval_set: Any
) -> Dependence | None:
    """Return which training rows depend on each other, or None where nothing is
    passed.
    """
    given_arguments = {}
    for argument_name, argument_value in (
        ("row_groups", row_groups),
        ("row_time", row_time),
    ):
        if argument_value is not None:
            given_arguments[argument_name] = argument_value
    if not given_arguments:
        return None
    dependence_name, values = next(iter(given_arguments.items()))
    other_name = "" if eval_set is None else "eval_set"
    if len(given_arguments) > 1:
        other_name = "row_time"
    if other_name:
        raise InputError(
            f"{dependence_name} and {other_name} cannot be combined",
            hint="Leave one of them out.",
            code="PG006",
        )
    labels = np.asarray(values)
    check_rows(dependence_name, labels, rows)
    group_and_time = (
        (dependence_name, None)
        if dependence_name == "row_groups"
        else (None, dependence_name)
    )
    return dependence_of(
        {"rows": pd.DataFrame({dependence_name: labels})}, *group_and_time
    )["rows"]


def held_out_units(
    units: Dependence, fraction: float, seed: int, indexes: Integers | None
) -> tuple[Integers, Integers]:
    """Return training and validation row numbers, sorted, whole groups drawn or the
    latest times.

    Every class keeps a training row. No row is drawn if fewer than two would be left to
    train.
    """
    row_count = len(units.codes)
    if units.timed:
        order = np.arange(units.count)[::-1]
    else:
        order = generator(seed, "validation rows").permutation(units.count)
    held_out_count = round(fraction * row_count)
    train = np.arange(row_count)
    held_out_rows = np.zeros(0, dtype=np.int64)
    for unit_number in order.tolist():
        remaining_rows = train[units.codes[train] != unit_number]
        if len(held_out_rows) >= held_out_count or len(remaining_rows) < 2:
            break
        if indexes is None or len(np.unique(indexes[remaining_rows])) == len(
            np.unique(indexes)
        ):
            train = remaining_rows
            held_out_rows = np.setdiff1d(np.arange(row_count), remaining_rows)
        elif units.timed:
            break
    return train, held_out_rows


def held_out(
    rows: int, fraction: float, seed: int, indexes: Integers | None
) -> tuple[Integers, Integers]:
    """Return training and validation row numbers, sorted.

    Drawn within classes if there are any.

    Every class keeps a training row. No row is drawn if fewer than two would be left to
    train.
    """
    order = generator(seed, "validation rows").permutation(rows)
    held_out_count = round(fraction * rows)
    if held_out_count == 0 or rows - held_out_count < 2:
        return np.arange(rows), np.zeros(0, dtype=np.int64)
    if indexes is None:
        held_out_rows = order[:held_out_count]
    else:
        # Along the rows sorted by class, every (1 / fraction)-th row is taken: each
        # class gets its share, to one row.
        by_class = order[np.argsort(indexes[order], kind="stable")]
        spare = np.delete(by_class, np.unique(indexes[by_class], return_index=True)[1])
        held_out_count = min(held_out_count, len(spare))
        held_out_rows = spare[
            (
                (np.arange(held_out_count) + 0.5) * len(spare) / max(held_out_count, 1)
            ).astype(np.int64)
        ]
    train = np.setdiff1d(np.arange(rows), held_out_rows)
    return train, np.sort(held_out_rows)
