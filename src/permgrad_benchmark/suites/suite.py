"""What every suite does in one cell: train, let every contestant explain, score,
repeat, and make records of it.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from permgrad.attribution import methods
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import Configured
from permgrad.base.arrays import Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError
from permgrad.base.progress import Progress
from permgrad.base.registry import Registry
from permgrad.evaluation.ranking import importance_shares, kendall, spearman
from permgrad_benchmark.contestants import (
    Contestant,
    Scores,
    enrol,
    enrolled,
    other_packages,
)
from permgrad_benchmark.metrics import (
    faithfulness_curves,
    mean_kendall,
    relative_error,
    share_error,
    share_spread,
)
from permgrad_benchmark.records import ANY, Record
from permgrad_benchmark.settings import Settings

#: Arguments of ``pg.explain`` from a case.
Options = Callable[[Any], Mapping[str, Any]]
#: One number: ``(method or estimand, metric, value)`` as the function says.
Numbers = Iterator[tuple[str, str, float | None]]


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Contestants that measure effects over all rows get all ``test`` rows. Those that
    explain row by row get ``some`` or ``few``. ``repeats`` are donors per row and
    feature, ``references`` background rows, ``draws`` coalitions per row.
    ``retrainings`` is the number of networks trained again, and of new test samples,
    for the stability of explanations.
    """

    test: int
    repeats: int
    some: int
    few: int
    references: int
    draws: int
    retrainings: int

    def rows(self, which: str) -> int:
        """Return how many rows ``"all"``, ``"some"`` or ``"few"`` are."""
        return int(self.test if which == "all" else getattr(self, which))


