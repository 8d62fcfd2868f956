"""Tables with free text: what a run says of it, groups whose names are words, and text
that does not help.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from permgrad import HyNNClassifier, HyNNRegressor, load
from permgrad.data.encode.encoding import TableEncoder
from permgrad.models import streaming, streaming_scan, texts
from permgrad.runs.compare.comparison_plan import CompareRequest
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run import run_table
from permgrad.runs.run.run_inputs import load_inputs

COLOURS = ["red", "blue", "green", "brown", "white"]
NOUNS = ["dragon", "wizard", "beast", "knight", "golem", "elf"]
NOISE = [
    "often",
    "seldom",
    "always",
    "never",
    "quickly",
    "slowly",
    "nearly",
    "almost",
    "perhaps",
    "surely",
]


def cards(rows: int = 300) -> pd.DataFrame:
    """Cards of two rows each, whose colour mostly tells the class, with remarks that
    tell nothing.
    """
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 5, rows // 2)
    noun = rng.integers(0, 6, rows // 2)
    names = [
        f"{COLOURS[c]} {NOUNS[n]} of {''.join(rng.choice(list('bcdfgk'), 5))}"
        for c, n in zip(colour, noun, strict=True)
    ]
    frame = pd.DataFrame(
        {"name": np.repeat(names, 2), "cost": rng.integers(0, 9, rows)}
    )
    frame["remark"] = [" ".join(rng.choice(NOISE, 7)) for _ in range(rows)]
    is_spell = (np.repeat(colour, 2) < 2) ^ (rng.random(rows) < 0.08)
    return frame.assign(kind=np.where(is_spell, "spell", "minion"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cards().to_csv("cards.csv", index=False)
    return tmp_path


def request(**options) -> RunRequest:
    return RunRequest(table="cards.csv", target=("kind",), **options)


def test_the_words_of_a_group_are_a_feature(here):
    inputs = load_inputs(request(row_group="name"))
    assert list(inputs.parts["train"].frame.columns) == ["name", "cost", "remark"]
    assert inputs.left_out == {}
    (name_note,) = [note for note in inputs.notes if "'name'" in note]
    assert name_note == (
        "'name' divides the rows and is free text: its words are a feature, which "
        "group it names is not. Pass --drop name as well to leave its words out."
    )
    name_groups = [set(rows.frame["name"]) for rows in inputs.parts.values()]
    assert not name_groups[0] & name_groups[1]
    assert not name_groups[0] & name_groups[2]
    # Its cells as such say nothing of rows of other groups: only its words get scores.
    train = inputs.parts["train"]
    model = HyNNClassifier(random_state=0)
    model.fit_encoder(
        train.inputs, inputs.feature_types, y=train.y, dependence=train.dependence
    )
    assert [kind for kind, *_ in model.preprocessor_.scores_.columns["name"]] == [
        "words"
    ]
    later = inputs.parts["test"]
    scores = model.preprocessor_.scores_.of("name", later.frame["name"].tolist())[:, 0]
    assert abs(np.corrcoef(scores, later.y == "spell")[0, 1]) > 0.6


def test_a_group_is_left_out_where_it_is_no_text_or_is_named_otherwise(here):
    for options in ({"drop": ("name",)}, {"kind": ("name=text",), "row_group": "cost"}):
        inputs = load_inputs(request(**{"row_group": "name"} | options))
        group = options.get("row_group", "name")
        assert group not in inputs.parts["train"].frame.columns
        assert str(inputs.left_out[group]) == "left out: --row-group"
    assert (
        "name"
        in load_inputs(request(row_group="name", kind=("name=text",)))
        .parts["train"]
        .frame
    )
    frame = cards()
    frame.assign(name=[f"c{name.__hash__() % 999}" for name in frame["name"]]).to_csv(
        "cards.csv", index=False
    )
    assert "name" in load_inputs(request(row_group="name")).left_out


def test_a_comparison_uses_the_words_of_a_group(here):
    compared = CompareRequest(
        table="cards.csv", target=("kind",), row_group="name"
    ).run_request()
    rows = load_inputs(compared, undivided=True).parts["train"]
    assert "name" in rows.frame.columns
    assert rows.dependence.name == "name"


def test_free_text_is_said_with_what_to_type_instead(here):
    inputs = load_inputs(request())
    assert (
        "Columns of free text, whose words the model reads where they help: name, "
        "remark. Pass --kind name=identifier "
        "to leave one out, or --kind name=categorical to read its cells as categories."
    ) in inputs.notes
    assert not [
        note
        for note in load_inputs(request(kind=("name=text", "remark=identifier"))).notes
        if "free text" in note
    ]
    with pytest.warns(
        UserWarning,
        match=r"Columns of free text, .*: name, remark\. .*kinds=\{'name': "
        r"'identifier'\}",
    ):
        HyNNClassifier().fit_encoder(cards().drop(columns="kind"))


def test_text_that_does_not_help_is_said_to_be_unused():
    frame = cards()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = HyNNClassifier(random_state=0)
        model.fit_encoder(frame.drop(columns="kind"), y=frame["kind"])
    unused_messages = [
        str(warning.message) for warning in caught if "not used" in str(warning.message)
    ]
    assert unused_messages == [
        "Free text that is not used, because it adds nothing on rows left out: remark."
    ]
    assert set(model.preprocessor_.scores_.columns) == {"name"}
    # Rare levels that share one are counted.
    rng = np.random.default_rng(0)
    levels = pd.DataFrame(
        {"x": rng.normal(size=900), "shop": [f"s{i}" for i in rng.integers(0, 90, 900)]}
    )
    with pytest.warns(
        UserWarning, match=r"Rare levels that are one category, .*: shop \(40 of 90\)"
    ):
        HyNNRegressor(random_state=0).fit_encoder(levels, y=levels["x"])


@pytest.mark.slow
def test_a_run_says_on_its_page_what_is_not_used(here):
    progress_lines: list[str] = []
    run_table(
        request(
            preset="fast", time_limit="5s", row_group="name", out=here / "run", seed=0
        ),
        say=progress_lines.append,
    )
    note = (
        "Free text that is not used, because it adds nothing on rows left out: remark."
    )
    assert note in json.loads((here / "run" / "data.json").read_text())["notes"]
    assert f"note: {note}" in progress_lines


def test_numbers_that_name_things_are_said(here):
    frame = cards().assign(shop_id=np.repeat(np.arange(1, 31), 10))
    frame.to_csv("cards.csv", index=False)
    (shop_note,) = [
        input_note
        for input_note in load_inputs(request(kind=("name=text", "remark=text"))).notes
        if "shop_id" in input_note
    ]
    assert shop_note.startswith("Rows share 'shop_id': 30 values in 300 rows"), (
        "one note with one advice"
    )
    inputs = load_inputs(request(kind=("name=text", "remark=text"), row_group="name"))
    assert (
        "Whole numbers are read as names of things, not as amounts: shop_id. If they "
        "are amounts, pass --kind shop_id=numeric"
    ) in inputs.notes
    assert (
        load_inputs(request(kind=("shop_id=numeric",))).schema["shop_id"].kind
        == "numeric"
    )
    with pytest.warns(
        UserWarning,
        match=r"read as names of things, .*: shop_id\. .*kinds=\{'shop_id': 'numeric'\}",
    ):
        HyNNClassifier().fit_encoder(frame.drop(columns="kind"))
    encoder = TableEncoder().fit(frame[["shop_id"]])
    assert encoder.encoded_names_[:1] == ["shop_id=1"]
    # The same shop is the same level, whatever the type of its column later on.
    for later in ([7], [7.0, np.nan], ["7"]):
        assert (
            encoder.transform(pd.DataFrame({"shop_id": later}))[
                0, encoder.encoded_names_.index("shop_id=7")
            ]
            == 1
        )


def test_a_stream_learns_words_from_a_sample_whose_scores_come_from_other_rows(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(streaming_scan, "_SAMPLED_ROWS", 120)
    rng = np.random.default_rng(0)
    words = np.array(
        ["red", "blue", "old", "new", "big", "fast", "slow", "cheap", "round", "small"]
    )
    frame = pd.DataFrame(
        {
            "text": [
                " ".join(rng.permutation(words)[:4]) + f" item {k}" for k in range(400)
            ]
        }
    )
    frame["y"] = 2.0 * frame["text"].str.contains("red") + rng.normal(size=400)
    frame.to_parquet(tmp_path / "rows.parquet")
    learned_samples = []
    monkeypatch.setattr(
        TableEncoder, "learn", kept(TableEncoder.learn, learned_samples)
    )
    preset = {"base": "fast", "background_size": 50}
    model = HyNNRegressor(preset=preset, random_state=0, max_epochs=2, progress=False)
    prepared = streaming.prepare_stream(
        model, tmp_path / "rows.parquet", "y", None, None, None, None
    )
    (sample,) = learned_samples
    assert model.preprocessor_.encoded_names_ == ["text=<score>"]
    assert len(sample) == 120 < len(prepared.job.train_rows)
    read = np.concatenate(
        [rows.x.numpy() for rows in prepared.job.train_rows.batches(64, 0, 0)]
    )[:, 0]
    whole_scores = model.preprocessor_.transform(frame[["text"]])[:, 0]
    # Rows of the sample have their crossed scores, all others those of the whole fit.
    assert np.isin(sample[:, 0], read).all()
    assert np.isin(read, [*whole_scores, *sample[:, 0]]).all()
    assert np.isin(sample[:, 0], whole_scores).mean() < 0.5
    with pytest.warns(
        UserWarning,
        match="Columns of free text, whose words the model reads where they help: text",
    ):
        model.fit_stream(tmp_path / "rows.parquet", target="y")
    known_prediction, unknown = model.predict(
        pd.DataFrame({"text": ["red item", "blue item"]})
    )
    assert known_prediction > unknown + 0.3


def kept(function, kept_results):
    """Return the function, whose results are kept."""
    return lambda *args, **options: (
        kept_results.append(function(*args, **options)) or kept_results[-1]
    )


@pytest.mark.slow
def test_vectors_are_kept_in_the_folder_of_a_run(here, monkeypatch):
    read = []

    class Reader:
        model = SimpleNamespace(to=lambda _: None)

        def __call__(self, cells):
            read.extend(cells)
            return [[cell.count(colour) for colour in COLOURS] for cell in cells]

    monkeypatch.setattr(texts, "load_text_encoder", lambda _: Reader())
    table = cards().drop(columns="remark")
    table["name"] += [f" {k}" for k in range(len(table))]
    table.to_csv("cards.csv", index=False)
    options = {
        "table": "cards.csv",
        "target": ("kind",),
        "preset": "fast",
        "encoder": ("all-minilm-l6-v2",),
    }
    options |= {"out": Path("run"), "time_limit": "20s"}
    run_table(RunRequest(**options), say=lambda _: None)
    assert set(table["name"]) < set(read)  # and texts without some of their words
    assert len(read) == len(set(read))
    assert list(Path("run/features").glob("*.npz"))
    record = json.loads(Path("run/run.json").read_text())
    assert "all-minilm-l6-v2" in json.dumps(record["configuration"])
    # Other settings, and nothing is remembered by the new model: none of the texts is
    # encoded again.
    read.clear()
    run_table(
        RunRequest(**{**options, "seed": 1, "overwrite": True}), say=lambda _: None
    )
    assert not set(table["name"]) & set(read)
    shutil.rmtree("run/features")
    assert len(load("run/model").predict(table.drop(columns="kind")[:5])) == 5
    run_table(
        RunRequest(**{**options, "out": Path("other"), "keep_rows": False}),
        say=lambda _: None,
    )
    assert not Path("other/features").exists()
