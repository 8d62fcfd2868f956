"""Engines: what they accept and refuse, and that rows in memory explained in parts give
what they give in one piece.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.parts.engines import (
    Engine,
    LocalEngine,
    RayEngine,
    engines,
    make_engine,
)
from permgrad.attribution.parts.engines import ray as ray_session
from permgrad.attribution.parts.engines.frames_in_parts import (
    join_rows,
    packed,
    spans,
    unpacked,
)
from permgrad.attribution.parts.engines.ray import RaySession, _check_address
from permgrad.attribution.replace.moments import PairMoments

ROWS = 1300
SMALL = {"dense_units": (8,), "conv_filters": (3, 4), "fusion_units": (8,)}


class SendingEngine:
    """Two workers that are sent everything as bytes and answer in another order: what a
    cluster does, without one.
    """

    facts: ClassVar[dict[str, Any]] = {"engine": "sending", "workers": 2}

    def run(self, tasks: Sequence[Any], work: Callable[[Any], Any]) -> Iterator[Any]:
        sent = pickle.dumps(work)
        workers = [pickle.loads(sent), pickle.loads(sent)]
        for task_index, task in enumerate(reversed(tasks)):
            yield pickle.loads(
                pickle.dumps(workers[task_index % 2](pickle.loads(pickle.dumps(task))))
            )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 4)), columns=list("abcd"))
    return frame.assign(kind=rng.choice(["u", "v", "w"], ROWS), same=1.0)


@pytest.fixture(scope="module")
def target(table: pd.DataFrame) -> pd.Series:
    return 2 * table["a"] + table["b"] * table["c"] + (table["kind"] == "u")


@pytest.fixture(scope="module")
def regressor(table: pd.DataFrame, target: pd.Series) -> pg.HyNNRegressor:
    model = pg.HyNNRegressor(
        preset="fast",
        image="always",
        pixels=6,
        network=SMALL,
        max_epochs=3,
        device="cpu",
        random_state=0,
    )
    return model.fit(table, target)


@pytest.fixture(scope="module")
def classes(target: pd.Series) -> np.ndarray[Any, Any]:
    return np.where(target > 1, "high", np.where(target < -1, "low", "middle"))


@pytest.fixture(scope="module")
def classifier(table: pd.DataFrame, classes: np.ndarray[Any, Any]) -> pg.HyNNClassifier:
    model = pg.HyNNClassifier(
        preset="fast",
        image="always",
        pixels=6,
        network=SMALL,
        max_epochs=3,
        device="cpu",
        random_state=0,
    )
    return model.fit(table, classes)


# ---- who there is --------------------------------------------------------------------


def test_engines_are_registered_and_fit_the_protocol() -> None:
    assert list(engines) == ["local", "ray"]
    for name in engines:
        assert isinstance(make_engine(name), Engine)


def test_local_engine_runs_tasks_in_order() -> None:
    seen_tasks: list[int] = []
    results = LocalEngine().run(
        [3, 1, 2], lambda task: seen_tasks.append(task) or task * 10
    )  # type: ignore[func-returns-value]
    assert next(results) == 30
    assert seen_tasks == [3], "a task is done when its result is asked for"
    assert list(results) == [10, 20]


def test_an_engine_of_ones_own_is_taken_as_it_is() -> None:
    engine = SendingEngine()
    assert make_engine(engine) is engine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "spark"}, "engine must be one of 'local', 'ray', got 'spark'"),
        (
            {"engine": 3},
            (
                "engine must be one of 'local', 'ray', or an object with run(tasks, "
                "work), got 3"
            ),
        ),
        (
            {"engine": RayEngine},
            "engine must be one of 'local', 'ray', or an object with run(tasks, work)",
        ),
        (
            {"engine": "ray", "workers": 0},
            "workers must be an integer of at least 1, got 0",
        ),
        (
            {"engine": "ray", "workers": True},
            "workers must be an integer of at least 1, got True",
        ),
        (
            {"engine": "local", "workers": 2},
            "engine='local' uses one process, got workers=2",
        ),
        (
            {"engine": "local", "address": "auto"},
            "The address 'auto' of a Ray cluster does not go with engine='local'",
        ),
        (
            {"engine": SendingEngine(), "workers": 2},
            "workers and address go with the name of an engine",
        ),
    ],
)
def test_what_cannot_be_an_engine_is_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(pg.InputError) as caught:
        make_engine(**arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cpus": 0},
            "cpus must be an integer of at least 1, got 0. Pass for example 1.",
        ),
        (
            {"gpus": -1},
            "gpus must be 'auto' or a number of at least 0, got -1. Pass for example 0.",
        ),
        (
            {"gpus": "all"},
            (
                "gpus must be 'auto' or a number of at least 0, got 'all'. Pass for "
                "example 0."
            ),
        ),
        (
            {"gpus": None},
            (
                "gpus must be 'auto' or a number of at least 0, got None. Pass for "
                "example 0."
            ),
        ),
        (
            {"gpus": np.nan},
            (
                "gpus must be 'auto' or a number of at least 0, got nan. Pass for "
                "example 0."
            ),
        ),
    ],
)
def test_what_a_worker_cannot_have_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(pg.InputError) as caught:
        RayEngine(**options)
    assert caught.value.message == message


# ---- what a Ray session has, without one ---------------------------------------------


def has(cpus: float, gpus: float = 0, *, shared: bool = False) -> RaySession:
    return RaySession(cpus=cpus, gpus=gpus, shared=shared)


@pytest.mark.parametrize(
    ("options", "found", "expected"),
    [
        ({"workers": 2}, has(4), (2, 0)),
        ({"workers": 2}, has(4, 1), (2, 0)),
        ({"workers": 2}, has(4, 2), (2, 1)),
        ({"workers": 2}, has(4, 3), (2, 1)),
        ({"workers": 2, "gpus": 0}, has(4, 2), (2, 0)),
        ({"workers": 2, "gpus": 0.5}, has(4, 1), (2, 0.5)),
        ({"workers": 1, "gpus": 2}, has(4, 2), (1, 2)),
        ({}, has(4), (4, 0)),
        ({"cpus": 2}, has(5), (2, 0)),
        ({}, has(4, 3), (3, 1)),
        ({"workers": 9}, has(9), (6, 0)),
    ],
)
def test_workers_and_their_accelerators_are_those_of_the_session(
    options: dict[str, Any], found: RaySession, expected: tuple[int, float]
) -> None:
    assert RayEngine(**options)._plan(found, tasks=6) == expected


@pytest.mark.parametrize("shared", [True, False])
def test_a_session_in_which_no_worker_has_room_is_refused(shared: bool) -> None:
    with pytest.raises(
        pg.InputError,
        match="workers=1 of 4 processors each exceed the 3 processors of the Ray",
    ):
        RayEngine(workers=1, cpus=4)._plan(has(3, shared=shared), tasks=2)


def test_a_cluster_may_grow_and_one_machine_not() -> None:
    with pytest.raises(
        pg.InputError, match="exceed the 2 processors of the Ray session"
    ):
        RayEngine(workers=3)._plan(has(2), tasks=9)
    with pytest.warns(
        pg.PermgradWarning,
        match="has room for 2 of 3 workers. The others join if the cluster grows",
    ):
        assert RayEngine(workers=3)._plan(has(2, shared=True), tasks=9) == (3, 0)


class PretendedRay:
    """A session of the user's, or none where there are no machines."""

    def __init__(self, machines: int) -> None:
        self.machines = machines

    def is_initialized(self) -> bool:
        return self.machines > 0

    def nodes(self) -> list[int]:
        return list(range(self.machines))

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0 * self.machines}


