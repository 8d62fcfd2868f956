"""``permgrad compare``: cells, going on after a kill, models that fail, folders and
options that are refused.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import permgrad as pg
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.cli import app
from permgrad.evaluation.baselines.fitting import Baseline, baselines
from permgrad.runs.compare.compare import compare_table
from permgrad.runs.compare.compared_cells import cell_path
from permgrad.runs.compare.comparison_plan import (
    from_arrays,
    make_folds,
    make_plan,
    parse_models,
    usual_absent,
)
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import CompareRequest

HOSTILE = "<script>alert('x')</script>"


@dataclass
class Mean:
    """Predicts the class shares, shifted by one column so that something is
    relied on.
    """

    shares: np.ndarray

    def predict_proba(self, rows):
        tilt = 0.3 / (
            1 + np.exp(-3 * np.nan_to_num(np.asarray(rows, dtype=float)[:, 0]))
        )
        first = np.clip(self.shares[0] + tilt - 0.15, 0.01, 0.99)
        return np.c_[
            first,
            np.repeat(
                ((1 - first) / (len(self.shares) - 1))[:, None],
                len(self.shares) - 1,
                axis=1,
            ),
        ]


class Toy:
    """A baseline that counts its fits and can break off."""

    def __init__(self):
        self.jobs = []
        self.fails_at = None
        self.error = RuntimeError("toy is broken")

    def __call__(self, job):
        self.jobs.append(job)
        if len(self.jobs) == self.fails_at:
            raise self.error
        return Mean(
            np.bincount(job.train.y, minlength=job.n_classes) / len(job.train.y)
        )


@pytest.fixture
def toys(monkeypatch):
    toy_models = {name: Toy() for name in ("toy", "other")}
    for name, toy in toy_models.items():
        monkeypatch.setitem(
            baselines, name, Baseline(name, f"the {name}", "sklearn", toy)
        )
    missing = Baseline(
        "absent", "absent", "no_such_package", Toy(), extra="tabular-peers"
    )
    monkeypatch.setitem(baselines, "absent", missing)
    return toy_models


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    first = rng.normal(size=240)
    town = rng.choice(["Bonn", "Ulm", HOSTILE], 240)
    label = np.where(
        first + 0.5 * (town == "Bonn") + rng.normal(0, 0.4, 240) > 0, "yes", HOSTILE
    )
    return pd.DataFrame(
        {"first": first, HOSTILE: rng.normal(size=240), "town": town, "label": label}
    )


@pytest.fixture
def table(frame, tmp_path):
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


def quiet(text):
    pass


def request(table, tmp_path, **options):
    options = {
        "models": ("toy", "other"),
        "cv": "3",
        "target": ("label",),
        "threads": 1,
        **options,
    }
    return CompareRequest(table=str(table), out=tmp_path / "out", **options)


def test_the_whole_command_with_a_network(table, tmp_path, toys):
    words = [
        "compare",
        str(table),
        "--target",
        "label",
        "--models",
        "fast,linear,toy",
        "--cv",
        "2",
    ]
    result = CliRunner().invoke(
        app, [*words, "--out", str(tmp_path / "out"), "--threads", "1", "--json"]
    )
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert {model["model"] for model in facts["models"]} == {"fast", "linear", "toy"}
    scores = pd.read_csv(tmp_path / "out" / "scores.csv", dtype={"fold": str})
    assert scores[["model", "fold"]].to_numpy().tolist() == [
        [m, f] for f in "12" for m in ("fast", "linear", "toy")
    ]
    assert {"roc_auc", "log_loss", "fit_seconds", "explain_seconds", "problem"} <= set(
        scores.columns
    )
    assert scores["roc_auc"].between(0, 1).all()
    importances = pd.read_csv(tmp_path / "out" / "importances.csv")
    assert set(importances["feature"]) == {"first", HOSTILE, "town"}
    assert importances.groupby("model")["method"].agg(set).to_dict() == {
        "fast": {"permutation", "permgrad"},
        "linear": {"permutation"},
        "toy": {"permutation"},
    }
    paths = importances[importances["method"] == "permgrad"]
    np.testing.assert_allclose(paths["tabular"], paths["importance"], atol=1e-9)
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    record = json.loads(
        (tmp_path / "out" / "comparison.json").read_text(encoding="utf-8")
    )
    assert record["finished"]
    assert record["command"].startswith("permgrad compare")
    assert (
        "Page:"
        in CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")]).stdout
    )


@pytest.mark.slow
def test_a_networks_totals_are_its_permutation_importances(frame, monkeypatch):
    X = frame.drop(columns="label")
    y = frame["label"]
    both_importances = pg.compare(
        ["fast", "linear"], X, y, cv=2, progress=False
    ).importances
    with monkeypatch.context() as patch:
        patch.setattr("permgrad.runs.compare.comparison_plan.METHODS", ("permutation",))
        plain = pg.compare(["fast", "linear"], X, y, cv=2, progress=False).importances
    same = both_importances[both_importances["method"] == "permutation"].reset_index(
        drop=True
    )
    assert plain["importance"].abs().max() > 0.01
    assert set(plain["method"]) == {"permutation"}
    np.testing.assert_allclose(
        same["importance"], plain["importance"], rtol=1e-6, atol=1e-9
    )


def test_every_model_has_the_same_rows_and_nothing_is_fitted_on_test_rows(
    table, tmp_path, toys
):
    compare_table(request(table, tmp_path), say=quiet)
    for first_job, two in zip(toys["toy"].jobs, toys["other"].jobs, strict=True):
        np.testing.assert_array_equal(first_job.train.encoded, two.train.encoded)
        np.testing.assert_array_equal(
            first_job.validation.encoded, two.validation.encoded
        )
    sizes = [(len(job.train.y), len(job.validation.y)) for job in toys["toy"].jobs]
    assert sizes == [(136, 24)] * 3
    # The encoder scales by the fitted rows alone: their median is 0 on every fold, that
    # of more rows is not.
    own_columns = [job.train.encoded[:, 0] for job in toys["toy"].jobs]
    more = [
        np.concatenate([job.train.encoded[:, 0], job.validation.encoded[:, 0]])
        for job in toys["toy"].jobs
    ]
    np.testing.assert_allclose([np.median(rows) for rows in own_columns], 0, atol=1e-6)
    assert np.abs([np.median(rows) for rows in more]).max() > 1e-3


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_ends_as_an_undisturbed_one(
    table, tmp_path, toys
):
    toys["toy"].fails_at = 2
    toys["toy"].error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        compare_table(request(table, tmp_path), say=quiet)
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 2
    assert not (tmp_path / "out" / "scores.csv").exists()
    toys["toy"].fails_at = None
    progress_lines = []
    outcome = compare_table(request(table, tmp_path), say=progress_lines.append)
    assert [line.endswith("finished before") for line in progress_lines[-6:]] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert not outcome.facts["already_finished"]
    compare_table(
        CompareRequest(
            **{**request(table, tmp_path).__dict__, "out": tmp_path / "whole"}
        ),
        say=quiet,
    )
    drop = ["fit_seconds", "processor_seconds", "explain_seconds"]
    first, second = (
        pd.read_csv(tmp_path / name / "scores.csv").drop(columns=drop)
        for name in ("out", "whole")
    )
    pd.testing.assert_frame_equal(first, second)
    assert (tmp_path / "out" / "importances.csv").read_bytes() == (
        tmp_path / "whole" / "importances.csv"
    ).read_bytes()


@pytest.mark.slow
def test_finished_is_said_and_nothing_is_written(table, tmp_path, toys):
    compare_table(request(table, tmp_path), say=quiet)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    fits = len(toys["toy"].jobs)
    outcome = compare_table(
        request(table, tmp_path, models=("other", "toy")), say=quiet
    )
    assert outcome.facts["already_finished"]
    assert outcome.text.startswith("This comparison is already finished (")
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")
    } == before
    # Another metric needs no new cell.
    again = compare_table(request(table, tmp_path, metric="log_loss"), say=quiet)
    assert again.facts["metric"] == "log_loss"
    assert len(toys["toy"].jobs) == fits


@pytest.mark.slow
def test_other_options_are_refused_with_what_differs(table, tmp_path, toys):
    compare_table(request(table, tmp_path), say=quiet)
    with pytest.raises(
        InputError,
        match=r"differs in cv \(3 there, 2 now\)\. Replace it with --overwrite",
    ):
        compare_table(request(table, tmp_path, cv="2"), say=quiet)
    with pytest.raises(
        InputError, match=r"differs in models \(other, toy there, linear, toy now\)"
    ):
        compare_table(request(table, tmp_path, models=("toy", "linear")), say=quiet)
    done = compare_table(request(table, tmp_path, cv="2", overwrite=True), say=quiet)
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 4
    assert done.facts["best"] in ("toy", "other")


def test_foreign_files_are_refused_and_stay(table, tmp_path, toys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(notes\.txt\)"):
        compare_table(request(table, tmp_path), say=quiet)
    compare_table(request(table, tmp_path, overwrite=True), say=quiet)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_model_that_fails_on_one_fold_does_not_lose_the_rest(table, tmp_path, toys):
    toys["toy"].fails_at = 2
    outcome = compare_table(request(table, tmp_path), say=quiet)
    assert outcome.facts["failures"] == [
        {"model": "toy", "fold": "2", "reason": "toy is broken"}
    ]
    models = {model["model"]: model for model in outcome.facts["models"]}
    assert (
        models["toy"]["folds"],
        models["toy"]["failed"],
        models["other"]["folds"],
    ) == (2, 1, 3)
    assert outcome.facts["best"] == "other"
    assert "the toy failed on 1 of 3 folds: toy is broken" in outcome.text
    assert (
        "the toy failed on 1 of 3 folds: toy is broken"
        in (tmp_path / "out" / "comparison.html").read_text()
    )


class Once(Mean):
    """Predicts the held-out rows and then the test rows, and breaks when it is asked
    again.
    """

    def predict_proba(self, rows):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked > 2:
            raise ValueError("asked again")
        return super().predict_proba(rows)


def test_a_model_that_cannot_be_explained_keeps_its_scores(frame, monkeypatch, toys):
    once = Baseline(
        "once",
        "once",
        "sklearn",
        lambda job: Once(np.bincount(job.train.y) / len(job.train.y)),
    )
    monkeypatch.setitem(baselines, "once", once)
    X = frame.drop(columns="label")
    y = frame["label"]
    comparison = pg.compare(["toy", "other", "once"], X, y, cv=2, progress=False)
    assert (
        comparison.scores.set_index(["model", "fold"]).loc[("once", "1"), "roc_auc"] > 0
    )
    reason = (
        "It could not be explained: Your model refused the rows: ValueError: "
        "asked again."
    )
    assert comparison.failures[0][:2] == ("once", "1")
    assert comparison.failures[0][2].startswith(reason)
    assert set(comparison.reliance) == {"toy", "other"}
    assert comparison.standing.set_index("model").loc["once", "folds"] == 2


def test_if_every_model_fails_that_is_said(frame, monkeypatch):
    def broken(job):
        raise RuntimeError("no luck")

    for name in ("toy", "other"):
        monkeypatch.setitem(baselines, name, Baseline(name, name, "sklearn", broken))
    with pytest.raises(
        InputError,
        match=r"All 2 models failed on every fold, the first \('toy'\) with: no luck",
    ):
        pg.compare(
            ["toy", "other"],
            frame.drop(columns="label"),
            frame["label"],
            cv=2,
            progress=False,
        )


def test_python_and_the_command_agree(frame, table, tmp_path, toys):
    compare_table(request(table, tmp_path), say=quiet)
    stored = pd.read_csv(tmp_path / "out" / "scores.csv", dtype={"fold": str})
    read = pd.read_csv(table)
    comparison = pg.compare(
        ["toy", "other"],
        read.drop(columns="label"),
        read["label"],
        cv=3,
        progress=False,
    )
    np.testing.assert_allclose(comparison.scores["log_loss"], stored["log_loss"])
    np.testing.assert_allclose(
        comparison.importances["importance"].abs().sum(),
        pd.read_csv(tmp_path / "out" / "importances.csv")["importance"].abs().sum(),
    )
    assert "Comparison of 2 models on table: 3 folds" in repr(comparison)


def test_python_declares_kinds():
    """Codes that mean nothing as numbers: a linear model tells them apart as a category
    only.
    """
    code = np.random.default_rng(0).integers(0, 12, 240)
    X = pd.DataFrame({"code": code, "other": np.arange(240) % 7})
    y = np.where(np.isin(code, [1, 4, 6, 11]), "a", "b")
    models = ["linear", "bagging"]
    options = {"cv": 2, "explain": False, "progress": False}
    plain = pg.compare(models, X, y, **options)
    category_comparison = pg.compare(
        models, X, y, kinds={"code": "categorical"}, **options
    )
    score = {name: comparison.standing.set_index("model").loc["linear", "mean"] for name, comparison in
             {"number": plain, "category": category_comparison}.items()}  # fmt: skip
    assert score["number"] < 0.8
    assert score["category"] > 0.99
    with pytest.raises(InputError, match="kind of column 'code' cannot be 'category'"):
        pg.compare(models, X, y, kinds={"code": "category"}, **options)
    with pytest.raises(InputError, match="kinds: no column 'cod'"):
        pg.compare(models, X, y, kinds={"cod": "numeric"}, **options)


# ---- folds ---------------------------------------------------------------------------
def test_folds_are_stratified_and_cover_every_row():
    y = np.repeat([0, 1, 2], [100, 40, 10])
    folds = make_folds(y, "classification", folds=5, repeats=2, seed=3)
    assert [fold.name for fold in folds] == [
        f"{r}.{k}" for r in (1, 2) for k in range(1, 6)
    ]
    for repeat in (folds[:5], folds[5:]):
        np.testing.assert_array_equal(
            np.sort(np.concatenate([fold.test for fold in repeat])), np.arange(150)
        )
    for fold in folds:
        assert np.bincount(y[fold.test]).tolist() == [20, 8, 2]
        assert set(y[fold.train]) == {0, 1, 2}
        whole_rows = np.concatenate([fold.train, fold.validation, fold.test])
        assert len(set(whole_rows.tolist())) == 150
    assert (folds[0].test != folds[5].test).any(), "repeats must divide anew"


def test_groups_stay_together():
    groups = np.repeat(np.arange(30), 5)
    y = np.tile([0, 1, 0, 1, 1], 30)
    for task in ("classification", "regression"):
        for fold in make_folds(y, task, folds=3, row_groups=groups):
            group_parts = [
                set(groups[rows].tolist())
                for rows in (fold.train, fold.validation, fold.test)
            ]
            assert all(group_parts)
            assert (
                not group_parts[0] & group_parts[1]
                | group_parts[0] & group_parts[2]
                | group_parts[1] & group_parts[2]
            )


def test_a_group_column_is_no_feature(frame, tmp_path, toys):
    path = tmp_path / "grouped.csv"
    frame.assign(patient=np.repeat(np.arange(48), 5)).to_csv(path, index=False)
    compare_table(request(path, tmp_path, row_group="patient"), say=quiet)
    assert "patient" not in set(
        pd.read_csv(tmp_path / "out" / "importances.csv")["feature"]
    )


# ---- what is refused -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"models": ("toy", "ligthgbm")},
            r"No model 'ligthgbm'. Did you mean 'lightgbm'\?",
        ),
        (
            {"models": ("toy", "default:imge")},
            r"branch of preset 'default' cannot be 'imge'. Did you mean 'image'\?",
        ),
        ({"models": ("toy", "toy")}, "Model 'toy' is named twice"),
        ({"models": ("toy",)}, "A comparison needs at least 2 models, got 'toy'"),
        ({"models": ("toy", "none.json")}, "Cannot read the preset file .*"),
        ({"cv": "1"}, "cv must be at least 2 folds, .*, got '1'"),
        ({"cv": "three"}, "cv must be at least 2 folds"),
        ({"metric": "auc"}, r"No metric 'auc'. Did you mean 'roc_auc'\?"),
        ({"metric": "rmse"}, "metric for classification must be one of 'accuracy'"),
        ({"target": ("lable",)}, r"Did you mean 'label'\?"),
        ({"device": "tpu"}, "device"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_options_are_refused_before_anything_is_written(
    table, tmp_path, toys, options, message
):
    with pytest.raises(InputError, match=message):
        compare_table(request(table, tmp_path, **options), say=quiet)
    assert not (tmp_path / "out").exists()
    assert not toys["toy"].jobs


def test_a_class_rarer_than_the_folds(tmp_path, frame, toys):
    frame.loc[:2, "label"] = "rare"
    frame.to_csv(tmp_path / "rare.csv", index=False)
    message = (
        r"Class 'rare' has fewer rows than folds: 3 rows, 5 folds. Take 3 folds "
        r"\(cv\), join rare classes"
    )
    with pytest.raises(InputError, match=message):
        compare_table(request(tmp_path / "rare.csv", tmp_path, cv="5"), say=quiet)
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_the_environments_fault(table, tmp_path, toys):
    with pytest.raises(
        EnvironmentProblem,
        match=r"no_such_package is not installed \(needed for "
        r"'absent'\).*permgrad\[tabular-peers\]",
    ):
        parse_models(["toy", "absent"])
    words = [
        "compare",
        str(table),
        "--target",
        "label",
        "--models",
        "toy,absent",
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 3
    assert result.stderr.startswith("error: no_such_package is not installed")
    bad = CliRunner().invoke(app, [*words[:4], "--models", "toy,toy"])
    assert bad.exit_code == 2
    assert CliRunner().invoke(app, [*words[:4], "--cv", "1,x"]).exit_code == 2


@pytest.mark.parametrize("kept", [(), ("--id", "town")])
def test_a_group_that_is_no_column_is_called_a_group(table, tmp_path, toys, kept):
    words = [
        "compare",
        str(table),
        "--target",
        "label",
        "--models",
        "toy,other",
        "--out",
        str(tmp_path / "out"),
        *kept,
    ]
    result = CliRunner().invoke(app, [*words, "--row-group", "twn"])
    assert result.exit_code == 2
    message = "error: --row-group twn: no such column. Did you mean 'town'?"
    assert result.stderr.startswith(message)
    assert (
        "is the target and also named by --row-group"
        in CliRunner().invoke(app, [*words, "--row-group", "label"]).stderr
    )
    assert (
        "--id nope: no such column"
        in CliRunner()
        .invoke(app, [*words, "--row-group", "town", "--id", "nope"])
        .stderr
    )


def test_a_folder_of_parquet_files_is_compared_on_if_it_fits_in_memory(
    frame, tmp_path, toys, monkeypatch
):
    (tmp_path / "rows").mkdir()
    half = len(frame) // 2
    frame[:half].to_parquet(tmp_path / "rows" / "one.parquet", index=False)
    frame[half:].to_parquet(tmp_path / "rows" / "two.parquet", index=False)
    monkeypatch.setattr("permgrad.data.read.text_files.free_memory", lambda: 100)
    with pytest.raises(InputError, match=r"'.*rows' takes about"):
        compare_table(request(tmp_path / "rows", tmp_path), say=quiet)
    monkeypatch.setattr("permgrad.data.read.text_files.free_memory", lambda: None)
    assert compare_table(request(tmp_path / "rows", tmp_path), say=quiet).facts[
        "best"
    ] in ("toy", "other")


def test_permutation_importance_is_that_of_every_model(frame, toys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = pg.compare(
            ["toy", "other"],
            frame.drop(columns="label"),
            frame["label"],
            cv=2,
            progress=False,
        )
    assert comparison.facts["explained"]["methods"] == ["permutation"]
    assert comparison.facts["notes"] == []


def test_names_of_models():
    models = parse_models(["default", "fast:image", "extra_trees"])
    assert [model.label for model in models] == [
        "network",
        "network (fast, image branch only)",
        "extra trees",
    ]
    assert [model.branches for model in models] == [None, ("image",), None]
    assert make_plan(()).models[0].name == "default"
    assert all("pip install" in sentence for sentence in usual_absent().values())
    assert cell_path(Path("f"), "random_forest", "1").name == "random_forest-1.json"
    assert cell_path(Path("f"), "default:image", "1").name == "default%3Aimage-1.json"


def test_a_preset_file_counts_by_its_content(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"base": "fast", "network": {"dropout": 0.1}}')
    compare_request = CompareRequest(
        table="diabetes", models=(str(path), "extra_trees")
    )
    first = configuration(compare_request)
    path.write_text('{"base": "fast", "network": {"dropout": 0.2}}')
    assert configuration(compare_request) != first
    assert (
        parse_models([f"{path}:tabular", "linear"])[0].label
        == "network (mine, table branch only)"
    )


def test_regression_without_explanations():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    comparison = pg.compare(
        ["linear", "extra_trees"], X, X[:, 0] * 2, cv=2, explain=False, progress=False
    )
    assert comparison.metric == "rmse"
    assert comparison.best == "linear"
    assert comparison.label("linear") == "ridge regression"
    assert comparison.reliance == {}
    assert "Do they rely" not in comparison.to_html()
    with pytest.raises(
        InputError, match="X and y must have equally many rows, got 80 and 3"
    ):
        pg.compare(["linear", "extra_trees"], X, [1, 2, 3])
    with pytest.raises(
        InputError, match=r"1 of 80 values of y is missing\. Leave that row out"
    ):
        pg.compare(["linear", "extra_trees"], X, np.r_[np.nan, X[1:, 0]])


def test_folds_may_lack_the_rare_value_of_a_declared_boolean():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"age": rng.normal(size=60), "rare": np.where(np.arange(60) == 7, "yes", "no")}
    )
    y = np.where(X["age"] > 0, "ill", "well")
    comparison = pg.compare(
        ["linear", "extra_trees"],
        X,
        y,
        kinds={"rare": "boolean"},
        cv=3,
        explain=False,
        progress=False,
    )
    assert comparison.failures == []
    assert len(comparison.scores) == 6, "one model in each fold"


def test_what_is_said_of_columns_is_checked_before_any_model_is_trained():
    X = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20) % 3})
    y = np.arange(20) % 2
    with pytest.raises(
        InputError, match="kinds must be None or a mapping of column to kind"
    ):
        from_arrays(X, y, kinds=["a"])


def test_a_network_may_have_several_branches():
    assert (
        parse_models(["fast:tabular+image", "linear"])[0].label
        == "network (fast, table branch and image branch only)"
    )


def test_a_column_that_tells_the_target_is_an_alarm_of_a_comparison_too():
    """What is looked for in the table of a run is looked for in that of a
    comparison.
    """
    draw = np.random.default_rng(0)
    X = pd.DataFrame(draw.normal(size=(240, 2)), columns=["a", "b"])
    y = pd.Series(np.where(X["a"] + draw.normal(size=240) > 0, "left", "stayed"))
    models = ["extra_trees", "random_forest"]
    options = {"cv": 2, "explain": False, "progress": False}
    plain = pg.compare(models, X, y, **options)
    assert plain.facts["alarms"] == []
    telling_table = X.assign(
        days_until_exit=np.where(y == "left", draw.integers(1, 90, 240), 0)
    )
    comparison = pg.compare(models, telling_table, y, **options)
    (alarm,) = comparison.facts["alarms"]
    assert "days_until_exit" in alarm
    assert comparison.to_html().count("all figures here are too good") >= 1
    assert comparison.to_dict()["sentences"][0] == alarm
