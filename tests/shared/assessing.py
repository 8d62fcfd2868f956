"""A model assessed as ``pg.report`` does it, without the page."""

from __future__ import annotations

import re
from typing import Any

from permgrad.assess.assess import assess
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import Budget
from permgrad.assess.read_model import ReadModel
from permgrad.assess.sections.data import describe_data
from permgrad.assess.work import Work
from permgrad.pages.report import Report

#: Donors of each row, so that it takes no time.
DONORS = {"n_repeats": 2, "progress": False}


def assessed(
    model: Any,
    X: Any,
    y: Any,
    train: Any = None,
    *,
    most_rows: int = 1000,
    interactions: int | None = None,
    sample_weight: Any = None,
    **options: Any,
) -> Assessment:
    """Return the assessment of any model on some rows.

    ``options`` are further arguments of ``pg.explain``.
    """
    read = ReadModel(model, X, y, seed=0, **(DONORS | options))
    if sample_weight is not None:
        read.weigh(sample_weight)
    content = Assessment(
        title="t", target=read.target, task=read.model.task, subject=read.model.subject
    )
    budget = Budget(seed=0, max_rows=most_rows, interactions=interactions)
    learned = read.train(train)
    work = Work(read.model, read.rows, content, budget, train=learned)
    content.data = describe_data(work)
    if read.rows.table is None:
        content.data.columns = read.inputs
    return assess(work)


def words(page: Report) -> str:
    """The text of a page without its scripts and styles."""
    body = page.html[page.html.index("<body") :]
    return " ".join(
        re.sub(
            r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", body)
        ).split()
    )
