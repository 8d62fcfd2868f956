"""Branches beside the network: other models of the same encoded rows, such as boosted
trees, kept where they pay.

They are fitted to the training rows once the network is trained, trees stopped by the
rows that stopped it. What they say is added to its outputs with shares that held-out
rows choose (``Share``), the branch that gains most first.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from permgrad.base import threads
from permgrad.base.arrays import Floats
from permgrad.base.random import derive_seed, generator
from permgrad.models.branches import Fitted, added_branches
from permgrad.models.estimators.prepared import Prepared
from permgrad.models.estimators.share import FEWEST, Share, row_losses
from permgrad.models.libraries import job
from permgrad.models.network.blocks import Rate
from permgrad.models.train.training_rows import Rows

#: The least share that a branch is kept with, and the network. That of a named one
#: where too few rows could choose it.
LEAST_SHARE = 0.05
EQUAL_SHARE = 0.5
#: Training rows that they are fitted to.
MOST_ROWS = 100_000


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
    classes = len(model.classes_) if model.task.has_classes else 0
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
            fitted_name: added_branches()[fitted_name].fit(fit_job, network.outputs)
            for fitted_name in names
        }
        judged = {
            fitted_name: _said(fit_job, fitted_branch, held_out_rows)
            for fitted_name, fitted_branch in waiting.items()
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
            waiting_name: Share.learn(outputs, judged[waiting_name], losses, **options)
            for waiting_name in waiting
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
        best_branch = waiting.pop(best_name)
        network.add_path(best_name, best_branch.module, share.share)
        model.branches_[best_name] = {
            "kept": True,
            "label": best_branch.label,
            **asdict(share),
        }
        outputs = share(outputs, judged[best_name])
    for left_out_name, left_out_branch in waiting.items():
        model.branches_[left_out_name] = {
            "kept": False,
            "label": left_out_branch.label,
            **asdict(shares[left_out_name]),
        }


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


@torch.no_grad()
def _said(work: job.Job, fitted: Fitted, held_out_rows: Rows) -> Floats:
    """Return what a branch says of held-out rows ``(rows, outputs)``: logits, numbers,
    or rates.
    """
    branch_outputs = fitted.module.eval()(held_out_rows.x.cpu())
    if work.counts:
        branch_outputs = Rate()(branch_outputs)
    return np.asarray(branch_outputs.double().numpy())
