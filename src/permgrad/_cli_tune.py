"""The command ``permgrad tune``: its options. Thin like ``cli``, which enters it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer


class Tell(Protocol):
    """How a command prints its result."""

    def __call__(self, result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
        """Print one JSON object, or text."""


Columns = list[str] | None
File = Path | None


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
        table: Annotated[
            str,
            typer.Argument(
                metavar="TABLE", help="A CSV or Parquet file, or a named data set (permgrad datasets list)."
            ),
        ],
        target: Annotated[
            Columns, typer.Option(help="Column to predict (known for named data sets).", metavar="COL")
        ] = None,
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
        task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto",
        test: Annotated[File, typer.Option(help="Test rows of your own.", metavar="FILE")] = None,
        validation: Annotated[File, typer.Option(help="Validation rows of your own.", metavar="FILE")] = None,
        drop: Annotated[
            Columns, typer.Option(help="Column to leave out; may be given several times.", metavar="COL")
        ] = None,
        row_id: Annotated[
            Columns,
            typer.Option("--id", help="Column that names rows: not a feature, kept in predictions.", metavar="COL"),
        ] = None,
        na: Annotated[
            Columns,
            typer.Option(help="Codes that mean missing, separated by commas, such as -9,-8,-7.", metavar="CODES"),
        ] = None,
        groups: Annotated[
            File,
            typer.Option(
                help='JSON file of columns that act as one feature: {"name": ["column", ...]}.', metavar="FILE"
            ),
        ] = None,
        group: Annotated[
            str | None,
            typer.Option(help="Column whose equal values stay in one part of the split.", metavar="COL"),
        ] = None,
        time: Annotated[
            str | None,
            typer.Option(help="Column to split by: the latest rows become the test rows.", metavar="COL"),
        ] = None,
        out: Annotated[
            File, typer.Option(help="Folder (default: permgrad-runs/<table>-tuned-<seed>).", metavar="DIR")
        ] = None,
        seed: Annotated[int, typer.Option(help="Seed of everything random but the split.", min=0)] = 0,
        split_seed: Annotated[int, typer.Option(help="Seed of the split.", min=0)] = 42,
        device: Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, mps.")] = "auto",
        threads: Annotated[
            int | None,
            typer.Option(help="Number of threads to compute with (default: as the machine is set).", min=1),
        ] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, replacing what is there.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,  # noqa: ARG001 — its decorator reads it
    ) -> None:
        """Try many settings on validation rows, and export the best as a finished run.

        The same command goes on after an interruption, and may run several times at once to share the work; test rows
        are looked at once, at the end, for the winner.
        """
        use_threads(threads)
        from permgrad.runs.tune import TuneRequest, tune_table

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
                test=test,
                validation=validation,
                drop=tuple(drop or ()),
                identifier=tuple(row_id or ()),
                na=tuple(na or ()),
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
