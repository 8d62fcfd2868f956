"""Files that once led to something else than a sentence, made again as found, and files
that ask for memory.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from invoking import call, train_run
from safetensors.torch import save as weights_to_bytes

import permgrad as pg
from permgrad.base import stored as _stored
from permgrad.base.csv_files import csv_text, read_csv, write_csv
from permgrad.base.stored import parse_json, read_npz, sealed, write_npz


def npy(header, numbers=b""):
    """Return an array of an npz file whose header is this text."""
    text = header.encode() if isinstance(header, str) else repr(header).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + numbers


ONE = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", bytes(8))


def npz(array=ONE, kind=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("a.npy", array)
    return file.getvalue()


# ---- arrays and documents ------------------------------------------------------------


def described(descr, shape=(1,)):
    return npy({"descr": descr, "fortran_order": False, "shape": shape}, bytes(8))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npz(npy("(" * 200)), "a header that cannot be read"),
        (npz(npy("{[]: 1}")), "a header that cannot be read (TypeError)"),
        (npz(npy("{'shape': (1,")), "a header that cannot be read"),
        (npz(npy("{" * 90 + "\t\t")), "a header that cannot be read"),
        (npz(kind=zipfile.ZIP_LZMA), "compressed in a way that is not NumPy's"),
        (npz(kind=zipfile.ZIP_BZIP2), "compressed in a way that is not NumPy's"),
        (npz(described("<f8", (10**12,))), "says it has"),
        (npz(described("<U0", (10**12,))), "which permgrad never writes"),
        (npz(described("|V8")), "which permgrad never writes"),
        (npz(described([("a", "<f8")])), "which permgrad never writes"),
        (npz(described("|S0", (2**40,))), "which permgrad never writes"),
    ],
)
def test_odd_arrays_are_refused(content, said):
    with pytest.raises(ValueError, match=r"[^\n]") as error:
        read_npz(content)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(_stored, "MOST_UNPACKED", 2**20)
    bomb = io.BytesIO()
    np.savez_compressed(bomb, a=np.zeros(2**21))
    assert len(bomb.getvalue()) < 2**21 * 8 / 200
    tracemalloc.start()
    with pytest.raises(
        ValueError, match="says that it unpacks to 16,777,344, which is not believed"
    ):
        read_npz(bomb.getvalue())
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
    # What we write ourselves is always read, however well it could be compressed.
    write_npz(tmp_path / "a.npz", {"a": np.zeros(2**21)}, packed=True)
    assert read_npz(tmp_path / "a.npz")["a"].shape == (2**21,)
    write_npz(tmp_path / "b.npz", {"a": np.zeros(2**10)}, packed=True)
    assert (tmp_path / "b.npz").stat().st_size < 2**10 * 4, "small ones are compressed"


def test_parts_that_share_their_bytes_are_refused():
    content = bytearray(
        npz(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (50,)}", bytes(400)))
    )
    entry_start = content.index(b"PK\x01\x02")
    entry = content[entry_start : entry_start + 51]
    end = content[entry_start + 51 :]
    doubled = content[:entry_start] + entry * 8 + end
    doubled[-22 + 8 : -22 + 12] = struct.pack("<HH", 8, 8)
    doubled[-22 + 12 : -22 + 16] = struct.pack("<I", 8 * len(entry))
    with pytest.raises(ValueError, match="its arrays overlap"):
        read_npz(bytes(doubled))


@pytest.mark.parametrize(
    "text",
    ["[" * 150 + "]" * 150, "[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, "NaN", "[Infinity]", "-Infinity", "1e999",
     "1" * 5000, b"\xff", "{", "", "\ufeff{}"],
)  # fmt: skip
def test_documents_that_nobody_can_work_with_are_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text)


def test_other_documents_are_as_json_reads_them():
    text = '{"a": [1, -2.5e10, null, true, "\\ud800ü"], "b": {"c": {}}}'
    assert parse_json(text) == parse_json(text.encode()) == json.loads(text)
    assert parse_json("[" * 90 + "]" * 90)


# ---- models and explanations ---------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A model and an explanation, with the rows that they were made of."""
    base_folder = tmp_path_factory.mktemp("refused")
    draw = np.random.default_rng(0)
    X = pd.DataFrame({"a": draw.normal(size=40), "b": draw.choice(["x", "y"], 40)})
    network = {"dense_units": [4], "conv_filters": [2], "fusion_units": [4]}
    model = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=network,
        max_epochs=1,
        progress=False,
        random_state=0,
    )
    model.fit(X, draw.choice(["p", "q"], 40)).save(base_folder / "model")
    pg.explain(
        model, X[:3], method="integrated_gradients", random_state=0, progress=False
    ).save(base_folder / "explanation")
    return base_folder


