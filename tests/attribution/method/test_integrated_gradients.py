"""Integrated gradients: closed forms, a literal twin in float64, Captum, the paper's
axioms, baselines, bad input.
"""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from hypothesis import given, settings
from hypothesis import strategies as st
from replicates import replicates

import permgrad as pg
from permgrad.attribution.explain import explain
from permgrad.attribution.request import tuned
from permgrad.attribution.slopes.gradients import output_gradients
from permgrad.attribution.subject.encoded import HybridSubject
from permgrad.base.errors import InputError, PermgradWarning
from permgrad.imaging import ForeignRenderer
from permgrad.models.batches import in_batches

NETWORK = {"dense_units": [8], "conv_filters": [4, 6], "fusion_units": [8]}
CLASSES = ("blue", "green", "red")


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Four numbers and a category; three classes that depend on all but the last
    number.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=["a", "b", "c", "d"])
    frame["kind"] = rng.choice(["p", "q", "r"], rows, p=[0.2, 0.5, 0.3])
    score = np.stack(
        [frame["a"], frame["b"] * frame["c"], (frame["kind"] == "q") * 1.0], axis=1
    )
    return frame, np.array(CLASSES)[score.argmax(axis=1)]


def fitted(network=None, **options) -> pg.HyNNClassifier:
    """A small trained classifier; its module is float64 so that twins can be compared
    closely.
    """
    X, y = table(300)
    options = {
        "preset": "fast",
        "image": "always",
        "pixels": 8,
        "max_epochs": 15,
        "random_state": 0,
        "progress": False,
        **options,
    }
    model = pg.HyNNClassifier(network={**NETWORK, **(network or {})}, **options).fit(
        X, y
    )
    model.module_.double()
    return model


@pytest.fixture(scope="module")
def model() -> pg.HyNNClassifier:
    return fitted()


@pytest.fixture(scope="module")
def smooth() -> pg.HyNNClassifier:
    """Without kinks: quadrature converges fast, and numbers can be compared closely."""
    return fitted({"activation": "silu", "pooling": [1]})


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return table(9, seed=1)[0]


def explained(model, rows, **options):
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


def median_of(model) -> np.ndarray:
    return (
        HybridSubject(model)
        .typical((torch.from_numpy(model.background_),))[0][0]
        .double()
        .numpy()
    )


# ---- the paper again -----------------------------------------------------------------


@replicates("integrated_gradients")
def twin(
    model, row: np.ndarray, baseline: np.ndarray, target: int, steps: int
) -> dict[str, np.ndarray]:
    """Equation 1 of Sundararajan et al., one row, one point of the line at a time, each
    path's gradient on its own.
    """
    net = model.module_
    sums = {"tabular": np.zeros(len(row)), "image": np.zeros(len(row))}
    for k in range(steps):
        point = torch.as_tensor(
            baseline + (k + 0.5) / steps * (row - baseline), dtype=torch.float64
        )[None]
        for path in sums:
            leaf = point.clone().requires_grad_()
            table_embedding = net.table_branch(leaf if path == "tabular" else point)
            picture_embedding = net.image_branch(
                net.renderer(leaf if path == "image" else point)
            )
            net.head(torch.cat([table_embedding, picture_embedding], dim=1))[
                0, target
            ].backward()
            sums[path] += leaf.grad.numpy()[0]
    net.zero_grad()
    return {path: (row - baseline) * total / steps for path, total in sums.items()}


def test_equals_the_papers_formula(smooth, rows):
    explanation = explained(smooth, rows[:2], tolerance=1e-5)
    encoded = smooth.encode_rows(rows[:2]).encoded.astype(np.float64)
    baseline = median_of(smooth)
    features = smooth.preprocessor_.features("feature")
    for row in range(2):
        for target in range(3):
            want = twin(smooth, encoded[row], baseline, target, 150)
            for path, columns_sum in want.items():
                feature_sums = np.array(
                    [columns_sum[columns].sum() for columns in features.values()]
                )
                assert (
                    np.abs(feature_sums).max() > 0.01
                )  # precondition: the path matters
                np.testing.assert_allclose(
                    explanation.parts[path][row, :, target], feature_sums, atol=2e-4
                )


