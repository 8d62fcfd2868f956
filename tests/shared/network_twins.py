"""The methods written again, slowly, for small networks: rows are put together by hand
and predicted one by one.
"""

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
from replicates import replicates
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
    for leaf_index, leaf in enumerate(leaves):
        if not leaf.is_floating_point() and torch.equal(args[0], leaf):
            points[leaf_index] = output.detach().requires_grad_()
            return points[leaf_index]
    return None


class Twin:
    """What a case's network says, asked row by row, and the explanations that follow
    from it.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.rows = case.tensors
        self.shared = case.others is None
        self.donors = case.tensors if case.others is None else case.others
        self.count = len(self.rows[0])
        self.options = case.options
        self.players = _players(case)
        self.base = self.predict(self.rows)

    # ---- the network -----------------------------------------------------------------

    def predict(self, tensors: list[Tensor]) -> Floats:
        """Return the outputs of rows, ``(rows, outputs)``; each goes through the
        network alone.
        """
        net = self.case.net
        row_outputs = []
        modes = {submodule: submodule.training for submodule in net.modules()}
        net.eval()
        try:
            with torch.no_grad():
                for row in range(len(tensors[0])):
                    returned = net(
                        *(
                            input_tensor[row : row + 1].clone()
                            for input_tensor in tensors
                        )
                    )
                    row_outputs.append(
                        self.case.read(returned).detach().double().reshape(1, -1)
                    )
        finally:
            for single_module, mode in modes.items():
                single_module.training = mode
        return torch.cat(row_outputs).numpy()

    def probabilities(self, outputs: Floats) -> Floats:
        """Return the probability of every class."""
        last = self.case.last
        if last in ("softmax", "sigmoid"):
            class_chances = outputs
        elif outputs.shape[1] == 1:
            class_chances = 1 / (1 + np.exp(-outputs))
        else:
            wide = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            class_chances = wide / wide.sum(axis=1, keepdims=True)
        return (
            np.concatenate([1 - class_chances, class_chances], axis=1)
            if class_chances.shape[1] == 1
            else class_chances
        )

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
            expected_outputs = (
                self.base[rows]
                if y is None
                else np.asarray(y, dtype=float).reshape(self.count, -1)[rows]
            )
            columns = (
                slice(None)
                if self.options.get("target") is None
                else [self.options["target"]]
            )
            changes = outputs - expected_outputs
            if y is None and changes[:, columns].shape[1] > 1:
                # Several numbers are measured in units of their own spread.
                spread = self.predict(self.donors).std(axis=0)
                changes = changes / np.where(spread > 1e-6, spread, 1)
            return (changes**2)[:, columns].mean(axis=1)
        shares = self.probabilities(outputs)
        if y is not None:
            return -np.log(shares[np.arange(len(rows)), np.asarray(y)[rows]])
        base_chances = self.probabilities(self.base[rows])
        return np.maximum(
            (base_chances * (np.log(base_chances) - np.log(shares))).sum(axis=1), 0
        )

    def classes(self) -> npt.NDArray[Any] | None:
        """Return each row's class: the true one, or, without y, the predicted one."""
        if self.case.last == "values":
            return None
        return (
            np.asarray(self.case.y)
            if self.case.y is not None
            else self.probabilities(self.base).argmax(axis=1)
        )

    # ---- replacing -------------------------------------------------------------------

    def blend(
        self, rows: npt.NDArray[Any], donor_tensors: list[Tensor], names: list[str]
    ) -> list[Tensor]:
        """Return rows in which these players' positions come from others."""
        blended_inputs = []
        for input_index, row_tensor in enumerate(self.rows):
            mine = row_tensor[torch.as_tensor(rows)].clone()
            for name in names:
                mask = self.players[name][input_index]
                mine[:, mask] = (
                    donor_tensors[input_index]
                    .expand(mine.shape)[:, mask]
                    .to(mine.dtype)
                )
            blended_inputs.append(mine)
        return blended_inputs

    def replaced(self, names: list[str], key: str, repeat: int) -> Floats:
        """Return predictions of all rows with players taken from the donors of one
        repeat.
        """
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
                rows,
                [donor_tensor[torch.as_tensor(donors)] for donor_tensor in self.donors],
                names,
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
            [
                losses.mean(),
                *(
                    group_losses.mean() if len(group_losses) else np.nan
                    for group_losses in groups
                ),
            ]
        )

    # ---- methods ---------------------------------------------------------------------

    @replicates("permutation")
    def permutation(self) -> Floats:
        """Return the effect of replacing each player alone: the loss's change, or,
        locally, the output's.
        """
        repeats = self.options["n_repeats"]
        every = np.arange(self.count)
        values = []
        for name in self.players:
            outputs = [self.replaced([name], name, repeat) for repeat in range(repeats)]
            values.append(self._effect(outputs, every))
        return self._stacked(values)

    @replicates("ablation")
    def ablation(self) -> Floats:
        """Return the effect of setting each player to what is typical of the
        background.
        """
        every = np.arange(self.count)
        typical = []
        for donor_tensor in self.donors:
            if donor_tensor.is_floating_point():
                # Of an even number of rows torch's own median is the lower of the two
                # in the middle.
                middle = np.median(donor_tensor.double().numpy(), axis=0, keepdims=True)
                typical.append(torch.as_tensor(middle).to(donor_tensor.dtype))
            else:
                typical.append(donor_tensor.mode(dim=0, keepdim=True).values)
        values = [
            self._effect([self.predict(self.blend(every, typical, [name]))], every)
            for name in self.players
        ]
        return self._stacked(values)

    def _effect(self, outputs: list[Floats], rows: npt.NDArray[Any]) -> Floats:
        if self.options["scope"] == "local":
            return self.readout(self.base) - np.mean(
                [self.readout(repeat_outputs) for repeat_outputs in outputs], axis=0
            )
        before = self.losses(self.base, rows)
        return self.spread(
            np.mean(
                [
                    self.losses(repeat_outputs, rows) - before
                    for repeat_outputs in outputs
                ],
                axis=0,
            )
        )

    def _stacked(self, values: list[Floats]) -> Floats:
        return np.stack(values, axis=1 if self.options["scope"] == "local" else 0)

    def modalities(self) -> Floats:
        """Return the Shapley values of replacing whole inputs."""
        names = list(self.players)
        repeats = self.options["n_repeats"]
        every = np.arange(self.count)
        worth = {
            modality_names: self._effect(
                [
                    self.replaced(list(modality_names), "modalities", repeat)
                    for repeat in range(repeats)
                ],
                every,
            )
            for size in range(1, len(names) + 1)
            for modality_names in itertools.combinations(names, size)
        }
        return self._stacked([_shapley(worth, names, name) for name in names])

    @replicates("permgrad")
    def permgrad(self) -> Floats:
        """Return the effect of each player alone, and of modalities the mean of their
        effects alone and last.
        """
        if self.options["level"] == "modality" and len(self.players) > 1:
            return self.modalities()
        return self.permutation()

    @replicates("shapley")
    def shapley_of_rows(self) -> Floats | None:
        """Return Shapley values of rows, where all coalitions and donors are asked."""
        is_exact = (
            self.options["scope"] == "local"
            and len(self.players) <= self.options["exact"]
            and self.options["references"] >= len(self.donors[0])
        )
        return self.shapley() if is_exact else None

    def shapley(self) -> Floats:
        """Return the Shapley values of each row's output over all background rows."""
        names = list(self.players)
        donor_count = len(self.donors[0])
        worth: dict[tuple[str, ...], Floats] = {}
        for size in range(len(names) + 1):
            for coalition in itertools.combinations(names, size):
                gone = [name for name in names if name not in coalition]
                rows = np.repeat(np.arange(self.count), donor_count)
                donors = [
                    donor_tensor.repeat(self.count, *[1] * (donor_tensor.ndim - 1))
                    for donor_tensor in self.donors
                ]
                outputs = self.readout(self.predict(self.blend(rows, donors, gone)))
                worth[coalition] = outputs.reshape(self.count, donor_count, -1).mean(
                    axis=1
                )
        nobody = worth.pop(())
        worth = {
            player_coalition: value - nobody
            for player_coalition, value in worth.items()
        }
        return np.stack([_shapley(worth, names, name) for name in names], axis=1)

    @replicates("gradient")
    def gradient(self) -> Floats:
        """Return the sums of absolute slopes, of codes at their embedding."""
        case = self.case
        values = []
        modes = {submodule: submodule.training for submodule in case.net.modules()}
        case.net.eval()
        try:
            for row in range(self.count):
                leaves = [
                    row_tensor[row : row + 1]
                    .clone()
                    .requires_grad_(row_tensor.is_floating_point())
                    for row_tensor in self.rows
                ]
                points = list(leaves)
                copied_leaves = [leaf_tensor.clone() for leaf_tensor in leaves]
                hooks = [
                    submodule.register_forward_hook(
                        partial(_stand, copied_leaves, points)
                    )
                    for submodule in case.net.modules()
                    if isinstance(submodule, nn.Embedding)
                ]
                outputs = case.read(case.net(*copied_leaves)).reshape(1, -1)
                for hook in hooks:
                    hook.remove()
                numbers = [
                    point_index
                    for point_index, point in enumerate(points)
                    if point.requires_grad
                ]
                shown = self._readout_tensor(outputs)
                columns = []
                for column in range(shown.shape[1]):
                    slopes: Any = [None] * len(leaves)
                    if shown.requires_grad:
                        free = [points[point_index] for point_index in numbers]
                        gradients = torch.autograd.grad(
                            shown[0, column], free, retain_graph=True, allow_unused=True
                        )
                        for leaf_index, gradient in zip(
                            numbers, gradients, strict=True
                        ):
                            codes = (
                                gradient is not None
                                and gradient.ndim > leaves[leaf_index].ndim
                            )
                            slopes[leaf_index] = (
                                gradient.abs().sum(dim=-1) if codes else gradient
                            )
                    slopes = [
                        torch.zeros_like(leaf) if slope is None else slope
                        for slope, leaf in zip(slopes, leaves, strict=True)
                    ]
                    columns.append(
                        [
                            sum(
                                float(slope[0][mask].abs().sum())
                                for slope, mask in zip(slopes, masks, strict=True)
                            )
                            for masks in self.players.values()
                        ]
                    )
                values.append(np.array(columns).T)
        finally:
            for single_module, mode in modes.items():
                single_module.training = mode
        return np.stack(values)

    def _readout_tensor(self, outputs: Tensor) -> Tensor:
        last = self.case.last
        target = self.options.get("target")
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
        for coalition in itertools.combinations(
            [other_name for other_name in names if other_name != name], size
        ):
            joined = tuple(
                player_name
                for player_name in names
                if player_name in (*coalition, name)
            )
            total = total + weight * (
                worth[joined] - (worth[coalition] if coalition else 0.0)
            )
    return np.asarray(total)


def _players(case: Case) -> dict[str, list[Tensor]]:
    """Return for each player its positions, bool, in each input."""
    features: dict[str, list[Tensor]] = {}
    owner: dict[str, str] = {}
    for input_index, (name, input_kind, tensor) in enumerate(
        zip(case.names, case.parts, case.tensors, strict=True)
    ):
        shape = tensor.shape[1:]
        pieces: dict[str, Tensor] = {}
        if input_kind == "image":
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
                mask
                if k == input_index
                else torch.zeros(input_tensor.shape[1:], dtype=torch.bool)
                for k, input_tensor in enumerate(case.tensors)
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
            earlier_mask | two for earlier_mask, two in zip(before, masks, strict=True)
        ]
    return joined
