"""``random_state`` as NumPy and scikit-learn give it."""

from __future__ import annotations

import numpy as np
import pytest

from permgrad import InputError
from permgrad._random import resolve_seed


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_a_generator_gives_a_seed_and_advances(make):
    own, twin = make(3), make(3)
    first, second = resolve_seed(own), resolve_seed(own)
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
            "NumPy Generator or RandomState, however: random_state='seven'; pass for example random_state=0",
        ),
        (True, "however: random_state=True; pass for example random_state=0"),
        (1.5, "however: random_state=1.5; pass for example random_state=0"),
        (-1, "random_state must be at least 0, however: random_state=-1"),
    ],
)
def test_anything_else_is_refused(given, message):
    with pytest.raises(InputError) as caught:
        resolve_seed(given)
    assert message in str(caught.value)
