"""Fitting on Parquet files that need not fit in memory."""
