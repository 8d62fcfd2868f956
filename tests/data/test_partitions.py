"""Parquet tables as numbered parts: the whole is what ``read_table`` reads, however it
is cut and written.
"""

from __future__ import annotations

import datetime as dt
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import permgrad as pg
from permgrad.base.errors import InputError, PermgradWarning
from permgrad.data.known_rows import find_known
from permgrad.data.partitions import (
    PartitionedTable,
    is_partitioned,
    open_partitioned,
)


def mixed(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return rows with every kind of column; the missing cells stand in the second half
    alone.
    """
    rng = np.random.default_rng(seed)
    late = np.arange(rows) >= rows // 2
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=rows),
            "whole": rng.integers(0, 99, rows),
            "text": rng.choice(["x", "y", "long text"], rows),
            "level": pd.Categorical(rng.choice(["u", "v", "w"], rows)),
            "flag": rng.random(rows) > 0.5,
            "nullable": pd.array(rng.integers(0, 9, rows), dtype="Int64"),
            "when": pd.date_range("2020-02-28", periods=rows, freq="37h"),
            "day": [
                dt.date(2020, 1, 1) + dt.timedelta(days=int(step))
                for step in range(rows)
            ],
        }
    )
    frame.loc[
        late & (rng.random(rows) < 0.3), ["number", "text", "nullable", "when"]
    ] = None
    return frame


def whole(table: PartitionedTable) -> pd.DataFrame:
    return pd.concat(
        [table.read(partition) for partition in table.parts], ignore_index=True
    )


def batched(table: PartitionedTable, rows: int) -> pd.DataFrame:
    batch_frames = []
    expected = 0
    for partition in table.parts:
        for first, frame in table.batches(partition, rows):
            assert first == expected
            assert 0 < len(frame) <= rows
            expected += len(frame)
            batch_frames.append(frame)
    return pd.concat(batch_frames, ignore_index=True)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Compare values and types; categories may stand in another order."""
    assert list(left.columns) == list(right.columns)
    for name in left.columns:
        left_column = left[name]
        right_column = right[name]
        if isinstance(left_column.dtype, pd.CategoricalDtype) or isinstance(
            right_column.dtype, pd.CategoricalDtype
        ):
            left_column = left_column.astype(object)
            right_column = right_column.astype(object)
        pd.testing.assert_series_equal(left_column, right_column)


@pytest.mark.parametrize("rows_per_group", [7, 100, 1000])
@pytest.mark.parametrize("rows_per_part", [1, 90, 10_000])
def test_one_file_is_what_read_table_reads(
    tmp_path: Path, rows_per_group: int, rows_per_part: int
) -> None:
    frame = mixed(301)
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=rows_per_group)
    table = open_partitioned(tmp_path / "t.parquet", rows_per_part=rows_per_part)
    expected = pg.read_table(tmp_path / "t.parquet")
    assert expected["number"].isna().any(), "the case must have missing cells"
    assert len(table.parts) == len({partition.first_row for partition in table.parts})
    same(whole(table), expected)
    same(batched(table, 43), expected)


def test_parts_have_the_types_of_the_whole_table(tmp_path: Path) -> None:
    """A column of whole numbers with one missing cell, far away, holds floats in every
    part.
    """
    arrow = pa.table(
        {"n": pa.array([1, 2, 3, 4, None, 6]), "b": pa.array([True] * 5 + [None])}
    )
    pq.write_table(arrow, tmp_path / "t.parquet", row_group_size=2)
    table = open_partitioned(tmp_path, rows_per_part=2)
    expected = pg.read_table(tmp_path / "t.parquet")
    assert expected["n"].dtype == np.float64
    assert [table.read(partition)["n"].dtype for partition in table.parts] == [
        np.float64
    ] * 3
    assert [table.read(partition)["b"].dtype for partition in table.parts] == [
        expected["b"].dtype
    ] * 3
    assert table.null_counts == {"n": 1, "b": 1}


def test_without_statistics_whole_numbers_may_miss(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"n": [1, 2, 3]}), tmp_path / "t.parquet", write_statistics=False
    )
    table = open_partitioned(tmp_path)
    assert table.null_counts == {"n": None}
    assert table.read(table.parts[0])["n"].tolist() == [1.0, 2.0, 3.0]


