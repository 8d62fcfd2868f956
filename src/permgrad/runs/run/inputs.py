"""From the options of ``permgrad run`` to checked tables: features, target and the split of the rows.

All input is checked here, before the run's folder is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.rows import Rows
from permgrad.base.dependence import Dependence
from permgrad.base.errors import (
    Fault,
    InputError,
    by_count,
    counted,
    did_you_mean,
    listed,
    option_of,
    refusing,
    two_sentences,
)
from permgrad.data.encode.encoding import TableEncoder, align_columns
from permgrad.data.encode.groups import check_groups, read_groups
from permgrad.data.encode.scores import Target
from permgrad.data.image_table import check_image_cells, pages_said
from permgrad.data.read.cells import Distinct, MissingCodes
from permgrad.data.read.image_cells import source_of
from permgrad.data.read.table import blank_codes
from permgrad.data.read.written_numbers import unit_said
from permgrad.data.splitting import dependence_of
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.column_types import Kind, Schema, infer_schema
from permgrad.data.types.findings import fused_columns
from permgrad.data.types.odd_cells import odd_cells_words, without_odd_cells
from permgrad.data.weights import read_exposures, read_weights
from permgrad.pages.facts import together_facts
from permgrad.pages.findings import say
from permgrad.pages.target_facts import target_sign_facts
from permgrad.runs.options import NO_GROUPS, table_name
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.noting import (
    cell_facts,
    find_target_signs,
    find_together,
    notes_on_blocks,
    notes_on_cells,
    notes_on_codes,
    notes_on_columns,
    notes_on_counts,
    notes_on_roles,
)
from permgrad.runs.run.splitting import (
    SplitTable,
    Task,
    positive_label,
    shared_rows,
    split_table,
)
from permgrad.runs.run.table import READ, LeftOut, ReadTable, read_table

if TYPE_CHECKING:
    from permgrad.data.datasets import DataCard

#: Presets of published networks, which read columns as was published.
_PUBLISHED = ("paper", "ig_example")


@dataclass(frozen=True)
class Inputs:
    """Everything that the stages of a run need from the table.

    ``schema`` has all columns but the target, typed by the training rows, ``feature_types`` only the features.
    ``left_out`` gives the reason why a column is not a feature, ``groups`` the columns that act as one feature.
    ``shared_rows`` counts test rows equal to a training row in every column of the file, ``blank_rows`` those of them
    without a value in any feature, and ``alike_rows`` those equal in every feature and the target. With
    ``shared_expected``, the first are no more than the columns' own frequencies explain. Tables to predict on are read
    by the same ``decimal``, ``units`` and ``texts``. ``positive``: the positive class of two. ``images`` is what the
    configuration holds of the images, ``together`` the facts on what may say that rows belong together. ``counts``: the
    target is counts or rates. ``cells``: what the page says of how cells were read. ``labels``: what the file says
    that columns hold.
    """

    name: str
    target: str
    task: Task
    task_reason: str
    parts: dict[str, Rows]
    schema: Schema
    feature_types: Schema
    left_out: dict[str, LeftOut]
    groups: dict[str, list[str]]
    na: tuple[Any, ...]
    split: str
    shared_rows: int
    blank_rows: int
    alike_rows: int
    shared_expected: bool
    notes: list[str]
    card: DataCard | None
    decimal: str | None
    units: dict[str, str]
    texts: list[str]
    kinds: dict[str, Kind]
    positive: Any
    images: dict[str, Any]
    counts: bool = False
    together: Mapping[str, Any] | None = None
    cells: list[dict[str, Any]] = field(default_factory=list)
    pairs: dict[str, Any] = field(default_factory=dict)
    target_signs: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def encoder_options(self) -> dict[str, Any]:
        """The options of columns for a table encoder, or for an estimator that makes one."""
        codes = list(self.na) or None
        return {"na": codes, "groups": self.groups, "kinds": self.kinds or None}

    @cached_property
    def learned(self) -> npt.NDArray[np.bool_]:
        """``(validation rows,)``: whether the training rows hold the class of the row (regression: always)."""
        y = self.parts["validation"].y
        return (
            np.ones(len(y), dtype=bool)
            if self.task == "regression"
            else np.isin(y, self.parts["train"].y)
        )

    @property
    def class_counts(self) -> dict[str, dict[str, int]] | None:
        """How many rows of each part have each class. None for regression."""
        if self.task == "regression":
            return None
        labels = np.unique(
            np.concatenate([rows.y for rows in self.parts.values()])
        ).tolist()
        return {
            str(one): {
                part: int((rows.y == one).sum()) for part, rows in self.parts.items()
            }
            for one in labels
        }

    @property
    def described(self) -> tuple[str, list[dict[str, Any]]]:
        """The columns for the terminal, which says why the user left one out, and for the report, with their roles.

        For numbers with units, the reason names the unit.
        """
        roles = {
            column: f"part of {name}"
            for name, members in self.groups.items()
            for column in members
        }
        roles |= {name: str(why) for name, why in self.left_out.items()}
        reasons, lines = dict[str, str](), []
        for one in self.schema:
            has_unit = (
                one.name in self.units
                and one.kind == "numeric"
                and "fused" not in one.flags
            )
            reasons[one.name] = (
                unit_said(self.units[one.name]) if has_unit else one.reason
            )
            if one.name in self.labels:
                reasons[one.name] += f"; its label: {self.labels[one.name]}"
            facts = {
                "name": one.name,
                "kind": one.kind,
                "missing": one.n_missing,
                "levels": one.n_levels,
            }
            role = {
                "role": roles.get(one.name, "feature"),
                "used": one.name not in self.left_out,
            }
            lines.append({**facts, **role, "reason": reasons[one.name]})
        own = LeftOut.LIKE_AN_IDENTIFIER
        reasons |= {
            name: str(why) for name, why in self.left_out.items() if why is not own
        }
        return self.schema.to_text(40, reasons), lines


# ---- loading ---------------------------------------------------------------------------------------------------------
def load_inputs(request: RunRequest, *, undivided: bool = False) -> Inputs:
    """Read and check all tables of a run, and split the rows. Raises ``InputError`` for input that cannot be used.

    ``permgrad compare`` splits the rows itself. With ``undivided``, all rows are training rows.
    """
    read = read_table(request)
    rows = split_table(request, read, undivided=undivided)
    stated = read.card.positive if read.card is not None and read.is_of_card else None
    # Another split of the same table has the same positive class.
    labels = np.concatenate(
        [y for part, y in rows.truths.items() if len(y) and part not in rows.files]
    )
    labels = labels[np.isin(labels, rows.truths["train"])]
    positive = positive_label(labels, rows.task, request.positive, stated)
    columns, rows = decide_columns(request, read, rows, undivided=undivided)
    features, codes, notes = (
        columns.features,
        read.reading.codes,
        [*read.notes, *rows.notes, *columns.notes],
    )
    # Columns that were read one by one lie apart, and taking rows of thousands of those is slow. Copies lie together.
    tables = {part: table[features.names].copy() for part, table in rows.tables.items()}
    photos = features.of_kind("image")
    images, found = check_images(photos, tables, codes) if photos else ({}, [])
    counts, shared = shared_rows(request, rows, [*features.names, read.target], codes)
    dependence = dependence_of(rows.tables, request.row_group, request.time)
    parts = {
        part: _part(request, rows, part, table, dependence.get(part))
        for part, table in tables.items()
    }
    notes += [*found, *shared]
    if without := sum(map(len, tables.values())) - sum(map(len, parts.values())):
        notes.append(
            f"{counted(without, 'row')} of weight 0 {by_count(without, 'is', 'are')} left out"
        )
    _check_dependence(request, rows, dependence)
    written, categories = (
        read.written,
        [name for name, kind in columns.kinds.items() if kind == "categorical"],
    )
    return Inputs(
        name=table_name(request.table),
        target=read.target,
        task=rows.task,
        task_reason=rows.reason,
        parts=parts,
        schema=columns.schema,
        feature_types=features,
        left_out=dict(columns.left_out),
        groups=dict(columns.groups),
        na=read.codes,
        split=rows.split,
        **counts,
        notes=notes,
        card=read.card,
        decimal=written.decimal,
        units=dict(written.units),
        texts=list(dict.fromkeys([*written.texts, *categories])),
        kinds={
            name: kind for name, kind in columns.kinds.items() if name in features.names
        },
        positive=positive,
        images=images,
        counts=read.task == "counts",
        together=columns.together,
        cells=columns.cells,
        pairs=dict(written.pairs),
        target_signs=columns.target_signs,
        labels=dict(written.labels),
    )


def _check_dependence(
    request: RunRequest, rows: SplitTable, dependence: Mapping[str, Dependence]
) -> None:
    """Refuse test rows of one group, and too few rows, groups or times for refits, which divide the others anew."""
    if (
        request.row_group is not None
        and "test" in dependence
        and dependence["test"].count < 2
    ):
        problem = (
            f"The test rows have one value of {request.row_group!r} (--row-group), and an explanation compares rows of "
            "several"
        )
        hint = "Choose a column with at least 4 values, or leave --row-group out."
        raise InputError(problem, hint=hint, code="PG018")
    if request.refits is None:
        return
    from permgrad.attribution.explain_refits import check_enough  # loads torch

    known = [dependence[part] for part in ("train", "validation") if part in dependence]
    refitted = np.concatenate([rows.truths[part] for part in ("train", "validation")])
    units = (
        np.concatenate([one.codes for one in known])
        if known
        else np.arange(len(refitted))
    )
    what = "rows" if not known else "times" if known[0].timed else "groups"
    classes = refitted if rows.task == "classification" else None
    check_enough(request.refits, len(np.unique(units)), classes, what)


def _part(
    request: RunRequest,
    rows: SplitTable,
    part: str,
    table: pd.DataFrame,
    dependence: Dependence | None,
) -> Rows:
    """Return the rows of a part, of whose columns the features are read as a ``table``."""
    columns, judged, weights = (
        rows.tables[part],
        list(dict.fromkeys(request.sensitive)),
        None,
    )
    if request.weight is not None:
        with rows.lines[part].named():
            weights = pd.Series(
                read_weights(columns[request.weight]),
                columns.index,
                name=request.weight,
            )
        if not weights.any():
            problem = f"Column {request.weight!r} (weight) is above 0 in none of the {part} rows"
            raise InputError(
                problem, hint="Correct it, or leave --weight out.", code="PG020"
            )
    y = rows.truths[part]
    if request.offset is not None:
        # The likelihood of counts with an offset is that of their rates, weighted by the exposures.
        with rows.lines[part].named():
            exposure = read_exposures(columns[request.offset])
        y, name = y / exposure, f"exp({request.offset})"
        name = name if request.weight is None else f"{request.weight} × {name}"
        weights = pd.Series(
            exposure * (1.0 if weights is None else weights.to_numpy()),
            columns.index,
            name=name,
        )
    chosen = Rows(
        inputs=table,
        y=y,
        numbers=columns.index.to_numpy(dtype=np.int64),
        table=table,
        identifiers=columns.filter(items=request.identifier),
        dependence=dependence,
        sensitive=columns[judged] if judged and part == "test" else None,
        weights=weights,
    )
    return chosen if weights is None else chosen.take(np.flatnonzero(weights))


# ---- columns ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Columns:
    """What each column is: ``schema`` types all but the target, ``features`` those that are learned from.

    ``left_out``: why others are not. ``kinds``: declared ones, and those that the target shows. ``groups``: columns
    that act as one feature. ``together``: facts on what may say that rows belong together.
    ``target_signs``: what is odd about a target of numbers.
    """

    schema: Schema
    features: Schema
    left_out: Mapping[str, LeftOut]
    kinds: Mapping[str, Kind]
    groups: Mapping[str, list[str]]
    notes: tuple[str, ...]
    together: Mapping[str, Any] | None
    cells: list[dict[str, Any]] = field(default_factory=list)
    target_signs: tuple[Mapping[str, Any], ...] = ()


def decide_columns(
    request: RunRequest, read: ReadTable, rows: SplitTable, *, undivided: bool = False
) -> tuple[Columns, SplitTable]:
    """Third step of a run: decide each column by the training rows. Return the parts with the needed columns, too."""
    target, written, codes, card, train = (
        read.target,
        read.written,
        read.codes,
        read.card,
        rows.tables["train"],
    )
    kinds, left_out, notes = dict(read.kinds), dict(read.left_out), list[str]()
    with written.lines.named():
        if request.time is not None and _what_returns(
            request, rows, codes, left_out, notes
        ):
            kinds[str(request.time)] = "calendar"
        columns = train.drop(columns=target)
        # What is left out may hold infinite values.
        declared = MissingCodes.of(codes)
        coded = {str(name): declared.holds_for(str(name)) for name in columns}
        for name in left_out:
            if name in coded:
                coded[name] = (*coded[name], "inf", "-inf")
        asked = (
            None if undivided else _asked_target(request, rows)
        )  # else rows that will test are asked
        na: Any = coded if left_out else codes
        schema = (
            infer_schema(columns, na=na, kinds=kinds, target=asked)
            if coded
            else Schema(())
        )
    if asked is not None:  # what is trained again on other rows reads them alike
        kinds |= {one.name: one.kind for one in schema if "names" in one.flags}
    notes += _words_of_groups(request, schema, left_out)
    left_out |= {
        name: LeftOut.LIKE_AN_IDENTIFIER
        for name in schema.of_kind("identifier")
        if name not in left_out
    }
    features = [name for name in schema.names if name not in left_out]
    _check_features(schema, features, left_out, target)
    types = Schema(tuple(schema[name] for name in features))
    rows, odd_cells = _match(request, rows, types, target, read.reading.codes)
    notes += odd_cells
    groups, found = _groups(request, card, features, train)
    together = find_together(request, read, rows, types, left_out)
    notes += notes_on_cells(request, target, rows, written, codes)
    notes += notes_on_columns(request, card, written, schema, left_out, together)
    notes += notes_on_roles(request, rows.tables["train"], types, codes, together)
    notes += notes_on_codes(blank_codes(train[features], codes), types, kinds)
    notes += notes_on_blocks(train[features], types, groups, found)
    notes += notes_on_counts(replace(request, task=read.task), target, rows)
    if together is not None:
        fix = f" If so, pass {option_of('--row-group', together['columns'][0])}" * (
            len(together["columns"]) == 1
        )
        notes.append(f"{say('together', together_facts(together))}{fix}")
    cells = cell_facts(read, types)
    signs = find_target_signs(rows, read.task)
    notes += [say("target", target_sign_facts(sign, target)) for sign in signs]
    columns_decided = Columns(
        schema, types, left_out, kinds, groups, tuple(notes), together, cells, signs
    )
    return columns_decided, rows


def _asked_target(request: RunRequest, rows: SplitTable) -> tuple[Any, int] | None:
    """Return the target that may show numbers to be names. None: a published network reads columns as was published."""
    if request.network in _PUBLISHED:
        return None
    labels = Target.of(rows.truths["train"], rows.task, request.seed)
    return labels.y, labels.classes


def _what_returns(
    request: RunRequest,
    rows: SplitTable,
    codes: Sequence[Any],
    left_out: dict[str, LeftOut],
    notes: list[str],
) -> bool:
    """Note what of the time of the rows returns, such as the weekday, and return whether that is a feature."""
    time, train = str(request.time), rows.tables["train"]
    is_anywhere = all(time in table.columns for table in rows.files.values())
    if left_out.get(time) is not LeftOut.TIME or not is_anywhere:
        return False
    later = "the test rows are later than those of training"
    column = infer_schema(train[[time]], na=codes)[time]
    encoder = TableEncoder(kinds={time: "calendar"}, na=codes)
    parts = (
        ()
        if column.storage != "date"
        else encoder.fit(train[[time]]).parts_of(time)[1:]
    )
    if not parts:
        why = (
            "nothing of it returns among them"
            if column.storage == "date"
            else "it is no date"
        )
        notes.append(
            f"{time!r} orders the rows. It is not a feature, because {later} and {why}."
        )
        return False
    del left_out[time]
    notes.append(
        f"{time!r} orders the rows. What returns of it is a feature: {listed(parts, 9)}. Left out is the year, and in "
        f"time later rows count as the latest training row, because {later}. To leave out all of it, pass "
        f"{option_of('--drop', time)}"
    )
    return True


def _words_of_groups(
    request: RunRequest, schema: Schema, left_out: dict[str, LeftOut]
) -> list[str]:
    """Keep a column of groups as a feature where it holds free text or images. Return the note that says so."""
    group = request.row_group
    if (
        group is None
        or left_out.get(group) is not LeftOut.ROW_GROUP
        or group in request.drop
        or schema[group].kind not in READ
    ):
        return []
    del left_out[group]
    is_what, content = READ[schema[group].kind]
    fact = f"{group!r} divides the rows and {is_what}: its {content} are a feature, which group it names is not"
    return [
        two_sentences(
            fact,
            f"Pass {option_of('--drop', group)} as well to leave its {content} out.",
        )
    ]


@refusing
def _check_features(
    schema: Schema,
    features: Sequence[str],
    left_out: Mapping[str, LeftOut],
    target: str,
) -> Iterator[Fault]:
    if not features:
        reasons = "; ".join(
            f"{name!r} is {why}" for name, why in list(left_out.items())[:3]
        )
        problem = f"No column is left to predict {target!r} from{f' ({reasons})' if reasons else ''}"
        yield (
            problem,
            f"Add columns{', or leave fewer out' if reasons else ''}.",
            "PG015",
        )
    if all(schema[name].kind == "constant" for name in features):
        fused = fused_columns(schema, left_out)
        why = f" as float64: {listed(list(fused.values()))}" if fused else ""
        fix = (
            f"Pass {option_of('--kind', next(iter(fused)))}=categorical, or add columns."
            if fused
            else "Add columns, or check --na."
        )
        problem = (
            f"No feature varies: {listed(features, show=repr)} "
            f"{by_count(len(features), 'has one value', 'have one value each')} in the training rows{why}"
        )
        yield problem, fix, "PG015"


def _match(
    request: RunRequest,
    rows: SplitTable,
    columns: Schema,
    target: str,
    codes: MissingCodes,
) -> tuple[SplitTable, list[str]]:
    """Return the rows with those of their columns that are needed, and notes on cells.

    Files that lack a column are refused. Cells that the columns' types cannot read are
    missing.
    """
    needed = [
        *columns.names,
        target,
        *(name for name in (request.weight, request.offset) if name is not None),
    ]
    optional = [
        *request.identifier,
        *(name for name in (request.row_group, request.time) if name is not None),
    ]
    trained, files = set(rows.tables["train"].columns), dict[str, pd.DataFrame]()
    for part, table in rows.files.items():
        wanted = [
            *needed,
            *(
                name
                for name in optional
                if name in table.columns and name not in needed
            ),
        ]
        # Only test rows are judged by them.
        judged = (
            request.sensitive
            if part == "test"
            else [name for name in request.sensitive if name in table.columns]
        )
        wanted = list(dict.fromkeys([*wanted, *judged]))
        silent = [
            name for name in table.columns if name in trained and name not in wanted
        ]
        files[part] = align_columns(table.drop(columns=silent), wanted)
    rows = replace(rows, files=files, tables={**rows.tables, **files})
    tables, places = dict(rows.tables), list[InputError]()
    for part in rows.tables:
        lines = rows.lines[part]
        with lines.named():
            tables[part], odd = without_odd_cells(rows.tables[part], columns, codes)
        places += [lines.placed(error) for error in odd]
    notes = [odd_cells_words(places)] if places else []
    return replace(rows, tables=tables), notes


def _groups(
    request: RunRequest,
    card: DataCard | None,
    features: Sequence[str],
    train: pd.DataFrame,
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the columns that act as one feature, and those of them that nobody declared."""
    if str(request.groups) == NO_GROUPS:
        return {}, {}
    if request.groups is None:
        members = {} if card is None else card.groups
        present = {
            name: [column for column in names if column in features]
            for name, names in members.items()
        }
        declared = {name: names for name, names in present.items() if names}
        found = columns_as_one(
            train[list(features)],
            {column for names in declared.values() for column in names},
        )
        return declared | found, found
    groups = read_groups(request.groups)
    for name, names in groups.items():
        for column in names:
            if column not in features:
                hint = did_you_mean(column, features, f"Correct {request.groups}.")
                raise InputError(
                    f"Group {name!r} lists {column!r}, which is not a feature",
                    hint=hint,
                    code="PG039",
                )
    try:
        check_groups(groups, list(features))
    except InputError as error:
        raise InputError(
            f"{error.message.rstrip('.')} (in {request.groups})", code=error.code
        ) from None
    return groups, {}


