"""Rows in memory, explained in parts by an engine: each worker has all rows, and explains the parts it is given.

A loss game is played part by part, each receiver with the donors that its number in the whole table gives it, and the
sums over pairs are merged: the donors may be the rows explained themselves, which are at hand everywhere. The rows of
a local explanation do not depend on each other; they are explained part by part and put together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, loss_game, loss_games, methods
from permgrad.attribution.parts.engines.base import Engine, settle_model
from permgrad.attribution.parts.notes import say_first
from permgrad.attribution.replace.game import Game, LossValue, MomentCollector
from permgrad.attribution.replace.importance import Played, class_outputs, receiver_classes
from permgrad.attribution.replace.moments import PairMoments
from permgrad.attribution.replace.plays import Plays
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.progress import Progress
from permgrad.models.devices import full_float32

R = TypeVar("R")
Sums = dict[str, dict[str, npt.NDArray[Any]]]

#: Parts that the rows are cut into, and the fewest and most rows of a part.
_PARTS, _FEWEST, _MOST = 32, 500, 20_000


@dataclass(frozen=True)
class Span:
    """The rows ``start`` to ``stop`` of those explained."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Done(Generic[R]):
    """What a worker says of a part: its result, and the warnings to be passed on."""

    span: Span
    result: R
    said: list[str]


