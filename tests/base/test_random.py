"""Numbers that depend on a seed and on what they are for, on nothing else."""

from __future__ import annotations

import numpy as np

from permgrad.base.random import content_keys, derive_seed, uniform_integers


def test_seeds_and_draws_depend_on_their_keys_alone():
    assert derive_seed(0, "donor", "age", 1) == derive_seed(0, "donor", "age", 1)
    assert derive_seed(0, "donor", "age", 1) != derive_seed(0, "donor", "age", 2)
    all_rows = uniform_integers(0, ("age", 3), np.arange(100), 50)
    assert uniform_integers(0, ("age", 3), [7], 50)[0] == all_rows[7]


def test_equal_rows_have_equal_keys():
    first, second, third = content_keys(
        [np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])]
    )
    assert first == third
    assert first != second
