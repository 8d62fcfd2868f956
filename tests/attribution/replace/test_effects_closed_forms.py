"""Effects of modalities and of players on rows, against closed forms; how images and
their segments are read.
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import donor_rows, explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.players.segments import _connected, image_shape, superpixels
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.attribution.replace.plays import shapley_plays
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.data.encode.encoding import TableEncoder


def standard(rows: int, columns: int, seed: int) -> Tensor:
    """Return columns of mean 0 and variance 1."""
    drawn = torch.randn(
        rows,
        columns,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )
    return (drawn - drawn.mean(dim=0)) / drawn.std(dim=0, correction=0)


def explain(net, inputs, y=None, **options) -> pg.Explanation:
    return explain_with(
        net, inputs, y, **{"random_state": 0, "progress": False} | options
    )


# ---- the modality game ---------------------------------------------------------------


def worth_of(
    coalitions: np.ndarray, single: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """Return what coalitions are worth where each member and each pair of members has a
    worth of its own.
    """
    return coalitions @ single + np.einsum("ci,ij,cj->c", coalitions, pairs, coalitions)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 12])
def test_values_alone_and_last_are_those_of_a_game_of_pairs(count):
    """Orders share out each pair in halves."""
    rng = np.random.default_rng(count)
    single = rng.normal(size=count)
    pairs = np.triu(rng.normal(size=(count, count)), 1)
    players = tuple("abcdefghijkl"[:count])
    space = PlayerSpace(players, players, ("input",), (torch.arange(count),))
    plays = shapley_plays(space)
    (play,), coalitions = plays.plays, plays.plays[0].mask[:, :, 0]
    assert play.names == players
    assert plays.names == ("total", "alone", "last")
    worth = worth_of(coalitions.astype(float), single, pairs)
    total, alone, last = (play.combine[:, quantity] @ worth for quantity in range(3))
    pair_sums = pairs + pairs.T
    np.testing.assert_allclose(
        total, single + pair_sums.sum(axis=1) / 2, rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(alone, single, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last, single + pair_sums.sum(axis=1), rtol=0, atol=1e-10)
    assert len({coalition.tobytes() for coalition in coalitions}) == len(coalitions)
    assert not (~coalitions).all(axis=1).any()
    # Steps: all pairs of coalitions that are there and differ in the player alone; −1
    # is nobody.
    coalition_indices = {
        tuple(coalition): row_index
        for row_index, coalition in enumerate(coalitions.tolist())
    }
    for player in range(count):
        expected = set()
        for present_players, coalition_index in coalition_indices.items():
            without = tuple(
                is_present and player_index != player
                for player_index, is_present in enumerate(present_players)
            )
            if present_players[player] and (
                without in coalition_indices or not any(without)
            ):
                expected.add((coalition_index, coalition_indices.get(without, -1)))
        assert {tuple(pair) for pair in play.steps[player].tolist()} == expected


class Weighted(nn.Module):
    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.first * first.sum(dim=1, keepdim=True) + self.second * second.sum(
            dim=1, keepdim=True
        )


@pytest.mark.parametrize(
    ("sign", "shares"),
    [(1.0, True), (-1.0, False), (0.0, False)],
    ids=["it helps", "it misleads", "it is noise"],
)
def test_shares_are_given_where_the_total_is_certain(sign, shares):
    """y = ± the prediction: replacing all costs loss, which is shared out, or saves it;
    where y is chance, neither.
    """
    first = standard(300, 1, 0)
    second = standard(300, 1, 1)
    y = sign * (first + 0.5 * second)[:, 0].numpy() + 0.02 * np.random.default_rng(
        0
    ).normal(size=300)
    net = Weighted(0.05, 0.025) if not sign else Weighted(1.0, 0.5)
    if not sign:
        y = np.random.default_rng(4).normal(size=300)
    explanation = explain(net, (first, second), y, groups="modality", n_repeats=10)
    branch_facts = explanation.branches
    field_arrays = {
        "importance": "values",
        "std_error": "std_error",
        "ci_low": "low",
        "ci_high": "high",
    }
    for branch_index, name in enumerate(explanation.names):
        for key, array in (field_arrays | {"p_value": "p_values"}).items():
            assert branch_facts[name][key] == pytest.approx(
                getattr(explanation, array)[branch_index, 0], rel=1e-9
            )
        assert branch_facts[name]["alone"] == pytest.approx(
            explanation.parts["alone"][branch_index, 0], rel=1e-9
        )
        assert branch_facts[name]["last"] == pytest.approx(
            explanation.parts["last"][branch_index, 0], rel=1e-9
        )
    total = branch_facts["total"]
    assert set(total) == set(field_arrays)
    assert total["std_error"] > 0
    assert (total["ci_low"] > 0) == shares
    assert (total["ci_high"] < 0) == (sign < 0)
    assert total["ci_low"] < total["importance"] < total["ci_high"]
    assert total["ci_high"] < 1 or sign > 0
    branch_entries = [
        entry
        for name, entry in branch_facts.items()
        if name not in ("total", "quantity")
    ]
    assert len(branch_entries) == 2
    for branch in branch_entries:
        if shares:
            assert branch["share"] == pytest.approx(
                branch["importance"] / total["importance"]
            )
        else:
            assert branch["share"] is None
        assert branch["ci_low"] < branch["importance"] < branch["ci_high"]
    assert sum(entry["importance"] for entry in branch_entries) == pytest.approx(
        total["importance"]
    )
    assert branch_facts["quantity"] == "loss"


# ---- effects on rows -----------------------------------------------------------------


def test_effects_on_rows_are_means_over_donors_with_their_error():
    """f = a x + b z: what a row's own x adds is a (x − x of the donor), for every
    repeat.
    """
    first = standard(40, 1, 0)
    second = standard(40, 1, 1)
    rows = {"first": first, "second": second}
    net = Weighted(2.0, 0.5)
    begun = time.perf_counter()
    explanation = explain(
        net, rows, method="permutation", scope="local", n_repeats=6, task="regression"
    )
    assert 0 < explanation.meta["seconds"] < time.perf_counter() - begun
    assert 6 * 2 * 40 <= explanation.meta["model_rows"] < 2 * 6 * 2 * 40, (
        "every repeat predicts every row for each player"
    )
    for column_index, (name, column_values, weight) in enumerate(
        (("first[0]", first, 2.0), ("second[0]", second, 0.5))
    ):
        donors = [
            donor_rows(0, name, repeat, np.arange(40), 40, shared=True)
            for repeat in range(6)
        ]
        effects = weight * np.stack(
            [
                (column_values - column_values[torch.as_tensor(donor_indices)])[
                    :, 0
                ].numpy()
                for donor_indices in donors
            ]
        )
        np.testing.assert_allclose(
            explanation.values[:, column_index, 0],
            effects.mean(axis=0),
            rtol=0,
            atol=1e-6,
        )
        np.testing.assert_allclose(
            explanation.std_error[:, column_index, 0],
            effects.std(axis=0, ddof=1) / np.sqrt(6),
            rtol=0,
            atol=1e-6,
        )
    once = explain(
        net, rows, method="permutation", scope="local", n_repeats=1, task="regression"
    )
    assert np.isnan(once.std_error).all()
    with torch.no_grad():
        np.testing.assert_allclose(
            explanation.predictions, net(first, second).numpy(), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("tolerance", [1e-9, 0.5])
def test_repeats_go_on_until_intervals_are_narrow(tolerance):
    rows = standard(200, 2, 0)
    y = rows.sum(dim=1).numpy()
    net = nn.Linear(2, 1).double()
    explanation = explain(
        net, rows, y, method="permutation", n_repeats=16, tolerance=tolerance
    )
    wide = (explanation.high - explanation.low).max() / 2
    if tolerance == 0.5:
        assert wide <= 0.5 * explanation.meta["loss_scale"]
        assert (
            explanation.meta["model_rows"]
            < explain(net, rows, y, method="permutation", n_repeats=16).meta[
                "model_rows"
            ]
        )
    else:
        full_explanation = explain(net, rows, y, method="permutation", n_repeats=16)
        np.testing.assert_allclose(
            explanation.values, full_explanation.values, rtol=0, atol=1e-12
        )
        assert explanation.meta["model_rows"] == full_explanation.meta["model_rows"]


# ---- images --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", list(itertools.product((1, 2, 3, 4, 5), repeat=3)), ids=str
)
def test_channels_stand_first_unless_only_the_end_can_be_channels(shape):
    """1, 3 and 4 are numbers of channels; else what leaves a square is."""
    first, middle, last = shape
    colours = (1, 3, 4)
    if last in colours and first not in colours:
        expected = 2
    elif first in colours:
        expected = 0
    else:
        expected = 2 if first == middle != last else 0
    image_form = image_shape(shape)
    assert image_form.channels == expected
    size = (first, middle) if expected == 2 else (middle, last)
    assert image_form.size == size


def test_what_is_no_image_has_no_shape():
    assert image_shape((3,)) is None
    assert image_shape((3, 3, 3, 3)) is None
    plain = image_shape((5, 7))
    assert (plain.size, plain.channels) == ((5, 7), None)


def test_superpixels_of_a_tall_image_lie_one_above_the_other():
    labels, names = superpixels(torch.zeros(2, 1, 40, 2), (40, 2), 4)
    np.testing.assert_array_equal(labels, np.repeat(np.arange(4), 10)[:, None] * [1, 1])
    assert len(names) == 4


@pytest.mark.parametrize("count", [4, 9, 16])
def test_superpixels_are_connected_cover_all_and_are_not_tiny(count):
    from scipy import ndimage

    rows = torch.zeros(3, 1, 20, 24)
    rows[:, :, :10, :12] = 1.0
    rows[:, :, 10:, 12:] = 2.0
    rows += 0.05 * torch.randn(3, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    labels, names = superpixels(rows, (20, 24), count)
    assert labels.shape == (20, 24)
    assert names == [
        f"[superpixel {region_index}]" for region_index in range(len(names))
    ]
    assert np.array_equal(np.unique(labels), np.arange(len(names)))
    assert count / 2 <= len(names) <= 2 * count
    least = int(20 * 24 / count / 4)
    for region in range(len(names)):
        assert ndimage.label(labels == region)[1] == 1
        assert (labels == region).sum() >= least
    # The quarters differ in colour, and a superpixel lies in one of them but for its
    # edge.
    quarters = np.zeros((20, 24), dtype=int)
    quarters[:10, :12] = 1
    quarters[10:, 12:] = 2
    pure = [
        np.bincount(quarters[labels == region_index]).max()
        / (labels == region_index).sum()
        for region_index in range(len(names))
    ]
    assert min(pure) > 0.9


@pytest.mark.parametrize("turns", range(4))
def test_a_small_region_goes_to_the_neighbour_with_the_longest_border(turns):
    """The region of eight pixels touches 4 of the neighbour above it, and 2 of each of
    the others.
    """
    from scipy import ndimage

    labels = np.full((16, 12), 4)
    labels[:4] = 5
    labels[4:, :4] = 1
    labels[4:, 8:] = 2
    labels[6:, 6:8] = 3
    labels[4:6, 4:8] = 0
    small = np.rot90(labels == 0, turns)
    merged_labels = _connected(np.rot90(labels, turns), ndimage.label, 9)
    assert len(np.unique(merged_labels)) == 5
    assert (
        np.unique(merged_labels[small]).tolist()
        == np.unique(merged_labels[np.rot90(labels == 5, turns)]).tolist()
    )
    untouched = _connected(np.rot90(labels, turns), ndimage.label, 8)
    assert len(np.unique(untouched)) == 6


# ---- inputs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["uint8", "uint16", "uint32", "uint64", "int8", "bool", ">i4", ">f4"]
)
def test_numbers_of_every_kind_reach_the_network_as_torch_can_use_them(kind):
    """Torch has hardly any function for NumPy's wider numbers without sign: they arrive
    with one.
    """
    numbers = (
        np.arange(60).reshape(20, 3) % 2
        if kind == "bool"
        else np.arange(60).reshape(20, 3)
    ).astype(kind)
    arrived = []

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            arrived.append(x.dtype)
            return x.double().sum(dim=1, keepdim=True)

    subject = NetworkSubject(Net(), numbers, task="regression")
    np.testing.assert_array_equal(
        subject.inputs[0].numpy().astype(np.float64), numbers.astype(np.float64)
    )
    assert arrived[0] == subject.inputs[0].dtype
    assert arrived[0] in (
        torch.uint8,
        torch.int8,
        torch.int32,
        torch.int64,
        torch.bool,
        torch.float32,
    )
    assert (arrived[0] == torch.int64) == (kind in ("uint16", "uint32", "uint64"))


# ---- what the others determine -------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "noise", "known"),
    [(0.05, 0.0, True), (0.01, 1.0, False), (0.3, 0.1, False)],
)
def test_a_level_is_determined_where_guessing_the_commonest_is_far_worse(
    share, noise, known
):
    """Always guessing the commonest level is right 99 times in 100 too, where nothing
    determines the rare one.
    """
    rng = np.random.default_rng(0)
    rare = rng.random(800) < share
    reported_flag = np.where(rng.random(800) < noise, rng.permutation(rare), rare)
    frame = pd.DataFrame(
        {
            "told": reported_flag * 1.0,
            "kind": np.where(rare, "rare", "common"),
            "c": rng.normal(size=800),
        }
    )
    encoder = TableEncoder(numeric="standard").fit(frame)
    encoded = encoder.transform(frame)
    sampler = ConditionalSampler(encoder, encoded, encoded, seed=3, shared=True)
    _, drawn = sampler.draw("kind", encoder.columns_of("kind"), np.arange(800), 0)
    level_codes = encoded[:, encoder.columns_of("kind")]
    assert ("kind" in sampler.not_identifiable) == known
    if known:
        assert (drawn == level_codes).all(axis=1).mean() > 0.98
    assert drawn.mean(axis=0) == pytest.approx(level_codes.mean(axis=0), abs=0.05)
