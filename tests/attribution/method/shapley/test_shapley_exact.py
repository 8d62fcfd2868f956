"""Exact Shapley and Owen values, of outputs and losses, against definitions written out
slowly and against shapiq.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, permutations
from math import comb

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.players.tree import Tree

PLAYERS = 7


class Mixed(nn.Module):
    """Four numbers, two codes and a picture of one player; three logits.

    The third number is not used.
    """

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(4, 2)
        self.body = nn.Sequential(
            nn.Linear(4 + 4 + 4, 16), nn.ReLU(), nn.Linear(16, outputs)
        )
        self.body[0].weight.data[:, 2] = 0
        self.double()

    def forward(self, table: Tensor, codes: Tensor, picture: Tensor) -> Tensor:
        return (
            self.body(
                torch.cat(
                    [table, self.embedding(codes).flatten(1), picture.flatten(1)], dim=1
                )
            )
            * 3
        )


def draw(rows: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "table": torch.randn(rows, 4, generator=generator, dtype=torch.float64),
        "codes": torch.randint(0, 4, (rows, 2), generator=generator),
        "picture": torch.randn(rows, 1, 2, 2, generator=generator, dtype=torch.float64),
    }


NET = Mixed()
ROWS = draw(5, 1)
BACKGROUND = draw(9, 2)
SEGMENTS = {"picture": np.zeros((2, 2), dtype=int)}


def blended(
    row: int, coalition: Iterable[int], rows=ROWS, background=BACKGROUND
) -> Tensor:
    """Return the outputs of the row with all but the players ``kept`` taken from each
    background row.
    """
    mixed = {name: tensor.clone() for name, tensor in background.items()}
    for player in coalition:
        if player < 4:
            mixed["table"][:, player] = rows["table"][row, player]
        elif player < 6:
            mixed["codes"][:, player - 4] = rows["codes"][row, player - 4]
        else:
            mixed["picture"][:] = rows["picture"][row]
    with torch.no_grad():
        return NET(**mixed)


def by_formula(
    worth: Callable[[tuple[int, ...]], np.ndarray], count: int
) -> np.ndarray:
    """Return the Shapley values of a game, from the formula."""
    worths = {
        coalition: worth(coalition)
        for size in range(count + 1)
        for coalition in combinations(range(count), size)
    }
    values = []
    for player in range(count):
        coalitions_without = [
            coalition for coalition in worths if player not in coalition
        ]
        values.append(
            sum(
                (worths[tuple(sorted((*coalition, player)))] - worths[coalition])
                / (count * comb(count - 1, len(coalition)))
                for coalition in coalitions_without
            )
        )
    return np.array(values)


def by_orders(
    worth: Callable[[tuple[int, ...]], np.ndarray],
    orders: list[tuple[int, ...]],
    count: int,
) -> np.ndarray:
    """Return the mean contribution over the orders that are allowed."""
    total = np.zeros((count, *np.shape(worth(()))))
    for order in orders:
        for position, player in enumerate(order):
            before = tuple(sorted(order[:position]))
            total[player] += worth(tuple(sorted((*before, player)))) - worth(before)
    return total / len(orders)


def explain(**options) -> pg.Explanation:
    call_options = {
        "background": BACKGROUND,
        "segments": SEGMENTS,
        "progress": False,
        **options,
    }
    return explain_with(
        NET, ROWS, call_options.pop("y", None), method="shapley", **call_options
    )


# ---- outputs -------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["raw", "probability"])
def test_equals_the_formula(output):
    explanation = explain(scale=output)

    def worth(row: int, kept: tuple[int, ...]) -> np.ndarray:
        outputs = blended(row, kept)
        return (
            (outputs.softmax(dim=1) if output == "probability" else outputs)
            .mean(dim=0)
            .numpy()
        )

    want = np.array(
        [
            by_formula(lambda kept, row=row: worth(row, kept), PLAYERS)
            for row in range(5)
        ]
    )
    assert np.ptp(want) > 0.1
    np.testing.assert_allclose(explanation.values, want, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(explanation.std_error, 0)
    np.testing.assert_array_equal(explanation.low, explanation.values)
    assert explanation.meta["estimator"] == "enumeration of all coalitions"
    assert explanation.additive


def test_equals_shapiq():
    shapiq = pytest.importorskip(
        "shapiq", reason="shapiq is a peer, in the extra 'peers'"
    )
    explanation = explain(target=1)
    for row in range(3):

        def game(coalitions, row=row):
            return np.array(
                [
                    blended(row, np.flatnonzero(coalition_mask)).mean(dim=0)[1].item()
                    for coalition_mask in coalitions
                ]
            )

        values = shapiq.ExactComputer(n_players=PLAYERS, game=game)("SV", order=1)
        want = [values[(player,)] for player in range(PLAYERS)]
        np.testing.assert_allclose(
            explanation.values[row, :, 0], want, rtol=0, atol=1e-8
        )


def test_linear_closed_form():
    net = nn.Linear(6, 2).double()
    rows = torch.randn(8, 6, dtype=torch.float64)
    background = torch.randn(30, 6, dtype=torch.float64)
    explanation = pg.explain(
        net, rows, method="shapley", background=background, progress=False, scale="raw"
    )
    want = (rows - background.mean(dim=0))[:, :, None] * net.weight.T.detach()
    np.testing.assert_allclose(explanation.values, want.numpy(), atol=1e-12)
    np.testing.assert_allclose(
        explanation.base_values,
        net(background).mean(dim=0).detach().numpy(),
        atol=1e-12,
    )


def test_values_add_up_and_unused_players_are_exactly_zero():
    explanation = explain()
    gap = explanation.values.sum(axis=1) - (
        explanation.predictions - explanation.base_values
    )
    assert np.abs(gap).max() < 1e-12
    assert explanation.meta["completeness_gap"] < 1e-12
    unused = explanation.names.index("table[2]")
    np.testing.assert_array_equal(explanation.values[:, unused], 0)
    used = np.delete(explanation.values, unused, axis=1)
    assert np.abs(used).min() > 0
    assert explanation.p_values is None, "an error of sampling is not tested"


def test_float32_networks_give_unused_players_exactly_zero():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 2))
    net[0].weight.data[:, 1] = 0
    explanation = pg.explain(
        net,
        torch.randn(40, 5),
        method="shapley",
        background=torch.randn(33, 5),
        progress=False,
    )
    np.testing.assert_array_equal(explanation.values[:, 1], 0)
    assert (np.delete(explanation.values, 1, axis=1) != 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("exact", [12, 0], ids=["exact", "sampled"])
def test_small_effects_in_half_precision_are_no_rounding(dtype, exact):
    """A number that moves the output by less than the output is rounded to, which the
    mean over donors still shows.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([1.0, -2.0, 0.25, 0.0])

    class Sum(nn.Module):
        def forward(self, small: Tensor, large: Tensor) -> Tensor:
            return (small @ weights.to(small))[:, None] + 3 * large

    small = (torch.randn(300, 4, generator=generator) + 2).to(dtype)
    large = (3 * torch.randn(300, 1, generator=generator)).to(dtype)
    rows = {"small": small[:5], "large": large[:5]}
    options = {
        "returns": "values",
        "task": "regression",
        "random_state": 0,
        "progress": False,
    }
    options |= {"background": {"small": small, "large": large}, "exact": exact}
    explanation = explain_with(Sum(), rows, method="shapley", **options)
    wide = small.double()
    expected = (weights * (wide - wide.mean(dim=0)))[:5].numpy()
    assert (np.abs(expected[:, 2]) < 0.5).all(), "smaller than the outputs' last digits"
    np.testing.assert_allclose(
        explanation.values[:, :4, 0], expected, atol=0.05 if exact else 0.25
    )
    assert (explanation.values[:, :3] != 0).all()
    np.testing.assert_array_equal(explanation.values[:, 3], 0)


