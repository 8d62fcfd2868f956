"""Mean slopes along lines by walking through a hybrid network's layers: products of
theirs, which telescope.

A layer's is found from its values at both ends (Shrikumar et al. 2017, arXiv
1704.02685).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from permgrad.attribution.slopes.gradients import Tensors, batch_size
from permgrad.attribution.slopes.lines import Lines
from permgrad.attribution.slopes.rescale import SecantWalk, derivative, secant
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.imaging.render import Renderer
from permgrad.models.branches.head_branches import IMAGE, TABLE
from permgrad.models.fast.folding import hooked, pair
from permgrad.models.fast.image_chain import few_seen_windows
from permgrad.models.network.additive import LinearBranch
from permgrad.models.network.blocks import Dropout
from permgrad.models.network.members import (
    MemberLinear,
    MemberMean,
    MemberScale,
    PooledScale,
)
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.products import linear
from permgrad.models.network.table_and_image import (
    LevelEmbeddingLinear,
    PeriodicDenseEmbedding,
    embed_columns,
)

#: Numbers that the layers of a batch may hold: on a processor they should stay near its
#: caches.
_NUMBERS_CPU = 2_000_000
_NUMBERS_ACCELERATOR = 200_000_000
_MOST_POINTS_CPU = 2048
_MOST_POINTS_ACCELERATOR = 1_000_000
#: The walk is used where it gives the network's own outputs this closely, relative to
#: their size.
_SAME_OUTPUTS = 1e-4
#: Layers that act on each number alone when the network is in eval mode, and are made
#: of straight pieces.
STRAIGHT_PIECES = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh)
#: The same, but curved.
SMOOTH = (
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.SELU,
    nn.ELU,
    nn.CELU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
)
NOTHING = (nn.Identity, nn.Dropout, Dropout, nn.Dropout2d)
#: Layers that treat each place of a map by itself.
_BY_PLACE = (*NOTHING, *STRAIGHT_PIECES, *SMOOTH, nn.BatchNorm2d)


@dataclass(eq=False)
class Rule:
    """One layer for the walk through a network: its function, and how slopes are
    propagated back through it.

    This is ``pull(layer, slopes, size of an input)`` for an ``affine`` layer, whose
    slopes are constant, and ``pull(layer, slopes, start, stop, output at start, output
    at stop)`` for others.
    """

    layer: Any
    pull: Callable[..., Tensor]
    kind: str = "affine"
    size: torch.Size = field(init=False)  # of an input

    def forward(self, values: Tensor) -> Tensor:
        """Return the layer's output for values ``(n, *inputs)``, and remember their
        size.
        """
        self.size = values.shape[1:]
        return self.layer(values)

    def back(
        self, slopes: Tensor, before: Tensor | None = None, after: Tensor | None = None
    ) -> Tensor:
        """Return slopes ``(n or 1, targets, *inputs)`` from inputs and outputs at the
        ends of n stretches.
        """
        if before is None or after is None or self.kind == "affine":
            return self.pull(self.layer, slopes, self.size)
        end_tensors = (
            end_values
            for values in (before, after)
            for end_values in (values[:-1], values[1:])
        )
        return self.pull(
            self.layer,
            slopes,
            *(end_values.flatten(0, 1) for end_values in end_tensors),
        )


# ---- layers with one slope everywhere ------------------------------------------------
def _through_batch_normalization(layer: Any, slopes: Tensor, _: torch.Size) -> Tensor:
    """Batch normalisation in eval mode: a scale and a shift of each channel."""
    scale = (layer.running_var + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight.detach()
    return slopes * scale.reshape(-1, *[1] * (slopes.ndim - 3))


def _through_convolution(layer: nn.Conv2d, slopes: Tensor, size: torch.Size) -> Tensor:
    flat_slopes = slopes.flatten(0, 1)
    weight = layer.weight.detach()
    padding = pair(layer.padding)
    dilation = pair(layer.dilation)
    reach = []
    for dilation_step, width, side_padding in zip(
        dilation, weight.shape[2:], padding, strict=True
    ):
        reach.append(dilation_step * (width - 1) - side_padding)
    if layer.stride == (1, 1) and layer.groups == 1 and min(reach) >= 0:
        # The same numbers as the general way, by the faster forward routines: the
        # kernel turned by half a circle.
        turned = (
            weight.transpose(0, 1)
            .flip(2, 3)
            .contiguous(memory_format=torch.channels_last)
        )
        input_slopes = nn.functional.conv2d(
            flat_slopes, turned, padding=(reach[0], reach[1]), dilation=dilation
        )
    else:
        input_slopes = conv2d_input(
            (len(flat_slopes), *size),
            weight,
            flat_slopes,
            layer.stride,
            padding,
            dilation,
            layer.groups,
        )
    return input_slopes.unflatten(0, slopes.shape[:2])


def adjoint(layer: Any, slopes: Tensor, size: torch.Size) -> Tensor:
    """Pull slopes back through any affine layer: it has one slope everywhere, at zeros
    too.
    """
    flat_slopes = slopes.flatten(0, 1)
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaf = flat_slopes.new_zeros((len(flat_slopes), *size)).requires_grad_()
        # Copied, because tensors made in inference mode may not be saved for a backward
        # pass. A sum, because slopes given to torch.autograd.grad make it load a
        # library of symbols, which takes half a second.
        (input_slopes,) = torch.autograd.grad(
            (layer(leaf) * flat_slopes.clone()).sum(), leaf
        )
    return input_slopes.unflatten(0, slopes.shape[:2])


# ---- layers that act on each number --------------------------------------------------
def _slope_of_silu(points: Tensor) -> Tensor:
    gate = torch.sigmoid(points)
    return torch.addcmul(gate, points, gate * (1 - gate))


#: Slopes at points, where they are faster than automatic ones.
_SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: lambda points: (points > 0).to(points.dtype),
    nn.SiLU: _slope_of_silu,
}


def _activation(
    kind: str,
    layer: nn.Module,
    slopes: Tensor,
    start: Tensor,
    stop: Tensor,
    *outputs: Tensor,
) -> Tensor:
    """Return slopes times an activation's secants. ``kind`` as for ``secant``."""
    slope_at = _SLOPES.get(type(layer)) or partial(derivative, layer)
    return slopes * secant((start, stop), outputs, slope_at, kind)[:, None]


