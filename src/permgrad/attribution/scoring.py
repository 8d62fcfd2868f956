"""Importance by scikit-learn scorers: how far a score falls when a feature is replaced, many scorers in one pass.

The network runs once per coalition; its predictions are stored, and every scorer reads them. A score such as ROC-AUC is
no mean over rows, so its error comes from a grouped jackknife: rows are cut into groups, each group is left out in
turn, as receivers and as donors, and the spread of the results is the error (Quenouille 1956; Efron & Stein 1981).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from permgrad._errors import InputError, unknown
from permgrad._progress import Progress
from permgrad._random import uniform_integers
from permgrad.attribution.ablation import typical_rows
from permgrad.attribution.effects import Effects, shapley_play, single_plays
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.game import Floats, Integers, Quantities, path_quantities, total_quantity
from permgrad.attribution.importance import base_outputs, make_game, make_sampler
from permgrad.attribution.method import Request
from permgrad.attribution.moments import interval
from permgrad.attribution.result import describe, finish, modalities
from permgrad.attribution.subject import HybridSubject, Subject

_GROUPS = 20
_METHODS = ("permgrad", "permutation", "ablation")


class _StoredClassifier(ClassifierMixin, BaseEstimator):
    """Answers with stored probabilities; ``X`` is the row numbers."""

    def __init__(self, classes: npt.NDArray[Any], probabilities: Floats) -> None:
        self.classes_ = classes
        self.probabilities = probabilities

    def predict_proba(self, X: Integers) -> Floats:
        return self.probabilities[X]

    def predict(self, X: Integers) -> npt.NDArray[Any]:
        labels: npt.NDArray[Any] = self.classes_[self.probabilities[X].argmax(axis=1)]
        return labels


class _StoredRegressor(RegressorMixin, BaseEstimator):
    """Answers with stored predictions; ``X`` is the row numbers."""

    def __init__(self, predictions: Floats) -> None:
        self.predictions = predictions

    def predict(self, X: Integers) -> Floats:
        return self.predictions[X]


class _PredictionValue:
    """Hands out the predictions themselves: probabilities, or numbers in the units of y."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.width = max(len(subject.output_names), len(subject.class_names))

    def read(self, outputs: torch.Tensor) -> Floats:
        """Return the predictions of raw outputs, ``(b, classes)`` or ``(b, 1)``."""
        wide = outputs.double()
        if self.subject.task == "classification":
            wide = self.subject.probabilities(wide)
        else:
            wide = self.subject.readout(wide, "probability")
        values: Floats = wide.cpu().numpy()
        return values

    def __call__(self, outputs: torch.Tensor, rows: slice | Integers, base: torch.Tensor) -> Floats:  # noqa: ARG002
        return self.read(outputs)


def resolve_scorers(scoring: Any) -> dict[str, Callable[..., float]]:
    """Return scorers by name, from a name, a callable, a list of these, or a mapping."""
    from sklearn.metrics import get_scorer, get_scorer_names

    if isinstance(scoring, Mapping):
        items = list(scoring.items())
    else:
        listed = [scoring] if isinstance(scoring, str) or callable(scoring) else list(scoring)
        items = [
            (one if isinstance(one, str) else getattr(one, "__name__", f"score_{k}"), one)
            for k, one in enumerate(listed)
        ]
    if not items:
        raise InputError("scoring must name at least one scorer, however: it is empty; pass for example 'roc_auc'")
    found: dict[str, Callable[..., float]] = {}
    for name, scorer in items:
        if isinstance(scorer, str):
            if scorer not in get_scorer_names():
                raise unknown("scoring", scorer, get_scorer_names())
            found[str(name)] = get_scorer(scorer)
        elif callable(scorer):
            found[str(name)] = scorer
        else:
            raise InputError(
                f"a scorer must be a name or a callable (estimator, X, y), however: {scorer!r}; pass for example "
                "'roc_auc'"
            )
    return found


