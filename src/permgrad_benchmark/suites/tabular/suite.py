"""The tabular suite: what is done in one cell, and what becomes a record."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.progress import Progress
from permgrad.evaluation.discoveries import discoveries, false_discovery_rate, interval_coverage, power
from permgrad.evaluation.faithfulness import faithfulness_curves
from permgrad.evaluation.ranking import (
    importance_shares,
    kendall,
    relative_error,
    relevance_auc,
    share_error,
    spearman,
    top_k_recovery,
)
from permgrad.evaluation.stability import stability
from permgrad_benchmark.contestants import Contestant, Scores, enrolled
from permgrad_benchmark.records import ANY, Record, Records
from permgrad_benchmark.settings import Settings
from permgrad_benchmark.suites import suites
from permgrad_benchmark.suites.tabular.case import (
    FULL,
    QUICK,
    Case,
    Sizes,
    fit_network,
    network_quality,
    randomised,
    resampled,
)
from permgrad_benchmark.truth import ESTIMANDS, Truth, make_truth, truths

Floats = npt.NDArray[np.float64]

#: A share of this much counts as a discovery, for methods without p-values and with.
COMMON_SHARE = 0.01
#: The costly repetitions (retrainings, resamples, randomised networks) are made in the cells of one seed, of functions
#: with main effects and pairs, with dependent features, with near-copies, and with classes.
REPEATED_SEED = 0
REPEATED_FUNCTIONS = ("friedman1", "interactions_correlated", "duplicates", "logistic")
#: Contestants that are not repeated, by how they begin: they cost minutes and compute what a cheaper one does.
NOT_REPEATED = ("shap:", "captum:", "sklearn:", "sage", "shapley:loss", "permutation:conditional")
#: Rows along which curves are computed.
CURVE_ROWS = 300


class TabularSuite:
    """Known functions of tables through hybrid networks."""

    name = "tabular"
    title = "Tables of known functions through hybrid networks"

    def __init__(self) -> None:
        self.functions = tuple(truths.names())

    def contestants(self, settings: Settings) -> list[Contestant]:
        """Return who takes part, without those whose packages are missing."""
        everyone = [enrolled(self.name).get(name) for name in enrolled(self.name)]
        taking_part = [
            one
            for one in everyone
            if settings.wants(one.name) and (settings.peers or one.kind != "peer") and not one.missing()
        ]
        return sorted(taking_part, key=lambda one: ("ours", "peer", "baseline").index(one.kind))

    def methods(self, settings: Settings) -> tuple[str, ...]:
        """Return the names of the contestants, in the order of the tables."""
        return tuple(contestant.name for contestant in self.contestants(settings))

    def facts(self, settings: Settings) -> dict[str, Any]:
        """Return what the page says beside the numbers."""
        everyone = [enrolled(self.name).get(name) for name in enrolled(self.name)]
        functions = {name: make_truth(name) for name in self.functions}
        return {
            "contestants": {one.name: one.facts() for one in self.contestants(settings)},
            "left_out": {one.name: one.missing() for one in everyone if settings.wants(one.name) and one.missing()},
            "estimands": dict(ESTIMANDS),
            "function_titles": {name: truth.title for name, truth in functions.items()},
            "players": {name: truth.feature_names for name, truth in functions.items()},
            "relevant": {name: truth.relevant for name, truth in functions.items()},
            "sizes": vars(_sizes(settings)),
            "repeated": {"seed": REPEATED_SEED, "functions": list(REPEATED_FUNCTIONS)},
            "common_share": COMMON_SHARE,
        }

    def run(self, function: str, seed: int, settings: Settings) -> list[Record]:
        """Compute one cell."""
        truth, sizes = make_truth(function), _sizes(settings)
        contestants = self.contestants(settings)
        case = fit_network(truth, seed, sizes)
        records = Records()

        def add(method: str, estimand: str, metric: str, value: float | None) -> None:
            records.add(self.name, function, seed, method, estimand, metric, value)

        for metric, value in network_quality(case).items():
            add("network", ANY, metric, value)
        for estimand in ESTIMANDS:
            for name, share in zip(case.names, truth.known(estimand).shares, strict=True):
                add("truth", estimand, f"truth_share:{name}", float(share))
        values: dict[str, Floats] = {}
        with Progress(len(contestants), f"{function}, seed {seed}", settings.progress, lines=False) as bar:
            for contestant in contestants:
                bar.note(contestant.name)
                scores = _scored(contestant, case)
                values[contestant.name] = scores.values
                for estimand, metric, number in judge(case, contestant, scores):
                    add(contestant.name, estimand, metric, number)
                bar.advance()
        if seed == REPEATED_SEED and function in REPEATED_FUNCTIONS:
            repeated = [one for one in contestants if not one.name.startswith(NOT_REPEATED)]
            for name, metric, value in repeat(case, repeated, values):
                add(name, ANY, metric, value)
        return list(records)


def _sizes(settings: Settings) -> Sizes:
    return QUICK if settings.quick else FULL


def _scored(contestant: Contestant, case: Case) -> Scores:
    """Let a contestant score; what it warns about is for people who explain their own models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return contestant.score(case)


