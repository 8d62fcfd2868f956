"""What permgrad knows of a branch of a hybrid network, in one record.

Whoever names, fits, saves, predicts, draws or writes a branch asks its record. Nothing
heavy is loaded: the command line lists branches before it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from permgrad.base.errors import InputError
from permgrad.base.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from permgrad.models.libraries.job import Job

#: Stores an array of a page, and returns where it begins and its shape.
Store = Callable[[Any], dict[str, Any]]


class Fitted(NamedTuple):
    """A branch that was fitted.

    Attributes:
        label: what it is, in words, such as ``"ridge regression"``.
        module: maps encoded rows ``(rows, encoded)`` to ``(rows, outputs)``.
    """

    label: str
    module: nn.Module


class Trial(NamedTuple):
    """By which fit of few rounds the time of a branch is estimated.

    ``library``: the registered baseline that is fitted. ``option``: what it calls its
    rounds. ``rounds``: those of the branch's fit.
    """

    library: str
    option: str
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A name that ``branches`` of an estimator takes.

    Attributes:
        name: as in ``branches=``, in files and in results.
        title: what it is called in every sentence and figure.
        colour: of its bars and blocks, a name of ``base.style.TOKENS``.
    """

    name: str
    title: str
    colour: str = "neutral"


@dataclass(frozen=True, kw_only=True)
class JoinedBranch(Branch):
    """A branch of layers whose embedding of a row the head joins with the others."""


def _type_name(module: nn.Module) -> str:
    return type(module).__name__


def _no_form(module: nn.Module, store: Store) -> dict[str, Any]:
    """Refuse to be computed by the scripts of a page, which shows curves instead."""
    raise NotImplementedError(
        f"it has a branch of the kind {_type_name(module)}, which no script computes"
    )


def _no_check(module: nn.Module) -> None:
    """Accept the numbers of a file, which are finite and of the right shapes."""


@dataclass(frozen=True, kw_only=True)
class AddedBranch(Branch):
    """A branch beside the head: what it says is added to the outputs, with a share that
    held-out rows choose.

    Its module maps encoded rows ``(rows, encoded)`` to ``(rows, outputs)`` and has the
    methods of ``network.additive.Additive``.

    Attributes:
        fit: ``fit(job, outputs)`` fits the training rows of a ``Job``. Outputs are
            logits, the standardised target, or logarithms of rates.
        make: ``make(encoded, outputs, **sizes)`` returns a module into which the
            weights of a file fit.
        has_slopes: whether it has slopes. Gradients explain the model without those
            that have none, and say so.
        sizes: names of the whole numbers in the module's ``sizes`` that ``make`` needs.
        check: raises ``ValueError`` for a module whose numbers, from a file, cannot be
            those of such a branch.
        layer: what the module is called in the summary of a network.
        form: ``form(module, store)`` describes it for the scripts of a page
            (``BRANCHES`` in ``network.js``), or raises ``NotImplementedError`` with a
            clause.
        trial: ``trial(classes)`` says how its time is estimated. None: by a fit of some
            of the rows.
        most_classes: it is not tried for more, unless it is asked for by name.
        mean: ``mean(modules)`` returns the branch whose outputs are the mean of those
            of several fits, each of which leaves out other rows. None: it is fitted
            once.
        holds_rows: whether the module holds training rows. Such a network is not saved
            without rows.
    """

    fit: Callable[[Job, int], Fitted]
    make: Callable[..., nn.Module]
    has_slopes: bool
    sizes: tuple[str, ...] = ()
    check: Callable[[Any], None] = _no_check
    layer: Callable[[Any], str] = _type_name
    form: Callable[[Any, Store], dict[str, Any]] = _no_form
    trial: Callable[[int], Trial] | None = None
    most_classes: int | None = None
    mean: Callable[[Sequence[Any]], nn.Module] | None = None
    holds_rows: bool = False


@dataclass(frozen=True, kw_only=True)
class ColumnsBranch(Branch):
    """A name for the columns of a modality (``ColumnKind.modality``), which the table
    branch reads.
    """


branches: Registry[Branch] = Registry("branch")

AnyBranch = TypeVar("AnyBranch", bound=Branch)


def register(branch: AnyBranch) -> AnyBranch:
    """Register a branch by its name, and return it."""
    branches.register(branch.name)(branch)
    return branch


def _of(kind: type[AnyBranch]) -> dict[str, AnyBranch]:
    of: dict[str, AnyBranch] = {}
    for name, branch in branches.items():
        if isinstance(branch, kind):
            of[name] = branch
    return of


def joined_branches() -> dict[str, JoinedBranch]:
    """Return the branches that a head joins, by name, in their order in networks."""
    return _of(JoinedBranch)


def added_branches() -> dict[str, AddedBranch]:
    """Return the branches beside a head, by name, in their order in networks."""
    return _of(AddedBranch)


def column_branches() -> dict[str, ColumnsBranch]:
    """Return the names that stand for columns."""
    return _of(ColumnsBranch)


def path_names() -> tuple[str, ...]:
    """Return the names of all that a network can be made of, in their order."""
    return (*joined_branches(), *added_branches())


def refuse_without_rows(branch: Branch) -> None:
    """Refuse to save a network without rows where this branch of it holds some."""
    if isinstance(branch, AddedBranch) and branch.holds_rows:
        problem = (
            f"The {branch.title} holds training rows, so the model cannot be saved "
            "without rows"
        )
        hint = f"Fit a network without {branch.name!r} in branches."
        raise InputError(problem, hint=hint, code="PG006")


def title_of(name: str) -> str:
    """Return what a branch is called. Names of other things, such as the inputs of
    another network, stay as they are.

    Examples:
        >>> title_of("tabular"), title_of("xray")
        ('table branch', 'xray')
    """
    if name in branches:
        return branches[name].title
    return name
