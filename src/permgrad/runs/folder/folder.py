"""Work folders of commands, above all of a run: what is finished, and with which configuration.

Files are written under a temporary name and renamed. An interrupted run resumes after its last finished stage. The
operating system ensures that only one process works in a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, PermgradError, by_count, differences, listed
from permgrad.base.files import file_hash, plain, sweep, what_lies_at, write_json_atomic, writing
from permgrad.base.locks import LOCK, hold_folder
from permgrad.base.stored import is_intact, is_whole_npz, parse_json

SCHEMA_VERSION = 1
RECORD = "run.json"
CHECKPOINT = ".checkpoint"
#: Cached explanations, see ``cache``. They stay when a run is explained again, and are removed with their model.
CACHE = ".explanations"

#: Stages in their order, each with the names that it writes into the folder.
STAGES: dict[str, tuple[str, ...]] = {
    "data": ("data.json", "columns.json", "split.npz"),
    "layout": ("layout.json", "layout.svg"),
    "model": (
        "model",
        "metrics.json",
        "segments.json",
        "history.csv",
        "predictions.csv",
        "baseline_predictions.npz",
        CHECKPOINT,
        CACHE,
    ),
    "explanation": ("explanations", "importance.csv", "integrated_gradients.csv", "branches.json"),
    "report": ("report.html", "report.md"),
}
_ORDER = list(STAGES)

#: What a run writes. The record comes first.
NAMES = (RECORD, *(name for names in STAGES.values() for name in names))

#: Other words for a stage.
STAGE_ALIASES = {"explain": "explanation"}
#: The names of the stages for users.
STAGE_WORDS = tuple({stage: word for word, stage in STAGE_ALIASES.items()}.get(stage, stage) for stage in STAGES)


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, independent of the order of its keys."""
    text = json.dumps(plain(dict(configuration)), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def folder_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the names and contents of all files of a table that is a folder."""
    from permgrad.data.parts.partitions import open_partitioned

    table = open_partitioned(path)
    table.check_memory()
    return configuration_hash({file.name: file_hash(Path(table.root, file.name)) for file in table.files})


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


# ---- a folder of any command -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class FolderKind:
    """A kind of folder, of the command ``owner``. It is recognised by the record, the first of its ``names``.

    ``same`` names what must be equal to resume, stored under ``key`` in the record, which also ``holds`` further
    entries. ``leftovers`` are prefixes of files that an interrupted process leaves before its first record. ``empty``
    is how an empty list is shown.
    """

    owner: str
    names: tuple[str, ...]
    same: str = "settings"
    key: str = "configuration"
    holds: Mapping[str, type] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    empty: Any = None

    def read(self, folder: str | os.PathLike[str]) -> dict[str, Any] | None:
        """Return the content of a folder's record, or None if none can be read. Refuse a newer format."""
        path = Path(folder) / self.names[0]
        try:
            record = parse_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            return None
        if not isinstance(record, dict) or not isinstance(record.get("schema_version", 0), int):
            return None
        if record.get("schema_version", 0) > SCHEMA_VERSION:
            raise InputError(
                f"{path} has format {record['schema_version']}, and this permgrad reads up to {SCHEMA_VERSION}",
                hint="Update permgrad, or choose another folder with --out.",
                code="PG053",
            )
        holds = {f"{self.key}_hash": str, self.key: dict, "started": str, **self.holds}
        return record if all(isinstance(record.get(name), kind) for name, kind in holds.items()) else None

    def new_record(self, configuration: Mapping[str, Any], command: str, **beside: Any) -> dict[str, Any]:
        """Return a new record, of a configuration and of further entries ``beside`` that must stay equal."""
        return {
            "schema_version": SCHEMA_VERSION,
            f"{self.key}_hash": configuration_hash(configuration),
            self.key: plain(dict(configuration)),
            "command": command,
            "started": now(),
            **beside,
        }

    def check_free(self, folder: Path, configuration: Mapping[str, Any], **beside: Any) -> None:
        """Refuse a folder of another configuration or with foreign files. Nothing is written."""
        record = self._usable(folder)
        if record is None:
            return
        there = {name: record.get(name) for name in beside}
        if record[f"{self.key}_hash"] != configuration_hash(configuration) or there != beside:
            sides = {**record[self.key], **there}, {**plain(dict(configuration)), **beside}
            old, new = ({name: self.empty if value == [] else value for name, value in side.items()} for side in sides)
            holds = "another one" if self.same == self.owner else f"a {self.owner} of another {self.same}"
            raise InputError(
                f"{folder} holds {holds}, which differs in {differences(old, new)}",
                hint="Replace it with --overwrite, or choose another folder with --out.",
                code="PG051",
            )

    def _usable(self, folder: Path) -> dict[str, Any] | None:
        """Return the record of a folder, or None if it is new. Refuse a file, and a folder with foreign files."""
        if not os.path.lexists(folder):
            return None
        if not folder.is_dir():
            raise InputError(
                f"{folder} is {what_lies_at(folder)}, not a folder", hint="Choose another with --out.", code="PG050"
            )
        record = self.read(folder)
        if record is not None:
            return record
        self.refuse_damaged(folder)
        ours = (LOCK, f".{self.names[0]}.", *self.leftovers)
        foreign = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(ours))
        if foreign:
            beside = "" if set(foreign) & set(self.names) else ", or add to it with --overwrite"
            raise InputError(
                f"{folder} holds other files ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''})",
                hint=f"Choose another folder with --out{beside}.",
                code="PG050",
            )
        return None

    def refuse_damaged(
        self, folder: Path, fix: str = "Start again with --overwrite, or choose another folder with --out."
    ) -> None:
        """Refuse a folder whose record is damaged. ``fix`` says what to do."""
        if self._is_damaged(folder):
            raise InputError(f"{folder / self.names[0]} is damaged", hint=fix, code="PG052")

    def refuse_taken(self, folder: Path) -> None:
        """Refuse foreign files with names that would be written. A damaged record is ours."""
        taken = [] if self._is_damaged(folder) else [name for name in self.names if os.path.lexists(folder / name)]
        if taken:
            raise InputError(
                f"{folder} holds no {self.owner}, but other files with its names ({', '.join(taken[:5])}"
                f"{', ...' if len(taken) > 5 else ''})",
                hint=f"Choose another folder with --out, or move {'them' if len(taken) > 1 else 'it'} away.",
                code="PG050",
            )

    def _is_damaged(self, folder: Path) -> bool:
        """Whether there is a record that is not a JSON object: ours, but damaged."""
        try:
            return not isinstance(parse_json((folder / self.names[0]).read_bytes()), dict)
        except ValueError:
            return True
        except OSError:
            return False

    def clear(self, folder: Path) -> None:
        """Remove what the command writes there, and nothing else. The record is removed first."""
        _remove(folder / name for name in self.names)


