"""Predictors of other libraries on a real table: exactly what a slow loop over the
frame gives (see the script).
"""

from __future__ import annotations

import pytest
from benchmarks._results import data_folder
from verification.verify_predictors import PREDICTORS, check, check_tree_shap, read

pytestmark = [
    pytest.mark.skipif(data_folder() is None, reason="PERMGRAD_DATA names no folder"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", PREDICTORS)
def test_effects_and_shapley_values_are_those_of_slow_loops(name):
    pytest.importorskip(PREDICTORS[name][0])
    measures = check(name, "bank", *read("bank", data_folder()))
    assert measures["largest effect"] > 0.005
    assert measures["largest Shapley value"] > 0.005
    assert measures["met"], measures


@pytest.mark.slow
def test_raw_scores_have_the_values_of_interventional_tree_shap():
    pytest.importorskip("shap")
    pytest.importorskip("lightgbm")
    measures = check_tree_shap(*read("heloc", data_folder()))
    assert measures["largest value"] > 0.1
    assert measures["met"], measures
