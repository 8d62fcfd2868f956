"""The sections of an assessment, in the order in which they are computed.

A new one is a file and a line here.
"""

from collections.abc import Callable
from typing import NamedTuple

from permgrad.assess.sections import (
    beside_data,
    cards,
    gradients,
    ranking,
    refits,
    rows,
    scores,
    segments,
    sensitive,
    together,
    what_if,
)
from permgrad.assess.work import Work


class Section(NamedTuple):
    """A section of an assessment.

    Attributes:
        stage: The stage of a run that computes it.
        needs: What rows and model must have (``CAPABILITIES``).
        fill: Fills its fields of the assessment.
    """

    stage: str
    needs: tuple[str, ...]
    fill: Callable[[Work], None]


SECTIONS: tuple[Section, ...] = (
    Section("model", (), scores.scores),
    Section("model", ("table", "even"), segments.segments),
    Section("explanation", (), ranking.ranking),
    Section("explanation", (), rows.single_rows),
    Section("explanation", ("maps",), rows.maps),
    Section("explanation", ("table",), rows.listed),
    Section("explanation", ("table", "one logit", "even"), gradients.gradients),
    Section("explanation", ("table",), beside_data.beside_data),
    Section("explanation", ("table",), cards.cards),
    Section("explanation", (), together.together),
    Section("explanation", ("sensitive",), sensitive.sensitive),
    Section("explanation", ("table", "in a page"), what_if.changeable),
    Section("explanation", ("table", "in a page"), what_if.words),
    Section("explanation", ("refits",), refits.refits),
)
