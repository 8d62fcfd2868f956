"""``permgrad tune --model``: the settings of other models are searched, kept, and given
to a run.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from invoking import call
from typer.testing import CliRunner

from permgrad.base.errors import InputError, PermgradError
from permgrad.cli import app
from permgrad.evaluation.baselines.fitting import (
    BaselineRows,
    baselines,
    fit_baseline,
    read_settings,
    settings_names,
)
from permgrad.evaluation.metrics import evaluate
from permgrad.models.save.saving import load
from permgrad.runs.options import TUNED
from permgrad.runs.requests import RunRequest
from permgrad.tuning.model_spaces import _START, SEARCHED, space_of_model

optuna = pytest.importorskip("optuna")
pytest.importorskip("lightgbm")
OTHERS = [name for name in TUNED if name != "network"]


def installed(name):
    needs = [
        baselines.get(name).package,
        "skops" * (baselines.get(name).file == "skops"),
    ]
    return all(find_spec(package_name) for package_name in needs if package_name)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, 240), "dose": rng.uniform(0, 1, 240)}
    )
    frame["town"] = rng.choice(["Bonn", "Ulm", "Kiel"], 240)
    frame["score"] = (
        frame["age"] / 10 + np.sin(6 * frame["dose"]) + 0.3 * rng.normal(size=240)
    ).round(3)
    frame["ill"] = np.where(frame["score"] > 5.4, "yes", "no")
    path = tmp_path_factory.mktemp("tune") / "table.csv"
    frame.to_csv(path, index=False)
    return path


def words(table, out, *more, target="ill", model="lightgbm", trials=5):
    drop = "score" if target == "ill" else "ill"
    return [
        "tune",
        table,
        "--target",
        target,
        "--drop",
        drop,
        "-m",
        model,
        "--trials",
        trials,
        "--out",
        out,
        *more,
    ]


@pytest.fixture(scope="module")
def tuned(table):
    """A study of five trials."""
    call(*words(table, table.parent / "study"))
    return table.parent / "study"


def test_the_best_trial_is_the_run(table, tuned):
    trials = pd.read_csv(tuned / "trials.csv")
    assert trials["state"].eq("complete").all()
    assert trials["validation_loss"].nunique() > 2
    best = trials.loc[trials["validation_loss"].idxmin()]
    stored = json.loads((tuned / "preset.json").read_text())
    assert stored["model"] == "lightgbm"
    assert all(stored["settings"][name] == best[name] for name in stored["settings"])
    metrics = json.loads((tuned / "metrics.json").read_text())
    assert metrics["validation"]["log_loss"] == pytest.approx(
        best["validation_loss"], abs=1e-9
    )
    page = (tuned / "tuning.html").read_text(encoding="utf8")
    assert "usual LightGBM" in page
    assert "Learning curves" not in page


def test_its_command_trains_the_same_model_again(table, tuned, tmp_path):
    again = json.loads((tuned / "tune.json").read_text())["finished"]["again"].split()[
        1:
    ]
    call(*again, "--out", tmp_path / "run", "-q")
    for name in ("predictions.csv", "importance.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tuned / name).read_bytes(), (
            name
        )


@pytest.mark.slow
def test_a_finished_study_goes_on_where_it_ended(table, tuned, tmp_path):
    assert "Nothing was changed" in call(*words(table, tuned))
    call(*words(table, tmp_path / "three", trials=3))
    call(*words(table, tmp_path / "three", trials=5))
    assert (tmp_path / "three" / "trials.csv").read_bytes() == (
        tuned / "trials.csv"
    ).read_bytes()


def test_a_space_of_the_users_own_searches_any_setting(table, tmp_path):
    (tmp_path / "space.json").write_text(
        json.dumps(
            {
                "parameters": {
                    "max_bin": {"choices": [8, 255]},
                    "num_leaves": {"low": 2, "high": 9},
                }
            }
        )
    )
    call(
        *words(
            table,
            tmp_path / "study",
            "--space",
            tmp_path / "space.json",
            target="score",
            trials=4,
        )
    )
    trials = pd.read_csv(tmp_path / "study" / "trials.csv")
    assert set(trials["max_bin"].dropna()) <= {8, 255}
    assert trials["num_leaves"].dropna().between(2, 9).all()
    model = load(tmp_path / "study" / "model")
    frame = pd.read_csv(table)[["age", "dose", "town"]]
    stored = pd.read_csv(tmp_path / "study" / "predictions.csv")
    np.testing.assert_allclose(
        model.predict(frame.iloc[stored["row"]]), stored["prediction"], atol=1e-9
    )


@pytest.mark.parametrize("name", OTHERS)
def test_every_range_is_of_settings_that_its_library_takes(name):
    if not installed(name):
        pytest.skip(f"{name} or skops is not installed")
    space = space_of_model(name)
    assert space.base is not None
    assert set(space.start) == set(_START[name])
    for task in ("classification", "regression"):
        assert set(SEARCHED[name]) <= set(settings_names(name, task))
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4)).astype(np.float32)
    y = (rows[:, 0] + rows[:, 1] ** 2 + 0.3 * rng.normal(size=200) > 0).astype(np.int64)
    row_parts = (BaselineRows(rows[:120], y[:120]), BaselineRows(rows[120:], y[120:]))
    losses = []
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(4):
        settings = space.build(study.ask())["settings"]
        fitted = fit_baseline(name, "classification", *row_parts, options=settings)
        chances = fitted.guess(row_parts[1])
        losses.append(
            evaluate("classification", y[120:], probabilities=chances, classes=[0, 1])[
                "log_loss"
            ]
        )
    assert len(set(losses)) > 2  # the settings arrive
    # The values of trial 0 are those of the comparison.
    usual, start_model = (
        fit_baseline(name, "classification", *row_parts, options=model_settings)
        for model_settings in ({}, dict(space.start))
    )
    np.testing.assert_allclose(
        usual.guess(row_parts[1]), start_model.guess(row_parts[1]), atol=1e-12
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"model": "lightgbm", "settings": {"num_leafs": 3}}',
            "Did you mean 'num_leaves'",
        ),
        ('{"model": "lightgbm", "settings": {"n_jobs": 3}}', "'n_jobs' is no setting"),
        ('{"model": "xgboost", "settings": {}}', "has settings of xgboost"),
        (
            '{"model": "lightgbm", "settings": {"num_leaves": "many"}}',
            "LightGBM refuses the settings",
        ),
        ('{"base": "default"}', "does not hold settings of lightgbm"),
        ("{", "is not valid JSON"),
    ],
)
def test_what_is_no_setting_is_refused_before_the_table_is_read(
    tmp_path, content, message
):
    path = tmp_path / "settings.json"
    path.write_text(content)
    request = RunRequest(
        table="no-such-table.csv", target=("y",), model="lightgbm", preset=str(path)
    )
    with pytest.raises(PermgradError, match=message):
        request.check()
    with pytest.raises(InputError, match="linear takes none"):
        read_settings(_written(tmp_path), "linear")


def _written(folder):
    path = folder / "linear.json"
    path.write_text('{"model": "linear", "settings": {}}')
    return path


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("-m", "linear"), "--model must be one of"),
        (
            ("-m", "lightgbm", "--space", "paper"),
            "--space paper is for permgrad's network",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(table, tmp_path, more, message):
    tune_words = ["tune", table, "--target", "ill", "--out", tmp_path / "out", *more]
    result = CliRunner().invoke(app, [str(command_word) for command_word in tune_words])
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "out").exists()
