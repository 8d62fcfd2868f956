"""What ``permgrad explain`` writes and prints of an explanation: files, plots, and the lines of a terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.parts.folder import LOCAL, PARTS, RECORD, writable
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, counted
from permgrad.base.files import atomic_path, sweep, what_lies_at, writing
from permgrad.base.locks import hold_folder
from permgrad.report.plots.rows import stacks
from permgrad.runs.requests import ExplainRequest, Outcome
from permgrad.runs.run.images import image_inputs

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

_OURS = {"explanation.json", "values.npz", "importance.csv", "rows.csv", "plots", RECORD, PARTS, LOCAL}
#: Rows, and features of each, that are printed.
_MOST_ROWS, _MOST_FEATURES = 5, 8


# ---- files -----------------------------------------------------------------------------------------------------------
def check_folder(request: ExplainRequest) -> None:
    """Refuse a folder that is in the way."""
    folder = request.folder
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(
            f"an explanation is written into a folder, however: {folder} is {what_lies_at(folder)}; name another "
            "with --out"
        )
    names = {entry.name for entry in folder.iterdir()}
    if names and ("explanation.json" not in names or names - _OURS):
        raise InputError(
            f"an explanation's folder must be new or empty, however: {folder} holds other files; "
            "name another with --out"
        )
    if names and not request.overwrite:
        raise InputError(
            f"a folder must not be replaced in silence, however: {folder} holds an explanation; "
            "add --overwrite or name another with --out"
        )


def write(folder: Path, explanation: Explanation, rows: pd.DataFrame | None) -> None:
    """Write an explanation with its plots, and the table of the rows explained."""
    from permgrad.attribution.explanation import file_frame

    with (
        writing("the explanation must be written", folder, "name another with --out"),
        atomic_path(folder, folder=True) as temporary,
    ):
        explanation.save(temporary)
        for name, table in (("importance.csv", file_frame(explanation)), ("rows.csv", rows)):
            if table is not None:
                with atomic_path(temporary / name) as file:
                    write_csv(table, file)
        for name, figure in _plots(explanation).items():
            figure.save(temporary / "plots" / f"{name}.png")


def draw_once(folder: Path, explanation: Explanation) -> None:
    """Draw a streamed explanation beside it, unless that was done: a process may have been killed in between."""
    plots = folder / "plots"
    if plots.exists():
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
    if image_inputs(explanation):
        return _network_plots(explanation, one=one)
    if one:
        figures = {"image": plot.image()} if "cam" in explanation.maps else {}
        if not stacks(explanation):
            return figures | {"bar": plot.bar()}
        from permgrad.report.plots import signed_bars

        output, baseline = _shown_column(explanation), explanation.meta.get("baseline")
        about = f"; baseline: {baseline}" if isinstance(baseline, str) else ""
        label = f"attribution to {explanation.outputs[output]}, absolute values sum to 1{about}"
        # The position among the rows explained says nothing here: rows.csv names the row of the table.
        figures["waterfall"] = plot.waterfall(title=f"{explanation.method}, one row")
        return figures | {"normalised": signed_bars(list(explanation.names), _shares(explanation, 0), label=label)}
    if local:
        return {"beeswarm": plot.beeswarm(), "bar": explanation.to_global().plot.bar()}
    figures = {"bar": plot.bar()}
    if len(explanation.outputs) > 2:
        figures["classes"] = plot.classes()
    return figures | ({"direction": plot.direction()} if explanation.direction else {})


def _network_plots(explanation: Explanation, *, one: bool) -> dict[str, Any]:
    """Return the plots of a network with images: each input's features on their own axis, and what lies over images."""
    plot, local = explanation.plot, explanation.scope == "local"
    figures = {} if explanation.level == "modality" else {"features": plot.features()}
    if one and stacks(explanation):
        figures["waterfall"] = plot.waterfall(title=f"{explanation.method}, one row")
    elif local and explanation.additive:
        figures["beeswarm"] = plot.beeswarm()
    output = _shown_column(explanation) if one else None
    over_images = explanation if one or not local else explanation.to_global("mean")
    title = f"{explanation.method}, one row, {explanation.outputs[output or 0]}" if one else None
    for name in image_inputs(over_images):
        file = f"image-{''.join(sign if sign.isalnum() else '_' for sign in name)}"
        figures[file] = over_images.plot.image(input=name, output=output, title=title)
    return figures


