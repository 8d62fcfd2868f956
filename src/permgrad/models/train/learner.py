"""What a step and an epoch of a training do, and the loop over them.

Row order, dropout and learning rate are functions of the seed and the epoch number
alone, so that a stopped and resumed training ends with identical weights
(docs/reproducibility.md).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from permgrad.base.checks import check_choice
from permgrad.base.errors import (
    EnvironmentProblem,
    InputError,
    is_out_of_memory,
    two_sentences,
    warn_user,
)
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.random import derive_seed
from permgrad.base.sequences import positions_of, values_at
from permgrad.models.batches import in_batches, sparing
from permgrad.models.devices import PRECISIONS, full_float32
from permgrad.models.estimators.calibration import best_temperature, class_logits
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.losses import losses
from permgrad.models.network.members import MemberScale
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.products import TrainingProducts, is_wide
from permgrad.models.train import checkpoint
from permgrad.models.train.checkpoint import CHECKPOINT_NAME, EPOCH, RESUMED
from permgrad.models.train.ending import SINCE, rises
from permgrad.models.train.guard import sheltered
from permgrad.models.train.schedules import schedules
from permgrad.models.train.training_rows import Rows, TrainingRows, count_batches

_BETAS = (0.9, 0.999)
_EPS = 1e-8
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1), or AdamW (Loshchilov &
    Hutter 2019, arXiv 1711.05101).

    By torch's fused kernels, with the states of ``torch.optim``, whose own classes load
    torch's compiler when the first is made, which takes longer than many trainings.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        decoupled: bool,
    ) -> None:
        common = {"lr": lr, "betas": _BETAS, "eps": _EPS, "weight_decay": weight_decay}
        param_groups = []
        for group in groups:
            param_groups.append({**common, **group, "params": list(group["params"])})
        self.param_groups = param_groups
        self._weights = [
            weight for group in self.param_groups for weight in group["params"]
        ]
        if decoupled:
            self._update = adamw
        else:
            self._update = adam
        self._state: dict[nn.Parameter, dict[str, torch.Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights that have gradients."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if weight not in self._state:
                    moments = {}
                    for moment_name in _MOMENTS:
                        moments[moment_name] = torch.zeros_like(weight)
                    self._state[weight] = {
                        "step": torch.zeros((), device=weight.device),
                        **moments,
                    }
            slopes = [weight.grad for weight in weights]
            names = (*_MOMENTS, "step")
            first, second, steps = (
                [self._state[weight][state_name] for weight in weights]
                for state_name in names
            )
            (beta1, beta2), numbers = (
                group["betas"],
                {
                    option_name: group[option_name]
                    for option_name in ("lr", "weight_decay", "eps")
                },
            )
            update_options = {
                "fused": True,
                "amsgrad": False,
                "maximize": False,
                "beta1": beta1,
                "beta2": beta2,
                **numbers,
            }
            self._update(weights, slopes, first, second, [], steps, **update_options)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimiser as ``torch.optim`` writes it.

        Weights that never moved have none.
        """
        weight_numbers = positions_of(self._weights)
        groups = []
        for group in self.param_groups:
            groups.append(
                {
                    **group,
                    "params": values_at(weight_numbers, group["params"]),
                }
            )
        return {
            "state": {
                weight_numbers[weight]: dict(state)
                for weight, state in self._state.items()
            },
            "param_groups": groups,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state, also from one of ``torch.optim.Adam`` or ``AdamW`` over
        the same weights.
        """
        for group, stored in zip(
            self.param_groups, state_dict["param_groups"], strict=True
        ):
            group.update(
                {
                    option_name: stored[option_name]
                    for option_name in ("lr", "betas", "eps", "weight_decay")
                }
            )
        self._state = {}
        for weight_index, stored in state_dict["state"].items():
            weight = self._weights[weight_index]
            moments = {}
            for moment_name in _MOMENTS:
                moments[moment_name] = torch.zeros_like(weight).copy_(
                    stored[moment_name]
                )
            self._state[weight] = {
                "step": torch.zeros((), device=weight.device).copy_(stored["step"]),
                **moments,
            }


#: Called after each epoch with its line of the history. True ends the training there,
#: with the best weights so far. A number is that of all epochs from now on: the
#: schedule of the learning rate then ends with the last of them.
EpochWatcher = Callable[[Mapping[str, float]], int | None]
OPTIMIZERS: tuple[str, ...] = ("adamw", "adam", "sgd")
_CHECKPOINT_FORMAT = 2
#: Below the size from which glibc maps and unmaps memory singly, 32 MiB.
_BLOCK = 31 * 2**20
# On a processor the maps of 128 rows stay in its cache: 0.6 of the time of 512 at once,
# on the published network.
_EVALUATION_ROWS = 128
_EVALUATION_ROWS_ACCELERATOR = 8192


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained. The defaults are preset ``paper``'s.

    Attributes:
        learning_rate: peak of the schedule.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"`` (with Nesterov momentum 0.9).
        schedule_unit: whether the rate changes per ``"epoch"`` or per ``"step"``.
        patience: epochs without a better validation loss before training stops, fewer
            where that loss clearly rises. None: never.
        kept_from: share of the epochs before which the newest weights are the best,
            whatever their validation loss.
        averaging: weight of the past in the moving average of the weights that is
            validated and kept. 0: no average.
        label_smoothing: share of each label spread over all classes, cross-entropy
            only.
        refinement: whether an epoch is judged by its validation loss at its best
            temperature (cross-entropy only). In the end the outputs are divided by that
            temperature. See Berta, Holzmüller, Jordan & Bach 2025, arXiv 2501.19195,
            "refine, then calibrate".
        precision: of the products in training steps, ``"float32"`` (also ``"auto"``),
            or ``"bfloat16"`` (mixed).
    """

    max_epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    weight_decay: float = 1e-5
    schedule: str = "warmup_cosine"
    schedule_unit: str = "epoch"
    patience: int | None = 6
    kept_from: float = 0.0
    loss: str = "cross_entropy"
    averaging: float = 0.0
    label_smoothing: float = 0.0
    refinement: bool = False
    precision: str = "auto"


class TargetUnits(NamedTuple):
    """What brings standardised numbers into the units of y."""

    mean: float = 0.0
    scale: float = 1.0

    def of(self, numbers: Tensor) -> Tensor:
        """Return numbers in float64 and the units of y. Class indexes stay."""
        if not numbers.is_floating_point():
            return numbers
        return numbers.double() * self.scale + self.mean


UNITS_OF_NETWORK = TargetUnits()


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """Everything that a training needs but its device.

    Without ``validation_rows`` all epochs run and the last weights stay.
    ``checkpoint_folder``: where the state is kept after each epoch, and from which a
    stopped training is resumed. ``columns``: names of the encoded columns. ``units``:
    those of y, where it is standardised.
    """

    network: HybridNetwork
    train_rows: TrainingRows
    validation_rows: Rows | None
    options: TrainingOptions
    seed: int
    progress: ProgressMode = "auto"
    checkpoint_folder: str | os.PathLike[str] | None = None
    columns: Sequence[str] = ()
    units: TargetUnits = UNITS_OF_NETWORK


class Learner:
    """One network with its optimizer: takes steps, validates, keeps the best
    weights.
    """

    def __init__(self, job: TrainingJob, device: torch.device | str = "cpu") -> None:
        self.job = job
        self.options = job.options
        self.seed = job.seed
        held_out_rows = job.validation_rows
        device = torch.device(device)
        self.device = device
        self.network = job.network.to(device)
        self.train_rows = job.train_rows.to(device)
        if held_out_rows is None:
            self.validation_rows = None
        else:
            self.validation_rows = held_out_rows.to(device)
        self.steps_per_epoch = count_batches(
            self.train_rows.per_epoch, self.options.batch_size
        )
        self.epochs = self.options.max_epochs
        self.optimizer = build_optimizer(self.network, self.options)
        trained = []
        for weight in self.network.parameters():
            if weight.requires_grad:
                trained.append(weight)
        self._trained = trained
        precision = self.options.precision
        check_choice("precision", precision, PRECISIONS)
        self._products: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext()
        )
        if precision not in ("auto", "float32"):
            self._products = torch.autocast(
                device.type, dtype=getattr(torch, precision)
            )
        elif is_wide():
            self._products = TrainingProducts()
        # Freed blocks up to twice the largest that was ever freed stay with the process
        # (mallopt(3), glibc): a step takes a fifth longer where each asks for its
        # megabytes anew. This block is never written to.
        with contextlib.suppress(RuntimeError):
            torch.empty(_BLOCK, dtype=torch.uint8)
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_temperature = 1.0
        self.best_state: dict[str, Tensor] = {}
        self.diverged = ""
        self.average: dict[str, Tensor] = {}
        if self.options.averaging:
            self.average = self._weights()
        self._schedule = schedules.get(self.options.schedule)
        self.steps = 0
        self._loss_sum = torch.zeros((), dtype=torch.float64)
        self._seen = 0
        self._started = time.perf_counter()

    def run(self, on_epoch: EpochWatcher | None = None) -> None:
        """Take all steps, from where the checkpoint is if there is one, for a sheltered
        process.
        """
        # The fastest convolution of a GPU adds up in another order each time: the same
        # seed would give other weights.
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        folder = self.job.checkpoint_folder
        if folder is None:
            checkpoint_file = None
        else:
            checkpoint_file = Path(folder) / CHECKPOINT_NAME
        if checkpoint_file is not None and checkpoint_file.exists():
            self.load_state(
                checkpoint.read_checkpoint(checkpoint_file, self.device),
                checkpoint_file,
            )
        for number, record in enumerate(self.history, start=1):
            self._watched(on_epoch, number, record)
        steps = (self.options.max_epochs - len(self.history)) * self.steps_per_epoch
        if self.options.patience is None or self.validation_rows is None:
            patience = math.inf
        else:
            patience = self.options.patience
        with Progress(
            steps, "training", self.job.progress, lines=False
        ) as progress_bar:
            while len(self.history) < self.epochs:
                if len(self.history) - self.best_epoch >= patience or (
                    patience < math.inf and self._is_rising()
                ):
                    break
                for number, batch_rows in enumerate(self.start_epoch()):
                    self.step(batch_rows, number)
                    progress_bar.advance()
                self.end_epoch()
                if self.diverged:
                    break
                progress_bar.note(f"best validation loss {self.best_loss:.4g}")
                if checkpoint_file is not None:
                    checkpoint.write_checkpoint(checkpoint_file, self.state())
                self._watched(on_epoch, len(self.history), self.history[-1])

    def _is_rising(self) -> bool:
        losses = [epoch_record["validation_loss"] for epoch_record in self.history]
        return len(losses) > SINCE and rises(losses)

    def _watched(
        self, on_epoch: EpochWatcher | None, done: int, record: Mapping[str, float]
    ) -> None:
        """Let the watcher see an epoch, and set how many there are in all if it says
        so.
        """
        if on_epoch is None:
            answer = None
        else:
            answer = on_epoch(record)
        if answer:
            if answer is True:
                self.epochs = done
            else:
                self.epochs = min(max(int(answer), done), self.options.max_epochs)

    # -- one epoch ---------------------------------------------------------------------
    def start_epoch(self) -> Iterator[Rows]:
        """Prepare what the next epoch's steps need, and return its batches."""
        epoch = len(self.history)
        torch.manual_seed(derive_seed(self.seed, "dropout", epoch) % 2**63)
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._seen = 0
        self._started = time.perf_counter()
        self.network.train()
        if self.average:
            pairs = []
            for weight_name, value in self.network.state_dict().items():
                pairs.append((self.average[weight_name], value))
            floats = []
            for weight_pair in pairs:
                if weight_pair[1].is_floating_point():
                    floats.append(weight_pair)
            self._averaged = (
                [average for average, _ in floats],
                [value for _, value in floats],
            )
            counted = []
            for counted_pair in pairs:
                if not counted_pair[1].is_floating_point():
                    counted.append(counted_pair)
            self._counted = counted
        return self.train_rows.batches(self.options.batch_size, self.seed, epoch)

    def step(self, rows: Rows, number: int) -> None:
        """Take one optimizer step on a batch, the given one of the epoch."""
        options = self.options
        share = (
            number / self.steps_per_epoch if options.schedule_unit == "step" else 0.0
        )
        step_rate = self._schedule(
            (len(self.history) + share) / self.epochs, options.learning_rate
        )
        for group in self.optimizer.param_groups:
            group["lr"] = step_rate
        y = rows.y
        weight = rows.weight
        members = getattr(self.network, "members", 1)
        try:
            with self._products:
                # Every member has its own loss, as if it were alone.
                outputs = (
                    self.network(rows.x)
                    if members == 1
                    else self.network.member_outputs(rows.x).flatten(0, 1)
                )
            if members > 1:
                y = y.repeat_interleave(members)
                weight = weight.repeat_interleave(members)
            batch_loss = training_loss(
                outputs.float(), y, weight, options, self.job.units
            )
            for trained in self._trained:
                trained.grad = None
            batch_loss.backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            smaller_step = (
                f"batch_size={len(rows) // 2}" if len(rows) > 2 else "a smaller network"
            )
            problem = f"A training step of {len(rows):,} rows does not fit into memory"
            memory_hint = (
                f"Free memory, or take {smaller_step}, which makes other "
                "steps and hence another model."
            )
            raise EnvironmentProblem(problem, hint=memory_hint, code="PG061") from error
        self.optimizer.step()
        self._loss_sum += batch_loss.detach().double() * len(rows.y)
        self._seen += len(rows.y)
        if self.average:
            # Early steps move the averaged weights further, so that the start is
            # forgotten.
            self.steps += 1
            averaging_weight = min(options.averaging, self.steps / (self.steps + 9))
            torch._foreach_lerp_(*self._averaged, 1 - averaging_weight)
            for average, value in self._counted:
                average.copy_(value)

    def _weights(self) -> dict[str, Tensor]:
        """Return a copy of the present weights."""
        weights = {}
        for weight_name, value in self.network.state_dict().items():
            weights[weight_name] = value.detach().clone()
        return weights

    def end_epoch(self) -> None:
        """Validate, write the history, keep the weights if they are the best so far."""
        train_loss = float(self._loss_sum) / self._seen
        present = self._weights()
        weights = self.average or present
        validation_loss = math.nan
        current_rate = self.optimizer.param_groups[0]["lr"]
        score = train_loss
        temperature = 1.0
        if self.validation_rows is not None:
            if self.average:
                self.network.load_state_dict(self.average)
            score, temperature = self._judge(self.validation_rows)
            validation_loss = score
            if self.average:
                self.network.load_state_dict(present)
        elif not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            # The training loss was taken before the last step.
            score = math.nan
        wrong = next(
            (
                epoch_loss
                for epoch_loss in (train_loss, score)
                if not math.isfinite(epoch_loss)
            ),
            None,
        )
        if wrong is not None:
            self.diverged = f"the loss became {wrong} in epoch {len(self.history) + 1}"
            if not self.best_state:
                raise InputError(
                    f"Training diverged: {self.diverged}",
                    hint=_what_to_do(self.job),
                    code="PG041",
                )
            return
        numbers = (
            len(self.history) + 1,
            train_loss,
            validation_loss,
            current_rate,
            time.perf_counter() - self._started,
        )
        self.history.append(
            {
                column_name: float(number)
                for column_name, number in zip(EPOCH, numbers, strict=True)
            }
        )
        # Without validation rows nothing can be compared honestly: the last weights are
        # kept.
        early = len(self.history) <= self.options.kept_from * self.epochs
        if self.validation_rows is None or early or score < self.best_loss:
            self.best_loss, self.best_epoch, self.best_temperature = (
                score,
                len(self.history),
                temperature,
            )
            self.best_state = {
                best_name: value.clone() for best_name, value in weights.items()
            }

    def _judge(self, rows: Rows) -> tuple[float, float]:
        """Return the validation loss that epochs are compared by, and the temperature
        that it is taken at.
        """
        outputs = predict(self.network, rows)
        temperature = 1.0
        loss_name = self.options.loss
        if self.options.refinement and losses.get(loss_name).by_temperature:
            outputs = outputs.double()
            if not bool(torch.isfinite(outputs).all()):
                return math.nan, 1.0
            logits = class_logits(outputs.cpu().numpy())
            weights = rows.weight.double().cpu().numpy()
            temperature = best_temperature(
                logits, rows.y.cpu().numpy(), weights, spread=1.0
            )
            outputs = outputs / temperature
        return mean_loss(outputs, rows, loss_name, self.job.units), temperature

    # -- state -------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """Return everything that the coming epochs depend on: tensors, numbers, lists,
        dictionaries.
        """
        return {
            "format": _CHECKPOINT_FORMAT,
            "options": dataclasses.asdict(self.options),
            "seed": str(self.seed),
            "rows": len(self.train_rows),
            "source": self.train_rows.identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **{
                attribute_name: getattr(self, attribute_name)
                for attribute_name in RESUMED
            },
        }

    def load_state(self, state: dict[str, Any], source: Path) -> None:
        """Resume from the ``state()`` of an earlier training with the same data,
        options and seed.
        """
        names = ("format", "options", "seed", "rows", "source")
        if not isinstance(state.get("options", {}), dict):
            raise checkpoint.damaged(source, "holds no options")
        if list(map(state.get, names)) != [self.state()[own_key] for own_key in names]:
            problem = (
                "Training can be resumed only with the same options, seed and rows, "
                f"but {source} was written with others"
            )
            raise InputError(problem, hint="Delete it to begin anew.", code="PG051")
        try:
            checkpoint.check_state(state, self.state(), self.optimizer)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            IndexError,
        ) as error:
            raise checkpoint.damaged(
                source, f"holds another state ({type(error).__name__}: {error})"
            ) from error
        for resumed_name in RESUMED:
            setattr(self, resumed_name, state[resumed_name])


def build_optimizer(
    network: nn.Module, options: TrainingOptions
) -> Adam | torch.optim.SGD:
    """Return the optimizer over all trainable weights."""
    scales = set()
    for layer in network.modules():
        if isinstance(layer, MemberScale):
            for scale_weight in layer.parameters():
                scales.add(id(scale_weight))
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    parameters: list[dict[str, Any]] = [
        {"params": [weight for weight in trained if id(weight) not in scales]}
    ]
    if scales:
        # Decay would draw the members' signs towards 0, and so the members towards each
        # other.
        parameters.append(
            {
                "params": [weight for weight in trained if id(weight) in scales],
                "weight_decay": 0.0,
            }
        )
    common: dict[str, Any] = {
        "lr": options.learning_rate,
        "weight_decay": options.weight_decay,
    }
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **common)
    return Adam(parameters, decoupled=options.optimizer == "adamw", **common)


def training_loss(
    outputs: Tensor,
    y: Tensor,
    weight: Tensor,
    options: TrainingOptions,
    units: TargetUnits = UNITS_OF_NETWORK,
) -> Tensor:
    """Return the mean weighted loss of a batch.

    Weights have mean 1 over all training rows.
    """
    loss = losses.get(options.loss)
    if loss.standardised is not None:
        row_losses = loss.standardised(outputs, y, options.label_smoothing)
    else:
        row_losses = loss(units.of(outputs), units.of(y))
        if not row_losses.requires_grad and outputs.requires_grad:
            problem = f"loss={loss.name!r} has no slope, so no network learns by it"
            hint = "Compute it by functions of torch, on the tensors as they are."
            raise InputError(problem, hint=hint, code="PG036")
    return (row_losses * weight).mean()


def mean_loss(
    outputs: Tensor, rows: Rows, loss_name: str, units: TargetUnits = UNITS_OF_NETWORK
) -> float:
    """Return the weighted mean loss of some rows' outputs in float64."""
    weight = rows.weight.double()
    if bool(outputs.isnan().any()):
        return math.nan
    loss = losses.get(loss_name)
    if loss.standardised is not None:
        row_losses = loss(outputs, rows.y)
    else:
        row_losses = loss(units.of(outputs), units.of(rows.y)).double()
    return float((row_losses * weight).sum() / weight.sum())


