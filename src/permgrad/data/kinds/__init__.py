"""The kinds of columns, one file each: how a kind reads cells, encodes and names them,
how it is drawn, compared and worded, and its form for the page.
"""

# isort: off — in this order messages list the kinds, and columns are offered to them.
from permgrad.data.kinds import (
    boolean,
    categorical,
    constant,
    date,
    identifier,
    image,
    numeric,
    text,
)

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
