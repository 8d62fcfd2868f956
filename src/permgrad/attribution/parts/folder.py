"""The folder of one streamed explanation: finished parts, so that a killed process goes on where it was.

``_stream.json`` says what is computed (the plan's hash and facts); ``parts/part-00012.npz`` holds the sums of part 12
and ``local/part-00012.parquet`` its rows' explanations. Every file is written under another name and then renamed:
what has its name is whole. When all parts are there the explanation is written beside them, as ``Explanation.save``
does, and the sums are removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from permgrad.attribution.explanation import Explanation, file_frame
from permgrad.attribution.parts.merge import check_sums, merge
from permgrad.attribution.parts.part import PartResult, part_name
from permgrad.attribution.parts.plan import StreamPlan
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path, is_taken, sweep, what_lies_at, write_json_atomic, writing
from permgrad.base.locks import hold_folder
from permgrad.base.stored import parse_json, read_npz
from permgrad.data.parts.partitions import MissingFileError, Part
from permgrad.data.read.parquet_footer import DAMAGE

RECORD, PARTS, LOCAL, IMPORTANCE = "_stream.json", "parts", "local", "importance.csv"
SCHEMA_VERSION = 1
_EXPLANATION = ("values.npz", "explanation.json")
#: What this folder and that of an explanation in memory hold.
_OURS = {RECORD, PARTS, LOCAL, *_EXPLANATION, IMPORTANCE, "rows.csv", "plots"}


class StreamFolder:
    """Where one streamed explanation keeps what is done.

    Args:
        path: the folder; it is made if it does not exist.
        plan: what is computed.
        overwrite: whether another explanation that is there is removed.

    Raises:
        InputError: the folder holds another explanation, or other files.
        EnvironmentProblem: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], plan: StreamPlan, *, overwrite: bool = False) -> None:
        self.path = Path(path).absolute()
        self.plan = plan
        record = check_folder(self.path, plan.key, plan.facts(), overwrite=overwrite)
        self.finished = bool(record and record.get("finished")) and self._is_whole(record or {})
        self.begun = record is None
        if self.finished:
            # A process may have been killed between its last word and the removal of the sums.
            shutil.rmtree(self.path / PARTS, ignore_errors=True)
            return
        with writable(self.path):
            if record is None:
                empty(self.path, _OURS)
            self._write_record()
            for name in (PARTS, *([LOCAL] if plan.scope == "local" else [])):
                (self.path / name).mkdir(parents=True, exist_ok=True)

    @property
    def local(self) -> Path | None:
        """Where the rows' explanations go; None where the explanation is global."""
        return self.path / LOCAL if self.plan.scope == "local" else None

    def todo(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that are not finished."""
        return [part for part in parts if not self._is_finished(part)]

    def accept(self, result: PartResult) -> None:
        """Keep the result of one part; a second copy of it replaces the first by the same."""
        facts = {"plan": self.plan.key, **_facts(result)}
        text = np.array(json.dumps(facts, ensure_ascii=False))
        with writable(self.path), atomic_path(self._sums(result.number)) as temporary, temporary.open("wb") as stream:
            # Names of sums hold slashes, which are no more than letters inside the file.
            np.savez(stream, facts=text, **result.sums)  # type: ignore[arg-type]

    def results(self, parts: Sequence[Part]) -> Iterator[PartResult]:
        """Yield the finished parts in their order, one at a time in memory."""
        for part in parts:
            yield self._read(part)

    def merged(self, parts: Sequence[Part]) -> Explanation:
        """Return the explanation that the finished parts make.

        Raises:
            InputError: files of the folder were changed, so that the parts do not fit together.
        """
        try:
            return merge(self.plan, self.results(parts))
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError) as error:
            raise InputError(
                f"the sums of all parts must fit together, however: those in {self.path} do not, or are damaged "
                f"({type(error).__name__}: {error}); begin anew with --overwrite (overwrite=True)"
            ) from error

    def finish(self, explanation: Explanation) -> None:
        """Write the explanation beside the parts, and remove the sums that it was made from."""
        with writable(self.path):
            with atomic_path(self.path / IMPORTANCE) as temporary:
                write_csv(file_frame(explanation), temporary)
            made = self.path / PARTS / "explanation"
            if made.exists():
                shutil.rmtree(made)
            explanation.save(made)
            for name in _EXPLANATION:
                (made / name).replace(self.path / name)
            # A worker that died may have left some.
            sweep(self.path / LOCAL)
            self._write_record(files=sorted(file.name for file in (self.path / LOCAL).glob("part-*.parquet")))
            shutil.rmtree(self.path / PARTS, ignore_errors=True)
        self.finished = True

    def discard(self) -> None:
        """Remove all that is ours."""
        empty(self.path, _OURS)

    def explanation(self) -> Explanation:
        """Return the explanation of a finished folder."""
        return Explanation.load(self.path)

    # ---- files -------------------------------------------------------------------------------------------------------

    def _write_record(self, *, files: Sequence[str] | None = None) -> None:
        """Write what the folder is of; ``files``: the rows' files of a finished one."""
        record = {"schema_version": SCHEMA_VERSION, "kind": "explanation", "key": self.plan.key}
        finished = {"finished": files is not None, "files": list(files or ())}
        write_json_atomic(self.path / RECORD, {**record, **finished, "facts": self.plan.facts()})

    def _is_whole(self, record: Mapping[str, Any]) -> bool:
        """Whether a finished folder still has all its files; a person may have removed some, a disk damaged them."""
        there = all((self.path / name).is_file() for name in (*_EXPLANATION, IMPORTANCE))
        return there and all(_is_parquet(self.path / LOCAL / str(name)) for name in record.get("files", ()))

    def _sums(self, number: int) -> Path:
        return self.path / PARTS / f"{part_name(number)}.npz"

    def _is_finished(self, part: Part) -> bool:
        """Whether a part's files are there and whole; a disk may have damaged them, a person removed them."""
        try:
            result = self._read(part)
        except InputError:
            return False
        return result.file is None or self.local is None or _is_parquet(self.local / result.file)

    def _read(self, part: Part) -> PartResult:
        path = self._sums(part.number)
        try:
            sums = read_npz(path)
            facts = parse_json(str(sums.pop("facts")))
            same = facts.pop("plan") == self.plan.key
            result = PartResult(sums=sums, **{**facts, "warnings": tuple(facts["warnings"])})
            check_sums(self.plan, result, part)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise InputError(
                f"the sums of a finished part must be whole, however: {path} is missing or damaged ({error}); "
                "run the same command again to compute that part anew"
            ) from error
        if not same:
            raise InputError(f"sums must belong to this explanation, however: {path} does not; remove it")
        return result


def _facts(result: PartResult) -> dict[str, Any]:
    names = ("number", "rows", "header", "file", "warnings", "seconds")
    return {name: getattr(result, name) for name in names}


def _is_parquet(path: Path) -> bool:
    """Whether a file is there and whole, by its footer."""
    try:
        # Opened here: of a path, Arrow asks whether it is an address too, and refuses what is no UTF-8 in it.
        with path.open("rb") as stream:
            pq.read_metadata(stream)
    except (OSError, pa.ArrowException, *DAMAGE):
        return False
    return True


# ---- who works in it -------------------------------------------------------------------------------------------------


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder against other processes; what was made for it and stays empty is removed again.

    A folder of somebody else's is left to those who refuse it.

    Raises:
        InputError: another process is at work there.
    """
    if is_taken(folder) and not (folder.is_dir() and ((folder / RECORD).is_file() or not _others(folder))):
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold_folder(folder):
            sweep(folder)
            yield
    finally:
        with suppress(OSError):
            for place in made:
                place.rmdir()


def _others(folder: Path) -> set[str]:
    """Return what lies in a folder, but for locks, what a killed process left, and a file manager's files."""
    return {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} if folder.is_dir() else set()


@contextmanager
def began_here(begun: bool, discard: Callable[[], None]) -> Iterator[None]:
    """Leave nothing of work that was begun here and is refused half-way: mended tables begin anew.

    Where a file is gone for now, and after Ctrl-C or a full disk, what is finished stays, to be gone on with.

    Args:
        begun: whether the work was begun by this call.
        discard: removes what it has written.
    """
    try:
        yield
    except MissingFileError:
        raise
    except InputError:
        if begun:
            discard()
        raise


# ---- whose folder it is ----------------------------------------------------------------------------------------------


def refuse_inside(folder: Path, table: str | os.PathLike[str]) -> None:
    """Refuse to write into the folder that is the table: what is written there would be read as rows of it.

    Raises:
        InputError: the folder is the table's, or lies in it.
    """
    root = Path(table)
    if root.is_dir() and folder.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"what is written must not become part of the table, however: {folder} lies in {root}; name a folder "
            "outside it with --out (out=)"
        )