def test_alike_players_share_alike():
    class Alike(nn.Module):
        def forward(self, table: Tensor) -> Tensor:
            return (table[:, :1] * table[:, 1:2]) + table[:, 2:]

    rows = torch.tensor([[2.0, 2.0, 1.0]])
    explanation = pg.explain(
        pg.Model(Alike(), task="regression"),
        rows,
        method="shapley",
        background=torch.zeros(1, 3),
    )
    np.testing.assert_allclose(explanation.values[0, :, 0], [2.0, 2.0, 1.0])


def test_levels_sum_only_where_the_game_is_the_same():
    """Modality values of the flat structure are sums of players; those of a game of
    modalities are others.
    """
    flat = explain().by_modality()
    game = explain(groups="modality")
    owen = explain(blocks="modality").by_modality()
    assert flat.names == game.names == owen.names == ("table", "codes", "picture")
    np.testing.assert_allclose(owen.values, game.values, atol=1e-12)
    assert np.abs(flat.values - game.values).max() > 1e-3


# ---- Owen ----------------------------------------------------------------------------


def allowed_orders(blocks: list[list[int]]) -> list[tuple[int, ...]]:
    """Return all orders in which each block's members follow one another."""
    allowed = []
    for order in permutations(range(sum(map(len, blocks)))):
        member_positions = [
            sorted(order.index(member) for member in block) for block in blocks
        ]
        if all(
            block_positions[-1] - block_positions[0] == len(block_positions) - 1
            for block_positions in member_positions
        ):
            allowed.append(order)
    return allowed


