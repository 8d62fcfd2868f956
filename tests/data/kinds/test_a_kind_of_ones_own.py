"""A kind of column that a user registers in one file works everywhere: a table read
from a file, training, explanations, the page, drift, and a saved model.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from address_kind import Address
from invoking import call, train_run

import permgrad as pg
from permgrad.assess.encoder_form import encoder_form, formless
from permgrad.assess.network_form import model_form
from permgrad.base.errors import InputError
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.kinds.column import ColumnKind, PageForm, kinds
from permgrad.data.types.column_types import infer_schema
from permgrad.evaluation.column_summary import against_summary, summary_of
from permgrad.runs.requests import RunRequest


@pytest.fixture(scope="module", autouse=True)
def _registered():
    kinds.register("ipv4")(Address)
    yield
    del kinds["ipv4"]


def table(rows: int, seed: int = 0, first: tuple[int, ...] = (10, 172)) -> pd.DataFrame:
    """Rows whose outcome is told by the first number of the address and by size."""
    generator = np.random.default_rng(seed)
    octets = generator.integers(0, 256, (rows, 4))
    octets[:, 0] = generator.choice(first, rows)
    size = generator.normal(size=rows).round(2)
    told = 2.0 * (octets[:, 0] == 10) + size + generator.normal(0, 0.3, rows)
    return pd.DataFrame(
        {
            "address": [".".join(map(str, row)) for row in octets.tolist()],
            "size": size,
            "outcome": np.where(told > 1, "blocked", "passed"),
        }
    )


@pytest.fixture(scope="module", name="model")
def _model():
    rows = table(300)
    features = rows[["address", "size"]]
    options = {"preset": "fast", "max_epochs": 8, "random_state": 0}
    return pg.HyNNClassifier(**options).fit(features, rows["outcome"])


def test_a_column_of_a_file_is_of_the_kind_unless_the_kind_refuses_it(tmp_path):
    rows = table(30).assign(other=[f"10.0.0.{k}.1" for k in range(15)] * 2)
    rows.to_csv(tmp_path / "table.csv", index=False)
    schema = infer_schema(pg.read_table(tmp_path / "table.csv"))
    assert schema["address"].kind == "ipv4"
    assert schema["address"].reason == "IPv4 addresses"
    assert schema["other"].kind == "categorical"
    declared = infer_schema(rows, kinds={"address": "ipv4"})["address"]
    assert (declared.storage, declared.reason) == ("ipv4", "declared")
    with pytest.raises(InputError) as refused:
        infer_schema(rows, kinds={"other": "ipv4"})
    assert str(refused.value) == (
        "Column 'other' is declared ipv4 but has '10.0.0.0.1'. Declare another kind, "
        "or this text as a code for missing values. [PG014]"
    )


def test_a_few_odd_cells_are_missing_and_later_ones_are_refused():
    rows = table(200)[["address"]]
    rows.loc[[3, 90], "address"] = "unknown"
    column = infer_schema(rows)["address"]
    assert (column.kind, column.n_missing) == ("ipv4", 2)
    assert column.reason.startswith("addresses; cells that cannot be read count as")
    encoder = TableEncoder().fit(rows)
    assert encoder.transform(rows)[[3, 90], -1].tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match=r"Column 'address' must hold IPv4 addresses"):
        TableEncoder().fit(rows.drop([3, 90])).transform(rows)


def test_cells_are_encoded_in_the_parts_that_the_kind_names():
    rows = pd.DataFrame({"address": ["10.0.255.51", "172.16.0.0", "10.1.2.3"]})
    encoder = TableEncoder().fit(rows)
    assert encoder.encoded_names_ == [f"address=octet {k}" for k in range(1, 5)]
    expected = np.array([[10, 0, 255, 51], [172, 16, 0, 0], [10, 1, 2, 3]]) / 255
    np.testing.assert_array_equal(
        encoder.transform(rows), expected.astype(np.float32), strict=True
    )
    assert list(encoder.features()) == ["address"]
    again = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    np.testing.assert_array_equal(again.transform(rows), encoder.transform(rows))


@pytest.mark.parametrize(
    "method", ["permgrad", "permutation", "shapley", "integrated_gradients", "ablation"]
)
def test_a_method_gives_the_column_its_importance(model, method):
    rows = table(60, seed=1)
    features = rows[["address", "size"]]
    explained = pg.explain(
        model, features, rows["outcome"], method=method, n_repeats=2, max_rows=40
    )
    assert list(explained.names) == ["address", "size"]
    values = np.abs(explained.values)
    assert np.isfinite(values).all()
    assert values.sum() > 0


def test_a_model_is_saved_and_loaded_and_refused_without_the_kind(model, tmp_path):
    rows = table(40, seed=2)[["address", "size"]]
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))
    del kinds["ipv4"]
    try:
        with pytest.raises(InputError, match="is of kind 'ipv4', which is not regis"):
            pg.load(tmp_path / "model")
    finally:
        kinds.register("ipv4")(Address)


def test_the_page_has_curves_instead_of_what_if(model):
    with pytest.raises(NotImplementedError) as refused:
        model_form(model, [])
    assert str(refused.value) == (
        "no page encodes columns of kind ipv4, such as 'address'"
    )


def test_a_kind_with_a_form_of_the_page_has_what_if_unless_it_has_parts_of_its_own():
    class Place(Address):
        """Addresses as one number."""

        name = "place"
        storage = "place"
        form = PageForm("number")
        slots = ColumnKind.slots

    class Octets(Place):
        """A form that has no octets."""

        name = "octets"
        storage = "octets"
        slots = Address.slots

    rows = table(60)[["address"]]
    for kind, names in ((Place, []), (Octets, ["address"])):
        kinds.register(kind.name)(kind)
        try:
            encoder = TableEncoder(kinds={"address": kind.name}).fit(rows)
            assert [column.name for column in formless(encoder)] == names
            (form,) = encoder_form(encoder)["columns"]
        finally:
            del kinds[kind.name]
        assert form["kind"] == "number"


def test_columns_are_compared_as_the_kind_compares_them():
    kept = summary_of(table(400)[["address"]])
    (column,) = kept["columns"]
    assert sorted(column["values"]) == ["10.0.0.0/8", "172.0.0.0/8"]
    same, moved = table(400, seed=3), table(400, seed=3, first=(10, 192))
    (found,) = against_summary(kept, same[["address"]])
    assert not found["clear"]
    (found,) = against_summary(kept, moved[["address"]])
    assert found["clear"]
    assert list(found["new"]) == ["192.0.0.0/8"]


def test_the_command_takes_the_kind_by_its_name():
    request = RunRequest(table="a.csv", target=("y",), kind=("address=ipv4",))
    assert request.kinds == {"address": "ipv4"}


@pytest.mark.slow
def test_a_run_predicts_reports_and_compares_later_rows(tmp_path):
    rows = table(400).assign(case=np.arange(400))
    run = train_run(tmp_path, rows, identifier="case", epochs=3)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "no page encodes columns of kind ipv4" in page
    later = table(200, seed=4, first=(10, 192)).drop(columns="outcome")
    later.to_csv(tmp_path / "later.csv", index=False)
    out = tmp_path / "predicted.csv"
    said = call(
        "predict", run, tmp_path / "later.csv", "--out", out, "--against"
    ).splitlines()
    assert said[0].startswith("1 of 2 columns differ")
    assert "192.0.0.0/8" in said[0]
    assert len(pd.read_csv(out)) == 200
