"""Other packages' methods on the same network: SAGE from its paper, scikit-learn, shap
and Captum.

Each is called as its documentation recommends, with the encoded columns of a feature
together. Captum uses ``feature_mask``. Shap's Kernel and Permutation explainers read a
table whose entries are the number of the *row* that a feature comes from, so that a
category is one feature. Scikit-learn reads the raw table. The numbers of rows and
samples are in ``Sizes`` and depend on the cost of a row. ``model_rows`` counts the rows
used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr
from sklearn.inspection import permutation_importance
from torch import Tensor

from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad_benchmark.contestants import Scores, captum, shap
from permgrad_benchmark.records import ANY
from permgrad_benchmark.suites.suite import enrol_peer
from permgrad_benchmark.suites.tabular.case import TabularCase


# ---- SAGE ----------------------------------------------------------------------------
def sage(case: TabularCase) -> Scores:
    """Run SAGE as in its paper. Classes are averaged on the scale of probabilities."""

    def predict(encoded: Array) -> Floats:
        margin = case.margin(encoded)
        return (1 / (1 + np.exp(-margin)) if case.classify else margin)[:, None]

    def loss(predicted: Floats, y: Floats) -> Floats:
        if not case.classify:
            return np.asarray((predicted[:, 0] - y) ** 2)
        probability = np.clip(
            np.where(y == 1, predicted[:, 0], 1 - predicted[:, 0]), 1e-12, 1.0
        )
        return np.asarray(-np.log(probability))

    result = sage_permutation(
        predict,
        loss,
        case.encoded,
        case.y,
        case.background[: case.sizes.references],
        case.owner,
        walks=2 * case.sizes.some,
        rng=case.stream("sage"),
    )
    low, high = result.interval()
    return Scores(result.values, low=low, high=high, p_values=result.p_values())


# ---- scikit-learn --------------------------------------------------------------------
def sklearn_permutation(case: TabularCase) -> Floats:
    """``permutation_importance`` of the estimator on the raw table, by the loss."""
    y = case.y.astype(np.int64) if case.classify else case.y
    result = permutation_importance(
        case.model,
        case.X,
        y,
        scoring="neg_log_loss" if case.classify else "neg_mean_squared_error",
        n_repeats=case.sizes.repeats,
        random_state=case.integer_seed("scikit-learn"),
    )
    # The estimator predicts by itself, past the meter: once for each feature and
    # repeat, and once as it is.
    case.meter.rows += len(case.X) * (1 + case.sizes.repeats * len(case.names))
    return np.asarray(result.importances_mean)


# ---- shap ----------------------------------------------------------------------------
def _by_row_numbers(
    case: TabularCase, rows: int
) -> tuple[Callable[[Any], Floats], Floats, Floats]:
    """Return a function of tables of row numbers, the rows to explain and the
    background as such tables.

    Entry (i, j) is the number of the row that provides feature j of row i. A feature of
    any kind and width is thus one number for shap, and the values of a feature from two
    rows are never mixed.
    """
    references = case.sizes.references
    pool = np.concatenate([case.background[:references], case.encoded[:rows]])
    features = len(case.names)

    def predict(numbers: Any) -> Floats:
        which = np.asarray(numbers).astype(np.int64)
        return case.margin(pool[which[:, case.owner], np.arange(pool.shape[1])])

    background = np.repeat(
        np.arange(references, dtype=np.float64)[:, None], features, axis=1
    )
    explained = np.repeat(
        np.arange(references, len(pool), dtype=np.float64)[:, None], features, axis=1
    )
    return predict, explained, background


def _mean_absolute(values: Any) -> Floats:
    return np.asarray(np.abs(np.asarray(values, dtype=np.float64)).mean(axis=0))


def shap_kernel(case: TabularCase) -> Floats:
    """``shap.KernelExplainer``."""
    rows = max(2, case.sizes.few // 2)
    predict, explained, background = _by_row_numbers(case, rows)
    explainer = shap().KernelExplainer(predict, background)
    return _mean_absolute(
        explainer.shap_values(explained, nsamples=case.sizes.draws, silent=True)
    )


def shap_permutation(case: TabularCase) -> Floats:
    """``shap.PermutationExplainer``, two orders and their reverses per row."""
    predict, explained, background = _by_row_numbers(case, case.sizes.few)
    masker = shap().maskers.Independent(background, max_samples=len(background))
    explainer = shap().PermutationExplainer(
        predict, masker, seed=case.integer_seed("shap permutation")
    )
    result = explainer(explained, max_evals=2 * (2 * len(case.names) + 1), silent=True)
    return _mean_absolute(result.values)


def shap_gradient(case: TabularCase) -> Floats:
    """``shap.GradientExplainer`` (expected gradients) on the encoded rows, encoded
    columns summed by feature.
    """
    background = case.tensor(case.background[: case.sizes.some])
    explainer = shap().GradientExplainer(case.module(), background)
    values = explainer.shap_values(
        case.tensor(case.encoded[: case.sizes.some]), nsamples=50
    )
    return _by_feature(
        case, np.asarray(values, dtype=np.float64).reshape(-1, case.encoded.shape[1])
    )


def _by_feature(case: TabularCase, attributions: Floats) -> Floats:
    """Sum encoded columns by feature in each row, then take the mean absolute value
    ``(features,)``.
    """
    member = (case.owner[:, None] == np.arange(len(case.names))).astype(np.float64)
    return _mean_absolute(attributions @ member)


# ---- Captum --------------------------------------------------------------------------
def _mask(case: TabularCase) -> Tensor:
    return torch.from_numpy(case.owner)[None, :]


def _one_column(case: TabularCase, attributions: Tensor) -> Floats:
    """Read a masked attribution, which repeats a feature's value in each of its columns
    ``(rows, features)``.
    """
    first = [int(case.columns[name][0]) for name in case.names]
    return np.asarray(attributions.detach().numpy()[:, first], dtype=np.float64)


def captum_feature_permutation(case: TabularCase) -> Floats:
    """``captum.attr.FeaturePermutation`` of each row's loss, several times.

    The fall of minus the loss.
    """
    y = case.y

    def minus_loss(encoded: Tensor) -> Tensor:
        return torch.from_numpy(-case.loss_of(case.margin(encoded.numpy()), y))

    attribution = captum().FeaturePermutation(minus_loss)
    rows = case.tensor(case.encoded)
    values = [
        _one_column(case, attribution.attribute(rows, feature_mask=_mask(case))).mean(
            axis=0
        )
        for _ in range(case.sizes.repeats)
    ]
    return np.asarray(np.mean(values, axis=0))


def _average_row(case: TabularCase) -> Tensor:
    return case.tensor(case.background.mean(axis=0, keepdims=True))


def _from_mean_row(
    case: TabularCase, attribution: Any, rows: int, **options: Any
) -> Floats:
    """Return the mean absolute attribution from the mean row, features masked
    together.
    """
    with torch.no_grad():
        values = attribution.attribute(
            case.tensor(case.encoded[:rows]),
            baselines=_average_row(case),
            feature_mask=_mask(case),
            **options,
        )
    return _mean_absolute(_one_column(case, values))


def captum_shapley(case: TabularCase) -> Floats:
    """``captum.attr.ShapleyValueSampling`` from the mean row, features masked
    together.
    """
    attribution = captum().ShapleyValueSampling(case.module(flat=True))
    return _from_mean_row(
        case, attribution, case.sizes.some, n_samples=max(2, case.sizes.draws // 10)
    )


def captum_kernel_shap(case: TabularCase) -> Floats:
    """``captum.attr.KernelShap`` from the mean row."""
    attribution = captum().KernelShap(case.module(flat=True))
    return _from_mean_row(
        case,
        attribution,
        case.sizes.few,
        n_samples=case.sizes.draws,
        perturbations_per_eval=64,
    )


def captum_lime(case: TabularCase) -> Floats:
    """``captum.attr.Lime`` from the mean row, with its own similarity, and a weak ridge
    in place of its lasso.
    """
    from captum._utils.models.linear_model import SkLearnRidge

    attribution = captum().Lime(
        case.module(flat=True), interpretable_model=SkLearnRidge(alpha=0.01)
    )
    return _from_mean_row(
        case,
        attribution,
        case.sizes.few,
        n_samples=case.sizes.draws,
        perturbations_per_eval=64,
    )


def captum_integrated_gradients(case: TabularCase) -> Floats:
    """``captum.attr.IntegratedGradients`` from the mean row, 50 steps."""
    method, rows = (
        captum().IntegratedGradients(case.module(flat=True)),
        case.tensor(case.encoded[: case.sizes.some]),
    )
    values = method.attribute(
        rows, baselines=_average_row(case), n_steps=50, internal_batch_size=1024
    )
    return _by_feature(case, np.asarray(values.detach().numpy(), dtype=np.float64))


_MEAN_ROW = (
    "absent features are set to the mean row, one baseline instead of a distribution"
)

for _name, _label, _estimand, _work, _needs, _note in (
    (
        "sage",
        "SAGE (ours, from the paper)",
        "sage",
        sage,
        (),
        ("permutation sampling, Algorithm 1"),
    ),
    (
        "sklearn:permutation",
        "scikit-learn permutation",
        "total_effect",
        sklearn_permutation,
        ("sklearn",),
        "",
    ),
    ("shap:kernel", "shap Kernel", "shapley", shap_kernel, ("shap",), ""),
    (
        "shap:permutation",
        "shap Permutation",
        "shapley",
        shap_permutation,
        ("shap",),
        "",
    ),
    (
        "shap:gradient",
        "shap Gradient",
        ANY,
        shap_gradient,
        ("shap",),
        "expected gradients",
    ),
    (
        "captum:feature_permutation",
        "Captum feature permutation",
        "total_effect",
        captum_feature_permutation,
        ("captum",),
        "of the loss",
    ),
    (
        "captum:shapley_sampling",
        "Captum Shapley sampling",
        "shapley",
        captum_shapley,
        ("captum",),
        _MEAN_ROW,
    ),
    (
        "captum:kernel_shap",
        "Captum KernelShap",
        "shapley",
        captum_kernel_shap,
        ("captum",),
        _MEAN_ROW,
    ),
    ("captum:lime", "Captum Lime", ANY, captum_lime, ("captum", "sklearn"), _MEAN_ROW),
    (
        "captum:integrated_gradients",
        "Captum integrated gradients",
        ANY,
        captum_integrated_gradients,
        ("captum",),
        "",
    ),
):
    enrol_peer("tabular", _name, _label, _estimand, _work, needs=_needs, note=_note)


#: Edited rows predicted at once.
_ROWS = 2**14


@dataclass(frozen=True, eq=False)
class SageValues:
    """Mean fall of the loss of each feature ``(features,)``, its standard error, and
    how many orders were walked.
    """

    values: Floats
    std: Floats
    walks: int

    def interval(self, z: float = 1.959963984540054) -> tuple[Floats, Floats]:
        """Return the ends of the normal interval, of 95 % by default."""
        return self.values - z * self.std, self.values + z * self.std

    def p_values(self) -> Floats:
        """Return two-sided p-values of "the value is 0" ``(features,)``.

        1 where value and error are exactly 0.
        """
        z = np.divide(
            self.values, self.std, out=np.zeros_like(self.values), where=self.std > 0
        )
        return np.asarray(2 * ndtr(-np.abs(z)))


def sage_permutation(
    predict: Callable[[Array], Floats],
    loss: Callable[[Floats, Floats], Floats],
    rows: Array,
    y: Floats,
    background: Array,
    owner: Integers,
    *,
    walks: int,
    rng: np.random.Generator,
) -> SageValues:
    """Estimate SAGE values by permutation sampling: Covert, Lundberg & Lee 2020 (arXiv
    2004.00668), Algorithm 1.

    It is separate from permgrad's Shapley game and as close to the paper as possible.
    For random rows and random orders, features become known one by one. Absent ones are
    averaged over rows of the background. A feature's value is the mean decrease of the
    loss when it becomes known.
    """
    features = int(owner.max()) + 1
    # NOTE[DIFF]: rows are drawn without replacement as long as there are enough, which
    # only lowers the variance.
    chosen = np.concatenate(
        [rng.permutation(len(rows)) for _ in range(math.ceil(walks / len(rows)))]
    )[:walks]
    orders = rng.permuted(np.tile(np.arange(features), (walks, 1)), axis=1)
    # The prediction that knows nothing: the mean over the background.
    nothing = predict(background).mean(axis=0, keepdims=True)
    before = loss(np.repeat(nothing, walks, axis=0), y[chosen])
    present = np.zeros((walks, features), dtype=bool)
    falls = np.zeros((walks, features))
    for step in range(features):
        present[np.arange(walks), orders[:, step]] = True
        after = loss(
            _averaged(predict, rows[chosen], background, present[:, owner]), y[chosen]
        )
        falls[np.arange(walks), orders[:, step]] = before - after
        before = after
    return SageValues(
        falls.mean(axis=0), falls.std(axis=0, ddof=1) / math.sqrt(walks), walks
    )


def _averaged(
    predict: Callable[[Array], Floats],
    rows: Array,
    background: Array,
    present: Booleans,
) -> Floats:
    """Return the mean prediction over the background of rows in which only some columns
    are kept ``(n, outputs)``.
    """
    means = []
    step = max(1, _ROWS // len(background))
    for start in range(0, len(rows), step):
        some, flags = rows[start : start + step], present[start : start + step]
        grid = np.where(flags[:, None, :], some[:, None, :], background[None, :, :])
        predicted = predict(grid.reshape(-1, rows.shape[1]))
        means.append(predicted.reshape(len(some), len(background), -1).mean(axis=1))
    return np.concatenate(means)
