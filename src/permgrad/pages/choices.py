"""Which output, rows and features of an explanation are shown, on plots, on pages and
in text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Floats
from permgrad.base.checks import check_whole, is_whole
from permgrad.base.errors import InputError, shown

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation


def check_top_n(top_n: int | None, available: int) -> int:
    """Return how many to show (None: all)."""
    if top_n is None:
        return available
    return min(
        check_whole("top_n", top_n, "pass for example 10, or None for all"), available
    )


def largest(scores: Floats, top_n: int | None) -> npt.NDArray[np.intp]:
    """Return positions of the largest scores, largest first, undefined last, ties in
    their order.
    """
    order: npt.NDArray[np.intp] = np.argsort(
        -np.nan_to_num(scores, nan=-np.inf, posinf=np.inf), kind="stable"
    )
    return order[: check_top_n(top_n, len(scores))]


def largest_on_average(values: Floats, top_n: int | None) -> npt.NDArray[np.intp]:
    """Return positions of features with the largest absolute values ``(rows,
    features)``, on average over the rows.
    """
    finite = np.isfinite(values)
    with np.errstate(all="ignore"):  # NaN where a feature has no finite value
        return largest(
            np.where(finite, np.abs(values), 0.0).sum(axis=0) / finite.sum(axis=0),
            top_n,
        )


def pick_output(explanation: Explanation, target: str | int | None) -> int:
    """Return an output's position.

    None: the first, or of two classes the positive one.
    """
    outputs = explanation.outputs
    if target is None and len(outputs) == 2 and outputs[0] != "all":
        positive = explanation.meta.get("positive")
        if positive in outputs:
            return outputs.index(positive)
        return 1
    return int(explanation.output_index(target))


def check_one_unit(explanation: Explanation, plot: str) -> None:
    """Refuse to put numbers of different methods on one axis: they have different
    units.
    """
    if explanation.meta.get("methods"):
        problem = (
            f"{plot} needs one unit for all features, but the modalities were "
            "explained by different methods"
        )
        raise InputError(
            problem,
            hint="Call explanation.plot.features(), which has an axis for each.",
            code="PG004",
        )


def check_local(explanation: Explanation, plot: str) -> None:
    """Refuse a global explanation if single rows are needed."""
    if not explanation.scope.by_row:
        problem_hint = "Explain with scope='local', for example method='shapley'."
        raise InputError(
            f"{plot} shows single rows, but this explanation is global",
            hint=problem_hint,
            code="PG004",
        )


def check_row(explanation: Explanation, row: int) -> int:
    """Return a row's position if it exists. Negative positions count from the end."""
    row_count = int(explanation.values.shape[0])
    if not is_whole(row) or not -row_count <= row < row_count:
        problem = f"row must be a position from 0 to {row_count - 1}, got {shown(row)}"
        raise InputError(
            problem, hint="For example: row=0, or row=-1 for the last.", code="PG002"
        )
    return int(row) % row_count


def as_global(explanation: Explanation) -> Explanation:
    """Return the mean absolute attribution of a local explanation.

    A global one is returned unchanged.
    """
    if explanation.scope.by_row:
        return explanation.to_global("mean_abs")
    return explanation


def adding_parts(explanation: Explanation, column: int) -> dict[str, Floats]:
    """Return the parts of an output's values by path if they add up to the values, else
    nothing.
    """
    path_parts = {}
    for path_name, path_values in explanation.parts.items():
        if path_name != "interaction":
            path_parts[path_name] = np.asarray(path_values[:, column])
    values = explanation.values[:, column]
    largest_gap = np.nanmax(np.abs(sum(path_parts.values()) - values), initial=1e-300)
    scale = np.nanmax(np.abs(values), initial=1e-300)
    if len(path_parts) < 2 or largest_gap > 1e-6 * scale:
        return {}
    return path_parts
