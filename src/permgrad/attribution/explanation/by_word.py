"""What a word does wherever it stands, over all rows of a local explanation.

A value compares a word with those that other rows have in its place. So where one word
decides, all others have values, too: they are not that word. The effect of a word is
therefore by how much its values exceed those of ordinary words in the same rows, after
what places add. Ordinary are the words that are not shown to differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from permgrad.attribution.explanation.numbers import Numbers
from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError
from permgrad.base.late import pd
from permgrad.base.sequences import positions_of, values_at
from permgrad.base.significance import LEVEL, holm

#: Rows that a word stands in at least.
FEWEST_ROWS = 10
#: Rounds in which levels of rows and places, and then ordinary words, settle.
_ROUNDS = 10
#: Smaller differences, as shares of the largest value, are errors of rounding.
_ROUNDED = 1e-6


class _WordPairs(NamedTuple):
    """Each word in each row, once, sorted by words.

    Attributes:
        codes: Its word, ``(pairs,)``.
        rows: Its row, ``(pairs,)``.
        pair_of: Which of them each occurrence is, ``(occurrences,)``.
    """

    codes: Integers
    rows: Integers
    pair_of: Integers


@dataclass(frozen=True)
class _Occurrences:
    """Where words stand: for each occurrence its row, player and number of its word."""

    rows: Integers
    players: Integers
    codes: Integers
    words: list[str]

    @cached_property
    def pairs(self) -> _WordPairs:
        """The word and the row of each word in each row, by words, and which of them
        each occurrence is.
        """
        count = int(self.rows.max(initial=0)) + 1
        keys = self.codes * count + self.rows
        distinct, pair_of = np.unique(keys, return_inverse=True)
        pair_codes, pair_rows = np.divmod(distinct, count)
        return _WordPairs(pair_codes, pair_rows, pair_of)


def token_players(explanation: Numbers) -> dict[str, list[int]]:
    """Return the positions of the features that are tokens or words, by input."""
    frame = explanation.feature_values
    if frame is None:
        return {}
    players_by_input = {}
    for input_name in _inputs_of_tokens(explanation):
        players = []
        for player, name in enumerate(explanation.names):
            belongs = input_name in explanation.modality[player].split("+")
            if belongs and name in frame:
                players.append(player)
        if players:
            players_by_input[input_name] = players
    return players_by_input


def _inputs_of_tokens(explanation: Numbers) -> list[str]:
    """Return the inputs whose features are tokens or words."""
    metas = [explanation.meta, *(explanation.meta.get("by_input") or {}).values()]
    inputs = []
    for input_meta in metas:
        if isinstance(input_meta.get("tokens"), Mapping):
            inputs.append(str(input_meta["tokens"]["input"]))
    return inputs


def words_frame(explanation: Numbers) -> pd.DataFrame:
    """Return the frame of ``Explanation.by_word``."""
    _check_words(explanation)
    occurrences = _occurrences(explanation)
    counts = np.bincount(occurrences.pairs[0], minlength=len(occurrences.words))
    looked_at = np.flatnonzero(counts >= FEWEST_ROWS)
    frames = []
    for output_index, output_name in enumerate(explanation.outputs):
        output_values = np.asarray(explanation.values[..., output_index], np.float64)
        values = output_values[occurrences.rows, occurrences.players]
        numbers = _against_ordinary(occurrences, values, looked_at, explanation.meta)
        words = values_at(occurrences.words, looked_at)
        facts: dict[str, Any] = {"word": words, "output": output_name, **numbers}
        frame = pd.DataFrame({**facts, "rows": counts[looked_at]})
        frames.append(frame.iloc[np.argsort(-frame["effect"].abs(), kind="stable")])
    return pd.concat(frames, ignore_index=True)


def _check_words(explanation: Numbers) -> None:
    """Refuse explanations that have no value for a word of a row."""
    if _inputs_of_tokens(explanation) and not explanation.scope.by_row:
        problem = "by_word needs the values of single rows, and these are of all rows"
        hint = "Explain with scope='local'."
        raise InputError(problem, hint=hint, code="PG004")
    if not token_players(explanation):
        problem = "by_word needs features that are words, and these are none"
        hint = "Explain a network of token ids or texts without groups=."
        raise InputError(problem, hint=hint, code="PG004")


def _occurrences(explanation: Numbers) -> _Occurrences:
    """Return all words of all rows. Padding and special tokens are none."""
    frame = explanation.feature_values
    assert frame is not None
    rows: list[int] = []
    players: list[int] = []
    texts: list[str] = []
    for player in chain.from_iterable(token_players(explanation).values()):
        for row, cell in enumerate(frame[explanation.names[player]].tolist()):
            if isinstance(cell, str):
                rows.append(row)
                players.append(player)
                texts.append(cell)
    words = list(dict.fromkeys(texts))
    code_of = positions_of(words)
    codes = np.array(values_at(code_of, texts), dtype=np.int64)
    token_positions = np.array(players, dtype=np.int64)
    return _Occurrences(np.array(rows, dtype=np.int64), token_positions, codes, words)


def _against_ordinary(
    occurrences: _Occurrences,
    values: Floats,
    looked_at: Integers,
    facts: Mapping[str, Any],
) -> dict[str, Floats]:
    """Return effects of the words ``looked_at`` with their intervals and p-values.

    Ordinary words are at first the half whose mean value is nearest the middle one, and
    then those that are not shown to differ from the ordinary ones.
    """
    sums = np.bincount(occurrences.codes, values, len(occurrences.words))
    counts = np.bincount(occurrences.codes, minlength=len(occurrences.words))
    means = sums / counts
    distance = np.abs(means - np.median(np.repeat(means, counts)))
    is_ordinary = distance <= np.median(distance)
    numbers: dict[str, Floats] = {}
    for _ in range(_ROUNDS):
        differences = _differences(occurrences, values, is_ordinary)
        numbers = _tested(occurrences, differences, is_ordinary, looked_at, facts)
        previous = is_ordinary
        is_ordinary = np.ones(len(occurrences.words), dtype=bool)
        is_ordinary[looked_at] = ~(numbers["p_adjusted"] < LEVEL)
        if np.array_equal(previous, is_ordinary) or not is_ordinary.any():
            break
    return numbers


def _differences(
    occurrences: _Occurrences, values: Floats, is_ordinary: Booleans
) -> Floats:
    """Return values less those of the other ordinary words in the same row.

    What rows and places add is estimated from ordinary words, in turns. Where there are
    none, it is 0.
    """
    rows = occurrences.rows
    token_positions = occurrences.players
    shared = is_ordinary[occurrences.codes].astype(np.float64)
    by_row = np.zeros_like(values)
    by_place = np.zeros_like(values)
    for _ in range(_ROUNDS):
        by_place = _mean_level(values - by_row, shared, token_positions)
        by_row = _mean_level(values - by_place, shared, rows)
    # A word that is ordinary would be compared with itself, too.
    pair_of = occurrences.pairs[2]
    left = values - by_place
    sums = np.bincount(rows, shared * left)[rows]
    sums -= np.bincount(pair_of, shared * left)[pair_of]
    weights = np.bincount(rows, shared)[rows]
    weights -= np.bincount(pair_of, shared)[pair_of]
    differences = left - sums / np.maximum(weights, 1)
    rounded = _ROUNDED * np.abs(values).max(initial=0.0)
    return np.where(np.abs(differences) <= rounded, 0.0, differences)


def _mean_level(values: Floats, shared: Floats, owners: Integers) -> Floats:
    """Return for each occurrence the mean of the shared values of its owner."""
    weights = np.bincount(owners, shared)
    means = np.bincount(owners, shared * values) / np.maximum(weights, 1)
    return np.asarray(means[owners])


def _tested(
    occurrences: _Occurrences,
    differences: Floats,
    is_ordinary: Booleans,
    looked_at: Integers,
    facts: Mapping[str, Any],
) -> dict[str, Floats]:
    """Return the means over rows of the words ``looked_at``, tested.

    Few rows may be alike by chance, so that the spread of a word is at least that of
    ordinary words.
    """
    pair_codes, pair_rows, pair_of = occurrences.pairs
    by_row: Floats = np.bincount(pair_of, differences).astype(np.float64)
    ordinary = by_row[is_ordinary[pair_codes]]
    least_variance = (ordinary**2).sum() / max(len(ordinary), 1)
    row_weights = facts.get("sample_weight")
    if row_weights is None:
        row_weights = np.ones(len(by_row))
    row_units = Dependence.of_rows(facts)
    confidence = float(facts.get("confidence", 0.95))
    tests = np.full((5, len(looked_at)), np.nan)
    for position, code in enumerate(looked_at):
        first, last = np.searchsorted(pair_codes, [code, code + 1]).tolist()
        pairs = slice(first, last)
        rows = pair_rows[pairs]
        weights = np.asarray(row_weights, dtype=np.float64)[rows]
        shares = weights / max(float(weights.sum()), 1e-300)
        units = None
        if row_units is not None:
            units = row_units.take(rows)
            shares = units.sums(shares[None])[0]
        mean, error, size = mean_over_rows(by_row[pairs][:, None], weights, units)
        error = np.maximum(error, np.sqrt(least_variance * (shares**2).sum()))
        ends_and_p = interval(mean, error, size, confidence)
        tests[:, position] = [mean[0], error[0], *(end[0] for end in ends_and_p)]
    names = ("effect", "std_error", "ci_low", "ci_high", "p_value")
    numbers = dict(zip(names, tests, strict=True))
    return {**numbers, "p_adjusted": holm(numbers["p_value"])}
