"""The explanations of a run: what the model relies on, and a few rows looked at one by one."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad import __version__
from permgrad.base.csv_files import read_csv, write_csv
from permgrad.base.errors import InputError, PermgradWarning, by_count, counted, warn_user
from permgrad.base.files import atomic_path, file_hash, write_json_atomic
from permgrad.base.random import generator
from permgrad.base.stored import parse_json
from permgrad.data.read.table import blank_codes
from permgrad.runs.folder.folder import CACHE, configuration_hash, read_record
from permgrad.runs.requests import run_of
from permgrad.runs.run import gradients, images, reading

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.runs.run.stages import RunWork

#: Rows explained one by one in the report, and rows behind its beeswarm.
SHOWN_ROWS = 4
SWARM_ROWS = 200
#: Share of the output's range within which their attributions have settled. What the report draws and says shows less;
#: with the method's own default these rows would take half as long again.
SWARM_TOLERANCE = 0.005
#: Donors per row and feature, and the same of images, of which at most so many test rows are explained: an image costs
#: far more than a row of a table.
REPEATS = 10
IMAGE_REPEATS, MOST_IMAGE_ROWS = 5, 300
#: The kind of class activation map that the report shows. Of the three it tells classes apart best: on Covertype its
#: maps differ about twice as much between classes as between two trainings, where the image path carries 3 % of the
#: branch weights; Grad-CAM's differ less (verification/verify_classes.py).
MAPS = "layercam"
#: Features up to which each one's direction is traced; beyond, that would take longer than the ranking.
MOST_DIRECTIONS = 2000
#: Raw values of so many features that the model relies on most: residuals are drawn by them.
STRONGEST, MOST_STRONGEST = Path("explanations") / "strongest.csv", 3
_SUMS = "sums.json"


@dataclass(frozen=True)
class _Explained:
    """The test rows that a run explains: as the model takes them, their targets, and their numbers in the file.

    ``store`` is where explanations go; ``classes`` is None for numbers.
    """

    work: RunWork
    model: Any
    rows: Any
    y: npt.NDArray[Any]
    numbers: npt.NDArray[np.int64]
    predicted: Mapping[str, npt.NDArray[Any]]
    classes: list[Any] | None
    cache: Cache
    store: Path

    def explain(self, name: str | None, rows: Any, y: Any = None, **options: Any) -> Explanation:
        """Explain rows, and save the explanation under a name; None: it is only for what is computed from it."""
        from permgrad.attribution.explain import explain

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
    """Explain a run's model on its test rows; writes ``explanations/``, ``importance.csv`` and ``branches.json``."""
    from permgrad.attribution.explanation import file_frame

    model, inputs, folder, with_images = work.model, work.inputs, work.folder.path, work.request.images
    part = inputs.parts["test"]
    classes = model.classes_.tolist() if hasattr(model, "classes_") else None
    places, rows = _explained_places(work, classes), images.model_rows(part)
    run = _Explained(
        work=work,
        model=model,
        # Cut out only where some are left out: all of them are encoded already.
        rows=rows if len(places) == len(part.y) else rows.take(places),
        y=part.y[places],
        numbers=part.rows[places],
        predicted={name: values[places] for name, values in work.predictions("test").items()},
        classes=classes,
        cache=Cache.of(folder),
        store=folder / "explanations",
    )
    if with_images:
        options: dict[str, Any] = {"n_repeats": IMAGE_REPEATS}
    else:
        options = width_options(len(model.preprocessor_.features()), work.say)
    main = run.explain("permgrad", run.rows, run.y, **options)
    with atomic_path(folder / "importance.csv") as temporary:
        write_csv(file_frame(main), temporary)
    train, names = inputs.parts["train"].X, main.clearly_matter()[: reading.RELATED_FEATURES]
    dates = [name for name in inputs.schema.of_kind("date") if name in train]
    cells = blank_codes(train.drop(columns=dates), list(inputs.na_codes))
    related = {"rows": min(len(train), reading.ROWS), "pairs": reading.related_features(cells, names) if names else []}
    write_json_atomic(run.store / reading.RELATED, related)
    if with_images:
        branches = images.inputs_importance(run.explain("modality", run.rows, run.y, level="modality"))
    else:
        both = {"tabular", "image"} <= set(model.module_.paths)
        paper = run.explain("permgrad-paper", run.rows, run.y, method="permgrad-paper").branches if both else None
        branches = {**(main.branches or {}), "paper": paper}
    write_json_atomic(folder / "branches.json", branches)
    chosen = choose_rows(run.predicted, run.y, run.classes)
    shown = np.array(list(chosen), dtype=np.int64)
    facts: dict[str, Any] = {"rows": [describe_row(run, place, why) for place, why in chosen.items()]}
    if with_images:
        run.explain("integrated_gradients", run.rows.take(shown), method="integrated_gradients")
    else:
        facts["swarm"] = run.numbers[_explain_swarm(run, main, shown)]
    _write_maps(run, shown)
    write_json_atomic(run.store / "rows.json", facts)


