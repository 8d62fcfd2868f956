"""permgrad's network and one boosted model as one: a weighted mean of their logits, or of their predicted numbers.

Networks and boosted trees err on different rows. The weight follows from rows held out of both trainings. Both also
stopped early by these rows, which flatters both alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from permgrad.base.arrays import Array, Floats
from permgrad.evaluation.baselines.fitting import Job, baselines, boosted_model
from permgrad.models.estimators.mix import Mix


@dataclass(frozen=True)
class Blend:
    """A fitted network and a boosted model of the same encoded rows. A part whose weight is 0 is not used.

    Attributes:
        network: a fitted ``HyNNClassifier`` or ``HyNNRegressor``.
        boosted: a fitted model of a boosting library.
        name: which one, a name of the registry.
        mix: how much each counts.
    """

    network: Any
    boosted: Any
    name: str
    mix: Mix

    def predict(self, rows: Array) -> Floats:
        """Return predicted numbers ``(rows,)``."""
        return self._mixed(rows, lambda: np.asarray(self.boosted.predict(rows), dtype=np.float64))

    def predict_proba(self, rows: Array) -> Floats:
        """Return probabilities ``(rows, classes)``."""
        return self._mixed(rows, lambda: np.asarray(self.boosted.predict_proba(rows), dtype=np.float64))

    def _mixed(self, rows: Array, boosted: Callable[[], Floats]) -> Floats:
        first = network_guess(self.network, rows) if self.mix.network > 0 else boosted()
        return self.mix(first, boosted() if 0 < self.mix.network < 1 else first)

    def facts(self) -> dict[str, Any]:
        """Return what a page says of it, and what a saved model holds."""
        return {"boosted": self.name, **asdict(self.mix)}


def network_guess(network: Any, encoded: Array) -> Floats:
    """Return what a network predicts of encoded rows: numbers ``(rows,)``, or probabilities ``(rows, classes)``."""
    outputs = network.predict_encoded(encoded)
    if network.task == "regression":
        return np.asarray(outputs[:, 0].astype(np.float64) * network.target_scale_ + network.target_mean_)
    return np.asarray(network.calibration_.probabilities(outputs))


def fit_blend(job: Job) -> Blend:
    """Fit the boosted model and, unless it is trained, the ``network`` of the job's options, or the default one.

    Their ``dependence`` is that of the validation rows.
    """
    from permgrad.models.devices import torch_threads
    from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor

    name, (train, held), between = boosted_model(), (job.train, job.validation), job.options.get("dependence")
    network = job.options.get("network")
    if network is None:
        network = (HyNNClassifier if job.classify else HyNNRegressor)(random_state=job.seed, progress=False)
    if not hasattr(network, "history_"):
        with torch_threads(job.threads):
            network.fit(train.source, train.y, eval_set=None if held is None else (held.source, held.y))
    boosted = baselines.get(name).fit(replace(job, options={}))
    mix = Mix()
    if held is not None:
        alone = Blend(None, boosted, name, Mix(network=0.0))
        guess = alone.predict_proba(held.encoded) if job.classify else alone.predict(held.encoded)
        both = network_guess(network, held.encoded), guess
        mix = Mix.learn(both, np.asarray(held.y), seed=job.seed, dependence=between)
    return Blend(network, boosted, name, mix)
