"""Orders of columns: found from what resembles what, given by names, or a grid of known
size.
"""

from __future__ import annotations

import numpy as np
import pytest

from permgrad.base.errors import InputError
from permgrad.imaging import (
    GivenLayout,
    GridLayout,
    PathLayout,
    StoredLayout,
    draw_layout,
    make_layout,
)
from permgrad.imaging.path import turn_pieces


def _curves(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(size=(rows, columns)), axis=1)


@pytest.mark.parametrize("columns", [3, 13, 60, 300])
def test_a_shuffled_curve_is_put_in_order(columns: int) -> None:
    curves = _curves(400, columns)
    shuffled = np.random.default_rng(1).permutation(columns)
    assert columns == 3 or (np.abs(np.diff(shuffled)) == 1).mean() < 0.2, (
        "the columns are shuffled"
    )
    layout = PathLayout().fit(curves[:, shuffled])
    column_order = shuffled[layout.positions[:, 1].argsort()]
    assert (np.abs(np.diff(column_order)) == 1).mean() >= 0.98
    assert layout.shape == (1, columns)
    again = PathLayout().fit(curves[:, shuffled])
    assert np.array_equal(layout.positions, again.positions)


def test_the_sign_and_the_scale_of_a_column_do_not_count() -> None:
    curves = _curves(400, 20)
    rng = np.random.default_rng(2)
    factors = rng.choice([-1.0, 1.0], size=20) * rng.uniform(0.01, 100, size=20)
    assert np.array_equal(
        PathLayout().fit(curves).positions, PathLayout().fit(curves * factors).positions
    )


def test_turning_pieces_never_makes_neighbours_less_alike_and_ends_where_no_turn_helps() -> (
    None
):
    rng = np.random.default_rng(3)
    similarity = rng.uniform(size=(9, 9))
    similarity = np.triu(similarity, 1) + np.triu(similarity, 1).T

    def worth(order: np.ndarray) -> float:
        return float(similarity[order[1:], order[:-1]].sum())

    start = np.arange(9)
    turned_order = turn_pieces(similarity, start)
    assert sorted(turned_order.tolist()) == list(range(9))
    assert worth(turned_order) > worth(start)
    for first in range(9):
        for last in range(first + 1, 9):
            turned = turned_order.copy()
            turned[first : last + 1] = turned[first : last + 1][::-1]
            assert worth(turned) <= worth(turned_order) + 1e-9


@pytest.mark.parametrize(
    ("names", "shape", "positions"),
    [
        (["t02", "t00", "t01"], (1, 3), [[0, 2], [0, 0], [0, 1]]),
        (["1.5nm", "10nm", "2nm"], (1, 3), [[0, 0], [0, 2], [0, 1]]),
        (
            ["px_1_0", "px_0_0", "px_0_5", "px_1_5"],
            (2, 2),
            [[1, 0], [0, 0], [0, 1], [1, 1]],
        ),
        (["a", "b7", "c"], (1, 3), [[0, 0], [0, 1], [0, 2]]),  # no number in each name
        (
            ["a1", "b1", "c2"],
            (1, 3),
            [[0, 0], [0, 1], [0, 2]],
        ),  # not one number for each name
        (["p_0_0", "p_7_1", "p_3_9"], (1, 3), [[0, 0], [0, 1], [0, 2]]),  # no grid
    ],
)
def test_numbers_in_names_give_the_order(
    names: list[str], shape: tuple[int, int], positions: list[list[int]]
) -> None:
    layout = GivenLayout().fit(np.eye(len(names)), names)
    assert (layout.shape, layout.positions.tolist()) == (shape, positions)


def test_a_grid_of_known_size_is_read_row_by_row_and_drawn_and_stored() -> None:
    layout = make_layout((2, 4)).fit(np.eye(7))
    assert isinstance(layout, GridLayout)
    assert layout.positions.tolist() == [
        [0, 0],
        [0, 1],
        [0, 2],
        [0, 3],
        [1, 0],
        [1, 1],
        [1, 2],
    ]
    stored = StoredLayout.from_dict(layout.to_dict())
    assert (stored.shape, stored.name) == ((2, 4), "grid")
    assert "2 × 4 pixels" in draw_layout(stored).axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((2, 3), "has 6 places, but there are 7"),
        ((0, 8), "height and a width"),
        ((2, 3, 2), "2 × 3 × 2 has 12 places, but there are 7"),
        ((1, 3, 2), "1 × 3 × 2 has 6 places, but there are 7"),
        ((7, 1, 1, 1), "height and a width"),
    ],
)
def test_wrong_grids_are_refused(size: tuple[int, ...], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        make_layout(size).fit(np.eye(7))
