"""``pg.report``: the page of a run, for any model."""

from __future__ import annotations

import html
import os
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from sklearn.base import clone

from permgrad.assess.assess import assess
from permgrad.assess.assessed_model import EvaluatedModel
from permgrad.assess.assessed_rows import Rows
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import Budget
from permgrad.assess.read_model import ReadModel, sensitive_columns
from permgrad.assess.sections.data import describe_data
from permgrad.assess.sections.provenance import ProvenanceSection, this_machine
from permgrad.assess.work import Work
from permgrad.attribution.explain_refits import refit
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.model import described
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.subject.examples import may_be_examples
from permgrad.base.checks import check_flag, check_whole
from permgrad.base.errors import Fault, InputError, refusing, shown
from permgrad.base.files import write_text_atomic, writing
from permgrad.base.near_names import with_near_names
from permgrad.base.random import resolve_seed
from permgrad.base.versions import versions
from permgrad.data.types.findings import tell_of_other_order
from permgrad.imaging.layout import StoredLayout
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.pages.content import PageContent
from permgrad.pages.html import in_short, render_report
from permgrad.pages.verdict import PICTURE
from permgrad.pages.whatif import with_what_if

#: Height of a page inside a notebook.
_HEIGHT = "min(46rem, 85vh)"
#: How names of files end that a report can be written to: a page, or its sentences.
ENDINGS = (".html", ".htm", ".md")


@dataclass(frozen=True)
class Report:
    """A finished page. In a notebook it shows itself.

    Attributes:
        html: the page as text.
        path: the file that holds it, or None.
        markdown: its sentences, and a table of mean and local effects, as ``report.md``
            of a run has them.
        picture: what ``markdown`` shows beside them, as SVG.

    Examples:
        >>> page = Report("<!doctype html><title>t</title>")
        >>> page
        <Report: 31 characters, not written to a file>
        >>> page._repr_html_()[:7]
        '<iframe'
    """

    html: str
    path: Path | None = None
    markdown: str = ""
    picture: str = ""

    def save(self, path: str | os.PathLike[str]) -> Report:
        """Write the page to a file and return it with its ``path``.

        To one that ends in ``.md`` its ``markdown`` is written, and its ``picture`` to
        a file beside it.

        A file of this name is replaced.

        Raises:
            InputError: there is a folder of this name, or it is no name of a page.
            EnvironmentProblem: the file cannot be written.
        """
        target = check_path(path, overwrite=True, endings=ENDINGS)
        picture_path = target.with_suffix(".svg")
        with writing(target, "Choose another path."):
            if target.suffix.lower() != ".md":
                write_text_atomic(target, self.html)
            else:
                if self.picture:
                    write_text_atomic(picture_path, self.picture)
                write_text_atomic(
                    target,
                    self.markdown.replace(
                        f"]({PICTURE})", f"]({quote(picture_path.name)})"
                    ),
                )
        return replace(self, path=target)

    def open(self) -> None:
        """Open the file in a browser.

        Raises:
            InputError: the report was not written to a file.
        """
        if self.path is None:
            raise InputError(
                "The report was not written to a file",
                hint="Call .save(path) first.",
                code="PG055",
            )
        webbrowser.open(self.path.resolve().as_uri())

    def _repr_html_(self) -> str:
        # A frame of its own: the page's styles stay inside, and its scripts cannot
        # reach the notebook.
        return (
            '<iframe title="permgrad report" sandbox="allow-scripts allow-downloads '
            f'allow-popups" style="width:100%;height:{_HEIGHT};border:1px solid '
            f'#8884;border-radius:6px" srcdoc="{html.escape(self.html)}"></iframe>'
        )

    def __repr__(self) -> str:
        if self.path is None:
            file_words = "not written to a file"
        else:
            file_words = os.fspath(self.path)
        return f"<Report: {len(self.html):,} characters, {file_words}>"


