"""Different methods for different inputs in one call. Each keeps its unit, and values are never added across inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import MIXED
from permgrad.attribution.explanation.files import OF_ROWS
from permgrad.attribution.method.captum import find_method
from permgrad.attribution.request import Method
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.base.arrays import Array, Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.base.random import resolve_seed


def explain_mixed(arguments: Arguments) -> Explanation:
    """Explain each input that is a key of ``method`` by its method. All others stay unchanged."""
    wanted: Mapping[Any, Any] = arguments.method
    if not wanted:
        problem = "method= is an empty dict and must name at least one input"
        raise InputError(problem, hint="Pass for example {'image': 'gradcam'}.", code="PG005")
    chosen = {str(name): find_method(value) for name, value in wanted.items()}
    scope = _common_scope(arguments.scope, [method for method, _ in chosen.values()])
    arguments = replace(arguments, random_state=resolve_seed(arguments.random_state))
    parts = {name: _explain_input(arguments, name, *one, scope=scope) for name, one in chosen.items()}
    return _combine(parts, scope)


def _common_scope(scope: str, used: Sequence[Method]) -> str:
    usual = "local" if all("local" in method.scopes for method in used) else "global"
    return usual if scope == "auto" else scope


def _explain_input(arguments: Arguments, name: str, method: Method, label: str, *, scope: str) -> Explanation:
    used = scope if scope in method.scopes else method.scopes[0]
    request = build_request(replace(arguments, method=label, scope=used), method, label, by="mixed")
    check_choice("input", name, dict.fromkeys(request.space.modality))
    explanation = method(replace(request, space=request.space.only(name)))
    if name not in explanation.modality:
        problem = f"method={label!r} cannot explain input {name!r}"
        raise InputError(problem, hint="Choose another method for it.", code="PG034")
    return explanation.to_global() if scope == "global" and explanation.scope == "local" else explanation


def _combine(explanations: dict[str, Explanation], scope: str) -> Explanation:
    """Combine the explanations into one. Outputs that a method does not explain are NaN."""
    parts = list(explanations.values())
    outputs = tuple(dict.fromkeys(output for part in parts for output in part.outputs))

    def beside(arrays: Iterable[Floats | None]) -> Floats:
        wide = []
        for part, array in zip(parts, arrays, strict=True):
            wide.append(np.full((*part.values.shape[:-1], len(outputs)), np.nan))
            if array is not None:
                wide[-1][..., [outputs.index(output) for output in part.outputs]] = array
        return np.concatenate(wide, axis=-2)

    alike = all(part.predictions is not None and part.outputs == outputs for part in parts)
    names = ("values", "std_error", "low", "high", "p_values")
    fields: dict[str, Any] = {name: beside(getattr(part, name) for part in parts) for name in names}
    frames = [part.feature_values for part in parts if part.feature_values is not None]
    return Explanation(
        **fields,
        names=tuple(name for part in parts for name in part.names),
        modality=tuple(modality for part in parts for modality in part.modality),
        outputs=outputs,
        method=MIXED,
        scope="local" if scope == "local" else "global",
        parts={"share": beside(map(_shares, parts))},
        level=parts[0].level,
        groups={name: members for part in parts for name, members in part.groups.items()},
        feature_values=pd.concat(frames, axis=1) if frames else None,
        predictions=parts[0].predictions if alike else None,
        maps={name: array for part in parts for name, array in _renumbered(part, parts).items()},
        meta=_facts(explanations),
    )


def _shares(part: Explanation) -> Floats:
    """Return shares of the sum over players, or 0 where all are 0."""
    values = np.abs(part.values)
    total = values.sum(axis=-2, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def _facts(explanations: Mapping[str, Explanation]) -> dict[str, Any]:
    """Return the facts that the parts have in common, and those of each part."""
    common = ("seed", "rows_explained", "background", "confidence", "task", "versions", "independent", *OF_ROWS[1:])
    metas = {name: part.meta for name, part in explanations.items()}
    first = next(iter(metas.values()))
    return {
        **{key: first[key] for key in common if key in first},
        "methods": {name: part.method for name, part in explanations.items()},
        "units": {name: meta.get("unit", "") for name, meta in metas.items()},
        "quantities": {name: meta.get("quantity", "") for name, meta in metas.items()},
        "quantity": "different for each modality (see quantities)",
        "unit": "different for each modality (see units)",
        "n_repeats": max(int(meta.get("n_repeats", 1)) for meta in metas.values()),
        "seconds": sum(float(meta.get("seconds", 0.0)) for meta in metas.values()),
        "by_input": metas,
    }


def _renumbered(part: Explanation, parts: Sequence[Explanation]) -> dict[str, Array]:
    """Return a part's maps, with segments numbered by the players of the complete explanation."""
    before = sum(len(other.names) for other in parts[: [other is part for other in parts].index(True)])
    maps = {}
    for name, array in part.maps.items():
        kind_and_input = name.split(":", 1)
        if len(kind_and_input) == 2 and kind_and_input[1] not in part.modality:
            continue
        maps[name] = np.where(array >= 0, array + before, array) if kind_and_input[0] == "segments" else array
    return maps
