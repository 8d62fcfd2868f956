"""Methods and functions of a user's own modules in ``permgrad benchmark``."""

from __future__ import annotations

import json
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from permgrad.attribution import methods
from permgrad.base.errors import InputError
from permgrad.cli import app
from permgrad_benchmark import load_suites
from permgrad_benchmark.contestants import enrolled
from permgrad_benchmark.own import enter_own
from permgrad_benchmark.run import BenchmarkRequest
from permgrad_benchmark.suites.multimodal.functions import functions
from permgrad_benchmark.truth import truths

MODULE = '''
"""A method that knows the slope of its output, and functions to try it on."""

from typing import ClassVar

import numpy as np

from permgrad.attribution.request import Configured, methods
from permgrad.attribution.request.result import build
from permgrad_benchmark.suites.multimodal.functions import linear as _linear
from permgrad_benchmark.suites.multimodal.functions import DecisionFunction
from permgrad_benchmark.truth.independent import Gaussian


class FirstOnly(Configured):
    """Says that the first player matters alone."""

    scopes: ClassVar = ("global",)
    estimand: ClassVar[str] = "{estimand}"

    def __call__(self, request):
        values = np.zeros((len(request.space.names), 1))
        values[0] = 1.0
        facts = {{"quantity": "a guess", "unit": "y", "seconds": 0.0}}
        return build(request, "first_only", values, facts)


class Ramp(Gaussian):
    """y = 2 x1; four features."""

    name, title = "ramp", "A slope"
    n_features = 4
    parts = ((0,),)

    def _part(self, index, x):
        return 2.0 * x[:, 0]


F13 = DecisionFunction("F13", "x1", lambda x: x[:, 0], (0,))
F1 = DecisionFunction("F1", "x1", lambda x: x[:, 0], (0,))
number = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch, request):
    """Write the module into this folder. Afterwards nothing of it is registered."""
    name = f"own_module_{abs(hash(request.node.name)) % 10**8}"
    estimand = getattr(request, "param", "total_effect")
    (tmp_path / f"{name}.py").write_text(MODULE.format(estimand=estimand))
    monkeypatch.chdir(tmp_path)
    load_suites()
    registries = [methods, functions, truths]
    registries += [enrolled("tabular"), enrolled("multimodal")]
    before = [dict(registry) for registry in registries]
    yield name
    sys.modules.pop(name, None)
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


def asked(suite, **options):
    suites = [load_suites().get(suite)]
    return enter_own(BenchmarkRequest(suite=suite, **options), suites)


def test_classes_and_functions_enter_by_their_module(own):
    entered = asked(
        "tabular",
        methods=("permutation", f"{own}:FirstOnly"),
        functions=("product", f"{own}:Ramp"),
    )
    assert entered.request.methods == ("permutation", "first_only")
    assert entered.request.functions == ("product", "ramp")
    assert list(entered.files) == [own]
    assert "ramp" in truths
    contestant = enrolled("tabular")["first_only"]
    assert contestant.facts() == {
        "label": "first only",
        "estimand": "total_effect",
        "kind": "ours",
        "note": "",
    }
    again = asked("tabular", methods=(f"{own}:FirstOnly",), functions=(f"{own}:Ramp",))
    assert again.request.methods == ("first_only",)


@pytest.mark.parametrize("own", ["effect"], indirect=True)
def test_decision_functions_enter_the_suite_of_networks(own):
    entered = asked(
        "multimodal",
        methods=("permutation:brier", f"{own}:FirstOnly"),
        functions=(f"{own}:F13",),
    )
    assert entered.request.methods == ("permutation:brier", "first_only")
    assert entered.request.functions == ("F13",)
    assert functions["F13"].relevant == (0,)
    with pytest.raises(InputError, match="There is a decision function 'F1' already"):
        asked("multimodal", functions=(f"{own}:F1",))


def test_what_cannot_enter_is_refused(own):
    for options, message in (
        ({"methods": (f"{own}:number",)}, "is no method. Name a class with Configured"),
        ({"methods": (f"{own}:Nothing",)}, "has no attribute 'Nothing'"),
        (
            {"methods": ("no_such_module:A",)},
            "Start permgrad where no_such_module.py is, or install it",
        ),
        (
            {"functions": (f"{own}:F13",)},
            "is no function of the suite. Name a class of Gaussian or Truth",
        ),
    ):
        with pytest.raises(InputError, match=message):
            asked("tabular", **options)


@pytest.mark.parametrize("own", ["totl_effect"], indirect=True)
def test_an_estimand_is_one_of_the_suites(own):
    with pytest.raises(InputError, match=r"estimand of first_only.*'total_effect'"):
        asked("tabular", methods=(f"{own}:FirstOnly",))


@pytest.mark.slow
def test_the_command_has_the_own_method_in_its_table(own, tmp_path):
    words = ["benchmark", "tabular", "--quick", "--out", str(tmp_path / "out")]
    words += ["--methods", f"permutation,{own}:FirstOnly"]
    words += ["--functions", f"{own}:Ramp", "--json"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["cells"] == 1
    frame = pd.read_csv(tmp_path / "out" / "results.csv")
    errors = frame[frame["metric"] == "share_error"]
    mine = errors[errors["method"] == "first_only"].set_index("estimand")["value"]
    assert mine["total_effect"] == pytest.approx(0, abs=1e-9), "it is right by design"
    assert set(frame["function"]) == {"ramp"}
    again = json.loads(CliRunner().invoke(app, words).stdout)
    assert again["already_finished"]
