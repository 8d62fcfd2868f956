"""Methods that explain estimators and networks of any kind; the others read attention, which only transformers have."""

from __future__ import annotations

from permgrad.attribution import methods

OF_TRANSFORMERS = ("attention_rollout", "token_relevance")
#: In an order of their own: that of their registration depends on what is imported first.
USUAL = sorted(name for name in methods if name not in OF_TRANSFORMERS)
