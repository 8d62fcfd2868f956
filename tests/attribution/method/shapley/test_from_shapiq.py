"""Interactions that shapiq estimates: closed forms of many players, one value function,
seeds, and the refusal.
"""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.method.shapley.indices import INDICES
from permgrad.base.errors import EnvironmentProblem, InputError

PLAYERS = 14
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(3, PLAYERS))
BACKGROUND = RNG.normal(size=(20, PLAYERS))
SQUARE = np.triu(RNG.normal(size=(PLAYERS, PLAYERS)), 1)
CALL = {
    "method": "shapley", "task": "regression", "random_state": 0, "order": 2, "background": BACKGROUND,
    "progress": False,
}  # fmt: skip


def quadratic(rows):
    cells = np.asarray(rows)
    return np.einsum("ri,ij,rj->r", cells, SQUARE, cells) + cells.sum(axis=1)


def network(rows, players=PLAYERS):
    """Return a sum of tanh units, in which interactions of all sizes occur."""
    rng = np.random.default_rng(5)
    return np.tanh(np.asarray(rows) @ rng.normal(size=(players, 8)) * 0.4) @ rng.normal(
        size=8
    )


@pytest.fixture(autouse=True)
def _shapiq(request):
    if "without" not in request.node.name:
        pytest.importorskip("shapiq", reason="shapiq is a peer, in the extra 'peers'")


@pytest.mark.slow
@pytest.mark.parametrize("index", INDICES)
def test_pairs_of_a_quadratic_function_have_their_closed_form(index):
    explanation = explain_with(quadratic, ROWS, index=index, **CALL)
    pairs = explanation.order == 2
    assert explanation.meta["model_rows"] < 20 * 2**PLAYERS / 2, "not all coalitions"
    apart = ROWS[:, None] - BACKGROUND
    # Both in the row, one, and none: the product of the differences from the background
    # row, averaged over it.
    truth = np.einsum("rbi,rbj->rij", apart, apart) / len(BACKGROUND) * SQUARE
    first, second = np.array(
        [
            pair_members
            for pair_members, pair in zip(explanation.members, pairs, strict=True)
            if pair
        ]
    ).T
    assert np.abs(truth).max() > 1
    assert explanation.values[:, pairs, 0] == pytest.approx(
        truth[:, first, second], abs=1e-4
    )
    assert np.isnan(explanation.std_error).all()
    assert explanation.p_values is None
    assert all(np.isnan(end).all() for end in explanation.ci())
    # Shapley values add up, and so do the index's own values of single features and its
    # interactions, but for SII.
    difference = (explanation.predictions - explanation.base_values)[:, 0]
    assert explanation.values[:, ~pairs, 0].sum(axis=1) == pytest.approx(
        difference, abs=1e-6
    )
    gap = np.abs(explanation.parts[index][..., 0].sum(axis=1) - difference)
    assert (gap > 0.1).all() if index == "SII" else (gap < 1e-6).all()
    plain = explain_with(quadratic, ROWS, **{**CALL, "order": 1, "exact": PLAYERS})
    assert explanation.values[:, ~pairs, 0] == pytest.approx(
        plain.values[..., 0], abs=1e-4
    )


@pytest.mark.parametrize("index", INDICES)
def test_more_coalitions_come_closer_to_the_enumerated_numbers(index):
    call = {**CALL, "background": BACKGROUND[:2, :8], "index": index}
    rows = ROWS[:, :8]
    exact = explain_with(lambda cells: network(cells, 8), rows, **call)
    assert (exact.std_error == 0).all()
    errors = []
    for most in (12, 60):
        explanation = explain_with(
            lambda cells: network(cells, 8),
            rows,
            exact=0,
            max_permutations=most,
            **call,
        )
        assert explanation.meta["estimator"].endswith("of shapiq")
        assert explanation.meta["model_rows"] < exact.meta["model_rows"] or most > 12
        errors.append(np.abs(explanation.values - exact.values).mean())
    assert errors[1] < 0.7 * errors[0]
    assert errors[1] < 0.3 * np.abs(exact.values).mean()


