"""Mutation testing itself: what is changed and what is left alone, which tests are
chosen, how a mutant ends.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from tools.mutants import mutation_testing
from tools.mutants._mutants import Mutant, compiles, draw, find_mutants
from tools.mutants._mutation_choice import Chooser


def changed(source: str, operator: str | None = None) -> set[str]:
    """Return the changed lines of all mutants, without their indentation."""
    found_mutants = find_mutants(textwrap.dedent(source), "toy.py")
    diffs = [
        mutant.diff(textwrap.dedent(source))
        for mutant in found_mutants
        if operator in (None, mutant.operator)
    ]
    return {
        "; ".join(
            line[1:].strip() for line in diff.splitlines() if line.startswith("+")
        )
        for diff in diffs
    }


# --- operators ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("operator", "line", "expected"),
    [
        ("arithmetic", "z = x + y * (w)", {"z = x - y * (w)", "z = x + y / (w)"}),
        ("arithmetic", "z = (x) // (y) ** w", {"z = (x) / (y) ** w", "z = (x) // (y) * w"}),
        ("arithmetic", "z = -x | ~y", {"z = x | ~y", "z = -x | y", "z = -x & ~y"}),
        ("arithmetic", "x -= y", {"x += y"}),
        ("comparison", "z = w < x >= y", {"z = w <= x >= y", "z = w >= x >= y", "z = w < x > y", "z = w < x < y"}),
        ("comparison", "z = x is not  None, y in w", {"z = x is  None, y in w", "z = x is not  None, y not in w"}),
        ("boolean", "z = x and not (y or w)", {"z = x or not (y or w)", "z = x and  (y or w)",
                                               "z = x and not (y and w)"}),
        ("boolean", "z = f(x, keep=True)", {"z = f(x, keep=False)"}),
        ("constant", "z = x[-1] + 0.5", {"z = x[-2] + 0.5", "z = x[-0] + 0.5", "z = x[-1] + 1.5"}),
        ("constant", "z = x['rows'] + 'Two words.'", {"z = x['XXrows'] + 'Two words.'"}),
        ("statement", "x.keep(y)", {"pass"}),
        ("statement", "x[0], x.y = y", {"pass"}),
        ("statement", "x = y", {"pass"}),
        ("argument", "z = f(x, *y, w, u, 3)", {"z = f(x, *y, u, w, 3)"}),
        ("condition", "z = [u for u in y if u]", {"z = [u for u in y if not (u)]"}),
        ("condition", "z = x if f(y) else w", {"z = x if not (f(y)) else w"}),
        ("return", "return x, y", {"return None"}),
        ("slice", "z = x[y:, :w, 2:3]", {"z = x[(y) + 1:, :w, 2:3]", "z = x[y:, :(w) + 1, 2:3]"}),
        ("slice", "z = range(x, y, w)", {"z = range(x, (y) + 1, w)"}),
    ],
)  # fmt: skip
def test_each_operator_makes_its_changes_and_no_others(operator, line, expected):
    source = f"def function(x, y, w, u):\n    {line}\n"
    assert changed(source, operator) == expected


def test_conditions_are_negated_once():
    """Negating what a comparison or ``not`` decides is what their own operators do
    already.
    """
    source = """
    def function(x, y):
        if x == y:
            x.a()
        while not y:
            x.a()
        if x:
            x.a()
    """
    assert changed(source, "condition") == {"if not (x):"}
    assert {"if x != y:", "while  y:"} <= changed(source)


def test_several_lines_comments_and_signs_outside_ascii_are_kept():
    source = textwrap.dedent(
        """
        def function(Δ, ß):
            return (  # Δ + ß + the rest
                Δ  # a + here is no sign
                + ß
            )
        """
    )
    (mutant,) = [
        mutant
        for mutant in find_mutants(source, "toy.py")
        if mutant.operator == "arithmetic"
    ]
    assert mutant.apply(source) == source.replace("+ ß\n", "- ß\n")
    assert mutant.node_lines == (4, 5)
    assert mutant.statement_lines == (3, 6)


def test_text_types_and_guards_are_left_alone():
    source = '''
    """A module, 1 + 1."""

    from __future__ import annotations

    from typing import TYPE_CHECKING, Literal, overload

    if TYPE_CHECKING:
        from numpy import array as made

    __all__ = ["function"]

    Kind = Literal["one", "two"]
    Both = int | None
    #: A note.
    unset: int | Literal["x"]


    @overload
    def function(x: int = 1) -> int: ...


    class Thing:
        """A thing, 2 + 2."""

        size: int
        """How large it is."""


    def function(x: Literal[1, 2]):
        """Words and 3 + 3."""
        assert x > 0, "never"
        name = f"{x + 1} rows"
        warn("too small", x + 1)
    '''
    assert changed(source) == {"pass"}, "only the warning itself can be left out"


def test_a_refusal_can_be_left_out_and_its_words_are_kept():
    source = """
    def function(x):
        raise InputError(f"x must be, however: {x + 1}", x - 1, name="word")
    """
    assert changed(source) == {"pass"}


def test_an_assignment_that_all_depends_on_is_kept():
    source = """
    def function(x):
        y = x
        w = x
        w = y.z
        return w
    """
    assert (
        len(
            [
                mutant
                for mutant in find_mutants(textwrap.dedent(source), "toy.py")
                if mutant.operator == "statement"
            ]
        )
        == 2
    )


def test_what_happens_on_import_is_known():
    source = (
        "LIMIT = 3\n\n\nclass Thing:\n    size = 4\n\n    def count(self, n=5):\n      "
        "  return n < 6\n"
    )
    spans = {
        mutant.diff(source).splitlines()[-1]: mutant.imported_lines
        for mutant in find_mutants(source, "toy.py")
    }
    assert spans["+LIMIT = 4"] == (1, 8), "any test of the file"
    assert spans["+    size = 5"] == (4, 8), "any test of the class"
    assert spans["+    def count(self, n=6):"] == (7, 8), "any test of the function"
    assert spans["+        return n < 7"] is None, "tests that run the line"


@pytest.mark.slow
def test_every_mutant_of_a_real_module_differs_and_nearly_all_compile():
    path = Path(mutation_testing.ROOT) / "src/permgrad/attribution/replace/moments.py"
    source = path.read_text(encoding="utf-8")
    mutants = find_mutants(source, "moments.py")
    assert len(mutants) > 200
    assert set(Counter(mutant.operator for mutant in mutants)) >= {
        "arithmetic",
        "comparison",
        "constant",
        "return",
    }
    texts = {mutant.apply(source) for mutant in mutants}
    assert len(texts) == len(mutants)
    assert sum(compiles(text) for text in texts) > 0.99 * len(texts)
    original = ast.dump(ast.parse(source))
    assert all(
        ast.dump(ast.parse(text)) != original
        for text in sorted(texts)[::20]
        if compiles(text)
    )


# --- names and the draw ---------------------------------------------------------------
SOURCE = "def first(x):\n    return x + 1\n\n\ndef second(x):\n    return x + 1\n"


def test_names_stay_when_lines_are_added_elsewhere_and_differ_within_a_file():
    names = [mutant.name for mutant in find_mutants(SOURCE, "toy.py")]
    assert len(names) == len(set(names)) == 8
    moved = [
        mutant.name for mutant in find_mutants("import os\n\n\n" + SOURCE, "toy.py")
    ]
    assert moved == names
    edited = [
        mutant.name
        for mutant in find_mutants(SOURCE.replace("x + 1", "x + 2", 1), "toy.py")
    ]
    assert set(edited[4:]) == set(names[4:])
    assert not set(edited[:4]) & set(names[:4])


def test_the_draw_depends_on_the_seed_and_keeps_its_order_when_others_go():
    mutants = find_mutants(SOURCE, "toy.py")
    order = draw(mutants, 0)
    assert set(order) == set(mutants)
    assert order != mutants
    assert draw(mutants, 1) != order
    assert draw(mutants[2:], 0) == [mutant for mutant in order if mutant in mutants[2:]]


def test_the_interval_is_wilsons():
    assert mutation_testing.wilson(8, 10) == pytest.approx(
        (0.4901625, 0.9433178), abs=1e-6
    )
    assert mutation_testing.wilson(430, 500)[0] == pytest.approx(0.826834, abs=1e-5)
    assert mutation_testing.wilson(0, 0) == (0.0, 1.0)


# --- the choice of tests --------------------------------------------------------------
class _Lines:
    tests = {  # noqa: RUF012
        "src/a.py": {
            1: {"t/a.py::near", "t/a.py::slow"},
            2: {"t/a.py::near"},
            3: {"t/b.py::far"},
        }
    }

    def covering(self, mutant):
        return set().union(*self.tests["src/a.py"].values()) | {"t/c.py::fails"}


def chooser(seconds):
    timed = {
        "own": {"t/a.py::near": 0.1, "t/a.py::slow": 3.0, "t/b.py::far": 0.1, "t/b.py::other": 0.1},
        "fixtures": {"t/b.py::model": 2.0}, "needs": {"t/b.py::far": ["t/b.py::model"]}, "reading": {},
        "clock": {"t/a.py::near": 0.1, "t/a.py::slow": 9.0, "t/b.py::far": 0.2},
    }  # fmt: skip
    return Chooser(_Lines(), timed, seconds)


def test_light_tests_come_first_and_a_shared_fixture_is_part_of_the_cost():
    plan = chooser(60.0).plan(
        Mutant("src/a.py", "constant", 0, 1, "2", (1, 1), (1, 1), None, "name")
    )
    assert plan.rounds == (("t/a.py::near",), ("t/b.py::far", "t/a.py::slow"))
    assert (plan.covering, plan.left_out) == (3, 0), (
        "the test that fails without any change is no use"
    )
    plan = chooser(3.0).plan(
        Mutant("src/a.py", "constant", 0, 1, "2", (1, 1), (1, 1), None, "name")
    )
    assert plan.rounds == (("t/a.py::near",), ("t/b.py::far",))
    assert plan.left_out == 1
    assert chooser(60.0).limit("t/b.py::far") == pytest.approx(5 * 2.1 + 10), (
        "it may have to make the fixture"
    )
    assert chooser(60.0).limit("t/a.py::slow") == pytest.approx(5 * 9.0 + 10), (
        "it may have to wait"
    )


# --- the server -----------------------------------------------------------------------
TOY = "def size(n):\n    while n < 3:\n        n += 1\n    return n\n"
TESTS = """
import toy
import pytest