@pytest.mark.parametrize("machines", [1, 2])
def test_a_session_of_one_machine_is_shared_with_nobody(
    monkeypatch: pytest.MonkeyPatch, machines: int
) -> None:
    monkeypatch.setattr(ray_session, "import_ray", lambda: PretendedRay(machines))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with ray_session.session(workers=None, address=None) as opened_session:
        assert opened_session == RaySession(2.0 * machines, 0.0, shared=machines > 1)


def test_the_address_in_the_environment_is_looked_at_before_ray_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_session, "import_ray", lambda: PretendedRay(0))
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    with (
        pytest.raises(
            pg.InputError,
            match="address of a cluster must be 'auto' or host:port, got 'somewhere'",
        ),
        ray_session.session(workers=None, address=None),
    ):
        pass


# ---- what goes wrong before a session ------------------------------------------------


def test_without_the_extra_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(pg.EnvironmentProblem) as caught:
        list(make_engine("ray").run([1], str))
    assert caught.value.message.startswith(
        "engine='ray' needs Ray, which cannot be imported ("
    )
    assert caught.value.message.endswith("pip install 'permgrad[scale]'.")
    assert caught.value.exit_code == 3


def test_a_cluster_is_joined_quietly_and_left_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_options: dict[str, Any] = {}
    left: list[str] = []
    ray = SimpleNamespace(
        is_initialized=lambda: False, shutdown=lambda: left.append("ray")
    )
    monkeypatch.setattr(ray_session, "import_ray", lambda: ray)
    monkeypatch.setattr(
        ray_session, "_start", lambda _, **options: start_options.update(options)
    )
    monkeypatch.setattr(ray_session, "_look", lambda _, **found: found)
    monkeypatch.setattr(ray_session, "_check_address", lambda _: None)
    with ray_session.session(workers=None, address="head:6379") as opened_session:
        assert start_options == {
            "address": "head:6379",
            "log_to_driver": False,
            "configure_logging": False,
        }
        assert opened_session == {"shared": True}
        assert not left
    assert left == ["ray"]


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port", ":6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(pg.InputError) as caught:
        _check_address(address)
    assert str(caught.value).startswith(
        f"The address of a cluster must be 'auto' or host:port, got {address!r}"
    )