def check_folder(
    folder: Path, key: str, facts: Mapping[str, Any], *, overwrite: bool, kind: str = "explanation"
) -> dict[str, Any] | None:
    """Return the record of a folder that holds the same work; None where there is none and the folder may be used.

    Raises:
        InputError: a file, other files, or other work is there.
    """
    if is_taken(folder) and not folder.is_dir():
        raise InputError(
            f"what is streamed goes into a folder, however: {folder} is {what_lies_at(folder)}; name a folder with "
            "--out (out=)"
        )
    record = read_record(folder)
    if record is None or record.get("kind") != kind:
        names = _others(folder)
        replaced = (
            _OURS | {"rows.csv"} if overwrite and "explanation.json" in names and kind == "explanation" else set()
        )
        strange = sorted(names - replaced)
        if strange:
            raise InputError(
                f"the folder of a streamed {kind} must be new, empty or of the same {kind}, however: {folder} holds "
                f"other files ({', '.join(strange[:3])}); name another with --out (out=)"
            )
        return None
    if record.get("key") == key:
        return None if overwrite else record
    if overwrite:
        return None
    raise InputError(
        f"the folder of a streamed {kind} must be of the same {kind}, however: {folder} holds one that differs in "
        f"{_difference(record.get('facts', {}), facts)}; replace it with --overwrite (overwrite=True), or name another "
        "with --out (out=)"
    )


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what ``_stream.json`` says, or None where there is none that can be read."""
    try:
        record = parse_json((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    holds = {"key": str, "facts": dict, "finished": bool, "files": list}
    whole = isinstance(record, dict) and all(isinstance(record.get(name, kind()), kind) for name, kind in holds.items())
    return record if whole else None


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in words which facts differ."""
    words = {
        "permgrad": "the version of permgrad",
        "table": "the table's files, which have changed since",
        "model": "the model",
        "y": "the target",
    }
    differing = [name for name in new if old.get(name) != new[name]]
    differing += [name for name in old if name not in new]
    return ", ".join(words.get(name, name) for name in differing[:4]) or "the version that wrote it"


def empty(folder: Path, ours: Iterable[str]) -> None:
    """Remove what earlier work left under these names; nothing else is touched."""
    for name in ours:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def writable(folder: Path) -> AbstractContextManager[None]:
    """Turn what the disk refuses into an ``EnvironmentProblem`` that names the folder."""
    return writing("what is streamed must be written", folder, "name another folder with --out (out=)")
