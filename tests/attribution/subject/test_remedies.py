"""Remedies of messages: whoever follows them gets an explanation."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.remedies import of_hooks


class _OfBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 2)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.head(batch["scan"])


@pytest.mark.parametrize(
    "text", [["a", "b"] * 6, "patients.csv", np.array(["2020-01-01"] * 12)]
)
def test_text_beside_tensors_names_the_key_to_leave_out(text: Any) -> None:
    rows = {"scan": torch.randn(12, 3), "patient": text}
    with pytest.raises(pg.InputError, match="or leave patient out"):
        pg.explain(pg.Model(_OfBatch(), returns="logits"), rows, method="gradient")
    del rows["patient"]
    assert pg.explain(
        pg.Model(_OfBatch(), returns="logits"), rows, method="gradient", progress=False
    ).values.any()


def test_a_forward_through_numpy_is_not_sent_in_a_circle() -> None:
    class ThroughNumpy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(3, 2)

        def forward(self, table: Tensor) -> Tensor:
            return self.head(torch.from_numpy(np.tanh(table.numpy())))

    # With detach(), as torch advises, every slope would be 0.
    with pytest.raises(
        pg.InputError,
        match="Choose method='permutation', 'shapley' or 'lime', which need no gradient",
    ):
        pg.explain(
            pg.Model(ThroughNumpy(), returns="logits"),
            torch.randn(12, 3),
            method="integrated_gradients",
        )
    explanation = pg.explain(
        pg.Model(ThroughNumpy(), returns="logits"),
        torch.randn(12, 3),
        method="shapley",
        progress=False,
    )
    assert explanation.values.any()


QUIET: dict[str, Any] = {"progress": False}


class _Force(nn.Module):
    """Forces of an energy, which are its gradients."""

    def __init__(self, followed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.energy = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))
        self.followed = followed

    def forward(self, x: Tensor) -> Tensor:
        with (
            torch.enable_grad()
            if self.followed
            else torch.set_grad_enabled(torch.is_grad_enabled())
        ):
            x = x.requires_grad_(True)
            return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


def test_a_forward_that_computes_gradients_is_told_to_enable_them() -> None:
    x = torch.randn(12, 3)
    with pytest.raises(pg.InputError, match=r"inside `with torch.enable_grad\(\):`"):
        pg.explain(pg.Model(_Force(False), returns="values"), x, method="shapley")
    for method in ("shapley", "gradient", "integrated_gradients"):
        assert pg.explain(
            pg.Model(_Force(True), returns="values"), x, method=method, **QUIET
        ).values.any()


def test_mean_slopes_through_torch_func_are_refused_with_what_works() -> None:
    class Slope(_Force):
        def forward(self, x: Tensor) -> Tensor:
            return torch.func.vmap(torch.func.grad(lambda row: self.energy(row).sum()))(
                x
            )

    x = torch.randn(12, 3)
    with pytest.raises(
        pg.InputError,
        match=r"pass method=pg\.methods\.IntegratedGradients\(steps=64\), or choose",
    ):
        pg.explain(
            pg.Model(Slope(True), returns="values"), x, method="integrated_gradients"
        )
    for options in (
        {"method": "integrated_gradients", "steps": 64},
        {"method": "gradient"},
        {"method": "shapley"},
    ):
        assert explain_with(
            Slope(True), x, **QUIET, returns="values", **options
        ).values.any()


class _Mode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor, squash: Any, scale: float = 1.0) -> Tensor:
        return scale * self.head(torch.tanh(x) if squash else x)


@pytest.mark.parametrize("flag", [True, "all", torch.tensor(2)])
def test_a_setting_of_a_forward_is_given_to_it_by_partial(flag: Any) -> None:
    x = torch.randn(12, 3)
    net = _Mode()
    expected_message = (
        r"net.forward = functools.partial\(net.forward, "
        rf"squash={flag.item() if isinstance(flag, Tensor) else flag!r}"
    )
    with pytest.raises(pg.InputError, match=expected_message):
        pg.explain(
            pg.Model(net, returns="logits"), {"x": x, "squash": flag}, method="shapley"
        )
    with pytest.raises(
        pg.InputError, match=r"functools.partial\(net.forward, squash=…"
    ):
        pg.explain(pg.Model(net, returns="logits"), x, method="shapley")
    net.forward = functools.partial(net.forward, squash=flag)  # type: ignore[method-assign]
    for method in ("shapley", "gradient"):
        assert pg.explain(
            pg.Model(net, returns="logits"), x, method=method, **QUIET
        ).values.any()


class _OfGraph(nn.Module):
    """Each node has the sum of its neighbours' numbers.

    The edges are an argument, or a matrix inside.
    """

    def __init__(self, matrix: Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 2)
        self.matrix = matrix

    def forward(self, x: Tensor, edge_index: Tensor | None = None) -> Tensor:
        if edge_index is None:
            return self.head(self.matrix @ x)
        return self.head(
            torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        )


class _EachGraph(nn.Module):
    def __init__(self, net: nn.Module, *edges: Tensor) -> None:
        super().__init__()
        self.net = net
        self.edges = edges

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(nodes, *self.edges) for nodes in x]).flatten(1)


@pytest.mark.parametrize("how", ["edges", "matrix"])
def test_nodes_of_one_graph_are_no_rows(how: str) -> None:
    x = torch.randn(9, 3)
    edges = torch.stack([torch.arange(9), torch.arange(9).roll(1)])
    matrix = torch.zeros(9, 9).index_put((edges[1], edges[0]), torch.tensor(1.0))
    net, inputs = (
        (_OfGraph(), {"x": x, "edge_index": edges})
        if how == "edges"
        else (_OfGraph(matrix), {"x": x})
    )
    for method in ("permutation", "gradient"):
        with pytest.raises(
            pg.InputError, match="If rows are nodes of a graph, pass one graph a row"
        ):
            pg.explain(pg.Model(net, returns="logits"), inputs, method=method)
    graphs = torch.randn(5, 9, 3)
    edge_arguments = [edges] if how == "edges" else []
    graph_network = _EachGraph(net, *edge_arguments)
    assert torch.equal(
        graph_network(graphs)[0].reshape(9, 2), net(graphs[0], *edge_arguments)
    )
    options: dict[str, Any]
    for options in (
        {"method": "shapley", "max_permutations": 4},
        {"method": "gradient"},
    ):
        assert explain_with(
            graph_network, graphs, **QUIET, returns="values", **options
        ).values.any()


class _Padded(nn.Module):
    """A transformer over vectors with a mask of padded places, whose output is the mean
    over all places, or few.
    """

    def __init__(self, reads: str, nested: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.reads = reads
        self.words = nn.Embedding(20, 8, padding_idx=0)
        self.head = nn.Linear(8, 2)

    def forward(self, ids: Tensor) -> Tensor:
        padded = ids == 0
        encoded = self.encoder(self.words(ids), src_key_padding_mask=padded)
        if self.reads == "filled":
            encoded = encoded.masked_fill(padded[:, :, None], 0)
        return self.head(encoded.mean(1))


def _padded_ids() -> Tensor:
    torch.manual_seed(1)
    ids = torch.randint(1, 20, (12, 7))
    ids[::2, 5:] = 0
    return ids


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors", "ignore:Attributions of"
)
def test_a_fast_path_that_gives_other_outputs_is_switched_off_as_advised() -> None:
    ids = _padded_ids()
    net = _Padded("all").eval()
    with torch.no_grad():
        plain = net(ids)
    assert not torch.allclose(net(ids), plain, atol=1e-2), (
        "a precondition: with gradients it is another function"
    )
    for method in ("gradient", "integrated_gradients", "deeplift"):
        with pytest.raises(
            pg.InputError, match=r"set net\.encoder\.use_nested_tensor = False"
        ):
            pg.explain(pg.Model(net, returns="logits"), ids, method=method, **QUIET)
    net.encoder.use_nested_tensor = False
    remade_network = _Padded("all", nested=False).eval()
    for network in (net, remade_network, _Padded("filled").eval()):
        explanation = pg.explain(
            pg.Model(network, returns="logits"), ids, method="gradient", **QUIET
        )
        assert np.isfinite(explanation.values).all()
        assert explanation.values.any()


def test_a_forward_that_asks_whether_gradients_are_followed_is_refused() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x if torch.is_grad_enabled() else x.round())

    x = torch.randn(12, 3)
    with pytest.raises(
        pg.InputError, match="other outputs where gradients are followed"
    ):
        pg.explain(pg.Model(Asks(), returns="logits"), x, method="gradient")
    assert pg.explain(
        pg.Model(Asks(), returns="logits"), x, method="shapley", **QUIET
    ).values.any()


class _OfSpectrum(nn.Module):
    def __init__(self, makes: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.makes = makes

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.makes(x)).mean((2, 3)))


def _spectrogram(x: Tensor) -> Tensor:
    window = torch.hann_window(16)
    return (
        torch.stft(x.flatten(1), 16, window=window, return_complex=True)
        .abs()
        .unsqueeze(1)
    )


_FREQUENCIES = {
    "series": (_spectrogram, (6, 96)),
    "series with a channel": (_spectrogram, (6, 1, 96)),
    "image": (lambda x: torch.fft.fft2(x).abs(), (6, 1, 8, 8)),
}


@pytest.mark.parametrize("name", _FREQUENCIES)
def test_a_map_of_an_image_made_inside_is_seen_by_what_follows_it(name: str) -> None:
    makes, shape = _FREQUENCIES[name]
    x = torch.randn(shape)
    with pytest.raises(
        pg.InputError, match="pass that image to a module of what follows it"
    ):
        pg.explain(pg.Model(_OfSpectrum(makes), returns="logits"), x, method="gradcam")
    spectrum = makes(x)
    explanation = pg.explain(
        pg.Model(_OfSpectrum(nn.Identity()), returns="logits"),
        spectrum,
        method="gradcam",
        **QUIET,
    )
    (maps,) = (
        array for key, array in explanation.maps.items() if key.startswith("maps")
    )
    assert maps.shape[2:] == spectrum.shape[2:]


def test_an_image_that_comes_back_from_its_frequencies_has_a_map() -> None:
    smooth = _OfSpectrum(
        lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 0.5, s=x.shape[-2:])
    )
    assert pg.explain(
        pg.Model(smooth, returns="logits"),
        torch.randn(6, 1, 8, 8),
        method="gradcam",
        **QUIET,
    ).values.any()


# ---- hooks that others left ----


def left_by(package: str, text: str) -> Any:
    """Return a function that another package would have defined."""
    names: dict[str, Any] = {"__name__": f"{package}.inner"}
    exec(text, names)
    return names["hook"]


def with_hooks(text: str, register: str) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for layer_index in (0, 2):
        getattr(net[layer_index], register)(left_by("otherpackage", text))
    return net


def test_hooks_that_a_package_left_are_named_and_go_as_the_message_says():
    text = "def hook(module, args, output):\n    raise RuntimeError('size 5, not 3')"
    net = with_hooks(text, "register_forward_hook")
    rows = torch.randn(10, 3)
    remedy = "for part in net.modules(): part._forward_hooks.clear()"
    with pytest.raises(pg.InputError) as refused:
        pg.explain(net, rows, method="permutation")
    assert str(refused.value) == (
        "The network does not accept the inputs: called with input (10, 3) float32 it "
        "raised RuntimeError: size 5, not 3. The network has hooks of otherpackage on "
        f"'0', '2'. If they are left over, remove them: {remedy}. [PG032]"
    )
    exec(remedy, {"net": net})
    assert pg.explain(net, rows, method="permutation").values.any()


@pytest.mark.parametrize("change", ["gone", "2"])
def test_hooks_on_gradients_are_named(change):
    read = "module.gone" if change == "gone" else "module.train"
    text = (
        f"def hook(module, before, after):\n    {read}\n"
        "    return tuple(2 * one for one in before)"
    )
    net = with_hooks(text, "register_full_backward_hook")
    rows = torch.randn(10, 3)
    named = "The network has hooks of otherpackage on '0', '2'"
    if change == "gone":
        with pytest.raises(pg.InputError, match=named):
            pg.explain(net, rows, method="gradient")
    else:
        with pytest.warns(pg.PermgradWarning, match=named):
            pg.explain(net, rows, method="gradient")


def test_hooks_of_torch_and_of_permgrad_are_at_home():
    net = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 2)))
    assert any(submodule._forward_pre_hooks for submodule in net.modules())
    assert of_hooks(net) is None


@pytest.mark.parametrize("count", [2, 3, 4])
def test_states_of_as_many_layers_as_rows_are_no_rows(count):
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read = nn.LSTM(3, 4, count, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
            return self.head(self.read(x, (h, c))[0][:, -1])

    class RowsFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Steps()

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
            states = [state.transpose(0, 1).contiguous() for state in (h, c)]
            return self.net(x, *states)

    torch.manual_seed(0)
    X = {"x": torch.randn(count, 5, 3)} | {
        name: torch.randn(count, count, 4) for name in ("h", "c")
    }
    assert Steps()(**X).shape == (count, 2), "the network takes them"
    with pytest.raises(pg.InputError, match="Pass states with rows first, such as h"):
        pg.explain(Steps().eval(), X, method="shapley", progress=False)
    turned = X | {name: X[name].transpose(0, 1) for name in ("h", "c")}
    model = pg.Model(RowsFirst().eval(), returns="values")
    found = pg.explain(model, turned, method="shapley", scope="local", progress=False)
    assert found.values.any()
