"""Mean slopes of a hybrid network's layers from values at both ends (Shrikumar et al.

2017, arXiv 1704.02685, eq. 7).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from permgrad.attribution.slopes.rescale_rules import derivative, secant
from permgrad.imaging.render import Renderer
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


class Ends:
    """A layer's values ``(points, lines, *)`` at both ends of the (points − 1) · lines stretches between them."""

    def __init__(self, before: Tensor, after: Tensor) -> None:
        self.start, self.stop = before[:-1].flatten(0, 1), before[1:].flatten(0, 1)
        self.start_output, self.stop_output = after[:-1].flatten(0, 1), after[1:].flatten(0, 1)


class Rule:
    """One layer as the walk through a network sees it; ``affine``: its slopes are the same everywhere."""

    affine = False

    def __init__(self, module: nn.Module) -> None:
        # In place, the layer would write over the values that both ends of a stretch are read from.
        if getattr(module, "inplace", False):
            module = copy.copy(module)
            module.inplace = False  # type: ignore[assignment]
        self.module: Any = module

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's output for values ``(n, *inputs)``."""
        out: Tensor = self.module(values)
        return out

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        """Return slopes ``(n, targets, *inputs)`` towards the layer's input; n is 1 where all stretches share them."""
        raise NotImplementedError


# ---- layers with one slope everywhere --------------------------------------------------------------------------------

#: From the layer, slopes ``(n, targets, *outputs)`` and the size of its input to slopes ``(n, targets, *inputs)``.
Pull = Callable[[Any, Tensor, torch.Size], Tensor]


class Affine(Rule):
    """A layer whose slopes are pulled back without its ends."""

    affine = True

    def __init__(self, module: nn.Module, pull: Pull) -> None:
        super().__init__(module)
        self._pull = pull

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's output, and remember the size of its input."""
        self._size = values.shape[1:]
        return super().forward(values)

    def pull(self, slopes: Tensor) -> Tensor:
        """Return ``(n, targets, *inputs)`` slopes towards the input."""
        return self._pull(self.module, slopes, self._size)

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:  # noqa: ARG002 — as every rule
        """Return the same slopes whatever the ends."""
        return self.pull(slopes)


def _through_batch_normalization(layer: Any, slopes: Tensor, _: torch.Size) -> Tensor:
    """In eval mode it is a scale and a shift of each channel."""
    scale = (layer.running_var + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight.detach()
    out: Tensor = slopes * scale.reshape(-1, *[1] * (slopes.ndim - 3))
    return out


def _through_convolution(layer: nn.Conv2d, slopes: Tensor, size: torch.Size) -> Tensor:
    flat, weight = slopes.flatten(0, 1), layer.weight.detach()
    padding, dilation = _both(layer.padding), _both(layer.dilation)
    reach = [step * (width - 1) - pad for step, width, pad in zip(dilation, weight.shape[2:], padding, strict=True)]
    if layer.stride == (1, 1) and layer.groups == 1 and min(reach) >= 0:
        # The same numbers as the general way, by the faster forward routines: the kernel turned by half a circle.
        turned = weight.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)
        back = nn.functional.conv2d(flat, turned, padding=(reach[0], reach[1]), dilation=dilation)
    else:
        back = conv2d_input((len(flat), *size), weight, flat, layer.stride, padding, dilation, layer.groups)
    out: Tensor = back.unflatten(0, slopes.shape[:2])
    return out


def through_drawing(renderer: nn.Module, slopes: Tensor, size: torch.Size) -> Tensor:
    """Pull slopes back through the drawing of an empty row: a renderer that is affine has one slope everywhere."""
    flat = slopes.flatten(0, 1)
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaf = flat.new_zeros(len(flat), *size).requires_grad_()
        # Copied, because tensors made in inference mode may not be saved for a backward pass. A sum, because
        # slopes given to torch.autograd.grad make it load a library of symbols, which takes half a second.
        (back,) = torch.autograd.grad((renderer(leaf) * flat.clone()).sum(), leaf)
    out: Tensor = back.unflatten(0, slopes.shape[:2])
    return out


