"""Parts of one explanation: how the facts of parts become facts of the whole, and what
workers are sent.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.parts.engines import LocalEngine
from permgrad.attribution.parts.engines import engine as base
from permgrad.attribution.parts.engines.engine import settle_model
from permgrad.attribution.parts.engines.frames_in_parts import (
    join_fact,
    join_rows,
    spans,
)
from permgrad.attribution.parts.engines.ray import _Pool
from permgrad.base.errors import EnvironmentProblem

NAMES = ("a", "b")
OUTPUTS = ("no", "yes")
WHERE = ("table", "table")
LENGTHS = (3, 1, 6)


def part(number: int, **meta: Any) -> pg.Explanation:
    """Return a local explanation of some rows, with every field that can be there, all
    numbers drawn.
    """
    rows = LENGTHS[number]
    rng = np.random.default_rng(number)
    shape = (rows, 2, 2)
    return pg.Explanation(
        rng.normal(size=shape), NAMES, WHERE, OUTPUTS, "lime", "local",
        std_error=rng.random(shape), low=rng.random(shape), high=rng.random(shape), p_values=rng.random(shape),
        parts={"tabular": rng.random(shape)}, part_std={"tabular": rng.random(shape)},
        predictions=rng.random((rows, 2)), base_values=rng.random((rows, 2)),
        maps={"picture": rng.random((rows, 3, 3))},
        feature_values=pd.DataFrame({"a": rng.random(rows), "b": [f"{number}:{row}" for row in range(rows)]}),
        meta=meta,
    )  # fmt: skip


def test_rows_follow_each_other_in_every_field():
    part_results = [part(number) for number in range(3)]
    joined = join_rows(part_results)
    for name in (
        "values",
        "std_error",
        "low",
        "high",
        "p_values",
        "predictions",
        "base_values",
    ):
        np.testing.assert_array_equal(
            getattr(joined, name),
            np.concatenate(
                [getattr(part_result, name) for part_result in part_results]
            ),
        )
    for name in ("parts", "part_std", "maps"):
        (key,) = getattr(joined, name)
        np.testing.assert_array_equal(
            getattr(joined, name)[key],
            np.concatenate(
                [getattr(part_result, name)[key] for part_result in part_results]
            ),
        )
    assert joined.feature_values["b"].tolist() == [
        f"{n}:{row}" for n in range(3) for row in range(LENGTHS[n])
    ]
    assert joined.feature_values.index.tolist() == list(range(10))
    assert (joined.names, joined.outputs, joined.method, joined.scope) == (
        NAMES,
        OUTPUTS,
        "lime",
        "local",
    )


def test_a_baseline_of_all_rows_is_averaged_by_their_number():
    part_results = [part(number) for number in range(3)]
    for result in part_results:
        object.__setattr__(result, "base_values", result.base_values[0])
    expected = (
        sum(
            part_result.base_values * len(part_result.values)
            for part_result in part_results
        )
        / 10
    )
    np.testing.assert_allclose(
        join_rows(part_results).base_values, expected, rtol=1e-12
    )


def test_what_a_method_does_not_give_is_not_there():
    bare = [
        pg.Explanation(part(n).values, NAMES, WHERE, OUTPUTS, "lime", "local")
        for n in range(3)
    ]
    joined = join_rows(bare)
    for name in (
        "std_error",
        "low",
        "high",
        "p_values",
        "predictions",
        "base_values",
        "feature_values",
    ):
        assert getattr(joined, name) is None
    assert (joined.parts, joined.part_std, joined.maps, joined.meta) == ({}, {}, {}, {})


SUMS = ("rows_explained", "seconds", "model_rows", "gradient_evaluations", "empty_maps")
MEANS = ("mean_steps", "mean_permutations", "local_r2_mean", "background_share")
LARGEST = ("completeness_gap", "quadrature_error", "steps", "permutations")


def test_facts_about_rows_are_facts_about_all_rows():
    """What is counted adds up, means are weighted by rows, the largest error counts;
    the rest is one for all.
    """
    numbers = (4.0, 1.0, 2.0)
    facts = [
        dict.fromkeys((*SUMS, *MEANS, *LARGEST), number)
        | {
            "local_r2": [number] * length,
            "unit": "logit",
            "seed": 3,
            "background": {"rows": 9},
        }
        for number, length in zip(numbers, LENGTHS, strict=True)
    ]
    meta = join_rows([part(number, **facts[number]) for number in range(3)]).meta
    assert set(meta) == set(facts[0])
    mean = sum(
        number * length for number, length in zip(numbers, LENGTHS, strict=True)
    ) / sum(LENGTHS)
    assert len({sum(numbers), mean, max(numbers), numbers[0]}) == 3, (
        "the first part's is the largest"
    )
    assert {name: meta[name] for name in SUMS} == dict.fromkeys(SUMS, sum(numbers))
    assert {name: meta[name] for name in MEANS} == pytest.approx(
        dict.fromkeys(MEANS, mean)
    )
    assert {name: meta[name] for name in LARGEST} == dict.fromkeys(
        LARGEST, max(numbers)
    )
    later = join_rows([part(number, **facts[number]) for number in (1, 2, 0)]).meta
    assert {name: later[name] for name in LARGEST} == dict.fromkeys(
        LARGEST, max(numbers)
    )
    assert meta["local_r2"] == [4.0] * 3 + [1.0] + [2.0] * 6
    assert (meta["unit"], meta["seed"], meta["background"]) == ("logit", 3, {"rows": 9})


def test_facts_that_are_not_known_of_every_part():
    assert join_fact(
        "mean_steps", [None, 2.0, 5.0], [100.0, 1.0, 2.0]
    ) == pytest.approx(4.0)
    assert join_fact("seconds", [None, 2.0, 5.0], [1.0, 1.0, 1.0]) == 7.0
    assert join_fact("completeness_gap", [None, None], [1.0, 1.0]) is None
    assert join_fact("empty_maps", [{"conv": 1, "last": 0}, {"conv": 4, "last": 2}], [1.0, 9.0]) == {
        "conv": 5, "last": 2
    }  # fmt: skip


def test_parts_are_few_and_hold_every_row_once():
    for rows in (1, 499, 500, 501, 16_001, 100_000, 3_000_000):
        row_spans = spans(rows)
        assert row_spans[0].start == 0
        assert row_spans[-1].stop == rows
        assert all(
            span.stop == next_span.start
            for span, next_span in itertools.pairwise(row_spans)
        )
        sizes = [span.stop - span.start for span in row_spans]
        assert len(row_spans) <= 32 or max(sizes) == 20_000
        assert all(500 <= size <= 20_000 for size in sizes[:-1])
        assert 0 < sizes[-1] <= max(sizes)


# ---- what workers are sent -----------------------------------------------------------


class Keeping:
    """Works here, and keeps what workers would be sent."""

    facts: ClassVar[dict[str, Any]] = {"engine": "keeping", "workers": 1}
    work: Any = None

    def run(self, tasks: Sequence[Any], work: Callable[[Any], Any]) -> Iterator[Any]:
        self.work = work
        yield from map(work, tasks)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 3)), columns=list("abc"))
    y = X["a"].to_numpy() + X["b"].to_numpy() * X["c"].to_numpy()
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, y)
    engine = Keeping()
    call_options = {"background": X[:50] + 1.0, "progress": False, "random_state": 0}
    explanation = explain_with(
        model,
        X,
        method="integrated_gradients",
        baseline="mean",
        engine=engine,
        **call_options,
    )
    return model, X, engine.work, explanation


def test_a_worker_is_sent_rows_and_makes_the_rest_itself(case):
    model, X, kept_work, _ = case
    shipped = pickle.loads(pickle.dumps(kept_work))
    assert shipped.opened is None, "what was made here is not sent"
    shipped(slice(0, 10))
    opened, _ = first_opened = shipped.opened
    shipped(slice(0, 10))
    assert first_opened is shipped.opened, "made once"
    assert vars(pickle.loads(pickle.dumps(shipped))).keys() == vars(kept_work).keys()
    assert pickle.loads(pickle.dumps(shipped)).opened is None, (
        "what a worker has made is not sent on"
    )
    for tensors, rows in ((opened.inputs, X), (opened.donors, X[:50] + 1.0)):
        assert len(tensors) == 1
        np.testing.assert_array_equal(
            tensors[0].numpy(), model.encode_rows(rows).encoded
        )
    pd.testing.assert_frame_equal(opened.raw, X)
    encoded = model.encode_rows(X).encoded
    background = model.encode_rows(X[:50]).encoded
    shown = X.memory_usage(deep=True).sum()
    assert shipped.store_bytes == encoded.nbytes + background.nbytes + shown
    opened.encoded[:] = 0
    opened.donors[0][:] = 0
    np.testing.assert_array_equal(shipped.encoded, encoded)
    assert shipped.background.any()


def test_a_part_of_the_rows_is_explained_as_it_would_be_alone(case):
    _, X, work, full_explanation = case
    span = slice(200, 260)
    done_span, result, notes = work(span)
    assert (done_span, notes) == (span, [])
    np.testing.assert_allclose(
        result.values, full_explanation.values[200:260], rtol=0, atol=1e-5
    )
    assert np.abs(full_explanation.values).max() > 1e-3
    pd.testing.assert_frame_equal(
        result.feature_values.reset_index(drop=True), X[200:260].reset_index(drop=True)
    )
    assert full_explanation.meta["engine"] == Keeping.facts


def test_the_engine_that_needs_nothing_says_so():
    assert LocalEngine().facts == {"engine": "local", "workers": 1}
    assert LocalEngine(workers=1).facts == LocalEngine(workers=None).facts


def test_texts_count_with_all_their_letters(case):
    """The store of a session of ours is made as large as what is put into it."""
    _, X, kept_work, _ = case
    texts = pd.DataFrame({"text": pd.Series(["a long text " * 50] * 300, dtype=object)})
    shipped = pickle.loads(pickle.dumps(kept_work))
    before = shipped.store_bytes - X.memory_usage(deep=True).sum()
    shipped.raw = texts
    assert (
        shipped.store_bytes - before
        > 300 * 12 * 50
        > 10 * texts.memory_usage(deep=False).sum()
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("cpu", "cpu"),
        (torch.device("cpu"), "cpu"),
        ("auto", "meta"),
        ("cuda:1", "meta"),
    ],
)
def test_a_model_made_for_the_processor_stays_there_on_a_worker_with_an_accelerator(
    monkeypatch, wanted, found
):
    # What holds no numbers stands for the accelerator of the worker.
    monkeypatch.setattr(
        base,
        "choose_device",
        {"cpu": torch.device("cpu"), "auto": torch.device("meta")}.get,
    )
    model = SimpleNamespace(device=wanted, module_=torch.nn.Linear(1, 1))
    settle_model(model)
    assert model.module_.weight.device.type == found


class PretendedRay:
    """Workers that answer at once; those that die do so at every task that they are
    told of.
    """

    class exceptions:  # noqa: N801 — Ray's own name
        class RayError(Exception):
            """Stands for Ray's own."""

    def __init__(self, deadly: set[int | None]) -> None:
        self.deadly = deadly
        self.started = 0
        self.killed = 0

    def start(self) -> Any:
        self.started += 1
        open_ = SimpleNamespace(remote=lambda: self.answer(None))
        do = SimpleNamespace(remote=lambda task: self.answer(pickle.loads(task)))
        return SimpleNamespace(open=open_, do=do)

    def answer(self, task: int | None) -> Any:
        return lambda: task

    def wait(self, answers: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return answers[:num_returns], answers[num_returns:]

    def get(self, answer: Any) -> bytes:
        if answer() in self.deadly:
            raise self.exceptions.RayError("the node\nis gone")
        return pickle.dumps((answer(), None))

    def kill(self, worker: Any) -> None:
        self.killed += 1


def test_tasks_are_handed_to_workers_and_all_come_back_once():
    ray = PretendedRay(set())
    pool = _Pool(ray, range(7), ray.start, is_shared=False)
    assert sorted(pool.run(3)) == list(range(7))
    assert (ray.started, pool.died, pool.running) == (3, 0, {})


@pytest.mark.parametrize(
    ("deadly", "message"),
    [
        ({2}, r"4 workers crashed on the same part\. If memory"),
        (
            {None},
            (
                r"Workers keep crashing after 0 of 4 parts \(RayError: the node is "
                r"gone\)\. Check the cluster,"
            ),
        ),
    ],
)
def test_workers_that_ray_could_not_keep_alive_are_told(deadly, message):
    ray = PretendedRay(deadly)
    pool = _Pool(ray, range(4), ray.start, is_shared=False)
    with pytest.raises(EnvironmentProblem, match=message) as caught:
        list(pool.run(1))
    assert isinstance(caught.value.__cause__, ray.exceptions.RayError)
    assert pool.died == ray.started - 1 == 3
    pool.end()
    assert ray.killed == ray.started
