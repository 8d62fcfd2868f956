"""Values come back from files as they were: every section, columns of any kind and
name; what is damaged is refused.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, integer_dtypes
from tests.attribution.explanation.test_explanation import make_global, make_local

import permgrad as pg
from permgrad.assess import sections  # noqa: F401 — registers what can be stored
from permgrad.assess.sections.cards import CardsSection
from permgrad.assess.sections.gradients import GradientSection
from permgrad.assess.sections.photos import PhotoColumn
from permgrad.assess.sections.rows import ListedSection, LocalRows, SimilarRows
from permgrad.assess.sections.together import TogetherSection
from permgrad.assess.sections.what_if import ChangeableRows
from permgrad.assess.store import _KINDS, Store
from permgrad.attribution.explanation import Explanation
from permgrad.base.dependence import Dependence
from permgrad.base.files import plain

#: Names that columns may have, and that no file or archive keeps as they are.
NAMES = (
    "\0",
    "\0key",
    "\0\0",
    "a/0",
    "a",
    "a.npy",
    "file",
    "",
    "../x",
    "</script>",
    "\ud800",
    "name" * 20_000,
)


def listed_section(rows: int = 6, **changes) -> ListedSection:
    """Return listed rows with columns of every kind."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"size": rng.normal(size=rows), "colour": ["red", "blue", None] * (rows // 3)}
    )
    table["day"] = pd.date_range("2020-01-01", periods=rows)
    table.loc[0, "size"] = np.nan
    near = np.array([[0, 1]] * rows)
    similar = SimilarRows(
        near=near,
        distance=near / 2,
        beside=near[:, :1],
        beside_distance=near[:, :1] * 1.5,
        numbers=np.array([70, 80]),
        truth=np.array([0, 1]),
        table=table.iloc[:2],
        searched=2,
        of=10,
    )
    fields = {
        "table": table,
        "numbers": np.arange(rows) * 10,
        "random": np.arange(rows) > 2,
        "truth": np.arange(rows) % 2,
        "predicted": rng.uniform(size=(rows, 2)),
        "classes": ["no", "yes"],
        "rows": 50,
        "identifiers": pd.DataFrame({"patient": [f"p{k}" for k in range(rows)]}),
        "similar": similar,
        "inside": rng.uniform(size=(rows, 2)) > 0.5,
        "groups": {"size": (np.arange(rows) % 2, ["up to 0", "missing"])},
    }
    return ListedSection(**{**fields, **changes})


def cards_section() -> CardsSection:
    return CardsSection(
        cards=[
            {"feature": "a", "at": [0.0, np.nan], "points": np.arange(2)},
            {"feature": "b/.."},
        ],
        curves={
            "a": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
            "b/..": np.zeros((2, 1, 2), dtype=np.float32),
        },
        classes=("no", "yes"),
        rows=9,
        features=30,
        curve_rows=np.array([4, 7]),
    )


#: One value of each kind. Explanations in them are in the folder ``why``.
SECTIONS = {
    "CardsSection": cards_section(),
    "ChangeableRows": ChangeableRows(
        numbers=np.array([5, 2]),
        encoded=np.eye(2, 3, dtype=np.float32),
        columns=np.array([1, 0]),
        cells=np.array([[1.5, np.nan], [0.0, 2.0]]),
        missing=np.array([[0, 1], [0, 0]], dtype=np.uint8),
        background=np.ones((1, 3), dtype=np.float32),
        spread=np.array([0.5, 0.25]),
        texts=pd.DataFrame({"note": ["a \0 b", None]}),
    ),
    "Dependence": Dependence(np.array([0, 0, 1]), name="patient"),
    "GradientSection": GradientSection(
        table=pd.DataFrame({"name": ["a", "b=1"], "mean": [0.5, np.nan]}),
        facts={
            "rows": np.int64(3),
            "baselines": [
                {"baseline_name": "zeros", "completeness_gap": np.float32(0.5)}
            ],
        },
    ),
    "ListedSection": listed_section(),
    "LocalRows": LocalRows(explanation=make_local(), numbers=(3, 1, 4, 1)),
    "PhotoColumn": PhotoColumn(
        name="scan",
        small={"scans/1.png": "abc=", "\0": ""},
        covered={"3": np.ones((16, 3), dtype=np.float32)},
        parts={"1": np.zeros((17, 2))},
    ),
    "SimilarRows": listed_section().similar,
    "TogetherSection": TogetherSection(
        pairs=make_global(),
        effects=[{"names": ("a", "b"), "mean": np.array([[0.5, 1.0]])}],
        classes=["yes"],
    ),
}