def doctored(stored, to, change=None, arrays=None, weights=None):
    """Copy the model with another description, arrays or weights, all checksums and the
    seal renewed.
    """
    folder = to / "model"
    shutil.copytree(stored / "model", folder)
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if change is not None:
        change(described)
    if arrays is not None:
        np.savez(folder / "arrays.npz", **{**read_npz(folder / "arrays.npz"), **arrays})
    if weights is not None:
        (folder / "weights.safetensors").write_bytes(weights_to_bytes(weights))
    names = ("weights.safetensors", "arrays.npz")
    described["checksums"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names
    }
    (folder / "model.json").write_text(json.dumps(sealed(described)), encoding="utf-8")
    return folder


def at(*way, value):
    """Return a change of one entry of a document."""

    def change(document):
        for key in way[:-1]:
            document = document[key]
        document[way[-1]] = value

    return change


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("network", "options", "dense_units"), [60_000, 60_000]),
        (("network", "options", "dense_units"), [1] * 5000),
        (("network", "options", "conv_filters"), [20_000, 20_000]),
        (("network", "options", "kernel_size"), 9999),
        (("network", "options", "members"), 10**9),
        (("network", "options", "numeric_embedding"), "periodic"),
        (("network", "options", "dropout"), 10**400),
        (("network", "options", "membeps"), 1),
        (("network", "encoded"), 10**9),
        (("network", "outputs"), 10**9),
        (("network", "numeric_columns"), [-1]),
        (("network", "level_blocks"), [[10**9]]),
        (("network", "paths"), 3),
        (("renderer", "layout", "pixels"), 4096),
        (("renderer", "channels"), 10**6),
        (("preprocessor", "max_levels"), {}),
        (("preprocessor", "kinds"), ["a"]),
        (("preprocessor", "groups"), {"one": ["nobody"]}),
        (("parameters", "layout"), [[[]]]),
        (("training_options",), [None] * 3),
        (("class_weights",), [1.0]),
        (("calibration", "temperature"), "1"),
        (("calibration", "temperature"), -1.0),
        (("calibration", "method"), "magic"),
        (("calibration", "shift"), [1.0, 2.0, 3.0]),
        (("history",), ["nobody"]),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_before_they_cost_anything(
    stored, tmp_path, way, value
):
    folder = doctored(stored, tmp_path, at(*way, value=value))
    tracemalloc.start()
    with pytest.raises(pg.InputError, match=r"however|\[PG\d+\]"):
        pg.load(folder)
    assert tracemalloc.get_traced_memory()[1] < 2e8
    tracemalloc.stop()


def test_sizes_of_an_embedding_are_refused_where_it_is_used(stored, tmp_path):
    """A network without one has no use for its size, whatever it is."""

    def periodic(described):
        described["network"]["options"] |= {
            "numeric_embedding": "periodic",
            "embedding_frequencies": 10**9,
        }

    tracemalloc.start()
    with pytest.raises(pg.InputError, match=r"however|\[PG\d+\]"):
        pg.load(doctored(stored, tmp_path, periodic))
    assert tracemalloc.get_traced_memory()[1] < 2e8
    tracemalloc.stop()


