"""Named data sets, one per file, each with a data card.

Lookup order: the folder that ``PERMGRAD_DATA`` names, the cache (``PERMGRAD_CACHE`` or the platform's), a download. A
new data set is a new file that registers a ``DataCard`` and one import below.
"""

from permgrad.data.datasets import bank, breast_cancer, covertype, dengue, gas, heloc, puma
from permgrad.data.datasets.card import DataCard, Dataset, Download, cards
from permgrad.data.datasets.store import cache_folder, fetch_dataset, get_card, list_datasets, load_dataset

__all__ = [
    "DataCard",
    "Dataset",
    "Download",
    "bank",
    "breast_cancer",
    "cache_folder",
    "cards",
    "covertype",
    "dengue",
    "fetch_dataset",
    "gas",
    "get_card",
    "heloc",
    "list_datasets",
    "load_dataset",
    "puma",
]
