"""One entry for each refusal of a network: a small one that meets it, and the remedy of
its message, typed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from refusals import Refusal
from torch import Tensor, nn

import permgrad as pg

attr = pytest.importorskip("captum.attr")

SUBJECT = "attribution/subject/"
Forward = Callable[..., Any]


class Net(nn.Module):
    """A linear layer with a forward of the test's."""

    centre: Tensor

    def __init__(self, forward: Forward, width: int = 3, classes: int = 2) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(width, classes)
        self.does = forward
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.does(self, x)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


X = drawn(12, 3)
MANY = drawn(200, 3)
BATCH = {"scan": X, "patient": torch.arange(12), "site": drawn(12, 2)}


def explained(
    forward: Any,
    rows: Any = X,
    *,
    method: Any = "permutation",
    y: Any = None,
    changes: Any = None,
    **reading: Any,
) -> Any:
    """Explain a network, after ``changes`` to it, read as ``pg.Model`` is told."""
    net = forward if isinstance(forward, nn.Module) else Net(forward)
    if changes is not None:
        changes(net)
    reading = {"returns": "values", **reading}
    model = pg.Model(net, **reading)
    return pg.explain(model, rows, y, method=method, progress=False)


def does(forward: Any, *arguments: Any, **options: Any) -> Callable[[], Any]:
    """Return a call that explains."""
    return lambda: explained(forward, *arguments, **options)


# ---- forwards ------------------------------------------------------------------------
def plain(net: Net, x: Tensor) -> Tensor:
    return net.head(x)


def few(net: Net, x: Tensor) -> Tensor:
    if len(x) > 16:
        raise RuntimeError("too many rows")
    return net.head(x)


class Tired(Net):
    """Fails from a call on."""

    def __init__(self, last: int) -> None:
        super().__init__(plain)
        self.calls = count(1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        if next(self.calls) > self.last:
            raise RuntimeError("no more of it")
        return self.head(x)


def tired() -> Any:
    """Explain a network that fails in the last call, which shows rows as they were
    passed.
    """
    rested = Tired(10**9)
    calls = rested.calls
    explained(rested)
    return explained(Tired(next(calls) - 2))


class Counting(Net):
    """Adds up its calls, and lets them move its outputs."""

    calls: Tensor

    def __init__(self, *, counts: bool) -> None:
        super().__init__(plain)
        self.counts = counts
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.counts
        return self.head(x) * (1 + self.calls)


def through_numpy(net: Net, x: Tensor) -> Tensor:
    return net.head(torch.from_numpy(x.numpy()))


class Pairs(nn.Module):
    """Looks up how far apart the two numbers of each place are, of which the second is
    larger.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.far = nn.Embedding(40, 4)
            self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.far(x[..., 1] - x[..., 0]).mean(1))


def pairs() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(0, 60, (9, 5, 1), generator=generator)
    return torch.cat(
        [first, first + torch.randint(1, 40, (9, 5, 1), generator=generator)], 2
    )


class Setting(Net):
    """Needs a setting beside its rows."""

    def __init__(self) -> None:
        super().__init__(plain)

    def forward(self, x: Tensor, times: float) -> Tensor:  # type: ignore[override]
        return self.head(x) * times


def with_setting(net: nn.Module) -> None:
    net.forward = functools.partial(net.forward, times=2.0)  # type: ignore[method-assign]


class Graph(nn.Module):
    """Mixes the 300 nodes of one graph."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        mixing = torch.ones(self.nodes, self.nodes) / self.nodes
        return self.head(mixing @ x + x)


class Graphs(nn.Module):
    """Takes one graph a row."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(nodes) for nodes in x]).flatten(1)


class Observed(nn.Module):
    """Rounds to a grid that it widens with what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = torch.ao.quantization.FakeQuantize()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.grid(x * 9))


def observers_off(net: nn.Module) -> None:
    with torch.no_grad():
        net(X)
    net.apply(torch.ao.quantization.disable_observer)


