"""Search spaces: the published one, ours, files, and every fault of a file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from permgrad.base.errors import InputError
from permgrad.models.estimators.presets import get_preset, preset_from_dict
from permgrad.models.train.schedules import one_cycle
from permgrad.tuning import get_space, read_space, space_from_dict, spaces
from permgrad.tuning.spaces import (
    Parameter,
    check_preset,
    choice_label,
    doubled,
    place_values,
)

optuna = pytest.importorskip("optuna")


def draws(space: Any, count: int = 60, seed: int = 0) -> list[tuple[dict, dict]]:
    """Return parameters, with their distributions' ranges, and presets of random
    trials.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn_trials = []
    for _ in range(count):
        trial = study.ask()
        preset = space.build(trial)
        drawn_trials.append((trial, preset))
        study.tell(trial, 0.0)
    return drawn_trials


# ---- the published space -------------------------------------------------------------
def test_the_published_space_has_the_published_ranges():
    drawn_trials = draws(get_space("paper"), 200)
    ranges: dict[str, Any] = {}
    for trial, _ in drawn_trials:
        ranges |= trial.distributions
    written_ranges = {
        name: (parameter_range.low, parameter_range.high, parameter_range.log)
        for name, parameter_range in ranges.items()
        if hasattr(parameter_range, "low")
    }
    assert written_ranges == {
        "dropout": (0.1, 0.4, False),
        "learning_rate": (1e-5, 1e-2, True),
        "weight_decay": (1e-6, 1e-3, True),
        "base_filters": (8, 256, False),
        "dense_layers": (1, 4, False),
        "convolution_layers": (1, 4, False),
        **{f"dense_units_{layer}": (8, 256, False) for layer in (1, 2, 3, 4)},
        **{f"fusion_units_{layer}": (8, 256, False) for layer in (1, 2, 3, 4)},
    }
    assert ranges["optimizer"].choices == ("adam", "adamw")


def test_presets_of_the_published_space():
    space = get_space("paper")
    drawn_presets = [preset for _, preset in draws(space, 100)]
    for preset in drawn_presets:
        network = preset["network"]
        training = preset
        filters = network["conv_filters"]
        assert filters == doubled(filters[0], len(filters))
        assert (training["batch_size"], training["patience"]) == (32, 6)
        assert (training["schedule"], training["schedule_unit"]) == (
            "warmup_cosine",
            "epoch",
        )
        assert len(network["fusion_units"]) == len(network["dense_units"])
        assert (training["weight_decay"] > 0) == (training["optimizer"] == "adamw")
        check_preset(preset)
    assert {len(preset["network"]["conv_filters"]) for preset in drawn_presets} == {
        1,
        2,
        3,
        4,
    }
    assert {len(preset["network"]["dense_units"]) for preset in drawn_presets} == {
        1,
        2,
        3,
        4,
    }
    assert {preset["optimizer"] for preset in drawn_presets} == {"adam", "adamw"}
    bases = {preset["network"]["conv_filters"][0] for preset in drawn_presets}
    assert any(base & (base - 1) for base in bases), (
        "any whole number, not powers of two alone"
    )
    assert (space.trials_for("regression"), space.trials_for("classification")) == (
        75,
        50,
    )
    assert space.base is None, "its first trial is drawn like any other"


@pytest.mark.slow
def test_the_deepest_published_network_fits_the_smallest_image():
    import numpy as np

    from permgrad import HyNNRegressor

    preset = get_preset("paper").to_dict()
    preset["network"] |= {
        "conv_filters": doubled(8, 4),
        "dense_units": [8] * 4,
        "fusion_units": [8, 8],
    }
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = HyNNRegressor(
        preset=preset_from_dict(preset), max_epochs=1, random_state=0, progress=False
    )
    assert np.isfinite(model.fit(X, X[:, 0]).predict(X)).all()


def test_one_cycle_is_that_of_torch():
    import torch

    steps = 400
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    for step in range(steps - 1):
        # Theirs reaches the peak one step early; at 400 steps that is a small
        # difference.
        assert one_cycle(step / (steps - 1), 0.01) == pytest.approx(
            theirs.get_last_lr()[0], abs=2e-4
        )
        optimizer.step()
        theirs.step()


# ---- ours ----------------------------------------------------------------------------
def test_our_space_starts_with_the_default_preset():
    space = get_space("default")
    assert space.base == get_preset("default")
    assert space.trials_for("classification") == 30
    assert len(space.start) >= 5, "most of the preset's own values can be expressed"
    for trial, preset in draws(space, 60):
        check_preset(preset)
        assert set(space.start) <= set(trial.params)


@pytest.mark.parametrize("name", list(spaces))
def test_every_space_gives_presets_that_can_be_used(name):
    for _, preset in draws(get_space(name), 40):
        assert check_preset(json.loads(json.dumps(preset))) == preset_from_dict(preset)


