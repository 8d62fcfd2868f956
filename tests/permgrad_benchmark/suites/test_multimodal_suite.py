"""The multimodal suite as a whole: contestants beside their oracles, records that can
be read, no data, new entries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.quality.multimodal_settings import hold_out

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad_benchmark import Settings, load_suites, metric_named, suites
from permgrad_benchmark.contestants import Contestant, Scores, enrolled
from permgrad_benchmark.metrics import share_error, share_spread
from permgrad_benchmark.records import Record, read_cell, write_cell
from permgrad_benchmark.suites.multimodal import (
    MultimodalSuite,
    linear,
    register_function,
)
from permgrad_benchmark.suites.multimodal.autoencoder import _read, bottleneck_features
from permgrad_benchmark.suites.multimodal.case import FULL, make_case, make_oracle
from permgrad_benchmark.suites.multimodal.functions import (
    MODALITIES,
    functions,
    true_importance,
)
from permgrad_benchmark.suites.multimodal.ours import ENTRIES, score
from permgrad_benchmark.suites.multimodal.suite import shuffled
from permgrad_benchmark.suites.multimodal.training import QUICK as QUICK_TRAINING
from permgrad_benchmark.suites.multimodal.training import train
from permgrad_benchmark.suites.suite import SuiteCell

HAS_DATA = Path(
    os.environ.get("PERMGRAD_DATA", "no such folder"), "pneumoniamnist.npz"
).is_file()
needs_data = pytest.mark.skipif(
    not HAS_DATA,
    reason="pneumoniamnist.npz is not in the folder that PERMGRAD_DATA names",
)
OURS = ("permgrad", "permutation", "shapley", "gradient", "lime")


@pytest.fixture(autouse=True)
def apart(tmp_path_factory, monkeypatch) -> None:
    """A cache of the tests' own."""
    monkeypatch.setenv(
        "PERMGRAD_CACHE", str(tmp_path_factory.getbasetemp() / "multimodal")
    )


def known(records: list[Record]) -> dict[tuple[str, str, str], float]:
    """Return the values by method, estimand and metric."""
    metric_values = {
        (
            benchmark_record.method,
            benchmark_record.estimand,
            benchmark_record.metric,
        ): benchmark_record.value
        for benchmark_record in records
    }
    assert len(metric_values) == len(records), "every number must have its own name"
    return metric_values


@pytest.mark.slow
@needs_data
def test_a_quick_cell_holds_every_contestant_beside_its_oracle():
    settings = Settings(scale="quick", progress=False)
    suite = load_suites().get("multimodal")
    records = suite.run("F5", 1, settings)
    metric_values = known(records)
    assert {benchmark_record.cell for benchmark_record in records} == {
        ("multimodal", "F5", 1)
    }
    names = suite.methods(settings)
    assert set(OURS) <= set(names)
    for name in names:
        shares = [
            metric_values[name, "any", f"share:{modality}"] for modality in MODALITIES
        ]
        assert sum(shares) == pytest.approx(1.0), name
        for estimand in ("published", "effect"):
            assert 0 <= metric_values[name, estimand, "share_error"] <= 1
            assert np.isfinite(metric_values[f"oracle:{name}", estimand, "share_error"])
        assert metric_values[name, "any", "seconds"] >= 0
    truth = [
        metric_values["truth", "effect", f"truth_share:{modality}"]
        for modality in MODALITIES
    ]
    assert np.allclose(truth, [0, 0, 13 / 23, 10 / 23])
    assert metric_values["network", "any", "accuracy"] > 0.7
    for record in records:
        low, high = metric_named(record.metric).range
        assert np.isnan(record.value) or low - 1e-9 <= record.value <= high + 1e-9, (
            record
        )
    # Even this little network reads the two tables alone, so that the oracles' errors
    # are those of sampling.
    for name in ("permgrad", "permutation", "shapley"):
        assert metric_values[f"oracle:{name}", "effect", "share_error"] < 0.06
        assert metric_values[name, "effect", "share_error"] < 0.15


