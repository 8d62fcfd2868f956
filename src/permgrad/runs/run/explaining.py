"""The explanations of a run: what the model relies on, and a few single rows."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone

from permgrad import __version__
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation, file_frame
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, PermgradWarning, by_count, counted, warn_user
from permgrad.base.files import atomic_path, file_hash, write_json_atomic
from permgrad.base.numerals import number
from permgrad.base.progress import readable
from permgrad.base.random import generator
from permgrad.base.stored import parse_json
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.related import (
    MATRIX_FEATURES,
    RELATED_FEATURES,
    ROWS,
    related_columns,
    related_features,
    related_matrix,
)
from permgrad.report.ranks import training_words
from permgrad.report.units import in_log_odds
from permgrad.runs.folder.documents import rows_hash
from permgrad.runs.folder.folder import CACHE, configuration_hash, read_record
from permgrad.runs.refits import explain_refits
from permgrad.runs.requests import run_of
from permgrad.runs.run import answers, changing, gradients, images, reading, together
from permgrad.runs.run.clock import REPORT
from permgrad.runs.run.strongest import write_strongest

if TYPE_CHECKING:
    from permgrad.runs.run.stages import RunWork

#: Rows explained one by one in the report, and rows behind its beeswarm: fewer, but at least so many, where their
#: attributions to all outputs would be more than ``_SWARM_NUMBERS``. With 300 classes 200 rows took 80 s.
SHOWN_ROWS = 4
SWARM_ROWS, FEWEST_SWARM_ROWS, _SWARM_NUMBERS = 200, 20, 4000
#: Tolerance of their attributions, as a share of the output's range. The report shows less detail than this. With the
#: method's own default these rows would take half as long again.
SWARM_TOLERANCE = 0.005
#: Donors per row and feature, the same for images, and the largest number of image rows that are explained: an image
#: costs far more than a row of a table.
#: With many rows fewer donors do: three instead of ten widen intervals on HELOC by 10 % (four by 8 %), in a third of
#: the time.
REPEATS, REPEATS_OF_MANY_ROWS = 10, 3
IMAGE_REPEATS, MOST_IMAGE_ROWS = 5, 300
#: Rows of the first ranking of a test set of more than ``AT_ONCE`` rows. Donors are repeated until half the width of an
#: interval is this share of the loss of a constant prediction, and more rows are explained where it is still ``WIDE``.
FIRST_ROWS, AT_ONCE, TOLERANCE, WIDE = 1000, 3000, 0.005, 0.01
#: Rows that a second ranking takes in the plan, before intervals tell how many it needs: (1.96 / ``WIDE``)², for a
#: feature whose effect on a row varies by the loss of a constant prediction.
REFINED_ROWS = 38_000
#: Rows of a ranking for which there is no time, and the same with images.
FEWEST_ROWS, FEWEST_IMAGE_ROWS = 200, 30
#: Rows that are explained as published.
PAPER_ROWS = 100
#: Seconds of a refinement before which a first report is written.
EARLY_REPORT = 15.0
#: The kind of class activation map in the report. It separates classes best of the three: on Covertype its maps differ
#: about twice as much between classes as between two trainings, where the image path has 3 % of the branch weights.
#: Those of Grad-CAM differ less (verification/verify_classes.py).
MAPS = "layercam"
#: Up to this many features each one's direction is traced. Beyond, that would take longer than the ranking.
MOST_DIRECTIONS = 2000
_SUMS = "sums.json"


@dataclass(frozen=True, kw_only=True)
class DescribedRows:
    """Rows with targets, numbers in the file, and predictions. ``classes`` is None for regression."""

    y: npt.NDArray[Any]
    numbers: npt.NDArray[np.int64]
    predicted: Mapping[str, npt.NDArray[Any]]
    classes: list[Any] | None


@dataclass(frozen=True, kw_only=True)
class _Explained(DescribedRows):
    """The test rows that a run explains, in the form of the model. ``store`` is where explanations are saved."""

    work: RunWork
    model: Any
    rows: Any
    cache: Cache
    store: Path

    def explain(self, name: str | None, rows: Any, y: Any = None, **options: Any) -> Explanation:
        """Explain rows, and save the explanation under a name (None: do not save)."""
        place = None if name is None else self.store / name
        options = {"random_state": self.work.request.seed, "positive": self.work.inputs.positive, **options}
        with_images = not isinstance(rows, pd.DataFrame)
        if not with_images and name != "gradcam":
            return self.cache.explain(explain, self.model, rows, y, store=place, **options)
        explanation = (images.explain_records if with_images else explain)(self.model, rows, y, **options)
        if place is not None:
            explanation.save(place, overwrite=True)
        return explanation


def explain_run(work: RunWork) -> None:
    """Explain a run's model on its test rows. Writes ``explanations/``, ``importance.csv`` and ``branches.json``."""
    model, inputs, folder = work.model, work.inputs, work.folder.path
    part = inputs.parts["test"]
    classes = model.classes_.tolist() if hasattr(model, "classes_") else None
    places, rows = _explained_places(work, classes), images.model_rows(part)
    run = _Explained(
        work=work,
        model=model,
        # Copied only if some rows are left out: all of them are already encoded.
        rows=rows if len(places) == len(part.y) else rows.take(places),
        y=part.y[places],
        numbers=part.rows[places],
        predicted={name: values[places] for name, values in work.predictions("test").items()},
        classes=classes,
        cache=Cache.of(folder),
        store=folder / "explanations",
    )
    with work.clock.whole.part("explanation"):
        _explain_all(run)


