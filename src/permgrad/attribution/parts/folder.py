"""The folder of streamed work, explanations or predictions: its record, its lock, and the files of its parts.

``_stream.json`` records what is computed, by its facts and their hash. Every file is complete, because it gets its name
only after it is written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path, sweep, what_lies_at, write_json_atomic, writing
from permgrad.base.locks import hold_folder
from permgrad.base.stored import parse_json
from permgrad.data.parts.partitions import MissingFileError
from permgrad.data.read.parquet import DAMAGE

RECORD, PARTS, LOCAL, IMPORTANCE = "_stream.json", "parts", "local", "importance.csv"
SCHEMA_VERSION = 1
#: What the folder of an explanation holds, streamed or in memory.
EXPLANATION = ("values.npz", "explanation.json")
_EXPLAINED = {RECORD, PARTS, LOCAL, *EXPLANATION, IMPORTANCE, "rows.csv", "plots"}


# ---- the files of parts ----------------------------------------------------------------------------------------------


def part_name(number: int) -> str:
    """Return the name that a part's files have, without an ending: ``part-00012``."""
    return f"part-{number:05d}"


@contextmanager
def written_lines(path: Path | None, facts: Mapping[str, Any]) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that adds lines to a Parquet file with the facts. No lines, or no path, make no file."""
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []

        def write(lines: pa.Table) -> None:
            if path is None:
                return
            if not writers:
                temporary = stack.enter_context(atomic_path(path))
                schema = lines.schema.with_metadata({b"permgrad": json.dumps(facts).encode()})
                writers.append(stack.enter_context(pq.ParquetWriter(temporary, schema, compression="zstd")))
            writers[0].write_table(lines)

        yield write


def lines_in(path: Path) -> tuple[int, dict[str, Any]] | None:
    """Return how many lines a Parquet file has, and the facts in its footer, or None if it is incomplete."""
    try:
        # Opened here: of a path, Arrow asks whether it is an address too, and refuses what is no UTF-8 in it.
        with path.open("rb") as stream:
            footer = pq.read_metadata(stream)
        return footer.num_rows, parse_json((footer.metadata or {}).get(b"permgrad", b"{}"))
    except (OSError, ValueError, pa.ArrowException, *DAMAGE):
        return None


# ---- who works in it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamedWork:
    """What a folder is of: its ``kind``, ``"explanation"`` or ``"prediction"``, and facts with their hash."""

    folder: Path
    kind: str
    key: str
    facts: Mapping[str, Any]

    @contextmanager
    def hold(self, *, overwrite: bool) -> Iterator[dict[str, Any] | None]:
        """Lock the folder against other processes. Yield the record of the same work, or None if it begins here.

        Work that began here and is refused half-way leaves nothing. In all other cases finished parts stay.
        """
        # Before anything is made: a folder that is refused is not even locked.
        self.find(overwrite=overwrite)
        made = [place for place in (self.folder, *self.folder.parents) if not place.exists()]
        with writable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with hold_folder(self.folder):
                sweep(self.folder)
                # Looked at again: another process may have begun in between.
                record = self.find(overwrite=overwrite)
                if record is None:
                    with writable(self.folder):
                        self.empty()
                        self.write_record()
                try:
                    yield record
                except MissingFileError:
                    raise
                except InputError:
                    if record is None:
                        self.empty()
                    raise
        finally:
            with suppress(OSError):
                for place in made:
                    place.rmdir()

    def find(self, *, overwrite: bool) -> dict[str, Any] | None:
        """Return the record of the same work, or None. ``InputError``: a file, other files or other work exist."""
        folder, kind = self.folder, self.kind
        if os.path.lexists(folder) and not folder.is_dir():
            raise InputError(
                f"The output must be a folder, and {folder} is {what_lies_at(folder)}",
                hint="Name a folder with --out (out=)",
                code="PG050",
            )
        record = read_record(folder)
        if record is None or record.get("kind") != kind:
            # Without locks, leftovers of a process that stopped, and a file manager's files.
            names = {entry.name for entry in folder.iterdir() if entry.name[0] != "."} if folder.is_dir() else set()
            replaced = _EXPLAINED if overwrite and "explanation.json" in names and kind == "explanation" else set()
            if strange := sorted(names - replaced):
                raise InputError(
                    f"{folder} holds other files ({', '.join(strange[:3])})",
                    hint=f"Name a new or empty folder, or that of the same {kind}, with --out (out=)",
                    code="PG050",
                )
            return None
        if overwrite:
            return None
        if record.get("key") == self.key:
            return record
        raise InputError(
            f"{folder} holds another {kind}, which differs in {difference(record.get('facts', {}), self.facts)}",
            hint="Replace it with --overwrite (overwrite=True), or name another folder with --out (out=)",
            code="PG051",
        )

    def write_record(self, **further: Any) -> None:
        """Write the record of the folder's work."""
        record = {"schema_version": SCHEMA_VERSION, "kind": self.kind, "key": self.key}
        write_json_atomic(self.folder / RECORD, {**record, **further, "facts": self.facts})

    def empty(self) -> None:
        """Remove the files of earlier work and nothing else."""
        predictions = {path.name for path in self.folder.glob("part-*.parquet")}
        for name in _EXPLAINED if self.kind == "explanation" else {RECORD, *predictions}:
            place = self.folder / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``_stream.json``, or None if it cannot be read."""
    try:
        record = parse_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    holds = {"key": str, "facts": dict, "finished": bool, "files": list}
    whole = isinstance(record, dict) and all(isinstance(record.get(name, kind()), kind) for name, kind in holds.items())
    return record if whole else None


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in words which facts differ."""
    words = {
        "permgrad": "the version of permgrad",
        "table": "the table's files, which have changed since",
        "model": "the model",
        "y": "the target",
    }
    differing = [
        words.get(name, name) for name in {**new, **old} if (name in new, old.get(name)) != (True, new.get(name))
    ]
    return ", ".join(differing[:4]) or "the version that wrote it"


def refuse_inside(folder: Path, table: str | os.PathLike[str]) -> None:
    """Refuse to write into the folder of the table: the files would be read as its rows."""
    root = Path(table)
    if root.is_dir() and folder.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"The output folder {folder} lies inside the table {root}, and would become part of it",
            hint="Name a folder outside it with --out (out=)",
            code="PG006",
        )


def writable(folder: Path) -> AbstractContextManager[None]:
    """Turn what the disk refuses into an ``EnvironmentProblem`` that names the folder."""
    return writing(folder, "name another folder with --out (out=)")
