"""Situations for ``verify_verdict``: rows, what models predict for them, and what a
verdict must and must not say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from permgrad import Explanation
from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.beside_data import leakage_hint
from permgrad.assess.sections.data import DataSection
from permgrad.assess.sections.provenance import ProvenanceSection
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.dependence import Dependence
from permgrad.data.splitting import are_expected
from permgrad.evaluation.class_order import classes_in_order, with_kappa
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.kept_together import rows_together
from permgrad.evaluation.leaks import columns_that_tell
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.related import related
from permgrad.evaluation.segments import find_segments
from permgrad.evaluation.skill import Predicted, against_others, skill
from permgrad.evaluation.thresholds import never_predicted

FEATURES = [f"x{place}" for place in range(6)]
LABELS = {"random_forest": "random forest", "linear": "logistic or ridge regression"}
Array = np.ndarray[Any, Any]


@dataclass
class Situation:
    """Rows, what models predict for them, and the sentences that a verdict must and
    must not have.

    ``guess`` and the baselines' predictions are ``(rows,)`` of numbers or ``(rows,
    classes)`` of probabilities.
    """

    kind: str
    task: str
    train: pd.DataFrame
    test: pd.DataFrame
    learned: Array
    truth: Array
    guess: Array
    classes: list[str]
    values: Array
    p_values: Array
    baselines: dict[str, Array] = field(default_factory=dict)
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    unchecked: str = ""
    cut: tuple[str, ...] = ()
    groups: Array | None = None
    learned_groups: Array | None = None
    time: Array | None = None
    persons: Array | None = None


# ---- the situations ------------------------------------------------------------------
def draw(kind: str, seed: int) -> Situation:
    """Draw a situation of a kind."""
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    return KINDS[kind](kind, rng)


def _tables(
    rng: np.random.Generator, train: int, test: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    both = [
        pd.DataFrame(rng.normal(size=(rows, len(FEATURES))), columns=FEATURES)
        for rows in (train, test)
    ]
    return both[0], both[1]


def _importances(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return importances and p-values, some of them clear."""
    clear = rng.integers(0, len(FEATURES) + 1)
    values = np.sort(rng.gamma(1.0, 0.05, len(FEATURES)))[::-1]
    p_values = np.where(
        np.arange(len(FEATURES)) < clear,
        rng.uniform(0, 0.004, len(FEATURES)),
        rng.uniform(0.1, 1),
    )
    return values, p_values


def _softmax(logits: Array) -> Array:
    table = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(table / table.sum(axis=1, keepdims=True))


def _classified(
    kind: str,
    rng: np.random.Generator,
    *,
    rows: tuple[int, int] = (600, 400),
    shares: tuple[float, ...] = (0.5, 0.5),
    skill_of: float = 1.5,
    sharper: float = 1.0,
    **more: Any,
) -> Situation:
    """Classes drawn from calibrated probabilities, which ``sharper`` makes
    overconfident.
    """
    classes = [f"class {chr(ord('a') + place)}" for place in range(len(shares))]
    train, test = _tables(rng, *rows)
    tables = [
        skill_of * rng.normal(size=(count, len(shares))) + np.log(shares)
        for count in rows
    ]
    drawn = [
        np.array([rng.choice(len(shares), p=row) for row in _softmax(table)])
        for table in tables
    ]
    labels = np.asarray(classes, dtype=object)
    values, p_values = _importances(rng)
    logits = (
        tables[1]
        if skill_of
        else rng.normal(scale=0.4, size=tables[1].shape) + np.log(shares)
    )
    guess = _softmax(sharper * logits)
    return Situation(
        kind,
        "classification",
        train,
        test,
        labels[drawn[0]],
        labels[drawn[1]],
        guess,
        classes,
        values,
        p_values,
        **more,
    )


