"""The models that a network has to beat first: linear in standardised columns."""

from __future__ import annotations

from typing import Any

from permgrad.evaluation.competitors.base import Job, register


@register("linear", "logistic or ridge regression", "sklearn")
def _linear(job: Job) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # lbfgs needs more than its 100 steps where columns are many and alike; it stops by itself long before these.
    model = LogisticRegression(**{"max_iter": 2000, **job.options}) if job.classify else Ridge(**job.options)
    return make_pipeline(StandardScaler(), model).fit(job.train.encoded, job.train.y)
