"""Models of files on tables read from text: they predict what the model that was saved predicts on its own frame."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from permgrad.attribution.subject.calls import find_call
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.data.read.table import read_table
from permgrad.models.model_files import read_model_file
from permgrad.models.model_tables import columns_of, table_for


def table(rows=240, seed=0):
    """Return numbers with missing cells, truths, and levels: of words, in an order, of digits."""
    rng, regions = np.random.default_rng(seed), ["west", "north", "south"]
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "my income": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(40, 9, rows)),
            "region": pd.Categorical(rng.choice(regions, rows), categories=regions),
            "member": rng.random(rows) < 0.5,
            "size": pd.Categorical(rng.choice(["S", "M", "L"], rows), categories=["S", "M", "L"], ordered=True),
            "code": pd.Categorical(rng.choice(["07", "7", "011"], rows), categories=["7", "07", "011"]),
        }
    )
    late = frame["age"] / 20 + 2 * (frame["region"] == "north") + (frame["code"] == "07") + frame["member"] > 4.1
    return frame, np.where(late ^ (rng.random(rows) < 0.1), "late", "early")


def read_as(model, frame, folder, y=None):
    """Return the frame as it comes back from a CSV file whose columns are in another order."""
    mixed = frame[frame.columns[::-1]].assign(**({} if y is None else {"y": y}))
    mixed.to_csv(folder / "table.csv", index=False)
    read = read_table(folder / "table.csv", text=[name for name in columns_of(model).texts if name in frame])
    return table_for(model, read, None if y is None else "y")


def saved_lightgbm(frame, y, path):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=12, min_child_samples=5, verbosity=-1, n_jobs=1).fit(frame, y)
    model.booster_.save_model(path)
    return model.predict_proba(frame)[:, 1]


def saved_xgboost(frame, y, path):
    xgboost = pytest.importorskip("xgboost")
    if not hasattr(xgboost.Booster, "get_categories"):
        pytest.skip("categories are kept from 3.1 on")
    held = (frame[160:], np.random.default_rng(0).permutation(y[160:]) == "late")
    model = xgboost.XGBClassifier(n_estimators=30, enable_categorical=True, early_stopping_rounds=3, n_jobs=1)
    model.fit(frame[:160], y[:160] == "late", eval_set=[held], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()  # all rounds predict something else
    model.save_model(path)
    return model.predict_proba(frame)[:, 1]


def saved_catboost(frame, y, path):
    catboost = pytest.importorskip("catboost")
    words = ["region", "size", "code"]
    frame = frame.astype(dict.fromkeys(words, object))
    model = catboost.CatBoostClassifier(iterations=12, verbose=0, allow_writing_files=False, thread_count=1)
    model.fit(frame, y, cat_features=words)
    pool = catboost.Pool(frame, y, cat_features=words)
    model.save_model(path, format=path.suffix[1:], pool=pool)
    return model.predict_proba(frame)[:, 1]


def saved_skops(frame, y, path):
    io = pytest.importorskip("skops.io")
    encode = make_column_transformer((OneHotEncoder(), ["region", "code", "size"]), ("passthrough", ["age", "member"]))
    model = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(frame, y)
    io.dump(model, path)
    return model.predict_proba(frame)[:, 1]


def saved_onnx(frame, y, path):
    skl2onnx = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    frame = frame[["age", "region", "code"]].astype({"region": object, "code": object})
    encode = make_column_transformer((OneHotEncoder(), ["region", "code"]), ("passthrough", ["age"]))
    model = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(frame, y)
    types = skl2onnx.common.data_types
    kinds = {"age": types.Int64TensorType, "region": types.StringTensorType, "code": types.StringTensorType}
    made = skl2onnx.to_onnx(model, initial_types=[(name, kind([None, 1])) for name, kind in kinds.items()])
    path.write_bytes(made.SerializeToString())
    return model.predict_proba(frame)[:, 1]


@pytest.mark.parametrize(
    ("ending", "saved"),
    [
        ("txt", saved_lightgbm),
        ("json", saved_xgboost),
        ("ubj", saved_xgboost),
        ("cbm", saved_catboost),
        ("json", saved_catboost),
        ("skops", saved_skops),
        ("onnx", saved_onnx),
    ],
)
def test_a_file_predicts_what_its_model_did(tmp_path, ending, saved):
    frame, y = table()
    path = tmp_path / f"model.{ending}"
    expected = saved(frame, y, path)
    assert expected.std() > 0.05  # it learned something
    model = read_model_file(path)
    rows = read_as(model, frame, tmp_path, y)
    predicted = np.asarray(find_call(model).function(rows))
    np.testing.assert_allclose(predicted if predicted.ndim == 1 else predicted[:, 1], expected, atol=1e-6)


def test_levels_keep_the_order_of_the_model_and_unknown_ones_count_as_missing(tmp_path):
    frame, y = table()
    saved_lightgbm(frame, y, tmp_path / "model.txt")
    model = read_model_file(tmp_path / "model.txt")
    assert model.feature_name()[1] == "my_income"  # a space does not survive
    frame["region"] = frame["region"].astype(object)
    frame.loc[3, "region"] = "east"
    with pytest.warns(UserWarning, match="'region' has 1 level that the model does not know .'east'."):
        rows = read_as(model, frame, tmp_path)
    assert list(rows["region"].cat.categories) == ["west", "north", "south"]
    assert list(rows["code"].cat.categories) == ["7", "07", "011"]
    assert rows["region"].isna().tolist() == [row == 3 for row in range(len(frame))]


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_models_without_names_take_columns_in_their_order(tmp_path, library):
    frame, y = table()
    X, target = frame[["age", "my income"]], (y == "late").astype(int)
    booster = pytest.importorskip(library)
    if library == "lightgbm":
        model = booster.LGBMClassifier(n_estimators=5, verbosity=-1).fit(X.to_numpy(), target)
        path = tmp_path / "model.txt"
        model.booster_.save_model(path)
    else:
        model = booster.XGBClassifier(n_estimators=5).fit(X.to_numpy(), target)
        path = tmp_path / "model.json"
        model.save_model(path)
    read = read_model_file(path)
    with pytest.warns(UserWarning, match="has no column names.*'age', 'my income'"):
        rows = table_for(read, X.assign(y=y), "y")
    predicted = np.asarray(find_call(read).function(rows))
    predicted = predicted if predicted.ndim == 1 else predicted[:, 1]
    np.testing.assert_allclose(predicted, model.predict_proba(X.to_numpy())[:, 1], atol=1e-6)
    with pytest.raises(
        InputError,
        match=(
            r"The model takes 2 columns without names, and the table has 3. Leave the others out of the "
            r"table, and name the target with --target"
        ),
    ):
        table_for(read_model_file(path), X.assign(more=1, y=y), "y")


def test_a_table_that_does_not_fit_is_refused(tmp_path):
    frame, y = table()
    saved_lightgbm(frame, y, tmp_path / "model.txt")
    model = read_model_file(tmp_path / "model.txt")
    with pytest.raises(InputError, match="'age'"):
        table_for(model, frame.drop(columns="age"))
    with pytest.raises(InputError, match="'member' must hold numbers for this model"):
        table_for(model, frame.assign(member=[[1]] * len(frame)))
    with pytest.raises(InputError, match="levels are not in its file"):
        table_for(model, frame.assign(age="old"))


# ---- files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ending", ["pkl", "pickle", "joblib", "sav", "dill", "cloudpickle", "pt", "pth"])
def test_files_that_could_run_code_are_not_opened(tmp_path, ending):
    path = tmp_path / f"model.{ending}"
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(InputError, match="would run any code that it holds"):
        read_model_file(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.bin", "x", "is not a readable model file"),
        ("model.txt", "a,b\n1,2\n", "no model of LightGBM"),
        ("model.txt", "", "is empty"),
        ("model.json", '{"a": 1}', "no model of XGBoost or CatBoost"),
        ("model.json", "[1, 2]", "no model of XGBoost or CatBoost"),
        ("model.json", '{"learner": 3}', "cannot be read as a model"),
        ("model.json", "no json", "cannot be read as a model"),
    ],
)
def test_files_without_a_model_are_refused(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    if "learner" in content:
        pytest.importorskip("xgboost")
    with pytest.raises(InputError, match=words):
        read_model_file(path)


@pytest.mark.parametrize(("name", "library"), [("m.onnx", "onnxruntime"), ("m.skops", "skops"), ("m.cbm", "catboost")])
def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch, name, library):
    (tmp_path / name).write_bytes(b"x")
    for module in (library, f"{library}.io"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EnvironmentProblem, match=f"pip install '{library}'"):
        read_model_file(tmp_path / name)


def test_types_that_skops_does_not_trust_are_named_and_can_be_trusted(tmp_path):
    io = pytest.importorskip("skops.io")
    frame, y = table()
    X = frame[["age"]]
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    io.dump(forest, tmp_path / "forest.skops")
    with pytest.raises(InputError, match=r"add --trust sklearn\.tree\._tree\.Tree"):
        read_model_file(tmp_path / "forest.skops")
    read = read_model_file(tmp_path / "forest.skops", ["sklearn.tree._tree.Tree"])
    np.testing.assert_array_equal(read.predict_proba(X), forest.predict_proba(X))
    with pytest.raises(InputError, match="--trust is about types in a skops file"):
        read_model_file(tmp_path / "model.txt", ["x"])


def test_boosting_of_scikit_learn_reads_levels_from_text(tmp_path):
    frame, y = table()
    model = HistGradientBoostingClassifier(max_iter=5).fit(frame, y)
    rows = read_as(model, frame.drop(columns="code").assign(code=frame["code"]), tmp_path)
    assert list(rows.columns) == list(frame.columns)
