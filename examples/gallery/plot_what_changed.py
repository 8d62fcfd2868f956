"""
What changed, what goes together, groups of rows
================================================

Three questions that come after a ranking, on loans of two years whose law is known: what changed in the
second year, what a column tells of others, and whether the model is as right for one group of people as
for another.
"""

# sphinx_gallery_thumbnail_path = "pictures/gallery/what_changed.png"

# %%
# Training raises income, both raise the chance that a loan is repaid. In the second year income is lower, and
# training counts less.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

import permgrad as pg
from permgrad.evaluation.sensitive import audit
from permgrad.evaluation.skill import Predicted

rng = np.random.default_rng(0)


def loans(rows, income, worth):
    training = rng.normal(0, 1, rows)
    X = pd.DataFrame(
        {
            "training": training,
            "income": income + 0.8 * training + rng.normal(0, 0.6, rows),
        }
    )
    X["amount"] = rng.normal(0, 1, rows)
    repaid = rng.random(rows) < 1 / (
        1 + np.exp(-1.5 * X["income"] - worth * X["training"] + 0.5 * X["amount"])
    )
    return X, repaid.map({True: "repaid", False: "not"})


X_old, y_old = loans(3000, 1.0, 1.0)
X_new, y_new = loans(3000, 0.3, 0.2)
model = LogisticRegression().fit(*loans(3000, 1.0, 1.0))


def drawn(ax, names, values, low, high, label=None, shift=0.0):
    ax.errorbar(
        values,
        np.arange(len(names)) + shift,
        xerr=[values - low, high - values],
        fmt="o",
        label=label,
    )
    ax.set_yticks(np.arange(len(names)), names)
    ax.axvline(0, color="0.5", linewidth=0.8)
    ax.margins(y=0.15)


# %%
# What changed
# ------------
#
# The log loss is worse, and the model relies on other columns. ``pg.changes`` compares both years, with intervals.

changed = pg.changes(model, X_old, y_old, X_new, y_new, progress=False)
print(changed.summary())
features = changed.to_frame().query("kind == 'importance'").iloc[::-1]
figure, axes = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
drawn(
    axes, features["name"], features["change"], features["ci_low"], features["ci_high"]
)
axes.set_xlabel("change of the importance, with its 95 % interval")
plt.show()

# %%
# What goes together
# ------------------
#
# A model that reads income alone gives training nothing, in the usual (marginal) game. With conditional draws, training
# gets what it tells of income.


def income_alone(rows):
    return rows["income"].to_numpy()


read = pg.Model(income_alone, task="regression")
figure, axes = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
for shift, sampling in enumerate(("marginal", "conditional")):
    method = pg.methods.Shapley(sampling=sampling)
    local = pg.explain(
        read, X_old[:200], method=method, background=X_old, progress=False
    )
    explanation = local.to_global("mean_abs")
    low, high = explanation.ci()
    drawn(
        axes,
        X_old.columns,
        explanation.values[:, 0],
        low[:, 0],
        high[:, 0],
        sampling,
        0.2 * shift,
    )
axes.set_xlabel("mean absolute Shapley value")
axes.legend()
plt.show()

# %%
# Groups of rows
# --------------
#
# A region that the model does not read, where training counted less all along. ``permgrad run --sensitive`` and
# ``pg.report(…, sensitive=)`` show these rates with their tests, and how the reliance differs.

region = pd.DataFrame({"region": np.repeat(["north", "south"], 1500)})
south, y_south = loans(1500, 1.0, 0.2)
X, y = pd.concat([X_old[:1500], south]), pd.concat([y_old[:1500], y_south])
codes = np.searchsorted(model.classes_, y)
(judged,) = audit(region, Predicted(codes, model.predict_proba(X)), positive=1)
figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
shares = [line for line in judged["measures"] if line["share"]]
names = [line["measure"].replace("_", " ") for line in shares]
for shift, level in enumerate(("north", "south")):
    drawn(
        axes,
        names,
        *np.array([line["levels"][level] for line in shares]).T,
        level,
        0.2 * shift,
    )
axes.set_xlabel("share of rows, with its 95 % interval")
figure.legend(loc="outside right center")
plt.show()
