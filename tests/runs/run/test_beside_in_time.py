"""Under a limit, branches beside the network are tried by a few rounds, and only where
there is time for them.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from permgrad.assess.budget import Clock
from permgrad.models.estimators.beside import branches_to_try
from permgrad.runs.run import beside_in_time
from permgrad.runs.run.beside_in_time import Learned, branches_in_time


def rows_of(classes: int = 2):
    rng = np.random.default_rng(0)
    encoded = rng.normal(size=(300, 4)).astype(np.float32)
    y = np.arange(300) % classes
    return Learned("classification", encoded, y, 0)


def ready(*names: str, by_name: bool = False, units=None):
    return SimpleNamespace(beside=names, beside_by_name=by_name, units=units)


def seconds(monkeypatch, **known):
    asked: list[str] = []

    def took(_work, name, _classes, _most):
        asked.append(name)
        return known[name]

    monkeypatch.setattr(beside_in_time, "_seconds", took)
    return asked


def test_branches_that_take_more_than_half_of_the_time_are_left_out(monkeypatch):
    seconds(monkeypatch, trees=70.0, linear=1.0)
    clock = Clock(limit=100.0)
    names, total = branches_in_time(rows_of(), ready("trees", "linear"), clock)
    assert (names, total) == (("linear",), 1.0)
    assert clock.cut == ["training: the tree branch was not tried"]
    clock = Clock(limit=1000.0)
    names, total = branches_in_time(rows_of(), ready("trees", "linear"), clock)
    assert (names, total) == (("trees", "linear"), 71.0)
    assert not clock.cut


def test_fits_by_folds_take_longer_than_one_fit(monkeypatch):
    seconds(monkeypatch, trees=2.0, linear=1.0)
    tried = ready("trees", "linear", units=np.arange(330))
    clock = Clock(limit=1000.0)
    assert branches_in_time(rows_of(), tried, clock) == (("trees", "linear"), 6.0)


def test_branches_that_are_named_are_kept(monkeypatch):
    seconds(monkeypatch, trees=70.0)
    names, total = branches_in_time(
        rows_of(), ready("trees", by_name=True), Clock(limit=100.0)
    )
    assert (names, total) == (("trees",), 70.0)


def test_trees_of_many_classes_are_not_measured(monkeypatch):
    asked = seconds(monkeypatch, linear=1.0)
    some = ready("trees", "linear")
    assert branches_to_try(some, 40) == ["linear"]
    branches_in_time(rows_of(40), some, Clock(limit=100.0))
    assert asked == ["linear"]


@pytest.mark.parametrize("name", ["trees", "linear"])
def test_a_try_takes_a_few_rounds(name, monkeypatch):
    rounds: list[int] = []

    def fitted(*_, options, **__):
        rounds.extend(options.values())
        time.sleep(0.002 * sum(options.values()))

    monkeypatch.setattr(beside_in_time, "fit_baseline", fitted)
    whole = beside_in_time._seconds(rows_of(), name, 2, 10.0)
    assert rounds == [2, 8]
    least = {"trees": 200, "linear": 100}[name]
    assert 0.5 * least * 0.002 < whole < 20 * least * 0.002
    rounds.clear()
    beside_in_time._seconds(rows_of(), name, 2, 0.0)
    assert rounds == [2], "no time for a second try"


def test_a_training_has_as_long_as_what_came_before_it():
    clock = Clock(limit=100.0)
    clock.started -= 30.0
    assert clock.least_training() == pytest.approx(30.0, abs=1.0)
    clock.started -= 170.0
    assert clock.least_training() == 50.0
    assert Clock().least_training() == 0.0
