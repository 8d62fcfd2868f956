"""Intervals contain the truth as often as they say (the short form of
``verification/verify_coverage.py``).
"""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_one_seed_of_the_coverage_check(script, capsys):
    faults = script("verification.verify_coverage").main(["--quick"])
    printed = capsys.readouterr().out
    assert faults == 0, printed
    assert printed.count(": met") == 6
    assert "Rows of the rare class: 1" in printed
