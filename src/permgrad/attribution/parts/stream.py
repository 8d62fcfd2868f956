"""``pg.explain_stream``: explain a model on Parquet files, with memory that does not
grow with rows.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from permgrad.attribution.explain import answer, explain_some
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation_frames import file_frame
from permgrad.attribution.model import Model, as_model
from permgrad.attribution.parts.engines import (
    Engine,
    LocalEngine,
    make_engine,
    settle_model,
)
from permgrad.attribution.parts.engines.frames_in_parts import explain_on
from permgrad.attribution.parts.folder import (
    EXPLAINED,
    EXPLANATION,
    IMPORTANCE,
    LOCAL,
    PARTS,
    lines_in,
    part_name,
    refuse_inside,
    writable,
)
from permgrad.attribution.parts.part import Merged, PartResult, explain_part, merge
from permgrad.attribution.parts.plan import StreamPlan, make_plan, method_in_parts
from permgrad.attribution.parts.sums import pack, unpack
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.subject.scales import ScaleName
from permgrad.base.checks import check_flag, check_path
from permgrad.base.csv_files import Formulas, write_csv
from permgrad.base.csv_files import csv_formulas as formulas_in_csv
from permgrad.base.errors import InputError, error_in_words, turned
from permgrad.base.files import sweep
from permgrad.base.folders import DAMAGE, changed_files, sums_of
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import Progress, ProgressMode, with_fewer_rows
from permgrad.base.stored import parse_json, read_npz, write_npz
from permgrad.data.partitions import Part, PartitionedTable, open_partitioned
from permgrad.data.read.cells import CodesArgument
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.models.save.saving import load


@with_near_names
def explain_stream(
    model: Any,
    source: Any,
    y: Any = None,
    *,
    out: str | os.PathLike[str] | None = None,
    engine: Engine | Literal["ray"] | None = None,
    rows_per_part: int | Literal["auto"] = "auto",
    method: Any = "permgrad",
    target: Any = None,
    scope: Literal["auto", "global", "local"] = "auto",
    scale: ScaleName = "auto",
    groups: Mapping[str, Iterable[str]] | Literal["modality"] | None = None,
    background: Any = None,
    loss: str | tuple[str, float] = "auto",
    scoring: Any = None,
    sample_weight: Any = None,
    row_groups: Any = None,
    row_time: Any = None,
    max_rows: int | None = None,
    n_repeats: int | Literal["auto"] = "auto",
    confidence: float = 0.95,
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Explanation:
    """Explain a model on a table that need not fit in memory, or with several workers.

    Parquet files are cut into parts. A global explanation merges sums over the parts,
    and is equal up to rounding to ``pg.explain`` of the complete table with the same
    ``background=`` and seed. Donors come from the background, never from the rows
    explained. A local explanation writes the rows of each part to
    ``out/local/part-00012.parquet`` and returns the summary of
    ``to_global("mean_abs")``. If the process stops, the same call computes only the
    parts that are not finished. A table in memory is explained as by ``pg.explain``, in
    parts on the engine's workers.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``, the folder of a saved
            one, any predictor of tables, or a ``pg.Model`` of one.
        source: a Parquet file, a folder of Parquet files, the result of
            ``open_partitioned``, or a table in memory.
        y: the targets: of files the name of their column. With them, global games
            measure the loss. Without, they measure the divergence from the model's own
            prediction.
        out: folder for finished parts and the result, required for local explanations
            of files. None: a temporary one.
        engine: None for this process, ``"ray"`` for workers on this machine or on a
            cluster, or a ``pg.RayEngine`` (docs/large-tables.md).
        rows_per_part: rows in each part of files, about. ``"auto"``: as the files have
            them.
        method: one of permgrad's methods. Global: ``permgrad``, ``permutation``,
            ``ablation``. Local: any local method.
        target: as for ``pg.explain``, like the next arguments.
        scope: ``"global"`` or ``"local"``.
        scale: on which outputs are explained.
        groups: columns that act as one.
        background: rows that donors or baselines are drawn from, in memory.
        loss: loss computed for each row.
        scoring: scorers, for a table in memory in this process.
        sample_weight: of files the name of the column.
        row_groups: which rows depend on each other, for a table in memory.
        row_time: the time of each row, for a table in memory.
        n_repeats: donors per row and feature, ``"auto"`` as in ``pg.explain``.
        confidence: confidence level of the intervals.
        random_state: seed.
        max_rows: explain at most so many rows, which depend only on the seed and their
            numbers. None: all.
        progress: show a bar on stderr.

    Returns:
        The explanation of the complete table.

    Raises:
        InputError: an argument or a cell cannot be used. Arguments are checked before
            the work begins.
        EnvironmentProblem: a file cannot be read or written.

    Examples:
        >>> import tempfile, numpy as np, pandas as pd, permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> rows = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=3, random_state=0).fit(
        ...     rows, rows["b"]
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part in range(3):
        ...         piece = rows.iloc[part * 100 : part * 100 + 100]
        ...         piece.assign(y=piece["b"]).to_parquet(f"{folder}/{part}.parquet")
        ...     pg.explain_stream(model, folder, "y", n_repeats=2).ranking()[0]
        'b'
    """
    call_arguments = dict(locals())
    further = {}
    for argument_name in ("model", "source", "out", "engine", "rows_per_part"):
        further[argument_name] = call_arguments.pop(argument_name)
    arguments = Arguments(model=None, X=None, **call_arguments)
    stream_engine = make_engine("local" if engine is None else engine)
    # What is no number is refused in the call, whatever it is.
    per_part: Any
    if isinstance(rows_per_part, str) and rows_per_part == "auto":
        per_part = None
    else:
        per_part = rows_per_part
    if isinstance(source, (str, os.PathLike, PartitionedTable)):
        return stream(
            further["model"],
            source,
            arguments,
            out=out,
            engine=stream_engine,
            rows_per_part=per_part,
        )
    arguments = replace(arguments, model=as_model(model), X=source)
    if out is not None or per_part is not None:
        problem = (
            f"{'out=' if out is not None else 'rows_per_part='} is for tables in "
            "files, and source is in memory"
        )
        raise InputError(
            problem, hint="Leave it out, and save the result.", code="PG006"
        )
    return explain_by(stream_engine, arguments)


def explain_by(engine: Engine, arguments: Arguments) -> Explanation:
    """Explain rows in memory here, or in parts on an engine's workers.

    Args:
        engine: Runs the parts. With a local one the rows are not cut.
        arguments: The user's.
    """
    if isinstance(engine, LocalEngine):
        return answer(arguments)
    selected_method, method_name = method_in_parts(arguments, "engine")
    if arguments.max_rows is not None:
        return explain_some(arguments, partial(explain_by, engine))
    with sparing(), full_float32():
        request = build_request(
            arguments, selected_method, method_name, caller_name="engine"
        )
        return explain_on(engine, request, selected_method)


def _check_out(
    out: str | os.PathLike[str] | None, plan: StreamPlan, table: PartitionedTable
) -> None:
    """Refuse single rows without a folder, and a folder inside the table's."""
    if out is None and plan.is_local:
        problem = (
            f"method={plan.method!r} explains single rows, "
            "which are written to files, and out is missing"
        )
        raise InputError(problem, hint="Pass out='a folder'", code="PG005")
    if out is not None and table.path:
        refuse_inside(check_path("out", out), table.path)


def stream(
    model: Any,
    table: str | os.PathLike[str] | PartitionedTable,
    arguments: Arguments,
    *,
    out: str | os.PathLike[str] | None,
    engine: Engine,
    rows_per_part: int | None = None,
    overwrite: bool = False,
    csv_formulas: Formulas | None = None,
    na: CodesArgument = (),
    model_folder: str | None = None,
) -> Explanation:
    """Explain a model on files, as ``explain_stream`` and the command do.

    Args:
        model: The user's.
        table: The rows: a Parquet file or folder, or one that is open.
        arguments: Of the call, with names of columns.
        out: The folder to write. None: none.
        engine: Runs the parts.
        rows_per_part: None: by the memory that a part takes.
        overwrite: Whether another explanation in ``out`` is replaced.
        csv_formulas: How ``importance.csv`` writes names that a spreadsheet would read
            as formulas: ``"quote"`` (the default) puts a single quote before them,
            ``"keep"`` leaves them unchanged.
        na: Values of ``y`` that mean missing.
        model_folder: Where a loaded model is saved, so that workers need not be sent
            it.
    """
    if isinstance(model, (str, os.PathLike)):
        model_folder = os.fspath(Path(model).absolute())
        model = load(model_folder)
    described_model = as_model(model)
    progress = arguments.progress
    check_flag("overwrite", overwrite)
    if not isinstance(table, PartitionedTable):
        table = open_partitioned(table, rows_per_part=rows_per_part)
    stream_plan = make_plan(described_model, table, arguments, na=na)
    stream_plan = replace(stream_plan, model_folder=model_folder)
    _check_out(out, stream_plan, table)
    with ExitStack() as stack:
        stack.enter_context(formulas_in_csv(csv_formulas))
        output_path = Path(
            out
            if out is not None
            else stack.enter_context(tempfile.TemporaryDirectory(prefix="permgrad-"))
        )
        folder = StreamFolder(output_path.absolute(), stream_plan)
        record = stack.enter_context(
            EXPLAINED.work(folder.folder, stream_plan.facts(), overwrite=overwrite)
        )
        stack.enter_context(sparing())
        if record is not None and folder.is_finished(record):
            return Explanation.load(folder.folder)
        with writable(folder.folder):
            for folder_name in (PARTS, *([LOCAL] if stream_plan.is_local else [])):
                (folder.folder / folder_name).mkdir(parents=True, exist_ok=True)
        explanation = _explained(engine, folder, table, described_model, progress)
        explanation = replace(
            explanation, meta={**explanation.meta, "engine": engine.facts}
        )
        folder.finish(explanation)
        return explanation


def _explained(
    engine: Engine,
    folder: StreamFolder,
    table: PartitionedTable,
    model: Model,
    progress: Any,
) -> Explanation:
    """Explain all parts, and those features again by more donors for which it pays."""
    _explain_parts(engine, folder, table, model, progress)
    with folder.fitting():
        merged = folder.merged(table.parts)
        goals = merged.goals(folder.plan)
    while goals:
        further = replace(
            folder, plan=replace(folder.plan, goals=goals), round=folder.round + 1
        )
        _explain_parts(engine, further, table, model, progress)
        with folder.fitting():
            merged = merged.refined(further.merged(table.parts))
            folder, goals = (
                replace(folder, round=further.round),
                merged.goals(folder.plan),
            )
    with folder.fitting():
        return merge(folder.plan, merged)


def _explain_parts(
    engine: Engine,
    folder: StreamFolder,
    table: PartitionedTable,
    model: Model,
    progress: Any,
) -> None:
    """Explain the parts whose sums are not in the folder, and store them there."""
    remaining_parts = []
    for table_part in table.parts:
        if not folder.has(table_part):
            remaining_parts.append(table_part)
    with Progress(
        sum(table_part.rows for table_part in remaining_parts),
        folder.plan.method,
        progress,
    ) as progress_bar:
        progress_bar.quicker = with_fewer_rows(
            sum(table_part.rows for table_part in remaining_parts)
        )
        lengths = {table_part.number: table_part.rows for table_part in remaining_parts}
        for result in engine.run(
            remaining_parts, Work(folder.plan, table, folder.local, model)
        ):
            folder.accept(result)
            progress_bar.advance(lengths[result.number])


class Work:
    """Explains one part after the other.

    An engine sends it to its workers, without the model if that is saved.
    """

    def __init__(
        self,
        plan: StreamPlan,
        table: PartitionedTable,
        folder: Path | None,
        model: Any = None,
    ) -> None:
        self.plan = plan
        self.table = table
        self.folder = folder
        self.model = model
        self._kept: dict[str, Any] = {}

    def __call__(self, table_part: Part) -> PartResult:
        """Explain one part."""
        if self.model is None:
            self.model = self.plan.described(load(str(self.plan.model_folder)))
        return explain_part(
            self.model,
            self.plan,
            self.table,
            table_part,
            folder=self.folder,
            fitted_models=self._kept,
        )

    def __getstate__(self) -> dict[str, Any]:
        if self.plan.model_folder is not None:
            model = None
        else:
            model = self.model
        return {**self.__dict__, "_kept": {}, "model": model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.model is not None:
            settle_model(self.model.model)


@dataclass(frozen=True)
class StreamFolder:
    """Keeps the sums of part 12 in ``parts/part-00012.npz`` and its rows in
    ``local/part-00012.parquet``.

    Features that get more donors are explained in further rounds,
    ``parts/part-00012-1.npz`` and so on.
    """

    folder: Path
    plan: StreamPlan
    round: int = 0

    @property
    def local(self) -> Path | None:
        """The folder of the rows' explanations, or None for a global explanation."""
        if self.plan.is_local:
            return self.folder / LOCAL
        return None

    def is_finished(self, record: dict[str, Any]) -> bool:
        """Return whether an explanation is finished and all its files are still
        whole.
        """
        files = [self.folder / LOCAL / str(file_name) for file_name in record["files"]]
        there = record["finished"] and all(
            (self.folder / file_name).exists()
            for file_name in (*EXPLANATION, IMPORTANCE)
        )
        there = there and all(lines_in(local_file) is not None for local_file in files)
        finished = there and not changed_files(self.folder, record)
        if finished:
            # A process may have stopped after its last record and before it removed the
            # sums.
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        return finished

    def has(self, table_part: Part) -> bool:
        """Return whether a part's files exist and are complete."""
        try:
            result = self._read(table_part)
        except InputError:
            return False
        return (
            result.file is None
            or self.local is None
            or lines_in(self.local / result.file) is not None
        )

    def accept(self, result: PartResult) -> None:
        """Store the result of one part. A second copy replaces the first."""
        facts = {}
        for fact_name, value in vars(result).items():
            if fact_name != "sums":
                facts[fact_name] = value
        about = {"plan": self.plan.key, "goals": self.plan.goals, **facts}
        facts_text = np.array(json.dumps(about, ensure_ascii=False))
        with writable(self.folder):
            # Names of sums hold slashes, which are no more than letters inside the
            # file.
            write_npz(
                self._sums(result.number), {"facts": facts_text, **pack(result.sums)}
            )

    def merged(self, table_parts: Sequence[Part]) -> Merged:
        """Return the sums of the finished parts, in their order, with one at a time in
        memory.
        """
        return Merged.of(map(self._read, table_parts))

    def fitting(self) -> AbstractContextManager[None]:
        """Return a context manager that says of parts that do not fit together where
        they are.
        """
        which = f"The parts in {self.folder} do not fit together, or are damaged"
        hint = "Start again with --overwrite, or remove the folder"
        return turned(
            lambda error: InputError(
                f"{which} ({error_in_words(error)})", hint, "PG052"
            ),
            *DAMAGE,
        )

    def finish(self, explanation: Explanation) -> None:
        """Write the explanation beside the parts, and remove the sums that it was made
        from.
        """
        with writable(self.folder):
            write_csv(file_frame(explanation), self.folder / IMPORTANCE)
            explanation_folder = self.folder / PARTS / "explanation"
            shutil.rmtree(explanation_folder, ignore_errors=True)
            explanation.save(explanation_folder)
            for file_name in EXPLANATION:
                (explanation_folder / file_name).replace(self.folder / file_name)
            # A worker that died may have left some.
            sweep(self.folder / LOCAL)
            files = sorted(
                part_file.name
                for part_file in (self.folder / LOCAL).glob("part-*.parquet")
            )
            checksums = sums_of(self.folder, (LOCAL, *EXPLANATION, IMPORTANCE))
            EXPLAINED.write(
                self.folder,
                self.plan.facts(),
                finished=True,
                files=files,
                sums=checksums,
            )
            shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def _sums(self, number: int) -> Path:
        return (
            self.folder
            / PARTS
            / f"{part_name(number)}{f'-{self.round}' if self.round else ''}.npz"
        )

    def _read(self, table_part: Part) -> PartResult:
        sums_path = self._sums(table_part.number)
        which = f"The file of a finished part, {sums_path}, is missing or damaged"
        hint = "Run the same command again to compute that part"
        with turned(
            lambda error: InputError(f"{which} ({error})", hint, "PG052"),
            OSError,
            *DAMAGE,
        ):
            arrays = read_npz(sums_path)
            facts = parse_json(str(arrays.pop("facts")))
            about = facts.pop("plan"), facts.pop("goals"), facts["number"]
            is_ours = about == (self.plan.key, self.plan.goals, table_part.number)
            result = PartResult(
                sums=unpack(arrays), **{**facts, "warnings": tuple(facts["warnings"])}
            )
        if not is_ours:
            raise InputError(
                f"{sums_path} belongs to another explanation or part",
                hint="Remove the file",
                code="PG051",
            )
        return result
