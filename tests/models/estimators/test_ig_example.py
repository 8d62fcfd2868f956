"""The preset ig_example: the published network on bank, one logit and all that reads
it; large categories embedded.
"""

import dataclasses
import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import nn

import permgrad as pg
from permgrad import HyNNClassifier, HyNNRegressor, InputError
from permgrad.models.estimators.presets import get_preset, preset_from_dict, presets
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.table_and_image import LevelEmbeddingLinear
from permgrad.models.train.learner import TrainingOptions, training_loss

BANK = pytest.mark.skipif(
    "PERMGRAD_DATA" not in os.environ,
    reason="PERMGRAD_DATA names no folder with the data sets",
)


def example(**changes):
    return HyNNClassifier(
        **{"preset": "ig_example", "random_state": 0, "progress": False, **changes}
    )


def table(rows=600, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "loan": rng.choice(["no", "yes"], rows, p=[0.8, 0.2]),
            "month": rng.choice(["may", "jun", "oct"], rows),
        }
    )
    logit = (
        0.08 * (frame["age"] - 60)
        + 1.5 * (frame["loan"] == "no")
        - (frame["month"] == "may")
    )
    return frame, np.where(rng.random(rows) < 1 / (1 + np.exp(-logit)), "yes", "no")


@pytest.fixture(scope="module")
def bank():
    frame = pg.load_dataset("bank").frame
    return train_test_split(
        frame.drop(columns="y"),
        frame["y"].to_numpy(),
        test_size=0.2,
        stratify=frame["y"],
        random_state=42,
    )


# ---- the network ---------------------------------------------------------------------


@pytest.mark.slow
@BANK
def test_the_published_network_on_bank(bank):
    X, X_test, y, y_test = bank
    model = example().fit(X, y)
    assert model.module_.encoded == 51
    assert set(model.preprocessor_.kinds_) == {"numeric", "level"}
    assert {"default=no", "loan=no", "loan=yes", "month=may"} <= set(
        model.preprocessor_.encoded_names_
    )
    linear = [
        layer for layer in model.module_.modules() if isinstance(layer, nn.Linear)
    ]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [
        (51, 80),
        (80, 30),
        (30, 10),
        (10, 1),
    ]
    assert {
        layer.p for layer in model.module_.modules() if isinstance(layer, nn.Dropout)
    } == {0.3}
    assert sum(isinstance(layer, nn.ReLU) for layer in model.module_.modules()) == 3
    assert model.class_weights_.tolist() == [1.0, pytest.approx(7.55, abs=0.005)]
    encoded = model.encode_rows(X).encoded[:, model.preprocessor_.numeric_columns_]
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(encoded.std(axis=0), 1, atol=1e-3)
    scores = model.predict_proba(X_test)
    assert roc_auc_score(y_test == "yes", scores[:, 1]) > 0.924, (
        "one seed; five are in benchmarks/quality/ig_example.py"
    )
    shift = np.log(model.class_weights_[1])
    logit = model.predict_encoded(model.encode_rows(X_test).encoded)[:, 0]
    accuracy = [
        np.mean((logit > cut) == (y_test == "yes")) for cut in (0.0, 0.5, shift)
    ]
    assert accuracy[0] < accuracy[1] < np.mean(y_test == "no") < accuracy[2], (
        "which cut is right, in one line"
    )


def test_training_choices():
    default = get_preset("ig_example")
    published = get_preset("ig_example_published")
    assert default.training["batch_size"] == 512
    assert (published.training["batch_size"], published.training["max_epochs"]) == (
        10,
        120,
    )
    assert published.training["averaging"] == 0
    for preset in (default, published):
        options = TrainingOptions(**preset.training)
        assert (options.optimizer, options.learning_rate, options.weight_decay) == (
            "adam",
            1e-3,
            0.0,
        )
        assert (options.schedule, options.patience) == ("constant", None)
        assert preset.network.initializer == "glorot_uniform"
    assert dataclasses.replace(default, training={}) == dataclasses.replace(
        published, training={}
    )


