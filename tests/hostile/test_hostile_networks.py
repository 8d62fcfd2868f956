"""Every kind of hostile network, each by several methods;
``verification/verify_hostile.py`` goes on for thousands.
"""

import collections
import contextlib
import warnings

import hostile_network_checks
import hostile_networks
import numpy as np
import pytest
import torch
from explaining import explain_with
from hostile_checks import BrokenError
from network_cases import kinds
from network_kinds_code import TheirOwnError
from network_twins import Twin
from torch import nn

import permgrad as pg

KINDS = sorted(kinds)
METHODS = [name for name in hostile_networks.METHODS if name != "permgrad_paper"]
#: So many methods meet each kind here, others at the next: all of them meet most.
EACH = 3


def asked_of(kind: str) -> list[str]:
    first = KINDS.index(kind)
    return [METHODS[(first + 3 * step) % len(METHODS)] for step in range(EACH)]


@pytest.mark.parametrize("kind", KINDS)
def test_refused_in_a_sentence_or_explained_rightly(kind):
    for method in asked_of(kind):
        hostile_network_checks.check_network(hostile_networks.make(kind, 7, method))


def test_every_method_is_asked_of_many_kinds():
    met = collections.Counter(method for kind in KINDS for method in asked_of(kind))
    assert set(met) == set(METHODS)
    assert min(met.values()) > 20


@pytest.mark.parametrize("method", METHODS)
def test_what_is_well_is_explained(method):
    ends = collections.Counter()
    for seed in (0, 1, 3) if method != "aggregate" else (0, 1):
        ends[
            hostile_network_checks.check_network(
                hostile_networks.make("plain", seed, method)
            )
        ] += 1
    assert ends["explained"] >= 1, ends


# ---- what is said --------------------------------------------------------------------


class Own(nn.Module):
    """Returns a function of its input."""

    def __init__(self, function):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.function = function
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.function(self, x)


def drawn(rows=12):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))


def explain(function, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = function if isinstance(function, nn.Module) else Own(function)
    explain_options = {
        "method": "permutation",
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        **options,
    }
    return explain_with(net, drawn(), **explain_options)


def shift(net, x):
    return net.layer(x - x.mean(dim=0))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            shift,
            (
                "A row's output must depend on that row alone, but the other rows of "
                "the batch change it"
            ),
        ),
        (
            lambda net, x: net.layer(x)[:, :1].expand(-1, min(len(x), 2)),
            r"got 1 for 1 row after 2 before\. It takes rows one by one",
        ),
        (
            lambda net, x: {"a": net.layer(x)} if len(x) > 1 else {"b": net.layer(x)},
            "got 'b' for 1 row after 'a' before",
        ),
        (
            lambda net, x: net.layer(x) + 1j,
            "must be a dense tensor of real numbers, got complex64",
        ),
        (lambda net, x: net.layer(x)[:, :0], r"got \(\d+, 0\) for \d+ row"),
        (
            nn.Sequential(nn.LazyLinear(2), nn.Linear(5, 2)),
            (
                r"'0.weight' of the network has no values yet\. Call the network once "
                r"on "
                r"some rows"
            ),
        ),
        (
            nn.Linear(3, 2, device="meta"),
            "'weight' of the network is on the meta device",
        ),
    ],
)
def test_what_is_said_of_networks_that_cannot_be_explained(function, message):
    with pytest.raises(pg.InputError, match=message):
        explain(function)


@pytest.mark.parametrize(
    "method", ["permutation", "shapley", "lime", "ablation", "permgrad"]
)
def test_what_is_no_number_between_rows_is_refused(method):
    rows = drawn()
    net = Own(lambda net, x: net.layer(x[:, :3]) / (x[:, 0] == x[:, 3])[:, None])
    with pytest.raises(
        pg.InputError,
        match=r"also for rows that take values from others, but .*\. Pass background=",
    ):
        pg.explain(
            net,
            torch.cat([rows, rows[:, :1]], dim=1),
            method=method,
            random_state=0,
            progress=False,
        )


def test_little_mixing_and_chance_are_named():
    with pytest.warns(
        pg.PermgradWarning, match="so values are no more exact than that"
    ):
        explain(lambda net, x: net.layer(x) + 0.002 * x.mean(dim=0)[:2])
    with pytest.warns(
        pg.PermgradWarning, match="gives a row different outputs each time"
    ):
        explain(lambda net, x: net.layer(x) + 0.001 * torch.randn(len(x), 2))
    with (
        pytest.warns(
            pg.PermgradWarning, match="gives a row different outputs each time"
        ),
        pytest.raises(
            pg.InputError, match=r"must not change later ones.*it writes into 'calls'"
        ),
    ):
        explain(lambda net, x: net.layer(x) + 0.001 * net.calls)


def test_a_single_row_is_tried_beside_others():
    net = Own(shift)
    with pytest.raises(pg.InputError, match="depend on that row alone"):
        pg.explain(net, drawn(1), method="integrated_gradients", progress=False)


