"""Ten features for each image, from the bottleneck of a convolutional autoencoder: what the decision functions read.

Seed and epochs are fixed and the result carries a checksum, so that two tables can be told to be about the same
features. They are computed once and kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError
from permgrad.base.random import forked_torch, generator
from permgrad.base.stored import read_npz, write_npz
from permgrad.data.datasets.store import cache_folder
from permgrad.data.medmnist import load_medmnist
from permgrad.models.devices import torch_threads
from permgrad_benchmark.suites.multimodal.functions import WIDTH

#: Height and width that the networks are made for.
SIDE = 28
#: Share of the images that training may see.
TRAINING_SHARE = 0.7
#: Least number of images from which a split makes sense.
_FEWEST = 40


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one kind ``(images, 1, 28, 28)``, 0 to 1, and the name and MD5 of their file."""

    name: str
    md5: str
    grey: Tensor

    def __len__(self) -> int:
        return len(self.grey)

    def standardised(self) -> Tensor:
        """Return the images with mean 0 and variance 1 over all pixels: the network's input."""
        return (self.grey - self.grey.mean()) / self.grey.std().clamp_min(1e-6)


@lru_cache(maxsize=4)
def _read(name_or_path: str, data: str | None) -> ImageSet:
    del data  # only a key: the folder that PERMGRAD_DATA names may change between calls
    images = load_medmnist(name_or_path)
    pixels = images.pixels
    if pixels.shape[1:3] != (SIDE, SIDE):
        problem = f"images must have {SIDE}×{SIDE} pixels, got {pixels.shape[1]}×{pixels.shape[2]} in {images.name!r}"
        raise InputError(problem, hint="Use the file without a size in its name.", code="PG019")
    if len(pixels) < _FEWEST:
        problem = f"An image set needs at least {_FEWEST} images, got {len(pixels)} in {images.name!r}"
        raise InputError(problem, hint="Choose a larger set.", code="PG013")
    grey = pixels.astype(np.float32) / 255.0
    if grey.ndim == 4:
        grey = grey.mean(axis=3)
    return ImageSet(images.name, images.md5, torch.from_numpy(grey)[:, None])


def read_images(name_or_path: str) -> ImageSet:
    """Read a set by its name or path. Colours become grey by their mean."""
    return _read(os.fspath(name_or_path), os.environ.get("PERMGRAD_DATA"))


def split_images(count: int, seed: int) -> tuple[Integers, Integers]:
    """Split images, not pairs: 70 % for training, the rest for testing, so that no test pair holds a training image."""
    order = generator(seed, "image split").permutation(count)
    cut = round(TRAINING_SHARE * count)
    return order[:cut], order[cut:]


#: Fixed by the design.
SEED, EPOCHS, QUICK_EPOCHS = 0, 20, 2
_BATCH, _RATE = 64, 2e-3
#: Decimals that enter the checksum: the last bits of a sum depend on the processor.
_DECIMALS = 3
#: Checksums met with torch 2.13 on x86-64, by the images' MD5 and the epochs.
KNOWN_CHECKSUMS: dict[tuple[str, int], str] = {
    ("f5b994ec7c2fe8bc81ae15cbab7c3df8", 20): "99a3b65e136f3ef8d0b2d4b76cd561ebc42067723d8973a09d8d1295a542e463"
}


class Autoencoder(nn.Module):
    """Two convolutions from images ``(n, 1, 28, 28)`` in 0 to 1 down to ten numbers, and two back up to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, WIDTH),
        )
        self.decoder = nn.Sequential(
            nn.Linear(WIDTH, 32 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 16, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, kernel_size=4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the images as they come back."""
        rebuilt: Tensor = self.decoder(self.encoder(images))
        return rebuilt


@dataclass(frozen=True, eq=False)
class Bottleneck:
    """The features of all images of a set ``(images, 10)``, mean 0 and variance 1, and the checksum of their roundings.

    ``explained`` is the share of the pixels' variance that the autoencoder gives back. ``known``: the checksum is the
    recorded one; None: none is recorded for these images.
    """

    features: npt.NDArray[np.float32]
    checksum: str
    explained: float
    known: bool | None


@lru_cache(maxsize=4)
def bottleneck_features(images: ImageSet, epochs: int) -> Bottleneck:
    """Return the standardised bottleneck features of all images of a set, from the cache where they are there."""
    key = hashlib.sha256(f"{images.md5} {len(images)} {epochs} {SEED} {torch.__version__}".encode()).hexdigest()[:16]
    stored = cache_folder() / f"bottleneck-{images.name}-{key}.npz"
    stored_features = _load(stored, len(images))
    if stored_features is None:
        stored_features = _train(images.grey, epochs, SEED)
        # A cache that cannot be written costs time only.
        with contextlib.suppress(OSError):
            write_npz(stored, {"features": stored_features[0], "explained": np.array(stored_features[1])})
    features, explained = stored_features
    checksum = feature_checksum(features)
    wanted = KNOWN_CHECKSUMS.get((images.md5, epochs))
    return Bottleneck(features, checksum, explained, None if wanted is None else wanted == checksum)


def feature_checksum(features: npt.NDArray[np.float32]) -> str:
    """Return the SHA-256 of features rounded to three decimals."""
    rounded = np.rint(features.astype(np.float64) * 10**_DECIMALS).astype("<i8")
    return hashlib.sha256(rounded.tobytes()).hexdigest()


def _load(path: Path, count: int) -> tuple[npt.NDArray[np.float32], float] | None:
    """Read kept features, or return None where there are none, or the file is not what it should be."""
    try:
        content = read_npz(path)
        features, explained = content["features"], float(content["explained"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (features, explained) if features.shape == (count, WIDTH) and features.dtype == np.float32 else None


def _train(grey: Tensor, epochs: int, seed: int) -> tuple[npt.NDArray[np.float32], float]:
    # Sums in parallel are rounded by how the work was cut.
    with forked_torch(seed), torch_threads(1), torch.enable_grad():
        network = Autoencoder()
        optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
        batches = -(-len(grey) // _BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * batches)
        for _ in range(epochs):
            for batch in torch.randperm(len(grey)).split(_BATCH):
                shown = grey[batch]
                loss = (network(shown) - shown).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    network.eval()
    with torch.no_grad(), torch_threads(1):
        codes = torch.cat([network.encoder(part) for part in grey.split(512)]).double()
        errors = torch.cat([(network(part) - part).square().mean(dim=(1, 2, 3)) for part in grey.split(512)])
        spread = grey.var(dim=0, correction=0).mean()
    features = ((codes - codes.mean(dim=0)) / codes.std(dim=0, correction=0).clamp_min(1e-12)).float().numpy()
    return features, float(1.0 - errors.mean() / spread)
