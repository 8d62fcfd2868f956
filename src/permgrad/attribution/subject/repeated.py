"""What a network of permgrad said of the same rows in an earlier call.

Single rows are explained one by one, and each call begins with the rows that the model
keeps and with pairs of them: three quarters of its predictions. Nothing is kept in the
user's objects, and what was kept is of no use once a weight has changed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from permgrad.models.fast.folding import watched
from permgrad.models.network.network import HybridNetwork

#: Batches whose outputs are kept, of which those asked for last stay.
_BATCHES = 32
#: Numbers of a network from which on to look at its weights takes longer than a row.
_LARGE = 5_000_000


class Repeated:
    """Outputs of one network for batches of rows, by the digest of the rows."""

    def __init__(self, weights: bytes) -> None:
        self.weights = weights
        self._outputs: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = Lock()

    def of(self, asked_name: str, rows: Tensor, ask: Callable[[], Tensor]) -> Tensor:
        """Return the outputs of rows, which are asked for if they are new.

        Args:
            asked_name: Which part of the network is asked.
            rows: The rows, ``(rows, encoded)``.
            ask: Returns the outputs, ``(rows, outputs)``.
        """
        key = _digest(asked_name, rows)
        with self._lock:
            outputs = self._outputs.pop(key, None)
        if outputs is None:
            outputs = ask()
        with self._lock:
            self._outputs[key] = outputs
            while len(self._outputs) > _BATCHES:
                self._outputs.popitem(last=False)
        return outputs.clone()


_networks: WeakKeyDictionary[HybridNetwork, Repeated] = WeakKeyDictionary()


def repeated(module: HybridNetwork) -> Repeated | None:
    """Return what is kept of a network in eval mode.

    None: it is large, draws images, or somebody watches its parts, who is to see each
    call.
    """
    weights = [*module.parameters(), *module.buffers()]
    is_plain = type(module) is HybridNetwork and module.image_branch is None
    if not is_plain or watched(module):
        return None
    if sum(weight.numel() for weight in weights) > _LARGE:
        return None
    digests = []
    for weight in weights:
        digests.append(_digest(str(weight.device), weight))
    joined_digests = b"".join(digests)
    network_answers = _networks.get(module)
    if network_answers is None or network_answers.weights != joined_digests:
        network_answers = Repeated(joined_digests)
        _networks[module] = network_answers
    return network_answers


def _digest(words: str, numbers: Tensor) -> bytes:
    """Return a digest of a tensor and of words about it."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{words} {numbers.dtype} {tuple(numbers.shape)}".encode())
    flat = numbers.detach().cpu().contiguous().flatten()
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.digest()
