"""Baselines: every registered one learns, repeats itself and says when its library is missing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from permgrad._errors import EnvironmentProblem, InputError
from permgrad.evaluation import baselines as module
from permgrad.evaluation.baselines import Part, baselines, fit_baseline, run_baselines
from permgrad.evaluation.metrics import metrics

NAMES = ["random_forest", "extra_trees", "bagging", "lightgbm", "xgboost"]


def parts(task: str, n_classes: int = 3):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(450, 4)).astype(np.float32)
    signal = X[:, 0] + 0.5 * X[:, 1] ** 2
    if task == "regression":
        y = signal + rng.normal(0, 0.1, 450)
    else:
        y = np.array(["low", "mid", "top"])[np.digitize(signal, np.quantile(signal, [0.33, 0.66]))]
    return [Part(X[keep], y[keep]) for keep in (slice(250), slice(250, 350), slice(350, 450))]


def test_the_contract_names():
    assert baselines.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_learns_and_repeats(name, task):
    if not baselines.get(name).available():
        pytest.skip(f"{baselines.get(name).package} is not installed")
    train, validation, test = parts(task)
    fitted = [fit_baseline(name, task, train, validation, seed=3) for _ in range(2)]
    score = fitted[0].evaluate(test)
    assert score["r2" if task == "regression" else "accuracy"] > 0.75
    np.testing.assert_array_equal(fitted[0].predict(test.encoded), fitted[1].predict(test.encoded))
    assert fitted[0].seconds > 0
    if name in ("lightgbm", "xgboost"):
        model = fitted[0].model
        stopped = model.best_iteration_ if name == "lightgbm" else model.best_iteration
        assert 0 < stopped < module.ROUNDS, "boosting must stop on the validation rows"


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_training_rows_gets_probability_zero(name):
    if not baselines.get(name).available():
        pytest.skip(f"{baselines.get(name).package} is not installed")
    train, validation, test = parts("classification")
    keep = train.y != "mid"
    fitted = fit_baseline(
        name, "classification", Part(train.encoded[keep], train.y[keep]), validation, classes=["top", "mid", "low"]
    )
    table = fitted.predict_proba(test.encoded)
    assert table.shape == (100, 3)
    assert np.all(table[:, 1] == 0)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-6)
    score = fitted.evaluate(test)
    assert score["labels"] == ["top", "mid", "low"]
    assert 0.3 < score["accuracy"] < 0.8


def test_run_gives_metrics_times_and_validation():
    train, validation, test = parts("regression")
    result = run_baselines("regression", train, validation, test, names=["extra_trees", "bagging"])
    assert list(result) == ["extra_trees", "bagging"]
    for score in result.values():
        assert {name for name in metrics if metrics.get(name).task == "regression"} <= set(score)
        assert score["validation"]["rmse"] > 0
        assert score["fit_seconds"] > 0
    without = run_baselines("regression", train, None, test, names=["extra_trees"])
    assert without["extra_trees"]["validation"] is None


def test_without_validation_rows_boosting_runs_a_fixed_number_of_rounds():
    pytest.importorskip("xgboost")
    train, _, _ = parts("regression")
    assert fit_baseline("xgboost", "regression", train).model.get_booster().num_boosted_rounds() == 200


def test_a_missing_library_is_reported_or_raised(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "lightgbm" else find(name))
    train, validation, test = parts("classification")
    message = (
        "baselines need their libraries, however: lightgbm for 'lightgbm' cannot be imported; "
        "install the extra with: pip install 'permgrad[baselines]'"
    )
    result = run_baselines("classification", train, validation, test, names=["lightgbm", "extra_trees"])
    assert result["lightgbm"]["problem"] == message
    assert result["lightgbm"]["accuracy"] is None
    assert result["extra_trees"]["accuracy"] > 0.7
    with pytest.raises(EnvironmentProblem) as caught:
        run_baselines("classification", train, validation, test, names=["lightgbm"], on_missing="raise")
    assert str(caught.value) == message
    with pytest.raises(EnvironmentProblem):
        fit_baseline("lightgbm", "classification", train)


def test_nothing_is_printed_and_no_global_state_changes(capfd, recwarn):
    from threadpoolctl import threadpool_info

    train, validation, test = parts("classification")
    run_baselines("classification", train, validation, test, names=["random_forest"])
    before, state = [pool["num_threads"] for pool in threadpool_info()], np.random.get_state()[1].copy()
    run_baselines("classification", train, validation, test, threads=2)
    after = [pool["num_threads"] for pool in threadpool_info()]
    assert after[: len(before)] == before
    assert np.array_equal(np.random.get_state()[1], state)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert [str(warning.message) for warning in recwarn] == []


def test_bad_input():
    train, validation, test = parts("classification")
    with pytest.raises(InputError, match="did you mean 'xgboost'"):
        fit_baseline("xgbost", "classification", train)
    with pytest.raises(InputError, match="the training rows have one"):
        fit_baseline("bagging", "classification", Part(train.encoded, np.full(250, "a")))
    with pytest.raises(InputError, match="classes must contain every class"):
        fit_baseline("bagging", "classification", train, classes=["low", "top"])
    with pytest.raises(InputError, match="on_missing must be 'report' or 'raise'"):
        run_baselines("classification", train, validation, test, on_missing="ignore")
    with pytest.raises(InputError, match="as many y"):
        Part(train.encoded, train.y[:3])
