"""Training the fused network end to end, from labels alone.

Chosen on pairs of training images that were held out, never on test pairs (the comparison:
``benchmarks/quality/multimodal_settings.py``):

- an epoch encodes every training image once and pairs it ``PAIRINGS`` times with others and with clinical rows, in new
  pairs each epoch. This is what makes it cheap.
- noise on the pixels and strong weight decay, because a few thousand images are easily learnt by heart. Each is worth
  about a point of accuracy where the image decides, and little elsewhere.
- a stronger decay on the first layer of the head, which takes away the weights on inputs that the label does not need.
- a penalty on correlations among the encoded features. The bottleneck features that they stand for are nearly
  uncorrelated, and ten copies of one feature would have slopes of another size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, forked_torch, generator
from permgrad_benchmark.suites.multimodal.clinical import draw_clinical
from permgrad_benchmark.suites.multimodal.functions import WIDTH
from permgrad_benchmark.suites.multimodal.network import FusedNetwork
from permgrad_benchmark.suites.multimodal.pairs import Pairs, PairsDesign


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained: ``pairings`` pairs per image in an epoch, joined to clinical rows anew in each.

    ``learning_rate`` is the largest of a schedule that rises for a fifth of the steps and then falls to nearly 0.
    ``fusion_decay`` is the weight decay of the first layer of the head. ``pixel_noise`` is added to pixels of variance
    1. ``decorrelation`` is the weight of the mean squared correlation between encoded features.
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
    design: PairsDesign, seed: int, settings: TrainingSettings = FULL, progress: bool | str = False
) -> FusedNetwork:
    """Train a network on pairs of the design's training images."""
    with forked_torch(derive_seed(seed, "multimodal network", design.function.name)), torch.enable_grad():
        network = FusedNetwork()
        clinical = draw_clinical(
            settings.clinical_rows, generator(seed, "clinical training rows"), design.function.covariance
        )
        rows = torch.from_numpy(clinical)
        batches = _Batches(design, settings)
        optimizer, schedule = _optimizer(network, settings, batches.count * settings.epochs)
        bar = Progress(settings.epochs, f"training {design.function.name}", progress, lines=False)  # type: ignore[arg-type]
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
                network(*(inputs[name][part] for name in ("X1", "X2", "X3", "X4"))).argmax(dim=1)
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
        """Deal the images: positions of X1's and of X2's images for each batch, the same where they share a set."""
        dealt = [self._dealt(order) for order in self.members[: 1 if self.shared else 2]]
        for start in range(0, self.count * self.size, self.size):
            parts = [order[start : start + self.size] for order in dealt]
            yield parts[0], parts[-1]

    def _dealt(self, members: Tensor) -> Tensor:
        wanted = self.count * self.size
        turns = -(-wanted // len(members))
        return torch.cat([members[torch.randperm(len(members))] for _ in range(turns)])[:wanted]


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
        batch[0][left], batch[1][right], clinical[torch.randint(0, len(clinical), (size * settings.pairings,))]
    )
    logits = network.classify(
        encoded[0][left], encoded[-1][right], pairs.clinical[:, :WIDTH], pairs.clinical[:, WIDTH:]
    )
    loss = nn.functional.cross_entropy(logits, pairs.labels)
    for features in encoded:
        loss = loss + settings.decorrelation * _correlation(features) / len(encoded)
    return loss


def _encode(network: FusedNetwork, images: Tensor, settings: TrainingSettings) -> Tensor:
    encoded: Tensor = network.encoder(images + settings.pixel_noise * torch.randn_like(images))
    return encoded


def _correlation(encoded: Tensor) -> Tensor:
    """Return the mean squared correlation between different encoded features of a batch."""
    standard = (encoded - encoded.mean(dim=0)) / (encoded.std(dim=0, correction=0) + 1e-6)
    matrix = standard.T @ standard / len(encoded)
    width = encoded.shape[1]
    return (matrix - torch.diag(torch.diagonal(matrix))).square().sum() / (width * (width - 1))


def _optimizer(
    network: FusedNetwork, settings: TrainingSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    entrance = list(network.head[0].parameters())
    at_entrance = {id(parameter) for parameter in entrance}
    behind = [parameter for parameter in network.parameters() if id(parameter) not in at_entrance]
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
    return optimizer, schedule
