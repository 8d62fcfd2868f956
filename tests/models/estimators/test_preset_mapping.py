"""A preset may be a mapping: a base, and settings that replace its own.

Files and mappings are read alike.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

import permgrad as pg
from permgrad.models.estimators.presets import Preset, get_preset, presets
from permgrad.models.estimators.settings import resolve_settings
from permgrad.models.train.learner import TrainingOptions

SHARED = [
    *(
        "preset",
        "network",
        "branches",
        "image",
        "layout",
        "pixels",
        "kinds",
        "na",
        "groups",
    ),
    *("image_encoder", "text_encoder"),
]
END = [
    "max_epochs",
    "batch_size",
    "learning_rate",
    "validation_fraction",
    "device",
    "random_state",
    "progress",
]
#: A setting of each kind: of training, of the encoder, of what is kept, of the network.
SETTINGS = {
    "optimizer": "sgd",
    "numeric": "minmax",
    "max_levels": 3,
    "background_size": 20,
    "network": {"dropout": 0.2},
}
QUICK = {"max_epochs": 2, "random_state": 0, "progress": False}


def table(rows: int = 120) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"a": rng.normal(size=rows), "town": rng.choice(list("uvwxyz"), rows)}
    )
    return X, X["a"] + (X["town"] == "u")


def same(first_model: pg.HyNNRegressor, second_model: pg.HyNNRegressor) -> bool:
    weights = first_model.module_.state_dict()
    second_weights = second_model.module_.state_dict()
    return weights.keys() == second_weights.keys() and all(
        torch.equal(weights[name], second_weights[name]) for name in weights
    )


def settled(model: pg.HyNNClassifier | pg.HyNNRegressor):
    return resolve_settings(model.get_params(deep=False), model.task)


# ---- what the estimators take --------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (pg.HyNNClassifier, ["class_weight", "calibration", "cost", "threshold"]),
        (pg.HyNNRegressor, ["loss"]),
    ],
)
def test_parameters_are_those_of_the_contract_in_its_order(kind, own):
    expected_names = [*SHARED, *own, *END]
    assert list(inspect.signature(kind).parameters) == expected_names
    assert len(expected_names) <= 22
    assert sorted(kind().get_params(deep=False)) == sorted(expected_names)


@pytest.mark.parametrize(
    "name", ["optimizer", "patience", "numeric", "variables", "na_codes"]
)
def test_what_a_preset_says_is_no_argument(name):
    with pytest.raises(TypeError, match=name):
        pg.HyNNRegressor(**{name: None})


# ---- a mapping, a file and a registered preset ---------------------------------------
@pytest.mark.slow
def test_a_mapping_a_file_and_a_registered_preset_give_the_same_model_bit_for_bit(
    tmp_path,
):
    X, y = table()
    fast = get_preset("fast")
    written = dataclasses.replace(
        fast, numeric="minmax", max_levels=3, background_size=20, training={**fast.training, "optimizer": "sgd"},
        network=dataclasses.replace(fast.network, dropout=0.2),
    )  # fmt: skip
    path = tmp_path / "mine.json"
    base = tmp_path / "base.json"
    path.write_text(json.dumps({"base": "fast", **SETTINGS}))
    base.write_text(
        json.dumps(
            {"base": "fast", "optimizer": "sgd", "numeric": "minmax", "max_levels": 9}
        )
    )
    on_file = {
        "base": base,
        **{
            name: SETTINGS[name]
            for name in ("max_levels", "background_size", "network")
        },
    }
    ways = ({"base": "fast", **SETTINGS}, path, str(path), on_file, written)
    models = [pg.HyNNRegressor(preset=way, **QUICK).fit(X, y) for way in ways]
    assert all(same(models[0], other_model) for other_model in models[1:])
    assert not same(models[0], pg.HyNNRegressor(preset="fast", **QUICK).fit(X, y)), (
        "the settings change something"
    )
    for model in models:
        assert model.training_options_["optimizer"] == "sgd"
        assert model.network_options_["dropout"] == 0.2
        assert (model.preprocessor_.numeric, model.preprocessor_.max_levels) == (
            "minmax",
            3,
        )
        assert len(model.background_) == 20


def test_what_a_preset_writes_is_read_back():
    for name in presets:
        preset = get_preset(name)
        written = json.loads(json.dumps(preset.to_dict()))
        assert get_preset(written).to_dict() == preset.to_dict()
        assert {field.name for field in dataclasses.fields(TrainingOptions)} - {
            "loss"
        } <= written.keys()


def test_the_base_is_the_default_and_an_argument_goes_first():
    settings = settled(
        pg.HyNNClassifier(
            preset={"max_epochs": 7, "learning_rate": 0.5}, learning_rate=0.25
        )
    )
    assert (settings.training.max_epochs, settings.training.learning_rate) == (7, 0.25)
    assert settings.network == get_preset("default").network
    assert (
        settled(pg.HyNNClassifier(preset={"patience": math.inf})).training.patience
        is None
    )
    assert (
        settled(pg.HyNNClassifier(preset={"patience": None})).training.patience is None
    )


def test_what_a_mapping_names_stays_for_ordered_columns_too():
    free = settled(pg.HyNNClassifier(preset="fast")).for_order((1, 40))
    assert (free.training.patience, free.network.conv_normalization) == (None, "batch")
    preset_mapping = {
        "base": "fast",
        "patience": 4,
        "max_epochs": 90,
        "network": {"conv_normalization": "none"},
    }
    order_settings = settled(pg.HyNNClassifier(preset=preset_mapping)).for_order(
        (1, 40)
    )
    assert (order_settings.training.patience, order_settings.training.max_epochs) == (
        4,
        90,
    )
    assert order_settings.network.conv_normalization == "none"
    assert settled(pg.HyNNClassifier(preset={"base": "fast"})).seeks_order
    assert not settled(
        pg.HyNNClassifier(preset={"base": "fast", "layout": "path"})
    ).seeks_order


# ---- wrong ones ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ({"optimiser": "sgd"}, r"'optimiser' is unknown\. Did you mean 'optimizer'\?"),
        ({"training": {"patience": 2}}, "'training' is unknown"),
        ({3: 4}, "3 is unknown"),
        (
            {"network": {"droput": 0.1}},
            r"Network option 'droput' is unknown\. Did you mean 'dropout'\?",
        ),
        ({"network": 5}, "network"),
        (
            {"optimizer": "sdg"},
            r"Preset mapping: optimizer cannot be 'sdg'. Did you mean 'sgd'\?",
        ),
        (
            {"patience": "six"},
            "Preset mapping: patience must be None, a whole number of at least 1",
        ),
        (
            {"numeric": "robst"},
            r"Preset mapping: numeric cannot be 'robst'. Did you mean 'robust'\?",
        ),
        (
            {"max_levels": 0},
            "'max_levels' must be null or a whole number of at least 1, got 0",
        ),
        (
            {"background_size": None},
            "'background_size' must be a whole number of at least 1, got None",
        ),
        ({"class_weight": [1]}, "'class_weight' must be null or one of"),
        ({"base": "fsat"}, r"No preset 'fsat'. Did you mean 'fast'\?"),
        ({"base": {"base": "fast"}}, "preset must be one of"),
        ({"base": "none.json"}, "Cannot read the preset file none.json"),
        ([], "preset must be one of"),
    ],
)
def test_wrong_presets_are_stored_and_refused_by_fit(preset, message):
    model = pg.HyNNRegressor(preset=preset)
    assert model.preset is preset
    assert model.get_params()["preset"] is preset
    with pytest.raises(pg.InputError, match=message):
        model.fit(*table(20))


def test_a_file_is_based_on_a_registered_preset(tmp_path):
    """What a run notes of its preset is the content of one file."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": str(path)}))
    with pytest.raises(pg.InputError, match="preset must be one of"):
        get_preset(path)


