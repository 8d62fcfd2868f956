"""The content of a report on any model: measured, explained and described in one call."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.missing import missing
from permgrad.attribution.subject.outputs import as_target
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.random import generator
from permgrad.base.versions import versions
from permgrad.data.splitting import count_shared_rows
from permgrad.data.types.column_types import infer_schema
from permgrad.evaluation.distributions import describe_columns
from permgrad.evaluation.drift import both_parts, find_drift
from permgrad.evaluation.intervals import holds, score_intervals
from permgrad.evaluation.leaks import columns_that_tell
from permgrad.evaluation.listing import notable_rows
from permgrad.evaluation.pair_effects import pair_effects
from permgrad.evaluation.related import MATRIX_FEATURES, RELATED_FEATURES, related_features, related_matrix
from permgrad.evaluation.segments import find_segments
from permgrad.evaluation.side_by_side import SideBySide, side_by_side
from permgrad.evaluation.skill import Predicted
from permgrad.evaluation.thresholds import never_predicted
from permgrad.report import plots
from permgrad.report.page import content as page
from permgrad.report.page.content import ReportContent
from permgrad.report.plots._inputs import KINDS, shown_inputs
from permgrad.report.units import in_log_odds, output_words
from permgrad.report.words import listed
from permgrad.runs.report.answers import card_sample, cards_of, listed_of
from permgrad.runs.report.measured import Measured, Train
from permgrad.runs.run import changing, together
from permgrad.runs.run.explaining import DescribedRows, choose_rows, describe_row
from permgrad.runs.run.predicting import COVERAGE

Places = npt.NDArray[np.int64]
#: Rows whose single attributions are computed: of tables, and of networks with other inputs, which cost more.
SWARM_ROWS, SHOWN_ROWS = 200, 12
#: Shapley values of predictors: standard error as a share of the output's range, most orders, background rows.
_SHAPLEY: dict[str, Any] = {"method": "shapley", "tolerance": 0.02, "max_permutations": 200, "references": 50}
#: Predictions for pairs of features by default, as a share of those for the importances.
_SHARE = 0.2
#: Columns of a table whose shared rows and types are looked at.
_MOST_COLUMNS = 2000


# ---- rows in the user's form -----------------------------------------------------------------------------------------
def table_of(measured: Measured, tensors: tuple[Tensor, ...] | None = None) -> pd.DataFrame | None:
    """Return the rows as a table, or None if the model reads something else. ``tensors`` are further rows."""
    request = measured.request
    if request.raw is not None and tensors is None:
        return request.raw
    if not isinstance(measured.model, nn.Module):
        return None if tensors is None else request.subject.form.frame(tensors[0])
    inputs = request.inputs if tensors is None else tensors
    names = request.subject.input_names
    if len(inputs) != 1 or inputs[0].ndim != 2 or not request.subject.real[0]:
        return None
    leaves = request.subject.form.leaves
    columns = leaves[0].columns or [f"{names[0]}[{k}]" for k in range(inputs[0].shape[1])]
    return pd.DataFrame(inputs[0].detach().cpu().numpy(), columns=list(columns))


def read_train(measured: Measured, train: Any) -> Train | None:
    """Check ``train=`` and return it."""
    if train is None:
        return None
    if not isinstance(train, (tuple, list)) or len(train) != 2:
        raise InputError(
            f"train must be a pair of rows and targets, got {type(train).__name__}",
            hint="Pass train=(X_train, y_train).",
            code="PG001",
        )
    inputs, y = train
    subject = measured.request.subject
    rows = subject.read(inputs)
    if subject.model is None:
        return Train(table_of(measured, rows), measured.codes_of(y, len(rows[0])))
    # A fitted estimator of permgrad encodes its rows.
    names = list(subject.preprocessor.feature_names_in_)
    table = inputs[names] if isinstance(inputs, pd.DataFrame) else pd.DataFrame(np.asarray(inputs), columns=names)
    table = table.reset_index(drop=True)
    return Train(table, measured.codes_of(y, len(rows[0])))


def take(measured: Measured, places: Places) -> tuple[Any, Any]:
    """Return some rows and their targets, in the user's form."""
    request, y = measured.request, measured.y
    targets = y.iloc[places] if hasattr(y, "iloc") else as_target(y)[places]
    if np.array_equal(places, np.arange(measured.rows)):
        return measured.inputs, y
    if isinstance(measured.model, nn.Module):
        return _taken(measured.inputs, places, measured.rows), targets
    if request.subject.model is not None:
        assert request.raw is not None
        return request.raw.iloc[places], targets
    return request.subject.form.write(request.inputs[0][torch.from_numpy(places)]), targets


