"""Folders of work that resumes: a record says which work a folder holds, and one
process at a time works there.

Files are written under a temporary name and renamed. The operating system releases the
lock of a process that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from permgrad.base import files
from permgrad.base.errors import InputError, differences, error_in_words, turned
from permgrad.base.locks import LOCK, hold_folder
from permgrad.base.stored import read_json

SCHEMA_VERSION = 1


def json_hash(content: Any) -> str:
    """Return the SHA-256 of what JSON can hold, independent of the order of keys."""
    canonical_text = json.dumps(
        content, sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(canonical_text.encode("utf-8", "surrogatepass")).hexdigest()


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, independent of the order of its keys."""
    return json_hash(files.plain(dict(configuration)))


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder, of the command ``owner``.

    It is recognised by the record, the first of its ``names``.

    ``names`` are files, folders, and patterns with a star. ``same`` names what must be
    equal to resume, stored under ``key`` in the record, which also ``holds`` further
    entries. ``leftovers`` are prefixes of files that an interrupted process leaves
    before its first record. ``empty`` is how an empty list is shown.
    """

    owner: str
    names: tuple[str, ...]
    same: str = "settings"
    key: str = "configuration"
    holds: Mapping[str, type] = field(default_factory=lambda: {"started": str})
    leftovers: tuple[str, ...] = ()
    empty: Any = None

    # ---- the record ------------------------------------------------------------------
    def read(self, folder: str | os.PathLike[str]) -> dict[str, Any] | None:
        """Return the content of a folder's record, or None if none can be read.

        Refuse another format.
        """
        record_path = Path(folder) / self.names[0]
        try:
            record = read_json(record_path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            return None
        if isinstance(record, dict):
            version = record.get("schema_version")
        else:
            version = None
        if not isinstance(version, int):
            return None
        if version != SCHEMA_VERSION:
            problem = (
                f"{record_path} has format {version}, and this permgrad reads "
                f"{SCHEMA_VERSION}"
            )
            if version > SCHEMA_VERSION:
                suggestion = "Update permgrad"
            else:
                suggestion = "Run again"
            raise InputError(
                problem,
                hint=f"{suggestion}, or choose another folder with --out.",
                code="PG053",
            )
        holds = {self.key: dict, **self.holds}
        if all(
            isinstance(record.get(entry_name), entry_type)
            for entry_name, entry_type in holds.items()
        ):
            return record
        return None

    def new_record(
        self, configuration: Mapping[str, Any], command: str, **further_entries: Any
    ) -> dict[str, Any]:
        """Return a new record, of a configuration and of ``further_entries``
        that must stay equal.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            f"{self.key}_hash": configuration_hash(configuration),
            self.key: files.plain(dict(configuration)),
            "command": command,
            "started": now(),
            **further_entries,
        }

    def is_of(
        self, record: Mapping[str, Any] | None, configuration: Mapping[str, Any]
    ) -> bool:
        """Whether a record is of this configuration."""
        return record is not None and bool(
            record[self.key] == files.plain(dict(configuration))
        )

    def is_whole(self, folder: Path, record: Mapping[str, Any]) -> bool:
        """Whether the work of a record is finished, and all its files are as they were
        then.
        """
        return bool(record.get("finished")) and not changed_files(folder, record)

    def finished(
        self, folder: Path, configuration: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return the record of finished work (of a configuration), or None.

        Writes and locks nothing.
        """
        record = self.read(folder)
        if record is None or (
            configuration is not None and not self.is_of(record, configuration)
        ):
            return None
        if self.is_whole(folder, record):
            return record
        return None

    def finish(
        self,
        folder: Path,
        record: dict[str, Any],
        finished: Any,
        names: Iterable[str] = (),
    ) -> None:
        """Write the record of finished work, with the checksums of all its files, or of
        those of some names.
        """
        record |= {
            "finished": finished,
            "sums": sums_of(folder, names or self.names[1:]),
        }
        files.write_json_atomic(folder / self.names[0], record)

    # ---- who works there -------------------------------------------------------------
    def find(
        self,
        folder: Path,
        configuration: Mapping[str, Any],
        *,
        overwrite: bool = False,
        **further_entries: Any,
    ) -> dict[str, Any] | None:
        """Return the record of the same work, or None if it begins here.

        Refuse other work, and files of others.

        Nothing is written. ``overwrite`` replaces other work. ``further_entries`` are
        entries that must be equal.
        """
        if os.path.lexists(folder) and not folder.is_dir():
            raise InputError(
                f"{folder} is {files.what_lies_at(folder)}, not a folder",
                "Choose another with --out.",
                "PG050",
            )
        record = self.read(folder)
        if record is None and folder.is_dir():
            self._refuse_foreign(folder, overwrite=overwrite)
        if record is None or overwrite:
            return None
        recorded_entries = {
            **record[self.key],
            **{entry_name: record.get(entry_name) for entry_name in further_entries},
        }
        current_entries = {**files.plain(dict(configuration)), **further_entries}
        if recorded_entries != current_entries:
            raise self._of_other_work(folder, recorded_entries, current_entries)
        return record

    def _of_other_work(
        self, folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> InputError:
        old, new = (
            {
                entry_name: self.empty if value == [] else value
                for entry_name, value in entries.items()
            }
            for entries in (old, new)
        )
        if self.same == self.owner:
            holds = "another one"
        else:
            holds = f"a {self.owner} of another {self.same}"
        hint = "Replace it with --overwrite, or choose another folder with --out."
        return InputError(
            f"{folder} holds {holds}, which differs in {differences(old, new)}",
            hint=hint,
            code="PG051",
        )

    def _refuse_foreign(self, folder: Path, *, overwrite: bool) -> None:
        """Refuse a folder without a record that holds other files, or with
        ``overwrite`` those with our names.
        """
        if overwrite:
            self.refuse_taken(folder)
            return
        if (folder / self.names[0]).is_file():
            self.refuse_damaged(folder)
        own_prefixes = (LOCK, f".{self.names[0]}.", *self.leftovers)
        foreign = sorted(
            entry.name
            for entry in folder.iterdir()
            if not entry.name.startswith(own_prefixes)
        )
        if foreign:
            if set(foreign) & set(self.names):
                overwrite_hint = ""
            else:
                overwrite_hint = ", or add to it with --overwrite"
            problem = (
                f"{folder} holds other files "
                f"({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''})"
            )
            raise InputError(
                problem,
                hint=f"Choose another folder with --out{overwrite_hint}.",
                code="PG050",
            )

    def refuse_damaged(
        self,
        folder: Path,
        fix: str = "Start again with --overwrite, or choose another folder with --out.",
    ) -> None:
        """Refuse a folder whose record is damaged. ``fix`` says what to do."""
        if self.is_damaged(folder):
            raise InputError(
                f"{folder / self.names[0]} is damaged", hint=fix, code="PG052"
            )

    def refuse_taken(self, folder: Path) -> None:
        """Refuse foreign files with names that would be written.

        A damaged record is ours.
        """
        taken_names = (
            []
            if self.is_damaged(folder)
            else [
                file_name
                for file_name in self.names
                if os.path.lexists(folder / file_name)
            ]
        )
        if taken_names:
            raise InputError(
                f"{folder} holds no {self.owner}, but other files with its names "
                f"({', '.join(taken_names[:5])}"
                f"{', ...' if len(taken_names) > 5 else ''})",
                hint="Choose another folder with --out, or move "
                f"{'them' if len(taken_names) > 1 else 'it'} away.",
                code="PG050",
            )

    def is_damaged(self, folder: Path) -> bool:
        """Whether there is a record that is not a JSON object: ours, but damaged."""
        try:
            return not isinstance(read_json(folder / self.names[0]), dict)
        except ValueError:
            return True
        except OSError:
            return False

    def clear(self, folder: Path) -> None:
        """Remove what the command writes there, and nothing else.

        The record is removed first.
        """
        files.remove(places_of(folder, self.names))

    @contextmanager
    def hold(
        self, folder: Path, configuration: Mapping[str, Any], *, overwrite: bool
    ) -> Iterator[dict[str, Any] | None]:
        """Lock a folder for the body.

        Yield the record of the same work, or None if it begins here.
        """
        self.find(folder, configuration, overwrite=overwrite)
        with files.made_folder(folder), hold_folder(folder):
            # Again, now that no other process can write.
            yield self.find(folder, configuration, overwrite=overwrite)

    @contextmanager
    def open(
        self,
        folder: Path,
        configuration: Mapping[str, Any],
        *,
        command: str,
        overwrite: bool,
    ) -> Iterator[dict[str, Any]]:
        """Lock a folder for work, new or resumed, and yield its record, in which
        nothing is finished.
        """
        with self.hold(folder, configuration, overwrite=overwrite) as found_record:
            with files.writing(folder):
                files.sweep(folder)
                if overwrite:
                    self.clear(folder)
                files.remove(
                    folder / changed_name
                    for changed_name in changed_files(folder, found_record)
                )
                if found_record is None:
                    started = {}
                else:
                    started = {"started": found_record["started"]}
                record = (
                    self.new_record(configuration, command)
                    | started
                    | {"finished": None}
                )
                files.write_json_atomic(folder / self.names[0], record)
            yield record


# ---- files ---------------------------------------------------------------------------
def files_of(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the existing files of some names, relative to the folder, at any depth,
    without hidden ones.
    """
    found_files: list[str] = []
    for search_path in places_of(folder, names):
        # Unlike Path.rglob, this leaves out what another process removes at this
        # moment.
        inside = sorted(
            Path(directory, file_name)
            for directory, _, file_names in os.walk(search_path)
            for file_name in file_names
        ) or [search_path]
        for found_file in inside:
            if found_file.is_file():
                found_files.append(found_file.relative_to(folder).as_posix())
    return [
        relative_name
        for relative_name in found_files
        if "/." not in f"/{relative_name}"
    ]


def places_of(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the paths of some names in a folder, and those of patterns."""
    return [
        matching_path
        for name_pattern in names
        for matching_path in (
            folder.glob(name_pattern)
            if "*" in name_pattern
            else [folder / name_pattern]
        )
    ]


def sums_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the checksums of the files of some names, which are then on the disk."""
    file_names = files_of(folder, names)
    # The names of the files, too.
    files.to_disk(
        sorted(
            {
                file_or_folder.parent
                for file_name in file_names
                for file_or_folder in (folder / file_name, (folder / file_name).parent)
            }
        )
    )
    return {summed_name: sum_of(folder / summed_name) for summed_name in file_names}


def sum_of(file: Path) -> str:
    """Return the checksum of a file, or nothing of one that is missing."""
    if file.is_file():
        return files.file_hash(file)
    return ""


def changed_files(folder: Path, record: Mapping[str, Any] | None) -> list[str]:
    """Return the files that differ from the checksums in a record, or are missing.

    Unfinished work has none.
    """
    checksums = (record or {}).get("sums", {})
    return [
        file_name
        for file_name, recorded_sum in checksums.items()
        if sum_of(folder / file_name) != recorded_sum
    ]


#: Errors that damaged content can cause while it is used.
DAMAGE = (
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    ValueError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
)


def believed(folder: Path) -> AbstractContextManager[None]:
    """Let the body use files of a run without checking them.

    Errors are reported with the folder.

    A page is made of a dozen files. To check all their entries first would be to make
    the page.
    """

    def said(error: Exception) -> InputError:
        problem = f"A file in {folder} is missing or damaged ({error_in_words(error)})"
        if isinstance(error, FileNotFoundError):
            problem = f"{error.filename} is missing"
        return InputError(problem, hint="Run again with --from data.", code="PG052")

    return turned(said, FileNotFoundError, *DAMAGE)