# ---- clone, set_params, save and load ------------------------------------------------
def test_mappings_are_cloned_set_and_saved(tmp_path):
    X, y = table()
    base = tmp_path / "base.json"
    base.write_text(json.dumps({"base": "fast", "optimizer": "adam"}))
    preset_mapping = {"base": base, "patience": math.inf, **SETTINGS}
    before = dict(preset_mapping)
    model = clone(
        pg.HyNNRegressor(**QUICK).set_params(
            preset=preset_mapping, network__dropout=0.1
        )
    )
    assert (model.preset, model.network) == (preset_mapping, {"dropout": 0.1})
    assert model.get_params()["network__dropout"] == 0.1
    assert model.get_params()["network__dense_units"] == list(
        get_preset("fast").network.dense_units
    )
    model.fit(X, y).save(tmp_path / "model")
    assert preset_mapping == before, "fit changes nothing of what it was given"
    loaded = pg.load(tmp_path / "model")
    assert loaded.preset == {**preset_mapping, "base": str(base)}
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert same(clone(loaded).fit(X, y), model)
    base.unlink()
    assert len(pg.load(tmp_path / "model").predict(X)) == len(X), (
        "a file of settings is not needed to predict"
    )


def test_a_preset_of_the_users_own(tmp_path):
    X, y = table()
    own_preset = get_preset({"base": "fast", **SETTINGS})
    assert isinstance(own_preset, Preset)
    presets.register("mine")(own_preset)
    try:
        model = pg.HyNNRegressor(preset="mine", **QUICK).fit(X, y)
        assert same(
            model,
            pg.HyNNRegressor(preset={"base": "fast", **SETTINGS}, **QUICK).fit(X, y),
        )
        model.save(tmp_path / "model")
        assert pg.load(tmp_path / "model").preset == "mine"
    finally:
        del presets["mine"]