def test_an_index_that_pandas_kept_is_read_as_read_table_does(tmp_path: Path) -> None:
    frame = mixed(60)
    cases = {
        "named": frame.set_index("text"),
        "formula": frame.rename_axis("id"),
        "unnamed": frame.set_index(np.arange(60) * 3 + 5),
        "plain": frame,
    }
    for name, case in cases.items():
        case.to_parquet(tmp_path / f"{name}.parquet", row_group_size=17)
        table = open_partitioned(tmp_path / f"{name}.parquet", rows_per_part=20)
        same(batched(table, 11), pg.read_table(tmp_path / f"{name}.parquet"))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(
        lambda sizes: sum(sizes) > 0
    ),
    rows_per_group=st.integers(1, 50),
    rows_per_part=st.integers(1, 200),
    rows=st.integers(1, 60),
)
def test_row_numbers_do_not_depend_on_how_the_table_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    rows_per_group: int,
    rows_per_part: int,
    rows: int,
) -> None:
    """Empty files and odd row groups included: every row once, in the order of the
    files' names.
    """
    folder = tmp_path_factory.mktemp("table")
    frame = pd.DataFrame({"a": np.arange(sum(sizes)), "b": np.arange(sum(sizes)) / 7})
    start = 0
    for file_number, size in enumerate(sizes):
        frame.iloc[start : start + size].to_parquet(
            folder / f"{file_number:03d}.parquet", row_group_size=rows_per_group
        )
        start += size
    table = open_partitioned(folder, rows_per_part=rows_per_part)
    assert table.rows == len(frame)
    assert [partition.number for partition in table.parts] == list(
        range(len(table.parts))
    )
    assert all(partition.rows for partition in table.parts)
    same(batched(table, rows), frame)


def test_an_index_kept_as_a_formula_is_that_of_each_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(20)}).rename_axis("id")
    for file_number in range(2):
        frame.iloc[file_number * 10 : file_number * 10 + 10].to_parquet(
            tmp_path / f"{file_number}.parquet", row_group_size=4
        )
    assert batched(open_partitioned(tmp_path, rows_per_part=4), 3)[
        "id"
    ].tolist() == list(range(20))


def test_batches_do_not_follow_small_row_groups(tmp_path: Path) -> None:
    mixed(100).to_parquet(tmp_path / "t.parquet", row_group_size=3)
    table = open_partitioned(tmp_path)
    assert [len(frame) for _, frame in table.batches(table.parts[0], 40)] == [
        40,
        40,
        20,
    ]


def test_chosen_columns_in_the_order_asked_for(tmp_path: Path) -> None:
    mixed(20).to_parquet(tmp_path / "t.parquet")
    table = open_partitioned(tmp_path)
    assert table.read(table.parts[0], ["when", "number"]).columns.tolist() == [
        "when",
        "number",
    ]
    with pytest.raises(
        pg.InputError, match=r"Column 'numbr' not found in .* Did you mean 'number'\?"
    ):
        table.read(table.parts[0], ["numbr"])


def test_columns_in_names_of_folders(tmp_path: Path) -> None:
    for year, town in ((2023, "Bonn"), (2024, "Köln 1")):
        folder = tmp_path / f"year={year}" / f"town={town.replace(' ', '%20')}"
        folder.mkdir(parents=True)
        pd.DataFrame({"a": [year, year + 1]}).to_parquet(folder / "x.parquet")
    table = open_partitioned(tmp_path)
    assert table.columns == ["a", "year", "town"]
    assert whole(table).to_dict("list") == {
        "a": [2023, 2024, 2024, 2025],
        "year": [2023, 2023, 2024, 2024],
        "town": ["Bonn", "Bonn", "Köln 1", "Köln 1"],
    }
    assert table.read(table.parts[1], ["town"])["town"].tolist() == ["Köln 1", "Köln 1"]


