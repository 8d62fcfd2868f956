"""The pieces that sampled Shapley values are made of: who stands in, which coalitions
are tried, when to stop.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg
from permgrad.attribution.method.shapley import sampled
from permgrad.attribution.method.shapley.balanced import _with_and_without, drawn_size
from permgrad.attribution.method.shapley.loss import LossPlan, _other_rows, _Walks
from permgrad.attribution.method.shapley.method import choose_references
from permgrad.attribution.method.shapley.sampled import _sizes, _spread_donors
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.request import tuned

KEYS = np.arange(200, dtype=np.uint64)


def test_a_coalition_with_a_player_is_the_one_without_it_and_the_player():
    rng = np.random.default_rng(0)
    player = np.repeat(np.arange(6), 500)
    coalition_pairs = _with_and_without(player, rng.random(3000), rng.random((3000, 6)))
    trials = np.arange(3000)
    assert coalition_pairs.shape == (3000, 2, 6)
    assert not coalition_pairs[trials, 0, player].any()
    assert coalition_pairs[trials, 1, player].all()
    other_player_mask = np.arange(6) != player[:, None]
    np.testing.assert_array_equal(
        coalition_pairs[:, 0][other_player_mask],
        coalition_pairs[:, 1][other_player_mask],
    )
    # Of the other five any number is as likely as any other.
    counts = np.bincount(coalition_pairs[:, 0].sum(axis=1), minlength=6) / 3000
    np.testing.assert_allclose(counts, 1 / 6, atol=0.03)


@pytest.mark.parametrize("references", [1, 2, 7, 50, 101])
def test_background_rows_come_in_turn_and_lie_evenly(references):
    """None comes twice before all came once, and at any time the places taken lie
    evenly over the background.
    """
    all_donors = _spread_donors(3, KEYS, 0, 2 * references, references)
    assert all_donors.shape == (200, 2 * references)
    assert all_donors.min() >= 0
    for start in (0, references // 2, references):
        round_donors = np.sort(all_donors[:, start : start + references], axis=1)
        np.testing.assert_array_equal(
            round_donors, np.tile(np.arange(references), (200, 1))
        )
    np.testing.assert_array_equal(
        _spread_donors(3, KEYS, 5, 4, references),
        _wrapped(all_donors, 5, 4, references),
    )
    if references > 20:
        # Steps of the golden section leave gaps of at most about 1.62² / n of the whole
        # after n of them.
        for walks in (5, 12):
            sorted_donors = np.sort(all_donors[:, :walks], axis=1)
            gaps = np.diff(
                np.concatenate(
                    [sorted_donors, sorted_donors[:, :1] + references], axis=1
                ),
                axis=1,
            )
            assert gaps.max() <= 2.7 * references / walks + 1
        assert len(np.unique(all_donors[:, 0])) > 0.4 * references, (
            "rows begin anywhere"
        )
        assert not np.array_equal(
            all_donors, _spread_donors(4, KEYS, 0, 2 * references, references)
        )


def _wrapped(
    donor_table: np.ndarray, first: int, count: int, references: int
) -> np.ndarray:
    return np.stack(
        [donor_table[:, (first + step) % references] for step in range(count)], axis=1
    )


@pytest.mark.parametrize("around", [True, False])
def test_the_sizes_of_designs_are_even_over_rows_and_over_rounds(around):
    rounds = [
        _sizes(3, KEYS, number * 10 + np.arange(10), 10 if around else 0)
        for number in range(20)
    ]
    every = np.stack(rounds)
    assert every.shape == (20, 200, 10)
    assert every.min() >= 0
    assert every.max() < 1
    for row in range(5):
        for numbers in (every[:, row].ravel(), every[0, row], every[:, row, 3]):
            order = np.sort(numbers)
            # The star discrepancy of so many numbers in a row: far below what chance
            # gives.
            ideal = (np.arange(len(order)) + 0.5) / len(order)
            assert np.abs(order - ideal).max() < 1.6 / np.sqrt(len(order)) / 1.5
    spread = np.sort(every[0, :, 0])
    assert np.abs(spread - (np.arange(200) + 0.5) / 200).max() < 0.12, (
        "rows begin anywhere"
    )
    drawn = np.bincount(drawn_size(9, every.ravel()))
    np.testing.assert_allclose(drawn[1:] / drawn.sum(), 0.25, atol=0.01)


# ---- losses --------------------------------------------------------------------------


def walks(
    background: int,
    references: int,
    *,
    expected: bool = False,
    exact: bool = False,
    offset: int = 0,
) -> _Walks:
    """Return what draws the donors of rows, without a game."""
    sampler = object.__new__(_Walks)
    sampler.request = SimpleNamespace(seed=3, row_offset=offset, shared=False)
    sampler.lenders = Lenders(background, shared=False)
    sampler.plan = LossPlan(
        expected=expected,
        references=references,
        exact=exact,
        designs=False,
        tolerance=0.0,
        most=4,
    )
    sampler.order = np.random.default_rng(0).permutation(background)
    return sampler


@pytest.mark.parametrize(
    ("background", "references"), [(40, 40), (40, 60), (40, 10), (37, 10), (40, 1)]
)
def test_every_row_has_an_even_sample_of_the_background(background, references):
    rows = np.arange(300)
    sampler = walks(background, references)
    donors = sampler._donors(rows, 0)
    count = min(background, references)
    assert donors.shape == (300, count)
    assert all(len(set(row)) == count for row in donors.tolist()), "none twice"
    used = np.bincount(donors.ravel(), minlength=background) / 300
    np.testing.assert_allclose(used, count / background, atol=0.12)
    again = sampler._donors(rows, 1)
    if count < background:
        donor_positions = np.sort(np.argsort(sampler.order)[donors], axis=1)
        assert (
            np.diff(donor_positions, axis=1).max(initial=0) <= background / count + 1
        ), "systematic: about equally far apart"
        assert not np.array_equal(donors, again), "another sample in each round"
        later = walks(background, references, offset=100)
        np.testing.assert_array_equal(later._donors(rows[:50], 0), donors[100:150])
    else:
        np.testing.assert_array_equal(donors, np.tile(np.arange(background), (300, 1)))


@pytest.mark.parametrize("shared", [True, False])
def test_a_single_donor_is_any_row_but_the_own(shared):
    background = 12
    rows = np.arange(12)
    request = SimpleNamespace(seed=3, shared=shared)
    order = np.random.default_rng(0).permutation(background)
    drawn_donors = np.stack(
        [
            _other_rows(request, order, rows, rows, number, background)
            for number in range(3000)
        ]
    )
    for row in rows:
        used = np.bincount(drawn_donors[:, row], minlength=background) / 3000
        if shared:
            assert used[row] == 0
            np.testing.assert_allclose(np.delete(used, row), 1 / 11, atol=0.025)
        else:
            np.testing.assert_allclose(used, 1 / 12, atol=0.025)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("game", "exact"), [("prediction", None), ("expected", None), ("prediction", 0)]
)
def test_weights_of_rows_are_rows_that_stand_there_more_often(game, exact):
    """A row of weight 3 is three rows, up to what chance does: all coalitions give the
    same number.
    """
    generator = torch.Generator().manual_seed(0)
    rows, background = (
        torch.randn(count, 3, generator=generator, dtype=torch.float64)
        for count in (12, 9)
    )
    y = (rows[:, 0] * rows[:, 1] + rows[:, 2]).numpy()
    weight = np.arange(12) % 3 + 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    options = {
        "method": "shapley", "scope": "global", "background": background, "game": game, "exact": exact,
        "random_state": 0, "progress": False, "tolerance": 0, "n_repeats": 300,
    }  # fmt: skip
    weighted = explain_with(net, rows, y, sample_weight=weight, **options)
    again = np.repeat(np.arange(12), weight)
    repeated = explain_with(net, rows[torch.as_tensor(again)], y[again], **options)
    plain = explain_with(net, rows, y, **options)
    atol = 1e-9 if exact is None else 0.05 * np.abs(repeated.values).max()
    assert np.abs(plain.values - repeated.values).max() > 2 * atol
    np.testing.assert_allclose(weighted.values, repeated.values, rtol=0, atol=atol)


def test_losses_are_sampled_until_errors_are_small():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(100, 4, generator=generator, dtype=torch.float64)
    y = (rows[:, 0] * rows[:, 1] + rows[:, 2]).numpy()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def explain(**more) -> pg.Explanation:
        return explain_with(
            net,
            rows,
            y,
            method="shapley",
            scope="global",
            n_repeats=40,
            random_state=0,
            progress=False,
            exact=0,
            **more,
        )

    spent = [
        explain(tolerance=tolerance).meta["permutations"]
        for tolerance in (0, 1e-6, 0.05, 10.0)
    ]
    assert spent[0] == 2 * 40, "0: all that are allowed"
    assert spent[0] >= spent[1] >= spent[2] >= spent[3] == 2


def test_losses_take_as_many_samples_in_any_unit():
    """When samples no longer matter is told by shares of the variance, which have no
    unit.
    """
    generator = torch.Generator().manual_seed(0)
    background, noise = (
        torch.randn(count, 4, generator=generator, dtype=torch.float64)
        for count in (20, 60)
    )
    # Rows that are much alike: what differs between them are mostly their orders.
    rows = 1 + 0.3 * noise

    class Products(nn.Module):
        def __init__(self, times: float) -> None:
            super().__init__()
            self.times = times

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.times * (x[:, :1] * x[:, 1:2] * x[:, 2:3] + x[:, 3:])

    method = tuned(pg.methods.Shapley(blocks="modality", tolerance=1e-6), exact=0)
    call_options = {
        "scope": "global",
        "background": background,
        "n_repeats": 40,
        "progress": False,
    }
    spent = {
        times: explain_with(
            Products(times),
            rows,
            times * (2 + rows[:, 0].numpy()),
            method=method,
            **call_options,
        ).meta["permutations"]
        for times in (1, 64, 1 / 64)
    }
    assert 2 * 2 < spent[1] < 2 * 40
    assert spent[64] == spent[1 / 64] == spent[1]


# ---- references ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "known", "wanted", "count"),
    [("given", 500, None, 500), ("training", 500, None, 100), ("training", 60, None, 60), ("given", 500, 7, 7),
     ("given", 5, 7, 5), ("training", 500, 300, 300), ("given", 5, 5, 5)],
)  # fmt: skip
def test_all_rows_that_were_given_stand_in_else_a_hundred(kind, known, wanted, count):
    request = SimpleNamespace(
        donors=[torch.zeros(known, 2)],
        passed_background=kind == "given",
        compared=None,
        seed=0,
        sample_weight=None,
        shared=False,
    )
    reference_rows = choose_references(request, wanted)
    assert len(reference_rows) == len(set(reference_rows.tolist())) == count
    assert (np.diff(reference_rows) > 0).all()
    assert 0 <= reference_rows.min() <= reference_rows.max() < known
    if count < known:
        assert not np.array_equal(reference_rows, np.arange(count)), "from anywhere"
        request.seed = 1
        again = np.array_equal(reference_rows, choose_references(request, wanted))
        assert again == (wanted is None), "rows to compare with need no seed"


@pytest.mark.parametrize(("most", "references"), [(64, 8), (64, 5), (40, 100), (16, 8)])
def test_rows_that_never_settle_take_all_orders_that_are_allowed(most, references):
    generator = torch.Generator().manual_seed(0)
    rows, background = (
        torch.randn(count, 5, generator=generator, dtype=torch.float64)
        for count in (4, 100)
    )

    class Triple(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3] * x[:, 4] * x[:, 0])[:, None]

    with pytest.warns(
        pg.PermgradWarning, match=r"After \d+ orders, the standard error is above"
    ):
        explanation = pg.explain(
            pg.Model(Triple(), task="regression"),
            rows,
            method=tuned(
                pg.methods.Shapley(
                    tolerance=0, references=references, max_permutations=most
                ),
                exact=0,
            ),
            background=background,
            random_state=0,
            progress=False,
        )
    size = (
        references
        if 4 * references <= most or references <= most // 2 < 2 * references
        else None
    )
    if size is not None:
        assert explanation.meta["permutations"] == most // (2 * size) * 2 * size
    assert most / 2 < explanation.meta["permutations"] <= most
    assert explanation.meta["mean_permutations"] == explanation.meta["permutations"]
    assert (explanation.std_error > 0).all()


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize(("of_designs", "of_orders", "estimator"), [
    (1.0, 1.0, "balanced coalitions and their complements"), (1.0, 3.0, "balanced coalitions and their complements"),
    (1.0, 0.3, "pairs of an order and its reverse"), (5.0, 1.0, ("pairs of an order "
                                                                 "and "
                                                                "its reverse")),
])  # fmt: skip
def test_orders_are_played_where_they_vary_clearly_less(
    monkeypatch, of_designs, of_orders, estimator
):
    """What either gives is drawn here, about a mean that differs from pair to pair and
    must not count.
    """
    rng = np.random.default_rng(0)

    def drawn(spread: float):
        def numbers(game, *given) -> np.ndarray:
            rows = next(
                argument for argument in given if isinstance(argument, np.ndarray)
            )
            shape = (len(rows), game.players, game.width)
            return spread * rng.normal(size=shape) + 10.0 * rows.reshape(-1, 1, 1)

        return numbers

    monkeypatch.setattr(sampled, "solve", drawn(of_designs))
    monkeypatch.setattr(sampled, "walk", drawn(of_orders))
    rows = torch.randn(
        40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    explanation = pg.explain(
        pg.Model(nn.Linear(12, 1).double(), task="regression"),
        rows[:4],
        method=tuned(
            pg.methods.Shapley(max_permutations=64, references=8, tolerance=1.0),
            exact=0,
        ),
        background=rows,
        random_state=0,
        progress=False,
    )
    assert explanation.meta["estimator"] == estimator


@pytest.mark.parametrize(
    ("told", "calls", "designs"),
    [
        ([[1.0, 1.0]], 1, True),
        ([[1.0, 0.1]], 1, False),
        ([[0.0, 0.0], [1.0, 0.1]], 2, False),
        ([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]], 3, True),
        ([[0.0, 0.0]] * 4, 4, True),
    ],
)
def test_pairs_that_tell_nothing_are_followed_by_others(
    monkeypatch, told, calls, designs
):
    """``told``: how much designs and orders vary for each of four pairs, one entry for
    each time they are compared.
    """
    compared_rows: list[int] = []

    def compared(game, tree, chosen, number) -> np.ndarray:
        compared_rows.extend(chosen.tolist())
        return np.repeat(np.array(told[number])[:, None], len(chosen) // 2, axis=1)

    monkeypatch.setattr(sampled, "used_players", lambda game: np.ones(2, dtype=bool))
    monkeypatch.setattr(sampled, "_pilot", compared)
    game = SimpleNamespace(request=SimpleNamespace(donors=[torch.zeros(40, 2)], seed=0))
    assert (
        sampled.prefers_designs(game, SimpleNamespace(free=True, players=2))[0]
        == designs
    )
    assert len(compared_rows) == len(set(compared_rows)) == 8 * calls, (
        "others each time"
    )


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("background", [2, 3, 8, 11])
def test_designs_and_orders_are_compared_between_rows_that_differ(
    monkeypatch, background
):
    pairs: dict[str, list[tuple[int, int]]] = {}

    def watched(name: str):
        def numbers(game, *given) -> np.ndarray:
            receivers, donors = [
                argument for argument in given if isinstance(argument, np.ndarray)
            ][:2]
            pairs.setdefault(
                name, list(zip(receivers.tolist(), donors[:, 0].tolist(), strict=True))
            )
            return np.zeros((len(receivers), game.players, game.width))

        return numbers

    monkeypatch.setattr(sampled, "used_players", lambda game: np.ones(12, dtype=bool))
    monkeypatch.setattr(sampled, "solve", watched("designs"))
    monkeypatch.setattr(sampled, "walk", watched("orders"))
    rows = torch.randn(
        background, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    pg.explain(
        pg.Model(nn.Linear(12, 1).double(), task="regression"),
        rows,
        method=tuned(pg.methods.Shapley(max_permutations=64, tolerance=1.0), exact=0),
        background=rows + 1,
        random_state=0,
        progress=False,
    )
    assert pairs["designs"] == pairs["orders"]
    first = pairs["designs"][::2]
    again = pairs["designs"][1::2]
    assert first == again, "each pair twice"
    assert len(first) == min(background // 2, 4)
    assert len({row for pair in first for row in pair}) == 2 * len(first), (
        "no row in two pairs, or with itself"
    )
