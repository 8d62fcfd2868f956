"""``permgrad explain``: a trained model and a table in, an explanation with its plots out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad._errors import EnvironmentProblem, InputError, PermgradError
from permgrad._files import atomic_folder, atomic_path
from permgrad.data.cells import canonical
from permgrad.data.table import blank_codes
from permgrad.runs.cache import Cache
from permgrad.runs.predict import open_model, read_rows
from permgrad.runs.request import Outcome, table_name
from permgrad.runs.stages import use_threads

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

_OURS = {"explanation.json", "values.npz", "importance.csv", "plots"}


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """The options of ``permgrad explain``; see ``permgrad explain --help``."""

    model_folder: Path
    table: Path
    method: str = "permgrad"
    row: int | None = None
    target: tuple[str, ...] = ()
    scope: str = "auto"
    repeats: int = 10
    seed: int = 0
    out: Path | None = None
    overwrite: bool = False
    threads: int | None = None

    @property
    def folder(self) -> Path:
        """The folder to write."""
        if self.out is not None:
            return self.out
        row = "" if self.row is None else f"-row{self.row}"
        return Path(f"{table_name(self.table)}-{self.method}{row}")


def explain_table(request: ExplainRequest) -> Outcome:
    """Explain a model on the rows of a table: ``explanation.json, values.npz, importance.csv, plots/``.

    If the run's target stands in the table, global games measure the loss; else the divergence from the model's own
    prediction. With a row, the explanation is local.

    Raises:
        InputError: No model, no such row or method, a table without the model's columns, or a folder in the way.
        EnvironmentProblem: The folder cannot be written.
    """
    import permgrad.attribution as _registered  # noqa: F401 — importing the package registers every method
    from permgrad.attribution.explain import explain
    from permgrad.attribution.method import methods

    chosen = methods.get(request.method)
    _check_folder(request)
    model, data = open_model(request.model_folder)
    use_threads(request.threads)
    rows, whole = read_rows(model, data, request.table)
    if request.row is not None and request.row >= len(rows):
        raise InputError(
            f"row must be below the number of rows, however: --row {request.row} and {request.table} has "
            f"{len(rows)} rows, counted from 0"
        )
    scope = cast("Literal['auto', 'global', 'local']", request.scope)
    if request.row is not None and scope == "auto" and "local" in chosen.scopes:
        scope = "local"
    y, kept = _truth(model, data, whole, request)
    if request.row is not None:
        kept = np.array([request.row])
        y = None if y is None else y[[request.row]]
    elif y is not None:
        y = y[kept]
    options: dict[str, Any] = {} if request.row is None or scope != "local" else _offset(request.row)
    explanation = Cache.of(request.model_folder).explain(
        explain,
        model,
        rows.iloc[kept],
        y if scope != "local" else None,
        method=request.method,
        scope=scope,
        target=_targets(model, request.target),
        n_repeats=request.repeats,
        random_state=request.seed,
        **options,
    )
    _write(request.folder, explanation)
    return _outcome(request, explanation)


def _offset(row: int) -> dict[str, Any]:
    """Let a row explained alone draw the donors that it draws among all rows."""
    return {"row_offset": row}


def _truth(
    model: Any, data: Mapping[str, Any], whole: pd.DataFrame, request: ExplainRequest
) -> tuple[npt.NDArray[Any] | None, npt.NDArray[np.int64]]:
    """Return the target of all rows, if it is there, and the rows that can be explained with it."""
    everything = np.arange(len(whole), dtype=np.int64)
    target = data.get("target")
    if target is None or target not in whole.columns or request.row is not None:
        return None, everything
    values = blank_codes(whole[[target]], list(data.get("na_codes", ())))[target]
    known = values.notna().to_numpy()
    if not known.any():
        return None, everything
    if data["task"] == "classification":
        # Classes are compared as text: a file may hold 1 where the model learnt from 1.0, or the other way round.
        labels = {canonical(label): label for label in model.classes_.tolist()}
        y = np.array([labels.get(canonical(value)) for value in values.tolist()], dtype=object)
        known = np.array([value is not None for value in y])
        return (y, everything[known]) if known.any() else (None, everything)
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise InputError(
            f"the target must hold numbers as in training, however: column {target!r} of {request.table} holds text; "
            "correct it, or leave the column out"
        )
    return values.to_numpy(dtype=np.float64), everything[known]


def _targets(model: Any, wanted: tuple[str, ...]) -> list[int | str] | None:
    """Return the outputs asked for: classes by name, or positions."""
    if not wanted:
        return None
    names = [str(label) for label in getattr(model, "classes_", np.array(["all"])).tolist()]
    return [name if name in names or not name.isdigit() else int(name) for name in wanted]


# ---- files -----------------------------------------------------------------------------------------------------------
def _check_folder(request: ExplainRequest) -> None:
    folder = request.folder
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(
            f"an explanation is written into a folder, however: {folder} is a file; name another with --out"
        )
    names = {entry.name for entry in folder.iterdir()}
    if not names:
        return
    if "explanation.json" not in names or names - _OURS:
        raise InputError(
            f"an explanation's folder must be new or empty, however: {folder} holds other files; "
            "name another with --out"
        )
    if not request.overwrite:
        raise InputError(
            f"a folder must not be replaced in silence, however: {folder} holds an explanation; "
            "add --overwrite or name another with --out"
        )


def _write(folder: Path, explanation: Explanation) -> None:
    try:
        with atomic_folder(folder) as temporary:
            explanation.save(temporary)
            with atomic_path(temporary / "importance.csv") as file:
                explanation.to_frame().to_csv(file, index=False)
            for name, figure in _plots(explanation).items():
                figure.save(temporary / "plots" / f"{name}.png")
    except PermgradError:
        raise
    except OSError as error:
        raise EnvironmentProblem(
            f"the explanation must be written, however: {folder}: {error.strerror or error}; name another with --out"
        ) from error


def _plots(explanation: Explanation) -> dict[str, Any]:
    """Return the plots that suit an explanation."""
    plot = explanation.plot
    if explanation.scope == "local" and len(explanation.values) == 1:
        images = {"image": plot.image()} if "cam" in explanation.maps else {}
        return images | ({"waterfall": plot.waterfall()} if explanation.additive else {"bar": plot.bar()})
    if explanation.scope == "local":
        return {"beeswarm": plot.beeswarm(), "bar": explanation.to_global().plot.bar()}
    found = {"bar": plot.bar()}
    if len(explanation.outputs) > 2:
        found["classes"] = plot.classes()
    if explanation.direction:
        found["direction"] = plot.direction()
    return found


def _outcome(request: ExplainRequest, explanation: Explanation) -> Outcome:
    glance = explanation if explanation.scope == "global" else explanation.to_global("mean")
    outputs = list(glance.outputs)[:1] if outputs_share_a_unit(glance) else list(glance.outputs)
    lines = [f"{request.method}: {glance.meta.get('quantity', 'importance')} ({glance.meta.get('unit', 'no unit')})"]
    for output in outputs:
        column = outputs_index(glance, output)
        order = np.argsort(-np.abs(np.nan_to_num(glance.values[:, column])), kind="stable")
        lines += [] if len(outputs) == 1 else [f"output {output}:"]
        for place in order[:8]:
            lines.append(f"  {glance.names[place]:<30.30}  {glance.values[place, column]:>10.4g}")
    lines.append(f"Written: {request.folder}")
    facts = {"folder": os.fspath(request.folder), "method": request.method, "scope": explanation.scope}
    return Outcome({**facts, "importance": explanation.to_frame().to_dict(orient="records")[:1000]}, "\n".join(lines))


def outputs_share_a_unit(explanation: Explanation) -> bool:
    """Whether the first output sums up the others, as ``all`` does for the loss of a classifier."""
    return explanation.outputs[0] == "all"


def outputs_index(explanation: Explanation, output: str) -> int:
    """Return the position of an output."""
    return explanation.outputs.index(output)
