"""What is known about named data sets, and where their files are: the user's folder,
the cache, their home.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from permgrad.base.errors import EnvironmentProblem, warn_user
from permgrad.base.files import atomic_path, file_hash
from permgrad.base.registry import Registry
from permgrad.data.read.table import read_table


@dataclass(frozen=True)
class Download:
    """Where a file can be fetched, and how its bytes become those of the card's file.

    None: they are the same.
    """

    url: str
    convert: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True)
class DataCard:
    """A data card: what a named data set is, where it lives, and what a program must
    know to use it.
    """

    name: str  # on the command line
    title: str  # for people
    home: str  # page of the original
    licence: str  # or what is known of it
    target: str
    task: str
    description: str  # what a row is, one or two sentences
    rows: int
    columns: int  # of the file, target included
    file_name: str | None = (
        None  # the file looked up. None: it ships inside a dependency
    )
    sha256: str | None = None
    na: tuple[str | int | float, ...] = ()  # values that stand for missing
    groups: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # columns that act as one: one-hot columns
    not_features: tuple[str, ...] = ()  # columns that must not be used to predict
    positive: str | int | None = (
        None  # the class that counts as positive when there are two
    )
    notes: tuple[
        str, ...
    ] = ()  # what a reader should know, and why a download is not possible
    story: str | None = (
        # which published readings of the set recur: a sentence that a run of it prints
        None
    )
    download: Download | None = None  # None: only by hand
    build: Callable[[], pd.DataFrame] | None = (
        None  # makes the frame when the set ships inside a dependency
    )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form for reports."""
        facts = {}
        for field_name, value in vars(self).items():
            if field_name != "build":
                facts[field_name] = value
        groups = {}
        for group_name, columns in self.groups.items():
            groups[group_name] = list(columns)
        return {
            **facts,
            "groups": groups,
            "download": self.download.url if self.download else None,
        }


@dataclass(frozen=True)
class Dataset:
    """A loaded data set: features and target in one frame, codes for missing untouched,
    and its card.
    """

    frame: pd.DataFrame
    card: DataCard

    @property
    def target(self) -> str:
        """The target's column."""
        return self.card.target

    @property
    def task(self) -> str:
        """``"classification"`` or ``"regression"``."""
        return self.card.task

    @property
    def na(self) -> tuple[str | int | float, ...]:
        """Values that stand for missing."""
        return self.card.na

    @property
    def groups(self) -> dict[str, list[str]]:
        """Columns that act as one, such as the one-hot columns of a variable:
        ``TableEncoder(groups=…)``.
        """
        return {
            group_name: list(columns)
            for group_name, columns in self.card.groups.items()
        }

    @property
    def not_features(self) -> tuple[str, ...]:
        """Columns that must not be used to predict."""
        return self.card.not_features

    @property
    def feature_names(self) -> list[str]:
        """Columns to predict from."""
        return [
            column_name
            for column_name in self.frame.columns
            if column_name != self.target and column_name not in self.not_features
        ]

    @property
    def X(self) -> pd.DataFrame:  # noqa: N802 — X is the field's name for a table
        """Feature columns."""
        return self.frame[self.feature_names]

    @property
    def y(self) -> pd.Series[Any]:
        """Target column."""
        return self.frame[self.target]


cards: Registry[DataCard] = Registry("data set")
"""All named data sets; a new one is a card in ``sets``."""


def list_datasets() -> list[str]:
    """Return the names of all data sets."""
    return list(cards)


def get_card(name: str) -> DataCard:
    """Return the data card of a named set. ``InputError``: no such name."""
    return cards.get(name)


def load_dataset(name: str) -> Dataset:
    """Load a named data set, from ``PERMGRAD_DATA``, the cache, or its home.

    Raises:
        InputError: no such name.
        EnvironmentProblem: the file is nowhere and cannot be downloaded. The message
            says which file to put where.

    Examples:
        >>> data = load_dataset("breast_cancer")
        >>> data.X.shape, data.task
        ((569, 30), 'classification')
    """
    data_card = cards.get(name)
    if data_card.build is not None:
        return Dataset(data_card.build(), data_card)
    return Dataset(read_table(fetch_dataset(name) or ""), data_card)


