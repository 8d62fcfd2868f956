"""Records are found from any folder of the repository, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from permgrad_benchmark.measured import read_record


def test_a_record_is_found_below_the_repository_only(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root / "tests")
    assert read_record("comparison")["cells"]
    monkeypatch.chdir(tmp_path)
    assert read_record("comparison") is None
