"""Saved models: equal after loading, also in a new process; what is not a sound model
is refused, and nothing " "executes.
"""

import json
import pickle
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from apart import run_script
from rounding import as_many_threads

import permgrad as pg
from permgrad import EnvironmentProblem, HyNNClassifier, HyNNRegressor, InputError
from permgrad.base.stored import sealed
from permgrad.imaging import StoredLayout
from permgrad.models.save.model_folders import ARRAYS, DESCRIPTION, WEIGHTS

SMALL = {"dense_units": [16], "conv_filters": [4], "pooling": [4], "fusion_units": [8]}


def table(rows=80):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "b": rng.choice(["x", "y"], rows),
            "c": rng.random(rows),
        }
    )
    frame.loc[::9, "a"] = np.nan
    return frame


def fitted(kind=HyNNClassifier, **changes):
    X = table()
    y = (
        X["c"]
        if kind is HyNNRegressor
        else np.where(X["c"] > 0.5, "high", "low").astype(object)
    )
    options = {
        "preset": "paper",
        "network": SMALL,
        "pixels": 8,
        "max_epochs": 2,
        "random_state": 0,
        **changes,
    }
    return kind(progress=False, **options).fit(X, y), X


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model, X = fitted()
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save(folder)
    return folder, model, X


@pytest.fixture
def copied(saved, tmp_path):
    import shutil

    return shutil.copytree(saved[0], tmp_path / "copy")


@pytest.mark.parametrize("kind", [HyNNClassifier, HyNNRegressor])
@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "paper"},
        {"preset": "default", "network": None},
        {"preset": "fast", "branches": ("tabular",)},
        {"branches": ("image",), "layout": "random"},
        {"layout": StoredLayout([[0, 0], [1, 1], [2, 2], [3, 3], [4, 4]], 8)},
        {
            "preset": {"base": "fast", "patience": float("inf")},
            "random_state": np.random.default_rng(1),
        },
    ],
    ids=["paper", "default", "fast", "image", "layout", "arguments"],
)
def test_everything_is_equal_after_loading(tmp_path, kind, changes):
    model, X = fitted(kind, **changes)
    model.save(tmp_path / "model")
    twin = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    np.testing.assert_array_equal(
        twin.encode_rows(X).encoded, model.encode_rows(X).encoded
    )
    np.testing.assert_array_equal(twin.background_, model.background_)
    np.testing.assert_array_equal(twin.background_target_, model.background_target_)
    pd.testing.assert_frame_equal(twin.history_, model.history_)
    for name in (
        "seed_",
        "best_epoch_",
        "n_features_in_",
        "network_options_",
        "training_options_",
    ):
        assert getattr(twin, name) == getattr(model, name)
    assert list(twin.feature_names_in_) == list(X.columns)
    assert not twin.module_.training
    if kind is HyNNClassifier:
        np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
        assert twin.classes_.dtype == model.classes_.dtype
    else:
        assert (twin.target_mean_, twin.target_scale_) == (
            model.target_mean_,
            model.target_scale_,
        )
    again = twin.get_params(deep=False)
    for name, value in model.get_params(deep=False).items():
        if name not in ("layout", "random_state"):
            assert again[name] == value, name
    twin.save(tmp_path / "twin")
    np.testing.assert_array_equal(
        pg.load(tmp_path / "twin").predict(X), model.predict(X)
    )


def test_equal_in_a_new_process(saved, tmp_path):
    folder, model, X = saved
    X.to_pickle(tmp_path / "X.pkl")
    script = tmp_path / "predict.py"
    script.write_text(
        "import sys, numpy as np, pandas as pd, permgrad as pg; np.save(sys.argv[3], "
        "pg.load(sys.argv[1]).predict_proba(pd.read_pickle(sys.argv[2])))"
    )
    arguments = [str(folder), str(tmp_path / "X.pkl"), str(tmp_path / "p.npy")]
    assert (
        run_script(script, *arguments, cwd=tmp_path, env=as_many_threads()).returncode
        == 0
    )
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), model.predict_proba(X))


