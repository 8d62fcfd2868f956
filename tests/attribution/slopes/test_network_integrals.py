"""Integrated gradients of any network: closed forms, a float64 twin, Captum, baselines, memory and bookkeeping."""

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
        self.lstm, self.head = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 2)

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
    """Return the mean over baselines of (x − b) ∫ ∇f, by a midpoint sum, one row and baseline at a time."""
    found = []
    for number in range(len(rows[0])):
        total = 0.0
        for base in range(len(baselines[0])):
            stop, start = (
                [own[number : number + 1] for own in rows],
                [own[base : base + 1] for own in baselines],
            )
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
                parts = zip(slopes, start, stop, strict=True)
                columns.append(
                    torch.cat(
                        [
                            (own.mean(dim=0) * (b - a)[0]).flatten()
                            for own, a, b in parts
                        ]
                    )
                )
            total = total + torch.stack(columns, dim=1)
        found.append(total / len(baselines[0]))
    return torch.stack(found).detach().numpy()


# ---- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["raw", "probability"])
def test_equals_the_twin(output):
    net, rows = seeded(TwoModalities), inputs()
    baseline = {"image": drawn(1, 1, 8, 8, seed=5), "table": drawn(1, 4, seed=6)}
    found = explain(
        net, rows, baseline=baseline, scale=output, segments={"image": "pixels"}
    )
    slow = twin(net, list(rows.values()), list(baseline.values()), 4000, output)
    scale = max(found.meta["output_range"])
    assert np.abs(slow).max() > 0.02 * scale
    assert np.abs(found.values - slow).max() < 2e-3 * scale
    assert found.meta["rule"] == "secants of each function"
    assert found.meta["completeness_gap"] < 1e-12
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
    net, rows = seeded(Recurrent), 2 * drawn(ROWS, 5, 3)
    baseline = drawn(references, 5, 3, seed=5)
    found = explain(
        net,
        rows,
        baseline=baseline,
        task="regression",
        segments={"series": "pixels"},
        tolerance=1e-4,
    )
    slow = twin(net, [rows], [baseline], 2000)
    assert found.meta["rule"] == "midpoint rule over gradients"
    assert np.abs(slow).max() > 0.05
    assert np.abs(found.values - slow).max() < 1e-4 * max(found.meta["output_range"])
    assert found.meta["completeness_gap"] < 1e-4


def test_a_product_has_its_closed_form():
    """f = x₁x₂ from (0, 0): each gets x₁x₂/2; from b: (x₁ − b₁)(x₂ + b₂)/2 and the like."""

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0] * x[:, 1]

    rows = drawn(ROWS, 2)
    for base in (torch.zeros(1, 2, dtype=torch.float64), drawn(1, 2, seed=3)):
        found = explain(Product(), rows, baseline=base, task="regression").values[
            :, :, 0
        ]
        change, sums = rows - base, rows + base
        np.testing.assert_allclose(
            found[:, 0], (change[:, 0] * sums[:, 1] / 2).numpy(), rtol=0, atol=1e-13
        )
        np.testing.assert_allclose(
            found[:, 1], (change[:, 1] * sums[:, 0] / 2).numpy(), rtol=0, atol=1e-13
        )


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_linear_networks_and_unused_columns(seed):
    weight = drawn(2, 4, seed=seed)
    weight[:, 1] = 0
    net = nn.Linear(4, 2).double()
    with torch.no_grad():
        net.weight.copy_(weight)
    rows, base = drawn(ROWS, 4, seed=seed + 1), drawn(1, 4, seed=seed + 2)
    found = explain(net, rows, baseline=base, task="regression").values
    np.testing.assert_allclose(
        found, ((rows - base)[:, :, None] * weight.T).numpy(), rtol=0, atol=1e-12
    )
    assert (found[:, 1] == 0).all()


