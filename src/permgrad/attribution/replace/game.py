"""Playing replacement games: who is replaced, in which coalitions of paths, and what is measured.

A *game* is ``predictions(coalition)``, then ``value(predictions)``. This file runs it over players, rows and repeats,
in blocks that fit in memory and batches that fit in cache; donors are counter-based, so that nothing depends on how the
work is cut. The repeats of one player are played together: equal replacements of a row are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad.attribution.replace.donors import Sampler
from permgrad.attribution.replace.executor import Executor, LocalExecutor
from permgrad.attribution.replace.moments import PairMoments
from permgrad.attribution.subject.subject import Subject
from permgrad.base.progress import Progress
from permgrad.base.random import content_keys
from permgrad.models.batches import halved, in_batches
from permgrad.models.devices import rows_at_once
from permgrad.models.fast.replacement import Block, Coalition, ReplacementEngine

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: How much the caches of one block of receivers may take.
_BLOCK_BYTES = 512 * 2**20
#: Pairs per forward: more fall out of a processor's cache where a convolution follows, fewer leave accelerators idle.
_BATCH_IMAGE, _BATCH_TABLE, _BATCH_ACCELERATOR = 256, 2048, 16384
#: Numbers that the draws of one player may take at once, and those that a pair needs beside its columns.
_MOST_NUMBERS, _NUMBERS_PER_PAIR = 2**23, 16
#: Roundings of one number that a sum in a network may be off by; precisions coarser than this are half ones.
_ROUNDING, _HALF = 16, 1e-5


class Value(Protocol):
    """Measures predictions: ``(outputs (b, K), rows, base outputs (b, K)) -> (b, V)`` float64."""

    @property
    def width(self) -> int:
        """V: how many numbers it gives for each row."""
        ...

    def __call__(self, outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:
        """Return V numbers for each row."""
        ...


@dataclass(frozen=True)
class LossValue:
    """The loss of each row against the truth."""

    subject: Subject
    y: npt.NDArray[Any]
    loss: str
    width: int = 1

    def __call__(self, outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG002 — part of the protocol
        """Return the losses, ``(rows, 1)``."""
        return self.subject.loss_rows(outputs, self.y[rows], self.loss)[:, None]


@dataclass(frozen=True)
class DivergenceValue:
    """How far the prediction moves from the model's own; 0 where nothing is replaced."""

    subject: Subject
    width: int = 1

    def __call__(self, outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG002 — part of the protocol
        """Return the divergences, ``(rows, 1)``."""
        return self.subject.divergence_rows(outputs, base)[:, None]


@dataclass(frozen=True)
class ReadoutValue:
    """The output itself, with its sign turned: an effect is then what the row's own value adds to the output."""

    subject: Subject
    output: str
    targets: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of outputs explained."""
        return len(self.targets)

    def __call__(self, outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:  # noqa: ARG002 — part of the protocol
        """Return minus the outputs, ``(rows, targets)``."""
        values: Floats = self.subject.readout(outputs, self.output)[:, list(self.targets)].double().cpu().numpy()
        return -values


@dataclass(frozen=True)
class Quantities:
    """Which coalitions are played, and how their effects Δ_S combine into the quantities that are kept.

    Attributes:
        names: of the quantities; the first is the importance.
        coalitions: in which the replacement is made.
        combine: ``(quantities, coalitions)`` matrix.
    """

    names: tuple[str, ...]
    coalitions: tuple[Coalition, ...]
    combine: Floats


def path_quantities(paths: Sequence[str]) -> Quantities:
    """Return the total effect and its two-player Shapley shares (docs/methods: the path game).

    φ_tab = ½[Δ_tab + (Δ_both − Δ_img)], φ_img alike; interaction = Δ_both − Δ_tab − Δ_img.

    Examples:
        >>> path_quantities(("tabular", "image")).names
        ('total', 'tabular', 'image', 'interaction')
    """
    if len(paths) == 1:
        return Quantities(("total", paths[0]), (frozenset(paths),), np.array([[1.0], [1.0]]))
    first, second = paths
    coalitions = (frozenset({first}), frozenset({second}), frozenset(paths))
    combine = np.array([[0.0, 0.0, 1.0], [0.5, -0.5, 0.5], [-0.5, 0.5, 0.5], [-1.0, -1.0, 1.0]])
    return Quantities(("total", first, second, "interaction"), coalitions, combine)


def total_quantity(paths: Sequence[str]) -> Quantities:
    """Return the effect of replacing in all of ``paths`` at once, alone."""
    return Quantities(("total",), (frozenset(paths),), np.ones((1, 1)))


class Collector(Protocol):
    """Takes the effects of one player's pairs: rows, donors ``(b,)`` and effects ``(b, quantities, V)``."""

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        """Add the pairs."""
        ...


@dataclass
class Game:
    """A replacement game over the rows of one call.

    Args:
        subject: the model.
        encoded: rows explained, ``(rows, encoded)`` float32.
        sampler: gives replacement values.
        value: what is measured.
        quantities: what is kept.
        batch_size: pairs per forward, or ``"auto"``.
        incremental: recompute only what is touched; False is the dense reference.
        executor: where players are computed.
    """

    subject: Subject
    encoded: npt.NDArray[np.float32]
    sampler: Sampler
    value: Value
    quantities: Quantities
    batch_size: int | str = "auto"
    incremental: bool = True
    executor: Executor = field(default_factory=LocalExecutor)
    engine: ReplacementEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = ReplacementEngine(self.subject.module, incremental=self.incremental)
        cached = _BATCH_IMAGE if "image" in self.subject.paths else _BATCH_TABLE
        automatic = rows_at_once(self.subject.device, on_processor=cached, on_accelerator=_BATCH_ACCELERATOR)
        self._batch = automatic if self.batch_size == "auto" else int(self.batch_size)
        self._kept: tuple[slice, Block] | None = None
        self._seen: Block | None = None

    def blocks(self) -> list[slice]:
        """Return the receivers in blocks whose caches fit in memory."""
        rows = len(self.encoded)
        size = max(1000, _BLOCK_BYTES // max(1, self.engine.bytes_per_row()))
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]

    def prepare(self, rows: slice) -> Block:
        """Return the block's cache; the last one is kept, so that rounds of repeats over one block pay once."""
        if self._kept is None or self._kept[0] != rows:
            self._kept = None
            self._kept = rows, self._computed(self.encoded[rows], light=False)
        return self._kept[1]

    def outputs(self) -> npt.NDArray[np.float32]:
        """Return the network's own outputs for the rows of all blocks, ``(rows, K)``."""
        blocks = self.blocks()
        if len(blocks) == 1:
            found = self.prepare(blocks[0]).outputs
        elif self._small and blocks[-1].stop - blocks[0].start == len(self.encoded):
            found = self.light(self.encoded).outputs
        else:
            found = torch.cat([self._computed(self.encoded[rows], light=True).outputs for rows in blocks])
        outputs: npt.NDArray[np.float32] = found.cpu().numpy()
        return outputs

    def light(self, encoded: npt.NDArray[np.float32]) -> Block:
        """Return what rows bring to the head and their outputs, without the maps that only replacements need.

        What is known of the rows explained is not computed again.
        """
        if encoded is not self.encoded:
            return self._computed(encoded, light=True)
        if self._kept is not None and self._kept[0] == slice(0, len(encoded)):
            return self._kept[1]
        if self._seen is not None:
            return self._seen
        block = self._computed(encoded, light=True)
        if self._small:
            self._seen = block
        return block

    @property
    def _small(self) -> bool:
        """Whether what all rows bring to the head may be kept."""
        return len(self.encoded) * self.engine.bytes_per_row(light=True) <= _BLOCK_BYTES

    def _computed(self, encoded: npt.NDArray[np.float32], *, light: bool) -> Block:
        tensor = torch.as_tensor(np.ascontiguousarray(encoded), device=self.subject.device)
        tensor = tensor.to(next(self.subject.module.parameters()).dtype)
        block: Block = self.with_smaller_batches(
            lambda batch: self.engine.prepare(tensor, batch_size=batch, light=light)
        )
        return block

    def play(
        self, players: dict[str, npt.NDArray[np.intp]], repeats: Sequence[int], collect: Collector, progress: Progress
    ) -> None:
        """Play all repeats of all players over all rows."""
        with self.subject.open():
            for rows in self.blocks():
                with torch.inference_mode():
                    block = self.prepare(rows)
                    base = self.value(block.outputs, rows, block.outputs)

                def one_player(name: str, rows: slice = rows, block: Block = block, base: Floats = base) -> None:
                    with torch.inference_mode():
                        for some in self._together(repeats, rows, len(players[name])):
                            self._play_repeats(name, players[name], some, rows, block, base, collect)
                            progress.advance(len(some) * (rows.stop - rows.start))

                for _ in self.executor.run(partial(one_player, name) for name in players):
                    pass

    @staticmethod
    def _together(repeats: Sequence[int], rows: slice, columns: int) -> Iterator[Sequence[int]]:
        """Yield repeats in groups that are played together, as many as fit in memory."""
        each = (rows.stop - rows.start) * max(columns, _NUMBERS_PER_PAIR)
        size = max(1, _MOST_NUMBERS // each)
        for start in range(0, len(repeats), size):
            yield repeats[start : start + size]

    def _play_repeats(
        self,
        name: str,
        columns: npt.NDArray[np.intp],
        repeats: Sequence[int],
        rows: slice,
        block: Block,
        base: Floats,
        collect: Collector,
    ) -> None:
        numbers = np.arange(rows.start, rows.stop, dtype=np.int64)
        draws = [self.sampler.draw(name, columns, numbers, repeat) for repeat in repeats]
        pairs = distinct_pairs(self.encoded[rows][:, columns], [values for _, values in draws])
        changes = self._changes(columns, pairs, rows, block, base)
        effects = np.einsum("qs,bsv->bqv", self.quantities.combine, changes)
        # The last line stands for all pairs that change nothing.
        effects = np.concatenate([effects, np.zeros((1, *effects.shape[1:]))])
        for (donors, _), places in zip(draws, pairs.places, strict=True):
            collect(name, numbers, donors, effects[places])

    def _changes(self, columns: npt.NDArray[np.intp], pairs: Pairs, rows: slice, block: Block, base: Floats) -> Floats:
        """Return what each distinct replacement changes in each coalition, ``(pairs, coalitions, V)``."""
        coalitions = self.quantities.coalitions
        changes = np.empty((len(pairs.rows), len(coalitions), self.value.width))
        values = torch.as_tensor(pairs.values, device=self.subject.device).to(block.encoded.dtype)

        def some_pairs(part: slice) -> None:
            own = pairs.rows[part]
            start, stop = int(own[0]), int(own[-1]) + 1
            in_order = bool((np.diff(own) == 1).all())
            places = None if in_order else torch.as_tensor(own - start, device=self.subject.device)
            outputs = self.engine.replace(block, start, stop, columns, values[part], coalitions, places)
            kept = block.outputs[start:stop] if places is None else block.outputs[start:stop][places]
            settled = settle_coalitions({coalition: outputs[coalition] for coalition in coalitions}, kept)
            together = torch.cat([settled[coalition] for coalition in coalitions])
            measured = self.value(
                together, np.tile(own + rows.start, len(coalitions)), kept.repeat(len(coalitions), 1)
            ).reshape(len(coalitions), len(own), -1)
            changes[part] = measured.swapaxes(0, 1) - base[own][:, None]

        self._batch = in_batches(len(changes), self._batch, some_pairs)
        return changes

    def with_smaller_batches(self, work: Callable[[int], Any]) -> Any:
        """Run ``work(batch size)``; where memory does not suffice, halve the batch and try again."""
        while True:
            try:
                return work(self._batch)
            except (RuntimeError, MemoryError) as error:
                self._batch = halved(self._batch, error)


@dataclass(frozen=True)
class Pairs:
    """The distinct replacements among many draws for the same rows.

    Attributes:
        rows: the row of each, counted from the first, in rising order ``(pairs,)``.
        values: the new values ``(pairs, columns)``.
        places: per draw the pair of each row ``(rows,)``; −1: the drawn value is the row's own.
    """

    rows: Integers
    values: npt.NDArray[np.float32]
    places: tuple[Integers, ...]


def distinct_pairs(own: npt.NDArray[np.float32], drawn: Sequence[npt.NDArray[np.float32]]) -> Pairs:
    """Find equal replacements of a row, and those that replace a value by itself: codes, counts and levels have many.

    What a network answers to equal questions is equal, so that it is asked once; donors and counts are as drawn.

    Shape:
        own, and each of drawn ``(rows, columns)``.

    Examples:
        >>> own, drawn = np.float32([[0], [1]]), [np.float32([[1], [1]]), np.float32([[1], [0]])]
        >>> pairs = distinct_pairs(own, drawn)
        >>> pairs.rows.tolist(), pairs.values.tolist(), [places.tolist() for places in pairs.places]
        ([0, 1], [[1.0], [0.0]], [[0, -1], [0, 1]])
    """
    values = np.stack(drawn, axis=1)  # one row's draws next to each other
    count, repeats, columns = values.shape
    flat = values.reshape(-1, columns)
    new = np.flatnonzero((values != own[:, None]).any(axis=2))
    rows = new // repeats
    order = np.arange(len(new))
    if repeats > 1 and len(new):
        keys = flat[new, 0].view(np.uint32).astype(np.uint64) if columns == 1 else content_keys([flat[new]])
        order = np.lexsort((keys, rows))
    sorted_rows, sorted_values = rows[order], flat[new[order]]
    first = np.ones(len(new), dtype=bool)
    # Neighbours are compared by their values: the keys only bring equal ones together.
    first[1:] = (sorted_rows[1:] != sorted_rows[:-1]) | (sorted_values[1:] != sorted_values[:-1]).any(axis=1)
    places = np.full(count * repeats, -1, dtype=np.int64)
    places[new[order]] = np.cumsum(first) - 1
    return Pairs(sorted_rows[first], sorted_values[first], tuple(places.reshape(count, repeats).T))


def is_half(dtype: torch.dtype) -> bool:
    """Whether numbers of this type are so coarse that their rounding may be as large as an effect.

    Examples:
        >>> is_half(torch.bfloat16), is_half(torch.float32)
        (True, False)
    """
    return torch.finfo(dtype).eps > _HALF


def rounding_size(outputs: Tensor, noise: float | None = None) -> Tensor:
    """Return the difference of an output below which it is the network's rounding, ``(rows, 1)``.

    Args:
        outputs: ``(rows, outputs)``.
        noise: how far rounding was seen to move outputs; None: as for outputs around 1, logits or standardised.
    """
    precision = torch.finfo(outputs.dtype).eps
    times = 1 if is_half(outputs.dtype) else _ROUNDING
    least = times * precision if noise is None else noise
    return (times * precision * outputs.abs().amax(dim=1, keepdim=True)).clamp_min(least)


def settle(outputs: Tensor, base: Tensor, noise: float | None = None) -> Tensor:
    """Return ``outputs``, with a row's ``base`` itself where the two differ by rounding only.

    Computing a part of a network anew, or in a batch of another size, changes last digits. Without this an input that
    the network does not use would get an importance of 1e-9 instead of exactly 0, with a p-value that means nothing.

    Shape:
        outputs, base ``(rows, outputs)``; noise as for ``rounding_size``.

    Examples:
        >>> settle(torch.tensor([[1.0 + 2e-7], [1.1]]), torch.tensor([[1.0], [1.0]])).tolist()
        [[1.0], [1.100000023841858]]
    """
    unchanged = ((outputs - base).abs() <= rounding_size(base, noise)).all(dim=1)
    return torch.where(unchanged[:, None], base, outputs)


def settle_coalitions(outputs: Mapping[Coalition, Tensor], base: Tensor) -> dict[Coalition, Tensor]:
    """Settle each coalition's outputs against the unchanged ones, then against those of the smaller coalitions in it.

    A path that the head does not read thereby adds exactly 0 to a coalition, as it does alone.

    Shape:
        outputs, and base ``(rows, outputs)``.

    Examples:
        >>> outputs = {frozenset("a"): torch.ones(1, 1), frozenset("ab"): torch.ones(1, 1) + 1e-7}
        >>> settle_coalitions(outputs, torch.zeros(1, 1))[frozenset("ab")].item()
        1.0
    """
    settled: dict[Coalition, Tensor] = {}
    for coalition in sorted(outputs, key=len):
        own = settle(outputs[coalition], base)
        for smaller, theirs in settled.items():
            if smaller < coalition:
                own = settle(own, theirs)
        settled[coalition] = own
    return settled


@dataclass
class MomentCollector:
    """Keeps ``PairMoments`` per player, for global importance."""

    receivers: int
    donors: int
    shared: bool
    classes: npt.NDArray[np.int64] | None
    class_count: int
    quantities: int
    weights: Floats | None = None
    moments: dict[str, PairMoments] = field(default_factory=dict)

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        """Add the pairs of one batch."""
        if player not in self.moments:
            sizes = (self.receivers, self.donors, self.shared, self.class_count, self.quantities)
            self.moments[player] = PairMoments(*sizes)
        self.moments[player].add(
            rows,
            donors,
            effects[:, :, 0],
            classes=None if self.classes is None else self.classes[rows],
            weights=None if self.weights is None else self.weights[rows],
        )


@dataclass
class RowCollector:
    """Keeps the mean and spread of each row's effects over repeats, for local explanations."""

    rows: int
    quantities: int
    width: int
    sums: dict[str, Floats] = field(default_factory=dict)
    squares: dict[str, Floats] = field(default_factory=dict)

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:  # noqa: ARG002
        """Add the pairs of one batch; a row occurs once in a batch."""
        if player not in self.sums:
            self.sums[player] = np.zeros((self.rows, self.quantities, self.width))
            self.squares[player] = np.zeros((self.rows, self.quantities, self.width))
        self.sums[player][rows] += effects
        self.squares[player][rows] += effects**2

    def estimate(self, player: str, repeats: int) -> tuple[Floats, Floats]:
        """Return mean and standard error over repeats, ``(rows, quantities, width)`` each."""
        mean = self.sums[player] / repeats
        if repeats < 2:
            return mean, np.full(mean.shape, np.nan)
        variance = np.maximum(self.squares[player] / repeats - mean**2, 0) * repeats / (repeats - 1)
        return mean, np.sqrt(variance / repeats)


def doubling_rounds(total: int) -> Iterator[range]:
    """Yield repeats in rounds of growing size: 0–1, 2–3, 4–7, 8–15 … up to ``total``.

    Examples:
        >>> [list(r) for r in doubling_rounds(5)]
        [[0, 1], [2, 3], [4]]
    """
    done, size = 0, 2
    while done < total:
        stop = min(total, done + size)
        yield range(done, stop)
        size = max(2, stop)
        done = stop
