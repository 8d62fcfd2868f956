"""Images, series, volumes and texts that a model reads, drawn with the values of an explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.pages import plots
from permgrad.pages.choices import pick_output
from permgrad.pages.plots._inputs import KINDS, shown_inputs
from permgrad.pages.units import output_words

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.extra import ExtraSection
    from permgrad.assess.sections.rows import RowSection

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


def where_sections(content: Assessment) -> list[ExtraSection]:
    """Draw a ranking of segments on the mean of each input."""
    main, found = content.explanation, []
    for name, dimensions in {} if main is None else shown_inputs(main).items():
        if main is None or f"images:{name}" not in main.maps:
            continue
        text = "The numbers of the ranking, drawn on the mean of the explained rows."
        drawn, title = f"Mean of {name}, and the importance of each part.", f"Where in {name}"
        if dimensions == _IMAGE:
            title, drawn = (
                f"Where in the images: {name}",
                f"Left: mean of the images in {name}. Right: importance of each patch.",
            )
            text = (
                "The numbers of the ranking, drawn on the mean image of the explained rows. If one patch is shuffled, "
                "its neighbours can make up for it. All patches together can therefore matter far more than the sum "
                "suggests."
            )
        from permgrad.assess.sections.extra import ExtraSection  # few pages have one

        drawing = getattr(plots, KINDS[dimensions])(main, input=name, title="")
        found.append(ExtraSection(title=title, text=(text,), drawing=drawing, drawing_text=drawn, tab="features"))
    return found
