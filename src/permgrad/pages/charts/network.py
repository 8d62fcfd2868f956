"""The chart of a network: its layers as blocks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from permgrad.pages.charts.chart import Chart

_LANES = {"tabular": "table branch", "image": "image branch", "head": "head"}
_TITLES = {"Linear": "Dense", "Conv2d": "Convolution", "PeriodicDenseEmbedding": "Embedding"}
_SHORT = {"BatchNorm1d": "BatchNorm", "BatchNorm2d": "BatchNorm", "MaxPool2d": "max pool", "Dropout": "dropout"}
#: Width of a block with the arrow behind it, in CSS pixels.
STEP = 150


def blocks(layers: pd.DataFrame) -> Chart:
    """Return a network's ``layers`` (``part, layer, shape per row, parameters``) as blocks, a lane for each branch.

    A block is a layer, the shape of what leaves it for one row, its parameters, and the layers behind it without own
    blocks, such as activations.
    """
    lanes: dict[str, list[dict[str, Any]]] = {part: [] for part in _LANES}
    for part, layer, shape, count in layers.itertuples(index=False, name=None):
        lane = lanes[part]
        if layer == "input":
            if part == "image":
                lane.append({"title": "Renderer", "shape": shape, "count": 0, "more": ["row to picture"]})
        elif layer == "RandomKernels":
            lane[-1]["more"].append("random kernels beside")
        elif layer in _TITLES or not lane:
            lane.append({"title": _TITLES.get(layer, layer), "shape": shape, "count": count, "more": []})
        else:
            lane[-1]["more"].append(f"flattened to {shape}" if layer == "Flatten" else _SHORT.get(layer, layer))
            lane[-1]["count"] += count
            lane[-1]["shape"] = lane[-1]["shape"] if layer == "Flatten" else shape
    if lanes["head"]:
        lanes["head"][-1]["title"] = "Output"
    shown: list[dict[str, Any]] = [
        {"name": name, "part": part, "blocks": lanes[part]} for part, name in _LANES.items() if lanes[part]
    ]
    longest = max((len(lane["blocks"]) for lane in shown[:-1]), default=0)
    words = "; ".join(f"{lane['name']}: {', '.join(block['title'] for block in lane['blocks'])}" for lane in shown)
    return Chart("blocks", f"Layers of the network. {words}.", {"lanes": shown}, STEP * (longest + len(lanes["head"])))
