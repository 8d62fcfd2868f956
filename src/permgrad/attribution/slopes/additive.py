"""What methods share whose values add up to the difference between a row's output and that at a baseline."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from permgrad.attribution.build import build
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.slopes.baselines import Baseline
from permgrad.attribution.slopes.slopes import Slopes

Floats = npt.NDArray[np.float64]


@dataclass
class Additive:
    """Values of all rows, filled part by part.

    Attributes:
        values: ``(rows, parts, players, targets)``.
        predictions, base: output at the row and, on average, at the baselines, ``(rows, targets)``.
    """

    slopes: Slopes
    baseline: Baseline
    started: float = field(default_factory=time.perf_counter)
    values: Floats = field(init=False)
    predictions: Floats = field(init=False)
    base: Floats = field(init=False)

    def __post_init__(self) -> None:
        request = self.slopes.request
        targets = len(request.targets)
        self.values = np.zeros((request.count, len(self.slopes.parts), len(request.space), targets))
        self.predictions = np.zeros((request.count, targets))
        self.base = np.zeros((request.count, targets))

    def keep(self, part: slice, values: Tensor, predictions: Tensor, base: Tensor) -> None:
        """Keep the numbers of some rows."""
        self.values[part] = values.cpu().numpy()
        self.predictions[part] = predictions.double().cpu().numpy()
        self.base[part] = base.double().cpu().numpy()

    def gaps(self, scale: Floats) -> Floats:
        """Return what is missing in each row's sums, the worst of its outputs, as a share of ``scale``."""
        # Predictions that are no numbers are refused once the explanation is made.
        with np.errstate(invalid="ignore"):
            missing = np.abs(self.values.sum(axis=(1, 2)) - (self.predictions - self.base)) / scale
        worst: Floats = missing.max(axis=1)
        return worst

    def explanation(self, method: str, scale: Floats, **facts: Any) -> Explanation:
        """Return the result."""
        parts = self.slopes.parts
        split = parts != ("",)
        return build(
            self.slopes.request,
            method,
            self.values.sum(axis=1) if split else self.values[:, 0],
            {
                "quantity": "output minus the output at the baseline",
                "baseline": self.baseline.words,
                "baseline_name": self.baseline.name,
                "baseline_rows": len(self.baseline),
                "completeness_gap": float(self.gaps(scale).max()),
                "output_range": scale.tolist(),
                "gradient_evaluations": self.slopes.evaluations,
                "model_rows": self.slopes.model_rows,
                "seconds": time.perf_counter() - self.started,
                **facts,
            },
            parts={name: self.values[:, place] for place, name in enumerate(parts)} if split else {},
            additive=True,
            base_values=self.base[0] if self.slopes.whole else self.base,
            predictions=self.predictions,
        )
