"""Three options of a run at random, with any model and task: each works, or is refused
in words before training.

``verification/verify_options.py`` goes on from here for a thousand combinations.
"""

from __future__ import annotations

import re

import pytest
from option_cases import CHEAP, OPTIONS, OptionCase, try_case

#: Cases of the quick tests, whose trainings take most of their time.
QUICK = 15


def _marked(number: int) -> object:
    marks = [] if number < QUICK else [pytest.mark.slow]
    return pytest.param(number, marks=marks)


@pytest.mark.parametrize("number", [_marked(number) for number in range(34)])
def test_options_work_together_or_are_refused(tmp_path, number):
    ends = try_case(OptionCase.draw(number, CHEAP), tmp_path / "case")
    after = {end for command, end in ends.items() if command != "run"}
    assert all(re.search(r"\[PG\d+\]", end) for end in after - {"works"})


def test_many_cases_train():
    """What all cases ask for is an option that is there, and most options are asked
    for.
    """
    asked = {words for number in range(60) for words in OptionCase.draw(number).options}
    assert asked <= set(OPTIONS)
    assert len(asked) > 0.8 * len(OPTIONS)


@pytest.mark.parametrize(
    "model", ["lightgbm", pytest.param("linear", marks=pytest.mark.slow)]
)
def test_costs_of_errors_go_with_a_model_of_a_library(tmp_path, model):
    pytest.importorskip(model if model != "linear" else "skops")
    case = OptionCase(
        0, model, "two classes", (("--cost", "1", "12"), ("--max-rows", "12"))
    )
    assert set(try_case(case, tmp_path / "case").values()) == {"works"}
