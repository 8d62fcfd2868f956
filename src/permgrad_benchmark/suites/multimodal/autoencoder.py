"""Images of MedMNIST, and ten features for each from the bottleneck of a convolutional
autoencoder.

The decision functions read these features. The images are small medical ones in one
``.npz`` file, from a path, the user's folder, the cache or their home: Yang et al.,
MedMNIST v2, Scientific Data 10:41 (2023). Checksums are those of the package medmnist
3.0.2.

Seed and epochs are fixed and the result carries a checksum, so that two tables can be
told to be about the same features. They are computed once and kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Integers
from permgrad.base.errors import (
    Fault,
    InputError,
    did_you_mean,
    must,
    refusing,
    turned,
    unknown,
)
from permgrad.base.files import file_hash
from permgrad.base.random import forked_torch, generator
from permgrad.base.registry import Registry
from permgrad.base.stored import read_npz, write_npz
from permgrad.data.datasets import dataset_store as store
from permgrad.data.datasets.dataset_store import cache_folder
from permgrad.models.devices import torch_threads
from permgrad_benchmark.suites.multimodal.functions import WIDTH

#: The three parts that every file has.
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageCard:
    """A named set of images: its MD5, and the MD5 of other versions of the file, each
    with a description.
    """

    name: str
    title: str
    md5: str
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """Where the file is downloaded from."""
        return f"https://zenodo.org/records/10519652/files/{self.name}.npz?download=1"


image_cards: Registry[ImageCard] = Registry("image set")
"""Named sets of images; any other file of the same form can be read by its path."""

_SMALLER = (
    "f5b994ec7c2fe8bc81ae15cbab7c3df8",
    "a part of 5,030 images: 3,882 + 524 + 624",
)
for _card in (
    ImageCard(
        "organamnist",
        "OrganAMNIST: abdominal CT, axial",
        "68e3f8846a6bd62f0c9bf841c0d9eacc",
    ),
    ImageCard(
        "organcmnist",
        "OrganCMNIST: abdominal CT, coronal",
        "b9ceb9546e10131b32923c5bbeaea2b1",
    ),
    ImageCard(
        "organsmnist",
        "OrganSMNIST: abdominal CT, sagittal",
        "9ab87b696fb54e2a387ebe992d6ed5f1",
    ),
    ImageCard(
        "pneumoniamnist",
        "PneumoniaMNIST: chest X-rays",
        "28209eda62fecd6e6a2d98b1501bb15f",
        (_SMALLER,),
    ),
):
    image_cards.register(_card.name)(_card)


@dataclass(frozen=True)
class Images:
    """The pixels (uint8) of all images, one part behind the other, and the name and MD5
    of their file.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    md5: str

    def __len__(self) -> int:
        return len(self.pixels)


def load_medmnist(name_or_path: str | os.PathLike[str]) -> Images:
    """Read a MedMNIST file, by its name or the path of any ``.npz`` of the same form.

    A name is looked for in the folder that ``PERMGRAD_DATA`` names, where unknown
    content gives a warning, then in the cache, then downloaded. These must match the
    checksum.

    Raises:
        InputError: no such name or file, or a file of another form.
        EnvironmentProblem: the file is nowhere and cannot be downloaded. The message
            says which file to put where.
    """
    path, name = find_medmnist(name_or_path)
    arrays = _arrays_of(path)
    return Images(
        name,
        np.concatenate([arrays[f"{part}_images"] for part in PARTS]),
        file_hash(path, "md5"),
    )


