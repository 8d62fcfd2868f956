"""Layouts: every registered one, the protocol for others, and the assignment's
quality.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from permgrad import InputError
from permgrad.imaging import (
    AssignmentLayout,
    GridLayout,
    PlacedLayout,
    Renderer,
    StoredLayout,
    fit_layout,
    layout_to_dict,
    layouts,
    make_layout,
)
from permgrad.imaging.assignment import (
    RandomLayout,
    block_cells,
    improve_by_swaps,
    neighbourhood,
)
from permgrad.imaging.path import PathLayout, is_ordered
from permgrad.imaging.tinto import TintoLayout

make_layout("random")  # fills the registry
NAMES = list(layouts)
DOCS = Path(__file__).parents[2] / "docs"
WITHOUT_SHARING = [name for name in NAMES if name != "tinto"]


def correlated_blocks(rows=400, blocks=4, size=4, noise=0.3, seed=0):
    """Columns in blocks that share a factor, in shuffled order, and each column's
    block.
    """
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(rows, blocks))
    block = rng.permutation(np.repeat(np.arange(blocks), size))
    signs = rng.choice([-1, 1], size=blocks * size)
    return factors[:, block] * signs + noise * rng.normal(
        size=(rows, blocks * size)
    ), block


def neighbour_similarity(table, positions):
    similarity = np.abs(np.corrcoef(table, rowvar=False))
    near = neighbourhood(positions)
    return float((similarity * near).sum() / near.sum())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (50, 1), (50, 2), (50, 3), (50, 40)])
def test_positions_are_on_the_grid(name, shape):
    table = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    layout = make_layout(name, 20, 0).fit(
        table, [f"x{index}" for index in range(shape[1])]
    )
    assert layout.positions.shape == (shape[1], 2)
    assert layout.positions.dtype == np.int64
    assert layout.positions.min() >= 0
    assert bool((layout.positions < layout.shape).all())
    width = math.isqrt(shape[1] - 1) + 1
    compact = (-(-shape[1] // width), width) if name == "lattice" else (1, shape[1])
    assert layout.shape == (compact if is_ordered(name) else (20, 20))
    assert layout.pixels == max(layout.shape)
    assert not layout.grown


def test_a_layout_has_twenty_pixels_unless_told_otherwise():
    assert {
        kind().pixels for kind in (AssignmentLayout, RandomLayout, TintoLayout)
    } == {20}
    assert StoredLayout([[0, 0]]).pixels == 20
    assert {make_layout(name).pixels for name in NAMES} == {20}


@pytest.mark.parametrize("name", NAMES)
def test_constant_missing_and_huge_columns_are_placed(name):
    table = np.random.default_rng(0).normal(size=(30, 6))
    table[:, 0] = 4.0
    table[:, 1] = np.nan
    table[::2, 2] = np.nan
    table[:, 3] *= 1e200
    table[:, 4] *= 1e-200
    layout = make_layout(name, 20, 0).fit(table)
    assert layout.positions.shape == (6, 2)


def test_a_missing_value_counts_as_its_columns_mean():
    nan = np.nan
    table = np.array(
        [
            [1.0, nan, nan, nan],
            [4.0, 3.0, nan, 8.0],
            [7.0, 5.0, nan, nan],
            [nan, 1.0, nan, nan],
        ]
    )
    expected = [
        [1.0, 3.0, 0.0, 8.0],
        [4.0, 3.0, 0.0, 8.0],
        [7.0, 5.0, 0.0, 8.0],
        [4.0, 1.0, 0.0, 8.0],
    ]
    placed = []

    class Seeing(PlacedLayout):
        def _place(self, encoded, seed):
            placed.append(encoded.tolist())
            return np.zeros((4, 2), dtype=np.int64)

    Seeing(2).fit(table)
    assert placed == [expected], "a column without any value counts as constant"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_layout_and_leaves_random_state_and_data_alone(
    name,
):
    table = np.random.default_rng(0).normal(size=(5000, 23))
    before = table.copy()
    state = np.random.get_state()[1].copy()
    first, again = (make_layout(name, 20, 5).fit(table).positions for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(
        first, make_layout(name, 20).fit(table, random_state=5).positions
    )
    assert np.array_equal(table, before)
    assert np.array_equal(np.random.get_state()[1], state)


def test_the_random_layout_differs_between_seeds_and_uses_the_same_block():
    table = np.random.default_rng(0).normal(size=(50, 23))
    first, second = (
        make_layout("random", 20, seed).fit(table).positions for seed in (0, 1)
    )
    assert not np.array_equal(first, second)
    allowed = {tuple(cell) for cell in block_cells(23, 20)}
    assert {tuple(cell) for cell in first} <= allowed


@pytest.mark.parametrize(
    "name", [name for name in WITHOUT_SHARING if not is_ordered(name)]
)
@pytest.mark.parametrize(
    ("columns", "pixels", "side"),
    [(401, 20, 21), (5, 2, 3), (4, 2, 2), (2, 1, 2), (1700, 20, 42)],
)
def test_the_grid_grows_when_columns_outnumber_pixels(name, columns, pixels, side):
    layout = make_layout(name, pixels, 0).fit(
        np.random.default_rng(0).normal(size=(20, columns))
    )
    # A layout may need more room than a pixel for each column.
    needed = layout._pixels_needed(columns)
    assert side == max(pixels, math.isqrt(columns - 1) + 1)
    assert layout.pixels == max(side, needed)
    assert layout.grown == (layout.pixels > pixels)
    assert layout.collisions == 0


def test_the_documentation_names_each_layout():
    page = (DOCS / "the-default-network.md").read_text(encoding="utf-8")
    assert [name for name in layouts if f'"{name}"' not in page] == []


def test_tinto_shares_pixels_and_counts_them():
    layout = make_layout("tinto", 4, 0).fit(
        np.random.default_rng(0).normal(size=(20, 40))
    )
    assert (layout.pixels, layout.grown) == (4, False)
    assert layout.collisions >= 40 - 16


@pytest.mark.parametrize("name", WITHOUT_SHARING)
@settings(max_examples=25, deadline=None)
@example(columns=2, rows=1, pixels=1, seed=0, levels=1)
@given(
    columns=st.integers(1, 60),
    rows=st.integers(1, 30),
    pixels=st.integers(1, 12),
    seed=st.integers(0, 2**31 - 1),
    levels=st.integers(1, 3),
)
def test_no_two_columns_share_a_pixel(name, columns, rows, pixels, seed, levels):
    table = (
        np.random.default_rng(seed)
        .integers(0, levels, size=(rows, columns))
        .astype(float)
    )
    layout = make_layout(name, pixels, seed).fit(table)
    assert layout.collisions == 0
    assert layout.positions.max() < layout.pixels


@pytest.mark.parametrize("columns", [3, 44, 200])
def test_columns_without_any_correlation_are_placed(columns):
    assert make_layout("assignment", 20, 0).fit(np.zeros((1, columns))).collisions == 0


def test_correlated_columns_are_neighbours():
    table, block = correlated_blocks()
    assigned = make_layout("assignment", 20, 0).fit(table).positions
    chance = np.mean(
        [
            neighbour_similarity(
                table, make_layout("random", 20, s).fit(table).positions
            )
            for s in range(50)
        ]
    )
    reached = neighbour_similarity(table, assigned)
    # 4 blocks of 4 on a 4×4 block: quadrants are the best; 12 + … of the 42 touching
    # pairs lie within one.
    quadrants = np.empty((16, 2), dtype=int)
    for index in range(4):
        quadrants[block == index] = [
            [index // 2 * 2 + r, index % 2 * 2 + c]
            for r, c in itertools.product((0, 1), repeat=2)
        ]
    best = neighbour_similarity(table, quadrants)
    assert best > chance + 0.2, (
        "precondition: neighbourhood can be better than by chance"
    )
    assert reached > best - 0.05 * (best - chance)


@pytest.mark.slow
def test_more_columns_than_the_exact_bound_stay_neighbours_too():
    table, _ = correlated_blocks(rows=150, blocks=40, size=50, noise=0.5)
    assert table.shape[1] == 2000, "precondition: beyond the exact bound"
    assigned = make_layout("assignment", 20, 0).fit(table).positions
    random = make_layout("random", 20, 0).fit(table).positions
    assert neighbour_similarity(table, assigned) > 1.5 * neighbour_similarity(
        table, random
    )


def test_the_assignment_does_not_depend_on_the_order_of_columns_or_their_signs_in_quality():
    table, _ = correlated_blocks(seed=3)
    order = np.random.default_rng(1).permutation(table.shape[1])
    first = make_layout("assignment", 20, 0).fit(table).positions
    second = make_layout("assignment", 20, 0).fit(-table[:, order]).positions
    assert neighbour_similarity(table, first) == pytest.approx(
        neighbour_similarity(table[:, order], second), rel=0.1
    )


def test_swaps_equal_a_slow_search_for_the_best_swap():
    rng = np.random.default_rng(0)
    similarity = rng.random((7, 7))
    similarity = similarity + similarity.T
    np.fill_diagonal(similarity, 0)
    cells = block_cells(7, 9)
    near = neighbourhood(cells)

    def value(chosen):
        return (similarity * near[np.ix_(chosen, chosen)]).sum() / 2

    start = np.arange(7)
    cell_positions = list(range(len(cells)))
    current = list(start)
    free = [free_cell for free_cell in cell_positions if free_cell not in start]
    while True:
        trials = []
        for i in range(7):
            for j in range(i + 1, 7):
                trial = current.copy()
                trial[i], trial[j] = trial[j], trial[i]
                trials.append((trial, free))
            for k in range(len(free)):
                trial = current.copy()
                left = free.copy()
                trial[i], left[k] = left[k], trial[i]
                trials.append((trial, left))
        best = max(trials, key=lambda trial: value(np.array(trial[0])))
        if value(np.array(best[0])) <= value(np.array(current)) + 1e-9:
            break
        current, free = best
    improved_cells = improve_by_swaps(similarity, cells, start)
    assert value(improved_cells) > value(start) + 0.1, (
        "precondition: something was to be gained"
    )
    assert value(improved_cells) == pytest.approx(value(np.array(current)))


def test_spacing_leaves_pixels_between_columns():
    layout = AssignmentLayout(20, spacing=2).fit(
        np.random.default_rng(0).normal(size=(30, 9))
    )
    rows = np.unique(layout.positions[:, 0])
    assert np.diff(rows).tolist() == [2, 2]
    assert (
        AssignmentLayout(4, spacing=2)
        .fit(np.random.default_rng(0).normal(size=(30, 9)))
        .pixels
        == 5
    )


@pytest.mark.slow
def test_ten_thousand_columns_take_seconds():
    table = np.random.default_rng(0).normal(size=(1000, 10_000)).astype(np.float32)
    start = time.process_time()
    layout = make_layout("assignment", 20, 0).fit(table)
    assert time.process_time() - start < 10
    assert (layout.pixels, layout.collisions) == (100, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_survives_json(name):
    options = {"blur": True, "option": "maximum"} if name == "tinto" else {}
    layout = make_layout(name, 20, 0, **options).fit(
        np.random.default_rng(0).normal(size=(30, 450))
    )
    read = StoredLayout.from_dict(json.loads(json.dumps(layout.to_dict())))
    assert np.array_equal(read.positions, layout.positions)
    assert (read.pixels, read.overlap, read.blur, read.name, read.grown) == (
        layout.pixels,
        layout.overlap,
        layout.blur,
        name,
        layout.grown,
    )
    assert read.to_dict() == layout.to_dict()


class Diagonal:
    """Somebody else's layout."""

    def __init__(self, pixels=30, overlap="last"):
        self.pixels = pixels
        self.overlap = overlap

    def fit(self, encoded, names=None, random_state=None):
        self.positions = np.stack([np.arange(encoded.shape[1])] * 2, axis=1)
        return self


