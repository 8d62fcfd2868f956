"""Integrated gradients of any network: closed forms, a float64 twin, Captum, baselines,
memory and bookkeeping.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from explaining import explain_with
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.slopes import integrals as network_integrals
from permgrad.attribution.slopes import references
from permgrad.base.progress import Progress

ROWS = 8


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


class TwoModalities(nn.Module):
    """An image through a network with max pooling, beside a table."""

    def __init__(self, last: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(36, 5),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, last))

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat([self.encoder(image), table], dim=1))


class Recurrent(nn.Module):
    """Layers for which there is no secant."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.lstm(series)[0][:, -1])


def seeded(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval()


def inputs(rows: int = ROWS) -> dict[str, Tensor]:
    return {"image": drawn(rows, 1, 8, 8) * 2, "table": drawn(rows, 4, seed=1) * 2}


def explain(net: nn.Module, rows, **options) -> pg.Explanation:
    return explain_with(
        net,
        rows,
        method="integrated_gradients",
        **{"random_state": 0, "progress": False} | options,
    )


def twin(
    net: nn.Module,
    rows: list[Tensor],
    baselines: list[Tensor],
    steps: int,
    output: str = "raw",
) -> np.ndarray:
    """Return the mean over baselines of (x − b) ∫ ∇f, by a midpoint sum, one row and
    baseline at a time.
    """
    row_integrals = []
    for number in range(len(rows[0])):
        total = 0.0
        for base in range(len(baselines[0])):
            stop = [tensor[number : number + 1] for tensor in rows]
            start = [tensor[base : base + 1] for tensor in baselines]
            times = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
            points = [
                (a + times.reshape(-1, *[1] * (a.ndim - 1)) * (b - a)).requires_grad_()
                for a, b in zip(start, stop, strict=True)
            ]
            out = net(*[point.clone() for point in points])
            out = torch.softmax(out, dim=1) if output == "probability" else out
            columns = []
            for target in range(out.shape[1]):
                slopes = torch.autograd.grad(
                    out[:, target].sum(), points, retain_graph=True
                )
                triples = zip(slopes, start, stop, strict=True)
                columns.append(
                    torch.cat(
                        [
                            (slope.mean(dim=0) * (b - a)[0]).flatten()
                            for slope, a, b in triples
                        ]
                    )
                )
            total = total + torch.stack(columns, dim=1)
        row_integrals.append(total / len(baselines[0]))
    return torch.stack(row_integrals).detach().numpy()


# ---- what it computes ----------------------------------------------------------------


@pytest.mark.parametrize("output", ["raw", "probability"])
def test_equals_the_twin(output):
    net = seeded(TwoModalities)
    rows = inputs()
    baseline = {"image": drawn(1, 1, 8, 8, seed=5), "table": drawn(1, 4, seed=6)}
    explanation = explain(
        net, rows, baseline=baseline, scale=output, segments={"image": "pixels"}
    )
    slow = twin(net, list(rows.values()), list(baseline.values()), 4000, output)
    scale = max(explanation.meta["output_range"])
    assert np.abs(slow).max() > 0.02 * scale
    assert np.abs(explanation.values - slow).max() < 2e-3 * scale
    assert explanation.meta["rule"] == "secants of each function"
    assert explanation.meta["completeness_gap"] < 1e-12
    finer = explain(
        net,
        rows,
        baseline=baseline,
        scale=output,
        segments={"image": "pixels"},
        tolerance=1e-5,
    )
    assert np.abs(finer.values - slow).max() < 1e-4 * scale


@pytest.mark.parametrize("references", [1, 3])
def test_plain_gradients_where_there_are_no_secants(references):
    net = seeded(Recurrent)
    rows = 2 * drawn(ROWS, 5, 3)
    baseline = drawn(references, 5, 3, seed=5)
    explanation = explain(
        net,
        rows,
        baseline=baseline,
        task="regression",
        segments={"series": "pixels"},
        tolerance=1e-4,
    )
    slow = twin(net, [rows], [baseline], 2000)
    assert explanation.meta["rule"] == "midpoint rule over gradients"
    assert np.abs(slow).max() > 0.05
    assert np.abs(explanation.values - slow).max() < 1e-4 * max(
        explanation.meta["output_range"]
    )
    assert explanation.meta["completeness_gap"] < 1e-4


def test_a_product_has_its_closed_form():
    """f = x₁x₂ from (0, 0): each gets x₁x₂/2; from b: (x₁ − b₁)(x₂ + b₂)/2 and the
    like.
    """

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0] * x[:, 1]

    rows = drawn(ROWS, 2)
    for base in (torch.zeros(1, 2, dtype=torch.float64), drawn(1, 2, seed=3)):
        attributions = explain(
            Product(), rows, baseline=base, task="regression"
        ).values[:, :, 0]
        change = rows - base
        sums = rows + base
        np.testing.assert_allclose(
            attributions[:, 0],
            (change[:, 0] * sums[:, 1] / 2).numpy(),
            rtol=0,
            atol=1e-13,
        )
        np.testing.assert_allclose(
            attributions[:, 1],
            (change[:, 1] * sums[:, 0] / 2).numpy(),
            rtol=0,
            atol=1e-13,
        )


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_linear_networks_and_unused_columns(seed):
    weight = drawn(2, 4, seed=seed)
    weight[:, 1] = 0
    net = nn.Linear(4, 2).double()
    with torch.no_grad():
        net.weight.copy_(weight)
    rows = drawn(ROWS, 4, seed=seed + 1)
    base = drawn(1, 4, seed=seed + 2)
    attributions = explain(net, rows, baseline=base, task="regression").values
    np.testing.assert_allclose(
        attributions, ((rows - base)[:, :, None] * weight.T).numpy(), rtol=0, atol=1e-12
    )
    assert (attributions[:, 1] == 0).all()


