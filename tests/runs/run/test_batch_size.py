"""``permgrad run --batch-size``: part of the configuration, of the command that is shown, and of the training."""

from __future__ import annotations

from permgrad.runs.requests import RunRequest
from permgrad.runs.run.inputs import configuration, load_inputs
from permgrad.runs.run.training import make_estimator


def test_it_reaches_the_training_and_its_default_is_the_presets():
    request = RunRequest(table="breast_cancer", preset="paper", batch_size=32)
    inputs = load_inputs(request)
    assert make_estimator(request, inputs).batch_size == 32
    assert make_estimator(RunRequest(table="breast_cancer"), inputs).batch_size is None


def test_it_is_part_of_the_configuration_only_when_given():
    usual, given = (configuration(RunRequest(table="breast_cancer", batch_size=size)) for size in (None, 32))
    assert "batch_size" not in usual, "runs finished before the option existed must stay finished"
    assert given == {**usual, "batch_size": 32}


def test_the_command_shown_repeats_it():
    assert RunRequest(table="puma", preset="paper", batch_size=32).command == (
        "permgrad run puma --preset paper --batch-size 32"
    )
