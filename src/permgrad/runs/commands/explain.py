"""``permgrad explain``: a trained model and a table in, an explanation with its plots out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.parts.folder import LOCAL, PARTS, RECORD, refuse_inside, writable
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, by_count, counted, warn_user
from permgrad.base.files import atomic_folder, atomic_path, is_taken, sweep, what_lies_at, writing
from permgrad.base.locks import hold_folder, hold_name
from permgrad.data.parts.partitions import is_partitioned
from permgrad.data.read.cells import canonical
from permgrad.data.read.table import blank_codes
from permgrad.report.plots.waterfall import stacks
from permgrad.runs.commands.chosen_rows import check_row, read_selected, selected
from permgrad.runs.commands.predict import check_model, open_model, read_rows
from permgrad.runs.commands.stream import (
    explain_streamed,
    is_streamed,
    open_streamed,
    positive_option,
    target_column,
    tell_no_targets,
    with_target,
)
from permgrad.runs.folder.documents import check_cells
from permgrad.runs.folder.outputs import refuse_input, refuse_run_file
from permgrad.runs.requests import ExplainRequest, Outcome
from permgrad.runs.run import image_table
from permgrad.runs.run.cache import Cache
from permgrad.runs.run.image_table_explaining import explain_records, image_inputs, image_plots
from permgrad.runs.run.own_rows import own_test_rows
from permgrad.runs.run.stages import use_threads
from permgrad.runs.run.target import find_column

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.parts.engines import Engine

_OURS = {"explanation.json", "values.npz", "importance.csv", "rows.csv", "plots", RECORD, PARTS, LOCAL}


def explain_table(request: ExplainRequest) -> Outcome:
    """Explain a model on the rows of a table: ``explanation.json, values.npz, importance.csv, plots/``.

    If the run's target stands in the table, global games measure the loss; else the divergence from the model's own
    prediction. With a row, the explanation is local unless the scope says otherwise.

    Raises:
        InputError: No model, no such row or method, a table without the model's columns, or a folder in the way.
        EnvironmentProblem: The folder cannot be written.
    """
    import permgrad.attribution as _registered  # noqa: F401 — importing the package registers every method
    from permgrad.attribution.method import methods
    from permgrad.attribution.parts.engines import make_engine

    chosen = methods.get(request.method)
    _check_options(request, chosen)
    check_model(request.model_folder)
    if request.table is None:
        request = _of_own_rows(request)
    refuse_inside(request.folder, request.source)
    refuse_input(request.folder, {"table": request.source})
    refuse_run_file(request.folder, request.model_folder)
    engine = make_engine(request.engine, workers=request.workers, address=request.address)
    if request.rows is not None:
        _check_sampled(request)
    asked = True if request.stream is None and request.rows is not None else request.stream
    streamed = request.test_rows is None and is_streamed(request.source, asked)
    if streamed and request.row is None and not request.where:
        return _explain_in_parts(request, engine)
    _check_form(request, streamed=streamed)
    _check_folder(request)
    with hold_name(request.folder):
        _check_folder(request)  # again, now that nobody else can write it
        return _explain_in_memory(request, engine, streamed=streamed)


def _of_own_rows(request: ExplainRequest) -> ExplainRequest:
    """Return the request for the test rows of the model's run; a row is chosen by its number in the run's table.

    Raises:
        InputError: They are not to be had, the row is none of them, or options belong to tables that are read in parts.
    """
    if request.stream or request.rows is not None:
        option = "--stream" if request.stream else "--rows"
        raise InputError(f"{option} belongs to a table that is read in parts. Name the TABLE, or leave {option} out.")
    table, rows = own_test_rows(request.model_folder)
    place = request.row
    if place is not None:
        if place not in rows:
            some = ", ".join(map(str, rows[:5].tolist()))
            raise InputError(
                f"Row {place} is not a test row of this run, whose test rows are {some}, … (column 'row' of "
                "predictions.csv). Choose one of them, or name the TABLE."
            )
        place = int(np.flatnonzero(rows == place)[0])
    return replace(request, table=table, row=place, test_rows=rows, out=request.folder)


def _explain_in_memory(request: ExplainRequest, engine: Engine, *, streamed: bool) -> Outcome:
    """Explain rows in memory: all of a table, or those chosen of one that need not fit there."""
    from permgrad.attribution.explain import explain
    from permgrad.attribution.method import methods

    chosen = methods.get(request.method)
    model, data, rows, whole, numbers = _read_chosen(request) if streamed else _read_all(request)
    use_threads(request.threads)
    images = image_table.is_image_model(model)
    scope = cast("Literal['auto', 'global', 'local']", request.scope)
    places = np.arange(len(whole), dtype=np.int64) if streamed else selected(request, whole)
    if places is not None and scope == "auto" and "local" in chosen.scopes:
        scope = "local"
    truth, known = _truth(model, data, whole, request)
    asked = np.arange(len(whole), dtype=np.int64) if places is None else places
    # A local explanation is of the model's own prediction; the truth only stands beside it.
    measured = _measures_loss(chosen, scope)
    if measured and truth is None:
        tell_no_targets(data, whole.columns, request.source, named=request.y is not None)
    kept = np.intersect1d(asked, known) if measured else asked
    if measured:
        _check_kept(request, asked, kept)
    options: dict[str, Any] = {} if request.row is None or scope != "local" else _offset(request.row)
    options |= {} if request.baseline is None else {"baseline": request.baseline}
    options |= {"method": request.method, "scope": scope, "target": _targets(model, request.target)}
    options |= {"n_repeats": request.repeats, "random_state": request.seed}
    options |= positive_option(model, data, request.positive)
    chosen_rows, chosen_y = rows.take(kept), truth[kept] if measured and truth is not None else None
    if not streamed:
        check_cells(model.preprocessor_, chosen_rows.table if images else chosen_rows, request.source)
    if images:
        if request.engine != "local":
            raise InputError(
                f"a model that reads images is explained in this process, however: --engine {request.engine}; leave it "
                "out"
            )
        explanation = explain_records(model, chosen_rows, chosen_y, **options)
    else:
        # Who computes changes nothing in the result but rounding, hence nothing in its entry.
        compute = partial(explain, engine=engine)
        explanation = Cache.of(request.model_folder).explain(compute, model, chosen_rows, chosen_y, **options)
    if explanation.scope == "local" and not np.array_equal(numbers[kept], np.arange(len(kept))):
        # The rows of the table, wherever rows are named: the same number in importance.csv as in rows.csv.
        explanation = replace(explanation, meta={**explanation.meta, "rows": numbers[kept].tolist()})
    clients = None
    if explanation.scope == "local" and places is not None:
        own = None if truth is None or pd.isna(truth[kept]).all() else truth[kept]
        clients = client_table(model, chosen_rows, numbers[kept], own)
    _write(request.folder, explanation, clients)
    return _outcome(request, explanation, clients)


_Read = tuple[Any, dict[str, Any], Any, pd.DataFrame, npt.NDArray[np.int64]]


def _read_all(request: ExplainRequest) -> _Read:
    """Return model, what its run says of its data, the rows as the model takes them, the table, and numbers of rows."""
    model, data = open_model(request.model_folder)
    data = with_target(model, data, request.y)
    rows: Any
    if image_table.is_image_model(model):
        rows, whole = image_table.read_records(model, data, request.source)
    else:
        rows, whole = read_rows(model, data, request.source)
    if request.y is not None:
        find_column(request.y, [str(column) for column in whole.columns], "y")
    if request.test_rows is not None:
        rows, whole = rows.take(request.test_rows), whole.take(request.test_rows).reset_index(drop=True)
        return model, data, rows, whole, request.test_rows
    check_row(request, len(whole))
    return model, data, rows, whole, np.arange(len(whole), dtype=np.int64)


def _read_chosen(request: ExplainRequest) -> _Read:
    """Return the same of the chosen rows of a table that need not fit in memory."""
    from permgrad.attribution.method import methods

    model, data, table = open_streamed(request.model_folder, request.source, request.y)
    if request.y is not None:
        find_column(request.y, table.columns, "y")
    features = [str(name) for name in model.preprocessor_.feature_names_in_]
    target = target_column(data, table)
    wanted = features if target is None else list(dict.fromkeys([*features, target]))
    whole, numbers = read_selected(request, table, wanted)
    # Of chosen rows the loss is explained only if that is asked for, or if the method knows nothing else.
    chosen = methods.get(request.method)
    measured = request.scope == "global" or (request.scope == "auto" and "local" not in chosen.scopes)
    if target is None:
        if measured:
            tell_no_targets(data, table.columns, request.source, named=request.y is not None)
        data = {**data, "target": None}
    elif measured and not known_cells(whole[target], data).any():
        raise InputError(_UNKNOWN)
    return model, data, whole[features], whole, numbers


def _measures_loss(chosen: Any, scope: str) -> bool:
    """Whether a method with this scope explains the loss, if there are targets, and not the outputs of single rows."""
    return (chosen.scopes[0] if scope == "auto" else scope) == "global"


_UNKNOWN = (
    "rows explained globally must have a known target, however: of those chosen none has; choose others, or leave "
    "the target's column out of the table"
)


def known_cells(values: pd.Series[Any], data: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Return which targets are known: neither missing, nor one of the run's codes for missing."""
    blanked = blank_codes(values.to_frame(), list(data.get("na_codes", ())))[values.name]
    known: npt.NDArray[np.bool_] = blanked.notna().to_numpy(dtype=bool)
    return known


