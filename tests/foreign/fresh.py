"""Networks of other libraries that nobody has called: are they as a copy after each
method, refused or not?

``.venv-foreign/bin/python tests/foreign/fresh.py`` writes
``benchmarks/results/foreign_fresh.{json,md}``. A network and its copy are made by
configuration. One is explained. Then both are called and trained by one step.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import permgrad as pg

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "shared")]
from explaining import explain_with  # noqa: E402 — beside this script
from networks import declare_operators  # noqa: E402 — as above
from table import METHODS, RESULTS, numbered, short  # noqa: E402 — as above
from untouched import assert_untouched, state_of  # noqa: E402 — as above

ROWS = 6
#: By name: the package, and what makes a network, its inputs and what is said of both.
FRESH: dict[str, tuple[str, Callable[[], tuple[nn.Module, Any, dict[str, Any]]]]] = {}
_INTRODUCTION = (
    "Each network is made by configuration, copied and explained. Then the network and "
    "its copy are called, and trained by one step. *done*: what they return, their "
    "weights, buffers, hooks, modes and all other attributes of each module are equal, "
    "and so is the random state. A number: the same, but the call was refused, for the "
    "reason below."
)
#: How a refusal ends.
CODE = re.compile(r" \[PG\d{3}\]$")
CLASSES = {"task": "classification", "returns": "logits"}


def register(name: str, package: str) -> Callable[..., Any]:
    """Register what makes ``(network, inputs, options)`` of a package."""

    def keep(make: Any) -> Any:
        FRESH[name] = (package, make)
        return make

    return keep


def ids(high: int, *shape: int, low: int = 3) -> Tensor:
    return torch.randint(low, high, (ROWS, *shape))


def text(**more: Any) -> dict[str, Any]:
    """Return sizes of a small network of texts."""
    sizes = {
        "vocab_size": 30,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    return sizes | more


class Returned(nn.Module):
    """A few of the numbers that a network returns for each row, as users who explain
    them take.
    """

    def __init__(self, inner: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.read = read

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.read(self.inner(**inputs))


def last_place(returned: Any) -> Tensor:
    return returned.logits[:, -1, :2]


def next_median(returned: Any) -> Tensor:
    return returned.prediction[:, 0, 3:4]


# ---- transformers --------------------------------------------------------------------
@register("BERT", "transformers")
def _() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(**text(), output_attentions=True, attn_implementation="eager")
    mask = torch.ones(ROWS, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    X = {"input_ids": ids(30, 6), "attention_mask": mask}
    return BertForSequenceClassification(config), X, {"head": "logits", **CLASSES}


@register("ViT", "transformers")
def _() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**text(image_size=16, patch_size=4), output_hidden_states=True)
    X = {"pixel_values": torch.randn(ROWS, 3, 16, 16)}
    return ViTForImageClassification(config), X, {"head": "logits", **CLASSES}


@register("BART", "transformers")
def _() -> Any:
    from transformers import BartConfig, BartForSequenceClassification

    config = BartConfig(
        vocab_size=30,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=16,
        num_labels=2,
    )
    X = ids(30, 6)
    X[:, -1] = config.eos_token_id
    X = {"input_ids": X}
    return BartForSequenceClassification(config), X, {"head": "logits", **CLASSES}


@register("T5", "transformers")
def _() -> Any:
    from transformers import T5Config, T5ForSequenceClassification

    config = T5Config(
        vocab_size=30,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    X = ids(30, 6)
    X[:, -1] = config.eos_token_id
    X = {"input_ids": X}
    return T5ForSequenceClassification(config), X, {"head": "logits", **CLASSES}


@register("LayoutLM", "transformers")
def _() -> Any:
    from transformers import LayoutLMConfig, LayoutLMForSequenceClassification

    config = LayoutLMConfig(
        **text(max_position_embeddings=16, max_2d_position_embeddings=64)
    )
    low = ids(30, 6, 2, low=0)
    size = ids(30, 6, 2, low=1)
    X = {"input_ids": ids(30, 6), "bbox": torch.cat([low, low + size], -1)}
    return LayoutLMForSequenceClassification(config), X, {"head": "logits", **CLASSES}


def llava() -> tuple[nn.Module, dict[str, Tensor]]:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **text(image_size=8, patch_size=4, num_hidden_layers=2)
        ),
        text_config=LlamaConfig(**text(num_key_value_heads=2)),
        image_token_id=29,
    )
    X = ids(28, 8)
    X[:, 1:5] = 29
    return LlavaForConditionalGeneration(config), {
        "input_ids": X,
        "pixel_values": torch.randn(ROWS, 3, 8, 8),
    }


@register("LLaVA, the last place", "transformers")
def _() -> Any:
    net, X = llava()
    return Returned(net, last_place), X, CLASSES


@register("LLaVA, all places", "transformers")
def _() -> Any:
    return *llava(), {"head": "logits", **CLASSES}


@register("Whisper, sounds in classes", "transformers")
def _() -> Any:
    from transformers import WhisperForAudioClassification

    X = {"input_features": torch.randn(ROWS, 8, 24)}
    net = WhisperForAudioClassification(whisper())
    return net, X, {"head": "logits", **CLASSES}


@register("Whisper, the last place", "transformers")
def _() -> Any:
    from transformers import WhisperForConditionalGeneration

    X = {
        "input_features": torch.randn(ROWS, 8, 24),
        "decoder_input_ids": ids(28, 4),
    }
    X["decoder_input_ids"][:, 0] = 1
    return Returned(WhisperForConditionalGeneration(whisper()), last_place), X, CLASSES


def whisper() -> Any:
    from transformers import WhisperConfig

    return WhisperConfig(
        vocab_size=30,
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=12,
        max_target_positions=8,
        classifier_proj_size=8,
        num_labels=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


# ---- images and volumes --------------------------------------------------------------
@register("ConvNeXt", "timm")
def _() -> Any:
    from timm.models.convnext import ConvNeXt

    net = ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 12, 16, 20), num_classes=2)
    return net, torch.randn(ROWS, 3, 64, 64), CLASSES


@register("ViT with class token", "timm")
def _() -> Any:
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16}
    net = VisionTransformer(**sizes, depth=2, num_heads=2, num_classes=2)
    return net, torch.randn(ROWS, 3, 16, 16), CLASSES


@register("DenseNet of volumes", "monai")
def _() -> Any:
    from monai.networks.nets import DenseNet

    net = DenseNet(3, 1, 2, init_features=4, growth_rate=4, block_config=(2,))
    return net, torch.randn(ROWS, 1, 16, 16, 16), CLASSES


@register("UNet, size of what is found", "monai")
def _() -> Any:
    from monai.networks.nets import UNet

    net = Area(UNet(2, 1, 2, channels=(4, 8), strides=(2,)))
    return net, torch.randn(ROWS, 1, 16, 16), CLASSES


class Area(nn.Module):
    """The mean of each label's map."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, scan: Tensor) -> Tensor:
        return self.inner(scan).mean(dim=(2, 3))