# ---- files ---------------------------------------------------------------------------
def test_a_file_gives_a_space(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps(
            {
                "base": "fast",
                "parameters": {
                    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
                    "network.dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
                    "network.dense_units.width": {"low": 16, "high": 64, "step": 16},
                    "network.dense_units.depth": {"low": 1, "high": 3},
                    "network.conv_filters": {"choices": [[8], [8, 16], [4, 4, 4]]},
                    "layout": {"choices": ["assignment", "random"]},
                    "class_weight": {"choices": [None, "balanced"]},
                },
            }
        )
    )
    space = read_space(path)
    assert dict(space.start) == {
        "learning_rate": 2e-3,
        "network.dropout": 0.0,
        "network.dense_units.width": 64,
        "network.dense_units.depth": 2,
        "network.conv_filters": "[8, 16]",
        "layout": "assignment",
        "class_weight": None,
    }
    drawn_trials = draws(space, 80)
    for trial, preset in drawn_trials:
        units = preset["network"]["dense_units"]
        assert (
            units
            == [trial.params["network.dense_units.width"]]
            * trial.params["network.dense_units.depth"]
        )
        assert preset["network"]["conv_filters"] == json.loads(
            trial.params["network.conv_filters"]
        )
        assert 1e-4 <= preset["learning_rate"] <= 1e-2
        assert preset["max_epochs"] == 20, "what is not searched is the base preset's"
    assert {len(preset["network"]["dense_units"]) for _, preset in drawn_trials} == {
        1,
        2,
        3,
    }


def test_sizes_that_double():
    content = {"network": {"conv_filters": [16, 32]}}
    depth = Parameter("network.conv_filters.depth", low=1, high=4)
    place_values(content, [depth], {"network.conv_filters.depth": 4})
    assert content["network"]["conv_filters"] == [16, 32, 64, 128], (
        "a depth alone keeps the rule of the base preset"
    )
    base = Parameter("network.conv_filters.base", choices=(8, 64))
    place_values(content, [base], {"network.conv_filters.base": 8})
    assert content["network"]["conv_filters"] == [8, 16, 32, 64]
    assert base.own_value({"network": {"conv_filters": [64, 128]}}) == (True, 64)
    assert base.own_value({"network": {"conv_filters": [64, 64]}})[0] is False


def test_values_of_other_kinds_do_not_lie_in_a_range():
    rate = Parameter("learning_rate", low=1e-4, high=1e-2)
    assert rate.own_value({"learning_rate": 1e-3}) == (True, 1e-3)
    for value in (None, True, "fast"):
        assert rate.own_value({"learning_rate": value}) == (False, value)


def test_a_choice_is_stored_alike_as_a_tuple_and_as_a_list():
    assert choice_label((64, 32)) == choice_label([64, 32]) == "[64, 32]"
    assert choice_label("tinto") == "tinto"


def test_only_what_a_trial_chose_is_placed():
    parameters = [
        Parameter("layout", choices=("tinto", "random")),
        Parameter("averaging", low=0.0, high=0.9),
    ]
    content = {"layout": "assignment", "averaging": 0.5}
    place_values(content, parameters, {"layout": "tinto"})
    assert content == {"layout": "tinto", "averaging": 0.5}


