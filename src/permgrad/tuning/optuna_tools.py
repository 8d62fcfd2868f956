"""Optuna, imported on first use and kept quiet; and what it decides here, as functions of a study's seed and history.

A proposal and a decision to prune depend on the seed, the trial's number and the trials they are shown, and on nothing
else: not on how often the process was killed, nor on what a sampler object remembers. So each is computed in a fresh
study in memory that holds just these trials.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from permgrad.base.errors import EnvironmentProblem
from permgrad.base.files import plain
from permgrad.base.random import derive_seed
from permgrad.tuning.spaces import Space

#: Trials drawn at random before the sampler models what it has seen.
RANDOM_TRIALS = 10


def need_optuna() -> Any:
    """Return the module."""
    try:
        import optuna
    except ImportError as error:
        raise EnvironmentProblem(
            f"tuning needs Optuna, however: it cannot be imported ({error}); install the extra with: "
            "pip install 'permgrad[tune]'"
        ) from error
    return optuna


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna log errors alone for the body; its own level and the user's filters are as before afterwards."""
    optuna = need_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A Ctrl-C that falls into a query would be shown as a traceback of the database's cursor.
    pool = logging.getLogger("sqlalchemy.pool")
    level = pool.level
    pool.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", module=r"optuna(\..*)?")
            yield
    finally:
        optuna.logging.set_verbosity(before)
        pool.setLevel(level)


def propose(space: Space, task: str, history: Sequence[Any], *, seed: int, number: int) -> dict[str, Any]:
    """Choose what a trial tries, by tree-structured Parzen estimators (Bergstra et al. 2011; Optuna's TPESampler).

    It is, as JSON knows it: ``parameters`` by name as Optuna stores them, their ``distributions``, the ``preset`` that
    they make, and the ``seed`` of network and training; trial 0 has the study's own, as ``permgrad run`` would.
    """
    optuna = need_optuna()
    sampler = optuna.samplers.TPESampler(
        seed=derive_seed(seed, "sampler", number) % 2**32,
        multivariate=True,
        constant_liar=True,
        n_startup_trials=RANDOM_TRIALS,
    )
    study = _study_of(history, sampler=sampler)
    base = space.base if number == 0 else None
    if base is not None:
        study.enqueue_trial(dict(space.start))
    trial = study.ask()
    preset = space.build(trial, task)
    names = [name for name in trial.params if base is None or name in space.start]
    write = optuna.distributions.distribution_to_json
    proposal: dict[str, Any] = plain(
        {
            "parameters": {name: trial.params[name] for name in names},
            "distributions": {name: write(trial.distributions[name]) for name in names},
            "preset": preset if base is None else base.to_dict(),
            "seed": seed if number == 0 else derive_seed(seed, "trial", number) % 2**31,
        }
    )
    return proposal


class Pruner:
    """Ends trials that are worse than half of their predecessors were at the same epoch.

    A trial is ended after an epoch if its smallest validation loss so far is above the median of the losses that the
    complete trials of smaller number had at that epoch (Optuna's MedianPruner).
    """

    def __init__(self, history: Sequence[Any], *, warm_up: int, least: int) -> None:
        optuna = need_optuna()
        states = optuna.trial.TrialState
        self._study = _study_of([trial for trial in history if trial.state == states.COMPLETE])
        # Optuna counts steps from 0, epochs count from 1.
        self._pruner = optuna.pruners.MedianPruner(n_startup_trials=least, n_warmup_steps=warm_up + 1)
        self._make = optuna.trial.create_trial
        self._running = states.RUNNING

    def ends(self, losses: Mapping[int, float]) -> bool:
        """Say whether a trial with these validation losses by epoch should be ended now."""
        return bool(self._pruner.prune(self._study, self._make(state=self._running, intermediate_values=dict(losses))))


def _study_of(history: Sequence[Any], **options: Any) -> Any:
    optuna = need_optuna()
    study = optuna.create_study(direction="minimize", **options)
    study.add_trials(list(history))
    return study


def importances(trials: Sequence[Any]) -> dict[str, float]:
    """Return how much of what tells good trials from others each parameter explains, largest first; sums to 1.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) on complete trials; empty for fewer than 4 of them or where no
    parameter varies.
    """
    optuna = need_optuna()
    complete = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    study = _study_of(complete)
    quantile = max(0.1, 2.0 / len(complete))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    try:
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError, ZeroDivisionError):
        return {}  # too few different trials to tell anything
    return {name: float(value) for name, value in shares.items() if not math.isnan(value)}
