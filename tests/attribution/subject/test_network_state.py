"""A user's network under explanation: what is put back afterwards, when it is folded,
what a cut still needs.
"""

from __future__ import annotations

import copy
import linecache
import random
import threading
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, fx, nn

import permgrad as pg
from permgrad.attribution.slopes.gradients import differentiable
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.tracing import OwnThreadTracer
from permgrad.models import undisturbed as state
from permgrad.models.undisturbed import undisturbed


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- put back ------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "layer", "off"), [
    ("cuda", nn.LSTM(2, 3), True), ("cuda", nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 3)), True),
    ("cuda", nn.Linear(2, 3), False), ("cpu", nn.LSTM(2, 3), False),
])  # fmt: skip
def test_cudnn_is_off_where_its_recurrent_layers_would_refuse_gradients(
    device, layer, off
):
    cudnn = torch.backends.cudnn
    before = torch.backends.cudnn.enabled
    subject = SimpleNamespace(device=torch.device(device), module=layer)
    try:
        for setting in (True, False):
            cudnn.enabled = setting
            with differentiable(subject):
                assert cudnn.enabled == (setting and not off)
            assert cudnn.enabled == setting
    finally:
        cudnn.enabled = before


class Counting(nn.Module):
    """Weights and buffers that a forward can write into, with numbers and without."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("numbers", torch.tensor([1.0, torch.nan, 3.0, torch.nan]))
        self.register_buffer("whole", torch.arange(3))


@pytest.mark.parametrize(
    "written",
    [
        [1.0, 5.0, 3.0, torch.nan],
        [1.0, 5.0, 3.0, 6.0],
        [torch.nan, torch.nan, 3.0, torch.nan],
        [torch.nan] * 4,
        [1.0, torch.nan, 4.0, torch.nan],
        [torch.nan, 1.0, torch.nan, 3.0],
    ],
)
def test_numbers_that_a_forward_wrote_are_as_before(written):
    net = Counting()
    before = net.numbers.clone()
    address = net.numbers.data_ptr()
    with undisturbed(net):
        net.numbers.copy_(torch.tensor(written))
    torch.testing.assert_close(net.numbers, before, rtol=0, atol=0, equal_nan=True)
    assert net.numbers.data_ptr() == address


def test_what_nobody_wrote_is_not_written_again():
    """A write would raise the version of a tensor that a graph of the user's may have
    saved; NaN is no change.
    """
    net = Counting()
    versions = {
        name: tensor._version for name, tensor in net.state_dict(keep_vars=True).items()
    }
    with undisturbed(net):
        net.whole += 1
    after = {
        name: tensor._version for name, tensor in net.state_dict(keep_vars=True).items()
    }
    assert torch.equal(net.whole, torch.arange(3))
    assert {name for name in after if after[name] != versions[name]} == {"whole"}


def test_nan_is_the_same_as_nan():
    numbers = torch.tensor([1.0, torch.nan])
    assert state.same_numbers(numbers, numbers.clone())
    assert not state.same_numbers(numbers, torch.tensor([1.0, 2.0]))
    assert not state.same_numbers(numbers, torch.tensor([2.0, torch.nan]))


def test_buffers_and_weights_that_were_replaced_or_added_are_as_before():
    net = Counting()
    numbers = net.numbers
    weight = net.layer.weight
    data = net.layer.weight.data_ptr()
    copied = weight.detach().clone()
    with undisturbed(net):
        net.numbers = torch.zeros(4)
        net.layer.register_buffer("more", torch.ones(1))
        net.layer.weight.data = torch.zeros(2, 3)
        net.layer.bias.requires_grad_(False)
        del net.whole
    assert net.numbers is numbers
    assert net.layer.weight is weight
    assert net.layer.weight.data_ptr() == data
    assert torch.equal(net.layer.weight, copied)
    assert net.layer.bias.requires_grad
    assert torch.equal(net.whole, torch.arange(3))
    assert not hasattr(net.layer, "more")


@pytest.mark.parametrize("fails", [None, KeyboardInterrupt])
def test_hooks_and_parts_are_those_from_before(fails):
    net = Counting()
    heard = []
    hook_handle = net.layer.register_forward_hook(lambda *_: heard.append("own"))
    submodules = dict(net.named_modules())
    with pytest.raises(fails) if fails else nullcontext(), undisturbed(net):
        net.register_forward_pre_hook(lambda *_: heard.append("new"))
        net.layer.register_forward_hook(
            lambda *_: heard.append("new"), with_kwargs=True
        )
        hook_handle.remove()
        net.more = nn.ReLU()
        net.layer = nn.Linear(3, 5)
        if fails:
            raise fails
    assert dict(net.named_modules()) == submodules
    assert not net._forward_pre_hooks
    assert not net.layer._forward_hooks_with_kwargs
    net.layer(drawn(1, 3))
    assert heard == ["own"]
    hook_handle.remove()
    assert not net.layer._forward_hooks


@pytest.mark.parametrize("sizes", [(1, 8), (8, 1), (0, 4)])
def test_a_buffer_that_was_resized_has_its_size_and_numbers_back(sizes):
    """As observers of quantisation do, which learn how many channels there are."""
    net = Counting()
    net.register_buffer("scale", torch.full((sizes[0],), 2.0))
    with undisturbed(net):
        net.scale.resize_(sizes[1]).fill_(5.0)
    assert torch.equal(net.scale, torch.full((sizes[0],), 2.0))


@pytest.mark.parametrize("most", [0, 10**9])
def test_weights_above_the_limit_are_not_copied_but_buffers_are(monkeypatch, most):
    monkeypatch.setattr(state, "MOST_COPIED", most)
    net = Counting()
    copied = net.layer.weight.detach().clone()
    with undisturbed(net), torch.no_grad():
        net.layer.weight += 1
        net.whole += 1
    assert torch.equal(net.whole, torch.arange(3))
    assert torch.equal(net.layer.weight, copied) == (most > 0)


@pytest.mark.parametrize("fails", [None, ZeroDivisionError, KeyboardInterrupt])
def test_modes_generators_and_gradients_are_as_before(fails):
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(), nn.BatchNorm1d(2)).train()
    net[2].eval()

    def drawing() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    expected = drawing()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    inside = []
    with pytest.raises(fails) if fails else nullcontext(), undisturbed(net):
        inside.append(drawing())
        assert not any(submodule.training for submodule in net.modules())
        torch.set_grad_enabled(False)
        if fails:
            raise fails
    assert torch.is_grad_enabled()
    assert [submodule.training for submodule in net] == [True, True, False]
    assert drawing() == expected
    with undisturbed(net):
        inside.append(drawing())
    assert inside[0] == inside[1] != expected


@pytest.mark.parametrize("way", ["wrapped", "in place", "forward", "function"])
@pytest.mark.parametrize("fullgraph", [False, True])
def test_what_is_compiled_runs_as_written_however_it_was_compiled(way, fullgraph):
    compiled_graphs = []

    def backend(graph, _):
        compiled_graphs.append(graph)
        return graph.forward

    def squashed(x: Tensor) -> Tensor:
        return torch.sigmoid(x) * 1

    compiled = partial(torch.compile, backend=backend, fullgraph=fullgraph)

    class Calling(nn.Module):
        def __init__(self, function=torch.sigmoid) -> None:
            super().__init__()
            self.function = function

        def forward(self, x: Tensor) -> Tensor:
            return self.function(x)

    def network(function=torch.sigmoid) -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), Calling(function), nn.Linear(4, 2)).eval()

    net = network(compiled(squashed) if way == "function" else torch.sigmoid)
    if way == "wrapped":
        net[2] = compiled(net[2])
    elif way == "in place":
        net.compile(backend=backend, fullgraph=fullgraph)
    elif way == "forward":
        net.forward = compiled(net.forward)
    for method in ("shapley", "integrated_gradients"):
        compiled_explanation, plain_explanation = (
            pg.explain(
                pg.Model(explained_network, returns="logits"),
                drawn(6, 3),
                method=method,
            )
            for explained_network in (net, network())
        )
        np.testing.assert_allclose(
            compiled_explanation.values, plain_explanation.values, rtol=0, atol=1e-6
        )
    assert not compiled_graphs
    net(drawn(6, 3))
    assert compiled_graphs, "outside it is compiled"


def test_threads_leave_the_compiler_as_it_was():
    """Each would put back what it found, and the last would find what another had
    set.
    """
    import torch._dynamo  # by this test alone: it takes a second

    before = torch._dynamo.eval_frame._stance.stance
    first = undisturbed(nn.Identity())
    second = undisturbed(nn.Identity())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch._dynamo.eval_frame._stance.stance == "force_eager"
    second.__exit__(None, None, None)
    assert torch._dynamo.eval_frame._stance.stance == before == "default"


def test_generators_are_seeded_alike_for_every_opening():
    """A forward that draws numbers, as one may in eval mode, gives the same in every
    call.
    """
    first = []
    for _ in range(2):
        with undisturbed(nn.Identity()):
            first.append((random.random(), np.random.rand(), float(torch.rand(()))))
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    assert first == [(random.random(), np.random.rand(), float(torch.rand(())))] * 2


def test_weights_without_numbers_are_refused():
    lazy = nn.Sequential(nn.LazyLinear(2), nn.Linear(4, 2))  # which takes no rows
    with pytest.raises(
        pg.InputError,
        match=r"lazy parameter '0.weight' of the network has no values yet",
    ):
        pg.explain(lazy, drawn(5, 3), method="permutation")
    with pytest.raises(
        pg.InputError, match=r"'0.weight' of the network is on the meta device"
    ):
        pg.explain(
            nn.Sequential(nn.Linear(3, 2, device="meta")),
            drawn(5, 3),
            method="permutation",
        )


# ---- folded --------------------------------------------------------------------------


def chain() -> nn.Sequential:
    net = nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)
    ).eval()
    net[1].running_mean += 0.5
    return net


def test_a_chain_of_dense_layers_is_folded_where_no_gradient_is_followed():
    net = chain()
    rows = drawn(40, 3)
    subject = NetworkSubject(net, rows)
    with torch.no_grad(), subject.open():
        folded_outputs = subject.predict(subject.inputs)
        expected = subject.forward(subject.inputs)
    assert subject._folded is not None
    torch.testing.assert_close(folded_outputs, expected, rtol=1e-5, atol=1e-5)
    with subject.open():
        assert subject.predict(subject.inputs).requires_grad, (
            "with gradients the network itself runs"
        )
    again = copy.deepcopy(subject)
    assert again._folded is None
    with torch.no_grad(), again.open():
        torch.testing.assert_close(
            again.predict(again.inputs), expected, rtol=1e-5, atol=1e-5
        )
    assert again._folded is not None


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = chain()

    def forward(self, x: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out = self.net(x)
        return out if shift is None else out + shift, 2 * out


@pytest.mark.parametrize(
    ("net", "inputs", "options"),
    [
        (Two(), (drawn(20, 3), drawn(20, 2)), {"head": 0}),
        (Two(), drawn(20, 3), {"head": 1}),
        (nn.Sequential(nn.Flatten(), chain()), drawn(20, 3, 1), {}),
        (Two(), {"x": drawn(20, 3)}, {"head": 0}),
    ],
)
def test_other_networks_run_as_they_are(net, inputs, options):
    subject = NetworkSubject(net.eval(), inputs, **options)
    with torch.no_grad(), subject.open():
        torch.testing.assert_close(
            subject.predict(subject.inputs),
            subject.forward(subject.inputs),
            rtol=0,
            atol=0,
        )
    assert subject._folded is None


# ---- cut -----------------------------------------------------------------------------


class Late(nn.Module):
    """Three inputs; the first runs through the layer, the third is added behind it, the
    second before it or not.
    """

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.layer = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
        if self.way == "second before":
            return self.head(self.layer(first + second)) + third
        if self.way == "second behind":
            return self.head(self.layer(first)) + third + second[:, :2]
        return self.head(self.layer(first + second)) + third + first[:, 1:]


class Packed(Late):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return super().forward(batch["first"], batch["second"], batch["third"])


NEEDED = {"second before": (2,), "second behind": (1, 2), "first behind": (0, 2)}


@pytest.mark.parametrize(
    "form",
    [
        "positions",
        "keywords",
        "keywords in another order",
        "keys of their own",
        "whole",
    ],
)
@pytest.mark.parametrize("way", NEEDED)
def test_only_the_inputs_that_are_read_behind_the_layer_are_kept(way, form):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = (Packed if form == "whole" else Late)(way).eval()
    tensors = {
        "first": drawn(12, 3),
        "second": drawn(12, 3, seed=1),
        "third": drawn(12, 2, seed=2),
    }
    inputs = {
        "positions": tuple(tensors.values()),
        "keywords": tensors,
        "keywords in another order": {
            name: tensors[name] for name in ("third", "first", "second")
        },
        "keys of their own": dict(zip(("a", "b", "c"), tensors.values(), strict=True)),
        "whole": tensors,
    }[form]
    subject = NetworkSubject(net, inputs)
    inner = InnerSubject(subject, "layer", subject.inputs)
    assert inner.cut
    order = (
        ["third", "first", "second"]
        if form == "keywords in another order"
        else list(tensors)
    )
    expected_names = (
        {list(tensors)[input_index] for input_index in NEEDED[way]}
        if form != "whole"
        else set(tensors)
    )
    assert {order[input_index] for input_index in inner.needed} == expected_names
    assert len(inner.input_names) == 1 + len(expected_names)
    with torch.no_grad(), subject.open():
        lifted = inner.lift(subject.inputs)
        edited_outputs = inner.forward((lifted[0].flip(0), *lifted[1:]))
        by_hand = net.head(lifted[0].flip(0)) + tensors["third"]
        if way == "second behind":
            by_hand = by_hand + tensors["second"][:, :2]
        if way == "first behind":
            by_hand = by_hand + tensors["first"][:, 1:]
    torch.testing.assert_close(edited_outputs, by_hand, rtol=0, atol=1e-6)


def test_a_layer_that_is_called_twice_has_a_value_for_each_call():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)
            self.head = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            once = self.layer(x)
            return self.head(torch.tanh(once)) + 2 * self.layer(torch.tanh(once)).sum(
                dim=1, keepdim=True
            )

    net = Twice().eval()
    rows = drawn(12, 3)
    subject = NetworkSubject(net, rows)
    inner = InnerSubject(subject, "layer", subject.inputs)
    assert inner.calls == 2
    with torch.no_grad(), subject.open():
        first, second = inner.lift(subject.inputs)
        torch.testing.assert_close(first, net.layer(rows), rtol=0, atol=1e-6)
        torch.testing.assert_close(
            second, net.layer(torch.tanh(first)), rtol=0, atol=1e-6
        )
        edited_outputs = inner.forward((first.flip(0), second))
        by_hand = net.head(torch.tanh(first.flip(0))) + 2 * second.sum(
            dim=1, keepdim=True
        )
        torch.testing.assert_close(edited_outputs, by_hand, rtol=0, atol=1e-6)


def test_a_layer_inside_a_part_that_is_not_traced_runs_with_the_whole_network():
    """PyTorch's own modules are traced as one: their insides have no cut, and are met
    where they are called.
    """

    class Encoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
            self.head = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(x)[:, 0])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Encoded().eval()
    subject = NetworkSubject(net, drawn(6, 3, 4))
    inner = InnerSubject(subject, "encoder.linear2", subject.inputs)
    assert not inner.cut
    with torch.no_grad(), subject.open():
        lifted = inner.lift(subject.inputs)
        torch.testing.assert_close(
            inner.forward(lifted), subject.forward(subject.inputs), rtol=0, atol=1e-6
        )
        moved = inner.forward((lifted[0].flip(0), *lifted[1:]))
    assert (moved - subject.forward(subject.inputs)).abs().max() > 1e-3
    explanation = pg.explain(
        pg.Model(net, layer="encoder.linear2"),
        drawn(6, 3, 4),
        method="permutation",
        progress=False,
    )
    assert np.abs(explanation.values).max() > 0


def test_a_number_that_became_nan_is_a_number_again():
    net = nn.BatchNorm1d(3)
    with undisturbed(net):
        net.running_mean[1] = torch.nan
        net.running_var.fill_(torch.nan)
    assert torch.equal(net.running_mean, torch.zeros(3))
    assert torch.equal(net.running_var, torch.ones(3))


# ---- traces --------------------------------------------------------------------------


class Remembering(nn.Module):
    """Two inputs; keeps what it computes, and uses a constant that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.right = nn.Linear(2, 4)
        self.head = nn.Linear(8, 2)
        self.nested = nn.Module()
        self.last = None
        self.nested.last = None

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        hidden = (
            self.left(left + torch.ones(3)).relu() if self.last is None else self.last
        )
        self.last = None
        self.nested.last = hidden
        self.new = hidden
        return self.head(torch.cat([hidden, self.right(right)], dim=1))