def test_two_networks_for_one_function_agree():
    """Implementation invariance: a network, and the same with each rectifier written as
    two.
    """

    class Twice(nn.Module):
        def __init__(self, net: nn.Sequential) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.net[0](x)
            return self.net[2]((hidden.abs() + hidden) / 2)

    net = seeded(lambda: nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1)))
    rows = drawn(ROWS, 3)
    plain_values, twice_values = (
        explain(module, rows, tolerance=1e-6).values for module in (net, Twice(net))
    )
    np.testing.assert_allclose(plain_values, twice_values, rtol=0, atol=1e-10)


def test_steps_equal_captums():
    captum = pytest.importorskip("captum.attr")
    net = seeded(TwoModalities)
    rows = inputs()
    explanation = explain(
        net, rows, steps=20, segments={"image": "pixels"}, baseline="zeros"
    )
    assert explanation.meta["gradient_evaluations"] == 20 * ROWS
    for target in (0, 1):
        theirs = captum.IntegratedGradients(net).attribute(
            tuple(rows.values()), target=target, n_steps=20, method="riemann_middle"
        )
        theirs = (
            torch.cat([tensor.flatten(1) for tensor in theirs], dim=1).detach().numpy()
        )
        assert np.abs(theirs).max() > 0.05
        np.testing.assert_allclose(
            explanation.values[:, :, target], theirs, rtol=1e-7, atol=1e-12
        )


@pytest.mark.slow
def test_fewer_gradients_than_captum_for_as_small_a_gap(script):
    pytest.importorskip("captum", reason="Captum is a peer, in the extra 'peers'")
    module = script("benchmarks.speed.network_gradients_memory")
    with torch.random.fork_rng():
        lines = module.gaps("table", module.table_network(100), 20, 300)
    assert module.meets_floor(lines)
    assert lines[0]["gradients per row"] < lines[-1]["gradients per row"]
    # The network, and with it how far Captum gets with many more, is another on each
    # processor.
    permgrad_line, *captum_lines = [
        (line["gradients per row"], line["largest error of a value, % of range"])
        for line in lines
    ]
    as_costly = [
        error
        for gradients, error in captum_lines[1:]
        if permgrad_line[0] <= gradients <= 1.5 * permgrad_line[0]
    ]
    assert as_costly
    assert permgrad_line[1] < min(as_costly)


