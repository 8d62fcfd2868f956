"""A table as the model of a file takes it: its columns in the model's order, categories with the model's levels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.errors import InputError, counted, listed, two_sentences, warn_user
from permgrad.data.encode.encoding import align_columns
from permgrad.data.read.cells import canonical
from permgrad.models.model_files import OnnxPredictor

#: What stands for a missing cell among CatBoost's categories, which are texts alone: what ``astype(str)`` makes of it.
_MISSING_TEXT = "nan"


@dataclass(frozen=True)
class ModelColumns:
    """What a model says of its columns: names, or only how many they are. None: not even that.

    ``levels`` are those of columns of categories, in the order of the model's codes. None: any text. ``unplaced``
    counts lists of levels whose column the file does not name. Columns of ``texts`` are read as text even where their
    cells are digits: 007 is not 7 there. All other columns hold numbers, if ``numbers``.
    """

    names: tuple[str, ...] | None = None
    count: int | None = None
    levels: Mapping[str, Sequence[Any] | None] = field(default_factory=dict)
    unplaced: int = 0
    texts: tuple[str, ...] = ()
    numbers: bool = False


def columns_of(model: Any, words: Collection[str] = ()) -> ModelColumns:
    """Return what a model says of its columns. ``words`` are those of the table that hold text."""
    for reader in (_onnx, _catboost, _lightgbm, _xgboost):
        columns = reader(model, words)
        if columns is not None:
            return columns
    names, count = getattr(model, "feature_names_in_", None), getattr(model, "n_features_in_", None)
    return ModelColumns(None if names is None else tuple(map(str, names)), count, texts=tuple(_encoded_texts(model)))


def _encoded_texts(model: Any) -> Iterator[str]:
    """Yield the columns whose texts an encoder of scikit-learn has learned, wherever it stands in a pipeline."""
    levels, names = getattr(model, "categories_", None), getattr(model, "feature_names_in_", None)
    if isinstance(levels, list) and names is not None and len(levels) == len(names):
        yield from (str(name) for name, kept in zip(names, levels, strict=True) if _are_texts(list(kept)))
    parts = [value for value in getattr(model, "__dict__", {}).values() if isinstance(value, (list, tuple))]
    while parts:
        for part in parts.pop():
            if isinstance(part, (list, tuple)):
                parts.append(part)
            elif hasattr(part, "get_params") and not isinstance(part, type):
                yield from _encoded_texts(part)


def _onnx(model: Any, words: Collection[str]) -> ModelColumns | None:  # noqa: ARG001 — one signature for all
    if not isinstance(model, OnnxPredictor):
        return None
    if len(model.inputs) == 1:
        width = model.inputs[0].shape[-1] if len(model.inputs[0].shape) == 2 else None
        is_text = model.inputs[0].type == "tensor(string)"
        return ModelColumns(model.columns, width if isinstance(width, int) else None, numbers=not is_text)
    texts = tuple(one.name for one in model.inputs if one.type == "tensor(string)")
    return ModelColumns(tuple(one.name for one in model.inputs), None, dict.fromkeys(texts), texts=texts, numbers=True)


def _catboost(model: Any, words: Collection[str]) -> ModelColumns | None:  # noqa: ARG001
    if not hasattr(model, "get_cat_feature_indices"):
        return None
    names = tuple(map(str, model.feature_names_))
    texts = tuple(names[place] for place in (*model.get_cat_feature_indices(), *model.get_text_feature_indices()))
    # A model of an array calls its columns by their places.
    unnamed = names == tuple(map(str, range(len(names))))
    if unnamed and texts:
        problem = "The CatBoost model has categories and no column names"
        raise InputError(problem, hint="Fit it on a data frame and save it.", code="PG031")
    columns = None if unnamed else names
    return ModelColumns(columns, len(names), dict.fromkeys(texts), texts=texts, numbers=True)


def _lightgbm(model: Any, words: Collection[str]) -> ModelColumns | None:
    booster = getattr(model, "booster_", model)
    if not hasattr(booster, "feature_name") or not hasattr(booster, "pandas_categorical"):
        return None
    names, lists = tuple(booster.feature_name()), list(booster.pandas_categorical or [])
    if names == tuple(f"Column_{place}" for place in range(len(names))):
        return ModelColumns(None, len(names), numbers=True)
    # The file lists the levels of pandas' categories and not whose they are: columns that are split by levels, and
    # those of words, which may have been ordered or constant in training.
    infos = booster.dump_model(num_iteration=1)["feature_infos"]
    split = {name for name in names if infos.get(name, {}).get("values")}
    text = {name.replace(" ", "_") for name in words}
    as_text = tuple(name for name in names if name in split) if any(map(_are_texts, lists)) else ()
    for chosen in (split | text, text, split):
        levels = dict(zip([name for name in names if name in chosen], lists, strict=False))
        codes = [(infos.get(name, {}).get("max_value", -1), len(kept)) for name, kept in levels.items()]
        if len(chosen.intersection(names)) == len(lists) and all(most < count for most, count in codes):
            return ModelColumns(names, len(names), levels, texts=as_text, numbers=True)
    return ModelColumns(names, len(names), unplaced=len(lists), texts=as_text, numbers=True)


def _xgboost(model: Any, words: Collection[str]) -> ModelColumns | None:  # noqa: ARG001
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if not hasattr(booster, "feature_types") or not hasattr(booster, "num_features"):
        return None
    if not booster.feature_names:
        return ModelColumns(None, booster.num_features(), numbers=True)
    names, types = tuple(booster.feature_names), booster.feature_types or []
    levels: dict[str, Any] = {}
    # XGBoost keeps levels from 3.1 on.
    if "c" in types and hasattr(booster, "get_categories"):
        stored = booster.get_categories(export_to_arrow=True).to_arrow() or []
        levels = {str(name): kept.to_pylist() for name, kept in stored if kept is not None}
    lost = sum(one == "c" and name not in levels for name, one in zip(names, types, strict=False))
    texts = tuple(name for name, kept in levels.items() if _are_texts(kept))
    return ModelColumns(names, len(names), levels, lost, texts, numbers=True)


def _are_texts(levels: Sequence[Any]) -> bool:
    """Whether levels are texts. A missing one may be among them."""
    present = [level for level in levels if level is not None and level == level]  # noqa: PLR0124 — NaN is not itself
    return bool(present) and all(isinstance(level, str) for level in present)


# ---- the table -------------------------------------------------------------------------------------------------------
def table_for(model: Any, table: pd.DataFrame, target: str | None = None) -> pd.DataFrame:
    """Return a table's columns as the model takes them, in its order. ``target`` is none of them.

    Raises:
        InputError: columns are missing, or hold what the model cannot take.
    """
    frame = table.drop(columns=[target] if target in table.columns else [])
    words = [name for name in frame.columns if _holds_words(frame[name])]
    wanted = columns_of(model, words)
    if len(set(wanted.names or ())) < len(wanted.names or ()):
        raise InputError("The model's file names a feature twice", "Train it on columns of different names.", "PG031")
    frame = _aligned(model, frame, wanted)
    if wanted.unplaced and any(name in words for name in frame.columns):
        raise InputError(
            f"The model has {counted(wanted.unplaced, 'column')} of categories whose levels are not in its file, and "
            f"the table has text in {listed([n for n in frame.columns if n in words], show=repr)}",
            hint="Save the model with its preprocessing (skops, ONNX), or explain it in Python.",
            code="PG031",
        )
    named = dict(zip(wanted.names or frame.columns, frame.columns, strict=True))
    levels = {named[name]: kept for name, kept in wanted.levels.items()}
    made = {
        name: _category(frame[name], levels[name])
        if name in levels
        else (_numbers(frame[name]) if wanted.numbers else frame[name])
        for name in frame.columns
    }
    return pd.DataFrame(made)


def _aligned(model: Any, frame: pd.DataFrame, wanted: ModelColumns) -> pd.DataFrame:
    if wanted.names is not None:
        # LightGBM writes an underscore for a space.
        spaced = {name.replace(" ", "_"): name for name in frame.columns}
        return align_columns(
            frame, [name if name in frame.columns else spaced.get(name, name) for name in wanted.names]
        )
    if wanted.count not in (None, frame.shape[1]):
        problem = f"The model takes {counted(wanted.count, 'column')} without names, and the table has {frame.shape[1]}"
        hint = "Leave the others out of the table, and name the target with --target."
        raise InputError(problem, hint=hint, code="PG017")
    names = listed(list(frame.columns), show=repr)
    warn_user(f"The model has no column names, so the table's columns are used in their order ({names}).")
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if hasattr(booster, "feature_types"):
        # XGBoost refuses a frame with names that it does not have.
        booster.feature_names = [str(name) for name in frame.columns]
    return frame


def _holds_words(column: pd.Series[Any]) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return True
    is_number = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
    return not is_number and any(isinstance(cell, str) for cell in column.dropna().tolist())


def _category(column: pd.Series[Any], levels: Sequence[Any] | None) -> pd.Series[Any]:
    """Return cells as the model's levels: categories in its order, or texts where it takes any."""
    cells = column.astype(object).where(column.notna(), None)
    if levels is None:
        if missing := int(column.isna().sum()):
            blank = counted(missing, "missing cell")
            fact = f"Column {str(column.name)!r} has {blank}, read as the text {_MISSING_TEXT!r}"
            warn_user(two_sentences(fact, "Write the text that training had."))
        return cells.map(lambda cell: _MISSING_TEXT if cell is None else canonical(cell)).astype(object)
    by_text = {canonical(level): level for level in levels}
    unknown = sorted({canonical(cell) for cell in cells.dropna()} - set(by_text))
    if unknown:
        warn_user(
            f"Column {str(column.name)!r} has {counted(len(unknown), 'level')} that the model does not know "
            f"({listed(unknown, 5, repr)}), treated as missing."
        )
    places = {text: place for place, text in enumerate(by_text)}
    codes = [-1 if cell is None else places.get(canonical(cell), -1) for cell in cells]
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(by_text.values())), name=column.name)


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return cells as numbers. Truths are 0 and 1."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiu":
        return column
    try:
        return column.astype("boolean" if column.dtype == object else column.dtype).astype("float64")
    except (TypeError, ValueError):
        some = column.dropna().tolist()[:1]
        problem = f"Column {str(column.name)!r} must hold numbers for this model, got {some}"
        raise InputError(problem, hint="Write it as in training.", code="PG014") from None
