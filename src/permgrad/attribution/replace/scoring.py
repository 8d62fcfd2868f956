"""Importance by scikit-learn scorers: how far a score falls when a feature is replaced,
many scorers in one pass.

The model runs once per coalition. Its answers are stored (``answers``), and every
scorer reads them. A score such as ROC-AUC is not a mean over rows: its error comes from
leaving groups of rows out, as receivers and as donors (Quenouille 1956, Efron & Stein
1981). Both scores of a fall use the same pairs: else the spread would be that of the
score itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import (
    FEWEST_UNITS,
    Estimate,
    interval,
    spread,
    two_parts,
)
from permgrad.attribution.replace.game import Game
from permgrad.attribution.replace.plays import Play, loss_game
from permgrad.attribution.request import Request
from permgrad.attribution.request.related_rows import tell_of_dependence
from permgrad.attribution.request.result import build, by_quantity
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import check_choice
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, listed, shown, warn_user
from permgrad.base.progress import Progress
from permgrad.base.random import generator
from permgrad.base.significance import NORMAL_95
from permgrad.base.threads import warning_filters

_METHODS = ("permgrad", "permutation", "ablation")
#: Most groups of the jackknife: the t-quantile is then within 7 % of the normal one.
MOST_GROUPS = 20
#: Receivers ``(pairs,)``, donors ``(pairs,)`` and predictions ``(pairs, coalitions,
#: outputs)``.
Pairs = tuple[Integers, Integers, Floats]


def resolve_scorers(scoring: Any) -> dict[str, Callable[..., float]]:
    """Return scorers by name, from a name, a callable, a list of these, or a
    mapping.
    """
    from sklearn.metrics import get_scorer, get_scorer_names

    ranking = _ranking_scorers()
    if not isinstance(scoring, Mapping):
        several = (
            isinstance(scoring, Iterable)
            and not isinstance(scoring, str)
            and not callable(scoring)
        )
        scores = list(scoring if several else [scoring])
        names = []
        for score_entry in scores:
            if isinstance(score_entry, str):
                names.append(score_entry)
            else:
                names.append(_name_of(score_entry))
        named = []
        for k, scorer_name in enumerate(names):
            if scorer_name == "score" or names.count(scorer_name) > 1:
                named.append(f"{scorer_name}_{k}")
            else:
                named.append(scorer_name)
        scoring = dict(zip(named, scores, strict=True))
    if not scoring:
        raise InputError(
            "scoring= names no scorer", hint="Pass for example 'roc_auc'", code="PG005"
        )
    for scorer in scoring.values():
        if isinstance(scorer, str):
            check_choice("scoring", scorer, [*get_scorer_names(), *ranking])
        elif not callable(scorer):
            problem = (
                "A scorer must be a name or a callable (estimator, X, y), got "
                f"{shown(scorer)}"
            )
            raise InputError(problem, hint="Pass for example 'roc_auc'", code="PG001")
    return {
        str(scorer_name): ranking.get(score_entry) or get_scorer(score_entry)
        if isinstance(score_entry, str)
        else score_entry
        for scorer_name, score_entry in scoring.items()
    }


def _name_of(scorer: Any) -> str:
    """Return a scorer's name: that of its function, as scikit-learn calls it, with its
    arguments.
    """
    function_name = getattr(getattr(scorer, "_score_func", scorer), "__name__", "score")
    further = []
    for argument_name, value in getattr(scorer, "_kwargs", {}).items():
        further.append(f"{argument_name}={value}")
    return " ".join(
        ["neg_" * (getattr(scorer, "_sign", 1) < 0) + function_name, *further]
    )


def _ranking_scorers() -> dict[str, Callable[..., float]]:
    """Return scorers of how well the outputs of a row rank its labels, which
    scikit-learn has no names for.
    """
    from sklearn import metrics

    def scorer(
        function: Callable[..., float], *, rises: bool = True
    ) -> Callable[..., float]:
        return metrics.make_scorer(
            function,
            greater_is_better=rises,
            response_method=("predict_proba", "predict"),
        )

    return {
        "label_ranking_average_precision": scorer(
            metrics.label_ranking_average_precision_score
        ),
        "neg_label_ranking_loss": scorer(metrics.label_ranking_loss, rises=False),
        "neg_coverage_error": scorer(metrics.coverage_error, rises=False),
        "ndcg": scorer(metrics.ndcg_score),
    }


def _hint(reason: str, request: Request) -> str:
    """Return what helps where a scorer does not know which of two classes is the
    positive one.
    """
    if "pos_label" not in reason or request.labels is None:
        return "Choose another scorer"
    label = request.labels.tolist()[-1]
    named_scorer = f"make_scorer(…, pos_label={label!r}) of sklearn.metrics"
    return (
        "Choose a scorer of all classes, such as 'f1_macro', or in Python name the "
        f"positive one: {named_scorer}"
    )


def _refuse_without_y(request: Request) -> None:
    """Refuse scores where there is nothing to compare predictions with."""
    if request.y is None:
        raise InputError(
            "scoring compares predictions with y, and y is missing",
            hint="Pass y",
            code="PG005",
        )


def _take_labels_alone(scorers: Mapping[str, Any]) -> bool:
    """Return whether all scorers take predicted labels and nothing else."""
    return all(
        getattr(scorer, "_response_method", None) == "predict"
        for scorer in scorers.values()
    )


def _predicted_pairs(request: Request, game: Game, play: Play, base: Floats) -> Pairs:
    """Play a play, and return receivers, their donors and what is then predicted."""
    pair_chunks: list[Pairs] = []
    count = len(play.mask)
    steps = (np.stack([np.arange(count), np.full(count, -1)], axis=1),)
    if game.engine is None:
        combine = None
    else:
        combine = np.eye(count)[None]
    game.play(
        [replace(play, names=("predictions",), combine=combine, steps=steps)],
        range(request.n_repeats),
        lambda _player, *pairs: pair_chunks.append(pairs),
        Progress(0, "", mode=False),
    )
    receivers, donors, predictions = (
        np.concatenate(chunk_arrays) for chunk_arrays in zip(*pair_chunks, strict=True)
    )
    if game.engine is not None:  # it collects changes
        predictions += base[receivers][:, None]
    return receivers, donors, predictions


def explain_scores(request: Request, method: str) -> Explanation:
    """Return the fall of each score, for each player.

    ``outputs`` are the scorers' names. ``values`` are positive where the score falls,
    in the score's units.

    Args:
        request: The call, with scorers.
        method: Its name. Some split the fall between paths.
    """
    _refuse_without_y(request)
    scorers = resolve_scorers(request.scoring)
    selected_game = loss_game(request.method)
    assert selected_game is not None, "every method that takes scores is a loss game"
    request, plays = selected_game.game(request)
    if _take_labels_alone(scorers):
        request = replace(request, subject=request.subject.deciding())
    score_game = Game(
        request,
        lambda outputs, _rows, _base: request.subject.outputs.predicted(outputs),
        plays.fixed,
        joint=plays.joint,
    )
    outputs = score_game.back_end.explained()
    tell_of_dependence(request, outputs)
    judge = Judge(
        request, scorers, score_game, request.subject.outputs.predicted(outputs)
    )
    shape = (len(request.space), len(scorers), len(plays.names))
    mean_falls = np.zeros(shape)
    std_errors = np.zeros(shape)
    effective = np.ones((2, *shape))
    with request.bar(len(plays.plays), f"{method}, scores", by_player=True) as progress:
        for play in plays.plays:
            pairs = _predicted_pairs(request, score_game, play, judge.base)
            assert play.combine is not None
            for player_name, combine in zip(play.names, play.combine, strict=True):
                player_index = request.space.names.index(player_name)
                fall = judge.player(play, pairs, combine)
                mean_falls[player_index] = fall.mean
                std_errors[player_index] = fall.std_error
                effective[:, player_index] = fall.size
            progress.advance()
    judge.tell_of_undefined()
    lower_bounds, upper_bounds, p_values = interval(
        mean_falls, std_errors, effective, request.confidence
    )
    scores = dict(zip(scorers, map(float, judge.base_scores), strict=True))
    facts = {"quantity": "fall of the score", "unit": "score", "scores": scores}
    return build(
        request,
        method,
        facts=facts,
        outputs=tuple(scorers),
        maps={},
        **by_quantity(
            plays.names, mean_falls, std_errors, lower_bounds, upper_bounds, p_values
        ),
    )


class Judge:
    """Scores stored predictions, whole and with each group of rows left out."""

    def __init__(
        self,
        request: Request,
        scorers: dict[str, Callable[..., float]],
        game: Game,
        base: Floats,
    ) -> None:
        self.request = request
        self.scorers = scorers
        self.game = game
        self.base = base
        subject = request.subject
        truth = request.y
        assert truth is not None
        if truth.ndim > 1 and truth.shape[1] == subject.outputs.count:
            columns = list(subject.outputs.loss_columns)
        else:
            columns = []
        if columns:
            self.truth = truth[:, columns]
        else:
            self.truth = truth
        strata = None
        if subject.task.has_classes:
            assert request.labels is not None, "classes have labels"
            self.truth = request.labels[truth]
            strata = truth
        elif subject.task.labels_overlap:
            self.truth = self.truth.astype(np.int64)
        self.groups = deal_groups(
            len(base), request.seed, "rows", strata, request.units
        )
        self.donor_groups = self.groups
        if not request.shared:
            self.donor_groups = deal_groups(
                len(request.donors[0]), request.seed, "background"
            )
        every = np.arange(len(base))
        self.unchanged = Answers(request, base, every, lambda: request.inputs)
        self.base_scores = self._scores(self.unchanged, every)
        self._undefined: dict[str, str] = {}

    def _scores(
        self, answers: Answers, row_positions: Integers, *, left: bool = False
    ) -> Floats:
        """Return the scores of answers for the rows at ``row_positions`` among those
        answered, ``(scorers,)``.

        A score may be undefined for the rows ``left`` without a group: it is NaN then,
        and the reason is stored.
        """
        weights = self.request.sample_weight
        receivers = answers.receivers[row_positions]
        if weights is None:
            extra = {}
        else:
            extra = {"sample_weight": weights[receivers]}
        scores = np.full(len(self.scorers), np.nan)
        for scorer_index, (scorer_name, scorer) in enumerate(self.scorers.items()):
            if len(row_positions):
                reason = ""
            else:
                reason = "ValueError: no row is left"
            if not reason:
                try:
                    if needs_rows(scorer):
                        scored_rows = answers.rows(row_positions)
                    else:
                        scored_rows = np.arange(len(row_positions))
                    shown = ShownModel(answers, row_positions, scored_rows)
                    scores[scorer_index] = float(
                        scorer(shown, scored_rows, self.truth[receivers], **extra)
                    )
                except Exception as error:  # scorers are the user's code, too
                    reason = (
                        f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                    )
                    if not left:
                        problem = f"Scorer {scorer_name!r} raised {reason}"
                        raise InputError(
                            problem, hint=_hint(reason, self.request), code="PG032"
                        ) from error
            if left and not np.isfinite(scores[scorer_index]):
                self._undefined.setdefault(
                    scorer_name, reason or f"it is {scores[scorer_index]}"
                )
                scores[scorer_index] = np.nan
        return scores

    def tell_of_undefined(self) -> None:
        """Warn once of the scores that have no standard error, as they are undefined
        without some rows.
        """
        scores = dict(zip(self.scorers, self.base_scores.tolist(), strict=True))
        names = []
        for scorer_name in self._undefined:
            if np.isfinite(scores[scorer_name]):
                names.append(scorer_name)
        if names:
            warn_user(
                f"Standard errors and intervals of {listed(names, show=repr)} are NaN, "
                "because the score is undefined without some groups of rows "
                f"({self._undefined[names[0]]}). Pass more rows, of every class if "
                "there are classes, or choose another scorer."
            )

    def player(self, play: Play, pairs: Pairs, combine: Floats) -> Estimate:
        """Return mean, standard error ``(scorers, quantities)`` and effective number of
        rows ``(2, *)`` of a player.

        Where predictions changed and no score fell, 95 % intervals end at what three
        rows can do.
        """
        answered = self._answers(play, pairs)
        moved = bool((pairs[2] != self.base[pairs[0]][:, None]).any())

        def falls(row_positions: Integers, *, left: bool) -> Floats:
            receiver_rows = pairs[0][row_positions]
            if left:
                before = self._scores(self.unchanged, receiver_rows, left=True)
            else:
                before = self.base_scores
            return (
                before[:, None] - self._after(answered, row_positions, left=left)
            ) @ combine.T

        # Where all is as before, nothing is scored: equal scores of other numbers of
        # rows may differ by rounding.
        mean_falls, std_errors = np.zeros((2, len(self.scorers), len(combine)))
        effective = np.full((2, *mean_falls.shape), float(self.groups.max() + 1))
        if moved or self._are_edited(answered, pairs):
            mean_falls, std_errors, effective = self._estimate(pairs, falls)
        still = (mean_falls == 0) & (std_errors == 0)
        if still.any() and moved:
            std_errors = np.where(still, self._of_three_rows[:, None], std_errors)
        return Estimate(mean_falls, std_errors, effective)

    @cached_property
    def _of_three_rows(self) -> Floats:
        """How far the scores fall if three rows (three units) of a class are predicted
        wrong, and not right.

        As standard errors, ``(scorers,)``: what no row of a sample shows can happen to
        three of as many (rule of three), and no one knows to which.
        """
        request = self.request
        count = len(self.base)
        falls = []
        if request.units is None:
            units = count
        else:
            units = request.units.count
        order = generator(request.seed, "three rows").permutation(count)
        if request.subject.task.has_classes:
            classes = self.base.shape[1]
        else:
            classes = 1
        for label in range(classes):
            if classes == 1:
                members = order
            else:
                members = order[request.y[order] == label]
            changed_rows = members[: -(-3 * count // units)]
            right = self.base.copy()
            wrong = self.base.copy()
            if classes == 1:
                if self.truth.shape in (self.base.shape, self.base.shape[:1]):
                    right[changed_rows] = self.truth[changed_rows].reshape(
                        len(changed_rows), -1
                    )
                wrong[changed_rows] = self.base[order[-1 - changed_rows]]
            else:
                right[changed_rows], wrong[changed_rows] = np.eye(classes)[
                    [label, label - 1]
                ]
            every = np.arange(count)
            imagined_answers = (
                Answers(
                    request,
                    imagined_outputs,
                    every,
                    lambda: request.inputs,
                    imagined=True,
                )
                for imagined_outputs in (right, wrong)
            )
            scores = (
                self._scores(imagined_answer, every, left=True)
                for imagined_answer in imagined_answers
            )
            falls.append(np.abs(np.subtract(*scores)))
        return np.asarray(np.max(falls, axis=0) / NORMAL_95)

    def scores(self, play: Play, pairs: Pairs) -> Estimate:
        """Return the scores of each coalition themselves, ``(scorers, coalitions)``,
        alike.
        """
        return self._estimate(pairs, partial(self._after, self._answers(play, pairs)))

    def _answers(self, play: Play, pairs: Pairs) -> list[Answers]:
        """Return the answers for the rows of each coalition."""
        receivers, donors, predictions = pairs
        edited = getattr(self.game.back_end, "edited", lambda *_: self.request.inputs)
        answers: list[Answers] = []
        for coalition_index in range(predictions.shape[1]):
            answers.append(
                Answers(
                    self.request,
                    predictions[:, coalition_index],
                    receivers,
                    partial(edited, play, coalition_index, receivers, donors),
                )
            )
        return answers

    def _are_edited(self, answered: list[Answers], pairs: Pairs) -> bool:
        """Return whether scorers see rows that a coalition changes."""
        if not self.unchanged.asks_model and not any(
            map(needs_rows, self.scorers.values())
        ):
            return False
        receiver_tensors = []
        for tensor in self.request.inputs:
            receiver_tensors.append(tensor[torch.as_tensor(pairs[0])])
        return not all(
            torch.equal(*tensor_pair)
            for coalition_answers in answered
            for tensor_pair in zip(
                coalition_answers.tensors, receiver_tensors, strict=True
            )
        )

    def _after(
        self, answered: list[Answers], row_positions: Integers, *, left: bool
    ) -> Floats:
        """Return the scores of changed predictions, ``(scorers, coalitions)``."""
        return np.stack(
            [
                self._scores(coalition_answers, row_positions, left=left)
                for coalition_answers in answered
            ],
            axis=1,
        )

    def _estimate(self, pairs: Pairs, statistic: Callable[..., Floats]) -> Estimate:
        """Return a statistic of pairs, ``(scorers, quantities)``, its standard error
        and effective number of rows.

        That number is 1 more than the degrees of freedom of the jackknife.
        """
        receivers, donors, _ = pairs
        groups = int(self.groups.max()) + 1
        mean_falls = statistic(np.arange(len(receivers)), left=False)
        shape = mean_falls.shape
        has_donor = donors >= 0
        of_donor = np.where(has_donor, self.donor_groups[np.maximum(donors, 0)], -1)

        units = self.request.units
        if units is not None and units.timed:
            in_time = Dependence(np.arange(groups), timed=True)
        else:
            in_time = None

        variance = partial(_left_out_variance, statistic)
        # The score of all rows has already shown its warnings.
        with warning_filters, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.request.shared:
                joint_variance, freedom = variance(
                    self.groups[receivers], of_donor, units=in_time
                )
                return Estimate(mean_falls, np.sqrt(joint_variance), freedom + 1)
            of_receivers, freedom = variance(self.groups[receivers], units=in_time)
            of_donors = np.zeros(shape)
            donor_freedom = np.zeros((2, *shape))
            count = int(self.donor_groups.max()) + 1
            # A background of one row is a fixed reference, as where there are no
            # donors.
            if has_donor.any() and count > 1:
                at_random = np.full(len(donors), -1, dtype=np.int64)
                at_random[has_donor] = deal_groups(
                    int(has_donor.sum()), self.request.seed, "pairs"
                )
                of_donors, donor_freedom = variance(of_donor)
                of_donors = np.maximum(of_donors - variance(at_random)[0], 0.0)
        total, effective = two_parts(
            of_receivers, freedom + 1, of_donors, donor_freedom + 1
        )
        return Estimate(mean_falls, np.sqrt(total), effective)


# ---- the delete-a-group jackknife ----------------------------------------------------
def _left_out_variance(
    statistic: Callable[..., Floats],
    *memberships: Integers,
    units: Dependence | None = None,
) -> tuple[Floats, Floats]:
    """Return the jackknife's variance of a statistic over groups of pairs, ``(scorers,
    quantities)``, and its freedom.
    """
    left_out = []
    for group in range(max(int(membership.max()) for membership in memberships) + 1):
        stays = np.logical_and.reduce(
            [membership != group for membership in memberships]
        )
        left_out.append(statistic(np.flatnonzero(stays), left=True))
    return jackknife_variance(np.stack(left_out), units)


# Groups are of equal size and drawn at random, as the rows themselves are thought to
# be. They are not stratified by class: how many rows each class has is chance too, and
# an error that leaves it out is too small for every score whose level differs between
# classes. Only a class that chance has put into one group alone is spread over two,
# since most scores are undefined without it.


def deal_groups(
    rows: int,
    seed: int,
    purpose: str,
    classes: npt.NDArray[np.integer] | None = None,
    units: Dependence | None = None,
) -> Integers:
    """Return the group of each row, ``(rows,)``: ``min(20, rows)`` groups whose sizes
    differ by 1 at most.

    ``units`` are dealt whole, and times in their order.
    """
    if units is not None:
        count = min(MOST_GROUPS, units.count)
        in_order = np.arange(units.count) * count // units.count
        if units.timed:
            dealt = in_order
        else:
            dealt = deal_groups(units.count, seed, purpose)
        return np.asarray(dealt[units.codes])
    order = generator(seed, "jackknife", purpose).permutation(rows)
    groups = np.empty(rows, dtype=np.int64)
    groups[order] = np.arange(rows) % max(min(MOST_GROUPS, rows), 1)
    if classes is not None:
        _spread_classes(groups, np.asarray(classes), order)
    return groups


def _spread_classes(
    groups: Integers, classes: npt.NDArray[np.integer], order: Integers
) -> None:
    """Exchange a row of each class that lies in one group alone with one of another
    group, in place.
    """

    def alone(label: int) -> bool:
        groups_of_class = groups[classes == label]
        return len(groups_of_class) > 1 and bool(
            (groups_of_class == groups_of_class[0]).all()
        )

    for label in np.unique(classes).tolist():
        if not alone(label):
            continue
        row_index = int(np.flatnonzero(classes == label)[0])
        for other_row in order[groups[order] != groups[row_index]].tolist():
            groups[[row_index, other_row]] = groups[[other_row, row_index]]
            if not alone(int(classes[other_row])):
                break
            groups[[row_index, other_row]] = groups[[other_row, row_index]]


def jackknife_variance(
    left_out: Floats, units: Dependence | None = None
) -> tuple[Floats, Floats]:
    """Return the variance of a statistic, ``(*)``, from its values without each group,
    ``(groups, *)``.

    Then its degrees of freedom. Both are NaN where one of the values is undefined, and
    with fewer than four groups.
    """
    count = len(left_out)
    shape = left_out.shape[1:]
    if count < FEWEST_UNITS:
        return np.full(shape, np.nan), np.ones((2, *shape))
    scores = (
        (left_out.mean(axis=0) - left_out).reshape(count, -1).T * (count - 1) / count
    )
    variance, correction, freedom = spread(scores, np.ones(count), units)
    return (variance * correction).reshape(shape), freedom.reshape(2, *shape)


# ---- the model as a scorer sees it ---------------------------------------------------
#: Methods whose answers are stored. A scorer that names one of them takes its rows
#: nowhere else.
STORED = ("predict", "predict_proba", "decision_function")


class Answers:
    """What a model answers for some rows, ``(rows, *)``, each method when it is first
    asked.

    ``predicted``: what the game predicted for them. ``receivers``: numbers of the rows
    that they were made of. ``edited`` makes them. ``imagined``: no model predicted
    this, so that all methods answer what follows from it.
    """

    def __init__(
        self,
        request: Request,
        predicted: Floats,
        receivers: Integers,
        edited: Callable[[], Sequence[Tensor]],
        *,
        imagined: bool = False,
    ) -> None:
        self.request = request
        self.receivers = receivers
        self.edited = edited
        self.subject: Any = request.subject
        self.task = request.subject.task
        self.labels = request.labels
        self.model: Any = getattr(self.subject, "predictor", self.subject.model)
        self._stored: dict[str, Array] = {}
        model_call: Any = getattr(self.subject, "call", None)
        labelled = getattr(model_call, "labels", None) is not None
        one_hot = labelled and model_call.one_hot
        #: whether labels are those of the model's own ``predict``, which the game has
        #: not asked for
        self.asks_model = (
            not self.task.numeric and labelled and not one_hot and not imagined
        )
        if imagined and self.task.has_classes:
            if predicted.shape[1] == 2:
                self._stored["decision_function"] = predicted[:, 1]
            else:
                self._stored["decision_function"] = predicted
        if self.task.numeric:
            if predicted.shape[1] == 1:
                self._stored["predict"] = predicted[:, 0]
            else:
                self._stored["predict"] = predicted
        elif not one_hot:
            self._stored["predict_proba"] = predicted
        if not self.task.numeric and not self.asks_model:
            self._stored["predict"] = self._named(predicted)

    def offers(self, method: str) -> bool:
        """Return whether the model has a method."""
        return (
            method in self._stored or method == "predict" or hasattr(self.model, method)
        )

    def of(self, method: str) -> Array:
        """Return the answers of a method, one for each row."""
        if method not in self._stored:
            if method == "predict":
                deciding_subject = self.subject.deciding()
                outputs = outputs_of(
                    deciding_subject, self.tensors, self.subject.table_batch
                )
                self._stored[method] = self._named(
                    deciding_subject.outputs.predicted(outputs)
                )
            else:
                self._stored[method] = self.subject.asked(method, self.tensors)
        return self._stored[method]

    @cached_property
    def tensors(self) -> Sequence[Tensor]:
        """The rows as the subject reads them."""
        return self.edited()

    def rows(self, row_positions: Integers) -> Any:
        """Return some rows in the user's form.

        Of an estimator of permgrad and of a network they are not edited.
        """
        if hasattr(self.subject, "predictor"):
            return self.subject.form.write(self.tensors[0][row_positions])
        receivers = self.receivers[row_positions]
        raw_frame = self.request.raw
        if raw_frame is None:
            return receivers
        return raw_frame.iloc[receivers].reset_index(drop=True)

    def _named(self, predicted: Floats) -> Array:
        """Return the labels of predicted probabilities, as y holds them."""
        if self.task.labels_overlap:
            return (predicted >= 0.5).astype(np.int64)
        assert self.labels is not None, "classes have labels"
        if self.subject.decision is None:
            return self.labels[predicted.argmax(axis=1)]
        raw = self.subject.outputs.raw_of(torch.as_tensor(predicted))
        return self.labels[self.subject.decided(raw)]


def _offered(method: str) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    return available_if(lambda shown: shown.answers.offers(method))


class ShownModel(BaseEstimator):
    """The user's model, whose answers for the rows ``shown`` are stored.

    Everything else is the model's own.
    """

    def __init__(self, answers: Answers, row_positions: Integers, shown: Any) -> None:
        self.answers = answers
        self.row_positions = row_positions
        self.shown = shown

    @_offered("predict")
    def predict(self, X: Any) -> Array:
        """Return the labels, or numbers, of rows."""
        return self._answer("predict", X)

    @_offered("predict_proba")
    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of rows."""
        return self._answer("predict_proba", X)

    @_offered("decision_function")
    def decision_function(self, X: Any) -> Array:
        """Return the scores of rows."""
        return self._answer("decision_function", X)

    def _answer(self, method: str, X: Any) -> Array:
        if X is not self.shown and hasattr(self.answers.model, method):
            return getattr(self.answers.model, method)(X)
        return self.answers.of(method)[self.row_positions]

    @property
    def classes_(self) -> Any:
        """The labels of the classes, as y holds them."""
        answers = self.answers
        if answers.task.labels_overlap:
            # By these classes scikit-learn tells that a row may have several.
            return [np.array([0, 1])] * len(answers.subject.outputs.output_names)
        if answers.labels is None:
            raise AttributeError("classes_")
        return answers.labels

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "answers" or self.answers.model is None:
            raise AttributeError(name)
        return getattr(self.answers.model, name)

    def __sklearn_tags__(self) -> Any:
        estimator_tags = super().__sklearn_tags__()
        if self.answers.task.numeric:
            estimator_tags.estimator_type = "regressor"
            estimator_tags.regressor_tags = RegressorTags()
        else:
            estimator_tags.estimator_type = "classifier"
            estimator_tags.classifier_tags = ClassifierTags()
        return estimator_tags


def needs_rows(scorer: Any) -> bool:
    """Return whether a scorer may read its rows. scikit-learn's own hand them to one
    method of the model.
    """
    response_methods = getattr(scorer, "_response_method", None)
    return not set(
        (response_methods,)
        if isinstance(response_methods, str)
        else response_methods or ("",)
    ) <= set(STORED)
