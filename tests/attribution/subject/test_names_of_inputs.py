"""Keys of a dict of inputs that differ from the forward's parameters in capitals, or name none of them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, genes: Tensor, Lab: Tensor, age: Tensor | None = None) -> Tensor:
        return self.first(genes) + torch.tanh(self.second(Lab)) + (0 if age is None else age)


def _tensors() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, generator=drawn), torch.randn(8, 3, generator=drawn)


def _found(rows: dict[str, Tensor], **options: object) -> dict[str, np.ndarray]:
    options = {"method": "gradient", "level": "modality", "output_kind": "logits", "progress": False, **options}
    found = pg.explain(_Net().eval(), rows, **options)
    return {name: found.values[:, place] for place, name in enumerate(found.names)}


def test_keys_in_other_capitals_are_matched_by_name() -> None:
    genes, lab = _tensors()
    wanted = _found({"genes": genes, "Lab": lab})
    assert not np.allclose(wanted["genes"], wanted["Lab"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = _found({"LAB": lab, "Genes": genes}, background={"Genes": genes, "LAB": lab})
    np.testing.assert_array_equal(got["LAB"], wanted["Lab"])
    np.testing.assert_array_equal(got["Genes"], wanted["genes"])


@pytest.mark.parametrize("keys", [("LAB", "other"), ("Genes", "Age"), ("other", "GENES")])
def test_keys_that_would_be_swapped_are_refused(keys: tuple[str, str]) -> None:
    with pytest.raises(pg.InputError, match="Rename the keys, also in capitals"):
        _found(dict(zip(keys, _tensors(), strict=True)))


def test_keys_that_name_no_parameter_are_passed_in_order_with_a_warning() -> None:
    genes, lab = _tensors()
    wanted = _found({"genes": genes, "Lab": lab})
    with pytest.warns(pg.PermgradWarning, match="passed in order: scan as genes, blood as Lab"):
        got = _found({"scan": genes, "blood": lab})
    np.testing.assert_array_equal(got["scan"], wanted["genes"])

    class Wider(_Net):
        def forward(self, genes: Tensor, Lab: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(genes[:, :3], Lab)

    rows = {"scan": torch.cat([genes, genes], dim=1), "blood": lab}
    with warnings.catch_warnings():  # of other shapes they could not be swapped
        warnings.simplefilter("error")
        pg.explain(Wider().eval(), rows, method="gradient", output_kind="logits", progress=False)