def test_an_object_with_the_protocol_plugs_in_and_is_not_changed():
    mine = Diagonal()
    fitted = fit_layout(make_layout(mine, 20, 0), np.eye(5), list("abcde"), 0)
    assert not hasattr(mine, "positions")
    assert fitted.positions.tolist() == [[index, index] for index in range(5)]
    assert layout_to_dict(fitted)["name"] == "Diagonal"
    stored_layout = Renderer(fitted, np.zeros(5), np.ones(5)).layout
    assert (
        stored_layout.grown,
        stored_layout.blur,
        stored_layout.overlap,
        stored_layout.pixels,
    ) == (
        False,
        None,
        "last",
        30,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make_layout("asignment"),
            ("No layout 'asignment'. Did you mean 'assignment'?"),
        ),
        (
            lambda: make_layout("random", 20, 0, spacing=2),
            "Layout 'random' has no option 'spacing'. Leave it out.",
        ),
        (
            lambda: make_layout("tinto", 20, 0, blurr=None),
            "Layout 'tinto' has no option 'blurr'. Did you mean 'blur'?",
        ),
        (
            lambda: make_layout(3),
            (
                f"layout must be one of {', '.join(map(repr, layouts))}, or an object "
                "with fit(encoded, names, random_state) that sets positions, pixels "
                "and overlap, got 3. The protocol is in docs/extending.md."
            ),
        ),
        (
            lambda: make_layout("random", 0),
            (
                "pixels must be an integer from 1 to 4096, got 0. Pass for example "
                "pixels=20."
            ),
        ),
        (
            lambda: fit_layout(Diagonal(pixels=3), np.eye(5), None, 0),
            (
                "positions must be from 0 to pixels − 1 = 2, got 0 to 4. Give the "
                "layout more pixels."
            ),
        ),
        (
            lambda: fit_layout(Diagonal(overlap="first"), np.eye(5), None, 0),
            "overlap must be one of 'last', 'mean', 'maximum', got 'first'.",
        ),
        (
            lambda: make_layout("random").fit(np.zeros((0, 3))),
            (
                "A layout needs encoded rows of shape (rows, columns), at least one of "
                "each, got shape (0, 3). Pass the encoded training rows."
            ),
        ),
        (
            lambda: make_layout("random").fit(np.zeros((2, 3)), ["a"]),
            (
                "A layout needs one name for each encoded column, got 1 names for 3 "
                "columns. Pass the encoder's encoded_names_."
            ),
        ),
        (
            lambda: make_layout("tinto").fit(np.array([[1.0, np.inf]])),
            (
                "Encoded values must be finite, but 1 of 2 columns holds infinity. "
                "Clean it first."
            ),
        ),
        (
            lambda: StoredLayout([[0, 1.5]], 4),
            (
                "positions of a layout must be integers of shape (encoded columns, 2), "
                "a row and a column for "
                "each, got list of shape (1, 2). Round them to whole pixels."
            ),
        ),
        (
            lambda: StoredLayout([[0, 0]], 4).fit(np.eye(2)),
            (
                "The stored layout has 1 positions for 2 encoded columns. Use "
                "layout='assignment' to place these columns anew."
            ),
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.message == message


class Snake(PathLayout):
    """A layout of a user's own, along which neighbours belong together."""

    name = "snake"


class Heap(PlacedLayout):
    """A layout of a user's own without an order."""

    name = "heap"


def test_an_own_layout_says_whether_it_is_ordered_and_so_does_its_copy(monkeypatch):
    table = np.random.default_rng(0).normal(size=(30, 6))
    monkeypatch.setitem(layouts, "snake", Snake)
    monkeypatch.setitem(layouts, "heap", Heap)
    fitted = [Snake().fit(table), GridLayout((2, 3)).fit(table)]
    for layout in fitted:
        assert is_ordered(layout)
        assert is_ordered(StoredLayout.from_dict(layout.to_dict()))
    assert is_ordered("snake")
    assert is_ordered((2, 3))
    for unordered in ("heap", Heap(), "assignment", "unknown", object()):
        assert not is_ordered(unordered)
