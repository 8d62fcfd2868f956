"""``Explanation``, its files, and the statistics of its numbers."""

from permgrad.attribution.explanation.explanation import Explanation

__all__ = ["Explanation"]
