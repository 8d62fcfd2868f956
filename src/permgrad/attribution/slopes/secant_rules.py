"""Mean slopes of a hybrid network's layers from values at both ends (Shrikumar et al. 2017, arXiv 1704.02685)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from permgrad.attribution.slopes.rescale import SecantWalk, derivative, secant
from permgrad.imaging.render import Renderer
from permgrad.models.fast.folding import hooked, pair
from permgrad.models.fast.image_chain import few_seen_windows
from permgrad.models.network.branches import LevelEmbeddingLinear, PeriodicDenseEmbedding, embed_columns
from permgrad.models.network.members import MemberLinear, MemberMean, MemberScale

#: Layers that act on each number alone when the network is in eval mode, and are made of straight pieces.
STRAIGHT_PIECES = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh)
#: The same, but curved.
SMOOTH = (nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.ELU, nn.CELU, nn.Tanh, nn.Sigmoid, nn.Softplus)
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)
#: Layers that treat each place of a map by itself.
_BY_PLACE = (*NOTHING, *STRAIGHT_PIECES, *SMOOTH, nn.BatchNorm2d)


class Rule:
    """One layer as the walk through a network sees it: what it computes, and how slopes go back through it.

    ``back(layer, slopes, size of an input)`` of an ``affine`` layer, whose slopes are the same everywhere; of others
    ``back(layer, slopes, start, stop, output at start, output at stop)``.
    """

    def __init__(self, layer: Any, back: Callable[..., Tensor], kind: str = "affine") -> None:
        # In place, the layer would write over the values that both ends of a stretch are read from.
        if getattr(layer, "inplace", False):
            layer = copy.copy(layer)
            layer.inplace = False
        self.layer, self.kind, self._back = layer, kind, back

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's output for values ``(n, *inputs)``, and remember their size."""
        self._size = values.shape[1:]
        out: Tensor = self.layer(values)
        return out

    def back(self, slopes: Tensor, before: Tensor | None = None, after: Tensor | None = None) -> Tensor:
        """Return slopes ``(n, targets, *inputs)`` towards the input; n is 1 where all stretches share them.

        Inputs ``before`` and outputs ``after``, ``(points, lines, *)``, are those at the ends of the stretches.
        """
        if before is None or after is None or self.kind == "affine":
            return self._back(self.layer, slopes, self._size)
        ends = (end for values in (before, after) for end in (values[:-1], values[1:]))
        return self._back(self.layer, slopes, *(end.flatten(0, 1) for end in ends))


# ---- layers with one slope everywhere --------------------------------------------------------------------------------


def _through_batch_normalization(layer: Any, slopes: Tensor, _: torch.Size) -> Tensor:
    """In eval mode it is a scale and a shift of each channel."""
    scale = (layer.running_var + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight.detach()
    out: Tensor = slopes * scale.reshape(-1, *[1] * (slopes.ndim - 3))
    return out


def _through_convolution(layer: nn.Conv2d, slopes: Tensor, size: torch.Size) -> Tensor:
    flat, weight = slopes.flatten(0, 1), layer.weight.detach()
    padding, dilation = pair(layer.padding), pair(layer.dilation)
    reach = [step * (width - 1) - pad for step, width, pad in zip(dilation, weight.shape[2:], padding, strict=True)]
    if layer.stride == (1, 1) and layer.groups == 1 and min(reach) >= 0:
        # The same numbers as the general way, by the faster forward routines: the kernel turned by half a circle.
        turned = weight.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)
        back = nn.functional.conv2d(flat, turned, padding=(reach[0], reach[1]), dilation=dilation)
    else:
        back = conv2d_input((len(flat), *size), weight, flat, layer.stride, padding, dilation, layer.groups)
    out: Tensor = back.unflatten(0, slopes.shape[:2])
    return out


def adjoint(layer: Any, slopes: Tensor, size: torch.Size) -> Tensor:
    """Pull slopes back through any affine layer: it has one slope everywhere, at zeros too."""
    flat = slopes.flatten(0, 1)
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaf = flat.new_zeros(len(flat), *size).requires_grad_()
        # Copied, because tensors made in inference mode may not be saved for a backward pass. A sum, because
        # slopes given to torch.autograd.grad make it load a library of symbols, which takes half a second.
        (back,) = torch.autograd.grad((layer(leaf) * flat.clone()).sum(), leaf)
    out: Tensor = back.unflatten(0, slopes.shape[:2])
    return out


# ---- layers that act on each number ----------------------------------------------------------------------------------


def _slope_of_silu(points: Tensor) -> Tensor:
    gate = torch.sigmoid(points)
    return torch.addcmul(gate, points, gate * (1 - gate))


#: Slopes at points, where they are faster than automatic ones.
_SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: lambda points: (points > 0).to(points.dtype),
    nn.SiLU: _slope_of_silu,
}