def test_the_loss_is_torch_s_bce_with_logits_and_pos_weight():
    logit = torch.randn(50, 1)
    y = torch.arange(50) % 9 == 0
    weight = torch.where(y, 7.55, 1.0)
    row_losses = training_loss(logit, y.long(), weight, TrainingOptions())
    expected = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(7.55))(
        logit[:, 0], y.float()
    )
    torch.testing.assert_close(row_losses, expected)
    smooth = training_loss(
        logit, y.long(), torch.ones(50), TrainingOptions(label_smoothing=0.2)
    )
    two = training_loss(
        torch.cat([torch.zeros_like(logit), logit], dim=1),
        y.long(),
        torch.ones(50),
        TrainingOptions(label_smoothing=0.2),
    )
    torch.testing.assert_close(smooth, two)


def test_the_preset_decides_unless_the_user_does():
    X, y = table(200)
    model = example(max_epochs=1).fit(X, y)
    assert model.module_.paths == ("tabular",)
    assert model.renderer_ is None
    assert model.history_["validation_loss"].isna().all(), "all rows are trained on"
    assert model.class_weights_[1] == pytest.approx(
        (y == "no").sum() / (y == "yes").sum()
    )
    assert "loan=no" in model.preprocessor_.encoded_names_
    own_example = example(
        max_epochs=1,
        branches=("tabular", "image"),
        class_weight={},
        validation_fraction=0.25,
        preset={"base": "ig_example", "numeric": "minmax"},
        kinds={"loan": "boolean"},
        network={"single_logit": False},
        pixels=6,
    ).fit(X, y)
    assert own_example.module_.paths == ("tabular", "image")
    assert own_example.class_weights_.tolist() == [1, 1]
    assert own_example.history_["validation_loss"].notna().all()
    assert own_example.preprocessor_.numeric == "minmax"
    assert "loan" in own_example.preprocessor_.encoded_names_
    assert own_example.module_.outputs == 2
    assert example(preset="fast", image="always", max_epochs=1, pixels=6).fit(
        X, y
    ).module_.paths == (
        "tabular",
        "image",
    )
    weighted = example(max_epochs=1, class_weight={"yes": 3.0}).fit(X, y)
    assert weighted.class_weights_.tolist() == [1, 3]


def test_three_classes_and_numbers_are_learnt_too():
    X, y = table(400)
    three = example(max_epochs=3).fit(X, X["month"])
    assert three.module_.outputs == 3
    counts = X["month"].value_counts()
    assert three.class_weights_ == pytest.approx(
        [counts["jun"] / counts[name] for name in three.classes_]
    )
    number = HyNNRegressor(
        preset="ig_example", max_epochs=3, random_state=0, progress=False
    ).fit(X, X["age"])
    assert number.module_.outputs == 1
    del y


def test_preset_files_may_name_all_that_a_preset_has():
    for name in presets:
        preset = presets.get(name)
        back = preset_from_dict(json.loads(json.dumps(preset.to_dict())))
        assert back.to_dict() == preset.to_dict()
        ours, theirs = (
            dict(preset_choice.training) for preset_choice in (preset, back)
        )
        batch = {ours.pop("batch_size", 128), theirs.pop("batch_size")}
        assert (TrainingOptions(**ours), len(batch)) == (
            TrainingOptions(**theirs),
            1,
        ), name
    mine = preset_from_dict(
        {"base": "ig_example", "branches": ["image", "tabular"], "class_weight": None}
    )
    assert (mine.branches, mine.class_weight) == (("tabular", "image"), None)
    with pytest.raises(
        InputError,
        match=r"'branches' must list some of 'tabular', 'image', got \['x'\]\. "
        r"'class_wei",
    ):
        preset_from_dict(
            {
                "branches": ["x"],
                "class_weight": "heavy",
                "validation_fraction": 1,
                "pairs_as_levels": 1,
            }
        )


# ---- one logit -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_logit():
    X, y = table()
    return example(max_epochs=40, batch_size=64).fit(X, y), X, y


