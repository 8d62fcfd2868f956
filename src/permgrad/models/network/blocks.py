"""The small pieces that branches and heads are made of: activations, initialisers, dense and convolution blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

ActivationName = Literal["relu", "gelu", "silu", "mish", "selu", "tanh"]
InitializerName = Literal["he_normal", "he_uniform", "glorot_uniform", "torch"]
NormalizationName = Literal["batch", "layer", "none"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
}
INITIALIZERS: tuple[str, ...] = ("he_normal", "he_uniform", "glorot_uniform", "torch")
NORMALIZATIONS: tuple[str, ...] = ("batch", "layer", "none")


def initialize_(layer: nn.Linear | nn.Conv2d, initializer: str) -> None:
    """Draw the layer's weights from torch's global generator and set its bias to zero; ``"torch"`` leaves both.

    Sources: He et al. 2015 (arXiv 1502.01852), equation 10, for ``he_*``; Glorot & Bengio 2010, equation 16.
    """
    if initializer == "torch":
        return
    if initializer == "he_normal":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif initializer == "he_uniform":
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def dense_block(
    inputs: int, units: int, *, activation: str, normalization: str, dropout: float, initializer: str
) -> list[nn.Module]:
    """Return the layers Linear, activation, normalisation, dropout; parts that do nothing are left out.

    Shape:
        ``(rows, inputs)`` to ``(rows, units)``.
    """
    linear = nn.Linear(inputs, units)
    initialize_(linear, initializer)
    layers: list[nn.Module] = [linear, ACTIVATIONS[activation]()]
    if normalization == "batch":
        layers.append(nn.BatchNorm1d(units))
    elif normalization == "layer":
        layers.append(nn.LayerNorm(units))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return layers


def dense_stack(
    inputs: int, units: Sequence[int], *, activation: str, normalization: str, dropout: float, initializer: str
) -> tuple[list[nn.Module], int]:
    """Return the layers of one dense block after the other, and the width of the last one."""
    layers: list[nn.Module] = []
    for width in units:
        layers += dense_block(
            inputs,
            width,
            activation=activation,
            normalization=normalization,
            dropout=dropout,
            initializer=initializer,
        )
        inputs = width
    return layers, inputs


def convolution_block(
    channels: int,
    filters: int,
    *,
    kernel_size: int,
    pooling: int,
    activation: str,
    normalization: str,
    dropout: float,
    initializer: str,
) -> list[nn.Module]:
    """Return the layers Conv2d (same padding), activation, normalisation, max pooling, dropout.

    Shape:
        ``(rows, channels, height, width)`` to ``(rows, filters, height // pooling, width // pooling)``.
    """
    convolution = nn.Conv2d(channels, filters, kernel_size, padding=kernel_size // 2)
    initialize_(convolution, initializer)
    layers: list[nn.Module] = [convolution, ACTIVATIONS[activation]()]
    if normalization == "batch":
        layers.append(nn.BatchNorm2d(filters))
    elif normalization == "layer":
        # One group over all channels and pixels: layer normalisation for maps.
        layers.append(nn.GroupNorm(1, filters))
    if pooling > 1:
        layers.append(nn.MaxPool2d(pooling))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return layers
