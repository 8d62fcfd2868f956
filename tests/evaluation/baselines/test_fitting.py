"""Baselines: every registered one learns, repeats itself and says when its library is
missing.
"""

from __future__ import annotations

import importlib.util
import inspect
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks.quality._natural import natural_table

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.data.encode.encoding import TableEncoder
from permgrad.evaluation.baselines.fitting import (
    BaselineRows,
    baselines,
    fit_baseline,
    run_baselines,
)
from permgrad.evaluation.metrics import metrics
from permgrad.models.libraries.boosted import BoostedTrees
from permgrad.models.libraries.job import ROUNDS

NAMES = [
    "random_forest",
    "extra_trees",
    "bagging",
    "lightgbm",
    "xgboost",
    "catboost",
    "histogram_boosting",
    "linear",
    "mlp",
    "tabm",
    "realmlp",
]
PEERS = ("tabm", "realmlp")
COSTLY = PEERS
# Enough to learn the small tables here; the defaults are for real ones.
SHORT = {
    "tabm": {"n_epochs": 12, "tabm_k": 4, "d_block": 64, "batch_size": 64},
    "realmlp": {"n_epochs": 100},
}


def skip_without(name):
    baseline = baselines.get(name)
    if not baseline.available():
        pytest.skip(f"{baseline.package} is not installed (extra {baseline.extra!r})")


def parts(task: str, n_classes: int = 3):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(450, 4)).astype(np.float32)
    signal = X[:, 0] + 0.5 * X[:, 1] ** 2
    if task == "regression":
        y = signal + rng.normal(0, 0.1, 450)
    else:
        y = np.array(["low", "mid", "top"])[
            np.digitize(signal, np.quantile(signal, [0.33, 0.66]))
        ]
    return [
        BaselineRows(X[keep], y[keep])
        for keep in (slice(250), slice(250, 350), slice(350, 450))
    ]


def in_parts(*rows):
    return dict(zip(("train", "validation", "test"), rows, strict=True))


def test_the_contract_names():
    assert list(baselines) == NAMES
    assert tuple(name for name in NAMES if baselines.get(name).costly) == COSTLY


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_learns_and_repeats(name, task):
    skip_without(name)
    train, validation, test = parts(task)
    fitted = [
        fit_baseline(name, task, train, validation, seed=3, options=SHORT.get(name, {}))
        for _ in range(2)
    ]
    score = fitted[0].evaluate(test)
    # The target bends, which a linear model cannot follow.
    floor = 0.55 if name == "linear" else 0.75
    assert score["r2" if task == "regression" else "accuracy"] > floor
    np.testing.assert_array_equal(
        fitted[0].guess(test.encoded), fitted[1].guess(test.encoded)
    )
    assert fitted[0].seconds > 0
    assert fitted[0].processor_seconds > 0
    if name in ("lightgbm", "xgboost"):
        assert 0 < len(fitted[0].model.trees.roots) < ROUNDS, (
            "boosting must stop on the validation rows"
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_training_rows_gets_probability_zero(name):
    skip_without(name)
    train, validation, test = parts("classification")
    keep = train.y != "mid"
    fitted = fit_baseline(
        name,
        "classification",
        train.take(keep),
        validation,
        classes=["top", "mid", "low"],
        options=SHORT.get(name, {}),
    )
    table = fitted.guess(test.encoded)
    assert table.shape == (100, 3)
    assert np.all(table[:, 1] == 0)
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-6)
    score = fitted.evaluate(test)
    assert score["labels"] == ["top", "mid", "low"]
    assert 0.3 < score["accuracy"] < 0.8


def test_run_gives_metrics_times_and_validation():
    train, validation, test = parts("regression")
    result = run_baselines(
        "regression",
        in_parts(train, validation, test),
        names=["extra_trees", "bagging"],
    )
    assert list(result) == ["extra_trees", "bagging"]
    for score in result.values():
        assert {
            metric.name
            for metric in metrics.values()
            if metric.task == "regression" and not metric.counts
        } <= set(score)
        assert score["validation"]["rmse"] > 0
        assert score["fit_seconds"] > 0
        assert score["fit_processor_seconds"] > 0
    without = run_baselines(
        "regression", {"train": train, "test": test}, names=["extra_trees"]
    )
    assert without["extra_trees"]["validation"] is None


def test_without_validation_rows_boosting_runs_a_fixed_number_of_rounds():
    pytest.importorskip("xgboost")
    train, _, _ = parts("regression")
    assert len(fit_baseline("xgboost", "regression", train).model.trees.roots) == 200


