"""From a file's bytes to its text: which encoding it is in, and which files are no table in text at all."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from pathlib import Path

from permgrad.base.errors import InputError, counted, warn_user
from permgrad.base.files import free_memory

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"

#: First bytes of files of other kinds, and what to do with them.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip or Excel file", "unpack it or save it as CSV"),
    (b"PK\x05\x06", "an empty zip file", "save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "a zip or Excel file", "unpack it or save it as CSV"),
    (b"BZh", "compressed by bzip2", "unpack it, or compress it with gzip"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it, or compress it with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it, or compress it with gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file", "unpack it"),
    (GZIP, "compressed by gzip twice", "unpack it once"),
    (b"%PDF-", "a PDF", "export the table as CSV"),
    (b"ARROW1", "a Feather file", "save it as Parquet or CSV"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it with git lfs pull"),
)
#: How other kinds of text begin, blanks and case apart.
_TEXTS = ((r"<(\?xml|!doctype|html)\b", "HTML or XML"), (r"\{\s*[\"}]|\[\s*[\[{]", "JSON"))
#: Byte order marks; that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_BINARY = ("a binary file of another kind", "export it as CSV")
_LOOKED_AT = 65_536
#: How often a table that is read into memory is held there while a model is trained on it.
_COPIES = 3
#: What gzip unpacks to, whatever it was before, and beyond that how many times its size.
_MOST_UNPACKED, _MOST_TIMES = 2**26, 100


def check_fits(needed: int, path: str) -> None:
    """Refuse a table, of so many bytes, that is too large to be read whole and trained on in free memory."""
    free = free_memory()
    if free is not None and _COPIES * needed > free:
        raise InputError(
            f"a table that is read into memory must fit there about {_COPIES} times, however: {path!r} takes about "
            f"{needed / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free; train from its files in Python, "
            "HyNNClassifier().fit_stream(folder, target), or give a part of its rows"
        )


def unzipped(content: bytes, file: Path) -> bytes:
    """Unpack a gzip file; refuse what unpacks to far more, or than there is room for."""
    free = free_memory()
    most = max(_MOST_UNPACKED, _MOST_TIMES * len(content))
    room = most if free is None else free // _COPIES
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(min(most, room) + 1)
    except (EOFError, OSError, zlib.error):
        raise InputError(
            f"a gzip file must be complete, however {str(file)!r} is cut off or damaged; copy it again"
        ) from None
    if len(unpacked) > most:
        raise InputError(
            f"a gzip file must not unpack to more than {most:,} bytes, however {str(file)!r} of {len(content):,} bytes "
            "does; if you know whose it is, unpack it with gunzip and name the unpacked file"
        )
    if len(unpacked) > room:
        raise InputError(
            f"a gzip file must unpack to a table that fits in the free memory about 3 times, however {str(file)!r} "
            f"unpacks to more than {room:,} bytes; write it as Parquet, which is read in parts, or give fewer rows"
        )
    return unpacked


def read_text(content: bytes, file: Path) -> str:
    """Return the text of a table's bytes, without byte order marks; a file of another kind, or damaged, is refused."""
    if content.startswith(b"PK") and _holds_arrays(content, file):
        raise _another_kind(
            file,
            "a file of NumPy arrays (.npz)",
            "save its table as CSV; images go into files that a column of a table names (--image)",
        )
    for sign, kind, fix in _KINDS:
        if content.startswith(sign):
            raise _another_kind(file, kind, fix)
    text = _decoded(content, file).lstrip("\ufeff")
    head = text[:_LOOKED_AT]
    # Windows-1252 reads nearly any byte: control characters give a picture or an archive away.
    if _looks_binary(head):
        raise _another_kind(file, *_BINARY)
    place = text.find("\x00")
    if place >= 0:
        line = text.count("\n", 0, place) + 1
        raise InputError(
            f"a table must hold text, however line {line} of {str(file)!r} holds a NUL byte; write the file again, or "
            "take it out"
        )
    for pattern, kind in _TEXTS:
        if re.match(pattern, head.lstrip()[:200], re.IGNORECASE):
            raise _another_kind(file, kind, "export it as CSV")
    return text


def _holds_arrays(content: bytes, file: Path) -> bool:
    """Return whether a zip file is NumPy's: each of its parts is an array. A damaged one is told by its name."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return file.suffix.lower() == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


def _decoded(content: bytes, file: Path) -> str:
    head = content[:_LOOKED_AT]
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    # UTF-16 without a mark: every second byte of most text is 0.
    pairs = content[: _LOOKED_AT // 2 * 2]
    first, second = (half.count(0) / max(len(half), 1) for half in (pairs[0::2], pairs[1::2]))
    if encoding is None and len(content) % 2 == 0 and min(first, second) < 0.01 and max(first, second) > 0.5:
        encoding = "utf-16-le" if second > first else "utf-16-be"
    if encoding is not None:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            raise InputError(
                f"a table must be whole, however {str(file)!r} is {encoding.upper()[:6]} that is cut off or damaged; "
                "copy it again, or save it as UTF-8"
            ) from None
    # NUL bytes that are among text, and few, are refused with their line.
    is_text = head.count(0) <= max(1, len(head) // 100) and not re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]", head)
    if b"\x00" in head and not is_text:
        raise _another_kind(file, *_BINARY)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _western(content, error.start, file)


def _western(content: bytes, wrong: int, file: Path) -> str:
    """Read text as Windows-1252, unless it is UTF-8 but for a few bytes, of which ``wrong`` is the first's place."""
    readable = content.decode("utf-8", errors="ignore")
    letters = len(readable) - len(readable.encode("ascii", errors="ignore"))
    if letters > (lost := len(content) - len(readable.encode("utf-8"))):
        line = content.count(b"\n", 0, wrong) + 1
        raise InputError(
            f"a table must be in one encoding, however {str(file)!r} is UTF-8 but for {counted(lost, 'byte')}, the "
            f"first in line {line} (0x{content[wrong]:02x}); save it as UTF-8"
        )
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        if _looks_binary(content[:_LOOKED_AT].decode("latin-1"), also=r"\x00\x01"):
            raise _another_kind(file, *_BINARY) from None
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"a table must be in UTF-8, UTF-16 or Windows-1252, however line {line} of {str(file)!r} has a byte that "
            f"none of them knows (0x{content[error.start]:02x}); save it as UTF-8"
        ) from None
    if not _looks_binary(text[:_LOOKED_AT]):
        warn_user(
            f"text should be in UTF-8, however {str(file)!r} is not: it is read as Windows-1252 (Western European); if "
            "names or levels look wrong, save it as UTF-8"
        )
    return text


def _looks_binary(head: str, also: str = "") -> bool:
    return len(re.findall(rf"[{also}\x02-\x08\x0e-\x1f\x7f]", head)) > 0.005 * len(head)


def _another_kind(file: Path, kind: str, fix: str) -> InputError:
    return InputError(f"a table must be CSV or Parquet, however {str(file)!r} is {kind}; {fix}")
