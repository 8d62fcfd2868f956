"""Scores of hard tables: no crash, unseen cells have score 0, memory and outputs are
bounded, damage is refused.
"""

from __future__ import annotations

import base64
import copy

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad import InputError
from permgrad.data.encode import scores as module
from permgrad.data.encode.designs import Words
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.encode.scores import Scores, Target
from permgrad.data.types.identifiers import LONGEST_READ

CELLS = st.sampled_from(
    [
        "",
        " ",
        "a good film",
        "bad",
        "😀😀",
        "很好的产品",
        "\ufeff",
        "x" * 30_000,
        "a b c",
        "нет да",
        "0 0",
        "!!!",
    ]
)


def word(number: int) -> str:
    return "".join("bcdfghjklm"[int(digit)] for digit in f"{number:03d}")


def fitted(texts, y, task, *, weights=None, units=None, other_columns=None):
    different = sorted(set(texts))
    index = np.array([different.index(text) for text in texts])
    target = Target.of(np.asarray(y), task, 0, weights=weights, units=units)
    other_columns = (
        np.zeros((len(texts), 0)) if other_columns is None else other_columns
    )
    return Scores.fit({"t": (different, index)}, other_columns, target)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
@pytest.mark.slow
def test_no_small_table_crashes(data):
    rows = data.draw(st.integers(2, 24))
    texts = data.draw(st.lists(CELLS, min_size=rows, max_size=rows))
    classes = data.draw(st.sampled_from([0, 2, 3, 40]))
    y = data.draw(
        st.lists(st.integers(0, max(classes, 2) - 1), min_size=rows, max_size=rows)
    )
    weights = np.array(
        data.draw(
            st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=rows, max_size=rows)
        )
    )
    units = data.draw(
        st.none() | st.lists(st.integers(0, 3), min_size=rows, max_size=rows)
    )
    different = sorted(set(texts))
    index = np.array([different.index(text) for text in texts])
    if data.draw(st.booleans()):
        index[::3] = -1
    target = Target(
        np.array(y) if classes else np.array(y, float),
        classes,
        weights,
        0,
        None if units is None else np.array(units),
    )
    scores, crossed = Scores.fit({"t": (different, index)}, np.zeros((rows, 1)), target)
    assert set(crossed) == set(scores.columns)
    for crossed_scores in crossed.values():
        assert crossed_scores.shape == (rows, target.outputs)
        assert np.isfinite(crossed_scores).all()
        assert (crossed_scores[index < 0] == 0).all()
    for name in scores.columns:
        assert np.isfinite(scores.of(name, different)).all()
        assert (scores.of(name, ["zzz qqq", "ZZZ", "\u4e00"]) == 0).all()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_groups_that_hold_whole_classes_or_all_rows(task):
    texts = [f"{word} thing {i % 4}" for i, word in enumerate(["red", "blue"] * 30)]
    for units in (np.repeat([0, 1], 30), np.zeros(60, dtype=int)):
        _, crossed = fitted(texts, np.repeat([0, 1], 30), task, units=units)
        assert all(
            np.isfinite(crossed_scores).all() for crossed_scores in crossed.values()
        )
    # A class with one row, and rows without a weight, which are not learned from.
    y = np.array([2] + [0, 1] * 29 + [0])
    _, crossed = fitted(texts, y, task)
    assert all(np.isfinite(crossed_scores).all() for crossed_scores in crossed.values())
    assert fitted(texts, y, task, weights=np.zeros(60))[1] == {}


def test_a_constant_target_and_equal_texts_have_no_score():
    texts = ["some words here"] * 40
    assert fitted(texts, np.arange(40) % 2, "classification")[1] == {}
    assert (
        fitted(
            [f"some words {i % 7}" for i in range(40)], np.full(40, 3.0), "regression"
        )[1]
        == {}
    )


