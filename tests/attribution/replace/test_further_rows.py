"""Rows beside the first ones that are explained: their types are kept, and they take
part in what is inferred.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with, with_settings
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.inputs import in_type_of

ROWS = 8
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(ROWS, 3)).astype(np.float32)
COUNTS = RNG.integers(0, 9, (ROWS, 3))
#: Beyond 2**24 float32 does not hold every whole number.
LARGE = 2**24


class Plain(nn.Module):
    """A function as a network."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[operator]


def explain(
    net: nn.Module, inputs: object, y: object = None, **options: object
) -> pg.Explanation:
    call_options = {
        "method": "shapley",
        "scope": "local",
        "random_state": 0,
        "progress": False,
    }
    return explain_with(net, inputs, y, **{**call_options, **options})


def squares(x: Tensor) -> Tensor:
    """Return a number for each row of any type, which keeps float32's last digits."""
    return (x.double() ** 2).sum(dim=1) / 10


# ---- types ---------------------------------------------------------------------------


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_mean_is_no_background_of_whole_numbers(as_frame):
    rows = COUNTS
    background = COUNTS.mean(axis=0, keepdims=True)
    assert (background != np.floor(background)).any()
    if as_frame:
        rows = pd.DataFrame(rows, columns=list("abc"))
        background = pd.DataFrame(background, columns=list("abc"))
    with pytest.raises(
        pg.InputError,
        match=r"does not fit the type of the rows explained \(int64\)\. Pass the rows",
    ):
        explain(Plain(squares), rows, background=background)
    explanation = explain(
        Plain(squares),
        COUNTS.astype(np.float32),
        background=COUNTS.mean(axis=0, keepdims=True),
    )
    np.testing.assert_allclose(
        explanation.values[:, :, 0],
        (COUNTS**2 - COUNTS.mean(axis=0) ** 2) / 10,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
def test_a_baseline_is_read_like_a_background(method):
    class Both(nn.Module):
        def forward(self, counts: Tensor, numbers: Tensor) -> Tensor:
            return (counts.float() * numbers).sum(dim=1)

    inputs = {"counts": COUNTS, "numbers": NUMBERS}
    half = {"counts": COUNTS[:1] + 0.5, "numbers": NUMBERS[:1]}
    method_by_input = {
        "numbers": with_settings(method, baseline=half),
        "counts": "permutation",
    }
    with pytest.raises(pg.InputError, match=rf"'counts' hold {COUNTS[0, 0]}.5, which"):
        pg.explain(Both(), inputs, method=method_by_input, progress=False)


def test_whole_floats_are_the_same_background():
    integer_explanation = explain(Plain(squares), COUNTS, background=COUNTS[:3])
    float_explanation = explain(
        Plain(squares), COUNTS, background=COUNTS[:3].astype(np.float64)
    )
    assert np.abs(integer_explanation.values).max() > 1
    np.testing.assert_array_equal(integer_explanation.values, float_explanation.values)


def test_large_codes_are_not_rounded():
    codes = LARGE + np.array([[0, 4], [2, 8]])
    net = nn.Sequential(Plain(lambda x: (x - LARGE).float()), nn.Linear(2, 1))
    integer_explanation = explain(net, codes, background=codes + 1)
    float_explanation = explain(net, codes, background=(codes + 1).astype(np.float64))
    rounded = explain(
        net, codes, background=(codes + 1).astype(np.float32).astype(np.int64)
    )
    assert not np.allclose(integer_explanation.values, rounded.values)
    np.testing.assert_array_equal(integer_explanation.values, float_explanation.values)


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (torch.uint8, [0.0, 0.5], "0.5"),
        (torch.uint8, [-1.0], "-1"),
        (torch.uint8, [256.0], "256"),
        (torch.uint8, [256], "256"),
        (torch.int64, [float("nan")], "nan"),
        (torch.int64, [float("inf")], "inf"),
        (torch.int64, [2.0**63], "9.223372e\\+18"),
        (torch.int32, [2**31], "2.147484e\\+09"),
        (torch.bool, [1.0, 2.0], "2"),
        (torch.bool, [0.5], "0.5"),
    ],
)
def test_numbers_that_a_type_cannot_hold(own, other, said):
    with pytest.raises(pg.InputError, match=rf"Further rows of 'x' hold {said}, which"):
        in_type_of("x", torch.zeros(1).to(own), torch.tensor(other))