def _taken(inputs: Any, places: Places, rows: int) -> Any:
    """Return some rows of inputs of a network: of each tensor, array, frame or list of texts in a structure."""
    if isinstance(inputs, Mapping):
        return {name: _taken(each, places, rows) for name, each in inputs.items()}
    if hasattr(inputs, "iloc"):
        return inputs.iloc[places]
    if isinstance(inputs, Tensor):
        return inputs[torch.from_numpy(places).to(inputs.device)]
    if isinstance(inputs, (list, tuple)):
        if len(inputs) == rows and not any(np.ndim(each) and len(each) == rows for each in inputs):
            return [inputs[place] for place in places]
        parts = [_taken(each, places, rows) for each in inputs]
        return type(inputs)(*parts) if hasattr(inputs, "_fields") else type(inputs)(parts)
    return None if inputs is None else np.asarray(inputs)[places]


# ---- the content -----------------------------------------------------------------------------------------------------
def content_of(
    measured: Measured,
    train: Train | None,
    *,
    title: str,
    method: str,
    most_rows: int | None,
    what_if: bool = False,
    seed: int,
    call: str,
    interactions: int | None = None,
) -> ReportContent:
    """Measure and explain a model, and return the content of its report. ``what_if``: with a network of any size."""
    started = time.perf_counter()
    metrics, mean = _metrics(measured, train, seed)
    seconds = {"evaluation": time.perf_counter() - started}
    started = time.perf_counter()
    places = explained_places(measured, most_rows, seed)
    main = _on_mean_inputs(measured, _importance(measured, places, method, seed))
    table = table_of(measured)
    truth = measured.places if measured.classes else measured.truth
    notable = [] if table is None else notable_rows(measured.guess, truth)
    explained, rows = _explain_rows(measured, places, seed, notable=notable)
    local = explained[0].explanation if explained else None
    cards = listed = None
    if table is not None:
        cards = cards_of(measured, table, main, seed)
        listed = listed_of(measured, table, train, main, explained, seed=seed)
    pairs = _together(measured, table, main, places, seed=seed, wanted=interactions)
    seconds["explanation"] = time.perf_counter() - started
    related: list[dict[str, Any]] = []
    matrix = segments = None
    if table is not None:
        learned = table if train is None or train.table is None else train.table
        names = [name for name in main.clearly_matter() if name in learned.columns][:RELATED_FEATURES]
        related = related_features(learned, names) if names else []
        strongest = [name for name in main.ranking() if name in learned.columns][:MATRIX_FEATURES]
        matrix, segments = related_matrix(learned, strongest), _segments(measured, table)
    return ReportContent(
        title=title,
        target=target_name(measured),
        task=measured.task,
        subject=measured.name,
        metrics=metrics,
        positive=measured.positive,
        data=_data(measured, train, table),
        predictions=_predictions(measured, main, table, mean),
        explanation=main,
        local=local if local is not None and len(local.values) > SHOWN_ROWS else None,
        rows=rows,
        cards=cards,
        listed=listed,
        together=pairs,
        what_if=None if listed is None or table is None else _what_if(measured, table, listed, main, large=what_if),
        related=related,
        matrix=matrix,
        segments=segments,
        extra=_where(main),
        provenance=page.ProvenanceSection(
            command=call,
            seed=seed,
            started=time.strftime("%Y-%m-%d %H:%M:%S"),
            seconds=seconds,
            versions=versions(),
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        ),
    )