def test_a_foreign_image_callable_is_given_again(tmp_path):
    def images(rows):
        return rows[:, None, :].repeat(4, axis=1)

    model, X = fitted(layout=images)
    model.save(tmp_path / "model")
    with pytest.raises(InputError, match="needs that callable on loading"):
        pg.load(tmp_path / "model")
    twin = pg.load(tmp_path / "model", encoders={"layout": images})
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert twin.layout is images


def test_images_that_a_model_has_no_use_for_are_refused(saved):
    with pytest.raises(
        InputError,
        match=(
            r"encoders\['layout'\] is only for models fitted with a layout of the "
            r"user's own, got 'tinto'. Call "
            r"pg.load\(folder\)"
        ),
    ):
        pg.load(saved[0], encoders={"layout": "tinto"})
    with pytest.raises(InputError, match="encoders: no encoder 'texts'"):
        pg.load(saved[0], encoders={"texts": len})
    with pytest.raises(
        InputError, match=r"encoders must be None or a mapping, got \[<built-in"
    ):
        pg.load(saved[0], encoders=[len])


def test_a_loaded_model_can_be_fitted_again(saved):
    folder, model, X = saved
    twin = pg.load(folder)
    y = np.where(X["c"] > 0.5, "high", "low").astype(object)
    np.testing.assert_array_equal(
        twin.fit(X, y).predict_proba(X), model.predict_proba(X)
    )


# ---- refusing ------------------------------------------------------------------------