@pytest.mark.parametrize(
    "arrays",
    [
        {"background": np.zeros(4, np.float32)}, {"background": np.zeros((4, 9), np.float32)},
        {"background": np.full((40, 3), np.nan, np.float32)}, {"background": np.array(["x"])},
        {"background_target": np.zeros((40, 2))}, {"classes": np.array(["p"])}, {"classes": np.array(["p", "p"])},
        {"classes": np.array(["p", "q\ud800"])},
        {"history.epoch": np.array(["x"])}, {"history.epoch": np.zeros(7)},
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(stored, tmp_path, arrays):
    with pytest.raises(pg.InputError, match=r"however|\[PG\d+\]"):
        pg.load(doctored(stored, tmp_path, arrays=arrays))


def test_weights_that_do_not_fit_are_refused(stored, tmp_path):
    from safetensors.torch import load as weights_from_bytes

    weights = weights_from_bytes(
        (stored / "model" / "weights.safetensors").read_bytes()
    )
    name = next(iter(weights))
    changes = (
        {name: weights[name].double()},
        {name: weights[name] * float("nan")},
        {name: weights[name][:1]},
        {"x": weights[name].clone()},
    )
    assert pg.load(doctored(stored, tmp_path / "same", weights=weights))
    for number, change in enumerate(changes):
        with pytest.raises(
            pg.InputError, match=r"is missing or damaged .ValueError: weights"
        ):
            pg.load(
                doctored(stored, tmp_path / str(number), weights={**weights, **change})
            )


@pytest.mark.parametrize("kept", [False, True])
def test_what_lies_deep_or_is_no_number_is_refused(stored, tmp_path, kept):
    """A document that Python's own recursion gives up on; and one that it just manages
    to read.
    """
    folder = tmp_path / "model"
    shutil.copytree(stored / "model", folder)
    text = (folder / "model.json").read_text(encoding="utf-8")
    deep = "[" * (400 if kept else 100_000) + "]" * (400 if kept else 100_000)
    (folder / "model.json").write_text(
        text.rstrip().removesuffix("}") + f', "more": {deep}}}', encoding="utf-8"
    )
    with pytest.raises(pg.InputError, match="nested more than 100 levels deep"):
        pg.load(folder)


@pytest.mark.parametrize(
    ("way", "value"),
    [(("feature_values", "data", 0), [1]), (("meta", "confidence"), "x"), (("meta", "confidence"), 1.5),
     (("meta", "rows"), [[1], 2, 3]), (("meta", "rows"), [1])],
)  # fmt: skip
def test_explanations_that_do_not_fit_are_refused(stored, tmp_path, way, value):
    folder = tmp_path / "explanation"
    shutil.copytree(stored / "explanation", folder)
    header = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    at(*way, value=value)(header)
    (folder / "explanation.json").write_text(
        json.dumps(sealed(header)), encoding="utf-8"
    )
    with pytest.raises(
        pg.InputError,
        match=r"The explanation in .* is damaged \(.* is missing or wrong\)",
    ):
        pg.Explanation.load(folder)


def test_values_that_are_no_numbers_are_refused(stored, tmp_path):
    folder = tmp_path / "explanation"
    shutil.copytree(stored / "explanation", folder)
    arrays = read_npz(folder / "values.npz")
    for kind in ("<M8[s]", "<U3", "|b1"):
        np.savez(
            folder / "values.npz", **{**arrays, "values": arrays["values"].astype(kind)}
        )
        with pytest.raises(
            pg.InputError, match=r"values \(of .*\) is missing or wrong"
        ):
            pg.Explanation.load(folder)


HALF = "a\ud800"


def test_half_characters_are_refused_before_training():
    """Broken encodings have them, UTF-8 has not: pandas fails on them since its version
    3, in the middle of the work.

    Whoever has them learns the column and how to replace them, instead of a table that
    lost a few signs in silence.
    """
    numbers = np.random.default_rng(0).normal(size=(20, 1))
    named = pd.DataFrame(numbers, columns=pd.Index([HALF], dtype=object))
    cells = pd.DataFrame({"a": pd.Series([HALF, "b"] * 10, dtype=object)})
    target = np.array(["p", "q"] * 10, dtype=object)
    model = pg.HyNNClassifier(
        preset="fast",
        branches=("tabular",),
        max_epochs=1,
        progress=False,
        random_state=0,
    )
    for X, y, what in (
        (named, target, "column names"),
        (cells, target, "cells of column 'a'"),
        (cells.replace(HALF, "c"), np.array([HALF, "q"] * 10, dtype=object), "classes"),
    ):
        with pytest.raises(
            pg.InputError, match=rf"'a\\ud800' in {what} holds half a character"
        ):
            model.fit(X, y)
    model.fit(cells.replace(HALF, "c"), target)
    with pytest.raises(
        pg.InputError,
        match=(
            r"'a\\ud800' in cells of column 'a' holds half a character \(a lone "
            r"surrogate\). Read the table "
            r"in its own encoding, or replace it: text.encode\('utf-8',"
        ),
    ):
        model.predict(cells)
    repaired = cells.map(lambda text: text.encode("utf-8", "replace").decode())
    assert repaired["a"].tolist()[0] == "a?"
    assert len(model.fit(repaired, target).predict(repaired)) == 20


def test_half_characters_in_explanations_are_kept(tmp_path):
    """Names of parts of somebody's own network may be anything: files say them again,
    CSV shows them escaped.
    """
    explanation = pg.Explanation(
        np.ones((1, 1)), (HALF,), ("table",), ("all",), "permutation", "global"
    )
    explanation.save(tmp_path / "explanation")
    again = pg.Explanation.load(tmp_path / "explanation")
    assert again.names == (HALF,)
    frame = again.to_frame()
    assert frame["feature"].tolist() == [HALF]
    write_csv(frame, tmp_path / "a.csv")
    assert read_csv(tmp_path / "a.csv")["feature"].tolist() == ["a\\ud800"]
    assert csv_text(frame)[0].encode() == (tmp_path / "a.csv").read_bytes()


# ---- training's checkpoint -----------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training's state at its end, and what goes on from a folder."""
    base_folder = tmp_path_factory.mktemp("trained")
    X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=20)})

    def train(folder):
        network = {"dense_units": [3], "fusion_units": [3]}
        regressor = pg.HyNNRegressor(
            preset="default",
            branches=("tabular",),
            network=network,
            max_epochs=2,
            batch_size=16,
            progress=False,
            random_state=0,
        )
        return regressor.fit(X, X["a"], checkpoint_folder=folder)

    train(base_folder)
    return torch.load(base_folder / "training.pt", weights_only=True), train


