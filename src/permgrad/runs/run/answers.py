"""What the tabs Features and Rows of a report show: computed with the explanations, and stored with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.files import atomic_path, write_json_atomic
from permgrad.base.random import generator
from permgrad.base.stored import read_npz, write_npz
from permgrad.data.read.table import blank_codes
from permgrad.data.types.column_types import read_numbers
from permgrad.evaluation import listing
from permgrad.evaluation.cards import POINTS, Predict, Sample, as_numbers, feature_cards
from permgrad.evaluation.segments import groups_of_rows
from permgrad.report.page.content import CardsSection, ListedSection, SimilarRows
from permgrad.runs.folder.documents import read_json
from permgrad.runs.run.predicting import predictions_of

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.runs.run.explaining import _Explained

#: Files of the cards and of the listed rows, each with its arrays.
CARDS, LISTED = "cards", "listed"
#: The explanation of listed rows that are wrong or unsure.
NOTABLE = "notable"
#: Columns of listed rows that are stored, those of similar rows, and letters of a value.
MOST_COLUMNS, SIMILAR_COLUMNS, _LETTERS = 60, 5, 80
#: Rows whose values and outcomes a card shows. Of more, as many are drawn.
MOST_CARD_ROWS = 20_000
#: Rows with images whose curves are computed, and the pixels that are read for them: each costs far more.
_IMAGE_CURVES, _CURVE_PIXELS = 30, 2**23
#: Rows with images that are explained one by one, and their pixels.
_IMAGE_ROWS, _IMAGE_PIXELS = 24, 2**17


def table_rows(rows: Any) -> pd.DataFrame:
    """Return the table of rows with or without images."""
    return rows if isinstance(rows, pd.DataFrame) else rows.table


# ---- features --------------------------------------------------------------------------------------------------------
def card_sample(run: _Explained, drawn: npt.NDArray[np.int64]) -> tuple[Sample, Predict, list[int]]:
    """Return the rows of the cards, how they are predicted, and the outputs shown. ``drawn`` permutes the rows."""
    inputs, chosen = run.work.inputs, drawn[:MOST_CARD_ROWS]
    raw, outputs = table_rows(run.rows).iloc[chosen], shown_outputs(run.classes, inputs.positive)
    blanked = blank_codes(raw, list(inputs.na_codes))
    encoder = run.model.preprocessor_
    dates = {column.name: column for column in encoder.schema_ if column.kind == "date" and column.name in raw}
    sample = Sample(
        raw=raw,
        table=blanked,
        outcome=outcome_columns(run.y[chosen], run.classes)[:, outputs],
        predicted=predicted_columns(run.predicted)[chosen][:, outputs],
        numbers={name: read_numbers(raw[name], column, encoder.codes_)[0] for name, column in dates.items()},
    )

    def predict(places: npt.NDArray[np.int64], changed: pd.DataFrame) -> npt.NDArray[np.float64]:
        rows: Any = changed
        if not isinstance(run.rows, pd.DataFrame):
            taken = run.rows.take(chosen[places])
            rows = type(taken)(taken.images, changed, None)
        return predicted_columns(predictions_of(run.model, rows))[:, outputs]

    return sample, predict, outputs


def write_cards(run: _Explained, main: Explanation, drawn: npt.NDArray[np.int64]) -> None:
    """Compute the cards of the strongest features on the rows explained, and write them.

    ``drawn``: a permutation of these rows. Its first ones have curves.
    """
    sample, predict, outputs = card_sample(run, drawn)
    raw = sample.raw
    most = len(raw) if isinstance(run.rows, pd.DataFrame) else image_curves(run.model, raw.shape[1])
    cards, curves = feature_cards(sample, main.ranking(), np.arange(min(most, len(raw))), predict)
    labels = None if run.classes is None else [str(run.classes[place]) for place in outputs]
    section = CardsSection(cards=cards, curves=curves, classes=labels, rows=len(raw), features=len(main.names))
    section.curve_rows = run.numbers[drawn[: max((len(each) for each in curves.values()), default=0)]]
    save_cards(run.store, section)


def image_curves(model: Any, columns: int) -> int:
    """Return of how many rows with images the curves of as many columns are computed."""
    return max(5, min(_IMAGE_CURVES, _CURVE_PIXELS // max(_pixels(model) * columns * POINTS, 1)))


def image_rows(model: Any) -> int:
    """Return how many rows with images are explained one by one: fewer if images are large."""
    return max(4, min(_IMAGE_ROWS, _IMAGE_PIXELS // _pixels(model)))


def _pixels(model: Any) -> int:
    """Return the number of pixels of a row's images."""
    return sum(int(image.height * image.width * image.channels) for image in model.images_)


def shown_outputs(classes: Sequence[Any] | None, positive: Any) -> list[int]:
    """Return the outputs of cards: the positive one of two classes (the second by default), else all."""
    if classes is None or len(classes) != 2:
        return list(range(1 if classes is None else len(classes)))
    return [classes.index(positive) if positive in classes else 1]


