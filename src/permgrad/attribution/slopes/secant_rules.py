"""How the mean slope of one layer over a stretch of a line is found from the layer's values at both ends.

A network's output changes along a stretch of a straight line by the sum, over layers, of slopes times changes. For a
layer that acts on each number alone the mean slope between two ends is known exactly: it is the secant
``(φ(v) − φ(u)) / (v − u)``. Affine layers have one slope everywhere. Multiplied back from the output to the input, the
slopes of a stretch add up to the output's change over it, to rounding, and they are the integrated gradients of the
stretch exactly unless rectifiers of different layers switch within it.

The rule for one stretch alone is the Rescale rule of DeepLIFT (Shrikumar et al. 2017, arXiv 1704.02685, equation 7); on
ever shorter stretches it converges to integrated gradients, with an error that falls with the square of their length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from permgrad.imaging.render import Renderer
from permgrad.models.network.branches import LevelEmbeddingLinear, PeriodicDenseEmbedding, embed_columns
from permgrad.models.network.members import MemberLinear, MemberMean, MemberScale

#: Layers that act on each number alone when the network is in eval mode, and are made of straight pieces.
STRAIGHT_PIECES = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh)
#: The same, but curved.
CURVED = (nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.ELU, nn.CELU, nn.Tanh, nn.Sigmoid, nn.Softplus)
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)


class Rule(Protocol):
    """One layer as the walk through a network sees it.

    Attributes:
        affine: whether its slopes are the same everywhere.
    """

    affine: bool

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's output for values ``(n, *inputs)``."""
        ...

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        """Return ``(n, targets, *inputs)`` slopes towards the layer's input from those towards its output.

        A first dimension of 1 stands for slopes that are the same in all n stretches.
        """
        ...


class Ends:
    """A layer's input and output at both ends of n stretches.

    Neighbouring stretches share an end: values ``(points, lines, *)`` make ``(points − 1) · lines`` stretches, and both
    views of their ends need no copy.
    """

    def __init__(self, before: Tensor, after: Tensor) -> None:
        self.start, self.stop = before[:-1].flatten(0, 1), before[1:].flatten(0, 1)
        self.start_output, self.stop_output = after[:-1].flatten(0, 1), after[1:].flatten(0, 1)


class Affine:
    """Base of the layers whose slopes are the same everywhere: ``pull`` needs no ends."""

    affine = True

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's output."""
        out: Tensor = self.module(values)
        return out

    def pull(self, slopes: Tensor) -> Tensor:
        """Return ``(n, targets, *inputs)`` slopes towards the input."""
        raise NotImplementedError

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:  # noqa: ARG002 — part of the protocol
        """Return the same slopes whatever the ends."""
        return self.pull(slopes)


class _Nothing(Affine):
    def forward(self, values: Tensor) -> Tensor:
        return values

    def pull(self, slopes: Tensor) -> Tensor:
        return slopes


class _Linear(Affine):
    module: nn.Linear

    def pull(self, slopes: Tensor) -> Tensor:
        return slopes @ self.module.weight.detach()


class _MemberScale(Affine):
    module: MemberScale

    def pull(self, slopes: Tensor) -> Tensor:
        return (slopes * self.module.weight.detach()).sum(dim=-2)


class _MemberLinear(Affine):
    module: MemberLinear

    def pull(self, slopes: Tensor) -> Tensor:
        return self.module.pull(slopes).detach()


class _MemberMean(Affine):
    module: MemberMean

    def pull(self, slopes: Tensor) -> Tensor:
        members = self.module.members
        return (slopes / members).unsqueeze(-2).expand(*slopes.shape[:-1], members, slopes.shape[-1])


class _BatchNormalization(Affine):
    """In eval mode a scale and a shift of each channel."""

    module: nn.BatchNorm1d | nn.BatchNorm2d

    def pull(self, slopes: Tensor) -> Tensor:
        spread = self.module.running_var
        assert spread is not None
        scale = (spread + self.module.eps).rsqrt()
        if self.module.weight is not None:
            scale = scale * self.module.weight.detach()
        return slopes * scale.reshape(-1, *[1] * (slopes.ndim - 3))


