"""``layer=``: the output of a named layer in the place of the inputs, against the same
by hand.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import donor_rows, explain_with
from strangers import STRANGERS
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.network import NetworkSubject


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_branch = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
        )
        self.fusion = nn.Identity()
        self.head = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(
            self.fusion(torch.cat([self.image_branch(image), table], dim=1))
        )


@pytest.fixture(scope="module")
def case() -> tuple[Fused, dict[str, Tensor], np.ndarray]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Fused().double().eval()
        inputs = {
            "image": torch.randn(40, 1, 6, 6).double(),
            "table": torch.randn(40, 3).double(),
        }
        return net, inputs, torch.randn(40).double().numpy()


def by_hand(
    net: Fused, inputs: dict[str, Tensor], y: np.ndarray, seed: int, repeats: int
) -> np.ndarray:
    """Permute one column of the fusion layer at a time, with the package's donors."""
    with torch.no_grad():
        fused = torch.cat([net.image_branch(inputs["image"]), inputs["table"]], dim=1)
        base = (net.head(fused)[:, 0].numpy() - y) ** 2
        effects = []
        for column in range(fused.shape[1]):
            changes = []
            for repeat in range(repeats):
                donors = donor_rows(
                    seed,
                    f"fusion[{column}]",
                    repeat,
                    np.arange(len(y)),
                    len(y),
                    shared=True,
                )
                edited = fused.clone()
                edited[:, column] = fused[donors, column]
                changes.append(
                    ((net.head(edited)[:, 0].numpy() - y) ** 2 - base).mean()
                )
            effects.append(np.mean(changes))
    return np.array(effects)


def test_permuting_a_layer_is_permuting_its_columns(case):
    net, inputs, y = case
    explanation = pg.explain(
        pg.Model(net, layer="fusion"),
        inputs,
        y,
        method="permutation",
        n_repeats=3,
        random_state=5,
        progress=False,
    )
    expected_effects = by_hand(net, inputs, y, 5, 3)
    assert np.abs(expected_effects).max() > 1e-3
    np.testing.assert_allclose(
        explanation.values[:, 0], expected_effects, rtol=1e-9, atol=1e-14
    )
    assert explanation.modality == ("image",) * 4 + ("table",) * 3


def test_gradients_at_a_layer_are_those_of_the_head(case):
    net, inputs, _ = case
    explanation = pg.explain(
        pg.Model(net, layer="fusion"),
        inputs,
        method=pg.methods.Gradient(signed=True),
        progress=False,
    )
    fused = (
        torch.cat([net.image_branch(inputs["image"]), inputs["table"]], dim=1)
        .detach()
        .requires_grad_()
    )
    (expected_gradients,) = torch.autograd.grad(net.head(fused).sum(), fused)
    np.testing.assert_allclose(
        explanation.values[:, :, 0], expected_gradients.numpy(), rtol=1e-9, atol=1e-14
    )


def test_only_what_lies_behind_the_layer_runs(case):
    net, inputs, y = case
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handle = net.image_branch[0].register_forward_hook(count)
    pg.explain(
        pg.Model(net, layer="fusion"),
        inputs,
        y,
        method="permutation",
        n_repeats=5,
        random_state=0,
        progress=False,
    )
    before = calls
    pg.explain(
        pg.Model(net, layer="fusion"),
        inputs,
        y,
        method="permutation",
        n_repeats=50,
        random_state=0,
        progress=False,
    )
    handle.remove()
    # The image branch runs to find the layer's output, however many repeats there are.
    assert before > 0
    assert calls == 2 * before


def test_whole_and_cut_networks_agree(case):
    net, inputs, _ = case
    subject = NetworkSubject(net, inputs)
    inner = InnerSubject(subject, "fusion", subject.inputs)
    assert inner.cut
    lifted = inner.lift(subject.inputs)
    assert [tuple(tensor.shape) for tensor in lifted] == [(40, 7)]
    with torch.no_grad(), subject.open():
        edited = lifted[0].flip(0)
        cut = inner.forward((edited,))
        inner._suffix = None
        inner.needed = (0, 1)
        full_outputs = inner.forward((edited, *subject.inputs))
    np.testing.assert_allclose(cut.numpy(), full_outputs.numpy(), rtol=1e-12)


def test_inputs_behind_the_layer_stay_their_rows(case):
    """At the image branch the table is still read from the row itself."""
    net, inputs, y = case
    explanation = pg.explain(
        pg.Model(net, layer="image_branch"),
        inputs,
        y,
        method="permutation",
        n_repeats=2,
        random_state=0,
        progress=False,
    )
    assert explanation.names == tuple(f"image_branch[{k}]" for k in range(4))
    assert set(explanation.modality) == {"image"}
    modality_explanation = pg.explain(
        pg.Model(net, layer="image_branch"),
        inputs,
        y,
        method="permutation",
        groups="modality",
        n_repeats=2,
        random_state=0,
        progress=False,
    )
    donors = [
        donor_rows(0, "image", repeat, np.arange(40), 40, shared=True)
        for repeat in range(2)
    ]
    with torch.no_grad():
        base = (net(**inputs)[:, 0].numpy() - y) ** 2
        expected_effect = np.mean(
            [
                (
                    (net(inputs["image"][d], inputs["table"])[:, 0].numpy() - y) ** 2
                    - base
                ).mean()
                for d in donors
            ]
        )
    np.testing.assert_allclose(
        modality_explanation.values[0, 0], expected_effect, rtol=1e-9
    )


