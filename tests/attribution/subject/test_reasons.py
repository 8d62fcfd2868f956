"""Several numbers beside no y are scores of classes for a reason only, and the reason
is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    Normal,
    OneHotCategorical,
)
from torch.nn.functional import cross_entropy, nll_loss

import permgrad as pg
from permgrad.attribution.subject.outputs import spread_of
from permgrad.attribution.subject.reasons import Because

X = torch.randn(120, 3, generator=torch.Generator().manual_seed(11))


class Net(nn.Module):
    """Returns any function of its input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def actions(x: Tensor) -> Tensor:
    """Return three numbers that ``x[:, 0]`` moves together, and ``x[:, 2]`` does
    not.
    """
    together = 4 * x[:, 0] + x[:, 0] ** 3
    return torch.stack(
        [together + 0.1 * x[:, 1], together - 0.1 * x[:, 1], together / 50], dim=1
    )


def explain(model: Any, X: Any = X, **options: Any) -> pg.Explanation:
    call_options = {
        "method": "permutation",
        "n_repeats": 2,
        "progress": False,
        **options,
    }
    return pg.explain(model, X, **call_options)


def zeros_of(x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.int64)


SIGNS = {
    "softmax beside": (
        lambda x: {"out": actions(x), "shares": actions(x).softmax(dim=1)},
        Because.SOFTMAX,
    ),
    "with a temperature": (
        lambda x: {"out": actions(x), "shares": torch.softmax(actions(x) / 3, 1)},
        Because.SOFTMAX,
    ),
    "cross entropy": (
        lambda x: {"out": actions(x), "l": cross_entropy(actions(x), zeros_of(x))},
        Because.SOFTMAX,
    ),
    "log softmax": (
        lambda x: {
            "out": actions(x),
            "l": nll_loss(torch.log_softmax(actions(x), 1), zeros_of(x)),
        },
        Because.SOFTMAX,
    ),
    "called logits": (lambda x: {"logits": actions(x)}, Because.LOGITS),
    "probabilities": (lambda x: actions(x).softmax(1), Because.SUMS),
    "log-probabilities": (lambda x: actions(x).log_softmax(1), Because.SOFTMAX),
    "categorical": (lambda x: Categorical(logits=actions(x)), Because.DISTRIBUTION),
    "one-hot": (lambda x: OneHotCategorical(logits=actions(x)), Because.DISTRIBUTION),
}


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_of_classes_is_seen_and_told(name):
    function, because = SIGNS[name]
    explanation = explain(Net(function))
    assert explanation.meta["task"] == "classification"
    assert explanation.meta["read_so_because"] == because
    assert explanation.meta["unit"] == "nats"
    assert f"outputs are read so because: {because}\n" in pg.Model(
        Net(function)
    ).describe(X)


def attends(x: Tensor) -> Tensor:
    """Take a softmax of other numbers of the same count, as attention and gates do."""
    return actions(x) * (x @ torch.ones(3, 3)).softmax(1)


