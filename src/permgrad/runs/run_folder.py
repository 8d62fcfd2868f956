"""The folder of a run: which stages are finished, and with which configuration.

An interrupted run resumes after its last finished stage.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from permgrad.base.checks import check_choice
from permgrad.base.errors import Fault, InputError, by_count, listed, refusing
from permgrad.base.files import near_file, remove, sweep, write_json_atomic, writing
from permgrad.base.folders import (
    FolderKind,
    changed_files,
    files_of,
    now,
    sum_of,
    sums_of,
)
from permgrad.base.stored import TIMES

RECORD = "run.json"
#: Folder for the state of an unfinished training. It is removed when the model stage is
#: finished.
CHECKPOINT = ".checkpoint"
#: Cached explanations, see ``cache``. They stay when a run is explained again, and are
#: removed with their model.
CACHE = ".explanations"
#: Vectors of texts and images by named encoders. They belong to no stage: other runs in
#: the folder use them again.
FEATURES = "features"

#: How far predictions change with each feature.
EFFECTS = "effects.csv"

#: Stages in their order, each with the names that it writes into the folder.
STAGES: dict[str, tuple[str, ...]] = {
    "data": ("data.json", "columns.json", "training.json", "split.npz"),
    "layout": ("layout.json", "layout.svg"),
    "model": (
        "model",
        "metrics.json",
        "segments.json",
        "history.csv",
        "predictions.csv",
        "baseline_predictions.npz",
        TIMES,
        CHECKPOINT,
        CACHE,
    ),
    "explanation": (
        "explanations",
        "importance.csv",
        EFFECTS,
        "integrated_gradients.csv",
        "branches.json",
    ),
    "report": ("report.html", "report.md", "report.svg"),
}
_ORDER = list(STAGES)

#: What a run writes. The record comes first.
NAMES = (RECORD, *chain.from_iterable(STAGES.values()))


# ---- the folder of a run -------------------------------------------------------------
@dataclass(frozen=True)
class RunKind(FolderKind):
    """A run's folder, whose stages are finished one by one."""

    def is_whole(self, folder: Path, record: Mapping[str, Any]) -> bool:
        """Whether all stages are finished, and all their files are as they were
        then.
        """
        return whole_stages(folder, record) == _ORDER


RUN = RunKind(
    "run",
    NAMES,
    same="configuration",
    holds={
        "configuration_hash": str,
        "started": str,
        "finished_stages": list,
        "stages": dict,
        "facts": dict,
    },
)
read_record = RUN.read


@dataclass
class RunFolder:
    """A run's folder that this process may write to, with the content of ``run.json``.

    Made by :func:`open_run`.

    ``lost``: a note on files of a finished stage that were missing or damaged when it
    was opened, or nothing.
    """

    path: Path
    record: dict[str, Any]
    lost: str = ""

    @contextmanager
    def stage(self, name: str, earlier: float = 0.0) -> Iterator[None]:
        """Run the body as a stage.

        If it succeeds, note this in ``run.json``, with its time and ``earlier``
        seconds.
        """
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started + earlier
        if name == "model":
            shutil.rmtree(self.path / CHECKPOINT, ignore_errors=True)
        checksums = sums_of(self.path, STAGES[name])
        self.record["stages"][name] = {
            "seconds": round(spent, 3),
            "finished_at": now(),
            "sums": checksums,
        }
        self.record["finished_stages"].append(name)
        note_files(
            self.path, self.record
        )  # this stage may have changed files of earlier ones

    def forget_from(self, stage: str | None) -> None:
        """Mark a stage and all later ones as unfinished, then remove their files and
        leftovers.

        None: nothing is marked, and an interrupted training keeps its checkpoint.
        """
        kept_stages = _ORDER if stage is None else _ORDER[: _ORDER.index(stage)]
        remaining_kept_stages = []
        for stage_name in self.record["finished_stages"]:
            if stage_name in kept_stages:
                remaining_kept_stages.append(stage_name)
        kept_stages = remaining_kept_stages
        self.record["stages"] = {
            stage_name: facts
            for stage_name, facts in self.record["stages"].items()
            if stage_name in kept_stages
        }
        self.record["finished_stages"] = kept_stages
        # The record is written first: after an interruption here, the folder holds an
        # unfinished run.
        write_json_atomic(self.path / RECORD, self.record)
        names: list[str] = []
        for later_stage in _ORDER:
            if later_stage not in kept_stages:
                names.extend(STAGES[later_stage])
        remove(
            self.path / file_name
            for file_name in names
            if stage is not None or file_name != CHECKPOINT
        )
        sweep(self.path, *NAMES)
        for folder_name in [
            file_name for file_name in NAMES if (self.path / file_name).is_dir()
        ]:
            sweep(self.path / folder_name)


