"""Settings of models of other libraries, from a file: ``{"model": "lightgbm", "settings": {"num_leaves": 40}}``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from permgrad.base.errors import Fault, InputError, did_you_mean, error_in_words, refusing, two_sentences
from permgrad.base.stored import read_user_json
from permgrad.evaluation.baselines.fitting import (
    BaselineRows,
    baselines,
    check_available,
    estimator_class,
    fit_baseline,
)

#: Arguments that follow from the run, and those that end the training early.
_TAKEN = ("n_jobs", "thread_count", "random_state", "random_seed", "class_weight", "estimator", "early_stopping",
          "early_stopping_rounds", "od_type", "od_wait", "od_pval", "callbacks", "objective", "loss_function", "loss",
          "eval_metric", "use_best_model", "verbose", "verbosity", "silent", "logging_level", "warm_start", "device",
          "allow_writing_files", "train_dir")  # fmt: skip
#: What LightGBM knows beside the arguments of its estimators.
_MORE = {
    "lightgbm": ("max_bin", "min_gain_to_split", "path_smooth", "linear_tree", "extra_trees", "feature_fraction_bynode",
                 "cat_smooth", "cat_l2", "max_cat_threshold", "min_data_per_group", "max_delta_step")
}  # fmt: skip


def settings_names(name: str, task: str = "classification") -> list[str]:
    """Return the names of the settings that a model of another library has, without those that a run decides."""
    kind = estimator_class(baselines.get(name).estimator, task)
    parameters = kind().get_params() if name != "catboost" else inspect.signature(kind).parameters
    return [one for one in (*parameters, *_MORE.get(name, ())) if one not in _TAKEN]


def check_settings(content: Any, name: str, source: str) -> dict[str, Any]:
    """Return the settings in what a file holds, for the model of this name.

    Raises:
        InputError: it is for another model, or names what is no setting of this one.
    """
    _check_form(content, name, source)
    settings = content["settings"]
    check_available([name])
    names = settings_names(name)
    faults = [two_sentences(f"{key!r} is no setting", did_you_mean(key, names)) for key in settings if key not in names]
    if faults:
        raise InputError(f"{source} does not suit {name}: {' '.join(faults)}", code="PG001")
    return dict(settings)


@refusing
def _check_form(content: Any, name: str, source: str) -> Iterator[Fault]:
    shape = '{"model": NAME, "settings": {NAME: value, …}}'
    if not baselines.get(name).estimator or not baselines.get(name).file:
        yield f"{source} has settings, and {name} takes none", "Leave it out.", "PG006"
    if not isinstance(content, Mapping) or set(content) != {"model", "settings"}:
        yield f"{source} does not hold settings of {name}", f"It is {shape}.", "PG011"
    if content["model"] != name or not isinstance(content["settings"], Mapping):
        problem = f"{source} has settings of {content['model']}, and the model is {name}"
        yield problem, f"It is {shape}.", "PG011"


def try_settings(settings: Mapping[str, Any], name: str, source: str) -> None:
    """Refuse settings with which the library cannot fit a few made rows."""
    rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    few = BaselineRows(rows, (rows[:, 0] > 0).astype(np.int64))
    try:
        fit_baseline(name, "classification", few, few, options=settings)
    except Exception as error:  # whatever a library raises
        problem = f"{baselines.get(name).label} refuses the settings in {source}: {error_in_words(error)}"
        raise InputError(problem, hint="Correct the file.", code="PG001") from error


def read_settings(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Return the settings in a file, for the model of this name. Raises ``InputError`` for another file."""
    return check_settings(read_user_json(path, "the file of settings"), name, str(path))
