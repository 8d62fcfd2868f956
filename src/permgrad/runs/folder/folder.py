"""The folder of one run: what is finished, under which configuration, and nothing half-written.

A reader meets each file whole or not at all, because files are written beside their place and renamed. A run that was
killed is taken up after its last finished stage; what an unfinished stage had left is removed first. Only one process
works in a folder at a time, which the operating system guards, so that a killed process leaves no lock behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, PermgradError, by_count, differences, listed
from permgrad.base.files import file_hash, is_taken, plain, sweep, what_lies_at, write_json_atomic, writing
from permgrad.base.locks import LOCK, hold_folder
from permgrad.base.stored import parse_json
from permgrad.runs.folder.damage import damaged_files

SCHEMA_VERSION = 1
RECORD = "run.json"
CHECKPOINT = ".checkpoint"
#: Explanations computed before, see ``cache``; they stay when a run is explained again, and go with their model.
CACHE = ".explanations"

#: Stages in their order, each with the names it writes into the folder.
STAGES: dict[str, tuple[str, ...]] = {
    "data": ("data.json", "split.npz"),
    "layout": ("layout.json", "layout.svg"),
    "model": ("model", "metrics.json", "history.csv", "predictions.csv", "baseline_predictions.npz", CHECKPOINT, CACHE),
    "explanation": ("explanations", "importance.csv", "integrated_gradients.csv", "branches.json"),
    "report": ("report.html",),
}

#: What a run writes; the record goes first.
NAMES = (RECORD, *(name for names in STAGES.values() for name in names))
#: What every run's stage has written, by permgrads that did not write the names of all files into the record.
_ALWAYS: dict[str, tuple[str, ...]] = {
    "data": ("data.json", "split.npz"),
    "layout": (),
    "model": ("model", "metrics.json", "history.csv", "predictions.csv"),
    "explanation": ("explanations", "importance.csv", "branches.json"),
    "report": ("report.html",),
}

#: Other words for a stage.
STAGE_ALIASES = {"explain": "explanation"}
#: What a user calls the stages.
STAGE_WORDS = tuple({stage: word for word, stage in STAGE_ALIASES.items()}.get(stage, stage) for stage in STAGES)


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, the same for every order of its keys.

    Examples:
        >>> configuration_hash({"a": 1, "b": None}) == configuration_hash({"b": None, "a": 1})
        True
    """
    text = json.dumps(plain(dict(configuration)), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def folder_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the names and contents of all files of a table that is a folder.

    Raises:
        InputError: The table is none, or is too large for the memory that is free.
    """
    from permgrad.data.parts.partitions import open_partitioned

    table = open_partitioned(path)
    table.check_memory()
    return configuration_hash({file.name: file_hash(Path(table.root, file.name)) for file in table.files})


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601 text."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the content of a folder's ``run.json``, or None if the folder holds no readable record of a run.

    Raises:
        InputError: The record was written by a newer permgrad.
    """
    holds = {"finished_stages": list, "stages": dict, "facts": dict}
    return read_record_file(Path(folder) / RECORD, "run", SCHEMA_VERSION, also=holds)


#: What the record of every folder holds that is known by a configuration.
_CONFIGURED: dict[str, type] = {"configuration_hash": str, "configuration": dict, "started": str}


def read_record_file(
    path: Path,
    owner: str,
    newest: int,
    *,
    holds: Mapping[str, type] = _CONFIGURED,
    also: Mapping[str, type] = MappingProxyType({}),
) -> dict[str, Any] | None:
    """Return the content of the file by which a command knows its folder, or None if there is no readable one.

    Args:
        path: The file.
        owner: What the folder is one of, such as ``"run"``.
        newest: The newest format that is understood.
        holds: Entries that every such file has, with their types.
        also: More of them.

    Raises:
        InputError: It was written by a newer permgrad.
    """
    try:
        record = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("schema_version", 0), int):
        return None
    if record.get("schema_version", 0) > newest:
        raise InputError(
            f"a {owner}'s folder must be of format {newest} or older, however: {os.fspath(path)} is of format "
            f"{record['schema_version']}; install a newer permgrad, or choose another folder with --out"
        )
    complete = all(isinstance(record.get(name), kind) for name, kind in {**holds, **also}.items())
    return record if complete else None


#: What content that is not as it was written leads to, while somebody works with it.
_DAMAGE = (KeyError, TypeError, IndexError, AttributeError, ValueError, ArithmeticError, RuntimeError, AssertionError)