@pytest.mark.slow
def test_hundreds_of_classes_share_a_few_outputs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 40, 600)
    texts = [" ".join([*map(word, rng.integers(0, 300, 3)), f"is{word(k)}"]) for k in y]
    scores, crossed = fitted(texts, y, "classification")
    assert scores.outputs == 32
    assert crossed["t"].shape == (600, 32)
    # What is left of the text tells the classes: the nearest mean of another half's
    # scores.
    half = np.arange(600) < 300
    means = np.stack([crossed["t"][half & (y == k)].mean(axis=0) for k in range(40)])
    nearest = ((crossed["t"][~half, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == y[~half]).mean() > 0.9


def test_of_very_many_rows_a_random_part_is_learned_from(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    texts = [
        " ".join(["good" if k else "bad", *map(word, rng.integers(0, 50, 5))])
        for k in y
    ]
    most = []
    drawn = module._Model._drawn
    monkeypatch.setattr(
        module._Model,
        "_drawn",
        lambda self, rows, n: most.append(drawn(self, rows, n)) or most[-1],
    )
    monkeypatch.setattr(module, "_MOST_FITTED", 20_000)
    solve = module._Model._solve
    monkeypatch.setattr(
        module._Model,
        "_solve",
        lambda self, s, rows, **how: solve(self, s, rows, **{"most": 20_000} | how),
    )
    _, crossed = fitted(texts, y, "classification")
    assert len(most[-1]) < 1500
    assert (np.diff(most[-1]) > 0).all()
    assert (
        (crossed["t"][:, 0] > 0) == y
    ).mean() > 0.97  # also of the rows that no model was fitted on


def test_of_a_long_cell_the_beginning_is_read():
    texts = ["good film", "bad film"] * 40
    scores, _ = fitted(texts, np.arange(80) % 2, "classification")
    long = "bad film" + " and on" * LONGEST_READ
    assert scores.of("t", [long + " good good"]) == pytest.approx(
        scores.of("t", [long])
    )
    assert scores.of("t", ["x " * LONGEST_READ + "good"])[0, 0] == 0


@pytest.mark.slow
def test_words_of_scripts_without_spaces_and_of_pictures():
    for good, bad in (
        ("这个产品很好我喜欢", "这个产品太差不要买"),
        ("😀 😀 🎉", "😡 💩 😡"),
        ("अच्छा उत्पाद", "बुरा उत्पाद"),
    ):
        texts = [good if i % 2 else bad for i in range(60)]
        different = [bad, good]
        design = Words.fit(different, np.array([30, 30]))
        assert design is not None
        rows = design.matrix([good, bad]).toarray()
        assert not np.allclose(rows[0], rows[1])
        _, crossed = fitted(texts, np.arange(60) % 2, "classification")
        assert ((crossed["t"][:, 0] > 0) == np.arange(60) % 2).all()
    # A sign of a script without spaces is a word, whatever stands beside it.
    assert {"产", "好"} <= set(
        Words.fit(["这个产品很好", "产品好得很啊"], np.array([1, 1])).parts["words"][0]
    )


def test_names_that_share_no_words_are_read_as_levels_alone():
    users = [f"user {number}" for number in range(60)]
    assert Words.fit(users, np.full(60, 3)) is None
    branches = [
        f"{name} {number}"
        for number, name in enumerate(["north road", "old market", "the quay"] * 20)
    ]
    assert "quay" in Words.fit(branches, np.full(60, 3)).parts["words"][0]
    assert Words.fit(users[:20], np.full(20, 3)) is not None  # too few to tell


@pytest.fixture(scope="module")
def stored():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    frame = pd.DataFrame(
        {
            "t": [
                " ".join(["good" if k else "bad", *map(word, rng.integers(0, 99, 6))])
                for k in y
            ]
        }
    )
    encoder = TableEncoder().fit(frame)
    encoder.learn(frame, Target.of(y, "classification", 0))
    content = encoder.to_dict()
    assert TableEncoder.from_dict(copy.deepcopy(content)).transform(
        frame
    ) == pytest.approx(encoder.transform(frame))
    return content


def damage(content, what):
    column_score = content["scores"]["columns"]["t"][0]
    words = column_score["design"]["words"]
    weights = base64.b64decode(column_score["weights"])
    changed = {
        "no base64": (column_score, "weights", "§§"),
        "cut": (column_score, "weights", column_score["weights"][:-8]),
        "NaN": (
            column_score,
            "weights",
            base64.b64encode(b"\xff\xff\xff\xff" + weights[4:]).decode(),
        ),
        "number for text": (column_score, "weights", 7),
        "kind": (column_score, "kind", "pickle"),
        "no kind": (column_score, "kind", None),
        "design": (column_score, "design", []),
        "part of a design": (column_score, "design", {"letters": words}),
        "entries": (words, "entries", words["entries"][1:]),
        "entries of numbers": (words, "entries", list(range(len(words["entries"])))),
        "equal entries": (
            words,
            "entries",
            words["entries"][:1] * len(words["entries"]),
        ),
        "rarity": (words, "rarity", words["rarity"][1:]),
        "rarity of texts": (words, "rarity", ["x"] * len(words["rarity"])),
        "infinite rarity": (words, "rarity", [float("inf")] * len(words["rarity"])),
        "outputs": (content["scores"], "outputs", 2),
        "minus": (content["scores"], "outputs", -1),
        "words as outputs": (content["scores"], "outputs", "one"),
        "columns": (content["scores"], "columns", {}),
        "another column": (content["scores"], "columns", {"u": [column_score]}),
        "list of columns": (content["scores"], "columns", [column_score]),
        "parts": (content["scores"]["columns"], "t", column_score),
        "scores": (content, "scores", []),
    }
    holder, key, value = changed[what]
    holder[key] = value
    return content


DAMAGES = (
    "no base64|cut|NaN|number for text|kind|no kind|design|part of a "
    "design|entries|entries of numbers|equal entries|"
)
DAMAGES += (
    "rarity|rarity of texts|infinite rarity|outputs|minus|words as "
    "outputs|columns|another column|list of columns|"
)
DAMAGES += "parts|scores"


@pytest.mark.parametrize("what", DAMAGES.split("|"))
def test_damaged_scores_are_refused(stored, what):
    with pytest.raises(
        InputError, match="Part of a stored encoder is missing or damaged"
    ) as caught:
        TableEncoder.from_dict(damage(copy.deepcopy(stored), what))
    assert caught.value.code == "PG052"
