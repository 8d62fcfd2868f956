"""Every argument of the parts that stand alone, layouts, measures, thresholds, spaces,
given every kind of value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hostile_arguments import check_argument, working_in

from permgrad import imaging, tuning
from permgrad.attribution.parts.engines import RayEngine
from permgrad.data.encode.encoding import TableEncoder
from permgrad.evaluation import metrics, thresholds

NAMES = list("abcd")
ROWS = np.random.default_rng(0).normal(size=(40, 4))
TABLE = pd.DataFrame(ROWS, columns=NAMES)
Y = (ROWS[:, 0] > 0).astype(int)
SCORES = 1 / (1 + np.exp(-ROWS[:, 0]))
FITTED = imaging.fit_layout(imaging.AssignmentLayout(6), ROWS, NAMES, 0)
#: Arguments that any text means something to, or a number of any size.
WORDS = {"title", "name", "na", "address"}
LONG = {"random_state", "na", "seed"}


def predicted(rows: np.ndarray) -> np.ndarray:
    chance = 1 / (1 + np.exp(-rows[:, 0]))
    return np.stack([1 - chance, chance], axis=1)


def fitted(layout: type) -> Callable[..., Any]:
    return lambda **layout_options: layout(**{"pixels": 6, **layout_options}).fit(ROWS)


def drawn(function: Callable[..., Any]) -> Callable[..., Any]:
    def draw(**draw_options: Any) -> None:
        function(**draw_options)
        plt.close("all")

    return draw


#: Function, whose arguments are tried, and what it is given beside the one that is.
PARTS: dict[str, tuple[Callable[..., Any], Any, dict[str, Any]]] = {
    **{f"{layout_class.__name__}.fit": (fitted(layout_class), layout_class, {}) for layout_class in (
        imaging.AssignmentLayout, imaging.RandomLayout, imaging.TintoLayout,
    )},
    "StoredLayout": (imaging.StoredLayout, None, {"positions": [[0, 0], [1, 1]], "pixels": 4}),
    "Blur": (imaging.Blur, None, {}),
    "Renderer": (imaging.Renderer, None, {
        "layout": FITTED, "minimum": ROWS.min(axis=0), "maximum": ROWS.max(axis=0),
    }),
    "make_layout": (lambda **layout_options: imaging.make_layout(**layout_options).fit(ROWS), imaging.make_layout, {
        "name_or_object": "random",
    }),
    "fit_layout": (imaging.fit_layout, ("encoded", "names", "random_state"), {
        "layout": imaging.AssignmentLayout(6), "encoded": ROWS, "names": NAMES, "random_state": 0,
    }),
    "layout_to_dict": (imaging.layout_to_dict, None, {}),
    "draw_layout": (drawn(imaging.draw_layout), imaging.draw_layout, {"layout": FITTED}),
    "TableEncoder.fit_transform": (lambda **encoder_options: TableEncoder(**encoder_options).fit_transform(TABLE), TableEncoder, {}),
    "get_space": (tuning.get_space, None, {}),
    "read_space": (tuning.read_space, None, {}),
    "space_from_dict": (tuning.space_from_dict, ("content",), {}),
    "choose_threshold": (thresholds.choose_threshold, None, {"y": Y, "scores": SCORES}),
    "choose_threshold by cost": (
        lambda cost: thresholds.choose_threshold(Y, SCORES, "cost", cost), None, {},
    ),
    "choose_threshold at a price": (
        lambda price: thresholds.choose_threshold(Y, SCORES, "cost", {"false_negative": price}), None, {},
    ),
    "metrics_at": (thresholds.metrics_at, None, {"y": Y, "scores": SCORES, "value": 0.5}),
    "evaluate": (metrics.evaluate, None, {
        "task": "classification", "y": Y, "probabilities": predicted(ROWS), "classes": [0, 1],
    }),
    "evaluate numbers": (lambda **metric_arguments: metrics.evaluate("regression", **metric_arguments), ("y", "predictions"), {
        "y": ROWS[:, 0], "predictions": ROWS[:, 1],
    }),
    "RayEngine": (RayEngine, None, {}),
}  # fmt: skip


def arguments(function: Any, named: Any) -> list[str]:
    if isinstance(named, tuple):
        return list(named)
    known_parameters = inspect.signature(
        function if named is None else named
    ).parameters.values()
    return [
        parameter.name
        for parameter in known_parameters
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (part_name, name)
        for part_name, part_case in PARTS.items()
        for name in arguments(part_case[0], part_case[1])
    ],
)
def test_parts(part: str, name: str, tmp_path: Any) -> None:
    function, _, usual = PARTS[part]
    takes = ("word",) * (name in WORDS) + ("number of 401 digits",) * (name in LONG)
    with working_in(tmp_path):
        ends = check_argument(lambda own: function(**{**usual, name: own}), takes=takes)
    assert "refused" in ends.values()
