"""Text models of transformers: what is held, Shapley values of tokens, nothing
changed.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from permgrad.base.errors import PermgradWarning

sys.path.insert(0, str(Path(__file__).parent))
from explaining import explain_with
from networks import declare_operators

ROWS = 6
PLACES = 7


@pytest.fixture(scope="module")
def bert():
    """Return a tiny BERT."""
    pytest.importorskip("transformers")
    declare_operators()
    from transformers import BertConfig, BertForSequenceClassification

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=32, num_labels=2, initializer_range=0.5,
        )  # fmt: skip
        return BertForSequenceClassification(config).eval()


def explained(net, inputs, **options):
    """Explain without the note on what is held."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PermgradWarning)
        return explain_with(net, inputs, progress=False, random_state=0, **options)


def rows():
    """Return ids and mask of rows of different lengths."""
    rng = np.random.default_rng(0)
    lengths = np.r_[2, PLACES, rng.integers(2, PLACES + 1, ROWS - 2)]
    mask = torch.from_numpy(np.arange(PLACES) < lengths[:, None]).long()
    return torch.from_numpy(rng.integers(5, 30, (ROWS, PLACES))) * mask, mask


@pytest.mark.parametrize(
    "method", ["permgrad", "permutation", "ablation", "shapley", "lime"]
)
@pytest.mark.parametrize("replace", ["donor", "pad", 4])
def test_tokens_of_bert_are_players(bert, method, replace):
    """Everything but the ids is held by itself; padding is worth 0; Shapley values add
    up.
    """
    ids, mask = rows()
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(ids),
    }
    explanation = explained(
        bert,
        inputs,
        method=method,
        scope="local",
        replace=replace,
        task="classification",
    )
    assert explanation.meta["held"] == ["attention_mask", "token_type_ids"]
    assert explanation.names == tuple(
        f"input_ids[{token_position}]" for token_position in range(PLACES)
    )
    there = (mask == 1).numpy()
    assert (explanation.values[~there] == 0).all()
    assert (np.abs(explanation.values[there]).max(axis=1) > 0).mean() > 0.5
    if method == "shapley":
        added = explanation.values.sum(1) + explanation.base_values
        np.testing.assert_allclose(added, explanation.predictions, atol=1e-5)


@pytest.fixture(scope="module")
def tokenizer():
    """Return a fast tokenizer that splits words into pieces, built here."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "good",
        "bad",
        "film",
        "very",
        "bor",
        "##ing",
        "a",
        "the",
        "!",
        "was",
    ]
    made_tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            {name: token_id for token_id, name in enumerate(names)}, unk_token="[UNK]"
        )
    )
    made_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {
        "pad": "[PAD]",
        "unk": "[UNK]",
        "cls": "[CLS]",
        "sep": "[SEP]",
        "mask": "[MASK]",
    }
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made_tokenizer,
        **{f"{kind}_token": token for kind, token in special.items()},
    )


TEXTS = ["the film was good!", "bad film", "a very very boring film", "good"]


@pytest.mark.parametrize("replace", ["donor", "pad", "mask"])
@pytest.mark.parametrize("as_ids", [False, True])
def test_words_of_a_hugging_face_tokenizer(bert, tokenizer, replace, as_ids):
    """Texts, and ids with their tokenizer, have the same words and values; those of an
    edited text.
    """
    inputs = TEXTS
    if as_ids:
        inputs = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
        inputs.pop("token_type_ids", None)
    options = {
        "method": "permutation",
        "scope": "local",
        "n_repeats": 1,
        "task": "classification",
    }
    explanation = explained(
        bert, inputs, tokenizer=tokenizer, replace=replace, **options
    )
    assert explanation.meta["tokens"] == {
        "input": "input_ids",
        "replaced_by": replace,
        "players": "words",
    }
    assert explanation.feature_values.iloc[2].tolist() == [
        "a",
        "very",
        "very",
        "boring",
        "film",
    ]
    assert explanation.feature_values.iloc[0].tolist() == [
        "the",
        "film",
        "was",
        "good",
        "!",
    ]
    if replace == "donor":
        return
    encoded = tokenizer("a very very boring film", return_tensors="pt")
    ids = encoded["input_ids"].clone()
    mask = encoded["attention_mask"].clone()
    with torch.no_grad():
        before = bert(input_ids=ids, attention_mask=mask).logits
        ids[0, 4:6] = (
            tokenizer.pad_token_id if replace == "pad" else tokenizer.mask_token_id
        )
        mask[0, 4:6] = int(replace == "mask")
        change = (before - bert(input_ids=ids, attention_mask=mask).logits)[0].numpy()
    assert np.abs(change).max() > 0.01
    np.testing.assert_allclose(explanation.values[2, 3], change, atol=1e-5)


def test_texts_as_ids_and_as_strings_agree(bert, tokenizer):
    """Donors' words are the same for texts and for their ids."""
    encoded = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    encoded.pop("token_type_ids", None)
    explanation_of_ids, two = (
        explained(
            bert, rows, tokenizer=tokenizer, method="shapley", task="classification"
        )
        for rows in (TEXTS, encoded)
    )
    np.testing.assert_allclose(explanation_of_ids.values, two.values, atol=1e-5)
    assert "boring" in explanation_of_ids.plot.text(row=2).to_html()
