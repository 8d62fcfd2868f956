"""Classes that are never predicted: how many rows they have, and the threshold that
would find some.
"""

from __future__ import annotations

import numpy as np
import pytest

from permgrad.evaluation.thresholds import never_predicted


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A rare class whose rows have larger probabilities, all of them below one half."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(count) < 0.1, "bad", "good")
    rare = np.clip(rng.normal(np.where(y == "bad", 0.3, 0.15), 0.06), 0.01, 0.45)
    return y, np.stack([rare, 1 - rare], axis=1)


def test_the_threshold_is_the_best_one_on_the_validation_rows():
    validation = rows(400, 0)
    test = rows(300, 1)
    assert (test[1].argmax(axis=1) == 1).all(), (
        "a precondition: nothing is predicted 'bad'"
    )
    (facts,) = never_predicted(["bad", "good"], validation, test)
    # The slow twin: every cut between two scores of the validation rows.
    truth = validation[0] == "bad"
    scores = validation[1][:, 0]
    ordered = np.unique(scores)
    cuts = (ordered[1:] + ordered[:-1]) / 2
    balanced = [
        ((scores >= cut)[truth].mean() + (scores < cut)[~truth].mean()) / 2
        for cut in cuts
    ]
    assert facts["threshold"] == pytest.approx(
        cuts[int(np.argmax(balanced))], abs=1e-12
    )
    called = test[1][:, 0] >= facts["threshold"]
    assert facts["rows"] == (test[0] == "bad").sum()
    assert facts["called"] == called.sum()
    assert facts["found"] == (called & (test[0] == "bad")).sum() > facts["rows"] / 2


def test_a_class_that_is_predicted_once_is_no_fault():
    y, table = rows(300, 1)
    table[0] = [0.9, 0.1]
    assert never_predicted(["bad", "good"], rows(400, 0), (y, table)) == []


def test_without_validation_rows_of_the_class_there_is_no_threshold():
    y, table = rows(300, 1)
    validation_rows = (np.array(["good"] * 5), table[:5])
    (facts,) = never_predicted(["bad", "good"], validation_rows, (y, table))
    assert facts["threshold"] is None
    nothing = (np.array([], dtype=str), np.zeros((0, 2)))
    assert never_predicted(["bad", "good"], validation_rows, nothing) == []


def test_of_many_classes_the_largest_are_named():
    classes = list("abcdefg")
    y = np.repeat(classes, [50, 1, 2, 3, 4, 5, 6])
    table = np.tile([0.4, *[0.1] * 6], (len(y), 1))
    never_predicted_classes = never_predicted(classes, (y, table), (y, table))
    assert [facts["class"] for facts in never_predicted_classes] == [
        "g",
        "f",
        "e",
        "d",
        "c",
        "b",
    ]
    assert not any(facts["threshold"] for facts in never_predicted_classes), (
        "a threshold decides between two classes"
    )
