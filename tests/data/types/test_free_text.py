"""Which columns are free text: several words in most cells, rarely repeated, in any
script and any type of column.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from permgrad.data.read.cells import Distinct
from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.identifiers import LONGEST_READ, has_words

WORDS = [
    "good",
    "bad",
    "fine",
    "house",
    "river",
    "cat",
    "dog",
    "run",
    "walk",
    "light",
    "heavy",
    "small",
    "big",
    "red",
    "blue",
]
RUSSIAN = [
    "хороший",
    "плохой",
    "товар",
    "быстро",
    "доставка",
    "дёшево",
    "очень",
    "рекомендую",
]
ARABIC = ["جيد", "سيئ", "ممتاز", "المنتج", "سريع", "رخيص", "أحب", "هذا"]
HINDI = ["अच्छा", "बुरा", "उत्पाद", "तेज़", "सस्ता", "बहुत", "पसंद", "नहीं"]


def cells(make, rows: int = 200) -> pd.Series:
    rng = np.random.default_rng(0)
    return pd.Series([make(i, rng) for i in range(rows)], dtype=object)


def joined(words, between: str = " ", count: int = 6):
    return lambda i, rng: between.join(rng.choice(words, count))


TEXTS = {
    "sentences": joined(WORDS),
    "russian": joined(RUSSIAN),
    "arabic": joined(ARABIC),
    "hindi": joined(HINDI),
    "chinese": joined(list("很好不错产品质量差买家电脑快速送货包装"), "", 12),
    "japanese": joined(list("とても良い商品です買ってよかったまた来ます"), "", 12),
    "thai": joined(list("สินค้าดีมากส่งเร็วราคาถูกแนะนำเลย"), "", 12),
    "pictures": joined(["😀", "😡", "🎉", "💩", "❤"], " "),
    "names": lambda i, rng: (
        f"{rng.choice(['Anna', 'Bob', 'Eve'])} "
        f"{''.join(rng.choice(list('abcdefgh'), 7))}"
    ),
    "addresses": lambda i, rng: f"{i} {rng.choice(WORDS)} Street",
    "json": lambda i, rng: f'{{"name": "{rng.choice(WORDS)}", "rank": {i}}}',
    "amounts in words": lambda i, rng: (
        f"{rng.choice(['twelve', 'nine', 'sixty', 'one'])} euros and {i} cents"
    ),
    # Half the rows say the same.
    "stock phrase": lambda i, rng: (
        "NO DAMAGE" if i % 2 else " ".join(rng.choice(WORDS, 8))
    ),
}
CODES = {
    "codes": lambda i, rng: f"AB-{i} {i % 100:02d}",
    "long codes": lambda i, rng: f"ABC-{i} DEF-{i % 100:02d}",
    "plates": lambda i, rng: f"HH {''.join(rng.choice(list('ABCDEF'), 2))} {i}",
    "postcodes": lambda i, rng: f"SW{i} {i % 9}AB",
    "numbered": lambda i, rng: f"Sample {i}",
    "mails": lambda i, rng: f"user{i}@mail.org",
    "addresses of pages": lambda i, rng: f"https://a.org/{i}/index",
    "files": lambda i, rng: f"img_{i:04d}.png",
    "hexadecimal": lambda i, rng: " ".join(
        f"{rng.integers(4096, 65536):04x}" for _ in range(4)
    ),
    "telephones": lambda i, rng: f"+49 40 {100_000 + i}",
}


def kind_of(series: pd.Series) -> str:
    return infer_schema(pd.DataFrame({"cell": series}))["cell"].kind


@pytest.mark.parametrize("name", TEXTS)
def test_text_in_any_script_and_type_of_column(name):
    series = cells(TEXTS[name])
    types = [
        "object",
        "string",
        "category",
        "string[pyarrow]",
        pd.ArrowDtype(pa.string()),
    ]
    assert {kind_of(series.astype(dtype)) for dtype in types} == {"text"}


@pytest.mark.parametrize("name", CODES)
def test_codes_name_rows(name):
    series = cells(CODES[name])
    assert {
        kind_of(series.astype(dtype))
        for dtype in ("object", "string", "string[pyarrow]")
    } == {"identifier"}
    assert (
        kind_of(series.astype("category")) == "categorical"
    )  # whoever chose that type has decided


def test_words_that_repeat_are_categories():
    jobs = cells(
        lambda i, rng: (
            f"{rng.choice(['senior', 'junior'])} "
            f"{rng.choice(['clerk', 'nurse', 'driver'])}"
        )
    )
    assert kind_of(jobs) == "categorical"
    assert kind_of(cells(lambda i, rng: str(rng.choice(WORDS)))) == "categorical"
    # A few remarks say little of what the column is, as does one text.
    assert (
        kind_of(cells(lambda i, rng: " ".join(rng.choice(WORDS, 8)) if i < 5 else None))
        == "categorical"
    )
    assert kind_of(cells(lambda i, rng: "the same text in each row")) == "constant"
    # 40 publishers, of which two have most rows, are 40 publishers.
    publishers = [f"{WORDS[i % 15]} {WORDS[i // 3]} press" for i in range(40)]
    skewed = cells(
        lambda i, rng: publishers[
            int(rng.integers(0, 2) if i % 3 else rng.integers(0, 40))
        ]
    )
    assert kind_of(skewed) == "categorical"


def test_numbers_and_dates_in_words_or_several_ways_stay_what_they_were():
    for make in (
        lambda i, rng: f"{i % 28 + 1} January {1950 + i % 50}",
        lambda i, rng: f"{i} min",
        lambda i, rng: f"{i},5 EUR" if i % 3 else f"${i}.5",
    ):
        assert kind_of(cells(make)) != "text"


def test_long_cells_are_read_in_part_and_in_time():
    texts = [f"{WORDS[i % 15]} {WORDS[i % 7]} {i}" for i in range(40)]
    texts[3] = "word " * 2_000_000
    column = infer_schema(pd.DataFrame({"cell": texts}))["cell"]
    assert column.kind == "text"
    assert column.reason.endswith(f"the first {LONGEST_READ:,} signs of each are read")
    assert has_words("x" * 100 + " word")
    assert not has_words("x" * 1000 + " word")


def test_a_cell_of_several_words():
    assert all(map(has_words, ("peut-être vrai", "Jean-Pierre M", "매우 좋다")))
    assert not any(map(has_words, ("", " ", "word", "12 34", "AB 12", "!!! ???", "😀")))
    assert Distinct.of(pd.Series(["a b", " ", None]), "x").texts == ["a b"]
