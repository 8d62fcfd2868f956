"""Integrated gradients of BART and T5, which look shifted ids up again, by hand."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg

sys.path.insert(0, str(Path(__file__).parent))
from networks import declare_operators

PAD = 1
END = 2
STEPS = 400


def bart() -> nn.Module:
    from transformers import BartConfig, BartForSequenceClassification

    config = BartConfig(
        vocab_size=40,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
        num_labels=2,
    )
    return BartForSequenceClassification(config)


def t5() -> nn.Module:
    from transformers import T5Config, T5ForSequenceClassification

    config = T5Config(
        vocab_size=40,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        num_labels=2,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
    )
    return T5ForSequenceClassification(config)


def listened(net: nn.Module, hear: Callable[..., Any], ids: Tensor) -> Any:
    """Call a network with a hook on the layers that look ids up."""
    names = ("encoder.embed_tokens", "decoder.embed_tokens")
    tables = [
        embedding_layer
        for name, embedding_layer in net.named_modules()
        if name.endswith(names)
    ]
    handles = [
        embedding_layer.register_forward_hook(hear) for embedding_layer in tables
    ]
    try:
        return net(input_ids=ids).logits
    finally:
        for handle in handles:
            handle.remove()


def by_hand(net: Any, ids: Tensor) -> np.ndarray:
    """Return the midpoint rule over both look-ups, ``(rows, places, outputs)``."""
    calls: list[Tensor] = []

    def listen(module: nn.Module, args: Any, output: Tensor) -> None:
        calls.append(output.detach())

    listened(net, listen, ids)
    first, second = calls
    padding = net.get_input_embeddings()(torch.tensor([[PAD]])).detach()
    starts = [padding.expand_as(first), second.clone()]
    starts[1][:, 1:] = padding  # behind the start token, which nobody owns
    values = torch.zeros(*ids.shape, 2)
    for step in range(STEPS):
        share = (step + 0.5) / STEPS
        points = [
            (start + share * (stop - start)).requires_grad_()
            for start, stop in zip(starts, (first, second), strict=True)
        ]
        queue = list(points)
        outputs = listened(net, lambda *_, queue=queue: queue.pop(0), ids)
        for target in (0, 1):
            slopes = torch.autograd.grad(
                outputs[:, target].sum(), points, retain_graph=True
            )
            first_share, two = (
                (slope * (stop - start)).sum(2)
                for slope, stop, start in zip(
                    slopes, (first, second), starts, strict=True
                )
            )
            values[..., target] += first_share / STEPS
            values[:, :-1, target] += two[:, 1:] / STEPS
    return values.detach().numpy()


@pytest.mark.parametrize("make", [bart, t5])
def test_integrated_gradients_are_those_of_both_look_ups(make):
    pytest.importorskip("transformers")
    declare_operators()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        net = make().double().eval()
        ids = torch.randint(5, 40, (4, 7))
    ids[:, -1] = END
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        expected_values = by_hand(net, ids)
    finally:
        torch.set_default_dtype(default)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = pg.explain(
            pg.Model(net, returns="values", head="logits"),
            {"input_ids": ids},
            method=pg.methods.IntegratedGradients(tolerance=1e-5),
            progress=False,
        )
    token_positions = [
        int(player_name.partition("[")[2][:-1]) for player_name in explanation.names
    ]
    largest = np.abs(expected_values).max()
    assert largest > 1e-3, "the precondition"
    off = (
        np.abs(explanation.values - expected_values[:, token_positions]).max() / largest
    )
    assert off < 1e-3, f"{explanation.meta['embeddings']}: off by {off:.2g}"
