"""What a command may write: never what it reads, and never files that somebody else gave the names of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from permgrad.base.errors import InputError
from permgrad.runs.folder.folder import NAMES, read_record


def refuse_input(target: Path, inputs: Mapping[str, Path | None], *, names: Iterable[str] | None = None) -> None:
    """Refuse an output that is an input, or that would take the place of one, whatever links lead there.

    ``inputs`` is what is read, by what it is; None and what does not exist are passed over. ``names`` is what is
    written into the folder ``target``; None: the target itself is replaced.
    """
    written = [target] if names is None else [target / name for name in names]
    for role, path in inputs.items():
        if path is None or not path.exists():
            continue
        if any(_lies_in(path, place) for place in written):
            raise InputError(
                f"a command must not replace what it reads, however: {target} is or holds the {role} {path}; name "
                "another place with --out"
            )
        if path.is_dir() and _lies_in(target, path) and not _lies_in(path, target):
            raise InputError(
                f"what is written must not become part of what is read, however: {target} lies in the {role} {path}; "
                "name a place outside it with --out"
            )


def refuse_run_file(target: Path, folder: Path) -> None:
    """Refuse an output that is one of the files of a run, also with ``--overwrite``.

    ``folder`` is the run's, or that of the model in it.
    """
    run = folder if (folder / "model").is_dir() else folder.parent
    places = [folder] if run == folder.parent else []
    if read_record(run) is not None:
        places += [run / name for name in NAMES]
    if any(_lies_in(target, place) or _lies_in(run, target) for place in places):
        raise InputError(
            f"a command must not replace what it reads, however: {target} belongs to the run in {run}; name another "
            "place with --out"
        )


def _lies_in(path: Path, place: Path) -> bool:
    """Whether a path is a place or lies in it, links resolved."""
    try:
        if path.exists() and place.exists() and path.samefile(place):
            return True
        return path.resolve().is_relative_to(place.resolve())
    except (OSError, RuntimeError):
        return False
