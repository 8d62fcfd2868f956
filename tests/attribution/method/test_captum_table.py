"""Cases of Captum's own test table; all of them:
``verification/verify_captum_table.py``.
"""

from __future__ import annotations

import pytest

pytest.importorskip("captum.testing.attr.helpers.test_config")
from verification import verify_captum_table as table

#: One of each way to give a case: targets by row and in several dimensions, baselines,
#: held arguments, layers.
QUICK = (
    "basic_single_target",
    "basic_multi_input_multi_target",
    "basic_multiple_tuple_target_with_baselines",
    "basic_multi_input_dl_shap",
    "conv_layer_single_target",
    "basic_layer_multi_input",
)
SAMPLED = ("KernelShap", "GradientShap", "LayerGradientShap")
PAIRS = [
    (case, name)
    for case, name in table.cases()
    if not table.reason_of(case, name) and name not in SAMPLED
]


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(
            case,
            name,
            marks=() if case.name in QUICK else pytest.mark.slow,
            id=f"{case.name}-{name}",
        )
        for case, name in PAIRS
    ],
)
def test_numbers_are_captums(case, name):
    assert table.compare(case, name)["verdict"] == "equal"


def test_a_pair_is_compared_or_has_a_reason():
    reasons = [table.reason_of(case, name) for case, name in table.cases()]
    assert 0 < reasons.count("") < len(reasons), "a precondition: both kinds are there"
    assert len(PAIRS) > 100
    names = {name for _, name in table.cases() if not name.startswith("Neuron")}
    assert names <= {*table.METHODS, *table.REASONS}
