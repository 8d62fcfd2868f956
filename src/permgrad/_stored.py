"""Reading files that somebody else may have made: arrays without surprises, descriptions as they were written."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad._files import plain

_SEAL = "seal"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an npz file. Nothing is executed, and nothing is larger than the file says its parts are.

    NumPy reserves as much memory as an array's header asks for, before it looks how much there is.

    Raises:
        ValueError: it is no npz file, is damaged, holds a pickle, or an array whose size is not that of its numbers.

    Examples:
        >>> file = io.BytesIO()
        >>> np.savez(file, a=np.arange(3))
        >>> read_npz(file.getvalue())
        {'a': array([0, 1, 2])}
    """
    if content[:1] == b"\x80":
        raise ValueError("it looks like a pickle, which could run code on loading and is never opened")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return {part.filename.removesuffix(".npy"): _read_array(file, part) for part in file.infolist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"it is no complete npz file ({type(error).__name__})") from error
    except zlib.error as error:
        raise ValueError("its compressed content is damaged") from error


def _read_array(file: zipfile.ZipFile, part: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with file.open(part) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"its array {part.filename!r} has format {version}, which is not known")
        shape, fortran, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            raise ValueError(
                f"its array {part.filename!r} holds a pickle, which could run code on loading and is never opened"
            )
        count = 1
        for length in shape:
            count *= int(length)
        left = part.file_size - stream.tell()
        if any(length < 0 for length in shape) or count * dtype.itemsize != left:
            raise ValueError(f"its array {part.filename!r} says it has {count:,} values of {dtype}, and has not")
        numbers = np.frombuffer(stream.read(), dtype=dtype, count=count) if left else np.empty(count, dtype)
        # Writable, as arrays that were computed are.
        return numbers.copy().reshape(shape, order="F" if fortran else "C")


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with a checksum of all that it says, so that damage is seen.

    Examples:
        >>> said = sealed({"rows": 3})
        >>> is_intact(said), is_intact({**said, "rows": 4}), is_intact({"rows": 3})
        (True, False, True)
    """
    content = {name: value for name, value in description.items() if name != _SEAL}
    return {**content, _SEAL: _checksum(content)}


def is_intact(description: Mapping[str, Any]) -> bool:
    """Whether a description says what it said when it was sealed; one without a seal is older than seals."""
    content = {name: value for name, value in description.items() if name != _SEAL}
    return _SEAL not in description or description[_SEAL] == _checksum(content)


def _checksum(content: Mapping[str, Any]) -> str:
    # What JSON gives back: tuples are lists, keys are text.
    said = json.loads(json.dumps(plain(dict(content))))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
