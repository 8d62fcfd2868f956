"""Networks that change themselves at their first call work afterwards as before."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import permgrad as pg

ROWS = torch.randn(16, 3, generator=torch.Generator().manual_seed(3))
METHODS = ("permutation", "shapley", "gradient", "integrated_gradients", "deeplift")


class First(nn.Module):
    """Does ``begin`` at its first call and remembers that."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)
        self.begun = False

    def begin(self, x: Tensor) -> None:
        raise NotImplementedError

    def due(self) -> bool:
        return not self.begun

    def forward(self, x: Tensor) -> Tensor:
        if self.due():
            self.begin(x)
            self.begun = True
        return self.head(torch.tanh(self.layer(x)))


class Capturing(First):
    """Reads what a hook has heard, as models of transformers return attentions."""

    def begin(self, x: Tensor) -> None:
        self.heard: dict[str, Tensor] = {}

        def hear(module: nn.Module, args: Any, output: Tensor) -> None:
            self.heard["layer"] = output

        self.layer.register_forward_hook(hear)

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return self.head(torch.tanh(self.heard.pop("layer")))


class InASet(Capturing):
    """Remembers it in a set, which no attribute shows."""

    def __init__(self) -> None:
        super().__init__()
        self.done: set[str] = set()

    def due(self) -> bool:
        return not self.done

    def begin(self, x: Tensor) -> None:
        super().begin(x)
        self.done.add("hook")


class Building(First):
    """Builds a layer from the shape of the first rows."""

    def begin(self, x: Tensor) -> None:
        self.layer = nn.Linear(x.shape[1], 4)


class Growing(First):
    """Keeps a buffer with a number for each column."""

    def begin(self, x: Tensor) -> None:
        self.register_buffer("scale", torch.linspace(1, 2, x.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        first = super().forward(x)
        return first + super().forward(x * self.scale)


class Folding(First):
    """Folds a constant into its weights, once."""

    def begin(self, x: Tensor) -> None:
        with torch.no_grad():
            self.layer.weight.mul_(3)


class Normed(First):
    """Parametrises a layer."""

    def begin(self, x: Tensor) -> None:
        parametrizations.weight_norm(self.layer)


class WithSlopes(Capturing):
    """Adds its hook only where gradients are followed."""

    def due(self) -> bool:
        return torch.is_grad_enabled() and super().due()

    def forward(self, x: Tensor) -> Tensor:
        out = First.forward(self, x)
        if not self.begun:
            return out
        return self.head(torch.tanh(self.heard.pop("layer")))


KINDS = (Capturing, InASet, Building, Growing, Folding, Normed)


def fresh(kind: type[First]) -> First:
    torch.manual_seed(0)
    return kind()


def explain(net: nn.Module, method: str, rows: Any = ROWS) -> pg.Explanation:
    y = torch.arange(16) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            net,
            rows,
            y,
            method=method,
            random_state=0,
            progress=False,
            returns="logits",
        )


def stepped(net: nn.Module) -> dict[str, Tensor]:
    """Return the weights after a step of training."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    functional.cross_entropy(net(ROWS), torch.arange(16) % 2).backward()
    optimizer.step()
    return net.state_dict()


def shape_of(net: nn.Module) -> list[Any]:
    """Return what parts there are, with their attributes and how many hooks they
    have.
    """
    return [
        (
            name,
            type(submodule).__name__,
            sorted(vars(submodule)),
            len(submodule._forward_hooks),
        )
        for name, submodule in net.named_modules()
    ]


@pytest.mark.parametrize("kind", [*KINDS, WithSlopes])
@pytest.mark.parametrize("method", METHODS)
def test_a_network_explained_before_its_first_call_works_as_a_copy(kind, method):
    net = fresh(kind)
    fresh_copy = fresh(kind)
    explanation = explain(net, method)
    assert abs(explanation.values).max() > 0.01
    torch.manual_seed(0)
    expected_outputs = fresh_copy(ROWS)
    if kind is Building:  # a layer of random weights
        fresh_copy.load_state_dict(net.state_dict())
        expected_outputs = fresh_copy(ROWS)
    torch.testing.assert_close(net(ROWS), expected_outputs, rtol=0, atol=0)
    assert shape_of(net) == shape_of(fresh_copy)
    first_weights = stepped(net)
    two = stepped(fresh_copy)
    assert list(first_weights) == list(two)
    for name, weight in first_weights.items():
        torch.testing.assert_close(weight, two[name], rtol=0, atol=0)
    called = fresh(kind)
    torch.manual_seed(0)
    called(ROWS)
    if kind is not Building:
        torch.testing.assert_close(
            explain(called, method).values, explanation.values, rtol=0, atol=0
        )


class Merging(nn.Module):
    """A layer with its own modes, of which eval merges an update and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.merged = False
        self.update = nn.Parameter(torch.ones(2, 4))

    def train(self, mode: bool = True) -> Merging:
        if self.merged is mode:
            with torch.no_grad():
                self.layer.weight.add_(self.update, alpha=-1.0 if mode else 1.0)
            self.merged = not mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layer(x)
        return hidden if self.merged else hidden + x @ self.update.T


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_a_network_stays_in_its_mode_after_its_first_call(kind, training):
    net = fresh(kind)
    other = fresh(kind)
    net.head = Merging()
    other.head = Merging()
    other.load_state_dict(net.state_dict())
    net.train(training)
    other.train(training)
    explain(net, "permutation")
    other(ROWS)
    modes = {name: part.training for name, part in net.named_modules()}
    assert modes == {name: part.training for name, part in other.named_modules()}
    assert modes[""] is training
    assert net.head.merged is other.head.merged is not training
    for name, weight in other.head.state_dict().items():
        torch.testing.assert_close(net.head.state_dict()[name], weight)


def test_what_moved_is_said_and_only_once():
    net = fresh(Growing)
    with pytest.warns(pg.PermgradWarning) as caught:
        pg.explain(net, ROWS, method="permutation", n_repeats=2)
    text = (
        "The network changes itself at its first call (scale). permgrad made that "
        "call, and the change stays."
    )
    assert [str(warning.message) for warning in caught].count(text) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pg.explain(net, ROWS, method="permutation", n_repeats=2)


def test_what_every_call_does_is_put_back():
    class Every(First):
        def due(self) -> bool:
            return True

        def begin(self, x: Tensor) -> None:
            self.register_buffer("rows", torch.tensor(len(x)))

    net = fresh(Every)
    explain(net, "permutation")
    assert list(net.state_dict()) == list(fresh(Every).state_dict())


def test_a_first_call_that_is_refused_leaves_nothing():
    """Whole numbers are tried as they are, which a layer refuses after the change."""
    net = fresh(Capturing)
    fresh_copy = fresh(Capturing)
    rows = (ROWS * 5).long()
    explain(net, "permutation", rows.numpy())
    torch.testing.assert_close(net(ROWS), fresh_copy(ROWS), rtol=0, atol=0)
    assert shape_of(net) == shape_of(fresh_copy)

    net = fresh(Capturing)
    before = shape_of(net)
    with pytest.raises(pg.InputError, match="does not accept the inputs"):
        explain(net, "permutation", torch.randn(16, 5))
    assert shape_of(net) == before


class Lazy(nn.Module):
    """Lazy layers behind each other, one of which counts calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(4)
        self.norm = nn.LazyBatchNorm1d()
        self.drop = nn.Dropout(0.5)
        self.head = nn.LazyLinear(2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.drop(torch.relu(self.norm(self.layer(x)))))


class LazyPictures(nn.Module):
    """A lazy convolution of a row's numbers and a lazy layer, with a keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.LazyConv1d(3, 2)
        self.head = nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.seen(x[:, None])).flatten(1))


