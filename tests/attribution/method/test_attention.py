"""Attention rollout and token relevance: literal twins on a small transformer, however it computes its attention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import permgrad as pg
from permgrad.attribution.method.attention import AttentionRollout

ROWS, WIDTH, HEADS, LAYERS = 4, 8, 2, 3
METHODS = ("attention_rollout", "token_relevance")
QUIET = {"progress": False, "task": "regression"}


class Layer(nn.Module):
    """Self-attention by one of three ways, whose numbers are the same, and a small feed-forward layer behind it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm, self.wide = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.way in ("module", "module with weights"):
            padded = None if mask is None else mask == 0
            return self.attention(x, x, x, key_padding_mask=padded, need_weights=self.way != "module")[0]
        projected = functional.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias)
        q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in projected.chunk(3, dim=-1))
        allowed = None if mask is None else (mask[:, None, None, :] != 0)
        if self.way == "fused":
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)
            if allowed is not None:
                scores = scores.masked_fill(~allowed, -torch.inf)
            mixed = functional.dropout(scores.softmax(dim=-1), 0.5, self.training) @ v
        return self.attention.out_proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm(x + self.attend(x, mask))
        return x + torch.tanh(self.wide(x))


class Words(nn.Module):
    """A transformer of token ids, with or without a class token in front."""

    def __init__(self, way: str, *, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.embedding, self.places = nn.Embedding(12, WIDTH), nn.Parameter(torch.randn(6, WIDTH))
        self.start = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.layers = nn.ModuleList([Layer(way) for _ in range(LAYERS)])
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x, mask = self.embedding(input_ids) + self.places[: input_ids.shape[1]], attention_mask
        if not self.pooled:
            x = torch.cat([self.start.expand(len(x), -1, -1), x], dim=1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        for layer in self.layers:
            x = layer(x, mask)
        if not self.pooled:
            return self.head(x[:, 0])
        return self.head((x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))


class Patches(nn.Module):
    """A vision transformer: patches of 4 × 4 pixels and a class token."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.patches, self.start = nn.Conv2d(1, WIDTH, 4, 4), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.layers = nn.ModuleList([Layer(way) for _ in range(LAYERS)])
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], dim=1)
        for layer in self.layers:
            x = layer(x, None)
        return self.head(x[:, 0])


def made(kind: type[nn.Module], way: str, **options) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = kind(way, **options)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.6)
    return net.double().eval()


def words() -> dict[str, Tensor]:
    ids = torch.randint(1, 12, (ROWS, 5), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(ROWS, 5, dtype=torch.int64)
    mask[1, 3:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def twin(net: nn.Module, inputs: tuple[Tensor, ...], method: str, tokens: Tensor, output: int, heads: str) -> Tensor:
    """Return the relevance of tokens by the papers' formulas, row by row; ``tokens`` are those that are read."""
    assert net.layers[0].way == "by hand"
    result = []
    for row in range(len(inputs[0])):
        maps: list[Tensor] = []
        plain = Tensor.softmax

        def keeping(scores: Tensor, dim: int, maps: list[Tensor] = maps, plain=plain) -> Tensor:
            maps.append(plain(scores, dim))
            return maps[-1]

        Tensor.softmax = keeping
        try:
            value = net(*(tensor[row : row + 1] for tensor in inputs))[0, output]
        finally:
            Tensor.softmax = plain
        assert len(maps) == LAYERS
        slopes = torch.autograd.grad(value, maps)
        count = maps[0].shape[-1]
        flow = torch.eye(count, dtype=torch.float64)
        for weights, slope in zip(maps, slopes, strict=True):
            if method == "attention_rollout":
                layer = getattr(weights[0], {"mean": "mean", "max": "amax", "min": "amin"}[heads])(dim=0)
                layer = layer / layer.sum(dim=1, keepdim=True)
                flow = (0.5 * layer + 0.5 * torch.eye(count)) @ flow
            else:
                flow = flow + (slope[0] * weights[0]).clamp(min=0).mean(dim=0) @ flow
        if method == "token_relevance":
            flow = flow - torch.eye(count)
        read = tokens[row].double()
        result.append((read @ flow / read.sum()).detach())
    return torch.stack(result)


@pytest.mark.parametrize("way", ["by hand", "fused", "module", "module with weights"])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_tokens_equal_the_papers_formulas(method, pooled, way):
    net, inputs = made(Words, way, pooled=pooled), words()
    mask = inputs["attention_mask"]
    read = mask if pooled else torch.eye(6, dtype=torch.int64)[:1].expand(ROWS, -1)
    explanation = pg.explain(net, inputs, method=method, **QUIET)
    for output in (0, 1):
        tokens = twin(made(Words, "by hand", pooled=pooled), tuple(inputs.values()), method, read, output, "mean")
        wanted = (tokens if pooled else tokens[:, 1:]).numpy()
        assert wanted.std() > 0.1 * wanted.mean() > 1e-4, "a precondition: tokens differ"
        np.testing.assert_allclose(explanation.values[:, :, output], wanted, rtol=0, atol=1e-12)
    assert explanation.meta["held"] == ["attention_mask"]
    assert (explanation.values[1, 3:] == 0).all(), "padding"
    assert explanation.names[2] == "input_ids[2]"
    assert explanation.meta["attention_maps"] == [LAYERS]
    same = np.array_equal(explanation.values[:, :, 0], explanation.values[:, :, 1])
    assert same == (method == "attention_rollout")


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_heads_are_joined_as_asked(heads):
    net, inputs = made(Words, "by hand"), words()
    read = torch.eye(6, dtype=torch.int64)[:1].expand(ROWS, -1)
    tokens = twin(net, tuple(inputs.values()), "attention_rollout", read, 0, heads)[:, 1:].numpy()
    explanation = pg.explain(net, inputs, method="attention_rollout", heads=heads, target=0, **QUIET)
    np.testing.assert_allclose(explanation.values[:, :, 0], tokens, rtol=0, atol=1e-12)
    share = 1 - explanation.values.sum(axis=(1, 2)).mean()
    assert explanation.meta["elsewhere"] == pytest.approx(share)
    assert 0.05 < share < 0.95, "the class token has a part"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["fused", "module"])
def test_a_patch_spreads_over_its_pixels(method, way):
    net = made(Patches, way)
    images = torch.randn(ROWS, 1, 12, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    read = torch.eye(13, dtype=torch.int64)[:1].expand(ROWS, -1)
    tokens = twin(made(Patches, "by hand"), (images,), method, read, 1, "mean")[:, 1:].numpy().reshape(ROWS, 3, 4)
    assert tokens.std() > 0.1 * tokens.mean() > 1e-4
    pixels = pg.explain(net, images, method=method, target=1, segments="pixels", **QUIET)
    wanted = np.kron(tokens, np.ones((4, 4))) / 16
    np.testing.assert_allclose(pixels.values[:, :, 0].reshape(ROWS, 12, 16), wanted, rtol=0, atol=1e-13)
    cells = pg.explain(net, images, method=method, target=1, segments=("grid", 3, 4), **QUIET)
    np.testing.assert_allclose(cells.values[:, :, 0].reshape(ROWS, 3, 4), tokens, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_other_rows_change_nothing(method):
    net, inputs = made(Words, "fused"), words()
    together = pg.explain(net, inputs, method=method, **QUIET).values
    cut = pg.explain(net, inputs, method=method, batch_size=3, **QUIET).values
    np.testing.assert_allclose(cut, together, rtol=0, atol=1e-14)
    alone = pg.explain(net, {name: tensor[1:2] for name, tensor in inputs.items()}, method=method, **QUIET).values
    np.testing.assert_allclose(alone, together[1:2], rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_networks_in_training_mode_stay_as_they_were(method):
    net, inputs = made(Words, "by hand"), words()
    expected = pg.explain(net, inputs, method=method, **QUIET).values
    net.requires_grad_(False).train()
    with torch.no_grad():
        again = pg.explain(net, inputs, method=method, **QUIET).values
    np.testing.assert_array_equal(again, expected)
    assert net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize("method", METHODS)
def test_one_output_of_each_row(method):
    net, inputs = made(Words, "fused"), words()
    every = pg.explain(net, inputs, method=method, task="classification", progress=False)
    picked = pg.explain(net, inputs, method=method, task="classification", row_target=[0, 1, 1, 0], progress=False)
    wanted = every.values[np.arange(ROWS), :, [0, 1, 1, 0]]
    np.testing.assert_allclose(picked.values[:, :, 0], wanted, rtol=0, atol=1e-13)


class Windows(nn.Module):
    """Tokens attend to each other within windows of two."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        cut = x.unflatten(1, (-1, 2)).flatten(0, 1)[:, None]
        mixed = functional.scaled_dot_product_attention(cut, cut, cut)[:, 0].unflatten(0, (len(x), -1))
        return self.head(mixed.flatten(1, 2).mean(dim=1))


class Across(nn.Module):
    """One sequence attends to another."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x[:, :1], x, x, need_weights=False)[0][:, 0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4 * WIDTH, 2)), "output uses none that torch can see"),
        (Windows(), "attend to each other within windows"),
        (Across(), "attend to those of another"),
    ],
)
def test_other_networks_are_refused_with_the_remedy(method, net, reason):
    with pytest.raises(pg.InputError) as caught:
        pg.explain(net, torch.randn(ROWS, 4, WIDTH), method=method, **QUIET)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{method} reads the attention maps of a transformer, and ")
    assert "Choose method='integrated_gradients' or 'shapley'" in str(caught.value)


def test_texts_are_refused_as_their_words_lie_elsewhere_in_each_row():
    numbers = {"one": 1, "two": 2, "three": 3}

    def tokenizer(text: str) -> list[int]:
        return [numbers[word] for word in text.split() for _ in word[3:] or word[:1]]

    with pytest.raises(pg.InputError, match="Pass the ids of the tokens as they enter the network, and no tokenizer"):
        pg.explain(
            made(Words, "fused"), ["one two", "three two"], method="token_relevance", tokenizer=tokenizer, **QUIET
        )


def test_models_without_attention_and_options_are_refused():
    with pytest.raises(pg.InputError, match="attention_rollout"):
        pg.explain(lambda table: table[:, 0], np.zeros((4, 2)), method="attention_rollout", output_kind="values")
    with pytest.raises(pg.InputError, match="heads"):
        pg.explain(made(Words, "fused"), words(), method="attention_rollout", heads="sum", **QUIET)
    assert AttentionRollout.options == {"heads": "mean"}


class Joint(nn.Module):
    """Words, whose type is made of their mask, beside patches that it picks by numbers nobody can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.types, self.patch = nn.Embedding(9, 8), nn.Embedding(2, 8), nn.Linear(8, 8)
        self.layer, self.head = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 2)

    def forward(self, mask: Tensor, ids: Tensor, pixels: Tensor) -> Tensor:
        words = self.words(ids) + self.types(torch.zeros_like(mask))
        patches = self.patch(torch.tensor(pixels.detach().tolist(), dtype=pixels.dtype))
        away = torch.cat([mask == 0, torch.zeros(patches.shape[:2], dtype=torch.bool)], dim=1)
        return self.head(self.layer(torch.cat([words, patches], dim=1), src_key_padding_mask=away)[:, 0])


@pytest.mark.parametrize("method", ["attention_rollout", "token_relevance"])
def test_a_token_is_counted_once_beside_its_mask(method):
    torch.manual_seed(0)
    mask = torch.ones(4, 5, dtype=torch.int64)
    mask[2:, 3:] = 0
    rows = {"mask": mask, "ids": torch.randint(2, 9, (4, 5)) * mask, "pixels": torch.randn(4, 3, 8)}
    with pytest.warns(
        pg.PermgradWarning, match=r"exactly 0: pixels\. No token that attends was found to come from them"
    ):
        explanation = pg.explain(Joint(), rows, method=method, target=0, progress=False)
    assert explanation.meta["tokens_of"] == [["ids"]]
    assert 0.05 < explanation.meta["elsewhere"] < 0.6, "what the patches have"
    if method == "attention_rollout":
        shares = explanation.values.sum(axis=1)
        assert (shares > 0.4).all()
        assert (shares < 0.95).all()
