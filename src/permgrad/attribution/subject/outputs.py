"""The outputs of a model: which one is explained, what its numbers mean, and how they
are compared with the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.subject.reasons import Because, Sign
from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.checks import check_choice, check_class_names
from permgrad.base.errors import InputError, by_count, counted, shown, warn_user
from permgrad.base.late import is_frame
from permgrad.base.sequences import positions_of
from permgrad.data.tasks import (
    CLASSIFICATION,
    MULTILABEL,
    OF_OUTPUTS,
    REGRESSION,
    Task,
    tasks,
)
from permgrad.models.losses import DIVERGENCE, Loss, read_loss

OutputKind = Literal["logits", "probabilities", "log_probabilities", "values"]
OUTPUT_KINDS: tuple[OutputKind, ...] = (
    "logits",
    "probabilities",
    "log_probabilities",
    "values",
)
#: How far from 1 the sum of a row's probabilities may be.
_SUM_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
#: How far beyond 0 … 1 a probability may lie, in the coarsest precision.
_ROUNDING = 1e-2
#: What helps with times until an event.
SURVIVAL = (
    "Of survival, pass y = np.where(event, time, -time) with scoring= a function of "
    "model, X and y, or a column of 0 and 1 for each year survived with loss='brier' "
    "and a function that returns these chances (docs/any-model.md)"
)
#: From here on float64 numbers are all whole, and neighbours fall together.
_NO_FRACTIONS = 2.0**53


@dataclass(frozen=True, eq=False)
class OutputForm:
    """The meaning of the numbers of the explained output, and what follows from it:
    ``subject.outputs``.
    """

    task: Task
    kind: OutputKind  # logits, probabilities, log-probabilities or plain values
    count: int  # K, the number of columns
    class_names: tuple[
        str, ...
    ]  # of a classifier. Two if one column stands for the second of two classes
    output_names: tuple[
        str, ...
    ]  # what methods that explain the output call the columns
    inferred: bool = False  # whether task and kind were inferred rather than said
    class_labels: Array | None = (
        None  # the classes as in y. None: y holds their names or numbers
    )
    # whether y may hold the classes' numbers where it does not hold their names
    numbered: bool = True
    loss_columns: tuple[
        int, ...
    ] = ()  # outputs of a regression over which the loss is averaged (empty: all)
    by_values: bool = (
        False  # whether the kind was told by the numbers of the first rows alone
    )
    by_target: bool = False  # whether the task was told by the numbers of y alone
    # of a regression whose outputs are standardised: what brings them into the units of
    # y
    target_mean: float = 0.0
    target_scale: float = 1.0
    of_labels: bool = (
        False  # whether they are labels without probabilities, 0 or 1 for each class
    )
    # whether the model returns two columns of probabilities, of which the second is
    # explained
    both: bool = False
    # the model's own default loss (None: that of the task)
    loss: Loss | None = None
    because: Because = Because.STATED  # why they are taken for that
    #: which class the model decides for by its raw outputs, where that is not the most
    #: probable one
    decided: Callable[[Tensor], Integers] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", tasks.get(self.task))

    @property
    def measured(self) -> list[int]:
        """The columns over which losses and divergences are averaged."""
        return list(self.loss_columns or range(self.count))

    @property
    def one_column(self) -> bool:
        """Whether the model returns one column for two classes, of the second one."""
        classes = self.task.has_classes and self.kind != "values"
        return classes and self.count == 1 and not self.both

    @property
    def single(self) -> bool:
        """Whether each column is a separate binary output."""
        return self.count == 1 or self.task.labels_overlap

    def logits(self, outputs: Tensor) -> Tensor:
        """Return scores whose softmax (one column: sigmoid) gives the probabilities
        (differentiable).
        """
        self._check_later(outputs)
        smallest_number = torch.finfo(outputs.dtype).tiny
        if self.kind == "log_probabilities" and self.single:
            # log p − log(1 − p), with 1 − p without cancellation, also where p is all
            # but 1.
            clamped = outputs.clamp_max(0)
            return clamped - (-torch.expm1(clamped)).clamp_min(smallest_number).log()
        if self.kind != "probabilities":
            return outputs
        if self.single:
            # log p − log(1 − p). The complement is formed first, so that p = 1 stays
            # finite.
            return (
                outputs.clamp_min(smallest_number).log()
                - (1 - outputs).clamp_min(torch.finfo(outputs.dtype).eps).log()
            )
        return outputs.clamp_min(smallest_number).log()

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probability of every class, ``(b, classes)`` (differentiable)."""
        if self.kind == "logits" and self.count == 1:
            return torch.softmax(torch.cat([-outputs / 2, outputs / 2], dim=1), dim=1)
        columns = self.own_probabilities(outputs)
        if columns.shape[1] == 1:
            return torch.cat([1 - columns, columns], dim=1)
        return columns

    def own_probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of the network's own columns, ``(b, K)``.

        Raises the errors of ``logits``.
        """
        self._check_later(outputs)
        if self.kind == "probabilities":
            return outputs
        if self.kind == "log_probabilities" and self.single:
            return outputs.clamp_max(0).exp()
        if self.single:
            return torch.sigmoid(outputs)
        return torch.softmax(outputs, dim=1)

    def _check_later(self, outputs: Tensor) -> None:
        """Refuse outputs of further rows that are not of the kind of the first ones."""
        if self.kind in ("probabilities", "log_probabilities"):
            _check_kind(outputs, self.kind, later=True, inferred=self.by_values)

    def in_units_of_y(self, outputs: Tensor) -> Tensor:
        """Return the numbers of a regression ``(b, K)``, which a network may have
        learned standardised.
        """
        scaled = (self.target_scale, self.target_mean) != (1.0, 0.0)
        if scaled:
            return outputs * self.target_scale + self.target_mean
        return outputs

    def predicted(self, outputs: Tensor) -> Floats:
        """Return predictions of raw outputs: probabilities ``(b, classes or labels)``,
        or numbers in y's units.
        """
        wide_outputs = outputs.double()
        if self.task.numeric:
            predictions = self.in_units_of_y(wide_outputs)
        else:
            predictions = self.probabilities(wide_outputs)
        values: Floats = predictions.cpu().numpy()
        if self.loss_columns:
            return values[:, list(self.loss_columns)]
        return values

    def returned(self, outputs: Tensor) -> Tensor:
        """Return what the model returns to its user, unsoftened: an estimator's numbers
        are in the units of y.

        Raises the errors of ``logits``.
        """
        self._check_later(outputs)
        if self.both:
            return torch.cat([1 - outputs, outputs], dim=1)
        if self.task.numeric:
            return self.in_units_of_y(outputs)
        return outputs

    def divergence(self, spread: Floats | None = None) -> Loss:
        """Return what is measured without y, by ``divergence_rows``."""
        unit = DIVERGENCE.unit
        if self.of_labels:
            unit = "share of changed labels"
        elif not self.task.numeric:
            unit = "nats"
        elif spread is not None:
            unit = "squared standard deviations"
        return replace(DIVERGENCE, unit=unit)

    def loss_rows(self, outputs: Tensor, y: Any, loss: Loss | str) -> Floats:
        """Return each row's loss in float64: the mean over columns if a regression or y
        has several.
        """
        loss = read_loss(loss)
        if loss.returned:
            return loss.of(
                np.array(self.returned(outputs.double()).detach().cpu().numpy()), y
            )
        target = torch.as_tensor(y, device=outputs.device)
        if loss.of_decision and self.decided is not None:
            return np.asarray(self.decided(outputs) != np.asarray(y), dtype=np.float64)
        if self.task.has_classes:
            row_losses = loss(self.logits(outputs.double()), target)
        else:
            wide_outputs = outputs.double() * self.target_scale + self.target_mean
            if self.task.labels_overlap:
                wide_outputs = self.logits(outputs.double())
            if self.count == 1:
                row_losses = loss(wide_outputs, target.reshape(-1))
            else:
                output_columns = self.loss_columns or range(self.count)
                columns = []
                for k in output_columns:
                    columns.append(
                        loss.of_output(k)(wide_outputs[:, [k]], target[:, k])
                    )
                row_losses = torch.stack(columns).mean(dim=0)
        return row_losses.cpu().numpy()

    def raw_of(self, probabilities: Tensor) -> Tensor:
        """Return raw outputs ``(b, K)`` of logits that mean probabilities of the
        classes ``(b, classes)``.
        """
        tiny = torch.finfo(torch.float64).tiny
        scores = probabilities.double().clamp_min(tiny).log()
        if self.kind == "probabilities":
            if self.one_column:
                return probabilities[:, 1:]
            return probabilities
        if self.one_column:
            return scores[:, 1:] - scores[:, :1]
        return scores

    def divergence_rows(
        self, outputs: Tensor, reference: Tensor, spread: Floats | None = None
    ) -> Floats:
        """Return Kullback–Leibler divergence from the reference, or the mean squared
        difference.

        Of labels without probabilities, it is 1 where they differ. ``spread``: of
        several numbers the unit of each change, ``(K,)``. None: changes are in units of
        y.
        """
        if self.of_labels:
            apart = self.probabilities(outputs.double()) - self.probabilities(
                reference.double()
            )
            return (apart.abs().sum(dim=1) / 2).cpu().numpy()
        if self.task.numeric:
            change = (outputs.double() - reference.double()) * self.target_scale
            if spread is not None:
                change = change / torch.from_numpy(spread).to(change.device)
            return change[:, self.measured].square().mean(dim=1).cpu().numpy()
        if self.task.labels_overlap:
            reference_logits = self.logits(reference.double())[:, self.measured]
            output_logits = self.logits(outputs.double())[:, self.measured]
            log_sigmoid = torch.nn.functional.logsigmoid
            apart = reference_logits.sigmoid() * (
                log_sigmoid(reference_logits) - log_sigmoid(output_logits)
            ) + (-reference_logits).sigmoid() * (
                log_sigmoid(-reference_logits) - log_sigmoid(-output_logits)
            )
            return apart.mean(dim=1).clamp_min(0).cpu().numpy()
        first = self._log_probabilities(reference.double())
        output_logs = self._log_probabilities(outputs.double())
        return (
            (first.exp() * (first - output_logs)).sum(dim=1).clamp_min(0).cpu().numpy()
        )

    def _log_probabilities(self, outputs: Tensor) -> Tensor:
        logits = self.logits(outputs)
        if self.count == 1:
            return torch.cat(
                [
                    torch.nn.functional.logsigmoid(-logits),
                    torch.nn.functional.logsigmoid(logits),
                ],
                dim=1,
            )
        return torch.log_softmax(logits, dim=1)

    def encode_target(self, y: Any, rows: int) -> Array:
        """Return class indexes int64, or numbers in float64 and their own units."""
        values = as_target(y)
        if values.dtype.kind == "f":
            missing = int(np.isnan(values).sum())
        else:
            missing = 0
        if missing:
            problem = f"y has {counted(missing, 'missing value')}"
            raise InputError(
                problem,
                hint=f"Leave {by_count(missing, 'that row', 'those rows')} out",
                code="PG015",
            )
        if len(values) != rows:
            problem = (
                f"y must have one value for each of the {rows} rows, got the "
                f"shape {values.shape}"
            )
            raise InputError(
                problem, hint="Pass the target of the same rows", code="PG007"
            )
        if self.task.has_classes:
            return self._class_indexes(values)
        return self._numbers(values)

    def labels_in(self, y: Any, classes: Integers) -> Array:
        """Return the classes as the model was fitted on them, else as y holds them,
        ``(classes,)``.
        """
        if self.class_labels is not None:
            return self.class_labels
        values = as_target(y)
        if values.ndim > 1 or np.array_equal(values, classes):
            return np.arange(len(self.class_names))
        labels = np.array(self.class_names, dtype=object)
        class_indices, first = np.unique(classes, return_index=True)
        labels[class_indices] = values[first]
        return labels.astype(values.dtype)

    def _numbers(self, values: Array) -> Floats:
        wide_values = values.reshape(len(values), -1)
        try:
            if wide_values.dtype.kind in "fiubO" and wide_values.shape[1] == self.count:
                numbers = wide_values.astype(np.float64)
            else:
                numbers = None
        except (TypeError, ValueError):
            numbers = None
        if self.task.labels_overlap and (
            numbers is None or not np.isin(numbers, (0, 1)).all()
        ):
            raise InputError(
                f"y must hold 0 or 1 for each of the {self.count} labels, got the "
                f"shape {values.shape} of {values.dtype}",
                hint=f"Pass an array (rows, {self.count}) with 1 for the second class "
                "of each label, or pg.Model(..., task='regression') for other numbers",
                code="PG015",
            )
        if numbers is None:
            hint = (
                "Pass such numbers, or task='classification' to pg.Model (an "
                "estimator: fit a classifier)"
            )
            if (
                self.task.numeric
                and wide_values.shape[1] == 1 < self.count
                and values.dtype.kind in "fiub"
            ):
                hint = (
                    "Pass such numbers, or target=0 (permgrad explain: --target 0) "
                    "to compare y with the first output"
                )
            if self.count == 1 and _is_survival(values):
                hint = SURVIVAL
            elif values.ndim == 2:
                hint = (
                    "Pass such numbers, or loss= a function (outputs, y) -> (rows,) "
                    "that takes these"
                )
            problem = (
                f"y must have {counted(self.count, 'number')} per row, like the "
                f"output, got the shape {values.shape} of {values.dtype}"
            )
            raise InputError(problem, hint=hint, code="PG015")
        broken = int((~np.isfinite(numbers)).sum())
        if broken:
            problem = f"y has {counted(broken, 'non-finite value')}"
            raise InputError(
                problem,
                hint=f"Leave {by_count(broken, 'that row', 'those rows')} out",
                code="PG015",
            )
        if self.count == 1:
            return numbers[:, 0]
        return numbers

    def _class_indexes(self, values: Array) -> Integers:
        labels = self.class_labels
        if labels is None and is_one_hot(values):
            values = values.argmax(axis=1)
        if values.ndim != 1:
            problem = f"y must have one class per row, got the shape {values.shape}"
            raise InputError(
                problem,
                hint="Pass an array (rows,)",
                code="PG007",
            )
        count = len(self.class_names)
        positions = positions_of(
            self.class_names if labels is None else labels.tolist()
        )
        class_positions = [
            positions.get(value, -1)
            if labels is not None
            else label_place(value, positions)
            for value in values.tolist()
        ]
        indexes = np.array(class_positions, dtype=np.int64)
        if (indexes >= 0).all():
            # Names come first: with class_names=["1", "2"] a 1 is the first class.
            return indexes
        strange = indexes < 0
        if missing := sum(
            str(value) in ("nan", "None", "<NA>") for value in values[strange].tolist()
        ):
            hint = f"Leave {by_count(missing, 'that row', 'those rows')} out"
            raise InputError(
                f"y has {counted(missing, 'missing value')}", hint=hint, code="PG015"
            )
        if labels is not None:
            problem = (
                "y must hold classes that the model was fitted on "
                f"({', '.join(map(str, labels[:10]))}), got "
                f"{values[strange].tolist()[0]!r}"
            )
            raise InputError(problem, hint="Leave those rows out", code="PG015")
        if not self.numbered:
            raise InputError(
                "y must hold classes of the model "
                f"({', '.join(self.class_names[:10])}), got "
                f"{values[strange].tolist()[0]!r}",
                hint="Pass y as in fit, or class_names= to pg.Model in the order of "
                "the outputs",
                code="PG015",
            )
        if values.dtype.kind in "fiub":
            numbers = values.astype(np.float64)
            fits_mask = (
                (numbers >= 0) & (numbers < count) & (numbers == np.floor(numbers))
            )
            if fits_mask.all():
                return numbers.astype(np.int64)
            # Neither a name nor a number, or names and numbers are mixed.
            strange = strange & ~fits_mask if (strange & ~fits_mask).any() else strange
        problem = (
            f"y must hold class numbers from 0 to {count - 1} or class names "
            f"({', '.join(self.class_names[:10])}), got {values[strange].tolist()[0]!r}"
        )
        hint = "Pass class_names= to pg.Model in the order of the outputs"
        if values.dtype.kind in "fiu" and self.by_values:
            hint += (
                ", or, where these are no classes, returns='values' and for one of "
                "them target= of the call, or loss= a function (outputs, y) -> (rows,)"
            )
        raise InputError(problem, hint=hint, code="PG015")


def _is_survival(values: Array) -> bool:
    """Return whether two columns are times, and whether the event was seen."""
    if values.ndim != 2 or values.shape[1] != 2 or values.dtype.kind not in "fiub":
        return False
    switches = np.isin(values, (0, 1)).all(axis=0)
    return bool(switches.sum() == 1 and (values >= 0).all())


def label_place(label: Any, positions: Mapping[str, int]) -> int:
    """Return the position of the class with this name, or −1.

    The values 2, 2.0 and True match the names of numbers.

    Args:
        label: A class as somebody wrote it.
        positions: Of the classes, by their names.
    """
    class_position = positions.get(str(label), -1)
    if (
        class_position < 0
        and isinstance(label, (int, float))
        and abs(label) < _NO_FRACTIONS
        and float(label).is_integer()
    ):
        class_position = positions.get(
            str(int(label)), positions.get(str(float(label)), -1)
        )
    return class_position


def as_target(y: Any) -> Array:
    """Return y as an array. A single column becomes one-dimensional."""
    if isinstance(y, Tensor):
        # NumPy knows no bfloat16.
        y = (y.float() if y.dtype == torch.bfloat16 else y).detach().cpu().numpy()
    try:
        values = np.asarray(y)
    except ValueError as error:
        problem = (
            f"y must have one value per row, got {type(y).__name__}, whose "
            "entries differ in shape"
        )
        raise InputError(problem, hint="Pass an array", code="PG001") from error
    if values.ndim == 0:
        problem = f"y must have one value per row, got {type(y).__name__} {shown(y)}"
        raise InputError(problem, hint="Pass an array", code="PG001")
    if values.dtype.names:
        problem = (
            "y must have one value per row, got the fields "
            f"{', '.join(values.dtype.names)}"
        )
        survival = any(
            values.dtype[field_name].kind == "b" for field_name in values.dtype.names
        )
        if survival:
            hint = SURVIVAL
        else:
            hint = "Pass an array (rows, numbers)"
        raise InputError(problem, hint=hint, code="PG007")
    if (
        values.dtype == object
        and is_frame(y)
        and all(column_type.kind in "fiub" for column_type in y.dtypes)
    ):
        values = y.to_numpy(np.float64)  # numbers beside truth values
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    return values


def is_one_hot(values: Array) -> bool:
    """Return whether every row has a single 1 among zeros."""
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind not in "fiub":
        return False
    return bool(
        ((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all()
    )


def is_multilabel(y: Any) -> bool:
    """Return whether rows of y have several labels or none: zeros and ones in several
    columns.
    """
    if y is None:
        return False
    values = as_target(y)
    if values.ndim != 2 or values.dtype.kind not in "fiub" or is_one_hot(values):
        return False
    return bool(((values == 0) | (values == 1)).all())


class Inferred(NamedTuple):
    """A task, and why it is taken for that of the outputs."""

    task: Task
    because: Because
    by_target: bool = (
        False  # whether y's numbers alone say so, which further rows could disprove
    )


def resolve_outputs(
    outputs: Tensor,
    y: Any,
    *,
    kind: str | None,
    task: str | None,
    class_names: Any,
    sign: Sign | None = None,
) -> OutputForm:
    """Return the form of the outputs, as declared or inferred.

    ``sign``: what else says what numbers mean where there is no ``y``.
    """
    if kind is not None:
        check_choice("returns", kind, OUTPUT_KINDS)
    if task is not None:
        check_choice("task", task, OF_OUTPUTS)
        task = tasks.get(task)
    count = outputs.shape[1]
    inferred = kind is None or task is None
    by_target = False
    because = Because.STATED
    if task is None:
        task, because, by_target = _infer_task(outputs, y, kind, class_names, sign)
        if task.numeric and kind is None:
            _warn_of_two_values(count, y)
    if task.labels_overlap:
        labels, names = _labels(outputs, y, kind, class_names)
        return OutputForm(
            task,
            labels,
            count,
            (),
            names,
            inferred,
            by_target=by_target,
            because=because,
        )
    if task.numeric:
        if kind not in (None, "values"):
            problem = (
                f"returns={kind!r} does not suit a regression, whose outputs are values"
            )
            raise InputError(problem, hint="Leave returns out", code="PG006")
        columns = tuple(map(str, getattr(y, "columns", ())))
        chosen_names = (
            columns if len(columns) == count and class_names is None else class_names
        )
        names = _names_of_classes(count, None if count == 1 else chosen_names)
        names = ("all",) if count == 1 else names
        return OutputForm(
            task,
            "values",
            count,
            (),
            names,
            inferred,
            by_target=by_target,
            because=because,
        )
    if kind == "values":
        problem = (
            "returns='values' does not suit a classifier, whose outputs are "
            "logits or probabilities"
        )
        hint = (
            "Pass returns='logits' or 'probabilities' to pg.Model, or task='regression'"
        )
        raise InputError(problem, hint=hint, code="PG006")
    output_kind: Any = _infer_kind(outputs) if kind is None else kind
    _check_kind(outputs, output_kind)
    names = _names_of_classes(max(count, 2), class_names)
    by_values = kind is None
    return OutputForm(
        task,
        output_kind,
        count,
        names,
        names,
        inferred,
        by_values=by_values,
        by_target=by_target,
        because=because,
    )


def _labels(
    outputs: Tensor, y: Any, kind: str | None, class_names: Any
) -> tuple[OutputKind, tuple[str, ...]]:
    """Return the kind and the names of outputs of several labels."""
    count = outputs.shape[1]
    if kind == "values" or count < 2:
        problem = (
            "task='multilabel' needs a logit or a probability for each of several "
            f"labels, got {counted(count, 'output')}{' of values' * (kind == 'values')}"
        )
        raise InputError(problem, hint="Pass another task", code="PG006")
    within = bool(
        ((outputs >= -_tolerance(outputs)) & (outputs <= 1 + _tolerance(outputs))).all()
    )
    output_kind: Any
    if kind is None:
        if within:
            output_kind = "probabilities"
        else:
            output_kind = "logits"
    else:
        output_kind = kind
    _check_kind(outputs, output_kind)
    if class_names is not None:
        columns = class_names
    else:
        columns = tuple(getattr(y, "columns", ()))
    return output_kind, _names_of_classes(
        count, columns if len(columns) == count or class_names is not None else None
    )


def _names_of_classes(classes: int, class_names: Any) -> tuple[str, ...]:
    """Return one name for each class: numbers unless names are passed."""
    if class_names is not None and (
        not isinstance(class_names, Iterable) or isinstance(class_names, (str, bytes))
    ):
        problem = f"class_names must be a list of names, got {shown(class_names)}"
        raise InputError(problem, hint="Pass one name for each class", code="PG001")
    if class_names is not None:
        names = tuple(map(str, class_names))
    else:
        names = tuple(map(str, range(classes)))
    if len(names) != classes or len(set(names)) != classes:
        problem = (
            f"class_names must be {classes} different names in the order of the "
            f"outputs, got {list(names)}"
        )
        raise InputError(problem, hint="Name each class once", code="PG008")
    check_class_names(names)
    return names


def with_further(form: OutputForm, outputs: Tensor) -> OutputForm:
    """Return the form with an inferred kind that further outputs ``(rows, K)`` have
    too.
    """
    finite = outputs[torch.isfinite(outputs).all(dim=1)]
    if not len(finite) or _infer_kind(finite) == form.kind:
        return form
    if form.because is not Because.SUMS:
        return replace(form, kind="logits")
    values = resolve_outputs(
        outputs, None, kind="values", task=REGRESSION, class_names=None
    )
    return replace(values, inferred=form.inferred, because=Because.NOTHING)


def _infer_task(
    outputs: Tensor, y: Any, kind: str | None, class_names: Any, sign: Sign | None
) -> Inferred:
    """Return the task, and why it is that."""
    count = outputs.shape[1]
    if kind is not None or class_names is not None:
        if kind is None:
            because = Because.NAMES
        else:
            because = Because.STATED
        return Inferred(_told_task(count, y, kind), because)
    if y is None:
        return _infer_without_target(outputs, sign)
    return _infer_by_target(as_target(y), count)


def _infer_by_target(values: Array, count: int) -> Inferred:
    """Return the task of outputs, so many for each row, beside values of y."""
    numbers = values.dtype.kind in "fiu"
    if count == 1:
        binary = numbers and set(np.unique(values).tolist()) <= {0, 1}
        if numbers and not binary:
            return Inferred(REGRESSION, Because.NUMBERS)
        return Inferred(CLASSIFICATION, Because.CLASSES, binary)
    if (
        numbers
        and values.ndim == 1
        and (np.mod(values[np.isfinite(values)], 1) != 0).any()
    ):
        return Inferred(REGRESSION, Because.NUMBERS)  # no class is a fraction
    # Several outputs: one class per row, or a number for each output.
    if values.ndim != 2 or is_one_hot(values):
        by_target = numbers and values.ndim == 2
        return Inferred(CLASSIFICATION, Because.CLASSES, by_target)
    if is_multilabel(values):
        return Inferred(MULTILABEL, Because.LABELS)
    return Inferred(REGRESSION, Because.NUMBERS)


def _infer_without_target(outputs: Tensor, sign: Sign | None) -> Inferred:
    """Return the task of outputs beside no y.

    Several numbers are scores of classes by a sign only.
    """
    if sign is not None:
        return Inferred(sign.task, sign.because)
    if outputs.shape[1] == 1:
        return Inferred(REGRESSION, Because.ALONE)
    if has_kind(outputs):
        return Inferred(CLASSIFICATION, Because.SUMS)
    return Inferred(REGRESSION, Because.NOTHING)


def _told_task(count: int, y: Any, kind: str | None) -> Task:
    """Return the task of outputs that have a kind or names."""
    if kind == "values":
        return REGRESSION
    if count > 1 and is_multilabel(y):
        return MULTILABEL
    if kind is None and count > 1 and y is not None:
        truth = as_target(y)
    else:
        truth = np.empty(0)
    # Several numbers per row are no class: the names are those of outputs.
    if truth.ndim == 2 and not is_one_hot(truth):
        return REGRESSION
    return CLASSIFICATION


def _warn_of_two_values(count: int, y: Any) -> None:
    """Warn that y, taken for numbers, looks like the codes of two classes."""
    if count == 1 and y is not None:
        values = np.unique(as_target(y))
    else:
        values = np.array([])
    if len(values) == 2 < len(y) and (values == np.round(values)).all():
        smallest_text, largest_text = (f"{value:.0f}" for value in values.tolist())
        warn_user(
            f"y holds only {smallest_text} and {largest_text}, and is taken for "
            f"numbers. Pass class_names=['{smallest_text}', '{largest_text}'] to "
            "pg.Model if these are classes, or task='regression'."
        )


def _infer_kind(outputs: Tensor) -> OutputKind:
    values = outputs.double()
    tolerance = _tolerance(outputs)
    if outputs.shape[1] == 1:
        if bool(((values >= -tolerance) & (values <= 1 + tolerance)).all()):
            return "probabilities"
        return "logits"
    if bool((values >= 0).all()) and bool(
        ((values.sum(dim=1) - 1).abs() <= tolerance).all()
    ):
        return "probabilities"
    if bool((values <= 0).all()) and bool(
        ((values.exp().sum(dim=1) - 1).abs() <= tolerance).all()
    ):
        return "log_probabilities"
    return "logits"


def has_kind(outputs: Tensor) -> bool:
    """Return whether the numbers themselves say what they are: one a row, or
    probabilities that add up to 1.
    """
    return outputs.shape[1] == 1 or _infer_kind(outputs) != "logits"


def _tolerance(outputs: Tensor) -> float:
    """Return how far from 1 a sum of probabilities may be, and from 0 … 1 a
    probability, by rounding alone.
    """
    return _SUM_TOLERANCE.get(outputs.dtype, _ROUNDING)


def _check_kind(
    outputs: Tensor, kind: str, *, later: bool = False, inferred: bool = False
) -> None:
    """Refuse outputs that cannot be probabilities or their logarithms.

    NaN is checked elsewhere.

    ``later``: rows after the first, whose kind may be ``inferred`` from these.
    """
    if not len(outputs):
        return
    # Methods that watch every function of torch must not take this for a part of the
    # network.
    with torch._C.DisableTorchFunction():  # noqa: SLF001 — the documented way
        lowest_output, highest_output = torch.stack(outputs.detach().aminmax()).tolist()
    if later:
        tolerance = _ROUNDING
    else:
        tolerance = _SUM_TOLERANCE.get(outputs.dtype, _ROUNDING)
    if inferred:
        inferred_words = ", though those of the first rows lie there"
    else:
        inferred_words = ""
    if kind == "probabilities" and (
        lowest_output < -tolerance or highest_output > 1 + tolerance
    ):
        problem = (
            "Probabilities must lie within 0 … 1, got outputs from "
            f"{lowest_output:.3g} to {highest_output:.3g}{inferred_words}"
        )
        raise InputError(
            problem, hint="Pass returns='logits' to pg.Model", code="PG032"
        )
    if kind == "log_probabilities" and highest_output > max(tolerance, 1e-3):
        problem = (
            "Log-probabilities must not be above 0, got outputs up to "
            f"{highest_output:.3g}{inferred_words}"
        )
        raise InputError(
            problem, hint="Pass returns='logits' to pg.Model", code="PG032"
        )


#: What outputs of one and the same row may differ by, as a share of their size: batches
#: of other sizes round otherwise, and large numbers inside the network may cancel.
_OF_ONE_ROW = 1e-3
#: What outputs may differ by in any case, in units of the network's precision.
_OF_ANY_ROW = 4.0


def output_range(
    seen_outputs: Tensor, precision: torch.dtype, *, alike: bool
) -> Tensor:
    """Return the range of each output, ``(targets,)``, or 1 if it varies only by
    rounding.
    """
    spread = seen_outputs.amax(dim=0) - seen_outputs.amin(dim=0)
    share = max(_OF_ONE_ROW if alike else 0.0, _OF_ANY_ROW * torch.finfo(precision).eps)
    return torch.where(
        spread > share * seen_outputs.abs().amax(dim=0), spread, torch.ones_like(spread)
    )


def spread_of(outputs: Tensor, weights: Floats | None = None) -> Floats:
    """Return the standard deviation of each output over rows, ``(K,)``, or 1 if it
    varies only by rounding.

    Args:
        outputs: ``(rows, K)``.
        weights: Of the rows, ``(rows,)``. None: all count the same.
    """
    wide_outputs: Floats = outputs.double().cpu().numpy()
    finite = np.isfinite(wide_outputs).all(axis=1)
    if not finite.any():
        return np.ones(wide_outputs.shape[1])
    wide_outputs = wide_outputs[finite]
    if weights is None:
        weights = None
    else:
        weights = weights[finite]
    middle = np.average(wide_outputs, axis=0, weights=weights)
    spread = np.sqrt(np.average((wide_outputs - middle) ** 2, axis=0, weights=weights))
    rounding = (
        _OF_ANY_ROW * torch.finfo(outputs.dtype).eps * np.abs(wide_outputs).max(axis=0)
    )
    return np.where(spread > rounding, spread, 1.0)