def test_two_columns_from_one_logit(one_logit):
    model, X, y = one_logit
    logit = model.predict_encoded(model.encode_rows(X).encoded).astype(float)
    assert logit.shape == (600, 1)
    probability = model.predict_proba(X)
    np.testing.assert_allclose(
        probability[:, 1], 1 / (1 + np.exp(-logit[:, 0])), rtol=1e-12
    )
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(
        model.predict(X), np.where(logit[:, 0] > 0, "yes", "no")
    )
    assert roc_auc_score(y == "yes", probability[:, 1]) > 0.7, (
        "it must have learnt something"
    )


def test_saved_and_pickled(one_logit, tmp_path):
    model, X, _ = one_logit
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    for other_model in (loaded, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(
            other_model.predict_proba(X), model.predict_proba(X)
        )
        np.testing.assert_array_equal(other_model.class_weights_, model.class_weights_)
    loaded.set_params(max_epochs=1).fit(X, model.predict(X))


def test_explained_by_the_game(one_logit):
    model, X, y = one_logit
    explanation = pg.explain(model, X, y, random_state=0, n_repeats=5, progress=False)
    importance = (
        explanation.to_frame()
        .query("`class` == 'all'")
        .set_index("feature")["importance"]
    )
    assert (importance > 0.005).all(), "all three features matter"
    assert explanation.outputs == ("all", "no", "yes")


def test_explained_by_integrated_gradients(one_logit):
    model, X, _ = one_logit
    explanation = pg.explain(
        model, X[:50], method="integrated_gradients", random_state=0, progress=False
    )
    assert explanation.values.shape == (50, 3, 2)
    np.testing.assert_allclose(
        explanation.values[..., 0], -explanation.values[..., 1], atol=1e-6
    )
    # The plain path integral towards the second class's logit, from the same baseline,
    # by a fine sum.
    encoded = torch.from_numpy(model.encode_rows(X[:50]).encoded).double()
    base = torch.zeros(encoded.shape[1], dtype=torch.float64)
    call = {
        "method": "integrated_gradients",
        "baseline": "zeros",
        "scale": "logit",
        "target": "yes",
        "progress": False,
    }
    zero = explain_with(model, X[:50], random_state=0, tolerance=1e-4, **call)
    net = HybridNetwork(
        model.module_.encoded, 1, model.module_.options, paths=("tabular",)
    )
    net.load_state_dict(model.module_.state_dict())
    net = net.double().eval()
    total = torch.zeros_like(encoded)
    for step in (np.arange(2000) + 0.5) / 2000:
        path_point = (base + step * (encoded - base)).requires_grad_()
        total += torch.autograd.grad(net(path_point).sum(), path_point)[0] / 2000
    by_column = ((encoded - base) * total).numpy()
    for feature in range(3):
        feature_integrals = by_column[
            :, model.preprocessor_.feature_of_ == feature
        ].sum(axis=1)
        np.testing.assert_allclose(
            zero.values[:, feature, 0], feature_integrals, atol=5e-3
        )
    assert np.abs(by_column).max() > 0.1


# ---- embeddings of large categories --------------------------------------------------


def towns(rows=3000, levels=80, seed=0):
    rng = np.random.default_rng(seed)
    effect = rng.normal(size=levels)
    code = rng.integers(levels, size=rows)
    X = pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "town": np.char.add("t", code.astype(str)),
            "sex": rng.choice(["f", "m"], rows),
        }
    )
    X.loc[::97, "town"] = None
    return X, X["x"] + effect[code] + 0.3 * rng.normal(size=rows)


