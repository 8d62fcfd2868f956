"""Contestants on rows of several kinds: permgrad, boosting on the table, linear models
of words, images and levels.

Each takes training and test rows of a set and returns predictions: of classes their
probabilities, in sorted order. What the others are free to choose (penalties, numbers
of trees) is chosen on a fifth of the training rows, of which groups are kept whole or
the latest are taken. They are then fitted on all training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from benchmarks.quality._row_sets import RowSet

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
ALPHAS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
TREES, PATIENCE, RATE = 2000, 50, 0.05
_SPACING = 8


@dataclass
class Task:
    """Training and test rows of one split of a set, as every contestant gets them.

    Attributes:
        one: the set.
        train, test: its rows, the target among their columns.
        vectors: of each column of images the vectors, to which its cells are places.
        seed: of the model.
        said: what a contestant wants noted in its cell.
    """

    one: RowSet
    train: pd.DataFrame
    test: pd.DataFrame
    vectors: Mapping[str, np.ndarray]
    seed: int
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def y(self) -> np.ndarray:
        return self.train[self.one.target].to_numpy()

    @property
    def classes(self) -> bool:
        return self.one.task == "classification"

    @cached_property
    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """Training rows to learn from and to choose by, a fifth of them."""
        from sklearn.model_selection import (
            GroupShuffleSplit,
            ShuffleSplit,
            StratifiedShuffleSplit,
        )

        rows = np.arange(len(self.train))
        if self.one.time is not None:
            order = np.argsort(self.train[self.one.time].to_numpy(), kind="stable")
            return order[: -len(order) // 5], order[-len(order) // 5 :]
        groups = None if self.one.group is None else self.train[self.one.group]
        maker = StratifiedShuffleSplit if self.classes else ShuffleSplit
        divide = (maker if groups is None else GroupShuffleSplit)(
            1, test_size=0.2, random_state=self.seed
        )
        return next(divide.split(rows, self.y, groups))

    def frames(self, kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the columns of a kind in training and test rows."""
        names = self.one.columns(kind, self.train)
        return self.train[names], self.test[names]


