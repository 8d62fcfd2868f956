"""What counts as shown, for every sentence: which p-values pass for many features,
which effects deserve words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Booleans, Floats

#: A feature clearly matters when its adjusted p-value is below this and its estimate
#: above 0.
LEVEL = 0.05
#: It also has to be this share of what the model has learned, because less is shown as
#: 0.0 %.
LEAST_SHOWN = 0.001
#: An effect deserves a sentence from this share of the total on.
LEAST_SHARE = 0.05
#: The quantile of the normal distribution for two-sided intervals at 95 %.
NORMAL_95 = 1.959963984540054


def adjusted(p_values: npt.ArrayLike, left_out: int = 0) -> Floats:
    """Adjust p-values ``(*, features, outputs)`` by Holm (1979), each output
    separately. NaN is not a test.

    ``left_out``: further tests that were not made, and count as if they had shown
    nothing.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, axis=-2, kind="stable")  # NaN last
    tests = np.isfinite(values).sum(axis=-2, keepdims=True) + left_out
    factors = np.maximum(tests - np.arange(values.shape[-2])[:, None], 1)
    stepped = np.maximum.accumulate(
        np.take_along_axis(values, order, axis=-2) * factors, axis=-2
    )
    result = np.empty_like(values)
    np.put_along_axis(result, order, np.minimum(stepped, 1.0), axis=-2)
    return result


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjust the p-values of one list of tests ``(tests,)``, see ``adjusted``."""
    return adjusted(np.asarray(p_values, dtype=np.float64)[:, None])[:, 0]


def adjusted_within(p_values: npt.ArrayLike, families: Sequence[str]) -> Floats:
    """Adjust p-values ``(*, features, outputs)`` by Holm's steps within each family,
    each output separately.

    Each of K families has 1/K of the level, and leaves it to the others once all of it
    has passed (Bretz, Maurer, Brannath & Posch 2009). So the chance of any false
    feature stays within the level, and a single family, or families of one feature
    each, are adjusted as by ``adjusted``.
    """
    values = np.array(p_values, dtype=np.float64)
    labels = np.asarray(families)
    last_values = []  # the p-value at which all of a family has passed
    for label in np.unique(labels):
        values[..., labels == label, :] = adjusted(values[..., labels == label, :])
        last_values.append(np.fmax.reduce(values[..., labels == label, :], axis=-2))
    through = np.sort(adjusted(np.stack(last_values, axis=-2)), axis=-2)  # NaN last
    waiting = np.isfinite(through).sum(axis=-2, keepdims=True)
    result = np.minimum(values * waiting, 1.0)
    for passed in range(1, len(last_values)):
        result = np.fmin(
            result,
            np.maximum(
                through[..., passed - 1 : passed, :], values * (waiting - passed)
            ),
        )
    return result


def shares_level(modalities: Sequence[str]) -> bool:
    """Whether the adjustment within the modalities of the tested features differs from
    that for all of them.
    """
    return 1 < len(set(modalities)) < len(modalities)


def t_quantile(quantile: npt.ArrayLike, freedom: npt.ArrayLike) -> Floats:
    """Return a quantile of Student's t."""
    from scipy import special  # as scipy.stats takes 45 MB of memory to import

    return np.asarray(special.stdtrit(freedom, quantile))


def t_two_sided(sizes: npt.ArrayLike, freedom: npt.ArrayLike) -> Floats:
    """Return how likely a Student's t of at least these absolute sizes is, on both
    sides together.
    """
    from scipy import special

    return np.asarray(2 * special.stdtr(freedom, -np.abs(sizes)))


def over_splits(p_values: npt.ArrayLike) -> Floats:
    """Return twice the median of p-values ``(splits, features)``, at most 1
    (Meinshausen, Meier & Bühlmann 2009).
    """
    values = np.asarray(p_values, dtype=np.float64)
    if len(values) == 1:
        return values[0]
    return np.asarray(np.minimum(2 * np.median(values, axis=0), 1.0))


def clearly(
    importance: npt.ArrayLike,
    p_adjusted: npt.ArrayLike,
    total_importance: float | None = None,
) -> Booleans:
    """Return which features clearly matter: p is below 5 % and the estimate at least
    0.1 % of the ``total_importance``.

    That is what the model has learned (None: the sum of all importances above 0). False
    if p or estimate is undefined.
    """
    sizes = np.asarray(importance, dtype=np.float64)
    least = LEAST_SHOWN * (
        np.nansum(np.maximum(sizes, 0))
        if total_importance is None
        else total_importance
    )
    return (
        (sizes > 0)
        & (sizes >= least)
        & (np.asarray(p_adjusted, dtype=np.float64) < LEVEL)
    )


def deserves_words(low: float, high: float, share: float) -> bool:
    """Tell whether an effect's interval, NaN where undefined, excludes 0, and it is at
    least 5 % of the total.
    """
    return (low > 0 or high < 0) and abs(share) >= LEAST_SHARE
