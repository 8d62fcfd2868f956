"""Help lists every choice in panels, shells complete them, and an option name means one
thing in all commands.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import permgrad.runs.row_requests
from permgrad.cli import app
from permgrad.cli.terminal import PANELS
from permgrad.models.estimators.presets import setting_names
from permgrad.runs import options
from permgrad.runs.options import PRESET_SETTINGS
from permgrad.runs.requests import RunRequest

COMMANDS = (
    "demo",
    "run",
    "explain",
    "predict",
    "report",
    "compare",
    "tune",
    "benchmark",
)


def parameters(command: str):
    return typer.main.get_command(app).commands[command].params


def test_the_names_known_without_imports_are_those_that_exist():
    import permgrad.attribution  # noqa: F401 — registers the methods
    from permgrad.attribution.request import methods
    from permgrad.data.datasets import list_datasets
    from permgrad.evaluation.baselines.fitting import baselines
    from permgrad.evaluation.metrics import metrics
    from permgrad.models.estimators.presets import presets

    assert sorted(options.METHODS) == sorted(methods)
    assert sorted(options.PRESETS[:-1]) == sorted(presets)
    assert list(options.BASELINES) == list(baselines)
    assert list(options.METRICS) == [
        name for name in metrics if not metrics.get(name).counts
    ]
    assert list(options.DATA_SETS) == list_datasets()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_panels_choices_and_examples(command):
    shown = CliRunner().invoke(app, [command, "--help"], terminal_width=100).output
    headings = re.findall(r"^(\w+):$", shown, re.MULTILINE)
    assert headings[-1] == "Examples"
    assert set(headings) <= {"Arguments", *PANELS, "Examples"}
    assert f"permgrad {command}" in shown.partition("Examples:")[2]
    if command == "explain":
        assert "scope=local" in shown
        assert all(re.search(rf"\b{method}\b", shown) for method in options.METHODS)
    assert "\x1b" not in shown, "no colours in a pipe"


def test_an_option_name_means_one_thing():
    meanings: dict[str, set[str | None]] = {}
    for command in COMMANDS:
        for parameter in parameters(command):
            for flag in parameter.opts:
                if flag.startswith("--") and flag not in (
                    "--out",
                    "--target",
                    "--against",
                    "--methods",
                ):
                    # a file of predict, an output of explain, rows that predict
                    # compares, and what report prints for a paper
                    meanings.setdefault(flag, set()).add(parameter.metavar)
    assert len(meanings) > 50
    assert {flag: kinds for flag, kinds in meanings.items() if len(kinds) > 1} == {}
    pairs = {flag for flag in meanings if f"{flag}s" in meanings}
    assert pairs <= {"--seed", "--method", "--model"}, (
        "one letter does not change a meaning"
    )


def test_the_options_fit_in_a_head_and_those_of_a_run_on_a_screen(monkeypatch):
    requests = [
        vars(module) for module in (permgrad.runs.requests, permgrad.runs.row_requests)
    ]
    kinds = {
        candidate
        for names in requests
        for candidate in names.values()
        if dataclasses.is_dataclass(candidate)
    }
    field_metadata = [kind.__dataclass_fields__[name].metadata for kind in kinds for name in kind.__annotations__
           if name in kind.__dataclass_fields__]  # fmt: skip
    assert (
        len(
            [
                facts
                for facts in field_metadata
                if "option" in facts and not facts["option"].positional
            ]
        )
        <= 100
    )
    monkeypatch.setenv("COLUMNS", "100")
    shown = CliRunner().invoke(app, ["run", "--help"], terminal_width=100).output
    assert len(shown.splitlines()) <= 60
    assert max(map(len, shown.splitlines())) <= 100


REMOVED = [
    ("run", "--split-group", "--row-group"), ("run", "--competitor", None), ("run", "--branches", "--baselines"),
    ("run", "--row-image", None), ("run", "--text-encoder", "--encoder"), ("run", "--image-encoder", "--encoder"),
    ("run", "--thorough", None), ("run", "--against", None), ("run", "--title", None), ("run", "--interactions", None),
    ("run", "--validation", None), ("run", "--split-seed", None), ("run", "--what-if", None),
    ("run", "--batch-size", None), ("run", "--class-names", None), ("explain", "--where", None),
    ("explain", "--class", None), ("explain", "--scope", None), ("explain", "--sample", None),
    ("explain", "--form", None), ("explain", "--stream", None), ("explain", "--baseline", None),
    ("explain", "--positive", "--option"), ("report", "--positive", None), ("compare", "--folds", None),
    ("compare", "--repeats", None), ("compare", "--splits", None), ("compare", "--methods", "--models"),
    ("tune", "--study", None), ("tune", "--no-pruning", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "flag", "place"),
    [
        ("run", "--optimizer", "It is a setting of a preset: --preset FILE.json."),
        ("run", "--repeats", "It is an option of permgrad explain."),
        ("images", "--optimizer", ""),
        ("predict", "--layout", "It is an option of permgrad images."),
        ("explain", "--baselines", "It is an option of permgrad run."),
    ],
)
def test_an_option_of_something_else_says_where_it_belongs(command, flag, place):
    result = CliRunner().invoke(app, [command, "x", flag, "1"])
    assert result.exit_code == 2
    expected = f"error: No such option: {flag}. {place}".strip()
    rest = f" See 'permgrad {command} --help'. [PG003]"
    assert result.stderr.strip() == expected + rest


@pytest.mark.parametrize(("command", "flag", "near"), REMOVED)
def test_an_option_that_is_gone_is_unknown_as_any_other(command, flag, near):
    result = CliRunner().invoke(app, [command, "x", flag, "1"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: No such option: {flag}. ")
    assert result.stderr.rstrip().endswith(f"See 'permgrad {command} --help'. [PG003]")
    if near is not None:
        assert f"Did you mean {near!r}" in result.stderr or near in (
            "--baselines",
            "--option",
            "--models",
            "--encoder",
        )


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["t.csv", "--baselines"], ("usual",)),
        (["--baselines", "t.csv", "--target", "y"], ("usual",)),
        (["--baselines", "heloc"], ("usual",)),
        (["t.csv", "--baselines", "--target", "y"], ("usual",)),
        (["t.csv", "--baselines", "linear,tabm"], ("linear", "tabm")),
        (["t.csv", "--baselines=linear", "--baselines", "usual"], ("linear", "usual")),
    ],
)
def test_baselines_are_the_usual_ones_or_those_named(words, names, monkeypatch):
    run_requests: list[RunRequest] = []

    def check(request):
        run_requests.append(request)
        raise typer.Exit  # the words are read; nothing is trained

    monkeypatch.setattr(RunRequest, "check", check)
    CliRunner().invoke(app, ["run", *words])
    assert run_requests[0].baselines == names
    assert run_requests[0].command.endswith(
        "--baselines" if names == ("usual",) else ",".join(names)
    )


def test_encoders_are_told_apart_by_their_name(tmp_path):
    from permgrad.models.encoders import image_encoders, text_encoders

    assert tuple(text_encoders) == options.TEXT_ENCODERS
    assert tuple(image_encoders) == options.IMAGE_ENCODERS
    request = RunRequest(table="t.csv", encoder=("efficientnet-lite0", str(tmp_path)))
    assert (request.text_encoder, request.image_encoder) == (
        str(tmp_path),
        "efficientnet-lite0",
    )


def test_the_model_of_a_run_has_a_short_name(tmp_path):
    (tmp_path / "table.csv").write_text("a,y\n1,2\n")
    command = ["run", str(tmp_path / "table.csv"), "--target", "y", "-m"]
    shown = [
        CliRunner().invoke(app, [*command, name]).output
        for name in ("netwerk", "network")
    ]
    assert "--model cannot be" in shown[0]
    assert "'netwerk'" in shown[0]
    assert "--model" not in shown[1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("permgrad explain run --method shap", ["shapley"]),
        ("permgrad run table.csv --target a", ["age", "arm"]),
        ("permgrad benchmark t", ["tabular"]),
    ],
)
def test_shells_complete_choices_and_columns(line, expected, tmp_path):
    (tmp_path / "table.csv").write_text("age;arm;dose\n1;2;3\n", encoding="utf-8")
    code = (
        "import sys; from permgrad.cli import app; sys.argv = ['permgrad']; "
        "app(prog_name='permgrad')"
    )
    variables = {
        "_PERMGRAD_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.environ.update({json.dumps(variables)}); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == expected, done.stderr


def _ended(commands, folder, module):
    """Run commands in one process of their own, and return of each the exit code,
    whether a module has been imported by then, and what it prints as its error.
    """
    code = f"""
