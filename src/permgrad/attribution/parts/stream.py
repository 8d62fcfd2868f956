"""``pg.explain_stream``: a model and Parquet files in, an explanation out; memory does not grow with rows."""

from __future__ import annotations

import inspect
import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.parts.folder import StreamFolder, began_here, check_folder, held, refuse_inside
from permgrad.attribution.parts.part import PartResult, explain_part
from permgrad.attribution.parts.plan import ARGUMENTS, StreamPlan, make_plan
from permgrad.base.checks import check_flag, check_path
from permgrad.base.csv_files import Formulas
from permgrad.base.csv_files import csv_formulas as formulas_in_csv
from permgrad.base.errors import InputError
from permgrad.base.progress import Progress
from permgrad.data.parts.partitions import Part, PartitionedTable, open_partitioned
from permgrad.models.batches import sparing

if TYPE_CHECKING:
    from permgrad.attribution.parts.engines import Engine


class Work:
    """Explains one part after the other; what an engine sends to its workers.

    A worker that does not have the model loads it once, from the plan's ``model_folder``; without such a folder the
    model travels with the work.
    """

    def __init__(self, plan: StreamPlan, table: PartitionedTable, folder: Path | None, model: Any = None) -> None:
        self.plan, self.table, self.folder = plan, table, folder
        self._model = model
        self._kept: dict[str, Any] = {}

    def __call__(self, part: Part) -> PartResult:
        """Explain one part."""
        return explain_part(self.model, self.plan, self.table, part, folder=self.folder, kept=self._kept)

    @property
    def model(self) -> Any:
        """The model, loaded on first use."""
        if self._model is None:
            from permgrad.models.save.saving import load

            self._model = load(str(self.plan.model_folder))
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        kept: dict[str, Any] = {**self.__dict__, "_kept": {}}
        if self.plan.model_folder is not None:
            kept["_model"] = None
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._model is not None:
            from permgrad.attribution.parts.engines.base import settle_model

            settle_model(self._model)


