"""A file of text takes no more memory than was checked, and one that memory cannot hold
is refused with a way out.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from permgrad import HyNNClassifier, InputError, read_table
from permgrad.base.startup import own_process
from permgrad.cli.terminal import tell
from permgrad.data.read import table as table_module
from permgrad.data.read import text_files


@pytest.mark.parametrize(
    "delimiter", [",", *(pytest.param(sign, marks=pytest.mark.slow) for sign in ";\t")]
)
def test_text_that_memory_cannot_hold_is_refused_and_the_hint_leads_on(
    tmp_path, monkeypatch, delimiter
):
    file = tmp_path / "it's large.csv"
    target = np.resize(["a", "b"], 600)
    frame = pd.DataFrame(
        {
            "x": np.arange(600) / 7,
            "word": np.resize(["paper", "quill", "rock"], 600),
            "y": target,
        }
    )
    frame.to_csv(file, index=False, sep=delimiter)
    monkeypatch.setattr(text_files, "free_memory", lambda: 3 * file.stat().st_size)
    assert read_table(file).shape == (600, 3), "three times its size is enough"
    monkeypatch.setattr(text_files, "free_memory", lambda: 3 * file.stat().st_size - 1)
    with pytest.raises(
        InputError, match=r"it's large\.csv.* takes about .* must fit about 3 times"
    ) as refused:
        read_table(file)
    assert refused.value.code == "PG061"
    monkeypatch.undo()
    command = refused.value.hint.partition("with ")[2].partition(". Train from")[0]
    words = shlex.split(command)
    subprocess.run([sys.executable, *words[1:]], check=True)
    model = refused.value.hint.partition("in Python with ")[2].partition(", or use")[0]
    class_names = {
        "HyNNClassifier": partial(
            HyNNClassifier, preset="fast", max_epochs=1, progress=False
        ),
        "target": "y",
    }
    assert eval(model, class_names).classes_.tolist() == ["a", "b"]


def test_that_a_large_file_is_read_is_said_by_commands(tmp_path, monkeypatch, capsys):
    file = tmp_path / "two.csv"
    file.write_text("a,y\n" + "1,2\n" * 50)
    monkeypatch.setattr(table_module, "_LARGE", 100)
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path, **how: SimpleNamespace(st_size=2_040_000_000, st_mode=33188),
    )
    monkeypatch.setattr(text_files, "free_memory", lambda: None)
    read_table(file)
    assert capsys.readouterr().err == "", "a library says nothing"
    with own_process(tell=tell):
        read_table(file)
    assert capsys.readouterr().err == "reading two.csv (2.0 GB)\n"
    with own_process(tell=tell, quiet=True):
        read_table(file)
    assert capsys.readouterr().err == ""


PEAK = """
import resource, sys
from permgrad import read_table
read_table(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = read_table(sys.argv[2])
spent = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(spent, *table.shape, table.iloc[-1, -1], table.memory_usage().sum())
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is measured in kilobytes"
)
def _rows(kind: str) -> list[str]:
    draw = np.random.default_rng(2)
    if kind in ("narrow", "digits"):
        cells = draw.choice(
            ["red", "green", "no", "north", "A1"]
            if kind == "narrow"
            else list("0123456789"),
            (2000, 24),
        )
        return [",".join([*row, "0.5"]) for row in cells.tolist()]
    if kind in ("numbers", "commas"):
        rows = [
            (";" if kind == "commas" else ",").join(f"{x:.5g}" for x in row)
            for row in draw.normal(size=(2000, 24))
        ]
        return [row.replace(".", ",") for row in rows] if kind == "commas" else rows
    names = draw.choice(
        [
            "Ulm, an der Donau" if kind == "quoted" else "a long name of a town",
            "Berlin on Spree",
        ],
        2000,
    )
    sign = '"' * (kind == "quoted")
    return [
        f"{sign}{name}{sign},{value:.4f}"
        for name, value in zip(names, draw.normal(size=2000), strict=True)
    ]


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is measured in kilobytes"
)
@pytest.mark.parametrize(
    "kind", ["numbers", "words", "quoted", "narrow", "commas", "digits"]
)
@pytest.mark.slow
def test_reading_takes_three_times_the_file(tmp_path, kind):
    rows = _rows(kind)
    sign = ";" if kind == "commas" else ","
    header = sign.join(
        f"c{column_number}"
        for column_number in range(
            2 if kind in ("words", "quoted") else rows[0].count(sign) + 1
        )
    )
    small = tmp_path / "small.csv"
    large = tmp_path / "large.csv"
    body = "\n".join(rows) + "\n"
    times = 20_000_000 // len(body)
    small.write_text(f"{header}\n{body}")
    with large.open("w") as stream:
        stream.write(f"{header}\n")
        for _ in range(times):
            stream.write(body)
    words = [sys.executable, "-c", PEAK, str(small), str(large)]
    output_lines = subprocess.run(
        words, capture_output=True, text=True, check=True
    ).stdout.split()
    last = rows[-1].rpartition(sign)[2].replace(",", ".")
    assert [int(output_lines[1]), float(output_lines[3])] == [2000 * times, float(last)]
    # Beside the file there are the parts that are looked at in one go. A table of short
    # cells is itself larger.
    size = large.stat().st_size
    table = int(output_lines[4])
    assert (
        int(output_lines[0])
        < (1.25 * table if kind == "digits" else 3.0 * size) + 10_000_000
    )
    assert kind != "digits" or table > 3 * size


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is measured in kilobytes"
)
@pytest.mark.parametrize(
    "form", ["1.{:03d},{:06d}", pytest.param("{},{:05d}", marks=pytest.mark.slow)]
)
def test_distinct_numbers_with_decimal_commas_take_no_more(tmp_path, form):
    cells = [
        form.format(cell_number % 1000, cell_number) for cell_number in range(1_000_000)
    ]
    small = tmp_path / "small.csv"
    large = tmp_path / "large.csv"
    small.write_text("a;b\n1,5;2,25\n")
    large.write_text(
        "a;b\n"
        + "\n".join(
            f"{first_cell};{two}"
            for first_cell, two in zip(cells[::2], cells[1::2], strict=True)
        )
    )
    words = [sys.executable, "-c", PEAK, str(small), str(large)]
    output_lines = subprocess.run(
        words, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [int(output_lines[1]), float(output_lines[3])] == [
        500_000,
        float(cells[-1].replace(".", "").replace(",", ".")),
    ]
    assert int(output_lines[0]) < 3.0 * large.stat().st_size + 10_000_000


def test_a_table_of_short_cells_is_refused_by_its_own_size(tmp_path, monkeypatch):
    file = tmp_path / "digits.csv"
    pd.DataFrame(np.zeros((500, 40), dtype=int)).add_prefix("x").to_csv(
        file, index=False
    )
    table = 500 * 40 * 8
    assert table > 3 * file.stat().st_size
    monkeypatch.setattr(text_files, "free_memory", lambda: int(2.9 * table))
    with pytest.raises(InputError, match="must fit about 3 times"):
        read_table(file)
    monkeypatch.setattr(text_files, "free_memory", lambda: int(3.1 * table))
    assert read_table(file).shape == (500, 40)