def _explain_all(run: _Explained) -> None:
    """Explain the model: importances of some test rows first, then single rows, then importances of more rows."""
    folder, with_images = run.store.parent, run.work.request.images
    if with_images:
        options: dict[str, Any] = {"n_repeats": IMAGE_REPEATS}
    else:
        options = width_options(len(run.model.preprocessor_.features()), run.work.say)
        options["n_repeats"] = min(options["n_repeats"], _repeats(run.work, len(run.y)))
    first = _first_rows(run)
    spares = not (with_images or run.work.clock.thorough) and len(run.y) > FIRST_ROWS
    if run.work.request.ensure_top is not None:
        options |= {"ensure_top": run.work.request.ensure_top}
    elif spares or first is not None:
        options |= {"tolerance": TOLERANCE}
    started = time.monotonic()
    main = _importances(run, first, options)
    seconds = time.monotonic() - started
    if with_images:
        branches = images.inputs_importance(run.explain("modality", run.rows, run.y, level="modality"))
    else:
        both = {"tabular", "image"} <= set(run.model.module_.paths)
        branches = {**(main.branches or {}), "paper": _as_published(run) if both else None}
    write_json_atomic(folder / "branches.json", branches)
    chosen = choose_rows(run.predicted, run.y, run.classes)
    shown = np.array(list(chosen), dtype=np.int64)
    facts: dict[str, Any] = {"rows": [describe_row(run, place, why) for place, why in chosen.items()]}
    attributions, explained = None, shown
    drawn = generator(run.work.request.seed, "swarm rows").permutation(len(run.rows))
    if with_images:
        further = np.sort(np.setdiff1d(drawn, shown, assume_unique=True)[: answers.image_rows(run.model) - len(shown)])
        explained = np.concatenate([shown, further])
        run.explain("integrated_gradients", run.rows.take(explained), method="integrated_gradients")
    else:
        explained, attributions = _explain_swarm(run, main, shown, drawn)
    facts["swarm"] = run.numbers[explained]
    _write_maps(run, explained if with_images else shown)
    answers.write_cards(run, main, drawn)
    answers.write_listed(run, main, drawn, explained.tolist())
    together.write_together(run, main, drawn)
    changeable = np.concatenate([shown, drawn[~np.isin(drawn, shown)]])[: changing.MOST_ROWS]
    taken = run.rows.take(changeable)
    changing.write_rows(run.store, run.model, taken, run.numbers[changeable], main.ranking())
    write_json_atomic(run.store / "rows.json", facts)
    if run.work.request.refits is not None:
        _explain_refits(run, run.work.request.refits)
    if (
        first is not None
        and attributions is not None
        and (more := _more_rows(run, main, (len(first), seconds))) is not None
    ):
        with run.work.clock.whole.part("refinement"):
            main = _importances(run, more, options)
        write_json_atomic(folder / "branches.json", {**(main.branches or {}), "paper": branches["paper"]})
        _write_reading(run, main, attributions)


