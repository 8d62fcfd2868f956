"""Write what the packages of constraints.txt require, for the test that resolves every
extra without a network.

    python tools/pinned_requirements.py

Asks pip what it would install of every extra under the constraints, and installs
nothing. Run it with Python 3.11 whenever constraints.txt or the dependencies in
pyproject.toml change.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tests" / "shared" / "pinned_requirements.json"


def main() -> int:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]["optional-dependencies"]
    ask = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        "-",
    ]
    ask += ["--constraint", "constraints.txt", f".[{','.join(extras)}]"]
    report = json.loads(
        subprocess.run(
            ask, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    )
    found = {
        canonicalize_name(one["metadata"]["name"]): one["metadata"]
        for one in report["install"]
    }
    del found["permgrad"]
    wanted = {
        name: [*map(Requirement, one.get("requires_dist", ()))]
        for name, one in found.items()
    }
    own = [Requirement(text) for texts in extras.values() for text in texts]
    asked, before = _extras_of(own), set[tuple[str, str]]()
    while asked != before:
        before = asked
        kept = {
            name: [one for one in needs if _applies(one, name, asked)]
            for name, needs in wanted.items()
        }
        asked = before | _extras_of([one for needs in kept.values() for one in needs])
    record = {
        name: {"version": found[name]["version"], "requires": sorted(map(str, needs))}
        for name, needs in sorted(kept.items())
    }
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(one)}" for name, one in record.items()
    )
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return 0


def _extras_of(requirements: list[Requirement]) -> set[tuple[str, str]]:
    """Return the packages of which extras are required, with these."""
    return {
        (canonicalize_name(one.name), extra)
        for one in requirements
        for extra in one.extras
    }


def _applies(requirement: Requirement, of: str, asked: set[tuple[str, str]]) -> bool:
    """Return whether a requirement of a package counts: without its extras, or with one
    that is asked for.
    """
    extras = {"", *(extra for name, extra in asked if name == of)}
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate({"extra": extra, "python_version": "3.11"}) for extra in extras
    )


if __name__ == "__main__":
    raise SystemExit(main())