def is_affine_drawing(renderer: nn.Module | None) -> bool:
    """Return whether a renderer neither cuts values off, nor blurs, nor takes the largest of several columns."""
    if type(renderer) is not Renderer or renderer.clip or renderer.blur is not None:
        return False
    places = {(int(row), int(column)) for row, column in renderer.positions}
    return renderer.overlap != "maximum" or len(places) == len(renderer.positions)


def _both(value: int | tuple[int, ...] | str) -> tuple[int, int]:
    """Return a size for height and width."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


# ---- layers that act on each number ----------------------------------------------------------------------------------


def _slope_of_silu(points: Tensor) -> Tensor:
    gate = torch.sigmoid(points)
    return torch.addcmul(gate, points, gate * (1 - gate))


#: Slopes at points, where they are faster than automatic ones.
_SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: lambda points: (points > 0).to(points.dtype),
    nn.SiLU: _slope_of_silu,
}


class ByNumber(Rule):
    """An activation: its secant between both ends; ``kind`` as for ``secant``."""

    def __init__(self, module: nn.Module, kind: str) -> None:
        super().__init__(module)
        self.kind = kind
        self._slope_at = _SLOPES.get(type(module)) or partial(derivative, self.module)

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        """Return the slopes times the secants."""
        outputs = (ends.start_output, ends.stop_output)
        return slopes * secant((ends.start, ends.stop), outputs, self._slope_at, self.kind)[:, None]


# ---- layers that look at several numbers -----------------------------------------------------------------------------


class _MaximumPooling(Rule):
    """The largest of each window, as a tournament: rows against rows, then columns against columns.

    ``max(a, b) = a + relu(b − a)``, so a match has the rectifier's secant: the share of the stretch in which b leads.
    """

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        window, _ = _both(self.module.kernel_size)
        # Pixels behind the last whole window are not seen.
        size = [length // window * window for length in ends.start.shape[2:]]
        pair = [values[:, :, : size[0], : size[1]] for values in (ends.start, ends.stop)]
        best, by_row = _tournament(pair, window, dim=2)
        _, by_column = _tournament(best, window, dim=3)
        wide = slopes.new_zeros(len(ends.start), slopes.shape[1], *ends.start.shape[1:])
        seen = wide[:, :, :, : size[0], : size[1]]
        for row, share in enumerate(by_row):
            line = seen[:, :, :, row::window]
            for column, part in enumerate(by_column):
                line[..., column::window] = slopes * part[:, None] * share[:, None, ..., column::window]
        return wide


def _tournament(pair: list[Tensor], window: int, dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the best at both ends, and for each place of the window the share of the stretch in which it leads."""
    places = [[values[(slice(None),) * dim + (slice(at, None, window),)] for values in pair] for at in range(window)]
    best, shares = places[0], [torch.ones_like(places[0][0])]
    for place in places[1:]:
        lead, later = place[0] - best[0], place[1] - best[1]
        change = later - lead
        # Where the two stay equally far apart, whoever leads does so all along; on a tie the first, as in torch.
        won = torch.where(change == 0, (lead > 0).to(change.dtype), (later.relu() - lead.relu()) / change)
        best = [best[0] + lead.relu(), best[1] + later.relu()]
        shares = [share * (1 - won) for share in shares] + [won]
    return best, shares


