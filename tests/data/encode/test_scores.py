"""Scores of wide columns: a ridge twin, no row's own target in its score, unseen cells
0, what does not help goes.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from permgrad.data.encode import scores
from permgrad.data.encode.designs import Levels, Vectors, Words, designs
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scores import Scores, Target

LEVELS = 60


def made(n=600, seed=0, spread=1.0, noise=0.5):
    """A number, and a category of 60 levels, each with its own effect."""
    rng = np.random.default_rng(seed)
    level = rng.integers(0, LEVELS, n)
    effects = rng.normal(0, spread, LEVELS)
    x = rng.normal(size=n)
    y = x + effects[level] + rng.normal(0, noise, n)
    frame = pd.DataFrame({"x": x, "shop": [f"s{k:02d}" for k in level]})
    return frame, y, effects


def learned(frame, y, *, task="regression", max_levels=20, **options):
    encoder = TableEncoder("standard", max_levels=max_levels).fit(frame)
    return encoder, encoder.learn(frame, Target.of(np.asarray(y), task, 0, **options))


def score(encoder, frame, k=0):
    return encoder.transform(frame)[
        :, [i for i, kind in enumerate(encoder.kinds_) if kind == "score"][k]
    ]


# Some rows, all without a fold, and all.
@pytest.mark.parametrize(
    "rows", [np.arange(0, 600, 2), np.arange(80, 800), np.arange(800)]
)
@pytest.mark.parametrize("outputs", [1, 32])
def test_products_of_columns_and_steps_give_the_weights_of_the_rows(outputs, rows):
    frame, y, _ = made(800)
    names, index = np.unique(frame["shop"], return_inverse=True)
    y = (
        y
        if outputs == 1
        else np.random.default_rng(1).normal(size=(800, outputs)) + y[:, None]
    )
    target = Target(y, 0, np.random.default_rng(2).uniform(0.5, 2.0, 800), seed=0)
    blocks = [*scores._blocks("shop", names.tolist(), index)]
    model = scores._Model.of(blocks, frame[["x"]].to_numpy(), target)
    scale = np.repeat(np.float32([0.7, 2.0]), model.widths)
    by_steps, its_intercept = model._solve_steps(scale, rows)
    weights, intercept = model._solve_products(scale, rows)
    np.testing.assert_allclose(by_steps, weights, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(its_intercept, intercept, atol=1e-4)
    ridge = Ridge(1.0, solver="cholesky").fit(
        model.joined[rows].toarray() * scale,
        y[rows],
        sample_weight=target.weights[rows],
    )
    np.testing.assert_allclose(
        weights, np.atleast_2d(ridge.coef_).T * scale[:, None], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(intercept, np.atleast_1d(ridge.intercept_), atol=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_levels_within_levels_are_solved_in_few_steps(monkeypatch, exact):
    """Steps in float32 never came as near as was asked of them: a table of flights
    took ten minutes.
    """
    from scipy.sparse import linalg

    rng = np.random.default_rng(0)
    rows = np.arange(60_000)
    flight = (3000 * rng.random(len(rows)) ** 3).astype(int)
    airport = flight % 100
    carrier = airport % 12
    plane = carrier * 300 + (300 * rng.random(len(rows)) ** 2).astype(int)
    other = [np.eye(100)[airport], np.eye(12)[carrier], np.eye(3)[airport % 3]]
    other += [(airport[:, None] * 37 % 100 - 50) / 30, rng.normal(size=(len(rows), 3))]
    y = 0.3 * rng.normal(size=3600)[plane] + rng.normal(size=3000)[flight]
    y += 3 * rng.normal(size=len(rows))
    blocks = []
    for name, column in (("plane", plane), ("flight", flight)):
        names, index = np.unique(column.astype(str), return_inverse=True)
        blocks += scores._blocks(name, names.tolist(), index)
    target = Target(y, 0, np.ones(len(rows)), seed=0)
    model = scores._Model.of(blocks, np.concatenate(other, axis=1), target)
    assert not model.multiplies
    scale = np.repeat(np.float32([0.7, 1.0, 1.0]), model.widths)
    told = model.joined @ model._solve_steps(scale, rows)[0]
    if not exact:
        monkeypatch.setattr(scores, "_MOST_EXACT", 0)
    steps = []
    solve = linalg.cg

    def counted(*arguments, **options):
        return solve(*arguments, callback=lambda _: steps.append(1), **options)

    monkeypatch.setattr(linalg, "cg", counted)
    weights = model._solve_steps(scale, rows)[0]
    assert 10 < len(steps) < scores._MOST_STEPS
    off = np.sqrt(np.mean((model.joined @ weights - told) ** 2)) / told.std()
    assert off < 0.02


def test_scores_are_those_of_a_ridge_with_a_penalty_for_each_block():
    frame, y, _ = made()
    encoder, _ = learned(frame, y)
    ((kind, design, weights),) = encoder.scores_.columns["shop"]
    assert kind == "levels"
    z = (y - y.mean()) / y.std()
    other_column = encoder.transform(frame)[:, [0]].astype(np.float64)
    wide = design.matrix(frame["shop"].tolist()).toarray().astype(np.float64)
    # The strength that was chosen is a power of two times the first, and all weights
    # follow from it.
    twins = []
    for power in range(-6, 7):
        strength = 2.0**power
        X = np.hstack([0.7 * other_column, strength * wide])
        centred = X - X.mean(axis=0)
        w = np.linalg.solve(
            centred.T @ centred + np.eye(X.shape[1]), centred.T @ (z - z.mean())
        )
        twins.append(strength * w[1:])
    gaps = [
        np.abs(twin / twin.std() - weights[:, 0] / weights[:, 0].std()).max()
        for twin in twins
    ]
    assert min(gaps) < 1e-3
    assert (
        sorted(gaps)[1] > 0.01
    )  # the twins differ, so that one of them fits says something


def test_scores_find_the_effects_of_levels_and_pull_rare_ones_to_the_mean():
    frame, y, effects = made(3000, noise=2.0)
    encoder, _ = learned(frame, y)
    cells = pd.DataFrame({"x": 0.0, "shop": [f"s{k:02d}" for k in range(LEVELS)]})
    assert np.corrcoef(score(encoder, cells), effects)[0, 1] > 0.94
    # One level with two rows and a huge mean is pulled far more than one with fifty.
    rare = pd.DataFrame({"x": 0.0, "shop": ["rare"] * 2 + ["often"] * 50})
    all_rows = pd.concat([frame, rare])
    far = np.concatenate([y, np.full(52, 4.0)])
    encoder, _ = learned(all_rows, far)
    low, high = score(
        encoder, pd.DataFrame({"x": [0.0, 0.0], "shop": ["rare", "often"]})
    )
    assert 0 < low < 0.6 * high


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_training_row_s_score_does_not_know_its_target(task):
    frame, y, _ = made(400)
    labels = y if task == "regression" else np.where(y > 0, "high", "low")
    _, before = learned(frame, labels, task=task)
    row = 17
    changed = labels.copy()
    changed[row] = (
        changed[row] + 1e-9
        if task == "regression"
        else {"high": "low", "low": "high"}[labels[row]]
    )
    target = Target.of(np.asarray(labels), task, 0)
    folds = target.folds()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Target, "folds", lambda self, count=0: folds
        )  # a class that changes would change the folds
        encoder = TableEncoder("standard", max_levels=20).fit(frame)
        patch.setattr(
            "permgrad.data.encode.scores._Model.choose",
            lambda self, strengths, folds: list(strengths),
        )
        first = encoder.learn(frame, target)
        encoder = TableEncoder("standard", max_levels=20).fit(frame)
        changed_target = Target(target.y.copy(), target.classes, target.weights, 0)
        changed_target.y[row] = (
            1 - changed_target.y[row]
            if task == "classification"
            else changed_target.y[row] + 3.0
        )
        second = encoder.learn(frame, changed_target)
    score_column = encoder.kinds_.index("score")
    fold_rows = np.flatnonzero(folds == folds[row])
    # Up to the common unit, which all rows decide.
    fold_rows = fold_rows[first[fold_rows, score_column] != 0]
    ratio = second[fold_rows, score_column] / first[fold_rows, score_column]
    assert np.allclose(ratio, np.median(ratio), rtol=1e-3)
    elsewhere = np.flatnonzero(
        (folds != folds[row]) & (frame["shop"] == frame["shop"][row])
    )
    assert len(elsewhere)
    assert (
        np.abs(
            second[elsewhere, score_column]
            / first[elsewhere, score_column]
            / np.median(ratio)
            - 1
        ).min()
        > 1e-3
    )
    assert before.shape == first.shape


@pytest.mark.parametrize("classes", [0, 2])
def test_labels_of_rows_that_judge_are_not_in_any_score(classes, monkeypatch):
    # They help to choose penalties.
    monkeypatch.setattr(
        scores._Model, "choose", lambda model, strengths, folds: list(strengths)
    )
    rng = np.random.default_rng(0)
    index = rng.integers(0, 12, 300)
    y = index % 4 + rng.normal(size=300)
    target = Target(
        (y > 1.5).astype(int) if classes else y, classes, np.ones(300), 0, judging=40
    )
    folds = target.folds()
    assert set(folds[:-40]).isdisjoint(folds[-40:])
    assert target.first(270).judging == 10
    assert target.first(200).judging == 0
    column = {"level": (list("abcdefghijkl"), index)}
    first, crossed = Scores.fit(column, np.zeros((300, 0)), target)
    target.y[-1] = 1 - target.y[-1] if classes else target.y[-1] + 0.01
    changed, again = Scores.fit(column, np.zeros((300, 0)), target)
    np.testing.assert_array_equal(again["level"], crossed["level"])
    assert (
        changed.of("level", ["a", "b"]) != first.of("level", ["a", "b"])
    ).any()  # that of new rows learns from all
    # As of a new row, the score of one that judges follows from its level.
    assert (
        pd.Series(crossed["level"][-40:, 0]).groupby(index[-40:]).nunique().max() == 1
    )


def test_unseen_and_missing_cells_score_zero():
    frame, y, _ = made()
    encoder, _ = learned(frame, y)
    new = pd.DataFrame({"x": [0.0, 0.0], "shop": ["never seen", None]})
    assert score(encoder, new).tolist() == [0.0, 0.0]


def test_a_column_without_a_say_keeps_its_old_encoding():
    frame, y, _ = made(spread=0.0)
    encoder, encoded = learned(frame, y)
    assert "score" not in encoder.kinds_
    assert "shop=<other>" in encoder.encoded_names_
    np.testing.assert_array_equal(encoded, encoder.transform(frame))


def test_levels_say_nothing_where_rows_are_divided_by_them():
    frame, y, _ = made(900)
    units = pd.factorize(frame["shop"])[0]
    encoder, _ = learned(frame, y, units=units)
    assert "score" not in encoder.kinds_
    assert "score" in learned(frame, y)[0].kinds_


def test_scores_of_classes_are_one_per_class_and_add_up_to_log_odds():
    frame, y, _ = made(900)
    labels = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3])).astype(str)
    encoder, encoded = learned(frame, labels, task="classification")
    assert encoder.encoded_names_[-3:] == [
        "shop=<score 0>",
        "shop=<score 1>",
        "shop=<score 2>",
    ]
    best = encoded[:, -3:].argmax(axis=1).astype(str)
    assert (best == labels).mean() > 0.5


@pytest.mark.slow
def test_a_stored_encoder_gives_the_same_scores():
    frame, y, _ = made()
    mood = np.where(np.abs(y) > 0.7, "a very good day, ", "a rather bad day, ")
    frame["remark"] = [f"{text}{number}" for number, text in enumerate(mood)]
    y = y + 2 * (np.abs(y) > 0.7)
    encoder, _ = learned(frame, y)
    assert {
        kind
        for column_scores in encoder.scores_.columns.values()
        for kind, _, _ in column_scores
    } == {"levels", "words"}
    again = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))


def test_the_order_of_columns_and_a_constant_of_y_change_no_score():
    frame, y, _ = made()
    encoder, first = learned(frame, y)
    turned, second = learned(frame[["shop", "x"]], 5 * y + 1000)
    np.testing.assert_allclose(
        second[:, turned.kinds_.index("score")],
        first[:, encoder.kinds_.index("score")],
        rtol=1e-3,
        atol=1e-5,
    )


def test_words_are_weighted_as_by_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        "the red car",
        "the blue car is fast",
        "a red red train",
        "slow",
        "",
        "ein Zug — rot!",
    ]
    design = Words.fit([*texts, "x" * 400 + " y"], np.array([1, 1, 1, 1, 1, 1, 1]))
    twin = TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True
    )
    expected = pd.DataFrame(
        twin.fit([*texts, "x" * 400 + " y"]).transform(texts).toarray(),
        columns=twin.get_feature_names_out(),
    )
    entries, _ = design.parts["words"]
    word_weights = design.matrix(texts)[:, : len(entries)].toarray()
    np.testing.assert_allclose(word_weights, expected[entries].to_numpy(), rtol=1e-5)
    again = Words.from_dict(json.loads(json.dumps(design.to_dict())))
    np.testing.assert_array_equal(
        again.matrix(texts).toarray(), design.matrix(texts).toarray()
    )


def test_designs_say_when_there_is_nothing_to_read():
    assert Words.fit(["a1", "b2", "c3"], np.array([5, 5, 5])) is None
    assert Levels.fit(["a1", "b2"], np.array([1, 1])) is None
    assert Vectors.fit(np.ones((3, 4), np.float32), np.array([5, 5, 5])) is None
    assert list(designs) == ["levels", "words", "vectors"]


@pytest.mark.parametrize("width", [3, 300])
def test_vectors_are_standardised_and_their_scores_do_not_depend_on_other_rows(width):
    rng = np.random.default_rng(0)
    vectors = (5 + 40 * rng.normal(size=(400, width))).astype(np.float32)
    vectors[:, 1] = 7  # which does not vary
    vector_design = Vectors.fit(vectors, np.ones(400, dtype=np.int64))
    rows = vector_design.matrix(vectors).toarray()
    assert rows.shape == (400, min(width, 256))
    assert np.abs(rows.mean(axis=0)).max() < 1e-4
    assert (rows**2).sum(axis=1).mean() == pytest.approx(
        1, abs=0.02
    )  # the leading components have nearly all
    assert np.array_equal(vector_design.matrix(vectors[7:8]).toarray(), rows[7:8])
    again = Vectors.from_dict(json.loads(json.dumps(vector_design.to_dict())))
    assert np.array_equal(again.matrix(vectors).toarray(), rows)
    y = vectors[:, 0] + rng.normal(size=400)
    scores, crossed = Scores.fit(
        {"scan": (vectors, np.arange(400))},
        np.zeros((400, 0)),
        Target.of(y, "regression", 0),
    )
    assert np.corrcoef(crossed["scan"][:, 0], y)[0, 1] > (0.95 if width == 3 else 0.3)
    assert np.array_equal(
        scores.of("scan", vectors[9:10]), scores.of("scan", vectors)[9:10]
    )


def test_scores_in_one_unit_have_a_sum_of_deviation_one():
    frame, y, _ = made()
    frame["second"] = [
        "t" + shop[1:] for shop in frame["shop"].sample(frac=1, random_state=1)
    ]
    columns = {
        name: (sorted(set(frame[name])), pd.factorize(frame[name], sort=True)[0])
        for name in ("shop", "second")
    }
    scores, crossed = Scores.fit(
        columns, frame[["x"]].to_numpy(), Target.of(y, "regression", 0)
    )
    assert set(crossed) == {"shop"}  # the other was shuffled
    assert sum(crossed.values()).std() == pytest.approx(1, rel=1e-5)
    assert scores.of("shop", ["nothing"]).tolist() == [[0.0]]


def test_noise_beside_columns_that_tell_all_has_no_score():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=600),
            "shop": [f"s{k:02d}" for k in rng.integers(0, LEVELS, 600)],
        }
    )
    encoder, _ = learned(
        frame, np.where(frame["x"] > 0, "up", "down"), task="classification"
    )
    assert "score" not in encoder.kinds_


@pytest.mark.slow
def test_a_text_alone_keeps_its_score_also_where_it_does_not_clearly_help():
    rng = np.random.default_rng(0)
    words = np.array(
        ["red", "blue", "old", "new", "big", "fast", "slow", "cheap", "round", "small"]
    )
    texts = pd.DataFrame(
        {
            "note": [
                " ".join(rng.permutation(words)[:4]) + f" item {k}" for k in range(200)
            ]
        }
    )
    y = rng.normal(size=200)
    encoder_with_numbers, _ = learned(texts.assign(x=rng.normal(size=200)), y)
    assert encoder_with_numbers.scoreless_ == [
        "note"
    ]  # noise: beside another column it has no score
    alone, encoded = learned(texts, y)
    assert alone.scoreless_ == []
    assert encoded.shape == (200, 1)


@pytest.mark.slow
def test_scores_are_differences_from_the_mean_also_where_any_text_adds_much():
    rng = np.random.default_rng(45)
    words = np.array(["alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa"])
    texts = [" ".join(rng.permutation(words)[: rng.integers(3, 6)]) for _ in range(900)]
    has = np.array(["alpha" in text for text in texts])
    y = 2.0 * has + 0.3 * rng.normal(size=900)
    different, index = np.unique(texts, return_inverse=True)
    target = Target((y - y.mean()) / y.std(), 0, np.ones(900), seed=0)
    scores, crossed = Scores.fit(
        {"text": (different.tolist(), index)}, np.zeros((900, 0)), target
    )
    raw = np.sum(
        [
            design.matrix(texts) @ weights
            for _, design, weights in scores.columns["text"]
        ],
        axis=0,
    )
    assert abs(raw.mean()) > 3 * raw.std(), "without its mean a score says little"
    text_scores = scores.of("text", texts)[:, 0]
    assert abs(text_scores.mean()) < 1e-3
    folds = target.folds(30)
    means = [crossed["text"][folds == fold].mean() for fold in np.unique(folds)]
    assert np.std(means) < 0.3 * crossed["text"].std()
    assert (
        np.corrcoef(crossed["text"][:, 0], y)[0, 1]
        > np.corrcoef(text_scores, y)[0, 1] - 0.05
    )
    assert (scores.of("text", ["", "unknown"]) == 0).all()
    again = Scores.from_dict(scores.to_dict())
    np.testing.assert_array_equal(
        again.of("text", texts[:20]), scores.of("text", texts[:20])
    )
