"""``Subject``: the model being explained, and its capabilities for methods of
attribution.

Every subject predicts. Its other capabilities are methods here, and nobody asks what
kind of model it is. ``HybridSubject`` is a fitted estimator of permgrad,
``NetworkSubject`` any torch network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.unread import Unread
from permgrad.base.arrays import Array, Integers
from permgrad.base.late import pd
from permgrad.data.tasks import Task
from permgrad.models.decision import decided
from permgrad.models.reading_trees import ReadTrees

if TYPE_CHECKING:
    from permgrad.attribution.subject.design import CellDesign
    from permgrad.attribution.subject.lookups import Lookup
    from permgrad.attribution.subject.places import Layout
    from permgrad.attribution.subject.traced_branches import BranchCut
    from permgrad.models.decision import Decision

#: Rows of a network whose activations are small.
ANY_ROWS = 2**20


class WithoutTrees(NamedTuple):
    """A model without the trees whose sums it adds to its outputs, and these trees."""

    rest: Subject
    trees: ReadTrees


class Subject:
    """The model being explained.

    Where there are paths there is a fast replacement:
    ``models.fast.ReplacementEngine``.
    """

    outputs: OutputForm  # what its outputs mean
    module: Any
    device: torch.device
    dtype: torch.dtype
    coarse: torch.dtype | None = None  # that of outputs or weights in half precision
    #: the channels in which it shows a raw column, as ``"tabular"`` and ``"image"``
    #: (empty: inputs are not encoded)
    paths: tuple[str, ...] = ()
    # the fitted estimator, which keeps training rows (None for a plain network)
    model: Any = None
    preprocessor: Any = None  # the estimator's encoder
    encoded_names: tuple[str, ...] = ()  # of the columns that a table is encoded as
    words: pd.DataFrame | None = (
        None  # the tokens of rows as text, a column for each player (missing: no token)
    )
    background_classes: Array | None = (
        None  # class of each training row that the model keeps
    )
    # whether outputs are around 1, so that their rounding need not be measured
    standardised: bool = False
    table_batch: int = 1024  # rows of a table that are predicted fastest together
    # whether a network draws or convolves rows inside, so that a batch needs more
    # memory
    makes_images: bool = False
    plays_together: bool = (
        False  # whether replacements of several features go through it in one call
    )
    moved: float | None = (
        None  # how far outputs moved in other batches, where that was looked at
    )
    travels: bool = False  # whether the subject itself can be sent to another process
    # whether it takes no single row, as where a squeeze() removes the dimension of rows
    # too
    in_pairs: bool = False
    # whether inputs without any effect are worth a warning: the user built the network
    tells_unused: bool = True

    #: where it is a part of a model: its paths, what it is ``without``, and its share
    #: of the outputs' variance
    part: Mapping[str, Any] | None = None
    place: OutputForm | None = (
        None  # the meaning of its maps at one place, where they are compared with masks
    )
    layout: Layout | None = None  # how y lies on outputs that it is compared with so
    by_place: bool = False  # whether the numbers of maps are the outputs
    output_shape: tuple[
        int, ...
    ] = ()  # that of one row's output as the network returns it
    #: from which probability of the positive class on the model predicts it, where that
    #: is known
    decision: Decision | None = None
    # how a table or the inputs of a network are laid out (None: rows are encoded)
    form: Any = None

    input_names: tuple[str, ...]  # of the network's inputs, one for each tensor
    real: tuple[
        bool, ...
    ]  # whether each input is floating point, so that a gradient exists

    @property
    def task(self) -> Task:
        """What the model does: classification, regression or multilabel."""
        return self.outputs.task

    # ---- inputs ----------------------------------------------------------------------
    @abstractmethod
    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Return further rows as the network takes them, ``(rows, *)`` for each input.

        Args:
            inputs: Rows in the user's form.

        Raises:
            InputError: They are not rows like those explained.
        """

    def on_a_scale(self, position: int, shape: torch.Size) -> Tensor:  # noqa: ARG002 — an encoder tells columns apart
        """Return which numbers of an input may be moved a little, bool ``shape``.

        Args:
            position: Which input.
            shape: The shape of one row of it.
        """
        return torch.ones(shape, dtype=torch.bool)

    def unread(self, rows: Sequence[Tensor]) -> Unread:  # noqa: ARG002 — a network is asked by them
        """Return the inputs that are known to change no output."""
        return Unread()

    @property
    def facts(self) -> dict[str, Any]:
        """Facts inferred about the model, for an explanation's ``meta``."""
        return {}

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the typical row of a background: medians of numbers, most frequent
        levels, ``(1, *)`` each.

        Args:
            rows: The background, ``(rows, *)`` for each input.
        """
        return tuple(map(typical_row, rows))

    def mean(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the mean row of a background, with the most frequent whole numbers,
        ``(1, *)`` each.

        Args:
            rows: The background, ``(rows, *)`` for each input.
        """
        return tuple(map(mean_row, rows))

    def lacking(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return background rows without what a row may lack: nothing, but for an
        estimator's texts and images.

        Args:
            rows: The background, ``(rows, *)`` for each input.
        """
        return tuple(rows)

    def design(self, background: Array) -> CellDesign | None:  # noqa: ARG002 — of a table without encoder
        """Return how cells are encoded for conditional draws, or None if inputs are
        numbers already.

        Args:
            background: The background, ``(rows, columns)``.
        """
        return None

    def trees(self) -> ReadTrees | None:
        """Return the trees whose sums the model says, but for a link, or None if it is
        not made of trees of numbers.
        """
        return None

    def added_trees(self) -> WithoutTrees | None:
        """Return the trees whose sums the model adds to its outputs, and the subject
        without them, or None where it adds none.
        """
        return None

    def deciding(self) -> Subject:
        """Return the subject whose errors are those of the classes that the model
        itself decides for.
        """
        if self.decision is None:
            return self
        deciding = copy(self)
        deciding.outputs = replace(self.outputs, decided=self.decided)
        return deciding

    def decided(self, outputs: Tensor) -> Integers:
        """Return the position of the class that the model decides for in each row,
        ``(rows,)``.

        Args:
            outputs: Raw outputs, ``(rows, K)``.
        """
        return decided(self.outputs.predicted(outputs), self.decision)

    def to_send(self) -> Subject:
        """Return the subject without the rows explained, for another process."""
        return self

    def check_network(self, method: str) -> None:
        """Refuse a model that is not a torch network, whose layers accept hooks.

        Args:
            method: The name of the method that needs one.

        Raises:
            InputError: It is another model.
        """

    def lookups(self) -> Sequence[Lookup]:
        """Return the calls of embeddings that read an input."""
        return ()

    def check_slopes(self, method: str, input_indices: Sequence[int]) -> None:
        """Refuse a model without a gradient towards some inputs.

        Args:
            method: The name of the method that needs gradients.
            input_indices: The positions of these inputs.

        Raises:
            InputError: There is no such gradient.
        """

    # ---- predicting ------------------------------------------------------------------
    @abstractmethod
    def open(self) -> Any:
        """Return a context manager that puts the module into eval mode and then
        restores it.
        """

    def keep_answers(self) -> None:
        """Keep what the model says of rows for later calls about the same rows, where
        that is known how.
        """

    def steady(self, inputs: Sequence[Tensor]) -> AbstractContextManager[None]:  # noqa: ARG002 — of what remembers
        """Return a context manager that refuses a model if calls in its body change
        what later calls return.

        Args:
            inputs: The rows explained, ``(rows, *)`` for each input.
        """
        return nullcontext()

    @abstractmethod
    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the network's raw outputs, ``(b, K)``, differentiable.

        Args:
            tensors: Rows, ``(b, *)`` for each input. They are never changed.
        """

    def in_company(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return rows as the network takes them: a single one twice where it does not
        take it alone.

        Args:
            tensors: Rows, ``(b, *)`` for each input.
        """
        if self.in_pairs and len(tensors[0]) == 1:
            return twice(tensors)
        return tuple(tensors)

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, without gradients and in the
        fastest way: ``(b, K)``.

        Args:
            tensors: Rows, ``(b, *)`` for each input.
        """
        return self.forward(tensors)

    def most_rows(self) -> int:
        """Return how many rows may go through the network together, so that activations
        stay within bounds.
        """
        return ANY_ROWS

    def branches(
        self,
        inputs: Sequence[Tensor],  # noqa: ARG002
        followers: frozenset[int],  # noqa: ARG002
    ) -> BranchCut | None:
        """Return the network cut into branches, or None if that does not help.

        Args:
            inputs: Rows to trace it with, ``(rows, *)`` for each input.
            followers: The positions of inputs that go with another one.
        """
        return None


def numbers_by_row(rows: Tensor) -> Tensor:
    """Return rows ``(rows, numbers)``, also of an input that has one number for
    each.
    """
    return rows.reshape(len(rows), rows.shape[1:].numel())


def twice(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return rows, and the same rows once more."""
    return tuple(torch.cat([tensor, tensor]) for tensor in tensors)


# ---- the row that stands for a background --------------------------------------------
def typical_row(rows: Tensor) -> Tensor:
    """Return the median of real numbers, the most frequent value of whole ones,
    position by position, ``(1, *)``.

    The median of an even number of rows is the mean of the two in the middle. It is NaN
    where any value is NaN.
    """
    if not rows.is_floating_point():
        return _most_frequent(rows)[None]
    ordered = rows.double().sort(dim=0).values  # NaN comes last
    lower_middle = ordered[(len(rows) - 1) // 2]
    upper_middle = ordered[len(rows) // 2]
    last_values = ordered[-1]
    middle = torch.where(
        lower_middle == upper_middle, lower_middle, lower_middle / 2 + upper_middle / 2
    )
    return torch.where(last_values.isnan(), last_values, middle).to(rows.dtype)[None]


def mean_row(rows: Tensor) -> Tensor:
    """Return the mean of real numbers, and the most frequent of whole ones: half a
    level or word does not exist.
    """
    if not rows.is_floating_point():
        return _most_frequent(rows)[None]
    return rows.double().mean(dim=0, keepdim=True).to(rows.dtype)


def most_frequent_places(rows: Tensor) -> Tensor:
    """Return the most frequent vector of whole numbers at each place, ``(1, places,
    numbers)``.

    Numbers of one place belong together, such as those of a box.
    """
    frequent_vectors = list[Tensor]()
    for of_place in rows.unbind(1):
        vectors, counts = of_place.unique(dim=0, return_counts=True)
        frequent_vectors.append(vectors[counts.argmax()])
    return torch.stack(frequent_vectors)[None]


def _most_frequent(rows: Tensor) -> Tensor:
    if rows.dtype is torch.bool:
        modes = rows.byte().mode(dim=0)
    else:
        modes = rows.mode(dim=0)
    return modes.values.to(rows.dtype)