def test_an_address_where_nobody_answers_is_told_at_once() -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(pg.EnvironmentProblem) as caught:
        _check_address(address)
    assert caught.value.message == (
        f"No Ray cluster answers at {address}: Connection refused. Check "
        "--ray-address, or start the cluster's head with `ray start --head`."
    )


# ---- rows in memory, in parts --------------------------------------------------------

GLOBAL: list[dict[str, Any]] = [
    {},
    {"y": None},
    {"method": "permutation", "background": "first"},
    {"method": "ablation"},
    {"sampling": "conditional"},
    {"sample_weight": "drawn"},
    {"groups": {"both": ["a", "b"]}},
    {"groups": {}, "target": 0},
]
LOCAL: list[dict[str, Any]] = [
    {"method": "permgrad", "scope": "local"},
    {"method": "gradient"},
    {"method": "gradcam"},
    {"method": "lime", "samples": 30},
    {"method": "integrated_gradients", "background": "first"},
]


def explain(
    model: Any, table: pd.DataFrame, y: Any, options: dict[str, Any], **more: Any
) -> pg.Explanation:
    call_options = {
        "y": y,
        "n_repeats": 2,
        "random_state": 3,
        "progress": False,
        **options,
        **more,
    }
    if isinstance(call_options.get("background"), str):
        call_options["background"] = table[:60]
    if isinstance(call_options.get("sample_weight"), str):
        call_options["sample_weight"] = np.random.default_rng(1).random(len(table))
    return explain_with(model, table, call_options.pop("y"), **call_options)