def test_kinks_are_integrated_too(model, rows):
    """Rectifiers and max pooling: slopes jump, every rule converges like 1/n."""
    explanation = explained(model, rows[:1], tolerance=0.001)
    encoded = model.encode_rows(rows[:1]).encoded.astype(np.float64)
    baseline = median_of(model)
    columns = list(model.preprocessor_.features("feature").values())
    want = twin(model, encoded[0], baseline, 1, 1000)
    feature_sums = np.array(
        [(want["tabular"] + want["image"])[block].sum() for block in columns]
    )
    np.testing.assert_allclose(
        explanation.values[0, :, 1],
        feature_sums,
        atol=0.004 * explanation.meta["output_range"][1],
    )


def test_equals_captum(smooth, rows):
    captum = pytest.importorskip("captum.attr")
    net = smooth.module_

    def both(as_table, as_image):
        return net.fuse(
            {
                "tabular": net.embed("tabular", as_table),
                "image": net.embed("image", as_image),
            }
        )

    encoded = torch.as_tensor(smooth.encode_rows(rows).encoded).double()
    baseline = torch.as_tensor(median_of(smooth))[None]
    explanation = explained(smooth, rows, tolerance=1e-6, groups={})
    columns = list(smooth.preprocessor_.features("column").values())
    for target in range(3):
        path_attributions = captum.IntegratedGradients(both).attribute(
            (encoded, encoded), (baseline, baseline), target=target, n_steps=64
        )
        for path_attribution, path in zip(
            path_attributions, ("tabular", "image"), strict=True
        ):
            want = np.stack(
                [
                    path_attribution.detach().numpy()[:, block].sum(axis=1)
                    for block in columns
                ],
                axis=1,
            )
            assert np.abs(want).max() > 0.05
            np.testing.assert_allclose(
                explanation.parts[path][:, :, target], want, atol=1e-4
            )


