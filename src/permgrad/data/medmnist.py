"""Reading MedMNIST: small medical images in one ``.npz`` file, from a path, the user's folder, the cache or their home.

Source: Yang et al., MedMNIST v2, Scientific Data 10:41 (2023); checksums are those of the package medmnist 3.0.2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, unknown
from permgrad.base.files import file_hash
from permgrad.base.registry import Registry
from permgrad.base.stored import read_npz
from permgrad.data.datasets import store

#: The three parts that every file has.
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageCard:
    """A named set of images: its MD5, and the MD5 of other versions of the file, with what they are."""

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
    """Images as read, one part behind the other: pixels (uint8), labels as in the file, and the part of each."""

    name: str
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    part: npt.NDArray[np.str_]
    md5: str

    def __len__(self) -> int:
        return len(self.pixels)


def load_medmnist(name_or_path: str | os.PathLike[str], parts: Sequence[str] = PARTS) -> Images:
    """Read some parts of a MedMNIST file, by its name or the path of any ``.npz`` of the same form.

    A name is looked for in the folder that ``PERMGRAD_DATA`` names, where unknown content gives a warning, then in the
    cache, then downloaded; these must match the checksum.

    Raises:
        InputError: no such name or file, an unknown part, or a file of another form.
        EnvironmentProblem: the file is nowhere and cannot be downloaded; the message says which file to put where.
    """
    for part in parts:
        check_choice("part", part, PARTS)
    if not parts:
        raise InputError(
            f"parts must name at least one of {', '.join(PARTS)}, however: parts={parts!r}; name one of them"
        )
    path, name = find_medmnist(name_or_path)
    arrays = _read(path, parts)
    pixels = [arrays[f"{part}_images"] for part in parts]
    labels = [arrays[f"{part}_labels"] for part in parts]
    for kind, arrays_of_kind in (("images", pixels), ("labels", labels)):
        if len({array.shape[1:] for array in arrays_of_kind}) > 1:
            shapes = ", ".join(f"{part}: {array.shape[1:]}" for part, array in zip(parts, arrays_of_kind, strict=True))
            raise InputError(
                f"all parts must have {kind} of one shape, however {str(path)!r} has {shapes}; write them alike"
            )
    which = np.repeat(list(parts), [len(images) for images in pixels])
    return Images(name, np.concatenate(pixels), np.concatenate(labels), which, file_hash(path, "md5"))


def find_medmnist(name_or_path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return the file's path and the set's name, downloading it if it is named and not on this machine."""
    name = os.fspath(name_or_path)
    if name in image_cards:
        card = image_cards.get(name)
        what, versions = f"image set {name!r}", dict(card.versions)
        return store.find_file(what, card.file_name, "md5", card.md5, card.url, card.url, versions=versions), name
    if name.endswith(".npz") or os.sep in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(
                f"the images must be a file on this machine, however there is none at {str(path)!r}; correct the path, "
                f"or use a name: {', '.join(image_cards.names())}"
            )
        return path, path.stem
    folder = os.environ.get("PERMGRAD_DATA")
    if folder and (file := Path(folder, f"{name}.npz")).is_file():
        return file, name
    problem = unknown("image set", name, image_cards.names())
    raise InputError(f"{problem}; another set is read by its path (….npz), or put into the folder PERMGRAD_DATA names")


def _read(path: Path, parts: Sequence[str]) -> dict[str, npt.NDArray]:
    """Read the arrays of some parts and check that they are what a MedMNIST file holds."""
    wanted = [f"{part}_{kind}" for part in parts for kind in ("images", "labels")]
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the images must be an .npz file as MedMNIST writes it, however {str(path)!r} cannot be read "
            f"({error}); download it again"
        ) from error
    if not arrays.keys() >= set(wanted):
        raise InputError(
            f"a MedMNIST file must hold {', '.join(wanted)}, however {str(path)!r} holds "
            f"{', '.join(arrays) or 'nothing'}; name the arrays so"
        )
    for part in parts:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            raise InputError(
                "images must be uint8 of the shape (images, height, width) or (images, height, width, 3), "
                f"however {part}_images of {str(path)!r} is {images.dtype} {images.shape}; convert the array"
            )
        count = len(labels) if labels.ndim else 0
        if count != len(images):
            raise InputError(
                f"every image must have a label, however {str(path)!r} holds {len(images)} {part}_images and "
                f"{count} {part}_labels; write both for the same images"
            )
        if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
            raise InputError(
                "labels must be whole numbers of the shape (images, labels), "
                f"however {part}_labels of {str(path)!r} is {labels.dtype} {labels.shape}; convert the array"
            )
    return arrays