def first(tree):
    return next(iter(tree))


STATES = {
    "steps": lambda state: state.update(steps="x"),
    "no steps": lambda state: state.pop("steps"),
    "options": lambda state: state.update(options=[1]),
    "history": lambda state: state.update(history=[{"epoch": 1}]),
    "long history": lambda state: state.update(history=state["history"] * 9),
    "best epoch": lambda state: state.update(best_epoch=99),
    "temperature": lambda state: state.update(best_temperature=float("nan")),
    "no average": lambda state: state.update(average={}),
    "average": lambda state: state["average"].update(
        {first(state["average"]): torch.zeros(1)}
    ),
    "huge": lambda state: state["best_state"].update(
        {first(state["best_state"]): torch.zeros(1).expand(10**9)}
    ),
    "sparse": lambda state: state["network"].update(
        {first(state["network"]): state["network"][first(state["network"])].to_sparse()}
    ),
    "type": lambda state: state["network"].update(
        {first(state["network"]): state["network"][first(state["network"])].double()}
    ),
    "optimizer": lambda state: state.update(optimizer=None),
    "rate": lambda state: state["optimizer"]["param_groups"][0].update(lr="x"),
    "betas": lambda state: state["optimizer"]["param_groups"][0].update(
        betas=(1, 2, 3)
    ),
    "moments": lambda state: state["optimizer"]["state"][0].pop("exp_avg_sq"),
    "moment": lambda state: state["optimizer"]["state"][0].update(
        exp_avg=torch.zeros(9)
    ),
    "other parameters": lambda state: state["optimizer"]["state"].update({99: {}}),
}


@pytest.mark.parametrize("name", STATES)
def test_states_that_do_not_fit_are_refused(trained, tmp_path, name):
    state, train = trained
    changed = torch.load(io.BytesIO(saved(state)), weights_only=True)
    STATES[name](changed)
    (tmp_path / "training.pt").write_bytes(saved(changed))
    with pytest.raises(
        pg.EnvironmentProblem,
        match=r"The checkpoint .* holds (another state \(|no options).* Delete it to "
        r"begin the training anew",
    ):
        train(tmp_path)


