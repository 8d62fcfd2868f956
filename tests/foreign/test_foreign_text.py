"""Text models of transformers: what is held, Shapley values of tokens, nothing changed."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import permgrad as pg
from permgrad.base.errors import PermgradWarning

sys.path.insert(0, str(Path(__file__).parent))
from networks import declare_operators

ROWS, PLACES = 6, 7


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
        return pg.explain(net, inputs, progress=False, random_state=0, **options)


def rows():
    """Return ids and mask of rows of different lengths."""
    rng = np.random.default_rng(0)
    lengths = np.r_[2, PLACES, rng.integers(2, PLACES + 1, ROWS - 2)]
    mask = torch.from_numpy(np.arange(PLACES) < lengths[:, None]).long()
    return torch.from_numpy(rng.integers(5, 30, (ROWS, PLACES))) * mask, mask


@pytest.mark.parametrize("method", ["permgrad", "permutation", "ablation", "shapley", "lime"])
@pytest.mark.parametrize("replace", ["donor", "pad", 4])
def test_tokens_of_bert_are_players(bert, method, replace):
    """Everything but the ids is held by itself; padding is worth 0; Shapley values add up."""
    ids, mask = rows()
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    explanation = explained(bert, inputs, method=method, scope="local", replace=replace, task="classification")
    assert explanation.meta["held"] == ["attention_mask", "token_type_ids"]
    assert explanation.names == tuple(f"input_ids[{place}]" for place in range(PLACES))
    there = (mask == 1).numpy()
    assert (explanation.values[~there] == 0).all()
    assert (np.abs(explanation.values[there]).max(axis=1) > 0).mean() > 0.5
    if method == "shapley":
        added = explanation.values.sum(1) + explanation.base_values
        np.testing.assert_allclose(added, explanation.predictions, atol=1e-5)
