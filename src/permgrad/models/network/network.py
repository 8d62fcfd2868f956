"""The hybrid network: one row, read as a table and as an image, both readings joined by
a head.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError
from permgrad.base.sequences import values_at
from permgrad.models.branches import added_branches, joined_branches
from permgrad.models.branches.head_branches import IMAGE, TABLE
from permgrad.models.network.additive import Additive
from permgrad.models.network.blocks import RandomKernels, Rate, dense_stack, initialize_
from permgrad.models.network.members import MemberLinear, MemberMean
from permgrad.models.network.options import NetworkOptions
from permgrad.models.network.table_and_image import (
    TableBranch,
    image_branch,
    shift_images,
)

#: Share of training rows that lack a kind of columns.
ABSENT = 0.15


def _whole(blocks: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return blocks of columns as lists of plain whole numbers."""
    return [list(map(int, block)) for block in blocks]


def _absent_columns(blocks: Sequence[Sequence[int]], encoded: int) -> Tensor:
    """Return for each block which of the encoded columns it has."""
    absent = torch.zeros(len(blocks), encoded, dtype=torch.bool)
    for row, block in enumerate(blocks):
        absent[row, list(block)] = True
    return absent


def _options_of(options: NetworkOptions | Mapping[str, Any] | None) -> NetworkOptions:
    """Return options that may be a mapping, or left out."""
    if isinstance(options, NetworkOptions):
        return options
    return NetworkOptions.from_mapping(options or {})


