"""Words of messages: values, counts and names as they are shown, whatever they are."""

from __future__ import annotations

import pytest

from permgrad.base import errors
from permgrad.base.errors import SYNONYMS


def test_values_are_shown_whatever_they_are():
    assert errors.shown("no such") == "'no such'"
    assert errors.shown(10**5000) == "a value of type int"
    assert len(errors.shown(list(range(1000)))) == 200
    assert [errors.text_of(value) for value in (3, "a", 10**5000)] == [
        "3",
        "a",
        "a value of type int",
    ]
    assert errors.error_in_words(KeyError("age")) == "KeyError: 'age'"
    assert errors.error_in_words(ValueError()) == "ValueError"


def test_names_and_counts():
    assert (
        errors.did_you_mean("gradcan", ["gradcam", "lime"]) == "Did you mean 'gradcam'?"
    )
    assert errors.did_you_mean("AGE", ["sex", "Age"]) == "Did you mean 'Age'?"
    assert errors.did_you_mean("b", ["a"], "Choose one.") == "Choose one."
    expected = "No method 'gradcan'. Did you mean 'gradcam'? [PG003]"
    assert str(errors.unknown("method", "gradcan", ["gradcam", "lime"])) == expected
    assert errors.listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert errors.listed(["a"], 2, repr) == "'a'"
    assert [errors.counted(1, "part"), errors.counted(12000, "row")] == [
        "1 part",
        "12,000 rows",
    ]
    assert [errors.by_count(count, "it is", "they are") for count in (1, 0)] == [
        "it is",
        "they are",
    ]


def test_memory_that_did_not_suffice_is_known_by_type_or_words():
    words = "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."
    assert errors.is_out_of_memory(MemoryError())
    assert errors.is_out_of_memory(RuntimeError(words))
    assert not errors.is_out_of_memory(RuntimeError("shapes do not fit"))


def test_warnings_are_collected():
    with errors.keeping_warnings() as collected:
        errors.warn_user("mind the gap")
    assert collected == ["mind the gap"]


@pytest.mark.parametrize(
    ("kind", "wanted", "choices", "near"),
    [
        ("method", "TreeSHAP", ["permutation", "shapley"], "shapley"),
        ("method", "saliency", ["gradient", "gradcam"], "gradient"),
        ("loss", "log_loss", ["cross_entropy", "brier"], "cross_entropy"),
        ("--model", "lgbm", ["lightgbm", "xgboost"], "lightgbm"),
        ("scoring", "auc", ["accuracy", "roc_auc"], "roc_auc"),
    ],
)
def test_the_fields_other_names_lead_to_ours(kind, wanted, choices, near):
    message = str(errors.unknown(kind, wanted, choices))
    assert f"{wanted!r}. Did you mean {near!r}?" in message
    assert choices[1 - choices.index(near)] not in message, (
        "where a name is near, the others are not listed"
    )
    assert errors.synonym(wanted, ["other"]) is None


def test_every_synonym_is_one_word_that_is_no_name_of_ours():
    assert all(name.isalnum() and name == name.casefold() for name in SYNONYMS)
    assert len(SYNONYMS) >= 25


# ---- three ways to refuse ------------------------------------------------------------
def test_the_first_fault_of_a_list_is_refused():
    @errors.refusing
    def check(rows, *, least):
        if not rows:
            yield "X has no rows", "Pass some.", "PG013"
        if len(rows) < least:
            yield f"X has {len(rows)} rows", "Pass more.", "PG013"

    check([1, 2], least=2)
    for rows, words in (
        ([], "X has no rows. Pass some."),
        ([1], "X has 1 rows. Pass more."),
    ):
        with pytest.raises(errors.InputError) as raised:
            check(rows, least=2)
        assert (raised.value.message, raised.value.code) == (words, "PG013")


@pytest.mark.parametrize(
    ("met", "options", "raised"),
    [
        (KeyError("a"), {}, "it raised KeyError: 'a'"),
        (errors.EnvironmentProblem("the disk is full"), {}, "the disk is full"),
        (MemoryError("too little"), {}, "it raised MemoryError: too little"),
        (MemoryError("too little"), {"memory": True}, "too little"),
    ],
)
def test_what_others_raise_is_turned_into_ours(met, options, raised):
    turned_errors = errors.turned(
        lambda error: errors.InputError(f"it raised {errors.error_in_words(error)}"),
        **options,
    )
    with pytest.raises(Exception) as caught, turned_errors:  # noqa: PT011 — each case names its words
        raise met
    assert str(caught.value).rstrip(".") == raised
    is_ours = isinstance(caught.value, errors.InputError)
    assert caught.value.__cause__ is (met if is_ours else None)


def test_other_kinds_pass_as_they_are():
    with (
        pytest.raises(ZeroDivisionError),
        errors.turned(lambda _: errors.InputError("no"), KeyError, ValueError),
    ):
        _ = 1 / 0


def test_what_must_hold_of_a_file():
    errors.must([1], "it is empty")
    with pytest.raises(ValueError, match="it is empty"):
        errors.must([], "it is empty")