@dataclass
class Meter:
    """Counts rows of the network evaluated by what is not permgrad's own."""

    rows: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class SuiteCase(ABC):
    """One network, the rows to explain, the seed of the contestants, and a meter of
    what other packages use.
    """

    seed: int
    sizes: Sizes
    meter: Meter = field(default_factory=Meter)

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The players, in the order of the truths."""

    @abstractmethod
    def integer_seed(self, what: str) -> int:
        """Return a seed of 31 bits for one purpose."""

    @property
    @abstractmethod
    def module_explained(self) -> Any:
        """The torch module whose weights other packages must leave alone."""

    @abstractmethod
    def curve_rows(self) -> tuple[Any, Any, Mapping[str, npt.NDArray[np.intp]]]:
        """Return rows ``(n, columns)`` for curves, a function of such rows to losses,
        and each player's columns.
        """

    def other_packages(self, what: str) -> AbstractContextManager[None]:
        """Return a context in which other packages explain the network.

        See ``other_packages``.
        """
        return other_packages(self.module_explained, self.integer_seed(what))


@dataclass(frozen=True, eq=False)
class SuiteCell:
    """One function and one seed: the case, the players' true importances by estimand,
    how well the network knows it.

    ``oracle`` is the case in which the true function stands in the network's place.
    ``design`` makes further cases.
    """

    case: Any
    truths: Mapping[str, Floats]
    quality: Mapping[str, float]
    oracle: Any = None
    design: Any = None


class Suite(ABC):
    """A design with known truth: known functions, and what one function and one seed of
    it come to.
    """

    #: Name on the command line and in ``results.csv``, a line for people, what the
    #: truths are.
    name: ClassVar[str]
    title: ClassVar[str]
    estimands: ClassVar[Mapping[str, str]]
    #: What an own function is, for people.
    function_kind: ClassVar[str]
    full: ClassVar[Sizes]
    quick: ClassVar[Sizes]
    #: The costly repetitions (retrainings, resamples, randomised networks) are made in
    #: the cells of one seed and some functions, and not of contestants whose names
    #: begin or end like these.
    repeated_seed: ClassVar[int] = 0
    repeated_functions: ClassVar[tuple[str, ...]]
    #: The functions of ``--quick``, without the costly repetitions.
    quick_functions: ClassVar[tuple[str, ...]]
    not_repeated: ClassVar[tuple[str, ...]]
    not_repeated_ends: ClassVar[tuple[str, ...]] = ()
    #: Decimals of shares that make a ranking. None: as they are.
    ranked_decimals: ClassVar[int | None] = None

    @property
    @abstractmethod
    def functions(self) -> tuple[str, ...]:
        """Names of the known functions."""

    @abstractmethod
    def function_facts(self, settings: Settings) -> dict[str, Any]:
        """Return what the page says of the functions and networks: titles, players,
        which are relevant.
        """

    @abstractmethod
    def cell(self, function: str, seed: int, settings: Settings) -> SuiteCell:
        """Draw, train, and state the truths."""

    @abstractmethod
    def repetitions(
        self, cell: SuiteCell
    ) -> tuple[list[Any], list[Any], dict[str, Any]]:
        """Return cases of networks trained again, of other test rows, and of networks
        that know nothing.
        """

    def more(self, cell: SuiteCell, contestant: Contestant, scores: Scores) -> Numbers:  # noqa: ARG002 — for suites to add to
        """Yield ``(estimand, metric, value)`` that only this suite has."""
        yield from ()

    def check(self, settings: Settings) -> None:  # noqa: B027 — most suites have nothing to refuse
        """Refuse settings that no cell could be computed with."""

    @abstractmethod
    def score(self, case: Any, method: str, entry: Entry) -> Scores:
        """Let a method of permgrad explain, as an entry says."""

    @abstractmethod
    def enter_function(self, function: Any) -> str | None:
        """Enter a function of the user's own, and return its name.

        None: it is not of this suite's kind.
        """

    def own_options(self, method: type[Configured]) -> Options:  # noqa: ARG002 — for suites to say
        """Return with which arguments a method of the user's own is called."""
        return lambda _: {}

    def enter_method(self, name: str, method: type[Configured]) -> None:
        """Enter a registered method of the user's own, with its ``estimand``."""
        if name in enrolled(self.name):
            return
        estimand = getattr(method, "estimand", ANY)
        check_choice(f"estimand of {name}", estimand, [*self.estimands, ANY])
        label = name.replace("_", " ")
        options = self.own_options(method)
        enrol_entry(
            self.name, name, Entry(name, label, estimand, "some", options), self.score
        )

    def sizes(self, settings: Settings) -> Sizes:
        """Return the sizes of a scale."""
        return self.quick if settings.quick else self.full

    def contestants(self, settings: Settings) -> list[Contestant]:
        """Return who takes part, ours first, without those whose packages are
        missing.
        """
        chosen = [
            one
            for one in enrolled(self.name).values()
            if settings.wants(one.name)
            and (settings.peers or one.kind != "peer")
            and not one.missing()
        ]
        return sorted(
            chosen, key=lambda one: ("ours", "peer", "baseline").index(one.kind)
        )

    def methods(self, settings: Settings) -> tuple[str, ...]:
        """Return the names of the contestants, in the order of the tables."""
        return tuple(contestant.name for contestant in self.contestants(settings))

    def facts(self, settings: Settings) -> dict[str, Any]:
        """Return what the page says beside the numbers."""
        wanted = [
            one for one in enrolled(self.name).values() if settings.wants(one.name)
        ]
        return {
            "contestants": {
                one.name: one.facts() for one in self.contestants(settings)
            },
            "left_out": {one.name: one.missing() for one in wanted if one.missing()},
            "estimands": dict(self.estimands),
            "sizes": vars(self.sizes(settings)),
            "repeated": {
                "seed": self.repeated_seed,
                "functions": list(self.repeated_functions),
            },
            **self.function_facts(settings),
        }

    def run(self, function: str, seed: int, settings: Settings) -> list[Record]:
        """Compute one cell. The same arguments give the same figures, times apart."""
        contestants = self.contestants(settings)
        cell = self.cell(function, seed, settings)
        records: list[Record] = []

        def add(method: str, estimand: str, metric: str, value: float | None) -> None:
            records.append(
                Record.of(self.name, function, seed, method, estimand, metric, value)
            )

        for metric, quality in cell.quality.items():
            add("network", ANY, metric, quality)
        for estimand, name, share in _true_shares(cell):
            add("truth", estimand, f"truth_share:{name}", share)
        by_contestant: dict[str, Floats] = {}
        with Progress(
            len(contestants), f"{function}, seed {seed}", settings.progress, lines=False
        ) as bar:
            for contestant in contestants:
                bar.note(contestant.name)
                # The few rows of the short form may be too few for a method.
                with suppress(InputError) if settings.quick else nullcontext():
                    scores = scored(contestant, cell.case)
                    by_contestant[contestant.name] = scores.values
                    for estimand, metric, value in self.judge(cell, contestant, scores):
                        add(contestant.name, estimand, metric, value)
                    if cell.oracle is not None:
                        for estimand, metric, value in self.errors(
                            cell, scored(contestant, cell.oracle).values
                        ):
                            add(f"oracle:{contestant.name}", estimand, metric, value)
                bar.advance()
        if seed == self.repeated_seed and function in self.repeated_functions:
            repeated = [one for one in contestants if one.name in by_contestant]
            for name, metric, value in self.repeat(cell, repeated, by_contestant):
                add(name, ANY, metric, value)
        return records

    # ---- what each contestant gets ---------------------------------------------------
    def errors(self, cell: SuiteCell, values: Floats) -> Numbers:
        """Yield ``(estimand, metric, value)``: shares, and their errors against all
        truths.
        """
        for name, share in zip(cell.case.names, importance_shares(values), strict=True):
            yield ANY, f"share:{name}", float(share)
        for estimand, truth in cell.truths.items():
            yield estimand, "share_error", share_error(truth, values)
            yield estimand, "relative_error", relative_error(truth, values)

    def judge(self, cell: SuiteCell, contestant: Contestant, scores: Scores) -> Numbers:
        """Yield ``(estimand, metric, value)`` of one contestant: errors, ranks, curves,
        cost, and the suite's own.
        """
        values = scores.values
        yield from self.errors(cell, values)
        for estimand, truth in cell.truths.items():
            yield estimand, "spearman", spearman(truth, self.ranked(values))
            yield estimand, "kendall", kendall(truth, self.ranked(values))
        yield from self.more(cell, contestant, scores)
        yield from _curves(cell.case, values)
        yield ANY, "seconds", scores.seconds
        yield ANY, "model_rows", scores.model_rows
        if scores.completeness_gap is not None:
            yield ANY, "completeness_gap", scores.completeness_gap

    def ranked(self, values: Floats) -> Floats:
        """Return what rankings are read off."""
        return (
            values
            if self.ranked_decimals is None
            else np.round(importance_shares(values), self.ranked_decimals)
        )

    def repeat(
        self,
        cell: SuiteCell,
        contestants: Iterable[Contestant],
        first: Mapping[str, Floats],
    ) -> Numbers:
        """Yield ``(method, metric, value)`` of stability and of randomised networks.

        Stability over retrainings: networks of other seeds on the same rows. Over
        resamples: other test rows. Randomised, everything else the same: the Spearman
        correlation of importances with those of the network with its weights drawn anew
        (``parameters``) or trained on shuffled targets (``labels``), after Adebayo et
        al. 2018 (arXiv 1810.03292).
        """
        retrained, samples, changed = self.repetitions(cell)
        for contestant in contestants:
            name = contestant.name
            if name.startswith(self.not_repeated) or name.endswith(
                self.not_repeated_ends
            ):
                continue
            for what, cases, start in (
                ("retraining", retrained, [first[name]]),
                ("resampling", samples, []),
            ):
                values = np.stack(
                    [*start, *(scored(contestant, other).values for other in cases)]
                )
                rankings = np.stack([self.ranked(row) for row in values])
                yield name, f"stability_kendall:{what}", mean_kendall(rankings)
                yield name, f"stability_spread:{what}", share_spread(values)
            for what, other in changed.items():
                yield (
                    name,
                    f"randomised:{what}",
                    spearman(first[name], scored(contestant, other).values),
                )