@torch.no_grad()
def predict(network: HybridNetwork, rows: Rows) -> Tensor:
    """Return the outputs ``(rows, outputs)`` in eval mode.

    The caller is inside ``full_float32``.
    """
    was_training = network.training
    outputs = list[Tensor]()
    if rows.x.device.type == "cpu":
        rows_per_batch = _EVALUATION_ROWS
    else:
        rows_per_batch = _EVALUATION_ROWS_ACCELERATOR
    network.eval()
    try:
        # Two thirds of the time of the layers as they stand, for the published network.
        if isinstance(network, HybridNetwork):
            forward = FoldedNetwork(network)
        else:
            forward = network
        in_batches(
            len(rows),
            rows_per_batch,
            lambda row_slice: outputs.append(forward(rows.x[row_slice])),
        )
    finally:
        network.train(was_training)
    return torch.cat(outputs)


#: Encoded columns are near 1 in size. One this large can drive a network's outputs, and
#: its loss, out of bounds.
_EXTREME = 1e3


def train(
    job: TrainingJob,
    device: torch.device | str = "cpu",
    *,
    on_epoch: EpochWatcher | None = None,
) -> Learner:
    """Train the network in place.

    Afterwards it has the weights of the best epoch and is in eval mode, on ``device``.

    A loss that is not finite ends the training with a ``PermgradWarning``, and the best
    weights are kept. In the first epoch it is an ``InputError``. ``on_epoch`` sees each
    epoch's line of the history, earlier ones on resuming. True ends the training.
    """
    with sparing(), sheltered(job.seed):
        learner = Learner(job, device)
        with full_float32():
            learner.run(on_epoch)
        network = learner.network
        network.load_state_dict(learner.best_state)
        if learner.best_temperature != 1.0:
            network.divide_outputs(learner.best_temperature)
        network.eval().requires_grad_(True).zero_grad(set_to_none=True)
    if learner.diverged:
        divergence = (
            f"Training diverged: {learner.diverged}, and the weights of epoch "
            f"{learner.best_epoch} are used"
        )
        warn_user(two_sentences(divergence, _what_to_do(job)))
    return learner


def _what_to_do(job: TrainingJob) -> str:
    """Return the hint for a loss that is not finite: the learning rate, and the column
    with the largest values.
    """
    training_rows = job.train_rows
    columns = job.columns
    rate_hint = f"Lower learning_rate (now {job.options.learning_rate:g})"
    if (
        isinstance(training_rows, Rows)
        and isinstance(training_rows.x, torch.Tensor)
        and training_rows.x.numel()
        and training_rows.x.ndim == 2
    ):
        reach = training_rows.x.abs().amax(dim=0)
        furthest = int(reach.argmax())
        if reach[furthest] > _EXTREME and furthest < len(columns):
            return (
                f"{rate_hint}, or look for extreme values in column "
                f"{columns[furthest]!r}, which reaches "
                f"{float(reach[furthest]):.3g} once encoded."
            )
    return f"{rate_hint}, or look for extreme values in X."