def _what_if(
    measured: Measured, table: Any, listed: page.ListedSection, main: Explanation, *, large: bool
) -> dict[str, Any]:
    """Return what the page needs to change a row of the list, or why it cannot."""
    encoder = getattr(measured.model, "preprocessor_", None)
    if not hasattr(measured.model, "predict_encoded") or encoder is None:
        return {"reason": "This model cannot run inside the page: only the networks of permgrad can."}
    from permgrad.report.page.whatif import rows_of, what_if  # loads torch

    places = np.asarray(listed.numbers)[: changing.MOST_ROWS]
    frame = table.iloc[places].set_axis(list(encoder.feature_names_in_), axis=1)
    changeable = rows_of(measured.model, frame, places, main.ranking())
    return what_if(measured.model, changeable, main.ranking(), large=large)


def _together(
    measured: Measured, table: pd.DataFrame | None, main: Explanation, places: Places, *, seed: int, wanted: int | None
) -> page.TogetherSection | None:
    """Measure pairs of features of a table, or what the inputs of a network tell together."""
    if table is None:
        return None if wanted == 0 else _modalities(measured, places, seed)
    single = main.level in ("feature", "group")
    names = main.ranking()[: together.FEATURES if wanted is None else wanted] if single else []
    predictions = main.meta.get("model_rows")
    count = together.sets_of(names, main.names)
    if wanted is None and isinstance(predictions, int):
        places = places[: int(_SHARE * predictions) // (together.REPEATS * max(count, 1))]
    if len(names) < 2 or len(places) < (together.FEWEST_ROWS if wanted is None else 2):
        return None
    inputs, y = take(measured, places)
    options = {**measured.options, **together.options_of(names, main), "random_state": seed}
    pairs = explain(measured.model, inputs, y, method="permgrad", scope="global", **options)
    sample, predict, _, outputs = card_sample(measured, table, seed)
    effects = pair_effects(sample, together.clear_pairs(pairs), np.arange(len(sample.raw)), predict)
    classes = [measured.classes[place] for place in outputs] if measured.classes else None
    return page.TogetherSection(pairs=pairs, effects=effects, classes=classes)


def _modalities(measured: Measured, places: Places, seed: int) -> page.TogetherSection | None:
    """Divide what the inputs of a network tell, if there are several and the target allows it."""
    if len(measured.request.inputs) < 2 or not isinstance(measured.model, nn.Module):
        return None
    inputs, y = take(measured, places)
    dropped = ("target", "groups", "sampling", "positive", "n_repeats")
    options = {name: value for name, value in measured.options.items() if name not in dropped}
    try:
        result = missing(
            measured.model, inputs, y, **{**options, "random_state": seed, "n_repeats": together.MODALITY_REPEATS}
        )
        return page.TogetherSection(information=result.information(result.modalities[0]))
    except InputError:  # one input that can be missing, too few rows, or a target without such an information
        return None


def explained_places(measured: Measured, most_rows: int | None, seed: int) -> Places:
    """Return the rows whose features are replaced: all, or some drawn at random."""
    if most_rows is None or measured.rows <= most_rows:
        return np.arange(measured.rows)
    return np.sort(generator(seed, "explained rows").permutation(measured.rows)[:most_rows])


def _importance(measured: Measured, places: Places, method: str, seed: int) -> Explanation:
    """Explain what a model relies on."""
    inputs, y = take(measured, places)
    options: dict[str, Any] = {**measured.options, "random_state": seed}
    return explain(measured.model, inputs, y, method=method, scope="global", **options)


def check_alike(models: Sequence[Measured]) -> None:
    """Refuse models that do not predict the same classes, or not all numbers."""
    first = models[0]
    for one in models[1:]:
        if (one.task, sorted(one.classes)) != (first.task, sorted(first.classes)):
            both = [listed(each.classes[:5]) if each.classes else "numbers" for each in (first, one)]
            raise InputError(
                f"The models predict different things: {first.name} predicts {both[0]}, {one.name} {both[1]}",
                hint="Compare models of one target.",
                code="PG006",
            )


def compared(
    models: Sequence[Measured], content: ReportContent, *, method: str, most_rows: int | None, seed: int
) -> SideBySide:
    """Compare several models on the same rows. The first has been explained already."""
    first, explanations, guesses = models[0], {}, {}
    for one in models:
        order = [one.classes.index(name) for name in first.classes]
        guesses[one.name] = one.guess[:, order] if order else one.guess
        explanations[one.name] = content.explanation
        if one is not first:
            explanations[one.name] = _importance(one, explained_places(one, most_rows, seed), method, seed)
    return side_by_side(
        first.task,
        first.truth,
        guesses,
        classes=first.classes,
        positive=first.positive,
        reference=first.name,
        seed=seed,
        explanations={name: one for name, one in explanations.items() if one is not None},
    )


def target_name(measured: Measured) -> str:
    """Return the target's name: of its column, else of the output that was picked, else ``y``."""
    names = list(measured.request.subject.output_names)
    if measured.output is not None and len(names) > 1:
        return names[measured.output]
    name = getattr(measured.y, "name", None)
    columns = getattr(measured.y, "columns", None)
    if name is None and columns is not None and len(columns) == 1:
        name = columns[0]
    return "y" if name is None else str(name)


def _metrics(measured: Measured, train: Train | None, seed: int) -> tuple[dict[str, Any], float | None]:
    """Return the content of ``metrics.json``, and the number that the constant predicts."""
    constant, mean = measured.constant(None if train is None else train.codes, seed=seed)
    metrics: dict[str, Any] = {
        "task": measured.task,
        "rows": {"train": None if train is None else train.rows, "test": measured.rows},
        "test": measured.metrics,
        "constant": constant,
        "baselines": {},
    }
    if measured.classes:
        missed = never_predicted(
            measured.classes, (measured.truth[:0], measured.guess[:0]), (measured.truth, measured.guess)
        )
        metrics |= {"positive": measured.positive, "never_predicted": missed}
    if measured.inside is not None:
        metrics["intervals"] = score_intervals(measured.codes, measured.inside, COVERAGE)
    return metrics, mean


def _segments(measured: Measured, table: pd.DataFrame) -> dict[str, Any]:
    """Score groups of rows by every column."""
    positive = 1 if measured.positive is None else list(measured.classes).index(measured.positive)
    covered = None if measured.inside is None else holds(measured.codes, measured.inside)
    with keeping_warnings():
        return find_segments(table, Predicted(measured.codes, measured.guess), positive=positive, covered=covered)


def _data(measured: Measured, train: Train | None, table: pd.DataFrame | None) -> page.DataSection:
    """Describe the rows and their columns or inputs."""
    rows = {"train": None if train is None else train.rows, "test": measured.rows}
    parts = {"test": measured.places} if measured.classes else {}
    if train is not None and measured.classes:
        parts = {"train": train.codes.astype(np.int64), **parts}
    counts = {part: np.bincount(codes, minlength=len(measured.classes)) for part, codes in parts.items()}
    compared: dict[str, Any] = {}
    if table is None:
        columns = _inputs_frame(measured)
    else:
        learned_from = table if train is None or train.table is None else train.table
        with keeping_warnings():
            schema = infer_schema(learned_from.iloc[:, :_MOST_COLUMNS])
        lines = [(one.name, one.kind, one.n_missing, one.n_levels, one.reason) for one in schema]
        columns = pd.DataFrame(lines, columns=["name", "kind", "missing", "levels", "reason"])
        if train is not None and train.table is not None and table.shape[1] <= _MOST_COLUMNS:
            compared = _compared(measured, train.table, train.codes, table)
    return page.DataSection(
        rows=rows,
        columns=columns,
        split="as passed to permgrad",
        constant_from="test" if train is None else "train",
        **compared,
        unchecked="" if compared else "train" if train is None else "table",
        class_counts=pd.DataFrame(counts, index=list(measured.classes)) if counts else None,
        notes=[f"Task: {measured.task}, model: {measured.name}."],
    )


def _compared(
    measured: Measured, learned: pd.DataFrame, learned_y: npt.NDArray[Any], table: pd.DataFrame
) -> dict[str, Any]:
    """Compare the rows of training and test: columns that tell the target, drift, distributions and shared rows."""
    truth, target = measured.truth if measured.task == "regression" else measured.places, target_name(measured)
    before, held = (np.asarray(measured.classes)[y] if measured.classes else y for y in (learned_y, truth))
    targets = (target, before, held)
    with keeping_warnings():
        leaks = columns_that_tell((learned, learned_y), (table, truth), measured.task)
        drift = find_drift(learned, table, targets=targets)
        both, *rows = both_parts(learned, table, targets=targets)
        described = {"rows": rows, "columns": describe_columns(both, rows[0])}
    first, second = (part.assign(**{"\0target": y}) for part, y in ((learned, learned_y), (table, truth)))
    shared = count_shared_rows(first, second)
    blank = count_shared_rows(first, second[table.isna().all(axis=1).to_numpy()]) if shared else 0
    return {
        "leaks": leaks,
        "drift": drift,
        "described": described,
        "shared_rows": shared,
        "blank_rows": blank,
        "alike_rows": shared,
    }


def _inputs_frame(measured: Measured) -> pd.DataFrame:
    """List the inputs of a network."""
    request = measured.request
    lines = [
        (name, " × ".join(map(str, tensor.shape[1:])) or "one number", str(tensor.dtype).removeprefix("torch."))
        for name, tensor in zip(request.subject.input_names, request.inputs, strict=False)
    ]
    return pd.DataFrame(lines, columns=["name", "size", "type"])


def _predictions(
    measured: Measured, main: Explanation, table: pd.DataFrame | None, mean: float | None
) -> page.PredictionSection:
    if measured.classes:
        chances = None if measured.labels_only else measured.guess
        return page.PredictionSection(truth=measured.truth, classes=measured.classes, probabilities=chances)
    strongest = None
    if table is not None and main.level == "feature":
        strongest = table[[name for name in main.ranking() if name in table.columns][:3]].reset_index(drop=True)
    return page.PredictionSection(
        truth=measured.truth, predictions=measured.guess, training_mean=mean, strongest=strongest
    )


# ---- single rows -----------------------------------------------------------------------------------------------------
def _explain_rows(
    measured: Measured, places: Places, seed: int, *, notable: Sequence[int]
) -> tuple[list[page.LocalRows], list[page.RowSection]]:
    """Explain single rows: a few that are typical or wrong, more for the plot of all, and then the notable ones."""
    key = "probabilities" if measured.classes else "prediction"
    truth = measured.truth.astype(str) if measured.classes else measured.truth.astype(np.float64)
    classes = list(measured.classes) or None
    rows = DescribedRows(y=truth, numbers=np.arange(measured.rows), predicted={key: measured.guess}, classes=classes)
    chosen = choose_rows(rows.predicted, rows.y, classes)
    shown = np.array(list(chosen), dtype=np.int64)
    further = generator(seed, "swarm rows").permutation(places)
    most = SWARM_ROWS if measured.request.raw is not None else SHOWN_ROWS
    swarm = np.concatenate([shown, np.sort(np.setdiff1d(further[:most], shown))])
    local = _local(measured, swarm, seed)
    sections = []
    for place, (row, why) in enumerate(chosen.items()):
        facts = describe_row(rows, row, why)
        output = facts["output"] if len(local.outputs) > 1 else 0
        if measured.positive in local.outputs:  # of two classes, as everywhere on the page
            output = local.outputs.index(measured.positive)
        pictures = _pictures(local, place, output)
        text = f"Chosen as {why}."
        sections.append(
            page.RowSection(
                explanation=local, row=place, title=facts["title"], output=output, text=text, pictures=pictures
            )
        )
    explained = [page.LocalRows(explanation=local, numbers=swarm.tolist())]
    further = np.array([row for row in notable if row not in set(swarm.tolist())], dtype=np.int64)
    if len(further):
        explained.append(page.LocalRows(explanation=_local(measured, further, seed), numbers=further.tolist()))
    return explained, sections


def _local(measured: Measured, rows: Places, seed: int) -> Explanation:
    """Explain rows by integrated gradients, or by Shapley values where a model has no gradient."""
    inputs, _ = take(measured, rows)
    kept = ("groups", "background", "batch_size", "progress", "positive")
    options = {name: value for name, value in measured.options.items() if name in kept or name not in _GLOBAL_ONLY}
    options |= {"random_state": seed, "scope": "local"}
    options |= {} if measured.output is None else {"target": measured.output}  # names come from y
    subject = measured.request.subject
    if options.get("background") is None and subject.model is None:
        options["background"] = take(measured, _background(measured, seed))[0]
    if subject.model is None:  # without y, the task and the kind of the outputs would be inferred again
        options.setdefault("task", subject.task)
        if subject.task != "regression":
            options.setdefault("output_kind", subject.kind)
    if isinstance(measured.model, nn.Module) or subject.model is not None:
        with keeping_warnings():
            try:
                return in_log_odds(explain(measured.model, inputs, method="integrated_gradients", **options))
            except InputError:  # images drawn by a function, tokens without embeddings
                pass
    return in_log_odds(explain(measured.model, inputs, **_SHAPLEY, **options))


#: Arguments that only a loss over all rows has.
_GLOBAL_ONLY = ("loss", "confidence", "n_repeats", "sampling")


def _background(measured: Measured, seed: int) -> Places:
    """Return the rows that replace features in attributions of single rows."""
    return np.sort(generator(seed, "background").permutation(measured.rows)[:SWARM_ROWS])


def _pictures(local: Explanation, row: int, output: int) -> list[tuple[Any, str]]:
    """Draw the inputs of a row with their attributions: images, series, volumes, texts."""
    pictures = []
    for name, sides in shown_inputs(local).items():
        draw = getattr(plots, KINDS[sides])
        words = f"What moves the {output_words(local, 'prediction', output)} up (blue) and down (orange), over the "
        words += f"input {name}."
        pictures.append((draw(local, row=row, input=name or None, output=output, title=""), words))
    if local.meta.get("tokens") is not None:
        words = f"The words of the row. Blue moves the {output_words(local, 'prediction', output)} up, orange down."
        pictures.append((plots.text(local, row=row, output=output, title=""), words))
    return pictures


def _on_mean_inputs(measured: Measured, main: Explanation) -> Explanation:
    """Return a global explanation with the mean of each input that can be drawn, to draw the values over it."""
    names, tensors = measured.request.subject.input_names, measured.request.inputs
    means = {
        f"images:{name}": tensors[names.index(name)].double().mean(dim=0, keepdim=True).cpu().numpy()
        for name in shown_inputs(main)
        if name in names
    }
    return replace(main, maps=means | main.maps)


def _where(main: Explanation) -> list[page.ExtraSection]:
    """Draw the ranking of segments on the mean of each drawn input."""
    sections = []
    for name, sides in shown_inputs(main).items():
        if f"images:{name}" in main.maps:
            draw = getattr(plots, KINDS[sides])
            sections.append(
                page.ExtraSection(
                    title=f"Where in {name}",
                    text=("The numbers of the ranking, drawn on the mean of the explained rows.",),
                    drawing=draw(main, input=name, title=""),
                    drawing_text=f"Mean of {name}, and the importance of each part.",
                )
            )
    return sections
