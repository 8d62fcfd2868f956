"""Write what the packages of constraints.txt require, for the test that resolves every extra without a network.

    python tools/pinned_requirements.py

Asks pip what it would install of every extra under the constraints, and installs nothing. Run it with Python 3.11
whenever constraints.txt or the dependencies in pyproject.toml change.
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
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    ask = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    ask += ["--constraint", "constraints.txt", f".[{','.join(extras)}]"]
    report = json.loads(subprocess.run(ask, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)
    found = {canonicalize_name(one["metadata"]["name"]): one["metadata"] for one in report["install"]}
    del found["permgrad"]
    requires = {name: [*map(Requirement, one.get("requires_dist", ()))] for name, one in found.items()}
    asked = {(canonicalize_name(r.name), extra) for wanted in requires.values() for r in wanted for extra in r.extras}
    asked |= {
        (canonicalize_name(r.name), e) for texts in extras.values() for r in map(Requirement, texts) for e in r.extras
    }
    kept = {
        name: {
            "version": one["version"],
            "requires": sorted(
                str(r) for r in requires[name] if _applies(r, {extra for of, extra in asked if of == name})
            ),
        }
        for name, one in sorted(found.items())
    }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in kept.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return 0


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    """Return whether a requirement counts without extras, or with one that another package asks for."""
    return requirement.marker is None or any(
        requirement.marker.evaluate({"extra": extra, "python_version": "3.11"}) for extra in {"", *extras}
    )


if __name__ == "__main__":
    raise SystemExit(main())
