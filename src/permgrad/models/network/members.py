"""Layers of a network that is many: members that share nearly all weights, and differ
in a scale of what they read.

After TabM (Gorishniy et al. 2024, arXiv 2410.24210): k members read the same row, each
scales its columns by its own numbers, all go through the same dense layers, ``(rows,
members, width)``, and each has its own output layer. They are trained as k networks,
each by its own loss, and predict their mean. NOTE[DIFF] TabM means probabilities. Here
logits are meant, so that every attribution that is exact for a network is exact for
many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from permgrad.base.sequences import values_at
from permgrad.models.network.blocks import drawn, initialize_
from permgrad.models.network.products import linear

#: Up to so many units of each member are multiplied and summed: a matrix product with
#: each takes twice as long.
_FEW_UNITS = 2


class MemberScale(nn.Module):
    """Show each member the row ``(rows, width)`` in its own learned scale, ``(rows,
    members, width)``.

    They begin as random signs, so that the members begin as different as they can
    (arXiv 2410.24210, section 3.3).
    """

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            drawn(
                lambda new: torch.randint(0, 2, new.shape).float() * 2 - 1,
                members,
                width,
            )
        )

    def forward(self, values: Tensor) -> Tensor:
        """Scale."""
        return values.unsqueeze(1) * self.weight


class PooledScale(MemberScale):
    """Columns that are summed behind it, the first of each block and so on, have one
    scale per member.
    """

    place: Tensor

    def __init__(
        self, members: int, width: int, pooled: Sequence[Sequence[Sequence[int]]]
    ) -> None:
        first = {}
        for group in pooled:
            for block in group:
                for k, column in enumerate(block):
                    first[column] = group[0][k]
        shown = [first.get(column, column) for column in range(width)]
        own_positions = {}
        for own_position, column in enumerate(sorted(set(shown))):
            own_positions[column] = own_position
        super().__init__(members, len(own_positions))
        own_scales = self._parameters.pop("weight")
        assert own_scales is not None
        self.own = own_scales
        self.register_buffer(
            "place",
            torch.tensor(values_at(own_positions, shown)),
            persistent=False,
        )

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The scales ``(members, width)``, composed of each block's."""
        return self.own[:, self.place]


class MemberLinear(nn.Module):
    """One dense layer over the joined paths for each member, ``(rows, numbers)`` to
    ``(rows, members, units)``.

    A path brings a vector per member (``per_member``), or one for all. With ``shared``
    all members use one matrix, and a path that is the same for all is scaled by numbers
    of each member's own. Otherwise each has its own matrix.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        units: int,
        *,
        members: int,
        per_member: tuple[str, ...],
        shared: bool,
        initializer: str = "he_normal",
    ) -> None:
        super().__init__()
        self.members = members
        self.units = units
        self.shared = shared
        self.widths = dict(widths)
        self.per_member = tuple(
            member_path for member_path in widths if member_path in per_member
        )
        #: numbers of each path's embedding, in the order in which they are joined
        self.sizes = {
            sized_path: width * (members if sized_path in self.per_member else 1)
            for sized_path, width in widths.items()
        }
        self.in_features = sum(self.sizes.values())
        self.out_features = members * units
        layers = [
            nn.Linear(sum(self.widths.values()), units)
            for _ in range(1 if shared else members)
        ]
        for layer in layers:
            initialize_(layer, initializer)
        weights = [layer.weight.detach() for layer in layers]
        self.weight = nn.Parameter(
            drawn(lambda _: torch.stack(weights), len(weights), *weights[0].shape)
        )
        self.bias = nn.Parameter(torch.zeros(members, units))
        common = sum(
            width
            for common_path, width in widths.items()
            if common_path not in self.per_member
        )
        self.scale = (
            nn.Parameter(torch.ones(members, common)) if shared and common else None
        )

    def forward(self, joined: Tensor) -> Tensor:
        """Apply every member's layer."""
        # One path is not split: the slopes towards a part of a tensor are copied into
        # slopes towards all of it.
        if len(self.sizes) > 1:
            path_inputs = joined.split(list(self.sizes.values()), dim=-1)
        else:
            path_inputs = [joined]
        shares = []
        for input_path, path_input in zip(self.sizes, path_inputs, strict=True):
            shares.append(self.share(input_path, path_input))
        return self.join(shares)

    def share(self, path: str, embedding: Tensor) -> Tensor:
        """Return what one path adds to the layer's output before the bias, ``(rows,
        members × units)``.
        """
        if path not in self.per_member:
            return linear(embedding, self.columns(path))
        vectors = embedding.unflatten(-1, (self.members, self.widths[path]))
        if self.shared:
            return linear(vectors, self._slice(path).squeeze(0)).flatten(-2)
        if self.units <= _FEW_UNITS:
            return (vectors.unsqueeze(-2) * self._slice(path)).sum(dim=-1).flatten(-2)
        member_outputs: Tensor = torch.einsum(
            "...kw,kuw->...ku", vectors, self._slice(path)
        ).flatten(-2)
        return member_outputs

    def join(self, shares: list[Tensor]) -> Tensor:
        """Return the layer's output from the shares of all paths."""
        joined: Tensor = shares[0].unflatten(-1, (self.members, self.units)) + self.bias
        for share in shares[1:]:
            joined += share.unflatten(-1, (self.members, self.units))
        return joined

    def columns(self, path: str) -> Tensor:
        """Return the matrix ``(members × units, width)`` on a path that brings one
        vector for all members.
        """
        weight = self._slice(path)
        if self.shared:
            assert self.scale is not None
            weight = weight * self.scale[:, None, self._place(path, common=True)]
        return weight.expand(self.members, -1, -1).flatten(0, 1)

    @property
    def is_last(self) -> bool:
        """Whether each member has its own matrix, on its own vector alone."""
        return (
            not self.shared
            and self.per_member == tuple(self.widths)
            and len(self.widths) == 1
        )

    def mean(self) -> tuple[Tensor, Tensor]:
        """Return the matrix ``(units, in_features)`` and the bias of the members' mean,
        if ``is_last``.
        """
        return self.weight.transpose(0, 1).flatten(1) / self.members, self.bias.mean(
            dim=0
        )

    def _slice(self, path: str) -> Tensor:
        # The whole is no slice of itself: slopes towards a slice are copied.
        if len(self.widths) == 1:
            return self.weight
        return self.weight[:, :, self._place(path)]

    def _place(self, path: str, *, common: bool = False) -> slice:
        """Return where a path's columns lie in ``weight``, or among the columns that
        are scaled.
        """
        names = []
        for path_name in self.widths:
            if not common or path_name not in self.per_member or path_name == path:
                names.append(path_name)
        start = sum(values_at(self.widths, names[: names.index(path)]))
        return slice(start, start + self.widths[path])


class MemberMean(nn.Module):
    """The members' mean, ``(rows, members, outputs)`` to ``(rows, outputs)``."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members

    def forward(self, values: Tensor) -> Tensor:
        """Mean."""
        return values.mean(dim=-2)
