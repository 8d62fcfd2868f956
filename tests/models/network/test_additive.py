"""Branches beside the head: shares of the outputs, and networks that are saved with
them.
"""

import itertools

import beside
import numpy as np
import pytest
import torch

import permgrad as pg
from permgrad import InputError
from permgrad.imaging import Renderer, StoredLayout
from permgrad.models.fast.folded_branches import BesideTrees, Edit
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.fast.replacement import ReplacementEngine
from permgrad.models.network.blocks import RandomKernels
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.trees import TreeBranch
from permgrad.models.tree_masks import TreeGroup
from permgrad.models.trees import Trees

COLUMNS = 5
OUTPUTS = 3
OPTIONS = {
    "dense_units": [6],
    "conv_filters": [2],
    "fusion_units": [4],
    "image_channels": 1,
    "dropout": 0.0,
    "normalization": "none",
}
HEADS = {
    "table": {"paths": ("tabular",)},
    "both": {"paths": ("tabular", "image")},
    "members": {"paths": ("tabular", "image"), "members": 3},
    "rates": {"paths": ("tabular", "image"), "members": 2, "rates": True},
}


def line():
    return beside.line(COLUMNS, OUTPUTS).double()


def trees():
    return beside.trees(COLUMNS, OUTPUTS).double()