def compare(alone: pg.Explanation, shared: pg.Explanation, *, tolerance: float) -> None:
    for name in (
        "values",
        "std_error",
        "low",
        "high",
        "p_values",
        "predictions",
        "base_values",
    ):
        mine = getattr(alone, name)
        theirs = getattr(shared, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_allclose(
                theirs, mine, rtol=0, atol=tolerance, equal_nan=True, err_msg=name
            )
    for alone_fields, shared_fields in (
        (alone.parts, shared.parts),
        (alone.part_std, shared.part_std),
        (alone.maps, shared.maps),
    ):
        assert alone_fields.keys() == shared_fields.keys()
        for name, array in alone_fields.items():
            np.testing.assert_allclose(
                shared_fields[name], array, rtol=0, atol=tolerance, err_msg=name
            )
    assert (shared.names, shared.outputs, shared.modality) == (
        alone.names,
        alone.outputs,
        alone.modality,
    )
    assert shared.direction == alone.direction
    assert shared.branches == alone.branches
    assert shared.meta["engine"] == {"engine": "sending", "workers": 2}


@pytest.mark.parametrize("options", GLOBAL, ids=str)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_losses_in_parts_are_losses_in_one_piece(
    task: str,
    options: dict[str, Any],
    request: pytest.FixtureRequest,
    table: pd.DataFrame,
) -> None:
    model = request.getfixturevalue(
        "regressor" if task == "regression" else "classifier"
    )
    y = request.getfixturevalue("target" if task == "regression" else "classes")
    alone = explain(model, table, y, options)
    assert len(spans(ROWS)) > 2
    assert np.abs(alone.values).max() > 1e-3, "something must matter"
    # Batches are cut elsewhere, which moves last digits of float32.
    compare(
        alone, explain(model, table, y, options, engine=SendingEngine()), tolerance=1e-7
    )


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("options", LOCAL, ids=str)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_rows_in_parts_are_rows_in_one_piece(
    task: str,
    options: dict[str, Any],
    request: pytest.FixtureRequest,
    table: pd.DataFrame,
) -> None:
    model = request.getfixturevalue(
        "regressor" if task == "regression" else "classifier"
    )
    few = table[:700]
    assert len(spans(len(few))) == 2
    alone = explain(model, few, None, options)
    shared = explain(model, few, None, options, engine=SendingEngine())
    # Rows go through a network in other batches, which moves last digits of float32.
    compare(alone, shared, tolerance=1e-5)
    assert shared.meta["rows_explained"] == 700
    pd.testing.assert_frame_equal(shared.feature_values, alone.feature_values)


def test_donors_are_those_of_the_row_in_the_whole_table(
    monkeypatch: pytest.MonkeyPatch,
    regressor: pg.HyNNRegressor,
    table: pd.DataFrame,
    target: pd.Series,
) -> None:
    drawn: list[dict[tuple[str, int], tuple[int, ...]]] = []
    add = PairMoments.add

    def noted(
        self: PairMoments, rows: Any, donors: Any, effects: Any, **options: Any
    ) -> None:
        for row, donor in zip(rows.tolist(), donors.tolist(), strict=True):
            key = (str(self.quantities), row)
            drawn[-1][key] = (*drawn[-1].get(key, ()), donor)
        add(self, rows, donors, effects, **options)

    monkeypatch.setattr(PairMoments, "add", noted)
    for more in ({}, {"engine": SendingEngine()}):
        drawn.append({})
        explain(
            regressor, table, target, {"branches": False, "method": "permgrad"}, **more
        )
    assert len(drawn[0]) == ROWS
    assert drawn[0] == drawn[1]


def test_sums_of_a_part_arrive_as_they_were_sent() -> None:
    rng = np.random.default_rng(0)
    sizes = (50, 50, True, 2, 3)
    full_moments = PairMoments(*sizes)
    merged = PairMoments(*sizes)
    for start in range(0, 50, 10):
        rows = np.repeat(np.arange(start, start + 10), 2)
        donors = rng.integers(0, 50, len(rows))
        effects = rng.normal(size=(len(rows), 3))
        part_moments = PairMoments(*sizes)
        for moments in (full_moments, part_moments):
            moments.add(rows, donors, effects, classes=rows % 2)
        merged.merge(unpacked(pickle.loads(pickle.dumps(packed(part_moments)))))
    for name, array in full_moments.to_arrays().items():
        np.testing.assert_allclose(
            merged.to_arrays()[name], array, atol=1e-13, err_msg=name
        )


def test_a_warning_of_many_parts_is_said_once(
    classifier: pg.HyNNClassifier, table: pd.DataFrame
) -> None:
    # The last layer's maps of an untrained corner of the data are empty for some rows
    # of each part.
    with pytest.warns(pg.PermgradWarning) as caught_warnings:
        pg.explain_stream(
            classifier, table, method="gradcam", engine=SendingEngine(), progress=False
        )
    texts = [
        str(warning.message)
        for warning in caught_warnings
        if "maps at layer" in str(warning.message)
    ]
    assert len(texts) == 1
    assert texts[0].startswith("In a part of the rows: ")


def test_one_local_explanation_is_joined_to_itself(
    regressor: pg.HyNNRegressor, table: pd.DataFrame
) -> None:
    alone = pg.explain(regressor, table[:5], method="gradient", progress=False)
    joined = join_rows([alone])
    assert np.array_equal(joined.values, alone.values)
    assert joined.meta == alone.meta


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tolerance": 0.1},
            "engine= with scope='global' does not take tolerance=0.1.",
        ),
        (
            {"method": "permgrad_paper"},
            "method='permgrad_paper' does not take engine=",
        ),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(
    options: dict[str, Any],
    message: str,
    regressor: pg.HyNNRegressor,
    table: pd.DataFrame,
    target: pd.Series,
) -> None:
    with pytest.raises(pg.InputError) as caught:
        explain_with(
            regressor, table, target, progress=False, engine=SendingEngine(), **options
        )
    assert str(caught.value).startswith(message)


def test_a_torch_network_is_explained_here(table: pd.DataFrame) -> None:
    rows = table[list("abcd")].to_numpy(dtype=np.float32)
    with pytest.raises(pg.InputError) as caught:
        pg.explain_stream(
            torch.nn.Linear(4, 1), rows, rows[:, 0], engine=SendingEngine()
        )
    assert str(caught.value).startswith(
        "engine= needs an estimator of permgrad or a predictor on a table, got a "
        "Linear."
    )


def test_the_users_model_and_rows_stay_as_they_are(
    regressor: pg.HyNNRegressor, table: pd.DataFrame, target: pd.Series
) -> None:
    before = table.copy()
    weights = {
        name: value.clone() for name, value in regressor.module_.state_dict().items()
    }
    explain(regressor, table, target, {}, engine=SendingEngine())
    pd.testing.assert_frame_equal(table, before)
    assert all(
        torch.equal(value, weights[name])
        for name, value in regressor.module_.state_dict().items()
    )


def test_local_named_as_engine_is_no_engine_at_all(
    regressor: pg.HyNNRegressor, table: pd.DataFrame, target: pd.Series
) -> None:
    alone = explain(regressor, table[:300], target[:300], {})
    named = explain(regressor, table[:300], target[:300], {}, engine="local")
    assert np.array_equal(alone.values, named.values)
    assert "engine" not in named.meta