def _importances(run: _Explained, places: npt.NDArray[np.int64] | None, options: Mapping[str, Any]) -> Explanation:
    """Explain what the model relies on, on some of the rows (None: all). Writes ``importance.csv``."""
    inputs = run.work.inputs
    rows, y = (run.rows, run.y) if places is None else (run.rows.iloc[places], run.y[places])
    if places is not None:
        run.work.say(f"  importances are computed on {len(places):,} of {len(run.y):,} test rows")
    main = run.explain("permgrad", rows, y, **options)
    with atomic_path(run.store.parent / "importance.csv") as temporary:
        write_csv(file_frame(main), temporary)
    train, names = inputs.parts["train"].X, main.clearly_matter()[:RELATED_FEATURES]
    dates = [name for name in inputs.schema.of_kind("date") if name in train]
    cells = blank_codes(train.drop(columns=dates), list(inputs.na_codes))
    related: dict[str, Any] = {"rows": min(len(train), ROWS)}
    related["pairs"] = related_features(cells, names) if names else []
    strongest = [name for name in main.ranking() if name in cells.columns][:MATRIX_FEATURES]
    related["matrix"] = related_matrix(cells, strongest)
    write_json_atomic(run.store / reading.RELATED, related)
    # In the form of --groups. Very wide tables are not compared column by column.
    groups = related_columns(cells) if 1 < cells.shape[1] <= reading.MOST_RANKED and len(cells) > 3 else {}
    write_json_atomic(run.store / reading.GROUPS, groups)
    return main


def _explain_refits(run: _Explained, refits: int) -> None:
    """Repeat the training on parts of its rows. A run that was stopped resumes with the next part."""
    work, parts = run.work, [run.work.inputs.parts[part] for part in ("train", "validation")]
    estimator = clone(run.model).set_params(layout=None, device=work.request.device)
    work.say(f"  refits: {refits} trainings on parts of {sum(len(part.y) for part in parts):,} rows")
    clock, started = work.clock, time.monotonic()
    if clock.whole.expected:  # a run whose parts are planned
        clock.whole.expect(explanation=0.0)
    with clock.whole.part("refits"):
        explanation = explain_refits(
            estimator,
            pd.concat([pd.DataFrame(part.X) for part in parts], ignore_index=True),
            np.concatenate([part.y for part in parts]),
            refits=refits,
            positive=work.inputs.positive,
            n_repeats=width_options(len(run.model.preprocessor_.features()), lambda _: None)["n_repeats"],
            random_state=work.request.seed,
            out=work.folder.path / CACHE / "refits",
            overwrite=False,
        )
    # They come on top: what follows them has as much time as without.
    clock.started += time.monotonic() - started
    explanation.save(run.store / "refits", overwrite=True)
    work.say(f"  {training_words(explanation)}")


def _as_published(run: _Explained) -> Any:
    """Weigh the branches as published. The method computes each row anew for each feature, so that few rows do."""
    places = np.arange(len(run.y)) if run.work.clock.thorough else _drawn(run, PAPER_ROWS)
    rows = (run.rows, run.y) if len(places) == len(run.y) else (run.rows.iloc[places], run.y[places])
    return run.explain("permgrad-paper", *rows, method="permgrad-paper").branches


# ---- which rows ------------------------------------------------------------------------------------------------------
def _drawn(run: _Explained, count: int) -> npt.NDArray[np.int64]:
    """Return random rows in their order. Of a class that a small draw would miss, one row is among them."""
    order = generator(run.work.request.seed, "rows explained first").permutation(len(run.y))
    drawn = order[:count]
    if run.classes is not None:
        drawn = np.union1d(drawn, np.unique(run.y, return_index=True)[1])
    return np.sort(drawn)


def _first_rows(run: _Explained) -> npt.NDArray[np.int64] | None:
    """Return the rows of the first ranking, or None for all of them. A limit that is near makes them fewer."""
    rows = len(run.y)
    if run.work.request.images or run.work.clock.thorough:
        return None
    first = rows if rows <= AT_ONCE else FIRST_ROWS
    first = _in_time(run.work, first, FEWEST_ROWS, len(run.model.preprocessor_.features()))
    return None if first == rows else _drawn(run, first)


