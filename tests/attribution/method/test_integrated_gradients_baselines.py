"""What integrated gradients compare with, for which inputs, and their summaries: by
slow loops; on the bank table.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.base.errors import InputError, PermgradWarning

needs_bank = pytest.mark.skipif(
    not (
        Path(os.environ.get("PERMGRAD_DATA", "no such folder")) / "bank-full.csv"
    ).is_file(),
    reason="the file bank-full.csv is not in the folder that PERMGRAD_DATA names",
)
NETWORK = {"dense_units": [8], "conv_filters": [4], "fusion_units": [8]}


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    frame["kind"] = rng.choice(["p", "q", "r"], rows, p=[0.2, 0.5, 0.3])
    score = np.stack([frame["a"], frame["b"], (frame["kind"] == "q") * 1.0], axis=1)
    return frame, np.array(["blue", "green", "red"])[score.argmax(axis=1)]


@pytest.fixture(scope="module")
def model() -> pg.HyNNClassifier:
    X, y = table(300)
    estimator = pg.HyNNClassifier(
        preset={"base": "fast", "background_size": 120},
        image="always",
        network=NETWORK,
        pixels=6,
        max_epochs=15,
        random_state=0,
        progress=False,
    ).fit(X, y)
    estimator.module_.double()
    return estimator


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return table(12, seed=1)[0]


def explained(model, rows, **options) -> pg.Explanation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PermgradWarning)
        return explain_with(
            model,
            rows,
            method="integrated_gradients",
            progress=False,
            random_state=0,
            **options,
        )


def outputs(model, encoded) -> np.ndarray:
    with torch.no_grad():
        return model.module_(torch.as_tensor(np.atleast_2d(encoded)).double()).numpy()


# ---- baselines -----------------------------------------------------------------------


def test_the_rows_of_a_class(model, rows):
    green = model.background_[model.background_target_ == 1]
    assert 7 < len(green) < 100  # precondition: a part of the background
    for options in (
        {"baseline": "class:green"},
        {"baseline": "background", "reference_class": "green"},
    ):
        explanation = explained(model, rows, references=200, **options)
        np.testing.assert_allclose(
            explanation.base_values, outputs(model, green).mean(axis=0), atol=1e-9
        )
        total = explanation.values.sum(axis=1) + explanation.base_values
        np.testing.assert_allclose(
            total, outputs(model, model.encode_rows(rows).encoded), atol=1e-9
        )
        assert explanation.meta["baseline"] == (
            f"average over {len(green)} training rows of class 'green' (expected "
            "gradients)"
        )
    few = explained(model, rows, baseline="class:green", references=7)
    assert (
        few.meta["baseline"]
        == f"average over 7 of {len(green)} training rows of class 'green' (expected "
        "gradients)"
    )
    assert few.meta["baseline_rows"] == 7


def test_the_mean_and_the_median_of_a_class(model, rows):
    green = model.background_[model.background_target_ == 1]
    mean = explained(model, rows, baseline="mean", reference_class="green")
    np.testing.assert_allclose(
        mean.base_values,
        outputs(model, green.astype(np.float64).mean(axis=0))[0],
        atol=1e-5,
    )
    assert (
        mean.meta["baseline"]
        == f"mean of the encoded inputs over {len(green)} training rows of class "
        "'green'"
    )
    median = explained(model, rows, reference_class="green")
    everyone = explained(model, rows)
    assert np.abs(median.base_values - everyone.base_values).max() > 0.1
    assert median.meta["baseline"] == (
        f"median of numbers and most frequent level over {len(green)} training rows of "
        "class 'green'"
    )
    assert (
        everyone.meta["baseline"]
        == "median of numbers and most frequent level over 120 training rows"
    )


def test_classes_that_are_numbers():
    X, y = table(120)
    estimator = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=NETWORK,
        pixels=6,
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(X, np.where(y == "green", 7, 3))
    by_name = explained(estimator, X[:3], baseline="class:7")
    by_value = explained(estimator, X[:3], baseline="background", reference_class=7)
    np.testing.assert_array_equal(by_name.values, by_value.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"baseline": "class:gren"},
            ("baseline: no class 'gren'. Did you mean 'green'?"),
        ),
        (
            {"baseline": "zeros", "reference_class": "green"},
            (
                "reference_class='green' and baseline='zeros' cannot be combined. Pass "
                "one of them."
            ),
        ),
        (
            {"baseline": "class:green", "background": table(20)[0]},
            (
                "A reference class needs the training rows kept in the model, and the "
                "rows of background= have no "
                "classes. Pass method=pg.methods.IntegratedGradients(baseline=...) "
                "with rows of that class."
            ),
        ),
        (
            {"baseline": table(3)[0], "reference_class": "green"},
            (
                "reference_class='green' and a table as baseline= cannot be combined. "
                "Pass one of them."
            ),
        ),
        (
            {"players": "encode"},
            "players cannot be 'encode'. Did you mean 'encoded'?",
        ),
        (
            {"players": "encoded", "groups": "modality"},
            "players='encoded' does not take groups=. Leave one of them out.",
        ),
    ],
)
def test_bad_choices(model, rows, options, message):
    with pytest.raises(InputError) as error:
        explained(model, rows, **options)
    assert error.value.message == message


def test_a_regression_has_no_classes():
    X, _ = table(80)
    estimator = pg.HyNNRegressor(
        preset="fast",
        image="always",
        network=NETWORK,
        pixels=6,
        max_epochs=1,
        random_state=0,
        progress=False,
    )
    with pytest.raises(
        InputError,
        match="A reference class needs a classifier, and the model is a regression",
    ):
        explained(estimator.fit(X, X["a"]), X[:3], baseline="class:x")


# ---- inputs and summaries ------------------------------------------------------------


def check_sums(
    model, inputs: pg.Explanation, features: pg.Explanation, within: float = 0.0
) -> None:
    """Each feature's value, on each path, is the sum of its encoded columns' values,
    within a share of the largest value where each settles by its own.
    """
    apart = max(1e-12, within * float(np.abs(features.values).max()))
    encoder = model.preprocessor_
    assert inputs.names == tuple(encoder.encoded_names_)
    assert inputs.level == "input"
    for position, columns in enumerate(encoder.features("feature").values()):
        np.testing.assert_allclose(
            inputs.values[:, columns].sum(axis=1),
            features.values[:, position],
            rtol=1e-9,
            atol=apart,
        )
        for path, path_values in features.parts.items():
            np.testing.assert_allclose(
                inputs.parts[path][:, columns].sum(axis=1),
                path_values[:, position],
                rtol=1e-9,
                atol=apart,
            )


def test_encoded_inputs_sum_to_features(model, rows, tmp_path):
    # With as many steps: each settles by its own largest value.
    inputs = explained(model, rows, players="encoded", steps=20)
    features = explained(model, rows, steps=20)
    assert len(inputs.names) == 5
    check_sums(model, inputs, features)
    np.testing.assert_array_equal(
        inputs.feature_values.to_numpy(), model.encode_rows(rows).encoded
    )
    inputs.save(tmp_path / "inputs")
    again = pg.Explanation.load(tmp_path / "inputs")
    assert again.names == inputs.names
    assert again.meta["baseline"] == inputs.meta["baseline"]


def test_summaries_are_slow_loops(model, rows):
    local = explained(model, rows)
    count, features, classes = local.values.shape
    mean, size, published = (np.zeros((features, classes)) for _ in range(3))
    for target in range(classes):
        for feature in range(features):
            for row in range(count):
                mean[feature, target] += local.values[row, feature, target] / count
                size[feature, target] += abs(local.values[row, feature, target]) / count
        # The published form: the sum over test rows, divided by its L1 norm.
        sums = [
            sum(local.values[row, feature, target] for row in range(count))
            for feature in range(features)
        ]
        norm = sum(abs(value) for value in sums)
        for feature in range(features):
            published[feature, target] = sums[feature] / norm
    assert (published < 0).any()  # precondition: signs matter
    assert np.abs(np.abs(mean) - size).max() > 0.01
    np.testing.assert_allclose(local.to_global("mean").values, mean, atol=1e-12)
    np.testing.assert_allclose(local.to_global("mean_abs").values, size, atol=1e-12)
    np.testing.assert_allclose(local.to_global("sum_l1").values, published, atol=1e-12)
    np.testing.assert_allclose(np.abs(local.to_global("sum_l1").values).sum(axis=0), 1)
    # The signed mean keeps adding up: over features to the mean difference, over paths
    # to itself.
    summary = local.to_global("mean")
    difference = (local.predictions - local.base_values).mean(axis=0)
    np.testing.assert_allclose(summary.values.sum(axis=0), difference, atol=1e-9)
    np.testing.assert_allclose(
        summary.parts["tabular"] + summary.parts["image"], summary.values, atol=1e-12
    )


# ---- the bank table ------------------------------------------------------------------


@pytest.mark.slow
@needs_bank
def test_the_example_on_bank(script):
    """Completeness over all test rows (floor: 0.5 % of f's range), and the 51 inputs
    sum to the 16 features.
    """
    module = script("benchmarks.speed.integrated_gradients_speed")
    model, rows, target = module.bank_model(epochs=3)
    assert len(rows) == 9043
    options = {
        "method": "integrated_gradients",
        "baseline": "zeros",
        "scale": "logit",  # of two classes there is one
        "progress": False,
    }
    inputs = explain_with(model, rows, players="encoded", **options)
    assert inputs.values.shape == (9043, 51, 1)
    gap, spread = module.gaps(model, rows, target, inputs.values[:, :, 0])
    assert spread > 3  # precondition: f varies
    assert gap.max() <= 0.005 * spread
    features = explain_with(model, rows, **options)
    assert len(features.names) == 16
    check_sums(model, inputs, features, within=0.02)
    # Gaps close by construction; single values are compared with many plain gradients,
    # and with Captum's errors.
    pytest.importorskip("captum")
    example_rows = rows[:150]
    truth = module.reference(model, example_rows, target, 2000)
    permgrad_errors = np.abs(inputs.values[:150, :, 0] - truth).max(axis=1)
    peer = np.abs(module.captum(model, example_rows, target) - truth).max(axis=1)
    assert permgrad_errors.mean() < peer.mean()
    assert permgrad_errors.max() < 0.005 * spread


@pytest.mark.slow
@needs_bank
@pytest.mark.parametrize("baseline", ["zeros", "class:no"])
def test_both_paths_on_bank(hybrid_on_bank, baseline):
    model, rows = hybrid_on_bank
    features = explained(model, rows, baseline=baseline, references=3)
    inputs = explained(model, rows, baseline=baseline, references=3, players="encoded")
    assert len(features.names) == 16
    check_sums(model, inputs, features, within=0.02)
    np.testing.assert_allclose(
        features.parts["tabular"] + features.parts["image"], features.values, atol=1e-12
    )
    for path in ("tabular", "image"):
        assert np.abs(features.parts[path]).sum() > 0.05 * np.abs(features.values).sum()
    total = features.base_values + features.values.sum(axis=1)
    spread = np.ptp(features.predictions, axis=0)
    with torch.no_grad():
        logits = model.module_(
            torch.from_numpy(model.encode_rows(rows).encoded)
        ).numpy()
    assert (np.abs(total - logits) <= 0.005 * spread).all()


@pytest.fixture(scope="module")
def hybrid_on_bank():
    data = pg.load_dataset("bank")
    frame = data.frame.sample(2500, random_state=0).reset_index(drop=True)
    X = frame.drop(columns=data.target)
    y = frame[data.target].to_numpy()
    estimator = pg.HyNNClassifier(
        preset="fast", image="always", max_epochs=4, random_state=0, progress=False
    )
    return estimator.fit(X[:2300], y[:2300]), X[2300:].reset_index(drop=True)