def _check_form(request: ExplainRequest, *, streamed: bool) -> None:
    """Refuse what goes with the explanation of a whole table in parts alone."""
    given = "--where" if request.where else "--row"
    if streamed and request.rows is not None:
        raise InputError(
            f"rows are chosen by {given} or drawn by --rows, however: both are given; leave one of them out"
        )
    if request.form != "tidy" and streamed:
        raise InputError(
            f"--form is of files with the explanation of every row, however: {given} is given as well; leave --form out"
        )
    if request.form != "tidy":
        raise InputError(
            f"--form belongs to tables that are read in parts, however: {request.source} is read into memory; add "
            "--stream (Parquet), or leave --form out"
        )


def _check_sampled(request: ExplainRequest) -> None:
    if request.stream is False or (request.source.is_file() and not is_partitioned(request.source)):
        what = "it is no Parquet" if request.stream is not False else "--no-stream is given"
        raise InputError(
            f"--rows draws rows of a Parquet table that is read in parts, however: {what} ({request.source}); write it "
            "as Parquet and leave --no-stream out, or leave --rows out"
        )


def _explain_in_parts(request: ExplainRequest, engine: Engine) -> Outcome:
    """Explain a table that need not fit in memory."""
    options: dict[str, Any] = {} if request.baseline is None else {"baseline": request.baseline}
    explanation, finished = explain_streamed(
        request.model_folder,
        request.source,
        request.folder,
        overwrite=request.overwrite,
        threads=request.threads,
        method=request.method,
        scope=request.scope,
        rows=request.rows,
        form=request.form,
        y=request.y,
        engine=engine,
        target=list(request.target) or None,
        n_repeats=request.repeats,
        random_state=request.seed,
        positive=request.positive,
        **options,
    )
    _draw_once(request.folder, explanation)
    outcome = _outcome(request, explanation)
    facts = {**outcome.facts, "rows_explained": explanation.meta["rows_explained"]}
    parts = counted(explanation.meta["streamed"]["parts"], "part")
    lines = [f"{counted(facts['rows_explained'], 'row')} in {parts}."]
    lines += ["It was finished before; nothing was computed."] if finished else []
    return Outcome(facts, "\n".join([*lines, outcome.text]))


