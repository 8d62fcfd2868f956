"""The ranking of features, and what is kept of the strongest ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from permgrad import Explanation
from permgrad.assess.assessed_rows import Rows
from permgrad.assess.assessment import Assessment
from permgrad.assess.sections.ranking import rank
from permgrad.assess.store import Store
from permgrad.assess.work import Work


def test_values_of_the_strongest_features_come_back_by_row(tmp_path):
    names = ("block", "row", "town", "c", "d")
    values = np.array([[9.0], [4.0], [3.0], [2.0], [1.0]])
    explanation = Explanation(
        values, names, ("table",) * 5, ("all",), "permutation", "global"
    )
    X = pd.DataFrame(
        {
            "d": [1, 2, 3],
            "c": [0.5, -9.0, 1.5],
            "town": ["a,b", "x\ny", None],
            "row": [7, 8, 9],
        }
    )
    model = SimpleNamespace(
        with_parts=lambda table: table,
        classes=(),
        na=["-9"],
        images=0,
        options={},
        encoder=None,
        dates=lambda table: {},
        explain=lambda *_, **__: explanation,
    )
    rows = Rows(inputs=X, y=np.zeros(3), numbers=np.array([10, 20, 30]), table=X)
    content = Assessment(title="t", target="y", task="regression")
    work = Work(model, rows, content, store=Store(tmp_path))
    work.__dict__["places"] = np.arange(3)  # all rows are explained
    rank(work, None, {})
    for features_frame in (
        work.content.residual_features,
        Store(tmp_path).get("explanations/residual_features"),
    ):
        assert list(features_frame.columns) == ["row", "town", "c"]
        assert features_frame["row"].tolist() == [7, 8, 9]
        assert features_frame["town"].tolist() == ["a,b", "x\ny", None]
        assert features_frame["c"].tolist()[::2] == [0.5, 1.5]
        assert np.isnan(features_frame["c"][1])
    assert Store(tmp_path / "elsewhere").get("explanations/residual_features") is None
