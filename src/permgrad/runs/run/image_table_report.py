"""What the report of a network of images and a table shows that differs from that of a hybrid network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from permgrad.report.page.content import ExtraSection, NetworkSection, RowSection
from permgrad.runs.run.explaining import saved_explanation
from permgrad.runs.run.image_table_explaining import image_inputs

if TYPE_CHECKING:
    from permgrad.models.estimators.image_table import ImageTableModel


def network_section(record: Mapping[str, Any], model: ImageTableModel) -> NetworkSection:
    """Describe the network: its parts, its layers with weights, the images it takes."""
    module = model.module_
    layers = [
        (
            name.partition(".")[0],
            name.partition(".")[2] or name,
            repr(layer),
            sum(p.numel() for p in layer.parameters()),
        )
        for name, layer in module.named_modules()
        if name and not list(layer.children()) and list(layer.parameters())
    ]
    notes = [
        f"Images of column {own.name}: {own.height} × {own.width} pixels, "
        f"{'red, green and blue' if own.channels == 3 else 'grey'}."
        for own in model.images_
    ]
    return NetworkSection(
        preset=str(record["configuration"].get("preset", "")),
        branches=("images", "table"),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        summary=pd.DataFrame(layers, columns=["part", "name", "layer", "parameters"]),
        options={**asdict(module.options), **model.training_options_},
        notes=notes,
    )


def where_in_images(folder: Path) -> list[ExtraSection]:
    """Show the ranking's patches on the mean image of each column."""
    from permgrad.report import plots

    main = saved_explanation(folder, "permgrad")
    if main is None:
        return []
    text = (
        "The same numbers as in the ranking, drawn where the patches lie on the mean image of the explained rows. A "
        "patch that is exchanged alone can be made up for by its neighbours, so that all patches together can be worth "
        "far more than their sum."
    )
    return [
        ExtraSection(
            title=f"Where in the images: {name}",
            text=(text,),
            drawing=plots.image(main, input=name, title=""),
            drawing_text=f"Left: mean of the images in {name}. Right: importance of each patch.",
        )
        for name in image_inputs(main)
    ]


def with_overlays(sections: list[RowSection], folder: Path) -> list[RowSection]:
    """Add to each row its images under the attributions of their patches, and under their activation maps."""
    from permgrad.report import plots

    local, maps = (saved_explanation(folder, name) for name in ("integrated_gradients", "gradcam"))
    found = []
    for section in sections:
        pictures = []
        for own, words in ((local, "What pushes the output up (blue) and down (orange)"), (maps, "Grad-CAM")):
            if own is None:
                continue
            for name in image_inputs(own):
                heat = own.maps.get(f"maps:{name}")
                if heat is not None and not np.any(heat[section.row]):
                    continue  # nothing in the image speaks for any output
                drawn = plots.image(own, row=section.row, input=name, output=section.output, title="")
                pictures.append((drawn, f"{words}, over the image {name}."))
        found.append(replace(section, pictures=pictures))
    return found
