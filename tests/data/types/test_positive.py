"""Which of two classes is the positive one."""

from __future__ import annotations

import numpy as np
import pytest

from permgrad import InputError
from permgrad.data.types.positive import find_positive, usual_positive


@pytest.mark.parametrize(
    ("classes", "counts", "positive"),
    [
        (["bad", "good"], (30, 70), "bad"),
        (["healthy", "ill"], (70, 30), "ill"),
        (["no", "yes"], (30, 70), "no"),
        ([0, 1], (212, 357), 0),
        ([0, 1], (50, 50), 1),
        (["Yes", "maybe"], (50, 50), "Yes"),
        ([False, True], (5, 5), True),
        (["a", "b"], (5, 5), "b"),
        ([0.0, 1.0], (5, 5), 1.0),
    ],
)
def test_the_rarer_class_is_positive_and_never_the_majority(classes, counts, positive):
    codes = np.repeat([0, 1], counts)
    assert classes[usual_positive(classes, codes)] == positive
    assert counts[usual_positive(classes, codes)] <= min(counts)


@pytest.mark.parametrize("level", [1, "1", 1.0, np.int64(1)])
def test_a_level_is_found_however_it_is_written(level):
    assert find_positive([0, 1], level) == 1
    assert find_positive(["0", "1"], level) == 1


def test_levels_that_are_none_are_refused_with_the_known_ones():
    for classes, level, message_start in [
        (
            ["bad", "good"],
            "Bad",
            (
                "Positive class 'Bad' not found. Did you mean 'bad'? The classes are "
                "'bad' and 'good'."
            ),
        ),
        (
            ["bad", "good"],
            ["bad"],
            "Positive class ['bad'] not found. The classes are 'bad' and 'good'.",
        ),
        (
            ["a", "b", "c"],
            "a",
            (
                "A positive class is one of two, but 3 classes are predicted here. "
                "Leave --positive (posi"
            ),
        ),
        (
            [],
            "a",
            (
                "A positive class is one of two, but a number is predicted here. Leave "
                "--positive (positive=) out."
            ),
        ),
    ]:
        with pytest.raises(InputError) as refusal:
            find_positive(classes, level)
        assert str(refusal.value).startswith(message_start)
