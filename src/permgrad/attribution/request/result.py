"""The result of a ``Request``: ``build`` makes an ``Explanation`` of numbers, with the
facts stored with it.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.ranks import freedoms_of
from permgrad.attribution.request.request import Request
from permgrad.attribution.subject.soundness import LARGEST
from permgrad.base import __version__
from permgrad.base.arrays import Array, Booleans, Floats, Indexes
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, listed, warn_user
from permgrad.base.late import pd
from permgrad.base.sequences import values_at


def independent_facts(units: Dependence, freedom: float = np.inf) -> dict[str, Any]:
    """Return how many groups or times are behind the intervals, as the fact
    ``independent`` of an explanation.

    For times also the longest stretch over which some effect is related to itself, from
    the degrees of freedom.

    Args:
        units: Which rows depend on each other.
        freedom: The degrees of freedom of the errors.
    """
    facts: dict[str, Any] = {"by": units.argument[0], "count": units.count}
    if units.timed and 0 < freedom < np.inf:
        facts["related_times"] = max(1, round(units.count / freedom))
    return facts


def _least_freedom(
    request: Request, values: Floats, fields: Mapping[str, Any]
) -> float:
    """Return the fewest degrees of freedom of all intervals, infinity without any."""
    if request.scope.by_row:
        return np.inf
    widths = fields.get("high", np.full(values.shape, np.nan)) - values
    return float(
        freedoms_of(widths, fields.get("std_error", widths), request.confidence).min(
            initial=np.inf
        )
    )


def _about(
    request: Request, values: Floats, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the facts of the request that every explanation has."""
    about: dict[str, Any] = {
        "seed": request.seed,
        "n_repeats": request.n_repeats,
        "rows_explained": request.count,
        "background": {"kind": request.background_kind, "rows": len(request.donors[0])},
        "sampling": request.sampling,
        "confidence": request.confidence,
        "task": request.subject.task.name,
    }
    if request.units is not None:
        about["independent"] = independent_facts(
            request.units, _least_freedom(request, values, fields)
        )
    # As many rows of equal weight say as much (Kish 1965).
    weights = request.sample_weight
    if weights is not None:
        about["equal_rows"] = float(weights.sum() ** 2 / np.square(weights).sum())
    if request.positive is not None:
        about["positive"] = request.positive
        if request.scope.by_row and request.positive_by_y:
            about["positive_by"] = "y"
    about |= {"paths": list(request.subject.paths), **request.subject.facts}
    if request.as_one:
        about["as_one"] = dict(request.as_one)
    return about