def test_a_missing_library_is_refused(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "lightgbm" else find(name),
    )
    train, validation, test = parts("classification")
    message = (
        "lightgbm is not installed (needed for 'lightgbm'). Run pip install "
        "'permgrad[boost]'."
    )
    with pytest.raises(EnvironmentProblem, match="lightgbm is not installed"):
        run_baselines(
            "classification",
            in_parts(train, validation, test),
            names=["lightgbm", "extra_trees"],
        )
    with pytest.raises(EnvironmentProblem) as caught:
        fit_baseline("lightgbm", "classification", train)
    assert str(caught.value) == f"{message} [PG060]"


BOOSTING = ("lightgbm", "xgboost", "catboost", "histogram_boosting")


@pytest.mark.parametrize("name", BOOSTING)
@pytest.mark.parametrize(
    "task", ["regression", "counts", "two classes", "three classes"]
)
def test_trees_predict_as_their_library(name, task, monkeypatch):
    skip_without(name)
    train, _, test = parts(
        "regression" if task in {"regression", "counts"} else "classification"
    )
    if task == "counts":
        train = BaselineRows(
            train.encoded, np.random.default_rng(0).poisson(np.exp(train.encoded[:, 0]))
        )
    if task == "two classes":
        train = train.take(train.y != "mid")
    models = []
    of = BoostedTrees.of
    monkeypatch.setattr(
        BoostedTrees,
        "of",
        lambda model, *rest, **facts: (models.append(model), of(model, *rest, **facts))[
            1
        ],
    )
    classify = task.endswith("classes")
    kind = "classification" if classify else "regression"
    fitted = fit_baseline(name, kind, train, counts=task == "counts")
    [model] = models
    expected = (
        model.predict_proba(test.encoded) if classify else model.predict(test.encoded)
    )
    np.testing.assert_allclose(fitted.guess(test), expected, rtol=1e-5, atol=1e-6)


def test_settings_that_make_other_trees_are_refused():
    pytest.importorskip("lightgbm")
    train, _, _ = parts("classification")
    two = train.take(train.y != "mid")
    rf = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
    with pytest.raises(
        InputError, match="cannot be read as trees: its trees are averaged"
    ):
        fit_baseline("lightgbm", "classification", two, options=rf)
    with pytest.raises(
        InputError, match="predicts something else than the sum of its trees"
    ):
        fit_baseline("lightgbm", "classification", two, options={"sigmoid": 3.0})


@pytest.mark.parametrize(
    "names", [["lightgbm", "linear", "mlp"], pytest.param(None, marks=pytest.mark.slow)]
)
def test_nothing_is_printed_and_no_global_state_changes(names, capfd, recwarn):
    from threadpoolctl import threadpool_info

    train, validation, test = parts("classification")
    run_baselines(
        "classification",
        in_parts(train, validation, test),
        names=["histogram_boosting"],
    )
    before = [pool["num_threads"] for pool in threadpool_info()]
    state = np.random.get_state()[1].copy()
    torch_state = torch.random.get_rng_state()
    torch_threads = torch.get_num_threads()
    result = run_baselines(
        "classification", in_parts(train, validation, test), names=names, threads=2
    )
    installed = [
        name for name in NAMES if name not in COSTLY and baselines.get(name).available()
    ]
    assert list(result) == (names or installed)
    after = [pool["num_threads"] for pool in threadpool_info()]
    assert after[: len(before)] == before
    assert np.array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert torch.get_num_threads() == torch_threads
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", ["mlp", "lightgbm"])
def test_threads_to_come_compute_with_as_many_as_before(name, threads):
    """Torch keeps their number apart from that of the thread that fits."""
    if not baselines.get(name).available():
        pytest.skip(f"{name} is not installed")

    def in_a_new_thread():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    train, *_ = parts("regression")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert in_a_new_thread() == 2
        short = {
            "mlp": {"epochs_without_validation": 2},
            "lightgbm": {"n_estimators": 5},
        }[name]
        fit_baseline(name, "regression", train, threads=threads, options=short)
        assert (torch.get_num_threads(), in_a_new_thread()) == (2, 2)
    finally:
        torch.set_num_threads(before)


def test_bad_input():
    train, _validation, _test = parts("classification")
    with pytest.raises(InputError, match="Did you mean 'xgboost'"):
        fit_baseline("xgbost", "classification", train)
    with pytest.raises(InputError, match="The training rows have only one class"):
        fit_baseline(
            "bagging", "classification", BaselineRows(train.encoded, np.full(250, "a"))
        )
    with pytest.raises(InputError, match="classes lack a class of the training rows"):
        fit_baseline("bagging", "classification", train, classes=["low", "top"])