def _regression(
    kind: str,
    rng: np.random.Generator,
    noise: float = 0.6,
    rows: int = 400,
    **more: Any,
) -> Situation:
    train, test = _tables(rng, 600, rows)
    scale = 10.0 ** rng.integers(-3, 6)
    truths = [
        scale * (7 + table["x0"] + 0.5 * table["x1"]).to_numpy()
        for table in (train, test)
    ]
    guess = truths[1] + scale * noise * rng.normal(size=rows)
    values, p_values = _importances(rng)
    return Situation(
        kind,
        "regression",
        train,
        test,
        truths[0],
        truths[1],
        guess,
        [],
        scale**2 * values,
        p_values,
        **more,
    )


def _with_baselines(
    one: Situation, rng: np.random.Generator, gains: tuple[float, float]
) -> Situation:
    """Add two baselines: the model's predictions mixed with noise, or with the truth
    where a gain is above 0.
    """
    for name, gain in zip(LABELS, gains, strict=True):
        if one.task == "regression":
            error = one.guess - one.truth
            one.baselines[name] = (
                one.truth
                + error * (1 - gain)
                + 0.02 * error.std() * rng.normal(size=len(error))
            )
            continue
        right = (one.truth[:, None] == np.asarray(one.classes)).astype(float)
        noise = _softmax(rng.normal(size=one.guess.shape))
        toward, share = (right, gain) if gain > 0 else (noise, -gain)
        one.baselines[name] = (1 - share) * one.guess + share * toward
    return one


def _leak(kind: str, rng: np.random.Generator) -> Situation:
    one = _regression(kind, rng, 0.3) if rng.random() < 0.5 else _classified(kind, rng)
    for table, target in ((one.train, one.learned), (one.test, one.truth)):
        copy = (
            2.5 * target
            if one.task == "regression"
            else pd.factorize(target, sort=True)[0] + 0.0
        )
        table["copy"] = np.asarray(copy, dtype=np.float64)
    one.must = ("leak",)
    return one


def _filled(kind: str, rng: np.random.Generator) -> Situation:
    """One class alone has a value, which differs in nearly every row: a code, a date, a
    text.
    """
    shares = (0.6, 0.4) if rng.random() < 0.7 else (0.4, 0.35, 0.25)
    one, way = _classified(kind, rng, shares=shares), rng.integers(0, 3)
    for table, target in ((one.train, one.learned), (one.test, one.truth)):
        days = (
            pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 900, len(table)), unit="D")
        ).astype(str)
        codes = np.array([f"K{number}" for number in rng.integers(0, 9999, len(table))])
        texts = np.array(
            [
                f"{' '.join(rng.choice(list('abcdef'), 4))} closed"
                for _ in range(len(table))
            ]
        )
        table["copy"] = np.where(
            target == one.classes[-1], (codes, days, texts)[way], None
        )
    one.must = ("leak",)
    return one


def _made_of(kind: str, rng: np.random.Generator) -> Situation:
    """The target is a sum, difference, product or ratio of two or three columns."""
    one, way = _regression(kind, rng, 0.4), rng.integers(0, len(FORMULAS))
    for table in (one.train, one.test):
        table[FEATURES[3:]] = rng.lognormal(2, 0.8, (len(table), 3)).round(2)
    formula = list(FORMULAS.values())[way]
    one.learned, one.truth = (
        formula(table).to_numpy() for table in (one.train, one.test)
    )
    one.guess = one.truth + 0.4 * one.truth.std() * rng.normal(size=len(one.truth))
    one.values = one.values / one.values.max() * one.truth.var() / 2
    one.must = ("leak",)
    return one


def _too_rare(kind: str, rng: np.random.Generator) -> Situation:
    """So few test rows of a class that a model can hardly be shown to be better than a
    constant.
    """
    one = _classified(
        kind,
        rng,
        rows=(900, int(rng.integers(40, 300))),
        shares=(0.97, 0.03),
        skill_of=0.8,
    )
    one.truth = np.where(
        np.arange(len(one.truth)) < rng.integers(1, 5), one.classes[1], one.classes[0]
    ).astype(object)
    one.must, one.must_not = ("features",), ("leak",)
    return one


