"""What single words of a text, places of an image, and levels of a category of many, do to predictions on average.

Such columns reach a network as scores (``data/encode/scores.py``). A word is taken out of its text, or a patch of an
image is covered, the cell is scored again, and the network predicts. Outputs are those that other explanations explain:
before calibration.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import nn

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.attribution.method.shapley.method import Shapley
from permgrad.attribution.model import Model
from permgrad.attribution.request import configured
from permgrad.attribution.request.arguments import Arguments, RowsToCompare
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.related import read_units, with_columns
from permgrad.attribution.request.result import digests_of
from permgrad.attribution.subject.scales import ScaleName
from permgrad.base.arrays import Array, Booleans, Floats, Floats32, Integers
from permgrad.base.errors import InputError
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import ProgressMode
from permgrad.base.random import generator, resolve_seed
from permgrad.base.significance import NORMAL_95, adjusted
from permgrad.data.encode.designs import MOST_PARTS, Cells, spans_of, without, words_in
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.estimators.calibration import class_logits
from permgrad.models.estimators.kept_rows import (
    TRAINING_ROWS,
    kept_rows,
    rows_compared,
)
from permgrad.models.images import PATCHES, patch_grid

#: Rows that a word stands in at least, and of which at most its effect is the mean. Words and pairs for all outputs.
FEWEST_ROWS, _MOST_ROWS, _MOST_WORDS = 10, 200, 40
#: Levels whose effects are looked at, and rows in which each is set.
_MOST_LEVELS, _LEVEL_ROWS = 400, 25


def word_effects(
    model: Any, X: Any, column: str, *, random_state: Any = 0, **related: Any
) -> pd.DataFrame:
    """Return what the words of a text column do on average: the output with a word minus the output without it.

    A word is taken out of every cell that has it (of 200 drawn rows, if there are more). Everything else stays as it
    is. Words are looked at that stand in at least 10 rows and weigh most in the linear model that scores the column,
    and pairs that weigh more than both of their words. That model knows training rows only.

    ``model``: a fitted ``HyNNClassifier`` or ``HyNNRegressor``. ``X``: rows that it was not fitted on. ``related``:
    ``row_groups`` or ``row_time`` of rows that depend on each other. ``random_state``: seed of the rows drawn.

    Returns ``word, output, effect, std_error, ci_low, ci_high, p_value, p_adjusted, rows``, by output and falling
    effect. ``effect`` is a probability before calibration (regression: in y's units), ``p_adjusted`` Holm's for all
    words, each output separately.

    ``InputError``: the model has no scores of words of that column.
    """
    scored = _Scored(model, X, column, "words", random_state, **related)
    chosen, changed = scored.chosen_words(), []
    for word, rows in chosen:
        places = scored.drawn(rows, f"rows of {word}", _MOST_ROWS)
        cells, place = np.unique(scored.index[places], return_inverse=True)
        less = [
            without(text, spans_of(text, word))
            for text in (scored.texts[at] for at in cells.tolist())
        ]
        changed.append((places, scored.encoder.scores_.of(column, less)[place]))
    return scored.effects(
        "word", [word for word, _ in chosen], changed, [len(rows) for _, rows in chosen]
    )


def place_effects(
    model: Any,
    X: Any,
    column: str,
    *,
    rows: int = 40,
    random_state: Any = 0,
    **related: Any,
) -> pd.DataFrame:
    """Return what the places of an image column do on average: the output minus that with a patch covered.

    Each of the 4 × 4 patches of an image is covered by the image's mean colour, and all else stays as it is. This says
    something where images are aligned, so that a patch shows the same in all of them. At most ``rows`` rows with an
    image are drawn, each of which takes 16 encodings.

    Returns a table as ``word_effects``, whose ``place`` counts patches row by row, from 0 in the upper left corner.

    ``InputError``: the model has no scores of images of that column, or no row has an image.
    """
    scored = _Scored(model, X, column, "vectors", random_state, **related)
    count = PATCHES**2
    places = scored.drawn(np.flatnonzero(scored.index >= 0), "rows of places", rows)
    if not len(places):
        raise InputError(
            f"No row has an image in {column!r}", hint="Pass other rows.", code="PG013"
        )
    cells, place = np.unique(scored.index[places], return_inverse=True)
    images, others = scored.encoder.images_, ~np.eye(count, dtype=bool)
    vectors = [
        images.covered(column, scored.texts[at], others) for at in cells.tolist()
    ]
    scores = scored.encoder.scores_.of(column, np.concatenate(vectors)).reshape(
        len(cells), count, -1
    )[place]
    changed = [(places, scores[:, patch]) for patch in range(count)]
    return scored.effects("place", range(count), changed, [len(places)] * count)


def level_effects(
    model: Any, X: Any, y: npt.ArrayLike | None, column: str, *, random_state: Any = 0
) -> pd.DataFrame:
    """Return what levels of a category do: the mean output with a level minus that with one never seen.

    The level is set in a few rows of ``X``. As in a mixed model, its true effect has the variance
    ``s² / (n + s² / t²)`` around the estimate from ``n`` training rows: ``s²`` is that of the outcome in ``X`` given
    the prediction (numbers: by their targets ``y``), and ``t²``, that of the levels, follows from the effects.

    Returns ``level, output, effect, ci_low, ci_high, rows`` of up to about 400 levels, those with the largest scores
    among them, by output and falling effect. ``rows`` are training rows, intervals are at 95 %. ``attrs`` has
    ``scored``, the number of levels with an effect of their own, and ``pooled``, that of levels seen once.

    ``InputError``: the column has no scores of levels.
    """
    scored = _Scored(model, X, column, "levels", random_state)
    design, weights = scored.design
    shown = np.arange(len(design.entries))
    if len(shown) > _MOST_LEVELS:
        order, each = (
            np.argsort(weights, axis=0, kind="stable"),
            max(_MOST_LEVELS // (4 * weights.shape[1]), 8),
        )
        along = np.linspace(0, len(order) - 1, _MOST_LEVELS // 2).astype(np.int64)
        shown = np.unique(
            np.concatenate([order[:each].ravel(), order[-each:].ravel(), along])
        )
    levels = [design.entries[at] for at in shown.tolist()]
    rows = generator(scored.seed, "rows of levels").permutation(len(scored.encoded))[
        :_LEVEL_ROWS
    ]
    scores = np.repeat(
        model.preprocessor_.scores_.of(column, levels), len(rows), axis=0
    )
    moved = scored.predict(scored.changed(np.tile(rows, len(levels)), scores))
    base = scored.predict(scored.changed(rows, np.zeros_like(scores[: len(rows)])))
    effects = (moved.reshape(len(levels), len(rows), -1) - base).mean(axis=1)
    prediction = scored.predict(scored.encoded)
    spread = prediction * (1 - prediction)
    if model.task == "regression":
        spread = (np.asarray(y, dtype=np.float64)[:, None] - prediction) ** 2
    counts, noise = (
        np.array(design.counts, dtype=np.float64)[shown, None],
        spread.mean(axis=0),
    )
    between = np.maximum(effects.var(axis=0), 1e-300)
    for _ in range(200):  # the EM algorithm (Laird & Ware 1982)
        left = noise / (counts + noise / between)
        between = effects.var(axis=0) + left.mean(axis=0)
    half = NORMAL_95 * np.sqrt(left)
    table = np.stack([effects, effects - half, effects + half], axis=1)
    result = scored.frame(
        "level",
        levels,
        ["effect", "ci_low", "ci_high"],
        table,
        counts[:, 0].astype(int).tolist(),
    )
    result.attrs = {"scored": len(design.entries), "pooled": design.pooled}
    return result


class _Scored:
    """A column with scores of one design, in rows, and what the model predicts with others."""

    def __init__(
        self, model: Any, X: Any, column: str, kind: str, seed: Any, **related: Any
    ) -> None:
        read = with_columns(Arguments(model=model, X=X, **related))
        self.model, self.seed, self.encoder = (
            model,
            resolve_seed(seed),
            model.preprocessor_,
        )
        scores = self.encoder.scores_.columns.get(column, ())
        designs = [
            (design, weights) for each, design, weights in scores if each == kind
        ]
        if not designs or (kind == "words" and "words" not in designs[0][0].parts):
            kind = {"vectors": "images"}.get(kind, kind)
            raise InputError(
                f"The model reads no {kind} of {column!r}",
                hint="Name another column.",
                code="PG004",
            )
        rows, self.design = model.encode_rows(read.X), designs[0]
        self.encoded, (self.texts, self.index) = (
            rows.encoded,
            self.encoder.texts_of(rows.table, column),
        )
        self.places = score_places(self.encoder, column)
        self.outputs = (
            [str(label) for label in model.classes_]
            if hasattr(model, "classes_")
            else ["prediction"]
        )
        named = read.row_groups is not None or read.row_time is not None
        self.units = read_units(read, len(self.encoded)) if named else None

    def drawn(self, rows: Integers, purpose: str, most: int) -> Integers:
        """Return at most so many of some rows, in rising order."""
        return np.sort(
            rows[generator(self.seed, purpose).permutation(len(rows))[:most]]
        )

    def effects(
        self,
        what: str,
        names: Sequence[Any],
        changed: Sequence[tuple[Integers, Floats32]],
        rows: list[int],
    ) -> pd.DataFrame:
        """Return the mean of outputs minus those with other scores of the column, which ``changed`` has for rows."""
        parts = []
        for places, scores in changed:
            changes = np.subtract(
                self.predict(self.encoded[places]),
                self.predict(self.changed(places, scores)),
            )
            units = None if self.units is None else self.units.take(places)
            mean, std, size = mean_over_rows(changes, units=units)
            parts.append((mean, std, *interval(mean, std, size, 0.95)))
        numbers = ["effect", "std_error", "ci_low", "ci_high", "p_value"]
        table = np.array(parts).reshape(len(names), len(numbers), len(self.outputs))
        table = np.insert(table, len(numbers), adjusted(table[:, -1]), axis=1)
        return self.frame(what, list(names), [*numbers, "p_adjusted"], table, rows)

    def predict(self, encoded: Floats32) -> Floats:
        return outputs_of(self.model, encoded, "probability")

    def changed(self, rows: Integers, scores: Floats32) -> Floats32:
        encoded = self.encoded[rows]
        encoded[:, self.places] = scores
        return encoded

    def chosen_words(self) -> list[tuple[str, Integers]]:
        """Return the words and pairs that are looked at, each with the rows that it stands in."""
        design, weights = self.design
        entries = design.parts["words"][0]
        found = design.matrix(self.texts)[:, : len(entries)].tocsc()
        counts = np.bincount(
            self.index[self.index >= 0], minlength=len(self.texts)
        ).astype(np.float64)
        strength = np.abs(weights[: len(entries)]) * (found.T @ counts)[:, None]
        strength[(found > 0).T @ counts < FEWEST_ROWS] = 0
        place = {entry: j for j, entry in enumerate(entries)}
        for pair in (entry for entry in entries if " " in entry):
            words = [place[word] for word in pair.split(" ") if word in place]
            strength[place[pair]] *= strength[place[pair]] > strength[words].max(
                axis=0, initial=0
            )
        first = np.argsort(-strength, axis=0, kind="stable")[
            : max(8, _MOST_WORDS // weights.shape[1])
        ]
        chosen = [j for j in dict.fromkeys(first.ravel().tolist()) if strength[j].any()]
        return [
            (entries[j], np.flatnonzero(np.isin(self.index, found[:, j].nonzero()[0])))
            for j in chosen
        ]

    def frame(
        self, what: str, of: list[Any], names: list[str], table: Floats, rows: list[int]
    ) -> pd.DataFrame:
        """Return a table ``(entries, names, outputs)`` as a frame, by output and falling effect."""
        frames = [
            pd.DataFrame(table[:, :, k], columns=names).assign(rows=rows)
            for k in range(len(self.outputs))
        ]
        for frame, name in zip(frames, self.outputs, strict=True):
            frame.insert(0, "output", name)
            frame.insert(0, what, of)
        sorted_ = [
            frame.sort_values("effect", ascending=False, kind="stable")
            for frame in frames
        ]
        return pd.concat(sorted_, ignore_index=True)


def score_places(encoder: Any, column: str) -> Integers:
    """Return the encoded columns that hold the scores of a column."""
    return np.array(
        [at for at in encoder.columns_of(column) if encoder.kinds_[at] == "score"],
        dtype=np.int64,
    )


def outputs_of(model: Any, encoded: Floats32, output: str) -> Floats:
    """Return what explanations explain of encoded rows: logits or probabilities before calibration, or numbers."""
    outputs = model.predict_encoded(encoded)
    if not hasattr(model, "classes_"):
        return (
            np.asarray(outputs, dtype=np.float64) * model.target_scale_
            + model.target_mean_
        )
    logits = class_logits(outputs)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (
        logits
        if output == "logit"
        else np.asarray(shares / shares.sum(axis=1, keepdims=True))
    )


#: As ``exact`` of Shapley values, where there are patches: each other column would double hundreds of coalitions.
_EXACT = 8


@with_near_names
def explain_parts(
    model: Any,
    row: Any,
    *,
    target: int | str | Iterable[int | str] | None = None,
    scale: ScaleName = "auto",
    background: Any = None,
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Explanation:
    """Explain one row by the words of its texts and the patches of its images, beside its other features.

    Values are Shapley values of the output. Parts of a cell join one after the other (Owen 1977), so that they add up
    to the Shapley value of their column. A part that is replaced leaves its share of the cell to a background row's
    cell. Patches of a quarter of an image join one after the other, too: no more than 464 pictures of an image are then
    encoded.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor`` that reads texts or images.
        row: a table of one row, such as ``X[:1]``.
        target: outputs to explain, by position or class name. None: all.
        scale: as for ``pg.explain``: ``"auto"`` is the probability.
        background: rows that replacements come from. None: of the training rows kept in the model.
        random_state: seed.
        progress: a bar on stderr.

    Returns:
        A local ``Explanation`` of level ``"part"``.

    Raises:
        InputError: the model reads neither texts nor images, or there is not one row.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> texts = [" ".join(rng.choice(["good", "bad", "red", "blue", "green"], 6)) for _ in range(200)]
        >>> X = pd.DataFrame({"review": texts, "size": rng.normal(size=200)})
        >>> y = np.array([text.count("good") - text.count("bad") for text in texts]) + 0.1 * X["size"]
        >>> kinds = {"review": "text"}
        >>> model = pg.HyNNRegressor(preset="fast", kinds=kinds, max_epochs=5, random_state=0).fit(X, y)
        >>> explanation = pg.explain_parts(model, X[:1])
        >>> explanation.level, len(explanation.names)
        ('part', 7)
    """
    arguments = Arguments(
        model,
        row,
        target=target,
        scale=scale,
        background=background,
        random_state=random_state,
        progress=progress,
    )
    return divide(arguments, Shapley())


def divide(arguments: Arguments, method: Shapley) -> Explanation:
    """Return one row's parts and features by Shapley values with the options of ``method``."""
    # The predictor of the row takes a table of numbers: −1 keeps the row's own part or cell, else it is the number of
    # the background row in its place.
    read = arguments.model
    parts = _Row(read.model, arguments.X, arguments.background)
    kept = np.full((1, len(parts.names)), -1.0)
    donors = np.repeat(
        np.arange(float(len(parts.donors)))[:, None], len(parts.names), axis=1
    )
    own, lenders = (
        pd.DataFrame(numbers, columns=parts.names) for numbers in (kept, donors)
    )
    form: dict[str, Any] = {"task": "regression"}
    positive = read.positive
    if hasattr(read.model, "classes_"):
        names = [str(label) for label in read.model.classes_.tolist()]
        form = {"returns": "logits", "class_names": names}
        decision = read.model.decision_
        if positive is None and decision is not None:
            positive = names[decision.positive]
    settings = {**method.settings(), "blocks": "modality"}
    if any(cell.blocks for cell in parts.cells) and settings["exact"] is None:
        settings["exact"] = _EXACT
    method = configured("shapley", settings)
    predictor = Model(parts, positive=positive, **form)
    background: Any = lenders
    if arguments.background is None:  # those that all features are compared with
        count = len(read.model.background_)
        background = RowsToCompare(lenders, TRAINING_ROWS, drawn_from=count)
    # Columns of the numbers of donors are all alike, and yet each is a player.
    arguments = replace(
        arguments,
        model=predictor,
        X=own,
        background=background,
        scope="local",
        groups={},
    )
    with sparing(), full_float32():
        request = build_request(arguments, method, "shapley")
        # Each column is a block, and in it each quarter of an image.
        blocks = tuple(parts.column_of.get(name, name) for name in parts.names)
        quarters = {
            name: names for cell in parts.cells for name, names in cell.blocks.items()
        }
        request = replace(
            request, space=replace(request.space, modality=blocks, groups=quarters)
        )
        explanation = method(request)
    texts = {
        cell.name: {"tokens": {"input": cell.name}}
        for cell in parts.cells
        if isinstance(cell, _Words)
    }
    return replace(
        explanation,
        level="part",
        modality=tuple(
            parts.column_of.get(name, "table") for name in explanation.names
        ),
        groups={cell.name: cell.parts for cell in parts.cells},
        feature_values=parts.shown,
        maps={
            key: array
            for cell in parts.cells
            for key, array in cell.maps(parts.names).items()
        },
        meta={**explanation.meta, "by_input": texts, "digests": digests_of(request)},
    )


class _Cell:
    """A text or an image of one row, in parts. What is left of it is scored once for each set of parts."""

    def __init__(self, encoder: Any, name: str, count: int) -> None:
        self.encoder, self.name, self.parts = (
            encoder,
            name,
            [f"{name}[{k}]" for k in range(count)],
        )
        self.columns, self.places = (
            encoder.columns_of(name),
            score_places(encoder, name),
        )
        self.blocks: dict[str, list[str]] = {}
        nothing = np.zeros(len(self.places), dtype=np.float32)
        self._known = {
            bytes(count): nothing
        }  # what is left of a cell without parts is nobody's

    @abstractmethod
    def left(self, kept: Booleans) -> Cells:
        """Return the cells that are left with the parts ``kept (n, parts)``, as ``Scores`` reads them."""

    def maps(self, names: list[str]) -> dict[str, Array]:  # noqa: ARG002 — a text has none
        """Return what plots need of the cell. ``names`` are those of all players."""
        return {}

    def scores(self, kept: Booleans) -> Floats32:
        """Return the scores ``(n, outputs)`` of the cell with the parts ``kept (n, parts)``."""
        distinct, place = np.unique(kept, axis=0, return_inverse=True)
        keys = [one.tobytes() for one in distinct]
        if new := [at for at, key in enumerate(keys) if key not in self._known]:
            scores = self.encoder.scores_.of(self.name, self.left(distinct[new]))
            self._known |= {keys[at]: one for at, one in zip(new, scores, strict=True)}
        return np.stack([self._known[key] for key in keys])[place.ravel()]


class _Words(_Cell):
    """The words of a text. ``shown``: each as it is written."""

    def __init__(
        self, encoder: Any, name: str, text: str, spans: list[tuple[int, int]]
    ) -> None:
        stretches = np.array_split(np.array(spans), min(len(spans), MOST_PARTS))
        super().__init__(encoder, name, len(stretches))
        self.text, self.spans = text, [some.tolist() for some in stretches]
        self.shown = [text[some[0][0] : some[-1][1]] for some in self.spans]

    def left(self, kept: Booleans) -> Cells:
        gone = [
            [span for k in np.flatnonzero(~one).tolist() for span in self.spans[k]]
            for one in kept
        ]
        return [without(self.text, spans) for spans in gone]


class _Patches(_Cell):
    """The patches of an image, row by row, in its quarters."""

    def __init__(self, encoder: Any, name: str, cell: str) -> None:
        super().__init__(encoder, name, PATCHES**2)
        self.cell, half = cell, PATCHES // 2
        down, across = np.divmod(np.arange(PATCHES**2), PATCHES)
        quarters = 2 * (down // half) + across // half
        for part, quarter in zip(self.parts, quarters.tolist(), strict=True):
            self.blocks.setdefault(f"{name}, quarter {quarter}", []).append(part)
        # All sets that orders meet have at most one quarter in part. Scored at once: encoders take images in batches.
        every = np.arange(2**PATCHES**2)[:, None] >> np.arange(PATCHES**2) & 1 > 0
        seen = np.stack(
            [every[:, quarters == quarter].mean(axis=1) for quarter in range(4)]
        )
        self.scores(every[((seen > 0) & (seen < 1)).sum(axis=0) <= 1])

    def left(self, kept: Booleans) -> Cells:
        return self.encoder.images_.covered(self.name, self.cell, kept)

    def maps(self, names: list[str]) -> dict[str, Array]:
        picture = self.encoder.images_.pixels(
            self.name, [self.cell]
        ).numpy() / np.float32(255)
        segments = names.index(self.parts[0]) + patch_grid(*picture.shape[2:])
        return {f"images:{self.name}": picture, f"segments:{self.name}": segments}


class _Row:
    """One row as a predictor of which of its parts and features are its own, for ``explain_parts``."""

    def __init__(self, model: Any, X: Any, background: Any) -> None:
        encoder = getattr(model, "preprocessor_", None)
        if encoder is None or not encoder.scores_.columns or len(X) != 1:
            raise _no_row_of_parts(model)
        rows = model.encode_rows(X)
        self.model, self.own = model, rows.encoded
        self.donors = (
            kept_rows(model)[rows_compared(model)]
            if background is None
            else model.encode_rows(background).encoded
        )
        self.cells: list[_Words | _Patches] = []
        self.features, self.names, shown = {}, list[str](), dict[str, Any]()
        cells = pd.concat([rows.table, encoder.cells_of_parts(rows.table)], axis=1)
        for name, columns in encoder.features("feature").items():
            kind = encoder.schema_[name].kind if name in encoder.scores_.columns else ""
            cell = (
                next(iter(encoder.texts_of(rows.table, name)[0]), "")
                if kind in ("text", "image")
                else ""
            )
            if cell and kind == "image":
                self.cells.append(_Patches(encoder, name, cell))
            elif spans := words_in(cell):
                self.cells.append(words := _Words(encoder, name, cell, spans))
                shown |= dict(zip(words.parts, words.shown, strict=True))
            elif len(columns):
                self.features[name] = columns
                shown[name] = None
                if name in cells:
                    shown[name] = cells[name].iloc[0]
                self.names.append(name)
                continue
            else:
                continue
            self.names += self.cells[-1].parts
        self.column_of = {part: cell.name for cell in self.cells for part in cell.parts}
        self.shown = pd.DataFrame(shown, index=[0])

    def __call__(self, table: pd.DataFrame) -> Floats:
        """Return logits, or numbers, of rows made of own and other cells."""
        encoded = np.repeat(self.own, len(table), axis=0)
        for name, columns in self.features.items():
            donors = table[name].to_numpy(dtype=np.int64)
            taken = np.flatnonzero(donors >= 0)
            encoded[np.ix_(taken, columns)] = self.donors[
                np.ix_(donors[taken], columns)
            ]
        for cell in self.cells:
            chosen = table[cell.parts].to_numpy(dtype=np.int64)
            encoded[:, cell.columns] *= (chosen < 0).mean(axis=1, keepdims=True)
            encoded[:, cell.places] = cell.scores(chosen < 0)
            for donors in chosen.T:
                taken = np.flatnonzero(donors >= 0)
                theirs = self.donors[np.ix_(donors[taken], cell.columns)]
                encoded[np.ix_(taken, cell.columns)] += theirs / len(cell.parts)
        return outputs_of(self.model, encoded, "logit")


def _no_row_of_parts(model: Any) -> InputError:
    """Return the refusal of what is not one row of a model that reads texts or images."""
    hint = "Pass a single row, for example X[:1]."
    if isinstance(model, nn.Module):
        hint = (
            "Call pg.explain: the features of a network are columns, patches, words "
            "or windows already."
        )
    return InputError(
        "explain_parts explains one row of a HyNNClassifier or HyNNRegressor "
        "that reads texts or images",
        hint=hint,
        code="PG006",
    )