def asked_of(net: nn.Module, **options: object) -> pg.Explanation:
    inputs = drawn(24, 3), drawn(24, 2, seed=1)
    return explain_with(
        net, inputs, [0, 1] * 12, random_state=0, progress=False, **options
    )


@pytest.mark.parametrize(
    "options",
    [
        {"method": "permgrad"},
        {"method": "shapley"},
        {"method": "permutation", "layer": "head"},
    ],
)
def test_a_trace_leaves_nothing_on_the_network(options, monkeypatch):
    torch.manual_seed(0)
    net = Remembering()
    traced_graphs = []
    original = OwnThreadTracer.as_module
    monkeypatch.setattr(
        OwnThreadTracer,
        "as_module",
        lambda *own: traced_graphs.append(original(*own)) or traced_graphs[-1],
    )
    before = {name: set(vars(submodule)) for name, submodule in net.named_modules()}
    explanation = asked_of(net, **options)
    assert traced_graphs, "it was traced"
    left = {
        name: set(vars(submodule)) - before[name]
        for name, submodule in net.named_modules()
    }
    assert left == {name: {"new"} if name == "" else set() for name in before}, (
        "of the constants nothing is left"
    )
    assert all(isinstance(tensor, Tensor) for tensor in (net.new, net.nested.last)), (
        "no stand-ins for tensors"
    )
    monkeypatch.setattr(fx.Tracer, "trace", lambda *_: 1 / 0)
    np.testing.assert_allclose(
        asked_of(net, **options).values, explanation.values, rtol=0, atol=1e-6
    )