def note_files(folder: Path, record: dict[str, Any], among: Iterable[str] = ()) -> None:
    """Write the record, with the checksums that the files of its stages now have: of
    some names, or of all.
    """
    for stage in record["finished_stages"]:
        checksums = record["stages"][stage]["sums"]
        checksums |= {
            file_name: sum_of(folder / file_name)
            for file_name in checksums
            if not among or file_name in among
        }
    write_json_atomic(folder / RECORD, record)


# ---- complete files ------------------------------------------------------------------
class Lost(NamedTuple):
    """A finished stage with files that are missing or changed, which ones in words, and
    how many ``files``.
    """

    stage: str
    words: str
    files: int


def losses(folder: Path, record: Mapping[str, Any]) -> Iterator[Lost]:
    """Yield the finished stages with files that are missing or changed, in their order.

    Nothing needs torch.
    """
    for stage in filter(record["finished_stages"].__contains__, STAGES):
        facts = record["stages"].get(stage)
        if isinstance(facts, dict):
            checksums = facts.get("sums")
        else:
            checksums = None
        if not isinstance(checksums, dict):
            files = [RECORD]
            file_state = "damaged"
        # Unlike Path.exists this is False for a name that no file can have, and not an
        # error.
        elif files := [name for name in checksums if not os.path.exists(folder / name)]:  # noqa: PTH110
            file_state = "missing"
        else:
            files = sorted(changed_files(folder, facts))
            file_state = "damaged or changed"
        if files:
            words = (
                f"{listed(files, 3)} of stage {stage!r} "
                f"{by_count(len(files), 'is', 'are')} {file_state}"
            )
            yield Lost(stage, words, len(files))