def test_the_mlp_keeps_its_best_epoch_and_stops():
    train, validation, _ = parts("classification")
    model = fit_baseline("mlp", "classification", train, validation).model
    assert 0 < model.best_epoch < model.epochs - 1, "it must have gone on past its best"
    assert model.epochs == model.best_epoch + 1 + model.options.patience
    again = fit_baseline(
        "mlp",
        "classification",
        train,
        validation,
        options={"max_epochs": model.best_epoch + 1, "patience": 10**6},
    ).model
    # Stopped exactly at the best epoch, the same weights come out.
    np.testing.assert_array_equal(
        model.predict_proba(train.encoded), again.predict_proba(train.encoded)
    )


def test_the_mlp_does_not_see_units():
    train, validation, test = parts("regression")
    plain = fit_baseline("mlp", "regression", train, validation).guess(test.encoded)
    scaled = [
        BaselineRows(baseline_rows.encoded * 1000 + 5, baseline_rows.y * 1e6 - 7)
        for baseline_rows in (train, validation, test)
    ]
    scaled_predictions = fit_baseline("mlp", "regression", *scaled[:2]).guess(
        scaled[2].encoded
    )
    np.testing.assert_allclose(scaled_predictions, plain * 1e6 - 7, atol=0.02e6)


def test_linear_is_the_closed_form():
    train, validation, test = parts("regression")
    fitted = fit_baseline(
        "linear", "regression", train, validation, options={"alpha": 1.0}
    )
    scaled = (train.encoded - train.encoded.mean(axis=0)) / train.encoded.std(axis=0)
    standardised_rows = (test.encoded - train.encoded.mean(axis=0)) / train.encoded.std(
        axis=0
    )
    weights = np.linalg.solve(
        scaled.T @ scaled + np.eye(4), scaled.T @ (train.y - train.y.mean())
    )
    np.testing.assert_allclose(
        fitted.guess(test), standardised_rows @ weights + train.y.mean(), atol=1e-5
    )


