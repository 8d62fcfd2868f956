"""Models and rows as users pass them to ``pg.report``, read as ``pg.explain`` reads
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.assess.assessed_model import (
    EvaluatedModel,
    Network,
    TrainedOther,
)
from permgrad.assess.assessed_rows import Places, Rows
from permgrad.assess.budget import Clock
from permgrad.assess.predictions import Predictions
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.permgrad import PermGrad
from permgrad.attribution.method.shapley.method import choose_references
from permgrad.attribution.model import Model, as_model
from permgrad.attribution.request import Request
from permgrad.attribution.request.arguments import Arguments, RowsToCompare
from permgrad.attribution.request.read_predictor import predictor_key
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.related_rows import read_units, with_columns
from permgrad.attribution.request.takes import is_estimator
from permgrad.attribution.scopes import FEATURE
from permgrad.attribution.subject.encoded import EncodedPredictor
from permgrad.attribution.subject.functions import as_network
from permgrad.attribution.subject.outputs import as_target
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.arrays import Floats, Integers
from permgrad.base.checks import check_choice, check_rows
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, listed, shown
from permgrad.base.frames import as_library
from permgrad.base.random import generator
from permgrad.data.read.image_cells import with_image_cells
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.data.weights import check_weights
from permgrad.evaluation.levels import cells_of
from permgrad.models.estimators.kept_rows import rows_in

#: Arguments that say which rows depend on each other.
_RELATED = ("row_groups", "row_time")
#: Rows that replace features in explanations of a model that keeps none.
_BACKGROUND = 200


# ---- models that permgrad did not train ----------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Foreign(EvaluatedModel):
    """Any other model, read as ``pg.explain`` reads it.

    Attributes:
        request: the arguments as permgrad reads them.
        rows: the rows that they are of, with numbers from 0.
        guess: the predictions for these rows.
        output: the position of the output that was picked of several, else None.
        called: positions of the classes that it decides for, where these are not the
            most probable ones.
    """

    request: Request
    rows: Rows
    guess: Floats
    output: int | None = None
    called: Integers | None = None

    def predict(self, rows: Rows) -> Predictions:
        """Return the predictions for some of the rows."""
        return Predictions(
            truth=self.truth(rows),
            guess=self.guess[rows.numbers],
            classes=self.classes,
            positive=self.positive,
            labels_only=self.labels_only,
            called=None if self.called is None else self.called[rows.numbers],
        )

    def predict_changed(
        self,
        rows: Rows,  # noqa: ARG002
        row_positions: Integers,  # noqa: ARG002
        table: pd.DataFrame,
    ) -> Floats:
        """Return predictions ``(places, outputs)`` for a table like the reported one.

        It is all of a row.
        """
        subject = self.request.subject
        request = self.request
        if isinstance(self.model, nn.Module):
            inputs: Any = (
                torch.as_tensor(
                    table.to_numpy(dtype=np.float64), dtype=request.inputs[0].dtype
                ),
            )
        else:
            library: Any = type(self.rows.inputs).__module__.partition(".")[0]
            is_known_library = library in ("pandas", "polars", "pyarrow")
            inputs = subject.read(
                as_library(table, library) if is_known_library else table.to_numpy()
            )
        guess = np.asarray(
            subject.outputs.predicted(outputs_of(subject, inputs)), dtype=np.float64
        )
        if self.output is not None:
            guess = column_of(guess, self.output)
        if subject.task.labels_overlap:
            return np.column_stack([1 - guess, guess])
        if self.classes:
            return guess
        return guess.reshape(-1, 1)

    @cached_property
    def told(self) -> Model:
        """The model with the task and the kind of outputs that targets told."""
        wrapped_model = self.read
        subject = self.request.subject
        further: dict[str, Any] = {"task": wrapped_model.task or subject.task}
        if not subject.task.numeric:
            further["returns"] = wrapped_model.returns or subject.outputs.kind
        if getattr(subject, "columns", ()) and subject.task.has_classes:
            further["class_names"] = (
                self.classes
            )  # targets tell whether a returned frame names classes
        told_model = replace(wrapped_model, **further)
        if not isinstance(
            self.model, nn.Module
        ):  # it was checked when it was read with targets
            for classes in (False, True):  # targets told what the outputs are
                predictor_name = predictor_key(
                    told_model.task, y=False, classes=classes
                )
                told_model.found[predictor_name] = subject.to_send()
        return told_model

    @cached_property
    def compared(self) -> RowsToCompare:
        """The rows that single rows are compared with, as ``pg.explain`` chooses them
        of all rows.
        """
        row_indices = choose_references(self.request, None)
        rows = self.rows.take(row_indices).inputs
        return RowsToCompare(rows, drawn_from=len(self.rows))

    def explain(
        self, rows: Rows, y: Any = None, *, model: Model | None = None, **options: Any
    ) -> Explanation:
        """Explain some rows. Raw columns of a table are its features."""
        explanation = super().explain(rows, y, model=model, **options)
        if explanation.level.of_columns:
            return replace(explanation, level=FEATURE)
        return explanation

    def attribute(self, rows: Rows, **options: Any) -> Explanation:
        """Return attributions, with the output and the background that targets tell."""
        options |= (
            {} if self.output is None else {"target": self.output}
        )  # names come from y
        if self.options.get("background") is None:
            options["background"] = self.compared
        return super().attribute(rows, model=self.told, **options)

    def dates(self, table: pd.DataFrame) -> dict[str, Floats]:
        """Return the columns of dates, also those written as text or whole numbers, in
        seconds.
        """
        cells = {}
        for column_name in table.columns:
            cells[column_name] = cells_of(table[column_name], str(column_name))
        return {
            column_name: column_cells.values
            for column_name, column_cells in cells.items()
            if column_cells.is_moment and column_cells.values is not None
        }


def _drawn(rows: Rows, seed: int) -> Rows:
    """Return the rows that replace features in explanations of a model that keeps
    none.
    """
    return rows.take(
        np.sort(generator(seed, "background").permutation(len(rows))[:_BACKGROUND])
    )


def column_of(guess: Floats, position: int) -> Floats:
    """Return the predictions of one output ``(rows,)``."""
    if guess.ndim == 2:
        columns = guess
    else:
        columns = guess[:, None]
    return np.asarray(columns[:, 0 if columns.shape[1] == 1 else position])


def sensitive_columns(sensitive: Any, rows: Rows) -> pd.DataFrame | None:
    """Return the columns that ``sensitive=`` names or holds ``(rows, columns)``, or
    None.

    Raises:
        InputError: A column is not in the table, or there is not one label for each
            row.
    """
    if sensitive is None:
        return None
    if isinstance(sensitive, str):
        names = [sensitive]
    else:
        names = sensitive
    if isinstance(names, (list, tuple)) and (
        names is not sensitive or len(names) != len(rows)
    ):
        for column_name in names:
            check_choice(
                "column in sensitive",
                column_name,
                () if rows.table is None else map(str, rows.table),
            )
        return rows.frame.rename(columns=str)[list(dict.fromkeys(names))].reset_index(
            drop=True
        )
    if isinstance(sensitive, pd.DataFrame):
        check_rows("sensitive", sensitive.index, len(rows))
        return sensitive.rename(columns=str).reset_index(drop=True)
    check_rows(
        "sensitive",
        sensitive,
        len(rows),
        "Pass a column's name, or one label for each row.",
    )
    return pd.DataFrame(
        {str(getattr(sensitive, "name", None) or "sensitive"): np.asarray(sensitive)}
    )


# ---- as passed -----------------------------------------------------------------------
class ReadModel:
    """A model with rows and targets as a user passes them.

    ``options`` are arguments of ``explain``.

    Attributes:
        model: the model, as sections use it.
        rows: its rows.
        request: the arguments as permgrad reads them.

    Raises:
        InputError: An argument cannot be used, or the model predicts neither classes
            nor one number for each row.
    """

    def __init__(
        self, model: Any, X: Any, y: Any, *, seed: int = 0, **options: Any
    ) -> None:
        if y is None:
            problem = "report needs y: a page says how good the model is"
            raise InputError(problem, hint="Pass the targets.", code="PG005")
        self._related = {
            option_name: value
            for option_name in _RELATED
            if (value := options.get(option_name)) is not None
        }
        options = {
            option_name: value
            for option_name, value in options.items()
            if option_name not in _RELATED and value is not None
        }
        wrapped_model = as_model(model)
        inputs, dependence = _dependence(wrapped_model, X, y, self._related)
        model_name = label_of(wrapped_model.model)
        if not is_estimator(wrapped_model.model):
            wrapped_model = as_network(wrapped_model, inputs)
        self._is_network = isinstance(wrapped_model.model, nn.Module)
        arguments = Arguments(
            wrapped_model, inputs, y, scope="global", random_state=seed, **options
        )
        self.request = build_request(arguments, PermGrad(), "permgrad", decided=False)
        if (
            not self._is_network
            and self.request.subject.model is None
            and "groups" not in options
        ):
            options["groups"] = dict(
                self.request.as_one
            )  # all sections are of the same features
        rows = self._rows_of(inputs, y, dependence)
        facts: dict[str, Any] = {
            "name": model_name,
            "options": options,
            "seed": seed,
            "described": wrapped_model,
        }
        model = wrapped_model.model
        if self.request.subject.model is not None:
            self._take_network(model, rows, facts)
        elif isinstance(
            self.request.subject, EncodedPredictor
        ):  # a run's model of another library, saved and loaded
            self._take_other(model, rows, facts)
        else:
            facts |= {"subject": model_name, "has_slopes": self._is_network}
            self.model: EvaluatedModel = _foreign(
                self.request, rows, {**facts, "model": model}
            )
            self.rows = self.model.rows

    def _rows_of(self, inputs: Any, y: Any, dependence: Any) -> Rows:
        """Return the rows as they were passed, with their labels and their cut."""
        table = self._table(self.request.raw, self.request.inputs)
        numbers = np.arange(len(self.request.inputs[0]))
        cut = None
        if self.request.subject.model is None and not self._is_network:
            cut = _cut(self.request)
        rows = Rows(
            inputs=inputs,
            y=y,
            numbers=numbers,
            table=table,
            identifiers=_labels(inputs, table),
        )
        return replace(rows, dependence=dependence, cut=cut)

    def _take_other(self, model: Any, rows: Rows, facts: dict[str, Any]) -> None:
        """Take a run's model of another library, with its encoded rows."""
        del facts["name"]
        positive = _positive_of(self.request)
        facts |= {
            "positive": positive,
            "counts": bool(getattr(model, "counts", False)),
        }
        self._trained = partial(TrainedOther.of, model, clock=Clock(), **facts)
        self.rows = replace(rows, inputs=model.encode_rows(rows.frame), cut=None)
        self.model = self._trained(train=rows.frame)

    def _take_network(self, model: Any, rows: Rows, facts: dict[str, Any]) -> None:
        """Take a hybrid network with its encoded rows."""
        self.rows = replace(rows, inputs=model.encode_rows(rows.frame))
        if (
            facts["options"].get("background") is None and not rows_in(model)[0]
        ):  # saved without its rows
            facts["options"] = {
                **facts["options"],
                "background": _drawn(rows, facts["seed"]).frame,
            }
        positive = _positive_of(self.request)
        self.model = Network.of(model, positive=positive, **facts)

    def _table(self, raw: Any, tensors: tuple[Tensor, ...]) -> pd.DataFrame | None:
        """Return rows as a table, or None if the model reads something else."""
        subject = self.request.subject
        if isinstance(raw, pd.DataFrame):
            return with_image_cells(raw.reset_index(drop=True))
        if not self._is_network:
            table: pd.DataFrame = subject.form.frame(tensors[0])
            return table
        if len(tensors) != 1 or tensors[0].ndim != 2 or not subject.real[0]:
            return None
        columns = subject.form.leaves[0].columns or [
            f"{subject.input_names[0]}[{k}]" for k in range(tensors[0].shape[1])
        ]
        return pd.DataFrame(tensors[0].detach().cpu().numpy(), columns=list(columns))

    def train(self, train: Any) -> Rows | None:
        """Check ``train=`` and return its rows."""
        if train is None:
            return None
        if not isinstance(train, (tuple, list)) or len(train) not in (2, 3):
            problem = (
                f"train must be a pair of rows and targets, got {type(train).__name__}"
            )
            raise InputError(
                problem, hint="Pass train=(X_train, y_train).", code="PG001"
            )
        inputs, y, *values = train
        # Without values, all training rows count as one group.
        related = {
            option_name: value if isinstance(value, str) else np.zeros(len(y))
            for option_name, value in self._related.items()
        }
        inputs, dependence = _dependence(self.model.model, inputs, y, related)
        if values:
            dependence = _dependence(
                self.model.model, inputs, y, dict.fromkeys(related, values[0])
            )[1]
        training_rows = self._training_rows(inputs, y)
        if isinstance(self.model, TrainedOther):
            self.model = self._trained(train=training_rows.frame)
        return replace(training_rows, dependence=dependence)

    def _training_rows(self, inputs: Any, y: Any) -> Rows:
        subject = self.request.subject
        tensors = subject.read(inputs)
        count = len(tensors[0])
        values = as_target(y)
        output_form = subject.outputs
        if (
            output_form.task.numeric and values.ndim == 1 < output_form.count
        ):  # the target of the one output reported
            values = np.stack([values] * output_form.count, axis=1)
        codes = output_form.encode_target(
            values if output_form.task.numeric else y, count
        )
        numbers = np.arange(count)
        if not isinstance(self.model, Foreign):
            names = list(self.model.model.preprocessor_.feature_names_in_)
            if isinstance(inputs, pd.DataFrame):
                table = inputs[names]
            else:
                table = pd.DataFrame(np.asarray(inputs), columns=names)
            table = with_image_cells(table.reset_index(drop=True))
            return Rows(
                inputs=self.model.model.encode_rows(table),
                y=y,
                numbers=numbers,
                table=table,
            )
        if self.model.output is not None:
            codes = codes[:, self.model.output]
        classes = np.asarray(self.model.classes, dtype=object)
        if len(classes):
            truth = classes[codes.astype(np.int64)]
        else:
            truth = codes
        return Rows(
            inputs=inputs,
            y=y,
            numbers=numbers,
            table=self._table(None, tensors),
            truth=truth,
        )

    def weigh(self, sample_weight: Any) -> None:
        """Weigh the rows, and leave out those of weight 0."""
        weights = pd.Series(
            check_weights(sample_weight, len(self.rows)),
            name=getattr(sample_weight, "name", None),
        )
        self.rows = replace(self.rows, weights=weights).take(np.flatnonzero(weights))

    @property
    def target(self) -> str:
        """The target's name: of its column, else of the output that was picked, else
        ``y``.
        """
        output = getattr(self.model, "output", None)
        if output is not None and len(self.request.subject.outputs.output_names) > 1:
            return str(self.request.subject.outputs.output_names[output])
        target_name = getattr(self.rows.y, "name", None)
        columns = getattr(self.rows.y, "columns", None)
        if target_name is None and columns is not None and len(columns) == 1:
            target_name = columns[0]
        if target_name is None:
            return "y"
        return str(target_name)

    @property
    def inputs(self) -> pd.DataFrame:
        """The inputs of a network: name, size, type."""
        lines = []
        for input_name, tensor in zip(
            self.request.subject.input_names, self.request.inputs, strict=False
        ):
            lines.append(
                (
                    input_name,
                    " × ".join(map(str, tensor.shape[1:])) or "one number",
                    str(tensor.dtype).removeprefix("torch."),
                )
            )
        return pd.DataFrame(lines, columns=["name", "size", "type"])


