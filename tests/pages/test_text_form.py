"""What a page holds of texts, so that words can be taken out: all that can be left of them, and no more than fits."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.data.encode.designs import MOST_PARTS, text_parts, without, words_in
from permgrad.pages import whatif
from permgrad.pages.whatif import text_forms

WORDS = np.array(
    [
        "Red",
        "red",
        "old",
        "ÉTÉ",
        "don't",
        "(cheap)",
        "中文字",
        "İstanbul",
        "ΟΔΟΣ",
        "co-op",
        "good,",
        "bad",
    ]
)


@pytest.fixture(name="fitted", scope="module")
def _fitted():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(WORDS)[:5]) + f"\t{row}!" for row in range(300)]
    table = pd.DataFrame({"note": texts, "x": rng.normal(size=300)})
    y = (
        2.0 * table["note"].str.contains("good")
        + table["note"].str.contains("中")
        + 0.3 * rng.normal(size=300)
    )
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(table, y)
    assert list(model.preprocessor_.scores_.columns) == ["note"]
    return model.preprocessor_, table


def unpacked(stored):
    planes = np.frombuffer(
        base64.b64decode(str(stored["base64"])), dtype=np.uint8
    ).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<f4").reshape(stored["shape"])


def test_a_text_is_words_and_what_is_between_them():
    text = "  One (two)-three\n" + "four " * 200
    parts = text_parts(text)
    assert "".join("".join(part) for part in parts) == text
    assert len(parts) == 2 * MOST_PARTS + 1
    assert [word for run in parts[1::2] for word in run[::2]] == [
        text[low:high] for low, high in words_in(text)
    ]
    assert text_parts("... !") == ["... !"]
    assert text_parts("a b") == ["", ["a"], " ", ["b"], ""]


def test_all_that_can_be_left_of_a_text_is_there_with_its_weights(fitted):
    encoder, table = fitted
    rng = np.random.default_rng(1)
    form = text_forms(encoder, table[["note"]].iloc[:20])["note"]
    ((_, design, weights),) = encoder.scores_.columns["note"]
    assert set(design.parts) == {"words", "pieces"} <= set(form)
    assert form["rows"] == list(range(20))
    known = {part: set(form[part]["entries"]) for part in design.parts}
    for part, (entries, rarity) in design.parts.items():
        place = {entry: at for at, entry in enumerate(entries)}
        at = [place[entry] for entry in form[part]["entries"]]
        start = 0 if part == "words" else len(design.parts["words"][0])
        wanted = np.column_stack([rarity[at], weights[start:][at]])
        np.testing.assert_allclose(unpacked(form[part]["numbers"]), wanted, rtol=1e-6)
    count = 0
    for text in table["note"][:20]:
        for _ in range(20):
            spans = [span for span in words_in(text) if rng.random() < 0.5]
            left = design.matrix([without(text, spans)]).indices
            words = len(design.parts["words"][0])
            names = [
                ("words" if at < words else "pieces", design.entries[at])
                for at in left.tolist()
            ]
            count += len(names)
            assert all(name in known[part] for part, name in names)
    assert count > 5000


def test_texts_without_room_missing_ones_and_those_the_page_cannot_read_are_left_out(
    fitted, monkeypatch
):
    encoder, table = fitted
    some = pd.DataFrame({"note": [None, "red " * 6000, *table["note"][:20]]})
    assert text_forms(encoder, some)["note"]["rows"] == list(
        range(2, 22)
    )  # more than is read of a text
    everything = sum(map(len, text_forms(encoder, some)["note"]["pieces"]["entries"]))
    monkeypatch.setattr(whatif, "MOST_SIGNS", 2 * everything)
    few = text_forms(encoder, some)["note"]
    assert 0 < len(few["rows"]) < 20
    assert len(few["pieces"]["entries"]) < everything
    monkeypatch.setitem(
        encoder.scores_.columns, "note", [("other", object(), np.zeros((1, 1)))]
    )
    assert text_forms(encoder, some) == {"note": None}
