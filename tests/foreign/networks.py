"""Small networks of other libraries, with rows for them; weights are drawn, nothing is
downloaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 6
#: Declared once for the process: torchvision asks for them when it is imported, and its
#: own do not load without CUDA.
_STAND_INS: list[Any] = []

NETWORKS: dict[str, tuple[str, Callable[[], tuple[nn.Module, Any]]]] = {}


def register(name: str, package: str) -> Callable[..., Any]:
    """Register a builder of ``(network, inputs)`` that needs a package."""

    def keep(
        build: Callable[[], tuple[nn.Module, Any]],
    ) -> Callable[[], tuple[nn.Module, Any]]:
        NETWORKS[name] = (package, build)
        return build

    return keep


def declare_operators() -> None:
    """Declare the operators that torchvision's import asks for, so that libraries that
    import it can be used.
    """
    if not _STAND_INS and not hasattr(torch.ops.torchvision, "nms"):
        operator_library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            operator_library.define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        _STAND_INS.append(operator_library)


def build(name: str) -> tuple[nn.Module, Any]:
    """Return a network and its inputs, the same each time."""
    declare_operators()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return NETWORKS[name][1]()


def codes(high: int, *shape: int) -> Tensor:
    return torch.randint(0, high, (ROWS, *shape))


# ---- pytorch-widedeep: one dict, the forward's only required parameter ---------------


def _columns() -> dict[str, Any]:
    names = ["colour", "shape", "age", "size"]
    return {
        "column_idx": {name: column_index for column_index, name in enumerate(names)},
        "continuous_cols": names[2:],
    }


def _mixed_table() -> Tensor:
    return torch.cat([1 + codes(3, 2).float(), torch.randn(ROWS, 2)], dim=1)


def _wide_deep(table: nn.Module, *, more: bool = False) -> tuple[nn.Module, Any]:
    from pytorch_widedeep.models import BasicRNN, Vision, WideDeep

    rows: dict[str, Tensor] = {"deeptabular": _mixed_table()}
    if not more:
        return WideDeep(deeptabular=table, pred_dim=2), rows
    text = BasicRNN(vocab_size=12, embed_dim=6, hidden_dim=6, n_layers=1, padding_idx=0)
    image = Vision(
        pretrained_model_setup=None, channel_sizes=[3, 6, 8], kernel_sizes=3, strides=1
    )
    rows |= {"deeptext": 1 + codes(11, 5), "deepimage": torch.randn(ROWS, 3, 16, 16)}
    return WideDeep(deeptabular=table, deeptext=text, deepimage=image, pred_dim=2), rows


@register("widedeep TabMlp", "pytorch_widedeep")
def _() -> Any:
    from pytorch_widedeep.models import TabMlp

    embed = [("colour", 4, 3), ("shape", 4, 3)]
    return _wide_deep(TabMlp(**_columns(), cat_embed_input=embed, mlp_hidden_dims=[8]))


@register("widedeep TabTransformer", "pytorch_widedeep")
def _() -> Any:
    from pytorch_widedeep.models import TabTransformer

    embed = [("colour", 4), ("shape", 4)]
    return _wide_deep(
        TabTransformer(
            **_columns(), cat_embed_input=embed, input_dim=8, n_heads=2, n_blocks=1
        )
    )


@register("widedeep FTTransformer, text, image", "pytorch_widedeep")
def _() -> Any:
    from pytorch_widedeep.models import FTTransformer

    embed = [("colour", 4), ("shape", 4)]
    table = FTTransformer(
        **_columns(), cat_embed_input=embed, input_dim=8, n_heads=2, n_blocks=1
    )
    return _wide_deep(table, more=True)


# ---- tables --------------------------------------------------------------------------


@register("rtdl FT-Transformer", "rtdl_revisiting_models")
def _() -> Any:
    from rtdl_revisiting_models import FTTransformer

    net = FTTransformer(n_cont_features=3, cat_cardinalities=[4, 3], d_out=2, n_blocks=1, d_block=8,
                        attention_n_heads=2, attention_dropout=0.1, ffn_d_hidden=8, ffn_d_hidden_multiplier=None,
                        ffn_dropout=0.1, residual_dropout=0.0)  # fmt: skip
    return net, {"x_cont": torch.randn(ROWS, 3), "x_cat": codes(3, 2)}


@register("rtdl ResNet", "rtdl_revisiting_models")
def _() -> Any:
    from rtdl_revisiting_models import ResNet

    return ResNet(d_in=4, d_out=2, n_blocks=2, d_block=8, d_hidden=8, d_hidden_multiplier=None, dropout1=0.1,
                  dropout2=0.1), torch.randn(ROWS, 4)  # fmt: skip


class Averaged(nn.Module):
    """What its page says for predictions: the mean of the members."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x_num: Tensor) -> Tensor:
        return self.inner(x_num).mean(dim=1)


def _tabm() -> nn.Module:
    from tabm import TabM

    return TabM.make(n_num_features=4, d_out=2, k=4, n_blocks=1, d_block=8)


@register("tabm, its members", "tabm")
def _() -> Any:
    return _tabm(), torch.randn(ROWS, 4)


@register("tabm, their mean", "tabm")
def _() -> Any:
    return Averaged(_tabm()), torch.randn(ROWS, 4)


# ---- transformers, from a configuration ----------------------------------------------


