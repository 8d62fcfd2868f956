"""Whether each folder of the source keeps to the number of lines that it may have.

The numbers are in ``pyproject.toml`` under ``[tool.permgrad.lines]``. Raise one only with a line in
benchmarks/decisions.md, *Budgets of lines*, that says what users got for it.

    python -m tools.budgets         exit 1 if a folder has more lines, or no number
    python -m tools.budgets --now   the table as it would be now, each number 2 % above what is there
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Room for small corrections, as a share of a folder's lines.
_ROOM = 0.02


def lines_of(source: Path) -> dict[str, int]:
    """Return the lines of Python and of the page's scripts in each folder of a package, and of its own files."""
    counts: Counter[str] = Counter()
    for file in source.glob("*/**/*"):
        if (
            file.suffix in {".py", ".js", ".css", ".html"}
            and "__pycache__" not in file.parts
        ):
            inside = file.relative_to(source).parts
            folder = (
                inside[:2]
                if len(inside) > 2 and inside[0] == "permgrad"
                else inside[:1]
            )
            counts["/".join(folder)] += file.read_text(encoding="utf-8").count("\n")
    return dict(sorted(counts.items()))


def faults(counts: Mapping[str, int], most: Mapping[str, int]) -> list[str]:
    """Say which folders have more lines than they may, have no number, or are gone."""
    found = [f"src/{name} has no budget" for name in counts.keys() - most.keys()]
    found += [
        f"src/{name} has a budget, and is no folder"
        for name in most.keys() - counts.keys()
    ]
    for name in counts.keys() & most.keys():
        if counts[name] > most[name]:
            found.append(
                f"src/{name} has {counts[name]} lines, its budget is {most[name]}"
            )
    return sorted(found)


def main(arguments: list[str]) -> int:
    """Check the budgets, or print what they would be."""
    counts = lines_of(ROOT / "src")
    if arguments == ["--now"]:
        print("[tool.permgrad.lines]")
        for name, count in counts.items():
            print(f'"{name}" = {count + round(count * _ROOM)}')
        return 0
    with (ROOT / "pyproject.toml").open("rb") as file:
        found = faults(counts, tomllib.load(file)["tool"]["permgrad"]["lines"])
    for fault in found:
        print(
            f"{fault}. Make it smaller, or raise the number with a line in benchmarks/decisions.md.",
            file=sys.stderr,
        )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