def stored(value):
    """Return a value as it should come back: the rules of the store, written again."""
    if isinstance(value, Explanation):
        return value
    if isinstance(value, pd.DataFrame):
        columns = []
        for column_index in range(value.shape[1]):
            column = value.iloc[:, column_index]
            if pd.api.types.is_numeric_dtype(column) and column.dtype != bool:
                numbers = np.array(
                    [np.nan if pd.isna(cell) else float(cell) for cell in column]
                )
                columns.append(
                    pd.Series(np.where(np.isfinite(numbers), numbers, np.nan))
                )
            else:
                cells = [
                    None if pd.isna(cell) else str(cell) for cell in column.tolist()
                ]
                columns.append(pd.Series(cells, dtype=object))
        frame = (
            pd.concat(columns, axis=1)
            if columns
            else pd.DataFrame(index=range(len(value)))
        )
        return frame.set_axis(
            pd.Index([str(name) for name in value.columns], dtype=object), axis=1
        )
    if isinstance(value, np.ndarray):
        return (
            value
            if value.dtype != object
            else np.array([stored(cell) for cell in value], dtype=object)
        )
    if is_dataclass(value):
        return replace(
            value,
            **{
                data_field.name: stored(getattr(value, data_field.name))
                for data_field in fields(value)
            },
        )
    if isinstance(value, Mapping):
        return {str(name): stored(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [stored(item) for item in value]
    return plain(value)


def check_same(first, second):
    """Check that two values are equal, with their types, dtypes and order."""
    assert type(first) is type(second)
    if isinstance(first, Explanation):
        pd.testing.assert_frame_equal(first.to_frame(), second.to_frame())
        assert (first.outputs, first.method, first.modality) == (
            second.outputs,
            second.method,
            second.modality,
        )
        np.testing.assert_array_equal(first.predictions, second.predictions)
    elif isinstance(first, pd.DataFrame):
        pd.testing.assert_frame_equal(first, second, check_column_type=False)
    elif isinstance(first, np.ndarray):
        assert (first.dtype, first.shape) == (second.dtype, second.shape)
        assert first.tolist() == second.tolist() or np.array_equal(
            first, second, equal_nan=True
        )
    elif is_dataclass(first):
        for data_field in fields(first):
            check_same(
                getattr(first, data_field.name), getattr(second, data_field.name)
            )
    elif isinstance(first, Mapping):
        assert list(first) == list(second)
        for name, item in first.items():
            check_same(item, second[name])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for items in zip(first, second, strict=True):
            check_same(*items)
    else:
        assert first == second


def there_and_back(value, folder: Path, expected=None, explanation: str = ""):
    """Store a value with and without a folder, check that both are what is read, and
    return that.
    """
    entry_path = "explanations/it"
    put, written = (
        Store(where).put(entry_path, value, explanation) for where in (None, folder)
    )
    read = Store(folder).get(entry_path, explanation)
    for stored_value in (put, written, read):
        check_same(stored_value, stored(value) if expected is None else expected)
    return read


# ---- what comes back -----------------------------------------------------------------
def test_every_kind_of_section_is_tried():
    assert set(SECTIONS) == set(_KINDS)


@pytest.mark.parametrize("kind", SECTIONS)
def test_every_section_comes_back_by_its_fields(kind, tmp_path):
    section = SECTIONS[kind]
    there_and_back(section, tmp_path, explanation="why")
    names = {path.name for path in (tmp_path / "explanations").iterdir()}
    explained = kind in ("LocalRows", "TogetherSection")
    assert names == {
        "it.json",
        *(["why"] if explained else []),
        *(["it.npz"] if kind != "LocalRows" else []),
    }


def test_an_explanation_is_a_folder_that_users_can_load(tmp_path):
    local = make_local()
    assert (
        Store().put("explanations/it", local)
        is Store(tmp_path).put("explanations/it", local)
        is local
    )
    check_same(Store(tmp_path).get("explanations/it"), local)
    check_same(pg.Explanation.load(tmp_path / "explanations" / "it"), local)
    Store(tmp_path).put("explanations/it", make_global())
    assert Store(tmp_path).get("explanations/it").method == "permgrad", (
        "the last one stands"
    )


def test_an_explanation_deep_inside_comes_back(tmp_path):
    there_and_back(
        [{"a": [LocalRows(explanation=make_local(), numbers=[1])]}, "b"],
        tmp_path,
        explanation="why",
    )


def test_mappings_are_documents_that_other_programs_read(tmp_path):
    value = {
        "curve": np.array([[0.5, np.nan]]),
        3: ("a", np.int64(2), Path("x")),
        "none": None,
        "yes": np.True_,
    }
    document = {"curve": [[0.5, None]], "3": ["a", 2, "x"], "none": None, "yes": True}
    there_and_back(value, tmp_path, document)
    assert (
        json.loads((tmp_path / "explanations" / "it.json").read_text(encoding="utf-8"))
        == document
    )
    assert [path.name for path in (tmp_path / "explanations").iterdir()] == ["it.json"]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))  # also halves of characters
    | st.sampled_from(NAMES[:-1]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.sampled_from(NAMES[:-1]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(deadline=None)
@given(PLAIN)
def test_facts_of_any_form_come_back(value):
    with tempfile.TemporaryDirectory() as folder:
        there_and_back(value, Path(folder), plain(value))


CELLS = st.none() | st.integers(-(2**53), 2**53) | st.floats() | st.text()
ARRAYS = arrays(
    st.sampled_from([np.dtype("f4"), np.dtype("f8"), np.dtype("?"), np.dtype("U3")])
    | integer_dtypes(),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)
FRAMES = st.integers(0, 4).flatmap(
    lambda rows: st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=()), max_size=3)
            | st.sampled_from(NAMES[:-1]),
            st.lists(CELLS, min_size=rows, max_size=rows).map(
                lambda cells: pd.Series(cells, dtype=object)
            )
            | st.lists(st.floats(), min_size=rows, max_size=rows).map(
                lambda cells: pd.Series(cells, dtype=float)
            ),
        ),
        max_size=3,
    ).map(
        lambda columns: (
            pd.concat([column for _, column in columns], axis=1).set_axis(
                pd.Index([name for name, _ in columns], dtype=object), axis=1
            )
            if columns
            else pd.DataFrame(index=range(rows))
        )
    )
)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.text() | st.sampled_from(NAMES[:-1]), ARRAYS | FRAMES | PLAIN, max_size=4
        ),
        max_size=3,
    )
)
def test_arrays_and_tables_in_lists_and_mappings_come_back(value):
    with tempfile.TemporaryDirectory() as folder:
        there_and_back(value, Path(folder))


