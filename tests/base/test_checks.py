"""What single arguments must be, and the sentences that refuse the others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from permgrad.base import checks
from permgrad.base.errors import InputError

NUMBERS = (3, 0.5, math.inf, math.nan, "1", np.array([1.0]), 10**400)


def test_kinds_of_numbers():
    assert [
        checks.is_whole(value) for value in (3, np.int64(3), True, 3.0, np.array([3]))
    ] == [
        True,
        True,
        *[False] * 3,
    ]
    assert [checks.is_number(value) for value in NUMBERS] == [*[True] * 3, *[False] * 4]
    assert [checks.is_finite_number(value) for value in NUMBERS] == [
        True,
        True,
        *[False] * 5,
    ]


def test_what_is_right_comes_back_as_python_has_it():
    threads = checks.check_whole("threads", np.int64(2), "pass 1")
    assert (threads, type(threads)) == (2, int)
    tolerance = checks.check_number("tolerance", 1, "pass for example 0.01")
    assert (tolerance, type(tolerance)) == (1.0, float)
    assert checks.as_numbers("scores", [1, 0.5], "pass a list").tolist() == [1.0, 0.5]
    assert [
        checks.check_flag("progress", value, auto=True) for value in ("auto", False)
    ] == ["auto", False]
    assert checks.check_path("folder", "model").name == "model"
    assert checks.check_names("models", "linear", "pass names") == ("linear",)
    assert checks.check_names("models", ["a", "b"], "pass names") == ("a", "b")
    checks.check_choice("output", "logit", ["logit", "probability"])
    checks.check_class_names(["some", "every"])


@pytest.mark.parametrize(
    ("check", "arguments", "message"),
    [
        (
            checks.check_whole,
            ("threads", 1.5, "pass for example 2"),
            "threads must be an integer of at least 1, got 1.5. Pass for example 2.",
        ),
        (
            checks.check_number,
            ("tolerance", math.nan, "pass for example 0.01"),
            (
                "tolerance must be a finite number of at least 0, got nan. Pass for "
                "example 0.01."
            ),
        ),
        (
            checks.check_confidence,
            (95,),
            "confidence must be between 0 and 1, got 95. Pass for example 0.95.",
        ),
        (
            checks.as_numbers,
            ("scores", ["high", "low"], "pass a list of numbers"),
            "scores must be numbers, got ['high', 'low']. Pass a list of numbers.",
        ),
        (
            checks.check_flag,
            ("signed", "False"),
            "signed must be True or False, got 'False'.",
        ),
        (
            checks.check_path,
            ("folder", None),
            "folder must be a path, got None. Pass text or a pathlib.Path.",
        ),
        (
            checks.check_names,
            ("models", 7, "pass for example models=['default', 'linear']"),
            (
                "models must list names, got 7. Pass for example models=['default', "
                "'linear']."
            ),
        ),
        (
            checks.check_class_names,
            (["some", "all"],),
            (
                "A class must not be called 'all': explanations use that name for all "
                "classes together. Rename the class, for example to 'every'."
            ),
        ),
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence(check, arguments, message):
    with pytest.raises(InputError) as caught:
        check(*arguments)
    assert caught.value.message == message