def _in_time(work: RunWork, rows: int, fewest: int, features: int) -> int:
    """Return how many of some rows are explained before the limit, and record what it cuts."""
    clock, expected = work.clock, expected_explanation(work, features)
    share = (clock.left() - REPORT) / expected if expected else 1.0
    fewer = min(rows, max(fewest, int(share * rows))) if share < 1 else rows
    if fewer < rows:
        clock.cut.append(f"explanation: {fewer:,} rows instead of {rows:,}")
    return fewer


def _more_rows(run: _Explained, main: Explanation, taken: tuple[int, float]) -> npt.NDArray[np.int64] | None:
    """Return the rows that make the intervals of a ranking narrow enough, or None if they are, or there is no time.

    ``taken``: rows and seconds of the first ranking. Where more rows take long, a report on the first ones is written.
    """
    first, seconds = taken
    clock, scale = run.work.clock, float(main.meta["loss_scale"])
    if clock.whole.expected:  # a run whose parts are planned
        clock.whole.expect(refinement=0.0)
    low, high = main.ci()
    wide = float(np.nanmax(high[:, 0] - low[:, 0])) / 2
    if not (np.isfinite(wide) and scale > 0 and wide > WIDE * scale):
        return None
    wanted = min(len(run.y), int(first * (wide / (WIDE * scale)) ** 2))
    possible = wanted
    if seconds > 0 and not main.meta.get("cached") and np.isfinite(clock.limit):
        possible = int(min(wanted, first * max(clock.left() - 2 * REPORT, 0.0) / seconds))
    if possible < wanted:
        clock.cut.append(f"explanation: {max(possible, first):,} rows instead of {wanted:,}")
    if possible < 1.5 * first:
        return None
    expected = seconds * possible / first
    if clock.whole.expected:
        clock.whole.expect(explanation=0.0, refinement=expected)
    if expected > EARLY_REPORT:
        run.work.say(f"  first report: {run.work.write_page()}")
        run.work.say(f"  refining on {possible:,} rows, about {readable(expected)}")
    return _drawn(run, possible)


def _repeats(work: RunWork, rows: int) -> int:
    """Return how many donors each row of a ranking has."""
    return REPEATS if work.clock.thorough or rows <= FIRST_ROWS else REPEATS_OF_MANY_ROWS