def _draw_once(folder: Path, explanation: Explanation) -> None:
    """Draw a streamed explanation beside it, unless that was done: a process may have been killed in between."""
    plots = folder / "plots"
    if plots.exists():
        return
    with writable(folder), hold_folder(folder):
        sweep(folder, plots.name)
        with atomic_folder(plots) as temporary:
            for name, figure in _plots(explanation).items():
                figure.save(temporary / f"{name}.png")


def _check_options(request: ExplainRequest, chosen: Any) -> None:
    """Refuse options that do not go together, before a model is read."""
    if request.row is not None and request.where:
        raise InputError("rows are chosen by --row or by --where, however: both are given; leave one of them out")
    if request.baseline is not None and "baseline" not in chosen.options:
        raise InputError(
            f"--baseline belongs to methods that compare with a baseline, however: --method {request.method} has none; "
            "add --method integrated_gradients, or leave it out"
        )


def client_table(model: Any, X: Any, rows: npt.NDArray[np.int64], own: npt.NDArray[Any] | None) -> pd.DataFrame:
    """Return one line per row explained: its number, the truth if known, the prediction, class probabilities."""
    from permgrad.runs.run.stages import prediction_table, predictions_of

    predict = image_table.predictions_of if image_table.is_image_model(model) else predictions_of
    return prediction_table(rows, pd.DataFrame(index=range(len(rows))), predict(model, X), model, truth=own)


