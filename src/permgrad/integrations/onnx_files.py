"""A fitted hybrid network as an ONNX file: from encoded rows to probabilities, or to
predictions in the units of y.
"""

from __future__ import annotations

import copy
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.attribution.model import Model, as_model
from permgrad.base import __version__
from permgrad.base.arrays import Floats32
from permgrad.base.checks import check_path
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.base.files import atomic_path, writing
from permgrad.base.late import optional
from permgrad.base.random import generator
from permgrad.imaging.foreign import ForeignRenderer
from permgrad.models.estimators.calibration import Calibration
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.network.trees import TreeBranch
from permgrad.models.trees import LARGEST

INSTALL = "permgrad[onnx]"
#: The largest difference from ``predict`` that a written file may have, as a share of
#: the largest prediction.
_MOST_OFF = 1e-5
_OPSET = 17


def export_onnx(
    model: HyNNClassifier | HyNNRegressor | Model, path: str | os.PathLike[str]
) -> Path:
    """Write the network of a fitted estimator as an ONNX file, and compare the file's
    predictions with the estimator's.

    The file has one input, ``encoded``: float32 ``(rows, encoded)``, as
    ``model.encode_rows(X).encoded``. Reading and encoding a table stay in permgrad. Its
    output is ``probabilities``, float64 ``(rows, classes)``, with the calibration of
    the estimator, or ``prediction``, float64 ``(rows,)`` in the units of y. The names
    of the encoded columns, the classes and the task are in the metadata of the file.

    Args:
        model: A fitted ``HyNNClassifier`` or ``HyNNRegressor``, except one with a
            drawing method from elsewhere, or a ``pg.Model`` of one.
        path: Where the file goes. A file of that name is replaced.

    Returns:
        The path.

    Raises:
        InputError: The model cannot be exported.
        EnvironmentProblem: A package of ``permgrad[onnx]`` is missing, or the file
            cannot be written.

    Examples:
        >>> import onnx, onnxruntime
        >>> import numpy as np, tempfile, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3))
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0)
        >>> model = model.fit(X, X[:, 0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pg.integrations.export_onnx(model, f"{folder}/model.onnx")
        ...     session = onnxruntime.InferenceSession(path)
        >>> (prediction,) = session.run(None, {"encoded": model.encode_rows(X).encoded})
        >>> bool(np.allclose(prediction, model.predict(X), rtol=0, atol=1e-5))
        True
    """
    model = as_model(model).model
    if not isinstance(model, (HyNNClassifier, HyNNRegressor)):
        problem = (
            f"export_onnx writes estimators of permgrad, got {type(model).__name__}"
        )
        raise InputError(
            problem, hint="Pass a fitted HyNNClassifier or HyNNRegressor.", code="PG001"
        )
    # Any rows show whether the file computes what the network does.
    encoded = np.ascontiguousarray(model.background_[:64], dtype=np.float32)
    if not len(encoded):
        encoded = (
            generator(model.seed_, "onnx")
            .normal(size=(64, encoded.shape[1]))
            .astype(np.float32)
        )
    if isinstance(model.module_.renderer, ForeignRenderer):
        problem = (
            "Images drawn by a method from elsewhere cannot be part of an ONNX file"
        )
        hint = "Fit the model with a layout of permgrad, or with branches=('tabular',)."
        raise InputError(problem, hint=hint, code="PG034")
    target = check_path("path", path)
    onnx = optional("onnx", INSTALL)
    runtime = optional("onnxruntime", INSTALL)
    network = _Predicting(model).eval()
    if isinstance(model, HyNNClassifier):
        output = "probabilities"
    else:
        output = "prediction"
    with writing(target, "choose another folder"), atomic_path(target) as temporary:
        _write(network, encoded, output, temporary)
        file = onnx.load(str(temporary))
        onnx.helper.set_model_props(file, _properties(model))
        onnx.save(file, str(temporary))
        session = runtime.InferenceSession(
            temporary.read_bytes(), providers=["CPUExecutionProvider"]
        )
        (returned,) = session.run([output], {"encoded": encoded})
        expected_outputs = network.numbers(model, encoded)
        scale = max(1.0, float(np.abs(expected_outputs).max(initial=0.0)))
        difference = float(np.abs(returned - expected_outputs).max(initial=0.0)) / scale
        if not difference <= _MOST_OFF:
            problem = (
                "The predictions of the ONNX file differ from the model's by "
                f"{difference:.2g}."
            )
            raise EnvironmentProblem(
                problem,
                hint="Install another version of torch or onnxruntime.",
                code="PG060",
            )
    return target


def _properties(model: Any) -> dict[str, str]:
    """Return what the file says of the model: its columns, classes and task."""
    classes: dict[str, str] = {}
    if hasattr(model, "classes_"):
        classes = {"classes": json.dumps(list(map(str, model.classes_)))}
    return {
        "permgrad": __version__,
        "task": "classification" if classes else "regression",
        "columns": json.dumps(list(map(str, model.preprocessor_.encoded_names_))),
        **classes,
    }