class _LayerNormalization(Rule):
    """Each row is centred to c and divided by its spread: ``y = c · s`` with ``s = (mean(c²) + ε)^(−1/2)``.

    Over a stretch ``Δy = s̄ Δc + c̄ Δs`` with the means s̄ and c̄ of both ends, ``Δ mean(c²) = 2 mean(c̄ Δc)``, and
    ``Δs / Δ mean(c²) = −s₀² s₁² / (s₀ + s₁)`` needs no division by a change.
    """

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        shape = ends.start.shape[1:]
        if self.module.weight is not None:
            # One weight for each number of a vector, or for each channel of a map.
            slopes = slopes * self.module.weight.detach().reshape(-1, *[1] * (len(shape) - 1))
        towards = slopes.flatten(2)
        centred = [
            values.flatten(1) - values.flatten(1).mean(dim=1, keepdim=True) for values in (ends.start, ends.stop)
        ]
        scales = [(one.square().mean(dim=1, keepdim=True) + self.module.eps).rsqrt() for one in centred]
        middle, scale = ((centred[0] + centred[1]) / 2)[:, None], ((scales[0] + scales[1]) / 2)[:, None]
        fall = (scales[0] * scales[1]).square() / (scales[0] + scales[1])
        along = (towards * middle).sum(dim=2, keepdim=True) * fall[:, None] * (-2 / middle.shape[2])
        back = scale * towards + along * middle
        out: Tensor = (back - back.mean(dim=2, keepdim=True)).unflatten(2, shape)
        return out


class TableEmbedding(Rule):
    """The periodic embedding of the numeric columns beside the other columns as they are.

    ``cos v − cos u = −(v − u) · sin((u + v) / 2) · sinc((v − u) / 2)``, so its secant needs no division.
    """

    def __init__(self, embedding: PeriodicDenseEmbedding, numeric: Tensor, other: Tensor) -> None:
        self.embedding, self.numeric, self.other = embedding, numeric, other

    def forward(self, values: Tensor) -> Tensor:
        """Return embedded numbers and, behind them, the other columns."""
        return embed_columns(self.embedding, values, self.numeric, self.other)

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        """Return slopes towards the encoded row."""
        layer = self.embedding
        turns = 2 * math.pi * layer.frequency.detach()
        start, stop = ends.start[:, self.numeric, None], ends.stop[:, self.numeric, None]
        middle = (start + stop) / 2 * turns + 2 * math.pi * layer.phase.detach()
        # torch.sinc(x) is sin(πx) / (πx).
        waves_slope = -torch.sin(middle) * torch.sinc((stop - start) * turns / (2 * math.pi))
        width = layer.columns * layer.size
        embedded = slopes[..., :width].unflatten(2, (layer.columns, layer.size))
        waves = torch.einsum("cfs,ntcs->ntcf", layer.weight.detach(), embedded[..., 1:])
        back = slopes.new_zeros(len(waves_slope), slopes.shape[1], ends.start.shape[1])
        back[..., self.numeric] = embedded[..., 0] + (waves * (waves_slope * turns)[:, None]).sum(dim=3)
        back[..., self.other] = slopes[..., width:]
        return back


