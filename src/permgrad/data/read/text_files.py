"""From a file's bytes to its text: which encoding it is in, and which files are no
table in text at all.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from pathlib import Path

from permgrad.base.errors import InputError, counted, warn_user
from permgrad.base.files import free_memory

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
#: Endings of Parquet files.
SUFFIXES = (".parquet", ".pq")

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
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "fetch it with git lfs pull",
    ),
)
#: How other kinds of text begin, blanks and case apart.
_TEXTS = (
    (r"<(\?xml|!doctype|html)\b", "HTML or XML"),
    (r"\{\s*[\"}]|\[\s*[\[{]", "JSON"),
)
#: Byte order marks. That of UTF-32 begins with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_BINARY = ("a binary file of another kind", "export it as CSV")
_LOOKED_AT = 65_536
#: How often a table that is read into memory is held there while a model is trained on
#: it.
_COPIES = 3
#: What gzip unpacks to, whatever it was before, and beyond that how many times its
#: size.
_MOST_UNPACKED = 2**26
_MOST_TIMES = 100


def check_fits(needed: int, path: str, folder: str = "folder", first: str = "") -> None:
    """Refuse a table, of so many bytes, that is too large to be read whole and trained
    on in free memory.

    ``first`` is what makes a ``folder`` of Parquet files of it, where it is none.
    """
    free_bytes = free_memory()
    if free_bytes is not None and _COPIES * needed > free_bytes:
        raise InputError(
            f"{path!r} takes about {needed / 1e9:,.1f} GB in memory, and "
            f"{free_bytes / 1e9:,.1f} GB are free "
            f"(a table must fit about {_COPIES} times)",
            hint=f"{first}Train from its files in Python with "
            f"HyNNClassifier().fit_stream({folder}, target), or use fewer rows.",
            code="PG061",
        )


def unzipped(content: bytes, file: Path) -> bytes:
    """Unpack a gzip file.

    Refuse one that unpacks to far more, or to more than fits into memory.
    """
    free_bytes = free_memory()
    most_unpacked = max(_MOST_UNPACKED, _MOST_TIMES * len(content))
    if free_bytes is None:
        available_bytes = most_unpacked
    else:
        available_bytes = free_bytes // _COPIES
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(min(most_unpacked, available_bytes) + 1)
    except (EOFError, OSError, zlib.error):
        raise InputError(
            f"The gzip file {str(file)!r} is cut off or damaged",
            "Copy it again.",
            "PG011",
        ) from None
    if len(unpacked) > most_unpacked:
        problem = (
            f"The gzip file {str(file)!r} of {len(content):,} bytes unpacks to "
            f"more than {most_unpacked:,} bytes"
        )
        unpack_hint = (
            "If you trust its source, unpack it with gunzip and name the unpacked file."
        )
        raise InputError(problem, hint=unpack_hint, code="PG011")
    if len(unpacked) > available_bytes:
        problem = (
            f"The gzip file {str(file)!r} unpacks to more than "
            f"{available_bytes:,} bytes, a third of the free memory"
        )
        raise InputError(
            problem,
            hint="Write it as Parquet, which is read in parts, or use fewer rows.",
            code="PG061",
        )
    return unpacked


def read_text(content: bytes, file: Path) -> str:
    """Return the text of a table's bytes, without byte order marks.

    A file of another kind, or damaged, is refused.
    """
    signs = []
    for signature, signature_kind, signature_fix in _KINDS:
        if content.startswith(signature):
            signs.append((signature_kind, signature_fix))
    if content.startswith(b"PK") and _holds_arrays(content, file):
        correction = (
            "save its table as CSV, and images in files that a column of the "
            "table names (--kind COL=image)"
        )
        signs.insert(0, ("a file of NumPy arrays (.npz)", correction))
    if signs:
        raise _another_kind(file, *signs[0])
    table_text = _decoded(content, file).lstrip("\ufeff")
    text_start = table_text[:_LOOKED_AT]
    # Windows-1252 reads nearly any byte: control characters give a picture or an
    # archive away.
    begins = text_start.lstrip()[:200]
    correction = "export it as CSV"
    if _looks_binary(text_start):
        other_kinds = [_BINARY]
    else:
        other_kinds = []
    other_kinds += [
        (text_kind, correction)
        for pattern, text_kind in _TEXTS
        if re.match(pattern, begins, re.IGNORECASE)
    ]
    if other_kinds:
        raise _another_kind(file, *other_kinds[0])
    null_position = table_text.find("\x00")
    if null_position >= 0:
        line_number = table_text.count("\n", 0, null_position) + 1
        count = table_text.count("\x00")
        problem = (
            f"Line {line_number} of {str(file)!r} holds a NUL byte"
            + f", the first of {count:,}" * (count > 1)
        )
        if count == 1:
            correction = "remove the byte"
        else:
            correction = "remove them (in a shell: tr -d '\\000' < FILE > NEW)"
        raise InputError(
            problem, hint=f"Write the file again, or {correction}.", code="PG011"
        )
    return table_text


def names_in_zip(content: bytes) -> list[str] | None:
    """Return the names of the parts of a zip file, or None if it is none, or
    damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None


