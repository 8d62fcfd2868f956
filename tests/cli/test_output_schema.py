"""What every command prints with --json fulfils the published schema, which knows all
of it.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call, working_in

from permgrad.cli.commands import app

pytestmark = pytest.mark.usefixtures("undrawn")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import output_schema  # noqa: E402

sys.path.pop(0)
jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
RUN = (
    "run",
    "table.csv",
    "--target",
    "outcome",
    "--id",
    "code",
    "--preset",
    "preset.json",
)
#: Each command, in an order in which it finds what it needs.
CALLS = [
    ("run", (*RUN, "--out", "run", "--baselines", "linear,extra_trees", "--cost", "1", "5")),
    # which is finished
    ("run", (*RUN, "--out", "run", "--baselines", "linear,extra_trees", "--cost", "1", "5")),
    ("run", ("run", "table.csv", "--target", "dose", "--preset", "preset.json", "--out", "numbers")),
    ("explain", ("explain", "run")),
    ("explain", ("explain", "run", "table.csv", "--method", "shapley", "--row", "3")),
    ("explain", ("explain", "run", "table.csv", "--method", "integrated_gradients", "--row", "3")),
    ("explain", ("explain", "run", "parts", "--repeats", "2", "--out", "streamed")),
    ("predict", ("predict", "run", "table.csv", "--coverage", "0.9")),
    ("predict", ("predict", "numbers", "table.csv", "--out", "-")),
    ("predict", ("predict", "run", "parts")),
    ("counterfactuals", ("counterfactuals", "run", "table.csv", "--row", "3", "--out", "cf.csv")),
    ("report", ("report", "run")),
    ("compare", ("compare", "table.csv", "--target", "outcome", "--models", "linear,extra_trees", "--cv", "2")),
    ("tune", ("tune", "table.csv", "--target", "outcome", "--trials", "2", "--space", "space.json")),
    ("images", ("images", "table.csv", "--target", "outcome", "--id", "code")),
    ("datasets list", ("datasets", "list")),
    ("datasets fetch", ("datasets", "fetch", "breast_cancer")),
    pytest.param("demo", ("demo",), marks=pytest.mark.slow),
    pytest.param("benchmark", ("benchmark", "tabular", "--quick", "--functions", "xor", "--methods", "permgrad",
                               "--no-peers"), marks=pytest.mark.slow),
]  # fmt: skip
#: The command that makes each folder that others read: any case may be the first.
MADE_BY = {
    entry[1][entry[1].index("--out") + 1]: entry[1]
    for entry in CALLS
    if isinstance(entry, tuple) and entry[0] == "run"
}
#: What a command needs beside the dependencies.
NEEDS = {"tune": "optuna"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.normal(50, 10, 200), "dose": rng.normal(size=200)})
    table["town"] = rng.choice(["Bonn", "Ulm"], 200)
    table["code"] = [f"case {i}" for i in range(200)]
    table["outcome"] = np.where(
        table["age"] + 5 * (table["town"] == "Ulm") > 52, "ill", "well"
    )
    table.to_csv(folder / "table.csv", index=False)
    (folder / "parts").mkdir()
    table.to_parquet(folder / "parts" / "part.parquet")
    space = {
        "base": "preset.json",
        "parameters": {"learning_rate": {"choices": [1e-3, 1e-2]}},
    }
    (folder / "space.json").write_text(json.dumps(space))
    with working_in(folder):
        yield folder


def check(name: str, facts: dict) -> None:
    """Refuse an output that breaks the schema, or that has entries the schema does not
    know.
    """
    document = output_schema.document()
    schema = output_schema.OUTPUTS["run" if name == "demo" else name]
    jsonschema.Draft202012Validator({**schema, "$defs": document["$defs"]}).validate(
        facts
    )
    assert set(facts) <= set(schema["properties"])
    jsonschema.Draft202012Validator(document).validate(facts)


@pytest.mark.parametrize(("name", "words"), CALLS)
def test_a_command_prints_what_the_schema_says(place, name, words):
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    folder = words[min(1, len(words) - 1)]
    if name != "run" and folder in MADE_BY and not (place / folder).exists():
        call(*MADE_BY[folder])
    check(name, json.loads(call(*words, "--json")))


def test_every_command_with_a_result_has_a_schema():
    names = {
        command.name or command.callback.__name__ for command in app.registered_commands
    }
    groups = {
        f"{group.name} {command.name}"
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
    }
    assert (names | groups) - {"mcp"} <= set(output_schema.OUTPUTS)
    tested = {
        getattr(command_call, "values", command_call)[0] for command_call in CALLS
    }
    assert names | groups == tested | {"mcp"}


def test_the_published_file_is_the_schema():
    assert output_schema.FILE.read_text(encoding="utf-8") == output_schema.written(), (
        "run docs/output_schema.py"
    )
    jsonschema.Draft202012Validator.check_schema(output_schema.document())


def test_the_schema_refuses_what_is_no_output():
    for facts in ({}, {"folder": 3}, {"rows": -1, "out": None}, {"report": None}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(output_schema.document()).validate(facts)