class Bomb:
    """Would create a file if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def renew_checksums(folder):
    import hashlib

    description = json.loads((folder / DESCRIPTION).read_text())
    description["checksums"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (WEIGHTS, ARRAYS)
    }
    (folder / DESCRIPTION).write_text(json.dumps(sealed(description)))


@pytest.mark.parametrize("sums", ["old", "renewed"])
@pytest.mark.parametrize(
    "way", ["raw pickle", "torch file", "pickle in npz", "npz is pickle"]
)
def test_a_pickle_is_refused_and_not_executed(copied, tmp_path, way, sums):
    mark = tmp_path / "executed"
    if way == "raw pickle":
        (copied / WEIGHTS).write_bytes(pickle.dumps(Bomb(mark)))
    elif way == "torch file":
        torch.save(Bomb(mark), copied / WEIGHTS)
    elif way == "pickle in npz":
        with np.load(copied / ARRAYS) as file:
            arrays = dict(file)
        arrays["background"] = np.array([Bomb(mark)], dtype=object)
        np.savez(copied / ARRAYS, **arrays)
    else:
        (copied / ARRAYS).write_bytes(pickle.dumps(Bomb(mark)))
    if sums == "renewed":
        renew_checksums(copied)
    with pytest.raises(
        InputError, match="pickle, which could run code on loading and is never opened"
    ):
        pg.load(copied)
    assert not mark.exists()


@pytest.mark.parametrize("name", [DESCRIPTION, ARRAYS, WEIGHTS])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_files_are_refused(copied, name, share):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"[Ss]ave the model again"):
        pg.load(copied)


@pytest.mark.parametrize("name", [ARRAYS, WEIGHTS])
def test_a_changed_byte_is_noticed(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"[Ss]ave the model again"):
        pg.load(copied)


@pytest.mark.parametrize("name", [DESCRIPTION, ARRAYS, WEIGHTS])
def test_missing_files_are_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(
        InputError,
        match=rf"has no {name}, so it is no complete model. Check the path, or save",
    ):
        pg.load(copied)


def test_other_versions_and_folders_are_refused(copied, tmp_path):
    description = json.loads((copied / DESCRIPTION).read_text())
    (copied / DESCRIPTION).write_text(
        json.dumps({**description, "version": 4, "written_by": "permgrad 9.0"})
    )
    with pytest.raises(
        InputError,
        match=(
            r".* has format version 4, written by permgrad 9.0, but this permgrad "
            r"\(0.1.0\) reads at most 3. "
            "Update permgrad"
        ),
    ):
        pg.load(copied)
    for version, fact in (
        (1, "format version 1, .* reads at least 2. Train the model again"),
        ("x", "Update permgrad"),
    ):
        (copied / DESCRIPTION).write_text(
            json.dumps({**description, "version": version})
        )
        with pytest.raises(InputError, match=fact):
            pg.load(copied)
    (copied / DESCRIPTION).write_text("{}")
    with pytest.raises(
        InputError,
        match=r"does not describe a permgrad model. Pass the folder of a model",
    ):
        pg.load(copied)
    with pytest.raises(InputError, match="is not a folder"):
        pg.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "key", ["network", "preprocessor", "estimator", "parameters", "renderer", "target"]
)
def test_a_description_with_a_part_missing_or_wrong_is_refused(copied, key):
    description = json.loads((copied / DESCRIPTION).read_text())
    for change in ({key: "nonsense"}, {key: None}):
        if key == "renderer" and change[key] is None:
            continue
        (copied / DESCRIPTION).write_text(json.dumps({**description, **change}))
        with pytest.raises(InputError, match=r"Save the model again|must|newer"):
            pg.load(copied)


def test_a_device_that_is_none_is_not_the_files_fault(saved):
    for device in ("no such", "cuda:99", 1.5, object()):
        with pytest.raises(
            InputError,
            match=r"^device must be one of 'auto', 'cpu'.* on this machine, got ",
        ):
            pg.load(saved[0], device=device)


def test_saving_never_overwrites_in_silence(saved, tmp_path):
    _, model, X = saved
    folder = tmp_path / "model"
    model.save(folder)
    with pytest.raises(
        InputError,
        match=r"already holds a model. Pass overwrite=True or choose another folder",
    ):
        model.save(folder)
    model.save(folder, overwrite=True)
    np.testing.assert_array_equal(
        pg.load(folder).predict_proba(X), model.predict_proba(X)
    )
    (folder / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(
            InputError, match=r"holds files that are no model\. Choose another folder"
        ):
            model.save(folder, overwrite=overwrite)
    assert (folder / "thesis.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="is a file or a link"):
        model.save(file, overwrite=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    model.save(empty)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "empty",
        "file",
        "model",
    ]


def test_a_folder_that_cannot_be_written(saved, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="Cannot write "):
        saved[1].save(tmp_path / "file" / "model")


def test_the_files_are_what_they_say(saved):
    folder = saved[0]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [DESCRIPTION, ARRAYS, WEIGHTS, "requirements.txt", "times.json"]
    )
    assert zipfile.is_zipfile(folder / ARRAYS)
    assert json.loads((folder / DESCRIPTION).read_text())["format"] == "permgrad model"
    length = int.from_bytes((folder / WEIGHTS).read_bytes()[:8], "little")
    assert json.loads((folder / WEIGHTS).read_bytes()[8 : 8 + length])


@pytest.mark.parametrize("kind", [HyNNClassifier, HyNNRegressor])
def test_a_model_that_is_fitted_again_has_the_same_files(tmp_path, kind):
    times = []
    for name in ("first", "second"):
        model, _ = fitted(kind, preset="fast", network=None)
        model.save(tmp_path / name)
        times.append(model.history_["seconds"].tolist())
        pd.testing.assert_frame_equal(pg.load(tmp_path / name).history_, model.history_)
    assert times[0] != times[1], "the precondition: the clock differs"
    for file in (DESCRIPTION, ARRAYS, WEIGHTS):
        assert (tmp_path / "first" / file).read_bytes() == (
            tmp_path / "second" / file
        ).read_bytes(), file
    (tmp_path / "first" / "times.json").write_text("no times")
    again = pg.load(tmp_path / "first").history_
    assert again["seconds"].isna().all()
    assert again["epoch"].tolist() == [1, 2]


def test_the_folder_of_a_run_gives_its_model(saved, tmp_path):
    folder = saved[0]
    shutil.copytree(folder, tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text("{}")
    assert type(pg.load(tmp_path / "run")) is type(pg.load(folder))
