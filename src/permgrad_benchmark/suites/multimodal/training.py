"""The fused network, trained end to end from labels alone.

Chosen on pairs of training images that were held out, never on test pairs (the
comparison: ``benchmarks/quality/multimodal_settings.py``):

- an epoch encodes every training image once and pairs it ``PAIRINGS`` times with others
  and with clinical rows, in new pairs each epoch. This is what makes it cheap.
- noise on the pixels and strong weight decay, because a few thousand images are easily
  learnt by heart. Each is worth about a point of accuracy where the image decides, and
  little elsewhere.
- a stronger decay on the first layer of the head, which takes away the weights on
  inputs that the label does not need.
- a penalty on correlations among the encoded features. The bottleneck features that
  they stand for are nearly uncorrelated, and ten copies of one feature would have
  slopes of another size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, forked_torch, generator
from permgrad_benchmark.suites.multimodal.functions import (
    WIDTH,
    DecisionFunction,
    draw_clinical,
)
from permgrad_benchmark.suites.multimodal.pairs import Pairs, PairsDesign

#: Features that the encoder makes of one image.
ENCODED = WIDTH


class FusedNetwork(nn.Module):
    """Two images ``(n, 1, 28, 28)`` through one encoder and two tables ``(n, 10)`` into
    one head: logits ``(n, 2)``.

    The module ``fusion`` passes on [encoded image 1, encoded image 2, X3, X4]
    unchanged: the published methods act on its output. The encoded features are
    standardised over the training images (a normalisation without weights), as the
    features of the true function are, so that slopes of images and of tables have like
    units.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            # What the bottleneck features say is coarse. At half the resolution few
            # images are enough to learn it from.
            nn.AvgPool2d(2),
            nn.Conv2d(1, 16, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, ENCODED),
            # Weight decay shrinks the layer before without end, since its scale does
            # not matter: the usual epsilon would outgrow the variance, and features
            # would not be standardised.
            nn.BatchNorm1d(ENCODED, eps=1e-12, affine=False),
        )
        self.fusion = nn.Identity()
        self.head = nn.Sequential(
            nn.Linear(4 * WIDTH, 100),
            nn.ReLU(),
            nn.Linear(100, 50),
            nn.ReLU(),
            nn.Linear(50, 10),
            nn.ReLU(),
            nn.Linear(10, 2),
        )

    def forward(self, X1: Tensor, X2: Tensor, X3: Tensor, X4: Tensor) -> Tensor:
        """Return the logits of the two classes."""
        return self.classify(self.encoder(X1), self.encoder(X2), X3, X4)

    def classify(self, first: Tensor, second: Tensor, X3: Tensor, X4: Tensor) -> Tensor:
        """Return the logits from encoded images: in training every image is encoded
        once and paired often.
        """
        logits: Tensor = self.head(
            self.fusion(torch.cat([first, second, X3, X4], dim=1))
        )
        return logits


class Margin(nn.Module):
    """The last column minus the first, ``(n, 1)``: what a pair of logits says about F >
    c, as one number.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Return the margins."""
        return logits[:, 1:] - logits[:, :1]


class MarginNetwork(nn.Module):
    """The network's logit margin ``(n, 1)``, which is compared with F when both are
    explained by the same call.
    """

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.encoder, self.fusion = network.encoder, network.fusion
        self.head = nn.Sequential(network.head, Margin())

    def forward(self, X1: Tensor, X2: Tensor, X3: Tensor, X4: Tensor) -> Tensor:
        """Return the margins."""
        margins: Tensor = self.head(
            self.fusion(torch.cat([self.encoder(X1), self.encoder(X2), X3, X4], dim=1))
        )
        return margins


class _Score(nn.Module):
    def __init__(self, function: DecisionFunction) -> None:
        super().__init__()
        self.function = function

    def forward(self, features: Tensor) -> Tensor:
        return self.function.score(features)[:, None]