def expected_explanation(work: RunWork, features: int) -> float:
    """Return about how many seconds the explanation will take."""
    rows, clock = len(work.inputs.parts["test"].y), work.clock
    if work.request.images:
        # A pair takes about as long as a training step on a row, with its part of the other explanations.
        players = features + images.RANKED_PATCHES**2 * len(work.request.images)
        return clock.per_row * min(rows, MOST_IMAGE_ROWS) * players * IMAGE_REPEATS
    first = rows if clock.thorough or rows <= AT_ONCE else FIRST_ROWS
    repeats = _repeats(work, rows)
    published = first if clock.thorough else min(rows, PAPER_ROWS)
    outputs = 1 if work.inputs.task == "regression" else len(np.unique(work.inputs.parts["train"].y))
    swarm = min(rows, _swarm_rows(outputs)) * max(1, outputs * SWARM_ROWS // _SWARM_NUMBERS)
    return clock.explaining_seconds(first * features * repeats, swarm) + clock.per_row * published * features


def expected_refits(work: RunWork, training: float) -> float:
    """Return about how many seconds the trainings of ``--refits`` take, by those of the run's own (0: none)."""
    refits = work.request.refits
    if refits is None:
        return 0.0
    # Folds leave out one part of the rows each, halves half of them. The run itself does not train on validation rows.
    rows = {part: len(work.inputs.parts[part].y) for part in ("train", "validation")}
    folds = refits - refits // 2
    return training * (folds - 1 + (refits // 2) / 2) * sum(rows.values()) / max(rows["train"], 1)


def expected_refinement(work: RunWork, features: int) -> float:
    """Return about how many seconds a ranking of more rows will take, with the first report before it."""
    rows, clock = len(work.inputs.parts["test"].y), work.clock
    if work.request.images or clock.thorough or rows <= AT_ONCE:
        return 0.0
    return clock.explaining_seconds(min(rows, REFINED_ROWS) * features * _repeats(work, rows), 0) + REPORT


def _explained_places(work: RunWork, classes: list[Any] | None) -> npt.NDArray[np.int64]:
    """Return which test rows are explained: those of classes that the model knows, and of images not too many."""
    y = work.inputs.parts["test"].y
    places = np.arange(len(y)) if classes is None else np.flatnonzero(np.isin(y, classes))
    if unknown := len(y) - len(places):
        rows = f"{counted(unknown, 'test row')} {by_count(unknown, 'has', 'have')} a class that no training row has"
        work.say(f"note: {rows}; {by_count(unknown, 'it is', 'they are')} not explained")
    if not work.request.images:
        return places
    most = _in_time(work, min(len(places), MOST_IMAGE_ROWS), FEWEST_IMAGE_ROWS, len(work.model.groups_))
    if len(places) <= most:
        return places
    work.say(f"note: {most} of {len(places):,} test rows are explained, drawn at random")
    return np.sort(generator(work.request.seed, "explained rows").permutation(places)[:most])


def width_options(features: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return options that limit the time for many features, and report them. Fewer donors widen intervals a little."""
    repeats, direction = (
        REPEATS if features <= 1000 else max(2, REPEATS * 1000 // features),
        features <= MOST_DIRECTIONS,
    )
    if repeats < REPEATS:
        say(f"note: the table is wide, so each row has {repeats} donors instead of {REPEATS}; intervals widen a little")
    if not direction:
        say(f"note: the table is wide, so directions are not computed (more than {MOST_DIRECTIONS:,} features)")
    return {"n_repeats": repeats, "direction": direction}


def _swarm_rows(outputs: int) -> int:
    """Return how many rows the beeswarm has for so many outputs."""
    return max(FEWEST_SWARM_ROWS, min(SWARM_ROWS, _SWARM_NUMBERS // outputs))


def _explain_swarm(
    run: _Explained, main: Explanation, shown: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], reading.Attributions]:
    """Explain the rows of the beeswarm, and write ``reading.json``. Return these rows, those shown first."""
    inputs, folder = run.work.inputs, run.store.parent
    most = _swarm_rows(1 if run.classes is None else len(run.classes))
    swarm = np.concatenate([shown, np.sort(np.setdiff1d(drawn[:most], shown))])
    method = {"method": "integrated_gradients", "tolerance": SWARM_TOLERANCE}
    local = run.explain("integrated_gradients", run.rows.iloc[swarm], **method)
    output = 0
    if run.classes is not None:
        # Of two classes the positive one, of more classes the most frequent one.
        label = pd.Series(run.y).value_counts(sort=False).reindex(run.classes).idxmax()
        output = local.outputs.index(str(label if inputs.positive is None else inputs.positive))
    odds = in_log_odds(local)
    attributions = reading.Attributions(odds.names, odds.values[:, :, output], swarm, odds, output)
    if inputs.positive is not None and gradients.leads(run.work.request.preset):
        attributions = gradients.explain_all(run.explain, run.model, inputs, run.rows, folder)
    _write_reading(run, main, attributions)
    return swarm, attributions


def _write_reading(run: _Explained, main: Explanation, attributions: reading.Attributions) -> None:
    """Write what helps to read a ranking."""
    inputs = run.work.inputs
    if inputs.task == "regression":
        write_strongest(run.store.parent, main, run.rows, run.numbers, inputs.na_codes)
    write_json_atomic(run.store / reading.FILE, reading.reading_help(inputs, main, run.rows, run.y, attributions))


def _write_maps(run: _Explained, shown: npt.NDArray[np.int64]) -> None:
    """Explain the rows shown by class activation maps, if the network has an image."""
    options: dict[str, Any] = {}
    if isinstance(run.rows, pd.DataFrame):
        if not ("image" in run.model.module_.paths and getattr(run.model.renderer_, "differentiable", True)):
            return
        options = {"variant": MAPS}
    with warnings.catch_warnings():
        # Maps of classes that a row does not have are often empty. Of the predicted one the report says so itself.
        warnings.filterwarnings("ignore", "a class activation map should have cells above zero", PermgradWarning)
        run.explain("gradcam", run.rows.take(shown), method="gradcam", **options)


# ---- single rows -----------------------------------------------------------------------------------------------------
def choose_rows(
    predicted: Mapping[str, npt.NDArray[Any]], y: npt.NDArray[Any], classes: list[Any] | None
) -> dict[int, str]:
    """Choose a few interesting rows: typical ones, and the one with the worst prediction."""
    chosen: dict[int, str] = {}
    if classes is None:
        predictions = predicted["prediction"]
        order = np.argsort(predictions, kind="stable")
        for share, why in ((0.1, "a low prediction"), (0.5, "a middling prediction"), (0.9, "a high prediction")):
            chosen.setdefault(int(order[int(share * len(order))]), why)
        chosen.setdefault(int(np.abs(predictions - y).argmax()), "the row with the largest error")
        return chosen
    probabilities = predicted["probabilities"]
    truth = pd.Index(classes).get_indexer(pd.Index(y.tolist()))
    best, of_truth = probabilities.argmax(axis=1), probabilities[np.arange(len(y)), truth]
    frequent = np.argsort(-np.bincount(truth, minlength=len(classes)), kind="stable")
    for label in frequent[: SHOWN_ROWS - 1]:
        right = np.flatnonzero((best == label) & (truth == label))
        if len(right):
            order = right[np.argsort(of_truth[right], kind="stable")]
            chosen[int(order[len(order) // 2])] = "a usual row of its class, predicted right"
    wrong = np.flatnonzero(best != truth)
    if len(wrong):
        chosen.setdefault(int(wrong[of_truth[wrong].argmin()]), "the row with the clearest wrong prediction")
    return chosen


def describe_row(run: DescribedRows, place: int, why: str) -> dict[str, Any]:
    """Return what the report shows about a row."""
    truth = run.y[place].item()
    facts: dict[str, Any] = {"row": int(run.numbers[place]), "truth": truth, "why": why}
    if run.classes is None:
        facts |= {"prediction": float(run.predicted["prediction"][place]), "output": 0}
        words = f"predicted {number(facts['prediction'], 4)}"
    else:
        probabilities = run.predicted["probabilities"][place]
        best = int(probabilities.argmax())
        facts |= {"prediction": run.classes[best], "output": best, "probability": float(probabilities[best])}
        words = f"predicted {facts['prediction']} with {probabilities[best]:.2f}"
    shown = truth if not isinstance(truth, float) else number(truth, 4)
    return facts | {"title": f"Row {run.numbers[place]}: {shown}, {words}"}


# ---- cached explanations ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cache:
    """The explanations that are cached in a folder, of a model by its hash. Without a folder nothing is cached.

    An entry's name is a hash of the saved model, the rows, the method and all its options. The entry is a folder as
    ``Explanation.save`` writes it, with the hashes of its files: a damaged one is computed again.
    """

    folder: Path | None
    model: str = ""

    @classmethod
    def of(cls, model_folder: Path) -> Cache:
        """Return the cache of a run by its folder or its model's. A model outside a run has none."""
        run = run_of(model_folder)
        saved = run / "model"
        if not saved.is_dir() or model_folder not in (run, saved) or read_record(run) is None:
            return cls(None)
        # This file holds the checksums of the other files of the model.
        return cls(run / CACHE, file_hash(saved / "model.json"))

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
        """Return an explanation from the cache, or compute and cache it.

        It is also saved in the folder ``store``. ``meta["cached"]`` is true if it was read. ``compute`` is
        ``permgrad.explain``. The seed is among its options.
        """
        entry = None
        if self.folder is not None:
            facts = {"version": __version__, "model": self.model, "method": method, "data": rows_hash(X, y)}
            entry = self.folder / f"{method}-{configuration_hash({'facts': facts, 'options': options})[:24]}"
        cached = None if entry is None else _read(entry)
        explanation = compute(model, X, y, method=method, **options) if cached is None else cached
        explanation.meta["cached"] = cached is not None
        if store is not None:
            explanation.save(store, overwrite=True)
        if entry is not None and cached is None:
            # The folder may be read-only. The explanation is valid without the cache.
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
    if not entry.is_dir():
        return None
    try:
        sums = parse_json((entry / _SUMS).read_bytes())
        if {name: file_hash(entry / name) for name in sums} == sums:
            return Explanation.load(entry)
    except (OSError, ValueError, TypeError, AttributeError, InputError):
        pass
    warn_user(f"The saved explanation {entry} is damaged. It is computed again.")
    return None
