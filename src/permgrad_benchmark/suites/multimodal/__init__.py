"""The multimodal suite: two image and two clinical modalities, and decision functions
whose importances are known.

Images with bottleneck features (``autoencoder``) and clinical columns make the forty
features. ``functions`` defines these columns and the labels, and the importance of each
modality. ``pairs`` and ``training`` make the network. ``ours`` and ``peers`` are the
contestants. A new function needs one ``register_function`` call, a peer an entry in
``peers``. A new method of permgrad takes part by itself.
"""

from permgrad_benchmark.suites.multimodal import ours, peers
from permgrad_benchmark.suites.multimodal.functions import (
    DecisionFunction,
    linear,
    register_function,
    true_importance,
)
from permgrad_benchmark.suites.multimodal.suite import MultimodalSuite

__all__ = [
    "DecisionFunction",
    "MultimodalSuite",
    "linear",
    "ours",
    "peers",
    "register_function",
    "true_importance",
]
