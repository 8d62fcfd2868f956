"""The table of branches is whole: each has what is asked of it, and no other list knows
more or less.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

import permgrad as pg
from permgrad.base import style
from permgrad.models.branches import (
    added_branches,
    branches,
    joined_branches,
    path_names,
)
from permgrad.models.network.additive import Additive
from permgrad.models.network.network import HybridNetwork

SCRIPTS = Path(pg.__file__).parent / "pages" / "templates" / "scripts"


@pytest.mark.parametrize("name", branches)
def test_a_branch_has_a_name_of_its_own_and_a_colour(name):
    branch = branches[name]
    assert branch.name == name
    titles = [other.title for other in branches.values()]
    assert titles.count(branch.title) == 1
    assert branch.colour in style.TOKENS
    assert f'"{name}"' in str(pg.HyNNClassifier.__doc__), "the docs name it"


@pytest.mark.parametrize("name", joined_branches())
def test_a_network_makes_each_that_its_head_joins(name):
    network = HybridNetwork(3, 2, paths=(name,), image_shape=(1, 8, 8))
    assert network.paths == (name,)
    assert list(network.widths) == [name]


@pytest.mark.parametrize("name", added_branches())
def test_each_beside_the_head_is_made_of_its_sizes(name):
    branch = added_branches()[name]
    module = branch.make(3, 2, **dict.fromkeys(branch.sizes, 1))
    assert isinstance(module, Additive)
    module.raise_(1.0)
    module.scale_(0.5)
    assert set(branch.sizes) <= set(getattr(module, "sizes", ()))
    assert branch.layer(module)


def test_the_documentation_names_each_beside_the_head():
    docs = Path(__file__).parents[3] / "docs"
    page = (docs / "the-default-network.md").read_text(encoding="utf-8")
    assert [name for name in added_branches() if f'"{name}"' not in page] == []


def test_the_scripts_know_each_form():
    script = (SCRIPTS / "network.js").read_text(encoding="utf-8")
    table = re.search(r"const BRANCHES = \{(.*?)\n  \};", script, re.DOTALL)
    kinds = set(re.findall(r"^    (\w+): \(", table[1], re.MULTILINE))
    forms = set()
    for name, branch in added_branches().items():
        module = branch.make(2, 1, **dict.fromkeys(branch.sizes, 0))
        assert name in path_names()
        with suppress(NotImplementedError):  # the page shows curves
            form = branch.form(module, lambda array: {"shape": list(array.shape)})
            forms.add(form["kind"])
    assert kinds == forms
