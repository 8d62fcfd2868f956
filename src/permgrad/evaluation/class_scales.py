"""Classes that stand on a scale: whole numbers, numbers before words (``1 - bad``), and
words such as poor and fair.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from permgrad.base.sequences import positions_of, values_at

#: Words from one end to the other. Those of one place mean the same.
SCALES: tuple[tuple[str, ...], ...] = (
    (
        "terrible|awful|extremely bad|extremely poor",
        "very bad|very poor",
        "bad|poor",
        "fair|acceptable|mediocre|so so",
        "average|neutral|ok|okay|medium|moderate|satisfactory",
        "good",
        "very good",
        "excellent|outstanding|extremely good",
    ),
    (
        "never",
        "almost never|very rarely",
        "rarely|seldom|hardly ever",
        "sometimes|occasionally",
        "often|frequently",
        "usually|very often|mostly",
        "almost always|nearly always",
        "always",
    ),
    (
        "none|no|absent|zero",
        "minimal|very low|very mild",
        "low|mild|minor|slight",
        "medium|moderate|average|intermediate|normal",
        "high|severe|major|serious",
        "very high|very severe|critical",
        "extreme|extremely high",
    ),
    (
        "completely disagree|totally disagree|strongly disagree",
        "disagree",
        "somewhat disagree|slightly disagree",
        "neutral|undecided|neither agree nor disagree|neither",
        "somewhat agree|slightly agree",
        "agree",
        "completely agree|totally agree|strongly agree",
    ),
    (
        "very dissatisfied|very unsatisfied|completely dissatisfied",
        "dissatisfied|unsatisfied",
        "somewhat dissatisfied",
        "neutral|neither",
        "somewhat satisfied",
        "satisfied",
        "very satisfied|completely satisfied",
    ),
    (
        "very unlikely",
        "unlikely",
        "neutral|possible",
        "likely",
        "very likely",
        "certain",
    ),
    (
        "very small|tiny|xs",
        "small|s",
        "medium|m",
        "large|big|l",
        "very large|huge|xl",
        "xxl",
    ),
    ("very slow", "slow", "medium|moderate|normal", "fast", "very fast"),
    ("very easy", "easy", "medium|moderate|normal", "hard|difficult", "very hard"),
    (
        "very weak",
        "weak",
        "medium|moderate|average",
        "strong",
        "very strong",
    ),
)
#: A whole number, also as text. Codes have leading zeros.
_WHOLE = re.compile(r"-?(0|[1-9]\d*)(\.0)?")
#: A whole number before or in front of words, with a sign between them.
_NUMBERED = re.compile(
    r"[(\[]?(?P<number>0|[1-9]\d*)[)\]]?\s*[-–—:.=,)/]?\s+(?P<words>\D.*)"
)


def places_on_scale(labels: Sequence[Any]) -> tuple[list[int], bool] | None:
    """Return the place of each label among all, from 0, and whether words say so.

    None: they stand on no scale.

    Whole numbers, also before words, may be codes of names. Words of a scale are in its
    order.

    Examples:
        >>> places_on_scale(["good", "poor", "Excellent", "fair"])
        ([2, 0, 3, 1], True)
        >>> places_on_scale(["2 - south", "1 - north", "3 - east"])
        ([1, 0, 2], False)
        >>> places_on_scale(["red", "green", "blue"])
    """
    texts = [str(label).strip() for label in labels]
    number_matches = list(map(_NUMBERED.fullmatch, texts))
    if all(number_match is not None for number_match in number_matches):
        numbers = []
        for number_match in number_matches:
            if number_match is not None:
                numbers.append(int(number_match["number"]))
        words = []
        for number_match in number_matches:
            if number_match is not None:
                words.append(number_match["words"])
        by_words = _on_words(words)
        by_numbers = _ranked(numbers)
        if by_numbers is None:
            return None
        # Words that run against the numbers are no reason to trust either.
        agree = by_words in (by_numbers, _reversed(by_numbers))
        return by_numbers, by_words is not None and agree
    if all(map(_WHOLE.fullmatch, texts)):
        by_numbers = _ranked(list(map(float, texts)))
        if by_numbers is None:
            return None
        return (by_numbers, False)
    by_words = _on_words(texts)
    if by_words is None:
        return None
    return (by_words, True)


def _on_words(words: Sequence[str]) -> list[int] | None:
    """Return the places of words on the first scale that has all of them, each at a
    place of its own.
    """
    plain = list(map(_plain, words))
    for scale in SCALES:
        rank_of_word = {}
        for word_rank, same in enumerate(scale):
            for word in same.split("|"):
                rank_of_word[word] = word_rank
        if all(word in rank_of_word for word in plain):
            ranks = _ranked(values_at(rank_of_word, plain))
            if ranks is not None:
                return ranks
    return None


def _plain(word: str) -> str:
    """Return words in small letters, with single blanks between them."""
    text = unicodedata.normalize("NFKC", word).casefold()
    return " ".join(re.sub(r"[-_./]", " ", text).split())


def _ranked(values: Sequence[float]) -> list[int] | None:
    """Return the rank of each value. None: two are equal."""
    order = positions_of(sorted(set(values)))
    if len(order) == len(values):
        return values_at(order, values)
    return None


def _reversed(ranks: Sequence[int]) -> list[int]:
    return [len(ranks) - 1 - rank for rank in ranks]
