"""``permgrad explain`` of a model file: the same numbers as in Python; one sentence for what cannot be explained."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from invoking import call
from sklearn.linear_model import LinearRegression

import permgrad as pg

lightgbm = pytest.importorskip("lightgbm")


def table(rows=360, seed=0):
    rng, levels = np.random.default_rng(seed), ["west", "north", "south"]
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(40, 9, rows).round(2)),
            "region": pd.Categorical(rng.choice(levels, rows), categories=levels),
        }
    )
    late = frame["age"] / 30 + (frame["region"] == "north") + rng.normal(0, 0.2, rows) > 2.2
    return frame, pd.Series(np.where(late, "yes", "no"), name="late")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with ``model.txt`` of LightGBM and ``table.csv`` with rows that it has not seen; and the model."""
    folder, (frame, y) = tmp_path_factory.mktemp("files"), table()
    model = lightgbm.LGBMClassifier(n_estimators=15, verbosity=-1, n_jobs=1).fit(frame[:150], y[:150])
    model.booster_.save_model(folder / "model.txt")
    rows = frame[150:].reset_index(drop=True)
    late = y[150:].reset_index(drop=True)
    pd.concat([late, rows[rows.columns[::-1]]], axis=1).to_csv(folder / "table.csv", index=False)
    return folder, model, rows, late


@pytest.mark.parametrize("method", ["permgrad", "permutation", "ablation", "shapley"])
def test_the_numbers_are_those_of_python(tmp_path, files, method):
    folder, model, rows, late = files
    asked = ("--target", "late", "--class-names", "no,yes", "--method", method, "--seed", 4, "--out", tmp_path / "out")
    chosen = ("--where", "region=north") if method == "shapley" else ()
    call("explain", folder / "model.txt", folder / "table.csv", *asked, *chosen)
    saved = pg.Explanation.load(tmp_path / "out")
    places = np.flatnonzero(rows["region"] == "north") if chosen else np.arange(len(rows))
    background = {"background": rows} if chosen else {}
    y = None if chosen else late
    explanation = pg.explain(model, rows.take(places), y, method=method, random_state=4, progress=False, **background)
    assert set(saved.names) == set(explanation.names) == set(rows.columns)
    order = [saved.names.index(name) for name in explanation.names]
    values = saved.values[:, order] if chosen else saved.values[order]
    # LightGBM's own booster predicts one number, its estimator two.
    outputs = [explanation.outputs.index(name) for name in saved.outputs]
    np.testing.assert_allclose(values, explanation.values[..., outputs], atol=1e-12)
    assert np.abs(values).max() > 0.05


ORDER, CAUSES = [["region"], ["age", "income"]], ("--method", "shapley", "--causal-order")


@pytest.mark.parametrize("scope", ["local", "global"])
def test_causes_follow_the_order_as_in_python(tmp_path, files, scope):
    folder, model, rows, late = files
    options = {"causal_order": ORDER, "confounding": [False, True], "asymmetric": True, "tolerance": 0}
    y, of_rows = (None, ("--where", "region=north")) if scope == "local" else (late, ())
    chosen = rows[rows["region"] == "north"] if of_rows else rows
    background = {"background": rows} if of_rows else {}
    expected = pg.explain(
        model, chosen, y, method="shapley", scope=scope, random_state=4, progress=False, **options, **background
    )
    plain = pg.explain(model, chosen, y, method="shapley", scope=scope, random_state=4, progress=False, **background)
    assert np.abs(expected.values - plain.values).max() > 0.001, "the order changes something"
    (tmp_path / "order.json").write_text(json.dumps(ORDER))
    asked = ("--target", "late", "--class-names", "no,yes", "--method", "shapley", "--scope", scope, "--seed", 4)
    asked += ("--confounding", "no,yes", "--asymmetric", "--option", "tolerance=0", *of_rows)
    for order in ("region > age, income", tmp_path / "order.json"):
        told = ("--causal-order", order, "--out", tmp_path / "out", "--overwrite")
        said = call("explain", folder / "model.txt", folder / "table.csv", *asked, *told)
        saved = pg.Explanation.load(tmp_path / "out")
        places, outputs = ([one.index(name) for name in two] for one, two in
                           ((saved.names, expected.names), (expected.outputs, saved.outputs)))  # fmt: skip
        values = saved.values[..., places, :]
        np.testing.assert_allclose(values, expected.values[..., outputs], atol=1e-12)
        words = (
            "Values are causal, in the order region, then age and income; age and income are confounded; asymmetric."
        )
        assert words in " ".join(said.split())