def network(paths, rates=False, **options):
    torch.manual_seed(0)
    column_pixels = [(k // 3, k % 3) for k in range(COLUMNS)]
    drawn = Renderer(
        StoredLayout(column_pixels, pixels=3),
        np.zeros(COLUMNS),
        np.ones(COLUMNS),
        1,
        1.0,
    )
    renderer = drawn if "image" in paths else None
    return (
        HybridNetwork(
            COLUMNS,
            OUTPUTS,
            {**OPTIONS, **options},
            renderer=renderer,
            paths=paths,
            rates=rates,
        )
        .double()
        .eval()
    )


def rows(count=9):
    return torch.from_numpy(np.random.default_rng(4).normal(size=(count, COLUMNS)))


@pytest.mark.parametrize("order", list(itertools.permutations(("linear", "trees"))))
@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_branches_have_their_shares(head, order):
    net = network(**HEADS[head])
    x = rows()
    rates = "rates" in HEADS[head]
    branches = {"linear": line(), "trees": trees()}
    branch_outputs = {
        name: branch(x).exp() if rates else branch(x)
        for name, branch in branches.items()
    }
    expected = net(x)
    members = net.member_outputs(x)
    for name, share in zip(order, (0.3, 0.2), strict=True):
        net.add_path(name, branches[name], share)
        expected = (1 - share) * expected + share * branch_outputs[name]
        members = (1 - share) * members + share * branch_outputs[name][:, None]
    torch.testing.assert_close(net(x), expected)
    torch.testing.assert_close(net.member_outputs(x), members)
    assert net.paths == (*HEADS[head]["paths"], "linear", "trees")
    assert net.head_paths == HEADS[head]["paths"]
    assert net.shares == pytest.approx(dict(zip(order, (0.3 * 0.8, 0.2), strict=True)))
    branch_outputs = {path: net.embed(path, x) for path in net.paths}
    assert (
        branch_outputs["trees"].shape
        == branch_outputs["linear"].shape
        == (len(x), OUTPUTS)
    )
    torch.testing.assert_close(net.fuse(branch_outputs), expected)


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_outputs_are_divided_and_raised_as_a_whole(head, kernels):
    if kernels and "image" not in HEADS[head]["paths"]:
        pytest.skip("kernels see images")
    net = network(**HEADS[head])
    x = rows()
    rates = "rates" in HEADS[head]
    net.add_path("trees", trees(), 0.4)
    if kernels:
        drawn = RandomKernels(net.image_shape, 4, OUTPUTS).double()
        drawn.draw(np.random.default_rng(0))
        before = net(x)
        kernel_outputs = drawn(net.renderer(x))
        net.add_kernels(drawn, 0.3)
        torch.testing.assert_close(net(x), 0.7 * before + 0.3 * kernel_outputs)
        assert net.shares == {"trees": pytest.approx(0.4 * 0.7)}
    net.add_path("linear", line(), 0.1)
    before = net(x)
    net.divide_outputs(1.7)
    torch.testing.assert_close(net(x), before / 1.7)
    net.raise_outputs(0.4)
    torch.testing.assert_close(
        net(x), before / 1.7 * np.exp(0.4) if rates else before / 1.7 + 0.4
    )


def _beside(head, *, incremental):
    net = network(**HEADS[head])
    net.add_path("trees", trees(), 0.3)
    net.add_path("linear", line(), 0.2)
    return net, ReplacementEngine(net, incremental=incremental)


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_replacements_in_any_paths_are_those_of_edited_rows(head, incremental):
    (net, engine), x, rng = (
        _beside(head, incremental=incremental),
        rows(),
        np.random.default_rng(5),
    )
    torch.testing.assert_close(FoldedNetwork(net)(x), net(x))
    coalitions = [
        frozenset(c)
        for size in range(1, len(net.paths) + 1)
        for c in itertools.combinations(net.paths, size)
    ]
    block = engine.prepare(x, batch_size=4)
    light = engine.prepare(x, light=True)
    torch.testing.assert_close(block.outputs, net(x))
    for columns, pairs in (
        ([0], None),
        ([4, 1], [0, 0, 2, 5]),
        ([0, 1, 2, 3, 4], [1, 1]),
    ):
        paired_rows = x[2:8] if pairs is None else x[2:8][pairs]
        values = torch.from_numpy(rng.normal(size=(len(paired_rows), len(columns))))
        edited = paired_rows.clone()
        edited[:, columns] = values
        replaced_outputs = engine.replace(
            block,
            2,
            8,
            columns,
            values,
            coalitions,
            None if pairs is None else torch.tensor(pairs),
        )
        donors = torch.tensor([0, 3, 3])
        receivers = torch.tensor([8, 1, 1])
        lent = engine.exchange(light, receivers, donors, light, coalitions)
        for coalition in coalitions:
            read = {
                path: net.embed(path, edited if path in coalition else paired_rows)
                for path in net.paths
            }
            torch.testing.assert_close(replaced_outputs[coalition], net.fuse(read))
            read = {
                path: net.embed(path, x[donors if path in coalition else receivers])
                for path in net.paths
            }
            torch.testing.assert_close(lent[coalition], net.fuse(read))
    assert (
        engine.replace(block, 0, 9, [], x[:, :0], coalitions)[coalitions[0]] is not None
    )
    assert engine.bytes_per_row() >= engine.bytes_per_row(light=True) > 8 * OUTPUTS * 3


def test_the_line_has_slopes_and_the_trees_none():
    net = network(paths=("tabular",))
    x = rows().requires_grad_()
    head = torch.autograd.grad(net(x).sum(), x)[0]
    net.add_path("trees", trees(), 0.4)
    net.add_path("linear", line(), 0.2)
    (slopes,) = torch.autograd.grad(net(x).sum(), x)
    expected = 0.8 * 0.6 * head + net.additive["linear"].weight.sum(dim=0)
    torch.testing.assert_close(slopes, expected)


@pytest.mark.parametrize("regression", [False, True])
def test_branches_are_saved_with_their_shares(tmp_path, regression):
    X = np.random.default_rng(0).normal(size=(60, 3))
    kind = pg.HyNNRegressor if regression else pg.HyNNClassifier
    y = X[:, 0] if regression else (X[:, 0] > 0).astype(int)
    settings = {
        "network": {"dense_units": [4], "fusion_units": []},
        "branches": ("tabular",),
        "max_epochs": 1,
    }
    model = kind(**settings, random_state=0, progress=False).fit(X, y)
    before = model.predict_encoded(model.encode_rows(X).encoded)
    outputs = beside.with_branches(model, "linear", "trees").predict_encoded(
        model.encode_rows(X).encoded
    )
    assert not np.array_equal(outputs, before)
    assert "linear branch, 24% of the outputs" in model.summary()
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    assert again.module_.shares == {"linear": 0.24, "trees": 0.4}
    np.testing.assert_array_equal(
        again.predict_encoded(model.encode_rows(X).encoded), outputs
    )


def test_a_branch_beside_the_head_has_a_known_name():
    with pytest.raises(InputError, match="name cannot be 'line'"):
        network(paths=("tabular",)).add_path("line", line(), 0.5)


@pytest.mark.parametrize("width", [1, OUTPUTS])
@pytest.mark.parametrize("rows_of", [None, [0, 0, 3, 5, 5, 5]])
@torch.no_grad()
def test_only_trees_that_ask_for_a_replaced_column_are_walked(
    monkeypatch, width, rows_of
):
    rng = np.random.default_rng(3)
    columns = 8
    tree_nodes = []
    for number in range(24):
        # Column 7 is asked for by a few trees, column 6 by none, column 0 by most.
        asked_columns = [7 if number % 6 == 0 else 0, *rng.integers(0, 6, 2)]
        values = np.concatenate([np.zeros((3, width)), rng.normal(size=(4, width))])
        tree_nodes.append(
            (asked_columns, rng.normal(size=3) / 2, [1, 3, 5], [2, 4, 6], values)
        )
    branch = TreeBranch.of(Trees.of(tree_nodes, base=rng.normal(size=OUTPUTS)), columns)
    beside_head = BesideTrees(branch, None)
    before = torch.from_numpy(rng.normal(size=(6, columns))).float()
    pairs = None if rows_of is None else torch.tensor(rows_of)
    walked = []
    add = TreeGroup.add
    monkeypatch.setattr(
        TreeGroup,
        "add",
        lambda self, *args: walked.append(len(self.first)) or add(self, *args),
    )
    expected_trees = {(7,): [4, 4], (6,): [], (6, 7): [4, 4], (0,): [24, 24]}
    for changed_columns, expected in expected_trees.items():
        changed = list(changed_columns)
        values = torch.from_numpy(rng.normal(size=(6, len(changed)))).float()
        edit = Edit(before, changed, values, pairs)
        entered_state = beside_head.enter(before)
        walked.clear()
        replaced_outputs = beside_head.replaced(entered_state, edit)
        assert walked == expected
        torch.testing.assert_close(replaced_outputs, branch(edit.edited()))
        assert torch.equal(replaced_outputs, edit.of(entered_state)) == (changed == [6])