def whole_stages(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the finished stages with complete files, up to the first that has lost
    some.
    """
    first_loss = next(losses(folder, record), None)
    if first_loss is None:
        earlier_stages = _ORDER
    else:
        earlier_stages = _ORDER[: _ORDER.index(first_loss.stage)]
    return [stage for stage in record["finished_stages"] if stage in earlier_stages]


def finished_record(path: Path) -> dict[str, Any]:
    """Return the record of a run that can be reported, or refuse the folder."""
    RUN.refuse_damaged(path, "Run again with --overwrite.")
    record = read_record(path)
    if record is None:
        if path.is_dir():
            folder_state = "has no run.json"
        elif path.exists():
            folder_state = "is a file"
        else:
            folder_state = "does not exist"
        problem = f"{path} {folder_state}, so it is not a run's folder"
        raise InputError(
            problem,
            hint=near_file(path, folder=True) or "Pass the folder of permgrad run.",
            code="PG010",
        )
    missing = []
    for stage in STAGES:
        if stage != "report" and stage not in record["finished_stages"]:
            missing.append(stage)
    if missing:
        problem = f"Stage {missing[0]!r} is not finished in {path}"
        raise InputError(
            problem, hint=f"Resume with `{command_for(path, record)}`", code="PG055"
        )
    lost_stage = next(
        (
            stage_loss
            for stage_loss in losses(path, record)
            if stage_loss.stage != "report"
        ),
        None,
    )
    if lost_stage is not None:
        problem_hint = f"Write it again with `{command_for(path, record)}`"
        raise InputError(
            f"In {path}, {lost_stage.words}", hint=problem_hint, code="PG052"
        )
    return record


def command_for(folder: Path, record: Mapping[str, Any]) -> str:
    """Return the command that made a run, for the present place of its folder."""
    try:
        words = shlex.split(str(record.get("command") or ""))
    except ValueError:  # the record was edited
        words = []
    words = words or ["permgrad", "run", "TABLE"]
    if "--out" in words:
        option_index = words.index("--out")
        del words[option_index : option_index + 2]
    return shlex.join([*words, "--out", os.fspath(folder)])


# ---- opening it ----------------------------------------------------------------------
@contextmanager
def open_run(
    path: str | os.PathLike[str],
    configuration: Mapping[str, Any],
    *,
    command: str = "",
    overwrite: bool = False,
    from_stage: str | None = None,
) -> Iterator[RunFolder]:
    """Lock a folder for a run: a new one, or an unfinished one of the same
    configuration.

    ``overwrite`` starts again in a folder with another run or other files, and replaces
    only what a run writes. ``from_stage`` repeats this stage and all later ones. All
    earlier ones must be finished.
    """
    folder = Path(path)
    if from_stage is not None:
        check_choice("from", from_stage, STAGES)
    with RUN.hold(folder, configuration, overwrite=overwrite):
        record = read_record(folder)
        run_folder = RunFolder(
            folder,
            RUN.new_record(
                configuration, command, finished_stages=[], stages={}, facts={}
            ),
        )
        if (
            record is not None
            and RUN.is_of(record, configuration)
            and (from_stage is not None or not overwrite)
        ):
            run_folder.record = record
            first = from_stage
        else:
            first = from_stage or "data"
        if from_stage is None:
            usable = _ORDER
        else:
            usable = whole_stages(folder, run_folder.record)
        for stage in [] if from_stage is None else _ORDER[: _ORDER.index(from_stage)]:
            if stage not in usable:
                problem = (
                    f"Cannot start from {from_stage!r}: stage {stage!r} is not "
                    f"finished in {folder}"
                )
                raise InputError(problem, hint="Leave --from out.", code="PG055")
        if record is not None and first is not None:
            _refuse_added(folder, record, first)
        with writing(folder):
            if (
                first is None
                and (first_loss := next(losses(folder, run_folder.record), None))
                is not None
            ):
                first = first_loss.stage
                written = by_count(first_loss.files, "it", "them")
                run_folder.lost = (
                    f"note: {first_loss.words}. The stage that writes "
                    f"{written} is repeated, and all later ones."
                )
            run_folder.forget_from(first)
        yield run_folder


def _refuse_added(folder: Path, record: Mapping[str, Any], first: str) -> None:
    """Refuse to remove files that were added to a folder of a finished stage, such as
    notes in the model folder.
    """
    added: list[str] = []
    for stage in _ORDER[_ORDER.index(first) :]:
        facts = record["stages"].get(stage, {})
        if stage in record["finished_stages"] and "sums" in facts:
            for file_name in files_of(folder, STAGES[stage]):
                if file_name not in facts["sums"]:
                    added.append(file_name)
    if added:
        files = f"{', '.join(added[:5])}{', ...' if len(added) > 5 else ''}"
        problem_hint = (
            f"Move {'them' if len(added) > 1 else 'it'} away, or choose "
            "another folder with --out."
        )
        raise InputError(
            f"{folder} holds {files} in folders that would be replaced",
            hint=problem_hint,
            code="PG050",
        )


@refusing
def refuse_input(
    target: Path,
    inputs: Mapping[str, Path | None],
    *,
    names: Iterable[str] | None = None,
) -> Iterator[Fault]:
    """Refuse an output that is an input, or that would replace one, also through links.

    ``names`` are written into the folder ``target``. None: the target itself is
    replaced.
    """
    if names is None:
        written = [target]
    else:
        written = [target / file_name for file_name in names]
    for input_role, input_path in inputs.items():
        if input_path is None or not input_path.exists():
            continue
        if any(_lies_in(input_path, written_path) for written_path in written):
            problem = (
                f"{target} is or contains the {input_role} {input_path}, which "
                "the command reads"
            )
            yield problem, "Choose another place with --out.", "PG050"
        if (
            input_path.is_dir()
            and _lies_in(target, input_path)
            and not _lies_in(input_path, target)
        ):
            problem = (
                f"{target} is inside the {input_role} {input_path}, which the "
                "command reads"
            )
            yield problem, "Choose a place outside it with --out.", "PG050"


def refuse_run_file(target: Path, folder: Path) -> None:
    """Refuse an output that is one of the files of a run, given by its folder or that
    of its model.
    """
    if (folder / "model").is_dir():
        run_folder = folder
    else:
        run_folder = folder.parent
    if run_folder == folder.parent:
        protected_paths = [folder]
    else:
        protected_paths = []
    if read_record(run_folder) is not None:
        protected_paths += [run_folder / file_name for file_name in NAMES]
    if any(
        _lies_in(target, protected_path) or _lies_in(run_folder, target)
        for protected_path in protected_paths
    ):
        problem = (
            f"{target} belongs to the run in {run_folder}, which the command reads"
        )
        raise InputError(problem, hint="Choose another place with --out.", code="PG050")


def _lies_in(path: Path, enclosing_path: Path) -> bool:
    """Whether a path is a place or inside it, with links resolved."""
    try:
        if path.exists() and enclosing_path.exists() and path.samefile(enclosing_path):
            return True
        return path.resolve().is_relative_to(enclosing_path.resolve())
    except (OSError, RuntimeError):
        return False
