"""Branches beside the network: boosted trees and a linear model of the same encoded
rows, kept where they pay.

They are fitted to the training rows once the network is trained, trees stopped by the
rows that stopped it. What they say is added to its outputs with shares that held-out
rows choose (``Share``), the branch that gains most first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from permgrad.base import threads
from permgrad.base.arrays import Floats
from permgrad.base.random import derive_seed, generator
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.estimators.share import FEWEST, Share, row_losses
from permgrad.models.libraries import job
from permgrad.models.libraries.boosting import best_library
from permgrad.models.libraries.linear import affine, linear, linear_label
from permgrad.models.network.additive import LinearBranch
from permgrad.models.network.blocks import Rate
from permgrad.models.network.trees import TreeBranch
from permgrad.models.train.rows import Rows

#: The least share that a branch is kept with, and the network. That of a named one
#: where too few rows could choose it.
LEAST_SHARE = 0.05
EQUAL_SHARE = 0.5
#: Classes that trees are tried for, at most: each has trees of its own. Training rows
#: that both are fitted to.
MOST_CLASSES = 30
MOST_ROWS = 100_000
#: Trees of CatBoost times classes, where there are more than two.
MOST_OF_CLASSES = 2000


@dataclass(frozen=True)
class _Fitted:
    """A branch that was fitted: what it is called, the module, and what it says of
    held-out rows.
    """

    label: str
    branch: nn.Module
    said: Floats


def add_branches(model: Any, prepared: Prepared) -> None:
    """Fit the branches that the settings ask for, and add those that pay, or all where
    they are asked for by name.

    ``model.branches_`` says of each that was fitted whether it was kept, and why.
    """
    model.branches_ = dict[str, dict[str, Any]]()
    held_out_rows = prepared.job.validation_rows
    learned = prepared.job.train_rows
    network = model.module_
    if not prepared.beside or held_out_rows is None or not isinstance(learned, Rows):
        return
    named = prepared.beside_by_name
    has_few_rows = len(held_out_rows) < FEWEST
    if has_few_rows and not named:
        return
    classes = len(model.classes_) if model.task == "classification" else 0
    names = branches_to_try(prepared, classes)
    fit_job = _job(
        model,
        _drawn(learned, model.seed_, classes),
        held_out_rows,
        classes,
        rates=network.rates,
    )
    if fit_job is None:
        return
    with threadpool_limits(limits=fit_job.threads):
        waiting = {
            fitted_name: _FITS[fitted_name](fit_job, network.outputs, held_out_rows)
            for fitted_name in names
        }
    outputs = model.predict_encoded(held_out_rows.x.numpy()).astype(np.float64)
    losses = row_losses(
        held_out_rows.y.numpy(), classes=bool(classes), rates=network.rates
    )
    weights = held_out_rows.weight.numpy().astype(np.float64)
    options: dict[str, Any] = {
        "seed": model.seed_,
        "weights": weights,
        "dependence": prepared.dependence,
    }
    options["squared"] = not classes
    while waiting:
        shares = {
            waiting_name: Share.learn(outputs, fitted_branch.said, losses, **options)
            for waiting_name, fitted_branch in waiting.items()
        }
        best_name = max(shares, key=lambda name: shares[name].gain)
        share = replace(
            shares[best_name], share=min(shares[best_name].share, 1 - LEAST_SHARE)
        )
        if named:
            share = replace(
                share,
                share=max(share.share, EQUAL_SHARE if has_few_rows else LEAST_SHARE),
            )
        elif not share.pays or share.share < LEAST_SHARE:
            break
        network.add_path(best_name, waiting[best_name].branch, share.share)
        model.branches_[best_name] = {
            "kept": True,
            "label": waiting[best_name].label,
            **asdict(share),
        }
        outputs = share(outputs, waiting.pop(best_name).said)
    for left_out_name, left_out_branch in waiting.items():
        model.branches_[left_out_name] = {
            "kept": False,
            "label": left_out_branch.label,
            **asdict(shares[left_out_name]),
        }


def branches_to_try(prepared: Prepared, classes: int) -> list[str]:
    """Return the branches that are fitted: trees of many classes only where they are
    asked for by name.
    """
    return [
        name
        for name in prepared.beside
        if prepared.beside_by_name or name != "trees" or classes <= MOST_CLASSES
    ]


def trees_rounds(library: str, classes: int) -> int:
    """Return about how many rounds the trees of a library have: rows that are held out
    stop them.
    """
    if library == "catboost" and classes > 2:
        return MOST_OF_CLASSES // classes
    return job.ROUNDS_WITHOUT_VALIDATION


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
    model: Any, learned: Rows, held_out_rows: Rows, classes: int, *, rates: bool
) -> job.Job | None:
    """Return the rows as other libraries are fitted on them, or None if a class has no
    training row.
    """
    job_rows = []
    for tensor_rows in (learned, held_out_rows):
        weights = tensor_rows.weight.cpu().numpy().astype(np.float64)
        numbers = tensor_rows.y.cpu().numpy()
        if classes:
            y = numbers
        else:
            y = numbers.astype(np.float64)
        job_rows.append(
            job.Rows(
                tensor_rows.x.cpu().numpy(),
                y,
                None if (weights == 1).all() else weights,
            )
        )
    train, judged = job_rows
    if classes and len(np.unique(train.y)) < classes:
        return None
    fit_seed = derive_seed(model.seed_, "beside") % 2**31
    if threads.forked:
        count = 1
    else:
        count = torch.get_num_threads()
    return job.Job(model.task, train, judged, classes, fit_seed, count, counts=rates)


def _as_outputs(branch_outputs: Floats, outputs: int) -> Floats:
    """Return logits or numbers ``(rows, outputs)``: of two classes with two outputs the
    log odds are shared out.
    """
    table = branch_outputs.reshape(len(branch_outputs), -1)
    if outputs == 2 and table.shape[1] == 1:
        return np.column_stack([-table[:, 0] / 2, table[:, 0] / 2])
    return table


def _fit_line(work: job.Job, outputs: int, held_out_rows: Rows) -> _Fitted:
    matrix, offset = affine(linear(work))
    branch = LinearBranch(matrix.shape[1], outputs)
    branch.fill(_as_outputs(matrix.T, outputs).T, _as_outputs(offset[None], outputs)[0])
    label = linear_label(work.task, counts=work.counts)
    return _Fitted(label, branch, _said(work, branch, held_out_rows))


def _fit_trees(work: job.Job, outputs: int, held_out_rows: Rows) -> _Fitted:
    library = best_library()
    if library.name == "catboost" and work.n_classes > 2:
        # Its time grows with classes times thresholds. On gas drift (6 classes, 128
        # columns) this is a tenth of it.
        work = replace(
            work,
            options={
                "iterations": trees_rounds(library.name, work.n_classes),
                "border_count": 64,
            },
        )
    trees = library.train(work).trees
    base_outputs, values = (
        _as_outputs(tree_part, outputs)
        for tree_part in (trees.base[None], trees.values)
    )
    branch = TreeBranch.of(
        replace(trees, base=base_outputs[0], values=values), work.train.encoded.shape[1]
    )
    return _Fitted(library.label, branch, _said(work, branch, held_out_rows))


@torch.no_grad()
def _said(work: job.Job, branch: nn.Module, held_out_rows: Rows) -> Floats:
    """Return what a branch says of held-out rows ``(rows, outputs)``: logits, numbers,
    or rates.
    """
    branch_outputs = branch(held_out_rows.x.cpu())
    return np.asarray(
        (Rate()(branch_outputs) if work.counts else branch_outputs).double().numpy()
    )


_FITS: dict[str, Callable[[job.Job, int, Rows], _Fitted]] = {
    "trees": _fit_trees,
    "linear": _fit_line,
}
