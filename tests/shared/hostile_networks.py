"""Networks as people really bring them, and worse: from a seed to a case.

Every kind of hostile network is one function of a random generator and one
registration, in ``network_kinds_*.py``; whoever meets a new one adds it there and every
hostile test meets it too.
"""

from __future__ import annotations

import zlib
from typing import Any

import network_kinds_code
import network_kinds_inputs
import network_kinds_numbers
import network_kinds_outputs
import numpy as np
import pandas as pd
from explaining import with_settings
from network_cases import Case, Net, hand_over, kinds, seeded
from usual_methods import USUAL

from permgrad.attribution import methods

#: ``ale`` is of single columns, and these networks read inputs of any shape.
METHODS = [name for name in USUAL if name != "ale"]
#: Importing them enrols their kinds.
MODULES = (
    network_kinds_code,
    network_kinds_inputs,
    network_kinds_numbers,
    network_kinds_outputs,
)


def make(name: str, seed: int, method: str | None = None) -> Case:
    """Return a case of one kind, asked by a method; by chance where none is named."""

    def from_rng(rng: np.random.Generator) -> Case:
        case = hand_over(kinds[name](rng), rng)
        case.kind = name
        case.seed = seed
        return ask(case, rng, method)

    return seeded(zlib.crc32(name.encode()) + seed, from_rng)


def draw(seed: int) -> Case:
    """Return the case of a seed: kind, method and all."""
    names = sorted(kinds)
    return make(names[seed % len(names)], seed // len(names))


# ---- what is asked -------------------------------------------------------------------

#: Fewer draws than usual: answers must be right, not precise.
FEW: dict[str, dict[str, Any]] = {
    "shapley": {
        "exact": 4,
        "min_permutations": 24,
        "max_permutations": 24,
        "tolerance": 0.5,
        "references": 6,
    },
    "lime": {"samples": 100},
    "smoothgrad": {"samples": 4},
}
FAST: dict[str, dict[str, Any]] = {
    **FEW,
    "aggregate": {
        "members": (
            "gradient",
            "permutation",
            *(with_settings(name, **few) for name, few in FEW.items()),
        )
    },
}


def ask(case: Case, rng: np.random.Generator, method: str | None) -> Case:
    """Choose method, scope, level and the rest."""
    names = [name for name in METHODS if name != "permgrad_paper" or rng.random() < 0.1]
    method = method or str(rng.choice(names))
    options: dict[str, Any] = {
        "method": method,
        "random_state": int(rng.integers(99)),
        "n_repeats": 2,
        "progress": False,
    }
    options |= FAST.get(method, {})
    options["level"] = str(rng.choice(["feature", "column", "modality", "group"]))
    if "image" in case.parts:
        options["segments"] = ("grid", 2)
    if options["level"] == "group":
        options["groups"] = _groups(case, rng)
        if not options["groups"]:
            options |= {"level": "feature", "groups": None}
    scopes = methods.get(method).scopes
    if len(scopes) > 1:
        options["scope"] = str(rng.choice(scopes))
    if rng.random() < 0.3:
        options["target"] = 0
    if case.last != "values" and rng.random() < 0.3:
        options["output"] = "probability"
    if rng.random() < 0.15 and isinstance(case.net, Net) and method != "gradcam":
        options["layer"] = str(rng.choice(["mix", "head"]))
        options.pop("segments", None)
        options |= {"level": "feature", "groups": None}
    case.options = {**options, **case.options}
    if case.must == "explain" and method in ("gradcam", "permgrad_paper"):
        # Where no convolution sees an image, this is refused rightly.
        case.must = "either"
    return case


def feature_names(case: Case) -> list[list[str]]:
    """Return the names of the features of each input, as the package should call
    them.
    """
    names_by_input = []
    for name, input_kind, tensor in zip(
        case.names, case.parts, case.tensors, strict=True
    ):
        if input_kind == "image":
            names_by_input.append(
                [f"{name}[{row},{column}]" for row in range(2) for column in range(2)]
            )
        else:
            names_by_input.append(
                [f"{name}[{column_index}]" for column_index in range(tensor.shape[1])]
            )
    return names_by_input


def _groups(case: Case, rng: np.random.Generator) -> dict[str, list[str]]:
    every = [name for input_names in feature_names(case) for name in input_names]
    if len(every) < 2 or isinstance(case.inputs, pd.DataFrame):
        return {}
    joined_names = rng.permutation(every)[: int(rng.integers(1, len(every)))].tolist()
    return {"joined": joined_names}
