"""From a model and rows that it was not fitted on to an ``Assessment``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import FEW_ROWS
from permgrad.assess.sections import SECTIONS
from permgrad.assess.sections.network import network_sections
from permgrad.assess.sections.rows import RowSection
from permgrad.assess.work import CAPABILITIES, Work
from permgrad.attribution.maps.drawn import MAP_NAMES


def assess(work: Work) -> Assessment:
    """Compute every section that applies to a model and its rows, and what a page shows
    of them.

    Examples:
        >>> from sklearn.linear_model import LinearRegression
        >>> from permgrad.assess.read_model import ReadModel
        >>> X = np.random.default_rng(0).normal(size=(80, 2))
        >>> model = LinearRegression().fit(X[:40], X[:40, 0])
        >>> read = ReadModel(model, X[40:], X[40:, 0], n_repeats=2)
        >>> facts = {"task": "regression", "subject": "model"}
        >>> content = Assessment(title="t", target="y", **facts)
        >>> done = assess(Work(read.model, read.rows, content))
        >>> done.explanation.ranking(), round(done.test["r2"], 2), len(done.rows)
        (['x0', 'x1'], 1.0, 4)
    """
    return completed(fill(work), work.model.model)


def fill(work: Work, stages: Iterable[str] = ("model", "explanation")) -> Assessment:
    """Compute the sections of some stages that apply to a model and its rows."""
    for section in SECTIONS:
        if section.stage in stages and all(
            CAPABILITIES[capability](work) for capability in section.needs
        ):
            section.fill(work)
    return work.content


def completed(
    content: Assessment, model: Any, *, preset: str = "", layout: str | None = None
) -> Assessment:
    """Return an assessment with what follows from its stored fields and the model.

    ``layout``: its picture as SVG.

    That are the network's sections, the rows one by one, and the beeswarm.
    """
    content = replace(content, **network_sections(model, preset=preset, drawing=layout))
    explained = content.explained
    map_section = content.maps
    listed_rows = content.listed
    if explained is None:
        return content
    local = explained.explanation
    row_sections = []
    for row_index, facts in enumerate(content.chosen or ()):
        row_sections.append(_row(content, row_index, facts))
    if listed_rows is not None:
        local_rows = [
            explained,
            *([] if content.notable is None else [content.notable]),
        ]
        listed_rows = replace(listed_rows, local=local_rows, maps=map_section)
    has_few_rows = listed_rows is None and len(local.values) <= FEW_ROWS
    return replace(
        content,
        rows=row_sections,
        listed=listed_rows,
        local=None if has_few_rows else local,
    )


def _row(content: Assessment, row_index: int, facts: Mapping[str, Any]) -> RowSection:
    assert content.explained is not None
    local = content.explained.explanation
    if content.maps is None:
        drawn = None
    else:
        drawn = content.maps.explanation
    if len(local.outputs) > 1:
        output = facts["output"]
    else:
        output = 0
    if (
        content.subject and content.positive in local.outputs
    ):  # of two classes, as everywhere on the page
        output = local.outputs.index(content.positive)
    row_text = f"Chosen as {facts['why']}."
    image = None
    heat_map = None
    heat_title = ""
    if drawn is not None and {"cam", "images"} <= set(drawn.maps):
        image = drawn.maps["images"][row_index]
        heat_map = drawn.maps["cam"][row_index, output]
        label = local.outputs[output]
        map_name = MAP_NAMES[drawn.meta.get("variant", "gradcam")]
        heat_title = f"{map_name} of the last convolution" + (
            "" if label == "all" else f", class {label}"
        )
        if not np.any(heat_map):
            row_text += (
                " The activation map is zero everywhere: no part of the image "
                "supports this output."
            )
    return RowSection(
        explanation=local,
        row=row_index,
        title=facts["title"],
        output=output,
        image=image,
        heat=heat_map,
        heat_title=heat_title,
        text=row_text,
        maps=None if drawn is None or "cam" in drawn.maps else drawn,
    )