# ---- baselines -----------------------------------------------------------------------


def test_expected_gradients_are_the_mean_over_background_rows():
    net = seeded(TwoModalities)
    rows = inputs()
    background = {"image": drawn(3, 1, 8, 8, seed=7), "table": drawn(3, 4, seed=8)}
    explanation = explain(
        net,
        rows,
        background=background,
        baseline="background",
        segments={"image": "pixels"},
        tolerance=1e-4,
    )
    slow = twin(net, list(rows.values()), list(background.values()), 1000)
    assert np.abs(explanation.values - slow).max() < 1e-3 * max(
        explanation.meta["output_range"]
    )
    with torch.no_grad():
        np.testing.assert_allclose(
            explanation.base_values,
            net(*background.values()).mean(dim=0).numpy(),
            atol=1e-12,
        )
    few = explain(net, rows, background=background, baseline="background", references=2)
    assert (
        few.meta["baseline"]
        == "average over 2 of 3 background rows (expected gradients)"
    )


def test_named_baselines():
    net = seeded(TwoModalities)
    rows = inputs()
    background = {name: tensor.flip(0) + 1 for name, tensor in inputs(5).items()}
    baselines = {
        "zeros": {
            name: torch.zeros_like(tensor[:1]) for name, tensor in background.items()
        },
        "mean": {
            name: tensor.mean(dim=0, keepdim=True)
            for name, tensor in background.items()
        },
        "median": {
            name: tensor.median(dim=0, keepdim=True).values
            for name, tensor in background.items()
        },
    }
    value_sets = []
    for name, base in baselines.items():
        named = explain(net, rows, background=background, baseline=name)
        explicit_explanation = explain(net, rows, background=background, baseline=base)
        np.testing.assert_allclose(
            named.values, explicit_explanation.values, rtol=0, atol=1e-12
        )
        assert named.meta["baseline_name"] == name
        value_sets.append(named.values)
    assert (
        min(
            np.abs(value_sets[0] - value_sets[1]).max(),
            np.abs(value_sets[1] - value_sets[2]).max(),
        )
        > 1e-3
    )
    assert explain(net, rows, background=background).meta["baseline_name"] == "median"
    assert explain(net, rows).meta["baseline_name"] == "zeros"


def test_a_baseline_of_wide_rows_is_made_of_fewer(monkeypatch):
    net = seeded(TwoModalities)
    rows = inputs()
    background = inputs(80)
    widest = max(tensor[:1].numel() for tensor in rows.values())
    assert (
        explain(net, rows, background=background)
        .meta["baseline"]
        .endswith("over 80 background rows")
    )
    monkeypatch.setattr(references, "_SUMMARISED_NUMBERS", 60 * widest)
    assert (
        explain(net, rows, background=background)
        .meta["baseline"]
        .endswith("over 60 background rows")
    )
    monkeypatch.setattr(references, "_SUMMARISED_NUMBERS", widest)
    assert (
        explain(net, rows, background=background)
        .meta["baseline"]
        .endswith("over 50 background rows")
    ), "at least"


def test_the_median_of_an_even_count_lies_in_the_middle():
    net = nn.Linear(1, 1).double()
    background = torch.tensor([[1.0], [9.0], [4.0], [2.0]], dtype=torch.float64)
    explanation = explain(
        net, drawn(3, 1), background=background, baseline="median", task="regression"
    )
    np.testing.assert_allclose(
        explanation.base_values[0], net(torch.full((1, 1), 3.0).double()).item()
    )


