"""Weights made in inference mode, frozen TorchScript, named tuples and nested
tensors.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from permgrad.base.threads import together


class _Two(nn.Module):
    """A recurrent and a normalised branch, with a weight that both share."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 2)
        self.again = self.head

    def forward(self, series: Tensor, table: Tensor) -> Tensor:
        return self.head(self.gru(series)[1][0]) + self.again(
            torch.tanh(self.norm(table))
        )


def _rows() -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(4)
    return {
        "series": torch.randn(12, 5, 3, generator=drawn),
        "table": torch.randn(12, 4, generator=drawn),
    }


def _values(net: Any, rows: Any, method: str, **options: Any) -> np.ndarray[Any, Any]:
    options = {"returns": "logits", "random_state": 0, "progress": False, **options}
    return explain_with(net, rows, method=method, **options).values


@pytest.mark.slow
@pytest.mark.parametrize("method", ["shapley", "integrated_gradients", "deeplift"])
def test_weights_made_in_inference_mode_are_explained_and_kept(method: str) -> None:
    with torch.inference_mode():
        net = _Two().eval()
    weights = dict(net.named_parameters())
    buffers = dict(net.named_buffers())
    assert net.head.weight.is_inference()
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    got = _values(net, _rows(), method)
    assert torch.equal(torch.get_rng_state(), before[2])
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    expected_values = _values(_Two().eval(), _rows(), method)
    assert float(np.abs(expected_values).max()) > 1e-3
    np.testing.assert_array_equal(got, expected_values)
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        assert tensor is {**weights, **buffers}[name]
    assert net.again.weight is net.head.weight
    assert all(
        any(flat_weight is weight for weight in weights.values())
        for flat_weight in net.gru._flat_weights
    )


def test_a_change_that_cannot_be_taken_back_keeps_none_of_the_others() -> None:
    taken_back: list[str] = []

    def failing() -> Any:
        def undo() -> None:
            raise RuntimeError("of the network")

        return undo

    with pytest.raises(RuntimeError, match="of the network"), together({
        "first": lambda: lambda: taken_back.append("first"),
        "failing": failing,
        "last": lambda: lambda: taken_back.append("last"),
    }):  # fmt: skip
        pass
    assert taken_back == ["last", "first"]
    with together(
        {"failing": lambda: lambda: taken_back.append("again")}
    ):  # nothing of it is left
        pass
    assert taken_back[-1] == "again"


class _Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.dense = nn.Linear(4, 2)
        self.other = nn.Linear(4, 2)

    def forward(self, clinical: Tensor, genes: Tensor) -> Tensor:
        return self.dense(clinical) + torch.relu(self.other(genes))


@pytest.mark.parametrize("inside", [False, True])
def test_frozen_torchscript_is_explained_as_it_was_before(
    tmp_path: Path, inside: bool
) -> None:
    drawn = torch.Generator().manual_seed(4)
    rows = {
        name: torch.randn(15, 4, generator=drawn) for name in ("genes", "clinical")
    }  # not in the forward's order
    frozen = torch.jit.freeze(torch.jit.script(_Scripted().eval()))
    torch.jit.save(frozen, tmp_path / "net.pt")
    plain: nn.Module = _Scripted().eval()
    for model in (frozen, torch.jit.load(tmp_path / "net.pt")):
        net = model
        reference_network = plain
        if inside:

            class Wrapped(nn.Module):
                def __init__(self, part: nn.Module) -> None:
                    super().__init__()
                    self.part = part

                def forward(self, clinical: Tensor, genes: Tensor) -> Tensor:
                    return 2 * self.part(clinical, genes)

            net = Wrapped(model)
            reference_network = Wrapped(plain)
        before = [set(vars(submodule)) for submodule in net.modules()]
        for method in ("permutation", "gradient"):
            got, expected_values = (
                _values(network, rows, method) for network in (net, reference_network)
            )
            assert float(np.abs(expected_values).max()) > 1e-3
            np.testing.assert_allclose(got, expected_values, atol=1e-6)
        assert [set(vars(submodule)) for submodule in net.modules()] == before


