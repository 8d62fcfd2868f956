"""permgrad mcp: the whole story by a client, refusals of wrong calls, and that nothing
outside the folder changes.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from agent import Agent

from permgrad import load_dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))
import output_schema

sys.path.pop(0)
jsonschema = pytest.importorskip("jsonschema")
RUN = {
    "table": "table.csv",
    "target": "outcome",
    "id": ["code"],
    "preset": "fast",
    "out": "runs/one",
}


def table(rows: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, rows), "dose": rng.normal(size=rows)}
    )
    frame["town"] = rng.choice(["Bonn", "Ulm", "Köln"], rows)
    frame["code"] = [f"case {i}" for i in range(rows)]
    ill = (frame["age"] - 50) / 10 + (frame["town"] == "Ulm") + 0.3 * rng.normal(
        size=rows
    ) > 0.3
    return frame.assign(outcome=np.where(ill, "ill", "well"))


class Bomb:
    """A pickle that writes a file where it is opened."""

    def __init__(self, base_folder: Path) -> None:
        self.place = base_folder

    def __reduce__(self):
        return Path.write_text, (self.place, "opened")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder for the server within a world that must stay as it is, also the caches
    of home.
    """
    world = tmp_path_factory.mktemp("world")
    for name in ("inside", "outside", "home", "tmp"):
        (world / name).mkdir()
    inside = world / "inside"
    outside = world / "outside"
    table().to_csv(inside / "table.csv", index=False)
    table(60).to_csv(outside / "other.csv", index=False)
    (outside / "cache").mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    (inside / "model.pkl").write_bytes(pickle.dumps(Bomb(outside / "opened")))
    (inside / "empty.csv").write_text("")
    (inside / "noise.bin").write_bytes(bytes(range(256)) * 40)
    (inside / "notes.json").write_text('{"a": 1}')
    return world


@pytest.fixture(scope="module")
def agent(world):
    home = str(world / "home")
    with Agent(
        world / "inside", HOME=home, XDG_CACHE_HOME=home, TMPDIR=str(world / "tmp")
    ) as agent:
        agent.told("run", **RUN)
        shutil.copytree(world / "inside" / "runs" / "one", world / "outside" / "run")
        yield agent
    assert not list((world / "inside").glob(".permgrad-*")), "the server tidies up"


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (
            path.lstat().st_mtime_ns,
            path.lstat().st_size if path.is_file() else 0,
        )
        for path in folder.rglob("*")
    }


@pytest.fixture(autouse=True)
def nothing_outside(request, world):
    """Whatever is asked, the world outside the folder stays as it is."""
    if "agent" in request.fixturenames:
        request.getfixturevalue("agent")
    before = [tree(world / name) for name in ("outside", "home", "tmp")]
    yield
    assert [tree(world / name) for name in ("outside", "home", "tmp")] == before


