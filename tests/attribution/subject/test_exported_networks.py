"""Modules made by ``torch.export``, which refuse ``train()`` and ``eval()``: explained,
or refused with a remedy.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

ROWS = 20


class Inside(nn.Module):
    """A network with an exported part, and a layer of its own that has two modes."""

    def __init__(self, inner_module: nn.Module) -> None:
        super().__init__()
        self.part = inner_module
        self.drop = nn.Dropout(0.5)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 — donors are drawn by the inputs' names
        return self.drop(self.part(input))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2)
    ).eval()


def exported(net: nn.Module, rows: Tensor, *, dynamic: bool) -> nn.Module:
    shapes = ({0: torch.export.Dim("rows")},) if dynamic else None
    return torch.export.export(net, (rows,), dynamic_shapes=shapes).module()


def explain(net: nn.Module, rows: Tensor, method: str) -> pg.Explanation:
    return pg.explain(
        net, rows, method=method, scope="local", random_state=0, progress=False
    )


@pytest.mark.parametrize(
    "method", ["shapley", "permutation", "integrated_gradients", "lime"]
)
def test_an_exported_network_is_explained_like_its_original(method):
    net = network()
    rows = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))
    twin = explain(net, rows, method)
    assert np.abs(twin.values).max() > 0.01
    exported_part = exported(net, rows, dynamic=True)
    outer = Inside(exported_part)
    for module in (exported_part, outer):
        modes = [submodule.training for submodule in module.modules()]
        np.testing.assert_allclose(
            explain(module, rows, method).values, twin.values, rtol=0, atol=1e-3
        )
        assert [submodule.training for submodule in module.modules()] == modes
    assert outer.drop.training, "it was in training mode, and is again"


def test_an_export_of_one_size_is_refused_with_a_remedy():
    rows = torch.randn(ROWS, 4)
    with pytest.raises(
        pg.InputError,
        match=r"no other sizes than those it was exported for: .*dynamic_shapes=",
    ):
        explain(exported(network(), rows, dynamic=False), rows, "permutation")


class Mixed(nn.Module):
    """Ids looked up, an image and a table, with functions that have rules."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4, padding_idx=0)
        self.image = nn.Conv2d(1, 2, 3)
        self.table = nn.Linear(3, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 2)

    def forward(self, ids: Tensor, image: Tensor, table: Tensor) -> Tensor:
        encoded_inputs = [
            self.words(ids).sigmoid().mean(dim=1),
            self.image(image).relu().mean(dim=(2, 3)),
        ]
        return self.head(
            torch.tanh(
                self.norm(torch.cat(encoded_inputs, dim=1))
                * self.table(table).softmax(dim=1)
            )
        )


def mixed() -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    ids = torch.randint(1, 9, (ROWS, 5))
    return Mixed().eval(), {
        "ids": ids,
        "image": torch.rand(ROWS, 1, 6, 6),
        "table": torch.randn(ROWS, 3),
    }


@pytest.mark.parametrize("method", ["deeplift", "integrated_gradients", "gradient"])
@pytest.mark.parametrize("row_target", [None, "predicted"])
def test_ids_of_an_exported_network_have_slopes(method, row_target):
    net, rows = mixed()
    exported_program = torch.export.export(
        net,
        (),
        rows,
        dynamic_shapes={name: {0: torch.export.Dim("rows")} for name in rows},
    )
    options = {
        "method": method,
        "target": row_target,
        "returns": "logits",
        "progress": False,
    }
    twin, explanation = (
        explain_with(network, rows, **options)
        for network in (net, exported_program.module())
    )
    ids = [modality == "ids" for modality in twin.modality]
    assert sum(ids) == 5
    assert (np.abs(twin.values[:, ids]) > 1e-3).any()
    assert explanation.names == twin.names
    assert explanation.meta["embeddings"] == {"ids": ["words_rows"]}
    np.testing.assert_allclose(explanation.values, twin.values, rtol=0, atol=1e-6)


def test_whole_numbers_without_slopes_are_named():
    net, rows = mixed()
    scripted = torch.jit.trace(net, tuple(rows.values()))
    text = (
        r"ids holds whole numbers that no nn.Embedding looks up, so gradient does "
        r"not explain it: it stays with its row"
    )
    with pytest.warns(pg.PermgradWarning, match=text):
        assert (
            "ids"
            not in pg.explain(
                scripted, rows, method="gradient", progress=False
            ).modality
        )