def explain_scores(request: Request, method: str, scoring: Any) -> Explanation:
    """Return the fall of each score, for each player, split between paths where the method does so.

    ``outputs`` are the scorers' names; ``values`` are positive where the score falls, in the score's units.
    """
    if method not in _METHODS:
        raise InputError(
            f"scoring works with {', '.join(_METHODS)}, however: method={method!r}; leave scoring out or choose one"
        )
    if request.y is None:
        raise InputError("scoring compares predictions with y, however: y was not given; pass y")
    if request.scope == "local":
        raise InputError("a score is a property of many rows, however: scope='local'; leave scope out")
    scorers = resolve_scorers(scoring)
    if request.subject.kind == "network":
        return _explain_network_scores(request, method, scorers)
    started = time.perf_counter()
    paths = request.subject.paths
    shared_out = path_quantities(paths) if method != "permutation" else total_quantity(paths)
    played = Quantities(
        tuple(map(str, shared_out.coalitions)), shared_out.coalitions, np.eye(len(shared_out.coalitions))
    )
    game = make_game(request, played, _PredictionValue(request.subject), make_sampler(request))
    judge = _Judge(
        request, scorers, _PredictionValue(request.subject).read(torch.as_tensor(base_outputs(request, game)))
    )
    shape = (len(request.players), len(scorers), len(shared_out.names))
    mean, std = np.zeros(shape), np.zeros(shape)
    with Progress(len(request.players), f"{method}, scores", request.progress) as progress:
        for position, (name, columns) in enumerate(request.players.items()):
            if len(columns):
                pairs = _Pairs()
                game.play({name: columns}, range(request.n_repeats), pairs, Progress(0, "", mode=False))
                mean[position], std[position] = judge.player(pairs, shared_out.combine)
            progress.advance()
    return _result(request, method, scorers, judge, mean, std, shared_out.names, started)


def _explain_network_scores(request: Request, method: str, scorers: dict[str, Callable[..., float]]) -> Explanation:
    """Return the fall of each score for the players of a torch network."""
    if request.subject.task == "regression" and len(request.subject.output_names) > 1:
        raise InputError(
            f"scoring= needs one output, however: the network has {len(request.subject.output_names)}; explain one at "
            "a time with a module that returns its column, or leave scoring out"
        )
    started = time.perf_counter()
    fixed = typical_rows(request) if method == "ablation" else None
    whole = method == "permgrad" and request.level == "modality" and len(request.space) > 1
    names, plays = shapley_play(request) if whole else single_plays(request)
    value = _PredictionValue(request.subject)
    repeats = 1 if fixed is not None else request.n_repeats
    shape = (len(request.space), len(scorers), len(names))
    mean, std = np.zeros(shape), np.zeros(shape)
    with request.subject.open():
        effects = Effects(request, value, fixed)
        base = value.read(effects.outputs())
        judge = _Judge(request, scorers, base)
        with Progress(len(plays), f"{method}, scores", request.progress) as progress:
            for play in plays:
                # Scores are no means over rows: what is kept is each coalition's change of the predictions.
                count = len(play.coalitions)
                steps = np.stack([np.arange(count), np.full(count, -1)], axis=1)
                raw = replace(play, names=("changes",), combine=np.eye(count)[None], steps=(steps,))
                pairs = _Pairs()
                effects.play(raw, range(repeats), pairs, base)
                for name, combine in zip(play.names, play.combine, strict=True):
                    position = request.space.names.index(name)
                    mean[position], std[position] = judge.player(pairs, combine)
                progress.advance()
    return finish(request, _result(request, method, scorers, judge, mean, std, names, started))


def _result(
    request: Request,
    method: str,
    scorers: Mapping[str, Any],
    judge: _Judge,
    mean: Floats,
    std: Floats,
    names: Sequence[str],
    started: float,
) -> Explanation:
    low, high, p_values = interval(mean, std, _GROUPS, request.confidence)
    return Explanation(
        values=mean[..., 0],
        names=tuple(request.players),
        modality=modalities(request),
        outputs=tuple(scorers),
        method=method,
        scope="global",
        std=std[..., 0],
        low=low[..., 0],
        high=high[..., 0],
        p_values=p_values[..., 0],
        parts={part: mean[..., k] for k, part in enumerate(names) if k},
        part_std={part: std[..., k] for k, part in enumerate(names) if k},
        level=request.level,
        groups=request.groups,
        meta=describe(
            request,
            quantity="fall of the score",
            unit="score",
            scores={name: float(value) for name, value in zip(scorers, judge.base_scores, strict=True)},
            seconds=time.perf_counter() - started,
        ),
    )


