"""``Explanation``: the one result class of every attribution method."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.replace.moments import interval, mean_over_rows
from permgrad.base.checks import check_choice, check_flag, check_path, is_number, is_whole
from permgrad.base.errors import EnvironmentProblem, InputError, shown, text_of, unknown
from permgrad.base.files import atomic_path, json_text, plain, writing
from permgrad.base.significance import adjusted, clearly
from permgrad.base.stored import is_intact, parse_json, read_npz, sealed, write_npz
from permgrad.data.weights import are_weights

if TYPE_CHECKING:
    from permgrad.report.plots import PlotAccessor

SCHEMA_VERSION = 1
#: The method's name where each modality was explained by a method of its own.
MIXED = "mixed"
#: Facts of a local explanation that have one value for each row: numbers of the rows, weights for means over them, and
#: the output that was explained.
OF_ROWS = ("rows", "sample_weight", "row_target")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says about a model: one number per feature and output, with its uncertainty and where it came from.

    Args:
        values: importance or attribution; ``(features, outputs)`` if ``scope`` is global, ``(rows, features, outputs)``
            if local. ``meta["quantity"]`` says what it is and ``meta["unit"]`` in which unit.
        names: the players asked for (features, groups or modalities), in the order of ``values``.
        modality: for each name the modality it belongs to; ``"table"`` on hybrid networks.
        outputs: ``("all", *classes)`` for loss methods on classifiers (class k: rows with y = k), ``("all",)`` for
            regression, the classes for methods that explain the output.
        method: the method's registered name.
        scope: ``"global"`` or ``"local"``.
        std: standard error, shaped like ``values``; None where the method has none.
        low, high: ends of the confidence interval at ``meta["confidence"]``, shaped like ``values``.
        p_values: two-sided, of "the importance is 0"; below 0.05 exactly when the 95 % interval excludes 0.
            ``p_adjusted`` has them adjusted for all features.
        parts: named parts that stand beside the value, each shaped like ``values``: ``tabular`` and ``image`` add up to
            ``values`` in the path game, ``interaction`` is already shared out among them.
        part_std: standard errors of ``parts``.
        level: ``"column"``, ``"feature"``, ``"group"`` or ``"modality"``.
        additive: whether values of different players may be summed.
        groups: for each group its features, if any were declared.
        branches: the weight of each branch as written to ``branches.json``; None for methods without.
        direction: for each name the mean prediction by quantile or level:
            ``{"kind": "numeric" | "levels", "at": [...], "label": [...], "mean": (points, outputs) nested list}``.
        feature_values: the explained rows' raw values (rows × names), for plots of local results.
        base_values: output at the baseline, ``(outputs,)`` or ``(rows, outputs)``; local methods only.
        predictions: the model's output for the explained rows, ``(rows, outputs)``; local methods only.
        maps: named image-space arrays, for looking at.
        meta: seed, repeats, background, baseline, quantity, completeness gap, run time, versions.

    Examples:
        >>> values = np.array([[2.0], [1.0]])
        >>> explanation = Explanation(values, ("a", "b"), ("table", "table"), ("all",), "permutation", "global")
        >>> explanation.to_frame()[["feature", "importance"]].values.tolist()
        [['a', 2.0], ['b', 1.0]]
    """

    values: Floats
    names: tuple[str, ...]
    modality: tuple[str, ...]
    outputs: tuple[str, ...]
    method: str
    scope: Literal["global", "local"]
    std: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None
    p_values: Floats | None = None
    parts: dict[str, Floats] = field(default_factory=dict)
    part_std: dict[str, Floats] = field(default_factory=dict)
    level: str = "feature"
    additive: bool = False
    groups: dict[str, list[str]] = field(default_factory=dict)
    branches: dict[str, Any] | None = None
    direction: dict[str, dict[str, Any]] | None = None
    feature_values: pd.DataFrame | None = None
    base_values: Floats | None = None
    predictions: Floats | None = None
    maps: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together; this guards the authors of methods."""
        wanted = (len(self.names), len(self.outputs))
        if self.values.shape[-2:] != wanted or self.values.ndim != (2 if self.scope == "global" else 3):
            raise InputError(
                "values must be (features, outputs) if global and (rows, features, outputs) if local, however: "
                f"scope={self.scope!r}, values.shape={self.values.shape}, features={wanted[0]}, outputs={wanted[1]}; "
                "pass arrays of such shapes"
            )
        for name, array in self._arrays_like_values().items():
            if array.shape != self.values.shape:
                raise InputError(
                    f"{name} must have the shape of values, however: {array.shape} is not {self.values.shape}; "
                    "pass such an array"
                )

    def _arrays_like_values(self) -> dict[str, Floats]:
        arrays = {"std": self.std, "low": self.low, "high": self.high, "p_values": self.p_values}
        stored = {name: array for name, array in arrays.items() if array is not None}
        stored |= {f"parts/{name}": array for name, array in self.parts.items()}
        stored |= {f"part_std/{name}": array for name, array in self.part_std.items()}
        return stored

    def __repr__(self) -> str:
        rows = f", {self.values.shape[0]} rows" if self.scope == "local" else ""
        players = {"modality": "modalities"}.get(self.level, f"{self.level}s")
        size = f"{len(self.names)} {players} × {len(self.outputs)} outputs"
        return f"<Explanation: {self.method}, {self.scope}{rows}, {size}>"

    @property
    def plot(self) -> PlotAccessor:
        """Plots of this explanation: ``.plot.bar()``, ``.plot.beeswarm()`` and so on; each returns a Figure."""
        # NOTE: the one import that goes up the house; it is lazy, and only for the convenience of the person who types.
        from permgrad.report.plots import PlotAccessor

        return PlotAccessor(self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(self, row: int | None = None, *, output: str | int | None = None) -> str:
        """Return what a notebook shows of this explanation: one piece of HTML without scripts, in light and dark.

        A global explanation is shown as ranked bars with intervals; names that clearly matter are bold. Of a local one
        a row is shown: its images with their attributions, its words, and the steps of its table from the baseline's
        output to that of the row, all on one scale.

        Args:
            row: position of the row, for a local explanation; None: the first.
            output: name or position of the output; None: the first, of single rows the positive one of two classes.

        Returns:
            Text that a notebook shows as a picture; a file of it opens in any browser.

        Raises:
            InputError: there is no such row or output, or the explanation is global and ``row`` is given.

        Examples:
            >>> values = np.array([[2.0], [1.0]])
            >>> explanation = Explanation(values, ("a", "b"), ("table", "table"), ("all",), "permutation", "global")
            >>> "<script" in explanation.to_html()
            False
        """
        from permgrad.report.notebook import to_html

        return to_html(self, row=row, output=output)

    def summary(self, *, output: str | int | None = None, top_n: int = 5) -> str:
        """Return a few lines of plain text: what was explained, and the leading features with their intervals.

        Which features clearly matter is said after adjusting for all of them, as by ``clearly_matter``. A local
        explanation is summarised as its mean absolute attribution.

        Args:
            output: name or position of the output; None: the first, of single rows the positive one of two classes.
            top_n: how many features are listed (of each input, where each was explained by a method of its own).

        Raises:
            InputError: there is no such output, or ``top_n`` is not a whole number above 0.

        Examples:
            >>> values = np.array([[2.0], [1.0]])
            >>> explanation = Explanation(values, ("a", "b"), ("table", "table"), ("all",), "permutation", "global")
            >>> print(explanation.summary())
            permutation: importance
            Largest:
              a  2.00
              b  1.00
        """
        from permgrad.report.notebook import summary

        return summary(self, output=output, top_n=top_n)

    def ci(self) -> tuple[Floats, Floats]:
        """Return both ends of the confidence interval; NaN where the method gives none."""
        missing = np.full(self.values.shape, np.nan)
        return (missing if self.low is None else self.low, missing.copy() if self.high is None else self.high)

    @property
    def p_adjusted(self) -> Floats | None:
        """The p-values adjusted for all features of an output (and row) by Holm's steps; None where there are none.

        Undefined p-values stay NaN and count as no test.
        """
        return None if self.p_values is None else adjusted(self.p_values)

    def clearly_matter(self, output: str | int | None = None) -> list[str]:
        """Return the names that clearly matter to an output of a global explanation, by falling importance.

        These are the names with an importance above 0 whose p-value passes Holm's steps over all features at 5 %;
        none where the method has no p-values.

        Args:
            output: its name or position; None: the first.

        Raises:
            InputError: the explanation is local, or each modality was explained by a method of its own.

        Examples:
            >>> values, p_values = np.array([[2.0], [1.0], [0.5]]), np.array([[0.001], [0.3], [0.02]])
            >>> names = ("a", "b", "c")
            >>> found = Explanation(values, names, ("t",) * 3, ("all",), "permutation", "global", p_values=p_values)
            >>> found.clearly_matter()
            ['a', 'c']
        """
        if self.scope == "local":
            raise InputError("clearly_matter needs a global explanation. Call .to_global() first.")
        column = self.output_index(output)
        if self.p_adjusted is None:
            return []
        passed = clearly(self.values[:, column], self.p_adjusted[:, column])
        return [self.names[place] for place in self._order(output) if passed[place]]

    def to_frame(self) -> pd.DataFrame:
        """Return the tidy frame, one line per (row,) feature and output.

        Columns: ``(row,) feature, modality, class, importance, std, ci_low, ci_high, p_value, p_adjusted`` and then
        the parts (``tabular, image, interaction`` for the path game). Undefined is NaN, never 0.
        """
        rows = self.values.shape[0] if self.scope == "local" else 1
        row, name, output = (axis.ravel() for axis in np.indices((rows, len(self.names), len(self.outputs))))
        columns: dict[str, Any] = {}
        if self.scope == "local":
            columns["row"] = np.asarray(self.meta.get("rows", range(rows)))[row]
        for title, texts, places in (
            ("feature", self.names, name),
            ("modality", self.modality, name),
            ("class", self.outputs, output),
        ):
            cells = np.array(texts, dtype=object)[places]
            try:
                columns[title] = pd.Series(cells)
            except UnicodeEncodeError:
                # Half a character, which pandas' own type refuses.
                columns[title] = pd.Series(cells, dtype=object)
        return pd.DataFrame(columns | frame_numbers(self))

    def output_index(self, output: str | int | None) -> int:
        """Return the position of an output given by name or position; None is the first."""
        if output is None:
            return 0
        if is_whole(output) and 0 <= output < len(self.outputs):
            return int(output)
        if text_of(output) in self.outputs:
            return self.outputs.index(text_of(output))
        raise unknown("output", output, self.outputs)

    def ranking(self, output: str | int | None = None) -> list[str]:
        """Return the names by falling importance (where the explanation is local: that of ``to_global()``).

        Raises:
            InputError: each modality was explained by a method of its own, so that their values have no common unit.
        """
        return [self.names[place] for place in self._order(output)]

    def _order(self, output: str | int | None) -> list[int]:
        """Return the positions of the names by falling importance."""
        if self.method == MIXED:
            raise _without_common_unit("ranking compares")
        column = self.output_index(output)
        scores = self.values[:, column]
        if self.scope == "local":
            scores = mean_over_rows(np.abs(self.values[:, :, column]), self._row_weights())[0]
        order: list[int] = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable").tolist()
        return order

    def _row_weights(self) -> Floats | None:
        """Return what each row of a local explanation counts; None: all alike."""
        weights = self.meta.get("sample_weight")
        return None if weights is None else np.asarray(weights, dtype=np.float64)

    def to_global(self, how: Literal["mean_abs", "mean", "sum_l1"] = "mean_abs") -> Explanation:
        """Summarise a local explanation over its rows.

        Args:
            how: ``"mean_abs"``: mean of absolute values; ``"mean"``: signed mean; ``"sum_l1"``: sum over rows divided
                by the sum's L1 norm over features (the form of published integrated-gradients bars).

        Rows count as much as the ``sample_weight`` that they were explained with. The standard error is that of a mean
        over rows (NaN for ``sum_l1``).
        """
        if self.scope == "global":
            raise InputError(
                "to_global summarises a local explanation, however: this one is global already; take it as it is"
            )
        check_choice("how", how, ("mean_abs", "mean", "sum_l1"))
        rows = self.values.shape[0]
        per_row = np.abs(self.values) if how == "mean_abs" else self.values
        weights = self._row_weights()
        values, std, size = mean_over_rows(per_row, weights)
        if how == "sum_l1":
            norm = np.abs(values).sum(axis=0, keepdims=True)
            values = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
            std = np.full(values.shape, np.nan)
        low, high, p_values = interval(values, std, size, float(self.meta.get("confidence", 0.95)))
        if how == "mean_abs":
            # A mean of absolute values is not below 0, whatever its error.
            low = np.maximum(low, np.minimum(values, 0.0))
        keep_parts = how == "mean"
        # What a summary can be drawn on: which player owns which pixel, and the mean image.
        maps = {name: array for name, array in self.maps.items() if name.startswith("segments:")}
        images = {name: array for name, array in self.maps.items() if name.startswith("images:") and len(array)}
        maps |= {name: array.mean(axis=0, keepdims=True) for name, array in images.items()}
        return replace(
            self,
            values=values,
            scope="global",
            std=std,
            low=low,
            high=high,
            p_values=p_values,
            parts={name: mean_over_rows(part, weights)[0] for name, part in self.parts.items()} if keep_parts else {},
            part_std={},
            additive=self.additive and keep_parts,
            feature_values=None,
            base_values=None,
            predictions=None,
            maps=maps,
            meta={
                **{name: fact for name, fact in self.meta.items() if name not in OF_ROWS},
                "summary": how,
                "rows_summarised": rows,
            },
        )

    def by_modality(self) -> Explanation:
        """Sum an additive explanation over each modality's players; other methods name the call to make."""
        if self.method == MIXED:
            raise InputError(
                "by_modality sums values of one unit, however: each modality was explained by a method of its own; "
                'call pg.explain(model, inputs, y, method="permgrad", level="modality")'
            )
        if not self.additive:
            raise InputError(
                "by_modality sums values, which is right only for additive methods, however: "
                f"method={self.method!r} is not; "
                f'call pg.explain(model, inputs, y, method={self.method!r}, level="modality")'
            )
        modalities = tuple(dict.fromkeys(self.modality))
        member = np.array([[one == other for one in self.modality] for other in modalities], dtype=np.float64)
        return replace(
            self,
            values=np.einsum("mf,...fo->...mo", member, self.values),
            names=modalities,
            modality=modalities,
            parts={name: np.einsum("mf,...fo->...mo", member, part) for name, part in self.parts.items()},
            part_std={},
            level="modality",
            maps={name: array for name, array in self.maps.items() if not name.startswith("segments:")},
            **dict.fromkeys(("std", "low", "high", "p_values", "direction", "feature_values")),  # type: ignore[arg-type]
        )

    def to_shap(self) -> Any:
        """Return a ``shap.Explanation`` with the same numbers, for shap's plots; needs the package shap."""
        if self.method == MIXED:
            raise _without_common_unit("shap's plots compare")
        try:
            import shap
        except ImportError as error:
            raise EnvironmentProblem(
                "to_shap needs the package shap, however: it is not installed; pip install 'permgrad[peers]'"
            ) from error
        values = self.values if self.scope == "local" else self.values[None]
        base = self.base_values if self.base_values is not None else np.zeros(len(self.outputs))
        base = np.broadcast_to(base, (len(values), len(self.outputs)))
        single, data = len(self.outputs) == 1, self.feature_values
        return shap.Explanation(
            values=values[..., 0] if single else values,
            base_values=base[:, 0] if single else base,
            # Players without a raw value, such as segments of an image, have none there.
            data=None if data is None else data.reindex(columns=list(self.names)).to_numpy(),
            feature_names=list(self.names),
            output_names=None if single else list(self.outputs),
        )

    def to_shapiq(self, *, row: int = 0, output: str | int | None = None) -> Any:
        """Return ``shapiq.InteractionValues`` of order 1 with the same numbers; needs the package shapiq.

        Args:
            row: position of the row, for a local explanation.
            output: name or position of the output; None: the first.

        Raises:
            InputError: there is no such row or output.
            EnvironmentProblem: shapiq is not installed.
        """
        try:
            from shapiq import InteractionValues
        except ImportError as error:
            raise EnvironmentProblem(
                "to_shapiq needs the package shapiq, however: it is not installed; pip install 'permgrad[peers]'"
            ) from error
        column = self.output_index(output)
        values, base = self.values, self.base_values
        if self.scope == "local":
            count = len(values)
            if not is_whole(row) or not -count <= row < count:
                raise InputError(
                    f"row must be a position from 0 to {count - 1}, however: row={shown(row)}; pass such a number"
                )
            values = values[row]
            base = base[row] if base is not None and base.ndim == 2 else base
        baseline = 0.0 if base is None else float(np.atleast_1d(base)[..., column].ravel()[0])
        players = len(self.names)
        return InteractionValues(
            np.concatenate([[baseline], np.asarray(values[:, column], dtype=np.float64)]),
            index="SV",
            max_order=1,
            min_order=0,
            n_players=players,
            interaction_lookup={(): 0, **{(player,): player + 1 for player in range(players)}},
            estimated=self.std is not None,
            baseline_value=baseline,
        )

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ``explanation.json`` and ``values.npz`` into ``folder``, in one step.

        A folder that exists is replaced only if ``overwrite`` is true and it holds an explanation.
        """
        target = check_path("folder", folder)
        check_flag("overwrite", overwrite)
        if os.path.lexists(target):
            is_ours = (target / "explanation.json").is_file()
            is_empty = target.is_dir() and not any(target.iterdir())
            if not (is_empty or (is_ours and overwrite)):
                fix = "pass overwrite=True" if is_ours else "choose another folder"
                raise InputError(f"save writes into a new folder, however: {target} exists; {fix}")
        arrays: dict[str, npt.NDArray[Any]] = {"values": self.values, **self._arrays_like_values()}
        arrays |= {f"maps/{name}": array for name, array in self.maps.items()}
        for name in ("base_values", "predictions"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        header = {name: getattr(self, name) for name in (*_PLAIN, *_NAMES)}
        header |= {"schema_version": SCHEMA_VERSION, "feature_values": None}
        if (frame := self.feature_values) is not None:
            cells = plain(frame.astype(object).where(frame.notna(), None).to_numpy())
            header["feature_values"] = {"columns": [str(name) for name in frame.columns], "data": cells}
        with (
            writing("an explanation must be written", target, "choose another folder"),
            atomic_path(target, folder=True) as temporary,
        ):
            write_npz(temporary / "values.npz", arrays)
            text = json_text(sealed(plain(header)), indent=1)
            (temporary / "explanation.json").write_text(text + "\n", encoding="utf-8")
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Explanation:
        """Read what ``save`` wrote. Nothing executes; a damaged file or a newer format is refused."""
        source = check_path("folder", folder)
        try:
            header = parse_json((source / "explanation.json").read_bytes())
            arrays = read_npz(source / "values.npz")
        except FileNotFoundError as error:
            raise InputError(
                f"an explanation's folder holds explanation.json and values.npz, however: {error.filename} is missing; "
                "name a folder that save() wrote"
            ) from error
        except (ValueError, OSError) as error:
            raise InputError(
                f"{source} must hold an explanation that permgrad saved, however: it is damaged ({error}); "
                "make it again"
            ) from error
        version = header.get("schema_version") if isinstance(header, dict) else None
        if not isinstance(version, int):
            raise InputError(
                f"{source}/explanation.json must state its schema_version, however: it does not; make it again"
            )
        if version > SCHEMA_VERSION:
            raise InputError(
                f"this permgrad reads explanations up to format {SCHEMA_VERSION}, however: {source} has format "
                f"{version}; install a newer permgrad"
            )
        try:
            explanation = cls(**_fields_from_file(header, arrays))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{source} must hold a whole explanation, however: {error} is missing or wrong; make it again"
            ) from error
        if not is_intact(header):
            raise InputError(
                f"{source}/explanation.json must be as it was written, however: its seal differs, so it is damaged or "
                "was changed; make it again"
            )
        return explanation


def _without_common_unit(what: str) -> InputError:
    return InputError(
        f"{what} values of one unit, however: each modality was explained by a method of its own; look at "
        'explanation.plot.features(), or compare parts["share"]'
    )


#: Fields that the file holds as they are.
_PLAIN = ("method", "scope", "level", "additive", "groups", "branches", "direction", "meta")
_NAMES = ("names", "modality", "outputs")
#: What a stored explanation's parts may be; None where it says so.
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("method", "scope", "level"), (str,)),
    "additive": (bool,),
    **dict.fromkeys(_NAMES, (list,)),
    **dict.fromkeys(("groups", "branches", "direction", "feature_values"), (dict, type(None))),
    "meta": (dict,),
}


def _are_weights(weights: Any) -> bool:
    """Whether stored weights are None, or numbers that can weigh rows."""
    if weights is None:
        return True
    return any(weights) and all(map(is_number, weights)) and bool(are_weights(np.array(weights)).all())


def _check_stored(header: Mapping[str, Any], count: int) -> None:
    """Refuse a file whose parts are of other types or sizes: it would only fail later, where nobody sees why."""
    wrong = []
    for name, types in _TYPES.items():
        value = header.get(name) if name == "feature_values" else header[name]
        if not isinstance(value, types):
            wrong.append(f"{name} (a {type(value).__name__})")
        elif name in _NAMES and not all(isinstance(item, str) for item in header[name]):
            wrong.append(f"{name} (not all text)")
    if wrong:
        raise TypeError(wrong[0])
    players, meta, frame = len(header["names"]), header["meta"], header.get("feature_values")
    weights, confidence = meta.get("sample_weight"), meta.get("confidence", 0.95)
    faults = {
        f"scope ({header['scope']!r})": header["scope"] not in ("global", "local"),
        f"modality (of {len(header['modality'])} for {players} names)": len(header["modality"]) != players,
        f"meta (a confidence of {confidence!r})": not (is_number(confidence) and 0 < confidence < 1),
        "feature_values (rows of other lengths)": frame is not None
        and any(len(row) != len(frame["columns"]) for row in frame["data"]),
        "meta (a sample_weight that is no weight)": not _are_weights(weights),
    }
    for name in OF_ROWS if header["scope"] == "local" else ():
        rows = meta.get(name) or ()
        faults[f"meta ({name}: {len(rows)} for {count} rows of values)"] = (
            meta.get(name) is not None and len(rows) != count
        )
        faults[f"meta ({name} that are no numbers)"] = any(isinstance(row, (list, dict)) for row in rows)
    if any(faults.values()):
        raise TypeError(next(what for what, holds in faults.items() if holds))


def _fields_from_file(header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    for name, array in arrays.items():
        if not name.startswith("maps/") and array.dtype.kind not in "fiu":
            raise TypeError(f"{name} (of {array.dtype})")
    _check_stored(header, len(arrays["values"]))
    frame = header.get("feature_values")
    if frame is not None:
        frame = pd.DataFrame(frame["data"], columns=frame["columns"], dtype=object).infer_objects()
    fields = {name: header[name] for name in _PLAIN} | {name: tuple(header[name]) for name in _NAMES}
    for name in ("std", "low", "high", "p_values", "base_values", "predictions"):
        fields[name] = arrays.get(name)
    for group in ("parts/", "part_std/", "maps/"):
        stored = {name: array for name, array in arrays.items() if name.startswith(group)}
        fields[group[:-1]] = {name.removeprefix(group): array for name, array in stored.items()}
    return fields | {"values": arrays["values"], "feature_values": frame}


def frame_numbers(explanation: Explanation) -> dict[str, Floats]:
    """Return the tidy frame's columns of numbers."""
    low, high = explanation.ci()
    numbers = {"importance": explanation.values, "std": explanation.std, "ci_low": low, "ci_high": high}
    numbers |= {"p_value": explanation.p_values, "p_adjusted": explanation.p_adjusted, **explanation.parts}
    missing = np.full(explanation.values.shape, np.nan)
    return {title: (missing if array is None else array).ravel() for title, array in numbers.items()}


def positive_output(explanation: Explanation) -> int:
    """Return which of two outputs is that of the positive class; the second of an explanation that does not know."""
    named = explanation.meta.get("positive")
    return explanation.outputs.index(named) if named in explanation.outputs else 1


def file_frame(explanation: Explanation) -> pd.DataFrame:
    """Return the tidy frame as ``importance.csv`` has it: (row by row,) class by class, by falling importance."""
    frame = explanation.to_frame()
    keys = [-frame["importance"].to_numpy(), pd.factorize(frame["class"])[0]]  # what is undefined comes last
    if "row" in frame:
        keys.append(pd.factorize(frame["row"])[0])
    return frame.iloc[np.lexsort(keys)].reset_index(drop=True)
