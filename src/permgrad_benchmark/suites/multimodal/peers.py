"""Other packages' methods on the same network, at the fusion layer where the published methods act, and a baseline.

Each explains the network's log-odds from the forty features on; its modality is worth the mean absolute value over rows
of each feature, added up. How many rows and samples each gets is in ``Sizes``; ``model_rows`` says what it used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from permgrad.base.random import generator
from permgrad_benchmark.contestants import Contestant, Kind, Scores, enrol
from permgrad_benchmark.records import ANY
from permgrad_benchmark.suites.multimodal.case import Case
from permgrad_benchmark.suites.multimodal.functions import COLUMNS_OF, FEATURES, MODALITIES
from permgrad_benchmark.suites.multimodal.ours import SUITE

Floats = npt.NDArray[np.float64]


def captum_feature_permutation(case: Case) -> Any:
    """``captum.attr.FeaturePermutation``: one shuffle of each feature, the change of the output in each row."""
    from captum.attr import FeaturePermutation

    with torch.no_grad():
        return FeaturePermutation(case.head()).attribute(case.fused)


def captum_shapley(case: Case) -> Any:
    """``captum.attr.ShapleyValueSampling`` from the mean row."""
    from captum.attr import ShapleyValueSampling

    with torch.no_grad():
        return ShapleyValueSampling(case.head()).attribute(
            case.fused[: case.sizes.some], baselines=_mean_row(case), n_samples=max(2, case.sizes.draws // 16)
        )


def captum_kernel_shap(case: Case) -> Any:
    """``captum.attr.KernelShap`` from the mean row, a row at a time as it works."""
    from captum.attr import KernelShap

    return _row_by_row(KernelShap, case)


def captum_lime(case: Case) -> Any:
    """``captum.attr.Lime`` from the mean row, a row at a time as it works."""
    from captum.attr import Lime

    return _row_by_row(Lime, case)


def _row_by_row(kind: Callable[[torch.nn.Module], Any], case: Case) -> Any:
    """Sample all coalitions of one row in a forward, one row after the other."""
    method, draws = kind(case.head()), case.sizes.draws
    with torch.no_grad():
        return torch.cat(
            [
                method.attribute(row[None], baselines=_mean_row(case), n_samples=draws, perturbations_per_eval=draws)
                for row in case.fused[: case.sizes.few]
            ]
        )


def captum_integrated_gradients(case: Case) -> Any:
    """``captum.attr.IntegratedGradients`` from the mean row, 50 steps."""
    from captum.attr import IntegratedGradients

    return IntegratedGradients(case.head()).attribute(
        case.fused[: case.sizes.some].clone(), baselines=_mean_row(case), n_steps=50, internal_batch_size=4096
    )


def shap_kernel(case: Case) -> Any:
    """``shap.KernelExplainer``."""
    import shap

    explainer = shap.KernelExplainer(_numpy(case), case.background().double().numpy())
    rows = case.fused[: max(2, case.sizes.few // 2)].double().numpy()
    return explainer.shap_values(rows, nsamples=case.sizes.draws, silent=True)


def shap_permutation(case: Case) -> Any:
    """``shap.PermutationExplainer``, one order and its reverse per row."""
    import shap

    background = case.background().double().numpy()
    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.PermutationExplainer(_numpy(case), masker, seed=case.integer_seed("shap permutation"))
    rows = case.fused[: max(2, case.sizes.few // 2)].double().numpy()
    return explainer(rows, max_evals=2 * FEATURES + 1, silent=True).values


def shap_gradient(case: Case) -> Any:
    """``shap.GradientExplainer`` (expected gradients)."""
    import shap

    explainer = shap.GradientExplainer(case.head(), case.fused[-case.sizes.some :])
    return explainer.shap_values(case.fused[: case.sizes.few].clone(), nsamples=100)


def _mean_row(case: Case) -> torch.Tensor:
    return case.fused.mean(dim=0, keepdim=True)


def _numpy(case: Case) -> Callable[[Any], Floats]:
    head = case.head()

    def predict(rows: Any) -> Floats:
        with torch.no_grad():
            values: Floats = head(torch.as_tensor(np.asarray(rows), dtype=case.fused.dtype))[:, 0].double().numpy()
        return values

    return predict


def _scored(case: Case, what: str, attribute: Callable[[Case], Any]) -> Scores:
    case.meter.rows = 0
    started = time.perf_counter()
    with case.other_packages(what):
        attributed = attribute(case)
    seconds = time.perf_counter() - started
    values = (
        attributed.detach().double().numpy()
        if isinstance(attributed, torch.Tensor)
        else np.asarray(attributed, np.float64)
    )
    sizes = np.abs(values.reshape(-1, FEATURES)).mean(axis=0)
    shares = np.array([sizes[columns].sum() for columns in COLUMNS_OF.values()])
    return Scores(values=np.nan_to_num(shares), seconds=seconds, model_rows=case.meter.rows)


def random_values(case: Case) -> Scores:
    """Random numbers: what a method must beat."""
    drawn = generator(case.seed, "multimodal benchmark", "random", case.oracle).random(len(MODALITIES))
    return Scores(values=drawn, seconds=0.0, model_rows=0)


def _enrol(
    name: str, label: str, package: str, attribute: Callable[[Case], Any], estimand: str, kind: Kind = "peer"
) -> None:
    def score(case: Case) -> Scores:
        return _scored(case, name, attribute)

    enrol(SUITE, Contestant(name, label, estimand, kind, score, needs=(package,)))


_enrol("captum:feature_permutation", "Captum FeaturePermutation", "captum", captum_feature_permutation, ANY)
_enrol("captum:shapley_sampling", "Captum ShapleyValueSampling", "captum", captum_shapley, "published")
_enrol("captum:kernel_shap", "Captum KernelShap", "captum", captum_kernel_shap, "published")
_enrol("captum:lime", "Captum Lime", "captum", captum_lime, "published")
_enrol("captum:integrated_gradients", "Captum IntegratedGradients", "captum", captum_integrated_gradients, "published")
_enrol("shap:kernel", "shap KernelExplainer", "shap", shap_kernel, "published")
_enrol("shap:permutation", "shap PermutationExplainer", "shap", shap_permutation, "published")
_enrol("shap:gradient", "shap GradientExplainer", "shap", shap_gradient, "published")
enrol(SUITE, Contestant("random", "random numbers", ANY, "baseline", random_values))
