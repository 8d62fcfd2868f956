"""Explanations of tables that need not fit in memory: planned once, computed part by part, merged exactly."""