def _holds_arrays(content: bytes, file: Path) -> bool:
    """Return whether a zip file is NumPy's: each of its parts is an array.

    A damaged one is recognised by its name.
    """
    names = names_in_zip(content)
    if names is None:
        return file.suffix.lower() == ".npz"
    return bool(names) and all(n.endswith(".npy") for n in names)


def _decoded(content: bytes, file: Path) -> str:
    first_bytes = content[:_LOOKED_AT]
    encoding = next(
        (
            encoding_name
            for byte_mark, encoding_name in _MARKS
            if content.startswith(byte_mark)
        ),
        None,
    )
    # UTF-16 without a mark: every second byte of most text is 0.
    pairs = content[: _LOOKED_AT // 2 * 2]
    first, second = (
        byte_half.count(0) / max(len(byte_half), 1)
        for byte_half in (pairs[0::2], pairs[1::2])
    )
    if (
        encoding is None
        and len(content) % 2 == 0
        and min(first, second) < 0.01
        and max(first, second) > 0.5
    ):
        if second > first:
            encoding = "utf-16-le"
        else:
            encoding = "utf-16-be"
    if encoding is not None:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            problem = (
                f"{str(file)!r} is {encoding.upper()[:6]} text that is cut off "
                "or damaged"
            )
            raise InputError(
                problem, hint="Copy it again, or save it as UTF-8.", code="PG011"
            ) from None
    # NUL bytes among text are refused with their line: few, or below a line of text, as
    # in a file that was cut off.
    is_text = (
        first_bytes.count(0) <= max(1, len(first_bytes) // 100)
        or b"\x00" not in first_bytes.partition(b"\n")[0]
    )
    is_text = is_text and not re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]", first_bytes)
    if b"\x00" in first_bytes and not is_text:
        raise _another_kind(file, *_BINARY)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _western(content, error.start, file)


def _western(content: bytes, wrong: int, file: Path) -> str:
    """Read text as Windows-1252, unless it is UTF-8 but for a few bytes, of which
    ``wrong`` is the first's place.
    """
    readable = content.decode("utf-8", errors="ignore")
    letters = len(readable) - len(readable.encode("ascii", errors="ignore"))
    if letters > (lost_bytes := len(content) - len(readable.encode("utf-8"))):
        line_number = content.count(b"\n", 0, wrong) + 1
        problem = (
            f"{str(file)!r} is UTF-8 except for {counted(lost_bytes, 'byte')}, the "
            f"first in line {line_number} (0x{content[wrong]:02x})"
        )
        raise InputError(problem, hint="Save it as UTF-8.", code="PG011")
    try:
        western_text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        if _looks_binary(content[:_LOOKED_AT].decode("latin-1"), also=r"\x00\x01"):
            raise _another_kind(file, *_BINARY) from None
        line_number = content.count(b"\n", 0, error.start) + 1
        problem = (
            f"Line {line_number} of {str(file)!r} has a byte "
            f"(0x{content[error.start]:02x}) that is neither UTF-8, UTF-16 nor "
            "Windows-1252"
        )
        raise InputError(problem, hint="Save it as UTF-8.", code="PG011") from None
    if not _looks_binary(western_text[:_LOOKED_AT]):
        problem = (
            f"{str(file)!r} is not UTF-8 and is read as Windows-1252 (Western European)"
        )
        warn_user(problem, "If names or levels look wrong, save it as UTF-8.")
    return western_text


def _looks_binary(head: str, also: str = "") -> bool:
    # Exports of databases have 0x1a in the place of letters that their encoding lacks.
    return len(
        re.findall(rf"[{also}\x02-\x08\x0e-\x19\x1b-\x1f\x7f]", head)
    ) > 0.005 * len(head)


def _another_kind(file: Path, kind: str, fix: str) -> InputError:
    return InputError(
        f"A table must be CSV or Parquet, but {str(file)!r} is {kind}",
        hint=fix,
        code="PG011",
    )
