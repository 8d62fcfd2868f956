"""What one benchmark run is asked for, the same for every suite."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from permgrad.base.checks import check_choice, check_whole
from permgrad.base.errors import InputError

Scale = Literal["full", "quick"]


@dataclass(frozen=True)
class Settings:
    """How large, how often and against whom.

    ``"quick"`` has fewer functions, rows, epochs and repeats, to see that everything
    runs. Its figures are no results. ``methods`` are names of contestants (empty: all).
    ``data`` is a folder with local copies of data sets (None: that of
    ``PERMGRAD_DATA``). ``images`` are sets of the multimodal suite, one for both images
    or one for each: names of MedMNIST sets or paths of files in their form.
    """

    scale: Scale = "full"
    methods: tuple[str, ...] = ()
    peers: bool = True
    threads: int | None = None
    data: Path | None = None
    images: tuple[str, ...] = ()
    progress: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, ("full", "quick"))
        if self.threads is not None:
            check_whole("threads", self.threads, "leave it out for the default")
        if len(self.images) > 2:
            problem = f"images must name 1 or 2 sets, got {len(self.images)}"
            raise InputError(
                problem, hint="Name one for both images, or one for each.", code="PG007"
            )

    @property
    def quick(self) -> bool:
        """Whether this is the short form."""
        return self.scale == "quick"

    @property
    def data_folder(self) -> Path | None:
        """Folder with local copies of data sets, if there is one."""
        named = self.data or os.environ.get("PERMGRAD_DATA")
        return Path(named) if named else None

    def wants(self, name: str) -> bool:
        """Say whether a contestant was asked for."""
        return not self.methods or name in self.methods

    def to_dict(self) -> dict[str, Any]:
        """Return what changes the results: neither threads nor the place of the data
        do.
        """
        images = {"images": list(self.images)} if self.images else {}
        return {
            "scale": self.scale,
            "methods": sorted(self.methods),
            "peers": self.peers,
            **images,
        }
