"""The result class: shapes, the tidy frame, summaries, files that come back as they
went.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from permgrad import Explanation, InputError


def make_local(rows=4, names=("a", "b", "c"), outputs=("no", "yes"), **fields):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, len(names), len(outputs)))
    component_values = {"tabular": values * 0.25, "image": values * 0.75}
    frame = pd.DataFrame(
        {
            "a": np.arange(rows) / 3,
            "b": [f"<b>{k}" for k in range(rows)],
            "c": [True, False] * (rows // 2),
        }
    )
    return Explanation(
        values,
        names,
        ("table",) * len(names),
        outputs,
        "integrated_gradients",
        "local",
        parts=component_values,
        additive=True,
        feature_values=frame,
        base_values=np.array([0.5, -0.5]),
        predictions=values.sum(axis=1) + np.array([0.5, -0.5]),
        meta={"confidence": 0.95, "note": float("nan")},
        **fields,
    )


def make_global():
    values = np.array([[2.0, 1.0], [0.0, np.nan]])
    std = np.array([[0.5, 0.25], [0.0, np.nan]])
    return Explanation(
        values, ("a", "b"), ("table", "table"), ("all", "yes"), "permgrad", "global",
        std_error=std, low=values - 2 * std, high=values + 2 * std, p_values=np.array([[0.0, 0.0], [1.0, np.nan]]),
        parts={"tabular": values / 2, "image": values / 2, "interaction": values * 0},
        branches={"tabular": {"share": None}},
        direction={"a": {"kind": "numeric", "at": [1.0], "label": ["1"], "mean": [[0.5]]}},
    )  # fmt: skip


def test_tidy_frame_has_the_contracts_columns_in_order():
    frame = make_global().to_frame()
    assert list(frame.columns) == [
        "feature", "modality", "class", "importance", "std_error", "ci_low", "ci_high", "p_value", "p_adjusted",
        "tabular", "image", "interaction",
    ]  # fmt: skip
    assert frame["feature"].tolist() == ["a", "a", "b", "b"]
    assert frame["class"].tolist() == ["all", "yes", "all", "yes"]
    assert np.isnan(frame["importance"].iloc[3]), "undefined is NaN, never 0"


def test_local_frame_starts_with_row_and_has_no_invented_errors():
    explanation = make_local()
    frame = explanation.to_frame()
    assert frame.columns[0] == "row"
    assert len(frame) == explanation.values.size
    assert frame["std_error"].isna().all()
    selected_rows = frame[
        (frame["row"] == 2) & (frame["feature"] == "b") & (frame["class"] == "yes")
    ]
    assert selected_rows["importance"].item() == explanation.values[2, 1, 1]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="values must be"):
        Explanation(np.zeros((2, 1)), ("a",), ("table",), ("all",), "x", "global")
    with pytest.raises(InputError, match="std_error must have the shape of values"):
        Explanation(
            np.zeros((1, 1)),
            ("a",),
            ("table",),
            ("all",),
            "x",
            "global",
            std_error=np.zeros((2, 1)),
        )


@pytest.mark.parametrize("how", ["mean_abs", "mean", "sum_l1"])
def test_to_global_against_slow_loops(how):
    local = make_local(rows=6)
    summary = local.to_global(how)
    for feature in range(3):
        for output in range(2):
            column = [float(row[feature, output]) for row in local.values]
            if how == "mean_abs":
                expected = sum(abs(v) for v in column) / 6
            elif how == "mean":
                expected = sum(column) / 6
            else:
                norm = sum(
                    abs(sum(float(r[f, output]) for r in local.values))
                    for f in range(3)
                )
                expected = sum(column) / norm
            assert summary.values[feature, output] == pytest.approx(expected, rel=1e-12)
    assert summary.scope == "global"
    assert summary.meta["summary"] == how


def test_to_global_of_a_global_explanation_is_refused():
    with pytest.raises(InputError, match="already global"):
        make_global().to_global()
    with pytest.raises(InputError, match="Did you mean 'mean_abs'"):
        make_local().to_global("meanabs")


def test_by_modality_sums_additive_and_names_the_call_for_others():
    local = make_local()
    summed = local.by_modality()
    assert summed.names == ("table",)
    np.testing.assert_allclose(summed.values[:, 0], local.values.sum(axis=1))
    np.testing.assert_allclose(
        summed.parts["image"][:, 0], local.parts["image"].sum(axis=1)
    )
    with pytest.raises(InputError, match="Its features are of one modality"):
        make_global().by_modality()
    with pytest.raises(
        InputError,
        match=r"Call pg.explain\(model, X, y, method='permgrad', groups='modality'\)",
    ):
        replace(make_global(), modality=("image", "table")).by_modality()


def test_ranking_puts_undefined_last():
    assert make_global().ranking() == ["a", "b"]
    assert make_global().ranking("yes") == ["a", "b"]
    with pytest.raises(InputError, match="target must be one of"):
        make_global().ranking("nope")


def test_to_shap_carries_values_names_and_base():
    shap = pytest.importorskip("shap")
    explanation = make_local()
    result = explanation.to_shap()
    assert isinstance(result, shap.Explanation)
    assert result.values.shape == explanation.values.shape
    np.testing.assert_allclose(
        result.values.sum(axis=1) + result.base_values,
        explanation.predictions,
        err_msg="shap's plots need additivity",
    )