class _Convolution(Affine):
    module: nn.Conv2d

    def forward(self, values: Tensor) -> Tensor:
        self._size = values.shape[1:]
        return super().forward(values)

    def pull(self, slopes: Tensor) -> Tensor:
        layer, flat = self.module, slopes.flatten(0, 1)
        weight = layer.weight.detach()
        padding, dilation = _both(layer.padding), _both(layer.dilation)
        reach = [step * (size - 1) - pad for step, size, pad in zip(dilation, weight.shape[2:], padding, strict=True)]
        if layer.stride == (1, 1) and layer.groups == 1 and min(reach) >= 0:
            # The same numbers as the general way, by the faster forward routines: the kernel turned by half a circle.
            turned = weight.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)
            back = nn.functional.conv2d(flat, turned, padding=(reach[0], reach[1]), dilation=dilation)
        else:
            back = conv2d_input((len(flat), *self._size), weight, flat, layer.stride, padding, dilation, layer.groups)
        out: Tensor = back.unflatten(0, slopes.shape[:2])
        return out


def _both(value: int | tuple[int, ...] | str) -> tuple[int, int]:
    """Return a size for height and width."""
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[1])


class Drawing(Affine):
    """A renderer that draws every pixel as an affine function of the encoded row."""

    def forward(self, values: Tensor) -> Tensor:
        """Return the pictures."""
        self._columns = values.shape[1]
        return super().forward(values)

    def pull(self, slopes: Tensor) -> Tensor:
        """Pull back through the drawing of an empty row: an affine function has one slope everywhere."""
        flat = slopes.flatten(0, 1)
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaf = flat.new_zeros(len(flat), self._columns).requires_grad_()
            # Copied, because tensors made in inference mode may not be saved for a backward pass. A sum, because
            # slopes given to torch.autograd.grad make it load a library of symbols, which takes half a second.
            (back,) = torch.autograd.grad((self.module(leaf) * flat.clone()).sum(), leaf)
        out: Tensor = back.unflatten(0, slopes.shape[:2])
        return out


def is_affine_drawing(renderer: nn.Module | None) -> bool:
    """Return whether a renderer neither cuts values off, nor blurs, nor takes the largest of several columns."""
    if type(renderer) is not Renderer or renderer.clip or renderer.blur is not None:
        return False
    places = {(int(row), int(column)) for row, column in renderer.positions}
    return renderer.overlap != "maximum" or len(places) == len(renderer.positions)


class _Flatten(Affine):
    module: nn.Flatten

    def forward(self, values: Tensor) -> Tensor:
        self._size = values.shape[1:]
        return super().forward(values)

    def pull(self, slopes: Tensor) -> Tensor:
        out: Tensor = slopes.unflatten(2, self._size)
        return out


class StraightPieces:
    """Rectifiers: the secant is exact, and where nothing changes it is the slope at the point."""

    affine = False

    def __init__(self, module: nn.Module) -> None:
        # In place, the layer would write over the values that both ends of a stretch are read from.
        self.module = _not_in_place(module)
        self._plain = type(module) is nn.ReLU

    def forward(self, values: Tensor) -> Tensor:
        """Return the rectified values."""
        out: Tensor = self.module(values)
        return out

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        """Return the slopes times the secants."""
        change = ends.stop - ends.start
        secant = (ends.stop_output - ends.start_output) / change
        # Where both ends lie on one piece the division is exact; 0/0 is the one case left.
        still = change == 0
        slope = (ends.start > 0).to(change.dtype) if self._plain else _derivative(self.module, ends.start)
        return slopes * torch.where(still, slope, secant)[:, None]