class _Pairs:
    """Keeps all pairs of a receiver and a donor, with their changes of the predictions."""

    def __init__(self) -> None:
        self._parts: list[tuple[Integers, Integers, Floats]] = []

    def __call__(self, player: str, rows: Integers, donors: Integers, effects: Floats) -> None:  # noqa: ARG002
        self._parts.append((rows, donors, effects))

    def joined(self) -> tuple[Integers, Integers, Floats]:
        """Return receivers ``(pairs,)``, donors ``(pairs,)`` and changes ``(pairs, coalitions, outputs)``."""
        rows, donors, changes = zip(*self._parts, strict=True)
        return np.concatenate(rows), np.concatenate(donors), np.concatenate(changes)


class _Judge:
    """Scores stored predictions, whole and with each group of rows left out."""

    def __init__(self, request: Request, scorers: dict[str, Callable[..., float]], base: Floats) -> None:
        self.request = request
        self.scorers = scorers
        self.base = base
        subject = request.subject
        assert request.y is not None
        classes = np.arange(len(subject.class_names))
        self.classes = np.asarray(subject.model.classes_) if isinstance(subject, HybridSubject) else classes
        self.truth = self.classes[request.y] if subject.task == "classification" else request.y
        rows = len(self.base)
        self.groups = uniform_integers(request.seed, ("jackknife",), np.arange(rows), min(_GROUPS, rows))
        everyone = np.arange(rows)
        self.base_scores = self._scores(self.base, everyone)
        self.base_without = [self._scores(self.base, everyone[self.groups != group]) for group in self._left_out()]

    def _left_out(self) -> range:
        return range(int(self.groups.max()) + 1)

    def _scores(self, predictions: Floats, receivers: Integers) -> Floats:
        """Score predictions that stand beside their receivers' rows, ``(scorers,)``; NaN where a score is undefined."""
        subject = self.request.subject
        predictions = predictions if len(predictions) == len(receivers) else predictions[receivers]
        rows = np.arange(len(receivers))
        stored: BaseEstimator
        if subject.task == "classification":
            stored = _StoredClassifier(self.classes, predictions)
        else:
            stored = _StoredRegressor(predictions[:, 0])
        weights = self.request.sample_weight
        extra = {} if weights is None else {"sample_weight": weights[receivers]}
        truth = self.truth[receivers]
        found = []
        for name, scorer in self.scorers.items():
            try:
                found.append(float(scorer(stored, rows, truth, **extra)))
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                raise InputError(
                    f"a scorer must give a number for (estimator, X, y), however: {name!r} raised "
                    f"{type(error).__name__}: {reason}; choose another scorer"
                ) from error
        return np.array(found)

    def player(self, pairs: _Pairs, combine: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard error of one player, ``(scorers, quantities)`` each."""
        receivers, donors, changes = pairs.joined()
        shared = self.request.shared
        whole = self._fall(receivers, changes, self.base_scores) @ combine.T
        kept = []
        for group in self._left_out():
            stays = self.groups[receivers] != group
            if shared:
                stays &= (donors < 0) | (self.groups[np.maximum(donors, 0)] != group)
            kept.append(self._fall(receivers[stays], changes[stays], self.base_without[group]) @ combine.T)
        spread = np.stack(kept)
        count = len(spread)
        variance = (count - 1) / count * ((spread - spread.mean(axis=0)) ** 2).sum(axis=0)
        return whole, np.sqrt(variance)

    def _fall(self, receivers: Integers, changes: Floats, base_scores: Floats) -> Floats:
        """Return by how much each score falls in each coalition, ``(scorers, coalitions)``."""
        falls = [
            base_scores - self._scores(self.base[receivers] + changes[:, coalition], receivers)
            for coalition in range(changes.shape[1])
        ]
        return np.stack(falls, axis=1)
