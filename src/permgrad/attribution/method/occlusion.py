"""Occlusion: slide a window over an input and set the covered part to a fixed value (Zeiler & Fergus 2014)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.ablation import Ablation
from permgrad.attribution.players.segments import ImageShape, places, span
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.game import explain_plays, play_rows
from permgrad.attribution.replace.plays import Play, Plays
from permgrad.attribution.request import PlayedMethod, Request, Scope, methods
from permgrad.attribution.request.result import build
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, shown, unknown

#: Largest number of windows over all inputs. Each costs one prediction of every row.
_MOST_WINDOWS = 100_000


@methods.register("occlusion")
class Occlusion(PlayedMethod):
    """Decrease of a row's output while a window hides a part of an image, a series or a volume.

    A window is moved in steps, and the part that it covers is set to a fixed value in all channels. The value of a
    place is the mean, over the windows that cover it, of f(x) − f(x with the window hidden). The last window along a
    side may be narrower. Players are the cells between the windows' edges. With ``stride`` equal to ``window`` they are
    the windows, and the values those of ``ablation``. ``explanation.values[:, explanation.maps["segments:<input>"]]``
    has the shape of the input. Other inputs (a table's columns) are hidden player by player.

    Options:
        window: size in pixels or places: an integer for every side, a tuple with a size for each side (``(height,
            width)``, ``(depth, height, width)`` or ``(time,)``), or a dict by input, whose other inputs keep their
            segments. None: the segments of ``segments=``, each once.
        stride: the step, in the form of ``window`` and at most as large. None: the window, so that none overlap.
        baseline: as for ``ablation``: ``"typical"`` (the background's median) or ``"zeros"``.
        incremental, workers: as for ``permgrad``.

    Source: Zeiler & Fergus 2014 (arXiv 1311.2901), section 4.2. The mean is that of Captum's ``Occlusion``.

    Examples:
        >>> import torch, permgrad as pg
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 1))
        >>> images = torch.rand(4, 1, 8, 8)
        >>> explanation = pg.explain(net, images, method="occlusion", window=4, stride=2, baseline="zeros")
        >>> explanation.values.shape  # cells of 2 × 2 pixels
        (4, 16, 1)
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    window: int | tuple[int, ...] | Mapping[str, Any] | None = None
    stride: int | tuple[int, ...] | Mapping[str, Any] | None = None
    baseline: Literal["typical", "zeros"] = "typical"

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        slides = _slides(request)
        request, plays = Ablation.game(request)
        if not slides:
            return explain_plays("occlusion", request, plays)
        request, plays, parts = _windows(request, plays, slides)
        names = [play.key for play in plays.plays]
        mean, _, predictions, facts = play_rows(request, plays, "occlusion", names)
        values = np.concatenate([part.means(mean[:, part.plays, :, 0]) for part in parts], axis=1)
        sizes = {
            name: {"window": [axis.window for axis in axes], "stride": [axis.stride for axis in axes]}
            for name, axes in slides.items()
        }
        quantity = "decrease of the output where a window covers the place, mean over windows"
        facts |= {"quantity": quantity, "windows": sizes}
        return build(request, "occlusion", values, facts, predictions=predictions)


