"""Networks that only predict: a hybrid network's branches and head, and dense chains, with all folded that can be."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from permgrad.models.fast.folding import DenseStack, hooked, is_plain
from permgrad.models.fast.head_entry import HeadEntry
from permgrad.models.fast.image_chain import ImageChain
from permgrad.models.fast.table_entry import TableEntry
from permgrad.models.network.network import HybridNetwork

#: What a network of our own computes with; dimensions of a map.
_METHODS, _MAP = ("forward", "embed", "embed_image", "fuse"), 4


class FoldedNetwork:
    """Predicts what the network in eval mode predicts, up to rounding, in about half of its time.

    Shape: ``(rows, encoded)`` to ``(rows, outputs)``.
    """

    def __init__(self, module: HybridNetwork) -> None:
        self.module = module
        # A subclass may embed and fuse in another way, and hooks want to be called.
        unchanged = all(getattr(type(module), name) is getattr(HybridNetwork, name) for name in _METHODS)
        watched = hooked(module) or not unchanged
        self._as_it_is = watched
        self.head = None if watched else HeadEntry.read(module)
        self.table = None if watched else TableEntry.read(module.table_branch)
        self.image = None if watched else ImageChain.read(module)

    def embed(self, path: str, encoded: Tensor) -> Tensor:
        """Return one path's embedding ``(rows, widths[path])``, or the map that it is before it is flattened."""
        if path == "tabular" and self.table is not None:
            return self.table.leave(self.table.enter(encoded))
        if path == "image" and self.image is not None:
            return self.image(encoded)
        return self.module.embed(path, encoded)

    def fuse(self, embeddings: dict[str, Tensor]) -> Tensor:
        """Return outputs from the embeddings of all paths."""
        if self.head is None:
            flat = {
                path: embedding.flatten(1) if embedding.ndim == _MAP else embedding
                for path, embedding in embeddings.items()
            }
            return self.module.fuse(embeddings if self.image is None else flat)
        return self.head.finish([self.head.share(path, embeddings[path]) for path in self.module.paths])

    def __call__(self, encoded: Tensor) -> Tensor:
        """Return logits, or the standardised prediction."""
        if self._as_it_is:
            out: Tensor = self.module(encoded)
            return out
        return self.fuse({path: self.embed(path, encoded) for path in self.module.paths})


#: Layers of a chain that act on each row's numbers alone.
_OF_A_CHAIN = (
    nn.Linear, nn.BatchNorm1d, nn.LayerNorm, nn.Dropout, nn.Identity,
    nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.SELU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.Hardswish,
)  # fmt: skip


def fold(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return a function that predicts what a network in eval mode predicts, faster; None for unknown networks."""
    if type(module) is HybridNetwork:
        return FoldedNetwork(module)
    if type(module) is nn.Sequential and not hooked(module):
        layers = list(module)
        dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
        suits = all(type(layer) in _OF_A_CHAIN and not hooked(layer) for layer in layers)
        if suits and all(is_plain(layer, nn.Linear) for layer in dense):
            return DenseStack(layers)
    return None
