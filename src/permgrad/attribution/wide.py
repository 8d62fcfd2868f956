"""What single words of a text, and single levels of a category of many levels, do to predictions.

Such columns reach a network as scores (``data/encode/scores.py``). A word is taken out of its text, the text is scored
again, and the network predicts. Outputs are those that other explanations explain: before calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.attribution.method.shapley.method import REFERENCES
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.related import read_units, with_columns
from permgrad.base.arrays import Floats, Floats32, Integers
from permgrad.base.checks import check_choice, check_confidence
from permgrad.base.errors import InputError, unknown
from permgrad.base.random import generator, resolve_seed
from permgrad.base.significance import NORMAL_95, adjusted
from permgrad.data.encode.designs import spans_of, without, words_in
from permgrad.models.estimators.calibration import class_logits
from permgrad.models.estimators.kept_rows import kept_rows

#: Rows that a word stands in at least, and of which at most its effect is the mean. Words and pairs for all outputs.
FEWEST_ROWS, _MOST_ROWS, _MOST_WORDS = 10, 200, 40
#: Levels whose effects are looked at, and rows in which each is set.
_MOST_LEVELS, _LEVEL_ROWS = 400, 25
#: Words of one text that are told apart. Those of longer texts are taken together with their neighbours.
_MOST_PARTS = 60


def word_effects(
    model: Any,
    X: Any,
    column: str,
    *,
    output: str = "probability",
    row_groups: Any = None,
    row_time: Any = None,
    confidence: float = 0.95,
    random_state: Any = None,
) -> pd.DataFrame:
    """Return what the words of a text column do on average: the output with a word minus the output without it.

    A word is taken out of every cell that has it (of 200 drawn rows, if there are more). Everything else stays as it
    is. Words are looked at that stand in at least 10 rows and weigh most in the linear model that scores the column,
    and pairs that weigh more than both of their words. That model knows training rows only.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor`` that reads the text.
        X: rows that it was not fitted on, ``(rows, columns)``.
        column: the text column.
        output: ``"probability"`` or ``"logit"`` of a classifier, before calibration (regression: y's units).
        row_groups: rows that depend on each other, as in ``pg.explain``.
        row_time: the same in time.
        confidence: confidence level of the intervals.
        random_state: seed of the rows drawn.

    Returns:
        ``word, output, effect, std_error, ci_low, ci_high, p_value, p_adjusted, rows``, by output and falling effect.
        ``p_adjusted`` is Holm's for all words, each output separately.

    Raises:
        InputError: the model has no scores of words of that column, or an argument cannot be used.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> words = np.array(["red", "blue", "old", "new", "big", "fast", "slow", "cheap"])
        >>> X = pd.DataFrame({"text": [" ".join(rng.permutation(words)[:4]) + f" item {i}" for i in range(400)]})
        >>> y = 2.0 * X["text"].str.contains("red") + rng.normal(size=400)
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=5, random_state=0).fit(X[:300], y[:300])
        >>> pg.word_effects(model, X[300:], "text", random_state=0)["word"].iloc[0]
        'red'
    """
    check_choice("output", output, ("logit", "probability"))
    check_confidence(confidence)
    read = with_columns(Arguments(model=model, inputs=X, row_groups=row_groups, row_time=row_time))
    scored, seed = _Scored(model, read.inputs, column, "words", output), resolve_seed(random_state)
    units, effects, chosen = read_units(read, len(scored.encoded)), [], scored.chosen_words()
    for word, rows in chosen:
        places = np.sort(rows[generator(seed, f"rows of {word}").permutation(len(rows))[:_MOST_ROWS]])
        cells, place = np.unique(scored.index[places], return_inverse=True)
        less = [without(text, spans_of(text, word)) for text in (scored.texts[at] for at in cells.tolist())]
        scores = scored.encoder.scores_.of(column, less)[place]
        changes = np.subtract(scored.predict(scored.encoded[places]), scored.predict(scored.changed(places, scores)))
        mean, std, size = mean_over_rows(changes, units=None if units is None else units.take(places))
        effects.append((mean, std, *interval(mean, std, size, confidence)))
    names = ["effect", "std_error", "ci_low", "ci_high", "p_value"]
    table = np.array(effects).reshape(len(chosen), len(names), len(scored.outputs))
    table = np.insert(table, len(names), adjusted(table[:, -1]), axis=1)
    words, counts = [word for word, _ in chosen], [len(rows) for _, rows in chosen]
    return scored.frame("word", words, [*names, "p_adjusted"], table, counts)


def level_effects(model: Any, X: Any, y: npt.ArrayLike | None, column: str, random_state: Any = None) -> pd.DataFrame:
    """Return what levels of a category do: the mean output with a level minus that with one never seen.

    The level is set in a few rows of ``X``. As in a mixed model, its true effect has the variance
    ``s² / (n + s² / t²)`` around the estimate from ``n`` training rows: ``s²`` is that of the outcome in ``X`` given
    the prediction (numbers: by their targets ``y``), and ``t²``, that of the levels, follows from the effects.

    Returns ``level, output, effect, ci_low, ci_high, rows`` of up to about 400 levels, those with the largest scores
    among them, by output and falling effect. ``rows`` are training rows, intervals are at 95 %. ``attrs`` has
    ``scored``, the number of levels with an effect of their own, and ``pooled``, that of levels seen once.

    ``InputError``: the column has no scores of levels.
    """
    scored = _Scored(model, X, column, "levels", "probability")
    design, weights = scored.design
    shown = np.arange(len(design.entries))
    if len(shown) > _MOST_LEVELS:
        order, each = np.argsort(weights, axis=0, kind="stable"), max(_MOST_LEVELS // (4 * weights.shape[1]), 8)
        along = np.linspace(0, len(order) - 1, _MOST_LEVELS // 2).astype(np.int64)
        shown = np.unique(np.concatenate([order[:each].ravel(), order[-each:].ravel(), along]))
    levels = [design.entries[at] for at in shown.tolist()]
    rows = generator(resolve_seed(random_state), "rows of levels").permutation(len(scored.encoded))[:_LEVEL_ROWS]
    scores = np.repeat(model.preprocessor_.scores_.of(column, levels), len(rows), axis=0)
    moved = scored.predict(scored.changed(np.tile(rows, len(levels)), scores))
    base = scored.predict(scored.changed(rows, np.zeros_like(scores[: len(rows)])))
    effects = (moved.reshape(len(levels), len(rows), -1) - base).mean(axis=1)
    whole = scored.predict(scored.encoded)
    spread = whole * (1 - whole)
    if model.task == "regression":
        spread = (np.asarray(y, dtype=np.float64)[:, None] - whole) ** 2
    counts, noise = np.array(design.counts, dtype=np.float64)[shown, None], spread.mean(axis=0)
    between = np.maximum(effects.var(axis=0), 1e-300)
    for _ in range(200):  # the EM algorithm (Laird & Ware 1982)
        left = noise / (counts + noise / between)
        between = effects.var(axis=0) + left.mean(axis=0)
    half = NORMAL_95 * np.sqrt(left)
    table = np.stack([effects, effects - half, effects + half], axis=1)
    result = scored.frame("level", levels, ["effect", "ci_low", "ci_high"], table, counts[:, 0].astype(int).tolist())
    result.attrs = {"scored": len(design.entries), "pooled": design.pooled}
    return result


def explain_parts(arguments: Arguments, explain: Callable[..., Explanation]) -> Explanation:
    """Explain one row whose players are the words of its texts beside its other features: ``level="part"``.

    ``explain`` is ``permgrad.explain``.

    The predictor of the row takes a table of numbers: −1 keeps the row's own word or cell, else it is the number of
    the background row in its place. A word that is replaced leaves its share of the text to that row's text.
    """
    if arguments.method != "shapley":
        what = f"level='part' needs method='shapley', got {arguments.method!r}"
        raise InputError(what, hint="Pass method='shapley'.", code="PG006")
    model, options = arguments.model, arguments.options
    parts = _Parts(model, arguments.inputs, arguments.background)
    kept = np.full((1, len(parts.names)), -1.0)
    donors = np.repeat(np.arange(float(len(parts.donors)))[:, None], len(parts.names), axis=1)
    own, background = (pd.DataFrame(numbers, columns=parts.names) for numbers in (kept, donors))
    if arguments.background is None:
        options = {"references": REFERENCES, **options}  # as many of the rows kept as at other levels
    form: dict[str, Any] = {"task": "regression"}
    if hasattr(model, "classes_"):
        form = {"output_kind": "logits", "class_names": [str(label) for label in model.classes_.tolist()]}
    given = {**vars(arguments), "model": parts, "inputs": own, "background": background, "scope": "local"}
    given |= {**options, **form, "level": "feature", "structure": "owen", "groups": parts.words}
    del given["options"]
    explanation = explain(**given)
    column_of = {word: name for name, words in parts.words.items() for word in words}
    return replace(
        explanation,
        level="part",
        modality=tuple(column_of.get(name, "table") for name in explanation.names),
        feature_values=parts.cells,
        meta={**explanation.meta, "by_input": {name: {"tokens": {"input": name}} for name in parts.words}},
    )


class _Scored:
    """A column with scores of one design, in rows, and what the model predicts with others."""

    def __init__(self, model: Any, X: Any, column: str, kind: str, output: str) -> None:
        self.encoder: Any = getattr(model, "preprocessor_", None)
        self.model, self.output = model, output
        if self.encoder is None or not hasattr(model, "predict_encoded"):
            problem = f"The model must be a fitted HyNNClassifier or HyNNRegressor, got {type(model).__name__}"
            raise InputError(problem, hint="Pass such a model.", code="PG031")
        if column not in self.encoder.feature_names_in_:
            raise unknown("column", column, self.encoder.feature_names_in_)
        scores = self.encoder.scores_.columns.get(column, ())
        designs = [(design, weights) for each, design, weights in scores if each == kind]
        if not designs or (kind == "words" and "words" not in designs[0][0].parts):
            raise InputError(f"The model reads no {kind} of {column!r}", hint="Name another column.", code="PG004")
        rows, self.design = model.encode_rows(X), designs[0]
        self.encoded, (self.texts, self.index) = rows.encoded, self.encoder.texts_of(rows.table, column)
        self.places = _score_places(self.encoder, column)
        self.outputs = [str(label) for label in model.classes_] if hasattr(model, "classes_") else ["prediction"]

    def predict(self, encoded: Floats32) -> Floats:
        return _outputs_of(self.model, encoded, self.output)

    def changed(self, rows: Integers, scores: Floats32) -> Floats32:
        encoded = self.encoded[rows]
        encoded[:, self.places] = scores
        return encoded

    def chosen_words(self) -> list[tuple[str, Integers]]:
        """Return the words and pairs that are looked at, each with the rows that it stands in."""
        design, weights = self.design
        entries = design.parts["words"][0]
        found = design.matrix(self.texts)[:, : len(entries)].tocsc()
        counts = np.bincount(self.index[self.index >= 0], minlength=len(self.texts)).astype(np.float64)
        strength = np.abs(weights[: len(entries)]) * (found.T @ counts)[:, None]
        strength[(found > 0).T @ counts < FEWEST_ROWS] = 0
        place = {entry: j for j, entry in enumerate(entries)}
        for pair in (entry for entry in entries if " " in entry):
            words = [place[word] for word in pair.split(" ") if word in place]
            strength[place[pair]] *= strength[place[pair]] > strength[words].max(axis=0, initial=0)
        first = np.argsort(-strength, axis=0, kind="stable")[: max(8, _MOST_WORDS // weights.shape[1])]
        chosen = [j for j in dict.fromkeys(first.ravel().tolist()) if strength[j].any()]
        return [(entries[j], np.flatnonzero(np.isin(self.index, found[:, j].nonzero()[0]))) for j in chosen]

    def frame(self, what: str, of: list[str], names: list[str], table: Floats, rows: list[int]) -> pd.DataFrame:
        """Return a table ``(entries, names, outputs)`` as a frame, by output and falling effect."""
        frames = [pd.DataFrame(table[:, :, k], columns=names).assign(rows=rows) for k in range(len(self.outputs))]
        for frame, name in zip(frames, self.outputs, strict=True):
            frame.insert(0, "output", name)
            frame.insert(0, what, of)
        sorted_ = [frame.sort_values("effect", ascending=False, kind="stable") for frame in frames]
        return pd.concat(sorted_, ignore_index=True)


class _Parts:
    """One row as a predictor of which of its words and features are its own, for ``explain_parts``."""

    def __init__(self, model: Any, X: Any, background: Any) -> None:
        encoder = getattr(model, "preprocessor_", None)
        if encoder is None or not encoder.scores_.columns or len(X) != 1:
            problem = "level='part' explains one row of a HyNNClassifier or HyNNRegressor that reads texts"
            raise InputError(problem, hint="Pass a single row, for example X[:1].", code="PG006")
        rows = model.encode_rows(X)
        self.model, self.encoder, self.own = model, encoder, rows.encoded
        self.donors = kept_rows(model) if background is None else model.encode_rows(background).encoded
        self.texts: dict[str, tuple[str, list[list[tuple[int, int]]]]] = {}
        self.words: dict[str, list[str]] = {}
        self.features, cells = {}, dict[str, Any]()
        free = [name for name in encoder.schema_.of_kind("text") if name in encoder.scores_.columns]
        for name, columns in encoder.features("feature").items():
            texts = encoder.texts_of(rows.table, name)[0] if name in free else []
            if spans := words_in(texts[0]) if texts else []:
                parts = [part.tolist() for part in np.array_split(np.array(spans), min(len(spans), _MOST_PARTS))]
                self.texts[name], self.words[name] = (texts[0], parts), [f"{name}[{k}]" for k in range(len(parts))]
                cells |= {f"{name}[{k}]": texts[0][part[0][0] : part[-1][1]] for k, part in enumerate(parts)}
            elif len(columns):
                self.features[name], cells[name] = columns, rows.table[name].iloc[0] if name in rows.table else None
        self.names, self.cells = list(cells), pd.DataFrame(cells, index=[0])

    def __call__(self, table: pd.DataFrame) -> Floats:
        """Return logits, or numbers, of rows made of own and other cells."""
        encoded = np.repeat(self.own, len(table), axis=0)
        for name, columns in self.features.items():
            donors = table[name].to_numpy(dtype=np.int64)
            taken = np.flatnonzero(donors >= 0)
            encoded[np.ix_(taken, columns)] = self.donors[np.ix_(donors[taken], columns)]
        for name, (text, parts) in self.texts.items():
            chosen, columns = table[self.words[name]].to_numpy(dtype=np.int64), self.encoder.columns_of(name)
            kept, place = np.unique(chosen < 0, axis=0, return_inverse=True)
            gone = [[span for k in np.flatnonzero(~one).tolist() for span in parts[k]] for one in kept]
            encoded[:, columns] *= (chosen < 0).mean(axis=1, keepdims=True)
            scores = self.encoder.scores_.of(name, [without(text, spans) for spans in gone])
            scores[~kept.any(axis=1)] = 0  # what is left of a text without words is nobody's
            encoded[:, _score_places(self.encoder, name)] = scores[place.ravel()]
            for donors in chosen.T:
                taken = np.flatnonzero(donors >= 0)
                encoded[np.ix_(taken, columns)] += self.donors[np.ix_(donors[taken], columns)] / len(parts)
        return _outputs_of(self.model, encoded, "logit")


def _score_places(encoder: Any, column: str) -> Integers:
    return np.array([at for at in encoder.columns_of(column) if encoder.kinds_[at] == "score"], dtype=np.int64)


def _outputs_of(model: Any, encoded: Floats32, output: str) -> Floats:
    """Return what explanations explain of encoded rows: logits or probabilities before calibration, or numbers."""
    outputs = model.predict_encoded(encoded)
    if not hasattr(model, "classes_"):
        return np.asarray(outputs, dtype=np.float64) * model.target_scale_ + model.target_mean_
    logits = class_logits(outputs)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits if output == "logit" else np.asarray(shares / shares.sum(axis=1, keepdims=True))
