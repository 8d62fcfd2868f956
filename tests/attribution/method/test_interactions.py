"""Interactions of the loss: against plain loops, in closed form, screened, and
refused.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import donor_rows, explain_with

import permgrad as pg

ROWS = np.random.default_rng(0).normal(size=(60, 5))
CALL = {"task": "regression", "random_state": 3, "n_repeats": 4, "order": 2}


def model(rows):
    return rows[:, 0] * rows[:, 1] + rows[:, 2] + np.abs(rows[:, 3])


TARGETS = model(ROWS) + np.random.default_rng(1).normal(size=60)


def growth(players: tuple[int, ...], repeat: int) -> np.ndarray:
    """Return how much each row's squared error grows when some players come from its
    donor.
    """
    donors = donor_rows(3, "interactions", repeat, np.arange(60), 60, shared=True)
    replaced = ROWS.copy()
    replaced[:, players] = ROWS[donors][:, players]
    return (TARGETS - model(replaced)) ** 2 - (TARGETS - model(ROWS)) ** 2


def test_pairs_are_what_two_replacements_do_beyond_each():
    plain = explain_with(
        model, ROWS, TARGETS, method="permutation", **{**CALL, "order": 1}
    )
    pair_explanation = explain_with(model, ROWS, TARGETS, method="permutation", **CALL)
    assert pair_explanation.names[:5] == plain.names
    assert pair_explanation.values[:5].tolist() == plain.values.tolist()
    for pair_index, (first_player, second_player) in enumerate(
        pair_explanation.members[5:], 5
    ):
        beyond = [
            growth((first_player, second_player), repeat)
            - growth((first_player,), repeat)
            - growth((second_player,), repeat)
            for repeat in range(4)
        ]
        assert pair_explanation.values[pair_index, 0] == pytest.approx(
            np.mean(beyond), abs=1e-12
        )
    assert pair_explanation.ranking(order=2)[0] == "x0 × x1"
    assert pair_explanation.values[5, 0] < 0, (
        "without one of them, the other is worth less"
    )
    assert pair_explanation.p_adjusted[5, 0] < 0.1
    unused = [
        interaction_index
        for interaction_index, players in enumerate(pair_explanation.members)
        if 4 in players
    ]
    assert (pair_explanation.values[unused] == 0).all()
    assert (pair_explanation.p_values[unused] == 1).all()
    assert pair_explanation.meta["interactions"] == {
        "order": 2, "kind": "loss", "index": "Moebius", "candidates": 10, "looked_at": 10, "share": 1.0,
        "left_out": 0, "bound": 0.0,
    }  # fmt: skip


def test_three_players_are_the_transform_of_their_effects():
    interaction_explanation = explain_with(
        model, ROWS, TARGETS, method="permgrad", **{**CALL, "order": 3}
    )
    interaction_index = interaction_explanation.names.index("x0 × x1 × x2")
    signs = {
        (0, 1, 2): 1,
        (0, 1): -1,
        (0, 2): -1,
        (1, 2): -1,
        (0,): 1,
        (1,): 1,
        (2,): 1,
    }
    expected_effect = np.mean(
        [
            sum(sign * growth(subset, repeat) for subset, sign in signs.items())
            for repeat in range(4)
        ]
    )
    assert interaction_explanation.values[interaction_index, 0] == pytest.approx(
        expected_effect, abs=1e-12
    )
    assert abs(expected_effect) > 0.01
    assert interaction_explanation.to_frame()["order"].max() == 3


def test_inputs_of_a_network_and_a_hybrid_network_interact():
    class Pair(torch.nn.Module):
        def forward(self, picture, table):
            return (picture.flatten(1).sum(dim=1) * table[:, 0] + table[:, 1])[:, None]

    rng = np.random.default_rng(4)
    inputs = {
        "picture": rng.normal(size=(80, 1, 4, 4)).astype("float32"),
        "table": rng.normal(size=(80, 2)).astype("float32"),
    }
    y = Pair()(*map(torch.as_tensor, inputs.values())).numpy()[:, 0]
    pair_explanation = explain_with(Pair(), inputs, y, groups="modality", **CALL)
    assert pair_explanation.names == ("picture", "table", "picture × table")
    assert pair_explanation.modality[2] == "picture+table"
    assert pair_explanation.p_values[2, 0] < 0.01
    mixed = explain_with(Pair(), inputs, y, segments=("grid", 2), **CALL)
    assert mixed.ranking(order=2)[0].startswith("picture[")
    frame = rng.normal(size=(80, 3))
    net = pg.HyNNRegressor(
        preset="fast", image="always", max_epochs=2, random_state=0
    ).fit(frame, frame[:, 0] * frame[:, 1])
    of_table = {name: value for name, value in CALL.items() if name != "task"}
    dense, fast = (
        explain_with(net, frame, frame[:, 0], incremental=incremental, **of_table)
        for incremental in (False, True)
    )
    assert fast.values == pytest.approx(dense.values, abs=1e-5)
    assert np.isnan(fast.parts["image"][3:]).all()
    assert np.abs(fast.values[3:, 0]).max() > 1e-4


def test_screening_finds_the_largest_pair_and_bounds_the_rest():
    rows = np.random.default_rng(5).normal(size=(150, 12))
    y = model(rows) + rows[:, 5:].sum(axis=1)
    options = {**CALL, "method": "permutation", "sample_weight": np.linspace(1, 2, 150)}
    every = explain_with(
        lambda table: model(table) + table[:, 5:].sum(axis=1),
        rows,
        y,
        pairs="all",
        **options,
    )
    screened = explain_with(
        lambda table: model(table) + table[:, 5:].sum(axis=1),
        rows,
        y,
        pairs=8,
        **options,
    )
    facts = screened.meta["interactions"]
    assert (
        facts["candidates"],
        facts["looked_at"],
        facts["left_out"],
        facts["pilot_rows"],
    ) == (66, 8, 58, 150)
    assert screened.ranking(order=2)[0] == every.ranking(order=2)[0] == "x0 × x1"
    for name in screened.ranking(order=2):
        pair_indices = screened.names.index(name), every.names.index(name)
        assert screened.values[pair_indices[0]] == every.values[pair_indices[1]]
    left_out = [
        pair_index
        for pair_index, name in enumerate(every.names)
        if name not in screened.names
    ]
    assert np.abs(every.values[left_out]).max() < facts["bound"]
    assert screened.p_adjusted[screened.names.index("x0 × x1"), 0] == pytest.approx(
        every.p_adjusted[every.names.index("x0 × x1"), 0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 6}, "at most 5"),
        ({"pairs": 0}, "pairs must be"),
        ({"order": 1, "pairs": "all"}, "pairs='all' needs order=2, got order=1"),
        ({"order": 3, "pairs": 5}, "pairs=5 needs order=2, got order=3"),
        (
            {"method": "shapley", "order": 1, "index": "STII"},
            "index='STII' is of interactions",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(pg.InputError, match=message):
        explain_with(model, ROWS, TARGETS, **{**CALL, **options})
