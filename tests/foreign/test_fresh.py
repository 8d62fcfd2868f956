"""Networks of other libraries that nobody has called are as a copy after an explanation
by each method.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fresh import FRESH, outcome
from table import METHODS, REMEDY

#: Of these one label for each place is to be compared with ``y``, which has one for
#: each row.
REFUSED = ("LLaVA, all places",)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", list(FRESH))
def test_a_fresh_network_is_as_a_copy_that_was_not_explained(name, method):
    package = FRESH[name][0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}; make test-foreign installs it")
    said = outcome(name, method)
    if method not in ("gradcam", "ale"):
        assert (said == "done") is (name not in REFUSED), said
    assert said == "done" or REMEDY.search(said)