def build(
    request: Request,
    method: str,
    values: Floats,
    facts: Mapping[str, Any],
    *,
    outputs: tuple[str, ...] | None = None,
    **fields: Any,
) -> Explanation:
    """Return a method's explanation of the players of a request, with the facts that
    every explanation has.

    Args:
        request: The call.
        method: The name of the method.
        values: ``(players, outputs)``, or of single rows ``(rows, players, outputs)``.
        facts: Facts of the method for ``meta``, with its ``quantity`` and ``unit``.
        outputs: Names of the columns of values. None: those explained.
        **fields: Further fields of ``Explanation``.
    """
    weights = request.sample_weight
    maps = dict[str, Array]()
    about = _about(request, values, fields)
    input_shapes = {
        input_name: shape
        for input_name, shape in zip(request.space.inputs, request.shapes, strict=False)
        if shape is not None
    }
    if input_shapes:
        about["read_as"] = {
            input_name: image_shape.facts
            for input_name, image_shape in input_shapes.items()
        }
        maps = input_maps(request)
    if request.scope.by_row:
        if weights is not None:
            # Summaries over the rows use them.
            about["sample_weight"] = weights.tolist()
        if request.units is not None:
            argument_name, codes = request.units.argument
            about[argument_name] = codes.tolist()
        facts = {"quantity": "", **_of_outputs(request), **facts}
        fields.setdefault("feature_values", shown_values(request))
        # Its intervals are of the error of sampling, which no test asks about.
        fields.pop("p_values", None)
    versions = {
        "permgrad": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    about["versions"] = {**versions, "python": platform.python_version()}
    about["seconds"] = time.perf_counter() - request.started
    fields = {
        "maps": maps,
        "names": request.space.names,
        "modality": request.space.modality,
        **fields,
    }
    explanation = Explanation(
        values=values,
        outputs=explained_names(request) if outputs is None else outputs,
        method=method,
        scope=request.scope,
        level=request.level,
        groups=request.space.groups,
        meta={**about, **facts},
        **fields,
    )
    if request.subject.tells_unused:
        _refuse_nonsense(explanation, request)
        if not getattr(request.method, "tells_of_zeros", False):
            _tell_of_unused(
                request,
                of_order(explanation, 1) if explanation.members else explanation,
            )
    return (
        explanation
        if request.row_target is None
        else request.row_target.taken(explanation)
    )


def _of_outputs(request: Request) -> dict[str, Any]:
    """Return what the numbers of explained outputs are."""
    about = {
        "unit": output_unit(request),
        "scale": request.scale.name,
    }
    if request.scale_reason and not request.subject.task.numeric:
        about["scale_reason"] = request.scale_reason
    return about


def by_quantity(
    names: Sequence[str], mean: Floats, std: Floats, *ends: Floats
) -> dict[str, Any]:
    """Return the fields of an explanation: its first quantity is the importance, the
    others are parts.

    ``ends`` are low, high and p-values, if there are any.
    """
    return {
        "values": mean[..., 0],
        "std_error": std[..., 0],
        **{
            field_name: end_values[..., 0]
            for field_name, end_values in zip(
                ("low", "high", "p_values"), ends, strict=False
            )
        },
        "parts": {
            part_name: mean[..., index]
            for index, part_name in enumerate(names)
            if index
        },
        "part_std": {
            part_name: std[..., index] for index, part_name in enumerate(names) if index
        },
    }


def named(request: Request, members: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Return the fields of an explanation that name players and their interactions, "a
    × b".

    Args:
        request: The call.
        members: The positions of the players of each name.
    """
    space = request.space
    return {
        "members": tuple(members),
        "names": tuple(
            " × ".join(values_at(space.names, member_players))
            for member_players in members
        ),
        "modality": tuple(
            "+".join(dict.fromkeys(values_at(space.modality, member_players)))
            for member_players in members
        ),
    }


def shown_outputs(request: Request) -> list[int]:
    """Return the requested positions in ``("all", *classes)``."""
    if request.subject.outputs.class_names:
        class_targets = request.targets
    else:
        class_targets = ()
    return [0, *(1 + target for target in class_targets)]


def explained_names(request: Request) -> tuple[str, ...]:
    """Return the names of the outputs that are explained."""
    names = request.scale.names(request.subject.outputs)
    return tuple(values_at(names, request.targets))


def output_unit(request: Request) -> str:
    """Return the unit of the explained output."""
    return request.scale.unit(request.subject.outputs)


def shown_values(request: Request) -> pd.DataFrame | None:
    """Return the raw values of the players, rows × players, or None without any.

    Players of several columns have missing values. For a network, only players of one
    number each have values.
    """
    if request.shown is not None:
        raw_frame = request.shown.reindex(columns=list(request.space.columns))
        return pd.DataFrame(
            {
                column_name: column.to_numpy()
                for column_name, column in raw_frame.items()
            },
            columns=raw_frame.columns,
        )
    sizes = request.space.sizes()
    shown = {}
    for tensor, segments in zip(request.inputs, request.space.segments, strict=True):
        if tensor.ndim > 2:
            continue
        row_values = tensor.reshape(request.count, -1).cpu()
        # NumPy has no bfloat16.
        if row_values.dtype == torch.bfloat16:
            row_values = row_values.float()
        for column, owner in enumerate(segments.reshape(-1).tolist()):
            if owner >= 0 and sizes[owner] == 1:
                shown[request.space.names[owner]] = row_values[:, column].numpy()
    words = request.subject.words
    if words is not None:
        shown |= {
            word_column: words[word_column].to_numpy()
            for word_column in words
            if word_column in request.space.names
        }
    if shown:
        return pd.DataFrame(shown)
    return None


#: Sequences with more numbers than this in each place are embeddings and are not drawn.
_DRAWN = 32


def input_maps(request: Request, *, numbers: int = 20_000_000) -> dict[str, Array]:
    """Return ``images:<input>`` and ``segments:<input>``, which plots need, for series,
    images and volumes.
    """
    drawn_maps: dict[str, Array] = {}
    inputs = zip(
        request.space.inputs, request.inputs, request.space.segments, strict=True
    )
    for (input_name, tensor, segments), shape in zip(
        inputs, request.shapes, strict=False
    ):
        if (
            shape is None
            or not bool((segments >= 0).any())
            or (shape.vectors and tensor.shape[2] > _DRAWN)
        ):
            continue
        drawn_maps[f"segments:{input_name}"] = segments.cpu().numpy()
        if not request.scope.by_row:  # plots show the mean of the rows
            drawn_maps[f"images:{input_name}"] = (
                tensor.mean(dim=0, keepdim=True, dtype=torch.float32).cpu().numpy()
            )
        elif tensor.numel() <= numbers:
            drawn_maps[f"images:{input_name}"] = tensor.float().cpu().numpy()
    return drawn_maps


def _tell_of_unused(request: Request, explanation: Explanation) -> None:
    """Warn about inputs whose values are all exactly 0, with their names."""
    modality = np.array(explanation.modality, dtype=object)
    values = explanation.values  # a class without rows has none
    moved = (np.nan_to_num(values) != 0).any(axis=-1) | np.isnan(values).all(axis=-1)
    if not explanation.scope.by_row and explanation.std_error is not None:
        moved |= (explanation.std_error > 0).any(
            axis=-1
        )  # predictions that changed no score
    used_modalities = set(
        modality[moved.any(axis=0) if explanation.scope.by_row else moved]
    )
    unused = []
    for modality_name in dict.fromkeys(explanation.modality):
        if modality_name not in used_modalities:
            unused.append(modality_name)
    if unused:
        names = []
        for input_name in unused:
            if input_name in request.subject.input_names:
                names.append(input_name)
        player_kind = "inputs"
        if not names:
            # Units of a layer have the modality of the inputs behind it, or none.
            player_kind = "units" if "layers" in vars(request.subject) else "features"
            names = []
            for player_name, player_modality in zip(
                explanation.names, explanation.modality, strict=True
            ):
                if player_modality in unused:
                    names.append(player_name)
        warn_user(
            f"The importance of these {player_kind} is exactly 0: {listed(names, 8)}. "
            f"{_why_zero(explanation, request)}"
        )


def _why_zero(explanation: Explanation, request: Request) -> str:
    if getattr(request.method, "by_slopes", False):
        return (
            "The model ignores them, or blocks the gradient (detach, NumPy, rounding). "
            "Use method='permutation' to find out which."
        )
    if reason := getattr(request.method, "why_zero", ""):
        return str(reason)
    if "scores" in explanation.meta:
        return (
            "They change no score, but may change the outputs. Leave scoring= out "
            "to see."
        )
    if half_precision := request.subject.coarse:
        precision_name = str(half_precision).removeprefix("torch.")
        return (
            f"Smaller changes of the output are rounded off in {precision_name}. "
            "Explain the network in float32 to see them."
        )
    return (
        "They do not change the output. Check that the model is meant to ignore them."
    )


def _refuse_nonsense(explanation: Explanation, request: Request) -> None:
    """Refuse rows with NaN or infinite predictions or slopes."""

    def broken(fine: Booleans) -> Indexes:
        return np.flatnonzero(~fine.reshape(len(fine), -1).all(axis=1))

    predictions = explanation.predictions
    base_outputs = explanation.base_values
    values = explanation.values
    if predictions is not None:
        broken_rows = broken(np.abs(predictions) <= LARGEST)
    else:
        broken_rows = np.arange(0)
    if len(broken_rows):
        problem = (
            f"The model predicts NaN, infinity or more than {LARGEST:g} for "
            f"{len(broken_rows):,} of {len(values):,} rows "
            f"(first: row {broken_rows[0]})"
        )
        raise InputError(problem, hint="Check those rows.", code="PG040")
    if base_outputs is not None and not np.isfinite(base_outputs).all():
        problem = "The model predicts NaN or infinity for the background"
        raise InputError(
            problem, hint="Check the rows of background= or baseline=.", code="PG040"
        )
    broken_rows = np.arange(0)
    if getattr(request.method, "by_slopes", False):
        broken_rows = broken(np.isfinite(values))
    if len(broken_rows):
        missing = not all(
            bool(torch.isfinite(input_tensor.sum(dtype=torch.float64)))
            for input_tensor in request.inputs
        )
        causes = (
            "a root or a power has no slope at 0",
            "Add a small number under the root",
        )
        cause, advice = (
            ("inputs are missing", "Fill in missing inputs") if missing else causes
        )
        problem = (
            f"{explanation.method} needs finite gradients, but {len(broken_rows):,} of "
            f"{len(values):,} rows have NaN or "
            f"infinite ones, for example because {cause}"
        )
        raise InputError(
            problem,
            hint=f"{advice}, or choose method='shapley' or 'permutation'.",
            code="PG040",
        )


#: Rows that a digest reads, evenly over all of them, and rows that are read at once.
_DIGESTED = 10_000
_AT_ONCE = 256


def digests_of(request: Request) -> dict[str, str]:
    """Return digests that tell whether the rows explained, and the background, are
    those of another call.
    """
    digests = {"rows": "", "background": ""}
    sources = (request.inputs,) if request.shared else (request.inputs, request.donors)
    for digest_name, tensors in zip(digests, sources, strict=False):
        digest = hashlib.blake2b(digest_size=16)
        for tensor in tensors:
            digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            row_step = max(1, -(-len(tensor) // _DIGESTED))
            for row_block in tensor.detach()[::row_step].split(_AT_ONCE):
                flat_values = (
                    row_block.cpu()
                    .reshape(-1)
                    .clone(memory_format=torch.contiguous_format)
                )
                digest.update(flat_values.view(torch.uint8).numpy().tobytes())
        digests[digest_name] = digest.hexdigest()
    return digests
