"""Any predictor of a table as the subject of an explanation: an estimator, a pipeline,
a booster, a function.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from permgrad.attribution.subject.answers import (
    Answers,
    KeptAnswers,
    different_rows,
    most_asked,
    who,
)
from permgrad.attribution.subject.calls import PredictCall, find_call, fitted_names
from permgrad.attribution.subject.design import CellDesign
from permgrad.attribution.subject.frame_tensors import FrameForm
from permgrad.attribution.subject.functions import no_network
from permgrad.attribution.subject.outputs import (
    OutputForm,
    as_target,
    has_kind,
    is_multilabel,
    label_place,
    resolve_outputs,
)
from permgrad.attribution.subject.reasons import CLASSES_ASKED, Sign
from permgrad.attribution.subject.remedies import remedy_of
from permgrad.attribution.subject.returned import (
    Shares,
    detached,
    find_shares,
    names_of,
    numbers_of_frame,
    share_of_sums,
    wrong_rows,
)
from permgrad.attribution.subject.soundness import PREDICTOR, check_row_independence
from permgrad.attribution.subject.subject import ANY_ROWS, Subject, typical_row
from permgrad.base.arrays import Array, Floats
from permgrad.base.checks import as_numbers
from permgrad.base.errors import InputError, error_in_words, listed, turned, warn_user
from permgrad.base.late import pd
from permgrad.base.progress import Progress
from permgrad.base.random import seeded
from permgrad.data.tasks import CLASSIFICATION, MULTILABEL, REGRESSION, Task, tasks
from permgrad.models.devices import on_users_device
from permgrad.models.losses import losses
from permgrad.models.reading_pipelines import read_pipeline
from permgrad.models.reading_trees import ReadTrees, read_questions

_PROBE_ROWS = 256
#: Donors of each row and feature at most, by default.
_REPEATS = 10
#: Rows of the first call of a function, after which it is known how long a row takes.
_BEGIN = 8
#: What helps where a call may fail by chance.
_AGAIN = (
    "pass a function that tries again, and pg.Model(..., cache='answers') keeps what "
    "was answered"
)
#: Rows, and rows mixed of them, that are asked again beside others. Of few different
#: rows fewer.
_COMPARED = (8, 4)
_COMPARED_OF_FEW = (2, 1)
_FEW_DIFFERENT = 48
#: Probabilities stay this far from 0 and 1, as in scikit-learn's log_loss: trees
#: predict 0 for what they never saw.
_LEAST = float(np.finfo(np.float64).eps)
#: How far from 1 the sum of probabilities of classes that exclude each other may be.
_ADD_UP = 1e-3
#: Cells that are handed over at once, and the fewest rows: enough that a call's own
#: cost does not count, and not so many that the memory of each batch is taken from the
#: system anew.
_CELLS = 2**21
_FEWEST = 512


class PredictorSubject(Subject):
    """A predictor with the table of one call. Rows are float64, see ``FrameForm``."""

    input_names: tuple[str, ...] = ("table",)
    real: tuple[bool, ...] = (False,)
    dtype = torch.float64
    device = torch.device("cpu")
    travels = True
    table_batch = (
        16384  # a call has a cost of its own, and the predictor's memory is not known
    )
    plays_together = True

    def __init__(
        self,
        predictor: Any,
        inputs: Any,
        y: Any = None,
        *,
        returns: str | None = None,
        task: str | None = None,
        class_names: Any = None,
        batch_size: Any = "auto",
        alone: bool | None = True,
        classes: bool = False,
        cache: str | os.PathLike[str] | None = None,
        progress: Any = False,
    ) -> None:
        """Read a predictor.

        ``alone``: refuse one whose output of a row depends on other rows. ``classes``:
        the call speaks of classes, such as ``target="predicted"``. ``cache``: a folder
        that keeps its answers.
        """
        self._largest_batch = ANY_ROWS if batch_size == "auto" else int(batch_size)
        self.module = self.predictor = predictor
        self.call: PredictCall = find_call(predictor)
        self.form = FrameForm(inputs)
        self.inputs: tuple[Tensor, ...] = (self.form.read(inputs),)
        self.column: int | None = None
        self.bounded = False
        self.width: int | None = None
        self.columns: tuple[
            str, ...
        ] = ()  # the names of the numbers that it returns, where these are a frame
        if len(self.inputs[0]) == 0 or not self.form.names:
            problem = "The inputs need at least one row and one column"
            raise InputError(problem, hint="Pass the rows to explain", code="PG013")
        kept_answers = None if cache is None else KeptAnswers(cache, who(predictor))
        self.answers = Answers(kept_answers)
        self.shares: Shares | None = None
        outputs = self._ask_first(alone=alone, progress=progress)
        if class_names is None:
            _refuse_one_class(self.call.classes)
        wants_numbers = task is not None and tasks.get(task).numeric
        if wants_numbers and returns is None and self.call.kind is not None:
            problem = (
                "task='regression' does not suit a classifier, whose outputs "
                f"are {self.call.kind}"
            )
            raise InputError(problem, hint="Leave task out", code="PG006")
        sign = CLASSES_ASKED if classes and outputs.shape[1] > 1 else None
        self.outputs = self._form_of(outputs, y, returns, task, class_names, sign)

    def _ask_first(self, *, alone: bool | None, progress: Any) -> Tensor:
        """Ask for the outputs of the first rows, and whether they depend on other rows
        or on the places of the columns.
        """
        probe_rows = [self.inputs[0][:_PROBE_ROWS]]
        different = different_rows(probe_rows[0].numpy())
        # Of few different rows, most would be asked again only to be compared.
        compared = _COMPARED if different > _FEW_DIFFERENT else _COMPARED_OF_FEW
        total = different + sum(compared) + 1
        row_limit = most_asked(self.inputs[0].numpy(), _REPEATS * len(self.form.names))
        label = f"first of up to {row_limit:,} rows"
        begun = len(probe_rows[0]) if hasattr(self.predictor, "predict") else _BEGIN
        with self.open(), Progress(total, label, progress, every=True) as progress_bar:
            self.answers.bar = progress_bar
            probe_parts = [probe_rows[0][:begun], probe_rows[0][begun:]]
            outputs = torch.cat(
                [
                    self._first_outputs([probe_part])
                    for probe_part in probe_parts
                    if len(probe_part)
                ]
            )
            self.width = outputs.shape[1]
            self.first = outputs
            if alone and self.answers.asked:
                self.moved = check_row_independence(
                    self._anew, probe_rows, outputs, PREDICTOR, compared
                )
            if self.form.named and self.answers.asked:
                self._check_places(probe_rows, outputs)
        self.answers.bar = None
        return outputs

    def trees(self) -> ReadTrees | None:
        """Return the trees of a fitted model of numbers, or at the end of a pipeline,
        or None.
        """
        pipeline_trees = read_pipeline(
            self.predictor, lambda rows: self.form.write(torch.from_numpy(rows))
        )
        if pipeline_trees is not None:
            return pipeline_trees
        if not all(column.numeric for column in self.form.columns):
            return None
        try:
            return read_questions(self.predictor)
        except NotImplementedError:
            return None

    def _form_of(
        self,
        outputs: Tensor,
        y: Any,
        kind: str | None,
        task_name: str | None,
        class_names: Any,
        sign: Sign | None,
    ) -> OutputForm:
        predict_call = self.call
        task: Task | None = None
        if task_name is not None:
            task = tasks.get(task_name)
        declared_kind = kind or predict_call.kind
        if predict_call.classes:
            declared_kind = "exact"
        self.shares = find_shares(
            outputs, y, declared_kind, task or predict_call.task, class_names
        )
        if self.shares is not None:
            outputs = torch.from_numpy(self.shares.of(outputs.numpy()))
            self.first = outputs
            kind = "probabilities"
        elif self._are_values(outputs, y, kind, class_names):
            task = task or REGRESSION
        if predict_call.guessed and not (task or kind):
            predict_call = _with_logits(predict_call, outputs, y)
        if task is None:
            task = _task_of(predict_call, outputs, y)
        names = self._names_of(outputs, y, class_names, task)
        output_form = resolve_outputs(
            outputs,
            y,
            kind=kind or predict_call.kind,
            task=task,
            class_names=names,
            sign=sign,
        )
        if output_form.task.numeric:
            output_form = self._of_numbers(output_form, predict_call, y)
        else:
            self.bounded = output_form.kind == "probabilities"
            output_form = self._of_two_classes(output_form)
        return replace(
            output_form,
            inferred=kind is None and self.call.kind is None,
            numbered=class_names is not None or predict_call.classes is None,
            of_labels=predict_call.one_hot and output_form.task.has_classes,
            both=self.column is not None,
            # Labels without probabilities have no cross entropy.
            loss=losses["zero_one"] if predict_call.one_hot else output_form.loss,
        )

    def _are_values(
        self, outputs: Tensor, y: Any, kind: str | None, class_names: Any
    ) -> bool:
        """Return whether the columns of a returned frame are values: none is a
        class.
        """
        several = len(set(self.columns)) == outputs.shape[1] > 1
        if (
            not several
            or class_names is not None
            or kind
            or self.call.kind
            or y is None
        ):
            return False
        truth = as_target(y)
        if truth.ndim != 1 or truth.dtype.kind not in "fiu":
            return False
        column_positions = {}
        for column_index, column_name in enumerate(self.columns):
            column_positions[column_name] = column_index
        are_classes = any(
            label_place(label, column_positions) >= 0
            for label in np.unique(truth).tolist()
        )
        return not are_classes and not share_of_sums(outputs.numpy())

    def _names_of(
        self, outputs: Tensor, y: Any, class_names: Any, task: Task | None
    ) -> Any:
        """Return the names of the outputs: those given, those that the predictor knows,
        or of the columns that it returns.
        """
        names = class_names
        # Classes of several labels are numbers, where they are the labels at all.
        if class_names is None and (task is None or not task.labels_overlap):
            names = self.call.classes
        if len(self.columns) > 1:
            return self._named_columns(outputs, y, names)
        return names

    def _of_two_classes(self, form: OutputForm) -> OutputForm:
        """Return the form with one of two probabilities: the second says it all, and
        its logit is the score that boosters call raw.
        """
        if not (form.task.has_classes and self.bounded and form.count == 2):
            return form
        self.column = 1
        return replace(form, count=1, output_names=form.class_names)

    def _of_numbers(self, form: OutputForm, call: PredictCall, y: Any) -> OutputForm:
        """Return the form with its training loss; of several, named as columns returned
        or as levels of quantiles.
        """
        form = replace(form, loss=call.loss)
        if call.loss is not None and len(call.loss.by_output) == form.count > 1:
            names = tuple(f"{loss.level:g}" for loss in call.loss.by_output)
            return replace(form, output_names=names)
        named = len(set(self.columns)) == form.count > 1 and not hasattr(y, "columns")
        if named:
            return replace(form, output_names=self.columns)
        return form

    def _named_columns(self, outputs: Tensor, y: Any, names: Any) -> Any:
        """Return the names of the outputs: of a returned frame those of its columns,
        where these are the classes.
        """
        columns = self.columns
        if len(set(columns)) < len(columns):
            return names
        targets = list(map(str, getattr(y, "columns", ())))
        if targets != list(columns) and set(targets) == set(columns):
            problem = (
                f"The columns of y ({listed(targets, show=repr)}) are in another order "
                f"than those that the predictor returns ({listed(columns, show=repr)})"
            )
            raise InputError(
                problem,
                hint="Pass y with its columns in the predictor's order",
                code="PG007",
            )
        if names is not None:
            if set(map(str, names)) == set(columns):
                return columns
            return names
        if y is not None and not targets:
            labels = as_target(y)
        else:
            labels = np.empty((0, 0))
        column_positions = {}
        for column_index, column_name in enumerate(columns):
            column_positions[column_name] = column_index
        are_classes = labels.ndim == 1 and all(
            label_place(label, column_positions) >= 0 for label in labels.tolist()
        )
        # Columns of other numbers have names, too.
        if y is not None:
            of_classes = are_classes
        else:
            of_classes = has_kind(outputs)
        if of_classes:
            return columns
        return None

    def _check_places(self, few: Sequence[Tensor], outputs: Tensor) -> None:
        """Refuse columns in another order than in fit where the model reads them by
        their places.
        """
        fitted = fitted_names(self.predictor)
        names = self.form.names
        # LightGBM writes an underscore for a space, and tables come with names in
        # capitals, or with dots.
        wanted_names, present_names = (
            [
                re.sub(r"[\W_]+", "_", column_name).casefold()
                for column_name in name_list
            ]
            for name_list in (fitted, names)
        )
        if len(set(wanted_names)) < len(wanted_names) or len(set(present_names)) < len(
            present_names
        ):
            wanted_names = list(fitted)
            present_names = list(names)
        if not set(wanted_names) & set(present_names) or wanted_names == present_names:
            return
        try:  # a model that takes the same cells under other names goes by their places
            by_place = torch.equal(
                self.forward(
                    few,
                    [f"column {column_index}" for column_index in range(len(names))],
                ),
                outputs,
            )
        except InputError:
            return
        pairs = []
        for present_name, wanted_name in zip(present_names, wanted_names, strict=False):
            if present_name != wanted_name:
                pairs.append((present_name, wanted_name))
        if not by_place or not pairs:
            return
        wrong_name, right_name = next(
            (name_pair for name_pair in pairs if name_pair[0] in wanted_names), pairs[0]
        )
        spelled = dict(zip(present_names, names, strict=True))
        problem = (
            f"The model reads columns by their places, and {spelled[wrong_name]!r} "
            f"stands where {spelled.get(right_name, right_name)!r} stood in fit"
        )
        if wrong_name not in wanted_names:
            warn_user(problem, "Check that both are the same column")
            return
        order = [spelled.get(column_name, column_name) for column_name in wanted_names]
        hint = f"Pass the columns in the order of fit: {listed(order, show=repr)}"
        raise InputError(problem, hint=hint, code="PG032")

    # ---- rows ------------------------------------------------------------------------
    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows, ``(rows, columns)``."""
        return (self.form.read(inputs),)

    def with_rows(self, inputs: Any) -> PredictorSubject | None:
        """Return the subject with other rows of the same columns, or None where they
        have others.
        """
        frame_form = FrameForm(inputs)
        if frame_form.kinds != self.form.kinds or not len(
            read_rows := frame_form.read(inputs)
        ):
            return None
        new_subject = copy(self)
        new_subject.form = frame_form
        new_subject.inputs = (read_rows,)
        new_subject.answers = self.answers.fresh()
        return new_subject

    def on_a_scale(self, position: int, shape: torch.Size) -> Tensor:  # noqa: ARG002 — the table is the only input
        """Return which columns hold numbers."""
        return torch.from_numpy(self.form.on_a_scale)

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return medians of numbers and the most frequent of all other cells, ``(1,
        columns)``.
        """
        numeric = torch.from_numpy(self.form.on_a_scale)
        return (
            torch.where(
                numeric, typical_row(rows[0]), rows[0].mode(dim=0).values[None]
            ),
        )

    def design(self, background: Floats) -> CellDesign:
        """Return how the table's cells are drawn given each other."""
        return CellDesign(self.form, background)

    def to_send(self) -> PredictorSubject:
        """Return the subject without the rows explained, for another process."""
        sent_subject = copy(self)
        sent_subject.inputs = ()
        sent_subject.answers = self.answers.fresh()
        return sent_subject

    def deciding(self) -> PredictorSubject:
        """Return the subject with the labels of the model's own ``predict``, if these
        are its classes.
        """
        predict_call = self.call
        decided = copy(self)
        several = self.task.labels_overlap
        if predict_call.labels is None or predict_call.one_hot or self.task.numeric:
            by_threshold = super().deciding()
            assert isinstance(by_threshold, PredictorSubject)
            return by_threshold
        classes = predict_call.classes or self.outputs.class_names
        decided.call = replace(
            predict_call,
            function=predict_call.labels,
            classes=classes,
            one_hot=not several,
        )
        decided.bounded = True
        decided.column = None
        decided.width = None
        decided.answers = Answers()
        decided.shares = None
        if several:
            default_loss = self.outputs.loss
        else:
            default_loss = losses["zero_one"]
        decided.outputs = replace(
            self.outputs, kind="probabilities", of_labels=not several, loss=default_loss
        )
        with self.open():
            few_rows = [self.inputs[0][:_PROBE_ROWS]]
            answers = decided._first_outputs(few_rows)  # noqa: SLF001 — its own class
            decided_labels = answers > 0.5
        if decided_labels.shape[1] != (
            self.outputs.count if several else len(classes)
        ) or not (several or (decided_labels.sum(1) == 1).all()):
            # numbers of another kind, such as positions of classes that have other
            # names
            return self
        decided.first = decided_labels.double()
        decided.width = decided_labels.shape[1]
        if several or self.outputs.count > 1:
            decided.column = None
        else:
            decided.column = 1
        return decided

    def asked(self, method: str, tensors: Sequence[Tensor]) -> Array:
        """Return what another method of the predictor returns for rows, ``(rows,
        *)``.
        """
        with self.open():
            answer_parts = []
            for row_block in tensors[0].split(self.most_rows()):
                answer_parts.append(
                    getattr(self.predictor, method)(self.form.write(row_block))
                )
        return np.concatenate([np.asarray(answer_part) for answer_part in answer_parts])

    def check_slopes(self, method: str, input_indices: Sequence[int]) -> None:  # noqa: ARG002 — there is one input
        """Refuse every method that needs slopes: a predictor has no gradient."""
        self.check_network(method)

    def check_network(self, method: str) -> None:
        """Refuse every method that reads layers: a predictor has none."""
        raise no_network(method, type(self.predictor).__name__)

    # ---- predicting ------------------------------------------------------------------
    #: seeds every generator that a predictor may draw from, and restores all of them
    #: afterwards
    open = staticmethod(seeded)

    def forward(
        self, tensors: Sequence[Tensor], names: Sequence[str] | None = None
    ) -> Tensor:
        """Return the predictions of rows, float64 ``(b, K)``, of a table with other
        names of columns if passed.

        Equal rows are asked once.
        """
        asked_rows = tensors[0]
        if names is not None:
            return self._read_out(self._ask(asked_rows, names))
        numbers = self.answers.of(
            asked_rows.detach().cpu().numpy(),
            lambda row_positions: self._ask(
                asked_rows[torch.from_numpy(row_positions)]
            ),
            lambda frame_positions: self.form.frame(
                asked_rows[torch.from_numpy(frame_positions)]
            ),
        )
        if self.width is None and self.answers.kept is not None:
            self.columns = self.columns or self.answers.kept.columns
        return self._read_out(numbers)

    def forget(self) -> None:
        """Ask for all rows from now on, also for those that were answered before."""
        self.answers = self.answers.fresh()

    def _anew(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return predictions that are asked for, though the rows were answered
        before.
        """
        row_blocks = tensors[0].split(self.most_rows())
        answers = list(map(self._ask, row_blocks))
        if self.answers.bar is not None:
            self.answers.bar.advance(len(tensors[0]))
        return self._read_out(np.concatenate(answers))

    def _ask(self, rows: Tensor, names: Sequence[str] | None = None) -> Floats:
        """Return what the predictor answers for rows, float64 ``(b, K)``."""
        with turned(self._refused, memory=True):
            table = self.form.write(rows)
            if names is None:
                asked_table = table
            else:
                asked_table = self.form.library.rename(table, names)
            with on_users_device():
                returned = self.call.function(asked_table)
        returned = detached(returned)
        if names_of(returned):
            returned = numbers_of_frame(returned, table)
        if self.width is None:
            self._name_columns(names_of(returned))
        numbers = self._numbers_in(returned, rows)
        before = self.width or self.answers.width
        if before and numbers.shape[1] != before:
            problem = (
                f"The predictor returned {numbers.shape[1]} numbers per row "
                f"after {before} before"
            )
            raise InputError(
                problem, hint="Return as many numbers for every table", code="PG032"
            )
        return numbers

    def _numbers_in(self, returned: Any, rows: Tensor) -> Floats:
        """Return the numbers of an answer, float64 ``(b, K)``: labels are shares of 0
        and 1.
        """
        count = len(rows)
        if isinstance(returned, list) and returned:
            returned = _of_labels(returned, count)
        values = np.asarray(returned)
        if values.ndim and len(values) != count and values.size != count:
            raise wrong_rows(values, count, lambda: self.form.frame(rows))
        if self.call.one_hot and values.size == count:
            values = self._one_hot(values.reshape(-1))
        elif values.dtype.kind not in "fiub":
            hint = (
                "Pass its predict_proba, or a function that returns a probability "
                "for each class"
            )
            values = as_numbers("What the predictor returns", values, hint, "PG032")
        wide_values = values
        if values.ndim and len(values) == count:
            wide_values = values.reshape(len(values), -1)
        if (
            wide_values.ndim != 2
            or values.ndim > 2
            or 0 in wide_values.shape
            or len(wide_values) != count
        ):
            raise wrong_rows(values, count, lambda: self.form.frame(rows))
        return np.array(wide_values, dtype=np.float64)

    def _name_columns(self, columns: tuple[str, ...]) -> None:
        """Keep the names of the columns that are returned, also beside kept answers."""
        self.columns = columns
        if self.answers.kept is not None:
            self.answers.kept.columns = columns

    def _read_out(self, numbers: Floats) -> Tensor:
        """Return answers as the outputs that are explained."""
        if self.shares is not None:
            numbers = self.shares.of(numbers)
        if self.bounded:
            # What is no probability at all stays, and is refused by whoever reads it.
            numbers = np.where(
                (numbers >= 0) & (numbers <= 1),
                numbers.clip(_LEAST, 1 - _LEAST),
                numbers,
            )
        return torch.from_numpy(
            numbers if self.column is None else numbers[:, [self.column]]
        )

    def _refused(self, error: Exception) -> InputError:
        """Return a predictor's error with what helps: of the rows as they are passed,
        or of cells in other rows.
        """
        hint = "It must accept rows of the table with cells of other rows."
        if self.width is None:
            fitted = fitted_names(self.predictor)
            if self.form.named:
                table_words = "a data frame"
            else:
                table_words = "an array"
            hint = f"It gets X as passed, {table_words}: pass rows as it takes them."
            if fitted and fitted != self.form.names:
                hint = (
                    f"It was fitted on the columns {listed(fitted, show=repr)}, in "
                    "this order."
                )
        hint = remedy_of(error, hint)
        answered_count = self.answers.asked
        if answered_count:
            after = f" (after {answered_count:,} rows that it answered)"
        else:
            after = ""
        # A service that does not answer does not refuse the rows.
        apart = isinstance(error, (OSError, TimeoutError))
        if apart or (answered_count and not hasattr(self.predictor, "predict")):
            if apart:
                hint = "P" + _AGAIN[1:]
            else:
                hint = f"{hint.rstrip('.')}. If it fails by chance: {_AGAIN}"
        if apart:
            failed = "failed"
        else:
            failed = "refused the rows"
        problem = f"Your model {failed}: {error_in_words(error)}{after}"
        return InputError(problem, hint, "PG032")

    def _one_hot(self, labels: Array) -> Floats:
        """Return 1 for the class of each label ``(rows, classes)``, which is found by
        its name.
        """
        names = {}
        for class_position, class_name in enumerate(self.call.classes or ()):
            names[str(class_name)] = class_position
        label_numbers, distinct_labels = pd.factorize(labels, use_na_sentinel=False)
        codes = np.array(
            [label_place(label, names) for label in distinct_labels.tolist()]
        )
        return np.asarray(
            codes[label_numbers][:, None] == np.arange(len(names)), dtype=np.float64
        )

    def most_rows(self) -> int:
        """Return how many rows are predicted together."""
        batch_rows = max(_FEWEST, _CELLS // max(len(self.form.names), self.width or 0))
        return min(batch_rows, self._largest_batch)

    def _first_outputs(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the predictions of rows, in batches no larger than those asked for."""
        return torch.cat(
            [self.forward([row_block]) for row_block in rows[0].split(self.most_rows())]
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Facts inferred about the predictor, for an explanation's ``meta``."""
        predictor_class = type(self.predictor)
        trained_by = {}
        if self.call.trained_by and self.task.numeric:
            trained_by = {"trained_by": self.call.trained_by}
        return {
            **trained_by,
            "predictor": f"{predictor_class.__module__}.{predictor_class.__qualname__}",
            "returns": self.outputs.kind,
            "output_inferred": self.outputs.inferred,
            "read_so_because": str(self.outputs.because),
        }


def _refuse_one_class(labels: Sequence[Any] | None) -> None:
    """Refuse a classifier that knows one class."""
    if labels is None or len(labels) != 1:
        return
    problem = (
        f"The model learned from rows of one class only, {str(labels[0])!r}, and "
        "always predicts it"
    )
    hint = "Fit it on rows of several classes: are the training rows sorted by class?"
    raise InputError(problem, hint=hint, code="PG031")


def _task_of(call: PredictCall, outputs: Tensor, y: Any) -> Task | None:
    """Return the task of a call, where nobody has told it.

    Probabilities may belong to several labels: y says so, or they do not add up to 1.
    """
    if (
        call.one_of
        or call.kind != "probabilities"
        or call.task is None
        or not call.task.has_classes
        or outputs.shape[1] < 2
        or (y is not None and as_target(y).ndim < 2)
    ):
        return call.task
    apart = (outputs.sum(dim=1) - 1).abs() > _ADD_UP
    if is_multilabel(y) or bool(apart.any()):
        return MULTILABEL
    return call.task


def _with_logits(call: PredictCall, outputs: Tensor, y: Any) -> PredictCall:
    """Return a call whose objective may be the user's own, of scores of classes if y
    says that they are such.
    """
    if y is None:
        return call
    truth = as_target(y)[: len(outputs)]
    if outputs.shape[1] > 1 or truth.dtype.kind not in "fiub":
        return replace(call, task=None)  # as of a function
    if not set(np.unique(truth).tolist()) <= {0, 1}:
        return call
    scores = outputs[:, 0].numpy()
    errors = []
    for guess in (scores, expit(scores)):
        errors.append(np.mean((truth.reshape(len(truth), -1)[:, 0] - guess) ** 2))
    if errors[1] < errors[0]:
        return replace(call, task=CLASSIFICATION, kind="logits")
    return call


def _of_labels(returned: list[Any], rows: int) -> Any:
    """Return the probability of each label from a list with an entry for each, and
    other lists unchanged.
    """
    if all(np.shape(label_output) == (rows, 2) for label_output in returned):
        return np.stack(
            [np.asarray(label_output)[:, 1] for label_output in returned], axis=1
        )
    if all(np.ndim(label_output) == 2 for label_output in returned):
        problem = (
            f"The predictor returned the probabilities of {len(returned)} "
            "targets, each with its own classes"
        )
        hint = (
            "Pass a function that returns those of one: lambda table: "
            "model.predict_proba(table)[0]"
        )
        raise InputError(problem, hint=hint, code="PG032")
    return returned