def cache_folder() -> Path:
    """Return the folder for downloads: ``PERMGRAD_CACHE``, or the platform's cache
    folder.
    """
    import pooch

    return Path(os.environ.get("PERMGRAD_CACHE") or pooch.os_cache("permgrad"))


def fetch_dataset(name: str) -> Path | None:
    """Return the file of a data set, downloaded if it is not on this machine.

    None when it ships in a dependency.
    """
    data_card = cards.get(name)
    if data_card.file_name is None:
        return None
    download_url, convert = (
        (data_card.download.url, data_card.download.convert)
        if data_card.download
        else (None, None)
    )
    description = f"data set {name!r}"
    checksum = data_card.sha256 or ""
    return find_file(
        description,
        data_card.file_name,
        "sha256",
        checksum,
        data_card.home,
        download_url,
        convert=convert,
    )


def find_file(
    what: str,
    file_name: str,
    digest: Literal["sha256", "md5"],
    checksum: str,
    origin: str,
    url: str | None,
    *,
    convert: Callable[[bytes], bytes] | None = None,
    versions: Collection[str] = (),
) -> Path:
    """Return a file from ``PERMGRAD_DATA`` (content in no ``versions`` warns), the
    cache, or downloaded into it.
    """
    algorithm = {"sha256": "SHA-256", "md5": "MD5"}[digest]
    if folder := os.environ.get("PERMGRAD_DATA"):
        local_file = Path(folder, file_name)
        if local_file.is_file():
            content = file_hash(local_file, digest)
            if content != checksum and content not in versions:
                warn_user(
                    f"The file of {what} ({str(local_file)!r}) has the {algorithm} "
                    f"{content}, not the {checksum} of its source",
                    "It is used unchanged.",
                )
            return local_file
    cached = cache_folder() / file_name
    if cached.is_file():
        if (content := file_hash(cached, digest)) == checksum:
            return cached
        raise EnvironmentProblem(
            f"The file of {what} ({str(cached)!r}) has the {algorithm} {content}, not "
            f"the {checksum} of its source",
            hint="Remove it, or name a folder with the file in PERMGRAD_DATA.",
            code="PG063",
        )
    by_hand = (
        f"Put the file {file_name} ({algorithm} {checksum}, from {origin}) into "
        f"{str(cached.parent)!r}, or name the folder that holds it in the environment "
        "variable PERMGRAD_DATA."
    )
    if url is None:
        raise EnvironmentProblem(
            f"The file of {what} is not on this machine and has no download",
            by_hand,
            "PG063",
        )
    try:
        content_bytes = fetch_bytes(url)
        content_bytes = convert(content_bytes) if convert is not None else content_bytes
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        problem = (
            f"The file of {what} is not on this machine, and {url} cannot be "
            f"downloaded ({type(error).__name__})"
        )
        raise EnvironmentProblem(problem, hint=by_hand, code="PG063") from error
    content = hashlib.new(digest, content_bytes, usedforsecurity=False).hexdigest()
    if content != checksum:
        problem = (
            f"The download of {what} from {url} has the {algorithm} {content}, "
            f"not the {checksum} of its source"
        )
        raise EnvironmentProblem(problem, hint=by_hand, code="PG063")
    try:
        with atomic_path(cached) as temporary:
            temporary.write_bytes(content_bytes)
    except OSError as error:
        problem = (
            f"Cannot write to the cache folder {str(cached.parent)!r}: {error.strerror}"
        )
        cache_hint = "Name another folder in the environment variable PERMGRAD_CACHE."
        raise EnvironmentProblem(problem, hint=cache_hint, code="PG062") from error
    return cached


def fetch_bytes(url: str) -> bytes:
    """Download to memory. The content is checked by the caller, after conversion."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    folder = tempfile.mkdtemp(prefix="permgrad-")
    try:
        logger.setLevel("ERROR")
        return Path(
            pooch.retrieve(url, known_hash=None, fname="download", path=folder)
        ).read_bytes()
    finally:
        logger.setLevel(level)
        shutil.rmtree(folder, ignore_errors=True)