def fulfils(name: str, facts: dict) -> None:
    schema = {**output_schema.OUTPUTS[name], "$defs": output_schema.document()["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(facts)
    assert set(facts) <= set(schema["properties"])
    assert facts["verdict"]
    assert all(
        statement["sentence"].strip() and statement["facts"]["kind"]
        for statement in facts["verdict"]
    )


# ---- the story -----------------------------------------------------------------------
def test_tools_say_what_they_take_and_whether_they_write(agent):
    tools = agent.tools()
    assert set(tools) == {
        *(
            "describe_table",
            "run",
            "read_run",
            "explain_row",
            "what_if",
            "counterfactuals",
            "compare",
        ),
    }
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        assert all(
            entry["description"] for entry in tool.input_schema["properties"].values()
        )
    writes = {
        name for name, tool in tools.items() if not tool.annotations.read_only_hint
    }
    assert writes == {"run", "explain_row", "compare"}


def test_a_table_is_described(agent, world):
    facts = agent.told("describe_table", table="table.csv", na=[-9])
    fulfils("describe_table", facts)
    columns = {column_facts["name"]: column_facts for column_facts in facts["columns"]}
    assert columns["age"]["kind"] == "numeric"
    assert columns["age"]["low"] == pytest.approx(table()["age"].min())
    assert (
        columns["town"]["frequent"][0]["rows"] == table()["town"].value_counts().max()
    )
    assert agent.told("describe_table", table="breast_cancer")["target"] == "diagnosis"


@pytest.mark.slow
def test_a_server_that_may_reads_tables_of_other_folders(world):
    with Agent(world / "inside", tables_in_folder=False) as anywhere:
        table_outside = str(world / "outside" / "other.csv")
        assert anywhere.told("describe_table", table=table_outside)["rows"] == 60


def test_a_run_gives_the_verdict_and_is_read_again(agent, world):
    facts = agent.told("run", **RUN)
    fulfils("run", facts)
    assert facts["already_finished"]
    again = agent.told("read_run", run="runs/one")
    assert again == facts
    stored = json.loads(
        (world / "inside" / "runs" / "one" / "metrics.json").read_text()
    )
    assert facts["verdict"] == stored["verdict"]
    assert facts["test"]["accuracy"] > 0.7, "the precondition of what follows"


def test_a_row_is_explained(agent):
    facts = agent.told(
        "explain_row", run="runs/one", table="table.csv", row=3, method="shapley"
    )
    fulfils("explain", facts)
    assert facts["scope"] == "local"
    assert facts["rows"][0]["row"] == 3
    spoken = {
        statement["facts"]["feature"]: statement
        for statement in facts["verdict"]
        if statement["facts"]["kind"] == "feature"
    }
    assert set(spoken) == {"age", "dose", "town"}
    output = next(
        statement["facts"]["output"]
        for statement in facts["verdict"]
        if statement["facts"]["kind"] == "quantity"
    )
    values = {
        importance_entry["feature"]: importance_entry["importance"]
        for importance_entry in facts["importance"]
        if importance_entry["class"] == output
    }
    for name, feature_statement in spoken.items():
        assert feature_statement["facts"]["importance"] == pytest.approx(values[name])
        assert ("raises" in feature_statement["sentence"]) == (values[name] > 0)
    assert (
        agent.told(
            "explain_row", run="runs/one", table="table.csv", row=3, method="shapley"
        )
        == facts
    ), "as often as asked"


def test_what_if_and_counterfactuals_agree(agent, world):
    rows = pd.read_csv(world / "inside" / "runs" / "one" / "predictions.csv")
    first = rows[rows["prediction"] == "well"].iloc[0]
    counterfactuals = agent.told(
        "counterfactuals", run="runs/one", row=int(first["row"]), want="ill", count=2
    )
    fulfils("counterfactuals", counterfactuals)
    assert counterfactuals["prediction"] == "well"
    assert counterfactuals["alternatives"]
    for alternative in counterfactuals["alternatives"]:
        changes = {name: cells["to"] for name, cells in alternative["cells"].items()}
        facts = agent.told(
            "what_if", run="runs/one", row=int(first["row"]), changes=changes
        )
        fulfils("what_if", facts)
        assert facts["before"]["probability_ill"] == pytest.approx(
            first["probability_ill"], abs=1e-6
        )
        assert facts["after"]["prediction"] == "ill"
        assert facts["after"]["probability_ill"] == pytest.approx(
            alternative["probability"], abs=1e-5
        )
    dose_counterfactuals = agent.told(
        "counterfactuals",
        run="runs/one",
        row=int(first["row"]),
        fixed=["age", "town"],
        max_changes=1,
    )
    assert all(
        set(dose_alternative["cells"]) == {"dose"}
        for dose_alternative in dose_counterfactuals["alternatives"]
    )
    assert dose_counterfactuals["alternatives"] or dose_counterfactuals["reason"]


def test_what_if_tells_of_numbers_that_no_row_has_and_takes_missing_cells(agent):
    facts = agent.told(
        "what_if",
        run="runs/one",
        table="table.csv",
        row=0,
        changes={"age": 400, "dose": None},
    )
    assert [
        statement["facts"]["column"]
        for statement in facts["verdict"]
        if statement["facts"]["kind"] == "outside"
    ] == ["age"]
    # However it is written, it is the number that the encoder reads.
    for cell, expected in (("400", ["age"]), (True, ["age"]), ("51", []), (51, [])):
        facts = agent.told(
            "what_if", run="runs/one", table="table.csv", row=0, changes={"age": cell}
        )
        columns = [
            sentence["facts"]["column"]
            for sentence in facts["verdict"]
            if sentence["facts"]["kind"] == "outside"
        ]
        assert columns == expected, cell
    facts = agent.told(
        "what_if", run="runs/one", table="table.csv", row=0, changes={"town": "Rom"}
    )
    assert any("Rom" in warning for warning in facts["warnings"])


def test_models_are_compared(agent):
    facts = agent.told("compare", table="table.csv", target="outcome", drop="code", models=["linear", "histogram_boosting"],
                       cv="2", explain=False, out="compared")  # fmt: skip
    fulfils("compare", facts)
    assert facts["verdict"][0]["facts"]["models"][0]["model"] == facts["best"]
    assert [statement["sentence"] for statement in facts["verdict"]] == facts[
        "sentences"
    ]


# ---- long work -----------------------------------------------------------------------
@pytest.mark.slow
def test_progress_is_told_and_cancelled_work_is_resumed(agent, world):
    arguments = {
        "table": "table.csv",
        "target": "outcome",
        "drop": ["code"],
        "out": "long",
    }
    arguments |= {"models": ["extra_trees", "bagging"], "cv": "4", "explain": False}
    lines: list[str] = []
    steps: list[float] = []
    call = agent.begin(
        "compare",
        arguments,
        lambda progress, _, message: (steps.append(progress), lines.append(message)),
    )
    while not any("[2/8]" in line for line in lines):
        assert not call.done(), "the precondition: it takes long enough to be cancelled"
        time.sleep(0.02)
    call.cancel()
    assert agent.told("read_run", run="runs/one"), "the next call is answered"
    assert steps == sorted(set(steps))
    lines.clear()
    result = agent.begin(
        "compare", arguments, lambda _, __, message: lines.append(message)
    ).result(timeout=300)
    assert not result.is_error
    assert sum("finished before" in line for line in lines) >= 2, (
        "it goes on where it was"
    )
    assert sum("fitted in" in line for line in lines) >= 2
    assert not result.structured_content["already_finished"]
    assert not [
        path for path in (world / "inside" / "long").rglob(".*") if path.name != ".lock"
    ]


@pytest.mark.slow
def test_what_is_asked_first_can_be_cancelled_too(agent):
    calls = [agent.begin("describe_table", {"table": "table.csv"}) for _ in range(4)]
    calls[0].cancel()
    calls[2].cancel()
    assert [
        call.result(timeout=120).structured_content["rows"]
        for call in (calls[1], calls[3])
    ] == [240, 240]


# ---- wrong calls ---------------------------------------------------------------------
TOOLS = (
    "describe_table",
    "run",
    "explain_row",
    "what_if",
    "counterfactuals",
    "compare",
    "read_run",
)
GOOD = {
    "describe_table": {"table": "table.csv"},
    "run": {"table": "table.csv", "target": "outcome"},
    "explain_row": {"run": "runs/one", "row": 3, "table": "table.csv"},
    "what_if": {
        "run": "runs/one",
        "row": 3,
        "table": "table.csv",
        "changes": {"age": 40},
    },
    "counterfactuals": {"run": "runs/one", "row": 3, "table": "table.csv"},
    "compare": {
        "table": "table.csv",
        "target": "outcome",
        "cv": "2",
        "models": ["linear"],
    },
    "read_run": {"run": "runs/one"},
}
DEEP = json.loads("[" * 60 + "]" * 60)
WRONG = [
    *((name, {"nonsense": 1}) for name in TOOLS),
    *((name, {"table": file_path}) for name in ("describe_table", "run", "explain_row", "compare")
      for file_path in ("nothing.csv", "", "\0", "/dev/zero", "/etc/passwd", "../outside/other.csv",
                    "link/other.csv", "loop", "x" * 5000, "inside\n", "model.pkl", "empty.csv",
                    "noise.bin", 3, None, ["table.csv"], {"a": 1}, "http://127.0.0.1:9/table.csv", "/proc/self/mem")),
    *((name, {"run": run_folder}) for name in ("read_run", "explain_row", "what_if", "counterfactuals")
      for run_folder in ("nothing", "", ".", "..", "../outside/run", "link/run", "/etc", "loop", "\0", "table.csv",
                    "model.pkl", "runs", 3, None, True, [])),
    *((name, {"out": output_folder}) for name in ("run", "explain_row", "compare")
      for output_folder in ("../outside/new", f"{tempfile.gettempdir()}/permgrad-new", "link/new", "link", ".", "", "\0", "..",
                    "loop/new", "a/../../outside/new", 3, None)),
    *((name, {"row": row}) for name in ("explain_row", "what_if", "counterfactuals")
      for row in (-1, 240, 10**30, "3", 2.5, None, True, [3])),
    *(("run", {"model": model}) for model in ("os:system", "model.pkl", "../outside/x.onnx", "nonsense", 3)),
    *(("run", arguments) for arguments in (
        {"target": "outcom"}, {"target": ["outcome", "age"]}, {"target": []}, {"target": [["outcome"]]}, {"seed": -1},
        {"seed": "a"}, {"preset": "../outside/p.json"}, {"preset": "nonsense"}, {"time_limit": "soon"}, {"refits": 1},
        {"refits": 10**9},
        {"kind": ["age"]}, {"kind": ["age=nonsense"]}, {"drop": "nobody"}, {"task": "guess"}, {"overwrite": "yes"},
        {"time": "nobody"}, {"test": "nothing.csv"}, {"test": "model.pkl"}, {"positive": "Rom"}, {"sheet": "one"},
        {"trust": ["os.system"]}, {"groups": "notes.json"}, {"device": "cuda"}, {"target": None})),
    *(("what_if", {"changes": changes}) for changes in (
        {}, [], None, "age=3", {"nobody": 1}, {"age": "old"}, {"age": [1]}, {"age": {"a": 1}}, {"outcome": "ill"},
        DEEP)),
    *(("counterfactuals", arguments) for arguments in (
        {"want": "Rom"}, {"want": [1, 2, 3]}, {"want": DEEP}, {"fixed": ["nobody"]},
        {"range": ["nobody=0..1"]}, {"range": "age"}, {"range": ["age=60..40"]}, {"range": [[1]]},
        {"direction": ["age=sideways"]}, {"direction": ["town=up"]}, {"count": 0}, {"count": 10**9},
        {"max_changes": 0})),
    *(("explain_row", arguments) for arguments in (
        {"method": "nonsense"}, {"method": "aggregate"}, {"target": "Rom"}, {"baseline": "zeros"}, {"repeats": 0},
        {"repeats": 10**9},
        {"positive": "Rom"}, {"option": ["scope=global"]})),
    *(("compare", arguments) for arguments in (
        {"models": ["../outside/p.json"]}, {"models": ["os:system"]}, {"models": [3]}, {"models": "nonsense"},
        {"cv": "1"}, {"cv": str(10**6)}, {"metric": "nonsense"}, {"metric": "rmse"}, {"cv": "2x0"})),
    ("nonsense", {}), ("", {}), ("__class__", {"table": "table.csv"}),
]  # fmt: skip


def named(value: object) -> str:
    return ascii(value)[:60]


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=named)
def test_a_wrong_call_is_refused_in_words(agent, world, name, wrong):
    before = tree(world / "inside")
    result = agent.ask(name, {**GOOD.get(name, {}), **wrong})
    message = result.content[0].text
    assert result.is_error, message
    assert "A fault in permgrad" not in message
    assert message.endswith("]"), "a code"
    assert message.count("\n") == 0
    assert len(message) < 6500
    remaining_paths = {
        path for path in tree(world / "inside") if "/.permgrad-mcp-" not in path
    }
    assert remaining_paths == {path for path in before if "/.permgrad-mcp-" not in path}


def test_a_missing_argument_is_named(agent):
    for name, arguments in GOOD.items():
        for argument in agent.tools()[name].input_schema["required"]:
            result = agent.ask(
                name,
                {key: value for key, value in arguments.items() if key != argument},
            )
            assert result.is_error
            assert f"'{argument}'" in result.content[0].text


def test_links_in_a_run_lead_nowhere(agent, world):
    """A run whose inner folder is a link to a place outside: nothing is written
    there.
    """
    run = world / "inside" / "runs" / "linked"
    shutil.copytree(world / "inside" / "runs" / "one", run)
    shutil.rmtree(run / ".explanations")
    (run / ".explanations").symlink_to(world / "outside" / "cache")
    before = tree(world / "outside")
    agent.ask("explain_row", run="runs/linked", table="table.csv", row=5)
    agent.ask("run", {**RUN, "out": "runs/linked", "overwrite": True})
    assert tree(world / "outside") == before


GUARDED = """
import os, shutil, sys, tempfile
from pathlib import Path
from permgrad.cli.server import guard
inside, outside = Path(sys.argv[1]), Path(sys.argv[2])
tempfile.tempdir = str(inside)
guard(inside)
tries = {
    "open": lambda: open(outside / "new", "w"), "append": lambda: open(outside / "old", "a"),
    "both": lambda: open(outside / "old", "r+b"), "os.open": lambda: os.open(outside / "new", os.O_CREAT | os.O_RDWR),
    "mkdir": lambda: (outside / "d").mkdir(), "remove": lambda: (outside / "old").unlink(),
    "rename": lambda: (inside / "own").rename(outside / "own"), "fetch": lambda: (outside / "old").rename(inside / "x"),
    "symlink": lambda: (outside / "s").symlink_to(inside), "link": lambda: os.link(inside / "own", outside / "own"),
    "steal": lambda: os.link(outside / "old", inside / "old"), "chmod": lambda: os.chmod(outside / "old", 0o600),
    "truncate": lambda: os.truncate(outside / "old", 0), "utime": lambda: os.utime(outside / "old"),
    "rmtree": lambda: shutil.rmtree(outside / "folder"), "rmdir": lambda: (outside / "empty").rmdir(),
    "up": lambda: open(inside / ".." / "outside" / "new", "w"), "link in": lambda: open(inside / "link" / "new", "w"),
    "link out": lambda: open(inside / "file", "w"), "bytes": lambda: open(os.fsencode(outside / "new"), "w"),
    "copy": lambda: shutil.copy(inside / "own", outside / "own"),
    "up link": lambda: open(inside / "link" / ".." / "n", "w"),
}
for name, work in tries.items():
    try:
        work()
    except PermissionError:
        continue
    print("not refused:", name)
(inside / "new").mkdir(); (inside / "new" / "a").write_text("a"); (inside / "new" / "a").rename(inside / "new" / "b")
(inside / "file").unlink(); (inside / "folder").mkdir(); shutil.rmtree(inside / "new"); os.open(os.devnull, os.O_RDWR)
assert (outside / "old").read_text() == "old"
with tempfile.TemporaryDirectory() as place: Path(place, "x").write_text("x")
"""


def test_the_process_that_computes_changes_nothing_outside(world, tmp_path):
    inside = tmp_path / "inside"
    outside = tmp_path / "outside"
    for folder in (inside, outside, outside / "folder", outside / "empty"):
        folder.mkdir()
    (outside / "old").write_text("old")
    (outside / "folder" / "a").write_text("a")
    (inside / "own").write_text("own")
    (inside / "link").symlink_to(outside)
    (inside / "file").symlink_to(outside / "old")
    before = tree(outside)
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, inside, outside],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
    assert tree(outside) == before


