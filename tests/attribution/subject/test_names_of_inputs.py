"""Keys of a dict of inputs that differ from the forward's parameters in capitals, or
name none of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 2)
        self.second = nn.Linear(3, 2)

    def forward(self, genes: Tensor, Lab: Tensor, age: Tensor | None = None) -> Tensor:
        return (
            self.first(genes)
            + torch.tanh(self.second(Lab))
            + (0 if age is None else age)
        )


def _tensors() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, generator=drawn), torch.randn(8, 3, generator=drawn)


def _found(
    rows: dict[str, Tensor], net: nn.Module | None = None, **options: object
) -> dict[str, np.ndarray]:
    options = {
        "method": "gradient",
        "groups": "modality",
        "returns": "logits",
        "progress": False,
        **options,
    }
    explanation = explain_with(net or _Net().eval(), rows, **options)
    return {
        name: explanation.values[:, feature_index]
        for feature_index, name in enumerate(explanation.names)
    }


def test_keys_in_other_capitals_are_matched_by_name() -> None:
    genes, lab = _tensors()
    expected_values = _found({"genes": genes, "Lab": lab})
    assert not np.allclose(expected_values["genes"], expected_values["Lab"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = _found(
            {"LAB": lab, "Genes": genes}, background={"Genes": genes, "LAB": lab}
        )
    np.testing.assert_array_equal(got["LAB"], expected_values["Lab"])
    np.testing.assert_array_equal(got["Genes"], expected_values["genes"])


class _ByPlace(_Net):
    def forward(
        self, genes: Tensor, Lab: Tensor, /, age: Tensor | None = None
    ) -> Tensor:  # type: ignore[override]
        return super().forward(genes, Lab, age)


def _exported() -> nn.Module:
    rows = {0: torch.export.Dim("rows")}
    return torch.export.export(
        _Net().eval(), _tensors(), dynamic_shapes=(rows, rows)
    ).module()


@pytest.mark.parametrize("make", [_ByPlace, _exported])
def test_keys_name_what_a_forward_takes_by_place_only(
    make: Callable[[], nn.Module],
) -> None:
    genes, lab = _tensors()
    expected_values = _found({"genes": genes, "Lab": lab})
    for rows in ({"genes": genes, "Lab": lab}, {"Lab": lab, "genes": genes}):
        got = _found(rows, net=make())
        for name, values in expected_values.items():
            np.testing.assert_allclose(got[name], values, rtol=0, atol=1e-6)


def test_a_place_between_that_is_left_out_is_named() -> None:
    class Three(_Net):
        def forward(
            self, genes: Tensor, age: Tensor | None = None, Lab: Tensor | None = None, /
        ) -> Tensor:
            return super().forward(genes, Lab, age)

    with pytest.raises(
        pg.InputError,
        match=r"\(genes, Lab\) do not match the forward's parameters \(genes, age, "
        r"Lab\)",
    ):
        _found(dict(zip(("genes", "Lab"), _tensors(), strict=True)), net=Three())


@pytest.mark.parametrize(
    "keys", [("LAB", "other"), ("Genes", "Age"), ("other", "GENES")]
)
def test_keys_that_would_be_swapped_are_refused(keys: tuple[str, str]) -> None:
    with pytest.raises(pg.InputError, match="Rename the keys, also in capitals"):
        _found(dict(zip(keys, _tensors(), strict=True)))


def test_keys_that_name_no_parameter_are_passed_in_order_with_a_warning() -> None:
    genes, lab = _tensors()
    expected_values = _found({"genes": genes, "Lab": lab})
    with pytest.warns(
        pg.PermgradWarning, match="passed in order: scan as genes, blood as Lab"
    ):
        got = _found({"scan": genes, "blood": lab})
    np.testing.assert_array_equal(got["scan"], expected_values["genes"])

    class Wider(_Net):
        def forward(self, genes: Tensor, Lab: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(genes[:, :3], Lab)

    rows = {"scan": torch.cat([genes, genes], dim=1), "blood": lab}
    with warnings.catch_warnings():  # of other shapes they could not be swapped
        warnings.simplefilter("error")
        pg.explain(
            pg.Model(Wider().eval(), returns="logits"),
            rows,
            method="gradient",
            progress=False,
        )
