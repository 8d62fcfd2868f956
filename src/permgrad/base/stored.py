"""Reading files that somebody else may have made: arrays without surprises,
descriptions as they were written.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from permgrad.base.arrays import Array
from permgrad.base.checks import check_path, is_number
from permgrad.base.errors import InputError, must
from permgrad.base.files import atomic_path, free_memory, plain

_SEAL = "seal"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
#: Levels of a document. Ours have fewer than ten. Python itself fails somewhere below a
#: thousand.
_DEEPEST = 100
#: Arrays that take more than this, unpacked, are stored as they are: a small file then
#: never becomes a large one.
MOST_UNPACKED = 2**28
_MOST_TIMES = 100
#: Kinds of numbers and text that permgrad writes: no objects, no records.
_KINDS = "biufcSUmM"


#: File of the times that a work took. They differ each time, so no file with a checksum
#: holds them.
TIMES = "times.json"


# ---- files of saved folders ----------------------------------------------------------
def read_saved(file: Path) -> bytes:
    """Return the content of a file of a saved folder, which somebody else may have
    made.

    ``ValueError``: it is a link that leads out of its folder, a pipe or a device, or it
    is larger than the memory that is free. ``OSError``: it cannot be opened.
    """
    is_inside = file.resolve().parent == file.parent.resolve()
    must(is_inside, "it is a link that leads out of its folder")

    # Opening a pipe waits for someone who writes, unless it is told not to.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        must(stat.S_ISREG(status.st_mode), "it is no regular file")
        available = free_memory()
        must(
            available is None or status.st_size < available,
            f"it has {status.st_size:,} bytes, more than the memory that is free",
        )
        return stream.read(status.st_size)


# ---- JSON ----------------------------------------------------------------------------
def parse_json(content: str | bytes, *, names_once: bool = False) -> Any:
    """Return what a JSON document says.

    ``ValueError``: too deep, no finite number, or (``names_once``) names twice.
    """
    if isinstance(content, bytes):
        document_text = content.decode("utf-8")
    else:
        document_text = content
    too_deep = f"it is nested more than {_DEEPEST} levels deep"
    if names_once:
        pairs_hook = _named_once
    else:
        pairs_hook = None
    try:
        document = json.loads(
            document_text,
            parse_constant=_finite,
            parse_float=_finite,
            object_pairs_hook=pairs_hook,
        )
    except RecursionError as error:
        raise ValueError(too_deep) from error
    level = [document]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    must(not level, too_deep)
    return document


def read_json(file: Path) -> Any:
    """Return what a JSON file of ours says.

    ``ValueError``: as ``parse_json`` and ``read_saved``.
    """
    return parse_json(read_saved(file))


def read_user_json(path: str | os.PathLike[str], what: str) -> Any:
    """Return what a JSON file that a user wrote holds.

    ``what``: what it is in errors, such as "the space".
    """
    json_path = check_path("path", path)
    try:
        return parse_json(json_path.read_bytes(), names_once=True)
    except OSError as error:
        problem = f"Cannot read {what} {json_path}: {error.strerror or error}"
        raise InputError(problem, hint="Correct the path.", code="PG010") from error
    except ValueError as error:
        problem = f"{what[0].upper()}{what[1:]} {json_path} is not valid JSON: {error}"
        raise InputError(problem, hint="Correct the file.", code="PG011") from error


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for entry_name, value in pairs:
        must(entry_name not in entries, f"it holds {entry_name!r} twice in one object")
        entries[entry_name] = value
    return entries


def _finite(digits: str) -> float:
    number = float(digits)
    if digits[-1].isdigit():
        number_problem = "beyond what a number can be"
    else:
        number_problem = "no number"
    must(math.isfinite(number), f"it holds {digits}, which is {number_problem}")
    return number


# ---- arrays --------------------------------------------------------------------------
def write_npz(path: Path, arrays: Mapping[str, Array], *, packed: bool = False) -> None:
    """Write arrays in one step as ``read_npz`` reads them.

    ``packed``: unless reading so many back is refused.
    """
    packed &= (
        sum(np.asarray(array).nbytes for array in arrays.values()) <= MOST_UNPACKED // 2
    )
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        (np.savez_compressed if packed else np.savez)(stream, **arrays)  # type: ignore[arg-type]


def read_npz(source: bytes | str | os.PathLike[str]) -> dict[str, Array]:
    """Return the arrays of an npz file, or of its content. Nothing is executed.

    ``ValueError``: it is not an npz file, is damaged, holds a pickle, or states another
    size of an array than it has, for which NumPy would reserve memory. Or it unpacks to
    more than 256 MB and a hundred times its size.
    """
    if isinstance(source, bytes):
        content = source
    else:
        content = read_saved(Path(source))
    with io.BytesIO(content) as stream:
        must(
            stream.read(1) != b"\x80",
            "it looks like a pickle, which could run code on loading and is never "
            "opened",
        )
        archive_size = stream.seek(0, os.SEEK_END)
        try:
            with zipfile.ZipFile(stream) as archive:
                archive_members = archive.infolist()
                _check_sizes(archive_members, archive_size)
                return {
                    archive_member.filename.removesuffix(".npy"): _read_array(
                        archive, archive_member
                    )
                    for archive_member in archive_members
                }
        except ValueError:
            raise
        except Exception as error:
            # Broken archives lead to errors of many kinds: of zip, of what unpacks, of
            # what reads the headers.
            raise ValueError(
                f"it is no complete npz file ({type(error).__name__})"
            ) from error


def check_archive(stream: BinaryIO) -> None:
    """Raise ``ValueError`` unless this is a zip file whose parts lie in it as they are.

    Each part has its own place, and is what its checksum says.
    """
    archive_size = stream.seek(0, os.SEEK_END)
    with zipfile.ZipFile(stream) as archive:
        archive_members = archive.infolist()
        must(
            not any(
                stored_member.compress_type != zipfile.ZIP_STORED
                or stored_member.file_size != stored_member.compress_size
                for stored_member in archive_members
            ),
            "its parts are compressed",
        )
        must(
            sum(archive_member.file_size for archive_member in archive_members)
            <= archive_size,
            "its parts overlap",
        )
        changed = archive.testzip()
        must(changed is None, f"its part {changed!r} differs from its checksum")


def _check_sizes(archive_members: Collection[zipfile.ZipInfo], size: int) -> None:
    """Refuse an archive that unpacks to far more than it is, before anything is
    unpacked.
    """
    for archive_member in archive_members:
        must(
            archive_member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
            f"its array {archive_member.filename!r} is compressed in a way that is not "
            "NumPy's",
        )
    unpacked = sum(zip_member.file_size for zip_member in archive_members)
    must(
        sum(zip_member.compress_size for zip_member in archive_members) <= size,
        "its arrays overlap",
    )
    must(
        unpacked <= max(MOST_UNPACKED, _MOST_TIMES * size),
        f"it has {size:,} bytes and says that it unpacks to {unpacked:,}, which is not "
        "believed",
    )


def _read_array(file: zipfile.ZipFile, archive_member: zipfile.ZipInfo) -> Array:
    which = f"its array {archive_member.filename!r}"
    with cast("zipfile.ZipExtFile", file.open(archive_member)) as stream:
        version = np.lib.format.read_magic(stream)
        must(version in _HEADERS, f"{which} has format {version}, which is not known")
        try:
            shape, fortran, dtype = _HEADERS[version](stream)
        except Exception as error:
            # NumPy reads headers as Python does its source, and fails in as many ways.
            raise ValueError(
                f"{which} has a header that cannot be read ({type(error).__name__})"
            ) from error
        must(
            not dtype.hasobject,
            f"{which} holds a pickle, which could run code on loading and is never "
            "opened",
        )
        must(
            dtype.kind in _KINDS and dtype.itemsize,
            f"{which} holds values of type {dtype}, which permgrad never writes",
        )
        count = math.prod(map(int, shape))
        bytes_left = archive_member.file_size - stream.tell()
        must(
            not any(length < 0 for length in shape)
            and count * dtype.itemsize == bytes_left,
            f"{which} says it has {count:,} values of {dtype}, and has not",
        )
        numbers = np.empty(count, dtype)
        must(
            not bytes_left
            or stream.readinto(numbers.view(np.uint8).data) == bytes_left,
            f"{which} is cut off",
        )
        return numbers.reshape(shape, order="F" if fortran else "C")


# ---- seals ---------------------------------------------------------------------------
def without_times(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts without the entries ``seconds``, at any depth."""
    return {
        fact_name: without_times(x) if isinstance(x, dict) else x
        for fact_name, x in facts.items()
        if fact_name != "seconds"
    }


def write_times(folder: Path, seconds: Any) -> None:
    """Write the times that a work took."""
    (folder / TIMES).write_text(
        json.dumps(plain({"seconds": seconds})) + "\n", encoding="utf-8"
    )


def read_times(folder: Path) -> Any:
    """Return the ``seconds`` in a folder, a number or several. None: they are lost, and
    all else can be used.
    """
    with suppress(OSError, ValueError, TypeError, KeyError):
        seconds = read_json(folder / TIMES)["seconds"]
        if all(map(is_number, seconds if isinstance(seconds, list) else [seconds])):
            return seconds
    return None


def sealed(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with a checksum of all that it says, so that damage is
    seen.
    """
    content = {}
    for entry_name, value in description.items():
        if entry_name != _SEAL:
            content[entry_name] = value
    # What JSON gives back: tuples are lists, keys are text.
    stored = json.loads(json.dumps(plain(content)))
    return {
        **content,
        _SEAL: hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest(),
    }


def is_intact(description: Mapping[str, Any]) -> bool:
    """Return whether a description is unchanged since it was sealed."""
    return bool(description.get(_SEAL) == sealed(description)[_SEAL])
