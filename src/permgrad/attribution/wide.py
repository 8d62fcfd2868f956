"""What single words of a text, places of an image, and levels of a category of many, do
to predictions on average.

Such columns reach a network as scores (``data/encode/scores.py``). A word is taken out
of its text, or a patch of an image is covered, the cell is scored again, and the
network predicts. Outputs are those that other explanations explain: before calibration.
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
from permgrad.attribution.request.related_rows import read_units, with_columns
from permgrad.attribution.request.result import digests_of
from permgrad.attribution.scopes import LOCAL, PART
from permgrad.attribution.subject.scales import ScaleName
from permgrad.base.arrays import Array, Booleans, Floats, Floats32, Integers
from permgrad.base.errors import InputError
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import ProgressMode
from permgrad.base.random import generator, resolve_seed
from permgrad.base.sequences import positions_of, values_at
from permgrad.base.significance import NORMAL_95, adjusted
from permgrad.data.encode.designs import MOST_PARTS, Cells, spans_of, without, words_in
from permgrad.data.tasks import REGRESSION
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.estimators.calibration import class_logits
from permgrad.models.estimators.kept_rows import (
    TRAINING_ROWS,
    kept_rows,
    rows_compared,
)
from permgrad.models.images import PATCHES, patch_grid

#: Rows that a word stands in at least, and of which at most its effect is the mean.
#: Words and pairs for all outputs.
FEWEST_ROWS = 10
_MOST_ROWS = 200
_MOST_WORDS = 40
#: Levels whose effects are looked at, and rows in which each is set.
_MOST_LEVELS = 400
_LEVEL_ROWS = 25


def word_effects(
    model: Any, X: Any, column: str, *, random_state: Any = 0, **related: Any
) -> pd.DataFrame:
    """Return what the words of a text column do on average: the output with a word
    minus the output without it.

    A word is taken out of every cell that has it (of 200 drawn rows, if there are
    more). Everything else stays as it is. Words are looked at that stand in at least 10
    rows and weigh most in the linear model that scores the column, and pairs that weigh
    more than both of their words. That model knows training rows only.

    ``model``: a fitted ``HyNNClassifier`` or ``HyNNRegressor``. ``X``: rows that it was
    not fitted on. ``related``: ``row_groups`` or ``row_time`` of rows that depend on
    each other. ``random_state``: seed of the rows drawn.

    Returns ``word, output, effect, std_error, ci_low, ci_high, p_value, p_adjusted,
    rows``, by output and falling effect. ``effect`` is a probability before calibration
    (regression: in y's units), ``p_adjusted`` Holm's for all words, each output
    separately.

    ``InputError``: the model has no scores of words of that column.
    """
    scored = _Scored(model, X, column, "words", random_state, **related)
    word_rows = scored.chosen_words()
    changed = []
    for chosen_word, rows_with_word in word_rows:
        row_positions = scored.drawn(
            rows_with_word, f"rows of {chosen_word}", _MOST_ROWS
        )
        cells, cell_index = np.unique(scored.index[row_positions], return_inverse=True)
        shorter_texts = []
        for cell_text in values_at(scored.texts, cells.tolist()):
            shorter_texts.append(without(cell_text, spans_of(cell_text, chosen_word)))
        changed.append(
            (
                row_positions,
                scored.encoder.scores_.of(column, shorter_texts)[cell_index],
            )
        )
    return scored.effects(
        "word",
        [listed_word for listed_word, _ in word_rows],
        changed,
        [len(word_positions) for _, word_positions in word_rows],
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
    """Return what the places of an image column do on average: the output minus that
    with a patch covered.

    Each of the 4 × 4 patches of an image is covered by the image's mean colour, and all
    else stays as it is. This says something where images are aligned, so that a patch
    shows the same in all of them. At most ``rows`` rows with an image are drawn, each
    of which takes 16 encodings.

    Returns a table as ``word_effects``, whose ``place`` counts patches row by row, from
    0 in the upper left corner.

    ``InputError``: the model has no scores of images of that column, or no row has an
    image.
    """
    scored = _Scored(model, X, column, "vectors", random_state, **related)
    count = PATCHES**2
    row_positions = scored.drawn(
        np.flatnonzero(scored.index >= 0), "rows of places", rows
    )
    if not len(row_positions):
        raise InputError(
            f"No row has an image in {column!r}", hint="Pass other rows.", code="PG013"
        )
    cells, cell_index = np.unique(scored.index[row_positions], return_inverse=True)
    images = scored.encoder.images_
    kept_patches = ~np.eye(count, dtype=bool)
    vectors = []
    for text_index in cells.tolist():
        vectors.append(images.covered(column, scored.texts[text_index], kept_patches))
    scores = scored.encoder.scores_.of(column, np.concatenate(vectors)).reshape(
        len(cells), count, -1
    )[cell_index]
    changed = [(row_positions, scores[:, patch]) for patch in range(count)]
    return scored.effects("place", range(count), changed, [len(row_positions)] * count)


def level_effects(
    model: Any, X: Any, y: npt.ArrayLike | None, column: str, *, random_state: Any = 0
) -> pd.DataFrame:
    """Return what levels of a category do: the mean output with a level minus that with
    one never seen.

    The level is set in a few rows of ``X``. As in a mixed model, its true effect has
    the variance ``s² / (n + s² / t²)`` around the estimate from ``n`` training rows:
    ``s²`` is that of the outcome in ``X`` given the prediction (numbers: by their
    targets ``y``), and ``t²``, that of the levels, follows from the effects.

    Returns ``level, output, effect, ci_low, ci_high, rows`` of up to about 400 levels,
    those with the largest scores among them, by output and falling effect. ``rows`` are
    training rows, intervals are at 95 %. ``attrs`` has ``scored``, the number of levels
    with an effect of their own, and ``pooled``, that of levels seen once.

    ``InputError``: the column has no scores of levels.
    """
    scored = _Scored(model, X, column, "levels", random_state)
    design, weights = scored.design
    shown = _levels_to_show(weights)
    levels = values_at(design.entries, shown.tolist())
    drawn_rows = generator(scored.seed, "rows of levels").permutation(
        len(scored.encoded)
    )[:_LEVEL_ROWS]
    scores = np.repeat(
        model.preprocessor_.scores_.of(column, levels), len(drawn_rows), axis=0
    )
    moved = scored.predict(scored.changed(np.tile(drawn_rows, len(levels)), scores))
    base_predictions = scored.predict(
        scored.changed(drawn_rows, np.zeros_like(scores[: len(drawn_rows)]))
    )
    effects = (moved.reshape(len(levels), len(drawn_rows), -1) - base_predictions).mean(
        axis=1
    )
    prediction = scored.predict(scored.encoded)
    spread = prediction * (1 - prediction)
    if model.task.numeric:
        spread = (np.asarray(y, dtype=np.float64)[:, None] - prediction) ** 2
    counts = np.array(design.counts, dtype=np.float64)[shown, None]
    half_widths = NORMAL_95 * np.sqrt(
        _remaining_variance(effects, spread.mean(axis=0), counts)
    )
    table = np.stack([effects, effects - half_widths, effects + half_widths], axis=1)
    result = scored.frame(
        "level",
        levels,
        ["effect", "ci_low", "ci_high"],
        table,
        counts[:, 0].astype(int).tolist(),
    )
    result.attrs = {"scored": len(design.entries), "pooled": design.pooled}
    return result


def _levels_to_show(weights: Floats) -> Integers:
    """Return the levels with the largest and least ``weights`` ``(levels, scores)`` of
    many, and others evenly between.
    """
    if len(weights) <= _MOST_LEVELS:
        return np.arange(len(weights))
    order = np.argsort(weights, axis=0, kind="stable")
    side_count = max(_MOST_LEVELS // (4 * weights.shape[1]), 8)
    along = np.linspace(0, len(order) - 1, _MOST_LEVELS // 2).astype(np.int64)
    return np.unique(
        np.concatenate([order[:side_count].ravel(), order[-side_count:].ravel(), along])
    )


def _remaining_variance(effects: Floats, noise: Floats, counts: Floats) -> Floats:
    """Return the variance of true effects ``(levels, outputs)`` around those estimated
    from ``counts`` rows ``(levels, 1)`` of outcomes with the variance ``noise``.
    """
    between = np.maximum(effects.var(axis=0), 1e-300)
    remaining_variance = np.zeros_like(effects)
    for _ in range(200):  # the EM algorithm (Laird & Ware 1982)
        remaining_variance = noise / (counts + noise / between)
        between = effects.var(axis=0) + remaining_variance.mean(axis=0)
    return remaining_variance


class _Scored:
    """A column with scores of one design, in rows, and what the model predicts with
    others.
    """

    def __init__(
        self, model: Any, X: Any, column: str, kind: str, seed: Any, **related: Any
    ) -> None:
        read_arguments = with_columns(Arguments(model=model, X=X, **related))
        self.model = model
        self.seed = resolve_seed(seed)
        self.encoder = model.preprocessor_
        scores = self.encoder.scores_.columns.get(column, ())
        designs = [
            (design, weights)
            for score_kind, design, weights in scores
            if score_kind == kind
        ]
        if not designs or (kind == "words" and "words" not in designs[0][0].parts):
            kind = {"vectors": "images"}.get(kind, kind)
            raise InputError(
                f"The model reads no {kind} of {column!r}",
                hint="Name another column.",
                code="PG004",
            )
        encoded_rows = model.encode_rows(read_arguments.X)
        self.design = designs[0]
        self.encoded, (self.texts, self.index) = (
            encoded_rows.encoded,
            self.encoder.texts_of(encoded_rows.table, column),
        )
        self.places = score_places(self.encoder, column)
        self.outputs = (
            list(map(str, model.classes_))
            if hasattr(model, "classes_")
            else ["prediction"]
        )
        named = (
            read_arguments.row_groups is not None or read_arguments.row_time is not None
        )
        self.units = read_units(read_arguments, len(self.encoded)) if named else None

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
        """Return the mean of outputs minus those with other scores of the column, which
        ``changed`` has for rows.
        """
        effect_rows = []
        for row_positions, scores in changed:
            changes = np.subtract(
                self.predict(self.encoded[row_positions]),
                self.predict(self.changed(row_positions, scores)),
            )
            if self.units is None:
                units = None
            else:
                units = self.units.take(row_positions)
            mean_changes, std_errors, effective_sizes = mean_over_rows(
                changes, units=units
            )
            effect_rows.append(
                (
                    mean_changes,
                    std_errors,
                    *interval(mean_changes, std_errors, effective_sizes, 0.95),
                )
            )
        numbers = ["effect", "std_error", "ci_low", "ci_high", "p_value"]
        table = np.array(effect_rows).reshape(
            len(names), len(numbers), len(self.outputs)
        )
        table = np.insert(table, len(numbers), adjusted(table[:, -1]), axis=1)
        return self.frame(what, list(names), [*numbers, "p_adjusted"], table, rows)

    def predict(self, encoded: Floats32) -> Floats:
        return shares_of(self.model, encoded)

    def changed(self, rows: Integers, scores: Floats32) -> Floats32:
        encoded = self.encoded[rows]
        encoded[:, self.places] = scores
        return encoded

    def chosen_words(self) -> list[tuple[str, Integers]]:
        """Return the words and pairs that are looked at, each with the rows that it
        stands in.
        """
        design, weights = self.design
        entries = design.parts["words"][0]
        word_matrix = design.matrix(self.texts)[:, : len(entries)].tocsc()
        counts = np.bincount(
            self.index[self.index >= 0], minlength=len(self.texts)
        ).astype(np.float64)
        strength = np.abs(weights[: len(entries)]) * (word_matrix.T @ counts)[:, None]
        strength[(word_matrix > 0).T @ counts < FEWEST_ROWS] = 0
        entry_index = positions_of(entries)
        for word_pair in (entry for entry in entries if " " in entry):
            words = []
            for pair_word in word_pair.split(" "):
                if pair_word in entry_index:
                    words.append(entry_index[pair_word])
            strength[entry_index[word_pair]] *= strength[
                entry_index[word_pair]
            ] > strength[words].max(axis=0, initial=0)
        first = np.argsort(-strength, axis=0, kind="stable")[
            : max(8, _MOST_WORDS // weights.shape[1])
        ]
        chosen_entries = []
        for j in dict.fromkeys(first.ravel().tolist()):
            if strength[j].any():
                chosen_entries.append(j)
        return [
            (
                entries[j],
                np.flatnonzero(np.isin(self.index, word_matrix[:, j].nonzero()[0])),
            )
            for j in chosen_entries
        ]

    def frame(
        self, what: str, of: list[Any], names: list[str], table: Floats, rows: list[int]
    ) -> pd.DataFrame:
        """Return a table ``(entries, names, outputs)`` as a frame, by output and
        falling effect.
        """
        frames = []
        for k in range(len(self.outputs)):
            frames.append(pd.DataFrame(table[:, :, k], columns=names).assign(rows=rows))
        for frame, output_name in zip(frames, self.outputs, strict=True):
            frame.insert(0, "output", output_name)
            frame.insert(0, what, of)
        sorted_ = [
            frame.sort_values("effect", ascending=False, kind="stable")
            for frame in frames
        ]
        return pd.concat(sorted_, ignore_index=True)


def score_places(encoder: Any, column: str) -> Integers:
    """Return the encoded columns that hold the scores of a column."""
    return np.array(
        [
            encoded_column
            for encoded_column in encoder.columns_of(column)
            if encoder.slots_[encoded_column].of.is_score
        ],
        dtype=np.int64,
    )


def scores_of(model: Any, encoded: Floats32) -> Floats:
    """Return the logits of encoded rows before calibration, or numbers."""
    outputs = model.predict_encoded(encoded)
    if hasattr(model, "classes_"):
        return class_logits(outputs)
    wide_outputs = np.asarray(outputs, dtype=np.float64)
    return np.asarray(wide_outputs * model.target_scale_ + model.target_mean_)


def shares_of(model: Any, encoded: Floats32) -> Floats:
    """Return the probabilities of encoded rows before calibration, or numbers."""
    scores = scores_of(model, encoded)
    if not hasattr(model, "classes_"):
        return scores
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


#: As ``exact`` of Shapley values, where there are patches: each other column would
#: double hundreds of coalitions.
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
    """Explain one row by the words of its texts and the patches of its images, beside
    its other features.

    Values are Shapley values of the output. Parts of a cell join one after the other
    (Owen 1977), so that they add up to the Shapley value of their column. A part that
    is replaced leaves its share of the cell to a background row's cell. Patches of a
    quarter of an image join one after the other, too: no more than 464 pictures of an
    image are then encoded.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor`` that reads texts or
            images.
        row: a table of one row, such as ``X[:1]``.
        target: outputs to explain, by position or class name. None: all.
        scale: as for ``pg.explain``: ``"auto"`` is the probability.
        background: rows that replacements come from. None: of the training rows kept in
            the model.
        random_state: seed.
        progress: a bar on stderr.

    Returns:
        A local ``Explanation`` of level ``"part"``.

    Raises:
        InputError: the model reads neither texts nor images, or there is not one row.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> words = ["good", "bad", "red", "blue", "green"]
        >>> texts = [" ".join(rng.choice(words, 6)) for _ in range(200)]
        >>> X = pd.DataFrame({"review": texts, "size": rng.normal(size=200)})
        >>> y = (
        ...     np.array([text.count("good") - text.count("bad") for text in texts])
        ...     + 0.1 * X["size"]
        ... )
        >>> options = {"kinds": {"review": "text"}, "max_epochs": 5, "random_state": 0}
        >>> model = pg.HyNNRegressor(preset="fast", **options).fit(X, y)
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
    """Return one row's parts and features by Shapley values with the options of
    ``method``.

    Args:
        arguments: Of a call for one row.
        method: Whose options are taken.
    """
    row_parts = _Row(arguments.model.model, arguments.X, arguments.background)
    settings = {**method.settings(), "blocks": "modality"}
    in_blocks = any(row_cell.blocks for row_cell in row_parts.cells)
    if in_blocks and settings["exact"] is None:
        settings["exact"] = _EXACT
    method = configured("shapley", settings)
    arguments = _arguments_of_parts(arguments, row_parts)
    with sparing(), full_float32():
        request = build_request(arguments, method, "shapley")
        # Each column is a block, and in it each quarter of an image.
        blocks = tuple(
            row_parts.column_of.get(part_name, part_name)
            for part_name in row_parts.names
        )
        quarters: dict[str, list[str]] = {}
        for row_cell in row_parts.cells:
            quarters |= row_cell.blocks
        request = replace(
            request, space=replace(request.space, modality=blocks, groups=quarters)
        )
        explanation = method(request)
    texts = {}
    maps: dict[str, Array] = {}
    for row_cell in row_parts.cells:
        maps |= row_cell.maps(row_parts.names)
        if isinstance(row_cell, _Words):
            texts[row_cell.name] = {"tokens": {"input": row_cell.name}}
    return replace(
        explanation,
        level=PART,
        modality=tuple(
            row_parts.column_of.get(player_name, "table")
            for player_name in explanation.names
        ),
        groups={row_cell.name: row_cell.parts for row_cell in row_parts.cells},
        feature_values=row_parts.shown,
        maps=maps,
        meta={**explanation.meta, "by_input": texts, "digests": digests_of(request)},
    )


def _arguments_of_parts(arguments: Arguments, row_parts: _Row) -> Arguments:
    """Return a call for the predictor of a row, which takes a table of numbers: −1
    keeps the row's own part or cell, else it is the number of the background row in its
    place.
    """
    model = arguments.model.model
    output_facts: dict[str, Any] = {"task": REGRESSION}
    positive = arguments.model.positive
    if hasattr(model, "classes_"):
        names = list(map(str, model.classes_.tolist()))
        output_facts = {"returns": "logits", "class_names": names}
        if positive is None and model.decision_ is not None:
            positive = names[model.decision_.positive]
    names_of_parts = row_parts.names
    kept_numbers = np.full((1, len(names_of_parts)), -1.0)
    donors = np.repeat(
        np.arange(float(len(row_parts.donors)))[:, None], len(names_of_parts), axis=1
    )
    background: Any = pd.DataFrame(donors, columns=names_of_parts)
    if arguments.background is None:  # those that all features are compared with
        background = RowsToCompare(
            background, TRAINING_ROWS, drawn_from=len(model.background_)
        )
    # Columns of the numbers of donors are all alike, and yet each is a player.
    return replace(
        arguments,
        model=Model(row_parts, positive=positive, **output_facts),
        X=pd.DataFrame(kept_numbers, columns=names_of_parts),
        background=background,
        scope=LOCAL,
        groups={},
    )


class _Cell:
    """A text or an image of one row, in parts.

    What is left of it is scored once for each set of parts.
    """

    def __init__(self, encoder: Any, name: str, count: int) -> None:
        self.encoder = encoder
        self.name = name
        self.parts = [f"{name}[{k}]" for k in range(count)]
        self.columns = encoder.columns_of(name)
        self.places = score_places(encoder, name)
        self.blocks: dict[str, list[str]] = {}
        nothing = np.zeros(len(self.places), dtype=np.float32)
        self._known = {
            bytes(count): nothing
        }  # what is left of a cell without parts is nobody's

    @abstractmethod
    def left(self, kept_mask: Booleans) -> Cells:
        """Return the cells that are left with the parts ``kept_mask (n, parts)``, as
        ``Scores`` reads them.
        """

    def maps(self, names: list[str]) -> dict[str, Array]:  # noqa: ARG002 — a text has none
        """Return what plots need of the cell. ``names`` are those of all players."""
        return {}

    def scores(self, kept_mask: Booleans) -> Floats32:
        """Return the scores ``(n, outputs)`` of the cell with the parts ``kept_mask (n,
        parts)``.
        """
        distinct, mask_index = np.unique(kept_mask, axis=0, return_inverse=True)
        mask_keys = [part_mask.tobytes() for part_mask in distinct]
        if new_indices := [
            key_index
            for key_index, mask_key in enumerate(mask_keys)
            if mask_key not in self._known
        ]:
            scores = self.encoder.scores_.of(
                self.name, self.left(distinct[new_indices])
            )
            self._known |= {
                mask_keys[key_index]: cell_scores
                for key_index, cell_scores in zip(new_indices, scores, strict=True)
            }
        return np.stack(values_at(self._known, mask_keys))[mask_index.ravel()]


class _Words(_Cell):
    """The words of a text. ``shown``: each as it is written."""

    def __init__(
        self, encoder: Any, name: str, text: str, spans: list[tuple[int, int]]
    ) -> None:
        stretches = np.array_split(np.array(spans), min(len(spans), MOST_PARTS))
        super().__init__(encoder, name, len(stretches))
        self.text = text
        self.spans = [stretch_spans.tolist() for stretch_spans in stretches]
        shown = []
        for stretch_spans in self.spans:
            shown.append(text[stretch_spans[0][0] : stretch_spans[-1][1]])
        self.shown = shown

    def left(self, kept_mask: Booleans) -> Cells:
        removed_spans = []
        for part_mask in kept_mask:
            removed_spans.append(
                [
                    word_span
                    for k in np.flatnonzero(~part_mask).tolist()
                    for word_span in self.spans[k]
                ]
            )
        return [without(self.text, spans) for spans in removed_spans]


class _Patches(_Cell):
    """The patches of an image, row by row, in its quarters."""

    def __init__(self, encoder: Any, name: str, cell: str) -> None:
        super().__init__(encoder, name, PATCHES**2)
        self.cell = cell
        half_patches = PATCHES // 2
        patch_rows, across = np.divmod(np.arange(PATCHES**2), PATCHES)
        quarters = 2 * (patch_rows // half_patches) + across // half_patches
        for part_name, quarter in zip(self.parts, quarters.tolist(), strict=True):
            self.blocks.setdefault(f"{name}, quarter {quarter}", []).append(part_name)
        # All sets that orders meet have at most one quarter in part. Scored at once:
        # encoders take images in batches.
        every = np.arange(2**PATCHES**2)[:, None] >> np.arange(PATCHES**2) & 1 > 0
        quarter_shares = np.stack(
            [every[:, quarters == quarter].mean(axis=1) for quarter in range(4)]
        )
        self.scores(
            every[((quarter_shares > 0) & (quarter_shares < 1)).sum(axis=0) <= 1]
        )

    def left(self, kept_mask: Booleans) -> Cells:
        return self.encoder.images_.covered(self.name, self.cell, kept_mask)

    def maps(self, names: list[str]) -> dict[str, Array]:
        picture = self.encoder.images_.pixels(
            self.name, [self.cell]
        ).numpy() / np.float32(255)
        segments = names.index(self.parts[0]) + patch_grid(*picture.shape[2:])
        return {f"images:{self.name}": picture, f"segments:{self.name}": segments}


class _Row:
    """One row as a predictor of which of its parts and features are its own, for
    ``explain_parts``.
    """

    def __init__(self, model: Any, X: Any, background: Any) -> None:
        encoder = getattr(model, "preprocessor_", None)
        if encoder is None or not encoder.scores_.columns or len(X) != 1:
            raise _no_row_of_parts(model)
        encoded_rows = model.encode_rows(X)
        self.model = model
        self.own = encoded_rows.encoded
        self.donors = (
            kept_rows(model)[rows_compared(model)]
            if background is None
            else model.encode_rows(background).encoded
        )
        self.cells: list[_Words | _Patches] = []
        self.features = {}
        self.names = list[str]()
        shown = dict[str, Any]()
        cells = pd.concat(
            [encoded_rows.table, encoder.cells_of_parts(encoded_rows.table)], axis=1
        )
        for feature_name, columns in encoder.features("feature").items():
            column_modality = "table"
            if feature_name in encoder.scores_.columns:
                column_modality = encoder.schema_[feature_name].of.modality
            cell_content = ""
            if column_modality != "table":
                texts, _ = encoder.texts_of(encoded_rows.table, feature_name)
                cell_content = next(iter(texts), "")
            if cell_content and column_modality == "photo":
                self.cells.append(_Patches(encoder, feature_name, cell_content))
            elif spans := words_in(cell_content):
                self.cells.append(
                    words := _Words(encoder, feature_name, cell_content, spans)
                )
                shown |= dict(zip(words.parts, words.shown, strict=True))
            elif len(columns):
                self.features[feature_name] = columns
                shown[feature_name] = None
                if feature_name in cells:
                    shown[feature_name] = cells[feature_name].iloc[0]
                self.names.append(feature_name)
                continue
            else:
                continue
            self.names += self.cells[-1].parts
        self.column_of = {
            part_name: row_cell.name
            for row_cell in self.cells
            for part_name in row_cell.parts
        }
        self.shown = pd.DataFrame(shown, index=[0])

    def __call__(self, table: pd.DataFrame) -> Floats:
        """Return logits, or numbers, of rows made of own and other cells."""
        encoded = np.repeat(self.own, len(table), axis=0)
        for feature_name, columns in self.features.items():
            donors = table[feature_name].to_numpy(dtype=np.int64)
            replaced_rows = np.flatnonzero(donors >= 0)
            encoded[np.ix_(replaced_rows, columns)] = self.donors[
                np.ix_(donors[replaced_rows], columns)
            ]
        for row_cell in self.cells:
            donor_numbers = table[row_cell.parts].to_numpy(dtype=np.int64)
            encoded[:, row_cell.columns] *= (donor_numbers < 0).mean(
                axis=1, keepdims=True
            )
            encoded[:, row_cell.places] = row_cell.scores(donor_numbers < 0)
            for donors in donor_numbers.T:
                replaced_rows = np.flatnonzero(donors >= 0)
                theirs = self.donors[np.ix_(donors[replaced_rows], row_cell.columns)]
                encoded[np.ix_(replaced_rows, row_cell.columns)] += theirs / len(
                    row_cell.parts
                )
        return scores_of(self.model, encoded)


def _no_row_of_parts(model: Any) -> InputError:
    """Return the refusal of what is not one row of a model that reads texts or
    images.
    """
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
