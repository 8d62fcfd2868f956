"""The sentence on features that move with those that clearly matter."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.pages.conftest import global_explanation

from permgrad.evaluation.related import related
from permgrad.pages.findings import say
from permgrad.runs.run.run_summary import _feature_lines


def test_figures_hold_for_every_pair_that_a_sentence_names():
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(7, 800))
    chain = pd.DataFrame(
        {
            f"c{first_step}": steps[first_step : first_step + 3].sum(axis=0)
            for first_step in range(1, 5)
        }
    )  # neighbours are related
    for frame in (chain, chain.assign(copy=-chain["c2"] + 0.1 * steps[0])):
        truth = frame.corr("spearman")
        names = list(frame)
        related_text = say("related", {"pairs": related(frame, names, names)[0]})
        assert abs(truth.loc["c1", "c4"]) < 0.2
        assert related_text.count("moves with") > 1
        *sentences, last = related_text.removesuffix(".").split(". ")
        assert last == "Importance may be shared between them"
        for words in sentences:
            if match := re.fullmatch(
                r"(\w+) and (\w+) move with each other and \d more \(correlation up to "
                r"(\S+)\)",
                words,
            ):
                assert "copy" in frame
                assert set(match.groups()[:2]) == {"c2", "copy"}
                assert abs(truth.loc[match[1], match[2]]) == pytest.approx(
                    float(match[3]), abs=0.05
                )
                continue
            center, _, other_columns = words.partition(" moves with ")
            named = re.findall(r"(\w+) \(correlation (\S+)\)", other_columns)
            assert named
            for other_column, strength in named:
                assert truth.loc[center, other_column] == pytest.approx(
                    float(strength.replace("−", "-")), abs=0.05
                )


def test_the_terminal_says_it_below_the_features():
    frame = global_explanation(names=("a", "b", "c")).to_frame()
    top = frame[frame["class"] == "all"]
    lines = _feature_lines(top, related="a moves with z.", groups=Path("groups.json"))
    assert lines[-2:] == [
        "  a moves with z.",
        "  To explain related columns as one feature, pass --groups groups.json.",
    ]
    assert "groups.json" not in "".join(_feature_lines(top, related="a moves with z."))
