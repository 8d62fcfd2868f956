"""Networks whose calls change what later calls return are refused, with the names of
what they write into.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

ROWS = (
    torch.randn(30, 3, generator=torch.Generator().manual_seed(1))
    * torch.linspace(0.2, 6, 30)[:, None]
)
METHODS = ("permutation", "shapley", "lime", "gradient", "integrated_gradients")


class Net(nn.Module):
    """A layer behind something that may remember what it has seen."""

    def __init__(self, before: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.before = before
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.before(self, x))


def averaging(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        net.mean.lerp_(x.mean(0), 0.1)
    return x - net.mean


def shrinking(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        net.layer.weight.mul_(0.98)
    return x


def listing(net: Net, x: Tensor) -> Tensor:
    net.seen.append(len(x))
    return x * (1 + 0.01 * len(net.seen))


def observing(net: Net, x: Tensor) -> Tensor:
    """Rounded to a share of the largest number seen so far."""
    with torch.no_grad():
        net.largest.copy_(torch.maximum(net.largest, x.abs().max()))
    return (x / net.largest * 16).round() / 16 * net.largest


WRITTEN = {averaging: "mean", shrinking: "layer.weight", listing: "seen"}


def explain(net: nn.Module, method: str, **options: Any) -> pg.Explanation:
    call_options = {
        "returns": "logits",
        "random_state": 0,
        "progress": False,
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            net, ROWS, torch.arange(30) % 2, method=method, **call_options
        )


@pytest.mark.parametrize("before", WRITTEN)
@pytest.mark.parametrize("method", METHODS)
def test_what_calls_write_into_is_named(before, method):
    net = Net(before)
    state = copy.deepcopy(net.state_dict())
    with pytest.raises(
        pg.InputError,
        match=f"must not change later ones.*it writes into .*'{WRITTEN[before]}'",
    ):
        explain(net, method)
    assert all(
        torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items()
    )


@pytest.mark.parametrize("batch_size", ["auto", 4])
def test_what_only_other_rows_move_is_seen_when_the_first_are_asked_again(batch_size):
    with pytest.raises(pg.InputError, match="it writes into 'largest'"):
        explain(Net(observing), "shapley", batch_size=batch_size)


def test_observers_of_quantisation_that_are_on_are_named_and_those_that_are_off_explained():
    from torch.ao import quantization as quantised

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.Sequential(
            quantised.QuantStub(),
            nn.Linear(3, 4),
            nn.ReLU(),
            nn.Linear(4, 2),
            quantised.DeQuantStub(),
        )
        net.qconfig = quantised.get_default_qat_qconfig("fbgemm")
        net = quantised.prepare_qat(net.train()).eval()
        with pytest.raises(
            pg.InputError, match=r"activation_post_process.*disable_observer"
        ):
            explain(net, "permutation")
        net(ROWS)
        net.apply(quantised.disable_observer)
        assert explain(net, "permutation").values.shape[0] == 3


@pytest.mark.parametrize("kind", ["counts", "draws"])
@pytest.mark.parametrize("method", METHODS)
def test_counters_and_chance_are_no_memory(kind, method):
    def counting(net: Net, x: Tensor) -> Tensor:
        net.mean += 1
        net.seen.append(len(x))
        return x

    explain(
        Net(
            counting if kind == "counts" else lambda _, x: x + 0.1 * torch.randn_like(x)
        ),
        method,
    )


def once(net: Net, x: Tensor) -> Tensor:
    """Scaled by the rows of the first call."""
    if not net.largest:
        with torch.no_grad():
            net.largest.copy_(x.abs().mean())
    return x / net.largest


def once_as_a_weight(net: Net, x: Tensor) -> Tensor:
    if "initialised" not in vars(net):
        net.layer.bias.data = -net.layer(x).detach().mean(0)
        net.initialised = True
    return x


def once_as_an_attribute(net: Net, x: Tensor) -> Tensor:
    """Centred by the mean of the rows of the first call, which is no buffer."""
    if not hasattr(net, "centre"):
        net.centre = x.detach().mean(0)
    return x - net.centre


def carrying(net: Net, x: Tensor) -> Tensor:
    """A state that is handed on to the next batch."""
    before = getattr(net, "state", torch.zeros(3))
    net.state = x.detach().mean(0)
    return x + before


@pytest.mark.parametrize("before", [once, once_as_a_weight, once_as_an_attribute])
@pytest.mark.parametrize("method", ["permutation", "gradient"])
def test_what_the_first_call_sets_is_told_to_be_set_before(before, method):
    net = Net(before)
    with pytest.raises(
        pg.InputError, match="Call it once on typical rows before it is explained"
    ):
        explain(net, method)
    with torch.no_grad():
        expected_outputs = copy.deepcopy(net)(ROWS)
        assert torch.equal(net(ROWS), expected_outputs), (
            "a refusal leaves nothing behind"
        )
        assert torch.equal(net(ROWS[3:9]), expected_outputs[3:9]) or torch.allclose(
            net(ROWS[3:9]), expected_outputs[3:9], atol=1e-6
        )
    assert explain(net, method).values.any()


def test_a_state_that_is_handed_on_is_not_told_to_call_once():
    with pytest.raises(pg.InputError, match="must not change later ones") as error:
        explain(Net(carrying), "shapley")
    assert "once" not in str(error.value)
