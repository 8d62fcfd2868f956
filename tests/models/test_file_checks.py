"""Files of other libraries with one wrong number are refused or read: they never end the process."""

from __future__ import annotations

import json
import os
import random
import re
import struct
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from permgrad.attribution.subject.calls import objective_of
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.base.errors import InputError
from permgrad.models.file_checks import read_ubj
from permgrad.models.model_files import read_model_file
from permgrad.models.model_tables import columns_of, table_for

#: One number in a text.
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def data(*, levels=False):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=["age", "dose", "mass"])
    score = frame["age"] - frame["dose"]
    if levels:
        frame["ward"] = pd.Categorical(rng.choice(["a", "b", "c", "d", "e"], 200))
        score = score + 2 * frame["ward"].isin(["b", "d"])
    return frame, (score > 0.5).astype(int), np.digitize(score, [0, 1])


def lightgbm(path, *, linear=False):
    library = pytest.importorskip("lightgbm")
    frame, y, classes = data(levels=not linear)
    few = {
        "n_estimators": 2,
        "num_leaves": 5,
        "min_child_samples": 5,
        "verbose": -1,
        "n_jobs": 1,
        "min_data_per_group": 5,
    }
    model = library.LGBMRegressor(linear_tree=True, **few) if linear else library.LGBMClassifier(**few)
    model.fit(frame, y if linear else classes).booster_.save_model(path)


def xgboost(path, *, kind="levels"):
    library = pytest.importorskip("xgboost")
    frame, y, classes = data(levels=kind == "levels")
    few = {"n_estimators": 2, "max_depth": 2, "n_jobs": 1}
    if kind == "levels":
        model = library.XGBClassifier(enable_categorical=True, max_cat_to_onehot=2, **few).fit(frame, classes)
    elif kind == "dart":
        model = library.XGBRegressor(booster="dart", rate_drop=0.5, **few).fit(frame, y)
    else:
        model = library.XGBRegressor(multi_strategy="multi_output_tree", **few).fit(frame, np.stack([y, classes], 1))
    model.save_model(path)