def test_other_files_and_hidden_ones_are_left_alone(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "b.parquet")
    pd.DataFrame({"z": [9]}).to_parquet(tmp_path / "_temporary.parquet")
    pd.DataFrame({"z": [9]}).to_parquet(tmp_path / ".hidden.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.txt").write_text("hello")
    assert whole(open_partitioned(tmp_path)).to_dict("list") == {"a": [1]}


def test_tables_in_other_forms_are_left_out_and_said(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "b.parquet")
    for name in ("1.csv", "2.CSV", "deep/3.csv.gz", "4.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n2\n")
    message_pattern = (
        r"holds 4 other data files \(1.csv, 2.CSV, 4.tsv and 1 more\), "
        r"which are left out: .* Write them as"
    )
    with pytest.warns(pg.PermgradWarning, match=message_pattern):
        assert whole(open_partitioned(tmp_path)).to_dict("list") == {"a": [1]}


def test_files_may_differ_in_the_width_of_numbers_and_the_order_of_columns(
    tmp_path: Path,
) -> None:
    pq.write_table(
        pa.table(
            {
                "n": pa.array([1, 2], pa.int32()),
                "t": pa.array(["a", "b"]).dictionary_encode(),
            }
        ),
        tmp_path / "0.parquet",
    )
    pq.write_table(
        pa.table({"t": ["c", None], "n": pa.array([2.5, None])}), tmp_path / "1.parquet"
    )
    pq.write_table(
        pa.table({"t": pa.nulls(1), "n": pa.array([7], pa.int64())}),
        tmp_path / "2.parquet",
    )
    table = open_partitioned(tmp_path)
    assert table.null_counts == {"n": 1, "t": 2}
    frame = whole(table)
    assert frame["n"].dtype == np.float64
    assert frame["n"].fillna(-1).tolist() == [1, 2, 2.5, -1, 7]
    assert frame["t"].astype(object).where(frame["t"].notna(), None).tolist() == [
        "a",
        "b",
        "c",
        None,
        None,
    ]


def test_files_that_disagree_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1], "b": [2]}).to_parquet(tmp_path / "0.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "1.parquet")
    with pytest.raises(pg.InputError) as raised_error:
        open_partitioned(tmp_path).check_even()
    assert raised_error.value.message == (
        "All files of a table must have the same columns, but '0.parquet' has column "
        "'b' and '1.parquet' does not. Add it, or move the files that differ."
    )
    pd.DataFrame({"a": [1], "b": ["text"]}).to_parquet(tmp_path / "1.parquet")
    with pytest.raises(
        pg.InputError,
        match=r"'b' is int64 in '0.parquet' but (large_)?string in '1.parquet'. Write",
    ):
        open_partitioned(tmp_path).check_columns(["a", "b"])


def test_only_columns_that_are_read_must_agree(tmp_path: Path) -> None:
    first = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "only": [1, 1]})
    second = pd.DataFrame({"b": [3, 4], "a": [3, 4]})
    first.to_parquet(tmp_path / "0.parquet", index=False)
    second.to_parquet(tmp_path / "1.parquet", index=False)
    table = open_partitioned(tmp_path)
    assert table.columns == ["a"]
    assert set(table.uneven) == {"b", "only"}
    assert table.read_all()["a"].tolist() == [1, 2, 3, 4]
    for name in ("b", "only"):
        with pytest.raises(pg.InputError, match=f"'{name}'"):
            table.check_columns(["a", name])
    with pytest.raises(pg.InputError, match=r"'only'|'b'"):
        pg.read_table(tmp_path)


def test_labels_of_rows_that_differ_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index([5, 7], name="label"))
    frame.to_parquet(tmp_path / "0.parquet")
    frame.reset_index(drop=True).to_parquet(tmp_path / "1.parquet")
    with pytest.raises(pg.InputError, match="'label'"):
        open_partitioned(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {},
            (
                "Folder '.*test_folders_without_a_table_c0' holds no file that ends in "
                ".parquet or .pq. Name the folder that holds the Parquet files"
            ),
        ),
        (
            {"x.parquet": b"PAR1 no more"},
            "'.*x.parquet' is cut off, damaged or no Parquet file. Write it again",
        ),
        (
            {"x.parquet": b""},
            "'.*x.parquet' is cut off, damaged or no Parquet file. Write it again",
        ),
    ],
)
def test_folders_without_a_table(
    tmp_path: Path, content: dict[str, bytes], message: str
) -> None:
    for name, text in content.items():
        (tmp_path / name).write_bytes(text)
    with pytest.raises(pg.InputError, match=message):
        open_partitioned(tmp_path)


