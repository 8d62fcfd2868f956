"""Any torch network as a subject, behind one interface for all methods.

The network is never changed.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from permgrad.attribution.players.neighbours import may_be_picture
from permgrad.attribution.subject.functions import FunctionOfTensors, no_network
from permgrad.attribution.subject.heads import heads, other_heads, pick_head
from permgrad.attribution.subject.inputs import (
    InputForm,
    first_names,
    in_doubt,
    in_type_of,
    is_exported,
    read_forms,
    shapes_in_words,
)
from permgrad.attribution.subject.lazy import fill_lazy, lazy_names
from permgrad.attribution.subject.lookups import Lookup, find_lookups
from permgrad.attribution.subject.memory import (
    call_first,
    check_memory,
    refuse_first_call,
    refuse_memory,
    state_of,
    sums_of_weights,
    written,
)
from permgrad.attribution.subject.outputs import (
    OutputForm,
    as_target,
    resolve_outputs,
    with_further,
)
from permgrad.attribution.subject.places import (
    form_of_places,
    layout_of,
    unfit,
)
from permgrad.attribution.subject.readings import find_readings
from permgrad.attribution.subject.reasons import (
    CLASSES_ASKED,
    Sign,
    SoftmaxWatch,
    sign_of_outputs,
)
from permgrad.attribution.subject.remedies import (
    OF_MIXED_ROWS,
    ONE_BY_ONE,
    ONE_GRAPH,
    of_hooks,
    of_nested,
    remedy,
)
from permgrad.attribution.subject.soundness import changed, check_row_independence
from permgrad.attribution.subject.subject import (
    ANY_ROWS,
    Subject,
    most_frequent_places,
    twice,
)
from permgrad.attribution.subject.traced_branches import BranchCut, cut_into_branches
from permgrad.attribution.subject.unread import Unread, unread_inputs
from permgrad.base.errors import (
    Fault,
    InputError,
    PermgradError,
    counted,
    error_in_words,
    is_out_of_memory,
    listed,
    refusing,
    turned,
    warn_user,
)
from permgrad.data.tasks import REGRESSION
from permgrad.models.batches import in_batches
from permgrad.models.devices import on_users_device
from permgrad.models.fast.inference import fold
from permgrad.models.undisturbed import (
    attributes_at_rest,
    put_back_at_rest,
    undisturbed,
)

Casts = tuple[torch.dtype | None, ...]

#: Rows on which the outputs' form is found out.
_PROBE_ROWS = 256
#: Of fewer rows a task or a kind of output is inferred with a warning: of logits that
#: are spread like a standard normal one lies within 0 … 1 every third time, and five
#: all do once in 220 times.
_FEW_ROWS = 5
#: Rows on which it is found out what the network takes an input for.
_LOOKED_AT = 2
#: Bytes that one operation may write for a batch. Larger batches are no faster on a
#: processor, whose cache they exceed. An accelerator has its own memory. Several such
#: results are alive at once.
_WRITTEN = 8 * 2**20
_WRITTEN_ACCELERATOR = 2**30
#: Bytes that a function which nobody sees inside is taken to write for each number.
_WRITTEN_OF_CELL = 4
#: Dimensions of a table of targets.
_MATRIX = 2
#: Of a row where not even two fit in memory.
_TOO_MANY = 2**62


def unwrap(module: nn.Module) -> nn.Module:
    """Return the network inside ``torch.compile`` and ``DataParallel``: the same
    function and the same weights.

    Batches often change their size here, and a compiled network would be compiled again
    for each.
    """
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(
            module, (nn.DataParallel, nn.parallel.DistributedDataParallel)
        ):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


class BatchError(InputError):
    """The network does not treat every batch of rows alike: no method can explain
    it.
    """


class OtherOutputsError(BatchError):
    """The network returned other outputs for these rows than for those before."""


class ForwardError(BatchError):
    """The user's own code raised: its error is the cause. ``tensors`` are the rows."""

    def __init__(
        self,
        error: Exception,
        shapes: str,
        hooks: str | None = None,
        tensors: Sequence[Tensor] = (),
    ) -> None:
        self.words = error_in_words(error)
        self.shapes = shapes
        self.hooks = hooks
        self.tensors = tensors
        super().__init__(
            f"The network failed on a batch of rows: called with {shapes} it raised "
            f"{self.words}",
            hint=remedy(self.words)
            or (
                "Choose method='permutation', 'shapley' or 'lime', which need no "
                "gradient"
                if "requires grad" in self.words
                else hooks or OF_MIXED_ROWS
            ),
            code="PG032",
        )


