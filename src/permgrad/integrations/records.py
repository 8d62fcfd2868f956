"""What a run's folder tells other tools: parameters, metrics, the course of training,
figures and files.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from permgrad.attribution.explanation import Explanation
from permgrad.base.checks import check_path, is_number
from permgrad.base.stored import read_json
from permgrad.runs.run_documents import METRICS
from permgrad.runs.run_folder import RECORD, finished_record

#: Longest text of a parameter.
_MOST = 250


@dataclass(frozen=True)
class RunRecord:
    """A finished run: ``metrics`` are plain numbers such as ``test.accuracy``,
    ``history`` is one line per epoch.
    """

    folder: Path
    record: dict[str, Any]
    parameters: dict[str, str]
    metrics: dict[str, float]
    history: pd.DataFrame

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> RunRecord:
        """Read the folder of ``permgrad run``.

        Raises:
            InputError: It is no folder of a run, or the run is not finished.
        """
        path = check_path("run", folder)
        record = finished_record(path)
        parameters = {}
        for name, value in record["configuration"].items():
            if value not in (None, [], {}):
                parameters[name] = str(value)[:_MOST]
        metrics = dict(_numbers(read_json(path / METRICS)))
        trained = path / "history.csv"  # only networks have one
        if trained.is_file():
            history = pd.read_csv(trained)
        else:
            history = pd.DataFrame({"epoch": []})
        return cls(path, record, parameters, metrics, history)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def epochs(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield each epoch with its losses and learning rate."""
        for line in self.history.to_dict("records"):
            numbers = {}
            for name, value in line.items():
                if math.isfinite(value):
                    numbers[str(name)] = float(value)
            yield int(numbers.pop("epoch")), numbers

    def pictures(self) -> Iterator[tuple[str, Image.Image]]:
        """Yield the plot of each explanation, by the name of its method."""
        for path in sorted((self.folder / "explanations").glob("*/explanation.json")):
            file = io.BytesIO()
            Explanation.load(path.parent).plot().savefig(file, format="png")
            yield path.parent.name, Image.open(file, formats=("PNG",))

    def files(self) -> list[Path]:
        """Return the report, the importances and the metrics."""
        names = ("report.html", "importance.csv", "metrics.json", RECORD)
        return [self.folder / name for name in names if (self.folder / name).is_file()]


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of ``metrics.json`` that describe the model and its
    baselines.
    """
    scores_by_part = {name: metrics[name] for name in ("rows", "validation", "test")}
    scores_by_part |= {
        f"baselines.{name}": scores for name, scores in metrics["baselines"].items()
    }
    for part_name, scores in scores_by_part.items():
        for name, value in scores.items():
            if is_number(value) and math.isfinite(value):
                yield f"{part_name}.{name}", float(value)