def _true_shares(cell: SuiteCell) -> Iterator[tuple[str, str, float]]:
    for estimand, values in cell.truths.items():
        for name, share in zip(cell.case.names, importance_shares(values), strict=True):
            yield estimand, name, float(share)


def _curves(case: Any, values: Floats) -> Numbers:
    """Yield the areas of the deletion and insertion curves, players taken from rows
    half the set away.
    """
    rows, losses, columns = case.curve_rows()
    order = [case.names[place] for place in np.argsort(-values, kind="stable")]
    before = case.meter.rows
    curves = faithfulness_curves(
        losses, rows, np.roll(rows, len(rows) // 2, axis=0), columns, order
    )
    case.meter.rows = before
    yield ANY, "deletion", curves.deletion_area
    yield ANY, "insertion", curves.insertion_area


def scored(contestant: Contestant, case: Any) -> Scores:
    """Let a contestant score.

    What it warns about is for people who explain their own models.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return contestant.score(case)


@dataclass(frozen=True)
class Entry:
    """One way to call a method: rows by what one costs, and arguments of ``pg.explain``
    from the case.

    ``loss`` is a classification loss against the labels, for suites whose games are on
    the output. ``note`` is what a reader must know.
    """

    name: str
    label: str
    estimand: str
    rows: Literal["all", "some", "few"]
    options: Options = field(default=lambda _: {})
    loss: str | None = None
    note: str = ""


def enrol_methods(
    suite: str,
    entries: Mapping[str, Sequence[Entry]],
    score: Callable[[Any, str, Entry], Scores],
) -> None:
    """Enrol every method of the registry: as its entries say, or in its defaults and
    without an estimand.
    """
    for method in sorted(methods, key=lambda name: name != "permgrad"):
        for entry in entries.get(
            method, (Entry(method, method.replace("_", " "), ANY, "some"),)
        ):
            enrol_entry(suite, method, entry, score)


def is_new(registry: Registry[Any], name: str, entry: Any) -> bool:
    """Return whether a user's own entry is still to be registered.

    Raises:
        InputError: There is another one of this name.
    """
    registered_entry = registry.get(name, None)
    if registered_entry is None or registered_entry is entry:
        return registered_entry is None
    problem = f"There is a {registry.kind} {name!r} already"
    raise InputError(problem, hint="Give yours another name.", code="PG003")


def enrol_entry(
    suite: str, method: str, entry: Entry, score: Callable[[Any, str, Entry], Scores]
) -> None:
    """Enrol one way to call a method."""

    def run(case: Any) -> Scores:
        return score(case, method, entry)

    enrol(
        suite,
        Contestant(
            entry.name, entry.label, entry.estimand, "ours", run, note=entry.note
        ),
    )


def timed_explanation(
    model: Any, rows: Any, y: Any, **arguments: Any
) -> tuple[Explanation, dict[str, Any]]:
    """Return an explanation, and the cost and gap of it as fields of ``Scores``."""
    started = time.perf_counter()
    explanation = explain(model, rows, y, progress=False, **arguments)
    seconds = time.perf_counter() - started
    gap = explanation.meta.get("completeness_gap")
    return explanation, {
        "seconds": seconds,
        "model_rows": explanation.meta.get("model_rows"),
        "completeness_gap": float(np.max(gap))
        if gap is not None and np.size(gap)
        else None,
    }


def enrol_peer(
    suite: str,
    name: str,
    label: str,
    estimand: str,
    work: Callable[[Any], Floats | Scores],
    *,
    needs: tuple[str, ...],
    note: str = "",
) -> None:
    """Enrol another package's method: it gives importances or scores, and is timed,
    metered and kept apart.
    """

    def run(case: Any) -> Scores:
        before, started = case.meter.rows, time.perf_counter()
        with case.other_packages(name):
            answer = work(case)
        seconds = time.perf_counter() - started
        scores = (
            answer
            if isinstance(answer, Scores)
            else Scores(np.asarray(answer, dtype=np.float64))
        )
        return replace(scores, seconds=seconds, model_rows=case.meter.rows - before)

    enrol(suite, Contestant(name, label, estimand, "peer", run, needs, note))
