"""Named data sets with their cards.

They are read from ``PERMGRAD_DATA`` or the cache, or downloaded.
"""

from permgrad.data.datasets import sets
from permgrad.data.datasets.dataset_store import (
    DataCard,
    Dataset,
    Download,
    cache_folder,
    cards,
    fetch_dataset,
    get_card,
    list_datasets,
    load_dataset,
)

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
