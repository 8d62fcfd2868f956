"""What ``permgrad explain`` writes and prints: files, plots, and lines for the terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.attribution.explanation.explanation import positive_output
from permgrad.attribution.explanation.frames import file_frame
from permgrad.attribution.parts.folder import EXPLAINED, writable
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, as_lines, counted, printable
from permgrad.base.files import atomic_path, sweep, what_lies_at, writing
from permgrad.base.folders import is_whole
from permgrad.base.locks import hold_folder
from permgrad.base.numerals import compact
from permgrad.pages.plots import signed_bars
from permgrad.pages.plots.rows import stacks
from permgrad.pages.summary import order_sentence
from permgrad.pages.words import labels_of, value_text
from permgrad.runs.requests import ExplainRequest, Outcome

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: What a unit means.
_UNITS = {
    "logit": "A logit is the raw score of an output. The model turns the scores into probabilities.",
    "y": "Values are in the unit of the target.",
    "nats": "Nats are the unit of log loss: guessing one of two equal classes costs 0.69.",
}
#: Rows, and features of each, that are printed.
_MOST_ROWS, _MOST_FEATURES = 5, 8


# ---- files -----------------------------------------------------------------------------------------------------------
def check_folder(request: ExplainRequest) -> None:
    """Refuse a folder that cannot be written."""
    folder = request.folder
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(
            f"{folder} is {what_lies_at(folder)}, not a folder", hint="Choose another with --out.", code="PG050"
        )
    names = {entry.name for entry in folder.iterdir()}
    if names and ("explanation.json" not in names or names - {*EXPLAINED.names}):
        raise InputError(f"{folder} holds other files", hint="Choose another folder with --out.", code="PG050")
    if names and not request.overwrite:
        problem = f"{folder} already holds an explanation"
        raise InputError(problem, hint="Add --overwrite, or choose another folder with --out.", code="PG050")


def write(folder: Path, explanation: Explanation, rows: pd.DataFrame | None) -> None:
    """Write an explanation with its plots, and the table of the explained rows."""
    with writing(folder, "name another with --out"), atomic_path(folder, folder=True) as temporary:
        explanation.save(temporary)
        write_csv(file_frame(explanation), temporary / "importance.csv")
        if rows is not None:
            write_csv(rows, temporary / "rows.csv")
        for name, figure in _plots(explanation).items():
            figure.save(temporary / "plots" / f"{name}.png")


def draw_once(folder: Path, explanation: Explanation) -> None:
    """Draw the plots of a streamed explanation if some are missing: a process may have stopped before."""
    plots = folder / "plots"
    if is_whole(folder, [plots.name]):
        return
    with writable(folder), hold_folder(folder):
        sweep(folder, plots.name)
        with atomic_path(plots, folder=True) as temporary:
            for name, figure in _plots(explanation).items():
                figure.save(temporary / f"{name}.png")


# ---- plots -----------------------------------------------------------------------------------------------------------
def _plots(explanation: Explanation) -> dict[str, Any]:
    """Return the plots that suit an explanation."""
    plot, local = explanation.plot, explanation.scope == "local"
    one = local and len(explanation.values) == 1
    if one:
        figures = {"image": plot.image()} if "cam" in explanation.maps else {}
        if not stacks(explanation):
            return figures | {"bar": plot.bar()}
        baseline, predicted = explanation.meta.get("baseline"), explanation.predictions
        output = 0 if predicted is None or len(explanation.outputs) < 2 else int(np.argmax(predicted[0]))
        values = explanation.values[0, :, output]
        norm = float(np.abs(values).sum())
        shares = values / norm if norm > 0 else np.zeros_like(values)
        about = f"; baseline: {baseline}" if isinstance(baseline, str) else ""
        label = f"attribution to {explanation.outputs[output]}, absolute values sum to 1{about}"
        # The position among the explained rows is not useful: rows.csv has the row of the table.
        figures["waterfall"] = plot.waterfall(title=f"{explanation.method}, one row")
        return figures | {"normalised": signed_bars(list(explanation.names), shares, label=label)}
    if local:
        return {"beeswarm": plot.beeswarm(), "bar": explanation.to_global().plot.bar()}
    figures = {"bar": plot.bar()}
    if len(explanation.outputs) > 2:
        figures["classes"] = plot.classes()
    return figures | ({"direction": plot.direction()} if explanation.direction else {})


# ---- lines -----------------------------------------------------------------------------------------------------------
def outcome_of(
    request: ExplainRequest, explanation: Explanation, rows: pd.DataFrame | None = None, line: int | None = None
) -> Outcome:
    """Return what is printed of an explanation, and of the rows explained. ``line``: that of a single row."""
    meta = explanation.meta
    lines = [] if rows is None else _row_lines(rows)
    if request.row is not None and rows is not None:
        place = "" if line is None else f" Row {rows['row'].iloc[0]} is line {line} of {request.source.name}."
        lines.append(f"Rows are counted from 0.{place}")
    lines.append(f"{request.method}: {meta.get('quantity', 'importance')} ({meta.get('unit', 'no unit')})")
    lines += importance_lines(explanation, chosen=bool(request.classes))
    if explanation.scope == "global" and (order := order_sentence(explanation, 0, _MOST_FEATURES)):
        lines.append(order.replace("\u00a0", " "))
    lines += [words] if (words := _UNITS.get(str(meta.get("unit")))) else []
    if isinstance(meta.get("baseline"), str):
        lines.append(f"Baseline: {meta['baseline']}.")
    lines.append(f"Written: {request.folder}")
    facts: dict[str, Any] = {"folder": os.fspath(request.folder), "method": request.method, "scope": explanation.scope}
    facts |= {"quantity": meta.get("quantity", "importance"), "unit": meta.get("unit")}
    if rows is not None:
        facts["rows"] = rows.head(1000).to_dict(orient="records")
    return Outcome({**facts, "importance": explanation.to_frame().to_dict(orient="records")[:1000]}, as_lines(lines))


def _row_lines(rows: pd.DataFrame) -> list[str]:
    lines = []
    for facts in rows.head(_MOST_ROWS).to_dict(orient="records"):
        if pd.isna(facts.get("truth")):
            facts.pop("truth", None)
        chances = [f"{name}={value:.3f}" for name, value in facts.items() if str(name).startswith("probability_")]
        plain = {name: value for name, value in facts.items() if not str(name).startswith("probability_")}
        named = [f"{name} {compact(value, 6) if isinstance(value, float) else value}" for name, value in plain.items()]
        named = [part.replace("\u2212", "-") for part in named]  # as in the lists below, and as a shell reads it
        lines.append(f"{', '.join(named)}{'; ' if chances else ''}{', '.join(chances)}")
    return [*lines, f"and {counted(len(rows) - _MOST_ROWS, 'more row')}"] if len(rows) > _MOST_ROWS else lines


def importance_lines(explanation: Explanation, *, chosen: bool) -> list[str]:
    """Return a line for each of the first features in the explanation's ranking.

    Over several rows the mean size is shown, which also ranks them: signed values of different rows cancel. The signed
    mean follows, unless it is the same for every feature. Of a single row, the feature has the row's value. Of two
    classes the positive one is shown. ``chosen``: the user named outputs.
    """
    local = explanation.scope == "local"
    several = local and len(explanation.values) > 1
    glance = explanation.to_global("mean_abs") if local else explanation
    values, signed = glance.values, None
    if local:
        means = explanation.to_global("mean").values
        values = values if several else means
        signed = means if several and not np.array_equal(means, values, equal_nan=True) else None
    lines = []
    if glance.meta.get("summary") == "mean_abs" and (not local or several):
        rows = counted(int(glance.meta["rows_summarised"]), "row")
        lines.append(f"mean size over {rows}{'' if signed is None else ', then the signed mean'}:")
    names = list(explanation.names)
    if local and not several and explanation.feature_values is not None:
        names = _with_values(names, explanation.feature_values.iloc[0])
    for output in _shown_outputs(explanation, chosen=chosen):
        column = explanation.outputs.index(output)
        # As in Explanation.ranking, but by position: two players may share a name.
        order = np.argsort(-np.nan_to_num(glance.values[:, column], nan=-np.inf), kind="stable")
        lines += [f"output {output}:"] if chosen or (len(explanation.outputs) > 1 and output != "all") else []
        shown = order[:_MOST_FEATURES].tolist()
        labels = labels_of(list(map(printable, map(names.__getitem__, shown))), 36)
        for place, name in zip(shown, labels, strict=True):
            beside = "" if signed is None else f"  {_written(signed[place, column], '+'):>11}"
            lines.append(f"  {name:<36}  {_written(values[place, column]):>10}{beside}")
    return lines


def _written(value: float, sign: str = "") -> str:
    return f"{sign if value >= 0 else ''}{compact(value, 4)}".replace("−", "-")


def _shown_outputs(explanation: Explanation, *, chosen: bool) -> list[str]:
    """Return the outputs that are listed: those that the user named, else the sum of all or the positive class."""
    outputs = list(explanation.outputs)
    if outputs[0] == "all":  # the sum over the others, as for the loss of a classifier
        return (outputs[1:] or outputs) if chosen else outputs[:1]
    return [outputs[positive_output(explanation)]] if len(outputs) == 2 and not chosen else outputs


def _with_values(names: list[str], cells: pd.Series[Any]) -> list[str]:
    """Return names with the row's values."""
    return [f"{name} = {value_text(cells[name])}" if name in cells.index else name for name in names]
