"""Permutation, ablation and the modality game on torch networks: closed forms and slow
twins.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from explaining import donor_rows, explain_with, with_settings
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.replace.plays import EXACT_PLAYERS
from permgrad.attribution.request import tuned

ROWS = 400


class Sum(nn.Module):
    """f = a · x + b · z + c · x · z, exactly the target."""

    def __init__(self, a: float, b: float, c: float = 0.0) -> None:
        super().__init__()
        self.a = a
        self.b = b
        self.c = c

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.a * x + self.b * z + self.c * x * z


def standard(rows: int, columns: int, seed: int) -> Tensor:
    """Return columns with mean 0 and variance 1 exactly."""
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    return torch.as_tensor(values)


def test_permutation_of_a_linear_model_is_twice_the_squared_coefficients():
    x = standard(4000, 3, 0)
    weights = np.array([2.0, 1.0, 0.0])
    net = nn.Linear(3, 1).double()
    with torch.no_grad():
        net.weight.copy_(torch.as_tensor(weights)[None])
        net.bias.zero_()
    y = x.numpy() @ weights
    explanation = pg.explain(
        net, x, y, method="permutation", n_repeats=20, random_state=0, progress=False
    )
    low, high = explanation.ci()
    truth = 2 * weights**2
    assert ((low[:, 0] <= truth) & (truth <= high[:, 0])).all()
    assert np.abs(explanation.values[:, 0] - truth).max() < 0.25
    frame = explanation.to_frame().iloc[2]
    assert (frame["importance"], frame["std_error"], frame["p_value"]) == (0, 0, 1)


@pytest.mark.parametrize(("a", "b"), [(1.0, 2.0), (1.0, 0.0), (1.5, -0.5)])
def test_the_modality_game_of_the_same_column_twice(a, b):
    """With x = z (one column shown twice) φ_x = 2a(a+b)σ², φ_z = 2b(a+b)σ²: DESIGN
    section 3.
    """
    x = standard(4000, 1, 1)
    y = (a + b) * x.numpy()[:, 0]
    explanation = pg.explain(
        Sum(a, b),
        {"x": x, "z": x},
        y,
        groups="modality",
        n_repeats=20,
        random_state=0,
        progress=False,
    )
    truth = np.array([2 * a * (a + b), 2 * b * (a + b)])
    np.testing.assert_allclose(
        explanation.values[:, 0], truth, atol=0.12 * max(1.0, np.abs(truth).max())
    )
    assert explanation.branches is not None
    total = explanation.branches["total"]["importance"]
    np.testing.assert_allclose(explanation.values[:, 0].sum(), total, rtol=1e-12)
    # alone and last bracket the value: the interaction is shared out in halves.
    alone = explanation.parts["alone"][:, 0]
    last = explanation.parts["last"][:, 0]
    np.testing.assert_allclose(
        (alone + last) / 2, explanation.values[:, 0], rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(
        alone, [2 * a * a, 2 * b * b], atol=0.15 * max(1.0, a * a, b * b)
    )
    if b == 0:
        assert (
            explanation.values[1, 0],
            explanation.std_error[1, 0],
            explanation.p_values[1, 0],
        ) == (
            0,
            0,
            1,
        )


def test_inputs_that_a_network_is_better_off_without_have_no_shares():
    x = standard(2000, 1, 1)
    options = {
        "groups": "modality",
        "n_repeats": 5,
        "random_state": 0,
        "progress": False,
    }
    for sign in (1, -1):
        y = sign * 3 * x.numpy()[:, 0]
        branches = explain_with(Sum(1.0, 2.0), {"x": x, "z": x}, y, **options).branches
        shares = [branches[name]["share"] for name in ("x", "z")]
        assert sign * branches["x"]["importance"] > 1
        assert sign * branches["z"]["importance"] > 1
        assert shares == ([None, None] if sign < 0 else pytest.approx([1 / 3, 2 / 3]))


def slow_shapley(
    net: nn.Module, inputs: list[Tensor], y: np.ndarray, seed: int, repeats: int
) -> np.ndarray:
    """Return the mean Shapley value of the game S ↦ Δ_S by its definition, coalition by
    coalition, row by row.
    """
    rows = len(y)
    count = len(inputs)
    total = np.zeros(count)
    for repeat in range(repeats):
        donors = donor_rows(
            seed, "modalities", repeat, np.arange(rows), rows, shared=True
        )

        def loss(coalition: tuple[int, ...], donors: np.ndarray = donors) -> np.ndarray:
            edited = [
                tensor[donors] if k in coalition else tensor
                for k, tensor in enumerate(inputs)
            ]
            with torch.no_grad():
                return (net(*edited)[:, 0].numpy() - y) ** 2

        for player in range(count):
            other_players = [k for k in range(count) if k != player]
            for size in range(count):
                for subset in itertools.combinations(other_players, size):
                    weight = (
                        math.factorial(size)
                        * math.factorial(count - size - 1)
                        / math.factorial(count)
                    )
                    total[player] += (
                        weight * (loss((*subset, player)) - loss(subset)).mean()
                    )
    return total / repeats


class Mixed(nn.Module):
    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return (a.sum(1) * b.sum(1) + torch.sin(c.sum(1)) + a[:, 0] ** 2)[:, None]


def test_the_modality_game_is_the_definition():
    inputs = [standard(60, columns, seed) for seed, columns in enumerate((2, 3, 1))]
    y = Mixed()(*inputs)[:, 0].numpy() + np.random.default_rng(0).normal(size=60)
    explanation = pg.explain(
        Mixed(),
        dict(zip("abc", inputs, strict=True)),
        y,
        groups="modality",
        n_repeats=3,
        random_state=7,
        progress=False,
    )
    expected_values = slow_shapley(Mixed(), inputs, y, 7, 3)
    assert np.abs(expected_values).min() > 0.1
    np.testing.assert_allclose(explanation.values[:, 0], expected_values, rtol=1e-10)


def test_an_unused_modality_among_several_is_exactly_zero():
    class Deaf(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
            return (a * b).sum(dim=1, keepdim=True) + torch.exp(
                d.mean(dim=1, keepdim=True)
            )

    inputs = {name: standard(300, 3, seed).float() for seed, name in enumerate("abcd")}
    y = np.random.default_rng(0).normal(size=300)
    with pytest.warns(pg.PermgradWarning, match=r"exactly 0: c\. They"):
        explanation = pg.explain(
            Deaf(),
            inputs,
            y,
            groups="modality",
            n_repeats=2,
            random_state=0,
            progress=False,
        )
    assert (
        explanation.values[2, 0],
        explanation.std_error[2, 0],
        explanation.p_values[2, 0],
    ) == (
        0,
        0,
        1,
    )
    assert (explanation.parts["alone"][2, 0], explanation.parts["last"][2, 0]) == (0, 0)
    assert np.abs(explanation.values[[0, 1, 3], 0]).min() > 0


class Many(nn.Module):
    """Fourteen inputs: more than are enumerated."""

    def forward(self, *inputs: Tensor) -> Tensor:
        first = torch.cat(inputs, dim=1)
        scale = torch.arange(first.shape[1], dtype=first.dtype)
        return (first * scale).sum(dim=1, keepdim=True) / 10


def test_too_many_modalities_are_refused_as_players_and_not_weighed():
    inputs = [standard(100, 1, seed) for seed in range(EXACT_PLAYERS + 2)]
    y = Many()(*inputs)[:, 0].numpy()
    call_options = {"n_repeats": 1, "random_state": 0, "progress": False}
    with pytest.raises(
        pg.InputError, match="all subsets of up to 12 modalities, got 14"
    ):
        pg.explain(Many(), tuple(inputs), y, groups="modality", **call_options)
    explanation = pg.explain(Many(), tuple(inputs), y, **call_options)
    assert explanation.branches is None
    assert len(explanation.names) == EXACT_PLAYERS + 2


def test_the_effect_while_the_others_are_replaced():
    """With f = x · z replaced together, x adds what the product of two donors' values
    loses: by definition.
    """
    inputs = {"x": standard(50, 1, 0), "z": standard(50, 1, 1)}
    net = Sum(1.0, 0.5, 2.0)
    y = standard(50, 1, 2).numpy()[:, 0]
    explanation = pg.explain(
        net,
        inputs,
        y,
        method=tuned(pg.methods.PermGrad(), branches=False),
        n_repeats=4,
        random_state=3,
        progress=False,
    )
    for index, name in enumerate(("x[0]", "z[0]")):
        assert explanation.names[index] == name
        gains = []
        for repeat in range(4):
            donors = donor_rows(3, name, repeat, np.arange(50), 50, shared=True)
            input_values = list(inputs.values())
            donor_values = [tensor[donors] for tensor in inputs.values()]
            mixed_inputs = [
                input_values[k] if k == index else donor_values[k] for k in range(2)
            ]
            all_replaced = net(*donor_values)[:, 0].numpy()
            gains.append(
                (
                    (all_replaced - y) ** 2
                    - (net(*mixed_inputs)[:, 0].numpy() - y) ** 2
                ).mean()
            )
        np.testing.assert_allclose(
            explanation.parts["others_replaced"][index, 0], np.mean(gains), rtol=1e-10
        )


@pytest.mark.parametrize("rows", [81, 80, 2])
def test_ablation_is_the_median_row(rows):
    x = standard(rows, 2, 0)
    net = nn.Linear(2, 1).double()
    y = np.linspace(-1, 1, rows)
    explanation = pg.explain(
        net, x, y, method="ablation", random_state=0, progress=False
    )
    for index in range(2):
        edited = x.clone()
        edited[:, index] = float(np.median(x[:, index].numpy()))
        with torch.no_grad():
            expected_effect = (
                (net(edited)[:, 0].numpy() - y) ** 2 - (net(x)[:, 0].numpy() - y) ** 2
            ).mean()
        np.testing.assert_allclose(
            explanation.values[index, 0], expected_effect, rtol=1e-10
        )


@pytest.mark.parametrize("method", ["permgrad", "permutation"])
def test_rows_do_not_depend_on_their_neighbours(method):
    net = Sum(1.0, 2.0, 0.5)
    background = {"x": standard(30, 1, 5), "z": standard(30, 1, 6)}
    inputs = {"x": standard(20, 1, 0), "z": standard(20, 1, 1)}
    call_options = {
        "method": method,
        "scope": "local",
        "background": background,
        "random_state": 0,
        "progress": False,
    }
    full_explanation = explain_with(net, inputs, **call_options)
    part_explanation = explain_with(
        net,
        {name: rows[4:9] for name, rows in inputs.items()},
        row_offset=4,
        **call_options,
    )
    np.testing.assert_allclose(
        part_explanation.values, full_explanation.values[4:9], rtol=1e-12
    )
    for batch in (1, 7):
        again = explain_with(net, inputs, batch_size=batch, **call_options)
        np.testing.assert_allclose(again.values, full_explanation.values, rtol=1e-12)


def test_intervals_cover():
    """95 % intervals of a linear model's effects hold the closed form about as often as
    they say.
    """
    hits = 0
    tries = 0
    net = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.5]]))
    for seed in range(60):
        x = torch.as_tensor(np.random.default_rng(seed).normal(size=(150, 2)))
        y = x.numpy() @ [1.0, 0.5]
        explanation = pg.explain(
            net,
            x,
            y,
            method="permutation",
            n_repeats=5,
            random_state=seed,
            progress=False,
        )
        low, high = explanation.ci()
        hits += int(((low[:, 0] <= [2.0, 0.5]) & (high[:, 0] >= [2.0, 0.5])).sum())
        tries += 2
    assert 0.88 <= hits / tries <= 0.99


def test_groups_and_segments_are_players():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    images = torch.randn(30, 6, 6)
    mask = np.full((6, 6), -1)
    mask[:2] = 3
    mask[4:] = 8
    explanation = pg.explain(
        pg.Model(net, segments=mask),
        images,
        np.zeros(30),
        method="permutation",
        random_state=0,
        progress=False,
    )
    assert explanation.names == ("input[3]", "input[8]")
    pixels = pg.explain(
        pg.Model(net, segments="pixels"),
        images,
        np.zeros(30),
        method="permutation",
        random_state=0,
        n_repeats=1,
        progress=False,
    )
    assert len(pixels.names) == 36
    groups = {"top": [f"input[{r},{c}]" for r in range(2) for c in range(6)]}
    grouped = pg.explain(
        pg.Model(net, segments="pixels"),
        images,
        np.zeros(30),
        method="permutation",
        groups=groups,
        random_state=0,
        n_repeats=1,
        progress=False,
    )
    assert grouped.names[0] == "top"
    assert len(grouped.names) == 25
    assert grouped.groups == groups
    cut = pg.explain(
        pg.Model(net, segments=("superpixels", 4)),
        images,
        np.zeros(30),
        method="permutation",
        random_state=0,
        n_repeats=1,
        progress=False,
    )
    assert 2 <= len(cut.names) <= 8


@pytest.mark.parametrize("method", ["permutation", "ablation", "permgrad"])
def test_scores_of_a_network(method):
    from sklearn.metrics import roc_auc_score

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        x = torch.randn(200, 3)
    with torch.no_grad():
        net.weight[:, 2] = 0
        outputs = net(x).softmax(1).numpy()
    y = (outputs[:, 1] + np.random.default_rng(0).normal(size=200) * 0.1 > 0.5).astype(
        int
    )
    call_options = {
        "scoring": ["roc_auc", "accuracy"],
        "n_repeats": 3,
        "random_state": 0,
        "progress": False,
    }
    explanation = explain_with(net, x, y, method=method, **call_options)
    assert explanation.outputs == ("roc_auc", "accuracy")
    np.testing.assert_allclose(
        explanation.meta["scores"]["roc_auc"], roc_auc_score(y, outputs[:, 1])
    )
    assert explanation.values[0, 0] > 0.01
    assert (explanation.values[2] == 0).all()
    if method == "permutation":
        pooled = []
        labels = []
        for repeat in range(3):
            donors = donor_rows(0, "input[0]", repeat, np.arange(200), 200, shared=True)
            edited = x.clone()
            edited[:, 0] = x[donors, 0]
            with torch.no_grad():
                pooled.append(net(edited).softmax(1)[:, 1].numpy())
            labels.append(y)
        after = roc_auc_score(np.concatenate(labels), np.concatenate(pooled))
        np.testing.assert_allclose(
            explanation.values[0, 0],
            explanation.meta["scores"]["roc_auc"] - after,
            atol=1e-6,
        )


def test_scores_of_modalities_add_up():
    inputs = {"x": standard(120, 1, 0), "z": standard(120, 1, 1)}
    y = Sum(1.0, 2.0)(*inputs.values())[:, 0].numpy() + np.random.default_rng(2).normal(
        size=120
    )
    call_options = {
        "groups": "modality",
        "n_repeats": 2,
        "random_state": 0,
        "progress": False,
        "scoring": "r2",
    }
    explanation = explain_with(Sum(1.0, 2.0), inputs, y, **call_options)
    np.testing.assert_allclose(
        (explanation.parts["alone"] + explanation.parts["last"]) / 2,
        explanation.values,
        rtol=1e-9,
    )
    assert explanation.values[1, 0] > explanation.values[0, 0] > 0


class Added(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a.sum(dim=1) + b[:, 0] * 2)[:, None]


@pytest.mark.parametrize("options", [{}, {"exact": 0, "max_permutations": 200}])
@pytest.mark.parametrize(
    "method",
    ["shapley", "lime", "permutation", "integrated_gradients", "gradient", "deeplift"],
)
def test_what_belongs_to_nobody_is_nobodys_effect(method, options):
    """Where one input is explained alone, the others stay as they are: their effect
    must not be loaded onto it.
    """
    if options and method != "shapley":
        pytest.skip("options of shapley")
    inputs = {"a": standard(20, 3, 0), "b": standard(20, 2, 1)}
    background = {"a": standard(30, 3, 2), "b": standard(30, 2, 3)}
    call_options = {"background": background, "random_state": 0, "progress": False}
    explanation = explain_with(
        Added(), inputs, method={"b": with_settings(method, **options)}, **call_options
    )
    assert explanation.names == ("b[0]", "b[1]")
    assert np.abs(explanation.values[:, 0]).max() > 0.5
    assert (explanation.values[:, 1] == 0).all()
    if method == "shapley":
        expected_values = 2 * (inputs["b"][:, 0] - background["b"][:, 0].mean()).numpy()
        np.testing.assert_allclose(
            explanation.values[:, 0, 0], expected_values, atol=1e-12
        )


def test_shapley_of_a_mask_that_leaves_pixels_out():
    images = standard(6, 16, 0).reshape(6, 4, 4)
    background = standard(9, 16, 1).reshape(9, 4, 4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).double()
    mask = np.full((4, 4), -1)
    mask[0] = 0
    mask[1] = 1
    with torch.no_grad():
        net[1].weight.reshape(4, 4)[1] = 0
    explanation = pg.explain(
        pg.Model(net, segments=mask),
        images,
        method="shapley",
        background=background,
        progress=False,
    )
    weights = net[1].weight.detach().reshape(4, 4)
    expected_values = (
        ((images - background.mean(dim=0))[:, 0] * weights[0]).sum(dim=1).numpy()
    )
    np.testing.assert_allclose(explanation.values[:, 0, 0], expected_values, atol=1e-12)
    assert (explanation.values[:, 1] == 0).all()
    # base value and values add up to the prediction, row by row.
    total = explanation.base_values + explanation.values.sum(axis=1)
    np.testing.assert_allclose(total, explanation.predictions, atol=1e-12)
