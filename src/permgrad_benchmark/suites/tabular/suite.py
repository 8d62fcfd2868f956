"""The tabular suite: which functions, how networks are trained, and what is measured
besides.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from permgrad.evaluation.ranking import importance_shares
from permgrad_benchmark.contestants import Contestant, Scores
from permgrad_benchmark.metrics import (
    discoveries,
    false_discovery_rate,
    interval_coverage,
    power,
    relevance_auc,
    top_k_recovery,
)
from permgrad_benchmark.records import ANY
from permgrad_benchmark.settings import Settings
from permgrad_benchmark.suites import suites
from permgrad_benchmark.suites.suite import (
    Entry,
    Numbers,
    Suite,
    SuiteCell,
    is_new,
)
from permgrad_benchmark.suites.tabular.case import (
    FULL,
    QUICK,
    TabularCase,
    TabularSizes,
    fit_network,
    randomised,
    resampled,
)
from permgrad_benchmark.suites.tabular.ours import score
from permgrad_benchmark.truth import ESTIMANDS, Truth, make_truth, truths

#: A share of this much counts as a discovery, for methods without p-values and with.
COMMON_SHARE = 0.01


class TabularSuite(Suite):
    """Known functions of tables through hybrid networks."""

    name = "tabular"
    title = "Tables of known functions through hybrid networks"
    estimands = ESTIMANDS
    function_kind = "a class of Gaussian or Truth"
    full: ClassVar[TabularSizes] = FULL
    quick: ClassVar[TabularSizes] = QUICK
    # Functions with main effects and pairs, with dependent features, with near-copies,
    # and with classes. Without contestants that cost minutes and compute what a cheaper
    # one does.
    repeated_functions = (
        "friedman1",
        "interactions_correlated",
        "duplicates",
        "logistic",
    )
    quick_functions = ("product", "interactions", "xor")
    not_repeated = (
        "shap:",
        "captum:",
        "sklearn:",
        "sage",
        "shapley:loss",
        "permutation:conditional",
    )

    @property
    def functions(self) -> tuple[str, ...]:
        """All known functions."""
        return tuple(truths)

    def function_facts(self, settings: Settings) -> dict[str, Any]:  # noqa: ARG002 — the same at every scale
        """Return titles, features and relevant features."""
        by_name = {name: make_truth(name) for name in self.functions}
        return {
            "function_titles": {name: truth.title for name, truth in by_name.items()},
            "players": {name: truth.feature_names for name, truth in by_name.items()},
            "relevant": {name: truth.relevant for name, truth in by_name.items()},
            "common_share": COMMON_SHARE,
        }

    def score(self, case: TabularCase, method: str, entry: Entry) -> Scores:
        """Call a method on the rows of a case."""
        return score(case, method, entry)

    def enter_function(self, function: Any) -> str | None:
        """Enter a class of known functions."""
        if not (isinstance(function, type) and issubclass(function, Truth)):
            return None
        if is_new(truths, function.name, function):
            truths.register(function.name)(function)
        return function.name

    def cell(self, function: str, seed: int, settings: Settings) -> SuiteCell:
        """Draw rows and train a network."""
        truth = make_truth(function)
        case = fit_network(truth, seed, self.quick if settings.quick else self.full)
        # How well the network knows the noiseless function, on the fresh rows.
        f, margin = truth.function(case.X), case.margin(case.encoded)
        quality = {"r_squared": float(1 - np.mean((margin - f) ** 2) / np.var(f))}
        if case.classify:
            quality["accuracy"] = float(np.mean((margin > 0) == (case.y == 1)))
        return SuiteCell(
            case, {name: truth.known(name).values for name in ESTIMANDS}, quality
        )

    def repetitions(
        self, cell: SuiteCell
    ) -> tuple[list[TabularCase], list[TabularCase], dict[str, TabularCase]]:
        """Train on the same rows with other seeds.

        Draw the test rows again with replacement.
        """
        case: TabularCase = cell.case
        truth, seed, sizes = case.truth, case.seed, case.sizes
        retrained = [
            fit_network(truth, seed, sizes, network_seed=seed + 1000 + number)
            for number in range(sizes.retrainings - 1)
        ]
        samples = [resampled(case, number) for number in range(sizes.retrainings)]
        changed = {
            "parameters": randomised(case),
            "labels": fit_network(truth, seed, sizes, shuffled=True),
        }
        return retrained, samples, changed

    def more(self, cell: SuiteCell, contestant: Contestant, scores: Scores) -> Numbers:
        """Yield coverage of intervals, and how well relevant features are separated
        from irrelevant ones.
        """
        if (
            contestant.estimand in ESTIMANDS
            and scores.low is not None
            and scores.high is not None
        ):
            truth = cell.truths[contestant.estimand]
            yield (
                contestant.estimand,
                "interval_coverage",
                interval_coverage(truth, scores.low, scores.high),
            )
        yield from _relevance(cell.case.truth, scores)


def _relevance(truth: Truth, scores: Scores) -> Numbers:
    relevant = np.arange(truth.n_features) < truth.n_relevant
    yield ANY, "top_k", top_k_recovery(relevant, scores.values)
    yield ANY, "auc", relevance_auc(relevant, scores.values)
    if scores.p_values is not None:
        # A feature is called where its importance is above 0, not where the loss falls
        # without it.
        called = discoveries(scores.p_values) & (scores.values > 0)
        yield ANY, "false_discovery_rate", false_discovery_rate(relevant, called)
        yield ANY, "power", power(relevant, called)
    called = importance_shares(scores.values) >= COMMON_SHARE
    yield ANY, "false_discovery_rate:share", false_discovery_rate(relevant, called)
    yield ANY, "power:share", power(relevant, called)


suites.register("tabular")(TabularSuite())
