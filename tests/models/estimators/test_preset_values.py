"""What stands in a preset file is checked as arguments are: before any work, with the
file named.
"""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from permgrad import HyNNClassifier, HyNNRegressor, InputError
from permgrad.models.estimators.presets import get_preset, presets
from permgrad.models.estimators.settings import check_preset, resolve_settings
from permgrad.models.train.learner import TrainingOptions

WRONG = {
    "learning_rate": ([-1, 0, "fast", None, True], "a number above 0"),
    "weight_decay": ([-1e-9, "none", None], "a number of at least 0"),
    "max_epochs": (["ten", 0, 1.5, None], "a whole number of at least 1"),
    "batch_size": ([0, 1, "all", 12.0, None], "'auto' or a whole number of at least 2"),
    "patience": ([0, -1, "never"], "None, a whole number of at least 1, or float"),
    "kept_from": ([1, -0.1, None], "a number from 0 to below 1"),
    "averaging": ([2, 1, -0.1, None], "a number from 0 to below 1"),
    "label_smoothing": ([5, "a little"], "a number from 0 to below 1"),
    "refinement": ([1, "yes", None], "true or false"),
    "optimizer": (["adamax", 3, None, ["adam"]], "one of 'adamw', 'adam', 'sgd'"),
    "schedule": (["nope", None], "one of 'warmup_cosine'"),
    "schedule_unit": (["batch", None], "one of 'epoch', 'step'"),
    "precision": (["half", None], "one of 'auto'"),
}


def test_every_training_option_is_checked():
    assert {field.name for field in dataclasses.fields(TrainingOptions)} == {
        *WRONG,
        "loss",
    }


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused_with_rule_file_and_fact(tmp_path, name):
    path = tmp_path / "mine.json"
    values, rule = WRONG[name]
    for value in values:
        path.write_text(json.dumps({"base": "fast", name: value}))
        with pytest.raises(InputError) as caught:
            check_preset(path)
        message = str(caught.value)
        near = (
            f"Preset {path}: {name} cannot be " if value == "adamax" else ""
        )  # which is near one of them
        assert message.startswith(near or f"Preset {path}: {name} must be {rule}"), (
            message
        )
        assert repr(value) in message


def test_faults_of_a_preset_are_listed_together(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps(
            {"layout": "tnto", "numeric": "nope", "averaging": 2, "max_epochs": 0}
        )
    )
    with pytest.raises(InputError) as caught:
        HyNNRegressor(preset=str(path)).fit(np.eye(4), np.arange(4.0))
    lines = caught.value.message.splitlines()
    assert lines[0] == "4 settings are wrong:"
    named = [line.removeprefix(f"  - Preset {path}: ").split()[0] for line in lines[1:]]
    assert named == ["max_epochs", "averaging", "numeric", "No"]
    assert lines[4].endswith("No layout 'tnto'. Did you mean 'tinto'?")


def test_members_under_batch_normalisation_are_refused_before_any_work(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": "paper", "network": {"members": 4}}))
    for model in (
        HyNNClassifier(preset=path),
        HyNNClassifier(preset="paper", network={"members": 4}),
    ):
        with pytest.raises(
            InputError, match=r"members=4 does not work with normalization='batch'"
        ):
            resolve_settings(model.get_params(deep=False), "classification")
    settled = HyNNClassifier(preset=path, network={"normalization": "none"}).get_params(
        deep=False
    )
    assert resolve_settings(settled, "classification").network.members == 4


def test_a_loss_of_another_task_is_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"base": "fast", "loss": "squared_error"}))
    check_preset(path)  # it may be meant for numbers
    message_start = (
        f"Preset {path}: The loss of a classification must be "
        "'cross_entropy', got 'squared_error'. "
    )
    with pytest.raises(InputError) as caught:
        HyNNClassifier(preset=path).fit(np.eye(4), [0, 1, 0, 1])
    assert str(caught.value).startswith(message_start)
    assert resolve_settings(
        HyNNRegressor(preset=path).get_params(deep=False), "regression"
    )


def test_an_argument_stands_for_what_the_preset_says(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps(
            {"base": "fast", "layout": "nope", "learning_rate": -1, "patience": None}
        )
    )
    model = HyNNClassifier(preset=path, learning_rate=0.5, layout="tinto")
    settings = resolve_settings(model.get_params(deep=False), "classification")
    assert (
        settings.training.learning_rate,
        settings.training.patience,
        settings.layout,
    ) == (
        0.5,
        None,
        "tinto",
    )


def test_what_permgrad_brings_is_right():
    for name in presets:
        check_preset(name)
        check_preset(get_preset(name))
    endless = dataclasses.replace(get_preset("fast"), training={"patience": math.inf})
    assert (
        resolve_settings(
            HyNNClassifier(preset=endless).get_params(deep=False), "classification"
        ).training.patience
        is None
    )