def _shown_column(explanation: Explanation) -> int:
    """Return the output shown of a row: the predicted class if it is among those explained."""
    if explanation.predictions is None or len(explanation.outputs) < 2:
        return 0
    return int(np.argmax(explanation.predictions[0]))


def _shares(explanation: Explanation, row: int) -> npt.NDArray[np.float64]:
    """Return a row's attributions to the output shown, divided by the sum of their absolute values."""
    values = explanation.values[row, :, _shown_column(explanation)]
    norm = float(np.abs(values).sum())
    return values / norm if norm > 0 else np.zeros_like(values)


# ---- lines -----------------------------------------------------------------------------------------------------------
def outcome_of(request: ExplainRequest, explanation: Explanation, rows: pd.DataFrame | None = None) -> Outcome:
    """Return what is printed of an explanation, and of the rows explained."""
    meta = explanation.meta
    lines = [] if rows is None else _row_lines(explanation, rows)
    lines.append(f"{request.method}: {meta.get('quantity', 'importance')} ({meta.get('unit', 'no unit')})")
    lines += importance_lines(explanation, chosen=bool(request.target))
    if isinstance(meta.get("baseline"), str):
        lines.append(f"Baseline: {meta['baseline']}.")
    lines.append(f"Written: {request.folder}")
    facts: dict[str, Any] = {"folder": os.fspath(request.folder), "method": request.method, "scope": explanation.scope}
    if rows is not None:
        facts["rows"] = rows.head(1000).to_dict(orient="records")
    return Outcome({**facts, "importance": explanation.to_frame().to_dict(orient="records")[:1000]}, "\n".join(lines))


def _row_lines(explanation: Explanation, rows: pd.DataFrame) -> list[str]:
    lines = []
    for facts in rows.head(_MOST_ROWS).to_dict(orient="records"):
        if pd.isna(facts.get("truth")):
            facts.pop("truth", None)
        chances = [f"{name}={value:.3f}" for name, value in facts.items() if str(name).startswith("probability_")]
        named = [f"{name} {value}" for name, value in facts.items() if not str(name).startswith("probability_")]
        lines.append(f"{', '.join(named)}{'; ' if chances else ''}{', '.join(chances)}")
    if len(rows) == 1 and explanation.additive:
        shares, output = _shares(explanation, 0), explanation.outputs[_shown_column(explanation)]
        lines.append(f"shares of its attribution to {output}, absolute values sum to 1:")
        order = np.argsort(-np.abs(shares), kind="stable")[:_MOST_FEATURES]
        lines += [f"  {explanation.names[at]:<30.30}  {shares[at]:>+8.3f}" for at in order]
    return [*lines, f"and {counted(len(rows) - _MOST_ROWS, 'more row')}"] if len(rows) > _MOST_ROWS else lines


def importance_lines(explanation: Explanation, *, chosen: bool) -> list[str]:
    """Return a line for each of the features that come first in the explanation's own ranking.

    Of several rows the mean size is shown, by which they are ranked: signed values of different rows cancel. Beside it
    stands the signed mean, unless it is the same for every feature. ``chosen``: the user named outputs.
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
        lines.append(f"mean size over {rows}{'' if signed is None else '; beside it the signed mean'}:")
    outputs = list(glance.outputs)
    if outputs[0] == "all":  # what sums up the others, as for the loss of a classifier
        outputs = outputs[1:] or outputs if chosen else outputs[:1]
    for output in outputs:
        column = glance.outputs.index(output)
        # As in Explanation.ranking, without its names: two players may share one.
        order = np.argsort(-np.nan_to_num(glance.values[:, column], nan=-np.inf), kind="stable")
        lines += [f"output {output}:"] if len(outputs) > 1 or chosen else []
        for place in order[:_MOST_FEATURES]:
            beside = "" if signed is None else f"  {signed[place, column]:>+11.4g}"
            lines.append(f"  {glance.names[place]:<30.30}  {values[place, column]:>10.4g}{beside}")
    return lines