def saved(state, **options):
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def test_states_in_other_forms_are_not_even_opened(trained, tmp_path):
    state, train = trained
    (tmp_path / "training.pt").write_bytes(saved(state))
    assert len(train(tmp_path).history_) == 2, "the state itself is gone on from"
    (tmp_path / "training.pt").write_bytes(
        saved(state, _use_new_zipfile_serialization=False)
    )
    with pytest.raises(pg.EnvironmentProblem, match=r"cannot be read \(BadZipFile\)"):
        train(tmp_path)
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(state))) as file,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as packed_archive,
    ):
        for name in file.namelist():
            packed_archive.writestr(name, file.read(name))
    (tmp_path / "training.pt").write_bytes(packed.getvalue())
    with pytest.raises(pg.EnvironmentProblem, match=r"cannot be read \(ValueError\)"):
        train(tmp_path)


# ---- folders -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    base_folder = tmp_path_factory.mktemp("run")
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"a": draw.normal(size=80), "b": draw.choice(["x", "y"], 80)})
    table["outcome"] = np.where(table["a"] > 0, "yes", "no")
    table["code"] = [f"case {number}" for number in range(80)]
    return train_run(base_folder, table, identifier="code", epochs=1)


DAMAGE = {
    "run.json": [
        '{"schema_version": []}',
        "[]",
        '{"configuration_hash": 1}',
        "[" * 500,
    ],
    "data.json": ["[]", "{}", '{"columns": [1]}', "NaN"],
    "metrics.json": [
        "[]",
        "{}",
        '{"task": "classification"}',
        (
            '{"task": "classification", "rows": {"test": 1}, "validation": {}, "test": '
            '{"rmse": 1}, "baselines": {}}'
        ),
        (
            '{"task": "classification", "rows": {"test": 1}, "validation": {}, "test": '
            '{"accuracy": 1}, "baselines": [1]}'
        ),
        (
            '{"task": "regression", "rows": {"test": 1}, "validation": {}, "test": '
            '{"rmse": 1}, "baselines": {}}'
        ),
    ],
    "branches.json": ["[]", "3"],
    "explanations/chosen.json": [
        "",
        "1",
        "[1]",
        '[{"output": 99, "title": "", "why": ""}]',
        '{"rows": [{}]}',
    ],
    "explanations/explained.json": ["", "[]", "{}", '{"\\u0000": "LocalRows"}'],
    "explanations/listed.json": [
        "",
        "[]",
        "{}",
        '{"\\u0000": "ListedSection", "rows": 1}',
    ],
    "explanations/cards.json": ["", "[]", "{}", '{"\\u0000": "LocalRows"}'],
    "explanations/listed.npz": ["", "PK"],
    "history.csv": ["", "a\n1\n", "\x80"],
    "predictions.csv": ["", "a\n1\n"],
    "importance.csv": [],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, text) for name, texts in DAMAGE.items() for text in texts],
)
def test_reports_of_changed_runs_are_refused(run, tmp_path, name, content):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert (folder / name).is_file()
    (folder / name).write_bytes(content.encode("latin-1"))
    assert re.search(r"however|\[PG\d+\]", call("report", folder, code=2))


@pytest.mark.parametrize("name", ["a" * 5000, "a\0", "\ud800", "../" * 3000])
def test_files_of_a_stage_that_no_file_can_be_count_as_gone(run, tmp_path, name):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["stages"]["model"]["sums"][name] = ""
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert "Write it again with `" in call("report", folder, code=2)


@pytest.mark.parametrize("name", ["history.csv", "predictions.csv", "metrics.json"])
def test_reports_of_runs_that_lack_a_file_name_it(run, tmp_path, name):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / name).unlink()
    message = call("report", folder, code=2)
    assert "Write it again with `" in message
    assert name in message


