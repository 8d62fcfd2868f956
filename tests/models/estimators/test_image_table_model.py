"""The network of images and a table: what it learns, its seeds, its file, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.models.estimators.image_table import ImageTableModel, Records
from permgrad.models.network.multimodal import ImageTableNetwork, ImageTableOptions


def made_records(folder: Path, rows: int = 160, seed: int = 0, *, columns: int = 1) -> Records:
    """Return records whose target adds up the side of a spot in a colour image and a number of the table."""
    rng = np.random.default_rng(seed)
    side, dose = rng.integers(0, 2, rows), rng.normal(size=rows)
    images: dict[str, list[Path]] = {}
    for column in range(columns):
        files = []
        for row in range(rows):
            array = rng.integers(0, 60, (12, 12, 3), np.uint8)
            if column == 0:
                array[4:8, 1 + 6 * side[row] : 5 + 6 * side[row], 0] = 250
            Image.fromarray(array).save(folder / f"{seed}-{column}-{row}.png")
            files.append(folder / f"{seed}-{column}-{row}.png")
        images[f"photo {column}"] = files
    table = pd.DataFrame({"dose": dose, "town": rng.choice(["Ulm", "Bonn"], rows), "constant": 1.0})
    table.loc[:3, "dose"] = np.nan
    score = 2.0 * side - 1 + np.nan_to_num(dose)
    return Records(images, table, np.where(score > 0, "ill", "well").astype(object)), score


@pytest.fixture(name="records", scope="module")
def _records(tmp_path_factory):
    return made_records(tmp_path_factory.mktemp("photos"))


def fitted(records, target="class", **options):
    rows, score = records
    if target == "number":
        rows = Records(rows.images, rows.table, 1000 + 50 * score)
    task = "classification" if target == "class" else "regression"
    training = {"max_epochs": 15, "batch_size": 16, **options.pop("training", {})}
    model = ImageTableModel(task, preset="fast", random_state=0, training=training, progress=False, **options)
    return model.fit(rows.take(np.arange(0, 100)), rows.take(np.arange(100, 130))), rows.take(np.arange(130, 160))


@pytest.fixture(name="classifier", scope="module")
def _classifier(records):
    return fitted(records)


@pytest.fixture(name="regressor", scope="module")
def _regressor(records):
    return fitted(records, "number")


def test_kinds_that_are_known(records):
    rows, _ = records
    coded = Records(rows.images, rows.table.assign(ward=np.arange(len(rows)) % 3 + 1), rows.y)
    for kinds, kind in ((None, "numeric"), ({"ward": "categorical"}, "categorical")):
        model, test = fitted((coded, None), training={"max_epochs": 1}, kinds=kinds)
        assert model.preprocessor_.schema_["ward"].kind == kind
        assert np.isfinite(model.predict_proba(test)).all()


def test_it_learns_from_both_images_and_table(classifier, regressor):
    model, test = classifier
    assert (model.predict(test) == test.y).mean() > 0.8
    assert (model.predict(test) == test.y).mean() > 0.15 + max((test.y == "ill").mean(), (test.y == "well").mean())
    probabilities = model.predict_proba(test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert model.classes_.tolist() == ["ill", "well"]
    regression, numbers = regressor
    error = np.mean((regression.predict(numbers) - numbers.y) ** 2) / numbers.y.var()
    assert error < 0.4
    with pytest.raises(InputError, match="predict_proba needs classes"):
        regression.predict_proba(numbers)


def test_the_raw_network_gives_the_models_outputs_from_named_inputs(regressor):
    model, test = regressor
    inputs = model.inputs(test)
    assert list(inputs) == ["photo 0", "table"]
    assert inputs["photo 0"].dtype == np.float32
    assert 0 <= inputs["photo 0"].min() < inputs["photo 0"].max() <= 1
    assert list(inputs["table"].columns) == model.preprocessor_.encoded_names_
    with torch.no_grad():
        own = model.module_(*(torch.as_tensor(np.array(value, dtype=np.float32)) for value in inputs.values()))
    np.testing.assert_allclose(own.numpy(), model.outputs(test), rtol=1e-5)
    assert set(model.groups_) == {"dose", "town"}, "a constant has no encoded column"
    assert model.groups_["dose"] == ["dose", "dose=<missing>"]


def test_only_training_rows_are_fitted_on(records):
    rows, _ = records
    model, _ = fitted(records, training={"max_epochs": 1})
    column = model.images_[0]
    pixels = column.read(rows.take(np.arange(100)).images["photo 0"])
    assert column.mean == pytest.approx(tuple(pixels.mean(axis=(0, 2, 3)) / 255))
    assert len(model.background_["photo 0"]) == 100 == len(model.background_target_)
    doses = rows.table["dose"].iloc[:100]
    expected = model.preprocessor_.transform(rows.table.iloc[:100])
    assert np.isin(model.background_["table"][:, 0], expected[:, 0]).all()
    assert doses.isna().sum() == 4


def test_seeds_decide_and_nothing_else_changes(records):
    torch.manual_seed(5)
    before = torch.get_rng_state().clone()
    first, test = fitted(records, training={"max_epochs": 2})
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    second, _ = fitted(records, training={"max_epochs": 2})
    np.testing.assert_array_equal(first.outputs(test), second.outputs(test))
    rows, _ = records
    other = ImageTableModel(preset="fast", random_state=1, training={"max_epochs": 2}, progress=False)
    other.fit(rows.take(np.arange(100)), rows.take(np.arange(100, 130)))
    assert np.abs(other.outputs(test) - first.outputs(test)).max() > 1e-3


@pytest.mark.parametrize("which", ["classifier", "regressor"])
def test_saved_and_loaded_it_predicts_the_same(which, request, tmp_path):
    model, test = request.getfixturevalue(which)
    model.save(tmp_path / "model")
    again = pg.load(tmp_path / "model")
    np.testing.assert_array_equal(again.outputs(test), model.outputs(test))
    np.testing.assert_array_equal(again.predict(test), model.predict(test))
    for name, array in model.background_.items():
        np.testing.assert_array_equal(again.background_[name], array)
    assert again.history_.equals(model.history_)
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (
        tmp_path / "model" / "weights.safetensors"
    ).read_bytes()
    with pytest.raises(InputError, match="already holds a model"):
        model.save(tmp_path / "model")


def test_a_damaged_file_is_refused(classifier, tmp_path):
    model, _ = classifier
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    content = json.loads(path.read_text())
    del content["images"][0]["mean"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"model\.json is damaged: "):
        pg.load(tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="pickle"):
        pg.load(tmp_path / "model")


def test_several_image_columns_each_have_an_encoder(tmp_path):
    rows, _ = made_records(tmp_path, 60, columns=2)
    model = ImageTableModel(preset="fast", random_state=0, training={"max_epochs": 1}, progress=False)
    model.fit(rows.take(np.arange(40)), rows.take(np.arange(40, 60)))
    assert list(model.inputs(rows)) == ["photo 0", "photo 1", "table"]
    assert len(model.module_.image_branch.columns) == 2
    own = model.outputs(rows)
    swapped = Records({"photo 0": rows.images["photo 1"], "photo 1": rows.images["photo 0"]}, rows.table)
    assert np.abs(model.outputs(swapped) - own).max() > 1e-4


def test_class_weights_raise_the_rare_class(records):
    plain, test = fitted(records, training={"max_epochs": 3})
    weighted, _ = fitted(records, training={"max_epochs": 3}, class_weight={"ill": 20.0})
    assert weighted.predict_proba(test)[:, 0].mean() > plain.predict_proba(test)[:, 0].mean() + 0.05


def test_parts_have_their_names_and_shapes():
    network = ImageTableNetwork([(3, 20, 30, (0.5,) * 3, (0.2,) * 3)] * 2, encoded=4, outputs=3)
    seen: dict[str, tuple[int, ...]] = {}
    for name in ("image_branch", "table_branch", "fusion", "head"):
        module = getattr(network, name)
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: tuple(output.shape)}))
    images = torch.rand(5, 3, 20, 30)
    network.eval()(images, images, torch.rand(5, 4))
    assert seen == {"image_branch": (5, 64), "table_branch": (5, 32), "fusion": (5, 96), "head": (5, 3)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ImageTableModel("ranking"), "task must be one of 'classification', 'regression', got"),
        (
            lambda: ImageTableOptions(filters=()),
            r"filters must be integers of at least 1, got \(\). Pass for example \(32,\)",
        ),
        (
            lambda: ImageTableOptions(dropout=1.0),
            "dropout must be at least 0 and below 1, got 1.0. Pass for example 0.2",
        ),
        (
            lambda: ImageTableNetwork([], 3, 2),
            (
                "A network of images and a table needs an image column, an encoded column and an output, got "
                "image columns=0, encoded=3, outputs=2. Pass at least one of each"
            ),
        ),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_wrong_options_are_listed_with_a_guess(records):
    rows, _ = records
    with pytest.raises(InputError, match=r"network option must be one of .*, got .*\. Did you mean 'dropout'\?"):
        ImageTableModel(network={"drop_out": 0.1}).fit(rows, rows)
    with pytest.raises(InputError, match=r"preset must be one of 'default', 'fast', got"):
        ImageTableModel(preset="paper").fit(rows, rows)
    few = rows.take(np.arange(20))
    strange = Records(few.images, few.table, np.array(["new"] * 20, dtype=object))
    with pytest.raises(InputError, match="No validation row has a class of the training rows"):
        ImageTableModel(preset="fast").fit(rows, strange)
