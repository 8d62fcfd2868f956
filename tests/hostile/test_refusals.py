"""Each place that refuses a model by PG032 or PG033: its message is met, and the remedy
that it names works.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

import pytest
from refusals import CODES, Refusal, raises_of
from refusals_of_models import OF_MODELS
from refusals_of_networks import OF_NETWORKS

import permgrad as pg

ENTRIES = (*OF_NETWORKS, *OF_MODELS)


def test_every_refusal_of_the_source_has_an_entry() -> None:
    in_source = Counter(raises_of(Path(pg.__file__).parent))
    in_table = Counter((entry.file, entry.stem) for entry in ENTRIES)
    assert len(in_source) > 30
    lacking = in_source - in_table
    assert not lacking, f"add to tests/shared/refusals_of_*.py: {list(lacking)}"
    assert set(in_table) <= set(in_source), "an entry without a refusal"
    # Refusals of one stem differ in what they name.
    assert len({(entry.file, entry.stem, entry.named) for entry in ENTRIES}) == len(
        ENTRIES
    )


@pytest.mark.parametrize(
    "entry",
    ENTRIES,
    ids=lambda entry: f"{entry.file}: {entry.stem[:40]} {entry.named[:20]}",
)
@pytest.mark.filterwarnings("ignore")
def test_the_remedy_that_a_refusal_names_works(entry: Refusal) -> None:
    with pytest.raises(pg.InputError) as caught:
        entry.refused()
    assert caught.value.code in CODES
    assert re.match(entry.pattern, str(caught.value), re.DOTALL), str(caught.value)
    assert entry.named in str(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert entry.remedied() is not None
