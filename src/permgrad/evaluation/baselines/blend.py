"""permgrad's network and one boosted model as one: a weighted mean of their logits, or of their predicted numbers.

Networks and boosted trees err on different rows. The weight is that of the least loss on rows held out of both
trainings. Both also stopped early by these rows, which flatters both alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax, softmax

from permgrad.base.arrays import Array, Floats
from permgrad.base.dependence import Dependence
from permgrad.base.random import generator
from permgrad.evaluation.baselines.fitting import Job, baselines, boosted_model

#: Weights that are tried, and every how many of them the temperature is fitted. Held-out rows that are needed for it.
_WEIGHTS, _FITTED_EACH, _FEWEST = np.linspace(0, 1, 101), 10, 10
#: Resamples of the held-out rows for the weight's interval, and stretches of time that are drawn whole.
_RESAMPLES, _STRETCHES = 200, 50
#: Probabilities below it count as this, so that a model that is sure and wrong does not decide alone.
_LEAST = 1e-7


@dataclass(frozen=True)
class Mix:
    """How much the network counts in a blend.

    Attributes:
        network: its weight. That of the boosted model is the rest.
        ci_low, ci_high: the weight's 95 % interval over resamples of the held-out rows.
        temperature: what the mean of the logits is divided by. 1 for numbers.
        rows: the held-out rows that it was learned from.
    """

    network: float = 0.5
    ci_low: float = 0.0
    ci_high: float = 1.0
    temperature: float = 1.0
    rows: int = 0

    def __call__(self, network: Floats, boosted: Floats) -> Floats:
        """Return blended numbers ``(rows,)``, or probabilities ``(rows, classes)``."""
        if network.ndim == 1:
            return self.network * network + (1 - self.network) * boosted
        mean = self.network * _logits(network) + (1 - self.network) * _logits(boosted)
        return np.asarray(softmax(mean / self.temperature, axis=1))

    @classmethod
    def learn(
        cls, guesses: tuple[Floats, Floats], y: Array, *, seed: int, dependence: Dependence | None = None
    ) -> Self:
        """Return the mix with the least loss on held-out rows.

        ``guesses``: of the network and of the boosted model. ``y``: positions of the classes, or numbers.
        ``dependence``: of these rows.
        """
        if len(y) < _FEWEST:
            return cls(rows=len(y))
        losses, temperatures = _losses(*guesses, y)
        units = np.arange(len(y))
        if dependence is not None:
            units = np.unique(dependence.codes, return_inverse=True)[1]
            if dependence.timed:
                units = units * _STRETCHES // (units.max() + 1)
        sums = np.zeros((int(units.max()) + 1, len(_WEIGHTS)))
        np.add.at(sums, units, losses)
        shares = np.full(len(sums), 1 / len(sums))
        draws = generator(seed, "weight of a blend").multinomial(len(sums), shares, _RESAMPLES)
        low, high = np.quantile(_WEIGHTS[(draws @ sums).argmin(axis=1)], [0.025, 0.975])
        best = int(sums.sum(axis=0).argmin())
        return cls(float(_WEIGHTS[best]), float(low), float(high), float(temperatures[best]), len(y))


def _losses(network: Floats, boosted: Floats, y: Array) -> tuple[Floats, Floats]:
    """Return the loss of each row by each weight ``(rows, weights)``, and each weight's temperature."""
    if network.ndim == 1:
        apart = np.asarray(y, dtype=np.float64) - boosted
        return (apart[:, None] - _WEIGHTS * (network - boosted)[:, None]) ** 2, np.ones(len(_WEIGHTS))
    from permgrad.models.estimators.calibration import best_temperature

    first, second, rows = _logits(network), _logits(boosted), np.arange(len(y))
    some, ones = _WEIGHTS[::_FITTED_EACH], np.ones(len(y))
    fitted = [best_temperature(weight * first + (1 - weight) * second, y, ones) for weight in some]
    temperatures = np.interp(_WEIGHTS, some, fitted)
    losses = [
        -log_softmax((weight * first + (1 - weight) * second) / temperature, axis=1)[rows, y]
        for weight, temperature in zip(_WEIGHTS, temperatures, strict=True)
    ]
    return np.column_stack(losses), temperatures


def _logits(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, _LEAST)))


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
    """Fit the boosted model and, unless it is trained, the ``network`` of the job's options.

    Their ``dependence`` is that of the validation rows.
    """
    from permgrad.models.devices import torch_threads

    name, network, (train, held) = boosted_model(), job.options["network"], (job.train, job.validation)
    if not hasattr(network, "history_"):
        with torch_threads(job.threads):
            network.fit(train.source, train.y, eval_set=None if held is None else (held.source, held.y))
    boosted = baselines.get(name).fit(replace(job, options={}))
    mix = Mix()
    if held is not None:
        alone = Blend(None, boosted, name, Mix(network=0.0))
        guess = alone.predict_proba(held.encoded) if job.classify else alone.predict(held.encoded)
        both, between = (network_guess(network, held.encoded), guess), job.options["dependence"]
        mix = Mix.learn(both, np.asarray(held.y), seed=job.seed, dependence=between)
    return Blend(network, boosted, name, mix)
