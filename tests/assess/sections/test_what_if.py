"""The rows that readers of a report may change: written with the explanations, read for
the page.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.assess.sections.what_if import rows_of
from permgrad.assess.store import Store
from permgrad.base.errors import InputError
from permgrad.pages.whatif import what_if


def test_rows_are_read_as_they_were_written_and_damaged_ones_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"n": rng.normal(size=40), "town": rng.choice(["Ulm", "Bonn"], 40)}
    )
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(table, table["n"])
    store = Store(tmp_path)
    assert store.get("what_if") is None
    store.put(
        "what_if",
        rows_of(model, model.encode_rows(table[:10]), np.arange(10) + 5, ["town", "n"]),
    )
    rows = store.get("what_if")
    assert rows.numbers.tolist() == list(range(5, 15))
    np.testing.assert_array_equal(rows.encoded, model.encode_rows(table[:10]).encoded)
    assert rows.columns.tolist() == [1, 0]  # the stronger feature first
    np.testing.assert_allclose(rows.cells[:, 1], table["n"][:10])
    assert rows.encoded.std() > 0.1
    content = what_if(model, rows, ["town", "n"])
    assert [column["name"] for column in content["columns"]] == ["town", "n"]
    file = tmp_path / "what_if.npz"
    for damaged in (b"", file.read_bytes()[:200]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"what_if\.npz is damaged"):
            store.get("what_if")