@contextmanager
def believed(folder: Path) -> Iterator[None]:
    """Let the body work with files of a run as if they were whole; what goes wrong with them names the folder.

    A page is made of a dozen files, each with entries of its own: to check all of them would be to make the page.

    Raises:
        InputError: a file is missing, or something in it is not as permgrad wrote it.

    Examples:
        >>> with believed(Path("runs/one")):
        ...     {}["task"]
        Traceback (most recent call last):
        permgrad.InputError: a run's folder must be as permgrad wrote it, however: in runs/one a part is miss...
    """
    try:
        yield
    except PermgradError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"a run's folder must be whole, however: {error.filename} is missing; run again with --from data"
        ) from error
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise InputError(
            f"a run's folder must be as permgrad wrote it, however: in {folder} a part is missing or damaged "
            f"({type(error).__name__}: {reason}); run again with --from data"
        ) from error


class RunFolder:
    """A run's folder that this process may write to. Made by :func:`open_run`.

    Attributes:
        path: The folder.
        record: The content of ``run.json``.
        lost: Files of a finished stage that were gone or damaged when the folder was taken; it counts as unfinished.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record
        self.lost: Lost | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def finished_stages(self) -> list[str]:
        """Names of the stages that ended well, in order."""
        return list(self.record["finished_stages"])

    @property
    def finished(self) -> bool:
        """Whether every stage ended well."""
        return self.finished_stages == list(STAGES)

    @property
    def checkpoint(self) -> Path:
        """Folder for the state of a training under way; it goes when the model stage is finished."""
        return self.path / CHECKPOINT

    @contextmanager
    def stage(self, name: str, earlier: float = 0.0) -> Iterator[None]:
        """Run the body as stage ``name``; when it ends well, ``run.json`` says so, with the time it took.

        Args:
            name: Of the stage.
            earlier: Seconds that were spent on it before.
        """
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started + earlier
        if name == "model":
            shutil.rmtree(self.checkpoint, ignore_errors=True)
        files = written_files(self.path, name)
        self.record["stages"][name] = {"seconds": round(spent, 3), "finished_at": now(), "files": files}
        self.record["finished_stages"].append(name)
        self.write_record()

    def note(self, **facts: Any) -> None:
        """Keep facts for later stages and the report; they reach the disk when the stage under way ends."""
        self.record["facts"].update(plain(facts))

    def write_record(self) -> None:
        """Write ``run.json`` in one step."""
        write_json_atomic(self.path / RECORD, self.record)

    def forget_from(self, stage: str) -> None:
        """Declare ``stage`` and all after it unfinished, then remove what they wrote."""
        order = list(STAGES)
        before = order[: order.index(stage)]
        self.record["finished_stages"] = [name for name in self.finished_stages if name in before]
        self.record["stages"] = {name: facts for name, facts in self.record["stages"].items() if name in before}
        self.write_record()
        self._remove_leftovers(removed=[name for stage in order if stage not in before for name in STAGES[stage]])

    def remove_unfinished(self) -> None:
        """Remove what unfinished stages and killed processes left, but keep a training's checkpoint."""
        done = self.finished_stages
        names = [name for stage in STAGES if stage not in done for name in STAGES[stage] if name != CHECKPOINT]
        self._remove_leftovers(removed=names)

    def _remove_leftovers(self, removed: Sequence[str]) -> None:
        for name in removed:
            _remove(self.path / name)
        for name in NAMES:
            sweep(self.path, name)
            sweep(self.path / name)


