"""The methods written again, slowly, for small networks: rows are put together by hand and predicted one by one."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from explaining import donor_rows
from network_cases import Case
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]


def _stand(
    leaves: list[Tensor],
    points: list[Tensor],
    _part: nn.Module,
    args: Any,
    output: Tensor,
) -> Tensor | None:
    """Let an embedding's output stand for the codes that it looks up."""
    for place, leaf in enumerate(leaves):
        if not leaf.is_floating_point() and torch.equal(args[0], leaf):
            points[place] = output.detach().requires_grad_()
            return points[place]
    return None


class Twin:
    """What a case's network says, asked row by row, and the explanations that follow from it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rows = case.tensors
        self.shared = case.others is None
        self.donors = case.tensors if case.others is None else case.others
        self.count = len(self.rows[0])
        self.options = case.options
        self.players = _players(case)
        self.base = self.predict(self.rows)

    # ---- the network ---------------------------------------------------------------------------------------------

    def predict(self, tensors: list[Tensor]) -> Floats:
        """Return the outputs of rows, ``(rows, outputs)``; each goes through the network alone."""
        net, found = self.case.net, []
        modes = {part: part.training for part in net.modules()}
        net.eval()
        try:
            with torch.no_grad():
                for row in range(len(tensors[0])):
                    returned = net(*(own[row : row + 1].clone() for own in tensors))
                    found.append(
                        self.case.read(returned).detach().double().reshape(1, -1)
                    )
        finally:
            for part, mode in modes.items():
                part.training = mode
        return torch.cat(found).numpy()

    def probabilities(self, outputs: Floats) -> Floats:
        """Return the probability of every class."""
        last = self.case.last
        if last in ("softmax", "sigmoid"):
            own = outputs
        elif outputs.shape[1] == 1:
            own = 1 / (1 + np.exp(-outputs))
        else:
            wide = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            own = wide / wide.sum(axis=1, keepdims=True)
        return np.concatenate([1 - own, own], axis=1) if own.shape[1] == 1 else own

    def readout(self, outputs: Floats) -> Floats:
        """Return the numbers explained, of the outputs asked for."""
        if self.case.last != "values":
            outputs = self.probabilities(outputs)
            if self.options.get("output") != "probability":
                outputs = np.log(outputs)
                two = outputs.shape[1] == 2
                outputs -= outputs[:, ::-1].copy() if two else outputs.mean(1)[:, None]
                if two and self.options.get("target") is None:
                    return outputs[:, 1:]
        target = self.options.get("target")
        return outputs if target is None else outputs[:, [target]]

    def losses(self, outputs: Floats, rows: npt.NDArray[Any]) -> Floats:
        """Return each row's loss; without y the divergence from its own prediction."""
        y = self.case.y
        if self.case.last == "values":
            wanted = (
                self.base[rows]
                if y is None
                else np.asarray(y, dtype=float).reshape(self.count, -1)[rows]
            )
            columns = (
                slice(None)
                if self.options.get("target") is None
                else [self.options["target"]]
            )
            changes = outputs - wanted
            if y is None and changes[:, columns].shape[1] > 1:
                # Several numbers are measured in units of their own spread.
                spread = self.predict(self.donors).std(axis=0)
                changes = changes / np.where(spread > 1e-6, spread, 1)
            return (changes**2)[:, columns].mean(axis=1)
        shares = self.probabilities(outputs)
        if y is not None:
            return -np.log(shares[np.arange(len(rows)), np.asarray(y)[rows]])
        own = self.probabilities(self.base[rows])
        return np.maximum((own * (np.log(own) - np.log(shares))).sum(axis=1), 0)

    def classes(self) -> npt.NDArray[Any] | None:
        """Return each row's class: the true one, or, without y, the predicted one."""
        if self.case.last == "values":
            return None
        return (
            np.asarray(self.case.y)
            if self.case.y is not None
            else self.probabilities(self.base).argmax(axis=1)
        )

    # ---- replacing ---------------------------------------------------------------------------------------------------

    def blend(
        self, rows: npt.NDArray[Any], others: list[Tensor], names: list[str]
    ) -> list[Tensor]:
        """Return rows in which these players' positions come from others."""
        found = []
        for place, own in enumerate(self.rows):
            mine = own[torch.as_tensor(rows)].clone()
            for name in names:
                mask = self.players[name][place]
                mine[:, mask] = others[place].expand(mine.shape)[:, mask].to(mine.dtype)
            found.append(mine)
        return found

    def replaced(self, names: list[str], key: str, repeat: int) -> Floats:
        """Return predictions of all rows with players taken from the donors of one repeat."""
        rows = np.arange(self.count)
        donors = donor_rows(
            self.options["random_state"],
            key,
            repeat,
            rows,
            len(self.donors[0]),
            shared=self.shared,
        )
        return self.predict(
            self.blend(
                rows, [own[torch.as_tensor(donors)] for own in self.donors], names
            )
        )

    def spread(self, losses: Floats) -> Floats:
        """Return the mean over all rows, and over those of each class."""
        classes = self.classes()
        if classes is None:
            return np.array([losses.mean()])
        count = max(2, self.base.shape[1])
        groups = [losses[classes == number] for number in range(count)]
        if self.base.shape[1] > 1 and self.options.get("target") is not None:
            groups = groups[: self.options["target"] + 1][-1:]
        return np.array(
            [losses.mean(), *(own.mean() if len(own) else np.nan for own in groups)]
        )

    # ---- methods -----------------------------------------------------------------------------------------------------

    def permutation(self) -> Floats:
        """Return the effect of replacing each player alone: the loss's change, or, locally, the output's."""
        repeats, every = self.options["n_repeats"], np.arange(self.count)
        values = []
        for name in self.players:
            outputs = [self.replaced([name], name, repeat) for repeat in range(repeats)]
            values.append(self._effect(outputs, every))
        return self._stacked(values)

    def ablation(self) -> Floats:
        """Return the effect of setting each player to what is typical of the background."""
        every = np.arange(self.count)
        typical = []
        for own in self.donors:
            if own.is_floating_point():
                # Of an even number of rows torch's own median is the lower of the two in the middle.
                middle = np.median(own.double().numpy(), axis=0, keepdims=True)
                typical.append(torch.as_tensor(middle).to(own.dtype))
            else:
                typical.append(own.mode(dim=0, keepdim=True).values)
        values = [
            self._effect([self.predict(self.blend(every, typical, [name]))], every)
            for name in self.players
        ]
        return self._stacked(values)

    def _effect(self, outputs: list[Floats], rows: npt.NDArray[Any]) -> Floats:
        if self.options["scope"] == "local":
            return self.readout(self.base) - np.mean(
                [self.readout(own) for own in outputs], axis=0
            )
        before = self.losses(self.base, rows)
        return self.spread(
            np.mean([self.losses(own, rows) - before for own in outputs], axis=0)
        )

    def _stacked(self, values: list[Floats]) -> Floats:
        return np.stack(values, axis=1 if self.options["scope"] == "local" else 0)

    def modalities(self) -> Floats:
        """Return the Shapley values of replacing whole inputs."""
        names, repeats, every = (
            list(self.players),
            self.options["n_repeats"],
            np.arange(self.count),
        )
        worth = {
            some: self._effect(
                [
                    self.replaced(list(some), "modalities", repeat)
                    for repeat in range(repeats)
                ],
                every,
            )
            for size in range(1, len(names) + 1)
            for some in itertools.combinations(names, size)
        }
        return self._stacked([_shapley(worth, names, name) for name in names])

    def shapley(self) -> Floats:
        """Return the Shapley values of each row's output over all background rows."""
        names, others = list(self.players), len(self.donors[0])
        worth: dict[tuple[str, ...], Floats] = {}
        for size in range(len(names) + 1):
            for kept in itertools.combinations(names, size):
                gone = [name for name in names if name not in kept]
                rows = np.repeat(np.arange(self.count), others)
                donors = [
                    own.repeat(self.count, *[1] * (own.ndim - 1)) for own in self.donors
                ]
                outputs = self.readout(self.predict(self.blend(rows, donors, gone)))
                worth[kept] = outputs.reshape(self.count, others, -1).mean(axis=1)
        nobody = worth.pop(())
        worth = {kept: value - nobody for kept, value in worth.items()}
        return np.stack([_shapley(worth, names, name) for name in names], axis=1)

    def gradient(self) -> Floats:
        """Return the sums of absolute slopes, of codes at their embedding."""
        case, values = self.case, []
        modes = {part: part.training for part in case.net.modules()}
        case.net.eval()
        try:
            for row in range(self.count):
                leaves = [
                    own[row : row + 1].clone().requires_grad_(own.is_floating_point())
                    for own in self.rows
                ]
                points, given = list(leaves), [own.clone() for own in leaves]
                hooks = [
                    part.register_forward_hook(partial(_stand, given, points))
                    for part in case.net.modules()
                    if isinstance(part, nn.Embedding)
                ]
                outputs = case.read(case.net(*given)).reshape(1, -1)
                for hook in hooks:
                    hook.remove()
                numbers = [
                    place for place, point in enumerate(points) if point.requires_grad
                ]
                shown = self._readout_tensor(outputs)
                columns = []
                for column in range(shown.shape[1]):
                    slopes: Any = [None] * len(leaves)
                    if shown.requires_grad:
                        free = [points[place] for place in numbers]
                        made = torch.autograd.grad(
                            shown[0, column], free, retain_graph=True, allow_unused=True
                        )
                        for place, own in zip(numbers, made, strict=True):
                            codes = own is not None and own.ndim > leaves[place].ndim
                            slopes[place] = own.abs().sum(dim=-1) if codes else own
                    slopes = [
                        torch.zeros_like(leaf) if own is None else own
                        for own, leaf in zip(slopes, leaves, strict=True)
                    ]
                    columns.append(
                        [
                            sum(
                                float(own[0][mask].abs().sum())
                                for own, mask in zip(slopes, masks, strict=True)
                            )
                            for masks in self.players.values()
                        ]
                    )
                values.append(np.array(columns).T)
        finally:
            for part, mode in modes.items():
                part.training = mode
        return np.stack(values)

    def _readout_tensor(self, outputs: Tensor) -> Tensor:
        last, target = self.case.last, self.options.get("target")
        if last != "values":
            if self.options.get("output") == "probability":
                if last in ("logits", "log_softmax"):
                    outputs = (
                        torch.sigmoid(outputs)
                        if outputs.shape[1] == 1
                        else torch.softmax(outputs, dim=1)
                    )
            elif last == "softmax":
                outputs = outputs.log()
            elif last == "sigmoid":
                outputs = outputs.log() - (1 - outputs).log()
            if self.options.get("output") != "probability":
                if outputs.shape[1] == 1:  # the log-odds of the second class
                    outputs = torch.cat([-outputs, outputs], dim=1)
                elif outputs.shape[1] == 2:
                    outputs = outputs - outputs.flip(1)
                else:
                    outputs = outputs - outputs.mean(dim=1, keepdim=True)
                if outputs.shape[1] == 2 and target is None:
                    return outputs[:, 1:]
        return outputs if target is None else outputs[:, [target]]


