"""What contestants of the multimodal suite are given: a network, or the true function
in its place, and test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Array, Floats
from permgrad.base.random import derive_seed, generator
from permgrad_benchmark.suites.multimodal.functions import COLUMNS_OF, MODALITIES, WIDTH
from permgrad_benchmark.suites.multimodal.pairs import Pairs, PairsDesign
from permgrad_benchmark.suites.multimodal.training import (
    FusedNetwork,
    MarginNetwork,
    TrueFunction,
)
from permgrad_benchmark.suites.suite import Meter, Sizes, SuiteCase

#: Where the published methods act.
LAYER = "fusion"


FULL = Sizes(8_000, 4, 500, 25, 50, 256, 5)
QUICK = Sizes(400, 2, 40, 4, 10, 48, 2)
#: Rows along which curves are computed.
_CURVE_ROWS = 1_000


class Head(nn.Module):
    """What follows the fusion layer, from ``(n, 40)`` to one number for each row ``(n,
    1)``. Counts its rows.
    """

    def __init__(self, head: nn.Module, meter: Meter) -> None:
        super().__init__()
        self.head, self.meter = head, meter

    def forward(self, features: Tensor) -> Tensor:
        """Return the margins."""
        self.meter.rows += len(features)
        margins: Tensor = self.head(features)
        return margins


@dataclass(frozen=True, eq=False, kw_only=True)
class PairsCase(SuiteCase):
    """One network and the rows to explain.

    The oracle's case has the same form, with F in the network's place.

    What is explained is one number for each row: the network's logit margin, log p(1) −
    log p(0), or F itself. A margin that follows F is (nearly) a straight line in it, so
    that squared changes of the margin are squared changes of F up to a factor, and
    shares compare with the truth. Losses against the labels bend: where F decides
    clearly, the cross entropy hardly changes, and the Brier and zero-one losses
    saturate, which draws shares together. All are measured.

    ``fused`` is the fusion layer's output ``(rows, 40)``. ``slope`` times the margin's
    distance from ``centre``, the class boundary, is a logit; ``trained`` is the network
    itself, None of the oracle.
    """

    network: nn.Module
    inputs: dict[str, Tensor]
    labels: Tensor
    fused: Tensor
    pairs: Pairs
    slope: float = 1.0
    centre: float = 0.0
    oracle: bool = False
    trained: FusedNetwork | None = None

    @property
    def names(self) -> list[str]:
        """The modalities."""
        return list(MODALITIES)

    @property
    def module_explained(self) -> nn.Module:
        """The network."""
        return self.network

    def curve_rows(self) -> tuple[Array, Callable[[Array], Floats], Mapping[str, Any]]:
        """Return fused rows, their cross entropies, and the columns of each
        modality.
        """
        head, labels = self.head(), self.labels[:_CURVE_ROWS].numpy()

        def losses(rows: Array) -> Floats:
            with torch.no_grad():
                margin = (
                    head(torch.from_numpy(np.asarray(rows)).to(self.fused.dtype))[:, 0]
                    .double()
                    .numpy()
                )
            return np.asarray(np.logaddexp(0.0, np.where(labels == 1, -margin, margin)))

        columns = {
            name: np.arange(block.start, block.stop, dtype=np.intp)
            for name, block in COLUMNS_OF.items()
        }
        return self.fused[:_CURVE_ROWS].double().numpy(), losses, columns

    def rows(self, count: int) -> dict[str, Tensor]:
        """Return the first rows of all inputs."""
        return {name: rows[:count] for name, rows in self.inputs.items()}

    def head(self) -> Head:
        """Return what follows the fusion layer, for other packages."""
        return Head(self.network.head, self.meter).eval()  # type: ignore[arg-type]

    def classifier(self) -> nn.Module:
        """Return the network with one logit, for methods that measure a classification
        loss.
        """
        return Logit(self.network, self.slope, self.centre).eval()

    def background(self) -> Tensor:
        """Return rows of the fusion layer that stand in for absent features: the last
        ones, which few methods see.
        """
        return self.fused[-self.sizes.references :]

    def integer_seed(self, what: str) -> int:
        """Return a seed of 31 bits for other packages."""
        return derive_seed(self.seed, "multimodal benchmark", what) % 2**31


class Logit(nn.Module):
    """A network's one number ``(n, 1)``, shifted and stretched to a logit, with the
    same inputs and fusion layer.
    """

    def __init__(self, network: nn.Module, slope: float, centre: float) -> None:
        super().__init__()
        self.network, self.slope, self.centre = network, slope, centre

    def forward(self, X1: Tensor, X2: Tensor, X3: Tensor, X4: Tensor) -> Tensor:
        """Return the logits of class 1."""
        logits: Tensor = self.slope * (self.network(X1, X2, X3, X4) - self.centre)
        return logits


def make_case(
    design: PairsDesign, network: FusedNetwork, pairs: Pairs, seed: int, sizes: Sizes
) -> PairsCase:
    """Return the case of a trained network on test pairs."""
    margin = MarginNetwork(network).eval()
    with torch.no_grad():
        encoded = [
            torch.cat([network.encoder(part) for part in images.split(512)])
            for images in dict.fromkeys(design.images)
        ]
    fused = torch.cat(
        [encoded[0][pairs.first], encoded[-1][pairs.second], pairs.clinical], dim=1
    )
    return PairsCase(
        network=margin,
        inputs=design.inputs(pairs),
        labels=pairs.labels,
        fused=fused,
        pairs=pairs,
        trained=network,
        seed=seed,
        sizes=sizes,
    )


def make_oracle(design: PairsDesign, case: PairsCase) -> PairsCase:
    """Return the case in which F stands in the network's place, on the same rows.

    For methods that measure a classification loss F is stretched to a logit as steep as
    the network's: the slope is the least-squares fit of the network's margins by F.
    """
    with torch.no_grad():
        margins = case.head()(case.fused)[:, 0].double()
    case.meter.rows = 0
    score = design.function.score(case.pairs.features.double()) - design.threshold
    slope = float((margins * score).sum() / score.square().sum().clamp_min(1e-12))
    parts = case.pairs.features.split(WIDTH, dim=1)
    return replace(
        case,
        network=TrueFunction(design.function).eval(),
        inputs=dict(zip(MODALITIES, parts, strict=True)),
        fused=case.pairs.features,
        trained=None,
        slope=slope,
        centre=design.threshold,
        oracle=True,
        meter=Meter(),
    )


def draw_test_pairs(
    design: PairsDesign, count: int, seed: int, sample: int = 0
) -> Pairs:
    """Draw test pairs. Other samples are independent."""
    return design.draw(design.test, count, generator(seed, "test pairs", sample))
