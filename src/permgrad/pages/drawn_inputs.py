"""Images, series, volumes and texts that a model reads, drawn with the values of an explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.pages import plots
from permgrad.pages.choices import pick_output
from permgrad.pages.plots._inputs import KINDS, shown_inputs
from permgrad.pages.units import output_words
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.rows import RowSection
    from permgrad.attribution.explanation import Explanation
    from permgrad.pages.views import SectionView

#: Sides of an input that is an image.
_IMAGE = 2


def row_pictures(row: RowSection) -> list[tuple[Any, str]]:
    """Draw the inputs of a row with its attributions, its images also with their activation maps."""
    pictures, local = [], row.explanation
    output = pick_output(local, row.output)
    words = output_words(local, "prediction", output)
    about = f"What moves the {words} up (blue) and down (orange), over the"
    noun = "input" if row.maps is None else "image"
    sides = [(local, about)] if row.maps is None else [(local, about), (row.maps, "Grad-CAM, over the")]
    for explanation, text in sides:
        for name, dimensions in shown_inputs(explanation).items():
            heat = explanation.maps.get(f"maps:{name}")
            if not name or (heat is not None and not np.any(heat[row.row])):
                continue  # the image of a hybrid network, or no part of the input supports any output
            draw = getattr(plots, KINDS[dimensions])
            picture = draw(explanation, row=row.row, input=name, output=output, title="")
            pictures.append((picture, f"{text} {noun} {name}."))
    if local.meta.get("tokens") is not None:
        text = f"The words of the row. Blue moves the {words} up, orange down."
        pictures.append((plots.text(local, row=row.row, output=output, title=""), text))
    return pictures


def where(section: SectionView, _: Assessment, main: Explanation) -> None:
    """Where in its inputs the model finds what it relies on: a ranking of segments, drawn on the mean of each input."""
    for name, dimensions in shown_inputs(main).items():
        if f"images:{name}" not in main.maps:
            continue
        title, drawn = f"Where in {name}", f"Mean of {name}, and the importance of each part."
        text = "The numbers of the ranking, drawn on the mean of the explained rows."
        if dimensions == _IMAGE:
            title = f"Where in the images: {name}"
            drawn = f"Left: mean of the images in {name}. Right: importance of each patch."
            text = (
                "The numbers of the ranking, drawn on the mean image of the explained rows. If one patch is shuffled, "
                "its neighbours can make up for it. All patches together can therefore matter far more than the sum "
                "suggests."
            )
        section.add("heading", clean(title))
        section.text(text)
        section.figure(getattr(plots, KINDS[dimensions])(main, input=name, title=""), clean(drawn))
