"""Writing files so that a reader meets either the old content or the new, never half of it."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from permgrad._errors import EnvironmentProblem


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of ``path``; it takes the name ``path`` when the body ends well, else it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files only the owner may read; an ordinary file follows the user's mask.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(rule: str, path: str | os.PathLike[str], fix: str) -> Iterator[None]:
    """Turn what the disk refuses in the body into an ``EnvironmentProblem`` of the rule, the path and the fix.

    Examples:
        >>> with writing("a report must be written", "page.html", "choose another folder"):
        ...     raise PermissionError(13, "Permission denied")
        Traceback (most recent call last):
        permgrad._errors.EnvironmentProblem: a report must be written, however: page.html: Permission denied; choose...
    """
    try:
        yield
    except EnvironmentProblem:
        raise
    except OSError as error:
        raise EnvironmentProblem(f"{rule}, however: {os.fspath(path)}: {error.strerror or error}; {fix}") from error


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling folder; it replaces ``path`` when the body ends well, else it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.replace(old / "old")
            temporary.replace(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.replace(target)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text in one step; what is half a character, as broken files have, becomes a question mark."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def write_json_atomic(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON in one step; NaN and infinity become null, NumPy values become plain ones."""
    write_text_atomic(path, json_text(plain(content), indent=1) + "\n")


def json_text(content: Any, indent: int | None = None) -> str:
    r"""Return a document as JSON that any file can hold: of text, only what is half a character is escaped.

    Examples:
        >>> print(json_text({"größe": 1, "broken": "\ud800"}))
        {"größe": 1, "broken": "\ud800"}
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def plain(value: Any) -> Any:  # noqa: PLR0911 — one return for each kind of value
    """Turn NumPy scalars and arrays, paths and tuples into what JSON knows; undefined numbers become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str):
        return value
    return str(value)


def free_memory() -> int | None:
    """Return how many bytes of memory are free; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
