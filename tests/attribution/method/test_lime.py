"""LIME: the regression against a slow twin and scikit-learn, closed forms on linear
networks, costs and refusals.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from replicates import replicates
from sklearn.linear_model import Ridge
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.method.lime import Surrogate, draw_neighbours


def make_net(players: int = 6, outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(players, 16), nn.Tanh(), nn.Linear(16, outputs)
    ).double()


def draw(rows: int, players: int = 6, seed: int = 1) -> Tensor:
    return torch.randn(
        rows,
        players,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )


NET = make_net()
ROWS = draw(9)
BACKGROUND = draw(30, seed=2)


def explain(rows: Tensor = ROWS, net: nn.Module = NET, **options) -> pg.Explanation:
    call_options = {
        "background": BACKGROUND,
        "random_state": 0,
        "progress": False,
        "samples": 200,
    }
    call_options |= {"neighbourhood": "coalition", **options}
    return explain_with(net, rows, method="lime", **call_options)


# ---- the regression ------------------------------------------------------------------


def design(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    coordinates = (rng.random((60, 4)) < 0.5).astype(float)
    return (
        coordinates,
        rng.uniform(0.1, 1, 60),
        rng.normal(size=(60, 3)) + coordinates @ rng.normal(size=(4, 3)),
    )


@pytest.mark.parametrize("ridge", [1.0, 10.0])
def test_coefficients_equal_scikit_learn(ridge):
    coordinates, weights, outputs = design()
    coefficients, _, explained = Surrogate(coordinates, weights, ridge).solve(outputs)
    ridge_model = Ridge(alpha=ridge).fit(coordinates, outputs, sample_weight=weights)
    np.testing.assert_allclose(coefficients.T, ridge_model.coef_, atol=1e-10)
    for column in range(3):
        column_model = Ridge(alpha=ridge).fit(
            coordinates, outputs[:, column], sample_weight=weights
        )
        assert explained[column] == pytest.approx(
            column_model.score(coordinates, outputs[:, column], sample_weight=weights)
        )


def test_errors_equal_the_sandwich_written_out():
    coordinates, weights, outputs = design(1)
    _, std, _ = Surrogate(coordinates, weights, 0.0).solve(outputs)
    wide = np.column_stack([np.ones(60), coordinates])
    bread = np.linalg.inv(wide.T @ np.diag(weights) @ wide)
    hat = wide @ bread @ wide.T @ np.diag(weights)
    for column in range(3):
        residuals = (outputs[:, column] - hat @ outputs[:, column]) / (1 - np.diag(hat))
        meat = wide.T @ np.diag((weights * residuals) ** 2) @ wide
        np.testing.assert_allclose(
            std[:, column], np.sqrt(np.diag(bread @ meat @ bread))[1:], atol=1e-10
        )


def test_errors_tell_the_spread_over_designs():
    """The coefficients of many designs scatter as much as each says of itself."""
    explanations = [explain(random_state=seed, samples=300) for seed in range(40)]
    scatter = np.std(
        [explanation.values for explanation in explanations], axis=0, ddof=1
    )
    reported_errors = np.sqrt(
        np.mean([explanation.std_error**2 for explanation in explanations], axis=0)
    )
    assert 0.85 < np.median(scatter / reported_errors) < 1.15


# ---- the method ----------------------------------------------------------------------


@replicates("lime")
def test_equals_the_twin_of_one_row():
    """Everything but the draws is written again, slowly: neighbours, distances, kernel,
    regression.
    """
    explanation = explain(target=1, samples=80)

    class Asked:
        donors, seed, space = (BACKGROUND,), 0, type("P", (), {"names": range(6)})

    coordinates, donors = draw_neighbours(Asked, "coalition", 80)
    assert coordinates[0].all()
    assert set(coordinates[1:].sum(axis=1)) > {2.0, 3.0, 4.0}
    assert (coordinates[1::2][:39] + coordinates[2::2] == 1).all()
    for row in (0, 5):
        neighbours = []
        weights = []
        outputs = []
        for kept_mask, donor in zip(coordinates, donors, strict=True):
            neighbour = [
                ROWS[row, j].item() if kept_mask[j] else BACKGROUND[donor, j].item()
                for j in range(6)
            ]
            distance = sum((1 - is_kept) ** 2 for is_kept in kept_mask) ** 0.5
            weights.append(np.sqrt(np.exp(-(distance**2) / (0.75 * 6**0.5) ** 2)))
            neighbours.append(kept_mask)
            outputs.append(
                NET(torch.tensor([neighbour], dtype=torch.float64))[0, 1].item()
            )
        twin = Ridge(alpha=1.0).fit(
            np.array(neighbours), np.array(outputs), sample_weight=np.array(weights)
        )
        np.testing.assert_allclose(
            explanation.values[row, :, 0], twin.coef_, atol=1e-10
        )
        score = twin.score(
            np.array(neighbours), np.array(outputs), sample_weight=np.array(weights)
        )
        assert explanation.meta["local_r2"][row][0] == pytest.approx(score)


def test_linear_networks_have_closed_forms():
    net = nn.Linear(6, 1).double()
    weight = net.weight[0].detach()
    single = BACKGROUND[:1]
    coalition_explanation = explain(
        net=net, background=single, ridge=0.0, task="regression"
    )
    np.testing.assert_allclose(
        coalition_explanation.values[:, :, 0],
        (weight * (ROWS - single)).numpy(),
        atol=1e-10,
    )
    np.testing.assert_allclose(coalition_explanation.meta["local_r2_mean"], 1)
    moved = explain(net=net, ridge=0.0, neighbourhood="gaussian", task="regression")
    want = (weight * BACKGROUND.std(dim=0, correction=0)).numpy()
    np.testing.assert_allclose(moved.values[:, :, 0], np.tile(want, (9, 1)), atol=1e-10)


@pytest.mark.parametrize("neighbourhood", ["coalition", "gaussian"])
def test_unused_players_get_exactly_zero(neighbourhood):
    net = make_net().float()
    net[0].weight.data[:, 4] = 0
    explanation = explain(
        ROWS.float(), net, background=BACKGROUND.float(), neighbourhood=neighbourhood
    )
    for array, number in (
        (explanation.values, 0),
        (explanation.std_error, 0),
    ):
        np.testing.assert_array_equal(array[:, 4], number)
    assert (np.delete(explanation.values, 4, axis=1) != 0).all()


@pytest.mark.parametrize("neighbourhood", ["coalition", "gaussian"])
def test_a_row_is_explained_alike_whoever_stands_beside_it(neighbourhood):
    full_explanation = explain(neighbourhood=neighbourhood)
    alone = explain(ROWS[[3]], neighbourhood=neighbourhood)
    np.testing.assert_allclose(alone.values[0], full_explanation.values[3], atol=1e-12)
    np.testing.assert_allclose(
        alone.std_error[0], full_explanation.std_error[3], atol=1e-12
    )


def test_pictures_and_codes():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embedding = nn.Embedding(3, 2)
            self.head = nn.Linear(2 + 16, 2)

        def forward(self, codes: Tensor, picture: Tensor) -> Tensor:
            return self.head(
                torch.cat([self.embedding(codes[:, 0]), picture.flatten(1)], dim=1)
            )

    rows = {"codes": torch.randint(0, 3, (8, 1)), "picture": torch.randn(8, 1, 4, 4)}
    explanation = pg.explain(
        pg.Model(Both(), segments={"picture": ("grid", 2)}),
        rows,
        method=pg.methods.Lime(samples=100),
        progress=False,
    )
    assert len(explanation.names) == 1 + 4
    assert np.abs(explanation.values).max() > 0.1


# ---- costs ---------------------------------------------------------------------------


def test_costs_are_counted(monkeypatch):
    evaluated = 0
    plain = nn.Linear.forward

    def forward(self, tensor):
        nonlocal evaluated
        evaluated += len(tensor) if self is NET[0] else 0
        return plain(self, tensor)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    explanation = explain()
    probes = evaluated - explanation.meta["model_rows"]
    # 18 rows show the rounding. Reading the form takes one look at the rows, and five
    # at eight of them, which tell whether they depend on chance or on each other, and
    # the same of four rows mixed of them; all players are used, so that one trial each
    # is enough. One and two rows tell what memory a row takes, and eight asked thrice
    # whether the network remembers. Two rows are a call as its user makes it, before
    # all others.
    assert 0 <= probes <= len(ROWS) + 5 * 8 + (8 + 4) + 4 + 3 + 3 * 8 + 2
    assert explanation.meta["model_rows"] == 9 + 30 + 18 + 9 * 200 + 9 * 6


@pytest.mark.parametrize("largest", [1, 50])
def test_out_of_memory_is_lived_with(monkeypatch, largest):
    full_explanation = explain()
    plain = nn.Linear.forward

    def forward(self, tensor):
        if len(tensor) > largest:
            raise torch.OutOfMemoryError
        return plain(self, tensor)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    monkeypatch.setattr("permgrad.attribution.subject.network._PROBE_ROWS", 1)
    np.testing.assert_allclose(explain().values, full_explanation.values, atol=1e-12)


# ---- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 8}, "samples must be an integer of at least 9, got 8"),
        ({"kernel_width": 0}, "kernel_width must be a finite number above 0, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(pg.InputError) as caught:
        explain(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("neighbourhood", ["coalition", "gaussian"])
def test_a_kernel_that_leaves_neighbours_no_weight_is_refused(neighbourhood):
    """The ridge alone would decide: coefficients of 0, which say that no player
    matters.
    """
    for width in (1e-300, 1e-160, 0.03):
        with pytest.raises(pg.InputError, match=r"^kernel_width=.* is too small"):
            explain(neighbourhood=neighbourhood, kernel_width=width)
    wide = [
        explain(neighbourhood=neighbourhood, kernel_width=width).values
        for width in (1e5, 1e300)
    ]
    np.testing.assert_allclose(wide[0], wide[1], rtol=1e-6)
    assert np.abs(wide[0]).max() > 0.1


def test_the_neighbourhood_fits_the_players():
    """Numbers on a scale are moved by a little; levels, segments and groups are kept or
    replaced.
    """
    numbers = torch.randn(30, 4)
    levels = torch.cat([numbers[:, :3], (numbers[:, 3:] > 0).float()], dim=1)
    net = nn.Linear(4, 1)

    def chosen(rows: Tensor, **options) -> tuple[str, int]:
        explanation = explain_with(
            net, rows, method="lime", random_state=0, progress=False, **options
        )
        return explanation.meta["neighbourhood"], explanation.meta["samples"]

    assert chosen(numbers) == ("gaussian", 1000)
    assert chosen(levels) == ("coalition", 1000)
    assert chosen(numbers, groups={"pair": ["input[0]", "input[1]"]})[0] == "coalition"
    wide = nn.Linear(40, 1)
    wide_explanation = pg.explain(
        wide, torch.randn(30, 40), method="lime", random_state=0, progress=False
    )
    assert wide_explanation.meta["samples"] == 2000


def test_a_constant_column_changes_nothing():
    """It is no level: the other players keep their neighbourhood, and it gets exactly
    0.
    """
    numbers = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    three = nn.Linear(3, 1)
    four = nn.Linear(4, 1)
    with torch.no_grad():
        four.weight[:, :3] = three.weight
        four.weight[:, 3] = 5.0
        four.bias[:] = three.bias
    seven = torch.cat([numbers, torch.full((40, 1), 7.0)], dim=1)

    def found(net: nn.Module, rows: Tensor, background: Tensor) -> pg.Explanation:
        call_options = {
            "method": "lime",
            "random_state": 0,
            "progress": False,
            "task": "regression",
            "ridge": 0.0,
        }
        return explain_with(net, rows, background=background, **call_options)

    without = found(three, numbers[:5], numbers)
    widened = found(four, seven[:5], seven)
    assert without.meta["neighbourhood"] == widened.meta["neighbourhood"] == "gaussian"
    assert (
        without.meta["quantity"]
        == "change per standard deviation in a linear model around the row"
    )
    assert np.abs(without.values).max() > 0.1, "the precondition"
    np.testing.assert_allclose(widened.values[:, :3], without.values, rtol=1e-4)
    assert (widened.values[:, 3] == 0).all()
    for background in (
        seven[:1],
        torch.cat([numbers, torch.full((40, 1), 6.0)], dim=1),
    ):
        coalition_explanation = found(four, seven[:5], background)
        assert coalition_explanation.meta["neighbourhood"] == "coalition", (
            "another constant than the rows' own is a baseline"
        )
        assert (
            coalition_explanation.meta["quantity"]
            == "effect of keeping the feature in a linear model around the row"
        )
