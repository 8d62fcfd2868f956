"""Reading MedMNIST: small medical images in one ``.npz`` file, from a path, the user's folder, the cache or their home.

Source: Yang et al., MedMNIST v2, Scientific Data 10:41 (2023). Checksums are those of the package medmnist 3.0.2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import Fault, InputError, did_you_mean, must, refusing, turned, unknown
from permgrad.base.files import file_hash
from permgrad.base.registry import Registry
from permgrad.base.stored import read_npz
from permgrad.data.datasets import store

#: The three parts that every file has.
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageCard:
    """A named set of images: its MD5, and the MD5 of other versions of the file, each with a description."""

    name: str
    title: str
    md5: str
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """Where the file is downloaded from."""
        return f"https://zenodo.org/records/10519652/files/{self.name}.npz?download=1"

    @property
    def file_name(self) -> str:
        """The file looked up."""
        return f"{self.name}.npz"


image_cards: Registry[ImageCard] = Registry("image set")
"""Named sets of images; any other file of the same form can be read by its path."""

_SMALLER = ("f5b994ec7c2fe8bc81ae15cbab7c3df8", "a part of 5,030 images: 3,882 + 524 + 624")
for _card in (
    ImageCard("organamnist", "OrganAMNIST: abdominal CT, axial", "68e3f8846a6bd62f0c9bf841c0d9eacc"),
    ImageCard("organcmnist", "OrganCMNIST: abdominal CT, coronal", "b9ceb9546e10131b32923c5bbeaea2b1"),
    ImageCard("organsmnist", "OrganSMNIST: abdominal CT, sagittal", "9ab87b696fb54e2a387ebe992d6ed5f1"),
    ImageCard("pneumoniamnist", "PneumoniaMNIST: chest X-rays", "28209eda62fecd6e6a2d98b1501bb15f", (_SMALLER,)),
):
    image_cards.register(_card.name)(_card)


@dataclass(frozen=True)
class Images:
    """The pixels (uint8) of all images, one part behind the other, and the name and MD5 of their file."""

    name: str
    pixels: npt.NDArray[np.uint8]
    md5: str

    def __len__(self) -> int:
        return len(self.pixels)


def load_medmnist(name_or_path: str | os.PathLike[str]) -> Images:
    """Read a MedMNIST file, by its name or the path of any ``.npz`` of the same form.

    A name is looked for in the folder that ``PERMGRAD_DATA`` names, where unknown content gives a warning, then in the
    cache, then downloaded. These must match the checksum.

    Raises:
        InputError: no such name or file, or a file of another form.
        EnvironmentProblem: the file is nowhere and cannot be downloaded. The message says which file to put where.
    """
    path, name = find_medmnist(name_or_path)
    arrays = _read(path)
    return Images(name, np.concatenate([arrays[f"{part}_images"] for part in PARTS]), file_hash(path, "md5"))


def find_medmnist(name_or_path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return the file's path and the set's name, downloading it if it is named and not on this machine."""
    name = os.fspath(name_or_path)
    if name in image_cards:
        card = image_cards.get(name)
        what, versions = f"image set {name!r}", dict(card.versions)
        return store.find_file(what, card.file_name, "md5", card.md5, card.url, card.url, versions=versions), name
    if name.endswith(".npz") or Path(name).name != name:
        path = Path(name).expanduser()
        if not path.is_file():
            hint = f"Correct the path, or use a name: {', '.join(list(image_cards))}."
            raise InputError(f"Image file {str(path)!r} not found", hint=hint, code="PG010")
        return path, path.stem
    folder = os.environ.get("PERMGRAD_DATA")
    if folder and (file := Path(folder, f"{name}.npz")).is_file():
        return file, name
    problem = unknown("image set", name, list(image_cards))
    hint = did_you_mean(name, list(image_cards), "For another set, pass the path of its .npz file.")
    raise InputError(problem.problem, hint=hint, code=problem.code)


def _read(path: Path) -> dict[str, npt.NDArray]:
    """Read the arrays of all parts and check that they are what a MedMNIST file holds."""
    wanted = [f"{part}_{kind}" for part in PARTS for kind in ("images", "labels")]
    which = f"Cannot read {str(path)!r} as an .npz file of MedMNIST"
    with turned(lambda error: InputError(f"{which} ({error})", "Download it again.", "PG011"), OSError, ValueError):
        arrays = read_npz(path)
        must(arrays.keys() >= set(wanted), f"it holds {', '.join(arrays) or 'nothing'} and not {', '.join(wanted)}")
    _check_parts(path, arrays)
    return arrays


@refusing
def _check_parts(path: Path, arrays: Mapping[str, npt.NDArray]) -> Iterator[Fault]:
    for part in PARTS:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            problem = (
                "Images must be uint8 of the shape (images, height, width) or (images, height, width, 3), "
                f"but {part}_images of {str(path)!r} is {images.dtype} {images.shape}"
            )
            yield problem, "Convert the array.", "PG019"
        count = len(labels) if labels.ndim else 0
        if count != len(images):
            problem = (
                f"Every image needs a label, but {str(path)!r} holds {len(images)} {part}_images and "
                f"{count} {part}_labels"
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
            problem = f"All parts of {str(path)!r} must have {kind} of one shape, got {shapes}"
            yield problem, "Write them alike.", "PG007"
