"""The network under explanation, and the faces that it and the true function show to every method."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from permgrad_benchmark.suites.multimodal.functions import WIDTH, DecisionFunction

#: Features that the encoder makes of one image.
ENCODED = WIDTH


class FusedNetwork(nn.Module):
    """Two images ``(n, 1, 28, 28)`` through one encoder and two tables ``(n, 10)`` into one head: logits ``(n, 2)``.

    The module ``fusion`` passes on [encoded image 1, encoded image 2, X3, X4] unchanged: the published methods act on
    its output. The encoded features are standardised over the training images (a normalisation without weights), as the
    features of the true function are, so that slopes of images and of tables have like units.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            # What the bottleneck features say is coarse. At half the resolution few images are enough to learn it from.
            nn.AvgPool2d(2),
            nn.Conv2d(1, 16, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, ENCODED),
            # Weight decay shrinks the layer before without end, since its scale does not matter: the usual epsilon
            # would outgrow the variance, and features would not be standardised.
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
        """Return the logits from encoded images: in training every image is encoded once and paired often."""
        logits: Tensor = self.head(self.fusion(torch.cat([first, second, X3, X4], dim=1)))
        return logits


class Margin(nn.Module):
    """The last column minus the first, ``(n, 1)``: what a pair of logits says about F > c, as one number."""

    def forward(self, logits: Tensor) -> Tensor:
        """Return the margins."""
        return logits[:, 1:] - logits[:, :1]


class MarginNetwork(nn.Module):
    """The network's logit margin ``(n, 1)``, which is compared with F when both are explained by the same call."""

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.encoder, self.fusion = network.encoder, network.fusion
        self.head = nn.Sequential(network.head, Margin())

    def forward(self, X1: Tensor, X2: Tensor, X3: Tensor, X4: Tensor) -> Tensor:
        """Return the margins."""
        margins: Tensor = self.head(self.fusion(torch.cat([self.encoder(X1), self.encoder(X2), X3, X4], dim=1)))
        return margins


class _Score(nn.Module):
    def __init__(self, function: DecisionFunction) -> None:
        super().__init__()
        self.function = function

    def forward(self, features: Tensor) -> Tensor:
        return self.function.score(features)[:, None]


class TrueFunction(nn.Module):
    """F itself ``(n, 1)`` as a network with the same layers, of bottleneck features ``(n, 10)`` in place of images."""

    def __init__(self, function: DecisionFunction) -> None:
        super().__init__()
        self.fusion = nn.Identity()
        self.head = _Score(function)

    def forward(self, X1: Tensor, X2: Tensor, X3: Tensor, X4: Tensor) -> Tensor:
        """Return F."""
        values: Tensor = self.head(self.fusion(torch.cat([X1, X2, X3, X4], dim=1)))
        return values
