"""Where no drawn pair shows an effect, intervals go from 0 to 0, and those of scores as
far as three rows move them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import nn

import permgrad as pg

COUNT = 120


def table(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "size": draw.normal(size=COUNT),
            "visits": draw.poisson(0.25, COUNT),
            "unused": draw.normal(size=COUNT),
        }
    )
    rows["same"] = 3.0
    return rows, calls(rows)[:, 1].astype(int)


def calls(rows: pd.DataFrame) -> np.ndarray:
    """Four visits, which one row in 7,000 has, or a size above 0 make a call."""
    return np.eye(2)[
        ((rows["size"] > 0) | (rows["visits"] >= 4)).to_numpy().astype(int)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["permgrad", "shapley"])
def test_what_moves_no_drawn_pair_is_0_to_0(method):
    options = (
        {"loss": "zero_one"}
        if method == "permgrad"
        else {"loss": "brier", "scope": "global"}
    )
    for seed in range(8):
        rows, y = table(seed)
        assert rows["visits"].max() < 4, "no row shows the effect"
        explanation = explain_with(
            calls,
            rows,
            y,
            method=method,
            random_state=seed,
            n_repeats=3,
            progress=False,
            returns="probabilities",
            **options,
        )
        frame = explanation.to_frame().query("`class` == 'all'").set_index("feature")
        for name in ("unused", "same", "visits"):
            assert frame.loc[
                name, ["importance", "std_error", "ci_low", "ci_high", "p_value"]
            ].tolist() == [
                0,
                0,
                0,
                0,
                1,
            ]
        assert frame.ci_low["size"] > 0


def test_a_score_of_few_counts_has_an_upper_end():
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(200, 2))

    def rare(table):
        high = 1 / (1 + np.exp(4 - np.asarray(table)[:, 0]))
        return np.column_stack([1 - high, high])

    y = (rare(rows)[:, 1] > np.quantile(rare(rows)[:, 1], 0.96)).astype(int)
    assert rare(rows)[:, 1].max() < 0.5, "no row is predicted as the rare class"
    explanation = pg.explain(
        pg.Model(rare, returns="probabilities"),
        rows,
        y,
        scoring=["f1", "accuracy"],
        random_state=0,
        n_repeats=2,
        progress=False,
    )
    assert explanation.values[0].tolist() == [0, 0]
    assert explanation.high[0, 0] > 0.2, "three of eight rows of the class decide F1"
    assert 0.01 < explanation.high[0, 1] < 0.03, "three of 200 rows decide the accuracy"
    assert explanation.high[1].tolist() == [0, 0], "the second column is not used"


class Threshold(nn.Module):
    """The second input counts only where it is above everything that the rows hold."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return one.sum(dim=1, keepdim=True) + (other > self.bound).any(
            dim=1, keepdim=True
        )


def test_an_input_that_moves_no_output_is_named():
    generator = torch.Generator().manual_seed(0)
    first_input, second_input = (
        torch.randn(80, 3, generator=generator) for _ in range(2)
    )
    y = first_input.sum(dim=1).numpy()
    with pytest.warns(pg.PermgradWarning, match="exactly 0: other"):
        unused = pg.explain(
            Threshold(99.0),
            {"one": first_input, "other": second_input},
            y,
            groups="modality",
            random_state=0,
            progress=False,
        )
    assert unused.high[1, 0] == 0
