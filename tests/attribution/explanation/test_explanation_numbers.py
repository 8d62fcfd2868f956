"""What an explanation makes of its numbers: summaries, intervals, rankings, sums over
modalities, other packages.
"""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import permgrad as pg
from permgrad import Explanation
from permgrad.attribution.explanation.explanation_frames import file_frame
from permgrad.attribution.explanation.statistics import interval

ROWS = 5
NAMES = ("a", "b", "c")
OUTPUTS = ("no", "yes")
WHERE = ("table", "picture", "table")


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def local(
    rows: int = ROWS, outputs: tuple[str, ...] = OUTPUTS, **fields
) -> Explanation:
    values = drawn(rows, len(NAMES), len(outputs))
    facts = {
        "method": "integrated_gradients", "scope": "local", "additive": True,
        "parts": {"one": values / 4, "other": 3 * values / 4},
        "base_values": drawn(len(outputs), seed=1), "predictions": drawn(rows, len(outputs), seed=2),
        "meta": {"rows": [f"row {10 * row}" for row in range(rows)], "unit": "logit"},
    } | fields  # fmt: skip
    return Explanation(values, NAMES, WHERE, outputs, **facts)


def overall(outputs: tuple[str, ...] = ("all", "yes")) -> Explanation:
    values = drawn(len(NAMES), len(outputs))
    std = np.abs(drawn(len(NAMES), len(outputs), seed=3))
    low, high, p_values = interval(values, std, 50, 0.9)
    return Explanation(
        values, NAMES, WHERE, outputs, "permgrad", "global", std_error=std, low=low, high=high, p_values=p_values,
        parts={"one": values / 2}, part_std={"one": std / 2}, meta={"confidence": 0.9},
    )  # fmt: skip


# ---- intervals -----------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("rows", [3, 12, 10**9])
def test_the_interval_holds_its_share_of_a_t_distribution_and_agrees_with_p(
    confidence, rows
):
    values = np.array([[-1.0, 0.3, 2.0, 4.0]])
    std = np.array([[0.5, 1.0, 1.0, 2.0]])
    low, high, p_values = interval(values, std, rows, confidence)
    t_distribution = stats.t(rows - 1, values, std)
    np.testing.assert_allclose(
        t_distribution.cdf(high) - t_distribution.cdf(low), confidence, rtol=1e-9
    )
    np.testing.assert_allclose((low + high) / 2, values, rtol=1e-12)
    np.testing.assert_allclose(
        p_values, 2 * (1 - stats.t(rows - 1).cdf(np.abs(values / std))), rtol=1e-7
    )
    assert ((p_values < 1 - confidence) == ((low > 0) | (high < 0))).all()