# ---- series --------------------------------------------------------------------------
@register("temporal fusion transformer", "pytorch_forecasting")
def _() -> Any:
    import pandas as pd
    from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet

    days = pd.DataFrame(
        [
            {"shop": f"s{shop}", "day": day, "week": str(day % 3), "sold": value}
            for shop, values in enumerate(torch.rand(ROWS, 12).tolist())
            for day, value in enumerate(values)
        ]
    )
    series = TimeSeriesDataSet(
        days,
        time_idx="day",
        target="sold",
        group_ids=["shop"],
        max_encoder_length=6,
        max_prediction_length=2,
        static_categoricals=["shop"],
        time_varying_known_categoricals=["week"],
        time_varying_known_reals=["day"],
        time_varying_unknown_reals=["sold"],
        predict_mode=True,
    )
    net = TemporalFusionTransformer.from_dataset(
        series, hidden_size=4, attention_head_size=1, hidden_continuous_size=4
    )
    X, _ = next(iter(series.to_dataloader(train=False, batch_size=ROWS)))
    X = {name: value for name, value in X.items() if isinstance(value, Tensor)}
    return Forecast(net), X, {"task": "regression"}


class Forecast(nn.Module):
    """The median of the next step, of a network whose one argument is a dict."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return next_median(self.inner(x))


# ---- beside a copy -------------------------------------------------------------------
def build(name: str) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Return a network that nobody has called, its inputs and what is said of both."""
    declare_operators()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return FRESH[name][1]()


def called(net: nn.Module, X: Any) -> Any:
    """Return what a plain call returns."""
    if isinstance(X, dict) and not isinstance(net, Forecast):
        return net(**X)
    return net(X)


def leaves(value: Any) -> Iterator[Any]:
    """Yield numbers, words and tensors of what lies in lists and dicts, others by their
    type alone.
    """
    if isinstance(value, dict):
        for key in value:
            # Torch numbers the hooks of a process.
            yield key if isinstance(key, str) else type(key)
            yield from leaves(value[key])
    elif isinstance(value, (set, frozenset)):
        yield from leaves(sorted(value, key=str))
    elif isinstance(value, (list, tuple)):
        yield type(value)
        for each in value:
            yield from leaves(each)
    elif isinstance(value, Tensor):
        yield "tensor", value.dtype, tuple(value.shape), value.requires_grad
        yield value.detach().clone()
    elif isinstance(value, (int, float, str, bool, type(None))):
        yield value
    elif callable(value) and hasattr(value, "__qualname__"):
        yield value.__qualname__
    else:
        yield type(value)