# ---- the command ---------------------------------------------------------------------
def test_a_folder_that_is_none_is_refused(tmp_path):
    words = [sys.executable, "-m", "permgrad", "mcp", "--folder", tmp_path / "none"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'none'} is no folder. Make it")


@pytest.mark.slow
def test_a_client_that_goes_away_leaves_silence(world):
    """Its pipes are closed while a call is under way: nobody is left to read an
    error.
    """
    command = [sys.executable, "-m", "permgrad", "mcp", "--folder", world / "inside"]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    client = {"name": "test", "version": "1"}
    begin = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    call = {"name": "describe_table", "arguments": {"table": "table.csv"}}
    for message in (
        {"id": 1, "method": "initialize", "params": begin},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ):
        line = json.dumps({"jsonrpc": "2.0", **message}) + "\n"
        server.stdin.write(line.encode())
        server.stdin.flush()
        if "id" in message and message["id"] == 1:
            assert b"permgrad" in server.stdout.readline()
    server.stdout.close()
    time.sleep(0.2)
    server.stdin.close()
    server.wait(timeout=120)
    assert server.stderr.read().decode() == ""


def test_without_the_package_the_extra_is_named(tmp_path):
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(name='mcp')")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(tmp_path), os.environ.get("PYTHONPATH", "")]
        ),
    }
    words = [sys.executable, "-m", "permgrad", "mcp"]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert "pip install 'permgrad[agents]'" in done.stderr


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(
    "PERMGRAD_DATA" not in os.environ, reason="PERMGRAD_DATA names no folder"
)
def test_the_whole_story_on_heloc(world, tmp_path):
    (tmp_path / "work").mkdir()
    data = load_dataset("heloc")
    some_rows = data.frame.sample(2500, random_state=0).replace(list(data.na), np.nan)
    some_rows.to_csv(tmp_path / "work" / "some.csv", index=False)
    table = {"table": "some.csv", "target": "RiskPerformance"}
    with Agent(tmp_path / "work") as agent:
        facts = agent.told("describe_table", table="heloc")
        assert (facts["rows"], facts["target"]) == (10459, "RiskPerformance")
        run = agent.told("run", **table, preset="fast", time_limit="20s")
        fulfils("run", run)
        assert run["test"]["roc_auc"] > 0.7
        rows = pd.read_csv(tmp_path / "work" / run["folder"] / "predictions.csv")
        row = int(
            rows.loc[
                (rows.filter(like="probability_").iloc[:, 0] - 0.45).abs().idxmin(),
                "row",
            ]
        )
        explained = agent.told("explain_row", run=run["folder"], row=row)
        fulfils("explain", explained)
        counterfactuals = agent.told("counterfactuals", run=run["folder"], row=row)
        fulfils("counterfactuals", counterfactuals)
        assert counterfactuals["alternatives"]
        changes = {
            name: cells["to"]
            for name, cells in counterfactuals["alternatives"][0]["cells"].items()
        }
        changed = agent.told("what_if", run=run["folder"], row=row, changes=changes)
        assert (
            changed["after"]["prediction"]
            == counterfactuals["alternatives"][0]["prediction"]
            != changed["before"]["prediction"]
        )
        compared = agent.told(
            "compare",
            **table,
            models=["linear", "histogram_boosting"],
            cv="2",
            explain=False,
        )
        fulfils("compare", compared)
        assert agent.told("read_run", run=run["folder"])["verdict"] == run["verdict"]
