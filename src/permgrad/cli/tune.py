"""The command ``permgrad tune``: its options. Thin like ``cli``, which enters it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from permgrad.base.startup import loading
from permgrad.cli import options


class Tell(Protocol):
    """How a command prints its result."""

    def __call__(self, result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
        """Print one JSON object, or text."""


def add_tune(
    app: typer.Typer,
    command: Callable[[Callable[..., None]], Callable[..., None]],
    *,
    say: Callable[[str], None],
    tell: Tell,
    use_threads: Callable[[int | None], None],
) -> None:
    """Enter the command, with the helpers that all commands share."""

    @app.command()
    @command
    def tune(
        table: options.Table,
        target: options.Target = None,
        trials: Annotated[
            int | None,
            typer.Option(help="The study's total of finished trials (default: as the space says).", metavar="N"),
        ] = None,
        space: Annotated[
            str, typer.Option(help="What is searched: default, paper, or a JSON file (docs/tuning.md).")
        ] = "default",
        storage: Annotated[
            str | None,
            typer.Option(help="URL of the study's database (default: sqlite:///DIR/study.db).", metavar="URL"),
        ] = None,
        study: Annotated[str, typer.Option(help="The study's name in the database.")] = "permgrad",
        no_pruning: Annotated[bool, typer.Option("--no-pruning", help="Train every trial to its end.")] = False,
        task: options.Task = "auto",
        positive: options.Positive = None,
        test: options.Test = None,
        validation: options.Validation = None,
        drop: options.Drop = None,
        row_id: options.RowId = None,
        kind: options.ColumnKind = None,
        na: options.MissingCodes = None,
        not_na: options.NotMissing = None,
        groups: options.Groups = None,
        group: options.Group = None,
        time: options.Time = None,
        out: Annotated[Path | None, options.folder("permgrad-runs/<table>-tuned-<seed>")] = None,
        seed: options.Seed = 0,
        split_seed: options.SplitSeed = 42,
        device: options.Device = "auto",
        threads: options.Threads = None,
        overwrite: options.Overwrite = False,
        csv_formulas: options.CsvFormulas = "quote",
        as_json: options.AsJson = False,
        debug: options.Debug = False,
    ) -> None:
        """Try many settings on validation rows, and export the best as a finished run.

        The same command goes on after an interruption, and may run several times at once to share the work; test rows
        are looked at once, at the end, for the winner.
        """
        use_threads(threads)
        with loading():
            from permgrad.runs.tune.tune import TuneRequest, tune_table

        outcome = tune_table(
            TuneRequest(
                table=table,
                target=tuple(target or ()),
                trials=trials,
                storage=storage,
                study=study,
                space=space,
                pruning=not no_pruning,
                task=task,
                positive=positive,
                test=test,
                validation=validation,
                drop=tuple(drop or ()),
                identifier=tuple(row_id or ()),
                kind=tuple(kind or ()),
                na=tuple(na or ()),
                not_na=tuple(not_na or ()),
                groups=groups,
                group=group,
                time=time,
                out=out,
                seed=seed,
                split_seed=split_seed,
                device=device,
                threads=threads,
                overwrite=overwrite,
            ),
            say=say,
        )
        tell(outcome.facts, outcome.text, as_json=as_json)