def clear_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else; the record goes first."""
    for name in NAMES:
        _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def written_files(folder: Path, stage: str) -> list[str]:
    """Return the files that are there of a stage, relative to the folder, at any depth; hidden ones are no result."""
    names: list[str] = []
    for name in STAGES[stage]:
        place = folder / name
        if name.startswith("."):
            continue
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        names += [file.relative_to(folder).as_posix() for file in files if file.is_file()]
    return names


def _recorded_files(record: Mapping[str, Any], stage: str) -> list[Any] | None:
    """Return what a record says that a stage has written; None where it does not say."""
    facts = record["stages"].get(stage)
    listed = facts.get("files") if isinstance(facts, dict) else None
    return listed if isinstance(listed, list) else None


class Lost(NamedTuple):
    """Files of a finished stage that cannot be used.

    Attributes:
        stage: Which writes them.
        files: Relative to the run's folder.
        fact: What is with them: ``"gone"`` or ``"damaged"``.
    """

    stage: str
    files: list[str]
    fact: str

    def words(self) -> str:
        """Say which they are, and what is with them.

        Examples:
            >>> Lost("report", ["report.html"], "gone").words()
            "report.html of stage 'report' is gone"
        """
        return f"{listed(self.files, 3)} of stage {self.stage!r} {by_count(len(self.files), 'is', 'are')} {self.fact}"


def lost_files(folder: Path, record: Mapping[str, Any]) -> Lost | None:
    """Return the files of the first finished stage that has lost some, gone or damaged; None where all are whole.

    Args:
        folder: The run's folder.
        record: The content of its ``run.json``.
    """
    for stage in STAGES:
        if stage not in record["finished_stages"]:
            continue
        recorded = _recorded_files(record, stage)
        names = [str(name) for name in (_ALWAYS[stage] if recorded is None else recorded)]
        # Unlike Path.exists this is False, and no error, of a name that no file can have.
        gone = [name for name in names if not os.path.exists(folder / name)]  # noqa: PTH110
        if gone:
            return Lost(stage, gone, "gone")
        damaged = damaged_files(folder, written_files(folder, stage) if recorded is None else names)
        if damaged:
            return Lost(stage, damaged, "damaged")
    return None


def whole_stages(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the stages that are finished and whose files are whole, up to the first that has lost some."""
    lost = lost_files(folder, record)
    order = list(STAGES)
    done = order if lost is None else order[: order.index(lost.stage)]
    return [stage for stage in record["finished_stages"] if stage in done]


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a finished run with all its files."""
    record = read_record(folder)
    return record is not None and whole_stages(folder, record) == list(STAGES)


def _new_record(configuration: Mapping[str, Any], command: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "configuration_hash": configuration_hash(configuration),
        "configuration": plain(dict(configuration)),
        "command": command,
        "started": now(),
        "finished_stages": [],
        "stages": {},
        "facts": {},
    }


def find_finished(path: str | os.PathLike[str], configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the record if the folder holds this very run, finished and whole; else None. Writes and locks nothing."""
    record = read_record(path)
    if record is None or record["configuration_hash"] != configuration_hash(configuration):
        return None
    return record if whole_stages(Path(path), record) == list(STAGES) else None


@contextmanager
def open_run(
    path: str | os.PathLike[str],
    configuration: Mapping[str, Any],
    *,
    command: str = "",
    overwrite: bool = False,
    from_stage: str | None = None,
) -> Iterator[RunFolder]:
    """Take a folder for a run: a new one, or an unfinished one of the same configuration that goes on.

    Args:
        path: The folder; it is made if needed, and goes again if nothing was written to it.
        configuration: Everything that changes the result, as JSON knows it.
        command: How the run was asked for, kept in the record.
        overwrite: Begin anew in a folder that holds another run or other files. Only what a run writes is replaced;
            other people's files stay.
        from_stage: Do this stage and all after it again; all before it must be finished.

    Yields:
        The folder, guarded against other processes while the body runs.

    Raises:
        InputError: Another configuration or foreign files are there, or another process is at work in the folder.
        EnvironmentProblem: The folder cannot be written.
    """
    folder = Path(path)
    if from_stage is not None:
        check_choice("from", from_stage, STAGES)
    if not overwrite:
        check_free(folder, configuration)
    with made_folder(folder), hold_folder(folder):
        yield _begin(folder, configuration, command, overwrite=overwrite, from_stage=from_stage)


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder for the body; it goes again if it stays empty, so that work refused at once leaves no trace."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with writable_folder(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for place in made:
                place.rmdir()


