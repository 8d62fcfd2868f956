"""``pg.explain_refits``: fit an estimator several times, explain each fit on rows it has not seen, and combine."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.utils import _safe_indexing

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.files import write_explanation
from permgrad.attribution.explanation.frames import file_frame
from permgrad.attribution.method.captum import find_method
from permgrad.attribution.parts.engines import Engine, make_engine
from permgrad.attribution.refits import RefitDesign, combine, draw_design, explain_refit
from permgrad.attribution.replace.plays import loss_game, loss_games
from permgrad.attribution.request import Request, methods, refuse_interactions
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request, is_estimator
from permgrad.attribution.request.related import read_units, with_columns
from permgrad.base import __version__
from permgrad.base.arrays import Integers
from permgrad.base.checks import check_flag, check_path, check_rows, check_whole
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError, PermgradError, error_in_words, keeping_warnings, shown, warn_first
from permgrad.base.files import writing
from permgrad.base.folders import FolderKind
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.data.read.cells import as_frame, rows_hash
from permgrad.data.types.column_notes import tell_of_other_order
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

#: Fewest refits: three folds and two halves.
LEAST = 5
#: Fewest rows of each class, so that every half of the rows has two of them.
_OF_A_CLASS = 4
FOLDER = FolderKind("set of refits", ("refits.json", "refits", "explanation", "importance.csv"), "set of refits")
_, _REFITS, _RESULT, _TABLE = FOLDER.names


def explain_refits(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    refits: int = 10,
    method: Literal["permgrad", "permutation", "ablation"] | Any = "permgrad",
    target: int | str | Iterable[int | str] | None = None,
    level: Literal["column", "feature", "group"] = "feature",
    groups: Mapping[str, Iterable[str]] | None = None,
    sampling: Literal["marginal", "conditional"] = "marginal",
    loss: str | tuple[str, float] | Any = "auto",
    confidence: float = 0.95,
    n_repeats: int = 10,
    split_groups: npt.ArrayLike | None = None,
    row_groups: Any = None,
    row_time: Any = None,
    most_rows: int = 2000,
    positive: Any = None,
    engine: str | Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    random_state: Any = 0,
    progress: ProgressMode = "auto",
    **options: Any,
) -> Explanation:
    """Explain a training procedure: importances with intervals that include training again on other rows.

    ``pg.explain`` explains one fit. Its intervals include the chance of the rows explained and of the donors. Here the
    estimator is fitted ``refits`` times, each time with another seed on other rows, and each fit is explained on rows
    that it has not seen. The importance is the mean over trainings on new samples with as many rows as ``X``. Half of
    the refits leave one fold of the rows out, the others half of the rows (docs/refits.md).

    Args:
        estimator: an estimator of scikit-learn's kind: ``HyNNRegressor``, a pipeline, a booster, or any object with
            ``fit`` and ``predict``. It stays unchanged: copies are fitted. Parameters called ``random_state`` get
            another seed in each copy.
        X: table ``(rows, features)``, in any form that the estimator is fitted on.
        y: target ``(rows,)``.
        refits: number of fits, at least 5. More make the intervals narrower.
        method: ``"permgrad"``, ``"permutation"`` or ``"ablation"``.
        target: outputs to explain, as for ``pg.explain``, like the next arguments.
        level: ``"feature"``, ``"column"`` or ``"group"``.
        groups: columns that are replaced together.
        sampling: ``"marginal"`` or ``"conditional"``.
        loss: loss computed for each row.
        n_repeats: donors per row and feature.
        positive: the class that plots show of two.
        confidence: confidence level of the intervals.
        split_groups: as ``row_groups``.
        row_groups: labels ``(rows,)``, or the name of a column of ``X``, which is then no feature. Rows of a group are
            never divided between training and explanation, and intervals count groups.
        row_time: times ``(rows,)``, or the name of such a column. The rows are divided into stretches of time, four
            for each refit, which act as groups.
        most_rows: explain at most this many of the rows, drawn at random. All rows are trained on.
        engine: ``"local"``, or ``"ray"`` for several refits at a time, with the same result (docs/cluster.md).
        workers: number of Ray's processes.
        address: address of a Ray cluster. None: this machine.
        out: folder for the results. A call that was stopped resumes there with the next refit. None: nothing is
            written.
        overwrite: start again in a folder that holds other refits.
        random_state: seed of parts, fits and donors.
        progress: a bar on stderr.
        **options: options of the method, and those that describe a predictor, as for ``pg.explain``.

    Returns:
        An ``Explanation``. ``std``, intervals and p-values include training again. Its frame also has the columns
        ``within``, the standard error of measuring one fit on these rows, and ``between``, how much the importance
        differs between trainings (a standard deviation). ``meta["another_training"]`` has, for each feature, the
        estimated probability that it is among the first three in another training.

    Raises:
        InputError: an argument cannot be used. Nothing was fitted. Or the estimator fails on a part of the rows.

    Examples:
        >>> import permgrad as pg
        >>> from sklearn.linear_model import Ridge
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 3)); y = X @ [2.0, 1.0, 0.0] + rng.normal(size=200)
        >>> result = pg.explain_refits(Ridge(), X, y, refits=6, n_repeats=2, progress=False)
        >>> result.ranking()[:2], result.meta["refits"]["fits"]
        (['x0', 'x1'], 6)
    """
    count = check_whole("refits", refits, f"pass at least {LEAST}, for example 10", least=LEAST)
    check_whole("most_rows", most_rows, "pass for example 2000", least=100)
    check_flag("overwrite", overwrite)
    folder, seed = None if out is None else check_path("out", out), resolve_seed(random_state)
    made = make_engine(engine, workers=workers, address=address)
    arguments = {
        "method": method, "target": target, "level": level, "groups": groups, "sampling": sampling, "loss": loss,
        "confidence": confidence, "n_repeats": n_repeats, "positive": positive, "progress": False, "options": options,
    }  # fmt: skip
    tell_of_other_order(X, y=y, split_groups=split_groups)
    if row_groups is not None or row_time is not None:
        X, split_groups = _related(X, y, count, row_groups=row_groups, row_time=row_time)
    work = _Work(estimator, X, np.asarray(y), arguments, seed, split_groups)
    work.check()
    what = "rows" if split_groups is None else "groups" if row_time is None else "times"
    units = len(work.y) if work.groups is None else len(np.unique(np.asarray(work.groups)))
    check_enough(count, units, work.classes, what)
    design = draw_design(len(work.y), count, work.seed, work.classes, work.groups)
    started = time.perf_counter()
    with ExitStack() as stack:
        if folder is not None:
            same = work.configuration(count, most_rows)
            command = "permgrad.explain_refits(estimator, X, y, ...)"
            stack.enter_context(FOLDER.open(folder, same, command=command, overwrite=overwrite))
        measured = np.arange(design.rows)
        if design.rows > most_rows:
            measured = np.sort(generator(seed, "rows measured").permutation(design.rows)[:most_rows])
        fits = _do(work, design, measured, made, folder, progress)
        facts = {"estimator": type(estimator).__name__, "seconds": time.perf_counter() - started}
        facts |= {} if made.facts["engine"] == "local" else {"engine": made.facts}
        explanation = combine(fits, design, seed, facts)
        if folder is not None:
            with writing(folder):
                explanation.save(folder / _RESULT, overwrite=True)
                write_csv(file_frame(explanation), folder / _TABLE)
        return explanation


# ---- one refit -------------------------------------------------------------------------------------------------------
@dataclass
class _Work:
    """What every worker holds. It is called with a refit's number, and its rows for training and explanation."""

    estimator: Any
    X: Any
    y: npt.NDArray[Any]
    arguments: dict[str, Any]
    seed: int
    groups: Any = None

    @property
    def classes(self) -> npt.NDArray[Any] | None:
        """The classes of the rows, or None for regression."""
        try:
            classifies = bool(is_classifier(self.estimator))
        except (AttributeError, TypeError):  # one without scikit-learn's tags
            classifies = hasattr(self.estimator, "predict_proba")
        return self.y if classifies and self.y.ndim == 1 else None

    def check(self) -> None:
        """Refuse arguments that cannot be used. A constant stands in for the fits: it shows what the table allows."""
        if isinstance(self.estimator, type) or not all(hasattr(self.estimator, name) for name in ("fit", "predict")):
            problem = f"estimator must be an estimator of scikit-learn's kind, got {shown(self.estimator)}"
            hint = "Copies of it are fitted, so it needs fit and predict. A fitted model is explained by pg.explain."
            raise InputError(problem, hint=hint, code="PG031")
        _, name = find_method(Arguments(**self.arguments).method)
        if name not in methods or loss_game(name) is None:
            problem = f"explain_refits needs one of the methods {', '.join(loss_games())}, got method={name!r}"
            raise InputError(problem, hint="Choose one of these.", code="PG004")
        refuse_interactions(self.arguments["options"], "explain_refits")
        if self.arguments["options"].get("ensure_top") is not None:
            raise InputError("ensure_top cannot be used with explain_refits", hint="Leave it out.", code="PG006")
        frame = as_frame(self.X)
        if pd.isna(self.y).any():
            raise InputError("y has missing values", hint="Leave their rows out.", code="PG015")
        if len(frame) != len(self.y):
            problem = f"X has {len(frame)} rows and y has {len(self.y)}"
            raise InputError(problem, hint="Pass one target for each row.", code="PG007")
        if self.groups is not None:
            check_rows("split_groups", self.groups, len(self.y), "Pass for example a column of ids.")
        constant = DummyRegressor() if self.classes is None else DummyClassifier()
        few = np.arange(min(len(frame), 50))
        # What a network of permgrad calls features is known once it is fitted.
        named = {"groups": None, "level": "feature"} if is_estimator(self.estimator) else {}
        self._request(constant.fit(np.zeros((len(self.y), 1)), self.y), few, 0, **named)

    def _request(self, model: Any, rows: Integers, number: int, **changed: Any) -> tuple[Request, Any]:
        """Return the request that explains a fit on some rows, and its method."""
        arguments = Arguments(
            **{**self.arguments, **changed},
            model=model,
            inputs=_safe_indexing(self.X, rows),
            y=self.y[rows],
            row_groups=None if self.groups is None or changed else np.asarray(self.groups)[rows],
            random_state=derive_seed(self.seed, "donors", number),
        )
        chosen, name = find_method(arguments.method)
        # Neither is of the procedure.
        arguments.options.update({one: False for one in ("branches", "direction") if one in chosen.options})
        return build_request(arguments, chosen, name), chosen

    def __call__(self, task: tuple[int, Integers, Integers]) -> tuple[int, Explanation, list[str]]:
        """Return a refit's number, its explanation, and the warnings to be passed on."""
        number, trained, rows = task
        with keeping_warnings() as notes, sparing(), full_float32():
            return number, explain_refit(*self._request(self._fitted(number, trained), rows, number), rows), notes

    def _fitted(self, number: int, trained: Integers) -> Any:
        # One without parameters is copied as it is.
        copied = clone if hasattr(self.estimator, "get_params") else deepcopy
        model, names = copied(self.estimator), _params(self.estimator)
        seeds = {
            name: derive_seed(self.seed, "fit", number, name) % 2**31 for name in names if name.endswith("random_state")
        }
        if hasattr(model, "set_params"):
            model.set_params(**seeds, **({"progress": False} if is_estimator(model) else {}))
        else:
            vars(model).update(seeds)
        try:
            model.fit(_safe_indexing(self.X, trained), self.y[trained])
        except PermgradError:
            raise
        except Exception as error:
            raise InputError(
                f"{type(model).__name__} cannot be fitted on {len(trained)} of the {len(self.y)} rows: "
                f"{error_in_words(error)}",
                hint="Each refit sees a part of the rows. Check that the estimator accepts them.",
                code="PG032",
            ) from error
        return model  # not what fit returns, which an object of the user's own may leave out

    def configuration(self, refits: int, most_rows: int) -> dict[str, Any]:
        """Return everything that changes the result."""
        params = {name: _identity(value) for name, value in sorted(_params(self.estimator).items())}
        explained = {name: _identity(value) for name, value in self.arguments.items() if name != "progress"}
        groups = {} if self.groups is None else {"split_groups": _identity(np.asarray(self.groups).tolist())}
        return {
            "permgrad": __version__,
            "estimator": type(self.estimator).__qualname__,
            "parameters": params,
            "rows": rows_hash(as_frame(self.X), self.y),
            "refits": refits,
            "most_rows": most_rows,
            "seed": self.seed,
            **explained,
            **groups,
        }


