"""What ``permgrad explain`` writes and prints: files, plots, and lines for the
terminal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from permgrad.attribution.explanation.explanation import positive_output
from permgrad.attribution.explanation.explanation_frames import file_frame
from permgrad.attribution.parts.folder import EXPLAINED, writable
from permgrad.attribution.subject.scales import words_of_unit
from permgrad.base.arrays import Integers
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import Fault, as_lines, counted, refusing
from permgrad.base.files import atomic_path, sweep, what_lies_at, writing
from permgrad.base.locks import hold_folder
from permgrad.base.numerals import compact
from permgrad.pages.steps import stacks
from permgrad.pages.summaries import told
from permgrad.pages.words import unit_name
from permgrad.runs.requests import ExplainRequest, Outcome

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: What a unit means.
_UNITS = {
    "y": "Values are in the unit of the target.",
    "nats": "The log loss of guessing one of two equal classes is 0.69.",
}
#: Rows, and features of each, that are printed.
_MOST_ROWS = 5
_MOST_FEATURES = 8


# ---- files ---------------------------------------------------------------------------
@refusing
def check_folder(request: ExplainRequest) -> Iterator[Fault]:
    """Refuse a folder that cannot be written."""
    folder = request.folder
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        problem = f"{folder} is {what_lies_at(folder)}, not a folder"
        yield problem, "Choose another with --out.", "PG050"
    names = {entry.name for entry in folder.iterdir()}
    if names and ("explanation.json" not in names or names - {*EXPLAINED.names}):
        yield (
            f"{folder} holds other files",
            "Choose another folder with --out.",
            "PG050",
        )
    if names and not request.overwrite:
        problem = f"{folder} already holds an explanation"
        yield problem, "Add --overwrite, or choose another folder with --out.", "PG050"


def write(folder: Path, explanation: Explanation, rows: pd.DataFrame | None) -> None:
    """Write an explanation with its plots, and the table of the explained rows."""
    with (
        writing(folder, "name another with --out"),
        atomic_path(folder, folder=True) as temporary,
    ):
        explanation.save(temporary)
        write_csv(file_frame(explanation), temporary / "importance.csv")
        if rows is not None:
            write_csv(rows, temporary / "rows.csv")
        for plot_name, figure in _plots(explanation).items():
            figure.save(temporary / "plots" / f"{plot_name}.png")


def draw_once(folder: Path, explanation: Explanation) -> None:
    """Draw the plots of a streamed explanation if some are missing: a process may have
    stopped before.
    """
    plots = folder / "plots"
    if plots.exists():
        return
    with writable(folder), hold_folder(folder):
        sweep(folder, plots.name)
        with atomic_path(plots, folder=True) as temporary:
            for plot_name, figure in _plots(explanation).items():
                figure.save(temporary / f"{plot_name}.png")


# ---- plots ---------------------------------------------------------------------------
def _plots(explanation: Explanation) -> dict[str, Any]:
    """Return the plots that suit an explanation."""
    plot_methods = explanation.plot
    local = explanation.scope.by_row
    is_single_row = local and len(explanation.values) == 1
    if is_single_row:
        if "cam" in explanation.maps:
            figures = {"image": plot_methods.image()}
        else:
            figures = {}
        if not stacks(explanation):
            return figures | {"bar": plot_methods.bar()}
        # The position among the explained rows is not useful: rows.csv has the row of
        # the table.
        return figures | {
            "waterfall": plot_methods.waterfall(title=f"{explanation.method}, one row")
        }
    if local:
        return {
            "beeswarm": plot_methods.beeswarm(),
            "bar": explanation.to_global().plot.bar(),
        }
    figures = {"bar": plot_methods.bar()}
    if len(explanation.outputs) > 2:
        figures["classes"] = plot_methods.classes()
    return figures | (
        {"direction": plot_methods.direction()} if explanation.direction else {}
    )


# ---- lines ---------------------------------------------------------------------------
def outcome_of(
    request: ExplainRequest,
    explanation: Explanation,
    rows: pd.DataFrame | None = None,
    in_file: Integers | None = None,
) -> Outcome:
    """Return what is printed of an explanation, and of the rows explained.

    ``in_file``: the line of each row.
    """
    explanation_meta = explanation.meta
    lines = [] if rows is None else _row_lines(rows)
    if request.row is not None and rows is not None:
        row_number = rows["row"].iloc[0]
        line_words = (
            ""
            if in_file is None
            else f" Row {row_number} is line {in_file[row_number]} of "
            f"{request.source.name}."
        )
        lines.append(f"Rows are counted from 0.{line_words}")
    outputs = _shown_outputs(explanation, is_chosen=bool(request.target))
    spoken = []
    for output in outputs:
        spoken.extend(told(explanation, output, _MOST_FEATURES))
    lines += [line_text for line_text, _ in spoken]
    words = _UNITS.get(str(explanation_meta.get("unit")), "") or words_of_unit(
        explanation_meta
    )
    lines += [words.strip()] if words else []
    lines.append(f"Written: {request.folder}")
    facts: dict[str, Any] = {
        "folder": os.fspath(request.folder),
        "method": request.method,
        "scope": explanation.scope,
    }
    facts |= {
        "quantity": explanation_meta.get("quantity", "importance"),
        "unit": unit_name(explanation_meta) or None,
    }
    if rows is not None:
        facts["rows"] = rows.head(1000).to_dict(orient="records")
    spoken = [
        (line_text, about) for line_text, about in spoken if about["kind"] != "title"
    ]
    facts["verdict"] = [
        {"sentence": " ".join(line_text.split()), "facts": about}
        for line_text, about in spoken
    ]
    return Outcome(
        {
            **facts,
            "importance": explanation.to_frame().to_dict(orient="records")[:1000],
        },
        as_lines(lines),
    )


def _row_lines(rows: pd.DataFrame) -> list[str]:
    lines = []
    for facts in rows.head(_MOST_ROWS).to_dict(orient="records"):
        if pd.isna(facts.get("truth")):
            facts.pop("truth", None)
        chances = []
        for column_name, value in facts.items():
            if str(column_name).startswith("probability_"):
                chances.append(f"{column_name}={value:.3f}")
        plain = {}
        for column_name, value in facts.items():
            if not str(column_name).startswith("probability_"):
                plain[column_name] = value
        named = []
        for column_name, value in plain.items():
            named.append(
                f"{column_name} "
                f"{compact(value, 6) if isinstance(value, float) else value}"
            )
        named = [
            named_cell.replace("\u2212", "-") for named_cell in named
        ]  # as in the lists below, and as a shell reads it
        lines.append(f"{', '.join(named)}{'; ' if chances else ''}{', '.join(chances)}")
    if len(rows) > _MOST_ROWS:
        return [*lines, f"and {counted(len(rows) - _MOST_ROWS, 'more row')}"]
    return lines


def _shown_outputs(explanation: Explanation, *, is_chosen: bool) -> list[str]:
    """Return the outputs that are listed: those that the user named, else the sum of
    all or the positive class.
    """
    outputs = list(explanation.outputs)
    if outputs[0] == "all":  # the sum over the others, as for the loss of a classifier
        if is_chosen:
            return outputs[1:] or outputs
        return outputs[:1]
    if len(outputs) == 2 and not is_chosen:
        return [outputs[positive_output(explanation)]]
    return outputs
