"""What every ``verify_*.py`` script shares: its arguments, and the committed record of
what it found.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
#: An absolute path, and from where on it says something to people who have another
#: machine.
_PATH = re.compile(r"(?<![\w.~/:\\-])/(?:[\w.+@~-]+/)+[\w.+@~-]*")
_KNOWN = re.compile(r"(?:site-packages|src|tests|tools|verification|benchmarks)/.*")


def parser(text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have."""
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--quick", action="store_true", help="the short form: one seed, less data"
    )
    made.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    return made


def data_folder() -> Path | None:
    """Return the folder that PERMGRAD_DATA names, if there is one."""
    folder = os.environ.get("PERMGRAD_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


def markdown_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table; numbers with four digits."""
    listed = list(rows)
    names = list(listed[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += [
        "| " + " | ".join(_shown(row.get(name)) for name in names) + " |"
        for row in listed
    ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def record(
    arguments: argparse.Namespace,
    title: str,
    text: str,
    data: Any,
    *,
    passed: bool | None,
    seeds: Any,
    name: str | None = None,
) -> int:
    """Print the result, write it beside the others unless told not to, and return the
    exit code.

    ``name`` is the record's, left out: the script's. ``passed`` is None where nothing
    has a floor.
    """
    head = head_of(seeds)
    if passed is not None:
        head["floor met"] = passed
    page = page_of(title, head, text)
    # Only the full form is a result; the short one is for a look and for the tests.
    if not arguments.no_record and not arguments.quick:
        store(RESULTS / f"{name or Path(sys.argv[0]).stem}.md", page, head, data)
    # Last: who reads the output may close it early.
    print(page)
    return 1 if passed is False else 0


def head_of(seeds: Any) -> dict[str, Any]:
    """Return what every record says first: the command, the date, seeds, versions and
    the commit.
    """
    import numpy as np
    import torch

    import permgrad

    versions = (
        f"permgrad {permgrad.__version__}, torch {torch.__version__}, NumPy "
        f"{np.__version__}"
    )
    return {
        "command": command(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "seeds": seeds,
        "versions": f"{versions}, Python {platform.python_version()}",
        "commit": commit(),
    }


def page_of(title: str, head: Mapping[str, Any], text: str) -> str:
    """Return a record as a page."""
    shown = "\n".join(
        f"- {key}: {'yes' if value is True else 'NO' if value is False else value}"
        for key, value in head.items()
    )
    return f"# {title}\n\n{shown}\n\n{text}\n"


def store(path: Path, page: str, head: Mapping[str, Any], data: Any) -> None:
    """Write a record's page to ``path``, and what it says, with its figures, as JSON
    beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(shortened(page), encoding="utf-8")
    text = json.dumps(shortened({**head, "results": data}), indent=1)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def shortened(value: Any) -> Any:
    """Return a value whose texts name no folder of this machine: the end of a path is
    kept.
    """
    if isinstance(value, Mapping):
        return {key: shortened(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [shortened(one) for one in value]
    return _PATH.sub(_end_of, value) if isinstance(value, str) else value


def _end_of(path: re.Match[str]) -> str:
    known = _KNOWN.search(path[0])
    return known[0] if known else f"…/{path[0].rstrip('/').rpartition('/')[2]}"


def command() -> str:
    """Return how this process was started: as a module, as scripts are."""
    specification = sys.modules["__main__"].__spec__
    name = f"-m {specification.name}" if specification else sys.argv[0]
    return str(shortened(" ".join(["python", name, *sys.argv[1:]])))


def commit() -> str:
    """Return the commit that is measured, with a mark where files of permgrad or of the
    scripts were changed since.
    """
    asked = [
        ["rev-parse", "--short", "HEAD"],
        ["status", "--porcelain", "--", "src", "benchmarks/*.py"],
    ]
    try:
        head, changed = (
            subprocess.run(
                ["git", *words],
                cwd=RESULTS.parents[1],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "no repository"
    return head + ("+" if changed else "")
