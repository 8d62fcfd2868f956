"""Realistic content for plots and reports: HELOC's names and effects of believable
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.cards import CardsSection
from permgrad.assess.sections.data import DataSection
from permgrad.assess.sections.network import (
    LayoutSection,
    NetworkSection,
    TrainingSection,
)
from permgrad.assess.sections.provenance import ProvenanceSection
from permgrad.assess.sections.rows import (
    ListedSection,
    LocalRows,
    RowSection,
    SimilarRows,
    nearest_rows,
)
from permgrad.assess.sections.together import TogetherSection
from permgrad.attribution.explanation import Explanation
from permgrad.evaluation.cards import Sample, feature_cards, pair_effects
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.skill import Predicted, skill

NAMES = [
    "ExternalRiskEstimate",
    "MSinceMostRecentInqexcl7days",
    "NetFractionRevolvingBurden",
    "NumSatisfactoryTrades",
    "AverageMInFile",
    "PercentTradesNeverDelq",
    "MSinceOldestTradeOpen",
    "PercentInstallTrades",
    "MSinceMostRecentDelq",
    "NumInqLast6M",
    "MaxDelq2PublicRecLast12M",
    "NumRevolvingTradesWBalance",
    "NumBank2NatlTradesWHighUtilization",
    "PercentTradesWBalance",
    "MSinceMostRecentTradeOpen",
    "MaxDelqEver",
    "NumTrades60Ever2DerogPubRec",
    "NetFractionInstallBurden",
    "NumTotalTrades",
    "NumInstallTradesWBalance",
    "NumTradesOpeninLast12M",
    "NumTrades90Ever2DerogPubRec",
    "NumInqLast6Mexcl7days",
]
HOSTILE = [
    "$\\frac{a}{b}$ price_of_$x$",
    "<script>alert('x')</script>",
    "</style><img src=x onerror=alert(1)>",
    "a very long name " * 12,
    "größe_in_µm_Ω",
    "名前 と 値",
    "{{ 7 * 7 }} {% raw %}",
    'quote" onmouseover="alert(2)',
    "line\nbreak\ttab\x07bell",
    "",
    "_^_$",
    "javascript:alert(3)",
]


def global_explanation(
    names=NAMES,
    classes=("Bad", "Good"),
    seed: int = 0,
    task: str = "classification",
    **changes,
) -> Explanation:
    rng = np.random.default_rng(seed)
    names = tuple(names)
    outputs = ("all", *classes) if task == "classification" else ("all",)
    count = len(names)
    size = (
        0.045
        * np.exp(-np.arange(count) / 3.2)[:, None]
        * rng.uniform(0.5, 1.5, (count, len(outputs)))
    )
    size[:, 0] = np.sort(size[:, 0])[::-1]
    values = size + rng.normal(0, 0.0003, size.shape)
    share = rng.uniform(0.35, 0.95, (count, 1))
    tabular = values * share + rng.normal(0, 0.0002, values.shape)
    std = 0.0005 + 0.07 * np.abs(values)
    fields = {
        "values": values,
        "names": names,
        "modality": ("table",) * count,
        "outputs": outputs,
        "method": "permgrad",
        "scope": "global",
        "std_error": std,
        "low": values - 1.96 * std,
        "high": values + 1.96 * std,
        "p_values": 2 * (1 - np.clip(np.abs(values) / std / 4, 0, 1)),
        "parts": {
            "tabular": tabular,
            "image": values - tabular,
            "interaction": -0.2 * values,
        },
        "additive": False,
        "branches": {
            "tabular": {
                "importance": 0.171,
                "std_error": 0.006,
                "ci_low": 0.159,
                "ci_high": 0.183,
                "share": 0.71,
                "alone": 0.19,
                "last": 0.152,
            },
            "image": {
                "importance": 0.07,
                "std_error": 0.005,
                "ci_low": 0.06,
                "ci_high": 0.08,
                "share": 0.29,
                "alone": 0.089,
                "last": 0.051,
            },
            "interaction": -0.038,
            "paper": {"tabular": 0.55, "image": 0.45},
        },
        "direction": {
            name: _direction(
                i, name, len(classes) if task == "classification" else 1, rng
            )
            for i, name in enumerate(names)
        },
        "meta": {
            "quantity": "increase of the loss",
            "unit": "nats per row",
            "seed": 0,
            "n_repeats": 10,
            "confidence": 0.95,
        },
    }
    return Explanation(**{**fields, **changes})


def _direction(i, name, outputs, rng):
    if i % 4 == 3:
        label = ["never", "within 30 days", "60 days", "unknown", "other"]
        mean = np.clip(0.5 + 0.1 * rng.normal(size=(5, outputs)), 0, 1)
        return {
            "kind": "levels",
            "at": list(range(5)),
            "label": label,
            "mean": _normalised(mean),
        }
    grid_points = np.linspace(0, 90, 9)
    slope = (-1) ** i * 0.3 / (1 + i)
    mean = np.repeat(
        (0.5 + slope * np.linspace(-1, 1, 9) + 0.01 * rng.normal(size=9))[:, None],
        outputs,
        axis=1,
    )
    return {
        "kind": "numeric",
        "at": grid_points.tolist(),
        "label": [f"{x:.0f}" for x in grid_points],
        "mean": _normalised(mean),
    }


def _normalised(mean):
    mean = mean.copy()
    if mean.shape[1] > 1:
        mean[:, 0] = 1 - mean[:, 1:].mean(axis=1)
        mean /= mean.sum(axis=1, keepdims=True)
    return mean.tolist()


def local_explanation(
    names=NAMES, classes=("Bad", "Good"), rows: int = 300, seed: int = 0, **changes
) -> Explanation:
    rng = np.random.default_rng(seed)
    names = tuple(names)
    count = len(names)
    X = rng.normal(size=(rows, count))
    slopes = 0.5 * np.exp(-np.arange(count) / 3.0) * (-1.0) ** np.arange(count)
    values = np.stack(
        [
            sign * (X * slopes + 0.1 * slopes * X**2)
            for sign in np.linspace(-1, 1, len(classes))
        ],
        axis=2,
    )
    frame = pd.DataFrame(60 + 20 * X, columns=list(names))
    if count > 3:
        frame[names[3]] = pd.Categorical(
            np.where(X[:, 3] > 0, "within 30 days of the statement", "never")
        )
        frame.loc[frame.index[::5], names[1]] = np.nan
    base = np.linspace(-0.2, 0.2, len(classes))
    heat = np.zeros((rows, 20, 20))
    heat[:, 4:10, 6:13] = rng.uniform(0, 1, (rows, 6, 7))
    images = np.zeros((rows, 20, 20))
    spots = rng.permutation(400)[:count]
    images.reshape(rows, 400)[:, spots[: min(count, 400)]] = rng.uniform(
        0.1, 1, (rows, min(count, 400))
    )
    fields = {
        "values": values,
        "names": names,
        "modality": ("table",) * count,
        "outputs": tuple(classes),
        "method": "integrated_gradients",
        "scope": "local",
        "additive": True,
        "feature_values": frame,
        "base_values": base,
        "predictions": base + values.sum(axis=1),
        "maps": {"cam": heat, "images": images},
        "meta": {"quantity": "attribution to the output", "unit": "logit"},
    }
    return Explanation(**{**fields, **changes})


def foreign_figure() -> str:
    """A drawing that somebody else made."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 20"><rect '
        'width="20" height="20"/></svg>'
    )


