"""Shapley values: ``method`` is the registered method, ``game`` says what a coalition is worth.

``exact`` enumerates coalitions, ``sampled`` draws orders or balanced coalitions (``designs`` says which, ``balanced``
solves them), ``loss`` shares out a loss over many rows, ``owen`` holds the tree that orders respect, and ``grid`` lays
out many coalitions of the same rows at once.
"""
