"""One row's prediction divided among the words of its texts, the patches of its images and its other features.

Texts and images reach a network as scores of their cells (``data/encode/scores.py``). Words are taken out, or patches
are covered, and what is left is scored again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.shapley.method import REFERENCES
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.registry import methods
from permgrad.attribution.request.result import digests_of
from permgrad.attribution.wide import outputs_of, score_places
from permgrad.base.arrays import Array, Booleans, Floats, Floats32
from permgrad.base.errors import InputError
from permgrad.data.encode.designs import MOST_PARTS, Cells, without, words_in
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.estimators.kept_rows import kept_rows
from permgrad.models.images import PATCHES
from permgrad.models.images.features import patch_grid

#: As ``exact`` of Shapley values, where there are patches: each other column would double hundreds of coalitions.
_EXACT = 8


def explain_parts(arguments: Arguments) -> Explanation:
    """Explain one row whose players are parts of its texts and images beside its other features: ``level="part"``.

    The predictor of the row takes a table of numbers: −1 keeps the row's own part or cell, else it is the number of
    the background row in its place. A part that is replaced leaves its share of the cell to that row's cell.

    Parts of a cell join one after the other (Owen 1977), so that they add up to the Shapley value of their column.
    Patches of a quarter of an image do, too: no more than 464 pictures of an image are then encoded.
    """
    if arguments.method != "shapley":
        what = f"level='part' needs method='shapley', got {arguments.method!r}"
        raise InputError(what, hint="Pass method='shapley'.", code="PG006")
    model, options = arguments.model, arguments.options
    row = _Row(model, arguments.inputs, arguments.background)
    kept = np.full((1, len(row.names)), -1.0)
    donors = np.repeat(np.arange(float(len(row.donors)))[:, None], len(row.names), axis=1)
    own, background = (pd.DataFrame(numbers, columns=row.names) for numbers in (kept, donors))
    if arguments.background is None:
        options = {"references": REFERENCES, **options}  # as many of the rows kept as at other levels
    form: dict[str, Any] = {"task": "regression"}
    if hasattr(model, "classes_"):
        form = {"output_kind": "logits", "class_names": [str(label) for label in model.classes_.tolist()]}
    if any(cell.blocks for cell in row.cells):
        options = {"exact": _EXACT, **options}
    options = {**options, **form, "structure": "owen"}
    about: dict[str, Any] = {
        "model": row,
        "inputs": own,
        "background": background,
        "scope": "local",
        "level": "feature",
    }
    with sparing(), full_float32():
        request = build_request(replace(arguments, **about, options=options), methods.get("shapley")(), "shapley")
        # Each column is a block, and in it each quarter of an image.
        blocks = tuple(row.column_of.get(name, name) for name in row.names)
        quarters = {name: names for cell in row.cells for name, names in cell.blocks.items()}
        request = replace(request, space=replace(request.space, modality=blocks, groups=quarters))
        explanation = methods.get("shapley")()(request)
    texts = {cell.name: {"tokens": {"input": cell.name}} for cell in row.cells if isinstance(cell, _Words)}
    return replace(
        explanation,
        level="part",
        modality=tuple(row.column_of.get(name, "table") for name in explanation.names),
        groups={cell.name: cell.parts for cell in row.cells},
        feature_values=row.shown,
        maps={key: array for cell in row.cells for key, array in cell.maps(row.names).items()},
        meta={**explanation.meta, "by_input": texts, "digests": digests_of(request)},
    )


class _Cell:
    """A text or an image of one row, in parts. What is left of it is scored once for each set of parts."""

    def __init__(self, encoder: Any, name: str, count: int) -> None:
        self.encoder, self.name, self.parts = encoder, name, [f"{name}[{k}]" for k in range(count)]
        self.columns, self.places = encoder.columns_of(name), score_places(encoder, name)
        self.blocks: dict[str, list[str]] = {}
        nothing = np.zeros(len(self.places), dtype=np.float32)
        self._known = {bytes(count): nothing}  # what is left of a cell without parts is nobody's

    def left(self, kept: Booleans) -> Cells:
        """Return the cells that are left with the parts ``kept (n, parts)``, as ``Scores`` reads them."""
        raise NotImplementedError

    def maps(self, names: list[str]) -> dict[str, Array]:  # noqa: ARG002 — a text has none
        """Return what plots need of the cell. ``names`` are those of all players."""
        return {}

    def scores(self, kept: Booleans) -> Floats32:
        """Return the scores ``(n, outputs)`` of the cell with the parts ``kept (n, parts)``."""
        distinct, place = np.unique(kept, axis=0, return_inverse=True)
        keys = [one.tobytes() for one in distinct]
        if new := [at for at, key in enumerate(keys) if key not in self._known]:
            scores = self.encoder.scores_.of(self.name, self.left(distinct[new]))
            self._known |= {keys[at]: one for at, one in zip(new, scores, strict=True)}
        return np.stack([self._known[key] for key in keys])[place.ravel()]


class _Words(_Cell):
    """The words of a text. ``shown``: each as it is written."""

    def __init__(self, encoder: Any, name: str, text: str, spans: list[tuple[int, int]]) -> None:
        stretches = np.array_split(np.array(spans), min(len(spans), MOST_PARTS))
        super().__init__(encoder, name, len(stretches))
        self.text, self.spans = text, [some.tolist() for some in stretches]
        self.shown = [text[some[0][0] : some[-1][1]] for some in self.spans]

    def left(self, kept: Booleans) -> Cells:
        gone = [[span for k in np.flatnonzero(~one).tolist() for span in self.spans[k]] for one in kept]
        return [without(self.text, spans) for spans in gone]


class _Patches(_Cell):
    """The patches of an image, row by row, in its quarters."""

    def __init__(self, encoder: Any, name: str, cell: str) -> None:
        super().__init__(encoder, name, PATCHES**2)
        self.cell, half = cell, PATCHES // 2
        down, across = np.divmod(np.arange(PATCHES**2), PATCHES)
        quarters = 2 * (down // half) + across // half
        for part, quarter in zip(self.parts, quarters.tolist(), strict=True):
            self.blocks.setdefault(f"{name}, quarter {quarter}", []).append(part)
        # All sets that orders meet have at most one quarter in part. Scored at once: encoders take images in batches.
        every = np.arange(2**PATCHES**2)[:, None] >> np.arange(PATCHES**2) & 1 > 0
        seen = np.stack([every[:, quarters == quarter].mean(axis=1) for quarter in range(4)])
        self.scores(every[((seen > 0) & (seen < 1)).sum(axis=0) <= 1])

    def left(self, kept: Booleans) -> Cells:
        return self.encoder.images_.covered(self.name, self.cell, kept)

    def maps(self, names: list[str]) -> dict[str, Array]:
        picture = self.encoder.images_.pixels(self.name, [self.cell]).numpy() / np.float32(255)
        segments = names.index(self.parts[0]) + patch_grid(*picture.shape[2:])
        return {f"images:{self.name}": picture, f"segments:{self.name}": segments}


class _Row:
    """One row as a predictor of which of its parts and features are its own, for ``explain_parts``."""

    def __init__(self, model: Any, X: Any, background: Any) -> None:
        encoder = getattr(model, "preprocessor_", None)
        if encoder is None or not encoder.scores_.columns or len(X) != 1:
            problem = "level='part' explains one row of a HyNNClassifier or HyNNRegressor that reads texts or images"
            raise InputError(problem, hint="Pass a single row, for example X[:1].", code="PG006")
        rows = model.encode_rows(X)
        self.model, self.own = model, rows.encoded
        self.donors = kept_rows(model) if background is None else model.encode_rows(background).encoded
        self.cells: list[_Words | _Patches] = []
        self.features, self.names, shown = {}, list[str](), dict[str, Any]()
        for name, columns in encoder.features("feature").items():
            kind = encoder.schema_[name].kind if name in encoder.scores_.columns else ""
            cell = next(iter(encoder.texts_of(rows.table, name)[0]), "") if kind in ("text", "image") else ""
            if cell and kind == "image":
                self.cells.append(_Patches(encoder, name, cell))
            elif spans := words_in(cell):
                self.cells.append(words := _Words(encoder, name, cell, spans))
                shown |= dict(zip(words.parts, words.shown, strict=True))
            elif len(columns):
                self.features[name], shown[name] = columns, rows.table[name].iloc[0] if name in rows.table else None
                self.names.append(name)
                continue
            else:
                continue
            self.names += self.cells[-1].parts
        self.column_of = {part: cell.name for cell in self.cells for part in cell.parts}
        self.shown = pd.DataFrame(shown, index=[0])

    def __call__(self, table: pd.DataFrame) -> Floats:
        """Return logits, or numbers, of rows made of own and other cells."""
        encoded = np.repeat(self.own, len(table), axis=0)
        for name, columns in self.features.items():
            donors = table[name].to_numpy(dtype=np.int64)
            taken = np.flatnonzero(donors >= 0)
            encoded[np.ix_(taken, columns)] = self.donors[np.ix_(donors[taken], columns)]
        for cell in self.cells:
            chosen = table[cell.parts].to_numpy(dtype=np.int64)
            encoded[:, cell.columns] *= (chosen < 0).mean(axis=1, keepdims=True)
            encoded[:, cell.places] = cell.scores(chosen < 0)
            for donors in chosen.T:
                taken = np.flatnonzero(donors >= 0)
                theirs = self.donors[np.ix_(donors[taken], cell.columns)]
                encoded[np.ix_(taken, cell.columns)] += theirs / len(cell.parts)
        return outputs_of(self.model, encoded, "logit")