@register("transformers BERT", "transformers")
def _() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                        max_position_embeddings=16)  # fmt: skip
    mask = torch.ones(ROWS, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    return BertForSequenceClassification(config), {
        "input_ids": codes(30, 6),
        "attention_mask": mask,
    }


def _vision(kind: Any) -> Any:
    return kind(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                patch_size=4)  # fmt: skip


@register("transformers CLIP, images of a batch against its texts", "transformers")
def _() -> Any:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    text = CLIPTextConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        eos_token_id=29,
    )
    config = CLIPConfig(
        text_config=text.to_dict(),
        vision_config=_vision(CLIPVisionConfig).to_dict(),
        projection_dim=8,
    )
    ids = codes(28, 6)
    ids[:, -1] = 29
    return CLIPModel(config), {
        "input_ids": ids,
        "pixel_values": torch.randn(ROWS, 3, 16, 16),
    }


class PairScore(nn.Module):
    """How well each row's text fits its image: a number for each row, as a contrastive
    network is explained.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> Tensor:
        both_outputs = self.inner(input_ids=input_ids, pixel_values=pixel_values)
        return (both_outputs.text_embeds * both_outputs.image_embeds).sum(
            dim=1, keepdim=True
        )


@register("transformers CLIP, score of a pair", "transformers")
def _() -> Any:
    net, inputs = NETWORKS["transformers CLIP, images of a batch against its texts"][
        1
    ]()
    return PairScore(net), inputs


@register("transformers CLIP, image classification", "transformers")
def _() -> Any:
    from transformers import CLIPConfig, CLIPForImageClassification, CLIPVisionConfig

    config = CLIPConfig(
        vision_config=_vision(CLIPVisionConfig).to_dict(),
        projection_dim=8,
        num_labels=2,
    )
    return CLIPForImageClassification(config), {
        "pixel_values": torch.randn(ROWS, 3, 16, 16)
    }


@register("transformers ViLT", "transformers")
def _() -> Any:
    from transformers import ViltConfig, ViltForQuestionAnswering

    config = _vision(ViltConfig)
    config.vocab_size = 30
    config.max_position_embeddings = 8
    config.num_labels = 2
    net = ViltForQuestionAnswering(config)
    return net, {
        "input_ids": codes(30, 6),
        "pixel_values": torch.randn(ROWS, 3, 16, 16),
    }


# ---- images and volumes --------------------------------------------------------------


@register("monai DenseNet 2D", "monai")
def _() -> Any:
    from monai.networks.nets import DenseNet

    return DenseNet(
        2, 1, 2, init_features=4, growth_rate=4, block_config=(2, 2)
    ), torch.randn(ROWS, 1, 24, 24)


@register("monai DenseNet 3D", "monai")
def _() -> Any:
    from monai.networks.nets import DenseNet

    return DenseNet(
        3, 1, 2, init_features=4, growth_rate=4, block_config=(2,)
    ), torch.randn(ROWS, 1, 16, 16, 16)


@register("monai ViT 3D", "monai")
def _() -> Any:
    from monai.networks.nets import ViT

    net = ViT(
        1,
        16,
        8,
        hidden_size=12,
        mlp_dim=12,
        num_layers=1,
        num_heads=2,
        classification=True,
        spatial_dims=3,
    )
    return net, torch.randn(ROWS, 1, 16, 16, 16)


class WithClinical(nn.Module):
    """A network of pictures or volumes whose numbers meet a table before the last
    layer.
    """

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(width + 3, 2)

    def forward(self, scan: Tensor, clinical: Tensor) -> Tensor:
        return self.head(torch.cat([self.trunk(scan), clinical], dim=1))


def _with_clinical(dimensions: int, size: int) -> Any:
    from monai.networks.nets import DenseNet

    trunk = DenseNet(
        dimensions, 1, 4, init_features=4, growth_rate=4, block_config=(2,)
    )
    return WithClinical(trunk, 4), {
        "scan": torch.randn(ROWS, 1, *[size] * dimensions), "clinical": torch.randn(ROWS, 3)
    }  # fmt: skip


@register("monai DenseNet 2D and a table", "monai")
def _() -> Any:
    return _with_clinical(2, 24)


@register("monai DenseNet 3D and a table", "monai")
def _() -> Any:
    return _with_clinical(3, 16)


@register("timm DenseNet", "timm")
def _() -> Any:
    from timm.models.densenet import DenseNet

    return DenseNet(growth_rate=4, block_config=(2, 2), num_classes=2), torch.randn(
        ROWS, 3, 32, 32
    )


@register("timm ResNet", "timm")
def _() -> Any:
    import timm

    return timm.create_model("resnet10t", num_classes=2), torch.randn(ROWS, 3, 32, 32)


@register("timm ViT", "timm")
def _() -> Any:
    from timm.models.vision_transformer import VisionTransformer

    net = VisionTransformer(
        img_size=16,
        patch_size=4,
        num_classes=2,
        embed_dim=16,
        depth=2,
        num_heads=2,
        reg_tokens=2,
    )
    return net, torch.randn(ROWS, 3, 16, 16)


@register("vit-pytorch ViT", "vit_pytorch")
def _() -> Any:
    from vit_pytorch import ViT

    net = ViT(
        image_size=16, patch_size=4, num_classes=2, dim=16, depth=2, heads=2, mlp_dim=16
    )
    return net, torch.randn(ROWS, 3, 16, 16)


# ---- sequences -----------------------------------------------------------------------


class LastStep(nn.Module):
    """An LSTM of torch whose last step is classified."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.lstm(series)[0][:, -1])


@register("torch LSTM", "torch")
def _() -> Any:
    return LastStep(3), torch.randn(ROWS, 12, 3)