def spans(rows: int) -> list[Span]:
    """Cut rows into parts.

    Examples:
        >>> [(span.start, span.stop) for span in spans(1200)]
        [(0, 500), (500, 1000), (1000, 1200)]
    """
    size = min(_MOST, max(_FEWEST, -(-rows // _PARTS)))
    starts = range(0, rows, size)
    return [Span(number, start, min(start + size, rows)) for number, start in enumerate(starts)]


def explain_on(engine: Engine, request: Request, method: str) -> Explanation:
    """Explain the rows of a request, its parts computed by ``engine``.

    Raises:
        InputError: the model or the method cannot be taken apart.
    """
    chosen = methods.get(method)
    if request.subject.model is None:
        raise InputError(
            "an engine explains a fitted HyNNClassifier or HyNNRegressor, however: model is a torch network; leave "
            "engine= out"
        )
    if request.scope == "global":
        if loss_game(method) is None:
            raise InputError(
                f"global explanations that several workers share are given by {', '.join(loss_games())}, however: "
                f"method={method!r}; choose one of these, or leave engine= out"
            )
        if request.options.get("tolerance") is not None:
            raise InputError(
                "tolerance stops when intervals over all rows are narrow, however: the rows are explained in parts by "
                f"engine=; leave tolerance={request.options['tolerance']!r} or engine= out"
            )
        explanation = chosen()(replace(request, engine=partial(_play_parts, engine)))
    else:
        explanation = _rows(engine, request, method)
    return replace(explanation, meta={**explanation.meta, "engine": engine.facts})


class _Shipped:
    """What the workers of one explanation hold: the model and all rows; the network is put where a worker can compute.

    Args:
        request: the call, as it was resolved.
    """

    def __init__(self, request: Request) -> None:
        self.model = request.subject.model
        self.encoded, self.background = request.encoded, request.background
        # What is not sent: the subject is made anew where the model arrives, and tensors that show the same rows again.
        nothing: Any = None
        self.request = replace(request, subject=nothing, engine=None, progress=False, inputs=(), donors=(), raw=None)
        self.raw = request.raw if request.scope == "local" else None
        self.opened: Request | None = None

    @property
    def store_bytes(self) -> int:
        """How much shared memory the rows take."""
        background = 0 if self.background is None else self.background.nbytes
        raw = 0 if self.raw is None else int(self.raw.memory_usage(deep=True).sum())
        return self.encoded.nbytes + background + raw

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    def open(self) -> Request:
        """Return the request, with the model at hand; made once in each worker."""
        if self.opened is None:
            from permgrad.attribution.subject.hybrid import HybridSubject

            settle_model(self.model)
            # Arrays in shared memory cannot be written to, which PyTorch warns of.
            inputs = (torch.from_numpy(np.array(self.encoded)),)
            donors = inputs if self.background is None else (torch.from_numpy(np.array(self.background)),)
            subject = HybridSubject(self.model)
            self.opened = replace(self.request, subject=subject, inputs=inputs, donors=donors, raw=self.raw)
        return self.opened


def _run(engine: Engine, parts: Sequence[Span], work: Callable[[Span], Done[R]], label: str, mode: Any) -> dict[int, R]:
    """Return each part's result by its number; pass on what was said, once."""
    found: dict[int, R] = {}
    said: list[str] = []
    with Progress(parts[-1].stop, label, mode) as progress:
        for done in engine.run(parts, work):
            found[done.span.number] = done.result
            said += done.said
            progress.advance(done.span.stop - done.span.start)
    say_first(said, "in a part of the rows: " if len(parts) > 1 else "")
    return found


# ---- global ----------------------------------------------------------------------------------------------------------


class _PlaysParts(_Shipped):
    """Plays a loss game for a part of the receivers."""

    def __init__(self, request: Request, plays: Plays) -> None:
        super().__init__(request)
        self.plays = plays
        self.game: Game | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "game": None}

    def __call__(self, span: Span) -> Done[Sums]:
        """Return the sums of every player over the pairs of a part's receivers."""
        with full_float32(), keeping_warnings() as said:
            sums = self._play(span)
        return Done(span, sums, said)

    def _play(self, span: Span) -> Sums:
        request = self.open()
        if self.game is None:
            self.game = Game(request, LossValue(request), self.plays.fixed)
        game, rows = self.game, slice(span.start, span.stop)
        classes, count = receiver_classes(replace(request, y=_of(request.y, span)), game.outputs(rows))
        if classes is not None:
            everywhere = np.zeros(request.count, dtype=np.int64)
            everywhere[rows] = classes
            classes = everywhere
        collector = MomentCollector(
            receivers=request.count,
            donors=game.back_end.donors,
            shared=game.back_end.shared,
            classes=classes,
            class_count=count,
            quantities=len(self.plays.names),
            weights=request.sample_weight,
        )
        with Progress(0, "part", mode=False) as progress:
            game.play(self.plays.plays, range(request.n_repeats), collector, progress, rows)
        return {name: pack_part(own, span) for name, own in collector.moments.items()}


def _play_parts(engine: Engine, request: Request, plays: Plays, label: str) -> Played:
    """Play a loss game for all players in parts: what ``play_losses`` does in one piece."""
    started = time.perf_counter()
    game = Game(request, LossValue(request), plays.fixed)
    rows, subject = request.count, request.subject
    count = len(subject.class_names) if subject.task == "classification" else 1
    sizes = (rows, game.back_end.donors, game.back_end.shared, count, len(plays.names))
    collector = MomentCollector(rows, game.back_end.donors, game.back_end.shared, None, count, len(plays.names))
    parts = spans(rows)
    found = _run(engine, parts, _PlaysParts(request, plays), label, request.progress)
    # Merged in the order of the rows, so that the last digits do not depend on who was first.
    for span in parts:
        for name, arrays in found.pop(span.number).items():
            into = collector.moments.setdefault(name, PairMoments(*sizes))
            into.merge(unpack_part(arrays, span, sizes))
    repeats = dict.fromkeys(request.space.names, 0)
    repeats |= {name: request.n_repeats for play in plays.plays for name in play.names}
    played = sum(repeats.values()) * rows * plays.coalitions
    return Played(collector, game, class_outputs(request), repeats, time.perf_counter() - started, played)


_RECEIVERS = ("receiver_sum", "receiver_weight", "receiver_class")
_DONORS = ("donor_sum", "donor_weight")


def pack_part(moments: PairMoments, span: Span) -> dict[str, npt.NDArray[Any]]:
    """Return the sums of a part's pairs: its own receivers, and the donors that were drawn."""
    arrays = moments.to_arrays()
    drawn = np.flatnonzero(moments.donor_weight.any(axis=0))
    packed = {name: arrays[name][..., span.start : span.stop] for name in _RECEIVERS}
    packed |= {name: arrays[name][..., drawn] for name in _DONORS}
    rest = {name: array for name, array in arrays.items() if name not in (*_RECEIVERS, *_DONORS, "sizes")}
    return packed | rest | {"drawn": drawn, "pairs": np.array([moments.pairs])}


def unpack_part(arrays: dict[str, npt.NDArray[Any]], span: Span, sizes: tuple[int, int, bool, int, int]) -> PairMoments:
    """Return the sums over all rows that ``pack_part`` was given."""
    moments = PairMoments(*sizes)
    moments.pairs = int(arrays["pairs"][0])
    for name, array in arrays.items():
        if name in _RECEIVERS:
            getattr(moments, name)[..., span.start : span.stop] = array
        elif name in _DONORS:
            getattr(moments, name)[..., arrays["drawn"]] = array
        elif name not in ("drawn", "pairs"):
            getattr(moments, name)[...] = array
    return moments


# ---- local -----------------------------------------------------------------------------------------------------------


class _ExplainsRows(_Shipped):
    """Explains the rows of a part."""

    def __init__(self, request: Request, method: str) -> None:
        super().__init__(request)
        self.method = method

    def __call__(self, span: Span) -> Done[Explanation]:
        """Return the part's explanation."""
        whole = self.open()
        assert self.raw is not None
        rows = slice(span.start, span.stop)
        part = replace(
            whole,
            raw=self.raw.iloc[rows].reset_index(drop=True),
            y=_of(whole.y, span),
            sample_weight=_of(whole.sample_weight, span),
            inputs=(whole.inputs[0][rows],),
            row_offset=whole.row_offset + span.start,  # type: ignore[operator]
        )
        with full_float32(), keeping_warnings() as said:
            explanation = methods.get(self.method)()(part)
        return Done(span, explanation, said)


def _rows(engine: Engine, request: Request, method: str) -> Explanation:
    parts = spans(len(request.encoded))
    found = _run(engine, parts, _ExplainsRows(request, method), method, request.progress)
    return join_rows([found[span.number] for span in parts])


def join_rows(parts: Sequence[Explanation]) -> Explanation:
    """Put local explanations of neighbouring rows together."""
    import pandas as pd

    first = parts[0]
    weights = [float(len(part.values)) for part in parts]

    def joined(name: str) -> Any:
        own = [getattr(part, name) for part in parts]
        return None if own[0] is None else np.concatenate(own)

    def joined_each(name: str) -> dict[str, Any]:
        return {key: np.concatenate([getattr(part, name)[key] for part in parts]) for key in getattr(first, name)}

    base = first.base_values
    if base is not None:
        own = [np.asarray(part.base_values) for part in parts]
        base = np.concatenate(own) if base.ndim == 2 else np.average(np.stack(own), axis=0, weights=weights)
    frames = [part.feature_values for part in parts]
    return replace(
        first,
        values=joined("values"),
        std=joined("std"),
        low=joined("low"),
        high=joined("high"),
        p_values=joined("p_values"),
        parts=joined_each("parts"),
        part_std=joined_each("part_std"),
        predictions=joined("predictions"),
        base_values=base,
        maps=joined_each("maps"),
        feature_values=None if frames[0] is None else pd.concat(frames, ignore_index=True),
        meta={name: join_fact(name, [part.meta.get(name) for part in parts], weights) for name in first.meta},
    )


#: Facts about rows that add up over parts, that are averaged over rows, and of which the largest counts.
_SUMMED = {"rows_explained", "seconds", "model_rows", "gradient_evaluations", "empty_maps"}
_AVERAGED = {"mean_steps", "mean_permutations", "local_r2_mean", "background_share"}
_LARGEST = {"completeness_gap", "quadrature_error", "steps", "permutations"}
#: Facts that are a list with one entry for each row.
_LISTED = {"local_r2", "sample_weight"}


def join_fact(name: str, values: Sequence[Any], weights: Sequence[float]) -> Any:
    """Return what several parts' ``meta`` says of one thing, taken together.

    Examples:
        >>> join_fact("seconds", [1.0, 2.0], [10.0, 20.0]), join_fact("unit", ["y", "y"], [10.0, 20.0])
        (3.0, 'y')
    """
    first = values[0]
    if name in _LISTED:
        return [number for own in values for number in own]
    if name not in _SUMMED | _AVERAGED | _LARGEST:
        return first
    if isinstance(first, dict):
        return {key: join_fact(name, [own[key] for own in values], weights) for key in first}
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not known:
        return None
    numbers = [value for value, _ in known]
    if name in _AVERAGED:
        return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return sum(numbers) if name in _SUMMED else max(numbers)


def _of(values: npt.NDArray[Any] | None, span: Span) -> npt.NDArray[Any] | None:
    return None if values is None else values[span.start : span.stop]
