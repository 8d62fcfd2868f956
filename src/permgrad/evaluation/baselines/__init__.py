"""Common strong models on the same rows, the same split and the same metrics, all
untuned.

Forests, bagging, boosting (LightGBM and XGBoost with the extra ``permgrad[boost]``), a
linear model and a plain network. TabM and RealMLP use ``pytabkit`` (extra
``permgrad[tabular-peers]``), take minutes, and are fitted only when they are named. A
new baseline is one function and one line at the end of ``models.py``.
"""

import permgrad.evaluation.baselines.models  # noqa: F401 — registers them