def truth_codes(y: npt.NDArray[Any], classes: Sequence[Any] | None) -> npt.NDArray[Any]:
    """Return the target ``(rows,)``: numbers, or the positions of the classes."""
    return y if classes is None else pd.Index(classes).get_indexer(pd.Index(y.tolist()))


def outcome_columns(y: npt.NDArray[Any], classes: Sequence[Any] | None) -> npt.NDArray[np.float64]:
    """Return the target ``(rows, 1)``, or for each class whether a row has it ``(rows, classes)``."""
    if classes is None:
        return np.asarray(y, dtype=np.float64)[:, None]
    return np.asarray(truth_codes(y, classes)[:, None] == np.arange(len(classes)), dtype=np.float64)


def predicted_columns(predicted: Any) -> npt.NDArray[np.float64]:
    """Return predictions ``(rows, 1)``, or probabilities ``(rows, classes)``."""
    values = predicted.get("probabilities")
    return np.asarray(predicted["prediction"])[:, None] if values is None else np.asarray(values)


def save_cards(store: Path, section: CardsSection) -> None:
    """Write the cards of features into a folder of explanations."""
    names = [card["feature"] for card in section.cards if card["feature"] in section.curves]
    facts = {"cards": section.cards, "classes": section.classes, "rows": section.rows, "features": section.features}
    arrays = {f"curve/{place}": section.curves[name].astype(np.float32) for place, name in enumerate(names)}
    _save(store, CARDS, {**facts, "curves": names}, arrays | {"rows": np.asarray(section.curve_rows)})


def read_cards(store: Path) -> CardsSection | None:
    """Return the cards of a folder of explanations, or None if it has none."""
    stored = _read(store, CARDS)
    if stored is None:
        return None
    facts, arrays = stored
    curves = {name: arrays[f"curve/{place}"] for place, name in enumerate(facts.pop("curves"))}
    return CardsSection(**facts, curves=curves, curve_rows=arrays["rows"])


# ---- rows ------------------------------------------------------------------------------------------------------------
def write_listed(run: _Explained, main: Explanation, drawn: npt.NDArray[np.int64], explained: Sequence[int]) -> None:
    """Write the listed rows with their values, predictions and similar rows, and explain the notable among them."""
    truth = truth_codes(run.y, run.classes)
    guess = np.asarray(run.predicted["prediction" if run.classes is None else "probabilities"])
    notable = listing.notable_rows(guess, truth)
    listed = listing.choose_listed(drawn, [*explained[:4], *notable])
    raw, places, train = table_rows(run.rows), listed.places, run.work.inputs.parts["train"]
    further = [place for place in notable if place not in set(explained)]
    facts: list[int] = []
    if isinstance(run.rows, pd.DataFrame) and further:
        run.explain(NOTABLE, run.rows.iloc[further], method="integrated_gradients", tolerance=0.02)
        facts = run.numbers[further].tolist()
    names = [name for name in main.ranking() if name in raw.columns][:MOST_COLUMNS]
    test, among = run.work.inputs.parts["test"], _test_places(run, places)
    named = test.identifiers.iloc[among] if len(test.identifiers.columns) else None
    section = ListedSection(
        table=raw.iloc[places][names].reset_index(drop=True),
        identifiers=None if named is None else named.reset_index(drop=True),
        numbers=run.numbers[places],
        random=listed.random,
        truth=truth[places],
        predicted=predicted_columns(run.predicted)[places],
        inside=run.predicted["inside"][places] if "inside" in run.predicted else None,
        classes=None if run.classes is None else [str(label) for label in run.classes],
        rows=len(raw),
        notable=facts,
        similar=similar_rows(
            raw.iloc[places],
            TrainingRows(train.X, truth_codes(train.y, run.classes), train.rows),
            run.model.preprocessor_.transform,
            names[:SIMILAR_COLUMNS],
            seed=run.work.request.seed,
        ),
        groups=groups_of_rows(test.X, among, names, run.work.inputs.na_codes),
    )
    save_listed(run.store, section)


