"""What is odd about a target of numbers, and that nothing is said of ordinary ones."""

from __future__ import annotations

import numpy as np
import pytest

from permgrad.evaluation.target_signs import target_signs


def where(position):
    return f"row {position}"


@pytest.fixture
def amounts():
    return np.random.default_rng(0).normal(200, 30, 400).round(1)


@pytest.mark.parametrize("code", [-999, 99999, 8888])
def test_a_code_is_named_with_its_rows(amounts, code):
    amounts[::20] = code
    (sign,) = target_signs(amounts, where)
    assert sign["form"] == "codes"
    assert sign["codes"] == [code]
    assert sign["rows"] == 20
    assert sign["share"] == 20 / 400
    other_amounts = amounts[amounts != code]
    assert (sign["low"], sign["high"]) == (other_amounts.min(), other_amounts.max())


@pytest.mark.parametrize("factor", [100, 1000, -100])
def test_a_cell_far_from_all_others_is_named_by_its_row(amounts, factor):
    amounts[[5, 310]] *= factor
    (sign,) = target_signs(amounts, where)
    assert sign["form"] == "far"
    assert [cell["where"] for cell in sign["cells"]] == ["row 5", "row 310"]
    assert [cell["value"] for cell in sign["cells"]] == amounts[[5, 310]].tolist()
    other_amounts = np.delete(amounts, [5, 310])
    assert (sign["low"], sign["high"]) == (other_amounts.min(), other_amounts.max())


def test_codes_and_far_cells_are_told_apart(amounts):
    amounts[::20] = 9999
    amounts[7] = 1e7
    codes, far = target_signs(amounts, where)
    assert (codes["form"], far["form"]) == ("codes", "far")
    assert [cell["where"] for cell in far["cells"]] == ["row 7"]


def test_many_zeros_are_said_unless_counts_are_expected(amounts):
    amounts[np.arange(400) % 10 > 0] = 0
    (sign,) = target_signs(amounts, where)
    assert sign == {"form": "zeros", "share": 0.9, "whole": False}
    (zeros_sign,) = target_signs(amounts.round(), where)
    assert zeros_sign["whole"]
    assert target_signs(amounts.round(), where, counts=True) == []


DRAWS = {
    "normal": lambda draw: draw.normal(size=300),
    "long tail": lambda draw: draw.lognormal(0, 2, 300),
    "heavy tail": lambda draw: draw.standard_t(3, 300),
    "counts": lambda draw: draw.poisson(3, 300).astype(float),
    "whole": lambda draw: draw.integers(-10, 100, 300).astype(float),
    "two values": lambda draw: draw.integers(0, 2, 300) * 5.0 + 1,
}


@pytest.mark.parametrize("name", DRAWS)
def test_of_ordinary_targets_nothing_is_said(name):
    sign_flags = [
        bool(target_signs(DRAWS[name](np.random.default_rng(seed)), where))
        for seed in range(200)
    ]
    assert np.mean(sign_flags) <= 0.02