def test_further_arguments_are_those_of_python(tmp_path, files):
    folder, model, rows, late = files
    clinic = np.repeat(np.arange(42), 5)
    read = pd.read_csv(folder / "table.csv").assign(clinic=clinic)
    read.to_csv(tmp_path / "table.csv", index=False)
    asked = ("--target", "late", "--class-names", "no,yes", "--seed", 4, "--out", tmp_path / "out")
    groups = {"person": ["age", "income"]}
    options = (
        "--option",
        "row_groups=clinic",
        "--option",
        f"groups={json.dumps(groups)}",
        "--option",
        "confidence=0.9",
    )
    call("explain", folder / "model.txt", tmp_path / "table.csv", *asked, *options)
    saved = pg.Explanation.load(tmp_path / "out")
    python = {"groups": groups, "confidence": 0.9, "random_state": 4, "progress": False}
    expected = pg.explain(model, rows, late, row_groups=clinic, **python)
    order = [saved.names.index(name) for name in expected.names]
    np.testing.assert_allclose(saved.low[order], expected.low, atol=1e-12)
    assert not np.allclose(pg.explain(model, rows, late, **python).low, expected.low), "groups widen intervals"


def test_a_row_stands_with_what_the_model_says_of_it(tmp_path, files):
    folder, model, rows, late = files
    asked = (
        "--target",
        "late",
        "--class-names",
        "no,yes",
        "--method",
        "shapley",
        "--row",
        3,
        "--out",
        tmp_path / "out",
    )
    said = call("explain", folder / "model.txt", folder / "table.csv", *asked)
    (line,) = pd.read_csv(tmp_path / "out" / "rows.csv").to_dict(orient="records")
    assert line["row"] == 3
    assert line["truth"] == late[3]
    assert line["probability_yes"] == pytest.approx(model.predict_proba(rows[3:4])[0, 1], abs=1e-9)
    assert f"prediction {line['prediction']}" in said
    assert {file.name for file in (tmp_path / "out").iterdir()} > {"explanation.json", "values.npz", "importance.csv"}
    assert (tmp_path / "out" / "plots" / "waterfall.png").is_file()


def test_without_targets_the_divergence_is_explained(tmp_path, files):
    folder = files[0]
    said = call("explain", folder / "model.txt", folder / "table.csv", "--out", tmp_path / "out")
    assert "divergence from the model's own prediction" in said


def test_rows_without_a_target_are_left_out(tmp_path, files):
    folder, _, rows, late = files
    gaps = pd.concat([rows, late.where(late.index > 20)], axis=1)
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    asked = ("--target", "late", "--class-names", "no,yes", "--out", tmp_path / "out")
    call("explain", folder / "model.txt", tmp_path / "gaps.csv", *asked)
    assert pg.Explanation.load(tmp_path / "out").meta["rows_explained"] == len(rows) - 21