def centred_once(net: Net, x: Tensor) -> Tensor:
    if not hasattr(net, "centre"):
        net.centre = x.mean(0)
    return net.head(torch.tanh(9 * (x - net.centre)))


def called_once(net: nn.Module) -> None:
    with torch.no_grad():
        net(X)


def mixing(net: Net, x: Tensor) -> Tensor:
    return net.head(x - x.mean(0))


def scaled(net: Net, x: Tensor) -> Tensor:
    """Round to a share of the largest number of the batch."""
    step = x.abs().max() / 4
    return net.head((x / step).round() * step)


class Alike(nn.Module):
    """Needs a row's codes to be alike, beside numbers of any kind."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(5, 2)

    def forward(self, codes: Tensor, table: Tensor) -> Tensor:
        if not bool((codes == codes[:, :1]).all()):
            raise ValueError("codes of a row differ")
        if not bool((codes[:, 0] == table[:, 0]).all()):
            raise ValueError("a code is not its row's")
        return self.head(torch.cat([codes, table], 1))


def alike(*, linked: bool) -> dict[str, Tensor]:
    codes = drawn(9, 1).expand(9, 3).clone()
    table = drawn(9, 2, seed=2)
    table[:, 0] = codes[:, 0] if linked else table[:, 0]
    return {"codes": codes, "table": table}


CODES_OF_A_ROW = ["codes[0]", "codes[1]", "codes[2]", "table[0]"]


class Coded(Alike):
    """Needs a row's codes to be alike."""

    def forward(self, codes: Tensor, table: Tensor) -> Tensor:
        return super().forward(codes, torch.cat([codes[:, :1], table[:, 1:]], 1))


def grouped(net: nn.Module, rows: Any, groups: Any) -> Callable[[], Any]:
    return lambda: pg.explain(
        pg.Model(net, returns="values"),
        rows,
        method="permutation",
        groups=groups,
        progress=False,
    )


def hooked() -> nn.Module:
    """Return a network on which a package left a hook that fails."""
    net = Net(plain)

    def stale(*_: Any) -> None:
        raise RuntimeError("no forward pass was recorded")

    stale.__module__ = "explainer.deep"
    net.head.register_forward_hook(stale)
    return net


def unhooked() -> nn.Module:
    net = hooked()
    for submodule in net.modules():
        submodule._forward_hooks.clear()
    return net


def complex_numbers(net: Net, x: Tensor) -> Tensor:
    return torch.complex(net.head(x), net.head(x))


def maps(net: Net, x: Tensor) -> Tensor:
    return net.head(x)[:, :, None, None] * torch.ones(4, 4)


def several_maps(net: Net, x: Tensor) -> dict[str, Tensor]:
    return {"coarse": maps(net, x), "fine": maps(net, x)}


def two_widths(net: Net, x: Tensor) -> dict[str, Tensor]:
    return {"alike": x @ x.T, "level": net.head(x)}


def two_outputs(net: Net, x: Tensor) -> dict[str, Tensor]:
    """Return a further output for batches of ten rows or more."""
    more = {"many": net.head(x)} if len(x) >= 10 else {}
    return {**more, "level": net.head(x)}


def never_alone(forward: Forward) -> Forward:
    """Return a forward that refuses a single row."""

    def does_so(net: Net, x: Tensor) -> Any:
        if len(x) == 1:
            raise ValueError("expected more than 1 row")
        return forward(net, x)

    return does_so


class Ranked(nn.Module):
    """Puts rows in the order of their first number inside."""

    def __init__(self, *, ranks: bool) -> None:
        super().__init__()
        self.ranks = ranks
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Linear(3, 4)
            self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort() if self.ranks else torch.arange(len(x))
        return self.head(torch.tanh(self.first(x[order])))[order.argsort()]


def inside(net: nn.Module) -> Callable[[], Any]:
    return lambda: pg.explain(
        pg.Model(net, layer="first", returns="values"),
        X,
        method="integrated_gradients",
        progress=False,
    )


def logs(net: Net, x: Tensor) -> Tensor:
    return net.head(x) + 5


