"""What each folder's code may ask of a reader has numbers, and a folder beyond is
named.
"""

from __future__ import annotations

import pytest
from tools import budgets
from tools.budgets import ROOT, faults, main, numbers_of, read_budgets


def test_every_folder_of_the_source_has_a_budget_and_keeps_to_it():
    numbers = numbers_of(ROOT / "src")
    assert {"permgrad/base", "permgrad/pages", "permgrad_benchmark"} <= numbers.keys()
    assert sum(folder["statements"] for folder in numbers.values()) > 10_000
    assert faults(numbers, read_budgets()) == []


@pytest.fixture
def folder(tmp_path):
    """A folder of a package with eleven statements, one of them a script's."""
    inside = tmp_path / "permgrad" / "base"
    inside.mkdir(parents=True)
    lines = ['"""Words."""', "", "# a comment", *["x = 1"] * 6]
    lines += ["a, b = 1, 2", "c = [i for i in (1 if a else 2, 3)]"]
    (inside / "a.py").write_text("\n".join(lines) + "\n")
    (inside / "b.js").write_text("let x;\nlet y;\n")
    return tmp_path


def test_statements_and_density_are_counted(folder):
    numbers = numbers_of(folder)["permgrad/base"]
    assert numbers["statements"] == 9 + 2, "the docstring is a statement of Python"
    assert numbers["characters_per_line"] == round((6 * 5 + 11 + 35) / 8, 1)
    tokens = 6 * 3 + 7 + 17
    assert numbers["tokens_per_line"] == round(tokens / 8, 2)
    for name in ("if_expressions", "comprehensions", "several_at_once"):
        assert numbers[name] == round(1000 / 11, 1)
    assert numbers["long_functions"] == 0


def test_a_folder_that_grows_is_new_or_is_gone_is_named(folder):
    numbers = numbers_of(folder)
    budget = numbers["permgrad/base"]
    assert faults(numbers, numbers) == []
    denser = {**budget, "tokens_per_line": budget["tokens_per_line"] - 1}
    words = "src/permgrad/base: tokens per line {:g}, budget {:g}"
    expected = words.format(budget["tokens_per_line"], denser["tokens_per_line"])
    assert faults(numbers, {"permgrad/base": denser}) == [expected]
    longer = {**budget, "letters_per_name": budget["letters_per_name"] + 1}
    expected = "src/permgrad/base: letters per name 1, budget 2"
    assert faults(numbers, {"permgrad/base": longer}) == [expected]
    assert faults(numbers, {"permgrad/old": budget}) == [
        "src/permgrad/base has no budget",
        "src/permgrad/old has a budget, and is no folder",
    ]


def test_the_command_names_a_folder_without_a_budget(folder, monkeypatch, capsys):
    monkeypatch.setattr(budgets, "ROOT", folder.parent)
    monkeypatch.setattr(budgets, "read_budgets", dict)
    folder.rename(folder.parent / "src")
    assert main([]) == 1
    assert "src/permgrad/base has no budget. Make it sim" in capsys.readouterr().err
    budget = numbers_of(folder.parent / "src")
    monkeypatch.setattr(budgets, "read_budgets", lambda: budget)
    assert main([]) == 0
    assert capsys.readouterr().err == ""


def test_names_that_say_nothing_and_nested_choices_are_counted(folder):
    lines = [
        "def f(place):",
        "    part = 1 if place else 2 if f else 3",
        "    return part",
    ]
    (folder / "permgrad" / "base" / "c.py").write_text("\n".join(lines) + "\n")
    numbers = numbers_of(folder)["permgrad/base"]
    assert numbers["empty_names"] == 2000, "two in one function"
    assert numbers["nested_if_expressions"] == round(1000 / 14, 1)


def test_a_long_function_is_counted(folder):
    statements = "\n".join("    x = x + 1" for _ in range(100))
    (folder / "permgrad" / "base" / "c.py").write_text(f"def f(x):\n{statements}\n")
    assert numbers_of(folder)["permgrad/base"]["long_functions"] == 1