def test_owen_equals_the_mean_over_allowed_orders():
    blocks = [[0, 1, 2, 3], [4, 5], [6]]
    orders = allowed_orders(blocks)
    assert len(orders) == 6 * 24 * 2
    explanation = explain(blocks="modality", target=0)
    for row in range(2):
        worth_cache: dict[tuple[int, ...], np.ndarray] = {}

        def worth(kept: tuple[int, ...], row=row, known=worth_cache) -> np.ndarray:
            if kept not in known:
                known[kept] = blended(row, kept).mean(dim=0)[0].numpy()
            return known[kept]

        np.testing.assert_allclose(
            explanation.values[row, :, 0], by_orders(worth, orders, PLAYERS), atol=1e-12
        )
    assert np.abs(explanation.values - explain(target=0).values).max() > 1e-3


def test_groups_are_the_blocks_of_owen_values_on_a_table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(6, 4)), columns=["age", "dose", "mass", "sex"])
    rule = lambda rows: (  # noqa: E731
        rows["age"] * rows["dose"] + rows["age"] * rows["mass"] * rows["sex"]
    ).to_numpy()
    groups = {"body": ["mass", "age"], "drug": ["dose"]}
    options = {
        "method": "shapley",
        "background": X.iloc[[5]],
        "random_state": 0,
        "progress": False,
    }
    owen = explain_with(rule, X[:3], blocks=groups, **options)
    assert owen.names == tuple(X)
    column_blocks = [[0, 2], [1], [3]]  # age and mass join one after the other

    def worth(row, kept):
        mixed = X.iloc[[5]].copy()
        mixed.iloc[0, list(kept)] = X.iloc[row, list(kept)]
        return rule(mixed)[0]

    orders = allowed_orders(column_blocks)
    for row in range(3):
        shares = np.zeros(4)
        for order in orders:
            for position, player in enumerate(order):
                shares[player] += worth(row, order[: position + 1]) - worth(
                    row, order[:position]
                )
        np.testing.assert_allclose(
            owen.values[row, :, 0], shares / len(orders), atol=1e-10
        )
    flat = explain_with(rule, X[:3], **options)
    joined = explain_with(rule, X[:3], groups=groups, **options)
    assert np.abs(owen.values - flat.values).max() > 0.01
    owen_values = owen.values[:, :, 0]
    np.testing.assert_allclose(
        np.stack(
            [owen_values[:, [0, 2]].sum(1), owen_values[:, 1], owen_values[:, 3]], 1
        ),
        joined.values[:, :, 0],
    )
    with pytest.raises(pg.InputError, match="'height', which is not a feature"):
        explain_with(rule, X[:3], blocks={"body": ["height"]}, **options)