@contextmanager
def open_configured(
    kind: FolderKind, folder: Path, configuration: Mapping[str, Any], *, command: str, overwrite: bool
) -> Iterator[dict[str, Any]]:
    """Lock a folder for work, new or resumed, and yield its record, in which nothing is finished."""
    if not overwrite:
        kind.check_free(folder, configuration)
    with made_folder(folder), hold_folder(folder):
        if not overwrite:
            kind.check_free(folder, configuration)  # again, now that no other process can write
        sweep(folder)
        with writable_folder(folder):
            record = kind.read(folder)
            if overwrite and record is None:
                kind.refuse_taken(folder)
            if overwrite:
                kind.clear(folder)
            started = {} if overwrite or record is None else {"started": record["started"]}
            record = kind.new_record(configuration, command) | started | {"finished": None}
            write_json_atomic(folder / kind.names[0], record)
            yield record


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder for the body. Remove it again if it stays empty, so that refused work leaves no trace."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with writable_folder(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for place in made:
                place.rmdir()


def writable_folder(folder: Path) -> AbstractContextManager[None]:
    """Turn an error of the disk into an ``EnvironmentProblem`` that names the folder."""
    return writing(folder, "choose another folder with --out")


#: Errors that damaged content can cause while it is used.
_DAMAGE = (KeyError, TypeError, IndexError, AttributeError, ValueError, ArithmeticError, RuntimeError, AssertionError)


