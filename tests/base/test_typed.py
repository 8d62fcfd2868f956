"""How arguments are typed as options: each option is one of its command."""

from __future__ import annotations

import inspect

import pytest

import permgrad as pg
from permgrad.base.typed import FROM_FILES, OPTIONS, OTHERS, argument_typed, typed_for
from permgrad.runs.options import options_of
from permgrad.runs.requests import ExplainRequest, RunRequest


@pytest.mark.parametrize(
    ("command", "request_type"), [("explain", ExplainRequest), ("run", RunRequest)]
)
def test_every_option_is_one_of_its_command(command, request_type):
    flags = set()
    for field, option in options_of(request_type).items():
        flags.add(option.flag(field))
    assert {*OPTIONS[command].values(), *FROM_FILES.values()} <= flags
    assert OTHERS.get(command, "--seed") in flags
    assert {*OPTIONS[command], *FROM_FILES} <= {
        *inspect.signature(pg.explain).parameters
    }


def test_a_command_without_an_option_leaves_the_form_of_python():
    with typed_for("run"):
        assert argument_typed("row_time", example="COL") == "--time COL"
        assert argument_typed("scope", "local") == "scope='local'"
    with typed_for("predict"):
        assert argument_typed("max_rows", 5) == "max_rows=5"
    with typed_for("explain"):
        assert argument_typed("row_groups", example="COL") == "--option row_groups=COL"
        assert argument_typed("groups", "modality") == "groups='modality'"
    assert argument_typed("row_groups", example="COL") == "row_groups="