def test_a_trace_that_fails_leaves_what_the_network_had():
    class Branching(Remembering):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            out = super().forward(left, right)
            return out if out.sum() > 0 else -out

    net = Branching()
    net.nested.last = before = torch.zeros(1)
    with pytest.raises(fx.proxy.TraceError):
        OwnThreadTracer().trace(net)
    assert net.nested.last is before
    assert net.last is None
    assert not hasattr(net, "new")
    assert not [name for name in vars(net) if name.startswith("_tensor_constant")]


def test_no_source_of_a_traced_network_stays_behind():
    net = Remembering()
    graph = fx.GraphModule(net, fx.symbolic_trace(net).graph)
    assert [name for name in linecache.cache if name.startswith("<eval_with_key>")], (
        "torch keeps those of others"
    )
    sources = set(linecache.cache), len(fx.graph_module._loader.eval_cache)
    asked_of(Remembering(), method="shapley")
    assert (set(linecache.cache), len(fx.graph_module._loader.eval_cache)) == sources
    assert graph.forward.__code__.co_filename in sources[0]


@pytest.mark.parametrize("method", ["permgrad", "integrated_gradients"])
def test_a_network_that_another_thread_trains_is_refused_and_stays_as_trained(method):
    """The optimizer's step is made in the middle of a call, as the other thread
    would.
    """
    torch.manual_seed(0)
    rows = torch.randn(40, 3)
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).eval()
    first = [weight.detach().clone() for weight in network.parameters()]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    calls = []

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        network(rows).square().sum().backward()
        optimizer.step()

    def forward(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            thread = threading.Thread(target=step)
            thread.start()
            thread.join()

    handle = network[0].register_forward_pre_hook(forward)
    y = None if method == "integrated_gradients" else torch.zeros(40, dtype=torch.long)
    with pytest.raises(
        pg.InputError, match=r"was trained while it was explained.*copy\.deepcopy"
    ):
        pg.explain(network, rows, y, method=method, n_repeats=3, random_state=0)
    assert len(calls) >= 3, "the precondition"
    trained = [weight.detach().clone() for weight in network.parameters()]
    assert any(not torch.equal(*pair) for pair in zip(first, trained, strict=True)), (
        "no step is taken back"
    )
    assert network.training, "it is left training"
    assert all(submodule.training for submodule in network)
    handle.remove()
    other_layer = nn.Linear(2, 1)
    with_other = torch.optim.SGD(other_layer.parameters(), lr=0.1)
    network[0].register_forward_pre_hook(lambda *_: with_other.step())
    explanation = pg.explain(
        copy.deepcopy(network.eval()),
        rows,
        y,
        method=method,
        n_repeats=3,
        random_state=0,
    )
    assert np.isfinite(explanation.values[:, 0]).all(), (
        "a copy, and an optimizer of another network"
    )