def _unsure(kind: str, rng: np.random.Generator) -> Situation:
    """The largest importance may be chance, and smaller ones are not."""
    one = _classified(kind, rng)
    one.values = np.array([0.5, *0.05 * rng.random(len(FEATURES) - 1)])
    one.p_values = np.array(
        [rng.uniform(0.06, 0.5), *rng.uniform(0, 0.004, len(FEATURES) - 1)]
    )
    return one


def _chain(kind: str, rng: np.random.Generator) -> Situation:
    """Neighbouring columns are related, and distant ones are not."""
    one = _regression(kind, rng)
    for table in (one.train, one.test):
        table[FEATURES[1:]] = (
            0.5 * table[FEATURES[1:]].to_numpy() + 0.7 * table[FEATURES[:-1]].to_numpy()
        )
    one.values, one.p_values = np.sort(one.values)[::-1], np.full(len(FEATURES), 1e-4)
    one.must = ("related",)
    return one


def _spectrum(kind: str, rng: np.random.Generator) -> Situation:
    """Three columns are nearly equal, and the model lives on their differences: without
    one it is far off.
    """
    one = _regression(kind, rng)
    for table in (one.train, one.test):
        table[FEATURES[1:3]] = (
            table[["x0"]].to_numpy() + 0.05 * table[FEATURES[1:3]].to_numpy()
        )
    one.values = one.truth.var() * np.array([4.0, 3.0, 2.0, 0.01, 0.01, 0.01])
    one.p_values = np.array([1e-4] * 3 + [0.4] * 3)
    one.must = ("impossible",)
    one.must_not = ("related",)
    return one


def _patients(kind: str, rng: np.random.Generator) -> Situation:
    """Rows that repeat patients: columns, target and errors are partly those of the
    patient.
    """
    one = _regression(kind, rng) if rng.random() < 0.5 else _classified(kind, rng)
    each = int(rng.choice([5, 10, 20]))
    for table in (one.train, one.test):
        patient = np.arange(len(table)) // each
        for name in FEATURES[:4]:
            table[name] = rng.normal(size=len(table))[patient] + 0.3 * rng.normal(
                size=len(table)
            ) * (name == "x3")
    one.groups, one.learned_groups = (
        np.arange(len(table)) // each for table in (one.test, one.train)
    )
    if one.task == "regression":
        own = rng.normal(size=(2, len(one.test)))[:, one.groups]
        one.truth = one.learned.mean() + one.learned.std() * own[0]
        one.guess = one.truth + one.learned.std() * rng.choice([0.3, 1.0, 1.6]) * own[1]
    else:
        first = one.groups * each
        one.truth, one.guess = one.truth[first], one.guess[first]
    one.must = ("dependence",)
    return one


def _series(kind: str, rng: np.random.Generator) -> Situation:
    """Rows that follow each other in time, with errors that last."""
    one = _regression(kind, rng)
    walk = np.convolve(
        rng.normal(size=len(one.test) + 19), np.ones(20) / 20**0.5, "valid"
    )
    one.guess = one.truth + one.learned.std() * rng.choice([0.3, 1.2]) * walk
    one.time, one.must = np.arange(float(len(one.test))), ("dependence",)
    return one