@dataclass(frozen=True)
class _Slide:
    """A window's steps along one side. Cells lie between the edges of windows."""

    size: int
    window: int
    stride: int

    @property
    def edges(self) -> list[int]:
        """Where cells begin, and the side's end."""
        starts = self.starts
        ends = {min(start + self.window, self.size) for start in starts}
        return sorted({*starts, *ends})

    @property
    def starts(self) -> list[int]:
        """Where windows begin. The last window reaches the end."""
        return [step * self.stride for step in range(-(-(self.size - self.window) // self.stride) + 1)]

    @property
    def covers(self) -> Booleans:
        """Which cells each window covers, ``(windows, cells)``."""
        starts, cells = np.array(self.starts)[:, None], np.array(self.edges[:-1])
        return (starts <= cells) & (cells < starts + self.window)


@dataclass(frozen=True)
class _Part:
    """The windows of one input among all plays, and the cells that they cover."""

    plays: slice
    covers: tuple[Booleans, ...]  # for each side ``(windows, cells)``, or none if each window is a player

    def means(self, effects: Floats) -> Floats:
        """Return the cells' values from the windows' ``(rows, windows, outputs)``: means along each side in turn."""
        if not self.covers:
            return effects
        values = effects.reshape(len(effects), *(len(covers) for covers in self.covers), -1)
        for side, covers in enumerate(self.covers, start=1):
            shares = covers / covers.sum(axis=0)
            values = np.moveaxis(np.tensordot(shares, values, axes=(0, side)), 0, side)
        return values.reshape(len(effects), -1, effects.shape[-1])


# ---- options ---------------------------------------------------------------------------------------------------------
def _slides(request: Request) -> dict[str, tuple[_Slide, ...]]:
    """Return the windows along each side of the inputs over which they slide."""
    window, stride = request.options["window"], request.options["stride"]
    if window is None:
        if stride is not None:
            raise InputError("stride= needs window=", hint="Pass window= too, or leave stride out.", code="PG006")
        return {}
    if request.level not in ("feature", "column"):
        problem = f"window= replaces segments and cannot be used with level={request.level!r}"
        raise InputError(problem, hint="Leave level and groups out, or window.", code="PG006")
    inputs = zip(request.space.inputs, request.space.segments, request.shapes, strict=False)
    # An input that is held has no players.
    shapes = {name: shape for name, owners, shape in inputs if shape is not None and bool((owners >= 0).any())}
    if not shapes:
        problem = "window= needs an image, a series or a volume, and none of the inputs is one"
        raise InputError(problem, hint="Leave window out to hide each feature separately.", code="PG004")
    for option in (window, stride):
        for name in option if isinstance(option, Mapping) else ():
            if name not in shapes:
                raise unknown("input", name, list(shapes))
    chosen = {name: shape for name, shape in shapes.items() if not isinstance(window, Mapping) or name in window}
    slides = {name: _sides(name, shape, window, stride) for name, shape in chosen.items()}
    count = sum(math.prod(len(side.starts) for side in sides) for sides in slides.values())
    if count > _MOST_WINDOWS:
        problem = (
            f"window and stride make {count:,} windows, each a prediction of every row, and at most {_MOST_WINDOWS:,} "
            "are allowed"
        )
        raise InputError(problem, hint="Pass a larger stride.", code="PG002")
    return slides


def _sides(name: str, shape: ImageShape, window: Any, stride: Any) -> tuple[_Slide, ...]:
    sizes = _counts("window", name, window, shape.size)
    steps = sizes if stride is None else _counts("stride", name, stride, shape.size)
    for size, wide, step in zip(shape.size, sizes, steps, strict=True):
        if wide > size or step > wide:
            problem = (
                f"window must fit in input {name!r} of size {_times(shape.size)} and stride in window, got window "
                f"{_times(sizes)} and stride {_times(steps)}"
            )
            raise InputError(problem, hint="Pass smaller ones.", code="PG002")
    return tuple(map(_Slide, shape.size, sizes, steps))


def _counts(option: str, name: str, value: Any, size: Sequence[int]) -> tuple[int, ...]:
    """Return an option's number for each side of an input."""
    if isinstance(value, Mapping):
        value = value.get(name, None)
    counts = (value,) * len(size) if is_whole(value) else value
    fits = isinstance(counts, (tuple, list)) and len(counts) == len(size)
    if not fits or not all(is_whole(each) and each >= 1 for each in counts):
        raise InputError(
            f"{option} must be an integer of at least 1, or one for each side of input {name!r} ({_times(size)}), got "
            f"{shown(value)}",
            hint=f"Pass for example {option}={tuple(max(1, side // 4) for side in size)}.",
            code="PG002",
        )
    return tuple(map(int, counts))


def _times(size: Sequence[int]) -> str:
    return " × ".join(map(str, size))


# ---- windows as plays ------------------------------------------------------------------------------------------------
def _windows(
    request: Request, plays: Plays, slides: Mapping[str, tuple[_Slide, ...]]
) -> tuple[Request, Plays, list[_Part]]:
    """Return the request whose players are cells, the play of each window, and the windows of each input."""
    names: list[str] = []
    modality: list[str] = []
    segments: list[Tensor] = []
    windows: list[Integers] = []
    covers: tuple[Booleans, ...]
    parts = []
    space = request.space
    for name, owners, shape in itertools.zip_longest(space.inputs, space.segments, request.shapes):
        sides, first, start = slides.get(name), len(names), len(windows)
        if sides is None or shape is None:
            players = owners[owners >= 0].unique()
            table = torch.full((len(space) + 1,), -1)
            table[players] = torch.arange(len(players)) + first
            segments.append(table[owners])
            listed, covers = [space.names[player] for player in players.tolist()], ()
            windows += [np.array([first + place]) for place in range(len(players))]
        else:
            labels, listed = _cells(sides)
            segments.append(shape.spread(labels, tuple(owners.shape)) + first)
            listed, covers = [f"{name}{cell}" for cell in listed], tuple(side.covers for side in sides)
            size = [side.shape[1] for side in covers]
            for window in np.ndindex(*(len(side) for side in covers)):
                inside = [np.flatnonzero(side[place]) for side, place in zip(covers, window, strict=True)]
                windows.append(first + np.ravel_multi_index(np.ix_(*inside), size).ravel())
        names += listed
        modality += [name] * len(listed)
        parts.append(_Part(slice(start, len(windows)), covers))
    cells = PlayerSpace(tuple(names), tuple(modality), space.inputs, tuple(segments))
    one = np.ones((1, 1, 1))
    each = tuple(
        Play(f"window {place}", (f"window {place}",), players, np.ones((1, len(players), 1), dtype=bool), one)
        for place, players in enumerate(windows)
    )
    return replace(request, space=cells), replace(plays, plays=each), parts


def _cells(sides: Sequence[_Slide]) -> tuple[Integers, list[str]]:
    """Return the cell of each pixel, and the cells' names: places in a grid, or spans of a series."""
    labels = np.zeros((), dtype=np.int64)
    for side in sides:
        edges = side.edges
        labels = labels[..., None] * (len(edges) - 1) + np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    if len(sides) == 1:
        return labels, [span(start, end) for start, end in itertools.pairwise(edges)]
    return labels, places([len(side.edges) - 1 for side in sides])