def test_names_of_columns_and_folders_must_agree(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "year": [3, 4]})
    for name, files, message in (
        (
            "both",
            ["year=2020/one.parquet"],
            "Column 'year' is both in the names of folders and in .* Rename one of them",
        ),
        (
            "unlike",
            ["month=1/one.parquet", "day=2/one.parquet"],
            r"has \['day'\] and .* has \['month'\]\. Move the",
        ),
    ):
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True)
            frame.to_parquet(tmp_path / name / file)
        with pytest.raises(pg.InputError, match=message):
            open_partitioned(tmp_path / name)


def test_a_file_without_columns_is_no_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "none.parquet")
    with pytest.raises(
        pg.InputError, match=r"'.*none.parquet' has no columns. Write it again"
    ):
        open_partitioned(tmp_path / "none.parquet")


def test_rows_are_found_by_their_number(tmp_path: Path) -> None:
    mixed(9).to_parquet(tmp_path / "t.parquet")
    table = open_partitioned(tmp_path / "t.parquet")
    assert "8" in table.where(8)


def test_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(
        pg.InputError, match=r"'.*nothing' does not exist. Check the path"
    ):
        open_partitioned(tmp_path / "nothing")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        pg.InputError,
        match=r"must be Parquet, but .*t.csv' is not. Write it as Parquet",
    ):
        open_partitioned(tmp_path / "t.csv")
    pd.DataFrame({"a": [1]}).iloc[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(pg.InputError, match=r"empty.parquet' has no rows"):
        open_partitioned(tmp_path / "empty.parquet")
    with pytest.raises(
        pg.InputError, match="rows_per_part must be an integer of at least 1, got 0"
    ):
        open_partitioned(tmp_path / "empty.parquet", rows_per_part=0)
    assert not is_partitioned(tmp_path / "t.csv")
    assert is_partitioned(tmp_path)


def test_the_fingerprint_is_that_of_names_and_contents(tmp_path: Path) -> None:
    frame = mixed(30)
    frame.to_parquet(tmp_path / "0.parquet")
    first = open_partitioned(tmp_path)
    assert open_partitioned(tmp_path).fingerprint == first.fingerprint
    assert pickle.loads(pickle.dumps(first)).fingerprint == first.fingerprint
    frame.assign(number=frame["number"] + 1).to_parquet(tmp_path / "0.parquet")
    assert open_partitioned(tmp_path).fingerprint != first.fingerprint
    with pytest.raises(
        pg.InputError,
        match=r"'.*0.parquet' changed while the table was read. Start again",
    ):
        first.read(first.parts[0])
    (tmp_path / "0.parquet").unlink()
    with pytest.raises(
        pg.InputError,
        match=r"'.*0.parquet' disappeared while the table was read. Bring it back",
    ):
        first.read(first.parts[0])


def test_a_long_table_has_no_more_parts_than_a_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("permgrad.data.partitions.ROWS_PER_PART", 2)
    monkeypatch.setattr("permgrad.data.partitions.MOST_PARTS", 10)
    pd.DataFrame({"a": np.arange(100)}).to_parquet(
        tmp_path / "t.parquet", row_group_size=1
    )
    assert len(open_partitioned(tmp_path).parts) == 10


@pytest.mark.parametrize("place", ["000", "500", "999"])
def test_a_file_without_rows_says_nothing_about_types(
    tmp_path: Path, place: str
) -> None:
    frame = pd.DataFrame({"a": ["x", "y"], "n": [1, 2]})
    frame.to_parquet(tmp_path / "100.parquet", index=False)
    frame.to_parquet(tmp_path / "600.parquet", index=False)
    pd.DataFrame({"a": [], "n": []}).to_parquet(
        tmp_path / f"{place}.parquet", index=False
    )
    table = open_partitioned(tmp_path)
    assert [partition.first_row for partition in table.parts] == [0, 2]
    table_rows = table.read_all()
    assert table_rows["a"].tolist() == ["x", "y"] * 2
    assert table_rows["n"].dtype == np.int64
    assert (
        table.where(3) == f"row 1 of {str(tmp_path / '600.parquet')!r} (row 3 in all)"
    )


def test_columns_of_lists_are_refused_by_their_type(tmp_path: Path) -> None:
    rows = pa.table({"a": [1.0, 2.0], "tags": [[1], [2, 3]], "y": [1.0, 2.0]})
    pq.write_table(rows, tmp_path / "x.parquet")
    table = open_partitioned(tmp_path / "x.parquet")
    table.check_cells(["a"], "mend it")
    with pytest.raises(
        pg.InputError,
        match=r"column 'tags' of '.*x.parquet' holds list<.*int64>. Mend it",
    ):
        table.check_cells(["a", "tags"], "mend it")


@pytest.mark.parametrize(
    "rest", [b"PAR1", b"PAR1" + b"x" * 100], ids=["alone", "behind others"]
)
def test_a_footer_that_says_it_is_long_takes_no_room(tmp_path, rest):
    file = tmp_path / "long.parquet"
    file.write_bytes(rest + struct.pack("<I", 2**32 - 1) + b"PAR1")
    tracemalloc.start()
    try:
        with pytest.raises(
            pg.InputError,
            match=r"'.*long.parquet' is cut off, damaged or no Parquet file. Write it "
            r"again",
        ):
            open_partitioned(file)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_cells_that_change_places_are_another_table(tmp_path: Path) -> None:
    # Labels that stood beside the wrong rows, and are put right: sizes, extremes and
    # counts stay as they were.
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=400), "y": rng.normal(size=400)})
    path = tmp_path / "t.parquet"
    frame.assign(y=frame["y"].to_numpy()[::-1]).to_parquet(path)
    wrong = open_partitioned(path)
    before = wrong.fingerprint
    frame.to_parquet(path)
    right = open_partitioned(path)
    assert right.files == wrong.files
    assert right.fingerprint != before


