"""Trees as a branch: what their arrays say, on any device and dtype, and built from a
file.
"""

import copy

import numpy as np
import pytest
import torch

from permgrad.models.network.trees import TreeBranch
from permgrad.models.reading_trees import read_trees
from permgrad.models.trees import Trees

COLUMNS = 5


@pytest.fixture(
    scope="module", params=["one output", "an output per tree", "all outputs per tree"]
)
def trees(request):
    """Return trees of each form."""
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    random = np.random.default_rng(0)
    x = random.normal(size=(500, COLUMNS)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2])
    if request.param == "one output":
        return read_trees(HistGradientBoostingRegressor(max_iter=20).fit(x, y))
    trees_read = read_trees(
        HistGradientBoostingClassifier(max_iter=20).fit(x, np.digitize(y, [-0.5, 0.5]))
    )
    if request.param == "an output per tree":
        return trees_read
    values = np.random.default_rng(1).normal(size=(len(trees_read.feature), 3))
    return Trees(
        trees_read.feature,
        trees_read.threshold,
        trees_read.left,
        values,
        trees_read.roots,
        trees_read.base,
    )


def rows_of(count):
    return torch.from_numpy(
        np.random.default_rng(2).normal(size=(count, COLUMNS)).astype(np.float32)
    )


def test_a_branch_says_what_its_trees_say(trees):
    branch = TreeBranch.of(trees, COLUMNS)
    rows = rows_of(5000)
    branch.check()
    expected = trees(rows.numpy())
    branch_outputs = branch(rows)
    assert branch_outputs.dtype == torch.float32
    np.testing.assert_allclose(branch_outputs.numpy(), expected, atol=1e-5, rtol=1e-6)
    doubled = copy.deepcopy(branch).double()(rows.double())
    assert doubled.dtype == torch.float64
    np.testing.assert_allclose(doubled.numpy(), expected, atol=2e-6)
    for count in (0, 1, 17):
        assert torch.equal(branch(rows[:count]), branch_outputs[:count]), (
            "rows depend on each other"
        )


def test_a_branch_has_no_slope_and_no_parameters(trees):
    branch = TreeBranch.of(trees, COLUMNS)
    rows = rows_of(4).requires_grad_()
    total = branch(rows) + rows.sum(dim=1, keepdim=True)
    total.sum().backward()
    assert torch.equal(rows.grad, torch.full_like(rows, float(branch.outputs)))
    assert not list(branch.parameters())


def test_a_branch_is_scaled_in_place_and_gives_its_trees_back(trees):
    branch = TreeBranch.of(trees, COLUMNS)
    rows = rows_of(50)
    again = branch.trees()
    np.testing.assert_allclose(again(rows.numpy()), trees(rows.numpy()), atol=1e-6)
    before = branch(rows)
    branch.scale_(0.25)
    torch.testing.assert_close(branch(rows), before / 4)
    np.testing.assert_allclose(
        branch.trees()(rows.numpy()), before.numpy() / 4, atol=1e-5
    )


def test_a_branch_is_built_from_its_sizes_and_weights(trees):
    branch = TreeBranch.of(trees, COLUMNS)
    rows = rows_of(50)
    with torch.device("meta"):
        described = TreeBranch(COLUMNS, **branch.sizes).state_dict()
    weights = branch.state_dict()
    assert {
        name: (described_weight.shape, described_weight.dtype)
        for name, described_weight in described.items()
    } == {
        name: (branch_weight.shape, branch_weight.dtype)
        for name, branch_weight in weights.items()
    }
    other_branch = TreeBranch(COLUMNS, **branch.sizes)
    other_branch(rows)  # the depth of trees is not remembered from before
    other_branch.load_state_dict(weights)
    other_branch.check()
    assert torch.equal(other_branch(rows), branch(rows))
    assert torch.equal(TreeBranch.of(branch.trees(), COLUMNS)(rows), branch(rows))


@pytest.mark.parametrize(
    "name", ["feature", "left", "roots", "output", "threshold", "values", "base"]
)
def test_a_damaged_branch_is_refused(trees, name):
    branch = TreeBranch.of(trees, COLUMNS)
    branch_array = getattr(branch, name)
    branch_array.view(-1)[0] = (
        float("nan") if branch_array.is_floating_point() else 1_000_000
    )
    with pytest.raises(ValueError, match="trees"):
        branch.check()


def test_values_that_are_not_finite_stay_in_their_tree():
    stump = Trees.of([([0], [0.5], [1], [2], [[0.0], [-1.0], [1.0]])] * 2, base=[0.0])
    rows = torch.tensor([[float("nan")], [float("inf")], [float("-inf")]])
    assert TreeBranch.of(stump, 1)(rows).ravel().tolist() == [-2.0, 2.0, -2.0]


def test_no_trees_say_their_base():
    nothing = Trees.of([], base=[1.5, 2.0])
    assert TreeBranch.of(nothing, 3)(torch.zeros(2, 3)).tolist() == [[1.5, 2.0]] * 2
    assert nothing(np.zeros((2, 3), dtype=np.float32)).tolist() == [[1.5, 2.0]] * 2
