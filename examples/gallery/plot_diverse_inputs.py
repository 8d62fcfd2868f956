"""
Diverse inputs: an image, a table and a text
============================================

A published framework measures the importance of the inputs of multimodal medical networks, by gradients, permutation,
LIME, SHAP and their mean, and uses it to say what a missing input would cost (`Azmat, Michigan State University, 2023
<https://d.lib.msu.edu/etd/51396>`__). Its clinical data are not public, so no published figure stands beside ours.
This page repeats both steps on a network with three inputs.
"""

# sphinx_gallery_thumbnail_path = "pictures/gallery/diverse_inputs.png"

# %%
# A network with three inputs
# ---------------------------
#
# The bright square of the image and the word "severe" matter, and one of two columns.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

import permgrad as pg
from permgrad_benchmark.records import read_record

rng = np.random.default_rng(0)
rows = 600
spot, severe, dose = (
    rng.integers(0, 2, rows),
    rng.integers(0, 2, rows),
    rng.normal(size=rows),
)
image = rng.uniform(0, 0.5, (rows, 1, 12, 12)).astype(np.float32)
image[:, :, 3:6, 3:6] += 0.5 * spot[:, None, None, None]
words = rng.integers(2, 9, (rows, 5))
words[severe == 1, 2] = 1  # the word "severe" has the number 1
table = np.column_stack([dose, rng.normal(size=rows)]).astype(np.float32)
label = (
    2.0 * spot + 1.0 * severe + 0.7 * dose + 0.3 * rng.normal(size=rows) > 1.5
).astype(int)
inputs = {
    "image": torch.tensor(image),
    "words": torch.tensor(words),
    "table": torch.tensor(table),
}


class Records(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_branch = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(100, 8),
        )
        self.word_branch = nn.Embedding(9, 8)
        self.table_branch = nn.Linear(2, 8)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(24, 2))

    def forward(self, image, words, table):
        parts = [
            self.image_branch(image),
            self.word_branch(words).mean(1) * 5,
            self.table_branch(table),
        ]
        return self.head(torch.cat(parts, dim=1))


torch.manual_seed(0)
net = Records()
optimizer = torch.optim.Adam(net.parameters(), 0.01)
for _ in range(120):
    optimizer.zero_grad()
    nn.functional.cross_entropy(
        net(**{key: part[:400] for key, part in inputs.items()}),
        torch.tensor(label[:400]),
    ).backward()
    optimizer.step()
test, truth = {name: values[400:] for name, values in inputs.items()}, label[400:]
print(
    f"accuracy on new rows: {(net.eval()(**test).argmax(1).numpy() == truth).mean():.2f}"
)

# %%
# What matters, by several methods
# --------------------------------
#
# Each method has its unit, so shares are compared.

read = pg.Model(net, task="classification", segments=("grid", 4))
background = {name: values[:50] for name, values in inputs.items()}
some = {name: values[:40] for name, values in test.items()}
local = {"background": background, "target": 1, "progress": False}
permutation = pg.explain(
    net, test, truth, method="permutation", groups="modality", progress=False
)
shares = pd.DataFrame(
    {
        "permutation": permutation.values[:, 0],
        "shapley": pg.explain(read, some, method="shapley", groups="modality", **local)
        .to_global()
        .values[:, 0],
        "lime": pg.explain(read, some, method="lime", groups="modality", **local)
        .to_global()
        .values[:, 0],
        "gradient": pg.explain(read, some, method="gradient", **local)
        .by_modality()
        .to_global()
        .values[:, 0],
    },
    index=list(inputs),
)
shares /= shares.sum()
shares["mean"] = shares.mean(axis=1)

figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
shares.T.plot.bar(ax=axes, stacked=True, rot=0, color=["#0072b2", "#009e73", "#e69f00"])
axes.set_ylabel("share")
axes.set_title("Three inputs by four methods, and their mean")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plt.show()

# %%
# Which words, patches and columns?

parts = pg.explain(read, some, method="shapley", **local)
parts.to_global().to_frame()[["feature", "modality", "importance"]].nlargest(
    6, "importance"
).round(3)

# %%
# What if an input is missing?
# ----------------------------
#
# ``pg.missing_modalities`` measures the loss and the accuracy with every subset of the inputs. A missing input is
# taken from another row.

missing = pg.missing_modalities(net, test, truth, scoring="accuracy", progress=False)
missing.to_frame()[["present", "loss", "ci_low", "ci_high", "accuracy"]].round(3)

# %%
# Does the importance say what a missing input costs? The order should be the same.

loss = missing.to_frame().set_index("present")["loss"]
without = {
    name: " + ".join(other for other in inputs if other != name) for name in inputs
}
cost = pd.Series(
    {
        name: loss[present] - loss[" + ".join(inputs)]
        for name, present in without.items()
    }
)
pd.DataFrame(
    {"share (permutation)": shares["permutation"], "added loss when missing": cost}
).round(3)

# %%
# A complete run from files
# -------------------------
#
# ``python -m benchmarks.quality.image_table_example`` writes PneumoniaMNIST as PNG files with made clinical columns,
# of which two carry the label, and runs ``permgrad run records.csv --target label --kind scan=image``. Its record:

record = read_record("image_table_example")
if record is None:
    print("The record is in the repository: benchmarks/results/image_table_example.md")
else:
    print(
        f"accuracy {record['accuracy']:.3f}, best model of the table alone {record['best baseline']:.3f}"
    )
    print(
        ", ".join(
            f"{name}: {share:.0%} of the effect"
            for name, share in record["shares"].items()
        )
    )
pd.DataFrame(record["columns"]).set_index("column").round(3) if record else None