def test_rows_that_mix_only_where_they_are_alike_are_found():
    """Two rows far apart hardly attend to each other; rows that take values from others
    do.
    """
    rows = torch.tensor([[2.7, 1.8, 2.3], [-2.1, 0.3, -0.3]])
    net = Own(lambda net, x: net.layer(torch.softmax(x @ x.T, dim=1) @ x))
    with torch.no_grad():
        alone = torch.cat([net(rows[:1]), net(rows[1:])])
        assert float((net(rows) - alone).abs().max()) < 1e-3, (
            "not seen on the rows themselves"
        )
    for method in ("lime", "permutation", "shapley"):
        with pytest.raises(pg.InputError, match="depend on that row alone"):
            pg.explain(net, rows, [0, 1], method=method, random_state=0, progress=False)


def test_rows_that_mix_in_batches_of_some_sizes_alone_are_found():
    """As where only some batches leave the flat part of a rectifier: rows are asked
    alone, together and in halves.
    """
    rows = drawn()
    net = Own(lambda net, x: net.layer(x) + (len(x) in (4, 6)) * 1.0)
    with torch.no_grad():
        assert torch.allclose(net(rows)[:1], net(rows[:1]), atol=1e-6), "not seen there"
    with pytest.raises(pg.InputError, match="depend on that row alone"):
        pg.explain(net, rows, method="gradient", random_state=0, progress=False)