def shapes(method: Any, rows: Tensor = X) -> Callable[[], Any]:
    return lambda: pg.explain(
        pg.Model(SMOOTH, returns="values"),
        rows,
        method=method,
        target=0,
        progress=False,
    )


SMOOTH = Net(lambda net, x: torch.tanh(net.head(x)))

OF_NETWORKS = (
    Refusal(
        "attribution/method/captum.py",
        "… failed on these inputs with …",
        shapes(attr.Occlusion(SMOOTH)),
        "Pass what it needs beside it: method=(object, {",
        shapes((attr.Occlusion(SMOOTH), {"sliding_window_shapes": (1,)})),
    ),
    Refusal(
        f"{SUBJECT}composed.py",
        "permgrad …, and the network refused this row: …",
        does(Pairs(), pairs(), segments={"x": "numbers"}),
        'segments={"x": "tokens"}',
        does(Pairs(), pairs(), segments={"x": "tokens"}),
    ),
    Refusal(
        f"{SUBJECT}composed.py",
        "permgrad …, and the network refused this row: …",
        does(Coded(), alike(linked=False)),
        'groups="modality"',
        grouped(Coded(), alike(linked=False), "modality"),
    ),
    Refusal(
        f"{SUBJECT}composed.py",
        "permgrad …, and the network refused this row: …",
        does(Alike(), alike(linked=True)),
        "Join features that belong together with groups=",
        grouped(Alike(), alike(linked=True), {"code": CODES_OF_A_ROW}),
    ),
    Refusal(
        f"{SUBJECT}composed.py",
        "permgrad …, and the network refused this row: …",
        does(Alike(), alike(linked=True), method="shapley"),
        "or choose method='gradient'",
        does(Alike(), alike(linked=True), method="gradient"),
    ),
    Refusal(
        f"{SUBJECT}composed.py",
        "The network takes rows one by one, and refused … together: called with … it "
        "raised …",
        does(few),
        "pg.Model(..., batch_size=1)",
        does(few, batch_size=1),
    ),
    Refusal(
        f"{SUBJECT}composed.py",
        "…",
        tired,
        "see that the network takes it each time it is called",
        does(plain),
        reason="what refuses a row that it took before is in the user's forward",
    ),
    Refusal(
        f"{SUBJECT}heads.py",
        "None of the network's outputs (…) has the shape (rows,) or (rows, outputs)",
        does(several_maps),
        "of maps (rows, outputs, …) for example their mean",
        does(lambda net, x: several_maps(net, x)["fine"].mean((2, 3))),
    ),
    Refusal(
        f"{SUBJECT}heads.py",
        "… must be a dense tensor of real numbers, got …",
        does(complex_numbers),
        "Wrap the network in a module that returns real numbers",
        does(lambda net, x: complex_numbers(net, x).abs()),
    ),
    Refusal(
        f"{SUBJECT}heads.py",
        "… must have the shape (rows,) or (rows, outputs), got … for …",
        does(maps),
        "output.flatten(2).mean(2)",
        does(lambda net, x: maps(net, x).flatten(2).mean(2)),
    ),
    Refusal(
        f"{SUBJECT}heads.py",
        "The network must return a tensor, or a tuple or dict of tensors, got …",
        does(lambda net, x: 1.5),
        "Wrap it in a module that returns a tensor",
        does(plain),
    ),
    Refusal(
        f"{SUBJECT}memory.py",
        "A call of the network must not change later ones, but the same rows get other "
        "outputs later (by …): …",
        lambda: explained(Counting(counts=True)),
        "Switch that off before it is explained",
        lambda: explained(Counting(counts=False)),
        reason="what it writes, and what switches that off, is in the user's forward",
    ),
    Refusal(
        f"{SUBJECT}memory.py",
        "The first call of the network must not change later ones, but rows get other "
        "outputs after a call on other rows (by …): it writes into …",
        lambda: explained(Observed()),
        "net.apply(torch.ao.quantization.disable_observer)",
        lambda: explained(Observed(), changes=observers_off),
    ),
    Refusal(
        f"{SUBJECT}memory.py",
        "The first call of the network must not change later ones, but rows get other "
        "outputs after a call on other rows (by …): it writes into …",
        lambda: explained(centred_once, MANY),
        "with torch.no_grad(): net(rows)",
        lambda: explained(centred_once, MANY, changes=called_once),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The network failed on a batch of rows: called with … it raised …",
        does(through_numpy, method="integrated_gradients"),
        "method='permutation', 'shapley' or 'lime'",
        lambda: [
            explained(through_numpy, method=method)
            for method in ("permutation", "shapley", "lime")
        ],
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The … does not accept the inputs: called with … …",
        lambda: explained(Setting()),
        "net.forward = functools.partial(net.forward, times=…)",
        lambda: explained(Setting(), changes=with_setting),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The … does not accept the inputs: called with … …",
        lambda: explained(hooked()),
        "for part in net.modules(): part._forward_hooks.clear()",
        lambda: explained(unhooked()),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The network takes one input, and X is a dict of … (…)",
        lambda: explained(nn.Sequential(nn.Linear(3, 2)), BATCH),
        "Pass the one that it takes: X['scan']",
        lambda: explained(nn.Sequential(nn.Linear(3, 2)), BATCH["scan"]),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The … does not accept the inputs: called with … …",
        does(plain, drawn(12, 4)),
        "Check their order, shapes and types",
        does(plain, drawn(12, 3)),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "A row's output must depend on that row alone, but the network takes all … "
        "rows and no fewer: called with … it raised …",
        lambda: explained(Graph(300), drawn(300, 3)),
        "torch.stack([net(nodes, edges) for nodes in x]).flatten(1)",
        lambda: explained(Graphs(Graph(5)), drawn(8, 5, 3)),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The network must return as many numbers for every batch, got … for … after … "
        "before",
        does(two_widths),
        "pg.Model(net, batch_size=1)",
        does(two_widths, batch_size=1),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The network must return as many numbers for every batch, got … for … after … "
        "before",
        does(never_alone(two_widths)),
        "pg.Model(..., head=)",
        does(never_alone(two_widths), head="level"),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The network must return the same outputs for every batch, got … for … after … "
        "before",
        does(two_outputs),
        "pg.Model(net, batch_size=1)",
        does(two_outputs, batch_size=1),
    ),
    Refusal(
        f"{SUBJECT}network.py",
        "The network must return the same outputs for every batch, got … for … after … "
        "before",
        does(never_alone(two_outputs)),
        "head= to pg.Model",
        does(never_alone(two_outputs), head="level"),
    ),
    Refusal(
        f"{SUBJECT}outputs.py",
        "Probabilities must lie within 0 … 1, got outputs from … to ……",
        does(logs, returns="probabilities"),
        "returns='logits'",
        does(logs, returns="logits"),
    ),
    Refusal(
        f"{SUBJECT}outputs.py",
        "Log-probabilities must not be above 0, got outputs up to ……",
        does(logs, returns="log_probabilities"),
        "returns='logits'",
        does(logs, returns="logits"),
    ),
    Refusal(
        f"{SUBJECT}soundness.py",
        "Inside the network rows have another order than in its inputs, so values "
        "there would be given to other rows",
        inside(Ranked(ranks=True)),
        "Leave rows in their order in its forward",
        inside(Ranked(ranks=False)),
        reason="the order is in the user's forward",
    ),
    Refusal(
        f"{SUBJECT}soundness.py",
        "A row's output must depend on that row alone, but the other rows of the batch "
        "change it (by …, where outputs range over …)",
        does(mixing),
        "Take out what mixes rows",
        does(plain),
    ),
    Refusal(
        f"{SUBJECT}soundness.py",
        "A row's output must depend on that row alone, but the other rows of the batch "
        "change it (by …, where outputs range over …)",
        does(scaled),
        "pg.Model(..., batch_size=1)",
        does(scaled, batch_size=1),
    ),
)
