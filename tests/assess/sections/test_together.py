"""Pairs of a run: which are measured, that the page is built again from the folder, and
what is left out.
"""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.runs.test_commands import call

import permgrad as pg
from permgrad.assess.assessment import PLACES
from permgrad.assess.budget import PREDICTION, Budget, Clock
from permgrad.assess.sections import together
from permgrad.assess.store import Store
from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.orders import OTHERS
from permgrad.attribution.explanation.pairs import pairs_of
from permgrad.attribution.scopes import FEATURE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run on a product of two features."""
    base_folder = tmp_path_factory.mktemp("together")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(700, 5)), columns=list("abcde"))
    table["y"] = 2 * table["a"] * table["b"] + table["c"] + 0.1 * rng.normal(size=700)
    table.to_csv(base_folder / "table.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "FEATURES", 3)
        call(
            "run",
            base_folder / "table.csv",
            "--target",
            "y",
            "--preset",
            "fast",
            "--out",
            base_folder / "run",
        )
    return base_folder / "run"


def test_the_most_important_features_and_all_others_are_measured_and_read_again(folder):
    pairs = pg.Explanation.load(folder / "explanations" / "interactions")
    assert len(of_order(pairs, 1).names) == 4
    assert OTHERS in pairs.names
    assert set(pairs_of(pairs).names[0]) == {"a", "b"}
    stored = Store(folder).get(*PLACES["together"])
    assert set(stored.effects[0]["pair"]) == {"a", "b"}
    assert OTHERS not in {name for effect in stored.effects for name in effect["pair"]}
    page = (folder / "report.html").read_text(encoding="utf-8").split("What was run")[0]
    assert "Which features work together" in page
    assert (
        "All 6 pairs of the 3 most important features, and of all others as one, were "
        "looked at." in page
    )
    call("report", folder)
    assert (folder / "report.html").read_text(encoding="utf-8").split("What was run")[
        0
    ] == page


def test_groups_stay_whole():
    main = SimpleNamespace(names=("a", "b", "c", "g"), groups={"g": ["x", "y"]})
    assert together.options_of(["a", "b"], main)["groups"] == {OTHERS: ["c", "x", "y"]}
    assert together.options_of(["a", "g"], main)["groups"] == {
        "g": ["x", "y"],
        OTHERS: ["b", "c"],
    }
    assert together.options_of(["a", "b", "c"], main)["groups"] == {"g": ["x", "y"]}, (
        "a single one is itself"
    )
    assert "groups" not in together.options_of(
        ["a", "b"], SimpleNamespace(names=("a", "b", "c"), groups=None)
    )


@pytest.mark.parametrize(("features", "sets"), [(2, 6), (3, 10)])
def test_every_set_of_one_or_two_takes_time_and_all_others_are_one(
    monkeypatch, features, sets
):
    names = ("a", "b", "c", "g")
    main = SimpleNamespace(
        names=names, level=FEATURE, meta={}, ranking=lambda: list(names)
    )
    monkeypatch.setattr(together, "FEATURES", features)
    needed = PREDICTION * together.ROWS * together.REPEATS * sets / 0.1
    for left, cut in ((0.99 * needed, True), (1.01 * needed, False)):
        clock = Clock(per_row=1.0)
        monkeypatch.setattr(clock, "left", lambda left=left: left)
        work = SimpleNamespace(
            content=SimpleNamespace(explanation=main), drawn=np.arange(400)
        )
        work.budget = Budget(clock=clock)
        work.test = SimpleNamespace(table=pd.DataFrame())
        work.model = SimpleNamespace(encoder=object(), explain=None)
        work.explained = SimpleNamespace(take=lambda _: None)
        with (
            nullcontext() if cut else pytest.raises(AttributeError)
        ):  # it would explain the pairs
            together.together(work)
        assert clock.cut == (
            ["pairs of features: they were not measured"] if cut else []
        )


def test_a_run_without_pairs_has_none(tmp_path):
    assert Store(tmp_path).get(*PLACES["together"]) is None
