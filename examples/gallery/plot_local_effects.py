"""
Effects inside the data, and what would have to differ
======================================================

Where columns depend on each other, setting one of them to a value in all rows makes rows that do not exist.
Accumulated local effects (ALE) only move rows between values near their own. Counterfactuals say of one row
which few changes would lead to another prediction.
"""

# sphinx_gallery_thumbnail_path = "pictures/gallery/local_effects.png"

# %%
# What is delivered is nearly what was ordered. The model is a formula: the cost of the goods, and a penalty that
# grows with the square of the difference. In the data, this penalty is small.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import permgrad as pg

rng = np.random.default_rng(0)
ordered = rng.uniform(20, 65, 1500)
X = pd.DataFrame(
    {
        "ordered": ordered,
        "delivered": ordered + rng.normal(0, 1.5, 1500),
        "days": rng.uniform(1, 9, 1500),
    }
)


def cost(rows):
    return (
        rows["delivered"]
        + 3 * rows["days"]
        + (rows["ordered"] - rows["delivered"]) ** 2 / 20
    ).to_numpy()


# %%
# Effects
# -------
#
# The mean curve sets ``ordered`` to a value in all rows, so the penalty is large at both ends. ALE moves each row over
# the bin in which it lies: what is ordered hardly matters. The report of a run draws both, with a warning.

explanation = pg.explain(
    pg.Model(cost, task="regression"), X, method="ale", progress=False
)
curves = explanation.effects(curves=True)
ale = curves[curves["feature"] == "ordered"]
at = ale["value"].astype(float)
grid = np.quantile(X["ordered"], np.linspace(0.01, 0.99, 15))
mean = np.array([cost(X.assign(ordered=value)).mean() for value in grid])

figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
axes.plot(
    grid,
    mean - np.interp(X["ordered"], grid, mean).mean(),
    marker="o",
    label="mean curve",
)
(line,) = axes.plot(at, ale["effect"], "--", label="ALE, with its 95 % interval")
axes.fill_between(at, ale["ci_low"], ale["ci_high"], color=line.get_color(), alpha=0.3)
axes.set_xlabel("ordered")
axes.set_ylabel("effect on the predicted cost")
axes.legend()
plt.show()

# %%
# Alternatives
# ------------
#
# What would have to differ in a row for a cost of at most 50, if what was ordered stays?

found = pg.counterfactuals(cost, X[:1], X, want=(None, 50), fixed=["ordered"])
print(found.summary())

# %%
# The changes, in median absolute deviations of the columns:

moved = found.cells.iloc[1:].to_numpy(float) - found.cells.iloc[0].to_numpy(float)
moved /= (X - X.median()).abs().median().to_numpy()
figure, axes = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
height = 0.8 / len(moved)
for place, changes in enumerate(moved):
    axes.barh(
        np.arange(X.shape[1]) + height * place,
        changes,
        height=0.9 * height,
        label=f"alternative {place + 1}",
    )
axes.set_yticks(np.arange(X.shape[1]) + height * (len(moved) - 1) / 2, X.columns)
axes.axvline(0, color="0.5", linewidth=0.8)
axes.set_xlabel("change (median absolute deviations)")
axes.legend()
plt.show()
