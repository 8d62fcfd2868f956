"""
Hybrid networks for regression
==============================

Published studies of hybrid networks for regression train a dense branch on the table and a convolutional branch on a
TINTO image of each row, and search their settings with Optuna. ``permgrad tune --space paper`` has this search space.
This page asks three questions of such a study: is the score real, does the image help, and how do hybrid networks
compare with trees?

The published error figures are not in this repository, so none stand beside ours. Compared are the claims.
"""

# sphinx_gallery_thumbnail_path = "pictures/gallery/regression_study.png"

# %%
# Is the score real?
# ------------------
#
# In the published notebook for regression, the target column of the image list stays among the inputs. This run shows
# what such a column does. With the folder of data sets that ``PERMGRAD_DATA`` names, it uses the study's table (Puma,
# a robot arm), else a function with a similar noise.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import make_friedman1
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import root_mean_squared_error

import permgrad as pg
from permgrad_benchmark.records import read_record

path = Path(os.environ.get("PERMGRAD_DATA", ""), "puma8NH.csv")
if path.is_file():
    X = pd.read_csv(path)[:900]
    y = X.pop("values")
else:
    X, y = make_friedman1(900, n_features=8, noise=3.0, random_state=0)
    X, y = (
        pd.DataFrame(X, columns=[f"x{column + 1}" for column in range(8)]),
        pd.Series(y),
    )
train, test = slice(0, 600), slice(600, None)


def network(**options):
    return pg.HyNNRegressor(
        preset="fast",
        layout="tinto",
        max_epochs=8,
        random_state=0,
        progress=False,
        **options,
    )


leaking = X.assign(target=y)
for name, table in {"with the target among the inputs": leaking, "without": X}.items():
    model = network().fit(table[train], y[train])
    print(f"R² {name}: {model.score(table[test], y[test]):.3f}")
    if name != "without":
        leak = pg.explain(model, table[test], y[test], progress=False)

# %%
# The explanation finds the leak at once. The report of ``permgrad run`` warns if one feature has more than 40 % of
# the importance.

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
importances = pd.Series(leak.values[:, 0], leak.names).sort_values()
importances.plot.barh(ax=axes, color="#0072b2")
axes.set_xlabel("increase of the squared error")
axes.set_title("The target stands out")
plt.show()

# %%
# Does the image help?
# --------------------
#
# The same network with both branches, and with each alone, beside a random forest:

errors = {}
for name, branches in {
    "table and image": ("tabular", "image"),
    "table": ("tabular",),
    "image": ("image",),
}.items():
    model = network(branches=branches).fit(X[train], y[train])
    errors[name] = root_mean_squared_error(y[test], model.predict(X[test]))
forest = RandomForestRegressor(100, random_state=0).fit(X[train], y[train])
errors["random forest"] = root_mean_squared_error(y[test], forest.predict(X[test]))
pd.Series(errors, name="RMSE, short run").round(3).to_frame()

# %%
# The complete run
# ----------------
#
# These figures come from ``python -m benchmarks.quality.image_question`` and ``python -m
# benchmarks.quality.comparison``: the whole Puma table, five splits, complete training. First: the mean RMSE with one
# branch, with both, and with the columns at random pixels.

questions, comparison = read_record("image_question"), read_record("comparison")


def puma(record):
    cells = [cell for cell in record["cells"] if cell["set"] == "puma"]
    scores = pd.Series(
        [cell["metrics"]["test"]["rmse"] for cell in cells],
        [cell["model"] for cell in cells],
    )
    words = {
        "default": "table and image",
        "hybrid": "table and image",
        "tabular_only": "table",
        "image_only": "image",
    }
    words |= {"hybrid_random": "table and image, columns at random pixels"}
    return (
        scores.rename(words)
        .groupby(level=0)
        .agg(["mean", "std"])
        .sort_values("mean")
        .round(3)
    )


puma(questions) if questions else print(
    "The record is in the repository: benchmarks/results/image_question.md"
)

# %%
# The differences between the forms with a table are within the noise of the splits. The image alone is worse. Second:
# other models.

puma(comparison) if comparison else print(
    "The record is in the repository: benchmarks/results/comparison.md"
)

# %%
# Third: the published search space costs 75 trials. Thirty trials of ``permgrad tune`` around the default preset gave
# this (``python -m verification.verify_tuning``):

tuning = read_record("verify_tuning")
[row] = [row for row in tuning if row["set"] == "puma"] if tuning else [None]
pd.Series(row)[["trials", "test metric", "default", "tuned"]].to_frame(
    "Puma"
) if row else None
