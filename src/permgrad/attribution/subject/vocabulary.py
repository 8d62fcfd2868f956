"""The words that a user's vocabulary has for ids, where a loader gives ids alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from permgrad.attribution.subject.word_tokens import Integers
from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, shown

Write = Callable[[Integers], list[str]]


def writer_by(vocabulary: Any) -> Write | None:
    """Return what writes ids in the words of ``vocabulary=``, None without one.

    A vocabulary is a function from a list of ids, or from one id, to words, a list of
    all words, or a dict of ids and words in either direction.
    """
    if vocabulary is None:
        return None
    if isinstance(vocabulary, Mapping):
        return _writer_of_dict(vocabulary)
    if isinstance(vocabulary, Sequence) and not isinstance(vocabulary, str):
        return _writer_of_dict(dict(enumerate(vocabulary)))
    if callable(vocabulary):
        return lambda ids: _called(vocabulary, ids)
    problem = (
        "vocabulary must be a function from ids to words, a list of words or a dict, "
        f"got {shown(vocabulary)}"
    )
    hint = "Pass for example tokenizer.convert_ids_to_tokens"
    raise InputError(problem, hint=hint, code="PG001")


def speller_of(tokenizer: Any, vocabulary: Any) -> Any:
    """Return who says which ids are special: the tokenizer, or that whose method the
    vocabulary is. None without either.
    """
    if tokenizer is None:
        return getattr(vocabulary, "__self__", None)
    return tokenizer


def _writer_of_dict(vocabulary: Mapping[Any, Any]) -> Write:
    """Return what looks ids up. An id without a word is its own word."""
    word_of = {}
    for key, value in vocabulary.items():
        if is_whole(key):
            word_of[int(key)] = str(value)
        elif is_whole(value):
            word_of[int(value)] = str(key)
    return lambda ids: [word_of.get(token_id, str(token_id)) for token_id in ids]


def _called(vocabulary: Callable[[Any], Any], ids: Integers) -> list[str]:
    """Return the words of a function of a list of ids, else of each id."""
    try:
        returned = vocabulary(ids)
    except Exception as error:  # noqa: BLE001 — a function of the user's, of one id
        try:
            returned = list(map(vocabulary, ids))
        except Exception:  # noqa: BLE001 — the first error says what is wrong
            problem = f"vocabulary= failed: {type(error).__name__}: {error}"
            hint = "Pass a function from a list of ids to their words"
            raise InputError(problem, hint=hint, code="PG001") from error
    if isinstance(returned, str) or not hasattr(returned, "__len__"):
        raise _no_words(f"got {type(returned).__name__}")
    if len(returned) != len(ids):
        raise _no_words(f"got {len(returned):,} for {len(ids):,} ids")
    words = []
    for token_id, word in zip(ids, returned, strict=True):
        if word is None:
            words.append(str(token_id))
        else:
            words.append(str(word))
    return words


def _no_words(reason: str) -> InputError:
    problem = f"vocabulary= must return a word for each id of a list, {reason}"
    hint = "Pass a function from a list of ids to their words"
    return InputError(problem, hint=hint, code="PG001")
