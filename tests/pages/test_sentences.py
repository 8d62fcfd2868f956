"""What the page and the terminal say alike."""

from __future__ import annotations

from permgrad.assess.assessment import Assessment
from permgrad.assess.sections.network import NetworkSection
from permgrad.pages.headline import headline
from permgrad.pages.sentences import (
    against_baselines,
    entries_of,
    is_hybrid,
    known_classes,
    map_words,
    path_shares,
    path_words,
)
from permgrad.pages.tabs.details import branches
from permgrad.pages.verdict import verdict
from permgrad.pages.views import SectionView

TOTAL = {"importance": 0.4, "interaction_low": 0.04, "interaction_high": 0.08}


def test_the_best_baseline_is_named_with_its_difference():
    ahead = {"metric": "rmse", "difference": -0.4, "ci_low": -0.6, "ci_high": -0.2, "p_holm": 0.001}
    models = {"linear": {"rmse": 2.0, "ahead": ahead}}
    assert against_baselines("regression", {"test": {"rmse": 2.4}, "baselines": models}) == (
        "The best baseline, logistic, ridge or Poisson regression, does better: RMSE 2.00 against 2.40 "
        "(difference 0.400, 95 % interval 0.200 to 0.600)."
    )
    better = {name: {"rmse": 3.0 + at, "ahead": {**ahead, "difference": 0.6}} for at, name in enumerate("ab")}
    words = against_baselines("regression", {"test": {"rmse": 2.4}, "baselines": better})
    assert words.startswith("The model does better than the best baseline, a: ")
    assert words.endswith("The model is significantly better than b.")


def sentences(test) -> dict[str, str]:
    """The sentences of a verdict by their kind."""
    content = Assessment(title="t", target="educ", task="classification", metrics={"test": test})
    return {one["facts"]["kind"]: one["sentence"] for one in verdict(content)}


def test_classes_that_no_training_row_has():
    assert sentences({"unseen": {"18": 1}})["unseen"] == (
        "1 test row has a class of educ that no training row has (18): it counts as wrong, and the log loss leaves it "
        "out."
    )
    assert "unseen" not in sentences({}) | sentences(None)
    assert known_classes({"labels": ["a", "b", "c"], "unseen": {"c": 1}}) == 2
    assert known_classes({"rmse": 1.0}) == 0


def test_paths():
    stored = {"image": {"importance": 0.1}, "interaction": {"importance": 0.0}, "paper": {}}
    assert list(entries_of(stored)) == ["image"]
    assert is_hybrid({"tabular": {}, "image": {}})
    assert not is_hybrid({"scan": {}, "table": {}})
    assert path_shares({"tabular": {"share": 0.7}, "image": {"share": 0.3}}) == {"tabular": 0.7, "image": 0.3}
    assert path_shares({"tabular": {"share": 1.05}, "image": {"share": -0.05}}) == {}
    outside = {
        "tabular": {"importance": 0.42, "ci_low": 0.4, "ci_high": 0.44, "share": 1.05},
        "image": {"importance": -0.02, "ci_low": -0.03, "ci_high": 0.01, "share": -0.05},
    }
    assert path_words(outside) == (
        "The tabular path carries it (0.42, interval 0.4 to 0.44). The image path is within noise (−0.02, interval "
        "−0.03 to 0.01)."
    )
    assert map_words({"tabular": {"share": 0.6}, "image": {"share": 0.4}}) == ""
    assert "has 3 % of" in map_words({"tabular": {"share": 0.97}, "image": {"share": 0.03}})


def test_the_interaction_of_paths():
    def said(**stored) -> str:
        entry = {"importance": 0.2, "ci_low": 0.1, "ci_high": 0.3, "share": 0.5}
        section = SectionView("branches", "Path by path")
        stored |= dict.fromkeys(("tabular", "image"), entry)
        branches(section, Assessment(title="t", target="y", task="regression", branches=stored), is_shown=True)
        texts = [text for kind, text in section.blocks if kind == "text"]
        assert texts[0].startswith("Here a complete path is shuffled")
        return "".join(texts[1:])

    assert said(interaction=0.06, total=TOTAL) == (
        "Interaction of the paths: 0.06 (interval 0.04 to 0.08), 15 % of the total: they need each other. The bars "
        "include it in equal parts."
    )
    assert said(interaction=0.06, total={**TOTAL, "importance": 2.0}) == ""
    assert said(interaction=0.06) == ""


def test_kinds_of_networks():
    kinds = (("tabular", "image"), ("image",), ())
    content = Assessment(title="t", target="y", task="regression")
    said = []
    for paths in kinds:
        content.network = NetworkSection(branches=paths)
        said.append(headline(content).removesuffix(" predicts y."))
    assert said == [
        "A hybrid network (table and image)",
        "A network of the image of each row alone",
        "A network",
    ]
    content.network = NetworkSection(branches=("tabular", "image"))
    for share, words in ((0.01, "A network of the table"), (0.3, "A hybrid network (table and image)")):
        content.branches = {
            "tabular": {"importance": 1.0, "share": 1 - share},
            "image": {"importance": 1.0, "share": share},
        }
        assert headline(content) == f"{words} predicts y."
    for names, words in ((("table", "photo"), "a table and images"), (("text", "table"), "texts and a table")):
        content.branches = {name: {"importance": 1.0, "share": 0.5} for name in names}
        assert headline(content) == f"A network of {words} predicts y."
