"""Each folder of the source has a number of lines that it may have, and one that grows beyond it is named."""

from __future__ import annotations

from tools.budgets import ROOT, faults, lines_of, main


def test_every_folder_of_the_source_has_a_budget_and_keeps_to_it(capsys):
    counts = lines_of(ROOT / "src")
    assert {"permgrad/base", "permgrad/pages", "permgrad_benchmark"} <= counts.keys()
    assert sum(counts.values()) > 10_000
    assert main([]) == 0, capsys.readouterr().err


def test_a_folder_that_grows_is_new_or_is_gone_is_named(tmp_path):
    folder = tmp_path / "permgrad" / "base"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("x = 1\n" * 12)
    (folder / "b.js").write_text("let x;\n" * 3)
    counts = lines_of(tmp_path)
    assert counts == {"permgrad/base": 15}
    assert faults(counts, {"permgrad/base": 15}) == []
    assert faults(counts, {"permgrad/base": 14}) == [
        "src/permgrad/base has 15 lines, its budget is 14"
    ]
    assert faults(counts, {"permgrad/old": 9}) == [
        "src/permgrad/base has no budget",
        "src/permgrad/old has a budget, and is no folder",
    ]
