"""Models of other libraries on raw tables as files: a description, arrays, perhaps a
file of skops, never a pickle.

Boosted trees are arrays, which need no library. skops loads only types that it knows.
The trees of scikit-learn's forests are added to these. For types of the user's own
estimators, whoever loads them has to name them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from permgrad.base.checks import check_flag, check_path
from permgrad.base.errors import (
    InputError,
    error_in_words,
    listed,
    must,
    turned,
    warn_user,
)
from permgrad.base.late import optional
from permgrad.data.tasks import tasks
from permgrad.evaluation.baselines.file_model import FileModel
from permgrad.evaluation.baselines.fitting import Shifted, baselines, check_available
from permgrad.models.libraries.boosted import BoostedTrees, link_of
from permgrad.models.losses import named_loss
from permgrad.models.reading_trees import AsTrees, ReadTrees, read_questions
from permgrad.models.save.model_folders import (
    OTHERS_VERSION,
    check_target,
    read_part,
    write_model,
)
from permgrad.models.trees import Trees

#: Types of scikit-learn's trees, which hold arrays of numbers. The nodes of forests are
#: checked once they are read.
_LOSSES = ("BinomialLoss", "MultinomialLoss", "SquaredError", "PoissonLoss")
_TREES = (
    *(
        "numpy.dtype",
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    ),
    *(
        f"sklearn._loss.link.{link_name}"
        for link_name in (
            "Interval",
            "LogitLink",
            "MultinomialLogit",
            "IdentityLink",
            "LogLink",
        )
    ),
    *(f"sklearn._loss.loss.Half{loss_name}" for loss_name in _LOSSES),
    *(f"sklearn._loss._loss.CyHalf{loss_name}" for loss_name in _LOSSES),
)


# ---- writing -------------------------------------------------------------------------
def save(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    keep_rows: bool = True,
) -> None:
    """Write a fitted ``TableModel``. The folder appears complete or not at all."""
    check_flag("keep_rows", keep_rows)
    target = check_path("folder", folder)
    fitted = model.fitted_
    images = cast("Any", model.preprocessor_.images_)
    library = fitted.model
    if isinstance(library, LazyModel):
        library = library.read()
    library, shift = (
        (library.model, library.by) if isinstance(library, Shifted) else (library, None)
    )
    if isinstance(fitted.model, FileModel):
        file_facts = fitted.model.facts()
    else:
        file_facts = None
    check_target(target, overwrite=overwrite)
    description = _description(model, shift, file_facts)
    arrays = {
        "seen": fitted.seen,
        **({} if model.held_out_ is None else model.held_out_.arrays()),
    }
    if keep_rows and model.compared_ is not None:
        arrays |= model.compared_.arrays()
    if isinstance(library, BoostedTrees):
        arrays |= library.trees.arrays()
    if hasattr(model, "classes_"):
        classes = np.asarray(model.classes_)
        description["classes_are_objects"] = classes.dtype == object
        arrays["classes"] = classes
    weights: dict[str, Any] = {}
    if images is not None and images.columns:
        description["images_of_columns"] = images.to_dict()
        weights = images.weights()

    def write(folder: Path) -> None:
        if isinstance(library, FileModel):
            shutil.copyfile(library.path, folder / "fitted.onnx")
        elif not isinstance(library, BoostedTrees):
            _write_skops(library, folder / "fitted.skops")

    write_model(
        model,
        target,
        OTHERS_VERSION,
        description,
        arrays,
        weights,
        np.array([fitted.seconds]),
        write,
        _packages_of(library),
    )


def _packages_of(library: Any) -> tuple[str, ...]:
    """Return the packages that read the file of a model. Trees are arrays."""
    if isinstance(library, FileModel):
        return ("onnxruntime",)
    if isinstance(library, BoostedTrees):
        return ()
    return ("skops", type(library).__module__.partition(".")[0])


def _description(model: Any, shift: Any, file: Any) -> dict[str, Any]:
    """Return what the file says of a fitted model."""
    fitted = model.fitted_
    name = None
    if isinstance(model.model, str):
        name = model.model
    decision = model.decision_
    return {
        "task": model.task,
        "model": name,
        "label": model.label,
        "seed": int(model.random_state),
        "seconds": [fitted.seconds, fitted.processor_seconds],
        "encoders": [
            encoder if isinstance(encoder, str) else None
            for encoder in (model.text_encoder, model.image_encoder)
        ],
        "preprocessor": model.preprocessor_.to_dict(),
        "target_mean": getattr(model, "target_mean_", None),
        **({"loss": model.loss} if model.counts else {}),
        **({} if shift is None else {"shift": shift}),
        **({} if file is None else {"file": file}),
        **({} if decision is None else {"decision": decision.to_dict()}),
    }


def _write_skops(model: Any, path: Path) -> None:
    """Write a model of scikit-learn's kind.

    What skops cannot write is left out, with a warning.
    """
    from skops import io

    try:
        io.dump(model, path)
    except Exception as error:  # noqa: BLE001 — whatever an object of the user's own raises
        path.unlink(missing_ok=True)
        problem = (
            "The model cannot be saved, because skops cannot write it: "
            f"{error_in_words(error)}"
        )
        warn_user(
            problem,
            "The page will be complete. permgrad predict and permgrad explain need a "
            "saved model",
        )


# ---- reading -------------------------------------------------------------------------
class LazyModel(AsTrees):
    """A fitted model that is read from its file when it first predicts: a page is made
    again without its library.
    """

    def __init__(
        self, source: Path, description: Mapping[str, Any], trust: Sequence[str]
    ) -> None:
        self._facts: Any = (source, description, trust)
        self._model: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.read(), name)

    def questions(self) -> ReadTrees:
        """Return the trees of the model itself."""
        return read_questions(self.read())

    def read(self) -> Any:
        """Return the model itself."""
        if self._model is None:
            self._model = _read_fitted(*self._facts)
        return self._model


def read_boosted(
    description: Mapping[str, Any], arrays: Mapping[str, Any], encoded: int
) -> BoostedTrees | None:
    """Return the trees of a saved model, if it is one of trees."""
    model_name = description["model"]
    if model_name is None or baselines.get(model_name).file != "npz":
        return None
    trees = Trees.from_arrays(arrays, encoded)
    classify = tasks.get(description["task"]).has_classes
    must(
        len(trees.base)
        == (len(arrays["seen"]) if classify and len(arrays["seen"]) > 2 else 1),
        "trees of other outputs",
    )
    loss = named_loss(description.get("loss"))
    counts = loss is not None and loss.counts
    return BoostedTrees(trees, link_of(trees, classify=classify, counts=counts))


def _read_fitted(
    source: Path, description: Mapping[str, Any], trust: Sequence[str]
) -> Any:
    """Return the library's model, once its file is the one that was saved."""
    file_facts = description.get("file")
    model_name = description["model"]
    model_path = source / ("fitted.skops" if file_facts is None else "fitted.onnx")
    if model_path.name not in description["checksums"]:
        raise InputError(
            f"The model of {source} could not be saved when it was trained",
            "Train it again.",
            "PG055",
        )
    read_part(model_path, description, "a file of its library", lambda _: {})
    if model_name:
        check_available([model_name])
    if file_facts is not None:
        return FileModel.restored(model_path, description["task"], file_facts)
    which = f"{model_path} cannot be read as a model"
    with turned(
        lambda error: InputError(
            f"{which}: {error_in_words(error)}", "Train it again.", "PG052"
        )
    ):
        model = _read_skops(model_path, trust)
    if "shift" in description:
        return Shifted(model, float(description["shift"]))
    return model