def _shapley(
    worth: dict[tuple[str, ...], Floats], names: list[str], name: str
) -> Floats:
    total = 0.0
    for size in range(len(names)):
        weight = (
            math.factorial(size)
            * math.factorial(len(names) - size - 1)
            / math.factorial(len(names))
        )
        for others in itertools.combinations(
            [own for own in names if own != name], size
        ):
            joined = tuple(own for own in names if own in (*others, name))
            total = total + weight * (
                worth[joined] - (worth[others] if others else 0.0)
            )
    return np.asarray(total)


def _players(case: Case) -> dict[str, list[Tensor]]:
    """Return for each player its positions, bool, in each input."""
    features: dict[str, list[Tensor]] = {}
    owner: dict[str, str] = {}
    for place, (name, part, tensor) in enumerate(
        zip(case.names, case.parts, case.tensors, strict=True)
    ):
        shape = tensor.shape[1:]
        pieces: dict[str, Tensor] = {}
        if part == "image":
            half = torch.arange(shape[-1]) * 2 // shape[-1]
            for row, column in itertools.product(range(2), range(2)):
                pieces[f"{name}[{row},{column}]"] = (
                    (half == row)[:, None] & (half == column)
                ).expand(shape)
        else:
            for column in range(shape[0]):
                pieces[f"{name}[{column}]"] = torch.arange(shape[0]) == column
        for feature, mask in pieces.items():
            features[feature] = [
                mask if k == place else torch.zeros(own.shape[1:], dtype=torch.bool)
                for k, own in enumerate(case.tensors)
            ]
            owner[feature] = name
    if case.options["level"] == "group":
        owner = {feature: feature for feature in features}
        for group, members in case.options["groups"].items():
            owner |= dict.fromkeys(members, group)
    elif case.options["level"] != "modality":
        return features
    joined: dict[str, list[Tensor]] = {}
    for feature, masks in features.items():
        before = joined.get(owner[feature], [torch.zeros_like(mask) for mask in masks])
        joined[owner[feature]] = [
            one | two for one, two in zip(before, masks, strict=True)
        ]
    return joined
