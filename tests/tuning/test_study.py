"""Studies without training: interrupted trials, dead processes, seeds and pruning."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.tuning.spaces import get_space, space_from_dict
from permgrad.tuning.study import (
    SILENT_SECONDS,
    at_work,
    best_of,
    chosen,
    claim,
    end_interrupted,
    finished,
    free_place,
    open_storage,
    open_study,
    seed_of,
    set_pruner,
    set_sampler,
)

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = space_from_dict(
    {
        "base": "fast",
        "parameters": {
            "network.dropout": {"low": 0.0, "high": 0.5},
            "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        },
    }
)


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def opened(folder: Path, identity: dict[str, Any] | None = None):
    folder.mkdir(exist_ok=True)
    with open_study(
        f"sqlite:///{folder / 's.db'}", "s", identity or {"seed": 0}, folder / "guard"
    ) as study:
        study.set_user_attr("guard", str(folder / "guard"))
        yield study


@pytest.fixture
def study(tmp_path):
    with opened(tmp_path / "w") as opened_study:
        yield opened_study


def do(
    study: Any, total: int, seed: int = 0, stops: int | None = None, alone: bool = True
) -> None:
    """Do trials of a function instead of a training.

    The process stops in the middle of one place, if so told.
    """
    guard = Path(study.user_attrs["guard"])

    def objective(trial: Any) -> float:
        trial_position = claim(study, trial, total, guard)
        set_sampler(study, SPACE, seed=seed, trial_place=trial_position)
        preset = chosen(SPACE, trial_position, trial)
        assert preset == chosen(SPACE, trial_position, study.trials[trial.number]), (
            "a stored trial says the same"
        )
        if trial_position == stops:
            raise KeyboardInterrupt
        return (preset["network"]["dropout"] - 0.3) ** 2 + abs(
            preset["learning_rate"] - 0.01
        )

    while True:
        end_interrupted(study, alone=alone)
        if len(finished(study, total)) >= total or free_place(study, total) is None:
            return
        study.optimize(objective, n_trials=1, catch=(RuntimeError,))


def done(study: Any) -> list[tuple[int, float, dict]]:
    return [
        (trial_position, trial.value, trial.params)
        for trial_position, trial in finished(study).items()
    ]


def test_what_is_tried_depends_on_seed_and_place(tmp_path):
    tried_trials = {}
    for name, seed, pieces in (
        ("whole", 0, [12]),
        ("pieces", 0, [3, 11, 12]),
        ("other", 1, [2]),
    ):
        for total in pieces:
            with opened(tmp_path / name) as study:
                do(study, total, seed)
                tried_trials[name] = done(study)
    assert len(tried_trials["whole"]) == 12
    assert tried_trials["pieces"] == tried_trials["whole"], (
        "also the trials after the random ones, which learn from those before"
    )
    assert tried_trials["other"][1] != tried_trials["whole"][1]


def test_an_interrupted_trial_is_tried_again(tmp_path):
    with opened(tmp_path / "whole") as study:
        do(study, 14)
        whole_study = done(study)
    for stops in (0, 5, 12):
        with opened(tmp_path / "again") as study, pytest.raises(KeyboardInterrupt):
            do(study, 14, stops=stops)
    with opened(tmp_path / "again") as study:
        # A process that was killed leaves a trial that runs, with some of its
        # parameters.
        study.ask().suggest_float("network.dropout", 0.0, 0.5)
        do(study, 14)
        assert done(study) == whole_study
        assert len(study.trials) == 14 + 4
        trial_positions = [trial.user_attrs.get("place") for trial in study.trials]
        assert {
            trial_position
            for trial_position in trial_positions
            if trial_positions.count(trial_position) == 2
        } == {0, 5, 12}


def test_trial_0_is_the_base_and_has_the_studys_seed(study):
    do(study, 2)
    first = study.trials[0]
    assert (seed_of(7, 0), chosen(SPACE, 0, first)) == (7, SPACE.base.to_dict())
    assert (
        first.params
        == dict(SPACE.start)
        == {"network.dropout": 0.0, "learning_rate": 2e-3}
    )
    assert seed_of(7, 1) not in (7, seed_of(7, 2))


def test_a_failed_trial_is_finished_and_no_best_one(study):
    trial = study.ask()
    assert claim(study, trial, 4, Path(study.user_attrs["guard"])) == 0
    trial.set_user_attr("reason", "x")
    study.tell(0, state=optuna.trial.TrialState.FAIL)
    end_interrupted(study, alone=True)
    assert list(finished(study)) == [0]
    assert len(study.trials) == 1
    assert best_of(finished(study)) is None
    do(study, 4)
    trials = finished(study)
    assert best_of(trials) == min((1, 2, 3), key=lambda place: trials[place].value)


def test_the_trial_of_another_process_is_repeated_when_it_is_silent(tmp_path):
    def pass_(seconds: int) -> None:
        """Let the last sign of life be so many seconds older."""
        with (
            contextlib.closing(sqlite3.connect(tmp_path / "w" / "s.db")) as database,
            database,
        ):
            database.execute(
                "UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, ?)",
                [f"-{seconds} seconds"],
            )

    with opened(tmp_path / "w") as first_study, opened(tmp_path / "w") as two:

        def objective(trial: Any) -> float:
            claim(first_study, trial, 2, tmp_path / "w" / "guard")
            time.sleep(0.2)  # for its first heartbeat
            for seconds, trial_positions in ((SILENT_SECONDS - 30, [1]), (40, [0, 1])):
                pass_(seconds)
                do(two, 2, alone=False)
                assert list(finished(two)) == trial_positions
            trial.set_user_attr("loss", 5.0)  # as a training does
            return 5.0

        with pytest.raises(ValueError, match="Cannot tell a FAIL trial"):
            first_study.optimize(objective, n_trials=1)
        assert finished(two)[0].value != 5.0, "who comes too late changes nothing"


def test_many_processes_share_the_trials(tmp_path):
    folder = tmp_path / "w"
    total = 12
    with opened(folder):
        pass  # the tables are there before the processes are
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            code = 1
            try:
                with opened(folder) as study:
                    do(study, total, alone=False)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [
        os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children
    ] == [0, 0, 0]
    with opened(folder) as study:
        assert list(finished(study, total)) == list(range(total))
        assert len(study.trials) <= total + 2, (
            "two may begin the last one at the same moment"
        )
        tried = [
            tuple(trial.params.values()) for trial in study.trials if trial.params
        ]  # none: it came too late
        assert len(tried) >= total
        assert len(set(tried)) == len(tried)


def test_processes_at_work_are_counted(tmp_path):
    with at_work(tmp_path) as processes_at_work:
        assert processes_at_work() == 0
        (tmp_path / "7-killed.lock").touch()
        assert processes_at_work() == 0, "what a process left that was killed"
        with at_work(tmp_path) as theirs:
            assert (processes_at_work(), theirs()) == (1, 1)
        assert processes_at_work() == 0
    assert list(tmp_path.iterdir()) == []


def test_another_identity_is_refused(tmp_path):
    with opened(tmp_path / "w", {"seed": 0, "table": "a"}):
        pass
    with (
        pytest.raises(
            InputError,
            match=r"other settings: seed \(0 there, 1 now\)\. Choose another",
        ),
        opened(tmp_path / "w", {"seed": 1, "table": "a"}),
    ):
        pass


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the system does not list open files"
)
def test_no_file_stays_open_where_another_identity_is_refused(tmp_path):
    database = tmp_path / "w" / "s.db"
    with opened(tmp_path / "w"):
        assert database in open_files(), (
            "the precondition: an open database is in the list"
        )
    with pytest.raises(InputError) as refused, opened(tmp_path / "w", {"seed": 1}):
        pass
    assert refused.value, "and while the error is looked at, its frames are alive"
    assert database not in open_files()


def open_files() -> list[Path]:
    return [path.resolve() for path in Path("/proc/self/fd").iterdir()]


# ---- pruning -------------------------------------------------------------------------
def finished_with(losses: list[float]) -> Any:
    values = dict(enumerate(losses, start=1))
    return optuna.trial.create_trial(value=min(losses), intermediate_values=values)


def test_pruning_by_the_median_of_those_before():
    def ends(losses: dict[int, float], before: int = 5) -> bool:
        study = optuna.create_study()
        for number in range(before):
            study.add_trial(
                finished_with([1.0, 0.5 + 0.1 * number, 0.4])
            )  # medians 1, 0.7, 0.4
        set_pruner(study, epochs=4)
        trial = study.ask()
        for epoch, loss in losses.items():
            trial.report(loss, epoch)
        return trial.should_prune()

    assert not ends({1: 9.0}), "the warm-up"
    assert ends({1: 9.0, 2: 0.71})
    assert not ends({1: 9.0, 2: 0.69})
    assert not ends({1: 0.3, 2: 0.9}), "its best so far counts"
    assert not ends({1: 9.0, 2: 9.0}, before=4), "too few to compare with"


def test_importances_need_trials():
    from permgrad.tuning.study import importances

    assert importances([]) == {}
    dist = {
        "x": optuna.distributions.FloatDistribution(0, 1),
        "y": optuna.distributions.FloatDistribution(0, 1),
    }
    trials = [
        optuna.trial.create_trial(
            value=(n % 7) / 7,
            params={"x": (n % 7) / 7, "y": (n * 5 % 11) / 11},
            distributions=dist,
        )
        for n in range(30)
    ]
    found_importances = importances(trials)
    assert next(iter(found_importances)) == "x", "the one that decides the value"
    assert sum(found_importances.values()) == pytest.approx(1)


def test_spaces_by_name_are_studies_of_their_own():
    assert get_space("paper").content != get_space("default").content


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:3000], lambda _: b"no database, but a text\n" * 300],
)
def test_a_damaged_storage_is_to_be_deleted(tmp_path, damage):
    database = tmp_path / "study.db"
    url = f"sqlite:///{database}"
    close(open_storage(url))
    database.write_bytes(damage(database.read_bytes()))
    with pytest.raises(EnvironmentProblem) as caught:
        open_storage(url)
    assert str(caught.value).startswith(f"Cannot open --storage {url}: ")
    assert str(caught.value).endswith(
        ". Delete that file to start again, or choose another --out (or --storage, if "
        "you passed it). [PG062]"
    )
    database.unlink()
    close(open_storage(url))


def test_a_storage_that_cannot_be_written_is_not_called_damaged(tmp_path):
    with pytest.raises(
        EnvironmentProblem,
        match=r"\. Check that the folder or server exists and that you may write",
    ):
        open_storage(f"sqlite:///{tmp_path / 'no folder' / 'study.db'}")


def close(storage: Any) -> None:
    storage.remove_session()
    storage.engine.dispose()
