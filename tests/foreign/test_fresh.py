"""Networks of transformers that nobody has called work as a copy after an explanation."""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from explaining import explain_with
from networks import declare_operators


def bert() -> tuple[nn.Module, dict[str, Any]]:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        output_attentions=True,
        attn_implementation="eager",
    )
    return BertForSequenceClassification(config), {
        "input_ids": torch.randint(1, 30, (6, 5))
    }


def vit() -> tuple[nn.Module, dict[str, Any]]:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
        output_hidden_states=True,
    )
    return ViTForImageClassification(config), {
        "pixel_values": torch.randn(6, 3, 16, 16)
    }


def shape_of(net: nn.Module) -> list[Any]:
    """Return the parts with their attributes and how many hooks they have."""
    return [
        (name, sorted(vars(part)), len(part._forward_hooks))
        for name, part in net.named_modules()
    ]


@pytest.mark.parametrize("make", [bert, vit])
@pytest.mark.parametrize(
    "method", ["permutation", "shapley", "integrated_gradients", "deeplift", "gradient"]
)
def test_a_fresh_network_works_as_a_copy(make, method):
    pytest.importorskip("transformers")
    declare_operators()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, rows = make()
        net.eval()
        other = copy.deepcopy(net)
        explain_with(
            net,
            rows,
            torch.arange(6) % 2,
            method=method,
            returns="logits",
            head="logits",
            random_state=0,
            progress=False,
        )
    found, wanted = net(**rows), other(**rows)
    assert list(found) == list(wanted)
    for name in ("attentions", "hidden_states"):
        assert (found.get(name) is None) == (wanted.get(name) is None)
    kept = found.get("attentions") or found.get("hidden_states")
    assert kept, "the precondition"
    torch.testing.assert_close(found.logits, wanted.logits, rtol=0, atol=0)
    assert shape_of(net) == shape_of(other)
    for one in (net, other):
        one(**rows).logits.square().sum().backward()
        torch.optim.SGD(one.parameters(), lr=0.1).step()
    for weight, copied in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight, copied, rtol=0, atol=0)
