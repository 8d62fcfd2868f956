"""Networks whose own ``train`` and ``eval`` do more than set a flag are as they were
after each explanation.
"""

from __future__ import annotations

import copy
import threading
import warnings
from typing import Any

import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from torch.nn import functional
from usual_methods import USUAL

import permgrad as pg
from permgrad.models.undisturbed import undisturbed


class Merging(nn.Module):
    """A low-rank addition that is in the weights in eval mode alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3), requires_grad=False)
        self.down = nn.Parameter(torch.randn(1, 3))
        self.up = nn.Parameter(torch.randn(3, 1))
        self.merged = False

    def train(self, mode: bool = True) -> Merging:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (1 - 2 * mode) * 0.1 * (self.up.data @ self.down.data)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        plain = functional.linear(x, self.weight)
        return plain if self.merged else plain + 0.1 * x @ self.down.T @ self.up.T


class Fusing(nn.Module):
    """Two branches that ``eval`` makes one of, which ``train`` cannot undo."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.fused = False

    def eval(self) -> Fusing:
        super().eval()
        if not self.fused:
            self.both = nn.Linear(3, 3)
            self.both.weight.data = self.one.weight.data + self.two.weight.data
            self.both.bias.data = self.one.bias.data + self.two.bias.data
            del self.one, self.two
            self.fused = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x) if self.fused else self.one(x) + self.two(x)


class Sampling(nn.Module):
    """Weights that are drawn in training, and a shift that each change of mode moves,
    without a guard.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(3, 3))
        self.spread = nn.Parameter(torch.full((3, 3), 0.1))
        self.register_buffer("shift", torch.zeros(3))
        self.draws = True

    def train(self, mode: bool = True) -> Sampling:
        self.draws = mode
        self.shift += -0.5 if mode else 0.5
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(3, 3) if self.draws else 0
        return functional.linear(x, self.mean + noise * self.spread) + self.shift


def network(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    frozen = nn.BatchNorm1d(3).eval()
    return nn.Sequential(kind(), frozen, nn.ReLU(), kind(), nn.Linear(3, 2))


def stepped(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the weights after one step of training."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(
        [parameter for parameter in net.parameters() if parameter.requires_grad], lr=0.1
    )
    functional.cross_entropy(net(x), y).backward()
    optimizer.step()
    return net.state_dict()


def without_maps() -> list[str]:
    """Return methods that explain a network on a table."""
    return [
        name
        for name in USUAL
        if name not in ("gradcam", "permgrad_paper", "ale", "aggregate")
    ]


@pytest.mark.parametrize("kind", [Merging, Fusing, Sampling])
@pytest.mark.parametrize("method", without_maps())
def test_a_step_of_training_is_that_of_a_copy_that_nobody_explained(kind, method):
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(2))
    y = torch.arange(24) % 2
    net = network(kind)
    explain_arguments = {"shapley": {"references": 5}, "lime": {"samples": 40}}.get(
        method, {}
    )
    copied_network = copy.deepcopy(net)
    names = list(net.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explain_with(
            net,
            {"input": x},
            y,
            method=method,
            random_state=0,
            progress=False,
            returns="logits",
            **explain_arguments,
        )
    assert list(net.state_dict()) == names
    assert [submodule.training for submodule in net.modules()] == [
        submodule.training for submodule in copied_network.modules()
    ]
    assert all(
        torch.equal(state_tensor, copied_network.state_dict()[name])
        for name, state_tensor in net.state_dict().items()
    )
    expected_state = stepped(copied_network, x, y)
    for name, stepped_tensor in stepped(net, x, y).items():
        torch.testing.assert_close(stepped_tensor, expected_state[name], rtol=0, atol=0)


def attributes(submodule: nn.Module) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(submodule).items()
        if not name.startswith("_")
    }


@pytest.mark.parametrize("training", [True, False])
def test_modes_inside_each_other_switch_once(training):
    net = Sampling()
    net.training = training
    before = attributes(net)
    with undisturbed(net), undisturbed(net):
        assert not net.draws
        assert float(net.shift[0]) == 0.5
    assert attributes(net) == before


def test_what_eval_merged_is_taken_out_where_no_weight_is_copied():
    net = Merging()
    before = net.weight.clone()
    with undisturbed(net):
        assert net.merged
        assert not torch.allclose(net.weight, before)
    assert not net.merged
    torch.testing.assert_close(net.weight, before)


def test_a_network_that_refuses_to_be_trained_has_its_flag_back():
    class Finished(nn.Linear):
        def train(self, mode: bool = True) -> Finished:
            if mode:
                raise RuntimeError("for predictions alone")
            return super().train(mode)

    net = Finished(2, 2)
    with undisturbed(net):
        assert not net.training
    assert net.training


def test_what_a_forward_keeps_stays():
    """Only what ``eval`` replaced is put back."""
    net = Merging()
    with undisturbed(net):
        net.calls = 3
    assert net.calls == 3


def test_a_network_and_a_part_of_it_are_explained_by_two_threads():
    net = network(Merging)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(2))
    before = copy.deepcopy(net.state_dict())
    failed: list[BaseException] = []

    def work(one: nn.Module) -> None:
        try:
            for _ in range(3):
                pg.explain(
                    one,
                    x,
                    method=pg.methods.Shapley(references=4),
                    random_state=0,
                    progress=False,
                )
        except BaseException as error:  # noqa: BLE001 — of a thread
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=(explained_network,))
        for explained_network in (net, net[0], net)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert not net[0].merged
    assert all(
        torch.equal(state_tensor, before[name])
        for name, state_tensor in net.state_dict().items()
    )