NUMBERS = {
    "actions": (actions, Because.NOTHING),
    "an autoencoder": (lambda x: 2 * x, Because.NOTHING),
    "a gate inside": (attends, Because.NOTHING),
    "a softmin": (
        lambda x: {"out": actions(x), "shares": torch.softmax(-actions(x), 1)},
        Because.NOTHING,
    ),
    "between 0 and 1": (lambda x: actions(x).sigmoid(), Because.NOTHING),
    "normal": (lambda x: Normal(actions(x), 1.0), Because.DISTRIBUTION),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("rows", [1, 4, 120])
def test_without_one_they_are_numbers_however_few_rows(name, rows):
    function, because = NUMBERS[name]
    few = X[:rows]
    explanation = explain(Net(function), few, background=X)
    assert explanation.meta["task"] == "regression"
    assert explanation.meta["returns"] == "values"
    assert explanation.meta["read_so_because"] == because
    assert explanation.outputs == ("all",)


def test_what_a_call_says_is_a_reason_too():
    for declared in ({"target": "predicted"}, {"loss": "cross_entropy"}):
        explanation = explain(Net(actions), **declared)
        assert explanation.meta["task"] == "classification"
        assert explanation.meta["read_so_because"] == Because.ASKED
    first_two = Net(lambda x: actions(x)[:, :2])
    assert explain(pg.Model(first_two, positive="1")).meta["task"] == "classification"
    named = explain(pg.Model(Net(actions), class_names=["up", "stay", "down"]))
    assert named.meta["read_so_because"] == Because.NAMES
    stated = explain(pg.Model(Net(actions), returns="logits"))
    assert stated.meta["read_so_because"] == Because.STATED
    with_y = explain(Net(actions), y=np.arange(120) % 3)
    assert with_y.meta["read_so_because"] == Because.CLASSES
    # One model asked twice: the second call says nothing of classes.
    model = pg.Model(Net(actions))
    tasks = [
        explain(model, target=target).meta["task"] for target in ("predicted", None)
    ]
    assert tasks == ["classification", "regression"]


@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_a_scale_of_classes_is_a_reason(scale):
    explanation = explain(Net(actions), scope="local", scale=scale)
    assert explanation.meta["task"] == "classification"


def test_an_explanation_of_numbers_is_evaluated_as_such():
    net = nn.Linear(3, 3)
    few = X[:20]
    local = explain(net, few, scope="local")
    assert local.meta["task"] == "regression"
    stated = pg.Model(net, returns="values")
    as_stated = explain(stated, few, scope="local")
    options = {"metrics": ["deletion"], "n_repeats": 5, "progress": False}
    metrics_frame = local.evaluate(net, few, **options).to_frame()
    expected_frame = as_stated.evaluate(stated, few, **options).to_frame()
    pd.testing.assert_frame_equal(metrics_frame, expected_frame)


def test_labels_of_a_distribution_may_overlap():
    explanation = explain(Net(lambda x: Bernoulli(logits=actions(x))))
    assert explanation.meta["task"] == "multilabel"
    single_explanation = explain(Net(lambda x: Bernoulli(logits=actions(x)[:, :1])))
    assert single_explanation.meta["task"] == "classification"
    several = explain(Net(lambda x: Independent(Bernoulli(logits=actions(x)), 1)))
    np.testing.assert_array_equal(several.values, explanation.values)


def test_a_network_of_transformers_says_its_problem():
    net = Net(lambda x: {"logits": actions(x)})
    for problem, task in (
        ("regression", "regression"),
        ("single_label_classification", "classification"),
        ("multi_label_classification", "multilabel"),
    ):
        net.config = type("Config", (), {"problem_type": problem})()  # type: ignore[assignment]
        assert explain(net).meta["task"] == task


@pytest.mark.parametrize("framed", [False, True])
def test_a_function_is_read_as_a_network_is(framed):
    def function(rows: Any) -> Any:
        values = actions(torch.as_tensor(np.asarray(rows))).numpy()
        return pd.DataFrame(values, columns=["a", "b", "c"]) if framed else values

    explanation = explain(function, X.numpy())
    assert explanation.meta["task"] == "regression"
    assert explanation.meta["read_so_because"] == Because.NOTHING
    assert explanation.ranking()[0] == "x0"
    single = explain(function, X.numpy(), scope="local")
    assert single.outputs == (("a", "b", "c") if framed else ("0", "1", "2"))
    class_explanation = explain(function, X.numpy(), target="predicted")
    assert class_explanation.meta["task"] == "classification"


def test_a_background_may_show_that_no_probabilities_are_meant():
    def shares_at_first(x: Tensor) -> Tensor:
        shares = x.abs() / x.abs().sum(dim=1, keepdim=True)
        return torch.where(x[:, :1] > 0, shares, x)

    above = X[X[:, 0] > 0]
    assert explain(Net(shares_at_first), above).meta["task"] == "classification"
    explanation = explain(Net(shares_at_first), above, background=X)
    assert explanation.meta["task"] == "regression"
    assert explanation.meta["read_so_because"] == Because.NOTHING


# ---- the divergence of several numbers -----------------------------------------------


def test_changes_are_measured_in_units_of_each_outputs_spread():
    scales = torch.tensor([1.0, 1000.0, 0.1])
    explanation = explain(Net(lambda x: x * scales + 1), n_repeats=30)
    # Replacing a column changes one of three outputs, by twice its variance on average.
    np.testing.assert_allclose(explanation.values[:, 0], 2 / 3, rtol=0.1)
    assert explanation.meta["unit"] == "squared standard deviations"
    shifted_explanation = explain(Net(lambda x: x + 7), n_repeats=30)
    np.testing.assert_allclose(
        explanation.values, shifted_explanation.values, rtol=1e-3
    )


@pytest.mark.parametrize("method", ["permgrad", "ablation", "shapley"])
def test_every_game_measures_so(method):
    units = torch.tensor([1.0, 300.0, 0.1])
    options = {"method": method, "scope": "global"}
    explanation = explain(Net(lambda x: x.cumsum(1)), **options)
    scaled_explanation = explain(Net(lambda x: x.cumsum(1) * units), **options)
    assert explanation.values.max() > 0.1
    np.testing.assert_allclose(
        scaled_explanation.values, explanation.values, rtol=1e-3, atol=1e-6
    )


def test_one_number_alone_stays_in_its_own_unit():
    explanation = explain(Net(lambda x: 10 * x), target=1, n_repeats=30)
    variance = 100 * float(X[:, 1].var())
    assert explanation.values[1, 0] == pytest.approx(2 * variance, rel=0.2)
    assert explanation.meta["unit"] == "y²"


def test_spreads_by_hand():
    numbers = torch.randn(50, 2, generator=torch.Generator().manual_seed(2)).double()
    outputs = torch.cat([numbers, torch.full((50, 1), 3.0)], dim=1)
    expected = [*numbers.numpy().std(axis=0), 1.0]
    np.testing.assert_allclose(spread_of(outputs), expected)
    weights = np.arange(50.0) % 3
    repeated = np.repeat(numbers.numpy(), weights.astype(int), axis=0).std(axis=0)
    np.testing.assert_allclose(spread_of(outputs, weights)[:2], repeated)
    outputs[0, 0] = float("nan")
    np.testing.assert_allclose(spread_of(outputs)[:2], numbers[1:].numpy().std(axis=0))
