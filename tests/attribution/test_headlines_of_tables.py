"""Headlines name no feature without an effect (the short form of
``verification/verify_headlines.py``).
"""

import pytest


@pytest.mark.slow
def test_a_few_tables_and_a_few_of_noise(script, capsys):
    faults = script("verification.verify_headlines").main(["--quick"])
    printed = capsys.readouterr().out
    assert faults == 0, printed
    assert printed.count(": met") == 3
