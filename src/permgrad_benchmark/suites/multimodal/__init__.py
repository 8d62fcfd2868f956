"""The multimodal suite: two image and two clinical modalities, and decision functions whose importances are known.

Images, bottleneck features and clinical columns make the forty features (``images``, ``autoencoder``, ``clinical``);
``functions`` says what the label is made of and ``truth`` what each modality is worth; ``pairs``, ``network`` and
``training`` make the network; ``ours`` and ``peers`` are the contestants. A new function is one ``register_function``
call; a new method of permgrad enrols itself; a peer is an entry in ``peers``.
"""

from permgrad_benchmark.suites.multimodal import ours, peers
from permgrad_benchmark.suites.multimodal.functions import DecisionFunction, linear, register_function
from permgrad_benchmark.suites.multimodal.suite import MultimodalSuite
from permgrad_benchmark.suites.multimodal.truth import true_importance

__all__ = [
    "DecisionFunction",
    "MultimodalSuite",
    "linear",
    "ours",
    "peers",
    "register_function",
    "true_importance",
]
