"""Branches beside the network: other models of the same encoded rows, such as boosted
trees, kept where they pay.

They are fitted once the network is trained: to the training rows, trees stopped by the
rows that stopped it, or several times to all but a part of both (``folds``). What they
say is added to its outputs with shares that held-out rows choose (``learn_shares``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from permgrad.base import threads
from permgrad.base.arrays import Floats
from permgrad.base.dependence import Dependence
from permgrad.base.random import derive_seed, generator
from permgrad.models.branches import AddedBranch, added_branches
from permgrad.models.estimators.folds import Fold, folds_of
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.estimators.share import (
    FEWEST,
    UNSEEN_LOSS,
    RowLosses,
    Share,
    learn_shares,
    mixture,
    row_losses,
)
from permgrad.models.libraries import job
from permgrad.models.losses import losses
from permgrad.models.network.blocks import Rate
from permgrad.models.train.training_rows import Rows

#: What the network is called among the shares.
NETWORK = "network"
#: The least share that a branch is kept with, and the network.
LEAST_SHARE = 0.05
#: Training rows that they are fitted to.
MOST_ROWS = 100_000


class Candidate(NamedTuple):
    """A branch that was fitted, and what it says of held-out rows ``(rows, outputs)``,
    which it has not learned from.
    """

    label: str
    module: nn.Module
    outputs: Floats


def add_branches(model: Any, prepared: Prepared) -> Floats | None:
    """Fit the branches that the settings ask for, and add those that pay, or all where
    they are asked for by name.

    ``model.branches_`` says of each that was fitted whether it was kept, and why.

    Returns:
        Where fits of branches have learned from held-out rows, what the network and
        those that have not say of these rows ``(rows, outputs)``. Else None.
    """
    model.branches_ = dict[str, dict[str, Any]]()
    held_out_rows = prepared.job.validation_rows
    learned = prepared.job.train_rows
    if not prepared.beside or held_out_rows is None or not isinstance(learned, Rows):
        return None
    named = prepared.beside_by_name
    has_few_rows = len(held_out_rows) < FEWEST
    if has_few_rows and not named:
        return None
    classes = len(model.classes_) if model.task.has_classes else 0
    names = branches_to_try(prepared, classes)
    drawn_rows = _drawn(learned, model.seed_, classes)
    loss = losses[prepared.job.options.loss]
    fit_job = _job(model, drawn_rows, held_out_rows, classes, counts=loss.fits_counts)
    if fit_job is None:
        return None
    units = None
    by_folds = any(added_branches()[name].mean is not None for name in names)
    if by_folds and drawn_rows is learned:
        units = prepared.units
    folds = folds_of(learned, held_out_rows, units, classes, model.seed_)
    with threadpool_limits(limits=fit_job.threads):
        candidates = _candidates(model, names, fit_job, folds, held_out_rows)
    outputs = model.predict_encoded(held_out_rows.x.numpy()).astype(np.float64)
    held_out_weights = held_out_rows.weight.numpy().astype(np.float64)
    mixed_outputs = _added(
        model,
        candidates,
        {NETWORK: outputs}
        | {name: candidate.outputs for name, candidate in candidates.items()},
        named=named,
        unseen=UNSEEN_LOSS if classes else 0.0,
        measure=row_losses(held_out_rows.y.numpy(), loss, prepared.job.units),
        weights=held_out_weights,
        dependence=prepared.dependence,
    )
    if folds:
        return mixed_outputs
    return None


def _candidates(
    model: Any,
    names: Sequence[str],
    fit_job: job.Job,
    folds: Sequence[Fold],
    held_out_rows: Rows,
) -> dict[str, Candidate]:
    """Fit the branches of these names, by folds where there are some and a branch can
    be the mean of several fits.
    """
    candidates = {}
    for name in names:
        branch = added_branches()[name]
        if folds and branch.mean is not None:
            candidates[name] = _fitted_by_folds(
                model, branch, fit_job, folds, held_out_rows
            )
        else:
            label, module = branch.fit(fit_job, model.module_.outputs)
            branch_outputs = _said(fit_job, module, held_out_rows)
            candidates[name] = Candidate(label, module, branch_outputs)
    return candidates


def _added(
    model: Any,
    candidates: Mapping[str, Candidate],
    outputs: Mapping[str, Floats],
    *,
    named: bool,
    unseen: float,
    measure: RowLosses,
    weights: Floats,
    dependence: Dependence | None,
) -> Floats:
    """Give candidates their shares of a network's outputs, and return what all say of
    held-out rows.

    ``outputs``: of each candidate, and of the network, by name.
    """
    options: dict[str, Any] = {"weights": weights, "dependence": dependence}
    shares = _shares(
        outputs, measure, named=named, options=options | {"unseen": unseen}
    )
    mixed_outputs = mixture(shares, outputs)
    share_so_far = shares[NETWORK]
    # Those that count most are told first.
    for name in sorted(candidates, key=lambda name: -shares.get(name, 0.0)):
        candidate = candidates[name]
        is_kept = name in shares
        if is_kept:
            share = shares[name]
            other_outputs = (mixed_outputs - share * outputs[name]) / (1 - share)
            share_so_far += share
            model.module_.add_path(name, candidate.module, share / share_so_far)
        else:
            share = 0.5  # as much as all others together
            other_outputs = mixed_outputs
        measured = Share.measured(
            share, other_outputs, outputs[name], measure, seed=model.seed_, **options
        )
        model.branches_[name] = {
            "kept": is_kept,
            "label": candidate.label,
            **asdict(measured),
        }
    return mixed_outputs


def _shares(
    outputs: Mapping[str, Floats],
    measure: RowLosses,
    *,
    named: bool,
    options: Mapping[str, Any],
) -> dict[str, float]:
    """Return the shares of the network and of the branches that are kept."""
    if len(outputs[NETWORK]) < FEWEST:
        return dict.fromkeys(outputs, 1 / len(outputs))
    least = dict.fromkeys(outputs, LEAST_SHARE if named else 0.0)
    least[NETWORK] = LEAST_SHARE
    waiting = dict(outputs)
    while True:
        shares = learn_shares(waiting, measure, least=least, **options)
        smallest = min(shares, key=lambda name: shares[name])
        if named or shares[smallest] >= LEAST_SHARE or smallest == NETWORK:
            return shares
        del waiting[smallest]


def _fitted_by_folds(
    model: Any,
    branch: AddedBranch,
    fit_job: job.Job,
    folds: Sequence[Fold],
    held_out_rows: Rows,
) -> Candidate:
    """Return the mean of a branch's fits, and what those that have not learned from a
    held-out row say of it.
    """
    assert branch.mean is not None
    modules = []
    outputs: Floats = np.zeros((len(held_out_rows), model.module_.outputs))
    for number, fold in enumerate(folds):
        teaching = _job_rows(fold.teaching, fit_job.n_classes)
        left_out = _job_rows(fold.left_out, fit_job.n_classes)
        fold_job = replace(
            fit_job,
            train=teaching,
            validation=left_out,
            seed=derive_seed(fit_job.seed, "fold", number) % 2**31,
            is_of_several=True,
        )
        label, module = branch.fit(fold_job, model.module_.outputs)
        modules.append(module)
        judged_rows = held_out_rows.take(torch.from_numpy(fold.judged))
        outputs[fold.judged] = _said(fit_job, module, judged_rows)
    return Candidate(label, branch.mean(modules), outputs)


def branches_to_try(prepared: Prepared, classes: int) -> list[str]:
    """Return the branches that are fitted: those that are costly for many classes only
    where they are asked for by name.
    """
    if prepared.beside_by_name:
        return list(prepared.beside)
    names = []
    for name in prepared.beside:
        most_classes = added_branches()[name].most_classes
        if most_classes is None or classes <= most_classes:
            names.append(name)
    return names


def _drawn(rows: Rows, seed: int, classes: int) -> Rows:
    """Return the rows that branches learn from: of very many some, with one of every
    class.
    """
    if len(rows) <= MOST_ROWS:
        return rows
    drawn = generator(seed, "rows beside").permutation(len(rows))[:MOST_ROWS]
    if classes:
        drawn = np.union1d(drawn, np.unique(rows.y.cpu().numpy(), return_index=True)[1])
    return rows.take(torch.from_numpy(np.sort(drawn)))


def _job(
    model: Any, learned: Rows, held_out_rows: Rows, classes: int, *, counts: bool
) -> job.Job | None:
    """Return the rows as other libraries are fitted on them, or None if a class has no
    training row.
    """
    train = _job_rows(learned, classes)
    judged = _job_rows(held_out_rows, classes)
    if classes and len(np.unique(train.y)) < classes:
        return None
    fit_seed = derive_seed(model.seed_, "beside") % 2**31
    if threads.forked:
        count = 1
    else:
        count = torch.get_num_threads()
    return job.Job(model.task, train, judged, classes, fit_seed, count, counts=counts)


def _job_rows(rows: Rows, classes: int) -> job.Rows:
    """Return rows as other libraries take them."""
    weights = rows.weight.cpu().numpy().astype(np.float64)
    y = rows.y.cpu().numpy()
    if not classes:
        y = y.astype(np.float64)
    return job.Rows(rows.x.cpu().numpy(), y, None if (weights == 1).all() else weights)


@torch.no_grad()
def _said(work: job.Job, module: nn.Module, held_out_rows: Rows) -> Floats:
    """Return what a branch says of held-out rows ``(rows, outputs)``: logits, numbers,
    or rates.
    """
    branch_outputs = module.eval()(held_out_rows.x.cpu())
    if work.counts:
        branch_outputs = Rate()(branch_outputs)
    return np.asarray(branch_outputs.double().numpy())
