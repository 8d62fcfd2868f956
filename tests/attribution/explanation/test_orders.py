"""Explanations with interactions: names, orders, ranks, corrections, files and
conversions.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from permgrad import Explanation, InputError
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.explanation.numbers import of_order
from permgrad.pages.summaries import told

MEMBERS = ((0,), (1,), (2,), (0, 1), (1, 2))
P_VALUES = np.array([[0.01], [0.02], [0.5], [0.004], [0.03]])


META = {
    "interactions": {"index": "k-SII", "left_out": 1},
    "quantity": "part of the decrease of the loss",
}


def make(scope="global", **fields) -> Explanation:
    values = np.array([[2.0], [1.0], [0.1], [0.3], [-0.9]])
    arrays = {
        "std_error": np.full((5, 1), 0.05),
        "p_values": P_VALUES,
        "parts": {"k-SII": values / 2},
    }
    if scope == "local":
        values = np.stack([values, -2 * values])
        arrays = dict.fromkeys(("std_error", "p_values"))
    return Explanation(
        values, ("a", "b", "c", "a × b", "b × c"), ("t", "t", "u", "t", "t+u"), ("all",), "shapley", scope,
        **arrays, additive=True, members=MEMBERS, meta=META, **fields,
    )  # fmt: skip


def test_the_frame_ends_with_the_order():
    frame = make().to_frame()
    assert list(frame.columns)[-2:] == ["k-SII", "order"]
    assert frame["order"].tolist() == [1, 1, 1, 2, 2]
    assert "order" not in of_order(make(), 1).to_frame()
    assert make("local").to_frame()["order"].tolist() == [1, 1, 1, 2, 2] * 2


def test_p_values_are_adjusted_within_an_order_and_for_pairs_left_out():
    # Two columns and a scan share the level. Of the pairs one was left out: the smaller
    # p-value counts three times.
    assert make().p_adjusted[:, 0] == pytest.approx([0.04, 0.04, 0.5, 0.012, 0.06])


def test_features_that_cannot_change_the_output_take_no_part_of_the_level():
    values = np.array([[2.0], [1.0], [0.0], [0.0]])
    names = ("a", "b", "empty", "unused text")
    std = np.array([[0.5], [0.5], [0.0], [0.0]])
    p_values = np.array([[0.01], [0.03], [1.0], [1.0]])
    modality = ("table", "table", "table", "text")
    explanation = Explanation(
        values,
        names,
        modality,
        ("all",),
        "permgrad",
        "global",
        std_error=std,
        p_values=p_values,
    )
    assert explanation.p_adjusted[:, 0] == pytest.approx([0.02, 0.03, 1, 1])
    assert clearly_matter(explanation) == ["a", "b"]
    seldom = Explanation(
        values,
        names,
        modality,
        ("all",),
        "permgrad",
        "global",
        std_error=np.maximum(std, 0.1),
        p_values=p_values,
    )
    assert seldom.p_adjusted[:, 0] == pytest.approx(
        [0.06, 0.12, 1, 1]
    )  # three and one, each at half of the level
    ends = {"low": values / 2, "high": values * 2}
    doubted = Explanation(
        values,
        names,
        modality,
        ("all",),
        "permgrad",
        "global",
        std_error=std,
        p_values=p_values * 4,
        meta={"quantity": "increase of the loss"},
        **ends,
    )
    assert doubted.p_adjusted[:2, 0] == pytest.approx([0.08, 0.12])  # of two
    assert "0 of 4 features clearly matter" in doubted.summary()


def test_ranking_is_of_features_unless_asked():
    assert make().ranking() == ["a", "b", "c"]
    assert make().ranking(order=2) == ["b × c", "a × b"]
    assert make("local").ranking(order=2) == ["b × c", "a × b"]
    ranks = make().ranking(certain=0.95, order=2)
    assert ranks[["feature", "rank_low", "rank_high"]].values.tolist() == [
        ["b × c", 1, 1],
        ["a × b", 2, 2],
    ]
    assert clearly_matter(make()) == ["a", "b"]
    for order in (0, 3, "2"):
        with pytest.raises(InputError, match="order must be one of 1, 2"):
            make().ranking(order=order)


def test_sums_and_other_views_use_the_features():
    assert make().by_modality().values.tolist() == [[3.0], [0.1]]
    assert of_order(make(), 2).values.tolist() == [[0.3], [-0.9]]
    features, pairs = make().summary().split("Only together:")
    assert "×" not in features
    assert [line.split("  ")[1] for line in pairs.splitlines() if "×" in line] == [
        "b × c",
        "a × b",
    ]
    assert "×" not in make().to_html()
    assert "×" not in make().plot.bar().to_svg()
    assert make("local").to_global().members == MEMBERS
    assert of_order(make(), 2).ranking() == ["b × c", "a × b"]
    assert "b × c" in of_order(make(), 2).plot.bar().to_svg()
    assert "3 features and 2 interactions" in repr(make())


def test_the_terminal_lists_pairs_behind_features():
    lines = [line for line, _ in told(make(), None, 5)]
    heading_index = lines.index("Only together:")
    assert any(
        line.startswith("2 of 3 features clearly matter")
        for line in lines[:heading_index]
    )
    assert "×" not in "".join(lines[:heading_index])
    assert lines[heading_index + 1].startswith("1 of 2 pairs clearly interacts")
    assert [line.split("  ")[1] for line in lines[heading_index + 2 :]] == [
        "b × c",
        "a × b",
    ]


def test_files_keep_the_members(tmp_path):
    make().save(tmp_path / "why")
    assert Explanation.load(tmp_path / "why").members == MEMBERS
    header = tmp_path / "why" / "explanation.json"
    stored = json.loads(header.read_text())
    assert stored["schema_version"] == 3
    for wrong in (3, [[0]], [["a"]], [[1], [0], [2], [0, 1], [1, 2]], [[]]):
        header.write_text(json.dumps({**stored, "members": wrong}))
        with pytest.raises(InputError):
            Explanation.load(tmp_path / "why")


def test_members_must_fit():
    with pytest.raises(InputError, match="members must have the players"):
        Explanation(
            np.ones((2, 1)),
            ("a", "b"),
            ("t",) * 2,
            ("y",),
            "shapley",
            "global",
            members=((0,),),
        )


def test_to_shapiq_takes_the_index_of_single_players():
    pytest.importorskip("shapiq")
    first_order = make().to_shapiq()
    two = make().to_shapiq(2)
    assert (first_order.index, first_order.max_order, first_order[(0,)]) == (
        "SV",
        1,
        2.0,
    )
    assert (two.index, two.max_order, two[(0,)], two[(1, 2)], two.n_players) == (
        "k-SII",
        2,
        1.0,
        -0.45,
        3,
    )
    assert make("local").to_shapiq(2, row=1)[(1, 2)] == pytest.approx(1.8)
    with pytest.raises(InputError, match="order must be one of 1, 2"):
        make().to_shapiq(3)


def test_pairs_alone_are_summarised_as_pairs():
    pairs = of_order(make(), 2)
    assert repr(pairs) == "<Explanation: shapley, global, 2 interactions × 1 output>"
    assert of_order(pairs, 2) is pairs
    assert clearly_matter(pairs) == ["a × b"]
    text = pairs.summary()
    assert "1 of 2 pairs clearly interacts" in text
    assert text.index("b × c  −0.900") < text.index("a × b  0.300")
    assert "−0.900  not clearly different from 0" in text
    assert "Order at 95 % confidence: 1 b × c; 2 a × b." in text
    assert "(bold): the p-value, adjusted" in pairs.to_html()
    assert pairs.ranking(certain=0.95)["rank_high"].tolist() == [1, 2]
    with pytest.raises(InputError, match="by_modality sums features"):
        pairs.by_modality()
    assert "1.35" in of_order(make("local"), 2).to_global().summary()


def test_pairs_alone_become_pairs_of_shapiq_and_shap():
    pytest.importorskip("shapiq")
    pairs = of_order(make(), 2).to_shapiq(2)
    assert (pairs.n_players, pairs.min_order, pairs.max_order, pairs[(1, 2)]) == (
        3,
        2,
        2,
        -0.45,
    )
    with pytest.raises(InputError, match="order must be one of 2, got 1"):
        of_order(make(), 2).to_shapiq(1)
    pytest.importorskip("shap")
    assert of_order(make("local"), 2).to_shap().feature_names == ["a × b", "b × c"]
