"""How names, numbers and values are written."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from permgrad import Explanation
from permgrad.assess.assessment import Assessment
from permgrad.attribution.explanation.pairs import RankedPairs
from permgrad.pages import words
from permgrad.pages.content import PageContent
from permgrad.pages.facts.feature_facts import features
from permgrad.pages.findings import say as said_of
from permgrad.pages.moved import drifted_words
from permgrad.pages.tabs.together import leading_words
from permgrad.pages.words import order_words


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.clean("a\nb"), "a b"),
        (words.clean("\t"), "(blank)"),
        (words.shorten("MSinceMostRecentDelq", 26), "MSinceMostRecentDelq"),
        (
            words.shorten("NumTrades60Ever2DerogPubRecOfTheLastYear", 20),
            "NumTrades60…LastYear",
        ),
        (
            words.labels_of(["x" * 40 + "1" + "x" * 40, "x" * 40 + "2" + "x" * 40], 10),
            ["xxxx…xx1x…", "xxxx…xx2x…"],
        ),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b"]), "a and b"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.listed(["a", "b", "c", "d"], 2), "a, b and 2 more"),
        (words.listed([]), ""),
        (words.valued(["a", "b\n"], [0.1, -2.0]), "a 0.100, b −2.00"),
        (words.plain_text([128, 64]), "128, 64"),
        (words.plain_text({"rate": 0.1, "of": {}}), "rate: 0.1, of: –"),
        (words.plain_text(None), "–"),
        (words.plain_text(math.nan), "–"),
        (words.plain_text(True), "yes"),
    ],
)
def test_writing(written, expected):
    assert written == expected


def test_cells_of_the_users_table():
    assert [words.value_text(value) for value in (100.0, 0.123456, None, -7, True)] == [
        "100",
        "0.1235",
        "missing",
        "−7",
        "True",
    ]
    assert words.value_text("within 30 days of it", 12) == "within …f it"


def test_times():
    times = (0.04, 12.34, 184, 7265, None)
    assert [words.duration(seconds) for seconds in times] == [
        "0.04 s",
        "12 s",
        "3 min 4 s",
        "2 h 1 min",
        "–",
    ]


LONG = [
    f"average_monthly_spending_of_household_in_{season}_2023_on_food_and_drinks"
    for season in ("summer", "winter")
]


@pytest.mark.parametrize("say", ["headline", "ranks", "row"])
def test_long_names_differ_in_sentences(say):
    assert len({words.shorten(name, 40) for name in LONG}) == 1, (
        "cut alone they look alike"
    )
    values = np.array([[3.0], [2.0], [0.01]])
    facts = {
        "std_error": values * 0 + 0.1,
        "p_values": np.array([[1e-5], [1e-4], [0.9]]),
    }
    explanation = Explanation(
        values,
        (*LONG, "age"),
        ("table",) * 3,
        ("all",),
        "permutation",
        "global",
        **facts,
    )
    if say == "headline":
        content = Assessment(
            title="t", target="y", task="regression", explanation=explanation
        )
        sentence = said_of("features", features(PageContent.of(content)))
    elif say == "ranks":
        placed = {"sets": np.array([1, 1, 2]), "low": np.array([1, 1, 3])}
        sentence = order_words(SimpleNamespace(names=explanation.names, **placed), 5)
    else:
        local = Explanation(values[None, :, :] , explanation.names, ("table",) * 3, ("all",), "shapley", "local",
                            meta={"quantity": "output minus the base"})  # fmt: skip
        sentence = local.summary()
    assert "…" in sentence
    assert "summ" in sentence
    assert "wint" in sentence


def pairs():
    numbers = np.array([2.0, 1.0])
    return RankedPairs(
        (tuple(LONG), (LONG[0], "age")),
        numbers,
        numbers,
        numbers,
        numbers / 1e5,
        numbers > 0,
    )


DRIFTED = {
    "clear": True,
    "sampled": False,
    "train": 0.2,
    "test": 0.5,
    "side": "among",
    "kind": "levels",
}
RELATED = {"feature": "age", "kind": "correlation", "strength": 0.9}


@pytest.mark.parametrize(
    "say",
    [
        lambda: leading_words(pairs(), "loss"),
        lambda: drifted_words({**DRIFTED, "column": "season", "levels": LONG}),
        lambda: said_of(
            "related", {"pairs": [{**RELATED, "other": name} for name in LONG]}
        ),
    ],
)
def test_names_said_together_stay_different(say):
    sentence = say()
    assert "…" in sentence
    assert "summ" in sentence
    assert "wint" in sentence


def test_four_levels_are_all_named():
    assert drifted_words({**DRIFTED, "levels": ["1", "6", "5", "4"]}).endswith(
        "are 1, 6, 5 or 4"
    )
    assert drifted_words({**DRIFTED, "levels": list("abcde")}).endswith(
        "are a, b, c or one of 2 others"
    )
