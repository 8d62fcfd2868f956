"""The sentence on features that move with those that clearly matter."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.pages.conftest import global_explanation

from permgrad.evaluation.related import related
from permgrad.pages.sentences import related_words
from permgrad.runs.run.summary import _feature_lines


def pair(feature, other, strength, kind="correlation"):
    return {"feature": feature, "other": other, "strength": strength, "kind": kind}


def test_the_sentence_names_groups_and_only_those_of_features_that_are_named():
    pairs = [pair("a", "b", 0.9), pair("c", "d", 0.71), pair("c", "e", 0.6, "association"), pair("f", "g", 0.9)]
    said = related_words(pairs, ["c", "a"])
    assert said == (
        "c moves with d (correlation 0.71) and e (association 0.6), and a moves with b (correlation 0.9), so "
        "importance may be shared between them."
    )
    assert related_words(pairs, ["b"]) == ""
    assert related_words([pair("a", "b", 0.9), pair("b", "a", 0.9)], ["a", "b"]).count("moves") == 1
    many = [pair("a", f"x{number}", 0.9) for number in range(20)]
    assert related_words(many, ["a"]).startswith("a moves with x0 (correlation 0.9), ")
    assert "and 12 more, so importance" in related_words(many, ["a"])


def test_figures_hold_for_every_pair_that_a_sentence_names():
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(7, 800))
    chain = pd.DataFrame({f"c{at}": steps[at : at + 3].sum(axis=0) for at in range(1, 5)})  # neighbours are related
    for frame in (chain, chain.assign(copy=-chain["c2"] + 0.1 * steps[0])):
        truth, names = frame.corr("spearman"), list(frame)
        said = related_words(related(frame, names, names)[0], names)
        assert abs(truth.loc["c1", "c4"]) < 0.2
        assert said.count("moves with") > 1
        for words in said.removesuffix(", so importance may be shared between them.").split(", and "):
            center, _, others = words.partition(" moves with ")
            named = re.findall(r"(\w+) \(correlation (\S+)\)", others)
            assert named
            for other, strength in named:
                assert truth.loc[center, other] == pytest.approx(float(strength.replace("−", "-")), abs=0.05)


def test_the_terminal_says_it_of_features_that_clearly_matter():
    frame = global_explanation(names=("a", "b", "c")).to_frame()
    top = frame[frame["class"] == "all"]
    pairs = [pair("a", "z", 0.8), pair("c", "y", 0.8)]
    passing = _feature_lines(top.assign(p_adjusted=[0.01, 0.2, 0.3]), pairs)
    assert "  a moves with z (correlation 0.8), so importance may be shared between them." in passing
    assert not [line for line in _feature_lines(top.assign(p_adjusted=0.2), pairs) if "moves with" in line]
    several = _feature_lines(top.assign(p_adjusted=0.2, modality=["scan", "scan", "clinical"]), ())
    assert any("Holm's correction for 3 features within 2 modalities." in line for line in several)
    assert _feature_lines(top.assign(p_adjusted=[0.01, 0.2, 0.3]), pairs, groups=Path("groups.json"))[-1] == (
        "  To explain related columns as one feature, pass --groups groups.json."
    )