def test_two_networks_for_one_function_agree():
    """Implementation invariance: a network, and the same with each rectifier written as two."""

    class Twice(nn.Module):
        def __init__(self, net: nn.Sequential) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.net[0](x)
            return self.net[2]((hidden.abs() + hidden) / 2)

    net = seeded(lambda: nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1)))
    rows = drawn(ROWS, 3)
    one, other = (
        explain(own, rows, tolerance=1e-6).values for own in (net, Twice(net))
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


def test_steps_equal_captums():
    captum = pytest.importorskip("captum.attr")
    net, rows = seeded(TwoModalities), inputs()
    found = explain(net, rows, steps=20, segments={"image": "pixels"}, baseline="zeros")
    assert found.meta["gradient_evaluations"] == 20 * ROWS
    for target in (0, 1):
        theirs = captum.IntegratedGradients(net).attribute(
            tuple(rows.values()), target=target, n_steps=20, method="riemann_middle"
        )
        theirs = torch.cat([own.flatten(1) for own in theirs], dim=1).detach().numpy()
        assert np.abs(theirs).max() > 0.05
        np.testing.assert_allclose(
            found.values[:, :, target], theirs, rtol=1e-7, atol=1e-12
        )


def test_fewer_gradients_than_captum_for_as_small_a_gap(script):
    pytest.importorskip("captum", reason="Captum is a peer, in the extra 'peers'")
    module = script("benchmarks.speed.network_gradients_memory")
    with torch.random.fork_rng():
        lines = module.gaps("table", module.table_network(100), 20, 300)
    assert module.meets_floor(lines)
    assert lines[0]["gradients per row"] < lines[-1]["gradients per row"]
    # The network, and with it how far Captum gets with many more, is another on each processor.
    own, *others = [
        (line["gradients per row"], line["largest error of a value, % of range"])
        for line in lines
    ]
    as_costly = [
        error for gradients, error in others[1:] if own[0] <= gradients <= 1.5 * own[0]
    ]
    assert as_costly
    assert own[1] < min(as_costly)


# ---- baselines -------------------------------------------------------------------------------------------------------


def test_expected_gradients_are_the_mean_over_background_rows():
    net, rows = seeded(TwoModalities), inputs()
    background = {"image": drawn(3, 1, 8, 8, seed=7), "table": drawn(3, 4, seed=8)}
    found = explain(
        net,
        rows,
        background=background,
        baseline="background",
        segments={"image": "pixels"},
        tolerance=1e-4,
    )
    slow = twin(net, list(rows.values()), list(background.values()), 1000)
    assert np.abs(found.values - slow).max() < 1e-3 * max(found.meta["output_range"])
    with torch.no_grad():
        np.testing.assert_allclose(
            found.base_values, net(*background.values()).mean(dim=0).numpy(), atol=1e-12
        )
    few = explain(net, rows, background=background, baseline="background", references=2)
    assert (
        few.meta["baseline"]
        == "average over 2 of 3 background rows (expected gradients)"
    )


def test_named_baselines():
    net, rows = seeded(TwoModalities), inputs()
    background = {name: own.flip(0) + 1 for name, own in inputs(5).items()}
    wanted = {
        "zeros": {name: torch.zeros_like(own[:1]) for name, own in background.items()},
        "mean": {
            name: own.mean(dim=0, keepdim=True) for name, own in background.items()
        },
        "median": {
            name: own.median(dim=0, keepdim=True).values
            for name, own in background.items()
        },
    }
    seen = []
    for name, base in wanted.items():
        named = explain(net, rows, background=background, baseline=name)
        own = explain(net, rows, background=background, baseline=base)
        np.testing.assert_allclose(named.values, own.values, rtol=0, atol=1e-12)
        assert named.meta["baseline_name"] == name
        seen.append(named.values)
    assert min(np.abs(seen[0] - seen[1]).max(), np.abs(seen[1] - seen[2]).max()) > 1e-3
    assert explain(net, rows, background=background).meta["baseline_name"] == "median"
    assert explain(net, rows).meta["baseline_name"] == "zeros"


def test_a_baseline_of_wide_rows_is_made_of_fewer(monkeypatch):
    net, rows, background = seeded(TwoModalities), inputs(), inputs(80)
    widest = max(own[:1].numel() for own in rows.values())
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
    net, background = (
        nn.Linear(1, 1).double(),
        torch.tensor([[1.0], [9.0], [4.0], [2.0]], dtype=torch.float64),
    )
    found = explain(
        net, drawn(3, 1), background=background, baseline="median", task="regression"
    )
    np.testing.assert_allclose(
        found.base_values[0], net(torch.full((1, 1), 3.0).double()).item()
    )


def test_positions_that_nobody_owns_keep_the_rows_value():
    """A mask of −1 outside: the line changes the inside alone, and the baseline's output is the row's own."""
    net, rows = seeded(TwoModalities), inputs()
    mask = np.full((8, 8), -1)
    mask[2:6, 2:6] = 0
    found = explain(net, rows, segments={"image": mask}, baseline="zeros")
    hollow = rows["image"].clone()
    hollow[:, :, 2:6, 2:6] = 0
    with torch.no_grad():
        base = net(hollow, torch.zeros_like(rows["table"])).numpy()
    assert found.base_values.shape == base.shape
    np.testing.assert_allclose(found.base_values, base, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        found.base_values + found.values.sum(axis=1),
        found.predictions,
        rtol=0,
        atol=1e-11,
    )


# ---- bookkeeping -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("build", [TwoModalities, Recurrent])
def test_batches_and_neighbours_change_nothing(build):
    net = seeded(build)
    rows = inputs() if build is TwoModalities else {"series": 2 * drawn(ROWS, 5, 3)}
    given = {name: own[:2] * 0.5 for name, own in rows.items()}
    for options in (
        {"baseline": given, "background": given},
        {"baseline": "zeros", "background": given},
    ):
        whole = explain(net, rows, **options)
        for size in (1, 3, 100):
            cut = explain(net, rows, batch_size=size, **options)
            np.testing.assert_allclose(cut.values, whole.values, rtol=0, atol=1e-12)
            assert cut.meta["mean_steps"] == whole.meta["mean_steps"]
        one = explain(net, {name: own[5:6] for name, own in rows.items()}, **options)
        np.testing.assert_allclose(one.values[0], whole.values[5], rtol=0, atol=1e-12)


def test_settled_rows_take_no_further_part():
    net, rows = seeded(TwoModalities), inputs(64)
    rows = {
        name: own
        * torch.linspace(0.01, 2, 64).double().reshape(-1, *[1] * (own.ndim - 1))
        for name, own in rows.items()
    }
    found = explain(net, rows, tolerance=1e-3)
    assert found.meta["mean_steps"] < found.meta["steps"]
    assert found.meta["gradient_evaluations"] < 2 * 64 * found.meta["steps"]
    assert found.meta["quadrature_error"] <= 1e-3


def test_rows_that_do_not_settle_are_told():
    with pytest.warns(
        pg.PermgradWarning,
        match=r"Attributions of \d+ of 8 rows did not settle .*\. Raise tolerance",
    ):
        explain(seeded(TwoModalities), inputs(), tolerance=1e-9, max_steps=16)


def test_out_of_memory_halves_the_batch(monkeypatch):
    net, rows = seeded(TwoModalities), inputs()
    whole = explain(net, rows)
    plain, largest, refused = nn.Conv2d.forward, [0], [0]

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
    np.testing.assert_allclose(cut.values, whole.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{"steps": 50}, {}])
