"""permgrad's network and one boosted model as one: a weighted mean of their logits, or of their predicted numbers.

Networks and boosted trees err on different rows. The weight follows from rows held out of both trainings. Both also
stopped early by these rows, which flatters both alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.special import softmax

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.evaluation.baselines.fitting import Job, baselines, boosted_model

#: Weights that are tried, and the fewest held-out rows for it.
_WEIGHTS, _FEWEST = np.linspace(0, 1, 101), 10
#: Resamples of the held-out rows for the weight's interval, and stretches of time that are drawn whole.
_RESAMPLES, _STRETCHES = 200, 50
#: Probabilities below it count as this, so that a model that is sure and wrong does not decide alone.
_LEAST = 1e-7


@dataclass(frozen=True)
class Mix:
    """How much the network counts in a blend.

    Attributes:
        network: its weight. That of the boosted model is the rest.
        ci_low, ci_high: the 95 % interval of the weight with the least loss, over resamples of the held-out rows.
        rows: the held-out rows that it was learned from.
    """

    network: float = 0.5
    ci_low: float = 0.0
    ci_high: float = 1.0
    rows: int = 0

    def __call__(self, network: Floats, boosted: Floats) -> Floats:
        """Return blended numbers ``(rows,)``, or probabilities ``(rows, classes)``."""
        return _mixed(self.network, network, boosted)

    @classmethod
    def learn(
        cls, guesses: tuple[Floats, Floats], y: Array, *, seed: int, dependence: Dependence | None = None
    ) -> Self:
        """Return the mix whose weight is the one nearest to 1/2 in the interval of the best one.

        Equal weights are hard to beat by weights that are estimated from few rows (Claeskens et al. 2016).

        ``guesses``: of the network and of the boosted model. ``y``: positions of the classes, or numbers.
        ``dependence``: of these rows.
        """
        if len(y) < _FEWEST:
            return cls(rows=len(y))
        units = np.arange(len(y))
        if dependence is not None:
            units = np.unique(dependence.codes, return_inverse=True)[1]
            if dependence.timed:
                units = units * _STRETCHES // (units.max() + 1)
        count = int(units.max()) + 1
        sums = np.column_stack(
            [np.bincount(units, _loss(_mixed(weight, *guesses), y), minlength=count) for weight in _WEIGHTS]
        )
        draws = generator(seed, "weight of a blend").multinomial(count, np.full(count, 1 / count), _RESAMPLES)
        low, high = np.quantile(_WEIGHTS[(draws @ sums).argmin(axis=1)], [0.025, 0.975]).tolist()
        return cls(min(max(0.5, low), high), low, high, len(y))


def _mixed(weight: float, network: Floats, boosted: Floats) -> Floats:
    if network.ndim == 1:
        return weight * network + (1 - weight) * boosted
    logits = [np.log(np.maximum(guess, _LEAST)) for guess in (network, boosted)]
    return np.asarray(softmax(weight * logits[0] + (1 - weight) * logits[1], axis=1))


def _loss(guess: Floats, y: Array) -> Floats:
    """Return the loss of each row ``(rows,)``."""
    if guess.ndim == 1:
        return np.asarray((y - guess) ** 2)
    return np.asarray(-np.log(np.maximum(guess[np.arange(len(y)), y], _LEAST)))


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