def _offset(row: int) -> dict[str, Any]:
    """Let a row explained alone draw the donors that it draws among all rows."""
    return {"row_offset": row}


def _truth(
    model: Any, data: Mapping[str, Any], whole: pd.DataFrame, request: ExplainRequest
) -> tuple[npt.NDArray[Any] | None, npt.NDArray[np.int64]]:
    """Return the target of all rows, if any has one, and the rows whose loss can be explained."""
    everything = np.arange(len(whole), dtype=np.int64)
    target = data.get("target")
    if target is None or target not in whole.columns:
        return None, everything
    values = blank_codes(whole[[target]], list(data.get("na_codes", ())))[target]
    known = values.notna().to_numpy()
    if not known.any():
        return None, everything
    if data["task"] == "classification":
        # Classes are compared as text: a file may hold 1 where the model learnt from 1.0, or the other way round.
        labels = {canonical(label): label for label in model.classes_.tolist()}
        y = np.array([labels.get(canonical(value)) for value in values.tolist()], dtype=object)
        strange = known & np.array([value is None for value in y])
        if strange.any() and request.test_rows is not None:
            said = f"{counted(int(strange.sum()), 'test row')} {by_count(int(strange.sum()), 'has', 'have')} a class"
            warn_user(f"{said} that no training row has; {by_count(int(strange.sum()), 'it is', 'they are')} left out")
            known &= ~strange
        elif strange.any():
            first = values.to_numpy()[strange].tolist()[0]
            raise InputError(
                f"the target must hold classes of the model ({', '.join(map(str, model.classes_.tolist()[:10]))}), "
                f"however: {int(strange.sum())} of {counted(len(y), 'row')} of {request.source} "
                f"{by_count(int(strange.sum()), 'holds', 'hold')} another, such as {first!r}; correct or leave "
                "out such rows, or leave the column out"
            )
        return y, everything[known]
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise InputError(
            f"the target must hold numbers as in training, however: column {target!r} of {request.source} holds text; "
            "correct it, or leave the column out"
        )
    return values.to_numpy(dtype=np.float64), everything[known]


def _check_kept(request: ExplainRequest, asked: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]) -> None:
    """Refuse rows whose loss cannot be explained, and tell how many of those asked for have no target."""
    if not len(kept):
        raise InputError(_UNKNOWN)
    left_out = len(asked) - len(kept)
    if left_out:
        warn_user(
            f"{left_out:,} of {counted(len(asked), 'row')} of {request.source} "
            f"{by_count(left_out, 'has', 'have')} no target and {by_count(left_out, 'is', 'are')} left out where "
            "the loss is explained; leave the target's column out to explain all of them"
        )
    if request.method == "permgrad-paper" and len(kept) == 1:
        row = "leave --row out and " if request.row is not None else ""
        raise InputError(
            "permgrad-paper shuffles each feature among the rows explained, which must be several, however: there is 1 "
            f"here; {row}choose more rows, or pass --method permgrad"
        )


def _targets(model: Any, wanted: tuple[str, ...]) -> list[int | str] | None:
    """Return the outputs asked for: classes by name, or positions."""
    if not wanted:
        return None
    names = [str(label) for label in getattr(model, "classes_", np.array(["all"])).tolist()]
    return [name if name in names or not name.isdigit() else int(name) for name in wanted]