def _explained_places(work: RunWork, classes: list[Any] | None) -> npt.NDArray[np.int64]:
    """Return which test rows are explained: those of a class that the model knows; of images at most so many."""
    y = work.inputs.parts["test"].y
    places = np.arange(len(y)) if classes is None else np.flatnonzero(np.isin(y, classes))
    if unknown := len(y) - len(places):
        rows = f"{counted(unknown, 'test row')} {by_count(unknown, 'has', 'have')} a class that no training row has"
        work.say(f"note: {rows}; {by_count(unknown, 'it is', 'they are')} not explained")
    if not work.request.images or len(places) <= MOST_IMAGE_ROWS:
        return places
    work.say(f"note: {MOST_IMAGE_ROWS} of {len(places):,} test rows, drawn at random, are explained")
    return np.sort(generator(work.request.seed, "explained rows").permutation(places)[:MOST_IMAGE_ROWS])


def width_options(features: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return what the number of features leaves time for, and say so; fewer donors widen the intervals a little."""
    repeats, direction = (
        REPEATS if features <= 1000 else max(2, REPEATS * 1000 // features),
        features <= MOST_DIRECTIONS,
    )
    if repeats < REPEATS:
        say(
            f"note: the table is wide, so each row gets {repeats} donors instead of {REPEATS}; intervals widen a little"
        )
    if not direction:
        say(f"note: the table is wide, so directions are left out (beyond {MOST_DIRECTIONS:,} features)")
    return {"n_repeats": repeats, "direction": direction}


def _explain_swarm(run: _Explained, main: Explanation, shown: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Explain the rows of the beeswarm, and write what helps to read them; return these rows, those shown first."""
    inputs, folder = run.work.inputs, run.store.parent
    shuffled = generator(run.work.request.seed, "swarm rows").permutation(len(run.rows))
    swarm = np.concatenate([shown, np.sort(np.setdiff1d(shuffled[:SWARM_ROWS], shown))])
    method = {"method": "integrated_gradients", "tolerance": SWARM_TOLERANCE}
    local = run.explain("integrated_gradients", run.rows.iloc[swarm], **method)
    output = 0
    if run.classes is not None:
        # Of two classes the positive one, of more the most frequent one.
        label = pd.Series(run.y).value_counts(sort=False).reindex(run.classes).idxmax()
        output = local.outputs.index(str(label if inputs.positive is None else inputs.positive))
    attributions = reading.Attributions(local.names, local.values[:, :, output], swarm, local, output)
    if inputs.positive is not None and gradients.leads(run.work.request.preset):
        attributions = gradients.explain_all(run.explain, run.model, inputs, run.rows, folder)
    if inputs.task == "regression":
        write_strongest(folder, main, run.rows, run.numbers, inputs.na_codes)
    write_json_atomic(run.store / reading.FILE, reading.reading_help(inputs, main, run.rows, run.y, attributions))
    return swarm


def _write_maps(run: _Explained, shown: npt.NDArray[np.int64]) -> None:
    """Explain the rows shown by class activation maps, if the network has an image to draw them on."""
    options: dict[str, Any] = {}
    if isinstance(run.rows, pd.DataFrame):
        if not ("image" in run.model.module_.paths and getattr(run.model.renderer_, "differentiable", True)):
            return
        options = {"variant": MAPS}
    with warnings.catch_warnings():
        # Maps of classes that a row does not have are often empty; of the predicted one the report says so itself.
        warnings.filterwarnings("ignore", "a class activation map should have cells above zero", PermgradWarning)
        run.explain("gradcam", run.rows.take(shown), method="gradcam", **options)


def write_strongest(
    folder: Path,
    explanation: Explanation,
    X: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    na_codes: Sequence[str | int | float] = (),
) -> None:
    """Write each row's number in the file, then its values of the strongest features that are one column."""
    names = [name for name in explanation.ranking() if name in X.columns][:MOST_STRONGEST]
    table = blank_codes(X[names], list(na_codes)).reset_index(drop=True)
    table.insert(0, "row", rows, allow_duplicates=True)
    with atomic_path(folder / STRONGEST) as temporary:
        write_csv(table, temporary)


def read_strongest(folder: Path, rows: npt.NDArray[Any]) -> pd.DataFrame | None:
    """Return these values for rows of the file; None where a run has left none."""
    path = folder / STRONGEST
    if not path.is_file():
        return None
    names = read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
    table = read_csv(path, header=None, skiprows=1, index_col=0)
    table.columns = pd.Index(names[1:])
    return table.reindex(rows).reset_index(drop=True)


# ---- single rows -----------------------------------------------------------------------------------------------------
def choose_rows(
    predicted: Mapping[str, npt.NDArray[Any]], y: npt.NDArray[Any], classes: list[Any] | None
) -> dict[int, str]:
    """Choose a few rows worth looking at: usual ones, and the one that the model gets most wrong."""
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


def describe_row(run: _Explained, place: int, why: str) -> dict[str, Any]:
    """Return what the report says about a row."""
    truth = run.y[place].item()
    facts: dict[str, Any] = {"row": int(run.numbers[place]), "truth": truth, "why": why}
    if run.classes is None:
        facts |= {"prediction": float(run.predicted["prediction"][place]), "output": 0}
        words = f"predicted {facts['prediction']:.4g}"
    else:
        probabilities = run.predicted["probabilities"][place]
        best = int(probabilities.argmax())
        facts |= {"prediction": run.classes[best], "output": best, "probability": float(probabilities[best])}
        words = f"predicted {facts['prediction']} with {probabilities[best]:.2f}"
    shown = truth if not isinstance(truth, float) else f"{truth:.4g}"
    return facts | {"title": f"Row {run.numbers[place]}: {shown}, {words}"}


# ---- explanations kept -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cache:
    """The explanations kept in a folder, of a model by its hash; without a folder nothing is kept.

    An entry's name is a hash of the saved model, the rows, the method and all its options; it is a folder as
    ``Explanation.save`` writes it with the hashes of its files: one that was damaged is noticed, and built again.
    """

    folder: Path | None
    model: str = ""

    @classmethod
    def of(cls, model_folder: Path) -> Cache:
        """Return the cache of a run by its folder or its model's; a model that stands alone has none."""
        run = run_of(model_folder)
        saved = run / "model"
        if not saved.is_dir() or model_folder not in (run, saved) or read_record(run) is None:
            return cls(None)
        # It holds the checksums of the files beside it.
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
        """Return an explanation: from its file if it is there and whole, else computed and kept.

        It is also saved in the folder ``store``; ``meta["cached"]`` says whether it was read. ``compute`` is
        ``permgrad.explain``, the seed is among its options.
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
