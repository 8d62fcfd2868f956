"""The fused network, its faces and its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.base.random import generator
from permgrad_benchmark.suites.multimodal.autoencoder import Bottleneck
from permgrad_benchmark.suites.multimodal.case import (
    LAYER,
    QUICK,
    PairsCase,
    make_case,
    make_oracle,
)
from permgrad_benchmark.suites.multimodal.functions import (
    COLUMNS_OF,
    MODALITIES,
    functions,
)
from permgrad_benchmark.suites.multimodal.pairs import PairsDesign
from permgrad_benchmark.suites.multimodal.training import (
    FusedNetwork,
    MarginNetwork,
    TrainingSettings,
    accuracy,
    train,
)


def made_design(
    function: str = "F4", count: int = 400, *, two: bool = False
) -> PairsDesign:
    """Return a design of made images: ten Gaussian bumps whose heights are the
    features, so that all is learnable.
    """
    rng = np.random.default_rng(0)
    grid = np.arange(28)
    patch_corners = [(4 + 5 * (k // 2), 7 + 14 * (k % 2)) for k in range(10)]
    bumps = np.stack(
        [
            np.exp(-((grid[:, None] - r) ** 2 + (grid[None] - c) ** 2) / 8)
            for r, c in patch_corners
        ]
    )

    def one() -> tuple[torch.Tensor, torch.Tensor]:
        features = rng.standard_normal((count, 10))
        pixels = np.einsum("nk,kij->nij", features, bumps)
        shown = torch.from_numpy(
            ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
        )[:, None]
        return shown, torch.from_numpy(features.astype(np.float32))

    sets = [one(), one()] if two else [one()]
    cut = int(0.7 * count)
    row_parts = np.arange(cut), np.arange(cut, count)
    empty = Bottleneck(sets[0][1].numpy(), "", 1.0, None)
    design = PairsDesign(
        functions.get(function), (sets[0][0], sets[-1][0]), (sets[0][1], sets[-1][1]), (row_parts[0],) * 2, (row_parts[1],) * 2,
        0.0, (empty, empty), ("made", "made"),
    )  # fmt: skip
    many_rows = design.draw(design.training, 4000, np.random.default_rng(1))
    return replace(
        design, threshold=float(design.function.score(many_rows.features).median())
    )


@pytest.fixture(scope="module")
def learned() -> tuple[PairsDesign, PairsCase, PairsCase]:
    design = made_design("F6", 1200)
    network = train(design, 0, TrainingSettings(epochs=20, batch=64))
    pairs = design.draw(design.test, 600, generator(0, "test"))
    assert accuracy(network, design, pairs) > 0.85, (
        "a network that has learnt nothing would say nothing"
    )
    case = make_case(design, network, pairs, 0, QUICK)
    return design, case, make_oracle(design, case)


def test_the_published_shape():
    network = FusedNetwork()
    widths = [
        layer.out_features
        for layer in network.head
        if isinstance(layer, torch.nn.Linear)
    ]
    assert network.head[0].in_features == 40
    assert widths == [100, 50, 10, 2]
    layer_outputs: list[torch.Tensor] = []
    network.fusion.register_forward_hook(
        lambda _module, _inputs, output: layer_outputs.append(output)
    )
    images = torch.randn(5, 1, 28, 28)
    table = torch.randn(5, 10)
    network.eval()(images, images.flip(0), table, 2 * table)
    (fused,) = layer_outputs
    assert fused.shape == (5, 40)
    assert torch.equal(fused[:, 20:], torch.cat([table, 2 * table], dim=1))
    assert torch.allclose(fused[:, :10], fused[:, 10:20].flip(0), atol=1e-6), (
        "one encoder serves both images"
    )


def test_the_margin_is_the_log_odds():
    network = FusedNetwork().eval()
    inputs = (*torch.randn(2, 7, 1, 28, 28), *torch.randn(2, 7, 10))
    logits = network(*inputs)
    log_odds = torch.log_softmax(logits, dim=1)
    margin = MarginNetwork(network)(*inputs)
    assert torch.allclose(margin[:, 0], log_odds[:, 1] - log_odds[:, 0], atol=1e-5)


def test_pairs_are_of_their_images_and_balanced():
    for two in (False, True):
        design = made_design("F6", two=two)
        assert design.shared is not two
        pairs = design.draw(design.test, 500, np.random.default_rng(0))
        assert set(pairs.first.tolist()) <= set(design.test[0].tolist())
        assert torch.equal(pairs.features[:, 10:20], design.features[1][pairs.second])
        assert torch.equal(
            pairs.labels, (pairs.features.sum(dim=1) > design.threshold).long()
        )
        assert 0.4 < pairs.labels.double().mean() < 0.6
        inputs = design.inputs(pairs)
        assert list(inputs) == list(MODALITIES)
        assert torch.equal(inputs["X2"], design.images[1][pairs.second])
        assert torch.equal(
            torch.cat([inputs["X3"], inputs["X4"]], dim=1), pairs.clinical
        )


def test_at_least_twelve_thousand_training_pairs():
    images = 3521  # 70 % of those in the part of PneumoniaMNIST
    assert TrainingSettings().pairings * images >= 12_000
    assert TrainingSettings().clinical_rows >= 12_000


def test_training_is_repeatable_and_leaves_the_callers_random_state():
    design = made_design("F0", 60)
    settings = TrainingSettings(epochs=1, batch=16)
    state = torch.get_rng_state()
    threads = np.random.get_state()[1].copy()
    first, again, other_state = (
        train(design, seed, settings).state_dict() for seed in (0, 0, 1)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(threads, np.random.get_state()[1])
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.0.weight"], other_state["head.0.weight"])


def test_two_sets_of_images_of_different_sizes_train_as_well():
    design = made_design("F1", 80, two=True)
    design = PairsDesign(
        **{**vars(design), "training": (design.training[0], design.training[1][:20])}
    )
    network = train(design, 0, TrainingSettings(epochs=1, batch=16))
    assert np.isfinite(
        accuracy(
            network, design, design.draw(design.test, 50, np.random.default_rng(0))
        )
    )
    assert not network.training


def test_encoded_features_are_standardised(learned):
    """Slopes at the fusion layer compare only if all features have like units."""
    _, case, _ = learned
    assert np.allclose(case.fused.std(dim=0), 1.0, atol=0.25)
    assert np.allclose(case.fused.mean(dim=0), 0.0, atol=0.25)


def test_the_fused_rows_are_what_the_layer_gives(learned):
    _, case, oracle = learned
    for network_case in (case, oracle):
        with torch.no_grad():
            whole_outputs = network_case.network(*network_case.inputs.values())
            assert torch.allclose(
                network_case.head()(network_case.fused), whole_outputs, atol=1e-4
            )
        network_case.meter.rows = 0


def test_replacing_encoded_features_is_replacing_images(learned):
    """Which is why the suite plays its games at the fusion layer, where they cost
    less.
    """
    _, case, _ = learned
    arguments = {
        "method": "permgrad",
        "scope": "global",
        "groups": "modality",
        "task": "regression",
        "random_state": 0,
    }
    rows = case.rows(60)
    outside = explain_with(
        case.network, rows, progress=False, branches=False, **arguments
    )
    inside = explain_with(
        case.network, rows, progress=False, layer=LAYER, branches=False, **arguments
    )
    assert outside.names == inside.names == MODALITIES
    assert outside.values.min() > 0
    assert np.allclose(
        outside.values,
        inside.values,
        rtol=1e-3,
        atol=1e-4 * np.abs(outside.values).max(),
    )


def test_every_unit_of_the_fusion_layer_belongs_to_its_modality(learned):
    _, case, oracle = learned
    for network_case in (case, oracle):
        explanation = pg.explain(
            pg.Model(network_case.network, layer=LAYER, task="regression"),
            network_case.rows(40),
            method="gradient",
            progress=False,
        )
        for name, columns in COLUMNS_OF.items():
            used = {
                explanation.modality[column]
                for column in range(columns.start, columns.stop)
            }
            assert used == {name}, (network_case.oracle, name, used)


def test_the_oracle_is_as_steep_as_the_network(learned):
    design, case, oracle = learned
    with torch.no_grad():
        margin = case.head()(case.fused)[:, 0].double()
        logit = oracle.classifier()(*oracle.inputs.values())[:, 0].double()
    assert oracle.slope > 0
    assert torch.corrcoef(torch.stack([margin, logit]))[0, 1] > 0.9
    assert torch.equal(logit > 0, case.labels.bool()), "F never errs"
    assert abs(float(((margin - logit) * logit).mean())) < 1e-3 * float(logit.var()), (
        "least squares: no rest along F"
    )
    assert design.threshold == oracle.centre


def test_other_packages_leave_everything_as_it_was(learned):
    _, case, _ = learned
    state = torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()
    before = [weight.requires_grad for weight in case.network.parameters()]

    def draw_and_fail() -> None:
        with case.other_packages("test"):
            np.random.rand()
            torch.rand(1)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        draw_and_fail()
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])
    assert [weight.requires_grad for weight in case.network.parameters()] == before
