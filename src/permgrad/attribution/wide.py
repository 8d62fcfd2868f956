"""What single words of a text, and single levels of a category of many levels, do to predictions.

Such columns reach a network as scores (``data/encode/scores.py``). A word is taken out of its text, the text is scored
again, and the network predicts. Outputs are those that other explanations explain: before calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.attribution.method.shapley.method import REFERENCES
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.related import read_units, with_columns
from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_choice, check_confidence
from permgrad.base.errors import InputError, unknown
from permgrad.base.random import generator, resolve_seed
from permgrad.base.significance import NORMAL_95, adjusted
from permgrad.data.encode.designs import Levels, Words, without, words_in
from permgrad.data.encode.encoding import TableEncoder
from permgrad.models.estimators.calibration import class_logits
from permgrad.models.estimators.kept_rows import kept_rows

#: Rows that a word stands in at least, and of which at most its effect is the mean. Words and pairs for each output.
FEWEST_ROWS, _MOST_ROWS, _MOST_WORDS, _LEAST_WORDS = 10, 200, 40, 8
#: Levels whose effects are looked at, rows in which they are set, and how many show how far levels differ.
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

    Each word is taken out of every cell that has it (of 200 drawn rows, if there are more). Everything else stays as
    it is. Words are looked at that stand in at least 10 rows and weigh most in the linear model that scores the column,
    and pairs that weigh more than both of their words. That model was fitted on training rows, so that p-values of
    other rows are valid.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor`` whose training rows had the text.
        X: rows that it was not fitted on, ``(rows, columns)``.
        column: the text column.
        output: ``"probability"`` or ``"logit"`` of a classifier, before calibration (regression: y's units).
        row_groups: rows that depend on each other, as in ``pg.explain``.
        row_time: the same in time.
        confidence: confidence level of the intervals.
        random_state: seed of the rows drawn.

    Returns:
        ``word, output, effect, std_error, ci_low, ci_high, p_value, p_adjusted, rows``: a line for each word and
        output, by output and falling effect. ``p_adjusted`` is Holm's for all words, each output separately.

    Raises:
        InputError: the model has no scores of words of that column, or an argument cannot be used.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> words = np.array(["red", "blue", "old", "new", "big", "fast", "slow", "cheap"])
        >>> drawn = np.array([" ".join(rng.permutation(words)[:4]) + f" item {i}" for i in range(400)])
        >>> X = pd.DataFrame({"text": drawn, "size": rng.normal(size=400)})
        >>> y = 2.0 * X["text"].str.contains("red") + X["size"]
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=5, random_state=0).fit(X[:300], y[:300])
        >>> pg.word_effects(model, X[300:], "text", random_state=0)["word"].iloc[0]
        'red'
    """
    check_choice("output", output, ("logit", "probability"))
    check_confidence(confidence)
    read = with_columns(Arguments(model=model, inputs=X, row_groups=row_groups, row_time=row_time))
    scored = _Scored(model, read.inputs, column, output)
    units = read_units(read, len(scored.encoded))
    design = next((one for one in scored.designs if isinstance(one[0], Words) and "words" in one[0].parts), None)
    if design is None:
        raise InputError(f"{column!r} has no words that the model reads", hint="Name a text column.", code="PG004")
    texts, index = scored.texts, scored.index
    entries, weights = design[0].parts["words"][0], design[1]
    found = design[0].matrix(texts)[:, : len(entries)].tocsc()
    counts = np.bincount(index[index >= 0], minlength=len(texts)).astype(np.float64)
    often = (found > 0).T @ counts
    strength = np.abs(weights[: len(entries)]) * (found.T @ counts)[:, None]
    strength[often < FEWEST_ROWS] = 0
    place = {entry: j for j, entry in enumerate(entries)}
    for pair in [entry for entry in entries if " " in entry]:
        words = [place[word] for word in pair.split(" ") if word in place]
        strength[place[pair]] *= strength[place[pair]] > strength[words].max(axis=0, initial=0)
    most = max(_LEAST_WORDS, _MOST_WORDS // weights.shape[1])
    first = np.argsort(-strength, axis=0, kind="stable")[:most]
    chosen = [int(j) for j in dict.fromkeys(first.ravel().tolist()) if strength[j].any()]
    seed, lines = resolve_seed(random_state), []
    effects = []
    for j in chosen:
        rows = np.flatnonzero(np.isin(index, found[:, j].nonzero()[0]))
        draw = generator(seed, f"rows of {entries[j]}").permutation(len(rows))[:_MOST_ROWS]
        places = rows[np.sort(draw)]
        less = {at: without(texts[at], _spans(texts[at], entries[j])) for at in np.unique(index[places]).tolist()}
        changes = scored.changes(places, [less[at] for at in index[places].tolist()])
        mean, std, size = mean_over_rows(changes, units=None if units is None else units.take(places))
        low, high, p_values = interval(mean, std, size, confidence)
        effects.append((mean, std, low, high, p_values))
        lines.append((entries[j], len(rows)))
    names = ["effect", "std_error", "ci_low", "ci_high", "p_value"]
    table = np.array(effects).reshape(len(chosen), len(names), len(scored.outputs))
    corrected = adjusted(table[:, 4])
    frames = []
    for k, name in enumerate(scored.outputs):
        frame = pd.DataFrame({"word": [word for word, _ in lines], "output": name})
        frame[names] = table[:, :, k]
        frame["p_adjusted"], frame["rows"] = corrected[:, k], [rows for _, rows in lines]
        frames.append(frame.sort_values("effect", ascending=False, kind="stable"))
    return pd.concat(frames, ignore_index=True)


def level_effects(
    model: Any, X: Any, y: npt.ArrayLike | None, column: str, *, random_state: Any = None
) -> pd.DataFrame:
    """Return what levels of a category do: the mean output with a level minus that with a level never seen.

    The level is set in a few rows of ``X``, everything else stays. As in a mixed model, a level's true effect is taken
    to vary with the variance ``t²`` around its estimate from ``n`` training rows, which leaves ``s² / (n + s² / t²)``,
    ``s²`` being the variance of the outcome in ``X`` given the prediction. ``t²`` follows from the effects.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``.
        X: rows that it was not fitted on.
        y: their targets, for regression.
        column: a column with scores of levels.
        random_state: seed of the rows drawn.

    Returns:
        ``level, output, effect, ci_low, ci_high, rows`` of the levels whose scores are largest, by output and falling
        effect. Probabilities are those before calibration. ``rows`` are training rows. ``attrs`` has ``scored``, those
        with an effect of their own, and ``pooled``, those seen once. Intervals are at 95 %.

    Raises:
        InputError: the column has no scores of levels.
    """
    scored = _Scored(model, X, column, "probability")
    design = next((one for one in scored.designs if isinstance(one[0], Levels)), None)
    if design is None:
        raise InputError(f"{column!r} has no levels with scores", hint="Name a category of many levels.", code="PG004")
    levels, weights = design
    count, outputs = len(levels.entries), weights.shape[1]
    shown = np.arange(count)
    if count > _MOST_LEVELS:
        # Those with the largest scores either way, and others along the number of rows.
        order, each = np.argsort(weights, axis=0, kind="stable"), max(_MOST_LEVELS // (4 * outputs), 8)
        along = np.linspace(0, count - 1, _MOST_LEVELS // 2).astype(np.int64)
        shown = np.unique(np.concatenate([order[:each].ravel(), order[-each:].ravel(), along]))
    size = min(_LEVEL_ROWS, len(scored.encoded))
    rows = np.sort(generator(resolve_seed(random_state), "rows of levels").permutation(len(scored.encoded))[:size])
    base = scored.predict(scored.with_scores(rows, np.zeros((size, len(scored.places)))))
    scores = model.preprocessor_.scores_.of(column, [levels.entries[at] for at in shown.tolist()])
    moved = scored.predict(scored.with_scores(np.tile(rows, len(shown)), np.repeat(scores, size, axis=0)))
    effects = (moved.reshape(len(shown), size, -1) - base).mean(axis=1)
    whole = scored.predict(scored.encoded)
    spread = (whole * (1 - whole)).mean(axis=0)
    if model.task == "regression":
        spread = np.mean((np.asarray(y, dtype=np.float64)[:, None] - whole) ** 2, axis=0)
    seen = np.array(levels.counts, dtype=np.float64)[shown]
    frames = []
    for k, name in enumerate(scored.outputs):
        half = NORMAL_95 * np.sqrt(_left_over(effects[:, k], seen, float(spread[k])))
        frame = pd.DataFrame({"level": [levels.entries[at] for at in shown.tolist()], "output": name})
        frame["effect"], frame["ci_low"], frame["ci_high"] = effects[:, k], effects[:, k] - half, effects[:, k] + half
        frame["rows"] = seen.astype(np.int64)
        frames.append(frame.sort_values("effect", ascending=False, kind="stable"))
    result = pd.concat(frames, ignore_index=True)
    result.attrs = {"scored": count, "pooled": levels.pooled}
    return result


def _left_over(effects: Floats, rows: Floats, noise: float) -> Floats:
    """Return the variances that shrunken estimates of levels leave, by the EM algorithm (Laird & Ware 1982)."""
    between = max(float(effects.var()), 1e-300)
    for _ in range(200):
        left = noise / (rows + noise / between)
        between = float(effects.var() + left.mean())
    return noise / (rows + noise / between)


def explain_parts(arguments: Arguments) -> Explanation:
    """Explain one row whose players are the words of its texts beside its other features: ``level="part"``.

    The predictor of the row takes a table of numbers: −1 keeps the row's own word or cell, else it is the number of
    the background row in its place. A word that is replaced leaves its share of the text to that row's text.
    """
    if arguments.method != "shapley":
        what = f"level='part' needs method='shapley', got {arguments.method!r}"
        raise InputError(what, hint="Pass method='shapley'.", code="PG006")
    parts = _Parts(arguments.model, arguments.inputs, arguments.background)
    own, background = (pd.DataFrame(numbers, columns=parts.names, dtype=np.float64) for numbers in parts.rows())
    given = {**vars(arguments), **arguments.options, "model": parts, "inputs": own, "background": background}
    del given["options"]
    if arguments.background is None and given.get("references") is None:
        given["references"] = REFERENCES  # as many of those kept as at other levels
    classes = getattr(arguments.model, "classes_", None)
    form = {"task": "regression"} if classes is None else {"output_kind": "logits", "class_names": [*map(str, classes)]}
    structure = {"structure": "owen", "groups": {name: of for name, of in parts.words.items() if of}}
    explanation = explain(**{**given, "scope": "local", "level": "feature", **structure, **form})
    column_of = {word: name for name, words in parts.words.items() for word in words}
    texts = {name: {"tokens": {"input": name}} for name in parts.words}
    return replace(
        explanation,
        level="part",
        modality=tuple(column_of.get(name, "table") for name in explanation.names),
        feature_values=parts.cells,
        meta={**explanation.meta, "by_input": texts},
    )


class _Scored:
    """The scores of a column in rows, and what the model predicts with others."""

    def __init__(self, model: Any, X: Any, column: str, output: str = "logit") -> None:
        encoder = getattr(model, "preprocessor_", None)
        if not isinstance(encoder, TableEncoder) or not hasattr(model, "predict_encoded"):
            problem = f"The model must be a fitted HyNNClassifier or HyNNRegressor, got {type(model).__name__}"
            raise InputError(problem, hint="Pass such a model.", code="PG031")
        if column not in encoder.feature_names_in_:
            raise unknown("column", column, encoder.feature_names_in_)
        rows = model.encode_rows(X)
        self.model, self.output, self.encoded = model, output, rows.encoded
        self.designs = [(design, weights) for _, design, weights in encoder.scores_.columns.get(column, ())]
        places = encoder.columns_of(column)
        self.places = places[[encoder.kinds_[place] == "score" for place in places.tolist()]]
        self.texts, self.index = encoder.texts_of(rows.table, column)
        self.of = lambda texts: encoder.scores_.of(column, texts)
        self.outputs = [str(label) for label in model.classes_] if hasattr(model, "classes_") else ["prediction"]

    def predict(self, encoded: Floats) -> Floats:
        return outputs_of(self.model, encoded, self.output)

    def with_scores(self, rows: Integers, scores: Floats) -> Floats:
        """Return encoded rows with other scores of the column."""
        changed = self.encoded[rows]
        changed[:, self.places] = scores
        return changed

    def changes(self, rows: Integers, texts: Sequence[str]) -> Floats:
        """Return by how much the outputs of rows are larger than with other texts ``(rows, outputs)``."""
        return self.predict(self.encoded[rows]) - self.predict(self.with_scores(rows, self.of(texts)))


def outputs_of(model: Any, encoded: Floats, output: str) -> Floats:
    """Return what explanations explain of encoded rows: logits or probabilities before calibration, or numbers."""
    outputs = model.predict_encoded(encoded)
    if not hasattr(model, "classes_"):
        return np.asarray(outputs, dtype=np.float64) * model.target_scale_ + model.target_mean_
    logits = class_logits(outputs)
    if output == "logit":
        return logits
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _spans(text: str, entry: str) -> list[tuple[int, int]]:
    """Return where a word, or a pair, stands in a text."""
    spans, wanted = words_in(text), entry.split(" ")
    words, found, at = [text[begin:end].lower() for begin, end in spans], list[tuple[int, int]](), 0
    while at + len(wanted) <= len(words):
        hit = words[at : at + len(wanted)] == wanted
        if hit:
            found.append((spans[at][0], spans[at + len(wanted) - 1][1]))
        at += len(wanted) if hit else 1
    return found


class _Parts:
    """One row as a predictor of which of its words and features are its own, for ``explain_parts``."""

    def __init__(self, model: Any, X: Any, background: Any) -> None:
        encoder = getattr(model, "preprocessor_", None)
        if not isinstance(encoder, TableEncoder) or not encoder.scores_.columns or len(X) != 1:
            raise InputError(
                "level='part' explains one row of a HyNNClassifier or HyNNRegressor that reads texts",
                hint="Pass a single row, for example X[:1].",
                code="PG006",
            )
        rows = model.encode_rows(X)
        self.model, self.encoder, self.own = model, encoder, rows.encoded
        donors = kept_rows(model) if background is None else model.encode_rows(background).encoded
        self.donors = np.asarray(donors, dtype=np.float32)
        self.texts: dict[str, tuple[str, list[list[tuple[int, int]]]]] = {}
        self.features: dict[str, Integers] = {}
        self.words: dict[str, list[str]] = {}
        cells: dict[str, list[Any]] = {}
        free = [name for name in encoder.schema_.of_kind("text") if name in encoder.scores_.columns]
        for name, columns in encoder.features("feature").items():
            if not len(columns):
                continue
            texts = encoder.texts_of(rows.table, name)[0] if name in free else []
            spans = words_in(texts[0]) if texts else []
            if not spans:
                self.features[name], cells[name] = columns, [rows.table[name].iloc[0] if name in rows.table else None]
                continue
            parts = [
                spans[part[0] : part[-1] + 1]
                for part in np.array_split(np.arange(len(spans)), _MOST_PARTS)
                if len(part)
            ]
            self.texts[name] = texts[0], parts
            self.words[name] = [f"{name}[{k}]" for k in range(len(parts))]
            for word, part in zip(self.words[name], parts, strict=True):
                cells[word] = [texts[0][part[0][0] : part[-1][1]]]
        self.names, self.cells = list(cells), pd.DataFrame(cells)

    def rows(self) -> tuple[Floats, Floats]:
        """Return the row, and the background, in numbers."""
        count = len(self.names)
        return np.full((1, count), -1.0), np.repeat(
            np.arange(len(self.donors), dtype=np.float64)[:, None], count, axis=1
        )

    def __call__(self, table: pd.DataFrame) -> Floats:
        """Return logits, or numbers, of rows made of own and other cells."""
        numbers = {name: table[name].to_numpy(dtype=np.int64) for name in self.names}
        encoded = np.repeat(self.own, len(table), axis=0)
        for name, columns in self.features.items():
            taken = np.flatnonzero(numbers[name] >= 0)
            encoded[np.ix_(taken, columns)] = self.donors[np.ix_(numbers[name][taken], columns)]
        for name, (text, parts) in self.texts.items():
            columns = self.encoder.columns_of(name)
            chosen = np.stack([numbers[word] for word in self.words[name]], axis=1)
            kept, place = np.unique(chosen < 0, axis=0, return_inverse=True)
            gone = [[span for k in np.flatnonzero(~one).tolist() for span in parts[k]] for one in kept]
            scores = self.encoder.scores_.of(name, [without(text, spans) for spans in gone])
            mixed = self.own[:, columns] * kept.mean(axis=1)[place.ravel(), None]
            mixed[:, [self.encoder.kinds_[column] == "score" for column in columns.tolist()]] = scores[place.ravel()]
            for donors in chosen.T:
                taken = np.flatnonzero(donors >= 0)
                mixed[taken] += self.donors[np.ix_(donors[taken], columns)] / len(parts)
            encoded[:, columns] = mixed
        return outputs_of(self.model, encoded, "logit")