def parts_of(net: nn.Module) -> list[tuple[str, Any]]:
    """Return each attribute of each module: weights, buffers, hooks, modes and all
    else.
    """
    return [
        (f"{name}.{key}", leaf)
        for name, module in net.named_modules()
        for key in sorted(vars(module))
        if key != "_modules"
        for leaf in leaves(vars(module)[key])
    ]


def assert_alike(net: nn.Module, other: nn.Module) -> None:
    """Raise ``AssertionError`` with the name of the first attribute that differs."""
    both = zip(parts_of(net), parts_of(other), strict=True)
    for (name, mine), (wanted_name, theirs) in both:
        assert name == wanted_name, (name, wanted_name)
        if isinstance(mine, Tensor):
            assert mine.shape == theirs.shape, name
            same = torch.equal(mine.nan_to_num(), theirs.nan_to_num())
            assert same, name
        else:
            assert mine == theirs, (name, mine, theirs)


def first_tensor(returned: Any) -> Tensor:
    """Return the numbers that a call is trained for."""
    if isinstance(returned, Tensor):
        return returned
    return returned.logits


def train_a_step(net: nn.Module, X: Any) -> None:
    """Train a network by one step, in training mode, with the same chance."""
    torch.manual_seed(1)
    net.train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    first_tensor(called(net, X)).square().mean().backward()
    optimiser.step()


def outcome(name: str, method: str) -> str:
    """Explain a fresh network, compare it with a copy, and return ``"done"`` or why it
    was refused.

    Raises:
        AssertionError: It differs from the copy.
        Exception: An error that is none of permgrad's.
    """
    net, X, options = build(name)
    other = copy.deepcopy(net)
    before = state_of(net, X)
    reason = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            explain_with(
                net,
                X,
                torch.arange(ROWS) % 2 if options["task"] == "classification" else None,
                method=method,
                random_state=0,
                progress=False,
                **{**short(method), **options},
            )
        except pg.PermgradError as error:
            reason = str(error)
        after = state_of(net, X)
        # What the first own call of a network installs stays.
        own = ("hooks", "weights", "identity", "requires_grad", "grad", "filters")
        assert_untouched(
            {fact: state for fact, state in before.items() if fact not in own},
            after,
        )
        chance = torch.get_rng_state()
        mine = called(net, X)
        torch.set_rng_state(chance)
        theirs = called(other, X)
        assert list(leaves_of_returned(mine)) == list(leaves_of_returned(theirs))
        assert_alike(net, other)
        train_a_step(net, X)
        train_a_step(other, X)
        assert_alike(net, other)
    assert not reason or CODE.search(reason), reason
    return f"refused: {reason}" if reason else "done"


def leaves_of_returned(returned: Any) -> Iterator[Any]:
    """Yield what a call returns, so that it can be compared."""
    if isinstance(returned, Tensor):
        yield tuple(returned.shape)
        yield returned.detach().numpy().tobytes()
    elif isinstance(returned, dict):
        for name, value in returned.items():
            yield name
            yield from leaves_of_returned(value)
    elif isinstance(returned, (list, tuple)):
        for value in returned:
            yield from leaves_of_returned(value)
    else:
        yield type(returned)


def main() -> None:
    """Write the record."""
    cells: dict[str, dict[str, str]] = {}
    for name, (package, _) in FRESH.items():
        cells[f"{package} {name}"] = row = {}
        for method in METHODS:
            row[method] = outcome(name, method)
            print(f"{name}, {method}: {row[method]}", flush=True)  # noqa: T201 — a script
    packages = (*dict.fromkeys(package for package, _ in FRESH.values()), "torch")
    versions = {name: metadata.version(name.replace("_", "-")) for name in packages}
    head = ["git", "rev-parse", "--short=8", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True)
    record = {"commit": commit.stdout.strip(), "versions": versions, "cells": cells}
    (RESULTS / "foreign_fresh.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "foreign_fresh.md").write_text(page(record))


def page(record: dict[str, Any]) -> str:
    """Return the table, with the reasons of refusals below it."""
    versions = ", ".join(
        f"{name} {version}" for name, version in record["versions"].items()
    )
    lines = [
        "# Networks that nobody has called, after each method",
        "",
        _INTRODUCTION,
        "",
        *numbered(record["cells"]),
        "",
        (
            f"Written at {record['commit']} by `.venv-foreign/bin/python "
            f"tests/foreign/fresh.py`, with {versions}."
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
