"""The steps of the assignment layout, each against a closed form or a slow twin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from permgrad.imaging import AssignmentLayout, assignment
from permgrad.imaging.assignment import block_cells, neighbourhood


# --- cells ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("columns", "pixels", "spacing", "expected"),
    [
        (1, 5, 1, [[2, 2]]),
        (2, 5, 1, [[2, 1], [2, 2]]),
        (3, 6, 1, [[2, 2], [2, 3], [3, 2], [3, 3]]),
        (5, 7, 1, [[2, 2], [2, 3], [2, 4], [3, 2], [3, 3], [3, 4]]),
        (5, 8, 2, [[2, 1], [2, 3], [2, 5], [4, 1], [4, 3], [4, 5]]),
    ],
)
def test_the_block_lies_in_the_middle_row_by_row(columns, pixels, spacing, expected):
    assert block_cells(columns, pixels, spacing).tolist() == expected


@pytest.mark.parametrize("reach", [1, 2])
def test_neighbours_are_one_step_away_straight_or_across(reach):
    cells = np.array(list(itertools.product(range(5), range(4))))
    near = neighbourhood(cells, reach)
    for (i, first), (j, second) in itertools.product(enumerate(cells), repeat=2):
        down, along = np.abs(first - second)
        straight = (down, along) in {(0, reach), (reach, 0)}
        across = (down, along) == (reach, reach)
        assert near[i, j] == pytest.approx(
            1.0 if straight else 2**-0.5 if across else 0.0
        )


# --- the plane ------------------------------------------------------------------------
def test_a_sample_of_rows_is_standardised_and_no_row_is_taken_twice():
    rows = 2500
    table = np.stack(
        [np.arange(rows), np.arange(rows) % 7, np.full(rows, 3.0)], axis=1
    ).astype(float)
    standardised_rows = assignment.standardised_sample(table, 5)
    assert len(standardised_rows) == 2000, "precondition: fewer rows than there are"
    assert len(np.unique(standardised_rows[:, 0])) == 2000
    assert (np.diff(standardised_rows[:, 0]) > 0).all(), "in their order"
    np.testing.assert_allclose(standardised_rows.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(
        (standardised_rows**2).sum(axis=0), [1, 1, 0], atol=1e-12
    )
    assert np.array_equal(standardised_rows, assignment.standardised_sample(table, 5))
    assert not np.array_equal(
        standardised_rows, assignment.standardised_sample(table, 6)
    )
    whole_sample = assignment.standardised_sample(table[:2000], 5)
    np.testing.assert_allclose(
        np.diff(whole_sample[:, 0]),
        np.diff(whole_sample[:, 0])[0],
        rtol=1e-6,
        err_msg="no row left out",
    )


def test_wide_tables_are_sampled_down_to_fifty_rows_and_no_further(monkeypatch):
    monkeypatch.setattr(assignment, "_SAMPLED_VALUES", 600)
    table = np.random.default_rng(0).normal(size=(70, 20))
    assert len(assignment.standardised_sample(table, 0)) == 50, (
        "30 rows would have 600 values"
    )
    assert len(assignment.standardised_sample(table[:, :10], 0)) == 60
    assert len(assignment.standardised_sample(table[:60, :10], 0)) == 60


def similarities(table):
    standardised = assignment.standardised_sample(table, 0)
    return np.abs(standardised.T @ standardised) - np.eye(table.shape[1])


def test_units_and_signs_do_not_change_similarities():
    table = np.random.default_rng(0).normal(size=(40, 4))
    table[:, 1] += table[:, 0]
    expected = np.abs(np.corrcoef(table, rowvar=False)) - np.eye(4)
    assert expected.max() > 0.5, "precondition: something is alike"
    for units in (np.ones(4), np.array([1e-200, 1e200, -1.0, 1e-30])):
        np.testing.assert_allclose(similarities(table * units), expected, atol=1e-12)


def test_points_of_a_plane_are_found_again_by_their_distances():
    points = np.random.default_rng(0).normal(scale=0.1, size=(9, 2))
    distance = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    assert distance.max() < 1, "precondition: similarities are not below 0"
    similarity = 1 - distance
    np.fill_diagonal(similarity, 0.0)
    plane = assignment._scaled_plane(similarity)
    point_distances = np.sqrt(((plane[:, None] - plane[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(point_distances, distance, atol=1e-9)
    assert plane[:, 0].var() > plane[:, 1].var(), "the longer axis first"
    largest = np.abs(plane).argmax(axis=0)
    assert (plane[largest, [0, 1]] > 0).all(), (
        "axes have no sign of their own: the largest entry is positive"
    )


def test_loadings_of_many_columns_are_those_of_a_whole_decomposition():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(80, 3)) * [4, 2, 1]
    table = factors @ rng.normal(size=(3, 30)) * np.where(np.arange(30) % 3, 1, -1)
    standardised = assignment.standardised_sample(table, 0)
    _, _, first = np.linalg.svd(standardised, full_matrices=False)
    assert 5 < (first[0] < 0).sum() < 25, "precondition: some columns are turned"
    turned = (standardised * np.where(first[0] < 0, -1.0, 1.0)).T
    left, strength, _ = np.linalg.svd(turned - turned.mean(axis=0), full_matrices=False)
    expected = left[:, :2] * strength[:2]
    expected *= np.where(expected[np.abs(expected).argmax(axis=0), [0, 1]] < 0, -1, 1)
    np.testing.assert_allclose(
        assignment.principal_plane(standardised, 0), expected, atol=1e-6
    )


# --- giving cells ---------------------------------------------------------------------
def test_one_and_two_columns_keep_their_order():
    table = np.random.default_rng(1).normal(size=(30, 2))
    for seed in range(4):
        table[:, 1] = np.random.default_rng(seed).normal(size=30)
        assert AssignmentLayout(20).fit(table).positions.tolist() == [[9, 9], [9, 10]]
    assert AssignmentLayout(20).fit(table[:, :1]).positions.tolist() == [[9, 9]]


def test_columns_get_the_cells_with_the_least_squared_distances():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(6, 2)) * [1.0, 30.0]
    cells = block_cells(6, 9)
    ranks = np.stack(
        [[sorted(axis).index(value) / 5 for value in axis] for axis in plane.T], axis=1
    )
    targets = cells.min(axis=0) + ranks * (cells.max(axis=0) - cells.min(axis=0))

    def cost(chosen):
        return ((targets - cells[list(chosen)]) ** 2).sum()

    assigned_cells = assignment.assign(plane, cells)
    least = min(cost(cell_indices) for cell_indices in itertools.permutations(range(6)))
    assert cost(range(6)) > least + 0.5, "precondition: not just any choice will do"
    assert cost(assigned_cells) == pytest.approx(least)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 1.0 + 1e-12, 0.5], [3, 1, 2, 0]),
        ([1.0 + 1e-12, 1.0], [0, 1]),
        ([7.0], [0]),
    ],
)
def test_near_equal_values_keep_their_order_in_ranks(values, expected):
    line, cells = (
        [[value, 0] for value in numbers] for numbers in (values, range(len(values)))
    )
    assert assignment.assign(np.array(line), np.array(cells)).tolist() == expected


def test_many_columns_are_sorted_into_rows_and_then_along_them():
    cells = block_cells(8, 9)  # three rows of three; the last has a free place
    assert len(cells) == 9
    down = np.array([0, 0, 0, 1, 1, 1, 2, 2], dtype=float)
    along = np.array([1, 2, 3, 5, 4, 6, 9, 8], dtype=float)
    order = np.random.default_rng(0).permutation(8)
    plane = np.stack([down, along], axis=1)[order]
    expected = np.array([0, 1, 2, 4, 3, 5, 7, 6])[order]
    assert assignment.split_by_rank(plane, cells).tolist() == expected.tolist()
    wide = cells[cells[:, 0] < cells[:, 0].max()]  # two rows of three
    flat = np.stack([np.arange(6.0), -np.arange(6.0)], axis=1)
    assert assignment.split_by_rank(flat, wide).tolist() == [2, 1, 0, 5, 4, 3]


def test_without_refinement_the_assignment_stands():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 16)) + 0.5 * rng.normal(
        size=(60, 16)
    )
    similarity = similarities(table)
    cells = block_cells(16, 20)
    plain = AssignmentLayout(20, refine=False).fit(table).positions
    assert (
        plain.tolist()
        == cells[
            assignment.assign(assignment._scaled_plane(similarity), cells)
        ].tolist()
    )

    def value(positions):
        return (similarity * neighbourhood(positions)).sum()

    assert value(AssignmentLayout(20).fit(table).positions) > value(plain) + 0.1


def test_spaced_columns_are_refined_among_their_own_neighbours():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 9)) + 0.5 * rng.normal(
        size=(60, 9)
    )
    packed = AssignmentLayout(20).fit(table).positions
    spaced = AssignmentLayout(20, spacing=2).fit(table).positions
    assert ((spaced - spaced.min(axis=0)) // 2).tolist() == (
        packed - packed.min(axis=0)
    ).tolist()


def test_swaps_end_at_once_where_nothing_is_alike():
    cells = block_cells(5, 9)
    start_cells = np.array([4, 2, 0, 1, 3])
    assert (
        assignment.improve_by_swaps(np.zeros((5, 5)), cells, start_cells).tolist()
        == start_cells.tolist()
    )
