"""The kinds of columns, one file each: how a kind reads cells, encodes and names them,
how it is drawn, compared and worded, and its form for the page.
"""

# In this order messages list the kinds, and columns are offered to them.
# isort: off
from permgrad.data.kinds import numeric, categorical, boolean, constant, identifier
from permgrad.data.kinds import date, text, image
# isort: on

__all__ = [
    "boolean",
    "categorical",
    "constant",
    "date",
    "identifier",
    "image",
    "numeric",
    "text",
]