def test_a_column_that_is_counted_in_one_file_and_stored_in_another_is_refused(
    tmp_path: Path,
) -> None:
    counted = pd.DataFrame({"a": [0.5, 1.5]}, index=pd.RangeIndex(2, name="n"))
    counted.to_parquet(tmp_path / "0.parquet")
    assert open_partitioned(tmp_path).read_all()["n"].tolist() == [0, 1]
    counted.reset_index().to_parquet(tmp_path / "1.parquet")
    message = (
        r"'n' is a column in '1.parquet' and a counted index in '0.parquet'. "
        r"Write the files that differ"
    )
    with pytest.raises(pg.InputError, match=message):
        open_partitioned(tmp_path)
    (tmp_path / "0.parquet").rename(tmp_path / "2.parquet")
    with pytest.raises(
        pg.InputError, match=r"in '1.parquet' and a counted index in '2.parquet'"
    ):
        open_partitioned(tmp_path)
    frame_with_index = counted.rename_axis("a")
    frame_with_index.to_parquet(tmp_path / "both.parquet")
    with pytest.raises(pg.InputError, match="is cut off, damaged or no Parquet file"):
        open_partitioned(tmp_path / "both.parquet")


def test_rows_with_a_blank_target_are_left_out(tmp_path):
    frame = pd.DataFrame({"x": np.arange(40.0), "y": ["a", "b", "", " "] * 10})
    frame.to_parquet(tmp_path / "table.parquet")
    table = open_partitioned(tmp_path / "table.parquet")
    assert table.null_counts["y"] == 0, "the footer counts texts as values"
    none = InputError("no target", code="PG015")
    with pytest.warns(PermgradWarning, match=r"^20 of 40 rows of .* have no 'y'"):
        known = find_known(table, "y", none=none)
    assert known.rows == 20
    assert table.read_all(["y"])["y"].dropna().unique().tolist() == ["a", "b"]
