"""Attention maps of any network, recorded where they are computed, without hooks or options of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from permgrad.attribution.request import Request
from permgrad.attribution.slopes.gradients import Tensors, batch_size, copied_rows, output_gradients
from permgrad.attribution.slopes.rescale import attention_map, in_sight
from permgrad.attribution.subject.positions import Follower, coordinates, name_of
from permgrad.attribution.subject.words import WordForm
from permgrad.base.errors import InputError

_PROBE_ROWS = 2
_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_REMEDY = (
    "Choose method='integrated_gradients' or 'shapley', or build the network with attention that torch computes "
    "(in transformers: attn_implementation='eager')."
)


@dataclass
class Seen:
    """One attention map ``(b, heads, tokens, tokens)``, and the coordinates of its tokens in each input."""

    map: Tensor
    tokens: dict[int, tuple[Tensor, ...]]


class Watch(TorchFunctionMode):
    """Records the attention maps of one forward of so many rows. A follower also finds where their tokens come from."""

    def __init__(self, rows: int, follower: Follower | None = None) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.unread: list[str] = []
        self._rows, self._follower = rows, follower
        self._open: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer one call of torch, with the mode off meanwhile."""
        options, name = kwargs or {}, name_of(func)
        opened = None if func in self._open else in_sight(func)
        if opened is not None:
            self._open.append(func)
            try:
                with self:
                    value = opened(*args, **options)
            finally:
                self._open.pop()
            return value
        if name == "scaled_dot_product_attention":
            return self._attend(func, args, options)
        value = func(*args, **options)
        if self._follower is not None:
            self._follow(func, name, args, options, value)
        if name == "softmax" and isinstance(value, Tensor) and value.ndim in (3, 4):
            dim = options.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, value.ndim - 1):
                self._note(value, value)
        return value

    def _follow(self, func: Any, name: str, args: Sequence[Any], options: Mapping[str, Any], value: Any) -> None:
        assert self._follower is not None
        if name == "baddbmm":
            # What is added is a mask, whose places are those attended to.
            func, args, options = torch.bmm, args[1:3], {}
        self._follower.follow(func, args, options, value)
        if name != "embedding":
            return
        for ids in args:
            axes = self._follower.of(ids)
            if axes and ids.shape == value.shape[:-1]:
                wide = {place: [axis.unsqueeze(-1).expand(value.shape) for axis in of] for place, of in axes.items()}
                self._follower.keep(value, {place: tuple(of) for place, of in wide.items()})

    def _attend(self, func: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
        """Return scaled dot-product attention, whose map is then part of the graph."""
        call = {**dict(zip(_ARGUMENTS, args, strict=False)), **options}
        query, key, value = (call[name] for name in _ARGUMENTS[:3])
        if key.ndim == query.ndim == 4 and key.shape[1] != query.shape[1]:
            repeats = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        weights = attention_map({**call, "key": key})
        if self._follower is not None:
            self._follower.follow(torch.matmul, (query, key.transpose(-2, -1)), {}, weights)
        self._note(weights, query)
        result: Tensor = weights @ value
        if self._follower is not None:
            self._follower.follow(func, args, options, result)
        return result

    def _note(self, weights: Tensor, source: Tensor) -> None:
        """Store a map, laid out as rows and heads, or the reason why it cannot be read."""
        several = weights.ndim == 4 or len(weights) > self._rows
        if weights.shape[-1] != weights.shape[-2]:
            if several:  # else it may be any softmax
                self.unread.append("some tokens, or those of one sequence, attend to those of another")
            return
        if len(weights) % self._rows or (weights.ndim == 4 and len(weights) != self._rows):
            self.unread.append("its tokens attend to each other within windows")
            return
        if torch.is_grad_enabled() and not weights.requires_grad:
            weights.requires_grad_()  # of frozen weights and whole numbers
        tokens = {}
        if self._follower is not None:
            for place, axes in self._follower.of(source).items():
                lines = [axis.nanmean(dim=-1).reshape(-1, axis.shape[-2]) for axis in axes]
                # Tokens of each row stand for the same positions.
                if all(torch.equal(line[0].nan_to_num(-1), line[-1].nan_to_num(-1)) for line in lines):
                    tokens[place] = tuple(line[0] for line in lines)
        self.seen.append(Seen(weights, tokens))


def rows_first(weights: Tensor, rows: int) -> Tensor:
    """Return a map ``(rows, heads, tokens, tokens)``."""
    return weights if weights.ndim == 4 else weights.unflatten(0, (rows, -1))


@dataclass(frozen=True)
class EncoderMaps:
    """The maps of one encoder, first layer first, and the token of each position of its inputs (−1: none)."""

    maps: tuple[int, ...]
    tokens: dict[int, Tensor]


class AttentionReader:
    """Attention maps and their slopes, for rows in batches, with the subject open."""

    def __init__(self, request: Request, method: str) -> None:
        self.request, self.subject = request, request.subject
        if isinstance(getattr(self.subject, "form", None), WordForm):
            raise InputError(
                f"{method} explains tokens, and with a tokenizer features are words, whose tokens have other places in "
                "each row",
                hint="Pass the ids of the tokens as they enter the network, and no tokenizer",
                code="PG006",
            )
        segments = request.space.segments
        self.free = [place for place, owners in enumerate(segments) if bool((owners >= 0).any())]
        rows = copied_rows(self.subject, request.inputs, slice(0, _PROBE_ROWS))
        follower = Follower()
        watch = Watch(len(rows[0]), follower)
        shapes = dict(enumerate(request.shapes))
        with torch.inference_mode(mode=False), torch.enable_grad():
            for place in self.free:
                shape = shapes.get(place)
                dimensions = range(1, rows[place].ndim) if shape is None else shape.dimensions
                follower.enter(rows[place], place, coordinates(rows[place], tuple(dimensions)))
            outputs, watch = self._watched(rows, watch)
            slopes = self._slopes(outputs, watch)
        used = [place for place, slope in enumerate(slopes) if bool((slope != 0).any())]
        self.chains = [] if watch.unread else self._chains(watch, used)
        if not self.chains:
            reason = "it cannot be told which positions of the inputs the tokens of this network's stand for"
            if watch.unread:
                reason = f"this network's cannot be joined: {watch.unread[-1]}"
            elif not used:
                reason = "this network's output uses none that torch can see"
            problem = f"{method} reads the attention maps of a transformer, and {reason}"
            raise InputError(problem, hint=_REMEDY, code="PG034")
        self.sizes = [seen.map.shape[-1] for seen in watch.seen]
        numbers = sum(6 * seen.map.numel() for seen in watch.seen) + sum(row.numel() for row in rows)
        self.batch = batch_size(request, -(-numbers // len(rows[0])))

    def _watched(self, rows: Tensors, watch: Watch) -> tuple[Tensor, Watch]:
        with watch:
            raw = self.subject.forward(rows)
        return self.subject.readout(raw, self.request.output), watch

    def _slopes(self, outputs: Tensor, watch: Watch) -> list[Tensor]:
        """Return the slopes of the outputs asked for towards each map, ``(targets, b, heads, tokens, tokens)``."""
        if not watch.seen:
            return []
        constant = self.subject.sum_is_constant(self.request.output)
        maps, rows = [seen.map for seen in watch.seen], len(outputs)
        return output_gradients(
            outputs, self.request.targets, maps, constant_sum=constant, by_row=lambda one, _: rows_first(one, rows)
        )

    def _chains(self, watch: Watch, used: Sequence[int]) -> list[EncoderMaps]:
        """Return the encoders whose maps the outputs use: maps of as many tokens that stand for the same inputs."""
        groups: dict[tuple[int, frozenset[int]], list[int]] = {}
        for place in used:
            seen = watch.seen[place]
            groups.setdefault((seen.map.shape[-1], frozenset(seen.tokens)), []).append(place)
        chains = []
        for (size, inputs), maps in groups.items():
            first, tokens = watch.seen[maps[0]], dict[int, Tensor]()
            for place in inputs:
                shape, owners = dict(enumerate(self.request.shapes)).get(place), self.request.space.segments[place]
                # The dimensions of the input, without rows, along which tokens lie.
                along = range(owners.ndim) if shape is None else [dimension - 1 for dimension in shape.dimensions]
                tokens[place] = _token_of(first.tokens[place], tuple(owners.shape), along)
            tokens = self._counted_once({place: each for place, each in tokens.items() if bool((each >= 0).any())})
            if tokens and size > 1:
                chains.append(EncoderMaps(tuple(maps), tokens))
        return chains

    def _counted_once(self, tokens: dict[int, Tensor]) -> dict[int, Tensor]:
        """Return the tokens of inputs without those of a mask, which has the players of the tokens beside it."""
        segments, kept = self.request.space.segments, dict[int, Tensor]()
        for place in sorted(tokens, key=lambda place: not bool((self.request.inputs[place] > 1).any())):
            if not any(torch.equal(segments[place], segments[other]) for other in kept):
                kept[place] = tokens[place]
        return kept

    def read(self, part: slice) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return the outputs asked for ``(b, targets)``, all maps, and the slopes towards each."""
        rows = self.subject.in_company(copied_rows(self.subject, self.request.inputs, part))
        count, asked = len(rows[0]), part.stop - part.start
        with torch.inference_mode(mode=False), torch.enable_grad():
            outputs, watch = self._watched(rows, Watch(count))
            if [seen.map.shape[-1] for seen in watch.seen] != self.sizes:
                problem = "The network computes other attention maps for some rows than for others, or of fewer tokens"
                raise InputError(problem, hint="Choose method='integrated_gradients'", code="PG034")
            slopes = self._slopes(outputs, watch)
        maps = [rows_first(seen.map.detach(), count) for seen in watch.seen]
        shaped = [torch.stack([rows_first(one, count) for one in slope]) for slope in slopes]
        outputs = outputs[:asked, list(self.request.targets)].detach()
        return outputs, [one[:asked] for one in maps], [one[:, :asked] for one in shaped]

    def values(self, chain: EncoderMaps, relevance: Tensor) -> Tensor:
        """Return the players' sums ``(b, players, targets)`` of the relevance of tokens ``(targets, b, tokens)``."""
        flat = relevance.flatten(0, 1).double()
        spread = []
        for place, owners in enumerate(self.request.space.segments):
            values = flat.new_zeros(len(flat), *owners.shape)
            tokens = chain.tokens.get(place)
            if tokens is not None:
                tokens = tokens.to(flat.device)
                sizes = torch.bincount(tokens[tokens >= 0], minlength=flat.shape[1]).clamp_min(1)
                values = torch.where(tokens >= 0, (flat / sizes)[:, tokens.clamp_min(0)], values)
            spread.append(values)
        sums: Tensor = self.request.space.sums(spread).unflatten(0, relevance.shape[:2])
        return sums.permute(1, 2, 0)


def _token_of(axes: tuple[Tensor, ...], shape: tuple[int, ...], along: Sequence[int]) -> Tensor:
    """Return the token of each position of an input: the one whose coordinates are nearest, −1 where there is none."""
    present = torch.nonzero(~torch.isnan(axes[0])).flatten()
    if not len(present):
        return torch.full(shape, -1, dtype=torch.int64)
    total = torch.zeros(*(1 for _ in shape), len(present), device=axes[0].device)
    for axis, dimension in zip(axes, along, strict=True):
        distance = (torch.arange(shape[dimension], device=axis.device)[:, None] - axis[present]).abs()
        sides = [shape[dimension] if place == dimension else 1 for place in range(len(shape))]
        total = total + distance.reshape(*sides, len(present))
    return present[total.argmin(dim=-1)].expand(shape).cpu()


def readout(slope: Tensor) -> Tensor:
    """Return how much each token of the last map counts for the output: those that reach it alike, ``(b, tokens)``."""
    reached = (slope != 0).any(dim=0).any(dim=1).any(dim=-1).double()
    return reached / reached.sum(dim=-1, keepdim=True).clamp_min(1)


def identity(weights: Tensor) -> Tensor:
    """Return each row's identity, ``(b, tokens, tokens)``, float64."""
    return torch.eye(weights.shape[-1], dtype=torch.float64, device=weights.device).expand(len(weights), -1, -1)
