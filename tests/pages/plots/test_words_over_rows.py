"""Bars of words over all rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import permgrad as pg


def local_of(words, values):
    names = tuple(f"ids[{place}]" for place in range(words.shape[1]))
    return pg.Explanation(
        values[..., None],
        names,
        ("ids",) * len(names),
        ("y",),
        "shapley",
        "local",
        additive=True,
        feature_values=pd.DataFrame(words, columns=list(names)),
        meta={"tokens": {"input": "ids"}},
    )


def test_bars_are_those_of_the_frame():
    draw = np.random.default_rng(0)
    words = draw.choice(list("abcdefghijklmnopqrst"), (300, 4)).astype(object)
    values = draw.normal(0, 0.2, (300, 4)) - 2 * (words == "k") + 1 * (words == "c")
    local = local_of(words, values)
    frame = local.by_word()
    assert frame["word"].tolist()[:2] == ["k", "c"]
    figure = local.plot.words(top_n=6)
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == frame["effect"].tolist()[:6]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == frame["word"].tolist()[:6]
    notes = [text.get_text() for text in axes.texts]
    assert notes == [f"{n} rows" for n in frame["rows"][:6]] + ["14 more not shown"]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert len(set(colours)) == 3, "down, up, and grey where an effect is not clear"
    assert "Largest: k" in figure.description


def test_too_few_rows_are_refused():
    words = np.array([["a", "b"]] * 9, dtype=object)
    with pytest.raises(pg.InputError, match="needs a word that stands in 10 rows"):
        local_of(words, np.zeros((9, 2))).plot.words()