class TrueFunction(nn.Module):
    """F itself ``(n, 1)`` as a network with the same layers, of bottleneck features
    ``(n, 10)`` in place of images.
    """

    def __init__(self, function: DecisionFunction) -> None:
        super().__init__()
        self.fusion = nn.Identity()
        self.head = _Score(function)

    def forward(self, X1: Tensor, X2: Tensor, X3: Tensor, X4: Tensor) -> Tensor:
        """Return F."""
        values: Tensor = self.head(self.fusion(torch.cat([X1, X2, X3, X4], dim=1)))
        return values


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained: ``pairings`` pairs per image in an epoch, joined to
    clinical rows anew in each.

    ``learning_rate`` is the largest of a schedule that rises for a fifth of the steps
    and then falls to nearly 0. ``fusion_decay`` is the weight decay of the first layer
    of the head. ``pixel_noise`` is added to pixels of variance 1. ``decorrelation`` is
    the weight of the mean squared correlation between encoded features.
    """

    epochs: int = 60
    batch: int = 128
    pairings: int = 4
    clinical_rows: int = 16_000
    learning_rate: float = 2e-3
    weight_decay: float = 5.0
    fusion_decay: float = 1.0
    pixel_noise: float = 0.5
    decorrelation: float = 1.0


FULL = TrainingSettings()
QUICK = TrainingSettings(epochs=4)


def train(
    design: PairsDesign,
    seed: int,
    settings: TrainingSettings = FULL,
    progress: bool | str = False,
) -> FusedNetwork:
    """Train a network on pairs of the design's training images."""
    with (
        forked_torch(derive_seed(seed, "multimodal network", design.function.name)),
        torch.enable_grad(),
    ):
        network = FusedNetwork()
        clinical = draw_clinical(
            settings.clinical_rows,
            generator(seed, "clinical training rows"),
            design.function.covariance,
        )
        rows = torch.from_numpy(clinical)
        batches = _Batches(design, settings)
        steps = batches.count * settings.epochs
        entrance = list(network.head[0].parameters())
        at_entrance = {id(parameter) for parameter in entrance}
        behind = [
            parameter
            for parameter in network.parameters()
            if id(parameter) not in at_entrance
        ]
        optimizer = torch.optim.AdamW(
            [
                {"params": behind, "weight_decay": settings.weight_decay},
                {"params": entrance, "weight_decay": settings.fusion_decay},
            ],
            lr=settings.learning_rate,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=max(steps, 2), pct_start=0.2
        )
        bar = Progress(
            settings.epochs,
            f"training {design.function.name}",
            progress,  # type: ignore[arg-type]
            lines=False,
        )
        with bar:
            for _ in range(settings.epochs):
                for first, second in batches.epoch():
                    loss = _loss(network, design, (first, second), rows, settings)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                bar.advance(1)
    return network.eval()


def accuracy(network: FusedNetwork, design: PairsDesign, pairs: Pairs) -> float:
    """Return the share of pairs whose label the network gives."""
    with torch.no_grad():
        inputs = design.inputs(pairs)
        predicted = torch.cat(
            [
                network(
                    *(inputs[name][part] for name in ("X1", "X2", "X3", "X4"))
                ).argmax(dim=1)
                for part in torch.arange(len(pairs)).split(1024)
            ]
        )
    return float((predicted == pairs.labels).double().mean())


class _Batches:
    """Batches of images: every image of the larger set once per epoch."""

    def __init__(self, design: PairsDesign, settings: TrainingSettings) -> None:
        self.shared = design.shared
        self.members = [torch.from_numpy(rows) for rows in design.training]
        largest = max(len(rows) for rows in self.members)
        self.size = min(settings.batch, *(len(rows) for rows in self.members))
        # The few images left over wait: the next epoch deals anew.
        self.count = largest // self.size

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Deal the images: positions of X1's and of X2's images for each batch, the
        same where they share a set.
        """
        dealt = [
            self._dealt(order) for order in self.members[: 1 if self.shared else 2]
        ]
        for start in range(0, self.count * self.size, self.size):
            parts = [order[start : start + self.size] for order in dealt]
            yield parts[0], parts[-1]

    def _dealt(self, members: Tensor) -> Tensor:
        wanted = self.count * self.size
        turns = -(-wanted // len(members))
        return torch.cat([members[torch.randperm(len(members))] for _ in range(turns)])[
            :wanted
        ]


def _loss(
    network: FusedNetwork,
    design: PairsDesign,
    batch: tuple[Tensor, Tensor],
    clinical: Tensor,
    settings: TrainingSettings,
) -> Tensor:
    encoded = [_encode(network, design.images[0][batch[0]], settings)]
    if not design.shared:
        encoded.append(_encode(network, design.images[1][batch[1]], settings))
    size = len(batch[0])
    left = torch.arange(size).repeat(settings.pairings)
    right = torch.cat([torch.randperm(size) for _ in range(settings.pairings)])
    pairs = design.pair(
        batch[0][left],
        batch[1][right],
        clinical[torch.randint(0, len(clinical), (size * settings.pairings,))],
    )
    logits = network.classify(
        encoded[0][left],
        encoded[-1][right],
        pairs.clinical[:, :WIDTH],
        pairs.clinical[:, WIDTH:],
    )
    loss = nn.functional.cross_entropy(logits, pairs.labels)
    for features in encoded:
        standard = (features - features.mean(dim=0)) / (
            features.std(dim=0, correction=0) + 1e-6
        )
        matrix = standard.T @ standard / len(features)
        width = features.shape[1]
        # The mean squared correlation between different encoded features.
        correlation = (matrix - torch.diag(torch.diagonal(matrix))).square().sum() / (
            width * (width - 1)
        )
        loss = loss + settings.decorrelation * correlation / len(encoded)
    return loss


def _encode(
    network: FusedNetwork, images: Tensor, settings: TrainingSettings
) -> Tensor:
    encoded: Tensor = network.encoder(
        images + settings.pixel_noise * torch.randn_like(images)
    )
    return encoded
