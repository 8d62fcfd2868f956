"""Are the numbers those of Captum, case by case of Captum's own test table?

``captum.testing.attr.helpers.test_config`` lists models, inputs, targets (also one for
each row), baselines and further arguments with the methods that take them. Each pair of
a case and a method that exists here is computed by both; a pair without a counterpart
is counted with the reason.

How cases are put: targets by row are picked from the values of all outputs; outputs
``(rows, K, L, M)`` are laid flat; a baseline for each row is one call a row; a further
argument that is a tensor is held with its row, a constant is given one for each row.
Captum's sampling methods are compared with what they estimate: ``ShapleyValueSampling``
with Captum's ``ShapleyValues``, the others with more samples, and integrated gradients
with more steps, than the case asks for. A player of a picture is a pixel in all its
channels, also at a layer.

The table's convolutional network weighs all inputs of all classes alike before its
softmax, so that every attribution is 0; it is given drawn weights there.

Floor: each pair within 2 % of the largest number of the case, or in the list of
reasons.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import captum.attr
import numpy as np
import torch
from benchmarks._results import markdown_table, parser, record
from captum.testing.attr.helpers.test_config import config
from captum.testing.helpers.basic_models import BasicModel_ConvNet
from tests.shared.explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

TOLERANCE = 0.02
#: Where Captum's numbers are no larger, they are rounding of float32 probabilities.
ZERO = 1e-5
#: Captum's methods that are compared, with our method and its options.
METHODS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "IntegratedGradients": ("integrated_gradients", {}),
    "DeepLift": ("deeplift", {}),
    "DeepLiftShap": ("deeplift", {}),
    "GradientShap": ("integrated_gradients", {}),
    "Saliency": ("gradient", {}),
    "InputXGradient": ("gradient", {"signed": True}),
    "FeatureAblation": ("ablation", {"baseline": "zeros", "scope": "local"}),
    "ShapleyValueSampling": ("shapley", {}),
    "KernelShap": ("shapley", {}),
    "LayerIntegratedGradients": ("integrated_gradients", {}),
    "LayerDeepLift": ("deeplift", {}),
    "LayerDeepLiftShap": ("deeplift", {}),
    "LayerGradientShap": ("integrated_gradients", {}),
    "LayerFeatureAblation": ("ablation", {"baseline": "zeros", "scope": "local"}),
    "LayerGradientXActivation": ("gradient", {"signed": True}),
    "LayerGradCam": (
        "gradcam",
        {"relu": False, "upsample": "none", "before_activation": True},
    ),
}
_OTHER = "no such method here: "
#: Why a method is not compared.
REASONS = {
    "Occlusion": "its windows overlap and are averaged; players here do not overlap",
    "FeaturePermutation": "one random order of the batch; permutation here is the mean "
    "over background rows",
    "Lime": "a lasso over 50 random neighbours: its own numbers change with the seed "
    "by more than the tolerance",
    "LRP": _OTHER + "relevance rules",
    "LayerLRP": _OTHER + "relevance rules",
    "GuidedBackprop": _OTHER + "changed gradients",
    "Deconvolution": _OTHER + "changed gradients",
    "GuidedGradCam": _OTHER + "changed gradients",
    "LayerConductance": _OTHER + "conductance",
    "InternalInfluence": _OTHER + "gradients at a layer without its activations",
    "LayerActivation": "activations, no attribution",
}
#: Arguments of Captum that say how it computes, and numbers of samples with which its
#: sampling methods settle.
_HOW = (
    "internal_batch_size",
    "perturbations_per_eval",
    "nt_samples",
    "nt_samples_batch_size",
    "stdevs",
    "n_samples",
)
_SAMPLES = {"GradientShap": 5000, "LayerGradientShap": 5000, "KernelShap": 5000}
_STEPS = 2000
#: Methods whose baselines are a distribution for every row.
_OVER_ALL = ("DeepLiftShap", "GradientShap")


@dataclass(frozen=True)
class Case:
    """A case of the table: a network whose output is ``(rows, outputs)``, its inputs,
    and the output of each row.
    """

    name: str
    model: nn.Module
    arguments: Mapping[str, Any]
    layer: Any

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs that are explained."""
        inputs = self.arguments["inputs"]
        return inputs if isinstance(inputs, tuple) else (inputs,)

    @property
    def baselines(self) -> tuple[Tensor, ...] | None:
        """The rows that the inputs are compared with, if any are given."""
        baselines = self.arguments.get("baselines")
        return (baselines,) if isinstance(baselines, Tensor) else baselines