import contextlib, io, json, sys
from permgrad.cli import app
for words in {commands!r}:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            app(words)
    except SystemExit as end:
        imported = {module!r} in sys.modules
        print(json.dumps([end.code, imported, printed.getvalue()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) == len(commands), done.stdout
    return ends


def test_settings_of_presets_are_told_as_they_are():
    assert tuple(setting_names()) == PRESET_SETTINGS


def test_wrong_arguments_are_refused_before_torch_is_imported(tmp_path):
    commands = [
        ["run", "table.csv", "--target", "armm"],
        ["run", "table.csv", "--target", "arm", "--preset", "defalt"],
        ["compare", "table.csv", "--target", "armm"],
        ["tune", "table.csv", "--target", "armm"],
        ["explain", "nothing"],
        ["predict", "nothing", "table.csv"],
        ["run", "table.csv", "--target", "arm", "--device", "tpu"],
        ["run", "table.csv", "--target", "arm", "--cost", "0", "0"],
        ["run", "table.csv", "--target", "arm", "--kind", "age"],
        ["run", "table.csv", "--target", "arm", "--drop", "nowhere"],
        ["benchmark", "tabulr"],
        ["run", "table.csv", "--frobnicate", "3", "--preset", "fast"],
        ["run", "table.csv", "--target", "arm", "--weight-decay", "0.1"],
        ["tune", "table.csv", "--preset", "none.json", "--zzz"],
        ["images", "table.csv", "--schedule", "flat"],
    ]
    rows = [f"{row};{row % 2};{row * row % 7}" for row in range(60)]
    (tmp_path / "table.csv").write_text(
        "\n".join(["age;arm;dose", *rows]), encoding="utf-8"
    )
    ends = _ended(commands, tmp_path, "torch")
    for words, (code, imported, printed) in zip(commands, ends, strict=True):
        assert (code, imported) == (2, False), words
        assert printed.startswith("error: "), words


def test_a_wrong_name_costs_a_start_and_a_header(tmp_path):
    run = ["run", "t.csv", "--target", "arm"]
    sentences = {
        ("run", "t.csv", "--target", "armm"): (
            "--target armm: no such column. Did you mean 'arm'?"
        ),
        ("run", "t.csv"): (
            "Missing --target. Which column should be predicted? Columns: age, arm, "
            "dose."
        ),
        (*run, "--drop", "dos"): "--drop dos: no such column. Did you mean 'dose'?",
        ("compare", *run[1:], "--row-group", "clinic"): (
            "--row-group clinic: no such column."
        ),
        ("tune", *run[1:], "--kind", "aeg=text"): "--kind aeg: no such column.",
        ("run", "u.csv", "--target", "arm"): (
            "The table file 'u.csv' does not exist. Check the path."
        ),
    }
    # The rest of the file is no table: nobody has read it.
    (tmp_path / "t.csv").write_text(
        "age;arm;dose\n" + "1;2;3\n" * 100_000 + "no table", encoding="utf-8"
    )
    ends = _ended([list(words) for words in sentences], tmp_path, "pandas")
    for sentence, (code, imported, printed) in zip(
        sentences.values(), ends, strict=True
    ):
        assert (code, imported) == (2, False), sentence
        assert printed.startswith(f"error: {sentence}")


@pytest.mark.slow
def test_a_column_that_only_its_place_names_is_looked_for_in_the_table(tmp_path):
    (tmp_path / "t.csv").write_text(";age;arm\nx;1;2\ny;2;3\n", encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        "permgrad",
        "run",
        "t.csv",
        "--target",
        "arm",
        "--drop",
        "column 4",
    ]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "--drop 'column 4': no such column. Did you mean 'column 1'?" in done.stderr


def test_an_option_of_two_values_says_how_it_is_written():
    words = ["run", "table.csv", "--target", "y", "--cost"]
    written = " Write --cost A B, with a blank between them."
    result = CliRunner().invoke(app, [*words, "2,7", "--seed", "1"])
    problem = "error: --cost must be a valid number."
    hint = " See 'permgrad run --help'. [PG001]"
    assert result.stderr.rstrip() == problem + written + hint
    other = CliRunner().invoke(app, [*words[:-1], "--threshold", "half"])
    assert written not in other.stderr