@pytest.mark.parametrize("name", NAMES)
def test_mappings_by_names_of_columns_come_back(name, tmp_path):
    """Names are no names in the archive, in which these would be cut off, join or be
    refused.
    """
    section = cards_section()
    section.curves = {
        name: np.zeros((1, 2, 1)),
        "a/0/": np.ones((1, 2, 1)),
        "a": np.full((1, 2, 1), 2.0),
    }
    assert len(there_and_back(section, tmp_path).curves) == (2 if name == "a" else 3)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([3, 1, 2]), [3.0, 1.0, 2.0]),
        (pd.Series([0.5, np.nan, -np.inf]), [0.5, np.nan, np.nan]),
        (pd.Series([1, None, 2], dtype="Int64"), [1.0, np.nan, 2.0]),
        (pd.Series(["a", None, "None"]), ["a", None, "None"]),
        (pd.Series(["nan", np.nan, ""], dtype=object), ["nan", None, ""]),
        (pd.Series([True, False, True]), ["True", "False", "True"]),
        (pd.Series([True, None, 1.5], dtype=object), ["True", None, "1.5"]),
        (pd.Series(pd.Categorical(["b", None, "a"], ["a", "b", "c"])), ["b", None, "a"]),
        (pd.to_datetime(pd.Series(["2020-01-02", None, "2021-03-04 05:06"], dtype="str"), format="mixed"),
         ["2020-01-02 00:00:00", None, "2021-03-04 05:06:00"]),
        (pd.Series([None] * 3, dtype=object), [None] * 3),
        (pd.Series([], dtype=object), []),
        (pd.Series([], dtype=np.int64), []),
    ],
)  # fmt: skip
def test_columns_come_back_as_numbers_or_texts(column, expected, tmp_path):
    table = pd.DataFrame({"a": column.to_numpy() if column.dtype == object else column})
    table.index = pd.Index([f"row {k}" for k in range(len(table))])
    read = there_and_back([table], tmp_path)[0]["a"]
    np.testing.assert_array_equal(read.to_numpy(), np.array(expected, dtype=read.dtype))
    numeric = bool(expected) and all(isinstance(cell, float) for cell in expected)
    assert (read.dtype == np.float64) == (numeric or column.dtype == np.int64)