class Flat(nn.Module):
    """The network of a case as a function of tensors with rows, all outputs side by
    side.
    """

    def __init__(self, model: nn.Module, further: tuple[Any, ...]) -> None:
        super().__init__()
        self.model, self.further = (
            model,
            tuple(one for one in further if not isinstance(one, Tensor)),
        )

    def forward(
        self,
        x1: Tensor,
        x2: Tensor | None = None,
        x3: Tensor | None = None,
        x4: Tensor | None = None,
    ) -> Any:
        """Return ``(rows, outputs)``."""
        given = [x for x in (x1, x2, x3, x4) if x is not None]
        return self.model(*given, *self.further).flatten(1)


def cases() -> Iterator[tuple[Case, str]]:
    """Yield each case with each of its methods."""
    for entry in config:
        if isinstance(entry["model"], BasicModel_ConvNet):
            with torch.no_grad():
                entry["model"].fc2.weight.copy_(
                    0.002
                    * torch.randn(10, 8, generator=torch.Generator().manual_seed(0))
                )
        case = Case(
            entry["name"],
            entry["model"].eval(),
            entry["attribute_args"],
            entry.get("layer"),
        )
        for algorithm in entry["algorithms"]:
            yield case, algorithm.__name__


def reason_of(case: Case, name: str) -> str:
    """Say why a pair is not compared; empty if it is."""
    if name.startswith("Neuron"):
        return _OTHER + "attribution of a neuron inside the network"
    if name in REASONS:
        return REASONS[name]
    if isinstance(case.layer, list):
        return "several layers at once"
    if case.layer == "multi_relu":
        return "a layer that gives two tensors; name one that gives one"
    if name == "LayerGradientXActivation" and case.layer == "conv2":
        return (
            "a product for each channel; a player of a picture is a pixel in all "
            "its channels"
        )
    if name in ("ShapleyValueSampling", "KernelShap") and not _few(case):
        return "100 players: an estimate in both, with errors above the tolerance"
    if name == "LayerDeepLift" and case.layer == "conv2":
        return (
            "a softmax: exact here, values add up to the output's difference; "
            "Captum's do not"
        )
    if name == "LayerGradCam" and case.layer != "conv2":
        return "a layer without a picture: maps are of images"
    return ""


def captums(case: Case, name: str) -> np.ndarray:
    """Return Captum's numbers ``(rows, players)``, with the samples that a sampling
    method needs.
    """
    options = {key: value for key, value in case.arguments.items() if key not in _HOW}
    if name in _SAMPLES:
        options["n_samples"] = _SAMPLES[name]
    if name.endswith("IntegratedGradients"):
        # The nodes of the default rule are eigenvalues of a matrix of so many rows:
        # most of the time of the check.
        options |= {"n_steps": _STEPS, "method": "riemann_middle"}
    picture = name.startswith("Layer") and case.inputs[0].ndim == 4
    if picture and name == "LayerFeatureAblation":
        options["layer_mask"] = torch.arange(4).reshape(1, 1, 2, 2)
    if name.endswith("GradientShap"):
        options["stdevs"] = 0.0
    kind = getattr(
        captum.attr,
        "ShapleyValues" if name == "ShapleyValueSampling" and _few(case) else name,
    )
    place = () if case.layer is None else (case.model.get_submodule(case.layer),)
    torch.manual_seed(0)
    values = kind(case.model, *place).attribute(**options)
    values = values if isinstance(values, tuple) else (values,)
    if picture:  # a player of a picture is a pixel in all its channels
        values = [
            value[:, :1] if "layer_mask" in options else value.sum(1)
            for value in values
        ]
    return (
        torch.cat([value.flatten(1) for value in values], dim=1)
        .detach()
        .double()
        .numpy()
    )


def _few(case: Case) -> bool:
    return sum(one[0].numel() for one in case.inputs) <= 6


