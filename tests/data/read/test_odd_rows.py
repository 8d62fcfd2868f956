"""Lines that are no rows: the header again, units and questions below it, and
totals.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.data.read.odd_rows import find_totals
from permgrad.data.read.table import read_written


def made(rows: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "shop": draw.choice(["a", "b", "c"], rows),
            "sales": draw.lognormal(4, 1, rows).round(2),
            "staff": draw.integers(1, 900, rows),
        }
    )


def read(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return read_written(tmp_path / "t.csv")


def test_a_header_that_comes_again_is_no_row(tmp_path):
    text = made().to_csv(index=False)
    frame = made()
    written = read(tmp_path, text + text)
    assert written.notes == ("line 62 repeats the header and is left out",)
    assert written.frame["sales"].tolist() == 2 * frame["sales"].tolist()
    assert written.lines.lines[[59, 60]].tolist() == [61, 63]


def test_units_and_questions_below_the_header_are_no_rows(tmp_path):
    header, rows = made().to_csv(index=False).split("\n", 1)
    questions = 'Which shop?,"Sales, in euro?",How many?\nx,"{""Id"":2}","{""Id"":3}"\n'
    written = read(tmp_path, f"{header}\n{questions}{rows}")
    assert len(written.frame) == 60
    (caution,) = written.cautions
    assert caution.startswith(
        "lines 2, 3 are left out, because 2 of 2 columns of numbers hold no number "
        "there but 'Sales, in euro?'"
    )
    assert caution in written.notes
    # A word that other rows have, too, is an answer.
    refused = "a,Refused,Refused\n"
    assert len(read(tmp_path, f"{header}\n{refused}{rows}{refused}").frame) == 62


@pytest.mark.parametrize("label", ["Total", "", "alle"])
@pytest.mark.parametrize("below", [[], [{"shop": "Source: register"}, {}]])
def test_totals_are_found_by_their_sums(label, below):
    frame = made()
    total = {
        "shop": label,
        "sales": frame["sales"].sum(),
        "staff": frame["staff"].sum(),
    }
    table = pd.concat([frame, pd.DataFrame([total, *below])], ignore_index=True)
    total_rows = find_totals(table)
    assert (total_rows.rows, total_rows.how) == ((60,), "sums")
    lines = np.arange(2, 70)
    assert total_rows.said(lines).startswith("line 62")
    assert find_totals(frame) is None
    assert (
        find_totals(table.assign(sales=table["sales"] + 1)) is None or label == "Total"
    )


def test_subtotals_of_groups_and_the_total_are_found():
    group_frames = []
    sizes = []
    for name, rows in made().groupby("shop"):
        sums = {
            "shop": f"{name} all",
            "sales": rows["sales"].sum(),
            "staff": rows["staff"].sum(),
        }
        group_frames += [rows, pd.DataFrame([sums])]
        sizes.append(len(rows) + 1)
    column_totals = made()[["sales", "staff"]].sum()
    table = pd.concat(
        [*group_frames, pd.DataFrame([{"shop": "all", **column_totals}])],
        ignore_index=True,
    )
    ends = np.cumsum(sizes) - 1
    assert find_totals(table).rows == (*ends.tolist(), 63)


@pytest.mark.parametrize("seed", range(5))
def test_small_counts_are_no_sums(seed):
    draw = np.random.default_rng(seed)
    flags = {f"f{k}": draw.integers(0, 2, 500) for k in range(6)}
    assert find_totals(pd.DataFrame({**flags, "n": draw.poisson(1, 500)})) is None


@pytest.mark.parametrize("upper", ["2019,2019,2020,2020", "2019,,2020,"])
def test_two_header_rows_are_joined(tmp_path, upper):
    rows = "".join(f"{k},{k / 2},{k % 5},{k % 7}\n" for k in range(30))
    written = read(tmp_path, f"{upper}\nspring,fall,spring,fall\n{rows}")
    names = ["2019 spring", "2019 fall", "2020 spring", "2020 fall"]
    assert written.frame.columns.tolist() == names
    assert written.frame.iloc[1].tolist() == [1, 0.5, 1, 1]
    assert written.lines.lines[0] == 3
    assert written.notes[0].startswith("the names of two header rows are joined: ")
    # Words that are cells of a category are no second header.
    words = read(tmp_path, "a,b,b\nx,y,z\n" + "x,y,z\n" * 20)
    assert len(words.frame) == 21
