"""What the page and the terminal say alike."""

from __future__ import annotations

from permgrad.assess.assessment import Assessment
from permgrad.pages.sentences import (
    entries_of,
    is_hybrid,
    known_classes,
    map_words,
    path_shares,
)
from permgrad.pages.tabs.details import branches
from permgrad.pages.views import SectionView

TOTAL = {"importance": 0.4, "interaction_low": 0.04, "interaction_high": 0.08}


def test_known_classes():
    assert known_classes({"labels": ["a", "b", "c"], "unseen": {"c": 1}}) == 2
    assert known_classes({"rmse": 1.0}) == 0


def test_paths():
    stored = {
        "image": {"importance": 0.1},
        "interaction": {"importance": 0.0},
        "paper": {},
    }
    assert list(entries_of(stored)) == ["image"]
    assert is_hybrid({"tabular": {}, "image": {}})
    assert not is_hybrid({"scan": {}, "table": {}})
    assert path_shares({"tabular": {"share": 0.7}, "image": {"share": 0.3}}) == {
        "tabular": 0.7,
        "image": 0.3,
    }
    assert path_shares({"tabular": {"share": 1.05}, "image": {"share": -0.05}}) == {}
    assert map_words({"tabular": {"share": 0.6}, "image": {"share": 0.4}}) == ""
    assert "has 3 % of" in map_words(
        {"tabular": {"share": 0.97}, "image": {"share": 0.03}}
    )


def test_the_interaction_of_paths():
    def said(**stored) -> str:
        entry = {"importance": 0.2, "ci_low": 0.1, "ci_high": 0.3, "share": 0.5}
        section = SectionView("branches", "Branch by branch")
        stored |= dict.fromkeys(("tabular", "image"), entry)
        branches(
            section,
            Assessment(title="t", target="y", task="regression", branches=stored),
            is_shown=True,
        )
        texts = [text for kind, text in section.blocks if kind == "text"]
        assert texts[0].startswith("Here a complete branch is shuffled")
        return "".join(texts[1:])

    assert said(interaction=0.06, total=TOTAL) == (
        "Interaction of the branches: 0.06 (interval 0.04 to 0.08), 15\N{NO-BREAK SPACE}% of the total: "
        "they need each other. The bars include it in equal parts."
    )
    assert said(interaction=0.06, total={**TOTAL, "importance": 2.0}) == ""
    assert said(interaction=0.06) == ""