@pytest.mark.slow
@needs_data
def test_the_same_arguments_give_the_same_figures():
    settings = Settings(
        scale="quick", progress=False, methods=("permgrad", "gradient"), peers=False
    )
    first, again = (known(MultimodalSuite().run("F2", 1, settings)) for _ in range(2))
    assert first.keys() == again.keys()
    assert {name for name, _, _ in first} == {
        "network", "truth", "permgrad", "oracle:permgrad", "gradient", "oracle:gradient",
    }  # fmt: skip
    for key, value in first.items():
        if "seconds" not in key[2]:
            assert value == again[key] or (np.isnan(value) and np.isnan(again[key])), (
                key
            )


@pytest.mark.slow
@needs_data
def test_repetitions_and_randomised_networks():
    settings = Settings(scale="quick", progress=False)
    suite = MultimodalSuite()
    design = suite.design("F2", 0, settings)
    network = train(design, 0, QUICK_TRAINING)
    pairs = design.draw(design.test, 300, np.random.default_rng(0))
    from permgrad_benchmark.suites.multimodal.case import QUICK

    case = make_case(design, network, pairs, 0, QUICK)
    own_contestant = enrolled("multimodal").get("gradient")
    cell = SuiteCell(case, {}, {}, design=(design, QUICK_TRAINING))
    repeated_metrics = {
        metric: value
        for _, metric, value in suite.repeat(
            cell, [own_contestant], {"gradient": own_contestant.score(case).values}
        )
    }
    assert set(repeated_metrics) == {
        "stability_kendall:retraining", "stability_kendall:resampling", "stability_spread:retraining",
        "stability_spread:resampling", "randomised:parameters", "randomised:labels",
    }  # fmt: skip
    assert repeated_metrics["stability_spread:resampling"] < 0.05, (
        "the same network on other rows"
    )
    assert not {"gradient", "permgrad"} & set(suite.not_repeated)
    many_rows = shuffled(design, 0).draw(
        design.training, 2000, np.random.default_rng(0)
    )
    assert 0.4 < many_rows.labels.double().mean() < 0.6
    correlations = np.corrcoef(many_rows.features.T.numpy(), many_rows.labels.numpy())[
        -1, :-1
    ]
    assert np.abs(correlations).max() < 0.1, "shuffled labels say nothing"


@needs_data
@pytest.mark.slow
def test_settings_are_chosen_without_the_test_images():
    design = MultimodalSuite().design("F0", 0, Settings(scale="quick"))
    held_out_design = hold_out(design)
    for training, test, whole_images, kept_images in zip(
        held_out_design.training,
        held_out_design.test,
        design.training,
        design.test,
        strict=True,
    ):
        assert sorted([*training, *test]) == sorted(whole_images)
        assert not set(test) & set(kept_images)


@pytest.mark.slow
@needs_data
def test_images_come_from_the_folder_asked_for(monkeypatch, tmp_path):
    folder = Path(os.environ["PERMGRAD_DATA"])
    monkeypatch.delenv("PERMGRAD_DATA")
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path))
    design = MultimodalSuite().design("F0", 0, Settings(scale="quick", data=folder))
    assert design.names == ("pneumoniamnist", "pneumoniamnist")
    assert design.shared


def test_without_images_the_error_says_what_to_do(monkeypatch, tmp_path):
    from permgrad.data.datasets import dataset_store as store

    def refuse(_url: str) -> bytes:
        raise OSError("no route")

    monkeypatch.delenv("PERMGRAD_DATA", raising=False)
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "fetch_bytes", refuse)
    _read.cache_clear()
    bottleneck_features.cache_clear()
    settings = Settings(scale="quick", progress=False)
    with pytest.raises(
        EnvironmentProblem,
        match="or name the folder that holds it in the environment variable PERMGR",
    ):
        MultimodalSuite().run("F0", 0, settings)
    assert (
        "is not on this machine"
        in MultimodalSuite().facts(settings)["images"]["problem"]
    )
    with pytest.raises(InputError, match="decision function must be one of 'F0'"):
        MultimodalSuite().run("F9", 0, settings)


