"""Whether a network's gradients are the slopes of its outputs: a layer may have a
backward that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from permgrad.attribution.slopes.gradients import copied_rows, output_gradients
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.network import ForwardError
from permgrad.attribution.subject.remedies import of_hooks, of_nested
from permgrad.attribution.subject.soundness import changed
from permgrad.base.errors import InputError, warn_user
from permgrad.models.batches import with_fewer

#: Rows and outputs that are looked at.
_ROWS = 4
_OUTPUTS = 4
#: Step along the way to another row, as a share of it, in single and in double
#: precision.
_STEP = 4e-3
_STEP_DOUBLE = 1e-5
#: A step far above the stairs of numbers in half precision inside a network, over which
#: these have the slope they say.
_FAR = 0.25
#: How many units of rounding an output may be off.
_ROUNDING = 64
#: By what share both sides of a point may differ where outputs count as smooth there,
#: and gradients from both.
_SMOOTH = 0.05
_SAME = 0.1


def warn_of_untrue_slopes(slopes: Slopes, method: str) -> bool:
    """Compare gradients with differences along the ways to other rows.

    Warn of untrue ones, and return whether so.

    Points with an edge, at which the two sides differ, say nothing. Where most of the
    others differ it is the network.

    Args:
        slopes: Gradients of the network, with rows and references.
        method: The name of the method that needs them.
    """
    halves = slopes.subject.coarse is not None  # which cannot tell small steps apart
    if slopes.subject.encoded_names or halves:  # the first is of permgrad's own network
        return False
    most_rows = min(_ROWS, slopes.request.count)
    if most_rows > 1:
        most_rows = min(most_rows, slopes.batch)
    try:
        gradient_slopes, behind, ahead, far_slopes, rounding = with_fewer(
            most_rows, partial(_both, slopes)
        )
    except ForwardError:  # of points between rows, which the method may not need
        return False
    between = (behind + ahead) / 2
    slope_sizes = torch.stack([behind.abs(), ahead.abs(), gradient_slopes.abs()]).amax(
        0
    )
    smooth = (ahead - behind).abs() <= _SMOOTH * torch.maximum(
        ahead.abs(), behind.abs()
    ) + rounding
    asked_mask = smooth & (slope_sizes > 4 * rounding)
    untrue = asked_mask & (
        torch.minimum(
            (gradient_slopes - between).abs(), (gradient_slopes - far_slopes).abs()
        )
        > _SAME * slope_sizes + rounding
    )
    if 2 * int(untrue.sum()) <= int(asked_mask.sum()):
        return False
    worst = int(torch.where(untrue, slope_sizes, 0.0).argmax())
    warn_user(
        "The network's gradients are not the slopes of its outputs, nor are the values "
        f"of {method}: on the way to another row an output changes by "
        f"{float(between.flatten()[worst]):.3g} where its gradient says "
        f"{float(gradient_slopes.flatten()[worst]):.3g}. Choose method='shapley', "
        "which needs no gradient.",
        of_hooks(slopes.subject.module) or "",
    )
    return True


def _refuse_other_outputs(slopes: Slopes, followed: Tensor) -> None:
    """Refuse a network whose outputs are others than those of the first rows where
    gradients are ``followed``.
    """
    subject = slopes.subject
    own_rows = copied_rows(
        slopes.subject, slopes.request.inputs, slice(0, len(followed))
    )
    whole_network: Any
    if slopes.places.lookups and isinstance(subject, InnerSubject):
        whole_network = subject.outer
    else:
        whole_network = subject
    with torch.inference_mode(mode=False), torch.no_grad():
        plain = whole_network.forward(own_rows)
        output_change = changed(plain, followed)
        if not output_change or changed(
            plain, whole_network.forward(own_rows)
        ):  # what depends on a chance is warned of elsewhere
            return
    problem = (
        "The network returns other outputs where gradients are followed (by "
        f"{output_change:.3g}), so its gradients are those of another function"
    )
    hint = of_nested(whole_network.module) or (
        "Have its forward not ask torch.is_grad_enabled(), or choose method='shapley', "
        "which needs no gradient"
    )
    raise InputError(problem, hint=hint, code="PG034")


def _change_along(slope: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """Return the changes of outputs ``(rows, outputs)`` that slopes tell."""
    # As far as numbers moved: small ways between large numbers are rounded.
    product = slope.double() * (stop.double() - start.double())
    return product.reshape(*product.shape[:2], -1).sum(2).T


class _SlopesOnWays(NamedTuple):
    """Slopes of outputs on the ways to other rows, each ``(rows, outputs)``."""

    by_gradient: Tensor
    behind: Tensor  # by a small step back
    ahead: Tensor  # by a small step forth
    far: Tensor  # by large steps back and forth
    rounding: float  # what may be rounding


def _both(slopes: Slopes, count: int) -> _SlopesOnWays:
    """Return what gradients and steps tell of the ways to the first rows."""
    probe_rows = slopes.rows(slice(0, count))
    targets = list(dict.fromkeys(slopes.targets))[:_OUTPUTS]
    leaves = slopes.leaves(probe_rows)
    row_ways = _ways(slopes, probe_rows, count)
    precision = leaves[0].dtype
    if precision == torch.float64:
        step_share = _STEP_DOUBLE
    else:
        step_share = _STEP
    with torch.inference_mode(mode=False), torch.enable_grad():
        points = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        raw_outputs = slopes.raw(probe_rows, points)
        output_slopes = output_gradients(
            slopes.request.scale.read(slopes.subject.outputs, raw_outputs),
            targets,
            points,
        )
    _refuse_other_outputs(slopes, raw_outputs.detach())

    def moved(share: float) -> list[Tensor]:
        return [
            leaf + share * leaf_way
            for leaf, leaf_way in zip(leaves, row_ways, strict=True)
        ]

    shares = (-step_share, 0.0, step_share, -_FAR, _FAR)
    around = list(map(moved, shares))
    size = max(1, slopes.subject.most_rows() // count)
    try:
        outputs = _outputs_at(slopes, probe_rows, around, size)
    except ForwardError:  # of so many rows
        outputs = _outputs_at(slopes, probe_rows, around, 1)
    before, centre_outputs, after, back, forth = (
        point_outputs[:, targets] for point_outputs in outputs
    )
    gradient_slopes = torch.zeros_like(centre_outputs)
    for slope, start, stop in zip(
        output_slopes, moved(-step_share), moved(step_share), strict=True
    ):
        gradient_slopes += _change_along(slope, start, stop) / (2 * step_share)
    rounding = (
        _ROUNDING
        * torch.finfo(precision).eps
        * float(centre_outputs.abs().amax())
        / step_share
    )
    return _SlopesOnWays(
        gradient_slopes,
        (centre_outputs - before) / step_share,
        (after - centre_outputs) / step_share,
        (forth - back) / (2 * _FAR),
        rounding,
    )


def _outputs_at(
    slopes: Slopes, rows: tuple[Tensor, ...], points: Sequence[list[Tensor]], size: int
) -> list[Tensor]:
    """Return outputs at each of several points of rows, ``size`` of them in one
    call.
    """
    outputs = list[Tensor]()
    with torch.inference_mode(mode=False), torch.no_grad():
        for start in range(0, len(points), size):
            point_group = points[start : start + size]
            leaves = list(map(torch.cat, zip(*point_group, strict=True)))
            same = tuple(torch.cat([tensor] * len(point_group)) for tensor in rows)
            explained = slopes.explained(same, leaves).double()
            outputs += explained.chunk(len(point_group))
    return outputs


def _ways(slopes: Slopes, rows: tuple[Tensor, ...], count: int) -> list[Tensor]:
    """Return the ways from other rows of the background, or from 0 where these are the
    same, to rows.
    """
    donors = slopes.request.donors
    other_rows = (torch.arange(count) + 1) % len(donors[0])
    for donor_rows in (
        [tensor[other_rows.to(tensor.device)] for tensor in donors],
        None,
    ):
        start = (
            list(map(torch.zeros_like, rows))
            if donor_rows is None
            else slopes.rows(slice(None), donor_rows)
        )
        pairs = zip(
            slopes.leaves(rows),
            slopes.leaves(slopes.at_reference(rows, start)),
            strict=True,
        )
        leaf_ways = [row_leaf - begin for row_leaf, begin in pairs]
        if any(bool(leaf_way.any()) for leaf_way in leaf_ways):
            break
    return leaf_ways
