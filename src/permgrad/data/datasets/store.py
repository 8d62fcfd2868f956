"""Finding a named data set's file: the user's folder, the cache, its home."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path

import pandas as pd

from permgrad.base.errors import EnvironmentProblem, PermgradWarning
from permgrad.base.files import atomic_path, file_hash
from permgrad.data.datasets.card import DataCard, Dataset, cards
from permgrad.data.read.table import read_table


def list_datasets() -> list[str]:
    """Return the names of all data sets.

    Examples:
        >>> "heloc" in list_datasets()
        True
    """
    return cards.names()


def get_card(name: str) -> DataCard:
    """Return the data card of a named set.

    Raises:
        InputError: no such name.

    Examples:
        >>> get_card("heloc").na_codes
        (-9, -8, -7)
    """
    return cards.get(name)


def load_dataset(name: str) -> Dataset:
    """Load a named data set, from ``PERMGRAD_DATA``, the cache, or its home.

    Raises:
        InputError: no such name.
        EnvironmentProblem: the file is nowhere and cannot be downloaded; the message says which file to put where.

    Examples:
        >>> data = load_dataset("breast_cancer")
        >>> data.X.shape, data.task
        ((569, 30), 'classification')
    """
    card = cards.get(name)
    if card.build is not None:
        return Dataset(card.build(), card)
    frame: pd.DataFrame = read_table(fetch_dataset(name) or "")
    return Dataset(frame, card)


def cache_folder() -> Path:
    """Return the folder for downloads: ``PERMGRAD_CACHE``, or the platform's cache folder."""
    named = os.environ.get("PERMGRAD_CACHE")
    if named:
        return Path(named)
    import pooch

    return Path(pooch.os_cache("permgrad"))


def fetch_dataset(name: str) -> Path | None:
    """Make sure that a data set is on this machine.

    A file in ``PERMGRAD_DATA`` is the user's own: another content than the card's gives a warning. A file in the
    cache must have the card's content.

    Returns:
        Path of the file, or None when the set ships inside a dependency.

    Raises:
        InputError: no such name.
        EnvironmentProblem: the file is nowhere and cannot be downloaded.
    """
    card = cards.get(name)
    if card.file_name is None:
        return None
    own = os.environ.get("PERMGRAD_DATA")
    if own:
        file = Path(own, card.file_name)
        if file.is_file():
            found = file_hash(file)
            if found != card.sha256:
                warnings.warn(
                    f"the file of data set {name!r} should have the SHA-256 {card.sha256}, however {str(file)!r} has"
                    f" {found}; it is used as it is",
                    PermgradWarning,
                    stacklevel=2,
                )
            return file
    cached = cache_folder() / card.file_name
    if cached.is_file():
        if file_hash(cached) == card.sha256:
            return cached
        raise EnvironmentProblem(
            f"the file of data set {name!r} must have the SHA-256 {card.sha256}, however {str(cached)!r} has"
            f" {file_hash(cached)}; remove it, or name your own folder in PERMGRAD_DATA"
        )
    return _download(card, cached)


def _by_hand(card: DataCard, cached: Path) -> str:
    return (
        f"put the file {card.file_name} (SHA-256 {card.sha256}; its origin is {card.home}) into {str(cached.parent)!r},"
        " or name the folder that holds it in the environment variable PERMGRAD_DATA"
    )


def _download(card: DataCard, cached: Path) -> Path:
    if card.download is None:
        raise EnvironmentProblem(
            f"data set {card.name!r} must be on this machine, however it is not and has no download;"
            f" {_by_hand(card, cached)}"
        )
    url = card.download.url
    try:
        content = fetch_bytes(url)
        made = card.download.convert(content) if card.download.convert is not None else content
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EnvironmentProblem(
            f"data set {card.name!r} must be on this machine, however it is not and {url} cannot be used "
            f"({type(error).__name__}); {_by_hand(card, cached)}"
        ) from error
    found = hashlib.sha256(made).hexdigest()
    if found != card.sha256:
        raise EnvironmentProblem(
            f"the download of data set {card.name!r} must have the SHA-256 {card.sha256}, however {url} gave {found}; "
            f"{_by_hand(card, cached)}"
        )
    return keep(made, cached)


def keep(content: bytes, cached: Path) -> Path:
    """Write a download whose content has been checked into the cache, in one step, and return where it is.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    try:
        with atomic_path(cached) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise EnvironmentProblem(
            f"the cache folder must be writable, however {str(cached.parent)!r}: {error.strerror}; name another folder "
            "in the environment variable PERMGRAD_CACHE"
        ) from error
    return cached


def fetch_bytes(url: str) -> bytes:
    """Download to memory; the content is checked by the caller, after conversion.

    Raises:
        OSError, ValueError: as pooch raises them.
    """
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    folder = tempfile.mkdtemp(prefix="permgrad-")
    try:
        logger.setLevel("ERROR")
        return Path(pooch.retrieve(url, known_hash=None, fname="download", path=folder)).read_bytes()
    finally:
        logger.setLevel(level)
        shutil.rmtree(folder, ignore_errors=True)
