"""``SubjectRows``: what is explained of a model, and compared with what."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from permgrad.attribution.players.segments import ImageShape
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.subject.subject import Subject


@dataclass(frozen=True)
class SubjectRows:
    """A model with the rows explained, the rows they are compared with, and their
    features.

    Attributes:
        subject: The model as it is called with these inputs.
        inputs: The rows explained, ``(rows, *)`` for each input. They must not be
            changed.
        donors: The background, ``(donors, *)`` for each input, or ``inputs`` itself
            where the rows are their own background.
        space: The features, as players of every input.
        shapes: How each input is read as an image, a series or a volume, if it is.
    """

    subject: Subject
    inputs: tuple[Tensor, ...]
    donors: tuple[Tensor, ...]
    space: PlayerSpace
    shapes: tuple[ImageShape | None, ...] = ()