# ---- layers that look at several numbers ---------------------------------------------
def _matches(candidates: Sequence[list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the best of places at both ends, and the share of the stretch in which
    each leads.
    """
    best = candidates[0]
    leads = [torch.ones_like(candidates[0][0])]
    for candidate in candidates[1:]:
        lead = candidate[0] - best[0]
        later = candidate[1] - best[1]
        change = later - lead
        # If the two stay equally far apart, the same one leads all along, and on a tie
        # the first, as in torch.
        won = torch.where(
            change == 0,
            (lead > 0).to(change.dtype),
            (later.relu() - lead.relu()) / change,
        )
        best = [best[0] + lead.relu(), best[1] + later.relu()]
        leads = [share * (1 - won) for share in leads] + [won]
    return best, leads


def _maximum_pooling(
    layer: nn.MaxPool2d, slopes: Tensor, start: Tensor, stop: Tensor, *_: Tensor
) -> Tensor:
    """Return slopes of the largest of each window, as a tournament: rows against rows,
    then columns against columns.

    ``max(a, b) = a + relu(b − a)``, so a match has the rectifier's secant: the share of
    the stretch in which b leads.
    """
    windows = pair(layer.kernel_size)
    # Pixels behind the last whole window are not seen.
    seen_size = [
        length // window * window
        for length, window in zip(start.shape[2:], windows, strict=True)
    ]
    best_values = []
    for values in (start, stop):
        best_values.append(values[:, :, : seen_size[0], : seen_size[1]])
    shares = []
    for dimension, window in zip((2, 3), windows, strict=True):
        # The best at both ends, and for each place of the window the share of the
        # stretch in which it leads.
        lines = []
        for window_offset in range(window):
            lines.append(
                (slice(None),) * dimension + (slice(window_offset, None, window),)
            )
        best_values, leads = _matches(
            [[values[line] for values in best_values] for line in lines]
        )
        shares.append(leads)
    input_slopes = slopes.new_zeros((len(start), slopes.shape[1], *start.shape[1:]))
    seen_slopes = input_slopes[:, :, :, : seen_size[0], : seen_size[1]]
    for row_offset, share in enumerate(shares[0]):
        line_slopes = seen_slopes[:, :, :, row_offset :: windows[0]]
        for column, column_share in enumerate(shares[1]):
            line_slopes[..., column :: windows[1]] = (
                slopes
                * column_share[:, None]
                * share[:, None, ..., column :: windows[1]]
            )
    return input_slopes


def _by_functions(
    layer: Any, slopes: Tensor, start: Tensor, stop: Tensor, *_: Tensor
) -> Tensor:
    """Return slopes through a layer of several steps by the secants of the functions
    that it calls.
    """
    secant_walk = SecantWalk(
        lambda leaves: (layer(leaves[0])[:, None] * slopes).flatten(2).sum(dim=2)
    )
    secant_walk.stand([start])
    _outputs, (input_slopes,) = secant_walk.step(
        [stop], range(slopes.shape[1]), last=True
    )
    return input_slopes.transpose(0, 1)


def table_embedding(
    layer: PeriodicDenseEmbedding, numeric: Tensor, other_columns: Tensor
) -> Rule:
    """Return the rule of the periodic embedding of the numeric columns beside the other
    columns as they are.

    ``cos v − cos u = −(v − u) · sin((u + v) / 2) · sinc((v − u) / 2)``, so its secant
    needs no division.
    """

    def back(
        _: Any, slopes: Tensor, start: Tensor, stop: Tensor, *__: Tensor
    ) -> Tensor:
        turns = 2 * math.pi * layer.frequency.detach()
        begin = start[:, numeric, None]
        end = stop[:, numeric, None]
        middle = (begin + end) / 2 * turns + 2 * math.pi * layer.phase.detach()
        # torch.sinc(x) is sin(πx) / (πx).
        waves_slope = -torch.sin(middle) * torch.sinc(
            (end - begin) * turns / (2 * math.pi)
        )
        width = layer.columns * layer.size
        embedded = slopes[..., :width].unflatten(2, (layer.columns, layer.size))
        waves = torch.einsum("cfs,ntcs->ntcf", layer.weight.detach(), embedded[..., 1:])
        input_slopes = slopes.new_zeros(
            (len(waves_slope), slopes.shape[1], start.shape[1])
        )
        input_slopes[..., numeric] = embedded[..., 0] + (
            waves * (waves_slope * turns)[:, None]
        ).sum(dim=3)
        input_slopes[..., other_columns] = slopes[..., width:]
        return input_slopes

    return Rule(
        lambda values: embed_columns(layer, values, numeric, other_columns),
        back,
        "curved",
    )


# ---- which rule a layer has ----------------------------------------------------------
def rule_of(module: Any) -> Rule | None:
    """Return the rule of a layer, or None where there is none: then gradients are
    averaged in the plain way.
    """
    if hooked(module) or module._backward_hooks:  # noqa: SLF001 — torch has no other way to ask
        return None
    for types, rule_kind, pull_back, layer_fits in _RULES:
        # Not isinstance: a subclass may compute something else.
        if type(module) in types and (layer_fits is None or layer_fits(module)):
            if getattr(module, "inplace", False):
                # In place, the layer would write over the values that both ends of a
                # stretch are read from.
                module = copy.copy(module)
                module.inplace = False
            return Rule(module, pull_back, rule_kind)
    return None


def _is_plain_pooling(module: Any) -> bool:
    """Return whether a layer takes the largest of windows that lie side by side."""
    window = pair(module.kernel_size)
    stride = pair(module.stride)
    plain = not any(pair(module.padding)) and pair(module.dilation) == (1, 1)
    return (
        window == stride
        and plain
        and not module.return_indices
        and not module.ceil_mode
    )


#: Types of layers, the kind of their rule, how slopes go back, and which of them have
#: the rule (None: all).
_RULES: list[
    tuple[
        tuple[type[nn.Module], ...],
        str,
        Callable[..., Tensor],
        Callable[[Any], bool] | None,
    ]
] = [
    (NOTHING, "affine", lambda _, slopes, __: slopes, None),
    # An embedded category is a product of two matrices: its `weight` is that product.
    (
        (nn.Linear, LevelEmbeddingLinear, LinearBranch),
        "affine",
        lambda layer, slopes, _: linear(slopes, layer.weight.detach().T),
        None,
    ),
    (
        (MemberScale, PooledScale),
        "affine",
        lambda layer, slopes, _: (slopes * layer.weight.detach()).sum(dim=-2),
        None,
    ),
    (
        (MemberLinear,),
        "affine",
        lambda layer, slopes, _: layer.pull(slopes).detach(),
        None,
    ),
    (
        (MemberMean,),
        "affine",
        lambda layer, slopes, _: (
            (slopes / layer.members).unsqueeze(-2).repeat_interleave(layer.members, -2)
        ),
        None,
    ),
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
        lambda module: (
            module.padding_mode == "zeros" and not isinstance(module.padding, str)
        ),
    ),
    (STRAIGHT_PIECES, "straight", partial(_activation, "straight"), None),
    (SMOOTH, "curved", partial(_activation, "curved"), None),
    (
        (nn.LayerNorm,),
        "functions",
        _by_functions,
        lambda module: len(module.normalized_shape) == 1,
    ),
    (
        (nn.GroupNorm,),
        "functions",
        _by_functions,
        lambda module: module.num_groups == 1,
    ),
    ((nn.MaxPool2d,), "maximum", _maximum_pooling, _is_plain_pooling),
    ((nn.AvgPool2d,), "affine", adjoint, None),
]


# ---- the first block, where a picture can show something -----------------------------
# Of a sparse picture most windows of the first pooling see no feature. What stands
# there is the same at both ends of every line. The windows that are seen are packed
# into a small map, one below the other; behind the pooling they are put back among the
# constants.


def pack(windows: Tensor, size: int, values: Tensor) -> Tensor:
    """Take some windows of maps ``(n, channels, height, width)``: ``(n, channels,
    windows · size, size)``.
    """
    window_values = (
        values.permute(0, 2, 3, 1).unflatten(2, (-1, size)).unflatten(1, (-1, size))
    )
    packed = (
        window_values.transpose(2, 3)
        .flatten(1, 2)
        .index_select(1, windows.to(values.device))
    )
    return packed.flatten(1, 2).permute(0, 3, 1, 2)  # channels last in memory


def pull_packed(
    windows: Tensor, size: int, _: Any, slopes: Tensor, shape: torch.Size
) -> Tensor:
    """Pull slopes back through ``pack``.

    By hand: several times faster than the general way, on whole maps.
    """
    flat_slopes = slopes.flatten(0, 1).permute(0, 2, 3, 1).unflatten(1, (-1, size))
    window_grid = [n // size for n in shape[1:]]
    window_slopes = flat_slopes.new_zeros(
        (len(flat_slopes), math.prod(window_grid), *flat_slopes.shape[2:])
    )
    window_slopes.index_copy_(1, windows.to(slopes.device), flat_slopes)
    pixel_slopes = (
        window_slopes.unflatten(1, window_grid)
        .transpose(2, 3)
        .flatten(1, 2)
        .flatten(2, 3)
    )
    return pixel_slopes.permute(0, 3, 1, 2).unflatten(0, slopes.shape[:2])


def unpack(windows: Tensor, elsewhere: Tensor, values: Tensor) -> Tensor:
    """Put pooled windows ``(n, channels, windows, 1)`` among what stands elsewhere,
    ``(channels, height, width)``.
    """
    unpacked_maps = (
        elsewhere.to(values).flatten(1).T.expand(len(values), -1, -1).clone()
    )
    unpacked_maps.index_copy_(
        1, windows.to(values.device), values.squeeze(3).transpose(1, 2)
    )
    return unpacked_maps.unflatten(1, elsewhere.shape[1:]).permute(
        0, 3, 1, 2
    )  # channels last in memory


def pull_unpacked(windows: Tensor, _: Any, slopes: Tensor, __: torch.Size) -> Tensor:
    """Pull slopes back through ``unpack``."""
    return slopes.flatten(3).index_select(3, windows.to(slopes.device)).unsqueeze(4)


def only_seen_windows(
    renderer: nn.Module, layers: Sequence[nn.Module], rules: Sequence[Rule]
) -> list[Rule]:
    """Return the rules of an image branch, one for each layer, with packing around its
    first block where that pays.
    """
    pooling_index = next(
        (
            layer_index
            for layer_index, layer in enumerate(layers)
            if isinstance(layer, nn.MaxPool2d)
        ),
        0,
    )
    if (
        type(renderer) is not Renderer
        or not pooling_index
        or not isinstance(layers[0], nn.Conv2d)
    ):
        return list(rules)
    windows = few_seen_windows(renderer, layers[0], layers[pooling_index])
    if windows is None or any(
        type(layer) not in _BY_PLACE for layer in layers[1:pooling_index]
    ):
        return list(rules)
    with torch.no_grad():
        weight = layers[0].weight
        block_maps = renderer(
            torch.zeros(
                1, len(renderer.positions), dtype=weight.dtype, device=weight.device
            )
        )
        for layer_rule in rules[: pooling_index + 1]:
            block_maps = layer_rule.forward(block_maps)
    window_size = int(layers[pooling_index].kernel_size)  # type: ignore[arg-type]
    packed = Rule(
        partial(pack, windows, window_size), partial(pull_packed, windows, window_size)
    )
    unpacked = Rule(
        partial(unpack, windows, block_maps[0]), partial(pull_unpacked, windows)
    )
    return [
        rules[0],
        packed,
        *rules[1 : pooling_index + 1],
        unpacked,
        *rules[pooling_index + 1 :],
    ]


# ---- the walk ------------------------------------------------------------------------
#: The name of the chain of random kernels, which are a part of the image's path.
KERNELS = "kernels"


class Chain(NamedTuple):
    """Layers in sequence.

    The affine ones in front, where a line stays straight, are run at its ends alone.
    ``is_added``: its end is added to what the head says.
    """

    front: list[Rule]
    rest: list[Rule]
    is_added: bool = False

    def back(self, slopes: Tensor, layer_values: list[Tensor]) -> Tensor:
        """Carry slopes ``(stretches or 1, targets, *)`` back to the end of the
        front.
        """
        for layer_rule, before, after in zip(
            self.rest[::-1], layer_values[-2::-1], layer_values[:0:-1], strict=True
        ):
            slopes = layer_rule.back(slopes, before, after)
        return slopes


class SecantLines(Lines):
    """Mean slopes over equal intervals, as products of each layer's own mean slope.

    Estimates are by encoded column.
    """

    rule = "secants of each layer"

    def __init__(
        self,
        slopes: Slopes,
        references: Tensors,
        most: int,
        chains: dict[str, Chain],
        head: Chain,
    ) -> None:
        super().__init__(slopes, references)
        self.subject = slopes.subject
        self.scale = slopes.request.scale
        paths = len(slopes.subject.module.paths)
        self.shape = (
            paths,
            references[0].shape[1],
            len(slopes.targets),
        )  # paths, encoded columns, targets
        # Errors of many lines cancel. Where rectifiers switch, single values of coarse
        # estimates can agree by luck: starting from 8 instead of 4 cost no time on a
        # trained network and divided the errors by three.
        rules = [
            chain_rule
            for chain in (*chains.values(), head)
            for chain_rule in chain.rest
        ]
        first_intervals = (
            8 if any(chain_rule.kind == "straight" for chain_rule in rules) else 4
        )
        self.first = 1 if self.count > 1 else min(first_intervals, most)
        self.settled_from = 2 * self.first
        self._chains = chains
        self._head = head
        every = list(dict.fromkeys(slopes.targets))
        # Where outputs add up to a constant, the last one's slopes are minus the sum of
        # the others'.
        self._complement = (
            slopes.constant_sum
            and len(every) == len(self.subject.outputs.output_names) > 1
        )
        self._targets = every[:-1] if self._complement else every
        self._places = list(map(every.index, slopes.targets))

    @classmethod
    def fitting(
        cls, slopes: Slopes, references: Tensors, most: int
    ) -> SecantLines | None:
        """Return the lines, or None where the network, in eval mode, has layers without
        a rule.
        """
        module = slopes.subject.module
        if slopes.whole and slopes.parts == tuple(slopes.subject.paths):
            chains = _read(module)
        else:
            chains = None
        if chains is None:
            return None
        lines = cls(slopes, references, most, *chains)
        # The walk must be the network: a guard against forward passes that it does not
        # know.
        probe_rows = references[0][:8]
        with torch.no_grad():
            reference = module(probe_rows)
            entered = lines._enter(probe_rows)
            path_values = lines._walk(
                {path_name: values[None] for path_name, values in entered.items()}
            )
        outputs = lines._outputs(path_values)[0]
        limit = _SAME_OUTPUTS * (1 + reference.abs().max())
        if outputs.shape != reference.shape or not bool(
            (outputs - reference).abs().max() <= limit
        ):
            return None
        numbers = sum(
            values.numel() for layers in path_values for values in layers
        ) // len(probe_rows)
        cpu_limits = (_NUMBERS_CPU, _MOST_POINTS_CPU)
        accelerator = (_NUMBERS_ACCELERATOR, _MOST_POINTS_ACCELERATOR)
        slopes.batch = batch_size(slopes.request, numbers, cpu_limits, accelerator)
        return lines

    def together(self, intervals: int) -> tuple[int, int]:
        """Return how many lines are walked along together, and the points of each: not
        all, if there is no memory.
        """
        points = min(intervals, max(1, self.slopes.batch - 1)) + 1
        return max(1, self.slopes.batch // points), points

    def _enter(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the front of each path for rows."""
        entered = dict.fromkeys(self._chains, rows)
        for path_name, chain in self._chains.items():
            for front_rule in chain.front:
                entered[path_name] = front_rule.forward(entered[path_name])
        return entered

    def _walk(self, entered: dict[str, Tensor]) -> list[list[Tensor]]:
        """Return the values before each layer and after the last, of each path and,
        last, of the head.

        They are those behind the front, ``(points, lines, *)`` each.
        """
        path_values: list[list[Tensor]] = []
        for path_name, chain in (*self._chains.items(), ("", self._head)):
            if path_name:
                values = entered[path_name]
            else:
                values = torch.cat(
                    [layers[-1] for layers in self._of_head(path_values)], dim=2
                )
            layers = [values]
            for layer_rule in chain.rest:
                layers.append(
                    layer_rule.forward(layers[-1].flatten(0, 1)).unflatten(
                        0, values.shape[:2]
                    )
                )
            path_values.append(layers)
        return path_values

    def _outputs(self, path_values: list[list[Tensor]]) -> Tensor:
        """Return the outputs ``(points, lines, outputs)``: the head's, and what others
        add to them.
        """
        added = []
        for chain, layers in zip(self._chains.values(), path_values, strict=False):
            if chain.is_added:
                added.append(layers[-1])
        return sum(added, start=path_values[-1][-1])

    def _of_head(self, path_values: list[list[Tensor]]) -> list[list[Tensor]]:
        """Return the values of the paths that the head joins."""
        of_head: list[list[Tensor]] = []
        for chain, layers in zip(self._chains.values(), path_values, strict=False):
            if not chain.is_added:
                of_head.append(layers)
        return of_head

    @torch.no_grad()
    def line_values(self, rows: Tensors, line: Tensor, intervals: int) -> Tensor:
        """Return each line's attributions ``(lines, paths, encoded, targets)``, some
        intervals at a time.
        """
        references = self.references[0]
        owner = line // len(references)
        reference = line % len(references)
        first_owner = int(owner[0])
        used_references, reference_indices = torch.unique(
            reference, return_inverse=True
        )
        begin = {}
        for path_name, value in self._enter(references[used_references]).items():
            begin[path_name] = value[reference_indices]
        stops = rows[0][first_owner : int(owner[-1]) + 1]
        end_values = {}
        for path_name, value in self._enter(stops).items():
            end_values[path_name] = value[owner - first_owner]
        sums = self._summed_slopes(begin, end_values, intervals, stops)
        means: dict[str, Tensor] = {}
        for current_path, chain in self._chains.items():
            slopes = sums[current_path] / intervals
            for front_rule in chain.front[::-1]:
                slopes = front_rule.back(slopes)
            means[current_path] = slopes.double().transpose(1, 2)
        if KERNELS in means:
            kernels = means.pop(KERNELS)
            means[IMAGE.name] = (
                means[IMAGE.name] + kernels
            )  # they are a part of the image's path
        difference = (rows[0][owner].double() - references[reference].double())[
            :, :, None
        ]
        values = torch.stack(
            [mean_slopes * difference for mean_slopes in means.values()], dim=1
        )
        if self._complement:
            # Minus the sum, written as 0 − sum: an unused column keeps the plain zero,
            # not a negative one.
            values = torch.cat([values, 0 - values.sum(dim=3, keepdim=True)], dim=3)
        return values[..., self._places]

    def _summed_slopes(
        self,
        begin: Mapping[str, Tensor],
        end: Mapping[str, Tensor],
        intervals: int,
        rows: Tensor,
    ) -> dict[str, Tensor]:
        """Return each path's slopes summed over the intervals of lines from rows, some
        at a time.
        """
        chunk = self.together(intervals)[1] - 1
        lines = len(next(iter(end.values())))
        sums: dict[str, Tensor] = {}
        for first in range(0, intervals, chunk):
            stretches = min(chunk, intervals - first)
            times = (
                torch.arange(
                    first, first + stretches + 1, dtype=rows.dtype, device=rows.device
                )
                / intervals
            )
            self.slopes.model_rows += len(times) * lines
            entered = {
                path: torch.lerp(
                    begin[path], end[path], times.reshape(-1, *[1] * begin[path].ndim)
                )
                for path in self._chains
            }
            layer_values = self._walk(entered)
            readout = self._readout_slopes(self._outputs(layer_values))
            widths = [layers[-1].shape[2] for layers in self._of_head(layer_values)]
            head_slopes = iter(
                self._head.back(readout, layer_values[-1]).split(widths, dim=2)
            )
            for (path, chain), layers in zip(
                self._chains.items(), layer_values[:-1], strict=True
            ):
                if chain.is_added:
                    slopes = chain.back(readout, layers)
                else:
                    slopes = chain.back(next(head_slopes), layers)
                # Slopes that are the same in all stretches come once.
                if slopes.shape[0] == 1 < stretches * lines:
                    slopes = slopes.expand(stretches * lines, *slopes.shape[1:])
                by_stretch = slopes.unflatten(0, (stretches, lines))
                sums[path] = sums.get(path, 0) + by_stretch.sum(dim=0)
        return sums

    def _readout_slopes(self, outputs: Tensor) -> Tensor:
        """Return slopes of what is explained towards ``(points, lines, outputs)``, a
        softmax's by Gauss's rule.
        """
        width = outputs.shape[2]
        spread = torch.eye(width, dtype=outputs.dtype, device=outputs.device)
        if self.scale.linear or not self.subject.task.has_classes:
            corner_outputs = torch.cat([outputs.new_zeros((1, width)), spread])
            corners = self.scale.read(self.subject.outputs, corner_outputs)
            return (corners[1:] - corners[:1]).T[self._targets][None].to(outputs.dtype)
        if width == 1:  # one logit is spread over two classes
            spread = outputs.new_tensor([[-0.5], [0.5]])
        start = outputs[:-1].flatten(0, 1) @ spread.T
        stop = outputs[1:].flatten(0, 1) @ spread.T
        gauss_points, weights = np.polynomial.legendre.leggauss(5)
        mean_slopes = torch.zeros(
            len(start),
            len(self._targets),
            len(spread),
            dtype=outputs.dtype,
            device=outputs.device,
        )
        unit_targets = torch.eye(
            len(spread), dtype=outputs.dtype, device=outputs.device
        )[self._targets]
        for gauss_point, weight in zip(
            gauss_points.tolist(), weights.tolist(), strict=True
        ):
            likely = torch.softmax(
                torch.lerp(start, stop, (gauss_point + 1) / 2), dim=1
            )
            mean_slopes += (
                weight
                / 2
                * likely[:, self._targets, None]
                * (unit_targets - likely[:, None, :])
            )
        return mean_slopes @ spread


def _before_layers(branch: Any) -> list[Rule]:
    """Return the rules of what a table branch does before its layers."""
    if branch.products:
        rules = [Rule(branch.multiplied, _by_functions, "functions")]
    else:
        rules = []
    if branch.embedding is not None:
        rules.append(table_embedding(branch.embedding, branch.numeric, branch.other))
    return rules


def _layers_of(module: Any, path: str) -> list[nn.Module]:
    """Return the layers of one path, one behind the other."""
    if path in module.additive:
        return [module.additive[path], *([] if module.rate is None else [module.rate])]
    if path == TABLE.name:
        return list(module.table_branch.layers)
    return list(module.image_branch)


def _read(module: Any) -> tuple[dict[str, Chain], Chain] | None:
    """Return a hybrid network as chains of known layers, one for each path and the
    head, or None if it has others.
    """
    methods = ("forward", "embed", "fuse")
    if any(
        getattr(type(module), method_name, None)
        is not getattr(HybridNetwork, method_name)
        for method_name in methods
    ):
        return None
    if module.members > 1 and module.options.normalization == "layer":
        return None  # the rule for it sees one vector per row
    head_rules: list[Any] = list(map(rule_of, module.head))
    chains: dict[str, Chain] = {}
    for path_name in module.paths:
        layers = _layers_of(module, path_name)
        rules: list[Any] = list(map(rule_of, layers))
        if None in rules:
            return None
        if path_name == IMAGE.name:
            # Neither values that are cut off, nor a blur, nor the largest of several
            # columns are affine in the row.
            renderer = module.renderer
            if (
                type(renderer) is not Renderer
                or renderer.clip
                or renderer.blur is not None
            ):
                return None
            if renderer.overlap == "maximum" and renderer.layout.collisions:
                return None
            rules = [
                Rule(renderer, adjoint),
                *only_seen_windows(renderer, layers, rules),
            ]
        elif path_name == TABLE.name:
            rules = [*_before_layers(module.table_branch), *rules]
        split = next(
            (
                rule_index
                for rule_index, path_rule in enumerate(rules)
                if path_rule.kind != "affine"
            ),
            len(rules),
        )
        is_added = path_name in module.additive
        chains[path_name] = Chain(rules[:split], rules[split:], is_added)
    if module.kernels is not None:
        kernels = Rule(module.kernels, _by_functions, "functions")
        drawn = [Rule(module.renderer, adjoint)]
        chains[KERNELS] = Chain(drawn, [kernels], is_added=True)
    return None if None in head_rules else (chains, Chain([], head_rules))
