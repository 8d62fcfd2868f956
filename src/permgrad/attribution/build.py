"""From the numbers of a game to an ``Explanation``: names, parts and the facts that travel with it."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from permgrad import __version__
from permgrad.attribution.explanation import Explanation, Floats
from permgrad.attribution.method import Request
from permgrad.attribution.replace.finite import LARGEST
from permgrad.attribution.replace.game import Played, loss_scale, play_losses, play_rows, tabulate
from permgrad.attribution.replace.plays import Plays
from permgrad.base.errors import InputError, listed, warn_user


def shown_values(request: Request) -> pd.DataFrame | None:
    """Return the raw values of the players, rows × players, missing where one is several columns; None without any.

    Of a network's inputs they are those of the players that are one number each.
    """
    if request.raw is not None:
        raw = request.raw.reindex(columns=list(request.players))
        return pd.DataFrame({name: column.to_numpy() for name, column in raw.items()}, columns=raw.columns)
    sizes, shown = request.space.sizes(), {}
    for tensor, segments in zip(request.inputs, request.space.segments, strict=True):
        if tensor.ndim > 2:
            continue
        rows = tensor.reshape(request.count, -1).cpu()
        # NumPy knows no bfloat16.
        rows = rows.float() if rows.dtype == torch.bfloat16 else rows
        for column, owner in enumerate(segments.reshape(-1).tolist()):
            if owner >= 0 and sizes[owner] == 1:
                shown[request.space.names[owner]] = rows[:, column].numpy()
    words = request.subject.words
    if words is not None:
        shown |= {name: words[name].to_numpy() for name in words if name in request.space.names}
    return pd.DataFrame(shown) if shown else None


def _tell_of_unused(request: Request, explanation: Explanation) -> None:
    """Warn, with their names, of inputs whose values are all exactly 0."""
    modality = np.array(explanation.modality, dtype=object)
    moved = (np.nan_to_num(explanation.values, nan=1.0) != 0).any(axis=-1)
    used = set(modality[moved.any(axis=0) if explanation.scope == "local" else moved])
    unused = [name for name in dict.fromkeys(explanation.modality) if name not in used]
    if unused:
        names = [name for name in unused if name in request.subject.input_names]
        kind = "inputs"
        if not names:
            # What a layer gives has the modality of the inputs behind it, or none.
            kind = "units" if "layer" in vars(request.subject) else "features"
            names = [name for name, of in zip(explanation.names, explanation.modality, strict=True) if of in unused]
        warn_user(f"the importance of these {kind} is exactly 0: {listed(names, 8)}; {_why_zero(explanation)}")


#: Methods that see an input through the gradient alone.
_BY_GRADIENT = ("gradient", "integrated_gradients", "deeplift", "gradcam")


def _why_zero(explanation: Explanation) -> str:
    if explanation.method in _BY_GRADIENT:
        return (
            "the network leaves them out, or hides the gradient (detach, NumPy, rounding): "
            "method='permutation' tells which"
        )
    if explanation.method.startswith("captum."):
        return f"{explanation.method} gives nothing for them, which need not mean that the network leaves them out"
    if "scores" in explanation.meta:
        return "no score changes without them; the outputs may: call without scoring= to see"
    return "they do not change the output; check that the network is meant to leave them out"


def _refuse_nonsense(explanation: Explanation) -> None:
    """Refuse rows for which the network predicts NaN or infinity, or has slopes over values that are missing."""

    def broken(fine: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        return np.flatnonzero(~fine.reshape(len(fine), -1).all(axis=1))

    predictions, base, values = explanation.predictions, explanation.base_values, explanation.values
    rows = broken(np.abs(predictions) <= LARGEST) if predictions is not None else np.arange(0)
    if len(rows):
        raise InputError(
            f"the model must predict finite numbers, however: {len(rows)} of {len(values)} rows got NaN, infinity "
            f"or more than {LARGEST:g} (the first is row {rows[0]}); check those rows"
        )
    if base is not None and not np.isfinite(base).all():
        raise InputError(
            "the model must predict finite numbers for the background, however: it predicts NaN or infinity; check the "
            "rows of background= or baseline="
        )
    rows = broken(np.isfinite(values)) if explanation.method in _BY_GRADIENT else np.arange(0)
    if len(rows):
        raise InputError(
            f"{explanation.method} needs finite slopes, however: {len(rows)} of {len(values)} rows have NaN or "
            "infinite ones, as where inputs are missing; fill them in, or choose method='shapley' or 'permutation'"
        )


def input_maps(request: Request, *, numbers: int = 20_000_000) -> dict[str, npt.NDArray[Any]]:
    """Return ``images:<input>`` and ``segments:<input>``, which plots need, for images with players."""
    maps: dict[str, npt.NDArray[Any]] = {}
    inputs = zip(request.space.inputs, request.inputs, request.space.segments, strict=True)
    for (name, tensor, segments), shape in zip(inputs, request.shapes, strict=False):
        if shape is None or not bool((segments >= 0).any()):
            continue
        maps[f"segments:{name}"] = segments.cpu().numpy()
        if tensor.numel() <= numbers:
            maps[f"images:{name}"] = tensor.float().cpu().numpy()
    return maps


def explain_plays(method: str, request: Request, plays: Plays) -> Explanation:
    """Play a method's plays and build the explanation: of a loss over all rows, or of each row's output."""
    if request.scope == "global":
        return global_explanation(method, request, plays, play_losses(request, plays, method))
    mean, std, predictions, facts = play_rows(request, plays, method)
    facts = {"quantity": "output minus the mean output with the feature replaced", **facts}
    return build(request, method, facts=facts, predictions=predictions, **by_quantity(plays.names, mean, std))


def global_explanation(
    method: str, request: Request, plays: Plays, played: Played, numbers: Floats | None = None, **fields: Any
) -> Explanation:
    """Build the result of a loss game: the first quantity is the importance, the others are parts.

    ``numbers``: None: those of the game; ``fields``: further ones of ``Explanation``.
    """
    shown = shown_outputs(request)
    loss = "divergence" if request.y is None else request.loss
    sampler = played.game.back_end.sampler
    drawn: dict[str, Any] = {"not_identifiable": []} if request.subject.paths else {}
    facts = {
        "quantity": "increase of the loss" if request.y is not None else "divergence from the model's own prediction",
        "unit": loss_unit(request, loss),
        "loss": loss,
        "loss_scale": loss_scale(request),
        "repeats": played.repeats,
        "model_rows": played.model_rows,
        "classes_by": "y" if request.y is not None else "predicted class",
        **(drawn if sampler is None else sampler.facts()),
        **plays.facts,
    }
    if numbers is None:
        names, quantities = request.space.names, len(plays.names)
        numbers = tabulate(names, played.moments, played.outputs, played.repeats, quantities, request.confidence)
    outputs = tuple(played.outputs[index] for index in shown)
    return build(
        request, method, facts=facts, outputs=outputs, **by_quantity(plays.names, *numbers[:, :, shown]), **fields
    )


def by_quantity(names: Sequence[str], mean: Floats, std: Floats, *ends: Floats) -> dict[str, Any]:
    """Return the fields of an explanation whose first quantity is its importance, and whose others are its parts.

    ``ends``: low, high and p-values, if there are any.
    """
    return {
        "values": mean[..., 0],
        "std": std[..., 0],
        **{name: end[..., 0] for name, end in zip(("low", "high", "p_values"), ends, strict=False)},
        "parts": {name: mean[..., index] for index, name in enumerate(names) if index},
        "part_std": {name: std[..., index] for index, name in enumerate(names) if index},
    }


def shown_outputs(request: Request) -> list[int]:
    """Return which of ``("all", *classes)`` are asked for: the single column of a network stands for both classes."""
    classes = len(request.subject.class_names)
    chosen = request.targets if len(request.subject.output_names) == classes else range(classes)
    return [0, *(1 + target for target in chosen)]


def loss_unit(request: Request, loss: str) -> str:
    """Return the unit of a loss, or of the divergence where y is not known."""
    if request.subject.task == "classification":
        return "nats" if loss in ("cross_entropy", "divergence") else loss
    return "y²" if loss in ("squared_error", "divergence") else "y"


def build(
    request: Request,
    method: str,
    values: npt.NDArray[np.float64],
    facts: Mapping[str, Any],
    *,
    outputs: tuple[str, ...] | None = None,
    **fields: Any,
) -> Explanation:
    """Return a method's explanation of the players of a request, with the facts that every explanation carries."""
    subject, maps = request.subject, input_maps(request)
    about: dict[str, Any] = {
        "seed": request.seed,
        "n_repeats": request.n_repeats,
        "rows_explained": request.count,
        "background": {"kind": request.background_kind, "rows": len(request.donors[0])},
        "sampling": request.sampling,
        "confidence": request.confidence,
        "task": subject.task,
    }
    if request.positive is not None:
        about["positive"] = request.positive
    about |= {"paths": list(subject.paths), **subject.facts}
    if request.scope == "local":
        if request.sample_weight is not None:
            # A summary over the rows is taken with them.
            about["sample_weight"] = request.sample_weight.tolist()
        facts = {"quantity": "", "unit": output_unit(request), "output": request.output, **facts}
        fields.setdefault("feature_values", shown_values(request))
    else:
        maps = {name: array for name, array in maps.items() if name.startswith("segments:")}
    versions = {"permgrad": __version__, "torch": torch.__version__, "numpy": np.__version__}
    about["versions"] = {**versions, "python": platform.python_version()}
    about["seconds"] = time.perf_counter() - request.started
    fields = {"maps": maps, "names": request.space.names, "modality": request.space.modality, **fields}
    explanation = Explanation(
        values=values,
        outputs=tuple(subject.output_names[target] for target in request.targets) if outputs is None else outputs,
        method=method,
        scope=request.scope,
        level=request.level,
        groups=request.space.groups,
        meta={**about, **facts},
        **fields,
    )
    if subject.tells_unused:
        _refuse_nonsense(explanation)
        if method != "gradcam":  # which says itself what maps are empty
            _tell_of_unused(request, explanation)
    return explanation if request.row_target is None else request.row_target.taken(explanation)


def output_unit(request: Request) -> str:
    """Return the unit of what is explained of each row."""
    return "y" if request.subject.task == "regression" else request.output
