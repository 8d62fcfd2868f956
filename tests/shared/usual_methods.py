"""The methods that explain estimators and networks of any kind: all of them."""

from __future__ import annotations

from permgrad.attribution import methods

#: In an order of their own: that of their registration depends on what is imported
#: first.
USUAL = sorted(methods)
