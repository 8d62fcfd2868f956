"""Layers that are named and have no map, or several: refused in words whose remedy
works, or read by call.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import permgrad as pg


class Parts(nn.Module):
    """An image encoder with parts that return something else than one map."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.act = nn.Tanh()
        self.pair = Pair()
        self.read = nn.Identity()
        self.scale = nn.Identity()
        self.memory = nn.GRU(4, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, scan: Tensor) -> Tensor:
        maps = self.act(self.first(scan))
        if self.kind == "pair":
            maps, _ = self.pair(maps)
            maps = self.read(maps)
        if self.kind == "memory":
            words, _ = self.memory(maps.flatten(2).transpose(1, 2))
            maps = self.read(words).transpose(1, 2).unflatten(2, maps.shape[2:])
        if self.kind == "scale":
            maps = maps / self.scale(maps.abs().mean((1, 2, 3)))[:, None, None, None]
        return self.head(self.act(maps.mean((2, 3))))


class Pair(nn.Module):
    """Returns maps and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        maps = torch.relu(self.inner(maps))
        return maps, maps.mean()


def scans() -> Tensor:
    return torch.rand(3, 1, 10, 10, generator=torch.Generator().manual_seed(1))


def gradcam(net: Any, layer: str | None) -> pg.Explanation:
    method = pg.methods.GradCam(layer=layer)
    return pg.explain(net, scans(), method=method, target=1, progress=False)


@pytest.mark.parametrize(("kind", "layer"), [("pair", "pair"), ("memory", "memory")])
def test_a_tuple_is_refused_and_the_remedy_works(kind: str, layer: str) -> None:
    net = Parts(kind).eval()
    words = (
        f"gradcam reads a layer whose value is one tensor, and layer '{layer}' "
        "returns a tuple. Have the forward "
    )
    with pytest.raises(pg.InputError) as caught:
        gradcam(net, layer)
    assert str(caught.value).startswith(words)
    assert gradcam(net, "read").meta["layer"] == {"scan": "read"}
    with pytest.raises(pg.InputError, match="got a tuple for") as caught:
        pg.explain(pg.Model(net, layer=layer), scans(), method="integrated_gradients")
    assert "nn.Identity()" in str(caught.value)
    model = pg.Model(net, layer="read")
    assert pg.explain(model, scans(), method="integrated_gradients", target=1).names


def test_a_number_for_each_row_is_refused() -> None:
    net = Parts("scale").eval()
    with pytest.raises(pg.InputError, match=r"has cells, and layer 'scale' returns \("):
        gradcam(net, "scale")
    assert gradcam(net, "first").values.shape[0] == 3


def test_of_several_calls_the_last_map_is_read() -> None:
    net = Parts("plain").eval()
    explanation = gradcam(net, "act")
    assert explanation.meta["layer"] == {"scan": "act"}, "the second call is a vector"
    assert explanation.meta["layer_shape"] == {"scan": [4, 10, 10]}


def test_a_layer_that_is_not_called_is_named() -> None:
    with pytest.raises(pg.InputError) as caught:
        gradcam(Parts("plain").eval(), "memory")
    assert str(caught.value) == (
        "The network does not call layer 'memory' for these inputs. Name a layer that "
        "it calls. [PG037]"
    )


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("whole", [True, False])
def test_scripted_layers_send_nobody_in_a_circle(whole: bool) -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU()), nn.Flatten(), nn.Linear(192, 2)
    ).eval()
    plain = gradcam(net, None)
    scripted = (
        torch.jit.script(net)
        if whole
        else nn.Sequential(torch.jit.script(net[0]), *net[1:])
    )
    for layer, words in (
        (None, "finds no convolution of 'input'"),
        ("0", "'0' is compiled by TorchScript"),
    ):
        with pytest.raises(pg.InputError, match=words) as caught:
            gradcam(scripted, layer)
        assert "pass the network as it was before torch.jit" in str(
            caught.value
        ).replace("Pass", "pass")
        assert "layer= with" not in str(caught.value)
    with pytest.raises(pg.InputError, match="'0' is compiled by TorchScript"):
        pg.explain(pg.Model(scripted, layer="0"), scans(), method="permutation")
    integrated_explanation = pg.explain(
        scripted, scans(), method="integrated_gradients", target=1
    )
    assert integrated_explanation.values.shape[0] == plain.values.shape[0] == 3
