"""``n_repeats="auto"``: how many donors a feature's rows get, the same in parts, on
workers and for any batch.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from explaining import donor_rows, explain_with
from hypothesis import given
from hypothesis import strategies as st

import permgrad as pg
from permgrad.attribution.parts.sums import SummedMoments
from permgrad.attribution.replace.moments import PairMoments, further_repeats

ROWS = 40
DONORS = 15


class Sending:
    """A worker that is sent everything as bytes and answers in another order."""

    facts: ClassVar[dict[str, Any]] = {"engine": "sending", "workers": 1}

    def run(self, tasks: Sequence[Any], work: Callable[[Any], Any]) -> Iterator[Any]:
        worker = pickle.loads(pickle.dumps(work))
        for task in reversed(tasks):
            yield pickle.loads(pickle.dumps(worker(task)))


class Additive:
    """A predictor whose features differ in how much their draws vary: nothing, a little
    and much beside the rows.
    """

    n_features_in_ = 4

    def predict(self, rows: Any) -> np.ndarray:
        x = np.asarray(rows, dtype=np.float64)
        return 3 * x[:, 0] + x[:, 1] + 0.1 * np.sign(x[:, 2])


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    return frame, 3 * frame["a"].to_numpy() + frame["b"].to_numpy() + 5 * rng.normal(
        size=rows
    )


def summed(
    repeats: int, seed: int, effect: Callable[..., Any], *, weights: Any = None
) -> PairMoments:
    """The sums of so many draws for each of some rows, in two classes."""
    moments = PairMoments(ROWS, DONORS, False, 2, 1)
    rows = np.arange(ROWS)
    for repeat in range(repeats):
        donors = donor_rows(seed, "x", repeat, rows, DONORS, shared=False)
        weight = None if weights is None else weights
        moments.add(
            rows,
            donors,
            effect(rows, donors)[:, None],
            classes=rows % 2,
            weights=weight,
        )
    return moments


@given(st.integers(2, 6), st.integers(0, 50), st.booleans())
def test_the_noise_of_draws_is_that_within_rows(
    repeats: int, seed: int, weighted: bool
) -> None:
    """Literally: Σ w² s² / (r (Σ w)²), s² being the variance of a row's effects over
    its donors.
    """
    values = np.random.default_rng(seed).normal(size=(ROWS, DONORS))
    weights = (
        np.random.default_rng(seed + 1).uniform(0.5, 2, ROWS) if weighted else None
    )
    moments = summed(
        repeats, seed, lambda rows, donors: values[rows, donors], weights=weights
    )
    weight = np.ones(ROWS) if weights is None else weights
    drawn = np.stack(
        [
            values[
                np.arange(ROWS),
                donor_rows(seed, "x", repeat, np.arange(ROWS), DONORS, shared=False),
            ]
            for repeat in range(repeats)
        ]
    )
    literal = (weight**2 * drawn.var(axis=0, ddof=1)).sum() / (
        repeats * weight.sum() ** 2
    )
    assert moments.noise_of_draws(repeats)[0] == pytest.approx(literal, rel=1e-9)
    player_moments = SummedMoments.of([moments]).player(0)
    assert player_moments.noise_of_draws(repeats)[0] == pytest.approx(literal, rel=1e-9)


def test_the_noise_of_draws_is_the_variance_over_seeds() -> None:
    values = (
        np.random.default_rng(0).normal(size=(ROWS, DONORS)) + np.arange(ROWS)[:, None]
    )
    seed_moments = [
        summed(2, seed, lambda rows, donors: values[rows, donors])
        for seed in range(800)
    ]
    means = [float(moments.estimate()[0][0]) for moments in seed_moments]
    noise = np.mean([moments.noise_of_draws(2)[0] for moments in seed_moments])
    assert np.var(means, ddof=1) == pytest.approx(
        noise, rel=0.15
    )  # about three standard errors of a variance
    assert np.var(means) < 0.01 * float(seed_moments[0].estimate()[1][0]) ** 2, (
        "here the rows vary far more"
    )


class Sums:
    """Sums with a chosen estimate: mean, error and noise by two draws."""

    def __init__(self, mean: float, std: float, noise: float) -> None:
        self.mean = mean
        self.std = std
        self.noise = noise

    def estimate(self, group: int | None = None) -> Any:
        return np.array([self.mean]), np.array([self.std]), np.full((2, 1), 1e6)

    def noise_of_draws(self, repeats: int) -> np.ndarray:
        return np.array([self.noise])


def test_donors_are_added_where_they_pay() -> None:
    large = Sums(
        10.0, 0.01, 0.0
    )  # an interval narrower than a twentieth of the largest is .5 wide
    wide = 0.2  # 3.92 times this is .78
    played = {
        "largest": (2, large),
        "narrow": (2, Sums(1.0, 0.1, 0.009)),
        "of rows": (2, Sums(1.0, wide, 0.2 * wide**2)),
        "of draws": (2, Sums(1.0, wide, 0.5 * wide**2)),
        "of draws alone": (2, Sums(1.0, 20 * wide, (20 * wide) ** 2)),
        "nothing": (2, Sums(0.0, 0.0, 0.0)),
        "unknown": (2, Sums(1.0, np.nan, 0.1)),
        "at its end": (10, Sums(1.0, 20 * wide, (20 * wide) ** 2)),
    }
    planned_repeats = further_repeats(played, 10, 0.95)
    # Half of the variance is noise: a third of the other half is left with three times
    # as many, 6. The interval is as narrow as wanted at a variance of (.5 / 3.92)² =
    # .41 · .2², which the rows alone exceed.
    assert planned_repeats == {"of draws": 6, "of draws alone": 10, "unknown": 10}
    assert (
        further_repeats(
            {
                name: (2, played_moments)
                for name, (_, played_moments) in played.items()
                if name == "nothing"
            },
            10,
            0.95,
        )
        == {}
    )


def test_an_explanation_says_how_many_donors_there_were() -> None:
    X, y = table(400)
    explanation = pg.explain(Additive(), X, y, progress=False)
    repeats = explanation.meta["repeats"]
    assert explanation.meta["n_repeats"] == "auto"
    assert repeats["d"] == 3, (
        "what changes nothing is certain; 400 rows have 1,000 pairs at least"
    )
    assert max(repeats.values()) > 2, "this case needs more for some features"
    assert set(repeats.values()) <= set(range(2, 11))
    for name, count in repeats.items():
        alone = pg.explain(Additive(), X, y, n_repeats=count, progress=False)
        feature_index = explanation.names.index(name)
        np.testing.assert_allclose(
            explanation.values[feature_index],
            alone.values[feature_index],
            rtol=1e-12,
            atol=1e-15,
        )
        np.testing.assert_allclose(
            explanation.std_error[feature_index],
            alone.std_error[feature_index],
            rtol=1e-12,
            atol=1e-15,
        )


def test_many_rows_need_two_donors() -> None:
    X, _ = table(20_000)
    y = Additive().predict(X) + np.random.default_rng(1).normal(size=len(X))
    explanation = pg.explain(Additive(), X, y, progress=False)
    assert set(explanation.meta["repeats"].values()) == {2}
    few = pg.explain(Additive(), X[:60], y[:60], progress=False)
    assert set(few.meta["repeats"].values()) == {10}


@pytest.mark.parametrize("batch_size", [7, 100])
def test_batches_and_order_change_nothing(batch_size: int) -> None:
    X, y = table(300)
    full_explanation = pg.explain(Additive(), X, y, progress=False)
    batched_explanation = explain_with(
        Additive(), X, y, batch_size=batch_size, progress=False
    )
    assert batched_explanation.meta["repeats"] == full_explanation.meta["repeats"]
    np.testing.assert_allclose(
        batched_explanation.values, full_explanation.values, rtol=1e-9
    )


@pytest.fixture(scope="module")
def network() -> pg.HyNNRegressor:
    X, y = table(600)
    preset = {"base": "fast", "background_size": 60}
    estimator = pg.HyNNRegressor(
        preset=preset,
        branches=("tabular",),
        max_epochs=5,
        random_state=0,
        progress=False,
    )
    return estimator.fit(X, y)


@pytest.mark.parametrize("shared", [True, False])
def test_workers_find_the_same(network: pg.HyNNRegressor, shared: bool) -> None:
    X, y = table(1300, seed=1)
    background = None if shared else X[:200]
    arguments: dict[str, Any] = {"background": background, "progress": False}
    here = pg.explain(network, X, y, **arguments)
    there = pg.explain_stream(network, X, y, engine=Sending(), **arguments)
    assert len(set(here.meta["repeats"].values())) > 1, (
        "some features have more donors than others"
    )
    assert there.meta["repeats"] == here.meta["repeats"]
    np.testing.assert_allclose(there.values, here.values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(there.std_error, here.std_error, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("model", ["network", "predictor"])
def test_tables_in_files_find_the_same(
    tmp_path: Path, network: pg.HyNNRegressor, model: str
) -> None:
    X, y = table(900, seed=1)
    selected_model = network if model == "network" else Additive()
    (tmp_path / "rows").mkdir()
    for part_index in range(3):
        rows = slice(part_index * 300, part_index * 300 + 300)
        X[rows].assign(y=y[rows]).to_parquet(
            tmp_path / "rows" / f"{part_index}.parquet"
        )
    background = X[:50] + 0.1
    here = pg.explain(selected_model, X, y, background=background, progress=False)
    arguments: dict[str, Any] = {
        "background": background,
        "out": tmp_path / "out",
        "progress": False,
    }
    there = pg.explain_stream(selected_model, tmp_path / "rows", "y", **arguments)
    assert model != "network" or len(set(here.meta["repeats"].values())) > 1, (
        "some features have more donors"
    )
    assert there.meta["repeats"] == here.meta["repeats"]
    np.testing.assert_allclose(there.values, here.values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(there.std_error, here.std_error, rtol=1e-6, atol=1e-9)
    again = pg.explain_stream(
        selected_model, tmp_path / "rows", "y", **arguments
    )  # finished: it is read
    np.testing.assert_array_equal(again.values, there.values)


def test_a_round_goes_on_where_it_was_stopped(
    tmp_path: Path, network: pg.HyNNRegressor
) -> None:
    X, y = table(900, seed=1)
    (tmp_path / "rows").mkdir()
    for part_index in range(3):
        rows = slice(part_index * 300, part_index * 300 + 300)
        X[rows].assign(y=y[rows]).to_parquet(
            tmp_path / "rows" / f"{part_index}.parquet"
        )
    done: list[int] = []

    class Stopping:
        facts: ClassVar[dict[str, Any]] = {"engine": "stopping"}

        def __init__(self, most: int) -> None:
            self.most = most

        def run(
            self, tasks: Sequence[Any], work: Callable[[Any], Any]
        ) -> Iterator[Any]:
            for task in tasks:
                if len(done) == self.most:
                    raise KeyboardInterrupt
                done.append(task.number)
                yield work(task)

    arguments: dict[str, Any] = {"out": tmp_path / "out", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        pg.explain_stream(
            network, tmp_path / "rows", "y", engine=Stopping(4), **arguments
        )
    assert done == [0, 1, 2, 0], "three parts, and the first of the second round"
    there = pg.explain_stream(
        network, tmp_path / "rows", "y", engine=Stopping(100), **arguments
    )
    assert done[4:6] == [1, 2], (
        "neither the first round nor the finished part is done again"
    )
    full_explanation = pg.explain_stream(
        network, tmp_path / "rows", "y", progress=False
    )
    np.testing.assert_array_equal(there.values, full_explanation.values)
    assert there.meta["repeats"] == full_explanation.meta["repeats"]


def test_progress_does_not_fall_when_donors_are_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from permgrad.base.progress import Progress

    progress_shares: dict[Progress, list[float]] = {}
    advance = Progress.advance

    def watched(self: Progress, steps: float = 1) -> None:
        advance(self, steps)
        progress_shares.setdefault(self, []).append(self.done / max(self._total, 1))

    monkeypatch.setattr(Progress, "advance", watched)
    X, y = table(900)
    explanation = pg.explain(Additive(), X, y, progress=False)
    assert max(explanation.meta["repeats"].values()) > 2
    first, main_shares = (
        progress_shares.values()
    )  # the predictor's first rows have a bar of their own
    for shares in (first, main_shares):
        assert shares == sorted(shares)
        assert 0.99 < shares[-1] < 1.01
    assert len(main_shares) > 2