def test_positions_that_nobody_owns_keep_the_rows_value():
    """A mask of −1 outside: the line changes the inside alone, and the baseline's
    output is the row's own.
    """
    net = seeded(TwoModalities)
    rows = inputs()
    mask = np.full((8, 8), -1)
    mask[2:6, 2:6] = 0
    explanation = explain(net, rows, segments={"image": mask}, baseline="zeros")
    hollow = rows["image"].clone()
    hollow[:, :, 2:6, 2:6] = 0
    with torch.no_grad():
        base = net(hollow, torch.zeros_like(rows["table"])).numpy()
    assert explanation.base_values.shape == base.shape
    np.testing.assert_allclose(explanation.base_values, base, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        explanation.base_values + explanation.values.sum(axis=1),
        explanation.predictions,
        rtol=0,
        atol=1e-11,
    )


# ---- bookkeeping ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("build", [TwoModalities, Recurrent])
def test_batches_and_neighbours_change_nothing(build):
    net = seeded(build)
    rows = inputs() if build is TwoModalities else {"series": 2 * drawn(ROWS, 5, 3)}
    reference_rows = {name: tensor[:2] * 0.5 for name, tensor in rows.items()}
    for options in (
        {"baseline": reference_rows, "background": reference_rows},
        {"baseline": "zeros", "background": reference_rows},
    ):
        full_explanation = explain(net, rows, **options)
        cut = explain(net, rows, batch_size=3, **options)
        np.testing.assert_allclose(
            cut.values, full_explanation.values, rtol=0, atol=1e-12
        )
        assert cut.meta["mean_steps"] == full_explanation.meta["mean_steps"]
        row_explanation = explain(
            net, {name: tensor[5:6] for name, tensor in rows.items()}, **options
        )
        np.testing.assert_allclose(
            row_explanation.values[0], full_explanation.values[5], rtol=0, atol=1e-12
        )


def test_settled_rows_take_no_further_part():
    net = seeded(TwoModalities)
    rows = inputs(64)
    rows = {
        name: tensor
        * torch.linspace(0.01, 2, 64).double().reshape(-1, *[1] * (tensor.ndim - 1))
        for name, tensor in rows.items()
    }
    explanation = explain(net, rows, tolerance=1e-3)
    assert explanation.meta["mean_steps"] < explanation.meta["steps"]
    assert explanation.meta["gradient_evaluations"] < 2 * 64 * explanation.meta["steps"]
    assert explanation.meta["quadrature_error"] <= 1e-3


def test_rows_that_do_not_settle_are_told():
    with pytest.warns(
        pg.PermgradWarning,
        match=r"Attributions of \d+ of 8 rows did not settle .*\. Raise tolerance",
    ):
        explain(seeded(TwoModalities), inputs(), tolerance=1e-9, max_steps=16)


def test_out_of_memory_halves_the_batch(monkeypatch):
    net = seeded(TwoModalities)
    rows = inputs()
    full_explanation = explain(net, rows)
    plain = nn.Conv2d.forward
    largest = [0]
    refused = [0]

    def forward(self: nn.Conv2d, images: Tensor) -> Tensor:
        if len(images) > ROWS:
            refused[0] += 1
            raise torch.OutOfMemoryError
        largest[0] = max(largest[0], len(images))
        return plain(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    cut = explain(net, rows)
    assert refused[0] > 0
    assert largest[0] <= ROWS
    np.testing.assert_allclose(cut.values, full_explanation.values, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"steps": 50}, {}])
