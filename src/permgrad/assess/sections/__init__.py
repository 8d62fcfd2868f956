"""The sections of an assessment, in the order in which they are computed.

A new one is a file and a line here.
"""

from collections.abc import Callable

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

#: Of each section the stage of a run that computes it, what it needs
#: (``CAPABILITIES``), and what fills its fields.
SECTIONS: tuple[tuple[str, tuple[str, ...], Callable[[Work], None]], ...] = (
    ("model", (), scores.scores),
    ("model", ("table", "even"), segments.segments),
    ("explanation", (), ranking.ranking),
    ("explanation", (), rows.single_rows),
    ("explanation", ("maps",), rows.maps),
    ("explanation", ("table",), rows.listed),
    ("explanation", ("table", "one logit", "even"), gradients.gradients),
    ("explanation", ("table",), beside_data.beside_data),
    ("explanation", ("table",), cards.cards),
    ("explanation", (), together.together),
    ("explanation", ("sensitive",), sensitive.sensitive),
    ("explanation", ("table", "in a page"), what_if.changeable),
    ("explanation", ("table", "in a page"), what_if.words),
    ("explanation", ("refits",), refits.refits),
)