@pytest.mark.parametrize(
    "change", [{"columns": [1]}, {"na": "a"}, {"task": "regression"}, None]
)
def test_predictions_of_changed_runs_are_refused(run, tmp_path, change):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    assert set(change or {}) <= set(data)
    (folder / "data.json").write_text(
        json.dumps([] if change is None else {**data, **change}), encoding="utf-8"
    )
    (tmp_path / "rows.csv").write_text("a,b\n1,x\n", encoding="utf-8")
    for words in (
        ("predict", "--out", tmp_path / "p.csv"),
        ("explain", "--out", tmp_path / "e"),
    ):
        message = call(words[0], folder, tmp_path / "rows.csv", *words[1:], code=2)
        assert "[PG052]" in message
        assert "data.json" in message
    assert not (tmp_path / "p.csv").exists()
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("entry", [{}, {"share": "half"}, {"share": [1]}])
def test_a_share_that_is_no_number_is_not_shown(run, tmp_path, entry):
    from permgrad.runs.run.run_summary import read_summary

    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "branches.json").write_text(
        json.dumps({"tabular": {"share": 0.5}, "image": entry}), encoding="utf-8"
    )
    summary_text = str(read_summary(folder))
    assert "image" not in summary_text.partition("Branch shares:")[2].partition("\n")[0]


def test_a_changed_importance_of_nothing_has_no_shares(run, tmp_path):
    """Its interval lies above 0, as no importance of permgrad's own does."""
    from permgrad.runs.run.run_summary import read_summary

    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    path = folder / "importance.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    columns = lines[0].split(",")
    cells[columns.index("importance")] = "0"
    cells[columns.index("ci_low")] = "1"
    path.write_text("\n".join([lines[0], ",".join(cells)]) + "\n", encoding="utf-8")
    assert cells[columns.index("feature")] in read_summary(folder).text


def test_cells_that_were_changed_are_done_again(tmp_path):
    from permgrad_benchmark.records import cell_path, read_cell

    path = cell_path(tmp_path, "tabular", "linear20", 0)
    path.parent.mkdir(parents=True)
    for content in (
        '{"records": [[1, 2, 3]]}',
        '{"records": 3}',
        "[]",
        '{"records": [["a", "b", "c", []]]}',
        "{}",
    ):
        path.write_text(content, encoding="utf-8")
        assert read_cell(tmp_path, "tabular", "linear20", 0) is None
    path.write_text(
        '{"records": [["a", "b", "c", null], ["a", "b", "c", 1]]}', encoding="utf-8"
    )
    assert len(read_cell(tmp_path, "tabular", "linear20", 0)) == 2


@pytest.mark.parametrize(
    "content",
    ['{"layout": ["tinto"]}', '{"branches": 3}', '{"base": []}', '{"network": '
                                                                 '{"dropout": 1' + "0" * 400 + "}}",
     '{"max_epochs": NaN}', "[" * 100_000, '{"numeric": {}}'],
)  # fmt: skip
def test_odd_presets_are_refused(tmp_path, content):
    from permgrad.models.estimators.presets import get_preset
    from permgrad.tuning.spaces import check_preset

    (tmp_path / "preset.json").write_text(content, encoding="utf-8")
    with pytest.raises(pg.InputError, match=r"however|\[PG\d+\]"):
        check_preset(get_preset(tmp_path / "preset.json").to_dict())


# ---- tables and images ---------------------------------------------------------------


def test_gzip_that_unpacks_to_a_huge_table_is_refused(tmp_path, monkeypatch):
    from permgrad.data.read import text_files

    monkeypatch.setattr(text_files, "_MOST_UNPACKED", 2**18)
    rows = b"a,b\n" + b"0,0\n" * 2**18
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(rows))
    with pytest.raises(
        pg.InputError, match=r"unpacks to more than .* unpack it with gunzip"
    ):
        pg.read_table(tmp_path / "bomb.csv.gz")
    (tmp_path / "plain.csv").write_bytes(rows)
    assert len(pg.read_table(tmp_path / "plain.csv")) == 2**18


