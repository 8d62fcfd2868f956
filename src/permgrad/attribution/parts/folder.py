"""The folder of streamed work, explanations or predictions: its record, its lock, and
the files of its parts.

``_stream.json`` records what is computed, by its facts and their hash. Every file is
complete, because it gets its name only after it is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path, sweep, write_json_atomic, writing
from permgrad.base.folders import SCHEMA_VERSION, FolderKind, json_hash, places_of
from permgrad.base.late import pq
from permgrad.base.stored import TIMES, parse_json
from permgrad.data.partitions import MissingFileError
from permgrad.data.read.parquet import DAMAGE

RECORD = "_stream.json"
PARTS = "parts"
LOCAL = "local"
IMPORTANCE = "importance.csv"
#: What the folder of an explanation holds, streamed or in memory.
EXPLANATION = ("values.npz", "explanation.json", TIMES)


# ---- the files of parts --------------------------------------------------------------
def part_name(number: int) -> str:
    """Return the name that a part's files have, without an ending: ``part-00012``."""
    return f"part-{number:05d}"


@contextmanager
def written_lines(
    path: Path | None, facts: Mapping[str, Any]
) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that adds lines to a Parquet file. Without lines there is no
    file.

    Args:
        path: Of the file. None: none is written.
        facts: That the file has beside its lines.
    """
    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []

        def write(lines: pa.Table) -> None:
            if path is None:
                return
            if not writers:
                temporary = stack.enter_context(atomic_path(path))
                schema = lines.schema.with_metadata(
                    {b"permgrad": json.dumps(facts).encode()}
                )
                writers.append(
                    stack.enter_context(
                        pq.ParquetWriter(temporary, schema, compression="zstd")
                    )
                )
            writers[0].write_table(lines)

        yield write


def lines_in(path: Path) -> tuple[int, dict[str, Any]] | None:
    """Return how many lines a Parquet file has, and the facts in its footer, or None if
    it is incomplete.
    """
    try:
        # Opened here: of a path, Arrow asks whether it is an address too, and refuses
        # what is no UTF-8 in it.
        with path.open("rb") as stream:
            footer = pq.read_metadata(stream)
        return footer.num_rows, parse_json(
            (footer.metadata or {}).get(b"permgrad", b"{}")
        )
    except (OSError, ValueError, pa.ArrowException, *DAMAGE):
        return None


# ---- who works in it -----------------------------------------------------------------
@dataclass(frozen=True)
class StreamKind(FolderKind):
    """A folder of parts, which holds nothing else, also if it is replaced.

    Its first record holds ``begun``.
    """

    begun: Mapping[str, Any] = field(default_factory=dict)

    def read(self, folder: str | os.PathLike[str]) -> dict[str, Any] | None:
        """Return the record of a folder of this kind, or None."""
        record = super().read(folder)
        if record is not None and record["kind"] == self.owner:
            return record
        return None

    def _refuse_foreign(self, folder: Path, *, overwrite: bool) -> None:
        if not overwrite:
            self.refuse_damaged(folder)
        # Without locks, leftovers of a process that stopped, and a file manager's
        # files.
        names = {entry.name for entry in folder.iterdir() if entry.name[0] != "."}
        if overwrite and (self.is_damaged(folder) or EXPLANATION[1] in names):
            names -= {file_path.name for file_path in places_of(folder, self.names)}
        if names:
            hint = (
                f"Name a new or empty folder, or that of the same {self.owner}, "
                "with --out (out=)"
            )
            raise InputError(
                f"{folder} holds other files ({', '.join(sorted(names)[:3])})",
                hint=hint,
                code="PG050",
            )

    def _of_other_work(
        self, folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> InputError:
        problem = (
            f"{folder} holds another {self.owner}, which differs in "
            f"{difference(old, new)}"
        )
        hint = (
            "Replace it with --overwrite, remove it, or name another folder with "
            "--out (out=)"
        )
        return InputError(problem, hint=hint, code="PG051")

    @contextmanager
    def work(
        self, folder: Path, facts: Mapping[str, Any], *, overwrite: bool
    ) -> Iterator[dict[str, Any] | None]:
        """Lock a folder for work of these facts.

        Yield the record of the same work, or None if it begins here.

        Work that began here and is refused half-way leaves nothing. In all other cases
        finished parts stay.
        """
        with self.hold(folder, facts, overwrite=overwrite) as record:
            sweep(folder)
            if record is None:
                with writable(folder):
                    self.clear(folder)
                self.write(folder, facts, **self.begun)
            try:
                yield record
            except InputError as error:
                if record is None and not isinstance(error, MissingFileError):
                    self.clear(folder)
                raise

    def write(self, folder: Path, facts: Mapping[str, Any], **further: Any) -> None:
        """Write the record of a folder's work."""
        record = {
            "schema_version": SCHEMA_VERSION,
            "kind": self.owner,
            "key": json_hash(facts),
        }
        with writable(folder):
            write_json_atomic(folder / RECORD, {**record, **further, "facts": facts})


_IDENTITY = {"kind": str, "key": str}
EXPLAINED = StreamKind(
    "explanation",
    (RECORD, PARTS, LOCAL, *EXPLANATION, IMPORTANCE, "rows.csv", "plots"),
    key="facts",
    holds={**_IDENTITY, "finished": bool, "files": list},
    begun={"finished": False, "files": []},
)
PREDICTED = StreamKind(
    "prediction", (RECORD, "part-*.parquet"), key="facts", holds=_IDENTITY
)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in words which facts differ."""
    words = {
        "permgrad": "the version of permgrad",
        "table": "the table's files, which have changed since",
        "model": "the model",
        "y": "the target",
    }
    differing = []
    for fact_key in {**new, **old}:
        if (fact_key in new, old.get(fact_key)) != (True, new.get(fact_key)):
            differing.append(words.get(fact_key, fact_key))
    return ", ".join(differing[:4]) or "the version that wrote it"


def refuse_inside(folder: Path, table: str | os.PathLike[str]) -> None:
    """Refuse to write into the folder of the table: the files would be read as its
    rows.
    """
    table_path = Path(table)
    if table_path.is_dir() and folder.resolve().is_relative_to(table_path.resolve()):
        problem = (
            f"The output folder {folder} lies inside the table {table_path}, and would "
            "become part of it"
        )
        raise InputError(
            problem, hint="Name a folder outside it with --out (out=)", code="PG006"
        )


def writable(folder: Path) -> AbstractContextManager[None]:
    """Turn what the disk refuses into an ``EnvironmentProblem`` that names the
    folder.
    """
    return writing(folder, "name another folder with --out (out=)")
