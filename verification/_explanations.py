"""The fixed calls of ``pg.explain``: name → model, number of rows, options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GROUPS = {
    "body": ["age", "weight", "pressure"],
    "habits": ["smoker", "dose", "visits"],
    "place": ["region", "grade"],
}
_CLINICAL = {"size": ["weight", "height"], "other": ["age", "dose"]}
_LOCAL = {"y": False, "background": 20}
_GRID = {"segments": ("grid", 3)}
_FEW = {"n_repeats": 3}
_CONDITIONAL = {"sampling": "conditional", **_FEW}
_SAMPLED = {"method": "shapley", "exact": 2, "max_permutations": 40}

#: Hybrid networks.
_HYBRID: dict[str, tuple[str, int, dict[str, Any]]] = {
    "permgrad": ("hybrid", 100, _FEW),
    "permgrad classes of one branch": ("tabular", 80, _FEW),
    "permgrad image": ("image", 80, _FEW),
    "permgrad preset default": ("default", 60, _FEW),
    "permgrad preset paper": ("paper", 40, _FEW),
    "permgrad groups": ("regressor", 100, {"groups": _GROUPS, **_FEW}),
    "permgrad local": ("hybrid", 20, {"scope": "local", "background": 50}),
    "permgrad local groups": ("regressor", 12, {"scope": "local", "groups": _GROUPS, "y": False}),
    "permgrad divergence": ("hybrid", 80, {"y": False, **_FEW}),
    "permgrad conditional": ("hybrid", 80, _CONDITIONAL),
    "permgrad conditional groups": ("regressor", 60, {**_CONDITIONAL, "groups": _GROUPS}),
    "permgrad background": ("hybrid", 60, {"background": 90, **_FEW}),
    "permgrad columns": ("hybrid", 60, {"groups": {}, **_FEW}),
    "permgrad dense": ("hybrid", 40, {"incremental": False, **_FEW}),
    "permgrad tolerance": ("regressor", 60, {"tolerance": 0.05, "n_repeats": 8}),
    "permgrad weights": ("regressor", 60, {"sample_weight": "by row", **_FEW}),
    "permgrad positive": ("tabular", 60, {"positive": "no", "target": "yes", "y": False, **_FEW}),
    "permgrad offset": ("hybrid", 40, {"row_offset": 1000, "batch_size": 7, **_FEW}),
    "permgrad_paper": ("hybrid", 80, {"method": "permgrad_paper"}),
    "permgrad_paper regressor": ("regressor", 60, {"method": "permgrad_paper", "shuffles": 2}),
    "permutation": ("hybrid", 100, {"method": "permutation", **_FEW}),
    "permutation of a path": ("hybrid", 60, {"method": "permutation", "paths": ("image",), **_FEW}),
    "permutation conditional": ("regressor", 80, {"method": "permutation", **_CONDITIONAL}),
    "permutation scores": (
        "hybrid", 100, {"method": "permutation", "scoring": ["accuracy", "neg_log_loss"], **_FEW},
    ),
    "permgrad score": ("regressor", 80, {"scoring": "r2", **_FEW}),
    "permutation local": ("tabular", 20, {"method": "permutation", "scope": "local", "background": 30}),
    "ablation": ("hybrid", 80, {"method": "ablation"}),
    "ablation local": ("regressor", 20, {"method": "ablation", "scope": "local"}),
    "ablation zeros": ("tabular", 40, {"method": "ablation", "baseline": "zeros"}),
    "gradcam": ("hybrid", 20, {"method": "gradcam", "y": False}),
    "gradcam layercam": ("image", 20, {"method": "gradcam", "variant": "layercam", "y": False}),
    "gradcam hirescam": ("hybrid", 30, {"method": "gradcam", "variant": "hirescam", "y": False, "target": 0}),
    "gradient": ("hybrid", 30, {"method": "gradient", "y": False}),
    "gradient signed": ("regressor", 30, {"method": "gradient", "signed": True, "y": False}),
    "integrated gradients": ("hybrid", 30, {"method": "integrated_gradients", "y": False}),
    "integrated gradients default": ("default", 8, {"method": "integrated_gradients", "y": False}),
    "integrated gradients paper": ("paper", 8, {"method": "integrated_gradients", "y": False}),
    "integrated gradients expected": (
        "hybrid", 10, {"method": "integrated_gradients", "baseline": "background", "references": 8, "y": False},
    ),
    "integrated gradients steps": (
        "tabular", 20, {"method": "integrated_gradients", "steps": 20, "scale": "probability", "y": False},
    ),
    "integrated gradients image": ("image", 10, {"method": "integrated_gradients", "baseline": "mean", "y": False}),
    "integrated gradients groups": (
        "regressor", 20, {"method": "integrated_gradients", "groups": _GROUPS, "y": False},
    ),
    "deeplift": ("hybrid", 30, {"method": "deeplift", "y": False}),
    "deeplift background": ("regressor", 20, {"method": "deeplift", "baseline": "background", "references": 10}),
    "shapley": ("hybrid", 10, {"method": "shapley", **_LOCAL}),
    "shapley sampled": ("hybrid", 8, {**_SAMPLED, **_LOCAL}),
    "shapley owen": ("hybrid", 8, {**_SAMPLED, **_LOCAL, "blocks": "modality", "groups": _GROUPS}),
    "shapley loss": ("hybrid", 60, {"method": "shapley", "scope": "global", "max_permutations": 40}),
    "shapley expected loss": (
        "regressor", 40, {"method": "shapley", "scope": "global", "game": "expected", "groups": _GROUPS},
    ),
    "shapley divergence": ("tabular", 40, {"method": "shapley", "scope": "global", "y": False, "groups": _GROUPS}),
    "shapley default": ("default", 4, {**_SAMPLED, **_LOCAL, "scale": "probability", "target": 1}),
    "lime": ("hybrid", 10, {"method": "lime", **_LOCAL}),
    "lime regressor": ("regressor", 10, {"method": "lime", "samples": 300, "kernel_width": 2.0, **_LOCAL}),
    "aggregate": ("hybrid", 40, {"method": "aggregate", "members": ("permutation", "gradient", "deeplift"), **_FEW}),
}  # fmt: skip

#: Torch networks.
_NETWORKS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "network permgrad modality": ("fused", 80, {"groups": "modality", **_FEW}),
    "network permgrad": ("fused", 60, {**_GRID, **_FEW}),
    "network permgrad divergence": ("fused", 40, {"groups": "modality", "y": False, "background": 30}),
    "network permgrad scores": ("fused", 60, {"groups": "modality", "scoring": "accuracy", **_FEW}),
    "network permgrad groups": ("fused", 60, {"groups": _CLINICAL, "segments": {"image": "superpixels"}, **_FEW}),
    "network permutation": ("fused", 60, {"method": "permutation", **_GRID, **_FEW}),
    "network permutation local": ("fused", 10, {"method": "permutation", "scope": "local", "background": 20, **_GRID}),
    "network permutation slow": ("fused", 40, {"method": "permutation", "incremental": False, **_GRID, **_FEW}),
    "network permutation layer": ("fused", 40, {"method": "permutation", "layer": "fusion", **_FEW}),
    "network permutation scores": (
        "fused", 60, {"method": "permutation", "scoring": ("accuracy", "neg_log_loss"), **_GRID, **_FEW},
    ),
    "network conditional": ("dense", 100, {"method": "permutation", **_CONDITIONAL}),
    "network conditional groups": ("dense", 80, {**_CONDITIONAL, "groups": _CLINICAL}),
    "network one input": ("dense", 80, _FEW),
    "network ablation": ("fused", 60, {"method": "ablation", **_GRID}),
    "network ablation local": ("fused", 10, {"method": "ablation", "scope": "local", "background": 20, **_GRID}),
    "network gradcam": ("fused", 20, {"method": "gradcam", "y": False, **_GRID}),
    "network layercam": ("fused", 20, {"method": "gradcam", "variant": "layercam", "layer": "image_branch.0"}),
    "network gradcam volume": ("volume", 10, {"method": "gradcam", "y": False}),
    "network gradient": ("fused", 20, {"method": "gradient", "target": 1, "y": False}),
    "network gradient pixels": ("fused", 5, {"method": "gradient", "segments": "pixels", "signed": True, "y": False}),
    "network integrated gradients": ("fused", 10, {"method": "integrated_gradients", **_LOCAL, **_GRID}),
    "network integrated gradients steps": (
        "fused", 10, {"method": "integrated_gradients", "steps": 16, "scale": "probability", "y": False, **_GRID},
    ),
    "network integrated gradients recurrent": ("reader", 6, {"method": "integrated_gradients", **_LOCAL}),
    "network deeplift": ("fused", 10, {"method": "deeplift", **_LOCAL, **_GRID}),
    "network deeplift volume": ("volume", 6, {"method": "deeplift", "y": False}),
    "network shapley": ("fused", 6, {"method": "shapley", **_LOCAL, "segments": ("grid", 2)}),
    "network shapley sampled": ("fused", 4, {**_SAMPLED, **_LOCAL, **_GRID}),
    "network shapley owen": ("fused", 4, {**_SAMPLED, **_LOCAL, **_GRID, "blocks": "modality"}),
    "network shapley loss": (
        "fused", 40, {"method": "shapley", "scope": "global", "segments": ("grid", 2), "max_permutations": 40},
    ),
    "network shapley modality": ("fused", 10, {"method": "shapley", "groups": "modality", **_LOCAL}),
    "network shapley words": ("reader", 6, {"method": "shapley", **_LOCAL}),
    "network lime": ("fused", 6, {"method": "lime", **_LOCAL, **_GRID}),
    "network lime gaussian": ("dense", 8, {"method": "lime", **_LOCAL}),
    "network aggregate": (
        "fused", 30, {"method": "aggregate", "members": ("permutation", "gradient"), **_GRID, **_FEW},
    ),
    "network mixed": ("fused", 6, {"method": {"image": "gradient", "clinical": "shapley"}, **_LOCAL}),
    "network permutation volume": ("volume", 30, {"method": "permutation", "segments": ("grid", 2, 2, 2), **_FEW}),
}  # fmt: skip

EXPLANATIONS: Mapping[str, tuple[str, int, Mapping[str, Any]]] = {
    **_HYBRID,
    **_NETWORKS,
}
