"""Starting up: the command line answers at once and loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "pandas", "numpy", "matplotlib", "lightning", "scipy", "rich")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(words):
    code = f"""
import json, sys
from permgrad.cli import app
try:
    app({words!r})
except SystemExit:
    pass
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    assert json.loads(run(code).splitlines()[-1]) == []


def test_help_takes_under_400_ms_of_processor_time():
    code = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "permgrad.cli", "--help"], check=True, capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""
    pytest.importorskip("resource", reason="processor time of a child is measured on Unix")
    assert min(float(run(code)) for _ in range(3)) < 0.4


def test_importing_permgrad_loads_nothing_heavy():
    code = f"import sys, permgrad; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(code).strip() == "[]"


def test_every_public_name_resolves():
    import permgrad

    for name in permgrad.__all__:
        assert getattr(permgrad, name) is not None
    assert set(permgrad.__all__) <= set(dir(permgrad))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = permgrad.nonsense