def test_gzip_that_unpacks_to_more_than_memory_holds_is_refused(tmp_path, monkeypatch):
    from permgrad.data.read import text_files

    rows = b"a,b\n" + b"0,0\n" * 2**16
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows))
    monkeypatch.setattr(text_files, "free_memory", lambda: 3 * len(rows) + 3)
    assert len(pg.read_table(tmp_path / "a.csv.gz")) == 2**16
    monkeypatch.setattr(text_files, "free_memory", lambda: 3 * len(rows) - 3)
    with pytest.raises(
        pg.InputError,
        match=r"unpacks to more than .* bytes, a third of the free memory",
    ):
        pg.read_table(tmp_path / "a.csv.gz")


def test_a_hundred_thousand_equal_names_are_counted_at_once(tmp_path):
    """Counting each name among all of them would take minutes."""
    from permgrad.data.partitions import _check_names
    from permgrad.data.read.csv_table import numbered

    names = numbered(["a", "b"] * 50_000)
    assert names[:4] == ["a", "b", "a.1", "b.1"]
    assert len(set(names)) == 100_000
    with pytest.raises(
        pg.InputError,
        match=r"Column names must be unique, but '99999' is in 'x' more than once. "
        r"Rename the copies",
    ):
        _check_names([*map(str, range(100_000)), "99999"], "x")
    wide = pd.DataFrame(
        np.zeros((2, 100_001)), columns=[*map(str, range(100_000)), "99999"]
    )
    with pytest.raises(
        pg.InputError, match="Column names must differ, but '99999' is repeated"
    ):
        pg.HyNNRegressor().fit(wide, [0.0, 1.0])


@pytest.mark.parametrize(
    "notes",
    ["3.5", "[]", '{"index_columns": 3, "columns": []}', ('{"index_columns": [["a"]], '
                                                         '"columns": []}'),
     '{"index_columns": [], "columns": null}', ('{"index_columns": [], "columns": '
                                               '[{"name": ["a"]}]}'),
     ('{"index_columns": ["nobody"], "columns": [{"name": "nobody", "field_name": '
     '"nobody"}]}'),
     ('{"index_columns": [{"kind": "range", "name": [], "start": 0, "step": 1, "stop": '
     '3}], "columns": []}'), "{"],
)  # fmt: skip
def test_notes_of_pandas_that_are_not_its_own_are_refused(tmp_path, notes):
    from permgrad.data.partitions import open_partitioned

    table = pa.table({"a": [1, 2, 3]}).replace_schema_metadata({"pandas": notes})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(
        pg.InputError,
        match=r"'.*a.parquet' is cut off, damaged or no Parquet file. Write it again",
    ):
        open_partitioned(tmp_path / "a.parquet").read_all()
    # pandas itself leaves some of them alone.
    with contextlib.suppress(pg.InputError):
        assert len(pg.read_table(tmp_path / "a.parquet")) == 3


def test_a_table_that_says_it_has_more_rows_than_memory_holds_is_refused(
    tmp_path, monkeypatch
):
    from permgrad.data.read import text_files

    pd.DataFrame({"a": np.zeros(1000)}).to_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(text_files, "free_memory", lambda: 10_000)
    with pytest.raises(pg.InputError, match="a table must fit about 3 times"):
        pg.read_table(tmp_path / "a.parquet")