def _test_places(run: _Explained, places: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the positions of explained rows among all test rows."""
    order = np.argsort(run.work.inputs.parts["test"].rows, kind="stable")
    return order[np.searchsorted(run.work.inputs.parts["test"].rows, run.numbers[places], sorter=order)]


@dataclass(frozen=True)
class TrainingRows:
    """Training rows to search: the table, the target (codes of classes) and the rows' numbers in their file."""

    table: pd.DataFrame
    truth: npt.NDArray[Any]
    numbers: npt.NDArray[Any]


def similar_rows(
    table: pd.DataFrame,
    train: TrainingRows,
    encode: Callable[[pd.DataFrame], Any],
    names: Sequence[str],
    *,
    seed: int,
) -> SimilarRows | None:
    """Return the training rows and the listed rows ``table`` nearest to each listed row, by the encoded table."""
    test = np.asarray(encode(table), dtype=np.float32)
    if not test.shape[1]:
        return None
    count = listing.searched_rows(len(train.table), test.shape[1])
    pool = np.sort(generator(seed, "similar rows").permutation(len(train.table))[:count])
    encoded = np.asarray(encode(train.table.iloc[pool]), dtype=np.float32)
    near, distance = listing.nearest_rows(test, encoded)
    beside, beside_distance = listing.nearest_rows(test, test, 2, same=np.arange(len(test)))
    used, position = np.unique(near, return_inverse=True)
    rows = pool[used]
    return SimilarRows(
        searched=len(pool),
        of=len(train.table),
        near=position.reshape(near.shape),
        distance=distance,
        beside=beside,
        beside_distance=beside_distance,
        numbers=train.numbers[rows],
        truth=train.truth[rows],
        table=train.table.iloc[rows][list(names)].reset_index(drop=True),
    )


def save_listed(store: Path, section: ListedSection) -> None:
    """Write listed rows into a folder of explanations."""
    facts: dict[str, Any] = {"classes": section.classes, "rows": section.rows, "notable": list(section.notable)}
    arrays = {name: np.asarray(getattr(section, name)) for name in ("numbers", "random", "truth", "predicted")}
    arrays |= {} if section.inside is None else {"inside": section.inside}
    facts["table"], columns = stored_columns(section.table, "value")
    arrays |= columns
    if section.identifiers is not None:
        facts["identifiers"], columns = stored_columns(section.identifiers, "identifier")
        arrays |= columns
    facts["groups"] = [{"column": column, "names": list(names)} for column, (_, names) in section.groups.items()]
    arrays |= {f"group/{place}": np.asarray(codes) for place, (codes, _) in enumerate(section.groups.values())}
    if (similar := section.similar) is not None:
        facts["similar"] = {"searched": similar.searched, "of": similar.of}
        facts["similar"]["table"], columns = stored_columns(similar.table, "similar")
        arrays |= {f"similar_{name}": np.asarray(getattr(similar, name)) for name in _SIMILAR} | columns
    _save(store, LISTED, facts, arrays)


def read_listed(store: Path) -> ListedSection | None:
    """Return the listed rows of a folder of explanations, or None if it has none."""
    stored = _read(store, LISTED)
    if stored is None:
        return None
    facts, arrays = stored
    identifiers, entry = facts.get("identifiers"), facts.get("similar")
    similar = None
    if entry is not None:
        columns = {name: arrays[f"similar_{name}"] for name in _SIMILAR}
        table = read_columns(entry["table"], arrays, "similar")
        similar = SimilarRows(searched=entry["searched"], of=entry["of"], table=table, **columns)
    return ListedSection(
        table=read_columns(facts["table"], arrays, "value"),
        identifiers=None if identifiers is None else read_columns(identifiers, arrays, "identifier"),
        classes=facts["classes"],
        rows=facts["rows"],
        notable=facts["notable"],
        similar=similar,
        numbers=arrays["numbers"],
        random=arrays["random"],
        truth=arrays["truth"],
        predicted=arrays["predicted"],
        inside=arrays.get("inside"),
        groups={
            entry["column"]: (arrays[f"group/{place}"], entry["names"])
            for place, entry in enumerate(facts.get("groups", ()))  # runs of an older version have none
        },
    )


#: Arrays of the similar rows.
_SIMILAR = ("near", "distance", "beside", "beside_distance", "numbers", "truth")


# ---- files -----------------------------------------------------------------------------------------------------------
def stored_columns(table: pd.DataFrame, key: str) -> tuple[list[dict[str, Any]], dict[str, npt.NDArray[Any]]]:
    """Return the columns of a table as facts and arrays: numbers as they are, all else as codes of texts."""
    facts: list[dict[str, Any]] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for place, name in enumerate(table.columns):
        column = table.iloc[:, place]
        numbers = as_numbers(column)
        levels = None
        if numbers is None:
            texts = [str(value)[:_LETTERS] for value in column.astype(object)]
            codes, distinct = pd.factorize(np.array(texts, dtype=object))
            numbers, levels = np.where(column.isna(), -1, codes).astype(np.int64), distinct.tolist()
        facts.append({"name": str(name), "levels": levels})
        arrays[f"{key}/{place}"] = numbers
    return facts, arrays


def read_columns(facts: list[dict[str, Any]], arrays: dict[str, npt.NDArray[Any]], key: str) -> pd.DataFrame:
    """Return the table that ``stored_columns`` took apart. Texts are objects, None where missing."""
    columns: list[Any] = []
    for place, entry in enumerate(facts):
        values: Any = arrays[f"{key}/{place}"]
        if entry["levels"] is not None:
            values = np.array([*entry["levels"], None], dtype=object)[values]
        columns.append(pd.Series(values, dtype=object if entry["levels"] is not None else np.float64))
    table = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    table.columns = pd.Index([entry["name"] for entry in facts], dtype=object)
    return table


def _save(store: Path, name: str, facts: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
    with atomic_path(store / f"{name}.npz") as temporary, temporary.open("wb") as stream:
        write_npz(stream, arrays)
    write_json_atomic(store / f"{name}.json", facts)


def _read(store: Path, name: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
    """Return both files. A run of an older version has none."""
    if not (store / f"{name}.json").is_file():
        return None
    return read_json(store / f"{name}.json"), read_npz(store / f"{name}.npz")
