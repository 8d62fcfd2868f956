"""Expected gradients: a literal loop over its draws, Captum's GradientShap with the same, and the limit they reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.slopes.lines import MOST_SAMPLES
from permgrad.base.random import uniform, uniform_integers

ROWS, BACKGROUND = 5, 8
SEED = 4
QUIET = {"random_state": SEED, "progress": False, "task": "regression"}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Pair(nn.Module):
    """An image and a table, with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Conv2d(1, 2, 3), nn.Linear(11, 2)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat([torch.tanh(self.mix(image)).flatten(1), table], dim=1)).sigmoid()


def both() -> tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Pair().double().eval()
    rows = {"image": drawn(ROWS, 1, 4, 4), "table": drawn(ROWS, 3, seed=1)}
    background = {"image": drawn(BACKGROUND, 1, 4, 4, seed=2), "table": drawn(BACKGROUND, 3, seed=3)}
    return net, rows, background


def draws(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return baseline and time of each row's samples, row by row."""
    numbers = np.array([row * MOST_SAMPLES + sample for row in range(ROWS) for sample in range(samples)])
    baseline = uniform_integers(SEED, ("expected gradients", "baseline"), numbers, BACKGROUND)
    return baseline, uniform(SEED, ("expected gradients", "time"), numbers)


def explain(net: nn.Module, rows: dict[str, Tensor], background: dict[str, Tensor], **options) -> pg.Explanation:
    asked = {"method": "expected_gradients", "segments": {"image": "pixels"}, **QUIET, **options}
    return explain_with(net, rows, background=background, **asked)


def test_equals_a_loop_over_its_draws():
    net, rows, background = both()
    samples = 6
    explanation = explain(net, rows, background, samples=samples)
    baseline, times = draws(samples)
    assert len(set(baseline.tolist())) > 4, "a precondition: several baselines are drawn"
    each = np.zeros((ROWS, samples, 19, 2))
    for row in range(ROWS):
        for sample in range(samples):
            place = row * samples + sample
            starts = [tensor[baseline[place]] for tensor in background.values()]
            ends = [tensor[row] for tensor in rows.values()]
            at = [
                (start + times[place] * (end - start)).requires_grad_() for start, end in zip(starts, ends, strict=True)
            ]
            outputs = net(*(one[None] for one in at))[0]
            for output in range(2):
                slopes = torch.autograd.grad(outputs[output], at, retain_graph=True)
                products = [s * (end - start) for s, start, end in zip(slopes, starts, ends, strict=True)]
                each[row, sample, :, output] = torch.cat([one.flatten() for one in products]).detach().numpy()
    assert np.abs(each.mean(axis=1)).max() > 0.01
    np.testing.assert_allclose(explanation.values, each.mean(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        explanation.std_error, each.std(axis=1, ddof=1) / np.sqrt(samples), rtol=1e-6, atol=1e-12
    )
    with torch.no_grad():
        np.testing.assert_allclose(explanation.base_values, net(*background.values()).mean(dim=0).numpy(), atol=1e-14)
    assert explanation.meta["gradient_evaluations"] == ROWS * samples


def test_equals_captum_with_the_same_draws(monkeypatch):
    captum = pytest.importorskip("captum.attr")
    net, rows, background = both()
    samples = 6
    explanation = explain(net, rows, background, samples=samples, target=0)
    baseline, times = draws(samples)
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: baseline)
    monkeypatch.setattr(np.random, "uniform", lambda *_, **__: times)
    image, table = captum.GradientShap(net).attribute(
        tuple(rows.values()), tuple(background.values()), n_samples=samples, stdevs=0.0, target=0
    )
    assert float(table.detach().abs().max()) > 0.01
    np.testing.assert_allclose(explanation.values[:, :16, 0], image.detach().flatten(1).numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(explanation.values[:, 16:, 0], table.detach().numpy(), rtol=0, atol=1e-12)


def test_it_is_integrated_gradients_over_the_background_in_expectation():
    net, rows, background = both()
    sampled = explain(net, rows, background, samples=3000, groups="modality")
    settled = explain(
        net, rows, background, method="integrated_gradients", baseline="background", tolerance=1e-6, groups="modality"
    )
    z = (sampled.values - settled.values) / sampled.std_error
    assert np.abs(settled.values).max() > 10 * sampled.std_error.max(), "a precondition: the noise is small"
    assert np.abs(z).max() < 4.5
    assert z.std() > 0.4
    np.testing.assert_allclose(sampled.base_values, settled.base_values, rtol=0, atol=1e-12)
    assert sampled.meta["completeness_gap"] < 0.1


def test_intervals_hold_the_limit_as_often_as_they_say():
    net, rows, background = both()
    options = {"baseline": "background", "tolerance": 1e-6, "groups": "modality"}
    truth = explain(net, rows, background, method="integrated_gradients", **options).values
    inside = []
    for seed in range(60):
        one = explain(net, rows, background, samples=40, groups="modality", random_state=seed)
        low, high = one.ci()
        inside.append((low <= truth) & (truth <= high))
    assert 0.90 < np.mean(inside) < 0.985


def test_a_row_has_its_draws_whatever_goes_in_with_it():
    net, rows, background = both()
    together = explain(net, rows, background, samples=12).values
    for size in (1, 5, 1000):
        cut = explain(net, rows, background, samples=12, batch_size=size).values
        np.testing.assert_allclose(cut, together, rtol=0, atol=1e-14)
    last = {name: tensor[3:] for name, tensor in rows.items()}
    alone = explain(net, last, background, samples=12, row_offset=3).values
    np.testing.assert_allclose(alone, together[3:], rtol=0, atol=1e-14)
    assert np.abs(explain(net, last, background, samples=12).values - together[3:]).max() > 1e-4


def test_paths_of_an_estimator_and_encoded_columns_add_up():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    model = pg.HyNNRegressor(preset="fast", image="always", max_epochs=2, random_state=0, progress=False).fit(
        X, X[:, 0] * X[:, 1]
    )
    asked = {"method": "expected_gradients", "samples": 30, "random_state": 0, "progress": False}
    explanation = explain_with(model, X[:4], **asked)
    assert set(explanation.parts) == {"tabular", "image"}
    np.testing.assert_allclose(sum(explanation.parts.values()), explanation.values, rtol=0, atol=1e-12)
    encoded = explain_with(model, X[:4], players="encoded", **asked)
    assert np.abs(encoded.values).max() > 0
    np.testing.assert_allclose(encoded.values.sum(axis=1), explanation.values.sum(axis=1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be an integer of at least 1"),
        ({"references": 0}, "references must be an integer of at least 1"),
        ({"steps": 4}, "method='expected_gradients' has no option 'steps'"),
        ({"baseline": "middle"}, "baseline"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(pg.InputError, match=message):
        explain(*both(), **options)
