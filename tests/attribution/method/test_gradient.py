"""Gradients: closed forms, finite differences, sums over players, callers in any state,
and what is refused.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.request import methods

ROWS = 7


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )


class TwoModalities(nn.Module):
    """An image and a table, with batch normalisation, dropout and an in-place first
    layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.ReLU(inplace=True), nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ELU(inplace=True), nn.Flatten(),
            nn.Linear(108, 4),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(9, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3)
        )

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat([self.encoder(image), table], dim=1))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TwoModalities().double()
        net.encoder[2].running_mean.uniform_(-1, 1)
    return net.eval()


def inputs() -> dict[str, Tensor]:
    return {"image": drawn(ROWS, 1, 8, 8), "table": drawn(ROWS, 5, seed=1)}


def explain(net: nn.Module, rows, **options) -> pg.Explanation:
    return explain_with(net, rows, method="gradient", progress=False, **options)


@pytest.mark.parametrize("output", ["raw", "probability"])
@pytest.mark.parametrize("signed", [False, True])
def test_equals_finite_differences(output, signed):
    net = network()
    rows = inputs()
    explanation = explain(
        net, rows, scale=output, signed=signed, segments={"image": "pixels"}
    )
    step = 1e-6
    slow = []

    def outputs(image: Tensor, table: Tensor) -> Tensor:
        with torch.no_grad():
            raw = net(image.clone(), table.clone())
            return torch.softmax(raw, dim=1) if output == "probability" else raw

    for name in ("image", "table"):
        for position in range(rows[name][0].numel()):
            ends = []
            for sign in (1, -1):
                moved = {key: tensor.clone() for key, tensor in rows.items()}
                moved[name].flatten(1)[:, position] += sign * step
                ends.append(outputs(**moved))
            slow.append((ends[0] - ends[1]) / (2 * step))
    slow = torch.stack(slow, dim=1).numpy()
    assert np.abs(slow).max() > 0.01
    np.testing.assert_allclose(
        explanation.values, slow if signed else np.abs(slow), rtol=0, atol=1e-8
    )


def test_a_linear_model_has_its_weights():
    net = nn.Linear(4, 2).double()
    explanation = explain(net, drawn(ROWS, 4), task="regression")
    weights = net.weight.detach().numpy().T
    np.testing.assert_allclose(
        explanation.values,
        np.broadcast_to(np.abs(weights), (ROWS, 4, 2)),
        rtol=0,
        atol=1e-15,
    )
    assert explanation.additive
    # Published: mean over rows, summed by modality, divided by the sum.
    np.testing.assert_allclose(
        explanation.by_modality().to_global().values[0],
        np.abs(weights).sum(axis=0),
        atol=1e-14,
    )


def test_players_are_sums_over_their_positions():
    net = network()
    rows = inputs()
    fine = explain(net, rows, segments={"image": "pixels"})
    coarse = explain(net, rows, segments={"image": ("grid", 2)})
    pixels = (
        fine.values[:, :64]
        .reshape(ROWS, 2, 4, 2, 4, 3)
        .sum(axis=(2, 4))
        .reshape(ROWS, 4, 3)
    )
    assert np.abs(pixels).max() > 0.01
    np.testing.assert_allclose(coarse.values[:, :4], pixels, rtol=0, atol=1e-12)
    modality = explain(net, rows, groups="modality")
    np.testing.assert_allclose(
        modality.values[:, 1], fine.values[:, 64:].sum(axis=1), rtol=0, atol=1e-12
    )


def test_some_targets_are_columns_of_all():
    net = network()
    rows = inputs()
    every = explain(net, rows, scale="probability")
    selected_explanation = explain(net, rows, scale="probability", target=[2, 0])
    np.testing.assert_allclose(
        selected_explanation.values, every.values[:, :, [2, 0]], rtol=0, atol=1e-15
    )


def test_probabilities_that_do_not_add_up_have_gradients_of_their_own():
    """s(w x) for each class: s (1 − s) w, also for the last, where softmax would give
    what the others leave.
    """
    net = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()).double()
    rows = drawn(ROWS, 4)
    explanation = explain(
        net,
        rows,
        task="classification",
        scale="probability",
        returns="probabilities",
        signed=True,
    )
    with torch.no_grad():
        shares = net(rows)
        slopes = (shares * (1 - shares))[:, None] * net[0].weight.T
    assert (shares.sum(dim=1) - 1).abs().max() > 0.1
    np.testing.assert_allclose(explanation.values, slopes.numpy(), rtol=0, atol=1e-12)


def test_one_forward_pass_for_all_outputs():
    calls = []

    class Counting(TwoModalities):
        def forward(self, image: Tensor, table: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                calls.append(len(image))
            return super().forward(image, table)

    net = Counting().double()
    explanation = explain(net, inputs(), batch_size=ROWS)
    assert calls == [min(4, ROWS), ROWS]  # whether gradients are slopes, and the slopes
    assert (
        explanation.meta["gradient_evaluations"]
        == explanation.meta["model_rows"]
        == ROWS
    )


def test_hybrid_network_through_both_paths():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)).astype(np.float32)
    y = rng.normal(size=200)
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=2, random_state=0, progress=False
    ).fit(X, y)
    explanation = explain(model, X[:5], signed=True)
    step = 1e-2
    module = copy.deepcopy(model.module_).double()
    encoded = torch.from_numpy(model.encode_rows(X[:5]).encoded).double()
    for column, name in enumerate(explanation.names):
        slow = 0.0
        for encoded_column in model.preprocessor_.columns_of(name):
            up = encoded.clone()
            down = encoded.clone()
            up[:, encoded_column] += step * 1e-4
            down[:, encoded_column] -= step * 1e-4
            with torch.no_grad():
                slow = (
                    slow
                    + (module(up) - module(down))[:, 0].numpy()
                    / (2e-4 * step)
                    * model.target_scale_
                )
        np.testing.assert_allclose(
            explanation.values[:, column, 0], slow, rtol=1e-3, atol=1e-5
        )


