"""Studies without training: claims, dead workers, seeds and pruning."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.tuning import study as study_module
from permgrad.tuning.spaces import get_space, space_from_dict
from permgrad.tuning.study import SILENT_SECONDS, Study, Worker, open_storage, open_study

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = space_from_dict(
    {
        "base": "fast",
        "parameters": {
            "network.dropout": {"low": 0.0, "high": 0.5},
            "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
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
def opened(folder: Path, database: Path, identity: dict[str, Any] | None = None):
    with (
        Worker(folder) as worker,
        open_study(f"sqlite:///{database}", "s", identity or {"seed": 0}, worker) as study,
    ):
        yield study


@pytest.fixture
def study(tmp_path):
    with opened(tmp_path / "w", tmp_path / "s.db") as found:
        yield found


def loss_of(claim) -> float:
    values = claim.proposal["parameters"]
    return (values["network.dropout"] - 0.3) ** 2 + abs(values["training.learning_rate"] - 0.01)


def do(study: Study, total: int, seed: int = 0, most: int | None = None) -> None:
    """Do trials of a function instead of a training."""
    study.enter(total)
    while most is None or most > 0:
        claim = study.claim(total, SPACE, seed)
        if claim is None:
            return
        study.finish(claim, "complete", loss_of(claim), {})
        most = None if most is None else most - 1


def done(study: Study) -> list[tuple[int, float, dict]]:
    return [(trial.number, trial.value, trial.params) for trial in study.trials() if trial.state.is_finished()]


def test_what_is_tried_depends_on_seed_and_number(tmp_path):
    found = {}
    for name, seed, pieces in (("whole", 0, [16]), ("pieces", 0, [3, 9, 16]), ("other", 1, [2])):
        for total in pieces:
            with opened(tmp_path / f"{name}-{total}", tmp_path / f"{name}.db") as study:
                do(study, total, seed)
                found[name] = done(study)
    assert len(found["whole"]) == 16
    assert found["pieces"] == found["whole"], "also the trials after the random ones, which learn from those before"
    assert found["other"][1] != found["whole"][1]


def test_trial_0_is_the_base_and_has_the_studys_seed(study):
    study.enter(2)
    first, second = study.claim(2, SPACE, 7), None
    assert first.proposal["seed"] == 7
    assert first.proposal["preset"] == SPACE.base.to_dict()
    assert (
        dict(first.proposal["parameters"])
        == dict(SPACE.start)
        == {"network.dropout": 0.0, "training.learning_rate": 2e-3}
    )
    second = study.claim(2, SPACE, 7)
    assert (second.number, second.resumed) == (1, False)
    assert second.proposal["seed"] != 7
    assert study.claim(2, SPACE, 7) is None, "both have a living worker"


def test_a_released_trial_is_claimed_again_as_it_was(study):
    study.enter(3)
    first = study.claim(3, SPACE, 0)
    other = study.claim(3, SPACE, 0)
    study.finish(first, "failed", None, {"reason": "x"})
    study.let_go()
    again = study.claim(3, SPACE, 0)
    assert (again.number, again.resumed, again.proposal) == (other.number, True, other.proposal)
    assert [trial.number for trial in study.finished(3)] == [0]
    assert study.best(3) is None


def test_the_trial_of_a_dead_worker_is_taken_over(tmp_path):
    folder, database = tmp_path / "w", tmp_path / "s.db"
    with opened(folder, database) as living:
        living.enter(3)
        held = living.claim(3, SPACE, 0)
        child = os.fork()
        if not child:
            # A worker that dies with a trial in its hands, and with half of its parameters written.
            try:
                with opened(folder, database) as dying:
                    dying._storage.set_trial_param = lambda *_: os._exit(9)
                    dying.claim(3, SPACE, 0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        orphan = living.trials()[1]
        assert orphan.state == optuna.trial.TrialState.RUNNING
        assert orphan.params == {}
        taken = living.claim(3, SPACE, 0)
        assert (taken.number, taken.resumed) == (1, True)
        assert living.trials()[1].params == dict(taken.proposal["parameters"])
        assert living.claim(3, SPACE, 0).number == 2, "the trial of a living worker is left alone"
        assert living.trials()[0].user_attrs["owner"] == living.worker.owner
        living.finish(held, "complete", 1.0, {})


def test_a_worker_of_another_folder_is_dead_when_it_is_silent(tmp_path):
    def pass_(seconds: int) -> None:
        """Let the last sign of life be so many seconds older."""
        with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as database, database:
            database.execute("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, ?)", [f"-{seconds} seconds"])

    with opened(tmp_path / "one", tmp_path / "s.db") as one, opened(tmp_path / "two", tmp_path / "s.db") as two:
        one.enter(1)
        held = one.claim(1, SPACE, 0)
        assert two.claim(1, SPACE, 0) is None
        pass_(SILENT_SECONDS - 30)
        assert two.claim(1, SPACE, 0) is None, "not silent for long enough"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(study_module, "BEAT_SECONDS", 0.01)
            with one.at_work(held):
                time.sleep(0.2)
        pass_(SILENT_SECONDS - 30)
        assert two.claim(1, SPACE, 0) is None, "it gave a sign of life"
        pass_(40)
        assert two.claim(1, SPACE, 0).number == 0
        two.finish(held, "complete", 1.0, {})
        one.finish(held, "complete", 2.0, {})
        assert [trial.value for trial in two.trials()] == [1.0], "who comes too late changes nothing"


def test_many_processes_share_the_trials(tmp_path):
    folder, database, total = tmp_path / "w", tmp_path / "s.db", 12
    with opened(folder, database):
        pass  # the tables are there before the processes are
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            code = 1
            try:
                with opened(folder, database) as study:
                    do(study, total)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    with opened(folder, database) as study:
        assert [number for number, _, _ in done(study)] == list(range(total))
        assert len({tuple(params.values()) for _, _, params in done(study)}) == total


def test_another_identity_is_refused(tmp_path):
    with opened(tmp_path / "w", tmp_path / "s.db", {"seed": 0, "table": "a"}):
        pass
    with (
        pytest.raises(InputError, match=r"other settings: seed \(0 there, 1 now\)\. Choose another"),
        opened(tmp_path / "w", tmp_path / "s.db", {"seed": 1, "table": "a"}),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_no_file_stays_open_where_another_identity_is_refused(tmp_path):
    database = tmp_path / "s.db"
    with opened(tmp_path / "w", database):
        assert database in open_files(), "the precondition: an open database is in the list"
    with pytest.raises(InputError) as refused, opened(tmp_path / "w", database, {"seed": 1}):
        pass
    assert refused.value, "and while the error is looked at, its frames are alive"
    assert database not in open_files()


def open_files() -> list[Path]:
    return [path.resolve() for path in Path("/proc/self/fd").iterdir()]


# ---- pruning ---------------------------------------------------------------------------------------------------------
def finished_with(losses: list[float]) -> Any:
    values = dict(enumerate(losses, start=1))
    return optuna.trial.create_trial(value=min(losses), intermediate_values=values)


def test_pruning_by_the_median_of_those_before():
    from permgrad.tuning.study import Pruner

    history = [finished_with([1.0, 0.5 + 0.1 * number, 0.4]) for number in range(5)]  # medians 1, 0.7, 0.4
    pruner = Pruner(history, warm_up=1, least=5)
    assert not pruner.ends({1: 9.0}), "the warm-up"
    assert pruner.ends({1: 9.0, 2: 0.71})
    assert not pruner.ends({1: 9.0, 2: 0.69})
    assert not pruner.ends({1: 0.3, 2: 0.9}), "its best so far counts"
    assert not Pruner(history[:4], warm_up=1, least=5).ends({1: 9.0, 2: 9.0}), "too few to compare with"


def test_importances_need_trials():
    from permgrad.tuning.study import importances

    assert importances([]) == {}
    dist = {"x": optuna.distributions.FloatDistribution(0, 1), "y": optuna.distributions.FloatDistribution(0, 1)}
    trials = [
        optuna.trial.create_trial(
            value=(n % 7) / 7, params={"x": (n % 7) / 7, "y": (n * 5 % 11) / 11}, distributions=dist
        )
        for n in range(30)
    ]
    found = importances(trials)
    assert next(iter(found)) == "x", "the one that decides the value"
    assert sum(found.values()) == pytest.approx(1)


def test_spaces_by_name_are_studies_of_their_own():
    assert get_space("paper").content != get_space("default").content


@pytest.mark.parametrize("damage", [lambda content: content[:3000], lambda _: b"no database, but a text\n" * 300])
def test_a_damaged_storage_is_to_be_deleted(tmp_path, damage):
    database = tmp_path / "study.db"
    url = f"sqlite:///{database}"
    close(open_storage(url))
    database.write_bytes(damage(database.read_bytes()))
    with pytest.raises(EnvironmentProblem) as caught:
        open_storage(url)
    assert str(caught.value).startswith(f"Cannot open --storage {url}: ")
    assert str(caught.value).endswith(
        ". Delete that file to start again, or choose another --out (or --storage, if you passed it). [PG062]"
    )
    database.unlink()
    close(open_storage(url))


def test_a_storage_that_cannot_be_written_is_not_called_damaged(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"\. Check that the folder or server exists and that you may write"):
        open_storage(f"sqlite:///{tmp_path / 'no folder' / 'study.db'}")


def close(storage: Any) -> None:
    storage.remove_session()
    storage.engine.dispose()