@contextmanager
def believed(folder: Path) -> Iterator[None]:
    """Let the body use files of a run without checking them. Errors are reported with the folder.

    A page is made of a dozen files. To check all their entries first would be to make the page.
    """
    try:
        yield
    except PermgradError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing", hint="Run again with --from data.", code="PG052") from error
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise InputError(
            f"A file in {folder} is missing or damaged ({type(error).__name__}: {reason})",
            hint="Run again with --from data.",
            code="PG052",
        ) from error


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


# ---- the folder of a run ---------------------------------------------------------------------------------------------
RUN = FolderKind("run", NAMES, same="configuration", holds={"finished_stages": list, "stages": dict, "facts": dict})
read_record, check_free = RUN.read, RUN.check_free


@dataclass
class RunFolder:
    """A run's folder that this process may write to, with the content of ``run.json``. Made by :func:`open_run`.

    ``lost``: files of a finished stage that were missing or damaged when it was opened. The stage is repeated.
    """

    path: Path
    record: dict[str, Any]
    lost: Lost | None = None

    @property
    def finished_stages(self) -> list[str]:
        """Names of the finished stages, in order."""
        return list(self.record["finished_stages"])

    @property
    def checkpoint(self) -> Path:
        """Folder for the state of an unfinished training. It is removed when the model stage is finished."""
        return self.path / CHECKPOINT

    @contextmanager
    def stage(self, name: str, earlier: float = 0.0) -> Iterator[None]:
        """Run the body as a stage. If it succeeds, note this in ``run.json``, with its time and ``earlier`` seconds."""
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started + earlier
        if name == "model":
            shutil.rmtree(self.checkpoint, ignore_errors=True)
        files = written_files(self.path, name)
        self.record["stages"][name] = {"seconds": round(spent, 3), "finished_at": now(), "files": files}
        self.record["finished_stages"].append(name)
        write_json_atomic(self.path / RECORD, self.record)

    def forget_from(self, stage: str | None = None) -> None:
        """Mark a stage and all later ones as unfinished, then remove their files and leftovers.

        None: nothing is marked, and an interrupted training keeps its checkpoint.
        """
        done = _ORDER if stage is None else _ORDER[: _ORDER.index(stage)]
        done = [name for name in self.finished_stages if name in done]
        self.record["stages"] = {name: facts for name, facts in self.record["stages"].items() if name in done}
        self.record["finished_stages"] = done
        # The record is written first: after an interruption here, the folder holds an unfinished run.
        write_json_atomic(self.path / RECORD, self.record)
        names = [name for other in _ORDER if other not in done for name in STAGES[other]]
        _remove(self.path / name for name in names if stage is not None or name != CHECKPOINT)
        sweep(self.path, *NAMES)
        for name in [name for name in NAMES if (self.path / name).is_dir()]:
            sweep(self.path / name)


def written_files(folder: Path, stage: str) -> list[str]:
    """Return the existing files of a stage, relative to the folder, at any depth, without hidden ones."""
    names: list[str] = []
    for place in [folder / name for name in STAGES[stage] if not name.startswith(".")]:
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        names += [file.relative_to(folder).as_posix() for file in files if file.is_file()]
    return names


def _recorded_files(record: Mapping[str, Any], stage: str) -> list[str] | None:
    """Return the files that a stage has written according to a record, or None if the record has no list."""
    facts = record["stages"].get(stage)
    files = facts.get("files") if isinstance(facts, dict) else None
    return [str(name) for name in files] if isinstance(files, list) else None