# ---- permgrad ------------------------------------------------------------------------
class Looked:
    """Vectors that were computed before, found by the colour of an image, as a function
    for ``image_encoder``.
    """

    def __init__(self, vectors: Mapping[str, np.ndarray]) -> None:
        self.starts, start = dict[str, int](), 0
        for name, own in vectors.items():
            self.starts[name], start = start, start + len(own)
        self.rows = (
            np.concatenate(list(vectors.values()))
            if vectors
            else np.zeros((0, 1), np.float32)
        )

    def cells(self, name: str, places: pd.Series[Any]) -> pd.Series[Any]:
        """Return small images of one colour each.

        Levels lie apart, so that resizing cannot mix them up.
        """
        made = []
        for place in (places + self.starts[name]).tolist():
            levels = [place // 32**2 % 32, place // 32 % 32, place % 32]
            made.append(np.full((8, 8, 3), np.array(levels) * _SPACING, dtype=np.uint8))
        return pd.Series(made, index=places.index, dtype=object)

    def __call__(self, images: Any) -> np.ndarray:
        levels = np.rint(
            images.numpy()[:, :, images.shape[2] // 2, images.shape[3] // 2]
            * 255
            / _SPACING
        ).astype(int)
        return self.rows[levels @ [32**2, 32, 1]]


def permgrad_on(kind: str, *, drop: Sequence[str] = ()) -> Callable[[Task], np.ndarray]:
    """Return the default network on the columns of one kind, or of all, as a
    contestant.
    """

    def fit(task: Task) -> np.ndarray:
        from permgrad import HyNNClassifier, HyNNRegressor, InputError

        one = task.one
        found = [
            frame.drop(columns=list(drop), errors="ignore")
            for frame in task.frames("all")
        ]
        names = [name for name in one.columns(kind, task.train) if name not in drop]
        looked = Looked(
            {name: own for name, own in task.vectors.items() if name in found[0]}
        )
        for frame in found:
            for name in looked.starts:
                frame[name] = looked.cells(name, frame[name])
        encoder = {"image_encoder": looked} if looked.starts else {}
        related: dict[str, Any] = (
            {}
            if one.group is None
            else {"row_groups": task.train[one.group].to_numpy()}
        )
        if one.time is not None:
            related = {"row_time": task.train[one.time].to_numpy()}
        maker = HyNNClassifier if task.classes else HyNNRegressor

        def trained(frame: pd.DataFrame, **options: Any) -> Any:
            model = maker(
                device="cpu",
                random_state=task.seed,
                progress=False,
                **encoder,
                **options,
            )
            return model.fit(frame, task.y, **related)

        model = None
        if kind in ("text", "photo"):
            try:
                model = trained(found[0], branches=(kind,))
                task.said["how"] = f"branches=({kind!r},)"
            except InputError as error:
                task.said["how"] = f"other columns left out ({error})"
        if model is None:
            found = [frame[names] for frame in found]
            if not any(name in looked.starts for name in names):
                encoder = {}
            try:
                model = trained(found[0])
            except InputError as error:
                if kind == "all":
                    raise
                task.said["how"] = (
                    f"nothing to learn from, so the training rows' mean ({error})"
                )
                return _mean(task)
        return (
            model.predict_proba(found[1]) if task.classes else model.predict(found[1])
        )

    return fit


def _mean(task: Task) -> np.ndarray:
    """Return the shares of the classes, or the mean, for each test row."""
    if task.classes:
        shares = np.unique(task.y, return_counts=True)[1] / len(task.y)
        return np.tile(shares, (len(task.test), 1))
    return np.full(len(task.test), task.y.mean())


# ---- linear models -------------------------------------------------------------------
def calendar(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the parts of its dates in their place."""
    made = frame.copy()
    for name in frame.columns:
        if pd.api.types.is_datetime64_any_dtype(frame[name]):
            when = made.pop(name).dt
            made[f"{name}: year"], made[f"{name}: day of the year"] = (
                when.year,
                when.day_of_year,
            )
            made[f"{name}: hour"], made[f"{name}: days"] = (
                when.hour,
                (when.normalize() - pd.Timestamp(2000, 1, 1)).dt.days,
            )
            made[f"{name}: weekday"], made[f"{name}: month"] = (
                when.day_name(),
                when.month_name(),
            )
    return made


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def sides(task: Task, kinds: Sequence[str]) -> tuple[Any, Any]:
    """Return training and test rows as one matrix: numbers scaled, levels one-hot,
    words by tf-idf, vectors scaled.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    pairs: list[tuple[Any, Any]] = []
    if "table" in kinds:
        train, test = (calendar(frame) for frame in task.frames("table"))
        numbers = [name for name in train if _is_number(train[name])]
        for name in numbers:
            middle = train[name].astype(float).median()
            columns = [
                np.c_[frame[name].astype(float).fillna(middle), frame[name].isna()]
                for frame in (train, test)
            ]
            scaler = StandardScaler().fit(columns[0])
            pairs.append((scaler.transform(columns[0]), scaler.transform(columns[1])))
        if others := [name for name in train if name not in numbers]:
            cells = [
                frame[others].astype(object).where(frame[others].notna(), "missing")
                for frame in (train, test)
            ]
            coder = OneHotEncoder(handle_unknown="ignore").fit(cells[0])
            pairs.append((coder.transform(cells[0]), coder.transform(cells[1])))
    for name in task.one.texts if "text" in kinds else ():
        texts = [frame[name].fillna("") for frame in (task.train, task.test)]
        reader = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        pairs.append((reader.fit_transform(texts[0]), reader.transform(texts[1])))
    for name in task.one.images if "photo" in kinds else ():
        own = [
            task.vectors[name][frame[name].to_numpy()]
            for frame in (task.train, task.test)
        ]
        scaler = StandardScaler().fit(own[0])
        pairs.append(
            tuple(scaler.transform(part) / np.sqrt(own[0].shape[1]) for part in own)
        )  # type: ignore[arg-type]
    both = [
        sparse.hstack([sparse.csr_matrix(pair[part]) for pair in pairs], format="csr")
        for part in (0, 1)
    ]
    dense = both[0].nnz > 0.3 * np.prod(both[0].shape)
    return (both[0].toarray(), both[1].toarray()) if dense else (both[0], both[1])


def _linear(task: Task, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if task.classes:
        return LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    return Ridge(strength)


def _says(task: Task, model: Any, rows: Any) -> np.ndarray:
    """Return probabilities of all training classes, or values."""
    if not task.classes:
        return np.asarray(model.predict(rows))
    classes = np.unique(task.y)
    made = np.full((rows.shape[0], len(classes)), 1e-9)
    made[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(rows)
    return made


def _loss(task: Task, says: np.ndarray, y: np.ndarray) -> float:
    if not task.classes:
        return float(np.mean((says - y) ** 2))
    places = np.searchsorted(np.unique(task.y), y)
    return float(-np.log(np.clip(says[np.arange(len(y)), places], 1e-12, 1)).mean())


def _best_strength(task: Task, rows: Any) -> float:
    learned, chosen = task.held
    tried = {}
    for strength in PENALTIES if task.classes else ALPHAS:
        model = _linear(task, strength).fit(rows[learned], task.y[learned])
        tried[strength] = _loss(task, _says(task, model, rows[chosen]), task.y[chosen])
    return min(tried, key=tried.__getitem__)


def linear_of(*kinds: str) -> Callable[[Task], np.ndarray]:
    """Return a penalised linear model of some kinds of columns as a contestant."""

    def fit(task: Task) -> np.ndarray:
        rows, test = sides(task, kinds)
        strength = _best_strength(task, rows)
        task.said["strength"] = strength
        return _says(task, _linear(task, strength).fit(rows, task.y), test)

    return fit


# ---- boosting ------------------------------------------------------------------------
def lightgbm(
    task: Task, more: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """LightGBM on the table, with parts of dates, levels as categories."""
    import lightgbm as gbm

    train, test = (calendar(frame) for frame in task.frames("table"))
    for name in [name for name in train if not _is_number(train[name])]:
        known = pd.CategoricalDtype(sorted(train[name].dropna().unique()))
        train[name], test[name] = train[name].astype(known), test[name].astype(known)
    train.columns = test.columns = [f"c{place}" for place in range(train.shape[1])]
    for place in range(0 if more is None else more[0].shape[1]):
        train[f"m{place}"], test[f"m{place}"] = more[0][:, place], more[1][:, place]  # type: ignore[index]
    maker = gbm.LGBMClassifier if task.classes else gbm.LGBMRegressor
    options = {
        "learning_rate": RATE,
        "n_jobs": 1,
        "random_state": task.seed,
        "verbose": -1,
        "colsample_bytree": 0.8,
    }
    learned, chosen = task.held
    model = maker(n_estimators=TREES, **options)
    model.fit(
        train.iloc[learned], task.y[learned], eval_set=[(train.iloc[chosen], task.y[chosen])],
        callbacks=[gbm.early_stopping(PATIENCE, verbose=False)],
    )  # fmt: skip
    task.said["trees"] = max(int(model.best_iteration_), 1)
    return _says(
        task, maker(n_estimators=task.said["trees"], **options).fit(train, task.y), test
    )


def stacked(task: Task) -> np.ndarray:
    """LightGBM on the table and on what linear models of words and of images say, of
    training rows out of fold.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

    made: list[tuple[np.ndarray, np.ndarray]] = []
    for kind, present in (("text", task.one.texts), ("photo", task.one.images)):
        if not present:
            continue
        rows, test = sides(task, [kind])
        strength = _best_strength(task, rows)
        own = np.zeros((len(task.train), len(np.unique(task.y)) if task.classes else 1))
        groups = None if task.one.group is None else task.train[task.one.group]
        folds: Any = KFold(5, shuffle=True, random_state=task.seed)
        if groups is not None:
            folds = GroupKFold(5)
        elif task.classes:
            folds = StratifiedKFold(5, shuffle=True, random_state=task.seed)
        for learned, left in folds.split(rows, task.y, groups):
            says = _says(
                task,
                _linear(task, strength).fit(rows[learned], task.y[learned]),
                rows[left],
            )
            own[left] = says.reshape(len(left), -1)
        model = _linear(task, strength).fit(rows, task.y)
        made.append((own, _says(task, model, test).reshape(len(task.test), -1)))
    if task.one.texts or task.one.images:
        more = np.hstack([one[0] for one in made]), np.hstack([one[1] for one in made])
        return lightgbm(task, more)
    return lightgbm(task)


def catboost(task: Task) -> np.ndarray:
    """CatBoost on the table, with parts of dates, levels as its categories."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    train, test = (calendar(frame) for frame in task.frames("table"))
    named = [name for name in train if not _is_number(train[name])]
    for frame in (train, test):
        frame[named] = (
            frame[named].astype(object).where(frame[named].notna(), "missing")
        )
    maker = CatBoostClassifier if task.classes else CatBoostRegressor
    options = {
        "thread_count": 1, "random_seed": task.seed, "verbose": False, "cat_features": named,
        "allow_writing_files": False, "learning_rate": RATE,
    }  # fmt: skip
    learned, chosen = task.held
    model = maker(iterations=TREES, **options)
    held = train.iloc[chosen], task.y[chosen]
    model.fit(
        train.iloc[learned],
        task.y[learned],
        eval_set=held,
        early_stopping_rounds=PATIENCE,
        use_best_model=True,
    )
    task.said["trees"] = max(int(model.tree_count_), 1)
    return _says(
        task, maker(iterations=task.said["trees"], **options).fit(train, task.y), test
    )


@dataclass(frozen=True)
class Contestant:
    """A model of the suite: its label, what fits it, on which sets, and the package it
    needs.
    """

    label: str
    fit: Callable[[Task], np.ndarray]
    on: Callable[[RowSet], bool]
    package: str = "sklearn"

    @property
    def available(self) -> bool:
        return find_spec(self.package) is not None


def _has_levels(one: RowSet) -> bool:
    return bool(one.levels) or one.time is not None


CONTESTANTS: dict[str, Contestant] = {
    "permgrad": Contestant("permgrad", permgrad_on("all"), lambda _: True),
    "text": Contestant("permgrad, texts alone", permgrad_on("text"), lambda one: bool(one.texts)),
    "photo": Contestant("permgrad, images alone", permgrad_on("photo"), lambda one: bool(one.images)),
    "table": Contestant("permgrad, table alone", permgrad_on("table"), lambda one: bool(one.texts or one.images)),
    "without": Contestant(
        "permgrad without the column", lambda task: permgrad_on("all", drop=task.one.levels)(task),
        lambda one: bool(one.levels) and one.group is not None,
    ),
    "tfidf": Contestant("tf-idf, linear", linear_of("text"), lambda one: bool(one.texts)),
    "vectors": Contestant("vectors of images, linear", linear_of("photo"), lambda one: bool(one.images)),
    "linear": Contestant(
        "one linear model of all columns", linear_of("table", "text", "photo"),
        lambda one: bool(one.texts or one.images),
    ),
    "onehot": Contestant("ridge, one-hot", linear_of("table"), _has_levels),
    "lightgbm": Contestant("LightGBM on the table", lightgbm, lambda _: True, "lightgbm"),
    "stacked": Contestant(
        "LightGBM with stacked words and images", stacked, lambda one: bool(one.texts or one.images), "lightgbm"
    ),
    "catboost": Contestant(
        "CatBoost on the table", catboost, lambda one: _has_levels(one) or one.name == "houses", "catboost"
    ),
}  # fmt: skip


def predictions(model: str, task: Task) -> np.ndarray:
    """Return a contestant's predictions for the test rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CONTESTANTS[model].fit(task)