def png(width, height):
    """Return a PNG of a few bytes that says it has this size."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            png(10_000, 9_000),
            "it has 10,000 × 9,000 pixels, more than 89,478,485: make it smaller",
        ),
        (
            (
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n0 0 "
                b"moveto\n"
            ),
            "it is PostScript",
        ),
    ],
)
def test_images_that_are_programs_or_huge_are_refused(tmp_path, content, said):
    from permgrad.data.image_table import check_image_cells

    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(
        pg.InputError, match="1 of 1 image files in column 'scan' cannot be read"
    ) as error:
        check_image_cells("scan", [str(tmp_path / "a.png")])
    assert said in str(error.value)
    paths = [tmp_path / f"{row}.png" for row in range(9)]
    for path in paths:
        path.write_bytes(content)
    frame = pd.DataFrame({"dose": np.arange(9.0), "scan": list(map(str, paths))})
    with pytest.raises(pg.InputError, match="cannot be read") as error:
        pg.HyNNRegressor(preset="fast", kinds={"scan": "image"}).fit(
            frame, np.arange(9.0)
        )
    assert said in str(error.value)


def test_grey_levels_are_brought_to_eight_bits_as_before():
    from permgrad.data.image_table import _eight_bits

    draw = np.random.default_rng(0)
    for levels, top in (
        (draw.integers(0, 65536, (5, 7)).astype(np.uint16), 65535),
        (draw.random((5, 7)).astype(np.float32), 1),
        (draw.integers(0, 65536, (5, 7)).astype(np.int32), 65535),
    ):
        expected = np.clip(
            np.round(levels.astype(np.float64) * (255 / top)), 0, 255
        ).astype(np.uint8)
        assert len(np.unique(expected)) > 5
        np.testing.assert_array_equal(_eight_bits(levels), expected)
    with pytest.raises(ValueError, match="not finite"):
        _eight_bits(np.array([[np.nan]]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val_labels": np.array(3)}, "2 val_images and 0 val_labels"),
        (
            {"val_labels": np.zeros((2, 1))},
            (
                r"Labels must be integers of the shape \(images, labels\), but "
                r"val_labels of '.*set.npz' is "
                r"float64 \(2, 1\). Convert the array"
            ),
        ),
        (
            {"val_images": np.zeros((2, 9, 9), np.uint8)},
            (
                r"All parts of '.*set.npz' must have images of one shape, got train: "
                r"\(8, 8\), val: \(9, 9\), "
                r"test: \(8, 8\). Write them alike"
            ),
        ),
        (
            {"test_labels": np.zeros((2, 3), int)},
            (
                r"All parts of '.*set.npz' must have labels of one shape, got train: "
                r"\(1,\), val: \(1,\), test: "
                r"\(3,\). Write them alike"
            ),
        ),
    ],
)
def test_image_sets_that_do_not_fit_are_refused(tmp_path, changes, said):
    from permgrad_benchmark.suites.multimodal.autoencoder import load_medmnist

    split_names = ("train", "val", "test")
    arrays = {
        f"{split_name}_images": np.zeros((2, 8, 8), np.uint8)
        for split_name in split_names
    }
    arrays |= {
        f"{split_name}_labels": np.zeros((2, 1), int) for split_name in split_names
    }
    np.savez(tmp_path / "set.npz", **arrays)
    assert len(load_medmnist(tmp_path / "set.npz")) == 6
    np.savez(tmp_path / "set.npz", **{**arrays, **changes})
    with pytest.raises(pg.InputError, match=said):
        load_medmnist(tmp_path / "set.npz")


# ---- files that are none -------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "arrays.npz"])
@pytest.mark.parametrize("what", ["pipe", "device", "elsewhere", "huge"])
def test_only_files_of_the_folder_are_read(stored, tmp_path, name, what):
    folder = tmp_path / "model"
    shutil.copytree(stored / "model", folder)
    assert pg.load(folder) is not None
    (file := folder / name).rename(tmp_path / "elsewhere")
    if what == "pipe":
        os.mkfifo(file)
    elif what == "device":
        file.symlink_to("/dev/zero")
    elif what == "elsewhere":
        file.symlink_to(tmp_path / "elsewhere")
    else:
        with file.open("wb") as stream:
            stream.truncate(2**43)  # no block of it is on the disk
    reason = r"link that leads out|no regular file|more than the memory"
    with pytest.raises(pg.InputError, match=rf"{name} is damaged: it .*({reason})"):
        pg.load(folder)


def test_a_changed_bit_of_a_checkpoint_is_noticed(trained, tmp_path):
    state, train = trained
    content = bytearray(saved(state))
    weights = state["network"][first(state["network"])].numpy().tobytes()
    start = content.find(weights)
    assert start > 0, "the weights lie in the file as they are"
    (tmp_path / "training.pt").write_bytes(content)
    train(tmp_path)
    content[start + 2] ^= 1
    (tmp_path / "training.pt").write_bytes(content)
    with pytest.raises(pg.EnvironmentProblem, match="cannot be read"):
        train(tmp_path)
