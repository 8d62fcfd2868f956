"""Other packages' methods on the same network, at the fusion layer where the published
methods act, and a baseline.

Each explains the network's log-odds from the forty features on. Its modality is worth
the mean absolute value over rows of each feature, added up. How many rows and samples
each gets is in ``Sizes``. ``model_rows`` says what it used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from permgrad.base.arrays import Floats
from permgrad.base.random import generator
from permgrad_benchmark.contestants import Contestant, Scores, captum, enrol, shap
from permgrad_benchmark.records import ANY
from permgrad_benchmark.suites.multimodal.case import PairsCase
from permgrad_benchmark.suites.multimodal.functions import (
    COLUMNS_OF,
    FEATURES,
    MODALITIES,
)
from permgrad_benchmark.suites.multimodal.ours import SUITE
from permgrad_benchmark.suites.suite import enrol_peer


def captum_feature_permutation(case: PairsCase) -> Any:
    """``captum.attr.FeaturePermutation``: one shuffle of each feature, the change of
    the output in each row.
    """
    with torch.no_grad():
        return captum().FeaturePermutation(case.head()).attribute(case.fused)


def captum_shapley(case: PairsCase) -> Any:
    """``captum.attr.ShapleyValueSampling`` from the mean row."""
    method, draws = (
        captum().ShapleyValueSampling(case.head()),
        max(2, case.sizes.draws // 16),
    )
    with torch.no_grad():
        return method.attribute(
            case.fused[: case.sizes.some], baselines=_mean_row(case), n_samples=draws
        )


def captum_kernel_shap(case: PairsCase) -> Any:
    """``captum.attr.KernelShap`` from the mean row, a row at a time as it works."""
    return _row_by_row(captum().KernelShap, case)


def captum_lime(case: PairsCase) -> Any:
    """``captum.attr.Lime`` from the mean row, a row at a time as it works."""
    return _row_by_row(captum().Lime, case)


def _row_by_row(kind: Callable[[torch.nn.Module], Any], case: PairsCase) -> Any:
    """Sample all coalitions of one row in a forward, one row after the other."""
    method, draws = kind(case.head()), case.sizes.draws
    sampling: dict[str, Any] = {
        "n_samples": draws,
        "perturbations_per_eval": draws,
        "baselines": _mean_row(case),
    }
    with torch.no_grad():
        return torch.cat(
            [
                method.attribute(row[None], **sampling)
                for row in case.fused[: case.sizes.few]
            ]
        )


def captum_integrated_gradients(case: PairsCase) -> Any:
    """``captum.attr.IntegratedGradients`` from the mean row, 50 steps."""
    method, rows = (
        captum().IntegratedGradients(case.head()),
        case.fused[: case.sizes.some].clone(),
    )
    return method.attribute(
        rows, baselines=_mean_row(case), n_steps=50, internal_batch_size=4096
    )


def shap_kernel(case: PairsCase) -> Any:
    """``shap.KernelExplainer``."""
    explainer = shap().KernelExplainer(_numpy(case), case.background().double().numpy())
    rows = case.fused[: max(2, case.sizes.few // 2)].double().numpy()
    return explainer.shap_values(rows, nsamples=case.sizes.draws, silent=True)


def shap_permutation(case: PairsCase) -> Any:
    """``shap.PermutationExplainer``, one order and its reverse per row."""
    background = case.background().double().numpy()
    masker = shap().maskers.Independent(background, max_samples=len(background))
    explainer = shap().PermutationExplainer(
        _numpy(case), masker, seed=case.integer_seed("shap permutation")
    )
    rows = case.fused[: max(2, case.sizes.few // 2)].double().numpy()
    return explainer(rows, max_evals=2 * FEATURES + 1, silent=True).values


def shap_gradient(case: PairsCase) -> Any:
    """``shap.GradientExplainer`` (expected gradients)."""
    explainer = shap().GradientExplainer(case.head(), case.fused[-case.sizes.some :])
    return explainer.shap_values(case.fused[: case.sizes.few].clone(), nsamples=100)


def _mean_row(case: PairsCase) -> torch.Tensor:
    return case.fused.mean(dim=0, keepdim=True)


def _numpy(case: PairsCase) -> Callable[[Any], Floats]:
    head = case.head()

    def predict(rows: Any) -> Floats:
        with torch.no_grad():
            values: Floats = (
                head(torch.as_tensor(np.asarray(rows), dtype=case.fused.dtype))[:, 0]
                .double()
                .numpy()
            )
        return values

    return predict


def _by_modality(
    attribute: Callable[[PairsCase], Any],
) -> Callable[[PairsCase], Floats]:
    """Turn attributions of the forty features into one number for each modality: mean
    sizes, added up.
    """

    def work(case: PairsCase) -> Floats:
        attributed = attribute(case)
        values = (
            attributed.detach().double().numpy()
            if isinstance(attributed, torch.Tensor)
            else attributed
        )
        sizes = np.abs(np.asarray(values, np.float64).reshape(-1, FEATURES)).mean(
            axis=0
        )
        return np.asarray(
            np.nan_to_num([sizes[columns].sum() for columns in COLUMNS_OF.values()])
        )

    return work


def random_values(case: PairsCase) -> Scores:
    """Random numbers: what a method must beat."""
    drawn = generator(case.seed, "multimodal benchmark", "random", case.oracle).random(
        len(MODALITIES)
    )
    return Scores(values=drawn, seconds=0.0, model_rows=0)


for _name, _label, _attribute, _estimand in (
    (
        "captum:feature_permutation",
        "Captum FeaturePermutation",
        captum_feature_permutation,
        ANY,
    ),
    (
        "captum:shapley_sampling",
        "Captum ShapleyValueSampling",
        captum_shapley,
        "published",
    ),
    ("captum:kernel_shap", "Captum KernelShap", captum_kernel_shap, "published"),
    ("captum:lime", "Captum Lime", captum_lime, "published"),
    (
        "captum:integrated_gradients",
        "Captum IntegratedGradients",
        captum_integrated_gradients,
        "published",
    ),
    ("shap:kernel", "shap KernelExplainer", shap_kernel, "published"),
    ("shap:permutation", "shap PermutationExplainer", shap_permutation, "published"),
    ("shap:gradient", "shap GradientExplainer", shap_gradient, "published"),
):
    enrol_peer(
        SUITE,
        _name,
        _label,
        _estimand,
        _by_modality(_attribute),
        needs=(_name.partition(":")[0],),
    )
enrol(SUITE, Contestant("random", "random numbers", ANY, "baseline", random_values))