def test_an_exact_zero_has_p_one_and_an_exact_other_value_p_zero():
    low, high, p_values = interval(
        np.array([0.0, 2.0, 0.0]), np.array([0.0, 0.0, np.nan]), 9, 0.95
    )
    np.testing.assert_array_equal(p_values, [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(low, [0.0, 2.0, np.nan])
    np.testing.assert_array_equal(high, [0.0, 2.0, np.nan])


def test_where_a_method_has_no_interval_both_ends_are_missing():
    for end in local().ci():
        assert end.shape == (ROWS, 3, 2)
        assert np.isnan(end).all()
    low, high = overall().ci()
    assert (low < high).all()


# ---- summaries -----------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [None, 0.8])
@pytest.mark.parametrize("how", ["mean_abs", "mean"])
def test_a_summary_has_the_standard_error_of_a_mean_and_its_interval(how, confidence):
    single = local()
    if confidence:
        single.meta["confidence"] = confidence
    summary = single.to_global(how)
    rows = np.abs(single.values) if how == "mean_abs" else single.values
    error = np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=0) / (ROWS - 1) / ROWS)
    np.testing.assert_allclose(summary.std_error, error, rtol=1e-12)
    t_distribution = stats.t(ROWS - 1)
    width = t_distribution.ppf(1 - (1 - (confidence or 0.95)) / 2) * error
    low = rows.mean(axis=0) - width
    if how == "mean_abs":
        low = np.maximum(low, 0.0)  # a mean of absolute values is never below 0
    np.testing.assert_allclose(summary.low, low, rtol=1e-9)
    np.testing.assert_allclose(summary.high, rows.mean(axis=0) + width, rtol=1e-9)
    np.testing.assert_allclose(
        summary.p_values,
        2 * t_distribution.sf(np.abs(rows.mean(axis=0)) / error),
        rtol=1e-9,
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", ["mean_abs", "mean", "sum_l1"])
def test_a_summary_of_one_row_knows_no_error(how):
    summary = local(rows=1).to_global(how)
    for name in ("std_error", "low", "high", "p_values"):
        assert np.isnan(getattr(summary, name)).all()
    assert np.isfinite(summary.values).all()


def test_shares_of_nothing_are_nothing():
    """Where no player has any part of an output, all shares are 0, not 0/0."""
    single = local()
    single.values[:, :, 1] = 0
    shares = single.to_global("sum_l1").values
    np.testing.assert_array_equal(shares[:, 1], 0)
    assert np.abs(shares[:, 0]).sum() == pytest.approx(1)


def test_a_summary_keeps_what_is_still_true_of_it():
    single = local(
        maps={
            "segments:picture": np.eye(2),
            "images:picture": drawn(ROWS, 2, 2),
            "other": drawn(ROWS, 2),
        }
    )
    signed = single.to_global("mean")
    absolute = single.to_global()
    assert (signed.additive, absolute.additive) == (True, False)
    assert absolute.parts == {}
    assert set(signed.parts) == {"one", "other"}
    np.testing.assert_allclose(
        signed.parts["one"] + signed.parts["other"], signed.values, rtol=1e-12
    )
    assert (absolute.meta["summary"], signed.meta["summary"]) == ("mean_abs", "mean")
    assert absolute.meta["rows_summarised"] == ROWS
    assert absolute.meta["unit"] == "logit"
    assert "rows" not in absolute.meta
    for summary in (signed, absolute):
        assert (
            summary.scope,
            summary.base_values,
            summary.predictions,
            summary.feature_values,
        ) == ("global", None, None, None)
        assert set(summary.maps) == {"segments:picture", "images:picture"}
        np.testing.assert_array_equal(summary.maps["segments:picture"], np.eye(2))
        np.testing.assert_allclose(
            summary.maps["images:picture"], [single.maps["images:picture"].mean(axis=0)]
        )
    nobody = local(maps={"images:picture": np.zeros((0, 2, 2))})
    assert nobody.to_global().maps == {}


# ---- rankings and outputs ------------------------------------------------------------


@pytest.mark.parametrize("output", [None, 0, 1, "no", "yes", np.int64(1)])
def test_the_ranking_of_an_output(output):
    column = {None: 0, "no": 0, "yes": 1}.get(output, output)
    single = local()
    scores = dict(
        zip(NAMES, np.abs(single.values[:, :, column]).mean(axis=0), strict=True)
    )
    assert single.ranking(output) == sorted(NAMES, key=lambda name: -scores[name])
    assert len({tuple(single.ranking(output_name)) for output_name in OUTPUTS}) == 2, (
        "the outputs must rank differently"
    )
    assert single.output_index(output) == column


@pytest.mark.parametrize("output", [2, -1, True, "maybe"])
def test_outputs_that_are_not_there(output):
    with pytest.raises(pg.InputError, match="target must be one of"):
        local().ranking(output)


def test_a_name_that_looks_like_a_position_is_found_as_a_name():
    assert local(outputs=("7", "8")).output_index(8) == 1


# ---- the frame and the words ---------------------------------------------------------


def test_the_frame_says_every_number_where_it_belongs():
    single = local(
        std_error=drawn(ROWS, 3, 2, seed=4),
        p_values=drawn(ROWS, 3, 2, seed=5),
        low=drawn(ROWS, 3, 2, seed=6),
    )
    frame = single.to_frame().set_index(["row", "feature", "class"])
    assert len(frame) == ROWS * 3 * 2
    for row, label in enumerate(single.meta["rows"]):
        for feature_index, name in enumerate(NAMES):
            for column, output in enumerate(OUTPUTS):
                line = frame.loc[(label, name, output)]
                cell_index = (row, feature_index, column)
                assert line["modality"] == WHERE[feature_index]
                assert line["importance"] == single.values[cell_index]
                assert (line["std_error"], line["ci_low"]) == (
                    single.std_error[cell_index], single.low[cell_index]
                )  # fmt: skip
                undefined = line[["ci_high", "p_value", "p_adjusted"]]
                assert undefined.isna().all(), "an interval of sampling has no p-value"
                assert (line["one"], line["other"]) == (
                    single.parts["one"][cell_index],
                    single.parts["other"][cell_index],
                )
    in_file = file_frame(single)
    assert not {"p_value", "p_adjusted"} & set(in_file), "nothing but empty cells"
    assert {"p_value", "p_adjusted"} <= set(file_frame(overall()))
    numbered = local(meta={}).to_frame()
    assert numbered["row"].tolist() == np.repeat(range(ROWS), 6).tolist()


def test_it_says_what_it_is():
    assert (
        repr(local())
        == "<Explanation: integrated_gradients, local, 5 rows, 3 features × 2 outputs>"
    )
    assert repr(overall()) == "<Explanation: permgrad, global, 3 features × 1 output>"
    assert repr(local(level="modality")).endswith("3 modalities × 2 outputs>")


@pytest.mark.parametrize("name", ["std_error", "low", "high", "p_values"])
def test_every_array_must_have_the_shape_of_the_values(name):
    with pytest.raises(
        pg.InputError,
        match=rf"{name} must have the shape of values, \(5, 3, 2\), got \(5, 3, 1\)",
    ):
        local(**{name: np.zeros((ROWS, 3, 1))})
    with pytest.raises(pg.InputError, match="parts/one must have the shape of values"):
        local(parts={"one": np.zeros((ROWS, 3, 1))})
    with pytest.raises(
        pg.InputError, match="part_std/one must have the shape of values"
    ):
        local(part_std={"one": np.zeros((ROWS, 3, 1))})


# ---- sums over modalities ------------------------------------------------------------


def test_modalities_are_sums_of_their_players():
    single = local(
        maps={"segments:picture": np.eye(2), "images:picture": np.eye(2)},
        direction={"a": {}},
    )
    modality_explanation = single.by_modality()
    assert (
        modality_explanation.names
        == modality_explanation.modality
        == ("table", "picture")
    )
    assert modality_explanation.level == "modality"
    for array, expected in (
        (modality_explanation.values, single.values),
        (modality_explanation.parts["one"], single.parts["one"]),
    ):
        np.testing.assert_allclose(
            array[:, 0], expected[:, 0] + expected[:, 2], rtol=1e-12
        )
        np.testing.assert_allclose(array[:, 1], expected[:, 1], rtol=1e-12)
    assert (
        modality_explanation.std_error,
        modality_explanation.low,
        modality_explanation.high,
        modality_explanation.p_values,
        modality_explanation.direction,
        modality_explanation.feature_values,
    ) == (None,) * 6
    assert (modality_explanation.part_std, set(modality_explanation.maps)) == (
        {},
        {"images:picture"},
    )
    np.testing.assert_array_equal(modality_explanation.base_values, single.base_values)


# ---- other packages ------------------------------------------------------------------


def test_shap_gets_the_same_numbers_for_every_form():
    pytest.importorskip("shap")
    single = local(
        feature_values=pd.DataFrame({"c": range(ROWS), "a": range(10, 10 + ROWS)})
    )
    shap_explanation = single.to_shap()
    np.testing.assert_array_equal(shap_explanation.values, single.values)
    np.testing.assert_array_equal(
        shap_explanation.base_values, np.tile(single.base_values, (ROWS, 1))
    )
    np.testing.assert_array_equal(
        shap_explanation.data[:, 0].astype(float), range(10, 10 + ROWS)
    )
    assert np.isnan(shap_explanation.data[:, 1].astype(float)).all(), (
        "b has no raw value"
    )
    assert (shap_explanation.feature_names, shap_explanation.output_names) == (
        list(NAMES),
        list(OUTPUTS),
    )
    alone = local(outputs=("y",), base_values=drawn(ROWS, 1, seed=8))
    shap_explanation = alone.to_shap()
    np.testing.assert_array_equal(shap_explanation.values, alone.values[:, :, 0])
    np.testing.assert_array_equal(shap_explanation.base_values, alone.base_values[:, 0])
    assert shap_explanation.output_names is None
    global_shap = overall().to_shap()
    np.testing.assert_array_equal(global_shap.values, overall().values[None])
    np.testing.assert_array_equal(global_shap.base_values, np.zeros((1, 2)))


@pytest.mark.parametrize("base", [drawn(2, seed=8), drawn(ROWS, 2, seed=9), None])
def test_shapiq_gets_the_same_numbers(base):
    pytest.importorskip("shapiq")
    single = local(base_values=base)
    for row in (0, 3, -1):
        for column, output in enumerate(OUTPUTS):
            interaction_values = single.to_shapiq(row=row, target=output)
            expected = (
                0.0
                if base is None
                else base[column]
                if base.ndim == 1
                else base[row, column]
            )
            assert interaction_values.baseline_value == expected
            np.testing.assert_array_equal(
                [interaction_values[(player,)] for player in range(3)],
                single.values[row, :, column],
            )
            assert interaction_values[()] == expected
    assert (
        interaction_values.n_players,
        interaction_values.max_order,
        interaction_values.index,
        interaction_values.estimated,
    ) == (
        3,
        1,
        "SV",
        False,
    )
    global_explanation = overall()
    interaction_values = global_explanation.to_shapiq(target=1)
    np.testing.assert_array_equal(
        [interaction_values[(player,)] for player in range(3)],
        global_explanation.values[:, 1],
    )
    assert interaction_values.estimated is True
    for row in (ROWS, -ROWS - 1, True, 0.0):
        with pytest.raises(pg.InputError, match="row must be a position from 0 to 4"):
            single.to_shapiq(row=row)


# ---- files ---------------------------------------------------------------------------


def test_every_field_comes_back_from_its_files(tmp_path):
    shape = (ROWS, 3, 2)
    single = local(
        std_error=drawn(*shape, seed=4), low=drawn(*shape, seed=5), high=drawn(*shape, seed=6),
        p_values=drawn(*shape, seed=7), part_std={"one": drawn(*shape, seed=8)}, maps={"segments:picture": np.eye(2)},
        groups={"both": ["a", "b"]}, branches={"one": {"share": 0.5}}, direction={"a": {"at": [1.0]}}, level="group",
        feature_values=pd.DataFrame({"a": [1.5, None, 2.0, 3.0, 4.0], "b": list("vwxyz"), "c": [True] * 5}),
    )  # fmt: skip
    loaded_explanation = Explanation.load(single.save(tmp_path / "why"))
    for name in (
        "values",
        "std_error",
        "low",
        "high",
        "p_values",
        "base_values",
        "predictions",
    ):
        np.testing.assert_array_equal(
            getattr(loaded_explanation, name), getattr(single, name)
        )
    for name in ("parts", "part_std", "maps"):
        assert set(getattr(loaded_explanation, name)) == set(getattr(single, name))
        for key, array in getattr(single, name).items():
            np.testing.assert_array_equal(getattr(loaded_explanation, name)[key], array)
    for name in (
        "method",
        "scope",
        "level",
        "additive",
        "names",
        "modality",
        "outputs",
        "groups",
        "branches",
        "meta",
    ):
        assert getattr(loaded_explanation, name) == getattr(single, name)
    assert loaded_explanation.direction == single.direction
    pd.testing.assert_frame_equal(
        loaded_explanation.feature_values, single.feature_values
    )
    assert loaded_explanation.feature_values.dtypes.map(str).tolist()[::2] == [
        "float64",
        "bool",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"method": 1}, r"method \(a int\)"),
        ({"scope": "everywhere"}, r"scope \('everywhere'\)"),
        ({"additive": 1}, r"additive \(a int\)"),
        ({"names": "abc"}, r"names \(a str\)"),
        ({"outputs": ["no", 1]}, r"outputs \(not all text\)"),
        ({"modality": ["table"]}, r"modality \(of 1 for 3 names\)"),
        ({"groups": []}, r"groups \(a list\)"),
        ({"feature_values": {"columns": ["a"], "data": [[1, 2]]}}, (r"feature_values "
                                                                   r"\(rows of other "
                                                                   r"lengths\)")),
        ({"meta": []}, r"meta \(a list\)"),
        ({"meta": {"rows": [1]}}, r"meta \(rows: 1 for 5 rows of values\)"),
        ({"meta": {"sample_weight": [1.0]}}, (r"meta \(sample_weight: 1 for 5 rows of "
                                             r"values\)")),
        ({"meta": {"sample_weight": [1, 1, 1, 1, -1]}}, (r"meta \(an invalid "
                                                        r"sample_weight\)")),
        ({"meta": {"sample_weight": [1, 1, 1, 1, "1"]}}, (r"meta \(an invalid "
                                                         r"sample_weight\)")),
        ({"meta": {"rows": [0, 1, 2, 3, [4]]}}, r"meta \(rows that are not numbers\)"),
        ({"meta": {"rows": [0, 1, 2, 3, {}]}}, r"meta \(rows that are not numbers\)"),
        *(({"meta": {"confidence": wrong}}, rf"meta \(a confidence of {wrong!r}\)") for wrong in (0, 1, "x", True)),
    ],
)  # fmt: skip
def test_files_whose_parts_are_of_another_kind_are_refused(tmp_path, wrong, said):
    path = local().save(tmp_path / "why") / "explanation.json"
    header = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(header | wrong), encoding="utf-8")
    with pytest.raises(pg.InputError, match=said):
        Explanation.load(path.parent)


