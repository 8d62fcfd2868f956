"""Every wrong argument of ``pg.explain`` is refused before work starts, in one sentence
with the fix.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from usual_methods import USUAL

import permgrad as pg
from permgrad import InputError
from permgrad.attribution import methods
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.base.progress import Progress


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "a": rng.normal(size=300),
            "b": rng.choice(["u", "v", "w"], size=300),
            "c": rng.normal(size=300),
        }
    )
    y = np.where(X["a"] + (X["b"] == "u") > 0.3, "yes", "no")
    return (
        pg.HyNNClassifier(
            preset="fast", image="always", max_epochs=2, random_state=0
        ).fit(X, y),
        X,
        y,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "permgrat"}, "Did you mean 'permgrad'"),
        ({"scope": "globl"}, "scope cannot be 'globl'. Did you mean 'global'?"),
        ({"target": 9}, "No output 9. The outputs are no, yes."),
        ({"target": "maybe"}, "No output 'maybe'. The outputs are no, yes."),
        ({"target": []}, "target names no output"),
        ({"scale": "probabilities"}, "Did you mean 'probability'"),
        (
            {"groups": "modalities"},
            "groups must be a mapping of names to lists of features, got 'modalities'",
        ),
        ({"groups": {"g": ["aa"]}}, "Group 'g' names 'aa'"),
        ({"groups": {"g": ["a"], "h": ["a"]}}, "in one group only"),
        ({"groups": {"g": []}}, "'g' is empty"),
        ({"groups": {"c": ["a", "b"]}}, "has the name of a feature outside it"),
        ({"background": 3}, "background must be rows like X"),
        (
            {"sampling": "cond"},
            "sampling cannot be 'cond'. Did you mean 'conditional'?",
        ),
        (
            {"loss": "squared_error"},
            "loss='squared_error' cannot be used for classification",
        ),
        ({"loss": "crossentropy"}, "Did you mean 'cross_entropy'"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
        ({"n_repeats": 0}, "n_repeats must be an integer of at least 1"),
        ({"n_repeats": 2.5}, "n_repeats must be an integer"),
        ({"batch_size": 0}, "batch_size must be 'auto'"),
        ({"random_state": -1}, "random_state must be at least 0"),
        ({"sample_weight": [1.0]}, "sample_weight must have one value for each of the"),
        ({"sample_weight": np.full(300, -1.0)}, "at least 0"),
        ({"progress": "yes"}, "progress must be"),
    ],
)
def test_wrong_arguments(fitted, arguments, message):
    model, X, y = fitted
    with pytest.raises(InputError) as caught:
        explain_with(model, X, y, **{"progress": False, **arguments})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda X: X.assign(z=1),
            "also has 'z'. Pass background[model.feature_names_in_]. [PG038]",
        ),
        (lambda X: X[["a"]], "lacks 'b', 'c'. Pass rows like X. [PG038]"),
        (
            lambda X: X[["a", "c"]].assign(z=1),
            "lacks 'b' and also has 'z'. Pass rows like X. [PG038]",
        ),
        (
            lambda X: X[["c", "b", "a"]],
            (
                "has them in another order. Pass background[model.feature_names_in_]. "
                "[PG038]"
            ),
        ),
    ],
)
def test_columns_of_a_background_are_said_to_be_its_own(fitted, change, message):
    model, X, y = fitted
    with pytest.raises(InputError) as caught:
        pg.explain(model, X, y, background=change(X), progress=False)
    rule = (
        "background must have the columns of the training data in the same order, "
        "but it "
    )
    assert str(caught.value) == rule + message


def test_other_faults_of_a_background_are_said_to_be_its_own(fitted):
    model, X, y = fitted
    for background, words in (
        (X[:0], ("background has no rows. Pass rows like X.",)),
        (X.assign(a="t"), ("'a'", "'t'")),
        (X.set_axis(["a", "a", "c"], axis=1), ("'a'",)),
        (X.to_numpy()[:, :2], ("2 features", "3 features")),
    ):
        with pytest.raises(InputError, match=r"^background") as caught:
            pg.explain(model, X, y, background=background, progress=False)
        assert all(word in str(caught.value) for word in words)
        assert "\n" not in str(caught.value)


def test_wrong_targets_of_a_regression_model():
    outputs = OutputForm("regression", "values", 1, (), ("all",))
    np.testing.assert_array_equal(outputs.encode_target([1, 2.5], 2), [1.0, 2.5])
    with pytest.raises(
        InputError, match=r"y has 2 non-finite values\. Leave those rows out"
    ):
        outputs.encode_target([np.inf, 1.0, -np.inf], 3)
    with pytest.raises(InputError, match=r"y has 1 missing value\. Leave that row out"):
        outputs.encode_target([np.inf, 1.0, np.nan], 3)
    with pytest.raises(
        InputError,
        match=r"y must have 1 number per row, .* Pass such numbers, or .*fit a "
        r"classifier",
    ):
        outputs.encode_target(["a", "b"], 2)


def test_wrong_rows_and_targets(fitted):
    model, X, y = fitted
    with pytest.raises(InputError, match="one value for each of the 300 rows"):
        pg.explain(model, X, y[:10])
    with pytest.raises(InputError, match="got 'perhaps'"):
        pg.explain(model, X, np.where(y == "yes", "perhaps", y))
    with pytest.raises(InputError, match="got 'perhaps'"):
        pg.explain(model, X, np.where(np.arange(len(y)) == 299, "perhaps", "no"))
    with pytest.raises(InputError, match=r"at least (one|1) row|has no rows"):
        pg.explain(model, X.iloc[:0], y[:0])
    with pytest.raises(ValueError, match=r"feature names|columns"):
        pg.explain(model, X.drop(columns="b"), y)


def test_wrong_models(fitted):
    _, X, y = fitted
    with pytest.raises(
        InputError, match=r"got the class HyNNClassifier. Create an instance and fit it"
    ):
        pg.explain(pg.HyNNClassifier, X, y)
    with pytest.raises(InputError, match="The model must be a torch network"):
        pg.explain(object(), X, y)
    with pytest.raises(
        InputError,
        match=r"The model must be .* got 'model\.pkl'\. Load the model first",
    ):
        pg.explain("model.pkl", X, y)
    with pytest.raises(
        InputError, match=r"The HyNNClassifier is not fitted yet\. Call its fit first"
    ):
        pg.explain(pg.HyNNClassifier(), X, y)


def test_levels_groups_and_targets(fitted):
    model, X, y = fitted
    arguments = {"n_repeats": 2, "random_state": 0}
    assert explain_with(model, X, y, **arguments).names == ("a", "b", "c")
    assert explain_with(model, X, y, groups="modality", **arguments).names == ("table",)
    grouped = explain_with(model, X, y, groups={"both": ["a", "b"]}, **arguments)
    assert grouped.names == ("both", "c")
    assert grouped.level == "group"
    assert explain_with(model, X, y, target="yes", **arguments).outputs == (
        "all",
        "yes",
    )
    assert explain_with(model, X, scope="local", target=[0], **arguments).outputs == (
        "no",
    )
    for numbers in (np.array(1), torch.tensor(1), torch.tensor([1])):
        assert explain_with(
            model, X, scope="local", target=numbers, **arguments
        ).outputs == ("yes",)


def test_groups_move_together(fitted):
    model, X, y = fitted
    modality_explanation = pg.explain(
        model, X, y, groups="modality", n_repeats=4, random_state=0
    )
    grouped = pg.explain(
        model, X, y, groups={"table": ["a", "b", "c"]}, n_repeats=4, random_state=0
    )
    np.testing.assert_allclose(
        grouped.values,
        modality_explanation.values,
        atol=1e-12,
        err_msg="one group of everything is the modality",
    )


def test_without_y_the_divergence_is_measured_and_is_never_negative(fitted):
    model, X, _ = fitted
    explanation = pg.explain(model, X, n_repeats=2, random_state=0)
    assert explanation.meta["quantity"] == "divergence from the model's own prediction"
    assert (explanation.values[:, 0] > 0).all()
    assert explanation.outputs == ("all", "no", "yes")


@pytest.mark.slow
def test_weights_of_zero_leave_rows_out(fitted):
    model, X, y = fitted
    kept_mask = np.arange(300) % 3 > 0
    background = X.iloc[:250]
    weighted = pg.explain(
        model,
        X,
        y,
        background=background,
        sample_weight=kept_mask.astype(float),
        n_repeats=300,
        random_state=0,
    )
    subset = pg.explain(
        model,
        X[kept_mask],
        y[kept_mask],
        background=background,
        n_repeats=300,
        random_state=0,
    )
    scale = subset.std_error[:, 0].max()
    np.testing.assert_allclose(
        weighted.values[:, 0], subset.values[:, 0], atol=3 * scale
    )
    assert np.abs(weighted.values[0, 0]) > 10 * scale


def test_direction_follows_the_function(fitted):
    model, X, y = fitted
    trend = pg.explain(model, X, y, n_repeats=1, random_state=0).direction
    rising = [row[1] for row in trend["a"]["mean"]]
    assert rising[-1] > rising[0] + 0.1, "a pushes towards yes"
    assert trend["b"]["kind"] == "levels"
    by_level = dict(zip(trend["b"]["label"], trend["b"]["mean"], strict=True))
    assert by_level["u"][1] > by_level["v"][1]


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        (name, scope)
        for name in USUAL
        for scope in methods.get(name).scopes
        if name != "aggregate"
    ],
)
def test_bars_end_where_the_work_ends(fitted, method, scope, monkeypatch):
    model, X, y = fitted
    bars: dict[int, list[float]] = {}
    plain_init = Progress.__init__
    advance = Progress.advance

    def begin(self, total, *rest):
        bars[id(self)] = [total, 0, self]
        plain_init(self, total, *rest)

    def step(self, steps=1):
        bars[id(self)][1] += steps
        advance(self, steps)

    monkeypatch.setattr(Progress, "__init__", begin)
    monkeypatch.setattr(Progress, "advance", step)
    few = {"shapley": {"exact": 8}, "lime": {"samples": 50}}.get(method, {})
    explain_with(
        model,
        X[:40],
        y[:40],
        method=method,
        scope=scope,
        progress=False,
        random_state=0,
        n_repeats=2,
        **few,
    )
    assert all(done == total for total, done, _ in bars.values()), bars
    assert bars or method in ("gradient", "permgrad_paper")