FAULTS: list[tuple[Any, str]] = [
    ([], "A space must be a JSON object, but the mapping holds a list"),
    ({"parameters": {}}, "'parameters' must be an object with at least one setting"),
    (
        {"base": "fst", "parameters": {"layout": {"choices": ["tinto"]}}},
        "Did you mean 'fast'?",
    ),
    (
        {"bases": "fast", "parameters": {"layout": {"choices": ["tinto"]}}},
        "'bases' is unknown. Did you mean 'base'?",
    ),
    (
        {"parameters": {"network.dropuot": {"low": 0.0, "high": 0.1}}},
        "Did you mean 'network.dropout'?",
    ),
    (
        {"parameters": {"network.dropout": 3}},
        "must be an object with low and high, or with choices, got 3",
    ),
    ({"parameters": {"network.dropout": {"low": 0.0}}}, "needs a finite number 'high'"),
    (
        {"parameters": {"network.dropout": {"low": 0.5, "high": 0.1}}},
        "low must be below high, got 0.5 and 0.1",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0.0, "high": 0.5, "log": True}}},
        "low must be above 0 where log is true",
    ),
    (
        {
            "parameters": {
                "network.dropout": {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}
            }
        },
        "has both log and step",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0.1, "high": 0.5, "stop": 0.1}}},
        "Did you mean 'step'?",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0.1, "high": 1.5}}},
        "'network.dropout' cannot be 1.5: Network option",
    ),
    (
        {"parameters": {"learning_rate": {"low": -0.1, "high": 0.1}}},
        "learning_rate must be a number above 0",
    ),
    (
        {"parameters": {"averaging": {"choices": [0.5, 1.0]}}},
        "'averaging' cannot be 1.0",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0.1, "high": 0.5, "log": 1}}},
        "log must be true or false, got 1",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0.1, "high": 0.5, "step": 0}}},
        "step must be above 0, got 0",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0.1, "high": 0.5, "step": "a"}}},
        "step must be above 0, got 'a'",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0, "high": 0.5, "step": 3}}},
        "step must be at most high - low, got 3 from 0 to 0.5",
    ),
    (
        {"parameters": {"refinement": {"choices": [True, 1]}}},
        "cannot be 1: refinement must be true or false",
    ),
    (
        {"parameters": {"schedule_unit": {"choices": ["step", "batch"]}}},
        (
            "'schedule_unit' cannot be 'batch': schedule_unit must be one of 'epoch', "
            "'step'"
        ),
    ),
    (
        {
            "parameters": {
                "network.dense_units": {"choices": [[8], [16]]},
                "network.dense_units.width": {"low": 8, "high": 16},
            }
        },
        "'network.dense_units' and 'network.dense_units.width' cannot both be searched",
    ),
    (
        {"parameters": {"network.dense_units.depth": {"low": 1, "high": 10**30}}},
        (
            "'network.dense_units.depth' cannot be 1000000000000000000000000000000: "
            "The depth is "
        ),
    ),
    (
        {"parameters": {"network.dense_units.width": {"low": 8, "high": 10**8}}},
        "whole numbers from 1 to 1,000,000",
    ),
    (
        {"parameters": {"network.dropout": {"low": 0, "high": 10**400}}},
        "'network.dropout' needs a finite number 'high'",
    ),
    (
        {"parameters": {"layout": {"choices": []}}},
        "must list at least one choice, got []",
    ),
    (
        {"parameters": {"layout": {"choices": ["tinto", "tinto"]}}},
        "lists a choice twice",
    ),
    (
        {"parameters": {"layout": {"choices": ["tinto", "tonti"]}}},
        "'layout' cannot be 'tonti': layout must be one of",
    ),
    (
        {"parameters": {"layout": {"choices": ["tinto"], "low": 1}}},
        "has both choices and 'low'",
    ),
    (
        {
            "parameters": {
                "network.dense_units.width": {"low": 8, "high": 16},
                "network.dense_units.base": {"low": 8, "high": 16},
            }
        },
        (
            "'network.dense_units.width' and 'network.dense_units.base' cannot both be "
            "searched"
        ),
    ),
]


@pytest.mark.parametrize(("given", "said"), FAULTS)
def test_faults_of_a_space(given, said):
    with pytest.raises(InputError) as caught:
        space_from_dict(given)
    assert said in str(caught.value)


def test_all_faults_are_listed_at_once():
    space_mapping = {
        "parameters": {
            "network.dropuot": {"low": 0.0, "high": 0.1},
            "layout": {"choices": []},
        },
        "bse": 1,
    }
    with pytest.raises(InputError) as caught:
        space_from_dict(space_mapping)
    for wrong_word in ("'bse'", "'network.dropuot'", "'layout'"):
        assert wrong_word in str(caught.value)


def test_unknown_spaces_and_files(tmp_path):
    with pytest.raises(InputError, match=r"No space 'papre'. Did you mean 'paper'"):
        get_space("papre")
    with pytest.raises(InputError, match="Cannot read the space"):
        get_space(str(tmp_path / "none.json"))


def test_a_step_as_wide_as_the_range_gives_both_ends():
    """In floating point 0.3 - 0.1 is a little less than 0.2."""
    space = space_from_dict(
        {"parameters": {"network.dropout": {"low": 0.1, "high": 0.3, "step": 0.2}}}
    )
    drawn_rates = sorted(
        {trial.params["network.dropout"] for trial, _ in draws(space, 20)}
    )
    assert drawn_rates == pytest.approx([0.1, 0.3])


RANGE = b'{"low": 0, "high": 0.2}'
UNREADABLE = [
    (b"{'base':", "Expecting property name"),
    (b'{"base": "\xff"}', "codec can't decode byte 0xff"),
    (b"[" * 2000 + b"]" * 2000, "nested more than 100 levels deep"),
    (
        b'{"parameters": {"layout": %b, "layout": %b}}' % (RANGE, RANGE),
        "it holds 'layout' twice in one object",
    ),
    (b'{"base": "fast", "base": "paper"}', "it holds 'base' twice in one object"),
]


@pytest.mark.parametrize(("content", "said"), UNREADABLE)
@pytest.mark.parametrize("read", [get_space, get_preset])
def test_files_whose_contents_are_wrong_are_to_be_corrected(
    tmp_path, content, said, read
):
    file = tmp_path / "own.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(str(file))
    words = str(caught.value)
    assert str(file) in words
    assert said in words
    assert "orrect " in words
