"""Vectors of cells that were computed once: remembered in memory, and kept in the folder of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from permgrad.base.arrays import Floats32, Integers
from permgrad.base.stored import read_npz, write_npz

#: Cells encoded between two files, and numbers that are remembered, of which each takes four bytes.
AT_ONCE, _REMEMBERED = 256, 50_000_000
_folder: ContextVar[Path | None] = ContextVar(
    "permgrad_folder_of_vectors", default=None
)


@contextmanager
def vectors_kept_in(folder: Path | None) -> Iterator[None]:
    """Within the body keep the vectors of named encoders in a folder, if any, which may be deleted at any time."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


class VectorCache:
    """What an encoder says of cells, each different one computed once.

    Examples:
        >>> cache, calls = VectorCache(), []
        >>> encode = lambda places: calls.append(places.tolist()) or np.ones((len(places), 2), np.float32)
        >>> cache.vectors(["a", "b"], encode).shape, cache.vectors(["b", "c"], encode).shape, calls
        ((2, 2), (2, 2), [[0, 1], [1]])
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Floats32] = {}
        self._stored: dict[tuple[Path, str], dict[str, Floats32]] = {}

    def vectors(
        self,
        keys: Sequence[Hashable],
        encode: Callable[[Integers], Floats32],
        encoder: str | None = None,
        content: Callable[[int], bytes] = lambda _: b"",
    ) -> Floats32:
        """Return the vectors of cells ``(cells, width)``.

        Args:
            keys: of each cell what tells it from others.
            encode: the vectors of the cells at some places.
            encoder: name of the encoder with all that changes its vectors. None: they are not kept in a folder.
            content: what the cell at a place holds, by which a folder knows it.
        """
        if sum(one.size for one in self._known.values()) > _REMEMBERED:
            self._known, self._stored = {}, {}
        known, folder = (
            dict(self._known),
            _folder.get() if encoder is not None else None,
        )
        new, names = (
            [place for place, key in enumerate(keys) if key not in known],
            dict[int, str](),
        )
        if folder is not None and new:
            names = {place: hashlib.sha256(content(place)).hexdigest() for place in new}
            stored = self._read(folder, str(encoder))
            known |= {
                keys[place]: stored[name]
                for place, name in names.items()
                if name in stored
            }
            new = [place for place in new if keys[place] not in known]
        for start in range(0, len(new), AT_ONCE):
            places = new[start : start + AT_ONCE]
            vectors = encode(np.array(places))
            known.update(zip([keys[place] for place in places], vectors, strict=True))
            if folder is not None:
                _write(
                    folder, str(encoder), [names[place] for place in places], vectors
                )
        self._known = known
        return np.stack([known[key] for key in keys])

    def _read(self, folder: Path, encoder: str) -> dict[str, Floats32]:
        if (folder, encoder) not in self._stored:
            stored = self._stored[folder, encoder] = {}
            for file in sorted(folder.glob(f"{_short(encoder)}-*.npz")):
                # A damaged file is computed again.
                with suppress(OSError, ValueError, KeyError):
                    content = read_npz(file)
                    stored |= zip(
                        content["cells"].tolist(), content["vectors"], strict=True
                    )
        return self._stored[folder, encoder]


def _write(folder: Path, encoder: str, names: Sequence[str], vectors: Floats32) -> None:
    place = folder / f"{_short(encoder)}-{_short(' '.join(names))}.npz"
    with suppress(OSError):
        write_npz(place, {"cells": np.array(names), "vectors": vectors})


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