def _persons(kind: str, rng: np.random.Generator) -> Situation:
    """Persons have several rows, alike in columns and target, on both sides."""
    one, each = _classified(kind, rng, skill_of=1.0), int(rng.choice([2, 3, 5]))
    rows = len(one.train) + len(one.test)
    one.persons = rng.permutation(np.arange(rows) // each)
    own, first = rng.normal(size=(rows, len(FEATURES))), len(one.train)
    for table, persons in (
        (one.train, one.persons[:first]),
        (one.test, one.persons[first:]),
    ):
        table[FEATURES] = own[persons] + 0.01 * rng.normal(size=table[FEATURES].shape)
    labels = np.asarray(one.classes, dtype=object)[rng.integers(0, 2, rows)][
        one.persons
    ]
    one.learned, one.truth = labels[:first], labels[first:]
    one.must, one.must_not = ("together",), ("leak",)
    return one


def _perfect(kind: str, rng: np.random.Generator) -> Situation:
    """A nearly perfect model, where no column gives the target away."""
    one = _unchecked(kind, rng, perfect=True)
    one.unchecked = ""
    return one


def _cut(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng)
    one.cut = (
        "training after 1 of 4 epochs",
        "explanation: 393 rows instead of 1,200",
    )[: rng.integers(1, 3)]
    one.must = ("cut",)
    return one


def _unchecked(kind: str, rng: np.random.Generator, *, perfect: bool) -> Situation:
    """A nearly perfect model, or one that is not, without training rows to look for the
    reason.
    """
    if rng.random() < 0.5:
        one = _regression(kind, rng, 0.02 if perfect else 0.6)
    else:
        one = _classified(kind, rng, skill_of=60.0 if perfect else 1.0)
    one.unchecked = "train"
    one.must, one.must_not = (
        (("nearly_perfect",), ("leak",))
        if perfect
        else ((), ("leak", "nearly_perfect"))
    )
    return one


def _drift(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng)
    if rng.random() < 0.5:
        one.test["x2"] += 1.0
    else:
        for table, share in ((one.train, 0.2), (one.test, 0.6)):
            table["x2"] = np.where(
                rng.random(len(table)) < share,
                "new",
                rng.choice(["old", "older"], len(table)),
            )
    one.must = ("drift",)
    return one


def _dummies(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng, shares=(0.4, 0.3, 0.3))
    left = int(rng.integers(0, 2))
    for table, target in ((one.train, one.learned), (one.test, one.truth)):
        for place, label in enumerate(one.classes[left:]):
            table[f"mark{place}"] = np.where(target == label, 1.0, 0.0)
    one.must = ("leak",)
    return one


def _one_class(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng, rows=(500, int(rng.integers(60, 500))))
    one.truth = np.full(len(one.truth), one.classes[0], dtype=object)
    one.must, one.must_not = (
        ("one_class",),
        ("rare", "constant", "calibration", "few_rows", "nearly_perfect"),
    )
    return one


def _rare(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(
        kind, rng, rows=(900, 500), shares=(0.6, 0.38, 0.02), skill_of=0.8
    )
    labels = np.where(one.truth == one.classes[2], one.classes[0], one.truth)
    labels[:7] = one.classes[2]
    one.truth, one.must = labels, ("rare",)
    return one


def _ordered(kind: str, rng: np.random.Generator, *, named: bool) -> Situation:
    """Scores that follow a feature, or the same classes with numbers that only name
    them.
    """
    # Fewer than five classes are never called ordered: chance orders them too often.
    one, count = _classified(kind, rng, shares=(0.2,) * 5), 5
    one.classes = [str(place + 1) for place in range(count)]
    numbers = np.array([3, 1, 5, 2, 4] if named else [1, 2, 3, 4, 5])
    for part, table in (("learned", one.train), ("truth", one.test)):
        level = table["x0"] + rng.normal(scale=0.8, size=len(table))
        setattr(
            one,
            part,
            numbers[np.digitize(level, [-1.2, -0.4, 0.4, 1.2])]
            .astype(str)
            .astype(object),
        )
    near = _softmax(
        -((one.test["x0"].to_numpy()[:, None] - [-1.6, -0.8, 0.0, 0.8, 1.6]) ** 2)
    )
    one.guess = near[:, np.argsort(numbers)]
    one.must, one.must_not = ((), ("in_order",)) if named else (("in_order",), ())
    return one


def _never(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng, shares=(0.88, 0.12), skill_of=0.4)
    one.guess = np.column_stack(
        [np.maximum(one.guess[:, 0], 0.51), np.minimum(one.guess[:, 1], 0.49)]
    )
    one.must = ("never_predicted",)
    return one


def _unseen(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng)
    one.truth[: rng.integers(1, 9)] = "class z"
    one.must = ("unseen",)
    return one


def _duplicates(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng)
    count = int(rng.integers(1, 60))
    if rng.random() < 0.5:  # some of the copies have no value
        one.train.iloc[: int(rng.integers(1, count + 1))] = np.nan
    one.test.iloc[:count] = one.train.iloc[:count].to_numpy()
    one.truth[:count] = one.learned[:count]
    one.must = ("duplicates",) if one.test.iloc[:count].notna().any(axis=None) else ()
    return one


def _overconfident(kind: str, rng: np.random.Generator) -> Situation:
    one = _classified(kind, rng, rows=(600, 1500), sharper=3.5, skill_of=1.0)
    one.must = ("calibration",)
    return one


def _harder(kind: str, rng: np.random.Generator) -> Situation:
    """One quarter of the rows is predicted badly."""
    one = (
        _regression(kind, rng, 0.2)
        if rng.random() < 0.5
        else _classified(kind, rng, rows=(600, 800), skill_of=3.0)
    )
    low = (one.test["x3"] < one.test["x3"].quantile(0.25)).to_numpy()
    if one.task == "regression":
        one.guess = np.where(low, one.truth + 4 * (one.guess - one.truth), one.guess)
    else:
        one.guess[low] = rng.permutation(one.guess[low])
    one.must = ("worse",)
    return one


def _no_skill(kind: str, rng: np.random.Generator) -> Situation:
    if rng.random() < 0.5:
        return _classified(kind, rng, skill_of=0, must_not=("constant",))
    one = _regression(kind, rng, must_not=("constant",))
    one.guess = rng.permutation(one.guess)
    return one


def _skewed(kind: str, rng: np.random.Generator) -> Situation:
    """A few values are far larger, or smaller, than all others, and so are their
    errors.
    """
    one, side = _regression(kind, rng), rng.choice([-1, 1])
    sizes = [np.exp(1.6 * table["x0"].to_numpy()) for table in (one.train, one.test)]
    one.learned, one.truth = (
        side * size * np.exp(0.3 * rng.normal(size=len(size))) for size in sizes
    )
    one.guess = side * sizes[1]
    one.values = one.values / one.values.max() * one.truth.var() / 2
    first = np.argsort(side * one.truth)[-8:]
    errors = (one.truth - one.guess) ** 2
    one.must, one.must_not = (
        (("skewed",), ()) if errors[first].sum() > 0.55 * errors.sum() else ((), ())
    )
    return one


def _crossed(kind: str, rng: np.random.Generator) -> Situation:
    """Two categories together determine the class, as genus and species do.

    Each alone does not.
    """
    one, count = (
        _classified(kind, rng, rows=(900, 400), shares=(0.4, 0.3, 0.3)),
        int(rng.integers(4, 8)),
    )
    table_of = rng.permuted(np.arange(3 * count) % 3).reshape(3, count)
    for table, target in ((one.train, one.learned), (one.test, one.truth)):
        classes = np.array([one.classes.index(label) for label in target])
        first = rng.integers(0, 3, len(table))
        second = [rng.choice(np.flatnonzero(table_of[row] == label)) if (table_of[row] == label).any() else -1
                  for row, label in zip(first, classes, strict=True)]  # fmt: skip
        table["first"] = [
            f"g{row}" if other >= 0 else f"of {label}"
            for row, other, label in zip(first, second, classes, strict=True)
        ]
        table["second"] = [f"s{other}" if other >= 0 else "none" for other in second]
    return one


def _coarse(kind: str, rng: np.random.Generator) -> Situation:
    """Rows of a few coarse columns are equal by chance."""
    one = _classified(kind, rng, must_not=("duplicates",))
    for table in (one.train, one.test):
        table[FEATURES] = rng.integers(0, 2, (len(table), len(FEATURES))).astype(float)
    return one


#: What a target can be made of.
FORMULAS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "'x3' + 'x4'": lambda table: table["x3"] + table["x4"],
    "'x4' − 'x3'": lambda table: table["x4"] - table["x3"],
    "'x3' × 'x5'": lambda table: table["x3"] * table["x5"],
    "'x5' / 'x4'": lambda table: table["x5"] / table["x4"],
    "'x3' + 'x4' + 'x5'": lambda table: table["x3"] + table["x4"] + table["x5"],
    "('x3' − 'x4') / 'x3'": lambda table: (table["x3"] - table["x4"]) / table["x3"],
}

KINDS: dict[str, Callable[[str, np.random.Generator], Situation]] = {
    "good classes": _classified,
    "good numbers": _regression,
    "many classes": lambda kind, rng: _classified(
        kind, rng, shares=(0.3, 0.2, 0.2, 0.15, 0.15), skill_of=2.0
    ),
    "uneven classes": lambda kind, rng: _classified(
        kind, rng, rows=(600, 900), shares=(0.95, 0.05)
    ),
    "calibrated": lambda kind, rng: _classified(
        kind, rng, rows=(600, 3000), must_not=("calibration",)
    ),
    "overconfident": _overconfident,
    "no skill": _no_skill,
    "leak": _leak,
    "perfect, without training rows": lambda kind, rng: _unchecked(
        kind, rng, perfect=True
    ),
    "without training rows": lambda kind, rng: _unchecked(kind, rng, perfect=False),
    "tie": lambda kind, rng: _with_baselines(
        _classified(kind, rng), rng, (-0.02, -0.03)
    ),
    "behind": lambda kind, rng: _with_baselines(
        _regression(kind, rng), rng, (0.4, 0.1)
    ),
    "ahead": lambda kind, rng: _with_baselines(
        _classified(kind, rng), rng, (-0.5, -0.7)
    ),
    "rare": _rare,
    "never predicted": _never,
    "whole numbers in an order": lambda kind, rng: _ordered(kind, rng, named=False),
    "whole numbers that name": lambda kind, rng: _ordered(kind, rng, named=True),
    "unseen": _unseen,
    "one class": _one_class,
    "dummies": _dummies,
    "few rows": lambda kind, rng: _classified(
        kind, rng, rows=(200, int(rng.integers(5, 99))), must=("few_rows",)
    ),
    "few numbers": lambda kind, rng: _regression(
        kind, rng, rows=int(rng.integers(5, 99)), must=("few_rows",)
    ),
    "drift": _drift,
    "duplicates": _duplicates,
    "harder group": _harder,
    "filled for one class": _filled,
    "made of columns": _made_of,
    "too rare to tell": _too_rare,
    "the largest is unsure": _unsure,
    "a chain of columns": _chain,
    "waves of a spectrum": _spectrum,
    "cut by the limit": _cut,
    "patients": _patients,
    "persons on both sides": _persons,
    "perfect": _perfect,
    "a series": _series,
    "a few large values": _skewed,
    "two categories": _crossed,
    "coarse columns": _coarse,
}


def content_of(one: Situation) -> Assessment:
    """Return the report's content of a situation, made as in a run."""
    regression = one.task == "regression"
    known = np.asarray(one.classes, dtype=object)
    positive = one.classes[1] if len(one.classes) == 2 else None
    codes = (
        one.truth if regression else pd.Index(known).get_indexer(pd.Index(one.truth))
    )
    constant_guess = constant_of(one)

    def measure(guess: Array) -> dict[str, Any]:
        if regression:
            return evaluate("regression", one.truth, predictions=guess)
        return evaluate(
            "classification",
            one.truth,
            probabilities=guess,
            classes=known,
            positive=positive,
        )

    ours = Predicted(codes, one.guess)
    between = None if one.groups is None else Dependence(one.groups, name="patient")
    if one.time is not None:
        between = Dependence(
            np.unique(one.time, return_inverse=True)[1], timed=True, name="day"
        )
    constant = Predicted(codes, constant_guess)
    compared = skill(one.task, ours, constant, seed=0, dependence=between)  # type: ignore[arg-type]
    metrics: dict[str, Any] = {
        "task": one.task,
        "rows": {"train": len(one.train), "validation": 100, "test": len(one.test)},
        "test": measure(one.guess),
        "constant": {**measure(constant_guess), **(compared or {})},
        "baselines": {name: measure(guess) for name, guess in one.baselines.items()},
    }
    theirs = {name: Predicted(codes, guess) for name, guess in one.baselines.items()}
    for name, facts in against_others(ours, theirs, seed=0).items():
        metrics["baselines"][name]["ahead"] = facts
    counts = None
    if not regression:
        labels = [int(label) if label.isdigit() else label for label in one.classes]
        order = classes_in_order(
            labels,
            (codes, one.guess),
            (one.train, pd.Index(known).get_indexer(one.learned)),
        )
        if order is not None:
            metrics |= {"in_order": order, "test": with_kappa(metrics["test"])}
        metrics["never_predicted"] = never_predicted(
            known, (one.truth, one.guess), (one.truth, one.guess)
        )
        labels = sorted({*one.classes, *one.truth.tolist()})
        counts = pd.DataFrame(
            {"train": [int(np.sum(one.learned == label)) for label in labels]},
            index=labels,
        )
    shared = pd.concat(
        [one.test.assign(y=one.truth), one.train.assign(y=one.learned)]
    ).duplicated(keep=False)
    pairs = set(
        map(tuple, one.train.assign(y=one.learned).astype(str).to_numpy().tolist())
    )
    rows = one.test.assign(y=one.truth).astype(str).to_numpy().tolist()
    both = np.array([tuple(row) in pairs for row in rows]) & bool(shared.any())
    learned_in = None if one.learned_groups is None else Dependence(one.learned_groups)
    together = None
    if one.persons is not None:
        both_parts = pd.concat([one.train, one.test]).assign(person=one.persons)
        learned = np.arange(len(both_parts)) < len(one.train)
        targets = np.concatenate([one.learned, one.truth])
        together = rows_together(
            both_parts, targets, one.task, learned, ~learned, FEATURES, ["person"]
        )  # type: ignore[arg-type]
    data = DataSection(
        rows=metrics["rows"],
        together=None if together is None else together.facts(),
        class_counts=counts,
        shared_rows=int(both.sum()),
        shared_expected=are_expected(
            one.train.assign(y=one.learned),
            one.test.assign(y=one.truth),
            int(both.sum()),
        ),
        blank_rows=int((both & one.test.isna().all(axis=1).to_numpy()).sum()),
        leaks=[]
        if one.unchecked
        else columns_that_tell(
            (one.train, one.learned), (one.test, one.truth), one.task
        ),  # type: ignore[arg-type]
        drift=compare_parts(
            one.train, one.test, dependence=Dependence.of_both(learned_in, between)
        )["drift"],
        unchecked=one.unchecked,
    )
    explanation = Explanation(
        values=one.values[:, None],
        names=tuple(FEATURES),
        modality=("table",) * len(FEATURES),
        outputs=("all",),
        method="permgrad",
        scope="global",
        p_values=one.p_values[:, None],
        meta={
            "quantity": "increase of the loss",
            "loss": "squared_error" if regression else "cross_entropy",
        },
    )
    first = clearly_matter(explanation)
    predictions = Predictions(
        truth=one.truth, classes=tuple(one.classes), guess=one.guess
    )
    return Assessment(
        title="table",
        target="y",
        task=one.task,  # type: ignore[arg-type]
        metrics=metrics,
        data=data,
        predictions=predictions,
        explanation=explanation,
        positive=positive,
        segments=find_segments(one.test, ours, positive=1, dependence=between),
        dependence=between,
        reading={"leakage": leakage_hint(explanation, {})},
        related=related(one.train, first, first)[0] if first else (),
        provenance=ProvenanceSection(command="permgrad run t", cut=one.cut)
        if one.cut
        else None,
    )


def constant_of(one: Situation) -> Array:
    """Return what a constant predicts that knows the training rows' target alone."""
    if one.task == "regression":
        return np.full(len(one.truth), one.learned.mean())
    return np.tile(
        [np.mean(one.learned == label) for label in one.classes], (len(one.truth), 1)
    )
