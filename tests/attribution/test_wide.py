"""What words of a text, and levels of a category of many, do to predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.wide import divide, level_effects, word_effects
from permgrad.data.encode.designs import Levels, spans_of, without

VOCABULARY = np.array(
    [
        "Alpha",
        "beta",
        "gamma",
        "delta",
        "omega",
        "sigma",
        "kappa",
        "theta",
        "zeta",
        "iota",
    ]
)
FAST = {"preset": "fast", "random_state": 0, "progress": False}


def made(seed: int, rows: int, effect: float = 2.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with a text, of whose words "alpha" alone has an effect, and a
    number.
    """
    rng = np.random.default_rng(seed)
    text = [
        " ".join(rng.permutation(VOCABULARY)[: rng.integers(3, 7)]) + f", no {row}"
        for row in range(rows)
    ]
    table = pd.DataFrame({"text": text, "x": rng.normal(size=rows)})
    planted = table["text"].str.contains("Alpha").to_numpy()
    return table, effect * planted + table["x"].to_numpy() + 0.5 * rng.normal(size=rows)


def mixed(
    seed: int, rows: int = 2600, levels: int = 250
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return rows of a mixed model with a random intercept, some of few rows, and its
    values.
    """
    rng = np.random.default_rng(seed)
    level = rng.choice(levels, rows, p=rng.dirichlet(np.full(levels, 0.8)))
    effects = rng.normal(size=levels)
    x = rng.normal(size=rows)
    table = pd.DataFrame(
        {"person": [f"p{person_index:03d}" for person_index in level], "x": x}
    )
    return table, x + effects[level] + rng.normal(size=rows), effects


@pytest.fixture(name="fitted", scope="module")
def _fitted():
    table, y = made(0, 600)
    return pg.HyNNRegressor(**FAST).fit(table, y)


def test_the_planted_word_comes_first_with_its_effect(fitted):
    table, _ = made(1, 400)
    effects_frame = word_effects(fitted, table, "text", random_state=0)
    assert effects_frame["word"][0] == "alpha"
    assert effects_frame["p_adjusted"][0] < 1e-6
    assert 1.5 < effects_frame["effect"][0] < 2.6
    assert effects_frame["effect"][1:].abs().max() < 0.3 * effects_frame["effect"][0]
    assert (effects_frame["rows"] >= 10).all()
    assert effects_frame["rows"][0] == table["text"].str.contains("Alpha").sum()
    assert effects_frame["effect"].is_monotonic_decreasing
    pd.testing.assert_frame_equal(
        effects_frame, word_effects(fitted, table, "text", random_state=0)
    )


def test_an_effect_is_the_mean_change_of_the_prediction_when_the_word_leaves_the_text(
    fitted,
):
    table, _ = made(2, 200)
    effects_frame = word_effects(fitted, table, "text", random_state=0).set_index(
        "word"
    )
    for word in ("alpha", "beta"):
        has = table["text"].str.contains(word, case=False)
        less = table[has].assign(
            text=table["text"][has].str.replace(rf"(?i)\b{word}\b", " ", regex=True)
        )
        changes = fitted.predict(table[has]) - fitted.predict(less)
        assert effects_frame.loc[word, "effect"] == pytest.approx(
            changes.mean(), abs=1e-5
        )
        assert effects_frame.loc[word, "std_error"] == pytest.approx(
            changes.std(ddof=1) / np.sqrt(has.sum()), rel=1e-4
        )


@pytest.mark.slow
def test_intervals_cover_the_models_mean_effect_over_all_such_rows(fitted, monkeypatch):
    table, _ = made(3, 4000)
    with monkeypatch.context() as patch:
        patch.setattr("permgrad.attribution.wide._MOST_ROWS", 10**6)
        truth = word_effects(fitted, table, "text", random_state=0).set_index("word")[
            "effect"
        ]
    inside = []
    for part_index in range(25):
        effects_frame = word_effects(
            fitted,
            table[100 * part_index : 100 * part_index + 100],
            "text",
            random_state=0,
        ).set_index("word")
        single_words = effects_frame[~effects_frame.index.str.contains(" ")]
        inside += (
            (single_words["ci_low"] <= truth[single_words.index])
            & (truth[single_words.index] <= single_words["ci_high"])
        ).tolist()
    assert len(inside) > 150
    assert 0.92 <= np.mean(inside) <= 0.98


@pytest.mark.parametrize(
    "seed",
    [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 5))],
)
def test_of_a_text_without_effect_no_word_matters(seed):
    table, y = made(seed, 600, effect=0.0)
    model = pg.HyNNRegressor(**FAST).fit(table[:400], y[:400])
    if "text" not in model.preprocessor_.scores_.columns:
        with pytest.raises(pg.InputError, match="reads no words of 'text'"):
            word_effects(model, table[400:], "text")
        return
    # Noise that the model has learned is an effect of the model, and small beside what
    # it predicts.
    assert (
        word_effects(model, table[400:], "text", random_state=0)["effect"].abs().max()
        < 0.25 * y.std()
    )
    importance = pg.explain(model, table[400:], y[400:], random_state=0, progress=False)
    assert "text" not in clearly_matter(importance)


def test_rows_of_one_group_widen_the_intervals(fitted):
    table, _ = made(4, 60)
    table = table.loc[np.repeat(table.index, 5)].reset_index(drop=True)
    alone = word_effects(fitted, table, "text", random_state=0).set_index("word")
    grouped = word_effects(
        fitted, table, "text", row_groups=np.repeat(np.arange(60), 5), random_state=0
    )
    grouped = grouped.set_index("word").loc[alone.index]
    assert (grouped["std_error"] / alone["std_error"]).loc["alpha"] == pytest.approx(
        5**0.5, rel=0.15
    )


@pytest.mark.slow
def test_classes_have_effects_that_sum_to_nothing_and_other_columns_are_refused():
    table, score = made(5, 500)
    y = np.digitize(score, [0.0, 1.5])
    model = pg.HyNNClassifier(**FAST).fit(table[:400], y[:400])
    effects_frame = word_effects(model, table[400:], "text", random_state=0)
    assert effects_frame["output"].unique().tolist() == ["0", "1", "2"]
    sums = effects_frame.groupby("word")["effect"].sum()
    assert sums.abs().max() < 1e-6
    of_alpha = effects_frame[effects_frame["word"] == "alpha"].set_index("output")[
        "effect"
    ]
    assert of_alpha["0"] < 0 < of_alpha["2"]
    for column, words in (
        ("x", "reads no words of 'x'"),
        ("txt", "reads no words of 'txt'"),
    ):
        with pytest.raises(pg.InputError, match=words):
            word_effects(model, table[400:], column)


@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_words_of_a_row_add_up_to_what_its_text_does(scale):
    table, score = made(6, 500)
    model = pg.HyNNClassifier(**FAST).fit(table[:400], score[:400] > 1)
    options = {"scale": scale, "random_state": 0, "progress": False}
    for row in (410, 411):
        parts_explanation = pg.explain_parts(model, table[row : row + 1], **options)
        full_explanation = pg.explain(
            model, table[row : row + 1], method="shapley", **options
        )
        assert parts_explanation.level == "part"
        np.testing.assert_allclose(
            parts_explanation.base_values, full_explanation.base_values, atol=1e-6
        )
        np.testing.assert_allclose(
            parts_explanation.predictions[0], full_explanation.predictions[0], atol=1e-6
        )
        np.testing.assert_allclose(
            parts_explanation.values.sum(axis=1)[0],
            parts_explanation.predictions[0] - parts_explanation.base_values,
            atol=1e-6,
        )
        of_text = np.array([name == "text" for name in parts_explanation.modality])
        words = parts_explanation.feature_values.loc[
            0, [name for name in parts_explanation.names if name != "x"]
        ].tolist()
        assert words == table["text"][row].replace(",", "").split()
        # Owen values: the words of a text share exactly its Shapley value where all
        # coalitions are enumerated.
        slack = (
            1e-6
            if not parts_explanation.std_error.any()
            else 4 * parts_explanation.std_error.max()
        )
        np.testing.assert_allclose(
            parts_explanation.values[0, of_text].sum(axis=0),
            full_explanation.values[0, full_explanation.names.index("text")],
            atol=slack,
        )
        assert "Alpha" not in words or int(
            np.argmax(parts_explanation.values[0, :, 1])
        ) == words.index("Alpha")
        assert words[0] in parts_explanation.plot.text(row=0).html


def test_words_of_a_row_refuse_what_they_cannot_explain(fitted):
    table, _ = made(7, 3)
    with pytest.raises(pg.InputError, match="explains one row"):
        pg.explain_parts(fitted, table)
    with pytest.raises(pg.InputError, match="that reads texts"):
        pg.explain_parts(lambda rows: rows["x"], table[:1])
    with pytest.raises(
        pg.InputError,
        match=r"Call pg\.explain: the features of a network are columns, patches",
    ):
        pg.explain_parts(torch.nn.Linear(2, 1), torch.ones(1, 2))


def test_a_long_text_is_told_apart_in_stretches_of_words(fitted):
    table = made(8, 1)[0]
    method = pg.methods.Shapley(max_permutations=8, tolerance=1)
    table["text"] = " ".join(np.tile(VOCABULARY, 20))
    explanation = divide(
        Arguments(fitted, table, random_state=0, progress=False), method
    )
    assert len(explanation.names) == 61
    assert " ".join(explanation.feature_values.iloc[0, :60]) == table["text"][0]


@pytest.mark.slow
def test_levels_have_the_effects_of_a_mixed_model():
    inside = []
    few = []
    for seed in range(2):
        table, y, truth = mixed(seed)
        model = pg.HyNNRegressor(**FAST).fit(table[:2000], y[:2000])
        effects_frame = level_effects(
            model, table[2000:], y[2000:], "person", random_state=0
        )
        assert effects_frame["effect"].is_monotonic_decreasing
        level_counts = table["person"][:2000].value_counts()
        assert effects_frame.attrs["pooled"] == 0
        assert (
            len(level_counts) - 50 < effects_frame.attrs["scored"] <= len(level_counts)
        )
        assert effects_frame["rows"].min() == 1
        assert (
            effects_frame["rows"].to_numpy()
            <= level_counts[effects_frame["level"]].to_numpy()
        ).all()  # without validation rows
        effects = truth[effects_frame["level"].str[1:].astype(int)] - truth.mean()
        assert np.corrcoef(effects, effects_frame["effect"])[0, 1] > 0.85
        covered = (effects_frame["ci_low"] <= effects) & (
            effects <= effects_frame["ci_high"]
        )
        inside += covered.tolist()
        few += covered[effects_frame["rows"] <= 3].tolist()
        width = effects_frame["ci_high"] - effects_frame["ci_low"]
        assert (
            width[effects_frame["rows"] <= 3].min()
            > 1.5 * width[effects_frame["rows"] > 20].max()
        )
    assert 0.92 <= np.mean(inside) <= 0.98
    assert np.mean(few) >= 0.9
    with pytest.raises(pg.InputError, match="reads no levels of 'x'"):
        level_effects(model, table, y, "x")


def test_words_are_found_and_left_out_as_the_vocabulary_has_them():
    text = "Old oldie OLD, old-fashioned. é old old old"
    assert [text[begin:end] for begin, end in spans_of(text, "old")] == [
        "Old",
        "OLD",
        "old",
        "old",
        "old",
        "old",
    ]
    assert [text[begin:end] for begin, end in spans_of(text, "old old")] == [
        "OLD, old",
        "old old",
    ]
    assert without(text, spans_of(text, "old old")) == "Old oldie  -fashioned. é   old"
    assert without(text, []) == text
    assert without("", []) == ""


def test_levels_are_stored_with_their_counts():
    design = Levels.fit(["a", "b", "c", "d", "e", "f"], np.array([3, 1, 1, 1, 1, 1]))
    again = Levels.from_dict(design.to_dict())
    assert (again.entries, again.counts, again.pooled) == (["a"], [3], 5)
    # Of a category, most of whose rows share their level with others, each level has an
    # effect.
    assert Levels.fit(["a", "b", "c"], np.array([3, 1, 2])).entries == ["a", "c", "b"]
