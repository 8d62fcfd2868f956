"""Which p-values pass for many features at once, and which effects deserve a
sentence.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.significance import (
    adjusted,
    adjusted_within,
    clearly,
    deserves_words,
    holm,
    over_splits,
)


def rejected_step_by_step(p_values, level):
    """Holm's procedure as his paper writes it: from the smallest on, until one does not
    pass; NaN is no test.
    """
    defined_positions = [
        position for position, p in enumerate(p_values) if not np.isnan(p)
    ]
    rejected = np.zeros(len(p_values), dtype=bool)
    for step, step_position in enumerate(
        sorted(defined_positions, key=lambda position: p_values[position])
    ):
        if p_values[step_position] > level / (len(defined_positions) - step):
            break
        rejected[step_position] = True
    return rejected


def test_adjusted_p_values_reject_what_holms_steps_reject():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = rng.random(rng.integers(1, 12)) ** 4
        p_values[rng.random(len(p_values)) < 0.2] = np.nan
        adjusted_values = adjusted(p_values[:, None])[:, 0]
        assert (np.isnan(adjusted_values) == np.isnan(p_values)).all()
        for level in (0.01, 0.05, 0.3):
            np.testing.assert_array_equal(
                adjusted_values <= level, rejected_step_by_step(p_values, level)
            )


def test_each_output_and_each_row_is_a_family_of_its_own():
    p_values = np.random.default_rng(1).random((5, 7, 3)) ** 3
    p_values[2, 4, 1] = np.nan
    together = adjusted(p_values)
    assert (together > p_values)[np.isfinite(p_values)].any(), (
        "the adjustment is not trivial"
    )
    for row in range(5):
        for output in range(3):
            family_values = p_values[row, :, output]
            defined_mask = np.isfinite(family_values)
            np.testing.assert_array_equal(
                together[row, defined_mask, output], holm(family_values[defined_mask])
            )


def rejected_with_a_shared_level(p_values, families, level):
    """One rejection at a time: each family that is not through has an equal share, and
    steps through its own tests.
    """
    left = {
        family: [position for position, f in enumerate(families) if f == family]
        for family in families
    }
    left = {
        f: [position for position in positions if not np.isnan(p_values[position])]
        for f, positions in left.items()
    }
    rejected = np.zeros(len(p_values), dtype=bool)
    while True:
        left = {family: positions for family, positions in left.items() if positions}
        passing = [
            (f, k)
            for f, ks in left.items()
            for k in ks
            if p_values[k] <= level / len(left) / len(ks)
        ]
        if not passing:
            return rejected
        family, tested_position = passing[0]
        rejected[tested_position] = True
        left[family].remove(tested_position)


def test_families_share_the_level_and_pass_it_on():
    rng = np.random.default_rng(2)
    differs = 0
    for _ in range(300):
        p_values = rng.random(rng.integers(1, 12)) ** 4
        p_values[rng.random(len(p_values)) < 0.15] = np.nan
        families = rng.choice(["image", "table", "text"], len(p_values)).tolist()
        adjusted_values = adjusted_within(p_values[:, None], families)[:, 0]
        assert (np.isnan(adjusted_values) == np.isnan(p_values)).all()
        for level in (0.01, 0.05, 0.3):
            steps = rejected_with_a_shared_level(p_values, families, level)
            np.testing.assert_array_equal(adjusted_values <= level, steps)
            differs += (steps != rejected_step_by_step(p_values, level)).any()
        adjusted_together, adjusted_alone = (
            adjusted_within(p_values[:, None], names)
            for names in (["a"] * len(adjusted_values), range(len(adjusted_values)))
        )
        np.testing.assert_array_equal(adjusted_together[:, 0], holm(p_values))
        np.testing.assert_array_equal(adjusted_alone[:, 0], holm(p_values))
    assert differs > 20, "a precondition: the families matter"


def test_any_false_feature_of_any_modality_stays_within_the_level():
    rng = np.random.default_rng(3)
    families = ["image"] * 40 + ["table"] * 2 + ["text"] * 5
    p_values = rng.random((20_000, len(families), 1))
    p_values[:, [40, 42, 43, 44], 0] = 0.0  # true features, whose share is passed on
    rejected_mask = adjusted_within(p_values, families) < 0.05
    false = (
        np.delete(rejected_mask[:, :, 0], [40, 42, 43, 44], axis=1).any(axis=1).mean()
    )
    assert 0.04 < false < 0.054
    assert (np.delete(p_values, [40, 42, 43, 44], axis=1) < 0.05).any(
        axis=1
    ).mean() > 0.8, "not so one by one"


def test_many_features_of_an_image_do_not_hide_the_only_column_of_a_table():
    p_values = np.full((70, 1), 0.5)
    p_values[69] = 0.004
    explanation = made(p_values, np.linspace(0.1, 1, 70)[:, None])
    assert clearly_matter(explanation) == [], (
        "a precondition: of 70 features of one table none passes"
    )
    explanation = dataclasses.replace(
        explanation, modality=("scan",) * 69 + ("clinical",)
    )
    assert clearly_matter(explanation) == ["x69"]
    assert explanation.to_frame()["p_adjusted"].iloc[69] == 0.008, "half of the level"


def made(p_values, values=None, scope="global"):
    p_values = np.asarray(p_values, dtype=np.float64)
    values = (
        np.arange(p_values.size, 0, -1, dtype=np.float64).reshape(p_values.shape)
        if values is None
        else values
    )
    names = tuple(f"x{feature_index}" for feature_index in range(p_values.shape[-2]))
    outputs = ("all", "yes", "no")[: p_values.shape[-1]]
    return Explanation(
        np.asarray(values, dtype=np.float64), names, ("table",) * len(names), outputs, "permutation", scope,
        p_values=p_values,
    )  # fmt: skip


def test_the_frame_has_them_behind_p_value_but_not_where_local(tmp_path):
    p_values = np.array([[0.01, 0.2], [np.nan, 0.01], [0.04, np.nan], [0.03, 1.0]])
    frame = made(p_values).to_frame()
    assert list(frame.columns)[-2:] == ["p_value", "p_adjusted"]
    for name, expected in (
        ("all", [0.03, np.nan, 0.06, 0.06]),
        ("yes", [0.4, 0.03, np.nan, 1.0]),
    ):
        np.testing.assert_allclose(
            frame.loc[frame["class"] == name, "p_adjusted"], expected, rtol=1e-12
        )
    local = made(np.stack([p_values, p_values[::-1]]), scope="local")
    rows = local.to_frame()
    assert rows[["p_value", "p_adjusted"]].isna().all(axis=None)
    bare = dataclasses.replace(made(p_values), p_values=None)
    assert bare.to_frame()["p_adjusted"].isna().all()
    local.save(tmp_path / "kept")
    pd.testing.assert_frame_equal(Explanation.load(tmp_path / "kept").to_frame(), rows)


def test_what_clearly_matters_passes_is_positive_and_stands_in_rank_order():
    values = [[5.0, 1.0], [-4.0, 2.0], [3.0, 3.0], [2.0, 4.0]]
    explanation = made([[0.04, 0.001], [1e-9, 0.9], [1e-6, 0.9], [0.001, 0.02]], values)
    assert explanation.ranking() == ["x0", "x2", "x3", "x1"]
    # Each is below 0.05 alone; x0 is so after the steps too, being the largest of them.
    assert clearly_matter(explanation) == ["x0", "x2", "x3"]
    assert clearly_matter(explanation, "yes") == ["x0"], (
        "0.02 is the second of four: 0.06"
    )
    assert clearly_matter(made([[np.nan], [np.nan]])) == []
    assert clearly_matter(dataclasses.replace(explanation, p_values=None)) == []
    assert clearly([0.1, np.nan, 0.1], [0.05, 0.01, np.nan]).tolist() == [
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("low", "high", "share", "said"),
    [
        (0.1, 0.2, 0.05, True),
        (-0.2, -0.1, -0.3, True),
        (0.1, 0.2, 0.049, False),
        (0.0, 0.2, 0.5, False),
        (-0.2, 0.0, -0.5, False),
        (float("nan"), float("nan"), 0.5, False),
        (0.1, 0.2, float("nan"), False),
    ],
)
def test_a_sentence_needs_an_interval_without_0_and_a_share(low, high, share, said):
    assert deserves_words(low, high, share) is said


def test_p_values_of_several_splits_hold_their_level_whatever_the_splits_share():
    rng = np.random.default_rng(2)
    own_noise = rng.normal(size=(5, 20_000))
    shared = rng.normal(size=20_000)
    from scipy.stats import norm

    for shared_fraction in (0.0, 0.8, 1.0):
        together = 2 * norm.sf(
            np.abs(
                np.sqrt(shared_fraction) * shared
                + np.sqrt(1 - shared_fraction) * own_noise
            )
        )
        assert np.mean(over_splits(together) < 0.05) < 0.055
    np.testing.assert_array_equal(over_splits([[0.01, 0.4]]), [0.01, 0.4])
    assert np.isnan(over_splits([[0.01], [np.nan]])).all()
