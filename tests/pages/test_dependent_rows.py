"""Rows that repeat a patient: what the page says of errors, probabilities and levels
counts patients, not rows.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.beside_data import CHANCE, explained_share
from permgrad.base.dependence import Dependence
from permgrad.evaluation.calibration import ClassCurve, reliability
from permgrad.evaluation.levels import level_table, levels_of
from permgrad.pages.charts.error_charts import calibration
from permgrad.pages.tabs import decisions
from permgrad.pages.views import SectionView

PATIENTS = 40
VISITS = 5
WHO = Dependence(np.repeat(np.arange(PATIENTS), VISITS), name="patient")


def visits(values: np.ndarray) -> np.ndarray:
    return np.repeat(values, VISITS)


def test_the_mean_error_is_as_uncertain_as_that_of_as_many_patients():
    error = visits(np.random.default_rng(0).normal(size=PATIENTS))
    scored = Predictions(truth=error, guess=np.zeros(len(error)))

    def doubt(dependence: Dependence | None) -> float:
        section = SectionView("errors", "")
        decisions.errors(
            section,
            Assessment(
                title="t",
                target="y",
                task="regression",
                predictions=scored,
                dependence=dependence,
            ),
        )
        return float(re.search(r"± ([\d.]+)\)", str(section.blocks))[1])

    assert doubt(WHO) == pytest.approx(
        doubt(None) * np.sqrt(VISITS) * 2.02 / 1.96, rel=0.03
    )


def test_the_band_of_a_reliability_curve_is_wider():
    rng = np.random.default_rng(1)
    chance = rng.uniform(size=PATIENTS)
    truth = visits(np.where(rng.uniform(size=PATIENTS) < chance, "ill", "well"))
    is_ill = truth == "ill"
    chances = visits(chance)

    def area(dependence: Dependence | None) -> float:
        curve = reliability(is_ill, chances, dependence=dependence)
        chart = calibration([ClassCurve("ill", chances, curve)])
        (band,) = (
            mark for mark in chart.data["panels"][0]["marks"] if mark["as"] == "area"
        )
        return float(np.trapezoid(band["high"] - band["low"], band["x"]))

    assert area(WHO) > 1.3 * area(None)


def test_levels_are_compared_by_patients():
    rng = np.random.default_rng(2)
    clear = []
    for _ in range(60):
        outcome = visits(rng.normal(size=PATIENTS))
        ward = visits(rng.choice(["a", "b"], PATIENTS))
        levels = levels_of(pd.Series(ward))
        first, second = level_table(levels, outcome, None, np.arange(len(outcome)), WHO)
        apart = abs(first["outcome"] - second["outcome"]) > 2 * np.hypot(
            first["deviation"], second["deviation"]
        )
        counted = WHO.rows(np.ones(len(outcome), dtype=bool), WHO.correlation(outcome))
        clear.append(
            (
                apart,
                *(
                    explained_share(levels[0], outcome, rows)[1] < CHANCE
                    for rows in (counted, None)
                ),
            )
        )
    by_level, by_share, as_rows = np.mean(clear, axis=0)
    assert by_level <= 0.12
    assert by_share <= 0.05 < as_rows
