"""Explanations that were computed before, found again by what they were computed from.

The key is a hash of the saved model, the rows, the method and all its options. An entry is a folder as
``Explanation.save`` writes it with the hashes of its files: one that was damaged is noticed, and built again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad import __version__
from permgrad.base.errors import InputError, warn_user
from permgrad.base.files import atomic_path, file_hash, write_json_atomic
from permgrad.base.stored import parse_json
from permgrad.runs.folder.folder import CACHE, configuration_hash, read_record
from permgrad.runs.requests import run_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

_SUMS = "sums.json"


@dataclass(frozen=True)
class Cache:
    """The explanations kept in a folder, of a model by its hash; without a folder nothing is kept."""

    folder: Path | None
    model: str = ""

    @classmethod
    def of(cls, model_folder: Path) -> Cache:
        """Return the cache of a run by its folder or its model's; a model that stands alone has none."""
        run = run_of(model_folder)
        saved = run / "model"
        if not saved.is_dir() or model_folder not in (run, saved) or read_record(run) is None:
            return cls(None)
        return cls(run / CACHE, folder_hash(saved))

    def key(self, method: str, X: pd.DataFrame, y: npt.NDArray[Any] | None, options: Mapping[str, Any]) -> str:
        """Return the name of the entry that belongs to these rows, this method and these options."""
        facts = {"version": __version__, "model": self.model, "method": method, "data": rows_hash(X, y)}
        return f"{method}-{configuration_hash({'facts': facts, 'options': dict(options)})[:24]}"

    def explain(
        self,
        compute: Callable[..., Explanation],
        model: Any,
        X: pd.DataFrame,
        y: npt.NDArray[Any] | None = None,
        *,
        method: str = "permgrad",
        store: Path | None = None,
        **options: Any,
    ) -> Explanation:
        """Return an explanation: from its file if it is there and whole, else computed and kept.

        It is also saved in the folder ``store``; ``meta["cached"]`` says whether it was read. ``compute`` is
        ``permgrad.explain``, the seed is among its options.
        """
        entry = None if self.folder is None else self.folder / self.key(method, X, y, options)
        cached = None if entry is None else _read(entry)
        explanation = compute(model, X, y, method=method, **options) if cached is None else cached
        explanation.meta["cached"] = cached is not None
        if store is not None:
            explanation.save(store, overwrite=True)
        if entry is not None and cached is None:
            # A folder of somebody else's run can be read but not written; the explanation is good all the same.
            with suppress(OSError), atomic_path(entry, folder=True) as temporary:
                if store is None:
                    explanation.save(temporary, overwrite=True)
                else:
                    shutil.copytree(store, temporary, dirs_exist_ok=True)
                sums = {path.name: file_hash(path) for path in sorted(temporary.iterdir()) if path.is_file()}
                write_json_atomic(temporary / _SUMS, sums)
        return explanation


def _read(entry: Path) -> Explanation | None:
    """Return the explanation of an entry, or None if there is none or it is damaged."""
    from permgrad.attribution.explanation import Explanation

    if not entry.is_dir():
        return None
    try:
        sums = parse_json((entry / _SUMS).read_bytes())
        if {name: file_hash(entry / name) for name in sums} == sums:
            return Explanation.load(entry)
    except (OSError, ValueError, TypeError, AttributeError, InputError):
        pass
    warn_user(f"a saved explanation must be as it was written, however: {entry} is damaged; it is computed again")
    return None


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 of all files in a folder, with their names."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(folder).as_posix()}\0{file_hash(path)}\n".encode())
    return total.hexdigest()


def rows_hash(X: pd.DataFrame, y: npt.NDArray[Any] | None = None) -> str:
    """Return the SHA-256 of a table's column names and values in their order, row labels left out, and of targets."""
    total = hashlib.sha256()
    for name, values in [*X.items(), *([] if y is None else [("\0target", pd.Series(np.asarray(y)))])]:
        total.update(f"{name}\0{values.dtype}\0".encode("utf-8", "surrogatepass"))
        try:
            codes = pd.util.hash_pandas_object(values, index=False)
        except TypeError:  # objects of mixed kinds
            codes = pd.util.hash_pandas_object(values.map(repr), index=False)
        total.update(np.ascontiguousarray(codes.to_numpy(dtype=np.uint64)).tobytes())
    return total.hexdigest()
