"""Every command and call of ``docs/published-work.md`` works, in a short form: few
rows, one epoch, one trial.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.shared.invoking import call, working_in
from torch import nn

import permgrad as pg
from permgrad.data.datasets import get_card
from permgrad.models.estimators.presets import get_preset
from permgrad.runs.run.run_splitting import divide_as_published

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "published-work.md"
#: What was published, the command or call, the page of the gallery, and the difference.
LINE = re.compile(
    r"^\| (?!published|-)(.+?) \| `(.+?)` \| \[.+?\]\((.+?)\) \| (.+) \|$", re.MULTILINE
)
LINES = LINE.findall(PAGE.read_text("utf-8"))
ROWS = {"covertype": 160, "bank": 200}


def test_the_table_has_all_its_lines():
    works = PAGE.read_text("utf-8").partition("## The published numbers")[0]
    lines = [line for line in works.splitlines() if line.startswith("| ")]
    assert (
        len(LINES)
        == len(lines) - sum(line.startswith("| published |") for line in lines)
        >= 25
    )
    assert {link.rpartition("/")[2] for _, _, link, _ in LINES} >= {
        *(
            "plot_permgrad_five_tables.py",
            "plot_regression_study.py",
            "plot_bank_marketing.py",
        ),
        *("plot_multimodal_benchmark.py", "plot_diverse_inputs.py"),
    }


def test_links_to_scripts_lead_to_pages_of_the_site():
    spec = importlib.util.spec_from_file_location(
        "site_pages", PAGE.parent / "site_pages.py"
    )
    site_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site_pages)
    text = site_pages.with_links(PAGE.read_text("utf-8"), PAGE.parent, PAGE)
    assert text.count("](auto_gallery/plot_") == len(LINES)
    assert "(auto_gallery/plot_bank_marketing.rst)" in text
    assert "(records/image_question.md)" in text


# ---- commands ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def place(tmp_path_factory, undrawn_file):
    with (
        pytest.MonkeyPatch.context() as patch,
        working_in(tmp_path_factory.mktemp("published")) as _,
    ):
        if data := os.environ.get("PERMGRAD_DATA"):
            patch.setenv(
                "PERMGRAD_DATA", str((ROOT / data).resolve())
            )  # a folder may be named from where tests begin
        yield


def need_data(what: str) -> None:
    if "PERMGRAD_DATA" not in os.environ:
        pytest.skip(
            f"{what} needs the folder that PERMGRAD_DATA names: nothing is downloaded "
            "here"
        )


def small_table(name: str) -> list[str]:
    """Write a few rows of a named data set, and return the file and its target in the
    place of the name.
    """
    card = get_card(name)
    need_data(name)
    if not Path(f"{name}.csv").exists():
        frame = pg.load_dataset(name).frame.drop(columns=list(card.not_features))
        frame.sample(ROWS.get(name, 100), random_state=0).to_csv(
            f"{name}.csv", index=False
        )
    return [f"{name}.csv", "--target", card.target]


def small_preset(name: str) -> str:
    """Write a preset with one epoch, and return its file."""
    name, colon, branches = name.partition(":")
    content = {**get_preset(name).to_dict(), "max_epochs": 1, "batch_size": 64}
    Path(f"{name}.json").write_text(json.dumps(content))
    return f"{name}.json{colon}{branches}"


def small_images() -> None:
    """Write a table of a few scans and labels."""
    rng = np.random.default_rng(0)
    for row in range(60):
        Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).save(
            f"{row}.png"
        )
    frame = pd.DataFrame(
        {"scan": [f"{row}.png" for row in range(60)], "age": rng.integers(20, 80, 60)}
    )
    frame.assign(label=["ill", "well"] * 30).to_csv("records.csv", index=False)


def shortened(words: list[str]) -> list[str]:
    """Return the words of a command, so that it takes a few seconds."""
    command, first, *more = words
    if first == "records.csv":
        small_images()
        return [*words, "--preset", small_preset("fast"), "--overwrite"]
    if command in ("run", "tune", "compare"):
        words = [
            command,
            *small_table(first),
            *more,
            "--out",
            f"{command}-{first}",
            "--overwrite",
        ]
    if command == "run":
        words[words.index("--preset") + 1] = small_preset(
            words[words.index("--preset") + 1]
        )
    elif command == "tune":
        words += ["--trials", "1"]
    elif command == "compare":
        models_position = words.index("--models") + 1
        words[models_position] = re.sub(
            r"\bpaper\b", small_preset("paper"), words[models_position]
        )
        words += ["--cv", "2", "--no-explain"]
    elif command == "benchmark":
        words += ["--quick", "--functions", "F6", "--methods", "gradient", "--no-peers"]
    elif command in ("explain", "report"):
        if not Path(first).exists():
            words_of_run = [
                "bank.csv",
                *small_table("bank")[1:],
                "--preset",
                small_preset("ig_example"),
            ]
            call("run", *words_of_run, "--out", first)
        words += ["--overwrite"] if command == "explain" else []
        if "--row" in words:
            words[words.index("--row") + 1] = str(
                pd.read_csv(f"{first}/predictions.csv")["row"][0]
            )
    if command in ("datasets", "benchmark"):
        need_data(command)
    return words


def run_command(text: str) -> None:
    program, *words = shlex.split(text)
    assert program == "permgrad"
    call(*shortened(words))


def test_client_100_is_the_row_that_is_named():
    [named] = re.findall(r"--row (\d+)", PAGE.read_text("utf-8"))
    need_data("bank")
    data = pg.load_dataset("bank")
    row = divide_as_published(len(data.frame), data.y.to_numpy(), 42)["test"][100]
    assert row == int(named)
    assert data.frame.loc[row, ["job", "month", "education"]].tolist() == [
        "blue-collar",
        "apr",
        "secondary",
    ]


COMMANDS = [text for _, text, _, _ in LINES if text.startswith("permgrad ")]


@pytest.mark.parametrize("text", COMMANDS)
@pytest.mark.usefixtures("place")
def test_a_command_runs(text):
    run_command(text)


WRONG = (
    "permgrad runs heloc",
    "permgrad run helok --preset paper",
    "permgrad benchmark multimodal --redo",
)


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.usefixtures("place")
def test_a_command_that_does_not_exist_fails(text):
    with pytest.raises(
        Exception, match=r"No such (command|option)|Did you mean 'heloc'"
    ):
        run_command(text)


# ---- calls ---------------------------------------------------------------------------
class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)
        )
        self.table = nn.Linear(3, 4)
        self.fusion = nn.Identity()
        self.head = nn.Linear(8, 2)

    def forward(self, image, table):
        return self.head(
            self.fusion(torch.cat([self.image(image), self.table(table)], dim=1)).relu()
        )


@pytest.fixture(scope="module")
def names():
    """What the page calls ``model``, ``X``, ``y``, ``net``, ``inputs`` and
    ``labels``.
    """
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 5)), columns=list("abcde"))
    y = np.where(X["a"] > 0.5, "yes", np.where(X["b"] > 0, "no", "maybe"))
    model = pg.HyNNClassifier(
        preset="paper", max_epochs=1, random_state=0, progress=False
    ).fit(X, y)
    torch.manual_seed(0)
    net = Fused().eval()
    inputs = {"image": torch.randn(50, 1, 6, 6), "table": torch.randn(50, 3)}
    labels = net(**inputs).argmax(1).numpy()
    return {
        "pg": pg,
        "model": model,
        "X": X,
        "y": y,
        "net": net,
        "inputs": inputs,
        "labels": labels,
    }


@pytest.mark.parametrize(
    "text", [text for _, text, _, _ in LINES if not text.startswith("permgrad ")]
)
def test_a_call_works(text, names):
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of the published method, and of so small a network
        call_result = eval(text, names)
    assert call_result is not None