def _write(network: nn.Module, encoded: Floats32, output: str, file: Path) -> None:
    """Write the network as an ONNX file, traced with two rows."""
    with warnings.catch_warnings():
        # Tracing warns of shapes that are the same for all rows, and of an exporter
        # that needs more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.from_numpy(encoded[:2]),),
            str(file),
            input_names=["encoded"],
            output_names=[output],
            dynamic_axes={"encoded": {0: "rows"}, output: {0: "rows"}},
            opset_version=_OPSET,
            dynamo=False,
        )


class _Predicting(nn.Module):
    """From encoded rows to what the estimator predicts, with its calibration or the
    units of y, in float64.
    """

    def __init__(self, model: HyNNClassifier | HyNNRegressor) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.module_).cpu()
        for name, branch in self.network.additive.items():
            if isinstance(branch, TreeBranch):
                self.network.additive[name] = _TracedTrees(branch)
        self.calibration: Calibration | None = getattr(model, "calibration_", None)
        if self.calibration is None:
            self.scale = float(model.target_scale_)
            self.mean = float(model.target_mean_)

    @staticmethod
    def numbers(model: Any, encoded: Any) -> Any:
        """Return the estimator's own predictions of encoded rows."""
        outputs = model.predict_encoded(encoded)
        if isinstance(model, HyNNClassifier):
            return model.calibration_.probabilities(outputs)
        return (
            outputs[:, 0].astype(np.float64) * model.target_scale_ + model.target_mean_
        )

    def forward(self, encoded: Tensor) -> Tensor:
        outputs = self.network(encoded).double()
        if self.calibration is None:
            return torch.select(outputs, 1, 0) * self.scale + self.mean
        if outputs.shape[1] == 1:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        if self.calibration.curves:
            # Calibrated probabilities, see Calibration.probabilities.
            count = outputs.shape[1]
            two = len(self.calibration.curves) == 1
            shares = []
            for k, (knots, values) in zip(
                [1] if two else range(count), self.calibration.curves, strict=True
            ):
                other_outputs = [outputs[:, j : j + 1] for j in range(count) if j != k]
                odds = outputs[:, k] - torch.logsumexp(
                    torch.cat(other_outputs, dim=1), dim=1
                )
                shares.append(
                    _between(
                        odds,
                        torch.tensor(knots).double(),
                        torch.tensor(values).double(),
                    )
                )
            if two:
                return torch.stack([1 - shares[0], shares[0]], dim=1)
            raw = torch.stack(shares, dim=1)
            total = raw.sum(dim=1, keepdim=True)
            return torch.where(
                total > 0, raw / torch.where(total > 0, total, 1.0), 1 / count
            )
        if self.calibration.shift:
            outputs = outputs - torch.tensor(
                self.calibration.shift, dtype=torch.float64
            )
        return torch.softmax(outputs / self.calibration.temperature, dim=1)


class _TracedTrees(nn.Module):
    """Says what trees say, of any number of rows, all of which walk down all trees at
    once.
    """

    def __init__(self, branch: TreeBranch) -> None:
        super().__init__()
        trees = branch.trees()
        self.depth = int(trees.depths.max(initial=0))
        width = branch.values.shape[1]
        integers = {
            name: getattr(branch, name).long() for name in ("feature", "left", "roots")
        }
        # Of trees of one output only, each leaf says 0 of all others.
        values = branch.values.double()
        if width == 1:
            spread = torch.eye(branch.outputs, dtype=torch.float64)[
                branch.output.long()
            ]
        else:
            spread = None
        numbers = {
            "threshold": branch.threshold,
            "values": values,
            "base": branch.base.double(),
            "spread": spread,
        }
        for name, tensor in {**integers, **numbers}.items():
            self.register_buffer(name, tensor)

    def forward(self, encoded: Tensor) -> Tensor:
        tree_buffers: Any = self
        node = tree_buffers.roots[None].expand(encoded.shape[0], -1)
        for _ in range(self.depth):
            value = torch.gather(encoded, 1, tree_buffers.feature[node]).clamp(
                max=LARGEST.item()
            )
            node = (
                tree_buffers.left[node] + (value > tree_buffers.threshold[node]).long()
            )
        leaves = tree_buffers.values[node]
        if tree_buffers.spread is None:
            sums = leaves.sum(dim=1)
        else:
            sums = leaves[:, :, 0] @ tree_buffers.spread
        return (sums + tree_buffers.base).to(encoded.dtype)


def _between(query_points: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the values of a line through knots, constant beyond its ends, as
    ``numpy.interp``.
    """
    if len(knots) == 1:
        return 0 * query_points + values
    right = (query_points[:, None] >= knots).sum(dim=1).clamp(1, len(knots) - 1)
    start = knots[right - 1]
    end = knots[right]
    share = ((query_points - start) / (end - start)).clamp(0, 1)
    return values[right - 1] + share * (values[right] - values[right - 1])
