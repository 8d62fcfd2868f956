"""The trained network: its branches and layers, its training, and the place of each
column in its image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from permgrad.imaging.layout import layout_to_dict
from permgrad.models.losses import named_loss
from permgrad.models.network.network_summary import layer_rows


@dataclass(kw_only=True)
class NetworkSection:
    """The trained network. ``summary`` is the table of its layers."""

    preset: str = ""
    branches: Sequence[str] = ()
    parameters: int = 0
    summary: pd.DataFrame | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    order: str = ""


@dataclass(kw_only=True)
class TrainingSection:
    """The training: ``history`` has ``epoch, train_loss, validation_loss``, ``loss`` is
    the name of the loss.
    """

    history: pd.DataFrame
    best_epoch: int
    seconds: float
    loss: str


@dataclass(kw_only=True)
class LayoutSection:
    """The place of each encoded column in the image: a labelled picture (SVG markup)
    and its legend.

    ``shape``: height and width of a grid that is no square of ``pixels``, and channels.
    """

    drawing: str
    name: str
    pixels: int
    text: str
    table: pd.DataFrame | None = None
    shape: Sequence[int] = ()


def network_sections(
    model: Any, *, preset: str = "", drawing: str | None = None
) -> dict[str, Any]:
    """Return ``network``, ``training`` and ``layout`` of a model that has them.

    ``drawing``: the layout as SVG.
    """
    if not hasattr(model, "network_options_"):
        return {}
    module = model.module_
    order = model.order_
    if order is None:
        sentence = ""
    else:
        sentence = order.sentence(model.task)
    columns = ["part", "layer", "shape per row", "parameters"]
    layers = []
    for layer_row in layer_rows(module):
        layers.append(
            (
                layer_row.part,
                layer_row.layer,
                " × ".join(map(str, layer_row.shape)),
                layer_row.parameters,
            )
        )
    network = NetworkSection(
        preset=preset or (model.preset if isinstance(model.preset, str) else ""),
        branches=tuple(module.paths),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        summary=pd.DataFrame(layers, columns=columns),
        options={**model.network_options_, **model.training_options_},
        order=f"{sentence[0].upper()}{sentence[1:]}." if sentence else "",
    )
    loss_name = str(model.training_options_.get("loss", "loss"))
    loss = named_loss(loss_name)
    training = TrainingSection(
        history=model.history_,
        best_epoch=int(model.best_epoch_),
        seconds=float(
            model.history_["seconds"].sum()
        ),  # over all sessions of an interrupted training
        loss=loss_name if loss is None else loss.training_words,
    )
    sections = {"network": network, "training": training, "layout": None}
    layout = getattr(getattr(model, "renderer_", None), "layout", None)
    if layout is not None and getattr(module, "image_branch", None) is not None:
        sections["layout"] = _layout_section(model, layout, drawing)
    return sections


def _layout_section(model: Any, layout: Any, drawing: str | None) -> LayoutSection:
    """Return how encoded columns are drawn, with a table of their pixels."""
    from permgrad.imaging.picture import (
        layout_svg,
    )  # loads matplotlib, which few networks need

    names = list(model.preprocessor_.encoded_names_)
    content = layout_to_dict(layout)
    positions = pd.DataFrame(
        content["positions"],
        columns=["row", "column", "channel"][: len(layout.shape)],
    )
    positions.insert(0, "encoded column", names)
    positions = positions[positions["row"] >= 0]
    return LayoutSection(
        drawing=layout_svg(layout, names) if drawing is None else drawing,
        name=content["name"],
        pixels=content["pixels"],
        table=positions,
        shape=content.get("shape", ()),
        text="The value of an encoded column is the brightness of its pixel. All "
        "others have none.",
    )
