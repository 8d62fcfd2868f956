"""Sampled Shapley values: what must hold exactly, what must hold on average, and what
they cost.
"""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from explaining import explain_with
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.method.shapley import method as shapley_method
from permgrad.attribution.method.shapley import sampled as shapley_sampled
from permgrad.attribution.method.shapley.sampled import StoppingRule, Strata, moderated
from permgrad.attribution.method.shapley.shapley_game import ShapleyGame
from permgrad.attribution.players.tree import Tree
from permgrad.attribution.request import tuned
from permgrad.base.random import content_keys


def make_net(players: int = 8, outputs: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(players, 24),
        nn.ReLU(),
        nn.Linear(24, 24),
        nn.ReLU(),
        nn.Linear(24, outputs),
    )
    for layer in net:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 2
    return net.double()


def draw(rows: int, players: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(
        rows,
        players,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )


#: Background rows that go through the network again, to see how far rounding goes.
PROBES = 16 + 2

NET = make_net()
ROWS = draw(12)
BACKGROUND = draw(20, seed=2)


def explain(rows: Tensor = ROWS, **options) -> pg.Explanation:
    call_options = {
        "background": BACKGROUND,
        "exact": 0,
        "random_state": 0,
        "progress": False,
        "tolerance": 0,
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            NET,
            rows,
            method="shapley",
            max_permutations=call_options.pop("orders", 100),
            **call_options,
        )


@pytest.fixture
def no_pilot(monkeypatch):
    """Designs are played wherever they can be, and nothing is tried before."""
    for module in (shapley_method, shapley_sampled):
        monkeypatch.setattr(
            module,
            "prefers_designs",
            lambda game, tree: (tree.free, np.ones(tree.players, dtype=bool)),
        )


# ---- what holds exactly --------------------------------------------------------------


def test_values_add_up_when_the_background_is_gone_round():
    explanation = explain()
    gap = explanation.values.sum(axis=1) - (
        explanation.predictions - explanation.base_values
    )
    assert np.abs(gap).max() < 1e-12
    assert explanation.meta["completeness_gap"] < 1e-12
    # 2 · 20 orders make a round, of which 100 orders hold two and a half.
    assert explanation.meta["permutations"] == 80


def test_the_gap_is_told_where_the_background_is_too_large():
    explanation = explain(background=draw(60, seed=3))
    gap = np.abs(
        explanation.values.sum(axis=1)
        - (explanation.predictions - explanation.base_values)
    ).max(axis=0)
    assert explanation.meta["completeness_gap"] == pytest.approx(
        (gap / explanation.meta["output_range"]).max()
    )
    assert explanation.meta["completeness_gap"] > 1e-3


@pytest.mark.parametrize("blocks", [None, "modality"])
@pytest.mark.usefixtures("no_pilot")
def test_every_background_row_is_used_equally_often(monkeypatch, blocks):
    used: Counter[tuple[int, int]] = Counter()
    name = "walk" if blocks is not None else "solve"
    plain = getattr(shapley_sampled, name)

    def watched(game, *arguments):
        rows, donors = arguments[1:3] if name == "walk" else arguments[:2]
        used.update(zip(rows.tolist(), donors[:, 0].tolist(), strict=True))
        return plain(game, *arguments)

    monkeypatch.setattr(shapley_sampled, name, watched)
    explain(blocks=blocks)
    assert set(used.values()) == {2}
    assert len(used) == 12 * 20


def test_pairs_are_exact_where_two_players_interact():
    class Products(nn.Module):
        def forward(self, table: Tensor) -> Tensor:
            return (table[:, :3].sum(dim=1, keepdim=True) ** 2) + table[:, 3:4] * table[
                :, :1
            ]

    rows = draw(3, 4)
    background = draw(5, 4, seed=2)
    options = {
        "method": "shapley",
        "background": background,
        "task": "regression",
        "progress": False,
    }
    exact = explain_with(Products(), rows, **options)
    sampled = explain_with(Products(), rows, random_state=0, exact=0, **options)
    assert sampled.meta["permutations"] > 0
    np.testing.assert_allclose(sampled.values, exact.values, atol=1e-12)
    assert sampled.std_error.max() < 1e-12


def test_unused_players_get_exactly_zero():
    net = make_net()
    net[0].weight.data[:, 3] = 0
    for double in (False, True):
        used = net.double() if double else net.float()
        options = {
            "background": BACKGROUND.to(torch.float64 if double else torch.float32),
            "progress": False,
        }
        rows = ROWS.to(options["background"].dtype)
        explanation = explain_with(
            used, rows, method="shapley", random_state=0, exact=0, **options
        )
        for array, number in (
            (explanation.values, 0),
            (explanation.std_error, 0),
        ):
            np.testing.assert_array_equal(array[:, 3], number)
        assert (np.delete(explanation.values, 3, axis=1) != 0).all()


def test_a_row_is_explained_alike_whoever_stands_beside_it():
    full_explanation = explain()
    alone = explain(ROWS[[7]])
    np.testing.assert_allclose(alone.values[0], full_explanation.values[7], atol=1e-13)
    np.testing.assert_allclose(
        alone.std_error[0], full_explanation.std_error[7], atol=1e-13
    )
    turned = explain(ROWS.flip(0))
    np.testing.assert_allclose(turned.values[::-1], full_explanation.values, atol=1e-13)
    reseeded = explain(random_state=1)
    assert np.abs(reseeded.values - full_explanation.values).max() > 1e-4


def test_blocks_of_rows_change_nothing(monkeypatch):
    full_explanation = explain()
    monkeypatch.setattr(shapley_sampled, "_BLOCK_NUMBERS", 2000)
    monkeypatch.setattr(shapley_sampled, "_MASK_BYTES", 3000)
    np.testing.assert_allclose(explain().values, full_explanation.values, atol=1e-13)


@pytest.mark.usefixtures("no_pilot")
def test_costs_are_counted_and_the_ends_are_free(monkeypatch):
    evaluated = 0
    plain = nn.Linear.forward

    def forward(self, tensor):
        nonlocal evaluated
        evaluated += len(tensor) if self is NET[0] else 0
        return plain(self, tensor)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    explanation = explain()
    # Rows and background once, 18 rows to see the rounding, then 40
    # designs per row of 8 coalitions and their complements.
    assert explanation.meta["model_rows"] == 12 + 20 + 18 + 12 * 40 * 16
    # Reading the network takes one look at the rows, and a few at some of them: again,
    # turned round, in halves, alone and beside four that are mixed of them; one and two
    # rows tell what memory a row takes, and eight asked thrice whether the network
    # remembers. Two rows are a call as its user makes it, before all others.
    assert (
        0
        <= evaluated - explanation.meta["model_rows"]
        <= len(ROWS) + 5 * 8 + (8 + 4) + 4 + 3 + 3 * 8 + 2
    )


def test_what_is_tried_before_is_counted_too(monkeypatch):
    evaluated = 0
    plain = nn.Linear.forward

    def forward(self, tensor):
        nonlocal evaluated
        evaluated += len(tensor) if self is NET[0] else 0
        return plain(self, tensor)

    def rows_of_a_run() -> tuple[int, int]:
        nonlocal evaluated
        evaluated = 0
        counted = explain().meta["model_rows"]
        return counted, evaluated - counted

    monkeypatch.setattr(nn.Linear, "forward", forward)
    counted, for_reading = rows_of_a_run()
    for module in (shapley_method, shapley_sampled):
        monkeypatch.setattr(
            module,
            "prefers_designs",
            lambda game, tree: (tree.free, np.ones(tree.players, dtype=bool)),
        )
    without, reported_rows = rows_of_a_run()
    assert counted > without
    assert for_reading == reported_rows


@pytest.mark.parametrize("blocks", [None, "modality"])
@pytest.mark.usefixtures("no_pilot")
def test_players_that_are_alike_are_not_computed(monkeypatch, blocks):
    """Codes often agree with the donor's; what is left out changes nothing."""
    rows = (draw(6, seed=3) > 0.4).double()
    background = (draw(20, seed=4) > 0.4).double()
    rows[0] = background[0]
    sparing = explain(rows, background=background, blocks=blocks)
    monkeypatch.setattr(
        ShapleyGame,
        "differs",
        lambda self, rows, donors: np.ones((len(rows), 8), dtype=bool),
    )
    full_explanation = explain(rows, background=background, blocks=blocks)

    evaluations_per_order = 14 if blocks is not None else 16

    assert (
        full_explanation.meta["model_rows"]
        == 6 + 20 + PROBES + 6 * 40 * evaluations_per_order
    )
    assert sparing.meta["model_rows"] < 0.6 * full_explanation.meta["model_rows"]
    # A smaller design has other coalitions; along an order, what is left out changes
    # nothing.
    exact = pg.explain(
        NET,
        rows,
        method=pg.methods.Shapley(blocks=blocks),
        background=background,
        progress=False,
    )
    assert (
        np.abs(sparing.values - exact.values).max()
        < np.abs(full_explanation.values - exact.values).max() * 1.5 + 1e-12
    )
    if blocks is not None:
        np.testing.assert_allclose(sparing.values, full_explanation.values, atol=1e-12)
        np.testing.assert_allclose(
            sparing.std_error, full_explanation.std_error, atol=1e-12
        )


def test_a_row_that_equals_the_background_owes_it_nothing():
    rows = draw(1).repeat(3, 1)
    explanation = explain(rows[:1], background=rows)
    np.testing.assert_array_equal(explanation.values, 0)
    # Every player is tried once whether it is used, which these rows cannot show.
    assert explanation.meta["model_rows"] < 1 + 3 + PROBES + 8 * 16 * 2


def test_out_of_memory_is_lived_with(monkeypatch):
    full_explanation = explain()
    plain = nn.Linear.forward

    def forward(self, tensor):
        if len(tensor) > 100:
            raise torch.OutOfMemoryError
        return plain(self, tensor)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    np.testing.assert_allclose(explain().values, full_explanation.values, atol=1e-12)


# ---- stopping ------------------------------------------------------------------------


def test_rows_stop_when_they_are_known():
    explanation = explain(tolerance=0.004, orders=4000)
    assert (
        explanation.std_error <= 0.004 * np.asarray(explanation.meta["output_range"])
    ).all()
    assert (
        explanation.meta["mean_permutations"] < explanation.meta["permutations"] < 4000
    )


def test_a_row_takes_as_many_orders_in_any_unit(monkeypatch):
    """The tolerance is a share of the output's range: outputs 64 times as large settle
    when these do.
    """
    plain = NET.forward

    def orders(times: float) -> tuple[float, int]:
        monkeypatch.setattr(NET, "forward", lambda rows: times * plain(rows))
        meta = explain(
            tolerance=0.006, orders=2000, min_permutations=2, task="regression"
        ).meta
        return meta["mean_permutations"], meta["permutations"]

    mean, most = orders(1)
    assert 80 < mean < most < 2000
    assert orders(64) == orders(1 / 64) == (mean, most)


def test_rows_that_do_not_settle_are_told():
    with pytest.warns(
        pg.PermgradWarning,
        match=r"After 100 orders, .* for 12 of 12 rows .*\. Raise max_permutations",
    ):
        pg.explain(
            NET,
            ROWS,
            method=tuned(
                pg.methods.Shapley(tolerance=1e-6, max_permutations=100), exact=0
            ),
            background=BACKGROUND,
            random_state=0,
            progress=False,
        )


@pytest.mark.parametrize(
    ("references", "least", "most", "walks"),
    [
        (20, 100, 2000, (20, 3, 50)),
        (100, 100, 2000, (100, 2, 10)),
        (501, 100, 2000, (25, 2, 40)),
        (1, 2, 4, (1, 2, 2)),
        (1, 100, 2000, (25, 2, 40)),
        (12, 100, 2000, (24, 3, 41)),
        (5, 10, 100, (25, 2, 2)),
        (20, 100, 100, (20, 2, 2)),
        (99, 2, 20, (5, 2, 2)),
    ],
)
def test_rounds(references, least, most, walks):
    assert StoppingRule(0.01, least, most).walks(references) == walks


# ---- on average ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"orders": 240},
        {"orders": 240, "blocks": "modality"},
        pytest.param({"orders": 80, "large": True}, marks=pytest.mark.slow),
    ],
    ids=["round", "owen", "large"],
)
def test_intervals_cover_the_exact_values(options):
    """The long form is verification/verify_shapley.py."""
    call_options = dict(options)
    background = draw(300, seed=5) if call_options.pop("large", False) else BACKGROUND
    rows = draw(40, seed=9)
    exact = pg.explain(
        NET,
        rows,
        method=pg.methods.Shapley(blocks=call_options.get("blocks")),
        background=background,
        progress=False,
    )
    inside = []
    scaled = []
    for seed in range(3):
        explanation = explain(
            rows,
            background=background,
            random_state=seed,
            min_permutations=2,
            **call_options,
        )
        assert np.abs(explanation.values - exact.values).max() > 1e-3
        inside.append(
            (explanation.low <= exact.values) & (exact.values <= explanation.high)
        )
        scaled.append((explanation.values - exact.values) / explanation.std_error)
    # 1,920 cases, of which those of one row hang together.
    assert 0.92 <= np.mean(inside) <= 0.98
    # The sizes of designs lie more evenly than chance, which the standard error does
    # not know of.
    assert 0.8 <= np.std(scaled) <= 1.2
    assert abs(np.mean(scaled)) < 0.1