@pytest.fixture(scope="module")
def three():
    return 3


def test_size(three):
    assert toy.size(0) == three


def test_other():
    assert toy.size(5) == 5
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """A server for a tree with one module and one file of tests."""
    tree = tmp_path_factory.mktemp("server") / "tree"
    for name, text in {
        "src/toy.py": TOY,
        "tests/test_toy.py": TESTS,
        "pyproject.toml": "",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    modules = tree.parent / "modules.json"
    modules.write_text('["json", "no_such_module"]')
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.mutants._mutation_server", str(tree), str(modules)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
    )  # fmt: skip
    assert json.loads(process.stdout.readline())["ready"] > 100

    def send(
        text=None,
        *,
        tests=("test_size", "test_other"),
        stop=True,
        limit=60.0,
        details=None,
    ):
        names = [f"tests/test_toy.py::{name}" for name in tests]
        request = {
            "change": text and ["src/toy.py", text], "tests": names, "known": ["tests/test_toy.py::test_size"],
            "stop": stop, "limits": {}, "limit": limit, "log": str(tree.parent / "log"), "details": details,
        }  # fmt: skip
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert (tree / "src/toy.py").read_text() == TOY, "put back"
        return (
            answer["end"],
            answer["by"].partition("::")[2].partition(" ")[0],
            answer["ran"],
        )

    yield send
    process.communicate()


