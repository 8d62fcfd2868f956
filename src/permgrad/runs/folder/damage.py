"""Files of a run that are there but are no longer what was written, as far as they carry checksums of their own.

Bytes are read and summed up, nothing is made of them: a run that is finished says so without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from permgrad.base.files import file_hash
from permgrad.base.stored import is_intact, is_whole_npz, parse_json

#: Descriptions of models and explanations: each carries a seal, and a model's the checksums of the files beside it.
_SEALED = ("model.json", "explanation.json")


def damaged_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Return those of some files that are damaged; of one that carries no checksum nothing is known.

    Examples:
        >>> damaged_files(Path("runs/one"), ["report.html"])
        []
    """
    damaged: set[str] = set()
    for name in names:
        path = folder / name
        if path.name in _SEALED and path.is_file():
            damaged |= {(Path(name).parent / beside).as_posix() for beside in _damaged_beside(path)}
        elif path.suffix == ".npz" and path.is_file() and not is_whole_npz(path):
            damaged.add(name)
    return sorted(damaged)


def is_damaged(folder: Path) -> bool:
    """Whether a model's folder holds damaged files, or lacks some."""
    return not (folder / "model.json").is_file() or bool(_damaged_beside(folder / "model.json"))


def _damaged_beside(path: Path) -> list[str]:
    """Return the names of a description and of the files whose checksums it holds, as far as they are damaged."""
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
