"""Models of a table that an encoder turns into numbers: what a subject knows by the
encoder, and such predictors.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.subject.calls import check_fitted
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.repeated import Repeated, repeated
from permgrad.attribution.subject.subject import Subject, WithoutTrees
from permgrad.base.arrays import Floats, Floats32, Integers
from permgrad.base.errors import InputError
from permgrad.base.late import is_frame, pd
from permgrad.data.encode.slots import where
from permgrad.data.tasks import CLASSIFICATION, REGRESSION
from permgrad.imaging.path import is_ordered
from permgrad.models.branches.tree_branch import TREES
from permgrad.models.decision import decided
from permgrad.models.fast.inference import FoldedNetwork
from permgrad.models.losses import losses, trained_loss
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.trees import TreeBranch
from permgrad.models.reading_trees import ReadTrees
from permgrad.models.undisturbed import undisturbed


class EncodedSubject(Subject):
    """A subject whose rows are encoded rows ``(rows, encoded)``.

    ``preprocessor`` is the encoder.
    """

    def table(self, inputs: Any) -> pd.DataFrame:
        """Return rows as a table of raw columns."""
        from permgrad.models.estimators.prepared import EncodedRows

        if isinstance(inputs, EncodedRows):
            table = inputs.table
        else:
            table = inputs
        if is_frame(table):
            return table.reset_index(drop=True)
        return pd.DataFrame(
            np.asarray(table), columns=list(self.preprocessor.feature_names_in_)
        )

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return a row that could stand in the encoded table: medians of numbers, most
        frequent levels of categories.

        Levels of one feature (a one-hot block, a flag for missing values) stay
        together: no half levels appear.
        """
        table = rows[0].numpy()
        typical_row = np.median(table, axis=0).astype(np.float32)
        switches = ~where(
            self.preprocessor.kinds_, lambda part_kind: part_kind.on_scale
        )
        for columns in self.preprocessor.features("feature").values():
            levels = np.asarray(columns, dtype=np.intp)
            levels = levels[switches[levels]]
            if levels.size:
                patterns, counts = np.unique(
                    table[:, levels], axis=0, return_counts=True
                )
                typical_row[levels] = patterns[int(np.argmax(counts))]
        return (torch.from_numpy(typical_row)[None],)

    def lacking(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return encoded rows without their texts and images, as rows are encoded that
        have none.
        """
        encoder = self.preprocessor
        lacking = rows[0].clone()
        modalities = [column.of.modality for column in encoder.schema_]
        column_indices = []
        for column_index, column in enumerate(encoder.feature_of_.tolist()):
            if modalities[column] != "table":
                column_indices.append(column_index)
        blank = encoder.transform(
            pd.DataFrame(
                {column_name: [None] for column_name in encoder.feature_names_in_}
            )
        )
        lacking[:, column_indices] = torch.from_numpy(blank[:, column_indices])
        return (lacking,)

    def on_a_scale(self, position: int, shape: torch.Size) -> Tensor:  # noqa: ARG002 — the table is the only input
        """Return which encoded columns hold numbers. The others are levels."""
        movable = torch.zeros(shape, dtype=torch.bool)
        movable[
            torch.as_tensor(
                np.asarray(self.preprocessor.numeric_columns_, dtype=np.int64)
            )
        ] = True
        return movable


class EncodedPredictor(EncodedSubject, PredictorSubject):
    """A fitted model of another library on encoded rows, such as ``TableModel``.

    A raw cell is replaced by copying its encoded columns, so that no row is encoded
    again.
    """

    def __init__(self, model: Any, rows: Any, y: Any = None, **options: Any) -> None:
        self.encode = model.encode_rows
        self.label = str(model.label)
        PredictorSubject.__init__(
            self, model.of_encoded(), self.encode(rows).encoded, y, **options
        )
        if getattr(model, "counts", False):
            # what the model is judged by
            self.outputs = replace(self.outputs, loss=losses.get(model.loss))
        self.preprocessor = model.preprocessor_
        self.decision = model.decision_
        self.encoded_names = tuple(self.preprocessor.encoded_names_)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the model, with its name."""
        return {**super().facts, "predictor": self.label}

    def check_network(self, method: str) -> None:
        """Refuse every method that reads layers or needs slopes."""
        hint = "Choose 'permgrad', 'permutation', 'ablation', 'shapley' or 'lime'"
        raise InputError(
            f"method={method!r} needs a network, got {self.label}",
            hint=hint,
            code="PG034",
        )

    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return rows as the model sees them, ``(rows, encoded)``."""
        return PredictorSubject.read(self, self.encode(inputs).encoded)

    def read_encoded(self, encoded: Floats32) -> tuple[Tensor, ...]:
        """Return rows that are encoded already, ``(rows, encoded)``."""
        return PredictorSubject.read(self, encoded)

    def with_rows(self, inputs: Any) -> PredictorSubject | None:
        """Return the subject with other rows."""
        return PredictorSubject.with_rows(self, self.encode(inputs).encoded)

    def design(self, background: Floats) -> Any:  # noqa: ARG002 — the encoder knows
        """Return None: conditional draws are those of the encoder's columns."""
        return None


class HybridSubject(EncodedSubject):
    """A fitted ``HyNNClassifier`` or ``HyNNRegressor``."""

    input_names: tuple[str, ...] = ("table",)
    real: tuple[bool, ...] = (True,)
    tells_unused = False
    standardised = True

    def __init__(self, model: Any) -> None:
        from sklearn.base import is_classifier

        check_fitted(model)
        self.model = model
        self.decision = model.decision_ if is_classifier(model) else None
        self.module: HybridNetwork = model.module_
        self.preprocessor = model.preprocessor_
        self.paths = tuple(self.module.paths)
        self.makes_images = self.module.image_branch is not None
        self.encoded_names = tuple(self.preprocessor.encoded_names_)
        self.background_classes = model.background_target_
        labels = np.asarray(model.classes_) if is_classifier(model) else None
        classes = () if labels is None else tuple(map(str, labels))
        self.outputs = OutputForm(
            task=CLASSIFICATION if classes else REGRESSION,
            kind="logits" if classes else "values",
            count=self.module.outputs,
            class_names=classes,
            output_names=classes or ("all",),
            class_labels=labels,
            target_mean=float(getattr(model, "target_mean_", 0.0)),
            target_scale=float(getattr(model, "target_scale_", 1.0)),
            loss=trained_loss(model.training_options_["loss"]),
        )
        parameter = next(self.module.parameters())
        self.device = parameter.device
        self.dtype = parameter.dtype
        self._folded: FoldedNetwork | None = None
        self._repeated: Repeated | None = None

    def keep_answers(self) -> None:
        """Keep what the network says of rows for later calls about the same rows."""
        self._repeated = repeated(self.module)

    def open(self) -> Any:
        """Switch to eval mode for the body, and restore every submodule's mode
        afterwards.
        """
        return undisturbed(self.module)

    @property
    def facts(self) -> dict[str, Any]:
        """Return the features as they stand in the image of a row if they have an
        order: ``order``, a list a line.

        Of a layout with channels, each place is a list of them. ``offset``: that of a
        model of counts is held at 0. ``part``: what is explained, where that is not the
        whole model.
        """
        held_facts: dict[str, Any]
        if getattr(self.model, "has_offset_", False):
            held_facts = {"offset": 0.0}
        else:
            held_facts = {}
        if self.part is not None:
            held_facts |= {"part": dict(self.part)}
        layout = getattr(self.model.renderer_, "layout", None)
        if not self.makes_images or layout is None or not is_ordered(layout):
            return held_facts
        name_grid = np.full(layout.shape, "").astype(object)
        names = self.preprocessor.feature_names_in_
        for pixel_position, owner in zip(
            layout.positions.tolist(),
            self.preprocessor.feature_of_.tolist(),
            strict=True,
        ):
            if pixel_position[0] >= 0:
                name_grid[tuple(pixel_position)] = str(names[owner])
        return {"order": name_grid.tolist(), **held_facts}

    # ---- rows ------------------------------------------------------------------------
    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return rows as the network sees them, ``(rows, encoded)``."""
        encoded_rows = self.model.encode_rows(inputs)
        encoded = (
            encoded_rows.encoded.copy()
            if encoded_rows is inputs
            else encoded_rows.encoded
        )  # the caller's own are left alone
        return (torch.from_numpy(np.ascontiguousarray(encoded)),)

    def decided(self, outputs: Tensor) -> Integers:
        """Return the position of each row's predicted class, as the estimator's
        ``predict`` does.
        """
        chances = self.model.calibration_.probabilities(outputs.cpu().numpy())
        return decided(chances, self.decision)

    def without(self, *paths: str) -> HybridSubject:
        """Return the subject of the network without branches beside the head."""
        network_part = copy(self)
        network_part.module = self.module.without(*paths)
        network_part.paths = network_part.module.paths
        vars(network_part)["_folded"] = None
        return network_part

    def added_trees(self) -> WithoutTrees | None:
        """Return the tree branch, and the network without it, where outputs are a
        sum of both.
        """
        if TREES.name not in self.module.additive or self.module.rates:
            return None
        branch = self.module.additive[TREES.name]
        if not isinstance(branch, TreeBranch):
            return None
        trees = ReadTrees(branch.trees().in_order(), np.float32)
        return WithoutTrees(self.without(TREES.name), trees)

    def check_slopes(self, method: str, input_indices: Sequence[int]) -> None:  # noqa: ARG002 — there is one input
        """Refuse images that are drawn without a gradient."""
        renderer = self.module.renderer
        if self.makes_images and not getattr(renderer, "differentiable", True):
            problem = (
                f"{method} needs a gradient through the image, but the images "
                "are drawn by a function of the user"
            )
            hint = (
                "Choose method='permgrad', 'permutation' or 'ablation', or a layout of "
                "permgrad"
            )
            raise InputError(problem, hint=hint, code="PG034")

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the raw outputs of encoded rows ``(b, encoded)``.

        Both paths show the same row.
        """
        return self.module(tensors[0].to(device=self.device, dtype=self.dtype))

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, without gradients and
        faster.
        """
        if torch.is_grad_enabled():
            return self.forward(tensors)
        if self._folded is None:
            self._folded = FoldedNetwork(self.module)
        rows = tensors[0].to(device=self.device, dtype=self.dtype)
        if self._repeated is None:
            return self._folded(rows)
        paths = ",".join(self.paths)
        return self._repeated.of(paths, rows, partial(self._folded, rows))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the folded network out of copies: it is made again on first use."""
        return {**self.__dict__, "_folded": None, "_repeated": None}
