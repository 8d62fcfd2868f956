"""Numbers that an option cannot be: each is refused in a sentence that names it, before
anything is computed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg

ROWS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


class Unused(nn.Module):
    """Counts how many rows it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.rows = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows += len(x)
        return self.layer(x)


#: Options of methods that are whole numbers, with the smallest that is allowed.
WHOLE = [
    ("integrated_gradients", "steps", 1), ("integrated_gradients", "max_steps", 2),
    ("integrated_gradients", "references", 1), ("deeplift", "references", 1), ("shapley", "exact", 0),
    ("shapley", "references", 1), ("shapley", "min_permutations", 2), ("shapley", "max_permutations", 4),
    ("permutation", "n_repeats", 1), ("permgrad", "n_repeats", 1), ("lime", "samples", 6),
    ("permutation", "batch_size", 1), ("gradient", "batch_size", 1),
]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [True, False, 2.5, "3", -1, np.float64(4), [3]], ids=repr
)
@pytest.mark.parametrize(("method", "option", "least"), WHOLE)
def test_whole_numbers(method, option, least, wrong):
    net = Unused()
    with pytest.raises(pg.InputError, match=option):
        explain_with(
            net,
            ROWS,
            method=method,
            progress=False,
            task="regression",
            **{option: wrong},
        )
    assert net.rows < 100, (
        "no more than it takes to read the network, and to ask twice whether it "
        "remembers"
    )


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("kind", [int, np.int64, np.int32])
@pytest.mark.parametrize(("method", "option", "least"), WHOLE)
def test_the_smallest_that_is_allowed(method, option, least, kind):
    call_options = {
        option: kind(least),
        "task": "regression",
        "progress": False,
        "random_state": 0,
    }
    if method == "shapley":
        call_options.setdefault("max_permutations", 8)
    explanation = explain_with(Unused(), ROWS, method=method, **call_options)
    assert np.abs(explanation.values).max() > 0
    if least:
        with pytest.raises(pg.InputError, match=option):
            explain_with(
                Unused(),
                ROWS,
                method=method,
                progress=False,
                task="regression",
                **{option: least - 1},
            )


@pytest.mark.parametrize("wrong", [True, -0.1, np.inf, np.nan, "small"], ids=repr)
@pytest.mark.parametrize("method", ["integrated_gradients", "shapley"])
def test_tolerances(method, wrong):
    with pytest.raises(
        pg.InputError, match=r"tolerance must be a finite number of at least 0, got "
    ):
        explain_with(
            Unused(),
            ROWS,
            method=method,
            progress=False,
            task="regression",
            tolerance=wrong,
        )


@pytest.mark.parametrize("wrong", [0, 1, -0.5, 1.5, True, "0.9", np.nan], ids=repr)
def test_confidences(wrong):
    with pytest.raises(pg.InputError, match="confidence"):
        pg.explain(
            pg.Model(Unused(), task="regression"),
            ROWS,
            method="permutation",
            progress=False,
            confidence=wrong,
        )
