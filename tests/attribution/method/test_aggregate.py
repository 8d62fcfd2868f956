"""``aggregate``: shares, their mean, members that refuse, and what is told about
them.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from explaining import explain_with
from replicates import replicates
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.method.aggregate import _shares

NAMES = ("gradient", "permutation", "lime", "shapley")
MEMBERS = (
    "gradient",
    "permutation",
    pg.methods.Lime(samples=100),
    pg.methods.Shapley(references=10),
)
ROWS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = np.random.default_rng(0).integers(0, 3, 40)


def make_net(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs))


class Coded(nn.Module):
    """Codes that are compared, not looked up: they have no slopes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(7, 3)

    def forward(self, table: Tensor, codes: Tensor) -> Tensor:
        return self.head(
            torch.cat([table, nn.functional.one_hot(codes[:, 0], 3)], dim=1)
        )


CODED = {
    "table": ROWS,
    "codes": torch.randint(0, 3, (40, 1), generator=torch.Generator().manual_seed(1)),
}


def explain(net=None, rows=ROWS, y=Y, **options) -> pg.Explanation:
    call_options = {"members": MEMBERS, "random_state": 0, "progress": False, **options}
    return explain_with(net or make_net(), rows, y, method="aggregate", **call_options)


def test_is_the_mean_of_shares():
    explanation = explain()
    assert explanation.outputs == ("all", "0", "1", "2")
    assert list(explanation.parts) == list(NAMES) == explanation.meta["members"]
    for member_shares in explanation.parts.values():
        np.testing.assert_allclose(member_shares.sum(axis=0), 1)
    np.testing.assert_allclose(
        explanation.values, np.mean(list(explanation.parts.values()), axis=0)
    )
    assert (
        len(
            {
                tuple(method_shares[:, 0].round(3))
                for method_shares in explanation.parts.values()
            }
        )
        == 4
    )


def test_shares_of_values_that_are_shares_already():
    member = SimpleNamespace(
        values=np.array([[0.25, 0.0], [-0.75, 0.0]]), outputs=("all", "0")
    )
    np.testing.assert_array_equal(
        _shares(member, ("all", "0")), [[0.25, 0.0], [0.75, 0.0]]
    )


@replicates("aggregate")
def test_shares_are_those_of_each_method_called_alone():
    explanation = explain()
    net = make_net()
    call_options = {
        "random_state": 0,
        "progress": False,
        "scope": "local",
        "scale": "logit",
    }
    lime = (
        explain_with(net, ROWS, Y, method="lime", samples=100, **call_options)
        .to_global("mean_abs")
        .values
    )
    np.testing.assert_allclose(
        explanation.parts["lime"][:, 1:], lime / lime.sum(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(
        explanation.parts["lime"][:, 0], lime.sum(axis=1) / lime.sum(), atol=1e-6
    )
    permutation = pg.explain(
        net, ROWS, Y, method="permutation", random_state=0, progress=False
    ).values
    absolute = np.abs(permutation)
    np.testing.assert_allclose(
        explanation.parts["permutation"], absolute / absolute.sum(axis=0), atol=1e-6
    )


def test_modalities_sum():
    explanation = explain(
        Coded(), CODED, members=("permutation", "shapley", "lime")
    ).by_modality()
    assert explanation.names == ("table", "codes")
    np.testing.assert_allclose(explanation.values.sum(axis=0), 1)


@pytest.mark.parametrize(
    ("net", "y", "outputs"), [(1, Y / 2.0, ("all",)), (1, Y % 2, ("all", "0", "1"))]
)
def test_single_outputs(net, y, outputs):
    explanation = explain(make_net(net), y=y)
    assert explanation.outputs == outputs
    np.testing.assert_allclose(explanation.values.sum(axis=0), 1)
    if len(outputs) == 3:
        np.testing.assert_array_equal(
            explanation.parts["lime"][:, 1], explanation.parts["lime"][:, 2]
        )


def test_a_network_that_uses_nothing_gets_zeros():
    net = make_net()
    net[2].weight.data.zero_()
    with pytest.warns(pg.PermgradWarning, match="exactly 0"):
        explanation = explain(net)
    np.testing.assert_array_equal(explanation.values, 0)


def test_members_that_refuse_are_named():
    with pytest.warns(
        pg.PermgradWarning,
        match=r"aggregate leaves out members that cannot explain the model",
    ):
        explanation = explain(Coded(), CODED)
    assert list(explanation.parts) == ["permutation", "lime", "shapley"]
    assert set(explanation.meta["left_out"]) == {"gradient"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(Coded(), CODED, members=("permutation", "shapley"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("lime", "members must be methods, by name or as of pg.methods, got 'lime'"),
        (["lime", "shaply"], "No method 'shaply'. Did you mean 'shapley'?"),
        (["lime"], "aggregate needs at least two members, got ['lime']. Add another"),
        (
            ["lime", "aggregate"],
            "members must not contain 'aggregate'. Leave it out",
        ),
        (
            {"lime": {}, "permutation": {}},
            "members must be methods, by name or as of pg.methods, got",
        ),
    ],
)
def test_bad_members(members, message):
    with pytest.raises(pg.InputError) as caught:
        explain(members=members)
    assert str(caught.value).startswith(message)


def test_two_members_must_remain():
    with pytest.raises(pg.InputError) as caught:
        explain(Coded(), CODED, members=("gradient", "permutation"))
    assert str(caught.value).startswith(
        "aggregate needs at least two members that can explain the model, and only "
        "'permutation' can ('gradient': "
    )
