"""Integrated gradients: the rules written again, when an integral counts as settled,
and how much goes in at once.
"""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.slopes import gradients, integrals
from permgrad.attribution.slopes import slopes as network_slopes

NETWORK = {"dense_units": [6], "conv_filters": [3], "fusion_units": [5]}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def explain(model, rows, **options) -> pg.Explanation:
    call_options = {
        "method": "integrated_gradients",
        "progress": False,
        "random_state": 0,
    } | options
    return explain_with(model, rows, **call_options)


# ---- a function that no rule knows ---------------------------------------------------


class Wave(torch.autograd.Function):
    """x + c (x / 2 − sin(6πx) / 12π), whose slope 1 + c sin²(3πx) is the same in the
    middle of 1 and of 3 parts.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x + 2 * (x / 2 - torch.sin(6 * math.pi * x) / (12 * math.pi))

    @staticmethod
    def backward(ctx, slopes: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slopes * (1 + 2 * torch.sin(3 * math.pi * x) ** 2)


class Difference(nn.Module):
    """The errors of both inputs cancel in the sum, so that only single values can show
    them.
    """

    def forward(self, x: Tensor) -> Tensor:
        moved = Wave.apply(x)
        return (moved[:, :1] - moved[:, 1:]) + 0 * x[:, :1]


def test_one_line_is_not_settled_by_luck():
    """With 1 and with 3 intervals both values are 3, and the sum is right; their
    integral is 2.
    """
    rows = torch.ones(4, 2, dtype=torch.float64)
    background = drawn(30, 2)
    explanation = explain(
        Difference(), rows, background=background, baseline="zeros", task="regression"
    )
    assert explanation.meta["rule"] == "midpoint rule over gradients"
    np.testing.assert_allclose(
        explanation.values[:, :, 0], np.tile([2.0, -2.0], (4, 1)), rtol=0, atol=1e-9
    )
    assert explanation.meta["completeness_gap"] < 1e-12
    coarse = explain(
        Difference(),
        rows,
        background=background,
        baseline="zeros",
        task="regression",
        max_steps=3,
        tolerance=1.0,
    )
    np.testing.assert_allclose(
        coarse.values[:, :, 0], np.tile([3.0, -3.0], (4, 1)), rtol=0, atol=1e-9
    )


def test_the_gap_is_each_rows_own_where_nothing_is_refined():
    rows = drawn(5, 2)
    background = drawn(30, 2, seed=1)
    options = {
        "baseline": "zeros",
        "task": "regression",
        "max_steps": 2,
        "tolerance": 9.0,
    }
    with pytest.warns(
        pg.PermgradWarning, match="5 of 5 rows did not settle"
    ) as caught_warnings:
        explanation = explain(Difference(), rows, background=background, **options)
    assert explanation.meta["rule"] == "midpoint rule over gradients", (
        "1 interval, then 3"
    )
    outputs, background_outputs = (
        Difference()(tensor)[:, 0] for tensor in (rows, background)
    )
    gaps = np.abs(explanation.values[:, :, 0].sum(axis=1) - outputs.numpy()) / float(
        background_outputs.max() - background_outputs.min()
    )
    assert np.ptp(gaps) > 1e-2
    np.testing.assert_allclose(
        explanation.meta["completeness_gap"], gaps.max(), rtol=1e-6
    )
    assert (
        f"(largest error inf, largest gap {gaps.max():.2g} of the output's range)"
        in str(caught_warnings[0].message)
    )


def test_half_precision_settles_as_far_as_it_can_tell_numbers_apart():
    def tolerance(dtype: torch.dtype, wanted: float) -> float:
        rows = drawn(3, 2).to(dtype)
        return explain(
            nn.Linear(2, 1).to(dtype), rows, tolerance=wanted, task="regression"
        ).meta["tolerance"]

    assert tolerance(torch.float16, 1e-3) == 4 * 2.0**-10
    assert tolerance(torch.bfloat16, 1e-3) == 4 * 2.0**-7
    assert tolerance(torch.float16, 0.5) == 0.5
    assert tolerance(torch.float32, 1e-9) == 1e-9, "as it is asked for"


def test_many_lines_settle_sooner_than_one():
    class Straight(torch.autograd.Function):
        """Squares, as a function that no rule knows: its slope at the stop does not add
        up to the change.
        """

        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, slopes: Tensor) -> Tensor:
            return slopes * 2 * ctx.saved_tensors[0]

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Straight.apply(x).sum(dim=1, keepdim=True)

    rows = drawn(5, 2)
    background = drawn(40, 2, seed=1)
    steps = {}
    for baseline in ("mean", "background"):
        explanation = explain(
            Net(), rows, background=background, baseline=baseline, task="regression"
        )
        start = (
            background.mean(dim=0, keepdim=True) if baseline == "mean" else background
        )
        expected = (rows[:, None] ** 2 - start[None] ** 2).mean(dim=1)
        np.testing.assert_allclose(
            explanation.values[:, :, 0], expected.numpy(), rtol=0, atol=1e-12
        )
        steps[baseline] = explanation.meta["steps"]
    assert steps["background"] < steps["mean"]


# ---- the midpoint rule, written again ------------------------------------------------


@pytest.fixture(scope="module")
def model() -> pg.HyNNClassifier:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 4)), columns=list("abcd"))
    y = np.digitize(X["a"] + X["b"] * X["c"], [-0.5, 0.5])
    estimator = pg.HyNNClassifier(
        preset="fast",
        pixels=6,
        network=NETWORK,
        max_epochs=4,
        random_state=0,
        progress=False,
    )
    estimator.fit(X, y).module_.double()
    return estimator


def slow_midpoints(
    module, rows: Tensor, baselines: Tensor, steps: int, targets, read
) -> np.ndarray:
    """Return the mean over baselines, ``(rows, paths, encoded, targets)``: one gradient
    at a time.
    """
    total = np.zeros((len(rows), len(module.paths), rows.shape[1], len(targets)))
    for row in range(len(rows)):
        for baseline in baselines:
            change = (rows[row] - baseline).numpy()
            for step in range(steps):
                point = (baseline + (step + 0.5) / steps * (rows[row] - baseline))[None]
                leaves = [point.clone().requires_grad_() for _ in module.paths]
                embeddings = {
                    path: module.embed(path, leaf)
                    for path, leaf in zip(module.paths, leaves, strict=True)
                }
                outputs = read(module.fuse(embeddings))
                for column, target in enumerate(targets):
                    gradients = torch.autograd.grad(
                        outputs[0, target], leaves, retain_graph=True
                    )
                    for path, gradient in enumerate(gradients):
                        total[row, path, :, column] += (
                            gradient[0].numpy() * change / steps
                        )
    return total / len(baselines)


@pytest.mark.parametrize("output", ["raw", "probability"])
@pytest.mark.parametrize("references", [1, 3])
def test_the_midpoint_rule_of_a_hybrid_network(model, monkeypatch, references, output):
    """In so many steps, and refined to as many by thirds; encoded columns apart, in
    batches of any size.
    """
    X = pd.DataFrame(np.random.default_rng(1).normal(size=(3, 4)), columns=list("abcd"))
    base = X.iloc[:0].reindex(range(references)).fillna(0.25)
    base["a"] = np.arange(references) / 2
    rows, baselines = (
        torch.as_tensor(model.encode_rows(frame).encoded).double()
        for frame in (X, base)
    )
    read = (
        torch.nn.Identity()
        if output == "raw"
        else lambda outputs: torch.softmax(outputs, dim=1)
    )
    options = {
        "baseline": base,
        "scale": output,
        "target": [2, 0],
        "players": "encoded",
    }
    for steps in (1, 3, 4):
        slow = slow_midpoints(model.module_, rows, baselines, steps, [2, 0], read)
        assert np.abs(slow).max() > 1e-3
        for batch in (1, 2, 5, 1000):
            explanation = explain(model, X, steps=steps, batch_size=batch, **options)
            path_values = np.stack(
                [explanation.parts[path] for path in model.module_.paths], axis=1
            )
            np.testing.assert_allclose(path_values, slow, rtol=0, atol=1e-12)
            assert explanation.meta["steps"] == steps
    monkeypatch.setattr(integrals.SecantIntegral, "complete", lambda *_: False)
    slow = slow_midpoints(model.module_, rows, baselines, 9, [2, 0], read)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        explanation = explain(model, X, max_steps=9, tolerance=0, **options)
    path_values = np.stack(
        [explanation.parts[path] for path in model.module_.paths], axis=1
    )
    np.testing.assert_allclose(path_values, slow, rtol=0, atol=1e-12)


def test_without_a_rule_one_line_takes_more_steps_than_many(model, monkeypatch):
    monkeypatch.setattr(integrals.SecantIntegral, "complete", lambda *_: False)
    X = pd.DataFrame(np.random.default_rng(1).normal(size=(4, 4)), columns=list("abcd"))
    median_explanation, background_explanation = (
        explain(model, X, baseline=name, tolerance=10.0)
        for name in ("median", "background")
    )
    assert median_explanation.meta["rule"] == "midpoint rule over gradients"
    assert (median_explanation.meta["steps"], background_explanation.meta["steps"]) == (
        9,
        3,
    )


# ---- secants -------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["mean", "background"])
def test_a_network_without_a_bend_has_one_slope(baseline):
    """Weights times changes: nothing along the line depends on where one is, in one
    line or in many.
    """
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    model = pg.HyNNRegressor(
        preset="fast",
        branches=("tabular",),
        network=NETWORK,
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(X, X["a"].to_numpy())
    module = model.module_
    for layers in (module.table_branch.layers, module.head):
        for layer_index, layer in enumerate(layers):
            if isinstance(layer, nn.ReLU):
                layers[layer_index] = nn.Identity()
    module.double()
    rows = X[:7] + 1.0
    explanation = explain(model, rows, baseline=baseline, references=5)
    assert explanation.meta["rule"] == "secants of each function"
    with torch.no_grad():
        zero = torch.zeros(1, 3, dtype=torch.float64)
        slope = (module(torch.eye(3, dtype=torch.float64)) - module(zero)).numpy()[
            :, 0
        ] * model.target_scale_
    encoded = model.encode_rows(rows).encoded.astype(np.float64)
    values = explanation.values[:, :, 0]
    # Whatever the baseline is, rows differ by their slopes times how they differ.
    np.testing.assert_allclose(
        values - values[:1], (encoded - encoded[:1]) * slope, rtol=0, atol=1e-6
    )
    total = explanation.base_values + explanation.values.sum(axis=1)
    np.testing.assert_allclose(total, explanation.predictions, rtol=0, atol=1e-6)
    assert np.abs(slope).min() > 1e-4
    if baseline == "mean":
        mean = model.background_.astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(values, (encoded - mean) * slope, rtol=0, atol=1e-6)


# ---- how much goes in at once --------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_rows_at_once_fill_the_budget_and_no_more(device):
    kind = "CPU" if device == "cpu" else "ACCELERATOR"
    budget, most = (
        getattr(gradients, f"_{name}_{kind}") for name in ("NUMBERS", "MOST")
    )
    request = SimpleNamespace(
        batch_size="auto", subject=SimpleNamespace(device=torch.device(device))
    )
    for numbers in (
        0,
        1,
        budget // most,
        budget // most + 1,
        1000,
        budget - 1,
        budget,
        budget + 1,
        10 * budget,
    ):
        row_count = gradients.batch_size(request, numbers)
        assert 1 <= row_count <= most
        assert row_count == 1 or row_count * numbers <= budget
        assert row_count == most or (row_count + 1) * numbers > budget
    request.batch_size = 7
    assert gradients.batch_size(request, 10**9) == 7


def test_wider_networks_take_fewer_rows_at_once(monkeypatch):
    largest_batches = []
    plain = network_slopes.Slopes.gradients

    def noted(self, points):
        largest_batches[-1] = max(largest_batches[-1], len(points[0]))
        return plain(self, points)

    monkeypatch.setattr(network_slopes.Slopes, "gradients", noted)
    monkeypatch.setattr(gradients, "_NUMBERS_CPU", 4000)
    for width in (10, 100, 5000):
        largest_batches.append(0)
        net = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1)
        ).double()
        explain(net, drawn(50, 3), baseline="zeros", task="regression", steps=4)
        assert largest_batches[-1] == 1 or largest_batches[-1] * width <= 4000
    assert largest_batches[0] > largest_batches[1] > largest_batches[2] == 1


def test_the_range_of_the_outputs_is_taken_evenly_over_a_long_background(monkeypatch):
    net = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        net.weight.fill_(2.0)
    background = torch.linspace(-1, 1, 2501, dtype=torch.float64)[:, None]
    counts = []
    plain = network_slopes.Slopes.outputs
    monkeypatch.setattr(
        network_slopes.Slopes,
        "outputs",
        lambda self, p: counts.append(len(p[0])) or plain(self, p),
    )
    explanation = explain(
        net, drawn(3, 1), background=background, baseline="zeros", task="regression"
    )
    assert explanation.meta["output_range"][0] == pytest.approx(4.0, rel=0.005)
    assert 500 < max(counts) <= 1000
    few = explain(
        net,
        drawn(3, 1),
        background=background[1000:1500],
        baseline="zeros",
        task="regression",
    )
    assert few.meta["output_range"][0] == pytest.approx(
        2 * float(background[1499] - background[1000]), rel=1e-12
    )
    same = explain(
        net,
        drawn(3, 1),
        background=torch.zeros(9, 1).double(),
        baseline="zeros",
        task="regression",
    )
    assert same.meta["output_range"] == [1.0], (
        "where nothing varies, errors are absolute"
    )


def test_the_intervals_of_a_row_are_divided_until_it_has_settled():
    """Each row stops where its values stand still, and takes more for more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)
        ).double()
    rows = drawn(9, 3) * torch.linspace(0.1, 6, 9, dtype=torch.float64)[:, None]
    mean_steps = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        meta = explain(
            net,
            rows,
            baseline="zeros",
            tolerance=tolerance,
            max_steps=2**16,
            task="regression",
        ).meta
        assert meta["rule"] == "secants of each function"
        assert meta["quadrature_error"] <= tolerance
        assert 2 ** round(np.log2(meta["steps"])) == meta["steps"]
        assert 8 <= meta["mean_steps"] <= meta["steps"] <= 2**16
        mean_steps.append(meta["mean_steps"])
    assert mean_steps[0] <= mean_steps[1] < mean_steps[2], mean_steps


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_default_is_right_within_a_hundredth_of_a_rows_largest_value(depth):
    """In more than 95 % of rows of random networks with rectifiers."""
    errors = []
    for seed in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = [nn.Linear(6, 24)]
            for _ in range(depth):
                layers += [nn.ReLU(), nn.Linear(24, 24)]
            net = nn.Sequential(*layers, nn.ReLU(), nn.Linear(24, 1)).double()
        rows = drawn(20, 6, seed=seed)
        explanation = explain(net, rows, baseline="zeros", task="regression")
        assert explanation.meta["tolerance"] == 0.01
        assert explanation.meta["quadrature_error"] <= 0.01
        assert explanation.meta["completeness_gap"] < 1e-9
        shares = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        points = (shares[:, None, None] * rows).requires_grad_()
        slopes = torch.autograd.grad(net(points).sum(), points)[0].mean(dim=0)
        truth = (slopes * rows).numpy()
        misses = np.abs(explanation.values[:, :, 0] - truth).max(axis=1)
        errors.append(misses / np.abs(truth).max(axis=1))
    assert 1e-4 < np.mean(errors) < 0.005
    assert np.mean(np.concatenate(errors) <= 0.01) >= 0.95
    assert np.max(errors) <= 0.03