# ---- complete files --------------------------------------------------------------------------------------------------
class Lost(NamedTuple):
    """Files of a finished stage, relative to the run's folder, that are ``"missing"`` or ``"damaged"``."""

    stage: str
    files: list[str]
    fact: str

    def words(self) -> str:
        """Return which files they are, and what is wrong with them."""
        return f"{listed(self.files, 3)} of stage {self.stage!r} {by_count(len(self.files), 'is', 'are')} {self.fact}"

    def note(self) -> str:
        """Return a note on the files and the consequence."""
        what = by_count(len(self.files), "it", "them")
        return f"note: {self.words()}. The stage that writes {what} is repeated, and all later ones."


def lost_files(folder: Path, record: Mapping[str, Any]) -> Lost | None:
    """Return the files of the first finished stage that are missing or damaged, or None.

    Damage is found by the checksums of some files, without torch.
    """
    for stage in STAGES:
        if stage not in record["finished_stages"]:
            continue
        names = _recorded_files(record, stage)
        if names is None:
            return Lost(stage, [RECORD], "damaged")
        # Unlike Path.exists this is False for a name that no file can have, and not an error.
        gone = [name for name in names if not os.path.exists(folder / name)]  # noqa: PTH110
        if gone:
            return Lost(stage, gone, "missing")
        damaged: set[str] = set()
        for path in [folder / name for name in names if (folder / name).is_file()]:
            if path.name in ("model.json", "explanation.json"):
                damaged |= {(path.parent / beside).relative_to(folder).as_posix() for beside in _damaged_beside(path)}
            elif path.suffix == ".npz" and not is_whole_npz(path):
                damaged.add(path.relative_to(folder).as_posix())
        if damaged:
            return Lost(stage, sorted(damaged), "damaged")
    return None


def is_damaged_model(folder: Path) -> bool:
    """Whether a model's folder holds damaged files, or lacks some."""
    return not (folder / "model.json").is_file() or bool(_damaged_beside(folder / "model.json"))


def _damaged_beside(path: Path) -> list[str]:
    """Return the damaged ones among a sealed description and the files whose checksums it holds."""
    try:
        content = parse_json(path.read_bytes())
    except ValueError:
        return [path.name]
    if not isinstance(content, dict) or not is_intact(content):
        return [path.name]
    sums = content.get("checksums")
    if not isinstance(sums, dict):
        return []
    beside = path.parent
    return [name for name in sums if not (beside / name).is_file() or file_hash(beside / name) != sums[name]]