@pytest.mark.slow
def test_a_mutant_ends_as_the_tests_do(ask):
    assert ask() == ("passed", "", 2)
    assert ask(TOY.replace("return n", "return 0")) == ("failed", "test_size", 1)
    assert ask(TOY.replace("return n", "return n + (n == 5)")) == (
        "failed",
        "test_other",
        2,
    )
    assert ask(TOY.replace("return n", "return n + (n == 5)"), tests=["test_size"]) == (
        "passed",
        "",
        1,
    )
    assert ask("raise ValueError") == ("error", "", 0)
    assert ask("import os\nos._exit(3)" + "\n" + TOY) == ("died", "", 0)
    assert ask(tests=["test_gone"]) == ("empty", "", 0)


@pytest.mark.slow
def test_a_hang_is_ended_and_named(ask):
    assert ask(TOY.replace("n += 1", "n -= 1"), limit=5.0) == ("late", "test_size", 0)
    assert ask() == ("passed", "", 2), "the next one is not disturbed"


@pytest.mark.slow
def test_costs_tell_shared_fixtures_from_tests(ask, tmp_path):
    assert ask(stop=False, details=str(tmp_path / "details")) == ("passed", "", 2)
    cost_details = json.loads((tmp_path / "details").read_text())
    assert cost_details["known"] == [
        "tests/test_toy.py::test_size",
        "tests/test_toy.py::test_other",
    ]
    assert cost_details["needs"] == {
        "tests/test_toy.py::test_size": ["tests/test_toy.py::three"],
        "tests/test_toy.py::test_other": [],
    }
    assert (
        cost_details["durations"]["tests/test_toy.py::test_size"]["shared"]
        == cost_details["fixtures"]["tests/test_toy.py::three"]
    )
