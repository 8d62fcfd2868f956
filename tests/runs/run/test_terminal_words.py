"""What the terminal proposes and shows: options that a shell reads, names that differ,
numbers as on the page.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError, option_of
from permgrad.pages.summaries import told
from permgrad.pages.words import labels_of
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_summary import _feature_lines, _metric_lines

ASKED = RunRequest(table="t.csv", target=("y",))


@pytest.mark.parametrize(
    "name",
    [
        "Engine HP",
        "it's",
        "-x",
        "a;b",
        "$HOME",
        "plain",
        "=",
        "größe",
        "a\nb",
        "x\x1b]0;t\x07'\\",
    ],
)
def test_an_option_is_what_a_shell_reads(name):
    words = (
        subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {option_of('--drop', name)}"],
            capture_output=True,
            check=True,
            env={"LC_ALL": "C.UTF-8"},
        )
        .stdout.decode()
        .split("\0")[:-1]
    )
    assert words in (["--drop", name], [f"--drop={name}"])
    assert words[0] != "--drop" or not name.startswith("-")
    assert option_of("--drop", name).isprintable()


def test_what_notes_propose_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = 1200
    frame = pd.DataFrame({
        "Engine HP": draw.normal(size=rows),
        "rand id": draw.permutation(rows) + 7,
        "zip code's": [f"{n:05d}" for n in draw.integers(0, 99_999, rows)],
        "the price": [f"£{n:,}" for n in draw.integers(900, 90_000, rows)],
        "name of it": [f"name {n}" for n in range(rows)],
        "the note": np.resize(["None", "a b", "c"], rows),
        "y": draw.choice(["yes", "no"], rows),
    })  # fmt: skip
    frame.to_csv("t.csv", index=False)
    notes = load_inputs(ASKED).notes
    proposed = [
        proposed_option
        for note in notes
        for proposed_option in re.findall(
            r"--(kind|not-na) ((?:'[^']*'|\"[^\"]*\"|[^\s;])+)", note
        )
    ]
    proposed = [(flag, word.rstrip(".,")) for flag, word in proposed]
    assert len({flag for flag, _ in proposed}) >= 2
    assert len(proposed) >= 4
    assert any(" " in word for _, word in proposed), "a name that needs quotes"
    fields = {"kind": "kind", "not-na": "not_na"}
    for flag, word in proposed:
        (value,) = shlex.split(word)
        load_inputs(replace(ASKED, **{fields[flag]: (value,)}))


LONG = [
    f"mean_of_the_spectrometer_reading_in_band_{band:02}_at_thirty_degrees_on_the_left_side"
    for band in range(12)
]


def test_long_names_stay_different():
    for width in (20, 26, 40):
        for names in (
            LONG,
            [name[::-1] for name in LONG],
            [f"{name}_end" * 2 for name in LONG],
            [*LONG, LONG[0]],
        ):
            labels = labels_of(names, width)
            assert len(set(labels)) == len(names)
            assert max(map(len, labels)) <= width
    assert all(
        f"{band:02}" in label for band, label in enumerate(labels_of(LONG, 30))
    ), "where they differ"
    assert labels_of(["short", LONG[0]])[0] == "short"


def importances(values, names):
    frame = pd.DataFrame(
        {"feature": names, "importance": values, "ci_low": np.multiply(values, 0.9)}
    )
    return frame.assign(ci_high=frame["importance"] * 1.1, p_adjusted=0.001)


def test_money_has_no_exponent_and_names_differ_on_the_terminal():
    values = [123_456_789.0, 61_728.9, 1234.5, 0.0123]
    lines = _feature_lines(importances(values, LONG[:4]))
    shown = lines[1:5]
    assert len({re.search(r"\d\. (\S+)", line)[1] for line in shown}) == 4
    assert [re.search(r"\S  +(\S+(?:\u00a0\S+)?)  \[", line)[1] for line in shown] == [
        "123\u00a0M",
        "61,730",
        "1,235",
        "0.0123",
    ]
    scores = {"rmse": 54_321.9, "mae": 40_000.5, "r2": 0.5}
    metrics = {"test": scores, "baselines": {}, "rows": {"test": 1000}}
    metric_text = "\n".join(_metric_lines(metrics))
    assert "54,320" in metric_text
    assert "e+0" not in metric_text + "\n".join(lines)


def test_values_of_a_row_have_no_exponent():
    from permgrad import Explanation

    values = np.array([[[250_000.0], [-31_000.0]]])
    inputs = ("table",) * 2
    explanation = Explanation(
        values,
        LONG[:2],
        inputs,
        ("all",),
        "shapley",
        "local",
        meta={"task": "regression"},
    )
    lines = [
        line for line, about in told(explanation, None, 8) if about["kind"] == "feature"
    ]
    assert ["250,000" in lines[0], "−31,000" in lines[1]] == [True, True], lines
    assert lines[0][:38] != lines[1][:38]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4min", 240),
        ("4 min", 240),
        ("1h30m", 5400),
        ("90", 90),
        ("2.5m", 150),
        ("1 hour", 3600),
        ("45 sec", 45),
    ],
)
def test_a_time_limit_is_any_time(text, seconds):
    assert replace(ASKED, time_limit=text).seconds_at_most == seconds


@pytest.mark.parametrize(
    "text", ["soon", "", "-5m", "0:10", "0", "nan", "1e9999", "5 parsec"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(
        InputError,
        match=r"--time-limit must be a time of at least a second, got .* For example",
    ):
        _ = replace(ASKED, time_limit=text).seconds_at_most
