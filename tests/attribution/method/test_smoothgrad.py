"""SmoothGrad: closed forms, a literal loop, Captum's NoiseTunnel with the same noise,
and what is refused.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from replicates import replicates
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.slopes.lines import MOST_SAMPLES, normal

ROWS = 6
SEED = 3
QUIET = {"random_state": SEED, "progress": False, "task": "regression"}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


class Cubes(nn.Module):
    """f = Σ w x³, whose slope is 3 w x²."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x**3).sum(dim=1, keepdim=True)


class Seen(nn.Module):
    """An image and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(30, 2)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(
            torch.cat([torch.tanh(self.mix(image)).flatten(1), table], dim=1)
        ).tanh()


def both() -> tuple[nn.Module, dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Seen().double().eval()
    return net, {"image": drawn(ROWS, 2, 5, 5), "table": drawn(ROWS, 3, seed=1)}


def noise(name: str, rows: Tensor, samples: int) -> Tensor:
    """Return the noise of every copy of each row, ``(rows · samples, *)``, in standard
    deviations.
    """
    numbers = np.array(
        [
            row * MOST_SAMPLES + sample
            for row in range(len(rows))
            for sample in range(samples)
        ]
    )
    return normal(
        SEED, ("smoothgrad", name), numbers, rows.repeat_interleave(samples, dim=0)
    )


@pytest.mark.parametrize("variant", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_cubes_have_closed_forms(variant):
    """With z normal, E 3w(x + σz)² = 3w(x² + σ²), and its second moments follow from E
    z⁴ = 3.
    """
    rows = drawn(ROWS, 3) * 2
    samples = 4000
    share = 0.4
    explanation = explain_with(
        Cubes(),
        rows,
        method="smoothgrad",
        variant=variant,
        samples=samples,
        noise=share,
        **QUIET,
    )
    sigma = share * rows.std(dim=0, correction=0)
    weight = Cubes().weight.detach()
    mean = 3 * weight * (rows**2 + sigma**2)
    variance = 9 * weight**2 * (4 * rows**2 * sigma**2 + 2 * sigma**4)
    expected_values = {
        "smoothgrad": mean.abs(),
        "smoothgrad_sq": mean**2 + variance,
        "vargrad": variance,
    }[variant].numpy()
    plain = 3 * weight * rows**2
    assert ((mean - plain).abs() / plain.abs())[:, :2].median() > 0.05, (
        "a precondition: smoothing matters"
    )
    np.testing.assert_allclose(
        explanation.values[:, :2, 0], expected_values[:, :2], rtol=0.2
    )
    assert (explanation.values[:, 2] == 0).all()


@replicates("smoothgrad")
@pytest.mark.parametrize("variant", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_equals_captum_with_the_same_noise(variant, monkeypatch):
    captum = pytest.importorskip("captum.attr")
    net, rows = both()
    samples = 5
    share = 0.3
    explanation = explain_with(
        net,
        rows,
        method="smoothgrad",
        target=1,
        segments={"image": "channels"},
        variant=variant,
        samples=samples,
        noise=share,
        **QUIET,
    )
    scales = {
        "image": rows["image"].std(correction=0),
        "table": rows["table"].std(dim=0, correction=0),
    }
    draws = [
        share * scales[name] * noise(name, tensor, samples)
        for name, tensor in rows.items()
    ]
    pending = iter(draws)
    monkeypatch.setattr(torch, "normal", lambda *_, **__: next(pending))
    tunnel = captum.NoiseTunnel(captum.Saliency(net))
    image, table = tunnel.attribute(
        tuple(rows.values()), nt_type=variant, nt_samples=samples, target=1, abs=False
    )  # fmt: skip
    if variant == "smoothgrad":
        image = image.abs()
        table = table.abs()
    assert float(table.detach().abs().max()) > 1e-4
    np.testing.assert_allclose(
        explanation.values[:, 2:, 0], table.detach().numpy(), rtol=0, atol=1e-12
    )
    channels = image.detach().sum(dim=(2, 3)).numpy()
    np.testing.assert_allclose(
        explanation.values[:, :2, 0], channels, rtol=0, atol=1e-12
    )


def test_signs_are_kept_where_they_are_asked_for():
    net, rows = both()
    call_options = {
        "method": "smoothgrad",
        "samples": 7,
        "segments": {"image": "pixels"},
        **QUIET,
    }
    signed, plain = (
        explain_with(net, rows, signed=is_signed, **call_options).values
        for is_signed in (True, False)
    )
    assert (signed < 0).any()
    np.testing.assert_allclose(
        np.abs(signed[:, -3:]), plain[:, -3:], rtol=0, atol=1e-15
    )
    assert (np.abs(signed) <= plain + 1e-15).all()


def test_without_noise_it_is_the_gradient():
    net, rows = both()
    plain = explain_with(net, rows, method="gradient", **QUIET)
    smooth = explain_with(net, rows, method="smoothgrad", noise=0.0, samples=3, **QUIET)
    np.testing.assert_allclose(smooth.values, plain.values, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(smooth.predictions, plain.predictions)


def test_a_row_has_its_noise_whatever_goes_in_with_it():
    net, rows = both()
    call_options = {"method": "smoothgrad", "samples": 9, "background": rows, **QUIET}
    together = explain_with(net, rows, **call_options).values
    for size in (1, 4, 100):
        np.testing.assert_allclose(
            explain_with(net, rows, batch_size=size, **call_options).values,
            together,
            rtol=0,
            atol=1e-13,
        )
    last = {name: tensor[4:] for name, tensor in rows.items()}
    alone = explain_with(net, last, row_offset=4, **call_options).values
    np.testing.assert_allclose(alone, together[4:], rtol=0, atol=1e-13)
    assert (
        np.abs(explain_with(net, last, **call_options).values - together[4:]).max()
        > 1e-4
    ), "other rows have other noise"


def test_levels_of_a_category_get_no_noise():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"number": rng.normal(size=120), "level": rng.choice(["a", "b", "c"], 120)}
    )
    y = X["number"] + (X["level"] == "a")
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, y)
    only = pg.explain(
        model,
        X[:5].assign(number=0.0),
        method=pg.methods.SmoothGrad(samples=3),
        progress=False,
        random_state=0,
    )
    assert only.values.shape == (5, 2, 1)
    constant = X.assign(number=1.0)
    with pytest.raises(pg.InputError, match="needs a background that varies"):
        pg.explain(
            model, X[:5], method="smoothgrad", background=constant, progress=False
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "smooth"}, "variant"),
        ({"samples": 0}, "samples must be an integer of at least 1"),
        ({"noise": -1}, "noise must be a finite number of at least 0"),
        (
            {"variant": "vargrad", "signed": True},
            "variant='vargrad' has no signs to keep. Leave signed= out.",
        ),
        ({"background": drawn(1, 3)}, "smoothgrad needs a background that varies"),
    ],
)
def test_what_is_refused(options, message):
    calls: list[int] = []

    class Counting(Cubes):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(int(torch.is_grad_enabled()))
            return super().forward(x)

    with pytest.raises(pg.InputError, match=message):
        explain_with(
            Counting(), drawn(ROWS, 3), method="smoothgrad", **options, **QUIET
        )
    assert not any(calls), "no slope was taken"