def find_medmnist(name_or_path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return the file's path and the set's name, downloading it if it is named and not
    on this machine.
    """
    name = os.fspath(name_or_path)
    if name in image_cards:
        card = image_cards.get(name)
        what, versions = f"image set {name!r}", dict(card.versions)
        return store.find_file(
            what, f"{name}.npz", "md5", card.md5, card.url, card.url, versions=versions
        ), name
    if name.endswith(".npz") or Path(name).name != name:
        path = Path(name).expanduser()
        if not path.is_file():
            hint = f"Correct the path, or use a name: {', '.join(list(image_cards))}."
            raise InputError(
                f"Image file {str(path)!r} not found", hint=hint, code="PG010"
            )
        return path, path.stem
    folder = os.environ.get("PERMGRAD_DATA")
    if folder and (file := Path(folder, f"{name}.npz")).is_file():
        return file, name
    problem = unknown("image set", name, list(image_cards))
    hint = did_you_mean(
        name, list(image_cards), "For another set, pass the path of its .npz file."
    )
    raise InputError(problem.problem, hint=hint, code=problem.code)


def _arrays_of(path: Path) -> dict[str, npt.NDArray]:
    """Read the arrays of all parts and check that they are what a MedMNIST file
    holds.
    """
    wanted = [f"{part}_{kind}" for part in PARTS for kind in ("images", "labels")]
    which = f"Cannot read {str(path)!r} as an .npz file of MedMNIST"
    with turned(
        lambda error: InputError(f"{which} ({error})", "Download it again.", "PG011"),
        OSError,
        ValueError,
    ):
        arrays = read_npz(path)
        must(
            arrays.keys() >= set(wanted),
            f"it holds {', '.join(arrays) or 'nothing'} and not {', '.join(wanted)}",
        )
    _check_parts(path, arrays)
    return arrays


@refusing
def _check_parts(path: Path, arrays: Mapping[str, npt.NDArray]) -> Iterator[Fault]:
    for part in PARTS:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if (
            images.dtype != np.uint8
            or images.ndim not in (3, 4)
            or (images.ndim == 4 and images.shape[3] != 3)
        ):
            problem = (
                "Images must be uint8 of the shape (images, height, width) or (images, "
                "height, width, 3), "
                f"but {part}_images of {str(path)!r} is {images.dtype} {images.shape}"
            )
            yield problem, "Convert the array.", "PG019"
        count = len(labels) if labels.ndim else 0
        if count != len(images):
            problem = (
                f"Every image needs a label, but {str(path)!r} holds {len(images)} "
                f"{part}_images and {count} {part}_labels"
            )
            yield problem, "Write both for the same images.", "PG007"
        if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
            problem = (
                "Labels must be integers of the shape (images, labels), "
                f"but {part}_labels of {str(path)!r} is {labels.dtype} {labels.shape}"
            )
            yield problem, "Convert the array.", "PG019"
    for kind in ("images", "labels"):
        of_parts = {part: arrays[f"{part}_{kind}"].shape[1:] for part in PARTS}
        if len(set(of_parts.values())) > 1:
            shapes = ", ".join(f"{part}: {shape}" for part, shape in of_parts.items())
            problem = (
                f"All parts of {str(path)!r} must have {kind} of one shape, got "
                f"{shapes}"
            )
            yield problem, "Write them alike.", "PG007"


# ---- grey images ---------------------------------------------------------------------
#: Height and width that the networks are made for.
SIDE = 28
#: Share of the images that training may see.
TRAINING_SHARE = 0.7
#: Least number of images from which a split makes sense.
_FEWEST = 40


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one kind ``(images, 1, 28, 28)``, 0 to 1, and the name and MD5 of their
    file.
    """

    name: str
    md5: str
    grey: Tensor

    def __len__(self) -> int:
        return len(self.grey)

    def standardised(self) -> Tensor:
        """Return the images with mean 0 and variance 1 over all pixels: the network's
        input.
        """
        return (self.grey - self.grey.mean()) / self.grey.std().clamp_min(1e-6)


@lru_cache(maxsize=4)
def _read(name_or_path: str, data: str | None) -> ImageSet:
    del data  # only a key: the folder that PERMGRAD_DATA names may change between calls
    images = load_medmnist(name_or_path)
    pixels = images.pixels
    if pixels.shape[1:3] != (SIDE, SIDE):
        problem = (
            f"images must have {SIDE}×{SIDE} pixels, got "
            f"{pixels.shape[1]}×{pixels.shape[2]} in {images.name!r}"
        )
        raise InputError(
            problem, hint="Use the file without a size in its name.", code="PG019"
        )
    if len(pixels) < _FEWEST:
        problem = (
            f"An image set needs at least {_FEWEST} images, got {len(pixels)} in "
            f"{images.name!r}"
        )
        raise InputError(problem, hint="Choose a larger set.", code="PG013")
    grey = pixels.astype(np.float32) / 255.0
    grey = grey.mean(axis=3) if grey.ndim == 4 else grey
    return ImageSet(images.name, images.md5, torch.from_numpy(grey)[:, None])


def read_images(name_or_path: str) -> ImageSet:
    """Read a set by its name or path. Colours become grey by their mean."""
    return _read(os.fspath(name_or_path), os.environ.get("PERMGRAD_DATA"))


def split_images(count: int, seed: int) -> tuple[Integers, Integers]:
    """Split images, not pairs: 70 % for training, the rest for testing, so that no test
    pair holds a training image.
    """
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
    (
        "f5b994ec7c2fe8bc81ae15cbab7c3df8",
        20,
    ): "99a3b65e136f3ef8d0b2d4b76cd561ebc42067723d8973a09d8d1295a542e463"
}


