"""How good models are, and how good explanations are."""
