"""Named data sets, each with a data card.

Lookup order: the folder that ``PERMGRAD_DATA`` names, the cache (``PERMGRAD_CACHE`` or the platform's), a download. A
new data set registers a ``DataCard``.
"""

from permgrad.data.datasets import sets
from permgrad.data.datasets.card import DataCard, Dataset, Download, cards
from permgrad.data.datasets.store import cache_folder, fetch_dataset, get_card, list_datasets, load_dataset

__all__ = [
    "DataCard",
    "Dataset",
    "Download",
    "cache_folder",
    "cards",
    "fetch_dataset",
    "get_card",
    "list_datasets",
    "load_dataset",
    "sets",
]
