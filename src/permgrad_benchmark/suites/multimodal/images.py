"""The images of a design: read, in grey, 28×28, standardised, and split before anything is paired."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError
from permgrad.base.random import generator
from permgrad.data.medmnist import load_medmnist

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
