"""Attention rollout and token relevance: the flow from tokens to the output of a transformer, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.maps.attention import AttentionReader, identity, readout
from permgrad.attribution.request import Configured, Request, Scope, methods, refuse_conditional
from permgrad.attribution.request.result import build, output_unit
from permgrad.attribution.slopes.gradients import differentiable
from permgrad.base.checks import check_choice
from permgrad.base.progress import Progress
from permgrad.models.batches import in_batches

_OVER_HEADS: dict[str, Any] = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}


class _Attention(Configured):
    """Both methods: read the maps, join them layer by layer, and bring values from tokens to the inputs' positions."""

    name: ClassVar[str]
    quantity: ClassVar[str]
    unit: ClassVar[str] = ""  # of the values, empty: that of the output
    scopes: ClassVar[tuple[Scope, ...]] = ("local",)

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        refuse_conditional(request, self.name)
        request.subject.check_network(self.name)
        if "heads" in request.options:
            check_choice("heads", request.options["heads"], tuple(_OVER_HEADS))
        subject, targets = request.subject, len(request.targets)
        values = np.zeros((request.count, len(request.space), targets))
        predictions, relevance = np.zeros((2, request.count, targets))

        with (
            Progress(request.count, self.name.replace("_", " "), request.progress) as progress,
            subject.open(),
            differentiable(subject),
        ):
            reader = AttentionReader(request, self.name)

            def work(part: slice) -> None:
                outputs, maps, slopes = reader.read(part)
                values[part] = relevance[part] = 0
                for chain in reader.chains:
                    chosen = [(maps[place].double(), slopes[place].double()) for place in chain.maps]
                    tokens = self.joined(chosen, request.options)
                    values[part] += reader.values(chain, tokens).cpu().numpy()
                    relevance[part] += tokens.sum(dim=-1).T.cpu().numpy()
                predictions[part] = outputs.double().cpu().numpy()
                progress.advance(part.stop - part.start)

            in_batches(request.count, reader.batch, work)
        names, whole = subject.input_names, relevance.sum()
        facts = {
            "quantity": self.quantity,
            "unit": self.unit or output_unit(request),
            "attention_maps": [len(chain.maps) for chain in reader.chains],
            "tokens_of": [[names[place] for place in chain.tokens] for chain in reader.chains],
            # The share of tokens that no player owns, such as the class token.
            "elsewhere": float(1 - values.sum() / whole) if whole > 0 else float("nan"),
            "model_rows": request.count,
            **request.options,
        }
        return build(request, self.name, values, facts, additive=True, predictions=predictions)

    def joined(self, maps: list[tuple[Tensor, Tensor]], options: Mapping[str, Any]) -> Tensor:
        """Return the relevance of tokens ``(targets, b, tokens)`` from maps and slopes, first layer first."""
        raise NotImplementedError


@methods.register("attention_rollout")
class AttentionRollout(_Attention):
    """Share of each token in the attention that flows through all layers to the output.

    In every layer, half of a token's information is its own and half comes from the tokens it attends to (mean over
    heads). The layers are multiplied, and read at the tokens that the output depends on (the class token, or all that
    are averaged). A row's shares add up to 1 for each encoder, including those of tokens without a player, which are in
    ``meta["elsewhere"]``. Attention weights show which tokens could be used, not how the output uses them. Shares are
    the same for every output, never negative, and not effects. A patch of an image divides its share evenly among its
    pixels.

    Attention is read where torch computes it. No hook is set, and the network needs no option. Networks whose attention
    is not within one sequence (windows, or from one sequence to another) are refused.

    Options:
        heads: ``"mean"``, ``"max"`` or ``"min"`` over the heads of a layer. For the last two, each token's row is
            divided by its sum.

    Source: Abnar & Zuidema 2020 (arXiv 2005.00928), section 3, equation 1.

    Examples:
        >>> import torch, permgrad as pg
        >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer, self.head = layer, torch.nn.Linear(8, 2)
        ...     def forward(self, x):
        ...         return self.head(self.layer(x).mean(dim=1))
        >>> explanation = pg.explain(Net(), torch.randn(3, 5, 8), method="attention_rollout", target=0)
        >>> bool(abs(explanation.values.sum(axis=1) - 1).max() < 1e-6)
        True
    """

    name = "attention_rollout"
    quantity = "share of the attention that reaches the output"
    unit = "share"
    heads: Literal["mean", "max", "min"] = "mean"

    def joined(self, maps: list[tuple[Tensor, Tensor]], options: Mapping[str, Any]) -> Tensor:
        """Return the shares of tokens, the same for every target."""
        start = flow = identity(maps[0][0])
        for weights, _ in maps:
            layer = _OVER_HEADS[options["heads"]](weights, dim=1)
            layer = (layer / layer.sum(dim=-1, keepdim=True).clamp_min(1e-300) + start) / 2
            flow = layer @ flow
        slope = maps[-1][1]
        shares = (readout(slope)[:, None] @ flow)[:, 0]
        return shares.expand(len(slope), -1, -1)


@methods.register("token_relevance")
class TokenRelevance(_Attention):
    """Relevance of each token for an output: attention maps weighted by the output's gradients.

    With A a layer's maps and ∇A the gradients of the output explained, R starts as the identity and grows by
    R ← R + mean over heads of max(∇A ⊙ A, 0) · R. The relevance is R minus the identity, at the tokens that the output
    depends on (the class token, or the mean over those that are averaged). Unlike ``attention_rollout`` it differs
    between outputs. It is never negative and does not add up to the output. A patch of an image divides its relevance
    evenly among its pixels. ``meta["elsewhere"]`` is the share of tokens without a player. The same networks are
    supported.

    Source: Chefer, Gur & Wolf 2021 (arXiv 2103.15679), equations 5 and 6, for self-attention.
    NOTE[DIFF]: read at the tokens that the output depends on, which is the class token where there is one.

    Examples:
        >>> import torch, permgrad as pg
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        ...         self.head = torch.nn.Linear(8, 2)
        ...     def forward(self, x):
        ...         return self.head(self.attention(x, x, x)[0].mean(dim=1))
        >>> pg.explain(Net(), torch.randn(3, 5, 8), method="token_relevance", level="modality").values.shape
        (3, 1, 2)
    """

    name = "token_relevance"
    quantity = "relevance of tokens: attention weighted by the slopes of the output"

    def joined(self, maps: list[tuple[Tensor, Tensor]], options: Mapping[str, Any]) -> Tensor:  # noqa: ARG002 — it has none
        """Return the relevance of tokens for each target."""
        start = identity(maps[0][0])
        flow = start
        for weights, slope in maps:
            flow = flow + (slope * weights).clamp_min(0).mean(dim=2) @ flow
        return (readout(maps[-1][1])[:, None] @ (flow - start))[..., 0, :]
