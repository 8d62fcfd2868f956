"""``--kind COL=KIND``: a column is what the user says, in every command that trains."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import call

from permgrad import InputError
from permgrad.runs.compare.comparison_plan import from_request
from permgrad.runs.configuration import configuration
from permgrad.runs.requests import CompareRequest, RunRequest, TuneRequest
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_splitting import PARTS


def table(rows: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id_code": [f"n{i}" for i in range(rows)],
            "ward_id": rng.permutation(rows) + 1,
        }
    )
    frame["ward"] = rng.integers(1, 4, rows)
    frame["age"] = rng.normal(size=rows)
    return frame.assign(y=np.where(frame["age"] > 0, "yes", "no"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().to_csv("table.csv", index=False)
    return tmp_path


def request(*kinds: str, **options) -> RunRequest:
    return RunRequest(table="table.csv", target=("y",), kind=kinds, **options)


def test_a_declared_column_is_what_it_is_said_to_be(here):
    usual = load_inputs(request())
    assert "id_code" not in usual.parts["train"].frame.columns
    notes_text = "\n".join(usual.notes)
    assert (
        "left out: id_code, ward_id. To use one, pass --kind id_code=categorical or, "
        "to keep" in notes_text
    )
    assert usual.encoder_options == {"na": None, "groups": {}, "kinds": None}
    inputs = load_inputs(
        request(
            "id_code=categorical",
            "ward=categorical",
            "ward_id=identifier",
            "age = numeric",
        )
    )
    assert inputs.kinds == {
        "id_code": "categorical",
        "ward": "categorical",
        "age": "numeric",
    }
    assert inputs.notes == []
    for part_name in PARTS:
        assert list(inputs.parts[part_name].frame.columns) == ["id_code", "ward", "age"]
    described = pd.DataFrame(inputs.described[1]).set_index("name")
    assert described["kind"].to_dict() == {
        "id_code": "categorical", "ward_id": "identifier", "ward": "categorical", "age": "numeric"
    }  # fmt: skip
    assert described["role"]["ward_id"] == "left out: --kind identifier"
    (notes_text,) = load_inputs(request("ward_id=numeric")).notes
    assert "left out: id_code. To use" in notes_text


def test_what_cannot_be_is_refused_before_any_file_is_read():
    for request_words, message in {
        (
            "ward",
        ): "--kind must have the form COL=KIND, got 'ward'. For example: --kind "
        "postcode=",
        ("=numeric",): "--kind must have the form COL=KIND, got '=numeric'",
        (
            "ward=categoric",
        ): "kind of column 'ward' cannot be 'categoric'. Did you mean 'categorical'.",
        (
            "ward=constant",
        ): "must be one of 'numeric', 'categorical', 'boolean', 'date', 'calendar', "
        "'text', 'image', 'identifier'.*, got",
        (
            "a=date",
            "a=numeric",
        ): "Column 'a' has two kinds: --kind a=date and --kind a=numeric. Leave one of "
        "them out",
    }.items():
        with pytest.raises(InputError, match=message):
            request(*request_words).check()
    request("a=date", "a=date").check()


def test_kinds_of_what_is_no_feature_are_refused(here):
    for kind_words, options, message in [
        ("wart=numeric", {}, r"--kind wart: no such column. Did you mean 'ward'\?"),
        (
            "y=date",
            {},
            (
                "^The target 'y' cannot be of kind date. Pass --kind y=categorical to "
                "predict classes"
            ),
        ),
        (
            "y=categorical",
            {"task": "regression"},
            "^--kind y=categorical means classification, which contradicts --task",
        ),
        (
            "ward=numeric",
            {"drop": ("ward",)},
            "--kind ward=numeric does not apply to 'ward', which is left out: --drop",
        ),
        (
            "ward=numeric",
            {"row_group": "ward"},
            (
                "--kind ward=numeric does not apply to 'ward', which is left out: "
                "--row-group"
            ),
        ),
        (
            "id_code=numeric",
            {},
            "Column 'id_code' is declared numeric but is identifier",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            load_inputs(request(kind_words, **options))


def test_the_kind_of_the_target_says_the_task(here):
    frame = table(120).assign(grade=np.tile(np.arange(1, 13), 10))
    frame.to_csv("grades.csv", index=False)
    for command in (RunRequest, CompareRequest, TuneRequest):
        kind_request = command(
            table="grades.csv", target=("grade",), kind=("ward=categorical",)
        )
        for request_form in (
            kind_request,
            replace(kind_request, kind=(*kind_request.kind, "grade=categorical")),
        ):
            run = (
                request_form
                if command is RunRequest
                else request_form.run_request(
                    *(["fast"] if command is TuneRequest else [])
                )
            )
            inputs = load_inputs(run)
            task_notes = [
                note for note in inputs.notes if "--task classification" in note
            ]
            assert inputs.kinds == {"ward": "categorical"}
            if request_form is kind_request:
                assert (inputs.task, len(task_notes)) == ("regression", 1)
            else:
                assert (inputs.task, inputs.task_reason, task_notes) == (
                    "classification",
                    "as requested",
                    [],
                )
                assert inputs.parts["train"].y.dtype == np.int64
    assert (
        load_inputs(
            RunRequest(table="grades.csv", target=("ward",), kind=("ward=numeric",))
        ).task
        == "regression"
    )


def test_runs_of_other_kinds_are_other_runs(here):
    usual = request()
    category_request = request("ward=categorical")
    two = request("ward=numeric")
    configurations = [
        configuration(kind_request) for kind_request in (usual, category_request, two)
    ]
    assert "kind" not in configurations[0]
    assert (configurations[1]["kind"], configurations[2]["kind"]) == (
        ["ward=categorical"],
        ["ward=numeric"],
    )
    order = ("ward=categorical", "age=numeric")
    assert configuration(request(*order)) == configuration(
        request(*order[::-1], order[0])
    )
    assert category_request.command.endswith("--kind ward=categorical")
    tuned = TuneRequest(table="table.csv", target=("y",), kind=category_request.kind)
    assert tuned.run_request("fast").kind == category_request.kind
    assert "--kind ward=categorical" in tuned.command
    compared = CompareRequest(
        table="table.csv", target=("y",), kind=category_request.kind
    )
    assert configuration(compared)["kind"] == ["ward=categorical"]
    assert "kind" not in configuration(replace(compared, kind=()))
    assert "--kind ward=categorical" in compared.command
    assert from_request(compared).kinds == {"ward": "categorical"}


@pytest.mark.slow
def test_the_commands_train_on_a_declared_column(here):
    words = [
        "table.csv",
        "--target",
        "y",
        "--kind",
        "id_code=categorical",
        "--kind",
        "ward=categorical",
    ]
    Path("preset.json").write_text(json.dumps({"base": "fast", "max_epochs": 2}))
    run = [
        "run",
        *words,
        "--preset",
        "preset.json",
        "--out",
        "run",
        "--baselines",
        "linear",
    ]
    call(*run)
    assert {"id_code", "ward"} <= set(pd.read_csv("run/importance.csv")["feature"])
    schema = json.loads(Path("run/model/model.json").read_text())["preprocessor"][
        "schema"
    ]["columns"]
    kinds = {column["name"]: column["kind"] for column in schema}
    assert kinds == {
        "id_code": "categorical",
        "ward": "categorical",
        "age": "numeric",
    }  # ward_id names rows
    assert "Nothing was changed" in call(*run)
    other_words = [
        word if word != "ward=categorical" else "ward=numeric" for word in run
    ]
    assert re.search(
        r"differs in kind .*\. Replace it with --overwrite", call(*other_words, code=2)
    )
    call("predict", "run", "table.csv", "--out", "predicted.csv")
    assert len(pd.read_csv("predicted.csv")) == len(table())
    call(
        "compare",
        *words,
        "--models",
        "fast,linear",
        "--cv",
        "2",
        "--out",
        "compared",
        "--no-explain",
    )
    space = {"base": "fast", "parameters": {"max_epochs": {"choices": [1, 2]}}}
    Path("space.json").write_text(json.dumps(space))
    pytest.importorskip("optuna")
    call("tune", *words, "--space", "space.json", "--trials", "1", "--out", "tuned")
    files = list(Path("tuned").rglob("model.json"))
    assert files, "the winner's"
    for file in files:
        columns = json.loads(file.read_text())["preprocessor"]["schema"]["columns"]
        assert {column["name"]: column["kind"] for column in columns} == kinds


def test_a_declared_boolean_may_lack_its_rare_value_in_the_training_rows(here):
    for values in ((0, 1), ("no", "yes")):
        frame = table().assign(flag=values[0])
        usual = load_inputs(request())
        frame.loc[usual.parts["test"].numbers[0], "flag"] = values[1]
        frame.to_csv("rare.csv", index=False)
        inputs = load_inputs(replace(request("flag=boolean"), table="rare.csv"))
        flags = {
            part_name: inputs.parts[part_name].frame["flag"].nunique()
            for part_name in PARTS
        }
        assert flags == {"train": 1, "validation": 1, "test": 2}, (
            "the rare value is among the test rows alone"
        )
        assert (
            pd.DataFrame(inputs.described[1]).set_index("name").loc["flag", "kind"]
            == "constant"
        )


def test_a_kind_may_have_the_name_that_others_give_it():
    assert request("ward=number", "b=factor", "c=datetime").kinds == {
        "ward": "numeric",
        "b": "categorical",
        "c": "date",
    }