# ---- files -----------------------------------------------------------------------------------------------------------
def _check_folder(request: ExplainRequest) -> None:
    folder = request.folder
    if not is_taken(folder):
        return
    if not folder.is_dir():
        raise InputError(
            f"an explanation is written into a folder, however: {folder} is {what_lies_at(folder)}; name another "
            "with --out"
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


def _write(folder: Path, explanation: Explanation, clients: pd.DataFrame | None = None) -> None:
    from permgrad.attribution.explanation import file_frame

    with (
        writing("the explanation must be written", folder, "name another with --out"),
        atomic_folder(folder) as temporary,
    ):
        explanation.save(temporary)
        with atomic_path(temporary / "importance.csv") as file:
            write_csv(file_frame(explanation), file)
        if clients is not None:
            with atomic_path(temporary / "rows.csv") as file:
                write_csv(clients, file)
        for name, figure in _plots(explanation).items():
            figure.save(temporary / "plots" / f"{name}.png")


def _plots(explanation: Explanation) -> dict[str, Any]:
    """Return the plots that suit an explanation."""
    plot = explanation.plot
    if image_inputs(explanation):
        return _network_plots(explanation)
    if explanation.scope == "local" and len(explanation.values) == 1:
        images = {"image": plot.image()} if "cam" in explanation.maps else {}
        if not stacks(explanation):
            return images | {"bar": plot.bar()}
        # The position among the rows explained says nothing here: rows.csv names the row of the table.
        drawn = plot.waterfall(title=f"{explanation.method}, one row")
        return images | {"waterfall": drawn, "normalised": _normalised_bars(explanation)}
    if explanation.scope == "local":
        return {"beeswarm": plot.beeswarm(), "bar": explanation.to_global().plot.bar()}
    found = {"bar": plot.bar()}
    if len(explanation.outputs) > 2:
        found["classes"] = plot.classes()
    if explanation.direction:
        found["direction"] = plot.direction()
    return found


def _network_plots(explanation: Explanation) -> dict[str, Any]:
    """Return the plots of a network with images: each input's features on their own axis, and what lies over images."""
    plot = explanation.plot
    one = explanation.scope == "local" and len(explanation.values) == 1
    found = {} if explanation.level == "modality" else {"features": plot.features()}
    if one and stacks(explanation):
        found["waterfall"] = plot.waterfall(title=f"{explanation.method}, one row")
    elif explanation.scope == "local" and explanation.additive:
        found["beeswarm"] = plot.beeswarm()
    output = shown_column(explanation) if one else None
    shown = explanation if one or explanation.scope == "global" else explanation.to_global("mean")
    title = f"{explanation.method}, one row, {explanation.outputs[output or 0]}" if one else None
    overlays = image_plots(shown, output=output, title=title)
    return found | {_file_name("image", name): figure for name, figure in overlays.items()}


def _file_name(kind: str, name: str) -> str:
    return f"{kind}-{''.join(sign if sign.isalnum() else '_' for sign in name)}"


def shown_column(explanation: Explanation) -> int:
    """Return the output shown of a row: the predicted class if it is among those explained."""
    if explanation.predictions is None or len(explanation.outputs) < 2:
        return 0
    return int(np.argmax(explanation.predictions[0]))


def normalised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Divide by the sum of absolute values; nothing stays nothing.

    Examples:
        >>> normalised(np.array([1.0, -3.0])).tolist(), normalised(np.zeros(2)).tolist()
        ([0.25, -0.75], [0.0, 0.0])
    """
    norm = float(np.abs(values).sum())
    return values / norm if norm > 0 else np.zeros_like(values)


def _normalised_bars(explanation: Explanation) -> Any:
    from permgrad.report.plots import signed_bars

    column = shown_column(explanation)
    baseline = explanation.meta.get("baseline")
    about = f"; baseline: {baseline}" if isinstance(baseline, str) else ""
    return signed_bars(
        list(explanation.names),
        normalised(explanation.values[0, :, column]),
        label=f"attribution to {explanation.outputs[column]}, absolute values sum to 1{about}",
    )


def _client_lines(explanation: Explanation, clients: pd.DataFrame, most: int = 5) -> list[str]:
    lines = []
    for place, facts in enumerate(clients.head(most).to_dict(orient="records")):
        named = {name: value for name, value in facts.items() if not str(name).startswith("probability_")}
        if pd.isna(named.get("truth")):
            named.pop("truth", None)
        said = ", ".join(f"{name} {value}" for name, value in named.items())
        chances = [f"{name}={value:.3f}" for name, value in facts.items() if str(name).startswith("probability_")]
        lines.append(f"{said}{'; ' if chances else ''}{', '.join(chances)}")
        if len(clients) == 1 and explanation.additive:
            column = shown_column(explanation)
            own = normalised(explanation.values[place, :, column])
            lines.append(f"shares of its attribution to {explanation.outputs[column]}, absolute values sum to 1:")
            order = np.argsort(-np.abs(own), kind="stable")[:8]
            lines += [f"  {explanation.names[at]:<30.30}  {own[at]:>+8.3f}" for at in order]
    return [*lines, f"and {counted(len(clients) - most, 'more row')}"] if len(clients) > most else lines


def _importance_lines(explanation: Explanation, *, asked: bool, most: int = 8) -> list[str]:
    """Return a line for each of the features that come first in the explanation's own ranking.

    Of several rows the mean size is shown, by which they are ranked: signed values of different rows cancel. Beside it
    stands the signed mean, unless it is the same for every feature.
    """
    glance = explanation if explanation.scope == "global" else explanation.to_global("mean_abs")
    values, signed = glance.values, None
    lines = []
    if explanation.scope == "local":
        means = explanation.to_global("mean").values
        if len(explanation.values) == 1:
            values = means
        elif not np.array_equal(means, values, equal_nan=True):
            signed = means
    if glance.meta.get("summary") == "mean_abs" and (explanation.scope == "global" or len(explanation.values) > 1):
        rows = counted(int(glance.meta["rows_summarised"]), "row")
        lines.append(f"mean size over {rows}{'' if signed is None else '; beside it the signed mean'}:")
    outputs = shown_outputs(glance, asked=asked)
    for output in outputs:
        column = outputs_index(glance, output)
        # As in Explanation.ranking, without its names: two players may share one.
        order = np.argsort(-np.nan_to_num(glance.values[:, column], nan=-np.inf), kind="stable")
        lines += [f"output {output}:"] if len(outputs) > 1 or asked else []
        for place in order[:most]:
            beside = "" if signed is None else f"  {signed[place, column]:>+11.4g}"
            lines.append(f"  {glance.names[place]:<30.30}  {values[place, column]:>10.4g}{beside}")
    return lines


def _outcome(request: ExplainRequest, explanation: Explanation, clients: pd.DataFrame | None = None) -> Outcome:
    meta = explanation.meta
    lines = [f"{request.method}: {meta.get('quantity', 'importance')} ({meta.get('unit', 'no unit')})"]
    lines += _importance_lines(explanation, asked=bool(request.target))
    if clients is not None:
        lines = [*_client_lines(explanation, clients), *lines]
    if isinstance(explanation.meta.get("baseline"), str):
        lines.append(f"Baseline: {explanation.meta['baseline']}.")
    lines.append(f"Written: {request.folder}")
    facts: dict[str, Any] = {"folder": os.fspath(request.folder), "method": request.method, "scope": explanation.scope}
    if clients is not None:
        facts["rows"] = clients.head(1000).to_dict(orient="records")
    return Outcome({**facts, "importance": explanation.to_frame().to_dict(orient="records")[:1000]}, "\n".join(lines))


def shown_outputs(explanation: Explanation, *, asked: bool) -> list[str]:
    """Return the outputs that are printed: what sums up the others, as ``all`` does for the loss of a classifier.

    Args:
        explanation: a global one, of the outputs that were asked for.
        asked: whether some were: they are then printed themselves.
    """
    outputs = list(explanation.outputs)
    if outputs[0] != "all":
        return outputs
    return outputs[1:] or outputs if asked else outputs[:1]


def outputs_index(explanation: Explanation, output: str) -> int:
    """Return the position of an output."""
    return explanation.outputs.index(output)