def _activation(kind: str, layer: nn.Module, slopes: Tensor, start: Tensor, stop: Tensor, *outputs: Tensor) -> Tensor:
    """Return slopes times an activation's secants; ``kind`` as for ``secant``."""
    slope_at = _SLOPES.get(type(layer)) or partial(derivative, layer)
    return slopes * secant((start, stop), outputs, slope_at, kind)[:, None]


# ---- layers that look at several numbers -----------------------------------------------------------------------------


def _maximum_pooling(layer: nn.MaxPool2d, slopes: Tensor, start: Tensor, stop: Tensor, *_: Tensor) -> Tensor:
    """Return slopes of the largest of each window, as a tournament: rows against rows, then columns against columns.

    ``max(a, b) = a + relu(b − a)``, so a match has the rectifier's secant: the share of the stretch in which b leads.
    """
    window = pair(layer.kernel_size)[0]
    # Pixels behind the last whole window are not seen.
    size = [length // window * window for length in start.shape[2:]]
    best, by_row = _tournament([values[:, :, : size[0], : size[1]] for values in (start, stop)], window, dim=2)
    by_column = _tournament(best, window, dim=3)[1]
    wide = slopes.new_zeros(len(start), slopes.shape[1], *start.shape[1:])
    seen = wide[:, :, :, : size[0], : size[1]]
    for row, share in enumerate(by_row):
        line = seen[:, :, :, row::window]
        for column, part in enumerate(by_column):
            line[..., column::window] = slopes * part[:, None] * share[:, None, ..., column::window]
    return wide


def _tournament(ends: list[Tensor], window: int, dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the best at both ends, and for each place of the window the share of the stretch in which it leads."""
    places = [[values[(slice(None),) * dim + (slice(at, None, window),)] for values in ends] for at in range(window)]
    best, shares = places[0], [torch.ones_like(places[0][0])]
    for place in places[1:]:
        lead, later = place[0] - best[0], place[1] - best[1]
        change = later - lead
        # Where the two stay equally far apart, whoever leads does so all along; on a tie the first, as in torch.
        won = torch.where(change == 0, (lead > 0).to(change.dtype), (later.relu() - lead.relu()) / change)
        best = [best[0] + lead.relu(), best[1] + later.relu()]
        shares = [share * (1 - won) for share in shares] + [won]
    return best, shares


def _by_functions(layer: Any, slopes: Tensor, start: Tensor, stop: Tensor, *_: Tensor) -> Tensor:
    """Return slopes through a layer of several steps by the secants of the functions that it calls."""
    walk = SecantWalk(lambda leaves: (layer(leaves[0])[:, None] * slopes).flatten(2).sum(dim=2))
    walk.stand([start])
    _outputs, (back,) = walk.step([stop], range(slopes.shape[1]), last=True)
    return back.transpose(0, 1)


def table_embedding(layer: PeriodicDenseEmbedding, numeric: Tensor, other: Tensor) -> Rule:
    """Return the rule of the periodic embedding of the numeric columns beside the other columns as they are.

    ``cos v − cos u = −(v − u) · sin((u + v) / 2) · sinc((v − u) / 2)``, so its secant needs no division.
    """

    def back(_: Any, slopes: Tensor, start: Tensor, stop: Tensor, *__: Tensor) -> Tensor:
        turns = 2 * math.pi * layer.frequency.detach()
        begin, end = start[:, numeric, None], stop[:, numeric, None]
        middle = (begin + end) / 2 * turns + 2 * math.pi * layer.phase.detach()
        # torch.sinc(x) is sin(πx) / (πx).
        waves_slope = -torch.sin(middle) * torch.sinc((end - begin) * turns / (2 * math.pi))
        width = layer.columns * layer.size
        embedded = slopes[..., :width].unflatten(2, (layer.columns, layer.size))
        waves = torch.einsum("cfs,ntcs->ntcf", layer.weight.detach(), embedded[..., 1:])
        back = slopes.new_zeros(len(waves_slope), slopes.shape[1], start.shape[1])
        back[..., numeric] = embedded[..., 0] + (waves * (waves_slope * turns)[:, None]).sum(dim=3)
        back[..., other] = slopes[..., width:]
        return back

    return Rule(lambda values: embed_columns(layer, values, numeric, other), back, "curved")


# ---- which rule a layer has ------------------------------------------------------------------------------------------


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule of a layer, or None where there is none: then gradients are averaged in the plain way."""
    if hooked(module) or module._backward_hooks:  # noqa: SLF001 — torch has no other way to ask
        return None
    for types, kind, back, fits in _RULES:
        # Not isinstance: a subclass may compute something else.
        if type(module) in types:
            return Rule(module, back, kind) if fits is None or fits(module) else None
    return None


def _is_plain_pooling(module: Any) -> bool:
    """Return whether a layer takes the largest of square windows that lie side by side."""
    window, stride = pair(module.kernel_size), pair(module.stride)
    side_by_side = window == stride and window[0] == window[1]
    plain = not any(pair(module.padding)) and pair(module.dilation) == (1, 1)
    return side_by_side and plain and not module.return_indices and not module.ceil_mode


#: Types of layers, the kind of their rule, how slopes go back, and which of them have the rule (None: all).
_RULES: list[tuple[tuple[type[nn.Module], ...], str, Callable[..., Tensor], Callable[[Any], bool] | None]] = [
    (NOTHING, "affine", lambda _, slopes, __: slopes, None),
    # An embedded category is a product of two matrices: its `weight` is that product.
    ((nn.Linear, LevelEmbeddingLinear), "affine", lambda layer, slopes, _: slopes @ layer.weight.detach(), None),
    ((MemberScale,), "affine", lambda layer, slopes, _: (slopes * layer.weight.detach()).sum(dim=-2), None),
    ((MemberLinear,), "affine", lambda layer, slopes, _: layer.pull(slopes).detach(), None),
    ((MemberMean,), "affine", adjoint, None),
    ((nn.Flatten,), "affine", lambda _, slopes, size: slopes.unflatten(2, size), None),
    (
        (nn.BatchNorm1d, nn.BatchNorm2d),
        "affine",
        _through_batch_normalization,
        lambda module: module.running_var is not None,
    ),
    (
        (nn.Conv2d,),
        "affine",
        _through_convolution,
        lambda module: module.padding_mode == "zeros" and not isinstance(module.padding, str),
    ),
    (STRAIGHT_PIECES, "straight", partial(_activation, "straight"), None),
    (SMOOTH, "curved", partial(_activation, "curved"), None),
    ((nn.LayerNorm,), "functions", _by_functions, lambda module: len(module.normalized_shape) == 1),
    ((nn.GroupNorm,), "functions", _by_functions, lambda module: module.num_groups == 1),
    ((nn.MaxPool2d,), "maximum", _maximum_pooling, _is_plain_pooling),
]


# ---- the first block, where a picture can show something -------------------------------------------------------------
# Of a sparse picture most windows of the first pooling see no feature. What stands there is the same at both ends of
# every line. The windows that are seen are packed into a small map, one below the other; behind the pooling they are
# put back among the constants.


def pack_windows(windows: Tensor, size: int) -> Rule:
    """Take some windows of maps ``(n, channels, height, width)``: ``(n, channels, windows · size, size)``."""

    def pack(values: Tensor) -> Tensor:
        places = values.permute(0, 2, 3, 1).unflatten(2, (-1, size)).unflatten(1, (-1, size))
        # Copied: what was made in inference mode may not be saved for a backward pass.
        packed = places.transpose(2, 3).flatten(1, 2).index_select(1, windows.to(values.device).clone())
        out: Tensor = packed.flatten(1, 2).permute(0, 3, 1, 2)  # channels last in memory
        return out

    return Rule(pack, adjoint)


def unpack_windows(windows: Tensor, elsewhere: Tensor) -> Rule:
    """Put pooled windows ``(n, channels, windows, 1)`` among what stands elsewhere, ``(channels, height, width)``."""

    def unpack(values: Tensor) -> Tensor:
        out = elsewhere.to(values).flatten(1).T.expand(len(values), -1, -1).clone()
        out.index_copy_(1, windows.to(values.device), values.squeeze(3).transpose(1, 2))
        maps: Tensor = out.unflatten(1, elsewhere.shape[1:]).permute(0, 3, 1, 2)  # channels last in memory
        return maps

    def pull(_: Any, slopes: Tensor, __: torch.Size) -> Tensor:
        return slopes.flatten(3).index_select(3, windows.to(slopes.device)).unsqueeze(4)

    return Rule(unpack, pull)


def only_seen_windows(renderer: nn.Module, layers: Sequence[nn.Module], rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules of an image branch, one for each layer, with packing around its first block where that pays."""
    end = next((place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)), 0)
    if type(renderer) is not Renderer or not end or not isinstance(layers[0], nn.Conv2d):
        return list(rules)
    windows = few_seen_windows(renderer, layers[0], layers[end])
    if windows is None or any(type(layer) not in _BY_PLACE for layer in layers[1:end]):
        return list(rules)
    with torch.no_grad():
        weight = layers[0].weight
        maps = renderer(torch.zeros(1, len(renderer.positions), dtype=weight.dtype, device=weight.device))
        for rule in rules[: end + 1]:
            maps = rule.forward(maps)
    pack = pack_windows(windows, int(layers[end].kernel_size))  # type: ignore[arg-type]
    return [rules[0], pack, *rules[1 : end + 1], unpack_windows(windows, maps[0]), *rules[end + 1 :]]
