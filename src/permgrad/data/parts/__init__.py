"""Parquet tables that need not fit in memory, as numbered parts."""