def catboost(path, *, symmetric=True):
    library = pytest.importorskip("catboost")
    frame, y, _ = data(levels=symmetric)
    few = {"iterations": 2, "depth": 2, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    if symmetric:
        frame = frame.assign(ward=frame["ward"].astype(str))
        pool = library.Pool(frame, y, cat_features=["ward"])
        model = library.CatBoostClassifier(**few).fit(pool)
        model.save_model(str(path), format=path.suffix[1:], pool=pool)
    else:
        model = library.CatBoostClassifier(grow_policy="Lossguide", max_leaves=4, **few).fit(frame, y)
        model.save_model(str(path), format=path.suffix[1:])


MAKERS = {
    "lightgbm.txt": lightgbm,
    "linear.txt": lambda path: lightgbm(path, linear=True),
    "xgboost.json": xgboost,
    "xgboost.ubj": xgboost,
    "dart.json": lambda path: xgboost(path, kind="dart"),
    "outputs.ubj": lambda path: xgboost(path, kind="outputs"),
    "catboost.json": catboost,
    "leaves.json": lambda path: catboost(path, symmetric=False),
}


def use(path):
    """Read a file and predict with it, or return None where it is refused."""
    frame, _, _ = data(levels=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = read_model_file(path)
            names = columns_of(model).names or frame.columns[:3]
            rows = table_for(model, frame[[name for name in frame if name in names]])
            return PredictorSubject(model, rows).inputs
        except InputError:
            return None


def in_a_child(paths):
    """Return how a process ends that uses files: 0 where each is read or refused. Else the one that ended it stays."""
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            for path in paths:
                use(path)
                path.unlink()
            ended = 0
        finally:
            os._exit(ended)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is read in a process of its own")
@pytest.mark.parametrize("name", MAKERS)
def test_one_wrong_number_ends_no_process(name, tmp_path):
    path, draw = tmp_path / name, random.Random(1)
    MAKERS[name](path)
    content = path.read_bytes()
    assert use(path) is not None
    # Parameters behind the trees are read by nobody.
    text, most = not name.endswith(".ubj"), content.find(b"parameters:") % len(content)
    spots = [match.span() for match in NUMBER.finditer(content) if match.start() < most] if text else []
    files = [tmp_path / f"{number}-{name}" for number in range(12)]
    for file in files:
        start, end = draw.choice(spots) if text else (place := draw.randrange(len(content)), place + 1)
        wrong = draw.choice([b"-1", b"1", b"7", b"123456789", b"-123456789", b"0.5", b"99999999999999999999"])
        file.write_bytes(content[:start] + (wrong if text else bytes([draw.randrange(256)])) + content[end:])
    assert in_a_child(files) == 0, min((file for file in files if file.exists()), key=files.index).read_bytes()
    assert not any(file.exists() for file in files)


def edited(path, change):
    """Change the content of a JSON file."""
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def trees_of(content):
    return content["learner"]["gradient_booster"]["model"]["trees"]


def cycle(content):
    tree = trees_of(content)[0]
    tree["left_children"][1], tree["parents"][0] = 0, 1


def no_feature(content):
    trees_of(content)[0]["split_indices"][0] = 4


def strange_child(content):
    trees_of(content)[0]["right_children"][0] = 9_999


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("left_child", "0"), ("right_child", "3000"), ("split_feature", "4"), ("threshold", "77"), ("num_leaves", "6")],
)
def test_children_features_and_cycles_of_lightgbm(field, wrong, tmp_path):
    path = tmp_path / "model.txt"
    lightgbm(path)
    lines = path.read_text().replace("tree_sizes", "sizes_of_trees").splitlines()  # as older versions wrote
    path.write_text("\n".join(lines) + "\n")
    assert use(path) is not None
    place = next(at for at, line in enumerate(lines) if line.startswith("cat_boundaries="))
    tree = max(at for at, line in enumerate(lines[:place]) if line.startswith("Tree="))
    at = next(at for at in range(tree, len(lines)) if lines[at].startswith(f"{field}="))
    values = lines[at].partition("=")[2].split()
    kinds = next(line for line in lines[tree:] if line.startswith("decision_type=")).partition("=")[2].split()
    which = next(k for k, kind in enumerate(kinds) if int(kind) % 2) if field == "threshold" else len(values) - 1
    values[which] = wrong
    lines[at] = f"{field}={' '.join(values)}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"The model's file is damaged.*Save the model again"):
        read_model_file(path)


def test_a_text_that_ends_within_a_tree_is_refused(tmp_path):
    """LightGBM itself looks for the rest without end."""
    path = tmp_path / "model.txt"
    lightgbm(path)
    assert use(path) is not None
    content = path.read_bytes()
    assert b"\ninternal_weight=" in content
    path.write_bytes(content.replace(b"\ninternal_weight=", b"\nintern\0\0_weight="))
    with pytest.raises(InputError, match=r"The model's file is damaged.*Save the model again"):
        read_model_file(path)


def one_leaf_less(content):
    content["oblivious_trees"][-1]["leaf_values"].pop()


def one_feature_less(content):
    content["features_info"]["float_features"].pop(0)


def a_text_for_two_numbers(content):
    content["scale_and_bias"] = "[1,"


def no_levels(content):
    assert content["features_info"]["ctrs"]
    content["ctr_data"] = {}


@pytest.mark.parametrize(
    ("make", "change"),
    [
        *((xgboost, change) for change in (cycle, no_feature, strange_child)),
        *((catboost, change) for change in (one_leaf_less, one_feature_less, a_text_for_two_numbers, no_levels)),
    ],
)
def test_trees_in_json_that_contradict_themselves_are_refused(make, change, tmp_path):
    path = tmp_path / "model.json"
    make(path)
    assert use(path) is not None
    edited(path, change)
    with pytest.raises(InputError, match=r"The model's file is damaged.*Save the model again"):
        read_model_file(path)