@with_near_names
def report(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    path: str | os.PathLike[str] | None = None,
    train: tuple[Any, ...] | None = None,
    title: str | None = None,
    target: Any = None,
    groups: Any = None,
    loss: Any = "auto",
    sample_weight: Any = None,
    row_groups: Any = None,
    row_time: Any = None,
    sensitive: Any = None,
    refits: int | None = None,
    keep_rows: bool = True,
    max_rows: int | Literal["auto"] | None = "auto",
    random_state: Any = 0,
    progress: Any = "auto",
) -> Report:
    """Write the page of a run for any model: how good it is on held-out rows, and what
    it relies on.

    Args:
        model: anything that ``pg.explain`` takes: a fitted estimator of any library, a
            function of a table, a torch network, or a ``pg.Model`` that says how one of
            these is read.
        X: rows that the model was not fitted on, as for ``pg.explain``: a table
            ``(rows, columns)``, or the inputs of a network as a dict, tuple or tensor.
        y: their targets ``(rows,)``: classes as in training, or numbers. Of a model
            with several outputs also ``(rows, outputs)``, with ``target=`` for the one
            to report.
        path: HTML file to write, or one that ends in ``.md``, which gets the sentences
            alone. A file is replaced. None: the page is only returned, and shown in a
            notebook.
        train: rows and targets that the model was fitted on, in the form of ``X`` and
            ``y``. The page then compares them with the held-out rows, searches for
            columns that give the target away, for rows that may belong together and for
            rows in both, and takes the constant from them. Without it, the constant is
            that of the held-out rows. A single row takes its replacement values from
            them. With labels as ``row_groups`` or times as ``row_time``, those of the
            training rows are a third item: without them columns are not tested for
            differences.
        title: title of the page. Default: the model's name and the target's.
        target: the output to report, by name or position, of a model with several.
        groups: columns that act as one feature, as for ``pg.explain``.
        loss: the loss in which importances are measured, as for ``pg.explain``.
        sample_weight: weights of the rows ``(rows,)`` in scores, comparisons and
            importances. What would count each row once is left out, or the page says
            so. Not with ``sensitive`` or ``refits``.
        row_groups: rows that belong together, which all intervals and tests of the page
            then allow for.
        row_time: the same for rows of a series.
        sensitive: judge the model by the levels of this column: rates, errors and
            reliance by level, tested, and what the features tell of it. A column's
            name, one label for each row (which need not be a feature), or a list of
            names.
        refits: fit the estimator so many times more, at least 5, on parts of the
            training rows: shows what another training would say.
        keep_rows: show single rows with their values. Without them the page has
            statistics only, and no *What if*.
        max_rows: at most this many rows, drawn at random, have their features replaced.
            Metrics use all rows. None: all. ``"auto"``: 1,000. For a network of
            permgrad as in ``permgrad run``.
        random_state: seed. The same seed gives the same page.
        progress: whether to show progress. ``"auto"``: in a terminal or notebook.

    Returns:
        A ``Report`` with ``html``, ``markdown``, ``path``, ``save()`` and ``open()``. A
        notebook shows the page.

    Raises:
        InputError: an argument cannot be used, or ``y`` is missing or of another
            length. Nothing is written.
        EnvironmentProblem: the file cannot be written.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> from sklearn.linear_model import LinearRegression
        >>> X = np.random.default_rng(0).normal(size=(80, 2))
        >>> model = LinearRegression().fit(X[:40], X[:40, 0])
        >>> page = pg.report(model, X[40:], X[40:, 0])
        >>> "<title>LinearRegression" in page.html
        True
    """
    check_flag("keep_rows", keep_rows)
    _check_arguments(title, max_rows, refits, train, sensitive, sample_weight)
    if path is None:
        page_path = None
    else:
        page_path = check_path(path, overwrite=True, endings=ENDINGS)
    random_seed = resolve_seed(random_state)
    row_limit: Any
    if _is_auto(max_rows):
        row_limit = None
    else:
        row_limit = max_rows
    row_arguments = Arguments(
        model, X, y, sample_weight=sample_weight, row_groups=row_groups,
        row_time=row_time, max_rows=row_limit, random_state=random_seed,
    )  # fmt: skip
    X = row_arguments.X
    y = row_arguments.y
    sample_weight = row_arguments.sample_weight
    row_groups = row_arguments.row_groups
    row_time = row_arguments.row_time
    train = _train_rows(model, train, row_limit, random_seed)
    tell_of_other_order(
        X, y=y, sample_weight=sample_weight, row_groups=row_groups, row_time=row_time
    )
    # What is left to its default is decided by what explains.
    model_options = {
        "target": target,
        "groups": groups,
        "row_groups": row_groups,
        "row_time": row_time,
    }
    model_options = {
        option_name: value
        for option_name, value in model_options.items()
        if value is not None
    }
    for option_name, value in (("loss", loss), ("progress", progress)):
        if not _is_auto(value):
            model_options[option_name] = value
    with sparing(), full_float32():
        read_model = ReadModel(model, X, y, seed=random_seed, **model_options)
        read_model.rows = replace(
            read_model.rows, sensitive=sensitive_columns(sensitive, read_model.rows)
        )
        if sample_weight is not None:
            read_model.weigh(sample_weight)
        budget = Budget(seed=random_seed, max_rows=max_rows, refits=refits)
        content = _assessed(
            read_model,
            title,
            train,
            budget,
            _call(read_model.model, train, model_options, random_seed),
        )
        content = with_what_if(
            content, read_model.model.model, large=False, keep_rows=keep_rows
        )
    page_content = PageContent.of(content)
    short, picture = in_short(page_content)
    report_page = Report(render_report(page_content), markdown=short, picture=picture)
    if page_path is None:
        return report_page
    return report_page.save(page_path)


def _train_rows(model: Any, train: Any, most: Any, seed: int) -> Any:
    """Return training rows and targets, also of a DataLoader or a Dataset."""
    is_pair = isinstance(train, (tuple, list))
    if not is_pair and may_be_examples(train):
        train = (train, None)
        is_pair = True
    if not is_pair or len(train) < 2 or not may_be_examples(train[0]):
        return train
    inputs, y, *related = train
    train_arguments = Arguments(model, inputs, y, max_rows=most, random_state=seed)
    return (train_arguments.X, train_arguments.y, *related)


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


