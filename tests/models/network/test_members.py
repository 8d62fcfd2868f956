"""Networks of several members against k separate networks with the same numbers, in
float64.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import permgrad as pg
from permgrad.models.fast.inference import FoldedNetwork, TableEntry
from permgrad.models.fast.replacement import ReplacementEngine
from permgrad.models.network.members import MemberLinear, MemberMean, MemberScale
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions
from permgrad.models.train.learner import (
    Learner,
    TrainingJob,
    TrainingOptions,
    build_optimizer,
    training_loss,
)
from permgrad.models.train.training_rows import Rows

MEMBERS = 3
ENCODED = 6
OUTPUTS = 2
NETWORK = {
    "members": MEMBERS,
    "dense_units": [5, 4],
    "conv_filters": [3],
    "fusion_units": [7],
    "image_units": [2],
    "dropout": 0.0,
    "normalization": "none",
    "conv_normalization": "none",
    "activation": "silu",
    "numeric_embedding": "periodic",
    "image_channels": 1,
    "image_scale": 1.0,
}


class Picture(nn.Module):
    """Draws the columns as one small image."""

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        return encoded.reshape(-1, 1, 2, 3)


def network(
    *, paths: tuple[str, ...] = ("tabular", "image"), **options: object
) -> HybridNetwork:
    torch.manual_seed(0)
    made_network = HybridNetwork(
        ENCODED, OUTPUTS, {**NETWORK, **options}, renderer=Picture(), paths=paths
    )
    with torch.no_grad():
        # Numbers that begin alike would hide that each member has its own.
        for layer in made_network.modules():
            if isinstance(layer, MemberLinear):
                layer.bias.normal_()
                if layer.scale is not None:
                    layer.scale.normal_()
    return made_network.double().eval()


def rows(count: int = 9) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(count, ENCODED)))


def one_after_the_other(net: HybridNetwork, encoded: torch.Tensor) -> torch.Tensor:
    """Return what each member says, each computed as a network of its own."""
    member_outputs = []
    embedded = net.table_branch.embedding(encoded) if "tabular" in net.paths else None
    for member in range(MEMBERS):
        layers = list(net.table_branch.layers)
        values = embedded * layers[0].weight[member]
        for layer in layers[1:-1]:
            values = layer(values)
        first, *later_layers = list(net.head)[:-1]
        width = values.shape[1]
        branch_sums = [
            values @ first.weight[0 if first.shared else member][:, :width].T
        ]
        if "image" in net.paths:
            image = net.image_branch(net.renderer(encoded))
            if first.scale is not None:
                image = image * first.scale[member]
            branch_sums.append(
                image @ first.weight[0 if first.shared else member][:, width:].T
            )
        values = sum(branch_sums) + first.bias[member]
        for layer in later_layers:
            if isinstance(layer, MemberLinear):
                values = values @ layer.weight[member].T + layer.bias[member]
            elif not isinstance(layer, nn.Flatten):
                values = layer(values)
        member_outputs.append(values)
    return torch.stack(member_outputs, dim=1)


@pytest.mark.parametrize("fusion", [[7], [7, 5], []])
@pytest.mark.parametrize("paths", [("tabular", "image"), ("tabular",)])
def test_members_are_separate_networks(
    paths: tuple[str, ...], fusion: list[int]
) -> None:
    net = network(paths=paths, fusion_units=fusion)
    expected = one_after_the_other(net, rows())
    assert expected.std(dim=1).min() > 1e-3  # they differ
    torch.testing.assert_close(net.member_outputs(rows()), expected)
    torch.testing.assert_close(net(rows()), expected.mean(dim=1))


def test_the_image_alone_has_no_members() -> None:
    net = network(paths=("image",))
    assert net.members == 1
    assert not any(
        isinstance(layer, (MemberScale, MemberLinear, MemberMean))
        for layer in net.modules()
    )
    assert net.member_outputs(rows()).shape == (9, 1, OUTPUTS)


@pytest.mark.parametrize("shared", [True, False])
def test_a_member_layer_is_one_matrix(shared: bool) -> None:
    torch.manual_seed(0)
    layer = MemberLinear(
        {"tabular": 3, "image": 2}, 5, members=4, per_member=("tabular",), shared=shared
    ).double()
    with torch.no_grad():
        for number in layer.parameters():
            number.normal_()
    whole_matrix = torch.autograd.functional.jacobian(
        lambda x: layer(x).flatten(), torch.zeros(14).double()
    )
    joined = torch.randn(14).double()
    torch.testing.assert_close(
        layer(joined), (whole_matrix @ joined).unflatten(0, (4, 5)) + layer.bias
    )
    torch.testing.assert_close(layer.columns("image"), whole_matrix[:, 12:])
    # A member reads no other member's vector.
    assert whole_matrix.unflatten(0, (4, 5))[0, :, 3:12].abs().max() == 0


def test_each_member_has_a_loss_of_its_own() -> None:
    net = network().float()
    x = rows(8).float()
    y = torch.arange(8) % OUTPUTS
    weight = torch.linspace(0.5, 1.5, 8)
    options = TrainingOptions(
        batch_size=8,
        learning_rate=0.1,
        optimizer="sgd",
        weight_decay=0.0,
        schedule="constant",
    )
    twin = network().float()
    losses = [
        training_loss(twin.member_outputs(x)[:, m], y, weight, options)
        for m in range(MEMBERS)
    ]
    torch.stack(losses).mean().backward()
    learner = Learner(TrainingJob(net, Rows(x, y, weight), None, options, seed=0))
    learner.start_epoch()
    learner.step(learner.train_rows, 0)
    for own_parameter, twin_parameter in zip(
        net.parameters(), twin.parameters(), strict=True
    ):
        torch.testing.assert_close(own_parameter.grad, twin_parameter.grad)
    mean_first = training_loss(twin(x), y, weight, options)
    assert (
        abs(mean_first.item() - torch.stack(losses).mean().item()) > 1e-3
    )  # another loss than that of the mean


def test_decay_leaves_the_members_apart() -> None:
    groups = build_optimizer(network(), TrainingOptions(weight_decay=0.3)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups][1:] == [
        (1, 0.0)
    ]
    assert groups[1]["params"][0].shape[0] == MEMBERS
    plain = build_optimizer(
        network(members=1), TrainingOptions(weight_decay=0.3)
    ).param_groups
    assert [group["weight_decay"] for group in plain] == [0.3]


def test_batch_normalization_is_refused() -> None:
    with pytest.raises(
        pg.InputError, match="members=3 does not work with normalization='batch'"
    ):
        network(normalization="batch")
    assert NetworkOptions.from_mapping({"members": 4}).members == 4
    with pytest.raises(
        pg.InputError, match="members must be a whole number of at least 1"
    ):
        NetworkOptions.from_mapping({"members": 0})


def make_model(**network: object) -> tuple[pg.HyNNClassifier, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(240, 4)), columns=list("abcd"))
    X["town"] = rng.choice([f"t{i}" for i in range(60)], 240)
    y = np.digitize(X["a"] * X["b"] + X["c"], [-0.5, 0.5])
    options = {"members": MEMBERS, "dense_units": [16, 16], **network}
    fixed = {
        "branches": ("tabular", "image"),
        "max_epochs": 2,
        "random_state": 0,
        "progress": False,
    }
    model = pg.HyNNClassifier(preset="default", network=options, **fixed)
    return model.fit(X, y), X, y


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{}, {"image_units": []}, {"fusion_units": []}])
def test_replacing_little_is_replacing(changed: dict[str, object]) -> None:
    model, X, _ = make_model(**changed)
    encoded = torch.from_numpy(model.encode_rows(X[:60]).encoded)
    coalitions = [
        frozenset({"tabular"}),
        frozenset({"image"}),
        frozenset({"tabular", "image"}),
    ]
    engine_outputs = []
    for incremental in (True, False):
        engine = ReplacementEngine(model.module_, incremental=incremental)
        with torch.inference_mode():
            block = engine.prepare(encoded)
            engine_outputs.append(
                engine.replace(block, 0, 60, [0], encoded.flip(0)[:, :1], coalitions)
            )
    for coalition in coalitions:
        torch.testing.assert_close(
            engine_outputs[0][coalition],
            engine_outputs[1][coalition],
            atol=1e-5,
            rtol=0,
        )
        assert (engine_outputs[1][coalition] - block.outputs).abs().max() > 1e-3
    edited_rows = encoded.clone()
    edited_rows[:, :1] = encoded.flip(0)[:, :1]
    torch.testing.assert_close(
        engine_outputs[0][coalitions[2]],
        model.module_(edited_rows).detach(),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 3])
def test_a_replaced_column_moves_the_first_layer(members: int) -> None:
    model, X, _ = make_model(members=members)
    encoded = torch.from_numpy(model.encode_rows(X[:50]).encoded).double()
    entry = TableEntry.read(model.module_.double().table_branch)
    # Numbers stand first, behind them the levels of the one category.
    for columns in ([1], [0, 3], list(range(4, 30)), [2, 5]):
        edited = encoded.clone()
        edited[:, columns] = encoded.flip(0)[:, columns]
        with torch.no_grad():
            before = entry.enter(encoded)
            after = entry.enter(edited)
            moved = entry.moved(
                before, columns, encoded[:, columns], edited[:, columns]
            )
        assert (after - before).abs().max() > 1e-3
        torch.testing.assert_close(moved, after)
        torch.testing.assert_close(
            entry.rest(before), model.module_.table_branch(encoded)
        )
    assert (
        entry.moved(before, list(range(encoded.shape[1])), encoded, edited) is None
    )  # whole is cheaper
    model.module_.table_branch.layers.register_forward_hook(lambda *_: None)
    assert FoldedNetwork(model.module_).table is None


@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_integrated_gradients_walk_through_the_members(normalization: str) -> None:
    model, X, _ = make_model(normalization=normalization)
    call = {"method": "integrated_gradients", "scale": "logit", "random_state": 0}
    explanation = pg.explain(model, X[:4], **call)
    assert explanation.meta["rule"] == "secants of each function"
    assert explanation.meta["completeness_gap"] < 1e-4


def test_saved_and_loaded(tmp_path) -> None:
    model, X, _ = make_model()
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        pg.load(tmp_path / "model").predict_proba(X), model.predict_proba(X)
    )
    assert "MemberScale" in model.summary()