def _cut(request: Request) -> Callable[[Places], Any]:
    """Return how some of the rows of a predictor are taken, in the user's form."""
    subject = request.subject
    tensors = request.inputs
    return lambda row_indices: subject.form.write(
        tensors[0][torch.from_numpy(row_indices)]
    )


def _dependence(
    model: Any, inputs: Any, y: Any, related: Mapping[str, Any]
) -> tuple[Any, Dependence | None]:
    """Return inputs without a column that ``related`` names for a model that does not
    need it, and what it says.
    """
    if not related:
        return inputs, None
    arguments = with_columns(Arguments(model, inputs, y, **related))
    units = read_units(arguments, len(y))
    ((argument, value),) = related.items()
    if isinstance(value, str):
        column_name = value
    else:
        column_name = str(getattr(value, "name", None) or argument)
    return arguments.X, replace(units, name=column_name)


def _labels(rows: Any, table: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the index of a pandas table as text, or None where it only counts the
    rows.
    """
    index = getattr(rows, "index", None)
    if not isinstance(index, pd.Index) or index.equals(pd.RangeIndex(len(index))):
        return None
    labels = index.to_frame(index=False).astype(str)
    columns = []
    for level_name in labels.columns:
        if isinstance(level_name, int):
            columns.append(f"index {level_name}")
        else:
            columns.append(str(level_name))
    labels.columns = columns
    labels = labels.rename(columns={"index 0": "index"} if labels.shape[1] == 1 else {})
    return labels[
        [
            level_name
            for level_name in labels.columns
            if table is None or level_name not in table.columns
        ]
    ]


def _foreign(request: Request, rows: Rows, facts: Mapping[str, Any]) -> Foreign:
    """Return a model that permgrad did not train, with its predictions."""
    subject = request.subject
    guess = np.asarray(
        subject.outputs.predicted(outputs_of(subject, request.inputs)), dtype=np.float64
    )
    if not np.isfinite(guess).all():
        problem = "The model predicts NaN or infinity for some rows"
        raise InputError(
            problem, hint="Look for missing values in the inputs.", code="PG040"
        )
    several = len(request.inputs) > 1 and isinstance(facts["model"], nn.Module)
    facts = {**facts, "request": request, "several_inputs": several}
    output = None
    if subject.task.has_classes:
        return _with_classes(request, rows, facts, guess)
    truth = np.asarray(as_target(rows.y))
    if subject.outputs.count > 1 or truth.ndim != 1:
        position = _chosen_output(request, facts["options"].get("target"))
        truth = np.asarray(request.y)[:, position]
        guess = column_of(guess, position)
        output = position
    if subject.task.labels_overlap:
        label = subject.outputs.output_names[output or 0]
        classes = (f"not {label}", label)
        named = np.asarray(classes, dtype=object)[truth.astype(np.int64)]
        guess = np.column_stack([1 - guess, guess])
        return _of_classes(
            facts,
            rows,
            classes,
            named,
            guess=guess,
            output=output,
            called=_called(request, guess, output),
        )
    rows = replace(rows, truth=truth.astype(np.float64))
    return Foreign(
        **facts,
        rows=rows,
        task=REGRESSION,
        classes=(),
        guess=guess.reshape(-1),
        output=output,
    )


def _with_classes(
    request: Request, rows: Rows, facts: Mapping[str, Any], guess: Floats
) -> Foreign:
    """Return a model of classes, with its predictions."""
    subject = request.subject
    names = np.asarray(subject.outputs.class_names, dtype=object)
    truth = names[np.asarray(request.y if request.classes is None else request.classes)]
    labels_only = bool(getattr(getattr(subject, "call", None), "one_hot", False))
    further = {
        "guess": guess,
        "labels_only": labels_only,
        "called": _called(request, guess),
    }
    return _of_classes(facts, rows, tuple(names), truth, **further)


def _chosen_output(request: Request, target: Any) -> int:
    """Return the position of the output that the report is of, which must be one."""
    outputs = request.subject.outputs.output_names
    target_indices = request.targets
    if len(target_indices) != 1:
        few = listed(list(outputs)[:5], show=repr)
        hint = "Name one in target=."
        if target is None:
            hint = f"Pass target={shown(outputs[0])}, for example."
        raise InputError(
            f"A report is of one output, and the model has {len(outputs)} ({few})",
            hint=hint,
            code="PG005",
        )
    return target_indices[0]


def _positive_of(request: Request) -> Any:
    """Return the positive class, if there are two classes."""
    if len(request.subject.outputs.class_names) == 2:
        return request.positive
    return None


def _called(
    request: Request, guess: Floats, output: int | None = None
) -> Integers | None:
    """Return positions of the classes that a model decides for itself, or None if they
    are the most probable ones.
    """
    decided = request.subject.deciding()
    if decided is request.subject:
        return None
    predicted = decided.outputs.predicted(
        outputs_of(decided, request.inputs, decided.table_batch)
    )
    if output is None:
        called = predicted.argmax(axis=1)
    else:
        called = (column_of(predicted, output) > 0.5).astype(np.int64)
    if np.array_equal(called, guess.argmax(axis=1)):
        return None
    return called


def _of_classes(
    facts: Mapping[str, Any],
    rows: Rows,
    classes: tuple[str, ...],
    truth: npt.NDArray[Any],
    **further: Any,
) -> Foreign:
    if len(classes) == 2:
        positive = facts["request"].positive
    else:
        positive = None
    facts = {
        **facts,
        "rows": replace(rows, truth=truth),
        "classes": classes,
        "labels": list(classes),
        **further,
    }
    return Foreign(task=CLASSIFICATION, positive=positive, **facts)


def label_of(model: Any) -> str:
    """Return what a model is called: by its class, by the last step of a pipeline, or
    by a function's name.
    """
    if hasattr(model, "steps") and not isinstance(model, nn.Module):
        last_step = model[-1]
    else:
        last_step = model
    owner = getattr(last_step, "__self__", None)
    if owner is not None and not isinstance(owner, type):
        return label_of(owner)
    if type(last_step).__name__.endswith("ResultsWrapper"):  # of statsmodels
        return label_of(last_step.model)
    function_name = getattr(last_step, "__name__", "")
    if function_name == "<lambda>":
        return "function"
    return function_name or type(last_step).__name__
