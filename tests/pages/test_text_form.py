"""What a page holds of texts, so that words can be taken out: all that can be left of
them, and no more than fits.
"""

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
    text_pieces = text_parts(text)
    assert "".join("".join(piece_run) for piece_run in text_pieces) == text
    assert len(text_pieces) == 2 * MOST_PARTS + 1
    assert [word for run in text_pieces[1::2] for word in run[::2]] == [
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
    known_entries = {
        part_name: set(form[part_name]["entries"]) for part_name in design.parts
    }
    for design_part, (entries, rarity) in design.parts.items():
        entry_positions = {
            entry: entry_index for entry_index, entry in enumerate(entries)
        }
        form_positions = [
            entry_positions[entry] for entry in form[design_part]["entries"]
        ]
        start = 0 if design_part == "words" else len(design.parts["words"][0])
        expected_numbers = np.column_stack(
            [rarity[form_positions], weights[start:][form_positions]]
        )
        np.testing.assert_allclose(
            unpacked(form[design_part]["numbers"]), expected_numbers, rtol=1e-6
        )
    count = 0
    for text in table["note"][:20]:
        for _ in range(20):
            spans = [span for span in words_in(text) if rng.random() < 0.5]
            left = design.matrix([without(text, spans)]).indices
            words = len(design.parts["words"][0])
            names = [
                (
                    "words" if entry_index < words else "pieces",
                    design.entries[entry_index],
                )
                for entry_index in left.tolist()
            ]
            count += len(names)
            assert all(name in known_entries[part_name] for part_name, name in names)
    assert count > 5000


def test_texts_without_room_missing_ones_and_those_the_page_cannot_read_are_left_out(
    fitted, monkeypatch
):
    encoder, table = fitted
    text_table = pd.DataFrame({"note": [None, "red " * 6000, *table["note"][:20]]})
    assert text_forms(encoder, text_table)["note"]["rows"] == list(
        range(2, 22)
    )  # more than is read of a text
    everything = sum(
        map(len, text_forms(encoder, text_table)["note"]["pieces"]["entries"])
    )
    monkeypatch.setattr(whatif, "MOST_SIGNS", 2 * everything)
    few = text_forms(encoder, text_table)["note"]
    assert 0 < len(few["rows"]) < 20
    assert len(few["pieces"]["entries"]) < everything
    monkeypatch.setitem(
        encoder.scores_.columns, "note", [("other", object(), np.zeros((1, 1)))]
    )
    assert text_forms(encoder, text_table) == {"note": None}
