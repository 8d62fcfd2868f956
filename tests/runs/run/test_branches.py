"""``permgrad run --preset default:image``: a branch of the network alone, in the same
run folder and page.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from invoking import call
from typer.testing import CliRunner

from permgrad.base.errors import InputError
from permgrad.cli import app
from permgrad.models.save.saving import load
from permgrad.runs.configuration import configuration
from permgrad.runs.options import split_preset
from permgrad.runs.requests import RunRequest


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(160, 4)).round(3), columns=list("abcd"))
    frame.assign(
        y=np.where(frame["a"] + frame["b"] * frame["c"] > 0, "yes", "no")
    ).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    ("given", "paths", "words"),
    [
        ("fast:image", ("image",), "The network"),
        ("fast:tabular", ("tabular",), "The network"),
        # The image carries 3 % here.
        pytest.param(
            "fast:tabular+image",
            ("tabular", "image"),
            "The network predicts y",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_named_branches_are_trained(table, tmp_path, given, paths, words):
    line = ("run", table, "--target", "y", "--preset", given, "--out", tmp_path / "run")
    assert words in call(*line)
    assert load(tmp_path / "run" / "model").module_.paths == paths
    assert words in (tmp_path / "run" / "report.html").read_text(encoding="utf8")
    assert "Nothing was changed" in call(*line)


def test_branches_are_part_of_what_a_run_is(table):
    presets = ("default", "default:image")
    first_configuration, second_configuration = (
        configuration(RunRequest(table=str(table), target=("y",), preset=preset))
        for preset in presets
    )
    assert first_configuration != second_configuration


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--preset", "fast:immage"], "Did you mean 'image'"),
        (["--preset", "fats:image"], "Did you mean 'fast"),
        (
            ["--preset", "fast:image", "--model", "linear"],
            "--preset fast:image is for permgrad's network",
        ),
    ],
)
def test_what_is_no_branch_is_refused_before_anything_is_written(
    table, tmp_path, given, message
):
    words = ["run", table, "--target", "y", *given, "--out", tmp_path / "run"]
    result = CliRunner().invoke(app, [str(command_word) for command_word in words])
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "run").exists()


def test_several_models_are_checked_alike():
    with pytest.raises(
        InputError, match="--preset default:image is for permgrad's network"
    ):
        RunRequest(
            table="t.csv", target=("y",), model="linear", preset="default:image"
        ).check()


def test_a_preset_is_divided_from_its_branches():
    assert split_preset("paper:image") == ("paper", ("image",))
    assert split_preset("tuned/preset.json:tabular+photo") == (
        "tuned/preset.json",
        ("tabular", "photo"),
    )
    assert split_preset("C:\\settings\\preset.json") == (
        "C:\\settings\\preset.json",
        (),
    )
    with pytest.raises(
        InputError, match="branch of preset 'paper' cannot be 'tabluar'"
    ):
        split_preset("paper:tabluar")
