"""Networks of other libraries: each is explained by every method that applies, or
refused with a remedy; unchanged.

``make test-foreign`` makes the environment that these need; where a library is missing,
its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from networks import NETWORKS
from table import METHODS, REMEDY, outcome

#: Tables and texts have no map.
WITH_MAPS = (
    "widedeep FTTransformer, text, image",
    "transformers CLIP, image classification",
    "transformers CLIP, score of a pair",
    "transformers ViLT",
)
#: Each row's output depends on the other rows, or there are several numbers for each
#: output.
NEVER = ("transformers CLIP, images of a batch against its texts", "tabm, its members")


def applies(name: str, method: str) -> bool:
    """Return whether a method must explain a network."""
    if name in NEVER:
        return False
    if method == "gradcam":
        return name in WITH_MAPS or NETWORKS[name][0] in (
            "monai",
            "timm",
            "vit_pytorch",
        )
    return True


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_explained_or_refused_with_a_remedy(name, method):
    package = NETWORKS[name][0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}; make test-foreign installs it")
    explanation, reason = outcome(name, method)
    if not applies(name, method):
        assert explanation is None
        assert REMEDY.search(reason), reason
        return
    if method == "ale":  # of single columns: all else is refused, or NaN
        if explanation is None:
            assert REMEDY.search(reason), reason
            return
        defined_values = explanation.values[~np.isnan(explanation.values)]
        assert np.isfinite(defined_values).all()
        assert np.abs(defined_values).max() > 0
        return
    assert explanation is not None, reason
    assert np.isfinite(explanation.values).all()
    assert np.abs(explanation.values).max() > 0 or method == "gradcam"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("timm DenseNet", [16, 4, 4]),
        ("timm ResNet", [256, 2, 2]),
        ("timm ViT", [16, 4, 4]),
        ("transformers CLIP, image classification", [16, 4, 4]),
        ("transformers ViLT", [16, 4, 4]),
    ],
)
def test_where_maps_are_read(name, shape):
    if importlib.util.find_spec(NETWORKS[name][0]) is None:
        pytest.skip(f"needs {NETWORKS[name][0]}; make test-foreign installs it")
    explanation, reason = outcome(name, "gradcam")
    assert explanation is not None, reason
    assert next(iter(explanation.meta["layer_shape"].values())) == shape, (
        explanation.meta["layer"]
    )
