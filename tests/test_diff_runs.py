"""`tools/diff_runs.py`: times and paths aside, anything that differs is named by file
and place.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call
from safetensors.numpy import save_file
from tools.diff_runs import comparers, differences, main

from permgrad import InputError

TEXT = {".svg": "<svg>a</svg>", ".md": "a", ".txt": "a", ".html": "<p>a</p>"}


def folder(
    path, *, seconds=1.0, value=0.5, name="x", moment="2026-01-01T00:00:00+00:00"
):
    """Write a file of every kind that is known, and one that is not."""
    path.mkdir()
    table = pd.DataFrame(
        {
            "feature": [name, "01"],
            "value": [value, np.nan],
            "fit_seconds": [seconds, 2 * seconds],
        }
    )
    table.to_csv(path / "a.csv", index=False)
    table.to_parquet(path / "a.parquet")
    facts = {
        "value": value,
        "name": [name],
        "seconds": seconds,
        "at": moment,
        "file": f"{path}/a.csv",
        "flag": True,
    }
    (path / "a.json").write_text(json.dumps(facts), encoding="utf-8")
    np.savez(
        path / "a.npz",
        value=np.array([[1.0, value], [np.nan, 2.0]]),
        seconds=np.array(seconds),
        name=np.array([name]),
    )
    save_file({"value": np.array([value], dtype=np.float32)}, path / "a.safetensors")
    for ending, text in TEXT.items():
        (path / f"a{ending}").write_text(
            f"{text} {name} {moment} took {seconds} s in {path}\n", encoding="utf-8"
        )
    (path / "a.bin").write_bytes(name.encode())
    (path / ".hidden").mkdir()
    (path / ".hidden" / "a.json").write_text(str(seconds), encoding="utf-8")
    (path / "study.db").write_bytes(str(seconds).encode())
    return path


def test_every_kind_of_file_is_here(tmp_path):
    endings = {path.suffix for path in folder(tmp_path / "a").iterdir()}
    assert set(comparers) <= endings


def test_times_and_paths_are_no_difference(tmp_path, capsys):
    first = folder(tmp_path / "a")
    second = folder(
        tmp_path / "a longer name", seconds=77.25, moment="2027-12-31T23:59:59.5+00:00"
    )
    assert differences(first, second) == ([], len(comparers) + 1)
    assert main([str(first), str(second)]) == 0
    assert (
        capsys.readouterr().out
        == f"Nothing differs: {len(comparers) + 1} files compared, times and paths "
        "aside.\n"
    )


def test_each_kind_of_file_shows_what_differs(tmp_path):
    first = folder(tmp_path / "a")
    second = folder(tmp_path / "b", value=0.75, name="y")
    found_differences, _ = differences(first, second)
    assert {file_difference.file for file_difference in found_differences} == {
        f"a{ending}" for ending in [*comparers, ".bin"]
    }
    shown = {
        (file_difference.file, file_difference.where): (
            file_difference.first,
            file_difference.second,
        )
        for file_difference in found_differences
    }
    assert shown["a.csv", "feature, row 0"] == ("x", "y")
    assert shown["a.csv", "value, row 0"] == ("0.5", "0.75")
    assert shown["a.parquet", "value, row 0"] == ("0.5", "0.75")
    assert shown["a.json", "value"] == ("0.5", "0.75")
    assert shown["a.json", "name[0]"] == ("x", "y")
    assert shown["a.npz", "value[0, 1], 1 of 4 values"] == ("0.5", "0.75")
    assert shown["a.safetensors", "value[0], 1 of 1 values"] == ("0.5", "0.75")
    assert shown["a.bin", ""] == ("1 bytes", "other 1 bytes")
    assert (
        "line 1"
        in {
            file_difference.file: file_difference.where
            for file_difference in found_differences
        }["a.html"]
    )


@pytest.mark.parametrize("names", [("tw", "a-b"), ("MT", "k1"), ("aaa", "run-0")])
def test_folders_named_like_words_or_parts_of_them(tmp_path, monkeypatch, names):
    """A short name stands within words and within pictures written as text; there it is
    no folder's.
    """
    monkeypatch.chdir(tmp_path)
    text = "a hybrid network; a-b, base64,xxMTk1OSA0aaaQ== k1MT; tw; run-0 aaa"
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").write_text(
            f"<p>{text}</p>\n<p>permgrad explain {name}/model</p>"
        )
        (tmp_path / name / "a.json").write_text(
            json.dumps({"text": text, "from": f"{name}/table.csv"})
        )
    assert differences(*map(Path, names)) == ([], 2)
    (tmp_path / names[1] / "report.html").write_text(
        f"<p>{text}</p>\n<p>permgrad explain {names[1]}/other</p>"
    )
    found_differences, _ = differences(*map(Path, names))
    assert [file_difference.where for file_difference in found_differences] == [
        "line 2"
    ]


def test_stages_that_one_run_has_gone_through_more_often_are_no_difference(tmp_path):
    for name, stages in (
        ("a", "data 1 s, model 3 s"),
        ("b", "data 2 s, model 4 s, report 0.5 s"),
    ):
        text = (
            f"<div><dt>seed</dt><dd>0</dd></div><div><dt>time</dt><dd>{stages}; "
            "together 4 s</dd></div>"
        )
        (tmp_path / f"{name}.html").write_text(text)
    assert differences(tmp_path / "a.html", tmp_path / "b.html") == ([], 1)


def page(error, seconds, times):
    from permgrad.pages.charts.model_charts import tradeoff
    from permgrad.pages.views import SectionView, page_data

    view = SectionView("a", "A")
    for timed in (False, True):
        drawing = tradeoff(
            {"a": ([seconds if timed else 1.0], [error])}, x_label="x", y_label="y"
        )
        view.figure(drawing, "Lower left is better.", timed=timed)
    figures = [
        f"<figure{' data-clock' if figure_block.timed else ''} "
        f"style=''>{page_data(figure_block.chart.spec())}</figure>"
        for _, figure_block in view.blocks
    ]
    clock = (
        f"It is ahead. Here it took {seconds} s to fit, by the clock, {times} "
        f"times as long as B ({seconds / times} s)."
    )
    return f"<p>{clock}</p>\n" + "\n".join(figures)


def test_figures_and_sentences_of_times_are_no_difference(tmp_path):
    pages = {
        "a": page(0.5, 1.25, 3),
        "b": page(0.5, 17.5, 12),
        "c": page(0.75, 1.25, 3),
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    assert len(set(pages.values())) == 3
    assert differences(tmp_path / "a.html", tmp_path / "b.html") == ([], 1)
    found_differences, _ = differences(tmp_path / "a.html", tmp_path / "c.html")
    assert found_differences


def test_sentences_of_times_in_a_record_are_no_difference(tmp_path):
    def record(name, took, gap):
        sentences = [
            "A is best.",
            f"Here it took {took} s to fit, by the clock, 2 times as long as B (0.3 s).",
            gap,
        ]
        (tmp_path / name).write_text(
            json.dumps({"sentences": sentences}), encoding="utf-8"
        )
        return tmp_path / name

    first = record("a.json", 0.63, "one")
    second = record("b.json", 1.8, "one")
    third = record("c.json", 0.63, "two")
    assert differences(first, second) == ([], 1)
    found_differences, _ = differences(first, third)
    assert found_differences


@pytest.mark.slow
def test_the_benchmarks_page_marks_its_figures_of_times(tmp_path):
    call("benchmark", "tabular", "--methods", "gradient,random", "--functions", "product", "--seeds", "1", "--quick",
         "--no-peers", "--out", tmp_path / "b")  # fmt: skip
    text = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "Lower left is better" in text
    assert text.count("<figure data-clock style") == text.count("Lower left is better")
    before, caption, after = text.partition("Run time in seconds (from 0), every seed")
    assert caption
    changed_page = (
        before
        + caption
        + re.sub(r">(\d+\.\d+)</td></tr>", r">\g<1>7</td></tr>", after, count=1)
    )
    assert changed_page != text
    (tmp_path / "b" / "report.html").rename(tmp_path / "a.html")
    (tmp_path / "b.html").write_text(changed_page, encoding="utf-8")
    assert differences(tmp_path / "a.html", tmp_path / "b.html") == ([], 1)


def test_numbers_may_differ_by_a_share_where_asked(tmp_path):
    first = folder(tmp_path / "a")
    second = folder(tmp_path / "b", value=0.5000001)
    assert {file_difference.file for file_difference in differences(first, second)[0]} == {
        "a.csv", "a.parquet", "a.json", "a.npz", "a.safetensors"
    }  # fmt: skip
    assert differences(first, second, tolerance=1e-6)[0] == []
    assert differences(first, second, tolerance=1e-8)[0] != []


def test_missing_files_other_shapes_and_damage(tmp_path):
    first = folder(tmp_path / "a")
    second = tmp_path / "b"
    shutil.copytree(first, second)
    (second / "a.bin").unlink()
    (second / "new.txt").write_text("x", encoding="utf-8")
    (second / "a.safetensors").write_bytes((second / "a.safetensors").read_bytes()[:-3])
    (second / "a.json").write_text("{", encoding="utf-8")
    np.savez(second / "a.npz", value=np.zeros(3), more=np.zeros(1))
    pd.read_csv(second / "a.csv")[:1].to_csv(second / "a.csv", index=False)
    difference_by_name = {
        (file_difference.file, file_difference.where): (
            file_difference.first,
            file_difference.second,
        )
        for file_difference in differences(first, second)[0]
    }
    assert difference_by_name["a.bin", ""] == ("there", "missing")
    assert difference_by_name["new.txt", ""] == ("missing", "there")
    assert (
        difference_by_name["a.safetensors", ""][0]
        == difference_by_name["a.json", ""][0]
        == "(cannot be read as its name says)"
    )
    assert difference_by_name["a.npz", "value"] == ("float64 (2, 2)", "float64 (3,)")
    assert difference_by_name["a.npz", "more"] == ("missing", "there")
    assert difference_by_name["a.csv", "rows"] == ("2", "1")


def test_the_command_ends_with_1_and_says_what(tmp_path, capsys):
    first = folder(tmp_path / "a")
    second = folder(tmp_path / "b", value=0.75)
    assert main([str(first), str(second)]) == 1
    printed_output = capsys.readouterr().out
    assert "a.json: value: 0.5 → 0.75" in printed_output
    assert printed_output.splitlines()[-1].endswith(
        "differences in 5 files; 10 files compared."
    )
    assert main([str(first / "a.json"), str(second / "a.json"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "files": 1, "differences": [{"file": "a.json", "where": "value", "first": "0.5", "second": "0.75"}]
    }  # fmt: skip


def test_what_cannot_be_compared_is_refused(tmp_path, capsys):
    first = folder(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([first, tmp_path / "none"], "does not exist; check its name"),
        ([first, first / "a.csv"], "one is a folder and one is a file"),
        ([first, first, "--tolerance", "nan"], "--tolerance must be at least 0"),
    ):
        assert main([str(word) for word in words]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(InputError, match=r"^diff needs results, however"):
        differences(tmp_path / "empty", tmp_path / "empty")


def test_lines_that_say_how_long_something_took_are_no_difference(tmp_path):
    """A table of results has a line for each metric, one of which may be a time."""
    for name, seconds, error in (("a", 1.0, 0.5), ("b", 2.0, 0.5), ("c", 1.0, 0.75)):
        (tmp_path / name).mkdir()
        lines = [["linear", "seconds", seconds], ["linear", "share_error", error]]
        table = pd.DataFrame(lines, columns=["method", "metric", "value"])
        table.to_csv(tmp_path / name / "results.csv", index=False)
        (tmp_path / name / "results.json").write_text(
            json.dumps({"records": lines, "cached": name == "b"})
        )
    assert differences(tmp_path / "a", tmp_path / "b") == ([], 2)
    found_differences, _ = differences(tmp_path / "a", tmp_path / "c")
    assert [str(file_difference) for file_difference in found_differences] == [
        "results.csv: value, row 1: 0.5 → 0.75",
        "results.json: records[1][2]: 0.5 → 0.75",
    ]


@pytest.mark.parametrize(("one", "other", "same"), [
    ("01", "1", False), ("1_0", "10", False), ("1.50", "1.5", True), ("1e+02", "100", True), ("nan", "NaN", True),
    ("-0.5", "-.5", True),
])  # fmt: skip
def test_texts_that_python_would_take_for_numbers_differ(tmp_path, one, other, same):
    for name, cell in (("a", one), ("b", other)):
        (tmp_path / f"{name}.csv").write_text(f"level,rows\n{cell},3\n")
    found_differences, compared = differences(tmp_path / "a.csv", tmp_path / "b.csv")
    assert compared == 1
    assert [str(file_difference) for file_difference in found_differences] == (
        [] if same else [f"a.csv: level, row 0: {one} → {other}"]
    )


@pytest.mark.parametrize(
    "column", ["duration", "date", "probability_finished", "path of the ball"]
)
def test_columns_of_the_data_differ_whatever_their_names(tmp_path, column):
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.csv").write_text(
            f"{column},seconds\n{value},{value}\n", encoding="utf-8"
        )
    found_differences, _ = differences(tmp_path / "a.csv", tmp_path / "b.csv")
    assert [str(file_difference) for file_difference in found_differences] == [
        f"a.csv: {column}, row 0: 1 → 2"
    ], "seconds are permgrad's own"