def spectra(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fifty columns that are nearly one another, as points of a curve, of which a small
    difference is the target.
    """
    rng = np.random.default_rng(seed)
    level, bump = rng.normal(size=(2, rows))
    wavelengths = np.linspace(0, 1, 50)
    x = 5 * level[:, None] + 0.1 * bump[:, None] * np.exp(
        -(((wavelengths - 0.4) / 0.1) ** 2)
    )
    return x + 0.001 * rng.normal(size=x.shape), bump + 0.1 * rng.normal(size=rows)


def test_the_penalty_of_a_linear_model_is_that_of_least_error_left_out():
    (x, y), (held_out_rows, truth) = spectra(150), spectra(400, 1)
    fitted = fit_baseline("linear", "regression", BaselineRows(x, y))
    penalty = fitted.model[-1].alpha
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)

    def left_out(alpha: float) -> float:
        """The squared error of rows left out one by one, from the hat matrix."""
        with_mean = np.column_stack([np.ones(len(x)), scaled])
        shrunk = alpha * np.diag([0.0, *np.ones(50)])
        hat = with_mean @ np.linalg.solve(with_mean.T @ with_mean + shrunk, with_mean.T)
        return float(np.mean(((y - hat @ y) / (1 - np.diag(hat))) ** 2))

    assert left_out(penalty) <= min(map(left_out, (penalty / 5, penalty * 5, 1.0))) * (
        1 + 1e-6
    )
    usual = fit_baseline(
        "linear", "regression", BaselineRows(x, y), options={"alpha": 1.0}
    )
    errors = [
        np.mean((model.guess(held_out_rows) - truth) ** 2) for model in (fitted, usual)
    ]
    assert errors[0] < 0.2 * errors[1], (
        "the library's own penalty hides small differences of columns"
    )


def test_the_strength_of_a_logistic_model_is_chosen_on_rows_left_out():
    x, y = spectra(300)
    fitted = fit_baseline(
        "linear", "classification", BaselineRows(x, (y > 0).astype(int)), classes=(0, 1)
    )
    assert fitted.model[-1].C == 100.0, "here the weakest penalty is best by far"
    noise = BaselineRows(
        np.random.default_rng(0).normal(size=(300, 20)), (y > 0).astype(int)
    )
    assert (
        fit_baseline("linear", "classification", noise, classes=(0, 1)).model[-1].C
        <= 0.1
    )
    few = BaselineRows(x, (np.arange(300) < 9).astype(int))
    assert (
        fit_baseline("linear", "classification", few, classes=(0, 1)).model[-1].C == 1.0
    )


def test_histogram_boosting_goes_back_to_its_best_round():
    from sklearn.ensemble import HistGradientBoostingRegressor

    if "X_val" not in inspect.signature(HistGradientBoostingRegressor.fit).parameters:
        pytest.skip(
            "scikit-learn takes validation rows from 1.7 on; before it the number of "
            "rounds is fixed"
        )
    train, validation, _ = parts("regression")
    fitted = fit_baseline("histogram_boosting", "regression", train, validation)
    rounds = len(fitted.model.trees.roots)
    assert 0 < rounds < ROUNDS
    again = fit_baseline(
        "histogram_boosting", "regression", train, options={"max_iter": rounds}
    )
    np.testing.assert_array_equal(fitted.guess(validation), again.guess(validation))
    best = fitted.evaluate(validation)["mse"]
    for other_rounds in (rounds // 2, rounds * 2):
        again = fit_baseline(
            "histogram_boosting",
            "regression",
            train,
            options={"max_iter": other_rounds},
        )
        assert again.evaluate(validation)["mse"] >= best


def mixed_table(rows: int = 240):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({
        "age": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(50, 10, rows)),
        "town": rng.choice(["Bonn", "Ulm", "Jena"], rows),
        "soil1": 0, "soil2": 0, "soil3": 0,
        "dose": rng.normal(size=rows),
    })  # fmt: skip
    soil = rng.integers(0, 4, rows)  # 3: none of them
    for level in range(3):
        frame[f"soil{level + 1}"] = (soil == level).astype(int)
    y = (
        (frame["dose"] + (frame["town"] == "Ulm") + (soil == 1) > 0.7)
        .to_numpy()
        .astype(int)
    )
    return frame, soil, y


def test_the_natural_table_holds_what_the_raw_table_holds():
    frame, soil, _ = mixed_table()
    encoder = TableEncoder(
        "standard", groups={"soil": ["soil1", "soil2", "soil3"]}
    ).fit(frame[:160])
    table = natural_table(encoder, encoder.transform(frame[160:]))
    assert sorted(table.columns) == ["age", "age=?", "dose", "soil=?", "town=?"]
    held_out_frame = frame[160:]
    assert held_out_frame["age"].isna().any(), "the case must have missing values"
    np.testing.assert_array_equal(
        table["age=?"].astype(int) == 1, held_out_frame["age"].isna()
    )
    # An affine map of the raw numbers, and the median where there were none.
    there = held_out_frame["age"].notna().to_numpy()
    assert (
        np.corrcoef(table["age"][there], held_out_frame["age"][there])[0, 1] > 1 - 1e-9
    )
    assert len(np.unique(table["age"][~there])) == 1
    np.testing.assert_array_equal(
        table["soil=?"].astype(int), np.where(soil[160:] == 3, 0, soil[160:] + 1)
    )
    pairs = set(zip(held_out_frame["town"], table["town=?"].astype(int), strict=True))
    assert len(pairs) == 3, "towns and levels must go together one to one"
    single_row_table = natural_table(encoder, encoder.transform(frame[:1]))
    assert (single_row_table.dtypes == table.dtypes).all(), (
        "one row must have the categories of all"
    )


@pytest.mark.parametrize("name", PEERS)
def test_peers_take_categories_as_they_are(name, capfd, recwarn):
    skip_without(name)
    frame, _, y = mixed_table()
    encoder = TableEncoder(
        "standard", groups={"soil": ["soil1", "soil2", "soil3"]}
    ).fit(frame[:160])
    encoded_parts = [
        encoder.transform(frame[rows])
        for rows in (slice(120), slice(120, 180), slice(180, 240))
    ]
    train, validation, test = (
        BaselineRows(natural_table(encoder, encoded_rows), y[rows])
        for encoded_rows, rows in zip(
            encoded_parts, (slice(120), slice(120, 180), slice(180, 240)), strict=True
        )
    )
    fitted = fit_baseline(
        name, "classification", train, validation, options=SHORT[name]
    )
    assert fitted.evaluate(test)["roc_auc"] > 0.75
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_peer_names_its_extra(name, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda wanted: None if wanted == "pytabkit" else find(wanted),
    )
    train, _, _ = parts("regression")
    with pytest.raises(EnvironmentProblem) as caught:
        fit_baseline(name, "regression", train)
    assert str(caught.value) == (
        f"pytabkit is not installed (needed for '{name}'). Run pip install "
        "'permgrad[tabular-peers]'. [PG060]"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_target_far_from_zero_is_learned_as_well(name):
    skip_without(name)
    rows = parts("regression")
    scores = []
    for target_offset in (0.0, -3e9, 8e6):
        train, validation, test = (
            BaselineRows(baseline_rows.encoded, baseline_rows.y + target_offset)
            for baseline_rows in rows
        )
        options = SHORT.get(name, {})
        scores.append(
            fit_baseline(
                name, "regression", train, validation, options=options
            ).evaluate(test)["r2"]
        )
    assert max(scores) - min(scores) < 0.02