def test_numbers_are_predicted_and_their_target_is_measured(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    frame, _ = table()
    X, y = frame[["age", "income"]], 3 * frame["age"] + 1.5
    model = xgboost.XGBRegressor(n_estimators=20, n_jobs=1).fit(X[:150], y[:150])
    model.save_model(tmp_path / "model.json")
    X[150:].assign(cost=y[150:]).to_csv(tmp_path / "table.csv", index=False)
    said = call(
        "explain", tmp_path / "model.json", tmp_path / "table.csv", "--target", "cost", "--out", tmp_path / "out"
    )
    explanation = pg.explain(model, X[150:], y[150:], random_state=0, progress=False)
    saved = pg.Explanation.load(tmp_path / "out")
    np.testing.assert_allclose(saved.values, explanation.values, rtol=1e-6)
    assert saved.ranking() == ["age", "income"]
    assert "loss" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--target", "late"), "does not name the model's 2 classes, and column 'late' holds 'no', 'yes'"),
        (("--target", "late", "--class-names", "a,b,c"), "The model has 2 classes, got a, b, c"),
        (("--target", "late", "--class-names", "a,a"), "Name 2 different ones"),
        (("--target", "late", "--class-names", "on,off"), "a class that the model does not know"),
        (("--target", "lat"), "Did you mean|no column 'lat'"),
        (("--stream",), "--stream applies to models of permgrad"),
        (("--sample", 5), "--sample applies to models of permgrad"),
        (("--engine", "ray"), "--engine applies to models of permgrad"),
        (("--trust", "a.B"), "--trust is about types in a skops file"),
        (("--method", "gradient"), "needs the gradient of a torch network"),
        (("--target", "late", "--class-names", "no,yes", "--row", 1000), "row must be below"),
        (("--where", "region=east"), "No row has region = east"),
        (("--causal-order", "age > income"), "does not apply to --method permgrad. Use --method shapley"),
        (("--method", "ale", "--asymmetric"), "--asymmetric does not apply to --method ale"),
        (("--method", "shapley", "--confounding", "yes"), "of --causal-order, which is missing. For example"),
        ((*CAUSES, "age > > income"), "must list columns in blocks, got 'age > > income'"),
        ((*CAUSES, "age > income"), "feature or group once: 'region' is in no block. Put each"),
        ((*CAUSES, "age, age > income > region"), "'age' is named twice"),
        ((*CAUSES, "age, incme > region"), "'incme' is not one of them. Did you mean 'income'"),
        ((*CAUSES, "age > income,region", "--confounding", "yes,no,no"), "each of 2 blocks, got yes,no,no. .*no,no"),
        ((*CAUSES, "age > income,region", "--confounding", "maybe"), "yes or no for each of 2 blocks, got maybe"),
        ((*CAUSES, ""), "must list columns in blocks, got ''"),
        ((*CAUSES, "none.json"), "Cannot read the order none.json"),
        (("--option", "tolerance"), "--option must have the form NAME=VALUE, got 'tolerance'"),
        (("--option", "max-permutations=9"), "--option must be one of .* got 'max_permutations'"),
        (("--option", "n_repeats=9"), "--option n_repeats has an option of its own. Use --repeats"),
        (("--option", "background=9"), "--option must be one of .* got 'background'"),
        (("--target", "age"), r"Column 'age' \(target\) is a feature of the model"),
        (("--option", "row_groups=clinic"), r"Column 'clinic' \(row_groups\) not found"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, files, words, sentence):
    folder = files[0]
    said = call("explain", folder / "model.txt", folder / "table.csv", *words, "--out", tmp_path / "out", code=2)
    assert re.search(sentence, " ".join(said.split())), said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_table_must_be_named_and_a_pickle_is_refused(tmp_path, files):
    folder = files[0]
    assert "Missing TABLE" in call("explain", folder / "model.txt", code=2)
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04")
    said = call("explain", tmp_path / "model.pkl", folder / "table.csv", "--out", tmp_path / "out", code=2)
    assert "would run any code that it holds" in said
    pd.read_csv(folder / "table.csv").drop(columns="age").to_csv(tmp_path / "less.csv", index=False)
    said = call("explain", folder / "model.txt", tmp_path / "less.csv", "--out", tmp_path / "out", code=2)
    assert "'age'" in said
    said = call("explain", folder / "table.csv", folder / "model.txt", "--out", tmp_path / "out", code=2)
    assert "is a table, not a model" in said


def test_a_missing_library_is_a_matter_of_the_environment(tmp_path, files, monkeypatch):
    import sys

    (tmp_path / "model.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = call("explain", tmp_path / "model.onnx", files[0] / "table.csv", "--out", tmp_path / "out", code=3)
    assert "pip install 'onnxruntime'" in said


def test_options_of_files_belong_to_files(tmp_path, files):
    (tmp_path / "run").mkdir()
    said = call("explain", tmp_path / "run", files[0] / "table.csv", "--class-names", "a,b", code=2)
    assert "--class-names applies to model files" in said


def test_the_model_file_is_not_replaced(tmp_path, files):
    folder = files[0]
    said = call("explain", folder / "model.txt", folder / "table.csv", "--out", folder / "model.txt", code=2)
    assert "model.txt" in said
    assert (folder / "model.txt").read_text().startswith("tree")


@pytest.mark.parametrize("kind", ["skops", "cbm", "onnx"])
def test_other_formats_are_explained(tmp_path, kind):
    frame, y = table()
    X = frame[["age"]].assign(north=(frame["region"] == "north").astype(int)).astype("float32")
    path, names = tmp_path / f"model.{kind}", ()
    if kind == "skops":
        io = pytest.importorskip("skops.io")
        io.dump(LinearRegression().fit(X, y == "yes"), path)
        target = (y == "yes").astype(float) + 0.25
    elif kind == "cbm":
        catboost = pytest.importorskip("catboost")
        target = y
        catboost.CatBoostClassifier(iterations=20, verbose=0, allow_writing_files=False).fit(X, y).save_model(path)
    else:
        from sklearn.linear_model import LogisticRegression

        skl2onnx = pytest.importorskip("skl2onnx")
        pytest.importorskip("onnxruntime")
        target = y
        path.write_bytes(skl2onnx.to_onnx(LogisticRegression().fit(X, y), X.to_numpy()).SerializeToString())
    X.assign(y=target, **dict.fromkeys(names, 0)).to_csv(tmp_path / "table.csv", index=False)
    said = call("explain", path, tmp_path / "table.csv", "--target", "y", "--out", tmp_path / "out", "--repeats", 3)
    assert "loss" in said
    explanation = pg.Explanation.load(tmp_path / "out")
    assert set(explanation.names) == {"age", "north"}
    assert (explanation.values[:, 0] > 0.01).all()
    if kind != "skops":
        assert explanation.outputs == ("all", "no", "yes")


# ---- several outputs -------------------------------------------------------------------------------------------------
def test_quantiles_of_a_file_are_called_by_their_levels(tmp_path):
    xgboost, rng = pytest.importorskip("xgboost"), np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(90, 3)), columns=list("abc"))
    y, levels = frame["a"] + rng.normal(size=90), [0.1, 0.25, 0.5, 0.6, 0.75, 0.9]
    model = xgboost.XGBRegressor(objective="reg:quantileerror", quantile_alpha=levels, n_estimators=8).fit(frame, y)
    model.save_model(tmp_path / "levels.json")
    xgboost.XGBRegressor(n_estimators=8).fit(frame, frame.to_numpy()).save_model(tmp_path / "three.json")
    frame[:40].to_csv(tmp_path / "rows.csv", index=False)
    frame.assign(y=y).to_csv(tmp_path / "known.csv", index=False)
    asked = ["explain", tmp_path / "levels.json", tmp_path / "rows.csv", "--method", "shapley"]
    said = call(*asked, "--out", tmp_path / "levels")
    assert [level for level in levels if f"for {level:g}." in said] == levels
    assert set(pd.read_csv(tmp_path / "levels" / "importance.csv")["class"]) == set(levels)
    asked[1] = tmp_path / "three.json"
    said = call(*asked, "--out", tmp_path / "three")
    loss = ["explain", tmp_path / "levels.json", tmp_path / "known.csv", "--target", "y", "--class", "0.9"]
    said = call(*loss, "--out", tmp_path / "one")
    single = pg.explain(model, frame, y, target=5, random_state=0, progress=False)
    assert f"{single.values[:, 0].max():.3f}" in said
    wrong = call("explain", tmp_path / "three.json", *loss[2:-2], "--out", tmp_path / "none", code=2)
    assert "permgrad explain: --class 0" in wrong