class NetworkSubject(Subject):
    """A torch network with the inputs of one call."""

    rewrites = False  # whether it changes its weights when it is called
    _width: int | None = None  # of the outputs, where they are known
    _said: Sign | None = None  # by what the network returns, of its numbers
    _most_rows: int | None = None
    _readings: dict[int, str] | None = None
    _unread: Unread | None = None
    _looked = False  # whether it was tried to fold it
    #: y, until it is known whether outputs are compared with it place by place
    _masks: Any = None

    def __init__(
        self,
        module: nn.Module,
        inputs: Any,
        y: Any = None,
        *,
        head: int | str | None = None,
        returns: str | None = None,
        task: str | None = None,
        class_names: Any = None,
        batch_size: Any = "auto",
        classes: bool = False,
    ) -> None:
        """Read a network.

        ``classes``: the call speaks of classes, such as ``target="predicted"``.
        """
        self._largest_batch = ANY_ROWS if batch_size == "auto" else int(batch_size)
        self._masks = _with_places(y)
        self.module: Any = unwrap(module)
        lazy = lazy_names(self.module)
        if not lazy:
            _check_initialised(self.module)
        parameter = _first_number(self.module)
        self.dtype = torch.float32 if parameter is None else parameter.dtype
        if self.is_function:
            self.dtype = FunctionOfTensors.precision
        forms, tensors = read_forms(self.module, inputs, self.dtype)
        if lazy:
            fill_lazy(self.module, forms, tensors, self.dtype)
            _check_initialised(self.module)
        self.device = tensors[0].device if parameter is None else parameter.device
        self.head = self.picked = head
        self._casts: Casts = (None,) * len(tensors)
        self._other_heads: list[str] = []
        self._unsaid = y is None and returns is None and class_names is None
        #: by shapes of inputs, how the network uses them, found out once for all copies
        self._uses: dict[Any, dict[int, str]] = {}
        self.makes_images = _convolves(self.module)
        self._cuts: dict[frozenset[int], BranchCut | None] = {}
        # what was found out about the inputs, for ``meta``
        self.noted: dict[str, Any] = {}
        probe = self._probe_together(forms, tensors)
        self.inputs = self._cast(tensors)
        self.real = tuple(tensor.is_floating_point() for tensor in self.inputs)
        self._folded: Callable[[Tensor], Tensor] | None = None
        self.outputs = self._read_outputs(
            probe,
            y,
            {"kind": returns, "task": task, "class_names": class_names},
            classes=classes,
        )

    def _read_outputs(
        self, probe: Tensor, y: Any, described: dict[str, Any], *, classes: bool
    ) -> OutputForm:
        """Return what the outputs mean, by those of the first rows and as the user
        ``described`` them. Of maps, also read what they mean at one place.
        """
        if self.by_place:
            self.layout = layout_of(self.output_shape, y, self._sizes())
        if self.layout is not None:
            self.place, counts = form_of_places(probe, self.layout, y, **described)
            self.noted["places"] = counts
        if self.by_place:
            y = None
            described = {"kind": "values", "task": REGRESSION, "class_names": None}
        self._masks = None
        sign = CLASSES_ASKED if classes and probe.shape[1] > 1 else self._said
        return resolve_outputs(probe, y, **described, sign=sign)

    @property
    def is_function(self) -> bool:
        """Whether it is a function that is no module, of which nobody sees the
        inside.
        """
        return isinstance(self.module, FunctionOfTensors)

    def _sizes(self) -> list[int]:
        """Return the sizes of one row's inputs."""
        return [input_size for tensor in self.inputs for input_size in tensor.shape[1:]]

    def _fits_y(self, shape: tuple[int, ...]) -> bool:
        """Return whether an output of a shape is compared with y place by place."""
        if self._width is not None or self._masks is None:
            return self.by_place
        # A loss of the user's may take masks of another size.
        takes_other_sizes = self._masks.ndim > _MATRIX and len(shape) > 1
        return takes_other_sizes or layout_of(shape, self._masks) is not None

    # ---- rows ------------------------------------------------------------------------
    def read(self, inputs: Any) -> tuple[Tensor, ...]:
        """Read further rows, such as a background, laid out and shaped as the inputs
        were, in the inputs' types.
        """
        further_rows = []
        # In full precision: what is rounded on the way could not be told from what was
        # given.
        for input_name, tensor, read_rows in zip(
            self.input_names,
            self.inputs,
            self.form.read(inputs, torch.float64),
            strict=True,
        ):
            if tensor.shape[1:] != read_rows.shape[1:]:
                problem = (
                    f"Further rows of {input_name!r} must have the shape "
                    f"{tuple(tensor.shape[1:])} of the inputs, got "
                    f"{tuple(read_rows.shape[1:])}"
                )
                raise InputError(problem, hint="Pass rows of that shape", code="PG038")
            further_rows.append(in_type_of(input_name, tensor, read_rows))
        return tuple(further_rows)

    def typical(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the typical row of a background, in which no token is special where
        another stands too.
        """
        tokens = self.form.tokens
        if tokens is None:
            ordinary = rows
        else:
            ordinary = tokens.ordinary(rows)
        return self._with_whole_places(super().typical(ordinary), ordinary)

    def mean(self, rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the mean row of a background, with the most frequent whole numbers."""
        return self._with_whole_places(super().mean(rows), rows)

    def _with_whole_places(
        self, row_tensors: Sequence[Tensor], rows: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return a row whose places have whole numbers that stand together in
        some row.
        """
        row = list(row_tensors)
        codes = []
        for leaf_index, tensor in enumerate(row[: len(self.form.leaves)]):
            if tensor.ndim == 3 and not tensor.is_floating_point():
                codes.append(leaf_index)
        if codes:
            readings = self.readings()
        else:
            readings = {}
        for input_index in codes:
            if readings.get(input_index) == "tokens":
                row[input_index] = most_frequent_places(rows[input_index])
        return tuple(row)

    def without_rows(self) -> NetworkSubject:
        """Return the subject with its first row alone: what a later call of the same
        ``Model`` starts from.
        """
        kept_ = copy(self)
        kept_.inputs = tuple(tensor[:1].clone() for tensor in self.inputs)
        return kept_

    def with_rows(self, inputs: Any) -> NetworkSubject | None:
        """Return the subject with other rows of the same form, or None where they have
        another.
        """
        new_subject = copy(self)
        try:
            new_subject.inputs = self.read(inputs)
        except InputError:
            return None
        new_subject._cuts, new_subject.noted = {}, {}  # noqa: SLF001 — its own class
        new_subject._unread = None  # noqa: SLF001 — its own class
        return new_subject

    def lookups(self) -> Sequence[Lookup]:
        """Return the calls of embeddings that read an input."""
        # A network may refuse to be watched.
        with contextlib.suppress(BatchError), torch.no_grad(), self.open():
            return find_lookups(self)
        return ()

    def check_network(self, method: str) -> None:
        """Refuse a function that is no module: it has no layers to follow."""
        if self.is_function:
            raise no_network(method, self.module.named)

    def check_slopes(self, method: str, input_indices: Sequence[int]) -> None:
        """Refuse inputs of whole numbers, towards which there is no gradient."""
        self.check_network(method)
        without = []
        for input_index in input_indices:
            if not self.real[input_index]:
                without.append(input_index)
        if without:
            names = listed(
                [repr(self.input_names[input_index]) for input_index in without]
            )
            types = listed(
                list(
                    dict.fromkeys(
                        str(self.inputs[input_index].dtype) for input_index in without
                    )
                )
            )
            raise InputError(
                f"{method} needs real numbers, or ids that enter an nn.Embedding, but "
                f"{names} "
                f"{'holds' if len(without) == 1 else 'hold'} whole numbers ({types})",
                hint="Pass x.float(), or choose method='permutation', 'shapley' or "
                "'lime'",
                code="PG034",
            )

    def readings(self) -> dict[int, str]:
        """Return how inputs are read: as ``"image"``, ``"volume"``, ``"series"`` or
        ``"tokens"``.

        The first function that reads an input decides: a convolution, a linear or
        recurrent layer, or an attention over the vectors of its places. Inputs of
        unknown kind are absent.
        """
        if self._readings is not None:
            return dict(self._readings)
        meanings = {
            input_index: "volume"
            for input_index, tensor in enumerate(self.inputs)
            if tensor.ndim == 5
        }
        first_rows = [
            tensor[: min(_LOOKED_AT, self._largest_batch)] for tensor in self.inputs
        ]
        # A table is a series only where a layer for series reads it, and its columns
        # have no names.
        series = any(
            isinstance(module, (nn.Conv1d, nn.RNNBase, nn.RNNCellBase))
            for module in self.module.modules()
        )
        tables = set()
        for input_index, form_leaf in enumerate(self.form.leaves):
            if form_leaf.columns is not None or not series:
                tables.add(input_index)
        undecided = {}
        for input_index, input_rows in enumerate(first_rows):
            if input_rows.ndim in (3, 4, 5) or (
                input_rows.ndim == 2 and input_index not in tables
            ):
                undecided[input_index] = input_rows
        if undecided:
            # Where a network refuses to be watched, shapes alone speak.
            with contextlib.suppress(BatchError), torch.no_grad(), self.open():
                meanings |= self._used(first_rows, tuple(undecided))
        for undecided_input in undecided.keys() - meanings.keys():
            tensor = self.inputs[undecided_input]
            if tensor.ndim == 3 and not may_be_picture(tensor):
                meanings[undecided_input] = "tokens"
        self._readings = meanings
        return dict(meanings)

    def _used(
        self, rows: Sequence[Tensor], input_indices: tuple[int, ...]
    ) -> dict[int, str]:
        """Return how the network uses some inputs, asked once for rows of the same
        shapes.
        """
        shapes = tuple(
            (tuple(input_tensor.shape[1:]), input_tensor.dtype) for input_tensor in rows
        )
        key = input_indices, shapes
        if key not in self._uses:
            self._uses[key] = find_readings(self, rows, list(input_indices))
        return self._uses[key]

    def settle(self, background: Sequence[Tensor] | None) -> None:
        """Infer the kind of outputs with the background too, and warn if only a few
        rows decide it.
        """
        row_count = len(self.inputs[0])
        rows_seen = min(row_count, _PROBE_ROWS)
        if self._other_heads:
            warn_user(
                f"The network returns several outputs. {self.picked!r} is explained. "
                f"Pass head= to pg.Model to choose it or {listed(self._other_heads)}."
            )
        if doubtful_keys := in_doubt(self.module, self.form, self.inputs):
            pairs = first_names(
                f"{input_key} as {parameter_name}"
                for input_key, parameter_name in doubtful_keys
            )
            warn_user(
                "No key of the inputs names a parameter of the forward. They are "
                f"passed in order: {pairs}."
            )
        if self.outputs.by_target and row_count < _FEW_ROWS:
            warn_user(
                f"y of {counted(row_count, 'row')} holds only 0 and 1, so the network "
                "is taken for a classifier. Pass task='classification' or "
                f"task='regression' to pg.Model for fewer than {_FEW_ROWS} rows."
            )
        if (
            self.outputs.by_values
            and self.outputs.kind != "logits"
            and background is not None
        ):
            background_rows = [tensor[:_PROBE_ROWS] for tensor in background]
            # Methods that use the background report its errors.
            with contextlib.suppress(BatchError), torch.no_grad(), self.open():
                self.outputs = with_further(
                    self.outputs, self._first_outputs(background_rows).cpu()
                )
                rows_seen += len(background_rows[0])
        output_form = self.outputs
        if (
            output_form.by_values
            and output_form.kind == "probabilities"
            and output_form.count == 1
            and rows_seen < _FEW_ROWS
        ):
            warn_user(
                f"The outputs of {counted(rows_seen, 'row')} lie within 0 … 1 and are "
                "taken for probabilities. Pass returns='probabilities' or "
                f"returns='logits' to pg.Model for fewer than {_FEW_ROWS} rows."
            )

    def _cast(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            input_tensor if dtype is None else input_tensor.to(dtype)
            for input_tensor, dtype in zip(tensors, self._casts, strict=True)
        )

    def _probe_together(
        self, forms: Sequence[InputForm], tensors: Sequence[Tensor]
    ) -> Tensor:
        """Call the network on the first rows. Say so where it takes one row a call."""
        try:
            return self._probe_forms(forms, tensors)
        except InputError as error:
            if error.code == "PG032" and self._takes_one_by_one(forms, tensors):
                raise InputError(
                    error.problem, hint=ONE_BY_ONE, code=error.code
                ) from error.__cause__
            raise

    def _takes_one_by_one(
        self, forms: Sequence[InputForm], tensors: Sequence[Tensor]
    ) -> bool:
        """Return whether the network takes some rows one by one."""
        if self._largest_batch == 1 or len(tensors[0]) == 1:
            return False
        trial = copy(self)
        trial._largest_batch = 1  # noqa: SLF001 — its own class
        trial._width = None  # noqa: SLF001 — its own class
        with contextlib.suppress(PermgradError, RuntimeError, MemoryError):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                few_rows = [input_tensor[:_LOOKED_AT] for input_tensor in tensors]
                trial._probe_forms(forms, few_rows)  # noqa: SLF001 — its own class
            # A row that is taken beside itself alone is no row.
            return not trial.in_pairs
        return False

    def _probe_forms(
        self, forms: Sequence[InputForm], tensors: Sequence[Tensor]
    ) -> Tensor:
        """Call the network on the first rows, with the inputs in each way that they may
        be meant until one fits.
        """
        reasons: list[str] = []
        first: ForwardError | None = None
        for input_form in forms:
            self.form = input_form
            self.input_names = input_form.names
            try:
                return self._probe(tensors)
            except ForwardError as error:
                if self._width is not None:
                    raise
                passing_words = {
                    "whole": f"as one argument {input_form.whole!r} ",
                    "listed": f"as one list {input_form.whole!r} ",
                }
                passing_words |= {
                    "positions": "one after the other ",
                    "keywords": "by their names ",
                }
                if input_form.whole or len(forms) > 1:
                    way_words = passing_words[input_form.passing]
                else:
                    way_words = ""
                reasons.append(f"{way_words}it raised {error.words}")
                first = first or error
        if sole_key := self._alone_among(forms, tensors):
            problem = (
                f"The network takes one input, and X is a dict of {len(tensors)} "
                f"({first_names(self.input_names)})"
            )
            raise InputError(
                problem,
                hint=f"Pass the one that it takes: X[{sole_key!r}]",
                code="PG032",
            ) from first
        key_words = "keys, " * isinstance(self.form.structure, dict)
        hint = first and remedy(first.words)
        hint = (
            hint
            or of_hooks(self.module)
            or f"Check their {key_words}order, shapes and types."
        )
        if is_exported(self.module):
            hint = (
                "A module of torch.export takes no other sizes than those it was "
                "exported for: export it with a dynamic first dimension "
                "(dynamic_shapes=), or pass the original network."
            )
        if self.is_function:
            subject_words = "function"
        else:
            subject_words = "network"
        problem = (
            f"The {subject_words} does not accept the inputs: called with "
            f"{first and first.shapes} {', and '.join(reasons)}"
        )
        raise InputError(problem, hint=hint, code="PG032") from (
            first and first.__cause__
        )

    def _alone_among(
        self, forms: Sequence[InputForm], tensors: Sequence[Tensor]
    ) -> str | None:
        """Return the key of a dict's only value that the network takes by itself."""
        structure = forms[0].structure
        is_whole_dict = isinstance(structure, dict) and forms[0].passing == "whole"
        if not is_whole_dict or len(tensors) == 1:
            return None
        accepted_keys: list[str] = []
        for form_leaf, tensor in zip(forms[0].leaves, tensors, strict=True):
            if len(form_leaf.place) > 1:
                continue
            first_rows = tensor[: min(_LOOKED_AT, self._largest_batch)].to(self.device)
            with contextlib.suppress(Exception), torch.no_grad(), self.open():
                self.module(first_rows.clone())
                accepted_keys.append(form_leaf.place[0])
        if len(accepted_keys) == 1:
            return accepted_keys[0]
        return None

    def _probe(self, tensors: Sequence[Tensor]) -> Tensor:
        """Call the network on the first rows.

        If their precision does not fit, try the network's own.
        """
        first: ForwardError | None = None
        first_rows = [tensor[:_PROBE_ROWS] for tensor in tensors]
        attributes = attributes_at_rest(self.module)
        for casts in self._ways_of_types(tensors):
            self._casts = casts
            try:
                row_limit = min(_LOOKED_AT, self._largest_batch)
                call_first(self, self._cast(first_rows), row_limit)
                self._width = None
                with torch.no_grad(), self.open():
                    weight_sums = sums_of_weights(self.module)
                    before = state_of(self.module)
                    self._most_rows = None
                    outputs = self._first_outputs(self._cast(first_rows))
                    # Parts of such a network, run by themselves, would compute with the
                    # weights as they were before.
                    self.rewrites = sums_of_weights(self.module) != weight_sums
                    self._width = outputs.shape[1]
                    try:
                        watch = SoftmaxWatch(self._first_outputs, watches=self._unsaid)
                        check_row_independence(watch, self._cast(first_rows), outputs)
                        self._said = self._said or watch.sign
                    except InputError as error:
                        # of other rows, or of what it remembers of them
                        again = self._first_outputs(self._cast(first_rows))
                        refuse_memory(self.module, before, changed(outputs, again))
                        hints = filter(None, (of_nested(self.module), error.hint))
                        raise InputError(
                            error.problem, hint=". ".join(hints), code=error.code
                        ) from None
                    moved = written(self.module, before)
                    # What the network takes inputs for is asked while it is open.
                    self.inputs = self._cast(tensors)
                    self.readings()
                if attributes is not None:
                    refuse_first_call(self, self._cast(first_rows), moved, attributes)
                return outputs.cpu()
            except ForwardError as error:
                put_back_at_rest(self.module, attributes)
                if self._width is not None:
                    raise
                first = first or error
        assert first is not None  # there is at least one attempt
        raise self._no_first_rows(first, tensors) from first.__cause__

    def _no_first_rows(
        self, first: ForwardError, tensors: Sequence[Tensor]
    ) -> InputError:
        """Return the error of a network that failed on its first rows: its own, or that
        it takes all rows and no fewer.
        """
        with torch.no_grad(), self.open():
            if not self._takes(tensors):
                # All first rows at once, as a user can repeat the call.
                with contextlib.suppress(RuntimeError, MemoryError):
                    self._called([tensor[:_PROBE_ROWS] for tensor in tensors])
                return first
        if len(tensors[0]) <= _LOOKED_AT or is_exported(self.module):
            return first
        problem = (
            "A row's output must depend on that row alone, but the network takes all "
            f"{len(tensors[0]):,} rows and no "
            f"fewer: called with {first.shapes} it raised {first.words}"
        )
        # States of as many layers as there are rows look like rows.
        hint = remedy(first.words) or ONE_GRAPH
        return InputError(problem, hint=hint, code="PG033")

    def _takes(self, tensors: Sequence[Tensor]) -> bool:
        """Return whether the network takes rows all at once, as one does whose rows are
        the nodes of a graph.
        """
        try:
            self._called(tensors)
        except (PermgradError, RuntimeError, MemoryError):
            return False
        return True

    def _ways_of_types(self, tensors: Sequence[Tensor]) -> list[Casts]:
        """Return the types that inputs may be meant in: whole numbers stay whole first,
        as an embedding needs them.
        """
        loose = [form_leaf.loose for form_leaf in self.form.leaves]
        # NumPy's narrow whole numbers are not taken by an embedding.
        narrow = []
        for is_loose, tensor in zip(loose, tensors, strict=True):
            narrow.append(
                is_loose
                and not tensor.is_floating_point()
                and tensor.dtype != torch.bool
            )
        floats: Casts = tuple(
            self.dtype if tensor.is_floating_point() else None for tensor in tensors
        )
        wide_casts: Casts = tuple(
            torch.int64 if is_narrow else float_type
            for is_narrow, float_type in zip(narrow, floats, strict=True)
        )
        every: Casts = tuple(
            self.dtype if is_loose else float_type
            for is_loose, float_type in zip(loose, floats, strict=True)
        )
        cast_ways: list[Casts] = [
            (None,) * len(tensors),
            floats,
            wide_casts,
            every,
            (self.dtype,) * len(tensors),
        ]
        for input_index, (may_cast, cast_type) in enumerate(
            zip(loose, floats, strict=True)
        ):
            if may_cast and cast_type is None and len(tensors) > 1:
                for casts in (floats, wide_casts):
                    cast_ways.append(
                        (*casts[:input_index], self.dtype, *casts[input_index + 1 :])
                    )
        return list(dict.fromkeys(cast_ways))

    def _first_outputs(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the outputs of rows, in batches that fit in memory."""
        outputs: list[Tensor] = []
        batch_rows = min(len(rows[0]), self.most_rows(rows))
        in_batches(
            len(rows[0]),
            batch_rows,
            lambda row_slice: outputs.append(
                self.forward([tensor[row_slice] for tensor in rows])
            ),
        )
        for later in outputs[1:]:
            _check_width(later, outputs[0].shape[1], len(later))
        return torch.cat(outputs)

    def most_rows(self, rows: Sequence[Tensor] | None = None) -> int:
        """Return how many rows may go through the network together, so that activations
        stay within bounds.
        """
        if self._largest_batch == 1:
            return 1
        if self._most_rows is None:
            single_row = []
            for tensor in self.inputs if rows is None else rows:
                single_row.append(tensor[:1])
            with self.open():
                if self.device.type == "cpu":
                    written = _WRITTEN
                else:
                    written = _WRITTEN_ACCELERATOR
                needed = bytes_per_row(self.forward, single_row)
                if self.in_pairs:
                    needed = bytes_per_row(self.forward, twice(single_row)) // 2
                if self.is_function:  # of which nobody sees what it writes
                    cells = sum(tensor.numel() for tensor in single_row)
                    needed = max(needed, _WRITTEN_OF_CELL * cells)
                self._most_rows = max(1, written // max(needed, 1))
        return min(self._most_rows, self._largest_batch)

    # ---- running it ------------------------------------------------------------------
    def open(self) -> Any:
        """Run the body in eval mode with seeded generators, and then restore the
        network and the process.
        """
        return undisturbed(self.module)

    def steady(
        self, inputs: Sequence[Tensor]
    ) -> contextlib.AbstractContextManager[None]:
        """Ask for the first rows before and after the body, in which nothing is
        restored.
        """
        return check_memory(self, inputs)

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the output that is explained, ``(b, K)``.

        The tensors are never changed.

        Copies go in: a network whose first layer works in place would write into the
        caller's rows. A network that does not take a single row gets it twice.
        """
        count = len(tensors[0])
        try:
            return self._called(self.in_company(tensors))[:count]
        except InputError as error:
            # Other outputs for a single row are no row that it does not take.
            if count > 1 or self.in_pairs or isinstance(error, OtherOutputsError):
                raise
        output = self._called(twice(tensors))[:1]
        self.in_pairs = True
        return output

    def _called(self, tensors: Sequence[Tensor]) -> Tensor:
        return self.taken(self.returned(tensors), len(tensors[0]))

    def returned(self, tensors: Sequence[Tensor]) -> Any:
        """Return all that the network returns for rows."""
        moved = []
        for tensor in tensors:
            if tensor.device != self.device:
                moved.append(tensor.to(self.device))
            else:
                moved.append(tensor.clone())
        with self.theirs(tensors), _no_autocast(self.device):
            return self.form.call(self.module, moved)

    def taken(self, returned: Any, rows: int) -> Tensor:
        """Return the output that is explained from all that the network returned for
        rows.
        """
        try:
            output, picked = pick_head(
                returned, self.head, rows, fits_by_place=self._fits_y
            )
        except InputError as error:
            if self._width is None:
                if self._masks is not None and isinstance(returned, Tensor):
                    raise unfit(returned.shape[1:], self._masks) from None
                raise
            raise BatchError(error.problem, hint=error.hint, code=error.code) from None
        if self._width is None:
            kinds = [
                float_type
                for float_type in (output.dtype, self.dtype)
                if torch.finfo(float_type).bits < 32
            ]
            self.coarse = max(
                kinds, key=lambda kind: torch.finfo(kind).eps, default=None
            )
            self._other_heads = (
                other_heads(returned, picked, rows, fits_by_place=self._fits_y)
                if self.head is None
                else []
            )
            raw_output = returned if picked is None else heads(returned)[picked]
            self.output_shape = tuple(raw_output.shape[1:])
            self.by_place = self._masks is not None and self._fits_y(self.output_shape)
            self._said = sign_of_outputs(self.module, returned, picked, output.shape[1])
        else:
            _check_width(output, self._width, rows)
            if picked != self.picked:
                problem = (
                    "The network must return the same outputs for every batch, got "
                    f"{picked!r} for "
                    f"{counted(rows, 'row')} after {self.picked!r} before"
                )
                raise OtherOutputsError(
                    problem,
                    hint="Fix its forward, or pass head= to pg.Model",
                    code="PG032",
                )
        self.picked = picked
        # A forward can switch gradients on, or return a tensor that asks for them,
        # where nobody follows any.
        return output if torch.is_grad_enabled() else output.detach()

    @contextmanager
    def theirs(
        self, tensors: Sequence[Tensor], names: Sequence[str] | None = None
    ) -> Iterator[None]:
        """Run code of the user's: what it raises becomes a sentence that names the
        rows, with the error as its cause.

        Whether gradients are followed stays as it was, whatever the code switches.
        Memory that does not suffice passes as it is: the batch is halved then.
        """
        followed = torch.is_grad_enabled()

        def said(error: Exception) -> ForwardError:
            shapes = shapes_in_words(names or self.input_names, tensors)
            named_rows = () if names else tensors
            return ForwardError(error, shapes, of_hooks(self.module), named_rows)

        try:
            with turned(said, memory=True), on_users_device():
                yield
        finally:
            if torch.is_grad_enabled() != followed:
                torch.set_grad_enabled(followed)

    def predict(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return what ``forward`` returns, up to rounding, without gradients and faster
        for known networks.
        """
        if not self._looked:
            self._looked = True
            plain = (
                type(self) is NetworkSubject and self.head is None and not self.by_place
            )
            alone = plain and self.form.passing == "positions" and len(self.inputs) == 1
            if alone and self.inputs[0].ndim == 2:
                self._folded = fold(self.module)
            else:
                self._folded = None
        if self._folded is None or torch.is_grad_enabled():
            return self.forward(tensors)
        with self.theirs(tensors), _no_autocast(self.device):
            return self._folded(tensors[0].to(self.device))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the folded network out of copies: it is made again on first use."""
        return {**self.__dict__, "_folded": None, "_looked": False}

    def unread(self, rows: Sequence[Tensor]) -> Unread:
        """Return the inputs that no output is made of, asked once."""
        if self._unread is None:
            self._unread = Unread()
            if len(rows) > 1:
                self._unread = unread_inputs(self, rows)
        return self._unread

    def branches(
        self, inputs: Sequence[Tensor], followers: frozenset[int]
    ) -> BranchCut | None:
        """Return the network cut into branches, ``followers`` with the input they join,
        or None if it does not help.
        """
        if followers not in self._cuts:
            self._cuts[followers] = cut_into_branches(self, inputs, followers)
        branch_cut = self._cuts[followers]
        return branch_cut and branch_cut.afresh(len(inputs[0]))

    @property
    def facts(self) -> dict[str, Any]:
        """Facts inferred about the network, for an explanation's ``meta``."""
        output_facts = {
            "returns": self.outputs.kind,
            "output_inferred": self.outputs.inferred,
            "read_so_because": str(self.outputs.because),
        }
        return {"head": self.picked, **output_facts, **self.noted}


def _with_places(y: Any) -> Any:
    """Return a target of places, or None if it is of rows."""
    if y is None or as_target(y).ndim < 2:
        return None
    return as_target(y)


def _convolves(module: nn.Module) -> bool:
    """Return whether a network has convolutions."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return any(isinstance(submodule, convolutions) for submodule in module.modules())


def _first_number(module: nn.Module) -> Tensor | None:
    """Return the first parameter or buffer of floating point, whose type and device are
    those of the network.
    """
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            return tensor
    return None


@refusing
def _check_initialised(module: nn.Module) -> Iterator[Fault]:
    """Refuse a network without weights."""
    for parameter_name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            hint = "Call the network once on some rows, train it or load its weights"
            yield (
                (
                    f"The lazy parameter {parameter_name!r} of the network has no "
                    "values yet"
                ),
                hint,
                "PG031",
            )
        if tensor.is_meta:
            problem = (
                f"The parameter {parameter_name!r} of the network is on the meta "
                "device and has no values"
            )
            yield problem, "Load its weights", "PG031"


def _check_width(output: Tensor, width: int, rows: int) -> None:
    if output.shape[1] != width:
        raise OtherOutputsError(
            "The network must return as many numbers for every batch, got "
            f"{output.shape[1]} for {counted(rows, 'row')} after {width} before",
            hint="Fix its forward, choose another of several outputs by pg.Model(..., "
            "head=), or wrap the network in a "
            "module that returns one row of numbers for each row",
            code="PG032",
        )


def _no_autocast(device: torch.device) -> Any:
    """Return a context in which the caller's mixed precision is off: values are those
    of the network itself.
    """
    if device.type in ("cpu", "cuda") and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


# ---- how much memory a row takes, so that a batch's activations are bounded and not it
class _Written(TorchDispatchMode):
    """Notes how many bytes each operation of this thread gives back."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[int] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch loads its compiler for this, which takes longer than most
        # explanations.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        strided = []
        for tree_leaf in tree_leaves(result):
            if isinstance(tree_leaf, Tensor) and tree_leaf.layout == torch.strided:
                strided.append(tree_leaf)
        self.sizes += [tree_leaf.untyped_storage().nbytes() for tree_leaf in strided]
        return result


def bytes_per_row(forward: Callable[[list[Tensor]], Any], row: Sequence[Tensor]) -> int:
    """Return the most bytes that one operation of a network writes for one row, ``(1,
    *shape)`` per input.

    What does not grow with the rows, such as a weight that is transposed, does not
    count.
    """
    sizes = []
    for count in (1, 2):
        repeated_rows = [torch.cat([tensor] * count) for tensor in row]
        try:
            with torch.no_grad(), _Written() as written_memory:
                forward(repeated_rows)
        except (RuntimeError, MemoryError) as error:
            if count == 1 or not is_out_of_memory(error):
                raise
            return _TOO_MANY
        sizes.append(written_memory.sizes)
    single_sizes, double_sizes = sizes
    if len(single_sizes) != len(double_sizes):
        return max(double_sizes, default=0) // 2
    return max(
        (
            double_bytes - single_bytes
            for single_bytes, double_bytes in zip(
                single_sizes, double_sizes, strict=True
            )
        ),
        default=0,
    )