def test_an_interval_of_a_mean_of_absolute_values_does_not_pass_zero():
    # One large value among small ones: the plain interval would end at −1.2.
    values = np.array([[0.01, 3.0], [-0.02, 3.1], [4.0, -3.2], [0.0, 2.9]])[:, :, None]
    summary = Explanation(
        values, ("a", "b"), ("t", "t"), ("all",), "gradient", "local"
    ).to_global("mean_abs")
    mean = summary.values[:, 0]
    low = summary.ci()[0][:, 0]
    assert mean[0] - 1.96 * summary.std_error[0, 0] < -0.5
    assert low[0] == 0.0
    assert summary.p_values[0, 0] >= 0.05, "the interval holds 0, as the p-value says"
    assert 2 < low[1] < mean[1]
    assert summary.p_values[1, 0] < 0.05
    signed = Explanation(
        values, ("a", "b"), ("t", "t"), ("all",), "gradient", "local"
    ).to_global("mean")
    assert signed.ci()[0].min() < -0.5, "a signed mean may be below 0"


def test_pickles_with_names_of_scopes_have_their_records():
    explanation = Explanation(
        np.ones((2, 1)), ("a", "b"), ("table",) * 2, ("y",), "lime", "global"
    )
    vars(explanation).update(scope="global", level="column")
    read = pickle.loads(pickle.dumps(explanation))
    assert (read.scope, read.level) == ("global", "column")
    assert (read.scope.by_row, read.level.of_columns) == (False, True)
