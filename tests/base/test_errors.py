"""Words of messages: values, counts and names as they are shown, whatever they are."""

from __future__ import annotations

import pytest

from permgrad.base import errors
from permgrad.base.errors import SYNONYMS


def test_values_are_shown_whatever_they_are():
    assert errors.shown("no such") == "'no such'"
    assert errors.shown(10**5000) == "a value of type int"
    assert len(errors.shown(list(range(1000)))) == 200
    assert [errors.text_of(value) for value in (3, "a", 10**5000)] == ["3", "a", "a value of type int"]
    assert errors.error_in_words(KeyError("age")) == "KeyError: 'age'"
    assert errors.error_in_words(ValueError()) == "ValueError"


def test_names_and_counts():
    assert errors.did_you_mean("gradcan", ["gradcam", "lime"]) == "Did you mean 'gradcam'?"
    assert errors.did_you_mean("AGE", ["sex", "Age"]) == "Did you mean 'Age'?"
    assert errors.did_you_mean("b", ["a"], "Choose one.") == "Choose one."
    expected = "No method 'gradcan'. Did you mean 'gradcam'? [PG003]"
    assert str(errors.unknown("method", "gradcan", ["gradcam", "lime"])) == expected
    assert errors.listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert errors.listed(["a"], 2, repr) == "'a'"
    assert [errors.counted(1, "part"), errors.counted(12000, "row")] == ["1 part", "12,000 rows"]
    assert [errors.by_count(count, "it is", "they are") for count in (1, 0)] == ["it is", "they are"]


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
    said = str(errors.unknown(kind, wanted, choices))
    assert f"{wanted!r}. Did you mean {near!r}?" in said
    assert choices[1 - choices.index(near)] not in said, "where a name is near, the others are not listed"
    assert errors.synonym(wanted, ["other"]) is None


def test_every_synonym_is_one_word_that_is_no_name_of_ours():
    assert all(name.isalnum() and name == name.casefold() for name in SYNONYMS)
    assert len(SYNONYMS) >= 25