class HybridNetwork(nn.Module):
    """``head(mlp(x), cnn(R(x))) + linear(x) + trees(x)`` over encoded rows ``x (rows,
    encoded)`` with images ``R(x)``.

    Either path of the head may be left out. What ``add_path`` gave the network beside
    the head is ``additive``, and ``paths`` are those of the head, then those beside it.
    The parts are open: ``table_branch``, ``image_branch`` (a plain ``nn.Sequential``
    that ends in a vector), ``head`` (an ``nn.Sequential`` that starts with a ``Linear``
    on ``[tabular, image]``), and ``numeric_columns``, the encoded columns that are
    embedded as numbers (None: all). ``level_blocks``: for each category with many
    levels its encoded columns, embedded if ``level_embedding_size`` is not 0.
    ``score_blocks``: of texts, of photos and of levels the encoded columns of each, one
    per output, which the table branch sums. ``products``: encoded columns with slopes
    of levels, each with the column by which the table branch multiplies it.
    ``absent_blocks``: the scores of all texts, and of all photos. In training each
    block is 0 for some rows, which is what a missing or unseen cell is, so that a
    network learns to do without. ``image_shape``: size of the images ``(channels,
    height, width)`` where the ``renderer`` is set later. What ``kernels`` say of the
    image stands behind the image branch's vector, and is added to what the head says.
    ``rates``: outputs are exponentials, of each member's.

    Examples:
        >>> net = HybridNetwork(5, 2, {"dense_units": [8]}, paths=("tabular",)).eval()
        >>> net(torch.zeros(3, 5)).shape
        torch.Size([3, 2])
    """

    absent: Tensor

    def __init__(
        self,
        encoded: int,
        outputs: int,
        options: NetworkOptions | Mapping[str, Any] | None = None,
        *,
        renderer: nn.Module | None = None,
        image_shape: Sequence[int] | None = None,
        paths: Sequence[str] = (TABLE.name, IMAGE.name),
        numeric_columns: Sequence[int] | None = None,
        level_blocks: Sequence[Sequence[int]] = (),
        score_blocks: Sequence[Sequence[Sequence[int]]] = (),
        absent_blocks: Sequence[Sequence[int]] = (),
        products: Sequence[Sequence[int]] = (),
        rates: bool = False,
        additive: Mapping[str, nn.Module] | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.head_paths = check_paths(paths)
        self.rates = rates
        self.additive = _in_order(additive or {})
        #: what each branch beside the head has of the outputs. The head has the rest
        self.shares = {name: float((shares or {})[name]) for name in self.additive}
        self.rate = Rate() if rates else None
        self.options = _options_of(options)
        self.options.check()
        self.encoded = int(encoded)
        self.outputs = int(outputs)
        self.numeric_columns = list(range(self.encoded))
        if numeric_columns is not None:
            self.numeric_columns = list(map(int, numeric_columns))
        self.level_blocks = _whole(level_blocks)
        self.score_blocks = list(map(_whole, score_blocks))
        absent = _absent_columns(absent_blocks, self.encoded)
        self.register_buffer("absent", absent, persistent=False)
        self.table_branch: TableBranch | None = None
        self.image_branch: nn.Sequential | None = None
        self.kernels: RandomKernels | None = None
        self.renderer: nn.Module | None = None
        #: width of each embedding that the head joins
        self.widths: dict[str, int] = {}
        self.members = 1
        if TABLE.name in self.head_paths:
            self._make_table_branch(products)
            self.members = self.options.members
        if IMAGE.name in self.head_paths:
            self._make_image_branch(renderer, image_shape)
        self.head = self._make_head()

    def _make_table_branch(self, products: Sequence[Sequence[int]]) -> None:
        """Make the branch that reads the row as a table."""
        blocks = self.level_blocks, self.score_blocks, products
        self.table_branch = TableBranch(
            self.encoded, self.options, self.numeric_columns, *blocks
        )
        self.widths[TABLE.name] = self.table_branch.out_features

    def _make_image_branch(
        self, renderer: nn.Module | None, image_shape: Sequence[int] | None
    ) -> None:
        """Make the branch that reads images, of the renderer's size or another."""
        self.renderer = renderer
        if renderer is not None:
            with torch.no_grad():
                image_shape = renderer(torch.zeros(1, self.encoded)).shape[1:]
        assert image_shape is not None, "the image path has a renderer"
        channels, height, width = map(int, image_shape)
        self.image_shape = channels, height, width
        self.image_branch, self.widths[IMAGE.name] = image_branch(
            self.image_shape, self.options
        )
        if self.options.random_kernels:
            self.kernels = RandomKernels(
                self.image_shape, self.options.random_kernels, self.outputs
            )

    def _make_head(self) -> nn.Sequential:
        """Return the layers from the joined embeddings to the outputs."""
        layers, width = dense_stack(
            sum(self.widths.values()), self.options.fusion_units, self.options
        )
        # The output is linear: He's factor for rectifiers would double its variance.
        initializer = self.options.initializer
        if initializer == "torch":
            for_output = "torch"
        else:
            for_output = "glorot_uniform"
        if self.rates:
            rate_layers = [Rate()]
        else:
            rate_layers = []
        if self.members == 1:
            output_layer = nn.Linear(width, self.outputs)
            initialize_(output_layer, for_output)
            return nn.Sequential(*layers, output_layer, *rate_layers)
        # Each member has an embedding of the table of its own.
        entries = dict(self.widths)
        entries[TABLE.name] //= self.members
        members: dict[str, Any] = {"members": self.members, "per_member": (TABLE.name,)}
        if layers:
            units = self.options.fusion_units[0]
            layers[0] = MemberLinear(
                entries, units, shared=True, initializer=initializer, **members
            )
            entries = {TABLE.name: width}
            layers.append(nn.Flatten())
        last_layer = MemberLinear(
            entries, self.outputs, shared=False, initializer=for_output, **members
        )
        return nn.Sequential(
            *layers, last_layer, *rate_layers, MemberMean(self.members)
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths in their fixed order."""
        return (*self.head_paths, *self.additive)

    def embed(self, path: str, encoded: Tensor) -> Tensor:
        """Return one path's embedding ``(rows, widths[path])``, ``"image"``'s with what
        ``kernels`` say behind it.

        Of a path beside the head it is what is added to the outputs ``(rows,
        outputs)``.
        """
        if path in self.additive:
            branch_outputs: Tensor = self.additive[path](encoded)
            if self.rate is None:
                return branch_outputs
            return self.rate(branch_outputs)
        if path == TABLE.name and self.table_branch is not None:
            table_embedding: Tensor = self.table_branch(encoded)
            return table_embedding
        if path != IMAGE.name or self.renderer is None or self.image_branch is None:
            raise KeyError(f"a network of {self.paths} has no branch {path!r}")
        images = self.renderer(encoded)
        if self.training and self.options.image_shift:
            images = shift_images(images, self.options.image_shift)
        if images.shape[1] == 1:
            # One channel lies in both memory formats. Named as the last, all layers
            # behind compute in that one.
            images = images.reshape(len(images), *images.shape[2:], 1).permute(
                0, 3, 1, 2
            )
        embedding: Tensor = self.image_branch(images)
        return self.with_kernels(embedding, images)

    def with_kernels(self, embedding: Tensor, images: Tensor) -> Tensor:
        """Return the image path's embedding: the image branch's, and behind it what the
        kernels say.
        """
        if self.kernels is None:
            return embedding
        return torch.cat([embedding, self.kernels(images)], dim=1)

    def fuse(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Join the embeddings of all paths into outputs ``(rows, outputs)``."""
        return self._said(embeddings, self.head)

    def _said(self, embeddings: Mapping[str, Tensor], head: nn.Module) -> Tensor:
        """Return what a head says of the embeddings of its paths, and the others.

        A path alone is not copied.
        """
        path_embeddings = values_at(embeddings, self.head_paths)
        if len(path_embeddings) == 1:
            joined = path_embeddings[0]
        else:
            joined = torch.cat(path_embeddings, dim=1)
        width = sum(self.widths.values())
        added = values_at(embeddings, self.additive)
        if self.kernels is not None:
            joined, kernels = joined[:, :width], joined[:, width:]
            added.insert(0, kernels)
        head_outputs: Tensor = head(joined)
        for added_outputs in added:
            head_outputs = head_outputs + (
                added_outputs
                if head_outputs.ndim == added_outputs.ndim
                else added_outputs[:, None]
            )
        return head_outputs

    def forward(self, encoded: Tensor) -> Tensor:
        """Return logits, or the standardised prediction, ``(rows, outputs)``: of
        ``rates`` multiples of their mean.
        """
        if self.training and len(self.absent):
            encoded = self._with_absent(encoded)
        return self.fuse(
            {
                branch_path: self.embed(branch_path, encoded)
                for branch_path in self.paths
            }
        )

    def _with_absent(self, encoded: Tensor) -> Tensor:
        """Return rows as they are trained on: some of them without their texts, some
        without their photos.
        """
        lacks = (
            torch.rand(len(encoded), len(self.absent), 1, device=encoded.device)
            < ABSENT
        )
        return encoded.masked_fill((lacks & self.absent).any(dim=1), 0.0)

    def member_outputs(self, encoded: Tensor) -> Tensor:
        """Return what each member says, ``(rows, members, outputs)``.

        ``forward`` returns their mean.
        """
        if self.members == 1:
            return torch.unsqueeze(self(encoded), 1)
        if self.training and len(self.absent):
            encoded = self._with_absent(encoded)
        return self._said(
            {
                branch_path: self.embed(branch_path, encoded)
                for branch_path in self.paths
            },
            self.head[:-1],
        )

    @torch.no_grad()
    def divide_outputs(self, divisor: float) -> None:
        """Divide what the network says by a number, in the weights of each part's last
        layer.
        """
        if self.rates:
            self.raise_outputs(-math.log(divisor))
            return
        for numbers in (self._last_layer.weight, self._last_layer.bias):
            numbers.div_(divisor)
        self._scale_beside(1 / divisor)

    @torch.no_grad()
    def raise_outputs(self, shift: float) -> None:
        """Add a number to what the network says, of rates to their logarithm."""
        self._last_layer.bias.add_(shift)
        if self.rates:
            self._scale_beside(math.exp(shift))

    def _scale_beside(self, factor: float) -> None:
        """Multiply what all parts beside the head say."""
        if self.kernels is not None:
            _scale_kernels(self.kernels, factor)
        for branch in self.additive.values():
            self._scale_branch(branch, factor)

    def _scale_branch(self, branch: nn.Module, factor: float) -> None:
        assert isinstance(branch, Additive)
        if self.rates:  # of which it says the logarithm
            branch.raise_(math.log(factor))
        else:
            branch.scale_(factor)

    @torch.no_grad()
    def add_kernels(self, kernels: RandomKernels, share: float) -> None:
        """Let kernels with a readout have a share of the outputs, and all else the
        rest.
        """
        self._give_up(share)
        _scale_kernels(kernels, share)
        self.kernels = kernels.to(self._last_layer.weight)
        self.options = replace(self.options, random_kernels=kernels.count)

    @torch.no_grad()
    def add_path(self, name: str, branch: nn.Module, share: float) -> None:
        """Let a branch ``(rows, encoded) -> (rows, outputs)`` have a share of the
        outputs, and all else the rest.

        ``name``: one of ``added_branches()``, once. Of ``rates`` the branch says the
        logarithm. Its weights are changed.

        Examples:
            >>> from permgrad.models.network.additive import LinearBranch
            >>> net = HybridNetwork(5, 2, {"dense_units": [8]}, paths=("tabular",))
            >>> net = net.eval()
            >>> net.add_path("linear", LinearBranch(5, 2), 0.25)
            >>> net.paths, net.shares
            (('tabular', 'linear'), {'linear': 0.25})
        """
        check_choice("name", name, added_branches())
        assert name not in self.additive, f"there are {name} already"
        self._give_up(share)
        self._scale_branch(branch, share)
        branches = {
            **self.additive,
            name: branch.to(self._last_layer.weight.device).train(self.training),
        }
        self.additive = _in_order(branches)
        shares = {}
        for branch_name in self.additive:
            shares[branch_name] = self.shares.get(branch_name, share)
        self.shares = shares

    def without(self, *paths: str) -> HybridNetwork:
        """Return a network of the same weights that lacks paths beside the head."""
        reduced_network = copy(self)
        object.__setattr__(reduced_network, "_modules", dict(self._modules))
        reduced_network.additive = nn.ModuleDict(
            {
                branch_name: branch
                for branch_name, branch in self.additive.items()
                if branch_name not in paths
            }
        )
        shares = {}
        for share_name, share in self.shares.items():
            if share_name not in paths:
                shares[share_name] = share
        reduced_network.shares = shares
        return reduced_network

    def _give_up(self, share: float) -> None:
        """Leave a share of the outputs to somebody else."""
        self.divide_outputs(1 / (1 - share))
        shares = {}
        for branch_name, branch_share in self.shares.items():
            shares[branch_name] = branch_share * (1 - share)
        self.shares = shares

    @property
    def _last_layer(self) -> nn.Linear | MemberLinear:
        return next(
            layer
            for layer in reversed(self.head)
            if isinstance(layer, (nn.Linear, MemberLinear))
        )

    def image_layers(self) -> dict[str, nn.Module]:
        """Return the convolution layers by name, in order.

        Class activation maps are read at the last by default.
        """
        if self.image_branch is None:
            return {}
        convolutions = []
        for layer in self.image_branch:
            if isinstance(layer, nn.Conv2d):
                convolutions.append(layer)
        return {
            f"conv{number}": layer for number, layer in enumerate(convolutions, start=1)
        }


def _in_order(branches: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """Return branches beside a head in the order in which they are registered."""
    ordered = nn.ModuleDict()
    for name in added_branches():
        if name in branches:
            ordered[name] = branches[name]
    assert len(ordered) == len(branches), f"{[*branches]} are not all registered"
    return ordered


@torch.no_grad()
def _scale_kernels(kernels: RandomKernels, factor: float) -> None:
    for numbers in kernels.readout.parameters() if kernels.readout is not None else ():
        numbers.mul_(factor)


def check_paths(paths: Any) -> tuple[str, ...]:
    """Return the paths in their fixed order, or say what is wrong with them."""
    if isinstance(paths, Iterable) and not isinstance(paths, str):
        names = tuple(paths)
    else:
        names = (paths,)
    for path_name in names:
        check_choice("branches", path_name, joined_branches())
    if not names or len(set(names)) != len(names):
        problem = (
            f"branches must name 'tabular', 'image' or both, each once, got {names!r}"
        )
        raise InputError(
            problem,
            hint="Pass for example branches=('tabular', 'image').",
            code="PG003",
        )
    return tuple(known_path for known_path in joined_branches() if known_path in names)