def explain_stream(
    model: Any,
    table: str | os.PathLike[str] | PartitionedTable,
    y: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    method: Any = "permgrad",
    scope: Literal["auto", "global", "local"] = "auto",
    engine: str | Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    rows: int | None = None,
    form: Literal["tidy", "wide"] = "tidy",
    rows_per_part: int | None = None,
    overwrite: bool = False,
    csv_formulas: Formulas | None = None,
    progress: bool | Literal["auto"] = "auto",
    **options: Any,
) -> Explanation:
    """Explain a model on a table that need not fit in memory: a Parquet file, or a folder of them.

    The table is cut into parts. A global explanation merges sums over the parts, and is equal up to rounding to
    ``pg.explain`` of the whole table with the same ``background=`` and seed; donors come from the background, never
    from the rows explained. A local explanation writes the rows of each part to ``out/local/part-00012.parquet`` and
    returns the summary that ``to_global("mean_abs")`` gives. A process that was killed goes on with the parts that are
    not finished.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``, or the folder of a saved one.
        table: a Parquet file, a folder of Parquet files, or what ``open_partitioned`` gave.
        y: name of the column of targets. With it, global games measure the loss; without, the divergence from the
            model's own prediction.
        out: folder for what is finished and for the result; needed for local explanations. None: a temporary one.
        method: a registered method. Global: ``permgrad``, ``permutation``, ``ablation``; local: any that is.
        scope: as for ``pg.explain``.
        engine: ``"local"``: this process; ``"ray"``: workers on this machine or on a cluster; or an engine.
        workers: how many work at a time.
        address: of a cluster.
        rows: explain a sample of this many rows; None: all. Which ones depends on the seed and their numbers alone.
        form: of the files of a local explanation: ``"tidy"`` (a line for each row, feature and output) or ``"wide"``
            (for each row and output, with a column for each feature).
        rows_per_part: rows that a part is meant to have.
        overwrite: whether another explanation in ``out`` is replaced.
        csv_formulas: of ``importance.csv``: ``"quote"`` puts a single quote before names that a spreadsheet would take
            for formulas, ``"keep"`` leaves them; None: ``"quote"``.
        progress: a bar on stderr.
        **options: as for ``pg.explain``: ``background, target, output, level, groups, sampling, loss, positive,
            confidence, n_repeats, batch_size, random_state`` and the method's own; ``sample_weight`` names a column,
            ``na_codes`` are values of ``y`` that stand for missing.

    Returns:
        The explanation of the whole table.

    Raises:
        InputError: an argument or a cell cannot be used; arguments are checked before the work begins.
        EnvironmentProblem: a file cannot be read or written.

    Examples:
        >>> import tempfile, numpy as np, pandas as pd, permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> rows = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=3, random_state=0).fit(rows, rows["b"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part in range(3):
        ...         own = rows.iloc[part * 100 : part * 100 + 100]
        ...         own.assign(y=own["b"]).to_parquet(f"{folder}/{part}.parquet")
        ...     pg.explain_stream(model, folder, "y", random_state=0, n_repeats=2).ranking()[0]
        'b'
    """
    from permgrad.attribution.parts.engines import make_engine

    running = make_engine(engine, workers=workers, address=address)
    # A model that was loaded already may say where from, so that workers need not be sent it.
    folder = options.pop("model_folder", None)
    if isinstance(model, (str, os.PathLike)):
        from permgrad.models.save.saving import load

        folder = os.fspath(Path(model).absolute())
        model = load(folder)
    check_flag("overwrite", overwrite)
    if not isinstance(table, PartitionedTable):
        check_path("table", table, "pass a Parquet file or a folder; rows in memory go to permgrad.explain")
        table = open_partitioned(table, rows_per_part=rows_per_part)
    plan = make_plan(
        model,
        table,
        y,
        method=method,
        scope=scope,
        rows=rows,
        form=form,
        model_folder=folder,
        options={name: value for name, value in options.items() if name not in _ARGUMENTS},
        **{name: value for name, value in options.items() if name in _ARGUMENTS},
    )
    if out is None and plan.scope == "local":
        raise InputError(
            f"explanations of single rows are written to files, however: method={method!r} explains rows and out=None; "
            "pass out='a folder'"
        )
    if out is not None and table.path:
        refuse_inside(check_path("out", out), table.path)
    with ExitStack() as stack:
        stack.enter_context(formulas_in_csv(csv_formulas))
        place = Path(out if out is not None else stack.enter_context(tempfile.TemporaryDirectory(prefix="permgrad-")))
        # Before anything is made: a folder that is refused is not even locked.
        check_folder(place, plan.key, plan.facts(), overwrite=overwrite)
        stack.enter_context(held(place))
        kept = StreamFolder(place, plan, overwrite=overwrite)
        stack.enter_context(began_here(kept.begun, kept.discard))
        stack.enter_context(sparing())
        return run_plan(plan, table, kept, running, model, progress=progress)


#: What ``make_plan`` takes by name; other names are the method's options.
_ARGUMENTS = frozenset(inspect.signature(make_plan).parameters) | frozenset(ARGUMENTS)


def run_plan(
    plan: StreamPlan,
    table: PartitionedTable,
    folder: StreamFolder,
    engine: Engine,
    model: Any = None,
    *,
    progress: bool | Literal["auto"] = "auto",
) -> Explanation:
    """Compute the parts that are not finished, merge all of them, and write the explanation."""
    if folder.finished:
        return folder.explanation()
    todo = folder.todo(table.parts)
    with Progress(sum(part.rows for part in todo), plan.method, progress) as bar:
        rows = {part.number: part.rows for part in todo}
        for result in engine.run(todo, Work(plan, table, folder.local, model)):
            folder.accept(result)
            bar.advance(rows[result.number])
    explanation = folder.merged(table.parts)
    explanation = replace(explanation, meta={**explanation.meta, "engine": engine.facts})
    folder.finish(explanation)
    return explanation