def check_free(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Refuse a folder with another run or with somebody else's files; nothing is written.

    Raises:
        InputError: Such a folder; the message names ``--overwrite`` and ``--out``.
    """
    refuse_file(folder, "run")
    record = read_record(folder)
    if record is None:
        refuse_foreign(folder, "run", _ours, NAMES)
    elif record["configuration_hash"] != configuration_hash(configuration):
        differing = differences(record.get("configuration", {}), plain(dict(configuration)))
        raise another(folder, "run", "configuration", differing)


def refuse_file(folder: Path, owner: str) -> None:
    """Refuse a file where the folder of a run, study, … should be."""
    if is_taken(folder) and not folder.is_dir():
        raise InputError(
            f"a {owner}'s folder must be a folder, however: {folder} is {what_lies_at(folder)}; choose another with "
            "--out"
        )


def another(folder: Path, owner: str, same: str, differing: str, *, holds: str | None = None) -> InputError:
    """Return the error for a folder that holds another run, study, … than the one asked for.

    Args:
        folder: The folder.
        owner: What it is one of, such as ``"run"``.
        same: What should be the same.
        differing: What is not, in words.
        holds: What it holds; None: another one of them.
    """
    return InputError(
        f"a {owner}'s folder must be of the same {same}, however: {folder} holds {holds or f'another {owner}'}, "
        f"differing in {differing}; replace it with --overwrite, or choose another folder with --out"
    )


def refuse_damaged(
    record: Path, owner: str, fix: str = "begin anew with --overwrite, or choose another folder with --out"
) -> None:
    """Refuse a folder whose record is damaged, with what to do."""
    if _is_damaged(record):
        raise InputError(f"a {owner}'s folder must be as permgrad wrote it, however: {record} is damaged; {fix}")


def refuse_foreign(folder: Path, owner: str, ours: Callable[[str], bool], names: Sequence[str]) -> None:
    """Refuse a folder that holds somebody else's files, or a damaged record.

    Args:
        folder: The folder; it may not be there.
        owner: What it is to be, such as ``"run"``.
        ours: Says of a name whether a process leaves it that was killed before its first record.
        names: What would be written there, the record first.
    """
    if not folder.is_dir():
        return
    refuse_damaged(folder / names[0], owner)
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name != LOCK and not ours(entry.name))
    if foreign:
        raise InputError(
            f"a {owner}'s folder must be new, empty or of the same {owner}, however: {folder} holds other files "
            f"({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}); choose another folder with --out"
            f"{'' if set(foreign) & set(names) else ', or write beside them with --overwrite'}"
        )


def refuse_taken(folder: Path, owner: str, names: Sequence[str]) -> None:
    """Refuse a folder in which somebody else's files have names that would be written, also with ``--overwrite``.

    Args:
        folder: The folder; it holds no run, study, … of ours.
        owner: What it is to be, such as ``"run"``.
        names: What would be written there; the first is the record, which may be ours and damaged.

    Raises:
        InputError: Such files; the message names them.
    """
    if _is_damaged(folder / names[0]):
        return
    taken = [name for name in names if os.path.lexists(folder / name)]
    if taken:
        raise InputError(
            f"files that are no {owner}'s must not be replaced, however: {folder} holds no {owner}, but "
            f"{', '.join(taken[:5])}{', ...' if len(taken) > 5 else ''}; choose another folder with --out, or move "
            f"{'them' if len(taken) > 1 else 'it'} away"
        )


def _is_damaged(record: Path) -> bool:
    """Whether a record is there and is no JSON object: one of ours that a disk or an editor damaged."""
    try:
        return not isinstance(parse_json(record.read_bytes()), dict)
    except ValueError:
        return True
    except OSError:
        return False


def _ours(name: str) -> bool:
    """Whether a name is what a process killed before its first record leaves behind."""
    return name.startswith(f".{RECORD}.")


def _begin(
    folder: Path, configuration: Mapping[str, Any], command: str, *, overwrite: bool, from_stage: str | None
) -> RunFolder:
    if not overwrite:
        check_free(folder, configuration)  # again, now that nobody else can write
    record = read_record(folder)
    same = record is not None and record["configuration_hash"] == configuration_hash(configuration)
    if record is None:
        refuse_taken(folder, "run", NAMES)
    keep = same and not (overwrite and from_stage is None)
    run = RunFolder(folder, record if keep and record is not None else _new_record(configuration, command))
    if from_stage is not None:
        before = list(STAGES)[: list(STAGES).index(from_stage)]
        usable = whole_stages(folder, run.record)
        missing = [stage for stage in before if stage not in usable]
        if missing:
            raise InputError(
                f"a run can only start from a stage whose predecessors are finished, however: from={from_stage!r} and "
                f"{missing[0]!r} is not finished in {folder}; leave --from out"
            )
    if record is not None and not (keep and from_stage is None):
        first = from_stage if keep and from_stage is not None else "data"
        _refuse_added(folder, record, list(STAGES)[list(STAGES).index(first) :])
    with writable_folder(folder):
        if from_stage is not None:
            run.forget_from(from_stage)
        elif keep:
            if (lost := lost_files(folder, run.record)) is not None:
                run.lost = lost
                run.forget_from(lost.stage)
            run.remove_unfinished()
            run.write_record()
        else:
            # The record goes first: killed in between, the folder is an unfinished run of the new configuration. Of a
            # run whose record is damaged nothing is believed.
            run.forget_from("data")
    return run


def _refuse_added(folder: Path, record: Mapping[str, Any], stages: Iterable[str]) -> None:
    """Refuse to remove what somebody laid into a folder that a finished stage wrote, such as notes beside the model."""
    added: list[str] = []
    for stage in stages:
        recorded = _recorded_files(record, stage) if stage in record["finished_stages"] else None
        if recorded is not None:
            # What a killed process left is hidden.
            added += [name for name in written_files(folder, stage) if name not in recorded and "/." not in name]
    if added:
        raise InputError(
            f"files that are no run's must not be removed, however: {folder} holds {', '.join(added[:5])}"
            f"{', ...' if len(added) > 5 else ''} in folders that are made anew; move "
            f"{'them' if len(added) > 1 else 'it'} away, or choose another folder with --out"
        )


def writable_folder(folder: Path) -> AbstractContextManager[None]:
    """Turn what the disk refuses into an ``EnvironmentProblem`` that names the folder."""
    return writing("the run's folder must be writable", folder, "choose another folder with --out")
