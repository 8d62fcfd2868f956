"""Shapley values: ``method`` is the registered method, ``game`` says what a coalition is worth.

``exact`` enumerates coalitions, ``sampled`` draws orders, ``loss`` shares out a loss over many rows, ``owen`` holds the
tree that orders respect, and ``grid`` lays out many coalitions of the same rows at once.
"""
