"""Explanations that are computed once: by a hash of the model, the rows, the method and all its options."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from permgrad.attribution.explanation import Explanation
from permgrad.base import __version__
from permgrad.base.errors import InputError, warn_user
from permgrad.base.files import atomic_path, file_hash, write_json_atomic
from permgrad.base.folders import configuration_hash
from permgrad.base.stored import TIMES, read_json
from permgrad.data.read.cells import rows_hash

_SUMS = "sums.json"


@dataclass(frozen=True)
class Cache:
    """The explanations that are cached in a folder, of a model by its hash. Without a folder nothing is cached.

    An entry's name is a hash of the saved model, the rows, the method and all its options. The entry is a folder as
    ``Explanation.save`` writes it, with the hashes of its files: a damaged one is computed again.
    """

    folder: Path | None = None
    model: str = ""

    def explain(
        self,
        compute: Callable[..., Explanation],
        model: Any,
        X: Any,
        y: npt.NDArray[Any] | None = None,
        *,
        method: str = "permgrad",
        **options: Any,
    ) -> Explanation:
        """Return an explanation of a frame or encoded rows from the cache, or compute and cache it.

        ``meta["cached"]`` is true if it was read. ``compute`` is ``permgrad.explain``. The seed is among the options.
        """
        entry = cached = None
        if self.folder is not None:
            table = X if isinstance(X, pd.DataFrame) else X.table
            facts = {"version": __version__, "model": self.model, "method": method, "data": rows_hash(table, y)}
            entry = self.folder / f"{method}-{configuration_hash({'facts': facts, 'options': options})[:24]}"
        if entry is not None and entry.is_dir():
            with suppress(OSError, ValueError, TypeError, AttributeError, InputError):
                sums = read_json(entry / _SUMS)
                if {name: file_hash(entry / name) for name in sums} == sums:
                    cached = Explanation.load(entry)
            if cached is None:
                warn_user(f"The saved explanation {entry} is damaged. It is computed again.")
        explanation = compute(model, X, y, method=method, **options) if cached is None else cached
        explanation.meta["cached"] = cached is not None
        if entry is not None and cached is None:
            # The folder may be read-only. The explanation is valid without the cache.
            with suppress(OSError), atomic_path(entry, folder=True) as temporary:
                explanation.save(temporary, overwrite=True)
                files = [path for path in sorted(temporary.iterdir()) if path.is_file() and path.name != TIMES]
                sums = {path.name: file_hash(path) for path in files}
                write_json_atomic(temporary / _SUMS, sums)
        return explanation