def test_facts_name_everything_the_page_needs():
    facts = MultimodalSuite().facts(Settings(scale="quick"))
    assert facts["published_functions"] == [f"F{number}" for number in range(8)]
    assert facts["relevant"]["F6"] == list(MODALITIES)
    assert facts["relevant"]["xor"] == ["X1", "X3"]
    assert facts["relevant"]["unused"] == ["X1", "X3"]
    assert set(facts["estimands"]) == {"published", "effect"}
    for facts_of in facts["contestants"].values():
        assert facts_of["estimand"] in {"published", "effect", "any"}
    assert "multimodal" in suites


@pytest.fixture
def entered() -> Iterator[list[str]]:
    """Names entered by a test, taken out again."""
    names: list[str] = []
    yield names
    for name in names:
        enrolled("multimodal").pop(name, None)
        functions.pop(name, None)


@pytest.mark.slow
@needs_data
def test_a_new_function_and_a_new_contestant_are_in_every_table(entered):
    entered += ["third", "knows"]
    register_function(linear("third", "x3 of X4", {32: 1.0}))
    enrolled("multimodal").register("knows")(
        Contestant(
            "knows",
            "",
            "effect",
            "baseline",
            lambda _: Scores(np.array([0.0, 0, 0, 1])),
        )
    )
    suite = MultimodalSuite()
    settings = Settings(scale="quick", progress=False, methods=("knows",))
    assert suite.functions[-1] == "third"
    metric_values = known(suite.run("third", 1, settings))
    assert metric_values["knows", "effect", "share_error"] == 0
    assert metric_values["knows", "published", "share_error"] == 0


def test_every_method_of_the_registry_takes_part_or_is_left_out_by_name():
    from permgrad.attribution import methods

    names = set(enrolled("multimodal"))
    for method in methods:
        assert (method in names) is bool(ENTRIES.get(method, True)), method


def test_cells_can_be_kept(tmp_path):
    records = [Record("multimodal", "F0", 0, "permgrad", "any", "share:X1", 0.5)]
    write_cell(tmp_path, "multimodal", "F0", 0, records)
    assert read_cell(tmp_path, "multimodal", "F0", 0) == records


# ---- the floors, on one function and seed --------------------------------------------
@needs_data
@pytest.mark.slow
def test_a_fully_trained_network_is_weighed_as_the_function_weighs():
    """F6 reads everything; ``verification/verify_multimodal.py`` is the long form, over
    all functions and seeds.
    """
    torch.set_num_threads(1)
    settings = Settings(scale="quick", progress=False)
    suite = MultimodalSuite()
    design = suite.design("F6", 0, settings)
    network = train(design, 0)
    pairs = design.draw(design.test, FULL.test, np.random.default_rng(0))
    case = make_case(design, network, pairs, 0, FULL)
    oracle = make_oracle(design, case)
    with torch.no_grad():
        right = float(
            ((case.head()(case.fused)[:, 0] > 0) == case.labels.bool()).double().mean()
        )
    assert right >= 0.93
    truths = {
        name: true_importance(design.function, design.population(), name)
        for name in ("published", "effect")
    }
    for name, estimand, floor in (
        ("permgrad", "effect", 0.02), ("permutation", "effect", 0.02), ("shapley", "effect", 0.02),
        ("gradient", "published", 0.09), ("lime", "published", 0.09),
    ):  # fmt: skip
        scored_case = score(case, name, ENTRIES[name][0])
        assert share_error(truths[estimand], scored_case.values) <= floor, name
        exact = score(oracle, name, ENTRIES[name][0])
        assert share_error(truths[estimand], exact.values) <= min(floor, 0.03), (
            f"oracle of {name}"
        )
    assert share_spread(np.stack([scored_case.values, scored_case.values])) == 0
