"""``fit_stream``: the same model as ``fit`` where rows fit into one block; every row
once per epoch elsewhere.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import permgrad as pg
from permgrad.data.partitions import Part, open_partitioned
from permgrad.models.streaming_scan import (
    StreamSource,
    _BottomK,
    scan,
    type_rows,
)
from permgrad.models.train.training_rows import Rows, StreamedRows, count_batches

SMALL = {"dense_units": (16,), "conv_filters": (4, 4), "fusion_units": (8,)}


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    frame["colour"] = rng.choice(["red", "green", "blue"], rows)
    frame["steps"] = rng.integers(0, 9, rows)
    frame.loc[rng.random(rows) < 0.1, "c"] = np.nan
    signal = frame["a"] + frame["b"] * frame["steps"] / 4 + (frame["colour"] == "red")
    frame["number"] = signal + rng.normal(size=rows) * 0.1
    frame["label"] = np.where(signal > 0.5, "yes", "no")
    frame["weight"] = rng.integers(0, 4, rows).astype(float)
    return frame


def write(frame: pd.DataFrame, folder: Path, files: int = 4, group: int = 100) -> Path:
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(frame)), files)):
        frame.iloc[rows].to_parquet(
            folder / f"{number:03}.parquet", row_group_size=group, index=False
        )
    return folder


def estimator(kind: type, **options):
    estimator_options = {
        "preset": "fast",
        "network": SMALL,
        "max_epochs": 2,
        "random_state": 0,
        "progress": False,
    }
    return kind(device="cpu", pixels=6, **{**estimator_options, **options})


FEATURES = ["a", "b", "c", "colour", "steps"]


# ---- the same as fit -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "target", "options"),
    [
        # Trees and a line need all rows in memory.
        (
            pg.HyNNClassifier,
            "label",
            {
                "preset": {"beside": []},
                "network": {},
                "class_weight": "balanced",
                "max_epochs": 1,
            },
        ),
        (
            pg.HyNNClassifier,
            "label",
            {"preset": "paper", "network": {"conv_filters": (4, 8)}},
        ),
        (
            pg.HyNNClassifier,
            "label",
            {"preset": "ig_example", "network": None, "calibration": "temperature"},
        ),
        (
            pg.HyNNRegressor,
            "number",
            {"preset": {"base": "fast", "numeric": "quantile"}},
        ),
        # Without embedded levels rare ones share one. With them they have scores.
        (
            pg.HyNNRegressor,
            "steps",
            {
                "preset": {"base": "fast", "max_levels": 2},
                "network": {"level_embedding_size": 0},
            },
        ),
        (
            pg.HyNNRegressor,
            "steps",
            {"preset": {"max_levels": 2, "beside": []}, "network": {}, "max_epochs": 1},
        ),
    ],
)
def test_one_block_is_fit_bit_for_bit(tmp_path, kind, target, options):
    train = table(600)
    validation = table(150, seed=1)
    names = [name for name in FEATURES if name != target]
    # One chunk, so that sums are taken in the same order too.
    folder = write(train, tmp_path / "train", files=1, group=600)
    write(validation, tmp_path / "validation", files=2)
    reference = estimator(kind, **options).fit(
        train[names], train[target], eval_set=(validation[names], validation[target])
    )
    streamed = estimator(kind, **options).fit_stream(
        folder, target, validation=tmp_path / "validation", features=names
    )
    for name, streamed_weight in streamed.module_.state_dict().items():
        assert torch.equal(streamed_weight, reference.module_.state_dict()[name]), name
    assert streamed.preprocessor_.to_dict() == reference.preprocessor_.to_dict()
    np.testing.assert_array_equal(streamed.background_, reference.background_)
    assert streamed.history_.drop(columns="seconds").equals(
        reference.history_.drop(columns="seconds")
    )
    assert list(streamed.feature_names_in_) == names
    if kind is pg.HyNNClassifier:
        np.testing.assert_array_equal(streamed.classes_, reference.classes_)
        assert streamed.classes_.dtype == reference.classes_.dtype
        np.testing.assert_array_equal(streamed.class_weights_, reference.class_weights_)
        np.testing.assert_array_equal(
            streamed.predict_proba(validation[names]),
            reference.predict_proba(validation[names]),
        )
    else:
        # The target's mean and deviation are sums taken in another order.
        np.testing.assert_allclose(
            streamed.predict(validation[names]),
            reference.predict(validation[names]),
            rtol=1e-9,
        )


def test_weights_in_a_column(tmp_path):
    train = table(600)
    validation = table(150, seed=1)
    assert (train["weight"] == 0).sum() > 100
    folder = write(train, tmp_path / "train", files=1, group=600)
    write(validation.drop(columns="weight"), tmp_path / "validation")
    reference = estimator(pg.HyNNRegressor).fit(
        train[FEATURES],
        train["number"],
        train["weight"],
        eval_set=(validation[FEATURES], validation["number"]),
    )
    streamed = estimator(pg.HyNNRegressor).fit_stream(
        folder,
        "number",
        validation=tmp_path / "validation",
        features=FEATURES,
        sample_weight="weight",
    )
    streamed_predictions, reference_predictions = (
        model.predict(validation[FEATURES]) for model in (streamed, reference)
    )
    np.testing.assert_allclose(
        streamed_predictions, reference_predictions, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "labels", [[True, False], [3, 1, 2], ["b", "a", "c"], [0.0, 1.0]]
)
def test_classes_of_any_type(tmp_path, labels):
    frame = table(200)[FEATURES].assign(y=np.resize(np.array(labels), 200))
    folder = write(frame, tmp_path / "t")
    reference = estimator(pg.HyNNClassifier, max_epochs=1).fit(
        frame[FEATURES], frame["y"]
    )
    streamed = estimator(pg.HyNNClassifier, max_epochs=1).fit_stream(folder, "y")
    np.testing.assert_array_equal(streamed.classes_, reference.classes_)
    assert streamed.classes_.dtype == reference.classes_.dtype


@given(
    files=st.integers(1, 5),
    group=st.integers(100, 400),
    rows=st.sampled_from([1000, 150]),
)
@settings(max_examples=5, deadline=None)
def test_the_encoder_does_not_depend_on_the_cut(tmp_path_factory, files, group, rows):
    frame = table(700)
    folder = write(frame, tmp_path_factory.mktemp("cut") / "t", files, group)
    model = estimator(pg.HyNNClassifier)
    source = StreamSource(
        open_partitioned(folder, rows_per_part=rows), tuple(FEATURES), "label"
    )
    scanned_rows = scan(source, type_rows(source), model, None, lambda _: None)
    from permgrad.data.encode.encoding import TableEncoder

    encoder = TableEncoder().update(scanned_rows.statistics)
    whole_encoder = TableEncoder().fit(frame[FEATURES])
    assert encoder.encoded_names_ == whole_encoder.encoded_names_
    np.testing.assert_allclose(
        encoder.transform(frame[FEATURES]),
        whole_encoder.transform(frame[FEATURES]),
        atol=1e-6,
    )
    assert scanned_rows.rows == len(frame)
    assert scanned_rows.labels == frame["label"].value_counts().to_dict()
    # So few rows are all in the sample, in the table's order.
    for name in FEATURES:
        np.testing.assert_array_equal(
            scanned_rows.sample.frame[name].to_numpy(), frame[name].to_numpy()
        )


# ---- blocks --------------------------------------------------------------------------


def numbered(
    counts: list[int], block_rows: int, piece: int = 7
) -> tuple[StreamedRows, list[int]]:
    """Rows that are their own number, and the parts in the order in which they are
    read.
    """
    starts = np.cumsum([0, *counts])
    stream_parts = [
        Part(k, f"{k}", 0, 1, int(starts[k]), count) for k, count in enumerate(counts)
    ]
    seen_numbers: list[int] = []

    def read(stream_part: Part):
        seen_numbers.append(stream_part.number)
        for start in range(0, stream_part.rows, piece):
            stop = min(start + piece, stream_part.rows)
            numbers = torch.arange(
                stream_part.first_row + start, stream_part.first_row + stop
            )
            yield Rows(numbers[:, None].float(), numbers, torch.ones(stop - start))

    return StreamedRows(stream_parts, int(starts[-1]), read, block_rows), seen_numbers


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    block_rows=st.integers(2, 90),
    batch_size=st.integers(2, 30),
    epoch=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_every_row_once_per_epoch_in_batches_as_in_memory(
    counts, block_rows, batch_size, epoch
):
    rows, _ = numbered(counts, max(block_rows, batch_size))
    if len(rows) < 2:
        return
    numbers = torch.arange(len(rows))
    everything = Rows(numbers[:, None].float(), numbers, torch.ones(len(rows)))
    whole_batches = [
        batch.y.tolist() for batch in everything.batches(batch_size, 0, epoch)
    ]
    batches = [batch.y.tolist() for batch in rows.batches(batch_size, 0, epoch)]
    assert len(batches) == len(whole_batches) == count_batches(len(rows), batch_size)
    assert [len(batch) for batch in batches] == [len(batch) for batch in whole_batches]
    assert sorted(itertools.chain(*batches)) == list(range(len(rows)))
    again = [batch.y.tolist() for batch in rows.batches(batch_size, 0, epoch)]
    assert batches == again, "an epoch's order must be repeatable"
    if len(rows) <= rows.block_rows:
        assert batches == whole_batches


def test_blocks_mix_parts_and_epochs_differ():
    rows, seen_numbers = numbered([10] * 20, block_rows=50)
    first = [batch.y.tolist() for batch in rows.batches(10, 0, 0)]
    assert sorted(seen_numbers) == list(range(20))
    assert seen_numbers != sorted(seen_numbers)
    # A batch of ten rows of a block of five parts comes from several of them.
    part_counts = [len({row // 10 for row in batch}) for batch in first]
    assert np.mean(part_counts) > 3
    assert [batch.y.tolist() for batch in rows.batches(10, 0, 1)] != first
    assert [batch.y.tolist() for batch in rows.batches(10, 1, 0)] != first


def test_blocks_are_read_one_at_a_time():
    rows, seen_numbers = numbered([10] * 20, block_rows=50)
    batches = rows.batches(10, 0, 0)
    next(batches)
    assert len(seen_numbers) <= 6
    for _ in range(5):
        next(batches)
    assert len(seen_numbers) <= 11


def test_files_that_change_are_noticed():
    rows, _ = numbered([10, 10], block_rows=8)
    short = StreamedRows(rows.parts[:1], 20, rows.read, 8)
    with pytest.raises(RuntimeError, match="the files changed while they were read"):
        list(short.batches(4, 0, 0))


@pytest.mark.parametrize("size", [1, 40, 1000])
def test_bottom_k_is_a_function_of_the_row_numbers(size):
    from permgrad.base.random import uniform
    from permgrad.data.known_rows import RowBatch

    numbers = np.arange(500)
    expected_numbers = np.sort(np.argsort(uniform(0, ("k",), numbers))[:size])
    for cut in (1, 7, 500):
        kept_rows = _BottomK(size, ("k",))
        for start in range(0, 500, cut):
            number_slice = numbers[start : start + cut]
            kept_rows.add(
                RowBatch(number_slice, number_slice, pd.DataFrame({"n": number_slice})),
                start,
            )
        np.testing.assert_array_equal(kept_rows.rows().frame["n"], expected_numbers)


# ---- several blocks, held out rows, going on -----------------------------------------


@pytest.mark.slow
def test_as_good_in_small_blocks(tmp_path):
    train = table(3000)
    test = table(1000, seed=1)
    folder = write(train, tmp_path / "train", files=6, group=50)
    options = {"max_epochs": 8, "batch_size": 64}
    whole_model = estimator(pg.HyNNClassifier, **options).fit(
        train[FEATURES], train["label"]
    )
    streamed_model = estimator(pg.HyNNClassifier, **options).fit_stream(
        folder, "label", features=FEATURES, block_rows=500
    )
    streamed_accuracy, reference = (
        float((model.predict(test[FEATURES]) == test["label"]).mean())
        for model in (streamed_model, whole_model)
    )
    assert reference > 0.85
    assert streamed_accuracy > reference - 0.03
    assert not np.array_equal(
        streamed_model.predict_proba(test[FEATURES]),
        whole_model.predict_proba(test[FEATURES]),
    )


def test_rows_are_held_out_by_their_number(tmp_path):
    frame = table(2000).assign(row=np.arange(2000))
    drawn = []
    for name, files, group in (("one", 1, 2000), ("many", 5, 33)):
        folder = write(frame, tmp_path / name, files, group)
        source = StreamSource(
            open_partitioned(folder), ("a", "row"), "label", held_out=0.1, seed=5
        )
        held_out_numbers = [
            held_out_batch.frame["row"]
            for partition in source.table.parts
            for _, held_out_batch in source.batches(partition, 70)
        ]
        drawn.append(np.concatenate(held_out_numbers))
    np.testing.assert_array_equal(*drawn)
    assert 150 < len(drawn[0]) < 250
    other_source = StreamSource(
        source.table, ("a", "row"), "label", held_out=0.1, seed=6
    )
    again = [
        held_out_batch.frame["row"]
        for partition in other_source.table.parts
        for _, held_out_batch in other_source.batches(partition)
    ]
    assert not np.array_equal(np.concatenate(again), drawn[0])
    model = estimator(pg.HyNNRegressor, validation_fraction=0.1).fit_stream(
        folder, "a", features=["b", "row"]
    )
    assert np.isfinite(model.history_["validation_loss"]).all()
    model = estimator(pg.HyNNRegressor, validation_fraction=0.0).fit_stream(
        folder, "a", features=["b", "row"]
    )
    assert model.history_["validation_loss"].isna().all()


class KilledError(Exception):
    """Stands for a process that ends."""


def test_goes_on_after_the_last_epoch(tmp_path):
    folder = write(table(900), tmp_path / "t", group=60)
    preset = {"base": "fast", "patience": float("inf")}
    options = {
        "preset": preset,
        "max_epochs": 4,
        "batch_size": 64,
        "network": {**SMALL, "dropout": 0.2},
    }
    arguments = {"target": "label", "features": FEATURES, "block_rows": 200}

    def kill(record):
        if record["epoch"] == 2:
            raise KilledError

    whole_model = estimator(pg.HyNNClassifier, **options).fit_stream(
        folder, **arguments
    )
    with pytest.raises(KilledError):
        estimator(pg.HyNNClassifier, **options).fit_stream(
            folder, **arguments, checkpoint_folder=tmp_path, on_epoch=kill
        )
    seen_epochs = []
    resumed = estimator(pg.HyNNClassifier, **options).fit_stream(
        folder,
        **arguments,
        checkpoint_folder=tmp_path,
        on_epoch=lambda record: seen_epochs.append(record["epoch"]),
    )
    assert seen_epochs == [1, 2, 3, 4]
    for name, resumed_weight in resumed.module_.state_dict().items():
        assert torch.equal(resumed_weight, whole_model.module_.state_dict()[name]), name
    with pytest.raises(
        pg.InputError,
        match="Training can be resumed only with the same options, seed and rows",
    ):
        estimator(pg.HyNNClassifier, **options).fit_stream(
            folder, **{**arguments, "block_rows": 300}, checkpoint_folder=tmp_path
        )


def test_saved_loaded_and_explained(tmp_path):
    frame = table(500)
    folder = write(frame, tmp_path / "t")
    classifier = estimator(
        pg.HyNNClassifier, preset={"base": "fast", "background_size": 64}
    )
    model = classifier.fit_stream(folder, "label", features=FEATURES)
    assert model.background_.shape == (64, len(model.preprocessor_.encoded_names_))
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.predict_proba(frame[FEATURES]), model.predict_proba(frame[FEATURES])
    )
    explanation = pg.explain(
        loaded, frame[FEATURES][:50], frame["label"][:50], n_repeats=2, random_state=0
    )
    assert set(explanation.names) == set(FEATURES)
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(
        twin.predict(frame[FEATURES]), model.predict(frame[FEATURES])
    )


# ---- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"target": "lable"},
            r"Column 'lable' not found in '.*t'. Did you mean 'label'\?",
        ),
        (
            {"target": 3},
            "target must be the name of a column, got 3. Pass for example 'outcome'",
        ),
        (
            {"target": "label", "features": ["a", "label"]},
            "features must not hold the target or the weight",
        ),
        (
            {"target": "label", "features": ["a", "z"]},
            "Column 'z' not found in '.*t'. Check the name",
        ),
        (
            {"target": "label", "features": []},
            "The table has no feature besides 'label'. Add columns",
        ),
        (
            {"target": "label", "block_rows": 1},
            "block_rows must be an integer of at least 2",
        ),
        (
            {"target": "label", "validation": 0.2},
            "validation must be None or the path of a Parquet file or folder",
        ),
        (
            {"target": "label", "sample_weight": "a"},
            (
                "sample_weight must be finite and at least 0, but column 'a' holds .* "
                "in row 3 of "
            ),
        ),
        (
            {"target": "label", "sample_weight": "label"},
            (
                "sample_weight and target are the same column, 'label'. Name the "
                "column of weights, or leave it out"
            ),
        ),
        (
            {"target": "label", "sample_weight": "never"},
            (
                "sample_weight must be above 0 for some row, but 'never' is 0 in every "
                "training row. Name another column, or leave it out"
            ),
        ),
        ({"target": "a", "features": ["b"]}, "Unknown label type|continuous"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    folder = write(table(200).assign(never=0.0), tmp_path / "t")
    with pytest.raises(pg.InputError, match=message):
        estimator(pg.HyNNClassifier).fit_stream(folder, **arguments)


@pytest.mark.parametrize("kind", [pg.HyNNClassifier, pg.HyNNRegressor])
def test_rows_without_a_target_are_as_if_they_were_not_there(tmp_path, kind):
    target = "label" if kind is pg.HyNNClassifier else "number"
    frame = table(400).astype({target: object})
    gone = np.random.default_rng(0).random(400) < 0.2
    gone[:120] = True
    frame.loc[gone, target] = None
    folder = write(frame.infer_objects(), tmp_path / "t")
    whole_file = tmp_path / "whole.parquet"
    frame[~gone].infer_objects().to_parquet(whole_file, index=False)
    message = (
        f"{int(gone.sum())} of 400 rows of {folder} have no '{target}' and are left out"
    )
    with pytest.warns(pg.PermgradWarning) as warnings_told:
        streamed_model = estimator(kind).fit_stream(folder, target, features=FEATURES)
    assert [str(warning.message) for warning in warnings_told].count(message) == 1
    expected = estimator(kind).fit_stream(whole_file, target, features=FEATURES)
    np.testing.assert_array_equal(
        streamed_model.encode_rows(frame[FEATURES]).encoded,
        expected.encode_rows(frame[FEATURES]).encoded,
    )
    np.testing.assert_array_equal(
        streamed_model.predict(frame[FEATURES]), expected.predict(frame[FEATURES])
    )
    with pytest.warns(pg.PermgradWarning, match="are left out"):
        judged = estimator(kind, max_epochs=1).fit_stream(
            whole_file, target, features=FEATURES, validation=folder
        )
    again = estimator(kind, max_epochs=1).fit_stream(
        whole_file, target, features=FEATURES, validation=whole_file
    )
    assert (
        judged.history_["validation_loss"].tolist()
        == again.history_["validation_loss"].tolist()
    )
    frame[target] = None
    with pytest.raises(
        pg.InputError, match=f"Target '{target}' is missing in every row"
    ):
        estimator(kind).fit_stream(
            write(frame, tmp_path / "none"), target, features=FEATURES
        )


def with_identifiers(rows=300):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"customer_id": np.arange(rows), "case": [f"c{i}" for i in range(rows)]}
    )
    frame["a"] = rng.normal(size=rows)
    return frame.assign(y=frame["a"] + rng.normal(size=rows))


@pytest.mark.parametrize("gaps", [[], [7, 180]])
@pytest.mark.parametrize("options", [{}, {"write_statistics": False}])
@pytest.mark.parametrize(
    "order",
    [[3, 0, 5, 1, 4, 2], pytest.param([0, 1, 2, 3, 4, 5], marks=pytest.mark.slow)],
)
def test_identifiers_are_left_out_whatever_the_order_of_the_files(
    tmp_path, options, order, gaps
):
    frame = with_identifiers()
    frame["customer_id"] = frame["customer_id"].astype("Int64")
    frame.loc[gaps, "customer_id"] = pd.NA
    for file, start in enumerate(order):
        frame[start * 50 : start * 50 + 50].to_parquet(
            tmp_path / f"{file}.parquet", index=False, **options
        )
    with pytest.warns(pg.PermgradWarning) as warnings_told:
        model = estimator(pg.HyNNRegressor, max_epochs=1).fit_stream(tmp_path, "y")
    messages = [
        str(warning.message)
        for warning in warnings_told
        if "identifiers" in str(warning.message)
    ]
    assert len(messages) == 1
    assert messages[0].startswith(
        "Columns that look like identifiers are left out: customer_id, case. To use one"
    )
    memory = estimator(pg.HyNNRegressor, max_epochs=1).fit(
        frame[["customer_id", "case", "a"]], frame["y"]
    )
    assert (
        model.preprocessor_.encoded_names_
        == memory.preprocessor_.encoded_names_
        == ["a"]
    )
    kinds = {"customer_id": "numeric", "case": "identifier"}
    model_with_kinds = estimator(
        pg.HyNNRegressor, max_epochs=1, kinds=kinds
    ).fit_stream(tmp_path, "y")
    missing = ["customer_id=<missing>"] if gaps else []
    assert model_with_kinds.preprocessor_.encoded_names_ == [
        "customer_id",
        *missing,
        "a",
    ]


def test_identifiers_in_no_order_are_left_out_by_their_name(tmp_path):
    with_identifiers().sample(frac=1, random_state=0).to_parquet(
        tmp_path / "t.parquet", index=False
    )
    with pytest.warns(
        pg.PermgradWarning,
        match="look like identifiers are left out: customer_id, case",
    ):
        model = estimator(pg.HyNNRegressor, max_epochs=1).fit_stream(
            tmp_path / "t.parquet", "y"
        )
    assert model.preprocessor_.encoded_names_ == ["a"]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("b", "Column 'b' holds an infinite value (inf) in row 72 of "),
        ("number", "y must be finite, but column 'number' holds inf in row 72 of "),
    ],
)
def test_a_bad_cell_is_named_by_file_and_row(tmp_path, column, said):
    frame = table(300)
    frame[column] = frame[column].astype(float)
    frame.loc[222, column] = np.inf
    folder = write(frame, tmp_path / "t")
    with pytest.raises(pg.InputError) as caught:
        estimator(pg.HyNNRegressor).fit_stream(folder, "number", features=FEATURES)
    assert str(caught.value).startswith(said)
    assert "(row 222 in all)" in str(caught.value)


def test_wrong_paths(tmp_path):
    with pytest.raises(pg.InputError, match="does not exist"):
        estimator(pg.HyNNClassifier).fit_stream(tmp_path / "nothing", "label")
    with pytest.raises(pg.InputError, match="Pass tables in memory to fit"):
        estimator(pg.HyNNClassifier).fit_stream(table(50), "label")
    folder = write(table(50), tmp_path / "t")
    with pytest.raises(
        pg.InputError,
        match=(
            "X must be a table in memory, got the path '.*t'. Read it with pandas, or "
            "train from the files "
            r"with fit_stream\(path, target\)"
        ),
    ):
        estimator(pg.HyNNClassifier).fit(str(folder), [0, 1])


def test_a_class_without_a_training_row(tmp_path):
    frame = table(300).assign(label="no")
    frame.loc[::2, "label"] = "yes"
    folder = write(frame, tmp_path / "t")
    frame.loc[3, "label"] = "perhaps"
    write(frame, tmp_path / "v")
    with pytest.raises(
        pg.InputError,
        match=r"Class 'perhaps' of the validation rows has no training row. Leave "
        r"those rows out",
    ):
        estimator(pg.HyNNClassifier).fit_stream(
            folder, "label", validation=tmp_path / "v", features=FEATURES
        )
    single = write(frame.assign(label="no"), tmp_path / "s")
    with pytest.raises(pg.InputError, match="at least 2 classes"):
        estimator(pg.HyNNClassifier).fit_stream(single, "label", features=FEATURES)