def _params(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator, or the attributes of one that does not list any."""
    params: dict[str, Any] = (
        estimator.get_params() if hasattr(estimator, "get_params") else getattr(estimator, "__dict__", {})
    )
    return params


def _identity(value: Any) -> str:
    """Return a value as text, without the places of objects in memory, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def check_enough(refits: int, units: int, classes: npt.NDArray[Any] | None, what: str = "rows") -> None:
    """Refuse too few rows (or groups of them) for so many refits, and classes ``(rows,)`` with too few rows."""
    if classes is not None:
        levels, counts = np.unique(classes, return_counts=True)
        if counts.min() < _OF_A_CLASS:
            problem = (
                f"Class {levels.tolist()[counts.argmin()]!r} has {counts.min()} rows, and refits need at least "
                f"{_OF_A_CLASS} of each class"
            )
            raise InputError(problem, hint="Leave its rows out, or join it with another class.", code="PG018")
    if units < 4 * refits:
        problem = f"{refits} refits need at least {4 * refits} {what}, got {units}"
        raise InputError(problem, hint="Use fewer refits, or more rows.", code="PG013")


# ---- all refits ------------------------------------------------------------------------------------------------------
def _related(X: Any, y: Any, refits: int, **given: Any) -> tuple[Any, Integers]:
    """Return the table without a column that ``row_groups`` or ``row_time`` names, and the group of each row."""
    arguments = with_columns(Arguments(None, X, y, **given))
    units = read_units(arguments, len(y))
    assert units is not None
    return arguments.inputs, units.codes * min(4 * refits, units.count) // units.count if units.timed else units.codes


def _do(
    work: _Work,
    design: RefitDesign,
    measured: Integers,
    engine: Engine,
    folder: Path | None,
    progress: ProgressMode,
) -> list[Explanation]:
    """Do the refits that the folder does not hold yet, and return all."""
    places = [None if folder is None else folder / _REFITS / f"{number:03d}" for number in range(len(design.trained))]
    fits = {number: refit for number, place in enumerate(places) if (refit := _read(place)) is not None}
    tasks = [
        (number, trained, np.setdiff1d(measured, trained, assume_unique=True))
        for number, trained in enumerate(design.trained)
        if number not in fits
    ]
    notes: list[str] = []
    with Progress(len(design.trained), "refits", progress) as bar:
        bar.advance(len(fits))
        for number, refit, warned in engine.run(tasks, work):
            fits[number] = refit
            notes += warned
            if (place := places[number]) is not None:
                write_explanation(refit, place)
            bar.advance()
    warn_first(notes, "In a refit: ")
    if len({(fit.names, fit.outputs) for fit in fits.values()}) > 1:
        problem = "The refits have different features or outputs, because parts of the rows lack levels or classes"
        raise InputError(problem, hint="Leave rare classes out, or use level='column'.", code="PG040")
    return [fits[number] for number in range(len(design.trained))]


def _read(place: Path | None) -> Explanation | None:
    """Return a finished refit, or None if there is none or it is damaged."""
    try:
        return None if place is None else Explanation.load(place)
    except InputError:
        return None