def test_owen_orders_keep_blocks_together():
    tree = Tree.build(["a", "b", "a", "b", "a"], ["p", "p", "q", "q", "p"])
    ranks = tree.ranks(0, "order", np.arange(4000, dtype=np.uint64))
    assert (np.sort(ranks, axis=1) == np.arange(5)).all()
    for block in ([0, 2, 4], [1, 3], [0, 4]):
        assert (np.ptp(ranks[:, block], axis=1) == len(block) - 1).all()
    # Every order that is allowed comes up equally often: 2 · (2 · 2) · 2 of them.
    counts = np.array(list(Counter(map(tuple, ranks.tolist())).values()))
    assert len(counts) == 16
    assert ((counts - 250) ** 2 / 250).sum() < 45


@given(st.integers(1, 30), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_orders_are_permutations_that_depend_on_their_counter_alone(players, counter):
    tree = Tree.flat(players)
    counters = np.array([counter, counter + 1, counter], dtype=np.uint64)
    ranks = tree.ranks(0, "order", counters)
    assert (np.sort(ranks, axis=1) == np.arange(players)).all()
    np.testing.assert_array_equal(ranks[0], ranks[2])
    np.testing.assert_array_equal(tree.ranks(0, "order", counters[1:2])[0], ranks[1])


@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 5), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_strata_equal_the_plain_formula(strata, walks, rounds, seed):
    sample = (
        np.random.default_rng(seed).normal(size=(rounds, 2, strata, walks, 3, 1)) + 100
    )
    running = Strata((2, strata, 3, 1))
    for walk_sample in sample:
        running.add(walk_sample)
    mean, std, freedom = running.estimate()
    pooled = sample.transpose(1, 2, 0, 3, 4, 5).reshape(2, strata, rounds * walks, 3, 1)
    np.testing.assert_allclose(mean, pooled.mean(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(
        std**2,
        pooled.var(axis=2, ddof=1).sum(axis=1) / (strata**2 * rounds * walks),
        rtol=1e-9,
    )
    assert freedom == strata * (rounds * walks - 1)


@given(st.integers(1, 40), st.sampled_from(["float32", "float64", "int64", "bool"]))
@settings(max_examples=30, deadline=None)
def test_content_keys(columns, dtype):
    rows = (np.random.default_rng(columns).normal(size=(50, columns)) * 5).astype(dtype)
    keys = content_keys([rows, np.zeros((50, 2))])
    np.testing.assert_array_equal(
        keys[3:9], content_keys([rows[3:9], np.zeros((6, 2))])
    )
    assert len(np.unique(keys)) == len(np.unique(rows, axis=0))
    assert (keys != content_keys([rows, np.ones((50, 2))])).all()


def test_errors_of_a_row_borrow_from_its_players_that_can_move_an_output():
    std = np.array([[[2.0], [0.0], [0.0]]])
    moderated_errors, freedom = moderated(std, 48, np.array([[True, True, False]]))
    assert freedom == 49
    np.testing.assert_allclose(
        moderated_errors[0, :, 0] ** 2, [(48 * 4 + 2) / 49, 2 / 49, 0]
    )


def test_intervals_of_trees_cover_where_interactions_are_rare():
    """Few orders see them, so that all contributions of a row's player can be equal."""

    def tree(rows: np.ndarray) -> np.ndarray:
        return (
            rows[:, 0]
            + 2.0 * (rows[:, 1:4] > 0.4).all(axis=1)
            + (rows[:, 4:8] > -0.3).all(axis=1)
        )

    rows = draw(40, 9, seed=4).numpy()
    background = draw(20, 9, seed=2).numpy()
    options = {
        "method": "shapley",
        "background": background,
        "task": "regression",
        "progress": False,
    }
    exact = explain_with(tree, rows, **options)
    explanation = explain_with(tree, rows, random_state=0, exact=0, **options)
    used = exact.values[:, :8] != 0
    assert 0.1 < used.mean() < 0.9
    wrong = np.abs(explanation.values - exact.values) > 1e-9
    assert wrong.mean() > 0.05
    assert (explanation.std_error[wrong] > 0).mean() > 0.9
    inside = (explanation.low - 1e-9 <= exact.values) & (
        exact.values <= explanation.high + 1e-9
    )
    assert inside.mean() > 0.85
    np.testing.assert_array_equal(explanation.std_error[:, 8], 0)


# ---- losses --------------------------------------------------------------------------

Y = np.random.default_rng(0).integers(0, 2, 12)


@pytest.mark.slow
@pytest.mark.parametrize("game", ["prediction", "expected"])
def test_sampled_losses_meet_the_enumerated(game):
    call_options = {
        "method": "shapley",
        "scope": "global",
        "background": BACKGROUND,
        "game": game,
        "progress": False,
    }
    exact = explain_with(NET, ROWS, Y, exact=8, **call_options)
    explanation = explain_with(
        NET,
        ROWS,
        Y,
        n_repeats=200,
        random_state=0,
        exact=0,
        tolerance=0,
        **call_options,
    )
    assert explanation.meta["permutations"] == 400
    if game == "prediction":
        assert explanation.meta["completeness_gap"] < 1e-12
        np.testing.assert_allclose(
            explanation.values.sum(axis=0), exact.values.sum(axis=0), atol=1e-12
        )
    spread = exact.std_error.max()
    assert (
        np.abs(explanation.values - exact.values).max()
        < (0.1 if game == "prediction" else 0.5) * spread
    )
    np.testing.assert_allclose(
        explanation.std_error[:, 0], exact.std_error[:, 0], rtol=0.35
    )
    frame = explanation.to_frame()
    outside = (frame["ci_low"] > 0) | (frame["ci_high"] < 0)
    assert ((frame["p_value"] < 0.05) == outside).all()


@pytest.mark.slow
def test_loss_intervals_cover_the_value_over_all_rows():
    rng = np.random.default_rng(1)
    population = draw(20000, seed=11)
    noise = torch.as_tensor(rng.normal(size=(20000, 2)))
    y = (NET(population).detach() + noise).argmax(dim=1).numpy()
    call_options = {
        "method": "shapley",
        "scope": "global",
        "exact": 8,
        "references": 5,
        "background": BACKGROUND[:5],
    }
    truth = explain_with(
        NET, population[:4000], y[:4000], progress=False, **call_options
    ).values[:, 0]
    inside = []
    for seed in range(20):
        rows = rng.choice(np.arange(4000, 20000), 150, replace=False)
        explanation = explain_with(
            NET,
            population[rows],
            y[rows],
            random_state=seed,
            n_repeats=1,
            progress=False,
            **{**call_options, "exact": 0},
        )
        inside.append(
            (explanation.low[:, 0] <= truth) & (truth <= explanation.high[:, 0])
        )
    assert 0.88 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize(("blocks", "sampler"), [(None, "solve"), ("modality", "walk")])
def test_rows_as_their_own_background_never_donate_to_themselves(
    monkeypatch, blocks, sampler
):
    from permgrad.attribution.method.shapley import loss as shapley_loss

    watched_calls = []
    plain = getattr(shapley_loss, sampler)

    def watched(game, *given):
        rows, donors = given[-4:-2] if sampler == "solve" else given[1:3]
        watched_calls.append((rows, donors[:, 0]))
        return plain(game, *given)

    monkeypatch.setattr(shapley_loss, sampler, watched)
    call_options = {
        "method": "shapley",
        "scope": "global",
        "game": "expected",
        "blocks": blocks,
    }
    explain_with(NET, ROWS, Y, random_state=0, progress=False, exact=0, **call_options)
    assert len(watched_calls) > 1
    assert all((rows != donors).all() for rows, donors in watched_calls)


@pytest.mark.slow
@pytest.mark.parametrize("game", ["prediction", "expected"])
def test_intervals_over_rows_that_are_their_own_background(game):
    """A linear model of two inputs under squared error: φ_j = w_j² (prediction), 2 w_j²
    (expected).
    """
    net = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.5]]))
    truth = np.array([1.0, 0.25]) * (1 if game == "prediction" else 2)
    hits = 0
    for seed in range(36):
        rows = torch.as_tensor(np.random.default_rng(seed).normal(size=(80, 2)))
        y = rows.numpy() @ [1.0, 0.5] + np.random.default_rng(seed + 1000).normal(
            size=80
        )
        explanation = pg.explain(
            net,
            rows,
            y,
            method=tuned(pg.methods.Shapley(), game=game),
            scope="global",
            random_state=seed,
            progress=False,
        )
        low, high = explanation.ci()
        hits += int(((low[:, 0] <= truth) & (truth <= high[:, 0])).sum())
    assert 0.87 <= hits / 72 <= 0.99


def test_a_single_round_uses_every_background_row_once():
    """Where two rounds cannot be afforded, one adds up exactly; its error is told too
    large rather than too small.
    """
    call_options = {
        "method": "shapley",
        "background": BACKGROUND,
        "exact": 0,
        "progress": False,
        "tolerance": 0,
    }
    exact = pg.explain(
        NET, ROWS, method="shapley", background=BACKGROUND, progress=False
    )
    orders = 2 * len(BACKGROUND)
    inside = 0
    cases = 0
    for seed in range(20):
        explanation = explain_with(
            NET, ROWS, random_state=seed, max_permutations=orders, **call_options
        )
        assert explanation.meta["permutations"] == orders
        assert explanation.meta["completeness_gap"] < 1e-12
        low, high = explanation.ci()
        moved = explanation.std_error > 0
        inside += int(((low <= exact.values) & (exact.values <= high))[moved].sum())
        cases += int(moved.sum())
    assert inside / cases >= 0.94