class _Batch(NamedTuple):
    genes: Tensor
    clinical: Tensor | None


def test_named_tuples_reach_the_forward_by_their_names() -> None:
    class OfBatch(_Scripted):
        def forward(self, batch: _Batch) -> Tensor:  # type: ignore[override]
            return super().forward(batch.clinical, batch.genes)

    drawn = torch.Generator().manual_seed(4)
    genes, clinical = torch.randn(2, 15, 4, generator=drawn)
    expected_values = _values(
        _Scripted().eval(),
        {"genes": genes, "clinical": clinical},
        "integrated_gradients",
    )
    assert not np.allclose(expected_values[:, :4], expected_values[:, 4:])
    np.testing.assert_array_equal(
        _values(_Scripted().eval(), _Batch(genes, clinical), "integrated_gradients"),
        expected_values,
    )
    explanation = pg.explain(
        pg.Model(OfBatch().eval(), returns="logits"),
        _Batch(genes, clinical),
        method="integrated_gradients",
        scale="raw",
    )
    np.testing.assert_array_equal(explanation.values, expected_values)
    assert list(dict.fromkeys(explanation.modality)) == [
        "batch.genes",
        "batch.clinical",
    ]


def test_nested_tensors_are_refused_and_the_hint_helps() -> None:
    class Sums(nn.Module):
        def forward(self, series: Tensor) -> Tensor:
            return torch.tanh(series).sum(dim=(1, 2))

    ragged = torch.nested.nested_tensor([torch.randn(4, 3), torch.randn(2, 3)])
    with pytest.raises(
        pg.InputError,
        match=r"'series' is nested\. Pass series\.to_padded_tensor\(0\.0\)",
    ):
        pg.explain(Sums(), ragged, method="gradient")
    assert (
        pg.explain(
            Sums(), ragged.to_padded_tensor(0.0), method="gradient", progress=False
        ).values.shape[0]
        == 2
    )

    class Ragged(nn.Module):
        def forward(self, table: Tensor) -> Tensor:
            return torch.nested.nested_tensor(list(table))

    with pytest.raises(pg.InputError, match="dense tensor of real numbers, got nested"):
        pg.explain(Ragged(), torch.randn(5, 2), method="permutation")


@dataclass
class _Rows:
    clinical: Tensor
    genes: Tensor
    mask: Tensor | None = None

    @property
    def joined(self) -> Tensor:
        return torch.cat([self.clinical, self.genes], dim=1)


class _OfRows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(5, 2)

    def forward(self, batch: _Rows) -> Tensor:
        assert isinstance(batch, _Rows)
        return self.head(batch.joined).tanh()


class _OfFields(_OfRows):
    def forward(
        self, clinical: Tensor, genes: Tensor, mask: Tensor | None = None
    ) -> Tensor:  # type: ignore[override]
        return super().forward(_Rows(clinical, genes, mask))


def test_a_dataclass_of_tensors_is_an_input() -> None:
    drawn = torch.Generator().manual_seed(1)
    rows = _Rows(torch.randn(6, 3, generator=drawn), torch.randn(6, 2, generator=drawn))
    options: dict[str, Any] = {
        "method": "shapley",
        "groups": "modality",
        "returns": "logits",
        "progress": False,
    }
    expected_explanation = explain_with(
        _OfFields(), {"clinical": rows.clinical, "genes": rows.genes}, **options
    )
    assert np.abs(expected_explanation.values).max() > 0.1
    for net, names in (
        (_OfRows(), ("batch.clinical", "batch.genes")),
        (_OfFields(), ("clinical", "genes")),
    ):
        explanation = explain_with(
            net, rows, background=_Rows(rows.clinical, rows.genes), **options
        )  # read by names, too
        assert explanation.names == names
        np.testing.assert_allclose(
            explanation.values, expected_explanation.values, atol=1e-6
        )