def test_trees_of_three_levels():
    tree = Tree.build(["a", "a", "a", "a", "b"], ["p", "p", "q", "q", "p"])
    weights = np.random.default_rng(0).normal(size=2**5)

    def worth(kept: tuple[int, ...]) -> np.ndarray:
        return weights[sum(2**player for player in kept)]

    orders = [
        order
        for order in allowed_orders([[0, 1, 2, 3], [4]])
        if abs(order.index(0) - order.index(1)) == 1
        and abs(order.index(2) - order.index(3)) == 1
    ]
    assert len(orders) == 2 * 2 * 2 * 2
    coalitions = tree.coalitions()
    worths = np.array(
        [worth(tuple(np.flatnonzero(kept_mask))) for kept_mask in coalitions.keeps]
    )
    np.testing.assert_allclose(
        coalitions.weights @ worths, by_orders(worth, orders, 5), atol=1e-12
    )


def test_owen_counts_blocks_not_players():
    """Twice eight players are too many to enumerate as 2¹⁶ coalitions, but not as
    blocks of eight.
    """
    net = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.net(torch.cat([left, right], dim=1))

    def both(rows: int) -> dict[str, Tensor]:
        return {
            name: torch.randn(rows, 8, dtype=torch.float64)
            for name in ("left", "right")
        }

    rows = both(2)
    background = both(3)
    call_options = {
        "method": "shapley",
        "background": background,
        "task": "regression",
        "progress": False,
    }
    owen = explain_with(Two(), rows, blocks="modality", **call_options)
    assert owen.meta["permutations"] == 0
    modality = explain_with(Two(), rows, groups="modality", **call_options)
    np.testing.assert_allclose(owen.by_modality().values, modality.values, atol=1e-12)


# ---- losses --------------------------------------------------------------------------

Y = np.array([0, 2, 1, 0, 2])


def minus_loss(row: int, coalition: tuple[int, ...], game: str) -> np.ndarray:
    """Return what a coalition is worth, as SAGE defines it, or with the loss inside the
    mean.
    """
    probabilities = blended(row, coalition).softmax(dim=1)[:, Y[row]]
    return (
        probabilities.mean().log()
        if game == "prediction"
        else probabilities.log().mean()
    ).numpy()


@pytest.mark.parametrize("game", ["prediction", "expected"])
def test_loss_equals_the_formula(game):
    explanation = explain(y=Y, scope="global", game=game, exact=PLAYERS)
    rows = np.array(
        [
            by_formula(lambda kept, row=row: minus_loss(row, kept, game), PLAYERS)
            for row in range(5)
        ]
    )
    assert explanation.outputs == ("all", "0", "1", "2")
    np.testing.assert_allclose(explanation.values[:, 0], rows.mean(axis=0), atol=1e-12)
    for label in (0, 2):
        np.testing.assert_allclose(
            explanation.values[:, 1 + label], rows[label == Y].mean(axis=0), atol=1e-12
        )
    # The overall importance is the mean of the classes, weighted by their rows.
    shares = np.bincount(Y) / 5
    np.testing.assert_allclose(
        explanation.values[:, 1:] @ shares, explanation.values[:, 0], atol=1e-12
    )
    of_rows = rows.std(axis=0, ddof=1) / 5**0.5
    if game == "prediction":
        np.testing.assert_allclose(explanation.std_error[:, 0], of_rows, atol=1e-12)
    else:
        # The choice of donors is part of the error.
        assert (explanation.std_error[:, 0] >= of_rows - 1e-12).all()
    assert explanation.values[2, 0] == 0
    assert explanation.p_values[2, 0] == 1