@pytest.mark.parametrize("kind", [Lazy, LazyPictures])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_lazy_layers_are_filled_as_by_the_first_call(kind, training, method):
    net = kind().train(training)
    other = kind().train(training)
    torch.manual_seed(7)
    chance = torch.get_rng_state()
    assert explain(net, method).values.any()
    assert torch.equal(torch.get_rng_state(), chance)
    other.eval()(ROWS)
    other.train(training)
    if kind is Lazy:
        other.calls.zero_()
    assert shape_of(net) == shape_of(other)
    assert [part.training for part in net.modules()] == [
        part.training for part in other.modules()
    ]
    mine = net.state_dict()
    theirs = other.state_dict()
    assert list(mine) == list(theirs)
    for name, weight in mine.items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=0)
    torch.manual_seed(8)
    one = stepped(net)
    torch.manual_seed(8)
    for name, weight in stepped(other).items():
        torch.testing.assert_close(one[name], weight, rtol=0, atol=0)


def test_lazy_layers_that_were_filled_are_named():
    net = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    text = (
        "The network changes itself at its first call (0.weight, 0.bias, 2.weight, "
        "2.bias). permgrad made that call, and the change stays."
    )
    with pytest.warns(pg.PermgradWarning) as caught:
        pg.explain(net, ROWS, method="permutation", n_repeats=2)
    assert text in [str(one.message) for one in caught]
    assert copy.deepcopy(net)(ROWS).shape == (16, 2)


def test_lazy_layers_stay_lazy_where_the_call_is_refused():
    net = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(3, 2))
    hooks = [len(part._forward_pre_hooks) for part in net]
    with pytest.raises(pg.InputError, match="Call the network once on some rows"):
        pg.explain(net, ROWS)
    assert [len(part._forward_pre_hooks) for part in net] == hooks
    assert [type(part).__name__ for part in net] == ["LazyLinear", "ReLU", "Linear"]