def constant_of(task: str, truth, predicted_values, classes=(), learned=None) -> dict:
    """What ``metrics.json`` holds of the constant: its scores, and whether a model that
    says this is ahead of it.

    ``learned`` are the shares of the classes, or the mean, of the training rows; None:
    those of the test rows.
    """
    if task == "regression":
        codes = np.asarray(truth, dtype=float)
        guess = np.full(len(truth), np.mean(truth) if learned is None else learned)
        scores = evaluate(task, codes, predictions=guess)
    else:
        codes = np.array([list(classes).index(label) for label in truth])
        counts = (
            np.bincount(codes, minlength=len(classes))
            if learned is None
            else np.asarray(learned)
        )
        guess = np.tile(counts / counts.sum(), (len(truth), 1))
        scores = evaluate(task, truth, probabilities=guess, classes=list(classes))
    compared = skill(
        task,
        Predicted(codes, np.asarray(predicted_values, dtype=float)),
        Predicted(codes, guess),
        seed=0,
    )
    return {**scores, **compared}


def report_content(
    names=NAMES,
    classes=("Bad", "Good"),
    task: str = "classification",
    title: str = "heloc",
    target: str = "RiskPerformance",
) -> Assessment:
    rng = np.random.default_rng(3)
    rows = 900
    if task == "classification":
        codes = rng.integers(len(classes), size=rows)
        logits = (
            rng.normal(size=(rows, len(classes))) + 1.3 * np.eye(len(classes))[codes]
        )
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        truth = np.asarray(classes, dtype=object)[codes]
        test = evaluate(
            "classification", truth, probabilities=probabilities, classes=list(classes)
        )
        predictions = Predictions(
            truth=truth, classes=tuple(classes), guess=probabilities
        )
        counts = pd.DataFrame(
            {"train": 4000, "validation": 1300, "test": np.bincount(codes)},
            index=list(classes),
        )
        constant = constant_of(
            task, truth, probabilities, classes, np.ones(len(classes))
        )
    else:
        truth = rng.normal(3, 5, rows)
        guess = truth + rng.normal(0, 3, rows)
        test = evaluate("regression", truth, predictions=guess)
        predictions = Predictions(truth=truth, guess=guess, training_mean=3.0)
        counts = None
        constant = constant_of(task, truth, guess, learned=3.0)
    metrics = {
        "task": task,
        "rows": {"train": 6275, "validation": 2092, "test": 2092},
        "validation": test,
        "test": test,
        "constant": constant,
        "baselines": {
            name: {
                **{k: (v * f if isinstance(v, float) else v) for k, v in test.items()},
                "fit_seconds": 3.2 * f,
            }
            for name, f in [
                ("random_forest", 0.985),
                ("extra_trees", 0.97),
                ("bagging", 0.95),
                ("lightgbm", 1.004),
            ]
        },
    }
    epochs = np.arange(1, 41)
    history = pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": 0.5
            + 0.3 * np.exp(-epochs / 6)
            + 0.005 * rng.normal(size=40)
            - 0.001 * epochs,
            "validation_loss": 0.53
            + 0.25 * np.exp(-epochs / 5)
            + 0.004 * rng.normal(size=40)
            + 0.0005 * epochs,
        }
    )
    columns = pd.DataFrame(
        {
            "name": list(names),
            "kind": ["numeric"] * (len(names) - 1) + ["categorical"],
            "missing": [0.05 * (i % 4) for i in range(len(names))],
            "levels": [20 + i for i in range(len(names))],
            "reason": ["more than 20 different numbers"] * len(names),
        }
    )
    explanation = global_explanation(names, classes, task=task)
    local = local_explanation(names, classes if task == "classification" else ("all",))
    local = replace(
        local, meta={**local.meta, "unit": "logit" if task == "classification" else "y"}
    )
    return Assessment(
        title=title,
        target=target,
        task=task,
        metrics=metrics,
        data=DataSection(
            rows=metrics["rows"],
            columns=columns,
            split="40 % off, then halved, stratified by class, seed 42",
            shared_rows=117,
            class_counts=counts,
            notes=["The codes −9, −8 and −7 count as missing in 23 columns."],
            card={"home": "FICO HELOC challenge; OpenML 45023", "licence": "research"},
        ),
        network=NetworkSection(
            preset="default",
            branches=("tabular", "image"),
            parameters=184_322,
            summary=pd.DataFrame(
                {
                    "part": ["tabular", "image", "image", "head"],
                    "layer": [
                        "Linear 128",
                        "Conv 3×3, 32",
                        "Conv 3×3, 64",
                        "Linear 128",
                    ],
                    "shape": ["(128,)", "(32, 10, 10)", "(64, 5, 5)", "(2,)"],
                    "parameters": [5760, 320, 18496, 33026],
                }
            ),
            options={"dropout": 0.1, "activation": "relu", "fusion_units": [128, 128]},
        ),
        training=TrainingSection(
            history=history, best_epoch=25, seconds=48.3, loss="cross-entropy (nats)"
        ),
        predictions=predictions,
        explanation=explanation,
        paper=global_explanation(
            names, classes, seed=4, task=task, method="permgrad_paper"
        ),
        local=local,
        rows=[
            RowSection(
                explanation=local,
                row=k,
                title=f"Test row {k}",
                image=local.maps["images"][k],
                heat=local.maps["cam"][k],
                heat_title="Grad-CAM of the last convolution",
            )
            for k in range(2)
        ],
        layout=LayoutSection(
            drawing=foreign_figure(),
            name="assignment",
            pixels=20,
            text="No two features share a pixel; neighbours are related.",
        ),
        provenance=ProvenanceSection(
            command="permgrad run heloc --baselines --seed 0",
            seed=0,
            versions={
                "permgrad": "0.1.0",
                "python": "3.11.9",
                "torch": "2.13",
                "numpy": "2.4",
            },
            machine="2 processor threads, no accelerator",
            configuration={"preset": "default", "seed": 0, "threads": 2},
            configuration_hash="b3f2a0c9",
        ),
        warnings=[
            (
                "117 test rows also stand in the training rows; the test metrics may "
                "be too good."
            )
        ],
    )


