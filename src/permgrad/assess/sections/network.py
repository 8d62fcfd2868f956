"""The trained network: its branches and layers, its training, and the place of each column in its image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from permgrad.imaging.layout import layout_to_dict
from permgrad.imaging.picture import layout_svg
from permgrad.models.network.summary import draw_network, layer_rows


@dataclass(kw_only=True)
class NetworkSection:
    """The trained network. ``drawing`` is a Figure or SVG markup, ``summary`` the table of layers."""

    preset: str = ""
    branches: Sequence[str] = ()
    parameters: int = 0
    drawing: Any = None
    summary: pd.DataFrame | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(kw_only=True)
class TrainingSection:
    """The training: ``history`` has ``epoch, train_loss, validation_loss``, ``loss`` is the name of the loss."""

    history: pd.DataFrame
    best_epoch: int
    seconds: float
    loss: str


@dataclass(kw_only=True)
class LayoutSection:
    """The place of each encoded column in the image: a labelled picture (a Figure or SVG markup) and its legend."""

    drawing: Any
    name: str
    pixels: int
    text: str
    table: pd.DataFrame | None = None


def network_sections(model: Any, *, preset: str = "", drawing: str | None = None) -> dict[str, Any]:
    """Return ``network``, ``training`` and ``layout`` of a model that has them. ``drawing``: the layout as SVG."""
    if not hasattr(model, "history_"):
        return {}
    module, order = model.module_, getattr(model, "order_", None)
    said = "" if order is None else order.sentence(model.task)
    notes = [f"{said[0].upper()}{said[1:]}."] if said else []
    if hasattr(model, "draw_network"):
        branches, options, picture = tuple(module.paths), model.network_options_, draw_network(module)
        columns = ["part", "layer", "shape per row", "parameters"]
        layers = [(row.part, row.layer, " × ".join(map(str, row.shape)), row.parameters) for row in layer_rows(module)]
    else:
        branches, options, picture = ("images", "table"), asdict(module.options), None
        columns = ["part", "name", "layer", "parameters"]
        layers = [
            (name.partition(".")[0], name.partition(".")[2] or name, repr(layer), sum(p.numel() for p in weights))
            for name, layer in module.named_modules()
            if name and not list(layer.children()) and (weights := list(layer.parameters()))
        ]
        notes = [
            f"Images of column {image.name}: {image.height} × {image.width} pixels, "
            f"{'red, green and blue' if image.channels == 3 else 'grey'}."
            for image in model.images_
        ]
    network = NetworkSection(
        preset=preset or (model.preset if isinstance(model.preset, str) else ""),
        branches=branches,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        drawing=picture,
        summary=pd.DataFrame(layers, columns=columns),
        options={**options, **model.training_options_},
        notes=notes,
    )
    loss = str(model.training_options_.get("loss", "loss"))
    units = {"cross_entropy": "cross-entropy, nats", "squared_error": "squared error of the standardised target"}
    training = TrainingSection(
        history=model.history_,
        best_epoch=int(model.best_epoch_),
        seconds=float(model.history_["seconds"].sum()),  # over all sessions of an interrupted training
        loss=units.get(loss, loss),
    )
    sections = {"network": network, "training": training, "layout": None}
    layout = getattr(getattr(model, "renderer_", None), "layout", None)
    if layout is not None and "image" in getattr(module, "paths", ()):
        names, content = list(model.preprocessor_.encoded_names_), layout_to_dict(layout)
        positions = pd.DataFrame(content["positions"], columns=["row", "column"])
        positions.insert(0, "encoded column", names)
        positions = positions[positions["row"] >= 0]
        sections["layout"] = LayoutSection(
            drawing=layout_svg(layout, names) if drawing is None else drawing,
            name=content["name"],
            pixels=content["pixels"],
            table=positions,
            text="The value of an encoded column is the brightness of its pixel. All others have none.",
        )
    return sections