class Autoencoder(nn.Module):
    """Two convolutions from images ``(n, 1, 28, 28)`` in 0 to 1 down to ten numbers,
    and two back up to the image.
    """

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
    """The features of all images of a set ``(images, 10)``, mean 0 and variance 1, and
    the checksum of their roundings.

    ``explained`` is the share of the pixels' variance that the autoencoder gives back.
    ``known``: the checksum is the recorded one; None: none is recorded for these
    images.
    """

    features: npt.NDArray[np.float32]
    checksum: str
    explained: float
    known: bool | None


@lru_cache(maxsize=4)
def bottleneck_features(images: ImageSet, epochs: int) -> Bottleneck:
    """Return the standardised bottleneck features of all images of a set, from the
    cache where they are there.
    """
    key = hashlib.sha256(
        f"{images.md5} {len(images)} {epochs} {SEED} {torch.__version__}".encode()
    ).hexdigest()[:16]
    stored = cache_folder() / f"bottleneck-{images.name}-{key}.npz"
    stored_features = _load(stored, len(images))
    if stored_features is None:
        stored_features = _train(images.grey, epochs, SEED)
        # A cache that cannot be written costs time only.
        with contextlib.suppress(OSError):
            write_npz(
                stored,
                {
                    "features": stored_features[0],
                    "explained": np.array(stored_features[1]),
                },
            )
    features, explained = stored_features
    checksum = feature_checksum(features)
    wanted = KNOWN_CHECKSUMS.get((images.md5, epochs))
    return Bottleneck(
        features, checksum, explained, None if wanted is None else wanted == checksum
    )


def feature_checksum(features: npt.NDArray[np.float32]) -> str:
    """Return the SHA-256 of features rounded to three decimals."""
    rounded = np.rint(features.astype(np.float64) * 10**_DECIMALS).astype("<i8")
    return hashlib.sha256(rounded.tobytes()).hexdigest()


def _load(path: Path, count: int) -> tuple[npt.NDArray[np.float32], float] | None:
    """Read kept features, or return None where there are none, or the file is not what
    it should be.
    """
    try:
        content = read_npz(path)
        features, explained = content["features"], float(content["explained"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (
        (features, explained)
        if features.shape == (count, WIDTH) and features.dtype == np.float32
        else None
    )


def _train(
    grey: Tensor, epochs: int, seed: int
) -> tuple[npt.NDArray[np.float32], float]:
    # Sums in parallel are rounded by how the work was cut.
    with forked_torch(seed), torch_threads(1), torch.enable_grad():
        network = Autoencoder()
        optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
        batches = -(-len(grey) // _BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, _RATE, total_steps=epochs * batches
        )
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
        errors = torch.cat(
            [
                (network(part) - part).square().mean(dim=(1, 2, 3))
                for part in grey.split(512)
            ]
        )
        spread = grey.var(dim=0, correction=0).mean()
    features = (
        ((codes - codes.mean(dim=0)) / codes.std(dim=0, correction=0).clamp_min(1e-12))
        .float()
        .numpy()
    )
    return features, float(1.0 - errors.mean() / spread)