def test_tables_without_columns_or_with_equal_names_come_back(tmp_path):
    assert there_and_back([pd.DataFrame(index=["x", "y", "z"])], tmp_path)[0].shape == (
        3,
        0,
    )
    table = pd.DataFrame([[1.0, "a"], [2.0, "b"]], columns=["</script>", "</script>"])
    read = there_and_back(
        listed_section(table=table, identifiers=None, similar=None), tmp_path
    )
    assert read.table.iloc[:, 1].tolist() == ["a", "b"]
    assert (read.similar, read.identifiers) == (None, None)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", None, np.nan], ["a", None, None]),
        ([1, 2.5, np.int64(3)], [1, 2.5, 3]),
        ([pd.Timestamp("2020-01-02"), True, ""], ["2020-01-02 00:00:00", True, ""]),
        ([], []),
    ],
)
def test_arrays_of_objects_come_back_as_facts(cells, expected, tmp_path):
    array = np.array(cells, dtype=object)
    assert (
        there_and_back([array], tmp_path, [np.array(expected, dtype=object)])[
            0
        ].tolist()
        == expected
    )


def test_a_folder_without_a_value_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store(tmp_path / "none").get("explanations/cards") is None
    Store().put("explanations/cards", cards_section())
    assert (
        Store().get("explanations/cards")
        is Store(tmp_path).get("explanations/cards")
        is None
    )
    assert list(tmp_path.iterdir()) == [], "without a folder nothing is written"


# ---- what is refused -----------------------------------------------------------------
@pytest.fixture(scope="module", name="whole")
def _whole(tmp_path_factory):
    """A folder with a section of every kind and an explanation."""
    folder = tmp_path_factory.mktemp("whole")
    for kind, section in SECTIONS.items():
        Store(folder).put(f"explanations/{kind}", section, f"of {kind}")
    Store(folder).put("explanations/permgrad", make_global())
    Store(folder).put("metrics", {"task": "regression"})
    return folder


def refused(folder: Path, entry_path: str, explanation: str = "") -> str:
    with pytest.raises(pg.InputError) as caught:
        Store(folder).get(entry_path, explanation)
    assert caught.value.code == "PG052"
    assert "Run again with --from" in str(caught.value) or "Create it again" in str(
        caught.value
    )
    return str(caught.value)


