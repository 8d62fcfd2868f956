"""The data of one cell: images split, paired, joined to clinical rows, and labelled by
the true function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from permgrad.base.arrays import Integers
from permgrad.base.random import generator
from permgrad_benchmark.suites.multimodal.autoencoder import (
    EPOCHS,
    QUICK_EPOCHS,
    Bottleneck,
    bottleneck_features,
    read_images,
    split_images,
)
from permgrad_benchmark.suites.multimodal.functions import (
    WIDTH,
    DecisionFunction,
    Population,
    draw_clinical,
)

#: Rows from which the threshold is taken as F's median.
_THRESHOLD_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class Pairs:
    """Positions of both images, clinical rows ``(pairs, 20)``, all true features
    ``(pairs, 40)``, and F > threshold.
    """

    first: Tensor
    second: Tensor
    clinical: Tensor
    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, eq=False)
class PairsDesign:
    """One function on one split of the images.

    Of two kinds of images, or twice of the same tensor.

    ``images`` are standardised pixels, ``features`` their bottleneck features
    ``(images, 10)``, ``training`` and ``test`` positions of images, ``threshold`` the
    median of F over pairs of training images.
    """

    function: DecisionFunction
    images: tuple[Tensor, Tensor]
    features: tuple[Tensor, Tensor]
    training: tuple[Integers, Integers]
    test: tuple[Integers, Integers]
    threshold: float
    bottlenecks: tuple[Bottleneck, Bottleneck]
    names: tuple[str, str]

    @property
    def shared(self) -> bool:
        """Whether both image modalities come from one set."""
        return self.images[0] is self.images[1]

    def pair(self, first: Tensor, second: Tensor, clinical: Tensor) -> Pairs:
        """Join images and clinical rows and label them."""
        features = torch.cat(
            [self.features[0][first], self.features[1][second], clinical], dim=1
        )
        labels = (self.function.score(features) > self.threshold).long()
        return Pairs(first, second, clinical, features, labels)

    def draw(
        self, images: tuple[Integers, Integers], count: int, rng: np.random.Generator
    ) -> Pairs:
        """Draw pairs of some of the images, each image drawn apart from the other, with
        new clinical rows.
        """
        first = torch.from_numpy(images[0][rng.integers(0, len(images[0]), count)])
        second = torch.from_numpy(images[1][rng.integers(0, len(images[1]), count)])
        return self.pair(
            first,
            second,
            torch.from_numpy(draw_clinical(count, rng, self.function.covariance)),
        )

    def inputs(self, pairs: Pairs) -> dict[str, Tensor]:
        """Return what the network takes."""
        return {
            "X1": self.images[0][pairs.first],
            "X2": self.images[1][pairs.second],
            "X3": pairs.clinical[:, :WIDTH],
            "X4": pairs.clinical[:, WIDTH:],
        }

    def population(self) -> Population:
        """Return where test rows come from: what the truth is the truth of."""
        first, second = (
            features[torch.from_numpy(rows)].double().numpy()
            for features, rows in zip(self.features, self.test, strict=True)
        )
        return Population(first, second, self.function.covariance)


def make_design(
    function: DecisionFunction,
    image_sets: tuple[str, ...],
    seed: int,
    *,
    quick: bool = False,
) -> PairsDesign:
    """Read and split the images and set the threshold."""
    names = (image_sets[0], image_sets[-1])
    read = [read_images(name) for name in dict.fromkeys(names)]
    sets = (read[0], read[-1])
    pixels = [source.standardised() for source in read]
    made = [
        bottleneck_features(source, QUICK_EPOCHS if quick else EPOCHS)
        for source in read
    ]
    splits = [split_images(len(source), seed) for source in read]
    features = [torch.from_numpy(source.features) for source in made]
    design = PairsDesign(
        function=function,
        images=(pixels[0], pixels[-1]),
        features=(features[0], features[-1]),
        training=(splits[0][0], splits[-1][0]),
        test=(splits[0][1], splits[-1][1]),
        threshold=0.0,
        bottlenecks=(made[0], made[-1]),
        names=(sets[0].name, sets[1].name),
    )
    sample = design.draw(design.training, _THRESHOLD_ROWS, generator(seed, "threshold"))
    return replace(
        design, threshold=float(function.score(sample.features.double()).median())
    )