@pytest.mark.parametrize(
    "own", [torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool]
)
@pytest.mark.parametrize(
    "other", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]
)
def test_numbers_that_a_type_holds(own, other):
    last = 1 if own == torch.bool else min(torch.iinfo(own).max, 200)
    rows = torch.tensor([0, 1, last // 8 * 8 or 1])
    converted = in_type_of("x", torch.zeros(1).to(own), rows.to(other))
    assert converted.dtype == own
    assert converted.tolist() == rows.to(own).tolist()
    assert in_type_of(
        "x", torch.zeros(1), torch.tensor([0.5], dtype=torch.float64)
    ).tolist() == [0.5]


# ---- what outputs are ----------------------------------------------------------------

#: One logit: within 0 … 1 for the rows explained, far outside for the background.
LOGIT = Plain(lambda x: x.sum(dim=1))
INSIDE = np.linspace(0.05, 0.3, 18, dtype=np.float32).reshape(6, 3)
OUTSIDE = np.array([[-2, 0, 0], [1, 1, 1], [0.5, 0, 0]], dtype=np.float32)
Y = np.array([0, 1, 1, 0, 1, 0])


def test_a_background_takes_part_in_telling_the_kind():
    assert ((INSIDE.sum(axis=1) > 0) & (INSIDE.sum(axis=1) < 1)).all()
    assert explain(LOGIT, INSIDE, Y).meta["returns"] == "probabilities", (
        "alone they look like it"
    )
    for options in (
        {},
        {"scope": "global"},
        {"method": "integrated_gradients"},
        {"scale": "probability"},
    ):
        explanation = explain(LOGIT, INSIDE, Y, background=OUTSIDE, **options)
        declared_explanation = explain(
            LOGIT, INSIDE, Y, background=OUTSIDE, returns="logits", **options
        )
        assert explanation.meta["returns"] == "logits"
        assert np.nanmax(np.abs(declared_explanation.values)) > 0
        np.testing.assert_array_equal(explanation.values, declared_explanation.values)
    probable = Plain(lambda x: torch.sigmoid(x.sum(dim=1)))
    assert (
        explain(probable, INSIDE, Y, background=OUTSIDE).meta["returns"]
        == "probabilities"
    )


def test_a_background_takes_part_at_a_layer_too():
    net = nn.Sequential(nn.Identity(), LOGIT)
    assert (
        explain(net, INSIDE, Y, background=OUTSIDE, layer="0").meta["returns"]
        == "logits"
    )


def test_several_columns_that_add_up_to_one_by_chance():
    net = Plain(lambda x: torch.stack([x.sum(dim=1), 1 - x[:, 0]], dim=1))
    rows = np.concatenate([INSIDE[:, :1], np.zeros((6, 2), dtype=np.float32)], axis=1)
    assert explain(net, rows).meta["returns"] == "probabilities"
    assert explain(net, rows, background=OUTSIDE).meta["returns"] == "values"


@pytest.mark.parametrize("method", ["shapley", "permutation", "gradient", "lime"])
def test_outputs_of_later_rows_that_are_no_probabilities_are_refused(method):
    rows = np.concatenate([np.tile(INSIDE, (50, 1)), OUTSIDE])
    assert len(rows) - len(OUTSIDE) > 256, "the first rows look like probabilities"
    y = np.arange(len(rows)) % 2
    # Neighbours of LIME are read batch by batch.
    low = r"-0\.6" if method == "lime" else "-2"
    with pytest.raises(
        pg.InputError,
        match=rf"got outputs from {low}.* though those of the first rows lie there\. "
        r"Pass returns='logits'",
    ):
        explain(LOGIT, rows, y, method=method, n_repeats=1)
    assert np.isfinite(
        explain(LOGIT, rows, y, method="gradient", returns="logits").values
    ).all()


def test_mixed_rows_that_are_no_probabilities_are_refused():
    net = Plain(lambda x: 5 * (x[:, 0] - x[:, 1]))
    rows = np.repeat(np.linspace(0.1, 0.9, 6, dtype=np.float32), 2)
    rows = rows.reshape(6, 2) + np.float32([0.1, 0])
    with pytest.raises(
        pg.InputError, match="Probabilities must lie within 0 … 1, got outputs from -"
    ):
        explain(net, rows, Y)


def test_what_was_said_is_held_against_later_rows_too():
    with pytest.raises(pg.InputError, match=r"from -2 to 3\. Pass returns='logits'"):
        explain(LOGIT, INSIDE, Y, background=OUTSIDE, returns="probabilities")


# ---- few rows ------------------------------------------------------------------------


def said_of(net: nn.Module, rows: int, y: object, **options: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explain(
            net,
            INSIDE[:rows],
            None if y is None else y[:rows],
            method="gradient",
            **options,
        )  # type: ignore[index]
    return [
        str(warning.message)
        for warning in caught
        if warning.category is pg.PermgradWarning
    ]


def test_few_rows_that_tell_task_or_kind_are_warned_of():
    sigmoid = Plain(lambda x: torch.sigmoid(x.sum(dim=1)))
    task, kind = said_of(sigmoid, 4, Y)
    assert (
        "y of 4 rows holds only 0 and 1, so the network is taken for a classifier. "
        "Pass task=" in task
    )
    assert (
        "The outputs of 4 rows lie within 0 … 1 and are taken for probabilities. Pass "
        "returns=" in kind
    )
    assert len(said_of(sigmoid, 4, Y, task="classification")) == 1
    assert len(said_of(sigmoid, 4, Y, background=OUTSIDE)) == 1, (
        "seven rows tell the kind, four the task"
    )
    two = Plain(lambda x: x[:, :2])
    (task,) = said_of(two, 2, np.eye(2))
    assert "y of 2 rows" in task


@pytest.mark.parametrize(
    ("function", "rows", "y", "options"),
    [
        (lambda x: torch.sigmoid(x.sum(dim=1)), 5, Y, {}),
        (lambda x: torch.sigmoid(x.sum(dim=1)), 1, Y, {"returns": "probabilities"}),
        (lambda x: x.sum(dim=1) - 5, 1, Y, {"class_names": ["no", "yes"]}),
        (lambda x: x.sum(dim=1), 1, None, {}),
        (lambda x: x.sum(dim=1), 1, Y + 0.5, {}),
        (lambda x: x.sum(dim=1) - 5, 1, Y == 1, {}),
        (lambda x: x[:, :2], 1, Y, {}),
        (lambda x: x.softmax(dim=1), 1, None, {}),
    ],
)
def test_what_is_certain_is_not_warned_of(function, rows, y, options):
    assert said_of(Plain(function), rows, y, **options) == []
