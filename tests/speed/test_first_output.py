"""The examples whose time to a first output is measured are those of README, and a
README is counted as it is.
"""

from __future__ import annotations

import ast

from benchmarks.speed.first_output import PEERS, examples, size_of


def test_the_examples_end_with_their_output():
    ours = examples()
    assert len(ours) == 2
    for code in [*ours.values(), *(code for _, code in PEERS.values())]:
        assert "print(" in code or "savefig(" in code
        ast.parse(code)
    assert all("pg.explain(" in code for code in ours.values())
    assert ours["**permgrad** (a network)"].rstrip().endswith("print(shares.summary())")


def test_words_and_pictures_of_a_readme_are_counted():
    text = (
        "# One\n\n![two words](picture.png) <b>and</b> four\n\n```python\nx = "
        "1\n```\n\n<img src='a.png'>\n"
    )
    size = size_of(text)
    assert size["pictures"] == 2
    assert size["before the first code"] == 6
    assert size["words"] > size["before the first code"]