def linear_model() -> tuple[pg.HyNNRegressor, np.ndarray, np.ndarray]:
    """A network that is linear where it is used (all rectifiers open), and its slopes
    by way of each path.
    """
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 4))
    options = {
        "dense_units": [5],
        "conv_filters": [3],
        "fusion_units": [],
        "pooling": [1],
    }
    model = pg.HyNNRegressor(
        preset="fast",
        image="always",
        network=options,
        pixels=4,
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(X, X @ [1.0, 2.0, 3.0, 4.0])
    net = model.module_.double()
    with torch.no_grad():
        net.table_branch.layers[0].bias += 100
        net.image_branch[0].bias += 100
        head = net.head[0].weight
        by_table = head[:, :5] @ net.table_branch.layers[0].weight
        unit = torch.eye(4, dtype=torch.float64)
        pictures = net.renderer(unit) - net.renderer(
            torch.zeros(1, 4, dtype=torch.float64)
        )
        convolved = torch.nn.functional.conv2d(
            pictures, net.image_branch[0].weight, padding=1
        ).flatten(1)
        by_image = convolved @ head[:, 5:].T
    scale = model.target_scale_
    return model, by_table.numpy()[0] * scale, by_image.numpy()[:, 0] * scale


def test_linear_closed_form():
    model, by_table, by_image = linear_model()
    X = np.random.default_rng(4).normal(size=(6, 4))
    explanation = explained(model, X, baseline="mean")
    difference = model.encode_rows(X).encoded.astype(
        np.float64
    ) - model.background_.mean(axis=0, dtype=np.float64)
    assert np.abs(by_image).min() > 1e-3
    np.testing.assert_allclose(
        explanation.parts["tabular"][:, :, 0],
        difference * by_table,
        rtol=1e-4,
        atol=1e-5,
    )
    np.testing.assert_allclose(
        explanation.parts["image"][:, :, 0], difference * by_image, rtol=1e-4, atol=1e-5
    )
    assert (
        explanation.meta["steps"] == 8
    )  # the first number at which anything may count as settled
    assert explanation.meta["completeness_gap"] < 1e-6
    assert explanation.meta["unit"] == "y"


# ---- the axioms ----------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["zeros", "mean", "median", "background"])
@pytest.mark.parametrize("output", ["raw", "probability"])
def test_completeness(model, rows, baseline, output):
    explanation = explained(model, rows, baseline=baseline, scale=output)
    # The truth is recomputed here from the network alone.
    network_outputs = outputs(model, model.encode_rows(rows).encoded)
    bases = {
        "zeros": np.zeros((1, network_outputs.shape[1] + 4)),
        "mean": model.background_.mean(axis=0, dtype=np.float64)[None],
        "median": median_of(model)[None],
    }
    if output == "probability":
        network_outputs = np.exp(network_outputs) / np.exp(network_outputs).sum(
            axis=1, keepdims=True
        )
    if baseline != "background":
        base = outputs(model, bases[baseline][:, : model.background_.shape[1]])
        base = (
            base
            if output == "raw"
            else np.exp(base) / np.exp(base).sum(axis=1, keepdims=True)
        )
        np.testing.assert_allclose(explanation.base_values, base[0], atol=1e-6)
    np.testing.assert_allclose(explanation.predictions, network_outputs, atol=1e-9)
    gap = (
        np.abs(
            explanation.values.sum(axis=1) + explanation.base_values - network_outputs
        )
        / explanation.meta["output_range"]
    )
    assert (
        np.abs(network_outputs - explanation.base_values).max() > 0.05
    )  # precondition: there is something to explain
    assert gap.max() == pytest.approx(explanation.meta["completeness_gap"], abs=1e-9)
    assert gap.max() <= 0.002
    assert explanation.meta["baseline_name"] == baseline
    np.testing.assert_allclose(
        explanation.parts["tabular"] + explanation.parts["image"], explanation.values
    )


def test_an_unused_column_gets_exactly_zero(model, rows):
    deaf = copy.deepcopy(model)
    column = int(deaf.preprocessor_.columns_of("b")[0])
    with torch.no_grad():
        deaf.module_.table_branch.layers[0].weight[:, column] = 0
    explanation = explained(deaf, rows)
    assert not explanation.parts["tabular"][:, 1].any()
    assert explanation.parts["image"][
        :, 1
    ].any()  # it still enters by way of the picture
    with torch.no_grad():
        deaf.module_.head[0].weight[:, deaf.module_.widths["tabular"] :] = 0
    explanation = explained(deaf, rows)
    assert not explanation.parts["image"].any()
    assert not explanation.values[:, 1].any()
    assert explanation.values[:, 0].any()


def test_equal_functions_have_equal_attributions(model, rows):
    """Implementation invariance: hidden units swapped and scaled, the function is the
    same.
    """
    swapped_model = copy.deepcopy(model)
    net = swapped_model.module_
    with torch.no_grad():
        first = net.table_branch.layers[0]
        second = net.head[0]
        order = torch.arange(7, -1, -1)
        first.weight.copy_(first.weight[order] * 4)
        first.bias.copy_(first.bias[order] * 4)
        second.weight[:, :8] = second.weight[:, :8][:, order] / 4
    encoded = model.encode_rows(rows).encoded
    np.testing.assert_allclose(
        outputs(swapped_model, encoded), outputs(model, encoded), atol=1e-12
    )
    np.testing.assert_allclose(
        explained(swapped_model, rows).values, explained(model, rows).values, atol=1e-10
    )


def test_a_row_equal_to_its_baseline_gets_zeros(model, rows):
    explanation = explained(model, rows[:1], baseline=rows[:1])
    assert not explanation.values.any()
    assert explanation.meta["completeness_gap"] == 0


# ---- baselines -----------------------------------------------------------------------


def test_the_median_row_could_stand_in_the_table(model):
    row = median_of(model)
    levels = model.preprocessor_.columns_of("kind")
    assert sorted(row[levels]) == [0, 0, 1]
    names = [model.preprocessor_.encoded_names_[column] for column in levels]
    assert "q" in names[int(row[levels].argmax())]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 10_000))