def ours(case: Case, name: str) -> np.ndarray:
    """Return our numbers ``(rows, players)``."""
    method, options = METHODS[name]
    inputs, further = case.inputs, case.arguments.get("additional_forward_args") or ()
    held = tuple(one for one in further if isinstance(one, Tensor))
    rows, count = [*inputs, *held], len(inputs[0])
    names = [f"x{place + 1}" for place in range(len(rows))]
    layer: dict[str, Any] = (
        {} if case.layer is None else {"layer": f"model.{case.layer}"}
    )
    roles = {"hold": tuple(names[len(inputs) :])} if held and not layer else {}
    shared = {
        "returns": "values",
        "progress": False,
        "random_state": 0,
        **layer,
        **roles,
        **options,
    }
    shared |= (
        {"segments": "pixels"} if inputs[0].ndim == 4 and method != "gradcam" else {}
    )
    net = Flat(case.model, further).eval()
    # A baseline for each row is one call a row; so is a layer, where what is held
    # enters the baseline too.
    apart = (
        case.baselines is not None
        and len(case.baselines[0]) == count
        and not name.endswith(_OVER_ALL)
    )
    alone = apart or (held and layer)
    explained = []
    for part in (
        [slice(row, row + 1) for row in range(count)] if alone else [slice(None)]
    ):
        start = (
            [one[:1] * 0 for one in inputs]
            if case.baselines is None
            else list(case.baselines)
        )
        start = [one[part] for one in start] if apart else start
        start += [one[part][:1].expand(len(start[0]), *one.shape[1:]) for one in held]
        options = _with_baseline(method, shared, names, start)
        explained.append(
            explain_with(
                net,
                dict(zip(names, (one[part] for one in rows), strict=True)),
                **options,
            )
        )
    if name == "LayerGradCam":
        maps = explained[0].maps["maps:x1"]
        values = maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2)
    else:
        values = np.concatenate([explanation.values for explanation in explained])
    targets = _targets(case)
    picked = np.take_along_axis(values, targets[:, None, None], axis=-1)[..., 0]
    if name == "InputXGradient":
        picked = (
            picked
            * torch.cat([one.flatten(1) for one in inputs], dim=1).double().numpy()
        )
    if name == "LayerGradientXActivation":
        picked = picked * _activations(net, rows, layer["layer"])
    return picked


def _with_baseline(
    method: str, options: dict[str, Any], names: list[str], start: list[Tensor]
) -> dict[str, Any]:
    """Add the rows compared with, as the method takes them."""
    rows = dict(zip(names, start, strict=True))
    if method in ("integrated_gradients", "deeplift"):
        return {"method": method, "baseline": rows, **options}
    if method == "shapley":
        return {"method": method, "background": rows, **options}
    if method == "ablation" and any(one.abs().max() > 0 for one in start[:1]):
        options = {key: value for key, value in options.items() if key != "baseline"}
        return {"method": "permutation", "background": rows, "n_repeats": 1, **options}
    return {"method": method, **options}


def _targets(case: Case) -> np.ndarray:
    """Return the position of each row's output among all, laid flat."""
    target, count = case.arguments.get("target"), len(case.inputs[0])
    targets = np.asarray(
        target.tolist()
        if isinstance(target, Tensor)
        else 0
        if target is None
        else target
    )
    if targets.ndim == 2:
        targets = np.ravel_multi_index(tuple(targets.T), (2, 2, 2))
    return np.broadcast_to(targets.reshape(-1), (count,))


def _activations(net: nn.Module, rows: list[Tensor], layer: str) -> np.ndarray:
    seen: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.clone())
    )
    try:
        net(*rows)
    finally:
        handle.remove()
    return seen[0].flatten(1).detach().double().numpy()


def compare(case: Case, name: str) -> dict[str, Any]:
    """Return one line of the table."""
    line: dict[str, Any] = {
        "case": case.name,
        "method of Captum": name,
        "here": "",
        "largest difference": None,
    }
    if reason := reason_of(case, name):
        return {**line, "verdict": reason}
    line["here"] = METHODS[name][0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captums(case, name)
        try:
            mine = ours(case, name)
        except (pg.InputError, ValueError) as error:
            return {**line, "verdict": f"FAILED: {error}"}
    if mine.shape != theirs.shape:
        return {**line, "verdict": f"FAILED: shapes {mine.shape} and {theirs.shape}"}
    largest = float(np.abs(theirs).max())
    gap = float(np.abs(mine - theirs).max()) / (largest if largest > ZERO else 1.0)
    return {
        **line,
        "largest difference": gap,
        "verdict": "equal" if gap <= TOLERANCE else "FAILED",
    }


def main(argv: list[str] | None = None) -> int:
    """Compare, write the record and return the exit code."""
    arguments = parser(__doc__).parse_args(argv)
    lines = [compare(case, name) for case, name in cases()]
    compared = [line for line in lines if line["here"]]
    left = Counter(
        (line["method of Captum"], line["verdict"])
        for line in lines
        if not line["here"]
    )
    failed = [line for line in compared if line["verdict"] != "equal"]
    equal, apart = len(compared) - len(failed), sum(left.values())
    text = "\n\n".join([
        (f"{equal} of {len(compared)} pairs are equal within {TOLERANCE:.0%}; {apart} "
        "have no counterpart."),
        markdown_table(compared),
        "Pairs that are not compared:",
        markdown_table([
            {"method of Captum": name, "cases": count, "reason": why} for (name, why), count in sorted(left.items())
        ]),
    ])  # fmt: skip
    return record(
        arguments,
        "Captum's own test table",
        text,
        lines,
        passed=not failed,
        seeds=[0],
        name="verify_captum_table",
    )


if __name__ == "__main__":
    sys.exit(main())
