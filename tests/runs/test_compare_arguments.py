"""``permgrad.compare``: arguments mean what they mean elsewhere, and wrong ones are refused beforehand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad._errors import InputError

QUICK = {"models": ["linear", "bagging"], "folds": 2, "explain": False, "progress": False, "threads": 1}


@pytest.fixture
def frame():
    """``a`` is missing where it is -9, which says much of the label; 9 and the letter a are ordinary values."""
    rng = np.random.default_rng(0)
    a = rng.choice([-9, 1, 9], 200)
    b = rng.choice([-9, 9, 4, 5], 200)
    label = np.where((a == -9) ^ (rng.random(200) < 0.1), "yes", "no")
    return pd.DataFrame({"a": a, "b": b, "c": rng.choice(["a", "b"], 200), "label": label})


def compared(frame, **options):
    return pg.compare(frame.drop(columns="label"), frame["label"], **{**QUICK, **options})


def scores(frame, **options):
    return compared(frame, **options).scores["log_loss"].to_numpy()


# ---- codes for missing -----------------------------------------------------------------------------------------------
def test_codes_for_missing_are_taken_in_every_form_that_an_encoder_takes(frame):
    coded = scores(frame, na_codes=["-9"])
    assert not np.allclose(coded, scores(frame), rtol=1e-3), "the code matters"
    assert not np.allclose(coded, scores(frame, na_codes=["-", "9"]), rtol=1e-3)
    for form in ("-9", -9, -9.0, (-9,), np.array([-9]), np.int64(-9), iter([-9]), {"a": [-9], "b": "-9"}):
        np.testing.assert_array_equal(scores(frame, na_codes=form), coded, err_msg=repr(form))
    blank = frame.assign(a=frame["a"].astype(float).mask(frame["a"] == -9))
    by_column = scores(frame, na_codes={"a": -9})
    np.testing.assert_allclose(by_column, scores(blank), rtol=1e-6)
    assert not np.allclose(by_column, coded, rtol=1e-3), "in b -9 is a number"
    for nothing in (None, (), [], {}):
        np.testing.assert_array_equal(scores(frame, na_codes=nothing), scores(frame))


def test_a_folder_tells_comparisons_of_other_codes_apart(frame, tmp_path):
    def entry(name, codes):
        compared(frame, na_codes=codes, out=tmp_path / name)
        return json.loads((tmp_path / name / "comparison.json").read_text())["configuration"]["na"]

    assert entry("none", None) == []
    assert entry("list", (-9, "?", 4.0)) == ["-9", "?", "4.0"], "as it was written before codes could have columns"
    assert entry("one", -9) == ["-9"]
    assert entry("column", {"a": -9}) == {"a": ["-9"]}
    assert entry("column", {"a": ["-9"]}) == {"a": ["-9"]}, "the same comparison goes on"
    for other in ({"b": -9}, [-9], None):
        with pytest.raises(InputError, match="differing in na"):
            compared(frame, na_codes=other, out=tmp_path / "column")


@pytest.mark.parametrize("codes", [True, [True], {"a": [True]}, {"a": None}, [None], 1j, b"-9"], ids=repr)
def test_codes_that_are_none_are_refused(frame, tmp_path, codes):
    with pytest.raises(InputError, match="a code for missing must be a number or text, however"):
        compared(frame, na_codes=codes, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