class _Curved:
    """Smooth activations: the secant, or the slope in the middle where the ends are too close to divide."""

    affine = False

    def __init__(self, module: nn.Module) -> None:
        self.module = _not_in_place(module)

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.module(values)
        return out

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        change = ends.stop - ends.start
        # Dividing loses eps/|change| to rounding, the slope in the middle change²/24 to curvature: equal here.
        near = change.abs() < (24 * torch.finfo(change.dtype).eps) ** (1 / 3)
        middle = _derivative(self.module, torch.lerp(ends.start, ends.stop, 0.5))
        secant = torch.sub(ends.stop_output, ends.start_output).div_(change)
        return slopes * torch.where(near, middle, secant)[:, None]


def _not_in_place(module: nn.Module) -> nn.Module:
    """Return the module, or a twin that leaves its input alone; the user's own module is not changed."""
    if not getattr(module, "inplace", False):
        return module
    import copy

    twin = copy.copy(module)
    twin.inplace = False  # type: ignore[assignment]
    return twin


def _derivative(module: nn.Module, points: Tensor) -> Tensor:
    """Return the slope of an elementwise module at points."""
    if type(module) is nn.SiLU:
        gate = torch.sigmoid(points)
        return torch.addcmul(gate, points, gate * (1 - gate))
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaf = points.clone().requires_grad_()
        (slope,) = torch.autograd.grad(module(leaf).sum(), leaf)
    return slope