def _read_skops(path: Path, trust: Sequence[str]) -> Any:
    """Return what a file of skops holds, if all its types are known or named."""
    skops_io = optional("skops.io")
    trusted_types = (*trust, *_TREES)
    untrusted_types = skops_io.get_untrusted_types(file=path)
    if strange := [
        type_name for type_name in untrusted_types if type_name not in trusted_types
    ]:
        problem = (
            f"{path} holds types that skops does not trust by itself: "
            f"{listed(strange, show=str)}"
        )
        advice = (
            "If you know who made the file, load it in Python: "
            f"skops.io.load({str(path)!r}, trusted={untrusted_types!r})."
        )
        raise InputError(problem, hint=advice, code="PG031")
    model = skops_io.load(path, trusted=list(trusted_types))
    _check_nodes(model)
    return model


def _check_nodes(model: Any) -> None:
    """Refuse trees of scikit-learn that lead out of themselves, or ask for a column
    that does not exist.
    """
    for estimator in np.ravel(getattr(model, "estimators_", ())):
        inner_tree = getattr(estimator, "tree_", None)
        if inner_tree is None:
            continue
        node_indices = np.arange(inner_tree.node_count)
        inner = inner_tree.children_left >= 0
        sides = (inner_tree.children_left, inner_tree.children_right)
        ahead = all(
            ((child_nodes > node_indices) & (child_nodes < inner_tree.node_count))[
                inner
            ].all()
            for child_nodes in sides
        )
        must(
            ahead
            and (
                (inner_tree.feature >= 0) & (inner_tree.feature < inner_tree.n_features)
            )[inner].all(),
            "a tree with a node that does not exist",
        )