def check_images(
    columns: Sequence[str], parts: Mapping[str, pd.DataFrame], codes: MissingCodes
) -> tuple[dict[str, Any], list[str]]:
    """Return what the configuration of a run holds of its images: the columns, and a hash of all contents.

    Refuses images that cannot be read. Notes files of several pages, and test rows that show the same image as a
    training row.
    """
    digest, notes = hashlib.sha256(), list[str]()
    for name in columns:
        cells = {
            part: Distinct.of(blank_codes(table[[name]], codes)[name], name)
            for part, table in parts.items()
        }
        every = list(
            dict.fromkeys(text for one in cells.values() for text in one.texts)
        )
        check_image_cells(name, every)
        sources = {text: source_of(text) for text in every}
        for text, source in sources.items():
            content = (
                source.read_bytes() if isinstance(source, Path) else text.encode()
            )  # which hashes the pixels
            digest.update(hashlib.sha256(content).digest())
        notes += pages_said(
            name, [source for source in sources.values() if isinstance(source, Path)]
        )
        # A part may have a file, and a folder, of its own.
        places = {
            text: str(one.absolute()) if isinstance(one, Path) else text
            for text, one in sources.items()
        }
        shown = {
            part: [places[text] for text in one.texts] for part, one in cells.items()
        }
        index = cells["test"].index
        both = [image in set(shown["train"]) for image in shown["test"]]
        if count := sum(both[at] for at in index.tolist() if at >= 0):
            notes.append(
                f"{count:,} of {len(index):,} test rows show the same image of column {name!r} as a training row, so "
                "figures on the test rows are too good. Keep equal images together with "
                f"{option_of('--row-group', name)}"
            )
    return {"images": list(columns), "image content": digest.hexdigest()}, notes
