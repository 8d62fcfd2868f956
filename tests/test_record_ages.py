"""Records say what code they speak of, and those that are older than it are named."""

from __future__ import annotations

import subprocess
import warnings

import pytest
from tools.record_ages import RESULTS, ROOT, SUBJECTS, ages, subjects_of


def test_what_a_record_speaks_of_is_there():
    for file in RESULTS.glob("*.json"):
        for place in subjects_of(file.stem):
            assert (ROOT / place).exists(), f"{file.stem} speaks of {place}"


def test_each_pattern_is_some_records():
    names = [file.stem for file in RESULTS.glob("*.json")]
    used = {subjects_of(name) for name in names}
    for pattern, places in SUBJECTS:
        expected = tuple(f"src/permgrad/{place}" for place in places)
        assert expected in used, f"no record is {pattern}"


@pytest.mark.slow
def test_older_records_are_named():
    try:
        found = list(ages())
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no history")
    assert len(found) == len(list(RESULTS.glob("*.json")))
    older = [age.record for age in found if age.changes]
    if older:
        warnings.warn(f"older than their code: {', '.join(older)}", stacklevel=1)