@refusing
def _check_arguments(
    title: Any,
    max_rows: Any,
    refits: Any,
    train: Any,
    sensitive: Any,
    sample_weight: Any,
) -> Iterator[Fault]:
    """Refuse what cannot be shown or measured, before any work."""
    if title is not None and (not isinstance(title, str) or not title.strip()):
        yield (
            f"title must be text, got {shown(title)}",
            "Leave it out for a default.",
            "PG001",
        )
    if max_rows is not None and not _is_auto(max_rows):
        check_whole(
            "max_rows", max_rows, "pass for example 1000, or None for all rows", least=2
        )
    if refits is not None:
        check_whole("refits", refits, "pass for example 10", least=5)
        if train is None:
            problem = "refits= trains on the training rows"
            yield problem, "Pass train=(X_train, y_train) too.", "PG005"
    for argument, value in (("sensitive=", sensitive), ("refits=", refits)):
        if sample_weight is not None and value is not None:
            problem = (
                f"A report with {argument} takes no sample_weight, because it "
                "counts every row once"
            )
            yield problem, "Leave one of them out, or call pg.explain for it.", "PG006"


def _assessed(
    read: ReadModel, title: str | None, train: Any, budget: Budget, command: str
) -> Assessment:
    """Return what the page says of a model that was read by this call."""
    model = read.model
    empty = Assessment(
        title=title or model.name,
        target=read.target,
        task=model.task,
        subject=model.subject,
    )
    learned = read.train(train)
    if (
        train is not None and len(read.rows) == 1
    ):  # a single row takes its replacement values from training rows
        read.model = replace(model, options={"background": train[0], **model.options})
    refit = _refits(model.model, train, learned, budget)
    section_work = Work(
        read.model, read.rows, empty, budget, train=learned, refit=refit
    )
    empty.data = describe_data(section_work)
    if read.rows.table is None:
        empty.data.columns = read.inputs
    content = assess(section_work)
    facts: dict[str, Any] = {
        "command": command,
        "seed": budget.seed,
        "cut": budget.clock.cut,
    }
    return replace(
        content,
        provenance=ProvenanceSection(
            versions=versions(), machine=this_machine(), **facts
        ),
    )


def _refits(
    estimator: Any, train: Any, learned: Rows | None, budget: Budget
) -> Callable[[int], Explanation] | None:
    """Return what explains further trainings, if they were asked for."""
    if budget.refits is None:
        return None
    if isinstance(
        getattr(estimator, "layout", None), StoredLayout
    ):  # of these columns, not of those of each refit
        estimator = clone(estimator).set_params(layout=None)
    further: dict[str, Any] = {}
    if learned is not None and learned.dependence is not None:
        argument_name, values = learned.dependence.argument
        if len(np.unique(values)) == 1:
            problem_hint = (
                "Pass train=(X_train, y_train, values), or the name of a "
                "column in both tables."
            )
            raise InputError(
                f"refits= needs {argument_name} of the training rows too",
                hint=problem_hint,
                code="PG005",
            )
        further[argument_name] = values
    arguments = Arguments(
        estimator, X=train[0], y=train[1], random_state=budget.seed, **further
    )
    return lambda count: refit(arguments, refits=count)


def _call(
    model: EvaluatedModel, train: Any, options: Mapping[str, Any], seed: int
) -> str:
    """Return the call in words, for the page."""
    described_options = []
    for option_name, value in described(model.read).items():
        if option_name != "positive":
            described_options.append(f"{option_name}={shown(value)}")
    if described_options:
        called = f"Model({', '.join([model.name, *described_options])})"
    else:
        called = model.name
    arguments = [
        called,
        "X",
        "y",
        *(["train=(X_train, y_train)"] if train is not None else []),
    ]
    arguments += [
        f"{option_name}={shown(value)}"
        for option_name, value in options.items()
        if option_name != "progress"
    ]
    return f"permgrad.report({', '.join([*arguments, f'random_state={seed}'])})"


def check_path(
    path: Any,
    *,
    overwrite: bool,
    flag: str = "overwrite=True",
    endings: Sequence[str] = (".html", ".htm"),
) -> Path:
    """Return the path of a page, or refuse one that cannot be written.

    ``flag`` is what replaces a file.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path).strip():
        raise InputError(
            f"path must be a file to write, got {shown(path)}",
            hint="Pass 'report.html'.",
            code="PG001",
        )
    target = Path(path)
    _check_target(target, overwrite, flag, endings)
    return target


@refusing
def _check_target(
    target: Path, overwrite: bool, flag: str, endings: Sequence[str]
) -> Iterator[Fault]:
    if target.is_dir():
        yield (
            f"{target} is a folder",
            f"Pass a file, such as {target / 'report.html'}.",
            "PG050",
        )
    if target.suffix.lower() not in endings:
        problem = (
            f"A report ends in {' or '.join(endings)}, got path={os.fspath(target)!r}"
        )
        yield problem, f"Pass {os.fspath(target.with_suffix('.html'))!r}.", "PG001"
    if target.exists() and not overwrite:
        yield f"{target} exists", f"Choose another path, or pass {flag}.", "PG050"