def test_memory_grows_with_rows_and_not_with_steps(options):
    """What NumPy and Python hold; torch's part is measured by
    ``benchmarks/speed/network_gradients_memory.py``.
    """
    net = seeded(
        lambda: nn.Sequential(nn.Linear(51, 16), nn.ReLU(), nn.Linear(16, 1))
    ).float()
    rows = drawn(20_000, 51, dtype=torch.float32)
    result = rows.numel() * 8
    tracemalloc.start()
    try:
        explanation = explain(net, rows, task="regression", baseline="zeros", **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert explanation.values.nbytes == result
    assert peak < 3.5 * result


@pytest.mark.slow
def test_hybrid_networks_count_steps_as_well():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = rng.normal(size=200)
    model = pg.HyNNRegressor(
        preset="fast", image="always", max_epochs=2, random_state=0, progress=False
    ).fit(X, y)
    explanation = explain(model, X[:5], steps=2000)
    fine = explain(model, X[:5], tolerance=1e-5)
    assert explanation.meta["gradient_evaluations"] == 5 * 2000
    assert set(explanation.parts) == {"tabular", "image"}
    scale = fine.meta["output_range"][0]
    assert np.abs(fine.values).max() > 0.01 * scale
    np.testing.assert_allclose(
        explanation.values, fine.values, rtol=0, atol=1e-3 * scale
    )
    np.testing.assert_allclose(
        explanation.parts["image"], fine.parts["image"], rtol=0, atol=1e-3 * scale
    )


def test_refusals():
    net = seeded(TwoModalities)
    rows = inputs()
    with pytest.raises(
        pg.InputError, match="steps must be an integer of at least 1, got 0"
    ):
        explain(net, rows, steps=0)
    with pytest.raises(pg.InputError, match="does not take players='encoded'"):
        explain(net, rows, players="encoded")
    with pytest.raises(
        pg.InputError, match="tolerance must be a finite number of at least 0, got -1"
    ):
        explain(net, rows, tolerance=-1)
    assert network_integrals.GradientIntegral.factor == 3


class Swinging(nn.Module):
    """Its slope along the way changes its sign the more often, the larger the pace."""

    def __init__(self, pace: float) -> None:
        super().__init__()
        self.pace = nn.Parameter(torch.tensor(pace, dtype=torch.float64))

    def forward(self, x):
        """Return one number for each row."""
        return torch.sin(self.pace * x.prod(1, keepdim=True))


def _advised(pace):
    x = 2 * torch.rand(30, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    net = Swinging(pace)
    with pytest.warns(pg.PermgradWarning, match="did not settle") as caught_warnings:
        explanation = pg.explain(net, x, method="integrated_gradients")
    return net, x, explanation, str(caught_warnings[0].message)


def test_steps_that_are_advised_close_the_gap():
    net, x, explanation, message = _advised(200.0)
    assert explanation.meta["completeness_gap"] > 0.05
    steps = int(message.partition("IntegratedGradients(steps=")[2].partition(")")[0])
    more = pg.explain(net, x, method=pg.methods.IntegratedGradients(steps=steps))
    assert more.meta["completeness_gap"] < explanation.meta["completeness_gap"] / 20


def test_where_steps_would_not_help_no_tolerance_is_advised():
    net, x, explanation, message = _advised(3000.0)
    assert explanation.meta["completeness_gap"] > 1
    assert "Choose method='shapley'" in message
    assert "tolerance" not in message
    explained = pg.explain(net, x[:4], method="shapley")
    assert np.isfinite(explained.values).all()
    assert np.abs(explained.values).max() > 0.1


@pytest.mark.parametrize("steps", [None, 40])
def test_progress_is_counted_within_a_row(steps, monkeypatch):
    """One slow row, as by a window that slides, is not silent until its end."""
    done = []
    ahead = Progress.ahead

    def noted(progress, rows):
        ahead(progress, rows)
        done.append(progress.done)

    monkeypatch.setattr(Progress, "ahead", noted)
    x = torch.rand(2, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    model = pg.Model(Swinging(3.0), batch_size=4)
    pg.explain(model, x, method=pg.methods.IntegratedGradients(steps=steps))
    assert len(done) > 2
    assert done == sorted(done)
    assert 0 < done[0] < 1
    assert 1 < done[-1] <= 2