def test_rows_of_any_strides_and_of_no_width_are_explained():
    """NumPy and pandas hand over columns whose strides are of the table they were cut
    from.
    """
    table = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)

    class Two(nn.Module):
        def forward(self, one, other):
            return (other * torch.tensor([1.0, -2.0, 0.5])).sum(
                dim=1, keepdim=True
            ) + one.sum(dim=1, keepdim=True)

    torch_rows = torch.from_numpy(table)
    cut = torch_rows.as_strided((9, 1), (4, 4)), torch_rows[:, 1:]
    assert cut[0][:1].is_contiguous()
    assert cut[0][:1].stride(-1) == 4, "what torch calls contiguous"
    options = {
        "method": "shapley",
        "random_state": 0,
        "progress": False,
        "exact": 1,
        "task": "regression",
    }
    explanation = explain_with(Two(), cut, **options)
    copied = explain_with(Two(), tuple(cut_rows.clone() for cut_rows in cut), **options)
    np.testing.assert_array_equal(explanation.values, copied.values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = {
            "method": "lime",
            "random_state": 0,
            "progress": False,
            "task": "regression",
        }
        explanation = explain_with(
            Two(), (torch_rows[:, :0], torch_rows[:, 1:]), **options
        )
    assert explanation.values.shape[1] == 3
    assert np.abs(explanation.values).min() > 0


def test_the_users_own_error_is_the_cause():
    def broken(net, x):
        if net.calls > 9:
            raise TheirOwnError("of their own\nin two lines")
        return net.layer(x)

    net = Own(broken)
    with pytest.raises(
        pg.InputError,
        match=r"called with x \(\d+, 3\) float32 it raised TheirOwnError: of their own "
        r"in two lines\. If it refuses",
    ) as caught:
        explain(net)
    assert isinstance(caught.value.__cause__, TheirOwnError)
    net = nn.Linear(3, 2)
    net.register_full_backward_hook(lambda *_: 1 / 0)
    with pytest.raises(
        pg.InputError, match="torch can differentiate, but it raised ZeroDivisionError"
    ) as caught:
        explain(net, method="gradient")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_memory_that_suffices_for_no_row_is_the_surroundings_problem():
    def full(_net, _x):
        raise torch.OutOfMemoryError

    with pytest.raises(pg.EnvironmentProblem, match="There is not enough memory"):
        explain(full)


def test_a_squeezed_row_is_a_row():
    plain = explain(lambda net, x: net.layer(x)[:, :1], task="regression")
    squeezed = explain(
        lambda net, x: net.layer(x)[:, :1].squeeze(), task="regression", batch_size=1
    )
    np.testing.assert_allclose(squeezed.values, plain.values, rtol=1e-4, atol=1e-7)


def test_predicted_classes_of_a_single_column_are_two():
    explanation = explain(lambda net, x: net.layer(x)[:, :1], task="classification")
    assert explanation.outputs == ("all", "0", "1")
    assert np.isfinite(explanation.values).all()


def test_buffers_and_generators_are_put_back():
    net = Own(lambda net, x: net.layer(x) + 0 * np.random.normal())
    net.register_buffer("seen", torch.zeros(()))
    seen_buffer = net.seen
    state = str(np.random.get_state())

    def counting(net, x):
        net.seen = net.seen + len(x)
        np.random.normal()
        return net.layer(x)

    net.function = counting
    for method in ("permutation", "gradient", "shapley"):
        explain(net, method=method)
        assert net.seen is seen_buffer
        assert float(net.seen) == 0
        assert str(np.random.get_state()) == state


def test_a_layer_patched_by_hand_is_not_folded():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    before = explain(net, task="regression").values
    net[2].forward = lambda values: values.sum(dim=1, keepdim=True) * 5
    assert np.abs(explain(net, task="regression").values - before).max() > 0.1


def test_a_forward_that_differentiates_is_no_network_for_deeplift():
    class Forces(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

        def forward(self, x):
            with torch.enable_grad():
                x = x if x.requires_grad else x.clone().requires_grad_()
                return torch.autograd.grad(self.net(x).sum(), x, create_graph=True)[
                    0
                ].sum(dim=1)

    net = Forces()
    with pytest.raises(
        pg.InputError,
        match="deeplift cannot explain a network whose forward computes gradients",
    ):
        explain(net, method="deeplift")
    explanation = explain(net, method="integrated_gradients")
    assert explanation.meta["rule"] == "midpoint rule over gradients"
    np.testing.assert_allclose(
        explanation.predictions[:, 0], net(drawn()).detach(), atol=1e-6
    )


# ---- the checks themselves -----------------------------------------------------------


def test_the_checks_see_what_is_wrong(monkeypatch):
    case = hostile_networks.make("plain", 2, "permutation")
    assert hostile_network_checks.check_network(case) == "explained"
    usual = pg.explain

    def skewed(*arguments, **options):
        skewed_explanation = usual(*arguments, **options)
        skewed_explanation.values[...] *= 1.01
        return skewed_explanation

    monkeypatch.setattr(pg, "explain", skewed)
    with pytest.raises(BrokenError, match="beside the slow permutation values differ"):
        hostile_network_checks.check_network(case)

    def by_batch(model, *arguments, **options):
        batch_explanation = usual(model, *arguments, **options)
        batch_explanation.values[...] += 0.01 * (
            isinstance(model, pg.Model) and model.batch_size == 3
        )
        return batch_explanation

    monkeypatch.setattr(pg, "explain", by_batch)
    with pytest.raises(BrokenError, match="in batches of another size values differ"):
        hostile_network_checks.check_network(case)

    def leaving(model, *arguments, **options):
        leaving_explanation = usual(model, *arguments, **options)
        net = model.model if isinstance(model, pg.Model) else model
        next(net.parameters()).requires_grad_(False)
        return leaving_explanation

    monkeypatch.setattr(pg, "explain", leaving)
    with pytest.raises(BrokenError, match="requires_grad must stay as they were"):
        hostile_network_checks.check_network(
            hostile_networks.make("plain", 2, "permutation")
        )


def test_twins_are_not_trivial():
    for seed in range(3):
        case = hostile_networks.make("plain", seed, "permutation")
        assert np.abs(Twin(case).base).max() > 1e-3


@pytest.mark.parametrize(
    "method",
    ["gradient", "integrated_gradients", "permutation", "shapley", "aggregate"],
)
def test_gradients_that_the_forward_switches_off_are_as_they_were(method):
    def off(net, x):
        out = net.layer(x).tanh()
        torch.set_grad_enabled(False)
        return out

    torch.manual_seed(0)
    rows = torch.randn(6, 3)
    net = Own(off)
    plain = Own(lambda net, x: net.layer(x).tanh())
    plain.load_state_dict(net.state_dict())
    options = {
        "method": method,
        "task": "regression",
        "random_state": 0,
        "batch_size": 2,
    }
    options |= (
        {"members": ["permutation", "gradient"]}
        if method == "aggregate"
        else {"scope": "local"}
    )
    switched_explanation, plain_explanation = (
        explain_with(network, rows, None, progress=False, **options)
        for network in (net, plain)
    )
    assert torch.is_grad_enabled()
    np.testing.assert_allclose(
        switched_explanation.values, plain_explanation.values, rtol=1e-5
    )
    assert np.abs(plain_explanation.values).max() > 0.05


def test_outputs_that_ask_for_gradients_nobody_follows():
    explanation = explain(
        lambda net, x: net.layer(x).detach().requires_grad_(), task="regression"
    )
    expected_explanation = explain(lambda net, x: net.layer(x), task="regression")
    np.testing.assert_allclose(
        explanation.values, expected_explanation.values, rtol=1e-6
    )
    assert np.abs(expected_explanation.values).max() > 0.01


@pytest.mark.parametrize(
    "method", ["gradcam", "integrated_gradients", "deeplift", "gradient"]
)
def test_a_buffer_that_is_updated_in_place_gets_no_gradients(method):
    class Averaging(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 2, 3)
            self.head = nn.Linear(8, 2)
            self.register_buffer("average", torch.zeros(2))

        def forward(self, x):
            layer_maps = self.layer(x)
            self.average.mul_(0.9).add_(layer_maps.mean(dim=(0, 2, 3)))
            return self.head(layer_maps.flatten(1))

    torch.manual_seed(0)
    net = Averaging()
    images = torch.randn(12, 1, 4, 4)
    with contextlib.suppress(pg.InputError):  # of methods that notice it
        pg.explain(net, images, method=method, random_state=0, progress=False)
    assert not net.average.requires_grad
    assert net.average.is_leaf
    assert not net.average.any()