def with_answers(
    content: Assessment, rows: int = 60, names: Sequence[str] | None = None
) -> Assessment:
    """Add what the tabs Features and Rows show: cards of features and listed rows, all
    of the local explanation.
    """
    rng = np.random.default_rng(1)
    local = content.local
    names = list(local.names) if names is None else list(names)
    classes = (
        None
        if content.task == "regression"
        else list(map(str, content.predictions.classes))
    )
    table = local.feature_values.iloc[:rows][names]
    codes = rng.integers(2 if classes is None else len(classes), size=rows)
    truth = rng.normal(3, 1, rows) if classes is None else codes
    predicted = (
        rng.normal(3, 1, (rows, 1))
        if classes is None
        else rng.dirichlet(np.ones(len(classes)), rows)
    )
    outputs = (
        [0]
        if classes is None
        else [1]
        if len(classes) == 2
        else list(range(len(classes)))
    )
    outcome = (
        truth[:, None]
        if classes is None
        else (codes[:, None] == np.arange(len(classes)))[:, outputs] * 1.0
    )
    sample = Sample(
        raw=table,
        table=table,
        outcome=outcome,
        predicted=predicted[:, outputs],
        numbers={},
    )

    def predict(row_positions, changed):
        numbers = changed.select_dtypes("number").fillna(0).to_numpy()
        return (
            1 / (1 + np.exp(-(numbers - 60) / 20))[:, : len(outputs)]
            + 0.001 * row_positions[:, None]
        )

    cards, curves = feature_cards(
        sample, content.explanation.ranking(), np.arange(5), predict
    )
    numbers = np.arange(rows) * 3
    near, distance = nearest_rows(rng.normal(size=(rows, 4)), rng.normal(size=(8, 4)))
    similar = SimilarRows(
        near=near, distance=distance, beside=(np.arange(rows)[:, None] + [1, 2]) % rows,
        beside_distance=np.ones((rows, 2)), numbers=np.arange(8) + 1000, truth=truth[:8], table=table.iloc[:8, :3],
        searched=8, of=4000,
    )  # fmt: skip
    explained = local_explanation(local.names, local.outputs, rows=rows // 2, maps={})
    content.listed = ListedSection(
        table=table, numbers=numbers, random=np.arange(rows) % 4 > 0, truth=truth, predicted=predicted, classes=classes,
        rows=900, similar=similar, local=[LocalRows(explanation=explained, numbers=numbers[: rows // 2])],
        identifiers=pd.DataFrame({"customer": [f"c{k}" for k in range(rows)]}),
    )  # fmt: skip
    shown = None if classes is None else [classes[k] for k in outputs]
    content.cards = CardsSection(
        cards=cards,
        curves=curves,
        classes=shown,
        rows=rows,
        features=len(local.names),
        curve_rows=numbers[:5],
    )
    return content


def pairs_explanation(names=NAMES[:6], seed: int = 2) -> Explanation:
    """Features and their pairs.

    The first pair works together, the second pair can stand in for each other.
    """
    rng = np.random.default_rng(seed)
    count = len(names)
    members = [(feature_index,) for feature_index in range(count)] + list(
        combinations(range(count), 2)
    )
    values = np.concatenate(
        [0.05 - 0.005 * np.arange(count), rng.normal(0, 0.0004, len(members) - count)]
    )[:, None]
    values[[count, count + 1]] = [[-0.02], [0.01]]
    std = np.full(values.shape, 0.0005)
    pairs = len(members) - count
    return global_explanation(
        tuple(" × ".join(names[feature_index] for feature_index in member) for member in members), (), task="regression",
        values=values, std_error=std, low=values - 2 * std, high=values + 2 * std, members=tuple(members),
        p_values=np.where(np.abs(values) > 4 * std, 1e-6, 0.4), parts={}, branches=None, direction=None,
        meta={"quantity": "increase of the loss", "unit": "nats per row", "confidence": 0.95, "interactions": {
            "order": 2, "kind": "loss", "index": "Moebius", "candidates": pairs, "looked_at": pairs, "left_out": 0}},
    )  # fmt: skip


def modalities_explanation() -> Explanation:
    """Two inputs that work together, and one that adds nothing."""
    pairs = pairs_explanation(("image", "table", "note"))
    alone, last = (
        np.array([[interval_end], [0.02], [0.0], *[[np.nan]] * 3])
        for interval_end in (0.06, 0.04)
    )
    return replace(pairs, parts={"alone": alone, "last": last}, groups="modality")


def with_together(content: Assessment) -> Assessment:
    """Add what the tab Together shows: pairs of the first features, effects of two, and
    parts of two modalities.
    """
    names = [name for name in content.local.names if name.strip()][:6]
    pairs = pairs_explanation(names)
    table = content.local.feature_values.iloc[:60][names]
    sample = Sample(
        raw=table,
        table=table,
        outcome=np.zeros((0, 0)),
        predicted=np.zeros((0, 0)),
        numbers={},
    )

    def predict(_, changed):
        ranks = (
            np.stack(
                [pd.factorize(changed[name], sort=True)[0] for name in names[:3]],
                axis=1,
            )
            / 8
        )
        return 0.2 + 0.5 * (ranks[:, :1] * ranks[:, 1:2]) + 0.1 * ranks[:, 2:]

    effects = pair_effects(
        sample, [(names[0], names[1]), (names[0], names[2])], np.arange(10), predict
    )
    classes = (
        None if content.task == "regression" else [str(content.predictions.classes[-1])]
    )
    content.together = TogetherSection(
        pairs=pairs,
        effects=effects,
        classes=classes,
        modalities=modalities_explanation(),
    )
    return content


@pytest.fixture(name="explanation")
def _explanation() -> Explanation:
    return global_explanation()


@pytest.fixture(name="local")
def _local() -> Explanation:
    return local_explanation()


@pytest.fixture(name="content")
def _content() -> Assessment:
    return report_content()
