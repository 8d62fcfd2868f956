"""Shapley values: the registered method, the games, and the ways of sharing them
out.
"""
