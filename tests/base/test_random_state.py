"""``random_state`` as NumPy and scikit-learn give it."""

from __future__ import annotations

import numpy as np
import pytest
from apart import run_script

from permgrad import InputError
from permgrad.base.random import resolve_seed


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_a_generator_gives_a_seed_and_advances(make):
    generator = make(3)
    twin = make(3)
    first = resolve_seed(generator)
    second = resolve_seed(generator)
    assert first != second
    assert [first, second] == [resolve_seed(twin), resolve_seed(twin)]


def test_a_number_is_its_own_seed_and_none_is_another_each_time():
    assert resolve_seed(np.int32(7)) == 7
    assert resolve_seed(None) != resolve_seed(None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "seven",
            (
                "random_state must be None, an integer of at least 0, or a NumPy "
                "Generator or RandomState, got "
                "'seven'. Pass for example random_state=0."
            ),
        ),
        (
            True,
            (
                "random_state must be None, an integer of at least 0, or a NumPy "
                "Generator or RandomState, got True. Pass for example random_state=0."
            ),
        ),
        (
            1.5,
            (
                "random_state must be None, an integer of at least 0, or a NumPy "
                "Generator or RandomState, got 1.5. Pass for example random_state=0."
            ),
        ),
        (
            -1,
            "random_state must be at least 0, got -1. Pass for example random_state=0.",
        ),
    ],
)
def test_anything_else_is_refused(given, message):
    with pytest.raises(InputError) as caught:
        resolve_seed(given)
    assert message in str(caught.value)


@pytest.mark.slow
def test_libraries_loaded_on_the_way_leave_the_random_state_of_the_caller(tmp_path):
    program = """
import random

import numpy as np
import permgrad as pg
random.seed(0)
before = random.getstate()
X = np.random.default_rng(0).normal(size=(60, 2))
y = np.where(X[:, 0] > 0, "yes", "no")
pg.compare(["linear", "extra_trees"], X, y, cv=2, progress=False)
assert random.getstate() == before, "a comparison draws nothing"
model = pg.HyNNClassifier(preset="fast", max_epochs=1, random_state=0).fit(X, y)
model.score(X, y)
assert random.getstate() == before, "nor does a fit, nor a score"
"""
    (tmp_path / "program.py").write_text(program)
    ended = run_script(tmp_path / "program.py", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_a_score_leaves_the_random_state_of_the_caller(tmp_path):
    program = """
import random

import numpy as np
import permgrad as pg
X = np.random.default_rng(0).normal(size=(60, 2))
model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0).fit(X, X[:, 0])
random.seed(0)
before = random.getstate()
model.score(X, X[:, 0])
assert random.getstate() == before
"""
    (tmp_path / "program.py").write_text(program)
    ended = run_script(tmp_path / "program.py", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