# ---- the caller's state --------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["gradient", "deeplift", "integrated_gradients", "gradcam"]
)
@pytest.mark.parametrize(
    "caller",
    ["inference_mode", "no_grad", "frozen", "inputs that want gradients", "float32"],
)
def test_works_whatever_the_caller_does(method, caller):
    net = network()
    rows = inputs()
    expected = pg.explain(net, rows, method=method, progress=False).values
    if caller == "frozen":
        net.requires_grad_(False)
    if caller == "inputs that want gradients":
        rows = {name: tensor.requires_grad_() for name, tensor in rows.items()}
    if caller == "float32":
        net = net.float()
        rows = {name: tensor.float() for name, tensor in rows.items()}
    context = {"inference_mode": torch.inference_mode, "no_grad": torch.no_grad}.get(
        caller, torch.enable_grad
    )
    with context():
        if caller == "inference_mode":
            rows = {name: tensor + 0 for name, tensor in rows.items()}
            assert rows["image"].is_inference()
        gradient_values = pg.explain(net, rows, method=method, progress=False).values
    atol = 1e-12 if caller != "float32" else 2e-3
    np.testing.assert_allclose(gradient_values, expected, rtol=0, atol=atol)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(tensor.grad is None for tensor in rows.values())


@pytest.mark.parametrize(
    "method", ["gradient", "deeplift", "integrated_gradients", "gradcam"]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(method, dtype):
    rows = inputs()
    expected = pg.explain(network(), rows, method=method, progress=False).values
    half = {name: tensor.to(dtype) for name, tensor in rows.items()}
    half_values = (
        explain_with(
            network().to(dtype), half, method=method, progress=False, max_steps=16
        ).values
        if (method == "integrated_gradients")
        else pg.explain(network().to(dtype), half, method=method, progress=False).values
    )
    assert np.isfinite(half_values).all()
    error = 0.02 if dtype is torch.float16 else 0.15
    assert np.abs(half_values - expected).max() < error * np.abs(expected).max()


# ---- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradient", "deeplift", "integrated_gradients"])
def test_whole_numbers_are_refused(method):
    class Counts(nn.Module):
        def forward(self, counts: Tensor) -> Tensor:
            return counts.float() @ torch.ones(2, 2)

    with pytest.raises(pg.InputError) as caught:
        pg.explain(
            Counts(),
            {"counts": torch.randint(0, 5, (ROWS, 2))},
            method=method,
            progress=False,
        )
    assert str(caught.value) == (
        f"{method} needs real numbers, or ids that enter an nn.Embedding, but 'counts' "
        "holds whole numbers (torch.int64). Pass x.float(), or choose "
        "method='permutation', 'shapley' or 'lime'. [PG034]"
    )


@pytest.mark.parametrize("method", ["gradient", "deeplift", "integrated_gradients"])
def test_a_network_that_cannot_be_differentiated_is_refused(method):
    from torch.utils.checkpoint import checkpoint

    class Reentrant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.layer, x, use_reentrant=True)

    with pytest.raises(
        pg.InputError,
        match=r"that torch can differentiate, but .*use_reentrant.*\. Fix the network, "
        r"or",
    ):
        pg.explain(Reentrant().double(), drawn(ROWS, 3), method=method, progress=False)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
@pytest.mark.parametrize("method", ["gradient", "deeplift", "gradcam"])
def test_too_little_memory_halves_the_batch(method, error, monkeypatch):
    net = network()
    rows = inputs()
    full_explanation = pg.explain(net, rows, method=method, progress=False)
    plain = nn.Conv2d.forward
    refused = [0]

    def forward(self: nn.Conv2d, images: Tensor) -> Tensor:
        if len(images) > 3 and torch.is_grad_enabled():
            refused[0] += 1
            raise error
        return plain(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    cut = pg.explain(net, rows, method=method, progress=False)
    assert refused[0] > 0
    np.testing.assert_allclose(cut.values, full_explanation.values, rtol=0, atol=1e-12)


def test_signed_is_checked():
    with pytest.raises(pg.InputError, match="signed must be True or False, got 'yes'"):
        explain(network(), inputs(), signed="yes")


class Steepness(pg.methods.Gradient):
    """A method of slopes of a user's own."""

    name = "steepness"


class Detached(nn.Module):
    """Uses its second input, and lets no gradient through to it."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left.sum(dim=1) + right.detach().sum(dim=1)


class Root(nn.Module):
    """Has no slope at 0."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.sqrt().sum(dim=1)


@pytest.mark.parametrize("method", ["gradient", Steepness()])
def test_a_registered_method_of_slopes_is_one_in_every_message(monkeypatch, method):
    monkeypatch.setitem(methods, "steepness", Steepness)
    rows = {"left": drawn(9, 2), "right": drawn(9, 3, seed=1)}
    with pytest.warns(pg.PermgradWarning) as caught:
        explanation = pg.explain(Detached(), rows, method=method, progress=False)
    assert (explanation.values[:, :2] != 0).all()
    assert str(caught[-1].message) == (
        "The importance of these inputs is exactly 0: right. The model ignores them, or "
        "blocks the gradient (detach, NumPy, rounding). Use method='permutation' to "
        "find out which."
    )
    with pytest.raises(pg.InputError, match="needs finite gradients, but 9 of 9 rows"):
        pg.explain(Root(), torch.zeros(9, 2), method=method, progress=False)
