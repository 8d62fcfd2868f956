"""Vectors of cells that were computed once: remembered in memory, and kept in the
folder of a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from permgrad.base.arrays import Floats32, Integers
from permgrad.base.sequences import values_at
from permgrad.base.stored import read_npz, write_npz

#: Cells encoded between two files, and numbers that are remembered, of which each takes
#: four bytes.
AT_ONCE = 256
_REMEMBERED = 50_000_000
_folder: ContextVar[Path | None] = ContextVar(
    "permgrad_folder_of_vectors", default=None
)


@contextmanager
def vectors_kept_in(folder: Path | None) -> Iterator[None]:
    """Within the body keep the vectors of named encoders in a folder, if any, which may
    be deleted at any time.
    """
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


class VectorCache:
    """What an encoder says of cells, each different one computed once.

    Examples:
        >>> cache, calls = VectorCache(), []
        >>> encode = lambda places: (
        ...     calls.append(places.tolist()) or np.ones((len(places), 2), np.float32)
        ... )
        >>> shape = cache.vectors(["a", "b"], encode).shape
        >>> shape, cache.vectors(["b", "c"], encode).shape, calls
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
            encoder: name of the encoder with all that changes its vectors. None: they
                are not kept in a folder.
            content: what the cell at a place holds, by which a folder knows it.
        """
        if (
            sum(known_vector.size for known_vector in self._known.values())
            > _REMEMBERED
        ):
            self._known = {}
            self._stored = {}
        known_vectors = dict(self._known)
        if encoder is not None:
            folder = _folder.get()
        else:
            folder = None
        new_positions = [
            position
            for position, cache_key in enumerate(keys)
            if cache_key not in known_vectors
        ]
        names = dict[int, str]()
        if folder is not None and new_positions:
            names = {}
            for position in new_positions:
                names[position] = hashlib.sha256(content(position)).hexdigest()
            stored = self._read(folder, str(encoder))
            known_vectors |= {
                keys[position]: stored[content_hash]
                for position, content_hash in names.items()
                if content_hash in stored
            }
            remaining_new_positions = []
            for position in new_positions:
                if keys[position] not in known_vectors:
                    remaining_new_positions.append(position)
            new_positions = remaining_new_positions
        for start in range(0, len(new_positions), AT_ONCE):
            batch_positions = new_positions[start : start + AT_ONCE]
            vectors = encode(np.array(batch_positions))
            known_vectors.update(
                zip(
                    values_at(keys, batch_positions),
                    vectors,
                    strict=True,
                )
            )
            if folder is not None:
                _write(
                    folder,
                    str(encoder),
                    values_at(names, batch_positions),
                    vectors,
                )
        self._known = known_vectors
        return np.stack(values_at(known_vectors, keys))

    def _read(self, folder: Path, encoder: str) -> dict[str, Floats32]:
        if (folder, encoder) not in self._stored:
            stored = self._stored[folder, encoder] = {}
            for cache_file in sorted(folder.glob(f"{_short(encoder)}-*.npz")):
                # A damaged file is computed again.
                with suppress(OSError, ValueError, KeyError):
                    content = read_npz(cache_file)
                    stored |= zip(
                        content["cells"].tolist(), content["vectors"], strict=True
                    )
        return self._stored[folder, encoder]


def _write(folder: Path, encoder: str, names: Sequence[str], vectors: Floats32) -> None:
    cache_file = folder / f"{_short(encoder)}-{_short(' '.join(names))}.npz"
    with suppress(OSError):
        write_npz(cache_file, {"cells": np.array(names), "vectors": vectors})


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