def test_layers_that_cannot_be_explained(case):
    net, inputs, y = case
    with pytest.raises(pg.InputError, match=r"No layer 'fusio'. Did you mean 'fusion'"):
        pg.explain(pg.Model(net, layer="fusio"), inputs, y, method="permutation")
    recurrent, sequence, labels = STRANGERS["tuple_of_outputs"]()
    with pytest.raises(
        pg.InputError, match="must be a tensor with one entry per row, got a tuple"
    ):
        pg.explain(
            pg.Model(recurrent, layer="rnn"), sequence, labels, method="permutation"
        )

    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(3, 1)
            self.spare = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(pg.InputError, match="does not call layer 'spare'"):
        pg.explain(
            pg.Model(Lazy(), layer="spare"), torch.randn(5, 3), method="permutation"
        )


def test_a_network_without_parts_has_no_layer():
    net = torch.nn.Linear(3, 1)
    rows = torch.zeros(5, 3)
    with pytest.raises(
        pg.InputError,
        match=r"layer='zz' names .*, but Linear has no parts\. Leave layer out\.",
    ):
        pg.explain(pg.Model(net, layer="zz"), rows, progress=False)
    with pytest.raises(
        pg.InputError,
        match=r"tolerance must be .*, got -1\. Pass for example 0\.01, or None\.",
    ):
        pg.explain(net, rows, method=pg.methods.PermGrad(tolerance=-1), progress=False)


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize(("rows", "background"), [(1e6, 1e6), (0.0, 1e9)])
def test_a_unit_belongs_to_its_input_however_large_the_units_beside_it_are(
    rows, background
):
    """A yes or no beside an income; in a background the income may be larger still."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.joined = nn.Identity()
            self.head = nn.Linear(3, 1)

        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return self.head(self.joined(torch.cat([one, other], dim=1)))

    def table(income: float, says: float) -> dict[str, Tensor]:
        input_columns = torch.stack(
            [income * (1 + torch.arange(8.0)), torch.full((8,), says)], dim=1
        )
        return {"one": input_columns, "other": torch.full((8, 1), says)}

    explanation = pg.explain(
        pg.Model(Net(), layer="joined", task="regression"),
        table(rows, 1.0),
        method="permutation",
        scope="local",
        n_repeats=2,
        background=table(background, 0.0),
        random_state=0,
        progress=False,
    )
    assert explanation.modality == ("one", "one", "other")


def test_a_network_that_refuses_the_layers_output_given_back_is_told_of():
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.head = nn.Linear(2, 1)
            self.last = None

        def forward(self, x: Tensor) -> Tensor:
            layer_output = self.layer(x)
            if self.last is not None and layer_output is not self.last:
                raise ValueError("this is not what the layer gave")
            return self.head(layer_output)

    net = Same()
    net.layer.register_forward_hook(
        lambda _layer, _given, output: setattr(net, "last", output)
    )
    with pytest.raises(
        pg.InputError, match="it raised ValueError: this is not what the layer gave"
    ):
        pg.explain(
            pg.Model(net, layer="layer", task="regression"),
            torch.ones(9, 3),
            method="permutation",
            scope="local",
        )


class Bounded(nn.Module):
    """Holds the norm of its head's weights below a bound, in the forward, as networks
    with a max-norm constraint do.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left = nn.Linear(3, 4)
        self.right = nn.Linear(2, 4)
        self.head = nn.Linear(8, 1)
        self.head.weight.data *= 20

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        self.head.weight.data = torch.renorm(
            self.head.weight.data, p=2, dim=0, maxnorm=0.2
        )
        return self.head(
            torch.cat([self.left(left).tanh(), self.right(right).tanh()], dim=1)
        )


@pytest.mark.parametrize(
    "options", [{"layer": "left"}, {}], ids=["at a layer", "by branches"]
)
@pytest.mark.parametrize("method", ["gradient", "shapley", "permutation"])
def test_weights_that_the_forward_writes_are_those_it_computes_with(method, options):
    inputs = (torch.randn(20, 3), torch.randn(20, 2))
    fresh = Bounded()
    settled = Bounded()
    settled(*inputs)
    assert not torch.equal(fresh.head.weight, settled.head.weight)
    call_options = {
        "method": method,
        "task": "regression",
        "random_state": 0,
        "progress": False,
        **options,
    }
    fresh_values, expected_values = (
        explain_with(net, inputs, **call_options).values for net in (fresh, settled)
    )
    assert np.abs(expected_values).max() > 1e-4
    np.testing.assert_allclose(fresh_values, expected_values, rtol=1e-4, atol=1e-6)


class HalfConstant(nn.Module):
    """A layer whose first units do not depend on what the network is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.join = nn.Identity()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        constant_units = torch.ones(len(first), 10)
        return (
            self.join(torch.cat([constant_units, first, second], dim=1))
            .square()
            .sum(dim=1)
        )


def test_a_warning_of_constant_units_names_them():
    rows = {"first": torch.randn(30, 2), "second": torch.randn(30, 1)}
    expected_message = (
        r"of these units is exactly 0: join\[0\], join\[1\], "
        r".*join\[7\] and 2 more\. They"
    )
    with pytest.warns(pg.PermgradWarning, match=expected_message):
        explanation = pg.explain(
            pg.Model(HalfConstant(), layer="join"),
            rows,
            method="permutation",
            random_state=0,
            progress=False,
        )
    assert set(explanation.modality) == {"constant", "first", "second"}
    assert explanation.values[10:].min() > 0.1