MARKED = '{"\\u0000": %s}'
DAMAGED = (
    b"", b"{", b"[NaN]", b"\xff", b"[" * 2000, b"[1e999]",
    *((MARKED % entry).encode() for entry in (
        '"Unknown"', '"CardsSection"', '"CardsSection", "rows": 1, "more": 2', '["list"]', '"array"', "1",
        '"array", "key": "no"', '"array", "key": [1]', '"explanation"', '"explanation", "key": 1', '"texts"', '"table"',
        '"table", "key": "it", "columns": [], "rows": "x"', ('"table", "key": "it", '
                                                            '"columns": [], "rows": '
                                                            '1e300'),
        '"table", "key": "it", "columns": [{"name": "a", "levels": null}], "rows": 1',
        '"table", "key": "it", "columns": [1], "rows": 1', ('"table", "key": "it", '
                                                           '"columns": 1, "rows": 1'),
    )),
)  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_facts_are_refused(content, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    file = folder / "explanations" / "CardsSection.json"
    file.write_bytes(content)
    message = refused(folder, "explanations/CardsSection", "none")
    assert str(file) in message or str(folder / "explanations" / "none") in message
    (folder / "metrics.json").write_bytes(content)
    assert (
        "metrics.json is damaged. Run again with --from model."
        in refused(folder, "metrics")
        or b'"expl' in content
    )


@pytest.mark.parametrize("kind", [kind for kind in SECTIONS if kind != "LocalRows"])
def test_damaged_emptied_and_missing_arrays_are_refused(kind, whole, tmp_path):
    entry_path = f"explanations/{kind}"
    explanation = f"of {kind}"
    shutil.copytree(whole, tmp_path / "run")
    file = tmp_path / "run" / f"{entry_path}.npz"
    content = file.read_bytes()
    for damaged in (
        b"",
        content[: len(content) // 2],
        content[:-1],
        b"\x80\x04.",
        b"text",
    ):
        file.write_bytes(damaged)
        message = refused(tmp_path / "run", entry_path, explanation)
        assert f"{file} is damaged. Run again with --from explanation." in message
    np.savez(file, other=np.zeros(2))
    assert f"{file.with_suffix('.json')} is damaged" in refused(
        tmp_path / "run", entry_path, explanation
    )
    file.unlink()
    assert f"{file.with_suffix('.json')} is damaged" in refused(
        tmp_path / "run", entry_path, explanation
    )


@pytest.mark.parametrize(
    ("place", "explanation"),
    [
        ("LocalRows", "of LocalRows"),
        ("TogetherSection", "of TogetherSection"),
        ("permgrad", ""),
    ],
)
def test_damaged_emptied_and_missing_explanations_are_refused(
    place, explanation, whole, tmp_path
):
    place = f"explanations/{place}"
    folder = tmp_path / "run" / "explanations" / (explanation or "permgrad")
    shutil.copytree(whole, tmp_path / "run")
    for name in ("explanation.json", "values.npz"):
        file = folder / name
        content = file.read_bytes()
        for damaged in (b"", content[: len(content) // 2]):
            file.write_bytes(damaged)
            assert f"The explanation in {folder} is damaged" in refused(
                tmp_path / "run", place, explanation
            )
        file.unlink()
        assert f"{file} is missing. Run again with --from explanation." in refused(
            tmp_path / "run", place, explanation
        )
        file.write_bytes(content)
    for path in folder.iterdir():
        path.unlink()
    assert "explanation.json is missing" in refused(
        tmp_path / "run", place, explanation
    )


def what_reading_says(folder: Path, entry_path: str, explanation: str) -> str | None:
    """Return the code of the error, or None if there is none."""
    try:
        Store(folder).get(entry_path, explanation)
    except pg.InputError as error:
        return error.code
    return None


@pytest.mark.parametrize("kind", SECTIONS)
def test_flipped_bits_are_refused_or_change_a_value(kind, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    draw = random.Random(0)
    entry_path = f"explanations/{kind}"
    codes = []
    for file in (tmp_path / "run" / "explanations").glob(f"{kind}.*"):
        content = file.read_bytes()
        for _ in range(60):
            changed = bytearray(content)
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
            file.write_bytes(changed)
            codes.append(what_reading_says(tmp_path / "run", entry_path, f"of {kind}"))
        file.write_bytes(content)
    assert set(codes) <= {None, "PG052"}
    assert codes.count("PG052") > 10