# ---- which rule a layer has ------------------------------------------------------------------------------------------


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule of a layer, or None where there is none: then gradients are averaged in the plain way."""
    if any(getattr(module, hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")):
        return None
    for types, maker, fits in _RULES:
        # Not isinstance: a subclass may compute something else.
        if type(module) in types:
            return maker(module) if fits is None or fits(module) else None
    return None


def _is_plain_pooling(module: Any) -> bool:
    """Return whether a layer takes the largest of square windows that lie side by side."""
    window, stride = _both(module.kernel_size), _both(module.stride)
    side_by_side = window == stride and window[0] == window[1]
    plain = not any(_both(module.padding)) and _both(module.dilation) == (1, 1)
    return side_by_side and plain and not module.return_indices and not module.ceil_mode


def _affine(pull: Pull) -> Callable[[Any], Rule]:
    return lambda module: Affine(module, pull)


_RULES: list[tuple[tuple[type[nn.Module], ...], Callable[[Any], Rule], Callable[[Any], bool] | None]] = [
    (NOTHING, _affine(lambda _, slopes, __: slopes), None),
    # An embedded category is a product of two matrices: its `weight` is that product.
    ((nn.Linear, LevelEmbeddingLinear), _affine(lambda layer, slopes, _: slopes @ layer.weight.detach()), None),
    ((MemberScale,), _affine(lambda layer, slopes, _: (slopes * layer.weight.detach()).sum(dim=-2)), None),
    ((MemberLinear,), _affine(lambda layer, slopes, _: layer.pull(slopes).detach()), None),
    (
        (MemberMean,),
        _affine(lambda layer, slopes, _: (slopes / layer.members).unsqueeze(-2).repeat_interleave(layer.members, -2)),
        None,
    ),
    ((nn.Flatten,), _affine(lambda _, slopes, size: slopes.unflatten(2, size)), None),
    (STRAIGHT_PIECES, partial(ByNumber, kind="straight"), None),
    (SMOOTH, partial(ByNumber, kind="curved"), None),
    (
        (nn.BatchNorm1d, nn.BatchNorm2d),
        _affine(_through_batch_normalization),
        lambda module: module.running_var is not None,
    ),
    ((nn.LayerNorm,), _LayerNormalization, lambda module: len(module.normalized_shape) == 1),
    ((nn.GroupNorm,), _LayerNormalization, lambda module: module.num_groups == 1),
    (
        (nn.Conv2d,),
        _affine(_through_convolution),
        lambda module: module.padding_mode == "zeros" and not isinstance(module.padding, str),
    ),
    ((nn.MaxPool2d,), _MaximumPooling, _is_plain_pooling),
]


# ---- the first block, where a picture can show something -------------------------------------------------------------
# Of a sparse picture most windows of the first pooling see no feature. What stands there is the same at both ends of
# every line. The windows that are seen are packed into a small map, one below the other; behind the pooling they are
# put back among the constants.


class PackWindows(Affine):
    """Maps ``(n, channels, height, width)`` to some of their windows, ``(n, channels, windows · size, size)``."""

    def __init__(self, windows: Tensor, size: int) -> None:
        self._windows, self._window = windows, size

    def forward(self, values: Tensor) -> Tensor:
        """Return the windows, channels last in memory."""
        self._grid = [length // self._window for length in values.shape[2:]]
        places = values.permute(0, 2, 3, 1).unflatten(2, (-1, self._window)).unflatten(1, (-1, self._window))
        packed = places.transpose(2, 3).flatten(1, 2).index_select(1, self._windows.to(values.device))
        out: Tensor = packed.flatten(1, 2).permute(0, 3, 1, 2)
        return out

    def pull(self, slopes: Tensor) -> Tensor:
        """Return slopes towards the whole maps, 0 where no window is."""
        flat = slopes.flatten(0, 1).permute(0, 2, 3, 1).unflatten(1, (-1, self._window))
        wide = flat.new_zeros(len(flat), math.prod(self._grid), *flat.shape[2:])
        wide.index_copy_(1, self._windows.to(slopes.device), flat)
        places = wide.unflatten(1, self._grid).transpose(2, 3).flatten(1, 2).flatten(2, 3)
        out: Tensor = places.permute(0, 3, 1, 2).unflatten(0, slopes.shape[:2])
        return out


class UnpackWindows(Affine):
    """Pooled windows ``(n, channels, windows, 1)`` among what stands elsewhere, ``(channels, height, width)``."""

    def __init__(self, windows: Tensor, elsewhere: Tensor) -> None:
        self._windows, self._elsewhere = windows, elsewhere

    def forward(self, values: Tensor) -> Tensor:
        """Return whole maps, channels last in memory."""
        out = self._elsewhere.to(values).flatten(1).T.expand(len(values), -1, -1).clone()
        out.index_copy_(1, self._windows.to(values.device), values.squeeze(3).transpose(1, 2))
        maps: Tensor = out.unflatten(1, self._elsewhere.shape[1:]).permute(0, 3, 1, 2)
        return maps

    def pull(self, slopes: Tensor) -> Tensor:
        """Return the slopes of the windows alone: nothing else can move."""
        return slopes.flatten(3).index_select(3, self._windows.to(slopes.device)).unsqueeze(4)


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
    pack = PackWindows(windows, int(layers[end].kernel_size))  # type: ignore[arg-type]
    return [rules[0], pack, *rules[1 : end + 1], UnpackWindows(windows, maps[0]), *rules[end + 1 :]]