class _MaximumPooling:
    """The largest of each window, as a tournament: rows against rows, then columns against columns.

    ``max(a, b) = a + relu(b − a)``, so a match has the rectifier's secant: the share of the stretch in which b leads.
    For numbers that move on straight lines that is exact.
    """

    affine = False

    def __init__(self, module: nn.MaxPool2d) -> None:
        self.module = module
        self.window, _ = _both(module.kernel_size)

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.module(values)
        return out

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        # Pixels behind the last whole window are not seen.
        size = [length // self.window * self.window for length in ends.start.shape[2:]]
        start, stop = (values[:, :, : size[0], : size[1]] for values in (ends.start, ends.stop))
        (start_best, stop_best), by_row = self._tournament(start, stop, dim=2)
        _, by_column = self._tournament(start_best, stop_best, dim=3)
        wide = slopes.new_zeros(len(start), slopes.shape[1], *ends.start.shape[1:])
        seen = wide[:, :, :, : size[0], : size[1]]
        for row, share in enumerate(by_row):
            line = seen[:, :, :, row :: self.window]
            for column, part in enumerate(by_column):
                line[..., column :: self.window] = slopes * part[:, None] * share[:, None, ..., column :: self.window]
        return wide

    def _tournament(self, start: Tensor, stop: Tensor, dim: int) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
        """Return the best at both ends, and for each place of the window the share of the stretch in which it leads."""

        def at(values: Tensor, place: int) -> Tensor:
            return values[(slice(None),) * dim + (slice(place, None, self.window),)]

        best = (at(start, 0), at(stop, 0))
        shares = [torch.ones_like(best[0])]
        for place in range(1, self.window):
            lead, later = at(start, place) - best[0], at(stop, place) - best[1]
            change = later - lead
            # Where the two stay equally far apart, whoever leads does so all along; on a tie the first, as in torch.
            won = torch.where(change == 0, (lead > 0).to(change.dtype), (later.relu() - lead.relu()) / change)
            best = (best[0] + lead.relu(), best[1] + later.relu())
            shares = [share * (1 - won) for share in shares] + [won]
        return best, shares


class _LayerNormalization:
    """Each row is centred to c and divided by its spread: ``y = c · s`` with ``s = (mean(c²) + ε)^(−1/2)``.

    Over a stretch ``Δy = s̄ Δc + c̄ Δs`` with the means s̄ and c̄ of both ends, ``Δ mean(c²) = 2 mean(c̄ Δc)``, and
    ``Δs / Δ mean(c²) = −s₀² s₁² / (s₀ + s₁)`` needs no division by a change.
    """

    affine = False

    def __init__(self, module: nn.LayerNorm | nn.GroupNorm) -> None:
        self.module = module

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.module(values)
        return out

    def back(self, slopes: Tensor, ends: Ends) -> Tensor:
        shape = ends.start.shape[1:]
        if self.module.weight is not None:
            # One weight for each number of a vector, or for each channel of a map.
            slopes = slopes * self.module.weight.detach().reshape(-1, *[1] * (len(shape) - 1))
        towards = slopes.flatten(2)
        centred, scales = zip(*(self._centred(values.flatten(1)) for values in (ends.start, ends.stop)), strict=True)
        middle = ((centred[0] + centred[1]) / 2)[:, None]
        scale = ((scales[0] + scales[1]) / 2)[:, None]
        fall = (scales[0] * scales[1]).square() / (scales[0] + scales[1])
        along = (towards * middle).sum(dim=2, keepdim=True) * fall[:, None] * (-2 / middle.shape[2])
        back = scale * towards + along * middle
        back = back - back.mean(dim=2, keepdim=True)
        out: Tensor = back.unflatten(2, shape)
        return out

    def _centred(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return values without their mean, and one over their spread, ``(n, numbers)`` and ``(n, 1)``."""
        centred = values - values.mean(dim=1, keepdim=True)
        return centred, (centred.square().mean(dim=1, keepdim=True) + self.module.eps).rsqrt()


class TableEmbedding:
    """The periodic embedding of the numeric columns beside the other columns as they are.

    ``cos v − cos u = −(v − u) · sin((u + v) / 2) · sinc((v − u) / 2)``, so its secant needs no division.
    """

    affine = False

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
        secant = -torch.sin(middle) * torch.sinc((stop - start) * turns / (2 * math.pi))
        width = layer.columns * layer.size
        embedded = slopes[..., :width].unflatten(2, (layer.columns, layer.size))
        waves = torch.einsum("cfs,ntcs->ntcf", layer.weight.detach(), embedded[..., 1:])
        back = slopes.new_zeros(len(secant), slopes.shape[1], ends.start.shape[1])
        back[..., self.numeric] = embedded[..., 0] + (waves * (secant * turns)[:, None]).sum(dim=3)
        back[..., self.other] = slopes[..., width:]
        return back


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule of a layer, or None where there is none: then gradients are averaged in the plain way."""
    if any(getattr(module, hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")):
        return None
    for types, maker, fits in _RULES:
        # Not isinstance: a subclass may compute something else.
        if type(module) in types:
            return maker(module) if fits(module) else None
    return None


def _always(module: nn.Module) -> bool:  # noqa: ARG001 — one of several conditions
    return True


def _is_plain_convolution(module: Any) -> bool:
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _is_plain_pooling(module: Any) -> bool:
    """Return whether a layer takes the largest of square windows that lie side by side."""
    window, stride = _both(module.kernel_size), _both(module.stride)
    side_by_side = window == stride and window[0] == window[1]
    plain = not any(_both(module.padding)) and _both(module.dilation) == (1, 1)
    return side_by_side and plain and not module.return_indices and not module.ceil_mode


_RULES: list[tuple[tuple[type[nn.Module], ...], Callable[[Any], Rule], Callable[[Any], bool]]] = [
    (NOTHING, _Nothing, _always),
    # An embedded category is a product of two matrices: its `weight` is that product.
    ((nn.Linear, LevelEmbeddingLinear), _Linear, _always),
    ((MemberScale,), _MemberScale, _always),
    ((MemberLinear,), _MemberLinear, _always),
    ((MemberMean,), _MemberMean, _always),
    ((nn.Flatten,), _Flatten, _always),
    (STRAIGHT_PIECES, StraightPieces, _always),
    (CURVED, _Curved, _always),
    ((nn.BatchNorm1d, nn.BatchNorm2d), _BatchNormalization, lambda module: module.running_var is not None),
    ((nn.LayerNorm,), _LayerNormalization, lambda module: len(module.normalized_shape) == 1),
    ((nn.GroupNorm,), _LayerNormalization, lambda module: module.num_groups == 1),
    ((nn.Conv2d,), _Convolution, _is_plain_convolution),
    ((nn.MaxPool2d,), _MaximumPooling, _is_plain_pooling),
]