def test_memory_grows_with_rows_and_not_with_steps(options):
    """What NumPy and Python hold; torch's part is measured by ``benchmarks/speed/network_gradients_memory.py``."""
    net = seeded(
        lambda: nn.Sequential(nn.Linear(51, 16), nn.ReLU(), nn.Linear(16, 1))
    ).float()
    rows = drawn(20_000, 51, dtype=torch.float32)
    result = rows.numel() * 8
    tracemalloc.start()
    try:
        found = explain(net, rows, task="regression", baseline="zeros", **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.values.nbytes == result
    assert peak < 3.5 * result


def test_hybrid_networks_count_steps_as_well():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), rng.normal(size=200)
    model = pg.HyNNRegressor(
        preset="fast", image="always", max_epochs=2, random_state=0, progress=False
    ).fit(X, y)
    found, fine = (
        explain(model, X[:5], steps=2000),
        explain(model, X[:5], tolerance=1e-5),
    )
    assert found.meta["gradient_evaluations"] == 5 * 2000
    assert set(found.parts) == {"tabular", "image"}
    scale = fine.meta["output_range"][0]
    assert np.abs(fine.values).max() > 0.01 * scale
    np.testing.assert_allclose(found.values, fine.values, rtol=0, atol=1e-3 * scale)
    np.testing.assert_allclose(
        found.parts["image"], fine.parts["image"], rtol=0, atol=1e-3 * scale
    )


def test_refusals():
    net, rows = seeded(TwoModalities), inputs()
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
    with pytest.warns(pg.PermgradWarning, match="did not settle") as seen:
        found = pg.explain(net, x, method="integrated_gradients")
    return net, x, found, str(seen[0].message)


def test_steps_that_are_advised_close_the_gap():
    net, x, found, message = _advised(200.0)
    assert found.meta["completeness_gap"] > 0.05
    steps = int(message.partition("IntegratedGradients(steps=")[2].partition(")")[0])
    more = pg.explain(net, x, method=pg.methods.IntegratedGradients(steps=steps))
    assert more.meta["completeness_gap"] < found.meta["completeness_gap"] / 20


def test_where_steps_would_not_help_no_tolerance_is_advised():
    net, x, found, message = _advised(3000.0)
    assert found.meta["completeness_gap"] > 1
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
