"""Small models in ONNX files, and the same models in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

onnx = pytest.importorskip(
    "onnx", reason="onnx is not installed: pip install 'permgrad[onnx]'"
)
pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install 'permgrad[onnx]'"
)


@dataclass(frozen=True)
class Linear:
    """A sum of weighted numbers and of what levels add: a number, or the logits of
    classes.

    Missing numbers and unknown levels add nothing. ``numbers``: weights of each output.
    ``levels``: the same by level.
    """

    numbers: Mapping[str, Sequence[float]]
    levels: Mapping[str, Mapping[str, Sequence[float]]]
    bias: Sequence[float]

    def __call__(self, table: pd.DataFrame) -> Any:
        """Return numbers ``(rows,)``, or probabilities ``(rows, classes)``."""
        total = np.tile(np.array(self.bias, dtype=float), (len(table), 1))
        for name, weights in self.numbers.items():
            total += np.nan_to_num(table[name].to_numpy(float))[:, None] * np.array(
                weights
            )
        for name, levels in self.levels.items():
            nothing = [0.0] * len(self.bias)
            total += np.array([levels.get(str(cell), nothing) for cell in table[name]])
        if len(self.bias) == 1:
            return total[:, 0]
        odds = np.exp(total - total.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def write(
        self, path: Path, *, whole: bool = False, classes: Sequence[str] | None = None
    ) -> Path:
        """Write the file: an input for each column, or one for the ``whole`` table;
        with a map of named ``classes``.
        """
        helper = onnx.helper
        outputs = len(self.bias)
        nodes = []
        fixed = []
        inputs = []
        column_sums = []

        def constant(name: str, values: Any) -> str:
            fixed.append(
                onnx.numpy_helper.from_array(np.asarray(values, dtype=np.float64), name)
            )
            return name

        def node(
            kind: str, input_names: Sequence[str], output_name: str, **facts: Any
        ) -> str:
            nodes.append(
                helper.make_node(kind, list(input_names), [output_name], **facts)
            )
            return output_name

        def given(name: str, kind: int, width: int) -> str:
            inputs.append(helper.make_tensor_value_info(name, kind, [None, width]))
            return name

        types = onnx.TensorProto
        weights = np.array(list(self.numbers.values()), dtype=float).reshape(
            -1, outputs
        )
        if whole:
            columns = given("X", types.DOUBLE, len(self.numbers))
        else:
            columns = node(
                "Concat",
                [given(name, types.DOUBLE, 1) for name in self.numbers],
                "numbers",
                axis=1,
            )
        filled = ["missing", constant("zero", 0.0), columns]
        node("IsNaN", [columns], "missing")
        column_sums.append(
            node(
                "MatMul",
                [node("Where", filled, "filled"), constant("weights", weights)],
                "sum of numbers",
            )
        )
        for name, levels in self.levels.items():
            codes = node(
                *("LabelEncoder", [given(name, types.STRING, 1)], f"codes of {name}"), domain="ai.onnx.ml",
                keys_strings=list(levels), values_int64s=list(range(len(levels))), default_int64=len(levels),
            )  # fmt: skip
            added = constant(f"levels of {name}", [*levels.values(), [0.0] * outputs])
            rows = node("Gather", [added, codes], f"rows of {name}")
            fixed.append(onnx.numpy_helper.from_array(np.array([1]), f"axis of {name}"))
            column_sums.append(
                node("Squeeze", [rows, f"axis of {name}"], f"sum of {name}")
            )
        total = node("Sum", [*column_sums, constant("bias", [self.bias])], "total")
        result, kind = (
            (total, types.DOUBLE)
            if outputs == 1
            else (node("Softmax", [total], "odds", axis=1), types.DOUBLE)
        )
        last: Any = helper.make_tensor_value_info(result, kind, [None, outputs])
        if classes is not None:
            single = node("Cast", [result], "single", to=types.FLOAT)
            node(
                "ZipMap",
                [single],
                "by class",
                domain="ai.onnx.ml",
                classlabels_strings=list(classes),
            )
            of_class = helper.make_map_type_proto(
                types.STRING, helper.make_tensor_type_proto(types.FLOAT, [])
            )
            last = helper.make_value_info(
                "by class", helper.make_sequence_type_proto(of_class)
            )
        graph = helper.make_graph(nodes, "linear", inputs, [last], fixed)
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=8)
        path.write_bytes(model.SerializeToString())
        return path