def test_the_median_row_keeps_levels_whole(rows, levels, seed):
    rng = np.random.default_rng(seed)
    block = np.eye(levels)[rng.integers(0, levels, rows)]
    encoded = np.column_stack([rng.normal(size=rows), block]).astype(np.float32)
    features = {"number": np.array([0]), "kind": np.arange(1, levels + 1)}
    encoder = SimpleNamespace(
        kinds_=["numeric"] + ["level"] * levels, features=lambda _: features
    )
    row = HybridSubject.typical(
        SimpleNamespace(preprocessor=encoder), (torch.from_numpy(encoded),)
    )[0][0].numpy()
    assert row[0] == np.median(encoded[:, 0])
    assert (encoded[:, 1:] == row[1:]).all(axis=1).sum() == block.sum(axis=0).max()


def test_given_rows_are_baselines(model, rows):
    row_explanation = explained(model, rows, baseline=rows.iloc[[3]])
    assert row_explanation.meta["baseline"] == "a row given by the user"
    np.testing.assert_allclose(
        row_explanation.base_values, row_explanation.predictions[3], atol=1e-9
    )
    series = explained(model, rows, baseline=rows.iloc[3])
    np.testing.assert_allclose(series.values, row_explanation.values)
    # Several rows are averaged: the mean of the single results.
    two = explained(model, rows, baseline=rows.iloc[[3, 4]], tolerance=1e-3)
    second_explanation = explained(model, rows, baseline=rows.iloc[[4]], tolerance=1e-3)
    assert two.meta["baseline"] == "average over 2 rows given by the user"
    bound = 0.004 * max(two.meta["output_range"])
    np.testing.assert_allclose(
        two.values, (row_explanation.values + second_explanation.values) / 2, atol=bound
    )


def test_the_background_is_the_users_where_given(model, rows):
    mine = table(30, seed=5)[0]
    explanation = explained(model, rows, baseline="background", background=mine)
    assert explanation.meta["baseline_rows"] == 30
    np.testing.assert_allclose(
        explanation.base_values,
        outputs(model, model.encode_rows(mine).encoded).mean(axis=0),
        atol=1e-9,
    )
    few = explained(model, rows, baseline="background", references=7)
    assert few.meta["baseline_rows"] == 7


def test_errors_are_parts_of_the_range_over_the_background_that_is_given(model, rows):
    background = table(12, seed=5)[0]
    given_range = explained(model, rows, baseline="zeros", background=background).meta[
        "output_range"
    ]
    training_range = explained(model, rows, baseline="zeros").meta["output_range"]
    encoded = model.encode_rows(background).encoded
    background_outputs = outputs(
        model, np.concatenate([encoded, np.zeros_like(encoded[:1])])
    )
    np.testing.assert_allclose(
        given_range, np.ptp(background_outputs, axis=0), rtol=1e-9
    )
    assert np.min(np.array(training_range) / given_range) > 1.05, (
        "the training rows reach further"
    )


def test_bad_options(model, rows):
    with pytest.raises(InputError) as error:
        explained(model, rows, baseline="zero")
    assert error.value.message == ("baseline cannot be 'zero'. Did you mean 'zeros'?")
    with pytest.raises(
        InputError, match=r"max_steps must be an integer of at least 2, got 1"
    ):
        explained(model, rows, max_steps=1)
    with pytest.raises(
        InputError, match=r"tolerance must be a finite number of at least 0, got -1"
    ):
        explained(model, rows, tolerance=-1)
    with pytest.raises(InputError, match=r"baseline has no rows"):
        explained(model, rows, baseline=rows[:0])


