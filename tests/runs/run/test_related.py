"""The sentence on features that move with those that clearly matter."""

from pathlib import Path

from tests.pages.conftest import global_explanation

from permgrad.pages.sentences import related_words
from permgrad.runs.run.summary import _feature_lines


def pair(feature, other, strength, kind="correlation"):
    return {"feature": feature, "other": other, "strength": strength, "kind": kind}


def test_the_sentence_names_groups_and_only_those_of_features_that_are_named():
    pairs = [pair("a", "b", 0.9), pair("c", "d", 0.71), pair("c", "e", 0.6, "association"), pair("f", "g", 0.9)]
    said = related_words(pairs, ["c", "a"])
    assert said == (
        "a moves with b (correlation 0.9), and c, d and e move together (association 0.6 to 0.71), so importance may "
        "be shared between them."
    )
    assert related_words(pairs, ["b"]) == ""
    assert related_words([pair("a", "b", 0.9), pair("b", "a", 0.9)], ["a", "b"]).count("moves") == 1
    many = [pair("a", f"x{number}", 0.9) for number in range(20)]
    assert "and 13 more move together (correlation 0.9)" in related_words(many, ["a"])


def test_the_terminal_says_it_of_features_that_clearly_matter():
    frame = global_explanation(names=("a", "b", "c")).to_frame()
    top = frame[frame["class"] == "all"]
    pairs = [pair("a", "z", 0.8), pair("c", "y", 0.8)]
    passing = _feature_lines(top.assign(p_adjusted=[0.01, 0.2, 0.3]), pairs)
    assert "  a moves with z (correlation 0.8), so importance may be shared between them." in passing
    assert not [line for line in _feature_lines(top.assign(p_adjusted=0.2), pairs) if "moves with" in line]
    assert _feature_lines(top.assign(p_adjusted=[0.01, 0.2, 0.3]), pairs, groups=Path("groups.json"))[-1] == (
        "  To explain related columns as one feature, pass --groups groups.json."
    )
