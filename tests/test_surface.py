"""The parameters of the public functions: a change here is a change of what people have written down."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest

import permgrad as pg

#: Each function as it is called, with its defaults. A further function is one more line.
SURFACE = """
counterfactuals(model, row, X, *, want=None, fixed=(), ranges=None, direction=None, max_changes=None, count=4, random_state=0)
load(folder, *, encoders=None, device="auto")
load_dataset(name)
read_table(path, *, kinds=None, na=(), not_na=(), decimal=None, sheet=None)
related_columns(X, *, strength=0.8)
report(model, X, y=None, *, path=None, train=None, title=None, target=None, groups=None, loss="auto", sample_weight=None, row_groups=None, row_time=None, sensitive=None, refits=None, keep_rows=True, max_rows="auto", random_state=0, progress="auto")
"""  # noqa: E501 — one line for each
#: Names that were parameters, and near misses of those that are.
WRONG = ("n_repeat", "rows", "most_rows", "most_changes", "overwrite", "method", "options")


def public(name: str) -> Callable[..., Any]:
    """Return a function of ``pg`` by its name, or by ``Class.name``."""
    return attrgetter(name)(pg)


def written(line: str) -> tuple[str, list[tuple[str, str, Any]]]:
    """Return the name in a line of ``SURFACE``, and its parameters: name, kind and default."""
    name, _, rest = line.partition("(")
    given = ast.parse(f"def f({rest}: ...").body[0].args  # type: ignore[attr-defined]
    empty = inspect.Parameter.empty
    defaults = [empty] * (len(given.args) - len(given.defaults)) + list(map(ast.literal_eval, given.defaults))
    found = [(one.arg, "POSITIONAL_OR_KEYWORD", default) for one, default in zip(given.args, defaults, strict=True)]
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append((one.arg, "KEYWORD_ONLY", empty if default is None else ast.literal_eval(default)))
    return name, found


FUNCTIONS = dict(map(written, filter(None, SURFACE.splitlines())))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_parameters_that_are_written_down(name):
    own = inspect.signature(public(name)).parameters.values()
    assert [(one.name, one.kind.name, one.default) for one in own if one.name != "self"] == FUNCTIONS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_names_are_refused_by_python(name):
    function, known = public(name), [one for one, _, _ in FUNCTIONS[name]]
    needed = dict.fromkeys(one for one, _, default in FUNCTIONS[name] if default is inspect.Parameter.empty)
    for other in WRONG:
        if other not in known:
            with pytest.raises(TypeError, match=f"unexpected keyword argument '{other}'"):
                function(**needed, **{other: 1})


def test_a_line_says_names_kinds_and_defaults():
    name, parameters = written('f(a, b=1, *, c, d="x")')
    assert name == "f"
    empty = inspect.Parameter.empty
    kinds = ["POSITIONAL_OR_KEYWORD"] * 2 + ["KEYWORD_ONLY"] * 2
    assert parameters == list(zip("abcd", kinds, [empty, 1, empty, "x"], strict=True))