@pytest.mark.parametrize("fewer", [1, 6, 12])
def test_leaves_too_few_in_a_binary_file_of_catboost(fewer, tmp_path):
    library, path = pytest.importorskip("catboost"), tmp_path / "model.cbm"
    frame, y, _ = data()
    few = {"iterations": 3, "depth": 2, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    model = library.CatBoostClassifier(**few).fit(frame, y)
    model.save_model(str(path))
    content, leaves = path.read_bytes(), model.get_leaf_values()
    at = content.find(struct.pack("<d", leaves[0])) - 4
    assert struct.unpack_from("<I", content, at) == (len(leaves),) == (12,)
    assert use(path) is not None
    path.write_bytes(content[:at] + struct.pack("<I", len(leaves) - fewer) + content[at + 4 :])
    with pytest.raises(InputError, match=r"is damaged.*Save the model"):
        read_model_file(path)


def test_ubj_holds_what_json_holds(tmp_path):
    for name in ("model.json", "model.ubj"):
        xgboost(tmp_path / name)
    binary, end = read_ubj(Path(tmp_path, "model.ubj").read_bytes())
    text = json.loads(Path(tmp_path, "model.json").read_bytes())
    assert end == Path(tmp_path, "model.ubj").stat().st_size
    assert [list(tree) for tree in trees_of(binary)] == [list(tree) for tree in trees_of(text)]
    for one, other in zip(trees_of(binary), trees_of(text), strict=True):
        assert one["left_children"] == other["left_children"]
        np.testing.assert_allclose(one["split_conditions"], other["split_conditions"], rtol=1e-6, atol=1e-30)


def test_a_feature_that_is_named_twice_is_refused(tmp_path):
    xgboost(tmp_path / "model.json", kind="plain")
    content = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    content["learner"]["feature_names"] = ["age", "age", "mass"]
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="names a feature twice"):
        table_for(read_model_file(tmp_path / "model.json"), data()[0])


def test_a_file_of_catboost_without_its_training_is_read(tmp_path):
    library = pytest.importorskip("catboost")
    frame, y, _ = data()
    options = {"iterations": 2, "depth": 2, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    library.CatBoostClassifier(**options).fit(frame, y).save_model(str(tmp_path / "model.json"), format="json")
    content = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    content["model_info"]["params"].pop("output_options", None)
    content["model_info"].pop("output_options", None)
    (tmp_path / "model.json").write_text(json.dumps(content), encoding="utf-8")
    model = read_model_file(tmp_path / "model.json")
    with pytest.raises(library.CatBoostError):
        model.get_all_params()  # the precondition
    assert objective_of(model)[0] == ""


@pytest.mark.parametrize(
    ("was", "now"), [(b"\nparameters:", b"\nparameter:"), (b"\nfeature_infos=", b"\nfeature_infos=\xb1 ")]
)
def test_a_text_of_lightgbm_that_is_no_text_or_has_no_beginning_of_its_settings(was, now, tmp_path):
    path = tmp_path / "model.txt"
    lightgbm(path)
    content = path.read_bytes()
    assert was in content
    path.write_bytes(content.replace(was, now))
    with pytest.raises(InputError, match=r"damaged|cannot be read as a model"):
        read_model_file(path)


def named_by_a_list(content):
    content["features_info"]["float_features"][0]["feature_id"] = ["a"]


def no_facts(content):
    content["model_info"] = "../../x"


@pytest.mark.parametrize("change", [named_by_a_list, no_facts])
def test_names_and_facts_of_catboost_of_another_form(change, tmp_path):
    path = tmp_path / "model.json"
    catboost(path)
    edited(path, change)
    with pytest.raises(InputError, match="is damaged"):
        read_model_file(path)