def whole_stages(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the finished stages with complete files, up to the first that has lost some."""
    lost = lost_files(folder, record)
    done = _ORDER if lost is None else _ORDER[: _ORDER.index(lost.stage)]
    return [stage for stage in record["finished_stages"] if stage in done]


def find_finished(
    path: str | os.PathLike[str], configuration: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the record of a finished, complete run (of a configuration), or None. Writes and locks nothing."""
    record = read_record(path)
    if record is None or (configuration and record["configuration_hash"] != configuration_hash(configuration)):
        return None
    return record if whole_stages(Path(path), record) == _ORDER else None


# ---- opening it ------------------------------------------------------------------------------------------------------
@contextmanager
def open_run(
    path: str | os.PathLike[str],
    configuration: Mapping[str, Any],
    *,
    command: str = "",
    overwrite: bool = False,
    from_stage: str | None = None,
) -> Iterator[RunFolder]:
    """Lock a folder for a run: a new one, or an unfinished one of the same configuration.

    ``overwrite`` starts again in a folder with another run or other files, and replaces only what a run writes.
    ``from_stage`` repeats this stage and all later ones. All earlier ones must be finished.
    """
    folder = Path(path)
    if from_stage is not None:
        check_choice("from", from_stage, STAGES)
    if not overwrite:
        check_free(folder, configuration)
    with made_folder(folder), hold_folder(folder):
        if not overwrite:
            check_free(folder, configuration)  # again, now that no other process can write
        record = read_record(folder)
        if record is None:
            RUN.refuse_taken(folder)
        same = record is not None and record["configuration_hash"] == configuration_hash(configuration)
        keep = same and not (overwrite and from_stage is None)
        new = RUN.new_record(configuration, command) | {"finished_stages": [], "stages": {}, "facts": {}}
        run = RunFolder(folder, record if keep and record is not None else new)
        if from_stage is not None:
            _check_start(run, from_stage)
        if record is not None and not (keep and from_stage is None):
            first = from_stage if keep and from_stage is not None else "data"
            _refuse_added(folder, record, _ORDER[_ORDER.index(first) :])
        with writable_folder(folder):
            if from_stage is None and keep:
                run.lost = lost_files(folder, run.record)
                run.forget_from(None if run.lost is None else run.lost.stage)
            else:
                run.forget_from(from_stage or "data")
        yield run


def _check_start(run: RunFolder, from_stage: str) -> None:
    """Refuse to start from a stage if earlier ones are not finished."""
    usable = whole_stages(run.path, run.record)
    for stage in _ORDER[: _ORDER.index(from_stage)]:
        if stage not in usable:
            raise InputError(
                f"Cannot start from {from_stage!r}: stage {stage!r} is not finished in {run.path}",
                hint="Leave --from out.",
                code="PG055",
            )


def _refuse_added(folder: Path, record: Mapping[str, Any], stages: Sequence[str]) -> None:
    """Refuse to remove files that were added to a folder of a finished stage, such as notes in the model folder."""
    added: list[str] = []
    for stage in [name for name in stages if name in record["finished_stages"]]:
        recorded = _recorded_files(record, stage)
        # Hidden files are leftovers of interrupted processes.
        there = [] if recorded is None else written_files(folder, stage)
        added += [name for name in there if name not in (recorded or ()) and "/." not in name]
    if added:
        files = f"{', '.join(added[:5])}{', ...' if len(added) > 5 else ''}"
        raise InputError(
            f"{folder} holds {files} in folders that would be replaced",
            hint=f"Move {'them' if len(added) > 1 else 'it'} away, or choose another folder with --out.",
            code="PG050",
        )


def refuse_input(target: Path, inputs: Mapping[str, Path | None], *, names: Iterable[str] | None = None) -> None:
    """Refuse an output that is an input, or that would replace one, also through links.

    ``names`` are written into the folder ``target``. None: the target itself is replaced.
    """
    written = [target] if names is None else [target / name for name in names]
    for role, path in inputs.items():
        if path is None or not path.exists():
            continue
        if any(_lies_in(path, place) for place in written):
            raise InputError(
                f"{target} is or contains the {role} {path}, which the command reads",
                hint="Choose another place with --out.",
                code="PG050",
            )
        if path.is_dir() and _lies_in(target, path) and not _lies_in(path, target):
            raise InputError(
                f"{target} is inside the {role} {path}, which the command reads",
                hint="Choose a place outside it with --out.",
                code="PG050",
            )


def refuse_run_file(target: Path, folder: Path) -> None:
    """Refuse an output that is one of the files of a run, given by its folder or that of its model."""
    run = folder if (folder / "model").is_dir() else folder.parent
    places = [folder] if run == folder.parent else []
    if read_record(run) is not None:
        places += [run / name for name in NAMES]
    if any(_lies_in(target, place) or _lies_in(run, target) for place in places):
        raise InputError(
            f"{target} belongs to the run in {run}, which the command reads",
            hint="Choose another place with --out.",
            code="PG050",
        )


def _lies_in(path: Path, place: Path) -> bool:
    """Whether a path is a place or inside it, with links resolved."""
    try:
        if path.exists() and place.exists() and path.samefile(place):
            return True
        return path.resolve().is_relative_to(place.resolve())
    except (OSError, RuntimeError):
        return False