def test_outputs_have_the_coalitions_of_one_and_rows_do_not_depend_on_each_other():
    def two(cells):
        return np.column_stack([network(cells), network(np.asarray(cells)[:, ::-1])])

    joint_explanation = explain_with(two, ROWS, **CALL)
    first = explain_with(network, ROWS, **CALL)
    assert joint_explanation.meta["model_rows"] == first.meta["model_rows"]
    assert joint_explanation.values[..., 0] == pytest.approx(
        first.values[..., 0], abs=1e-6
    )
    alone = explain_with(network, ROWS[1:2], **CALL)
    assert alone.values[0] == pytest.approx(first.values[1], abs=1e-6)


def test_draws_follow_random_state_and_leave_the_global_states_alone():
    numpy_state = np.random.get_state()[1].copy()
    python_state = random.getstate()
    first, same, reseeded = (
        explain_with(network, ROWS, **{**CALL, "random_state": seed})
        for seed in (0, 0, 1)
    )
    assert (np.random.get_state()[1] == numpy_state).all()
    assert random.getstate() == python_state
    assert (first.values == same.values).all()
    assert (first.values != reseeded.values).any()


def test_max_permutations_limits_the_coalitions():
    for index, most in (("k-SII", 500), ("STII", 500), ("FSII", 500)):
        explanation = explain_with(
            network, ROWS[:1], index=index, max_permutations=most, **CALL
        )
        names = PLAYERS + PLAYERS * (PLAYERS - 1) // 2
        fewest = names + PLAYERS + 2 if index == "STII" else 2 * names
        coalitions = max(most * PLAYERS // len(BACKGROUND), fewest)
        assert explanation.meta["model_rows"] <= (coalitions + 2) * len(BACKGROUND)


def test_players_that_are_the_same_in_a_row_and_its_background_are_0():
    rows = np.tile(ROWS, (1, 2))[:, : PLAYERS + 1]
    background = np.tile(BACKGROUND, (1, 2))[:1, : PLAYERS + 1]
    rows[:, 3] = background[0, 3]
    rows[0, 5:] = background[0, 5:]
    explanation = explain_with(
        lambda cells: network(cells, PLAYERS + 1),
        rows,
        **{**CALL, "background": background},
    )
    idle = [
        interaction_index
        for interaction_index, players in enumerate(explanation.members)
        if 3 in players
    ]
    assert (explanation.values[:, idle] == 0).all()
    assert (explanation.std_error[:, idle] == 0).all()
    assert (explanation.std_error[0] == 0).all(), "few players differ: enumerated"
    assert np.isnan(np.delete(explanation.std_error[1], idle, axis=0)).all()
    assert (
        explanation.meta["estimator"]
        == "KernelSHAPIQ of shapiq or enumeration of all coalitions"
    )


def test_results_are_told_drawn_and_stored(tmp_path):
    explanation = explain_with(network, ROWS, **CALL)
    assert "Only together" in explanation.summary()
    stored = pg.Explanation.load(explanation.save(tmp_path / "found"))
    np.testing.assert_array_equal(stored.p_values, explanation.p_values)
    assert len(explanation.plot.interactions().axes)
    assert (
        explanation.to_shapiq(2, row=1)[(0, 1)]
        == explanation.values[1, list(explanation.members).index((0, 1)), 0]
    )


@pytest.mark.parametrize("index", INDICES)
def test_without_shapiq_few_players_are_enumerated_and_more_refused(monkeypatch, index):
    monkeypatch.setitem(sys.modules, "shapiq", None)
    call = {**CALL, "index": index}
    message = (
        r"14 players differ in a row and its background, more than the 12 .* "
        r"need shapiq.*permgrad\[peers\]"
    )
    with pytest.raises(EnvironmentProblem, match=message) as caught:
        explain_with(quadratic, ROWS, **call)
    assert caught.value.code == "PG060"
    few = explain_with(
        quadratic, ROWS, groups={"first three": ["x0", "x1", "x2"]}, **call
    )
    assert (few.std_error == 0).all()


def test_too_many_names_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 110))
    with pytest.raises(
        InputError,
        match=r"110 players differ .* at most 5,000 features and interactions .* got "
        r"6,105",
    ):
        explain_with(
            lambda cells: np.asarray(cells).sum(axis=1),
            rows[:2],
            **{**CALL, "background": rows},
        )