# ---- what each contestant gets ---------------------------------------------------------------------------------------
def judge(case: Case, contestant: Contestant, scores: Scores) -> Iterator[tuple[str, str, float | None]]:
    """Yield ``(estimand, metric, value)`` of one contestant: its own truth, all four, relevance, cost."""
    truth, values = case.truth, scores.values
    for name, share in zip(case.names, importance_shares(values), strict=True):
        yield ANY, f"share:{name}", float(share)
    for estimand in ESTIMANDS:
        true = truth.known(estimand).values
        yield estimand, "share_error", share_error(true, values)
        yield estimand, "relative_error", relative_error(true, values)
        yield estimand, "spearman", spearman(true, values)
        yield estimand, "kendall", kendall(true, values)
    if contestant.estimand in ESTIMANDS and scores.low is not None and scores.high is not None:
        true = truth.known(contestant.estimand).values
        yield contestant.estimand, "interval_coverage", interval_coverage(true, scores.low, scores.high)
    yield from _relevance(truth, scores)
    yield ANY, "seconds", scores.seconds
    yield ANY, "model_rows", scores.model_rows
    if scores.completeness_gap is not None:
        yield ANY, "completeness_gap", scores.completeness_gap
    yield from _faithfulness(case, values)
    for metric, value in scores.more.items():
        yield ANY, metric, value


def _relevance(truth: Truth, scores: Scores) -> Iterator[tuple[str, str, float]]:
    relevant = np.arange(truth.n_features) < truth.n_relevant
    yield ANY, "top_k", top_k_recovery(relevant, scores.values)
    yield ANY, "auc", relevance_auc(relevant, scores.values)
    if scores.p_values is not None:
        # A feature is called where its importance is above 0, not where the loss falls without it.
        called = discoveries(scores.p_values) & (scores.values > 0)
        yield ANY, "false_discovery_rate", false_discovery_rate(relevant, called)
        yield ANY, "power", power(relevant, called)
    called = importance_shares(scores.values) >= COMMON_SHARE
    yield ANY, "false_discovery_rate:share", false_discovery_rate(relevant, called)
    yield ANY, "power:share", power(relevant, called)


def _faithfulness(case: Case, values: Floats) -> Iterator[tuple[str, str, float]]:
    rows, y = case.encoded[:CURVE_ROWS], case.y[:CURVE_ROWS]
    donors = np.roll(rows, len(rows) // 2, axis=0)
    order = [case.names[place] for place in np.argsort(-values, kind="stable")]
    before = case.meter.rows
    curves = faithfulness_curves(
        lambda encoded: case.loss_of(case.margin(encoded), y), rows, donors, case.columns, order
    )
    case.meter.rows = before
    yield ANY, "deletion", curves.deletion_area
    yield ANY, "insertion", curves.insertion_area


# ---- repetitions -----------------------------------------------------------------------------------------------------
def repeat(
    case: Case, contestants: Iterable[Contestant], values: dict[str, Floats]
) -> Iterator[tuple[str, str, float]]:
    """Yield ``(method, metric, value)`` of stability and of randomised networks.

    Stability over retrainings: networks of other seeds on the same rows, explained with those seeds. Over resamples:
    the test rows drawn again with replacement. Randomised, everything else the same: the Spearman correlation of
    importances with those of the network with its weights drawn anew (``parameters``) or trained on shuffled targets
    (``labels``), after Adebayo et al. 2018 (arXiv 1810.03292).
    """
    listed, sizes = list(contestants), case.sizes
    retrained = [
        fit_network(case.truth, case.seed, sizes, network_seed=case.seed + 1000 + number)
        for number in range(sizes.retrainings - 1)
    ]
    samples = [resampled(case, number) for number in range(sizes.retrainings)]
    changed = {
        "parameters": randomised(case),
        "labels": fit_network(case.truth, case.seed, sizes, shuffled=True),
    }
    for contestant in listed:
        of_contestant = values[contestant.name]
        for what, cases, start in (("retraining", retrained, [of_contestant]), ("resampling", samples, [])):
            spread = stability(np.stack([*start, *(_scored(contestant, other).values for other in cases)]))
            yield contestant.name, f"stability_kendall:{what}", spread.kendall
            yield contestant.name, f"stability_spread:{what}", spread.spread
        for what, other in changed.items():
            yield contestant.name, f"randomised:{what}", spearman(of_contestant, _scored(contestant, other).values)


suites.register("tabular")(TabularSuite())