def test_the_layer_is_embedding_then_dense():
    torch.manual_seed(0)
    blocks = [list(range(3, 60)), [0, *range(61, 120)]]
    layer = LevelEmbeddingLinear(
        121, 7, blocks, size=5, initializer="he_normal"
    ).double()
    codes = torch.randint(57, (40,)), torch.randint(60, (40,))
    x = torch.zeros(40, 121, dtype=torch.float64)
    numeric_columns = [1, 2, 60, 120]
    x[:, numeric_columns] = torch.randn(40, 4, dtype=torch.float64)
    for block, code in zip(blocks, codes, strict=True):
        x[torch.arange(40), torch.tensor(block)[code]] = 1
    looked_up = [
        nn.functional.embedding(code, table)
        for code, table in zip(codes, layer.tables, strict=True)
    ]
    expected = nn.functional.linear(
        torch.cat([x[:, numeric_columns], *looked_up], dim=1), layer.mixing, layer.bias
    )
    torch.testing.assert_close(layer(x), expected)
    for block in blocks:
        assert torch.linalg.matrix_rank(layer.weight[:, block]) == 5
    layer(x).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    "embedding", ["none", pytest.param("periodic", marks=pytest.mark.slow)]
)
def test_a_category_from_50_levels_is_embedded(embedding, tmp_path):
    X, y = towns(1500)
    model = HyNNRegressor(
        preset="fast", branches=("tabular",), network={"numeric_embedding": embedding}, max_epochs=10, random_state=0,
        progress=False,
    ).fit(X, y)  # fmt: skip
    layer = model.module_.table_branch.layers[0]
    assert isinstance(layer, LevelEmbeddingLinear)
    town = model.preprocessor_.columns_of("town")
    assert len(town) == 81, "all levels and the missing"
    assert model.module_.level_blocks == [town.tolist()]
    # Rank 16 from the town's columns to the first layer, full rank where it is not
    # embedded.
    encoded = torch.eye(model.module_.encoded)
    level_outputs = (
        model.module_.table_branch.layers[0](encoded) if embedding == "none" else None
    )
    if level_outputs is not None:
        assert torch.linalg.matrix_rank(level_outputs[town] - layer.bias) == 16
    assert model.score(X, y) > 0.8
    unseen = X.head(3).assign(town=["nowhere", None, "t1"])
    assert np.isfinite(model.predict(unseen)).all()
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        pg.load(tmp_path / "model").predict(X), model.predict(X)
    )
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).predict(X), model.predict(X)
    )
    assert "LevelEmbeddingLinear" in model.summary()
    small = pg.explain(
        model, X[:20], method="integrated_gradients", random_state=0, progress=False
    )
    assert small.meta["completeness_gap"] < 1e-2
    game = pg.explain(
        model, X[:300], y[:300], random_state=0, n_repeats=2, progress=False
    )
    assert game.to_frame().set_index("feature")["importance"]["town"] > 0.5


@pytest.mark.slow
def test_no_embedding_below_50_levels_or_in_the_published_networks():
    X, y = towns(600, levels=40)
    options = {"max_epochs": 1, "random_state": 0, "progress": False}
    few = HyNNRegressor(preset="fast", branches=("tabular",), **options).fit(X, y)
    assert type(few.module_.table_branch.layers[0]) is nn.Linear
    X, y = towns(600)
    for preset in ("paper", "ig_example"):
        plain = HyNNRegressor(preset=preset, branches=("tabular",), **options).fit(X, y)
        assert type(plain.module_.table_branch.layers[0]) is nn.Linear
        assert len(plain.preprocessor_.columns_of("town")) == 52, (
            "50 levels, other, missing"
        )
    hybrid = HyNNRegressor(preset="fast", image="always", **options).fit(X, y)
    assert isinstance(hybrid.module_.table_branch.layers[0], LevelEmbeddingLinear)
    assert len(hybrid.preprocessor_.columns_of("town")) == 2, (
        "a score and missing: no level takes a pixel"
    )
    for asked_levels, columns in ((60, 2), (80, 81)):
        preset = {"base": "fast", "max_levels": asked_levels}
        model = HyNNRegressor(preset=preset, branches=("tabular",), **options).fit(X, y)
        assert len(model.preprocessor_.columns_of("town")) == columns, (
            "a score beyond so many levels"
        )
    with pytest.raises(
        InputError,
        match=r"The mapping is not a valid preset: 'max_levels' must be null or a "
        r"whole number of at least 1, got 0",
    ):
        HyNNRegressor(preset={"max_levels": 0}).fit(X, y)
