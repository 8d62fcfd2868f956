"""The speed page collects what its sections measure; nothing here asserts a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.speed import keras_peer, speed
from benchmarks.speed._speed import line, missing, take_turns

SCRIPTS = Path(speed.__file__).parent


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.speed", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def kept_here(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(speed, "commit", lambda: "abc")
    return tmp_path / "kept"


def arguments(**changed_arguments: object):
    import argparse

    usual = {
        "quick": True,
        "again": False,
        "any_commit": False,
        "no_environments": True,
    }
    return argparse.Namespace(**{**usual, **changed_arguments})


# ---- lines ---------------------------------------------------------------------------


def test_a_line_holds_medians_and_the_spread_of_the_ratios():
    speed_line = line(
        "sum", "other", [1.0, 2.0, 4.0], [4.0, 4.0, 4.0], unit="ms", note="why"
    )
    assert (speed_line["ours"], speed_line["theirs"], speed_line["ratio"]) == (
        2.0,
        4.0,
        2.0,
    )
    assert (
        speed_line["low"],
        speed_line["high"],
        speed_line["rounds"],
        speed_line["equal"],
        speed_line["unit"],
    ) == (
        1.0,
        4.0,
        3,
        "work",
        "ms",
    )


def test_contestants_take_turns_and_the_first_round_does_not_count():
    calls = []
    clock = iter(range(100))
    turn_times = take_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        2,
        lambda: float(next(clock)),
    )
    assert calls == ["a", "b"] * 3
    assert turn_times == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


# ---- collecting ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_section_is_measured_in_a_process_of_its_own_and_kept(kept_here):
    section = speed.SECTIONS["training"]
    measured_section = speed.measure(section, Path(sys.executable), "", quick=True)
    assert "failed" not in measured_section
    assert [speed_line["peer"] for speed_line in measured_section["lines"]] == [
        "a bare PyTorch loop"
    ] * 2
    for measured_line in measured_section["lines"]:
        assert measured_line["ours"] > 0
        assert measured_line["ratio"] == pytest.approx(
            measured_line["theirs"] / measured_line["ours"]
        )
    assert measured_section["versions"]["torch"]
    assert (
        json.loads((kept_here / "training-quick.json").read_text())["lines"]
        == measured_section["lines"]
    )
    assert speed.kept(section, True, False)["lines"] == measured_section["lines"]
    assert speed.kept(section, False, False) is None


def test_finished_sections_of_the_same_commit_are_not_measured_again(
    kept_here, monkeypatch, capsys
):
    kept_here.mkdir()
    content = {
        "commit": "abc",
        "lines": [line("x", "y", [1.0], [2.0])],
        "minutes": 1.0,
        "versions": {},
    }
    (kept_here / "training-quick.json").write_text(json.dumps(content))
    monkeypatch.setattr(speed, "measure", lambda *_: pytest.fail("measured again"))
    assert (
        speed.collect(["training"], arguments())["training"]["lines"]
        == content["lines"]
    )
    monkeypatch.setattr(speed, "commit", lambda: "def")
    assert speed.kept(speed.SECTIONS["training"], True, False) is None
    assert (
        speed.collect(["training"], arguments(any_commit=True))["training"]["commit"]
        == "abc"
    )
    assert "kept from commit abc" in capsys.readouterr().err


def test_what_cannot_be_measured_is_named(kept_here, monkeypatch):
    monkeypatch.delenv("PERMGRAD_DATA", raising=False)
    monkeypatch.setattr(speed, "ENVIRONMENTS", kept_here / "nowhere")
    collected_sections = speed.collect(["cam", "imaging", "keras"], arguments())
    text = speed.page(collected_sections, "command")
    assert text.count("Not measured: it needs the data sets") == 3
    monkeypatch.setenv("PERMGRAD_DATA", str(kept_here))
    collected_sections = speed.collect(["imaging", "keras"], arguments())
    assert (
        speed.page(collected_sections, "command").count(
            "Not measured: its environment is missing"
        )
        == 2
    )


def test_a_section_that_fails_is_said_to_have_failed_and_is_not_kept(kept_here):
    section = speed.Section("training", "Training", "no_such_script", 1)
    failed_section = speed.measure(section, Path("/bin/false"), "", quick=True)
    assert failed_section["failed"].startswith("the section failed with exit code 1")
    assert not list(kept_here.glob("*.json"))


# ---- the page ------------------------------------------------------------------------


def test_the_page_shows_ratios_missing_peers_and_other_figures():
    results = {
        "cam": {
            "lines": [
                line("a map", "loop", [1.0], [12.5]),
                missing("a map", "nobody", "it is not installed"),
            ],
            "commit": "abc",
            "minutes": 1.0,
            "versions": {"torch": "9.9"},
        },
        "growth": {
            "lines": [{"rows": 1000, "slope": 1.0123}],
            "commit": "def",
            "minutes": 2.0,
            "versions": {},
        },
    }
    text = speed.page(results, "python -m benchmarks.speed.speed")
    assert (
        "| a map | loop | work | 1 | 12.5 | s | **12.5** | 12.5–12.5 | 1 |  |" in text
    )
    assert (
        "| a map | nobody | – | – | – | – | – | – | – | missing: it is not installed |"
        in text
    )
    assert "| rows | slope |" in text
    assert "| 1,000 | 1.01 |" in text
    assert "torch 9.9" in text
    assert "Commit def" in text


def test_the_list_says_how_long_it_takes():
    done = run("--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(speed.SECTIONS)
    assert "minutes" in done.stdout


def test_every_section_names_a_script_that_measures():
    for section in speed.SECTIONS.values():
        script = SCRIPTS / f"{section.module}.py"
        assert script.exists(), script
        assert "def measure(" in script.read_text(encoding="utf-8"), script


# ---- the Keras peer ------------------------------------------------------------------


def test_the_keras_peer_needs_neither_permgrad_nor_keras_to_say_what_it_does():
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(SCRIPTS / "keras_peer.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--make-environment" in done.stdout


def test_the_keras_peer_has_the_learning_rates_of_preset_paper():
    from permgrad.models.train.schedules import schedules

    ours = schedules.get("warmup_cosine")
    for epoch in (0, 1, 25, 49, 50, 120, 199):
        assert keras_peer.rate_of(epoch, 1e-3) == pytest.approx(ours(epoch / 200, 1e-3))


def test_an_environment_that_was_made_is_not_made_again(tmp_path, monkeypatch):
    python = keras_peer.python_of(tmp_path)
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "made-from.json").write_text(json.dumps(["a==1"]))
    monkeypatch.setattr(
        keras_peer.venv, "create", lambda *_, **__: pytest.fail("made again")
    )
    assert keras_peer.make_environment(tmp_path, ("a==1",)) == python
    with pytest.raises(pytest.fail.Exception):
        keras_peer.make_environment(tmp_path, ("a==2",))