def test_foreign_pictures_are_refused(model, rows):
    foreign = copy.deepcopy(model)
    foreign.module_.renderer = ForeignRenderer(
        lambda X: np.zeros((len(X), 1, 8, 8)), channels_last=False
    )
    with pytest.raises(InputError) as error:
        explained(foreign, rows)
    assert str(error.value) == (
        "integrated_gradients needs a gradient through the image, but the images are "
        "drawn by a function of the user. Choose method='permgrad', 'permutation' or "
        "'ablation', or a layout of permgrad. [PG034]"
    )


# ---- how the work is cut -------------------------------------------------------------


def test_a_row_does_not_depend_on_its_neighbours_or_on_batches(model, rows):
    full_explanation = explained(model, rows, batch_size=1000)
    for options in ({"batch_size": 1}, {"batch_size": 7}):
        np.testing.assert_allclose(
            explained(model, rows, **options).values,
            full_explanation.values,
            atol=1e-10,
        )
    alone = explained(model, rows[4:5])
    np.testing.assert_allclose(alone.values[0], full_explanation.values[4], atol=1e-10)


def test_steps_follow_the_need(model, rows):
    rough = explained(model, rows, tolerance=0.05)
    fine = explained(model, rows, tolerance=0.0005)
    assert rough.meta["mean_steps"] < fine.meta["mean_steps"]
    assert rough.meta["gradient_evaluations"] < fine.meta["gradient_evaluations"]
    assert fine.meta["completeness_gap"] < 0.0005 or fine.meta["steps"] == 1024
    with pytest.warns(
        PermgradWarning,
        match=r"Attributions of \d of 9 rows did not settle .* Raise tolerance",
    ):
        explain(
            model,
            rows,
            method=tuned(pg.methods.IntegratedGradients(tolerance=1e-6), max_steps=16),
            progress=False,
        )


@pytest.mark.parametrize("path", ["tabular", "image"])
def test_one_path_alone(path, rows):
    single = fitted(branches=(path,), max_epochs=1)
    explanation = explained(single, rows)
    assert list(explanation.parts) == [path]
    np.testing.assert_allclose(explanation.parts[path], explanation.values)
    assert explanation.meta["completeness_gap"] <= 0.002


def test_targets_and_complement(model, rows):
    every = explained(model, rows, scale="probability", tolerance=0, max_steps=16)
    selected_explanation = explained(
        model, rows, scale="probability", target=["red"], tolerance=0, max_steps=16
    )
    np.testing.assert_allclose(
        selected_explanation.values[:, :, 0], every.values[:, :, 2], atol=1e-10
    )
    with torch.inference_mode():
        inside = explained(model, rows, scale="probability", tolerance=0, max_steps=16)
    np.testing.assert_allclose(inside.values, every.values, atol=1e-12)


def test_an_output_without_any_graph_has_zero_gradients():
    leaf = torch.ones(2, 3, requires_grad=True)
    assert not output_gradients(torch.ones(2, 2), [0, 1], [leaf])[0].any()
    unused = torch.ones(2, 3, requires_grad=True)
    gradients = output_gradients(leaf.sum(dim=1, keepdim=True), [0], [leaf, unused])
    assert bool((gradients[0] == 1).all())
    assert not gradients[1].any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(1, 50), st.integers(1, 50))
def test_batches_cover_everything_once(count, size, enough):
    covered_rows: list[int] = []

    def work(part: slice) -> None:
        if part.stop - part.start > enough:
            raise MemoryError
        covered_rows.extend(range(part.start, part.stop))

    used = in_batches(count, size, work)
    assert covered_rows == list(range(count))
    assert used <= max(size, 1)


def test_memory_that_never_suffices_is_an_error():
    def work(_: slice) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        in_batches(3, 2, work)
