"""Is every sentence of the verdict true, and does every command that it advises run?

300 situations are drawn: a good model, no skill, a leak, no training rows, a tie with a
                          baseline, a rare class, drift,
few rows, one class in the test rows, and more. The verdict of each is made as in a run.
Then every sentence is taken apart again: its numbers are computed here, from the rows,
by other formulas than those of permgrad. Intervals are drawn again with other random
numbers, so their ends may differ by a fifth of their width. What a situation was made
to show must be said, and what it does not show must not be said. Commands that pages
advise are run as they are printed.

    python -m verification.verify_verdict            # 300 situations, about two minutes of processor time
    python -m verification.verify_verdict --quick    # one of each kind; nothing is written
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from typing import Any

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import pandas as pd
from scipy import stats

from permgrad.evaluation.baselines.fitting import baselines
from permgrad.pages.verdict import verdict
from verification._advised import faults_of_advice
from verification._situations import (
    FEATURES,
    KINDS,
    LABELS,
    Array,
    Situation,
    constant_of,
    content_of,
    draw,
)

#: Number of situations of the long form.
SITUATIONS = 300


# ---- the same numbers, computed otherwise --------------------------------------------
def _areas(scores: Array, members: Array, counts: Array) -> Array:
    """ROC-AUC of each draw: the share of pairs in the right order, ties count half."""
    inside, outside = scores[members][:, None], scores[~members]
    order = (inside > outside) + 0.5 * (inside == outside)
    with np.errstate(invalid="ignore"):
        wins = np.einsum(
            "di,ij,dj->d", counts[:, members], order, counts[:, ~members], optimize=True
        )
        return np.asarray(
            wins / (counts[:, members].sum(axis=1) * counts[:, ~members].sum(axis=1))
        )


def _metrics_of(name: str, one: Situation, guess: Array, counts: Array) -> Array:
    """Compute a metric by its label, for each of several draws ``(draws, rows)`` of the
    rows.
    """
    if name == "RMSE":
        return np.sqrt(counts @ (one.truth - guess) ** 2 / counts.sum(axis=1))
    right = one.truth[:, None] == np.asarray(one.classes, dtype=object)
    if name == "accuracy":
        return np.asarray(
            counts
            @ right[np.arange(len(guess)), guess.argmax(axis=1)]
            / counts.sum(axis=1)
        )
    if name == "log loss":
        known = right.any(axis=1)
        table = guess / guess.sum(axis=1, keepdims=True)
        losses = -np.log(np.clip(table[known][right[known]], np.finfo(float).eps, 1))
        return np.asarray(counts[:, known] @ losses / counts[:, known].sum(axis=1))
    places = [1] if len(one.classes) == 2 else range(len(one.classes))
    areas = np.stack(
        [_areas(guess[:, place], right[:, place], counts) for place in places]
    )
    return np.asarray(np.ma.masked_invalid(areas).mean(axis=0).filled(np.nan))


def metric_of(name: str, one: Situation, guess: Array) -> float:
    """Compute a metric by its label on all test rows."""
    return float(_metrics_of(name, one, guess, np.ones((1, len(one.truth))))[0])


def _interval(
    name: str, one: Situation, first: Array, second: Array, draws: int = 600
) -> tuple[float, float]:
    """Bootstrap the difference of two models anew. Above 0, the first is better."""
    rows = len(one.truth)
    stream = np.random.default_rng(12345)
    if one.groups is None:
        counts = stream.multinomial(rows, np.full(rows, 1 / rows), draws).astype(float)
    else:
        whole = len(np.unique(one.groups))
        counts = stream.multinomial(whole, np.full(whole, 1 / whole), draws).astype(
            float
        )[:, one.groups]
    sign = -1.0 if name in ("RMSE", "log loss") else 1.0
    differences = sign * (
        _metrics_of(name, one, first, counts) - _metrics_of(name, one, second, counts)
    )
    low, high = map(float, np.nanquantile(differences, [0.025, 0.975]))
    if name == "ROC-AUC":
        # rows drawn again and again say nothing where a class has a few of them: the
        # rank sum's error
        counts = np.array(
            [np.sum(one.truth == label) for label in one.classes], dtype=float
        )
        few = counts[counts > 0].min()
        half = (
            1.96 * math.sqrt((rows + 1) / (12 * few * max(rows - few, 1)))
            if few < 5
            else 0.0
        )
        middle = (low + high) / 2
        low, high = min(low, middle - half), max(high, middle + half)
    return low, high


def _ends_of_rmse(one: Situation, first: Array, second: Array) -> tuple[float, float]:
    """Return the ends for a difference of two RMSEs of rows without time, as written.

    To first order, a row moves an RMSE by half its squared error over the RMSE. The end
    on the side of the long tail has fewer degrees of freedom, by the kurtosis of these
    moves: a bootstrap of rows with a few large values ends too early there. Groups
    count as rows, whose sums are larger for the mean that is estimated with them.
    """
    moves, sizes = np.zeros(len(one.truth)), []
    for guess, sign in ((first, -1.0), (second, 1.0)):
        squares = np.square(one.truth - guess)
        sizes.append(sign * math.sqrt(squares.mean()))
        moves += squares / (2 * sizes[-1])
    moves -= moves.mean()
    if one.groups is None:
        rows, error = float(len(moves)), float(stats.sem(moves))
    else:
        share = np.bincount(one.groups) / len(moves)
        moves = np.bincount(one.groups, moves) / np.sqrt(1 - share)
        rows = float(1 / np.sum(share**2))
        error = math.sqrt(np.sum(moves**2)) / len(one.truth)
    tail = rows * np.sum(moves**4) / np.sum(moves**2) ** 2 - 3
    long = min(max(rows / (1 + 3 * max(float(tail), 0.0)), 1.5), rows - 1)
    freedom = [long, rows - 1] if np.sum(moves**3) < 0 else [rows - 1, long]
    low, high = (error * float(stats.t.ppf(0.975, each)) for each in freedom)
    return sum(sizes) - low, sum(sizes) + high


_NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?(?:e[−-]?\d+)?"


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


class Faults(list[str]):
    """What is wrong with the sentences of a situation."""

    def same(self, what: str, text: str, value: float, slack: float = 0.0) -> None:
        """Compare a written number with its value: equal to its last digit, and within
        ``slack``.
        """
        digits = re.sub(r"e.*", "", text)
        decimals = len(digits.partition(".")[2])
        power = int(_value(text.partition("e")[2] or "0"))
        step = 0.5000001 * 10.0 ** (power - decimals)
        step = max(step, 5.0001e-4 * abs(value)) if abs(value) >= 1e4 else step
        if not abs(_value(text) - value) <= step + slack:
            self.append(f"{what}: {text} is written, {value:.6g} is true")

    def percent(self, what: str, text: str, share: float, slack: float = 0.0) -> None:
        """Compare a written percentage with a share."""
        self.same(what, text, 100 * share, 100 * slack)

    def claim(self, what: str, is_true: bool) -> None:
        """Note a claim that does not hold."""
        if not is_true:
            self.append(what)

    def match(
        self,
        kind: str,
        pattern: str,
        words: str,
        how: Callable[[str, str], re.Match[str] | None] = re.fullmatch,
    ) -> re.Match[str] | None:
        """Return what a pattern finds in a sentence.

        Note a sentence that it does not know.
        """
        found = how(pattern, words)
        self.claim(f"{kind}: unknown sentence: {words}", found is not None)
        return found


def check(one: Situation, sentences: list[dict[str, Any]]) -> Faults:
    """Return what is wrong with the sentences of a situation."""
    faults = Faults()
    spoken = {sentence["facts"]["kind"]: sentence["sentence"] for sentence in sentences}
    faults.claim(f"each kind once: {list(spoken)}", len(spoken) == len(sentences))
    doubts = [
        sentence
        for sentence in sentences
        if sentence["facts"]["part"] in ("alarm", "caution")
    ]
    faults.claim("more than three cautions", len(doubts) <= 3)
    for kind in one.must:
        faults.claim(f"{kind} is not said", kind in spoken)
    for kind in one.must_not:
        faults.claim(f"{kind} is said", kind not in spoken)
    for kind, words in spoken.items():
        plain = words.replace("\u00a0", " ").replace("\u2011", "-")
        faults.claim(
            f"{kind}: no unfinished sentence: {plain}",
            plain.endswith(".") and "nan" not in plain.lower(),
        )
        _CHECKS[kind](one, plain, faults)
    _silence(one, spoken, faults)
    return faults


def _silence(one: Situation, spoken: dict[str, str], faults: Faults) -> None:
    """Check that what is not said does not hold."""
    few_rows = len(one.truth) < 100 and (
        one.task == "regression" or len(set(one.truth.tolist())) > 1
    )
    faults.claim("few rows are silent", ("few_rows" in spoken) == few_rows)
    if (
        "worse" not in spoken and "skewed" not in spoken
    ):  # of errors with so heavy tails, tests of means say nothing
        _none_worse(one, faults)
    if (
        one.task == "regression"
        and len(one.truth) >= 100
        and "not clearly better" not in spoken["skill"]
    ):
        faults.claim(
            "a few rows with most of the error are silent",
            ("skewed" in spoken) == (_extreme(one)[1] >= 0.5),
        )
    if one.task == "regression":
        return
    counts = {
        label: int(np.sum(one.truth == label)) for label in set(one.truth.tolist())
    }
    faults.claim("one class is silent", ("one_class" in spoken) == (len(counts) == 1))
    faults.claim(
        "unseen classes are silent",
        ("unseen" in spoken) == bool(set(counts) - set(one.classes)),
    )
    called = {one.classes[place] for place in one.guess.argmax(axis=1)}
    missed = [label for label in one.classes if label in counts and label not in called]
    faults.claim(
        "a class never predicted is silent",
        ("never_predicted" in spoken) == bool(missed),
    )
    rare = (
        [label for label, rows in counts.items() if rows < 20]
        if len(counts) > 1 and len(one.truth) >= 100
        else []
    )
    faults.claim("a rare class is silent", ("rare" in spoken) == bool(rare))
    few = min(counts, key=lambda label: counts[label])
    found = (
        len(counts) == len(one.classes) == 2
        and counts[few] <= 0.25 * len(one.truth)
        and few in called
    )
    faults.claim(
        "what it finds of a rare class is silent", ("finds" in spoken) == found
    )


# ---- one check for each kind of sentence ---------------------------------------------
def _skill(one: Situation, words: str, faults: Faults) -> None:
    if match := re.fullmatch(
        rf"The network predicts y with (.+) ({_NUMBER})( %)? on ([\d,]+) test rows"
        r"(?: \(([\d,]+) groups by patient\))?\.",
        words,
    ):
        value = metric_of(match[1], one, one.guess)
        faults.same(
            f"skill, {match[1]}",
            match[2],
            value * (100 if match[3] else 1),
            0.001 * (0.999 < value < 1),
        )
        faults.claim(
            "skill: rounded to 1",
            value == 1
            or _value(match[2]) != (100 if match[3] else 1)
            or one.task != "classification",
        )
        faults.claim("skill: number of rows", _value(match[4]) == len(one.truth))
        if match[5]:
            count = len(set(one.groups.tolist()))
            faults.claim("skill: number of groups", _value(match[5]) == count)
        return
    if re.fullmatch(r".* predicts y\.", words):
        faults.claim("skill: no metric is defined", len(set(one.truth.tolist())) < 2)
        return
    match = faults.match(
        "skill",
        r"The network predicts y not clearly better than a constant that ignores the "
        r"features \((.+) on the test "
        r"rows\)\.",
        words,
    )
    if match is None:
        return
    constant = constant_of(one)
    for name, ours, theirs in re.findall(
        rf"(log loss|[\w-]+) ({_NUMBER}) against ({_NUMBER})", match[1]
    ):
        faults.same(f"skill, {name}", ours, metric_of(name, one, one.guess))
        faults.same(
            f"skill, {name} of the constant", theirs, metric_of(name, one, constant)
        )
    first = next(
        name
        for name in ("RMSE", "accuracy", "ROC-AUC", "log loss")
        if match[1].startswith(name)
    )
    low, high = _interval(first, one, one.guess, constant)
    faults.claim("skill: it is better than the constant", low < 0.3 * (high - low))


def _against(
    name: str,
    one: Situation,
    words: str,
    other: Array,
    faults: Faults,
    *,
    turned: bool = False,
) -> None:
    """Check ``metric a against b (difference d, 95 % interval e to f``."""
    match = re.search(
        rf"({_NUMBER}) against ({_NUMBER}) \(difference ({_NUMBER}), 95 % interval "
        rf"({_NUMBER}) to ({_NUMBER})",
        words,
    )
    faults.claim(f"numbers are missing: {words}", match is not None)
    if match is None:
        return
    ours, theirs = metric_of(name, one, one.guess), metric_of(name, one, other)
    first, second = (theirs, ours) if turned else (ours, theirs)
    # What is just below 1 is rounded down.
    faults.same(f"{name}, first", match[1], first, 0.001 * (0.999 < first < 1))
    faults.same(f"{name}, second", match[2], second, 0.001 * (0.999 < second < 1))
    faults.same(f"{name}, difference", match[3], abs(ours - theirs))
    low, high = _interval(name, one, one.guess, other)
    better = (theirs - ours if name == "RMSE" else ours - theirs) >= 0
    low, high = (low, high) if better else (-high, -low)
    if (
        one.time is not None
    ):  # an interval that allows for time is wider than one that does not
        wide = _value(match[5]) - _value(match[4])
        faults.claim(
            f"{name}: an interval as of independent rows", wide > 0.8 * (high - low)
        )
        return
    if name == "RMSE":
        wide = _value(match[5]) - _value(match[4])
        least = 0.8 if one.groups is None else 0.5
        faults.claim("RMSE: a narrow interval", wide > least * (high - low))
        low, high = _ends_of_rmse(one, one.guess, other)
        low, high = (low, high) if better else (-high, -low)
        faults.same("RMSE, lower end", match[4], low)
        faults.same("RMSE, upper end", match[5], high)
        return
    # permgrad widens intervals by a correlation, this draws groups. With few rows, its
    # areas are of the first order.
    slack = 0.2 if one.groups is None and len(one.truth) >= 30 else 0.5
    faults.same(f"{name}, lower end", match[4], low, slack * (high - low))
    faults.same(f"{name}, upper end", match[5], high, slack * (high - low))


def _over_constant(one: Situation, words: str, faults: Faults) -> None:
    constant = constant_of(one)
    match = faults.match(
        "constant",
        rf"clearly (?:worse|better than that): (log loss|\S+) {_NUMBER} against",
        words,
        re.search,
    )
    if match is not None:
        _against(match[1], one, words, constant, faults)
    shares = re.match(
        r"Always predicting the most frequent class is right in (\S+) % of the rows, "
        r"the model in (\S+) %",
        words,
    )
    if shares is not None:
        labels, counts = np.unique(one.learned.astype(str), return_counts=True)
        always = labels[counts.argmax()]
        tied = np.sum(counts == counts.max()) > 1
        faults.percent(
            "constant: right", shares[2], metric_of("accuracy", one, one.guess), 1e-4
        )
        faults.percent(
            "constant: right by always the same",
            shares[1],
            float(np.mean(one.truth == always)),
            tied,
        )


def _best_baseline(one: Situation) -> tuple[str, str]:
    """Return the metric that baselines are compared by, and the best of them."""
    best_of: Any = max
    name = "accuracy"
    if one.task == "regression":
        best_of = min
        name = "RMSE"
    elif len(one.classes) == 2:
        name = "ROC-AUC"
    scores = {key: metric_of(name, one, guess) for key, guess in one.baselines.items()}
    return name, best_of(scores, key=lambda key: scores[key])


def _baselines(one: Situation, words: str, faults: Faults) -> None:
    name, best = _best_baseline(one)
    faults.claim(
        f"baselines: {best} is the best",
        baselines.get(best).label_for(one.task) in words,
    )
    _against(
        name,
        one,
        words,
        one.baselines[best],
        faults,
        turned=words.startswith("The best baseline"),
    )
    low, high = _interval(name, one, one.guess, one.baselines[best])
    slack = 0.2 * (high - low)
    if words.startswith("There is no significant difference"):
        # With two baselines, Holm's correction asks for more than this interval.
        faults.claim(
            "baselines: there is a difference",
            low < slack + 0.3 * (high - low) and high > -slack - 0.3 * (high - low),
        )
    elif words.startswith("The best baseline"):
        faults.claim("baselines: it does not do better", high < slack)
    else:
        faults.claim("baselines: the model does not do better", low > -slack)


def _features(one: Situation, words: str, faults: Faults) -> None:
    if words == "It is not shown that what it relies on helps to predict y.":
        names = (
            ("RMSE",)
            if one.task == "regression"
            else ("log loss", "accuracy", "ROC-AUC")[: 2 + (len(one.classes) == 2)]
        )
        ends = [_interval(name, one, one.guess, constant_of(one)) for name in names]
        faults.claim(
            "no help: it is better",
            min(low - 0.3 * (high - low) for low, high in ends) < 0,
        )
        return
    order = np.argsort(one.p_values, kind="stable")
    adjusted, largest = np.empty(len(order)), 0.0
    for step, place in enumerate(order):
        largest = max(largest, one.p_values[place] * (len(order) - step))
        adjusted[place] = min(largest, 1)
    order = np.argsort(-one.values, kind="stable")
    clear = [
        at
        for at in order
        if adjusted[at] < 0.05
        and one.values[at] > 0.001 * np.maximum(one.values, 0).sum()
    ]
    if not clear:
        faults.claim(
            f"features: none is clear: {words}",
            words.startswith(f"None of {len(FEATURES)} features clearly"),
        )
        return
    match = faults.match(
        "features",
        r"(\d+) of (\d+) features clearly matters?\. It (?:relies most|clearly relies) "
        r"on (.+)",
        words,
        re.match,
    )
    if match is None:
        return
    faults.claim(
        "features: count", (int(match[1]), int(match[2])) == (len(clear), len(FEATURES))
    )
    faults.claim(
        "features: the largest is not the one",
        (order[0] in clear[:3]) == ("It relies most on" in words),
    )
    before = [
        at for at in order[: order.tolist().index(clear[:3][-1])] if at not in clear
    ]
    unsure = [
        FEATURES.index(name)
        for name in re.findall(r"(\w+), place \d+ by size, is uncertain", words)
    ]
    name, power = ("RMSE", 2) if one.task == "regression" else ("log loss", 1)
    of_constant, of_model = (
        metric_of(name, one, guess) ** power for guess in (constant_of(one), one.guess)
    )
    told = re.match(
        rf"(\w+): without it the {name} rises from ({_NUMBER}) to ({_NUMBER}) "
        rf"\(without any: ({_NUMBER})\)\."
        r"(?: Next, (.+))?",
        match[3],
    )
    faults.claim(
        "features: losses are silent, or said of no advantage",
        bool(told) == (of_constant > of_model),
    )
    if told is None:
        listed = re.findall(r"x\d", match[3])
        faults.claim(
            "features: names", listed == [FEATURES[place] for place in clear[:3]]
        )
        return
    faults.claim("features: the uncertain are silent", unsure == before[:2])
    pairs = [(told[1], told[3]), *re.findall(rf"(\w+): to ({_NUMBER})", told[5] or "")]
    faults.claim(
        "features: names",
        [name for name, _ in pairs] == [FEATURES[place] for place in clear[:3]],
    )
    faults.same("features: loss", told[2], of_model ** (1 / power))
    faults.same("features: loss of a constant", told[4], of_constant ** (1 / power))
    for place, (_, loss) in zip(clear, pairs, strict=False):
        faults.same(
            "features: loss without it",
            loss,
            float(of_model + one.values[place]) ** (1 / power),
        )


def _dependence_words(one: Situation, words: str, faults: Faults) -> None:
    if one.groups is None:
        faults.claim(
            "time",
            words
            == "Intervals and tests allow for rows that are near each other in day.",
        )
        return
    match = faults.match(
        "groups", r".* count ([\d,]+) groups by patient, not ([\d,]+) rows\.", words
    )
    if match is not None:
        counts = (len(np.unique(one.groups)), len(one.test))
        faults.claim("groups: counts", (_value(match[1]), _value(match[2])) == counts)


def _together_words(one: Situation, words: str, faults: Faults) -> None:
    match = faults.match(
        "together",
        r"Rows share 'person': ([\d,]+) values in ([\d,]+) rows, and ([\d,]+) of "
        r"([\d,]+) test rows have one of "
        r"the training rows\. (?:A forest has accuracy ([01]\.\d+) .*, and (0\.\d+) "
        r"if|If they belong together)",
        words,
        re.match,
    )
    if match is None or one.persons is None:
        faults.claim("together: nobody has several rows", one.persons is not None)
        return
    first = len(one.train)
    shared = sum(person in set(one.persons[:first]) for person in one.persons[first:])
    counts = (len(set(one.persons.tolist())), len(one.persons), shared, len(one.test))
    faults.claim(
        f"together: {counts}",
        tuple(_value(match[place]) for place in range(1, 5)) == counts,
    )
    if match[5]:
        faults.claim("together: it does not fall", _value(match[6]) < _value(match[5]))


def _cut_words(one: Situation, words: str, faults: Faults) -> None:
    faults.claim(
        "cut",
        words == " ".join(f"The time limit cut the {cut}." for cut in one.cut)
        and bool(one.cut),
    )


def _related_words(one: Situation, words: str, faults: Faults) -> None:
    _moves_words(
        one, words.removesuffix(". Importance may be shared between them."), faults
    )


def _impossible_words(one: Situation, words: str, faults: Faults) -> None:
    end = (
        ". Replacing one alone makes rows that do not occur, for which the model is "
        "worse than a constant: that says "
        "little of single features. A group of them is replaced as one."
    )
    faults.claim(f"impossible: unknown sentence: {words}", words.endswith(end))
    _moves_words(one, words.removesuffix(end), faults)
    without = np.mean((one.guess - one.truth) ** 2) + one.values
    constant = np.mean((constant_of(one) - one.truth) ** 2)
    named = [
        place for place, name in enumerate(FEATURES) if re.search(rf"\b{name}\b", words)
    ]
    faults.claim(
        "impossible: not worse than a constant", bool((without[named] > constant).any())
    )


def _moves_words(one: Situation, body: str, faults: Faults) -> None:
    truth = one.train.select_dtypes("number").corr("spearman")
    for part in body.split(". "):
        if match := re.fullmatch(
            r"(.+) move with each other(?: and (\d+) more)? \(correlation (up to "
            r")?(\S+)\)",
            part,
        ):
            names = re.split(", | and ", match[1])
            among = (
                truth.loc[names, names]
                .abs()
                .to_numpy()[~np.eye(len(names), dtype=bool)]
            )
            faults.claim(f"related: {part}", float(among.min()) >= 0.89)
            largest = (
                truth.loc[names].abs().where(truth.loc[names].abs() < 1).max().max()
            )
            faults.same(
                f"related: {part}", match[4].replace("−", ""), float(largest), 0.06
            )
            continue
        if match := re.fullmatch(
            r"(.+) lack values in the same rows|(\w+) lacks values where (\w+) does",
            part,
        ):
            _lacking_words(one, match, faults)
            continue
        name, _, others = part.partition(" moves with ")
        pairs = re.findall(r"(\w+) \(correlation (\S+)\)", others)
        faults.claim(
            f"related: {part}", bool(pairs) and len(pairs) == others.count("(")
        )
        for other, strength in pairs:
            faults.same(
                f"related: {name} and {other}",
                strength,
                float(truth.loc[name, other]),
                0.06,
            )


def _lacking_words(one: Situation, match: re.Match[str], faults: Faults) -> None:
    """Check that as many columns as are told lack values in the same rows."""
    names = re.findall(r"\bx\d+\b", match[0])
    counted = re.search(r"and (\d+) more", match[0])
    lacking = one.train.isna().astype(float).corr()[names[0]]
    together = lacking.index[lacking >= 0.6]
    faults.claim(f"related: {match[0]}", set(names) <= set(together))
    told = len(names) + (int(counted[1]) if counted else 0)
    faults.claim(f"related: {match[0]}", 2 <= told <= len(together))


def _leak_words(one: Situation, words: str, faults: Faults) -> None:
    if match := re.match(
        r"'y' equals (.+) in (?:all of ([\d,]+)|(\S+) % of ([\d,]+)) rows compared\.",
        words,
    ):
        both, y = (
            pd.concat([one.train, one.test]),
            np.concatenate([one.learned, one.truth]),
        )
        text = (
            re.sub(r"'(\w+)'", r'both["\1"]', match[1])
            .replace("×", "*")
            .replace("−", "-")
        )
        holds = np.isclose(
            eval(text, {"both": both}), y, rtol=1e-6, atol=1e-6 * y.std()
        )
        faults.claim(
            f"leak: {match[1]} holds in {holds.mean():.3f}",
            holds.mean() >= (1 if match[2] else 0.9),
        )
        faults.claim(
            "leak: rows", _value(match[2] or match[4]) == np.sum(~holds | (y != 0))
        )
        return
    if match := re.match(
        r"Whether '(\w+)' has a value tells rows of class '([^']+)' from all others",
        words,
    ):
        present = (
            pd.concat([one.train[match[1]], one.test[match[1]]]).notna().to_numpy()
        )
        is_class = np.concatenate([one.learned, one.truth]).astype(str) == match[2]
        tells = np.array_equal(present, is_class) or np.array_equal(~present, is_class)
        faults.claim("leak: presence", tells and 0 < is_class.sum() < len(is_class))
        return
    if match := re.match(
        r"(.+) together predict 'y' nearly perfectly \(balanced accuracy 1\.000 on "
        r"held-out",
        words,
    ):
        named = re.findall(r"'([^']+)'", match[1])
        marks = pd.concat([one.train, one.test])[named].to_numpy()
        classes = np.concatenate([one.learned, one.truth]).astype(str)
        different = {
            (*row, label) for row, label in zip(marks.tolist(), classes, strict=True)
        }
        faults.claim(
            "leak: together", len(named) > 1 and len(different) == len(set(classes))
        )
        return
    if match := re.match(
        r"'(\w+)' and '(\w+)' together determine 'y' nearly perfectly \(balanced "
        r"accuracy",
        words,
    ):
        pairs = (
            pd.concat([one.train, one.test])[[match[1], match[2]]]
            .astype(str)
            .agg("/".join, axis=1)
        )
        classes = np.concatenate([one.learned, one.truth]).astype(str)
        single = pd.concat([one.train, one.test])[match[1]].to_numpy()
        right, alone = (
            pd.crosstab(x, classes).max(axis=1).sum() / len(classes)
            for x in (pairs, single)
        )
        faults.claim("leak: two categories", right >= 0.98 > alone)
        return
    columns = re.findall(r"'([^']+)'", words.partition(" alone ")[0])
    for column in columns:
        x, y = (
            pd.concat([table[column] for table in (one.train, one.test)]),
            np.concatenate([one.learned, one.truth]),
        )
        if one.task == "regression":
            fitted = np.polyval(np.polyfit(x, y, 1), x)
            score = 1 - np.sum((y - fitted) ** 2) / np.sum((y - y.mean()) ** 2)
        else:
            score = pd.crosstab(x, y).max(axis=1).sum() / len(y)
        faults.claim(f"leak: {column} does not give the target away", score > 0.97)
    faults.claim(f"leak: {columns}", columns == ["copy"])


def _worse_log_loss(one: Situation, words: str, faults: Faults) -> None:
    match = faults.match(
        "worse log loss",
        r"Its probabilities are clearly worse than the shares of the classes alone: "
        rf"log loss ({_NUMBER}) against ({_NUMBER}) \(difference ({_NUMBER}), 95 % "
        rf"interval ({_NUMBER}) to ({_NUMBER})\)\.",
        words,
    )
    if match is None:
        return
    constant = constant_of(one)
    ours = metric_of("log loss", one, one.guess)
    theirs = metric_of("log loss", one, constant)
    faults.same("worse log loss, ours", match[1], ours)
    faults.same("worse log loss, of the shares", match[2], theirs)
    faults.same("worse log loss, difference", match[3], theirs - ours)
    low, high = _interval("log loss", one, one.guess, constant)
    slack = 0.2 if one.groups is None and len(one.truth) >= 30 else 0.5
    faults.same("worse log loss, lower end", match[4], low, slack * (high - low))
    faults.same("worse log loss, upper end", match[5], high, slack * (high - low))
    faults.claim("worse log loss: it is not clear", high < slack * (high - low))


def _unchecked_words(one: Situation, words: str, faults: Faults) -> None:
    match = faults.match(
        "nearly perfect",
        rf"It is nearly perfect \((R²|balanced accuracy) ({_NUMBER})\), like a model "
        r"that knows",
        words,
        re.match,
    )
    faults.claim(
        "nearly perfect: checked",
        bool(one.unchecked) == ("that takes the training rows" in words),
    )
    if match is None:
        return
    if one.task == "regression":
        score = 1 - np.sum((one.truth - one.guess) ** 2) / np.sum(
            (one.truth - one.truth.mean()) ** 2
        )
    else:
        called = np.asarray(one.classes, dtype=object)[one.guess.argmax(axis=1)]
        score = np.mean(
            [
                np.mean(called[one.truth == label] == label)
                for label in set(one.truth.tolist())
            ]
        )
    faults.same("unchecked: score", match[2], float(score), 0.0005)  # rounded down
    faults.claim(
        "unchecked: it is not nearly perfect",
        score >= (0.95 if "relies almost only" in words else 0.98),
    )


def _unseen_words(one: Situation, words: str, faults: Faults) -> None:
    match = re.match(
        r"([\d,]+) test rows? ha(?:s|ve) a class of y that no training row has \((.+?) "
        r"\(",
        words,
    )
    strange = one.truth[~np.isin(one.truth.astype(str), one.learned.astype(str))]
    faults.claim("unseen: rows", match is not None and _value(match[1]) == len(strange))
    faults.claim("unseen: names", match is not None and match[2] == "class z")


def _one_class_words(one: Situation, words: str, faults: Faults) -> None:
    match = re.match(
        r"All test rows \(([\d,]+)\) have the class (.+), so nothing is known about "
        r"the other classes",
        words,
    )
    faults.claim(
        "one class",
        match is not None
        and _value(match[1]) == np.sum(one.truth == match[2]) == len(one.truth),
    )


def _few_words(one: Situation, words: str, faults: Faults) -> None:
    match = re.match(
        r"There (?:are|is) only (\d+) test rows?, so all scores are uncertain",
        words,
    )
    faults.claim("few rows", match is not None and int(match[1]) == len(one.test) < 100)


def _wilson(share: float, rows: int) -> tuple[float, float]:
    """Return Wilson's ends: the smallest and the largest share p with (p̂ − p)² ≤ z² p
    (1 − p) / n, on a grid.
    """
    grid = np.linspace(0, 1, 200_001)
    inside = grid[(share - grid) ** 2 <= 1.959964**2 * grid * (1 - grid) / rows + 1e-15]
    return float(inside.min()), float(inside.max())


def _group_of(column: Array, words: str) -> Array:
    """Return which rows a group of a feature has, by its name: a quarter of the
    numbers, or a value.
    """
    if words == "missing":
        return np.asarray(pd.isna(column))
    if re.fullmatch(r"\d+ others", words):
        texts = column.astype(str)
        return np.asarray(
            ~pd.isna(column)
            & ~np.isin(
                texts, pd.Series(texts)[~pd.isna(column)].value_counts().index[:11]
            )
        )
    if not re.match(r"(up to|from|above) ", words):
        return np.array([text in (words, f"{words}.0") for text in column.astype(str)])
    numbers = column.astype(float)
    present = np.sort(numbers[~np.isnan(numbers)])
    edges = [
        float(present[math.ceil(len(present) * share) - 1])
        for share in (0.25, 0.5, 0.75)
    ]
    last = _value(re.findall(_NUMBER, words)[-1])
    middle = min((1, 2), key=lambda place: abs(edges[place] - last))
    place = (
        0 if words.startswith("up to") else 3 if words.startswith("above") else middle
    )
    return np.asarray(
        (np.searchsorted(edges, numbers, side="left") == place) & ~np.isnan(numbers)
    )


def _beyond(one: Situation, measure: str) -> tuple[Array, Array, Array, Array]:
    """Return the error of each row, the expected one, how far it is beyond, the
    variance.

    Probabilities expect an error and a loss. Numbers have the error that is usual at
    such predictions, in whose units they are. NaN: the model does not know the class.
    """
    if measure == "mean absolute error":
        errors, order = np.abs(one.truth - one.guess), np.argsort(one.guess)
        parts = np.array_split(order, min(max(len(order) // 50, 1), 12))
        usual = np.interp(
            one.guess,
            [one.guess[part].mean() for part in parts],
            [errors[part].mean() for part in parts],
        )
        ratios = errors / np.maximum(usual, 1e-3 * errors.mean())
        return errors, usual, ratios, np.full(len(errors), ratios.var())
    shares = one.guess / one.guess.sum(axis=1, keepdims=True)
    right = one.truth[:, None] == np.asarray(one.classes, dtype=object)
    if measure == "accuracy":
        likely = np.eye(shares.shape[1])[shares.argmax(axis=1)]
        costs = 1 - likely
        errors = 1.0 - (right * likely).sum(axis=1)
    else:
        costs = -np.log(np.clip(shares, np.finfo(float).eps, 1))
        errors = np.where(right.any(axis=1), (costs * right).sum(axis=1), np.nan)
    expected = (shares * costs).sum(axis=1)
    variance = (shares * (costs - expected[:, None]) ** 2).sum(axis=1)
    variance = np.maximum(variance, 0.1 * variance[~np.isnan(errors)].mean())
    return errors, expected, errors - expected, variance


def _by_exchange(beyond: Array, variance: Array, group: Array) -> float:
    """Return the p-value of a group's difference when rows exchange their groups."""
    inside = np.vstack([group] * 5001).astype(float)
    inside[1:] = np.random.default_rng(7).permuted(inside[1:], axis=1)
    difference, squares = np.zeros(len(inside)), np.zeros(len(inside))
    for sign, member in ((1, inside), (-1, 1 - inside)):
        rows = member.sum(axis=1)
        difference += sign * (member @ beyond) / rows
        squares += (member @ variance) / rows**2
    sizes = np.abs(difference) / np.sqrt(squares)
    return float(np.mean(sizes >= sizes[0] * (1 - 1e-9)))


def _worse_words(one: Situation, words: str, faults: Faults) -> None:
    expects = rf"(?:, and its probabilities expect|,) ({_NUMBER})"
    pattern = (
        rf"Where (\w+) is (.+?) \((\d+) rows?(?:, (\d+) with .+?)?\), "
        rf"(?:the )?(accuracy|log loss|mean absolute error) is ({_NUMBER})(?: %)?"
        rf"(?: \(95 % interval ({_NUMBER})(?: %)? to ({_NUMBER})(?: %)?\))?"
        rf"{expects}(?: %| times what is usual at such predictions)?\. "
        rf"On the other ([\d,]+) rows(?: \((\d+) with .+?\))? it is ({_NUMBER})(?: %)?"
        rf"(?:, and they expect|,) ({_NUMBER})(?: %| times)?\. "
        r"\d+ of (\d+) tested groups (?:is|are) clearly worse than the other rows\."
    )
    match = faults.match("worse", pattern, words)
    if match is None:
        return
    group, measure = _group_of(one.test[match[1]].to_numpy(), match[2]), match[5]
    faults.claim(f"worse: rows of {match[1]} {match[2]}", int(match[3]) == group.sum())
    faults.claim("worse: other rows", _value(match[10]) == np.sum(~group))
    if match[4]:
        events = one.truth == one.classes[1]
        counts = (np.sum(events & group), np.sum(events & ~group))
        faults.claim("worse: events", (int(match[4]), int(match[11])) == counts)
    errors, expected, beyond, variance = _beyond(one, measure)
    scored = ~np.isnan(errors)
    sides = [side & scored for side in (group, ~group)]
    ours, theirs = (float(errors[side].mean()) for side in sides)
    usual = [float(expected[side].mean()) for side in sides]
    _worse_numbers(one, match, group, ((ours, usual[0]), (theirs, usual[1])), faults)
    more = (ours / usual[0]) / (theirs / usual[1])
    faults.claim("worse: by less than a tenth", more >= 1.0999)
    if one.groups is not None:
        # The means of patients, of whom none is on both sides or each counts on both.
        means = [
            pd.Series(beyond[side]).groupby(one.groups[side]).mean() for side in sides
        ]
        p_value = stats.ttest_ind(*means, equal_var=False).pvalue / 10
        faults.claim(f"worse: p is {p_value}", p_value < 0.005)
        return
    # The page adjusts for all groups, this is of one group alone. Of the groups tested,
    # at most half are other questions: two levels of a column are one.
    p_value = _by_exchange(beyond[scored], variance[scored], group[scored])
    limit = 0.05 / max(int(match[14]) / 2, 1)
    faults.claim(f"worse: p is {p_value}", p_value < limit)


def _worse_numbers(
    one: Situation,
    match: re.Match[str],
    group: Array,
    sides: tuple[tuple[float, float], tuple[float, float]],
    faults: Faults,
) -> None:
    """Compare scores, what is expected, the interval. ``sides``: error and expected."""
    written = ((match[6], match[9]), (match[12], match[13]))
    for where, texts, (error, usual) in zip(
        ("group", "rest"), written, sides, strict=True
    ):
        score, expected, times = error, usual, 1.0
        if match[5] == "accuracy":
            score, expected, times = 1 - error, 1 - usual, 100.0
        elif match[5] == "mean absolute error":
            expected = error / usual
        faults.same(f"worse: score, {where}", texts[0], times * score)
        faults.same(f"worse: expected, {where}", texts[1], times * expected)
    faults.claim("worse: no interval", bool(match[7]) == (match[5] != "log loss"))
    if not match[7]:
        return
    times = 1.0
    if match[5] == "accuracy":
        times, ends = 100.0, _wilson(1 - sides[0][0], int(group.sum()))
    else:
        losses = np.abs(one.truth - one.guess)[group]
        half = 1.959964 * losses.std(ddof=1) / math.sqrt(len(losses))
        ends = (float(losses.mean() - half), float(losses.mean() + half))
    dependent = one.groups is not None or one.time is not None
    slack = (3.0 if dependent else 0.02) * times * (ends[1] - ends[0])
    faults.same("worse: lower end", match[7], times * ends[0], slack)
    faults.same("worse: upper end", match[8], times * ends[1], slack)


def _finds_words(one: Situation, words: str, faults: Faults) -> None:
    match = faults.match(
        "finds",
        r"It finds (\S+) % of the rows with the class (.+), and is right in (\S+) % of "
        r"those that it predicts as \2 "
        r"\(at a threshold of 50 %\)\.",
        words,
    )
    if match is None:
        return
    members, called = (
        one.truth == match[2],
        one.guess[:, one.classes.index(match[2])] > 0.5,
    )
    faults.claim("finds: the class is not rare", members.mean() <= 0.25)
    faults.percent("finds: recall", match[1], float(called[members].mean()))
    faults.percent("finds: precision", match[3], float(members[called].mean()))


def _none_worse(one: Situation, faults: Faults) -> None:
    """Check that the quarters of each number, tested here by other tests, have none
    that is clearly worse.
    """
    if one.groups is not None or one.time is not None:
        return
    tests = 5 * one.test.shape[1]
    regression = one.task == "regression"
    # Log loss has no second test here: few large losses decide tests of its mean.
    errors, expected, beyond, _ = _beyond(
        one, "mean absolute error" if regression else "accuracy"
    )
    labels, sizes = np.unique(one.truth.astype(str), return_counts=True)
    events = one.truth.astype(str) != labels[sizes.argmax()]
    for name, column in one.test.select_dtypes("number").items():
        quarter = np.searchsorted(
            np.nanquantile(column, [0.25, 0.5, 0.75]), column.to_numpy(), side="left"
        )
        quarter[column.isna()] = 4
        for place in range(4):
            sides = [quarter == place, quarter != place]
            rows = min(side.sum() for side in sides)
            few = min(
                min(np.sum(events[side]), np.sum(~events[side])) for side in sides
            )
            if rows < 20 or (few < 5 and not regression):
                continue
            ours, theirs = (
                errors[side].mean() / expected[side].mean() for side in sides
            )
            if ours < 1.1 * theirs:
                continue
            inside, outside = (beyond[side] for side in sides)
            p_value = (
                stats.mannwhitneyu(inside, outside).pvalue
                if regression
                else stats.ttest_ind(inside, outside, equal_var=False).pvalue
            )
            faults.claim(
                f"none worse: {name}, quarter {place + 1}: p {p_value}",
                p_value > 0.05 / tests / 20,
            )


def _extreme(one: Situation) -> tuple[Array, float]:
    """Return the fiftieth of the rows that is furthest from the median target, and its
    share of the squared error.
    """
    far = np.argsort(np.abs(one.truth - np.quantile(one.truth, 0.5)))[::-1][
        : -(-len(one.truth) // 50)
    ]
    squares = np.square(one.guess - one.truth)
    return far, float(squares[far].sum() / squares.sum())


def _skewed_words(one: Situation, words: str, faults: Faults) -> None:
    match = faults.match(
        "skewed",
        r"A few rows make most of the error: the (\d+) test rows? (with y of "
        rf"({_NUMBER}) and (more|less)|whose y is "
        r"furthest from its median) ha(?:s|ve) (\S+) % of the squared error\. Half of "
        r"all rows have an error of at "
        rf"most ({_NUMBER})\.",
        words,
    )
    if match is None:
        return
    far, share = _extreme(one)
    faults.claim("skewed: rows", int(match[1]) == len(far))
    faults.percent("skewed: share", match[5], share)
    faults.same(
        "skewed: median error",
        match[6],
        float(np.median(np.abs(one.truth - one.guess))),
    )
    if match[4]:
        end = one.truth[far].min() if match[4] == "more" else one.truth[far].max()
        faults.same("skewed: end", match[3], float(end), 5e-4 * abs(end))
        beyond = one.truth >= end if match[4] == "more" else one.truth <= end
        faults.claim("skewed: others are beyond the end", beyond.sum() == len(far))


def _rare_words(one: Situation, words: str, faults: Faults) -> None:
    for label, count in re.findall(r"(class \w) \((\d+)", words):
        faults.claim(f"rare: {label}", int(count) == np.sum(one.truth == label) < 20)


def _never_words(one: Situation, words: str, faults: Faults) -> None:
    told = re.findall(
        r"It never predicts (class \w|\d), the class of ([\d,]+) test rows?\.", words
    )
    told += re.findall(
        r"(class \w|\d) \(([\d,]+)(?: rows?)?\)",
        words.partition("it never predicts")[2],
    )
    faults.claim("never predicted: no class", bool(told))
    for label, count in told:
        place = one.classes.index(label)
        faults.claim(f"never predicted: {label}", place not in one.guess.argmax(axis=1))
        faults.claim(
            "never predicted: rows", _value(count) == np.sum(one.truth == label)
        )
    pattern = r"threshold of (\S+) on its probability .*? it finds ([\d,]+) of them\. "
    pattern += r"Of the rows predicted (class \w), (\S+) % are"
    for cut, hits, label, right in re.findall(pattern, words):
        called = one.guess[:, one.classes.index(label)] >= _value(cut) * (1 - 5e-3)
        strict = one.guess[:, one.classes.index(label)] >= _value(cut) * (1 + 5e-3)
        members = one.truth == label
        faults.claim(
            "never predicted: finds",
            np.sum(strict & members) <= _value(hits) <= np.sum(called & members),
        )
        shares = sorted(
            np.sum(rows & members) / max(rows.sum(), 1) for rows in (called, strict)
        )
        faults.claim(
            "never predicted: precision",
            shares[0] - 0.03 <= _value(right) / 100 <= shares[1] + 0.03,
        )


def _order_words(one: Situation, words: str, faults: Faults) -> None:
    numbers = np.array([int(label) for label in one.classes])
    far = np.abs(np.array([int(label) for label in one.truth])[:, None] - numbers)
    usual = one.guess / one.guess.mean(axis=0)
    faults.claim(
        "in an order: near classes are no likelier",
        usual[far == 1].mean() > usual[far > 1].mean(),
    )
    faults.claim(
        "in an order: unknown sentence",
        words.startswith("The classes of y seem to be in an order"),
    )


def _duplicate_words(one: Situation, words: str, faults: Faults) -> None:
    match = re.match(
        r"(\d+) test rows? \((\S+) %\) (?:is|are) also in the training rows", words
    )
    joined = one.test.assign(y=one.truth).merge(
        one.train.assign(y=one.learned).drop_duplicates(), how="inner"
    )
    joined = joined.dropna(how="all", subset=FEATURES)
    faults.claim("duplicates: rows", match is not None and int(match[1]) == len(joined))
    if match is not None:
        faults.percent("duplicates: share", match[2], len(joined) / len(one.test))


def _calibration_words(one: Situation, words: str, faults: Faults) -> None:
    """The error of equal bins must be far above those of labels drawn from the
    probabilities.
    """
    rng = np.random.default_rng(1)
    places = [1] if len(one.classes) == 2 else range(len(one.classes))
    ours, drawn = [], []
    for place in places:
        scores = one.guess[:, place]
        edges = np.quantile(scores, np.linspace(0, 1, 11)[1:-1])
        member = np.searchsorted(edges, scores)

        def error(
            truth: Array, member: Array = member, scores: Array = scores
        ) -> float:
            gaps = [
                abs(np.sum((truth - scores)[member == one_bin]))
                for one_bin in range(10)
            ]
            return float(np.sum(gaps)) / len(scores)

        ours.append(error((one.truth == one.classes[place]).astype(float)))
        drawn.append(
            [
                error((rng.random(len(scores)) < scores).astype(float))
                for _ in range(100)
            ]
        )
    written = re.search(rf"expected calibration error is ({_NUMBER})", words)
    mean = float(np.mean(ours))
    faults.claim("calibration: the number is missing", written is not None)
    if written is not None:
        faults.same("calibration: error", written[1], mean, 0.35 * mean + 0.005)
    faults.claim(
        "calibration: chance explains it",
        mean > float(np.quantile(np.mean(drawn, axis=0), 0.9)),
    )


def _drift_sentence(one: Situation, words: str, faults: Faults) -> None:
    match = faults.match(
        "drift",
        r"(\w+): (\S+) % of the test rows and (\S+) % of the training rows are "
        r"((?:missing or )?at most|above|) ?(.+)\.$",
        words,
        re.search,
    )
    if match is None:
        return
    for text, table in ((match[2], one.test), (match[3], one.train)):
        column = table.get(match[1])
        faults.claim("drift: no such column", column is not None)
        if column is None:
            return
        if match[4]:
            edge = _value(match[5])
            values = column.to_numpy(float)
            rows = values > edge if match[4] == "above" else values <= edge
            rows |= np.isnan(values) & (match[4] == "missing or at most")
            faults.percent("drift: share", text, float(np.mean(rows)), 0.01)
        else:
            names = re.split(r", | or ", match[5])
            cells = (
                column.map("{:g}".format)
                if pd.api.types.is_numeric_dtype(column)
                else column
            )
            faults.percent("drift: share", text, float(cells.isin(names).mean()))
    gap = abs(_value(match[2]) - _value(match[3]))
    faults.claim("drift: the difference is small", gap >= 9)


def _next_words(one: Situation, words: str, faults: Faults) -> None:
    if words.startswith("For predictions alone, use "):
        _, best = _best_baseline(one)
        faults.claim(
            "next: another baseline is the best",
            LABELS[best] in words or baselines.get(best).label_for(one.task) in words,
        )
    if words.startswith("Pass train="):
        faults.claim("next: there are training rows", bool(one.unchecked))
    if "remove the copies" in words:
        joined = one.test.assign(y=one.truth).merge(
            one.train.assign(y=one.learned).drop_duplicates(), how="inner"
        )
        faults.claim(
            "next: few copies",
            len(joined.dropna(how="all", subset=FEATURES)) >= 0.01 * len(one.test),
        )
    if "more rows" in words:
        fewest = min(
            (np.sum(one.truth == label) for label in set(one.truth.tolist())), default=0
        )
        faults.claim("next: there are enough rows", len(one.truth) < 100 or fewest < 20)


_CHECKS: dict[str, Callable[[Situation, str, Faults], None]] = {
    "skill": _skill,
    "constant": _over_constant,
    "baselines": _baselines,
    "features": _features,
    "leak": _leak_words,
    "nearly_perfect": _unchecked_words,
    "unseen": _unseen_words,
    "one_class": _one_class_words,
    "few_rows": _few_words,
    "rare": _rare_words,
    "never_predicted": _never_words,
    "in_order": _order_words,
    "duplicates": _duplicate_words,
    "skewed": _skewed_words,
    "worse": _worse_words,
    "finds": _finds_words,
    "worse_log_loss": _worse_log_loss,
    "calibration": _calibration_words,
    "drift": _drift_sentence,
    "cut": _cut_words,
    "together": _together_words,
    "dependence": _dependence_words,
    "related": _related_words,
    "impossible": _impossible_words,
    "next": _next_words,
}


def main(arguments: list[str] | None = None) -> int:
    """Draw situations, check their sentences, and return 1 if one is not true."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--quick", action="store_true", help="One situation of each kind."
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    record = Record("Every sentence of the verdict is true", options.seed)
    total = len(KINDS) if options.quick else SITUATIONS
    spoken: dict[str, int] = {}
    wrong: list[str] = []
    for place in range(total):
        kind = list(KINDS)[place % len(KINDS)]
        one = draw(kind, options.seed + place // len(KINDS))
        sentences = verdict(content_of(one))
        for sentence in sentences:
            spoken[sentence["facts"]["kind"]] = (
                spoken.get(sentence["facts"]["kind"], 0) + 1
            )
        wrong += [f"{kind} {place}: {fault}" for fault in check(one, sentences)]
    record.write(
        f"{total} situations of {len(KINDS)} kinds, {sum(spoken.values())} sentences "
        f"of {len(spoken)} kinds."
    )
    record.write(markdown_table(["sentence", "how often"], sorted(spoken.items())))
    for line in wrong[:40]:
        record.write(f"- {line}")
    record.floor(
        "kinds of sentences that were said",
        float(len(spoken)),
        len(_CHECKS) - 1,
        len(_CHECKS),
    )
    record.floor("claims that are not true", float(len(wrong)), 0, 0)
    if not options.quick:
        advised, failed = faults_of_advice()
        for line in failed:
            record.write(f"- {line}")
        record.floor("advised commands, run as printed", float(advised), 11, math.inf)
        record.floor(
            "tables whose advice is missing or ends in an error",
            float(len(failed)),
            0,
            0,
        )
    return record.close(None if options.quick else RESULTS / "verify_verdict.md")


if __name__ == "__main__":
    sys.exit(main())