def test_divergence_without_y():
    explanation = explain(scope="global", exact=PLAYERS, returns="logits")

    def worth(row: int, kept: tuple[int, ...]) -> np.ndarray:
        full_probabilities = blended(row, tuple(range(PLAYERS)))[0].softmax(dim=0)
        mean = blended(row, kept).softmax(dim=1).mean(dim=0)
        return (
            -(full_probabilities * (full_probabilities.log() - mean.log()))
            .sum()
            .numpy()
        )

    rows = np.array(
        [
            by_formula(lambda kept, row=row: worth(row, kept), PLAYERS)
            for row in range(5)
        ]
    )
    np.testing.assert_allclose(explanation.values[:, 0], rows.mean(axis=0), atol=1e-12)
    assert explanation.meta["quantity"] == "part of the divergence"


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_regression_loss(loss):
    net = nn.Linear(4, 1).double()
    rows = torch.randn(30, 4, dtype=torch.float64)
    background = torch.randn(25, 4, dtype=torch.float64)
    y = np.random.default_rng(0).normal(size=30)
    call_options = {
        "method": "shapley",
        "scope": "global",
        "background": background,
        "loss": loss,
        "progress": False,
    }
    explanation = explain_with(net, rows, y, **call_options)
    error = {"squared_error": np.square, "absolute_error": np.abs}[loss]
    with torch.no_grad():
        nothing = error(net(background).mean().item() - y).mean()
        everything = error(net(rows)[:, 0].numpy() - y).mean()
    np.testing.assert_allclose(
        explanation.values[:, 0].sum(), nothing - everything, atol=1e-12
    )
    weights = np.arange(30) + 1.0
    weighted = explain_with(net, rows, y, sample_weight=weights, **call_options)
    alone = [
        explain_with(net, rows[[i]], y[[i]], **call_options).values[:, 0]
        for i in range(30)
    ]
    np.testing.assert_allclose(
        weighted.values[:, 0], np.average(alone, axis=0, weights=weights), atol=1e-12
    )


def test_saved_and_shown(tmp_path):
    explanation = explain()
    explanation.save(tmp_path / "shapley")
    again = pg.Explanation.load(tmp_path / "shapley")
    np.testing.assert_array_equal(again.values, explanation.values)
    assert again.to_frame().equals(explanation.to_frame())


# ---- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": "tree"}, "blocks must be one of 'modality', got 'tree'"),
        ({"game": "loss"}, "game must be one of 'prediction', 'expected', got 'loss'"),
        ({"exact": -1}, "exact must be an integer of at least 0, got -1"),
        (
            {"exact": 30},
            (
                "exact must be at most 16, got 30: each player doubles the coalitions. "
                "Leave it out"
            ),
        ),
        ({"references": 0}, "references must be an integer of at least 1, got 0"),
        (
            {"max_permutations": 2.5},
            "max_permutations must be an integer of at least 4, got 2.5",
        ),
        (
            {"min_permutations": 100, "max_permutations": 50},
            "min_permutations=100 is above max_permutations=50",
        ),
        (
            {"tolerance": -0.1},
            (
                "tolerance must be a finite number of at least 0, got -0.1. Pass for "
                "example 0.01"
            ),
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(pg.InputError) as caught:
        explain(**options)
    assert str(caught.value).startswith(message)


def test_freedom_is_counted_as_by_a_plain_loop():
    rng = np.random.default_rng(3)
    for players in range(1, 9):
        levels = (
            rng.integers(0, 3, (int(rng.integers(0, 3)), players)).astype(str).tolist()
        )
        tree = Tree.build(*levels) if levels else Tree.flat(players)
        loop = [sum(map(len, tree._siblings(player))) for player in range(players)]
        assert tree.freedom() == 1 + max(loop)
    assert Tree.flat(20_000).freedom() == 20_000
