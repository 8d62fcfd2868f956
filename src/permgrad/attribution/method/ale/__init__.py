"""Accumulated local effects: columns on an axis, their curves and surfaces."""
