"""``pg.report``: the page of a run, for any model."""

from __future__ import annotations

import html
import os
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import clone

from permgrad.assess.assess import assess
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import Budget
from permgrad.assess.reading import ReadModel, sensitive_columns
from permgrad.assess.rows import Rows
from permgrad.assess.sections.data import describe_data
from permgrad.assess.sections.provenance import ProvenanceSection, this_machine
from permgrad.assess.work import Work
from permgrad.attribution.explain_refits import explain_refits
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import with_options
from permgrad.base.checks import check_flag, check_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.files import write_text_atomic, writing
from permgrad.base.random import resolve_seed
from permgrad.base.versions import versions
from permgrad.data.types.column_notes import tell_of_other_order
from permgrad.imaging.layout import StoredLayout
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32
from permgrad.pages.html import render_report
from permgrad.pages.rows_data import effect_lines
from permgrad.pages.verdict import markdown, verdict
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
        markdown: its sentences, and a table of mean and local effects, as ``report.md`` of a run has them.

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

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Report:
        """Write the page to a file, its ``markdown`` to one that ends in ``.md``, and return it with its ``path``.

        Raises:
            InputError: there is a folder of this name, or a file and ``overwrite`` is not set.
            EnvironmentProblem: the file cannot be written.
        """
        target = check_path(path, overwrite=overwrite, endings=ENDINGS)
        with writing(target, "Choose another path."):
            write_text_atomic(target, self.markdown if target.suffix.lower() == ".md" else self.html)
        return replace(self, path=target)

    def open(self) -> None:
        """Open the file in a browser.

        Raises:
            InputError: the report was not written to a file.
        """
        if self.path is None:
            raise InputError("The report was not written to a file", hint="Call .save(path) first.", code="PG055")
        webbrowser.open(self.path.resolve().as_uri())

    def _repr_html_(self) -> str:
        # A frame of its own: the page's styles stay inside, and its scripts cannot reach the notebook.
        return (
            '<iframe title="permgrad report" sandbox="allow-scripts allow-downloads allow-popups" '
            f'style="width:100%;height:{_HEIGHT};border:1px solid #8884;border-radius:6px" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )

    def __repr__(self) -> str:
        place = "not written to a file" if self.path is None else os.fspath(self.path)
        return f"<Report: {len(self.html):,} characters, {place}>"


def report(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    path: str | os.PathLike[str] | None = None,
    train: tuple[Any, Any] | None = None,
    title: str | None = None,
    method: Any = "permgrad",
    most_rows: int | Literal["auto"] | None = "auto",
    what_if: bool = False,
    keep_rows: bool = True,
    interactions: int | None = None,
    refits: int | None = None,
    sensitive: Any = None,
    sample_weight: Any = None,
    overwrite: bool = False,
    random_state: Any = None,
    **options: Any,
) -> Report:
    """Write the page of a run for any model: how good it is on held-out rows, and what it relies on.

    Args:
        model: anything that ``pg.explain`` takes: a fitted estimator of any library, a function of a table, a torch
            network.
        X: rows that the model was not fitted on, as for ``pg.explain``: a table ``(rows, columns)``, or the inputs of a
            network as a dict, tuple or tensor.
        y: their targets ``(rows,)``: classes as in training, or numbers. Of a model with several outputs also
            ``(rows, outputs)``, with ``target=`` for the one to report.
        path: HTML file to write, or one that ends in ``.md``, which gets the sentences alone. None: the page is only
            returned, and shown in a notebook.
        train: rows and targets that the model was fitted on, in the form of ``X`` and ``y``. The page then compares
            them with the held-out rows, searches for columns that give the target away and for rows in both, and takes
            the constant from them. Without it, the constant is that of the held-out rows. A single row takes its
            replacement values from them. With labels as ``row_groups`` or times as ``row_time``, those of the training
            rows are a third item: without them columns are not tested for differences.
        title: title of the page. Default: the model's name and the target's.
        method: method of the global importance, ``"permgrad"``, ``"permutation"``, ``"ablation"`` or another one.
        most_rows: number of rows, drawn at random, whose features are replaced. Metrics use all rows. None: all.
            ``"auto"``: 1,000. For a network of permgrad as in ``permgrad run``.
        what_if: include the network in the page for *What if* also if its weights take more than 4 MB.
        keep_rows: show single rows with their values. Without them the page has statistics only, and no *What if*.
        interactions: measure how pairs of this many features of a table work together, the most important ones. 0:
            none. None: of 10, on so few rows that it takes a fifth of the predictions of the importances.
        refits: fit the estimator so many times more, at least 5, on parts of the training rows: shows what another
            training would say.
        sensitive: judge the model by the levels of this column: rates, errors and reliance by level, tested, and what
            the features tell of it. A column's name, one label for each row (which need not be a feature), or a list
            of names.
        sample_weight: weights of the rows ``(rows,)`` in scores, comparisons and importances. What would count each
            row once is left out, or the page says so. Not with ``sensitive`` or ``refits``.
        overwrite: replace a file at ``path``.
        random_state: seed. The same seed gives the same page.
        **options: further arguments of ``pg.explain``: ``target``, ``groups``, ``background``, ``loss``, ``n_repeats``,
            ``positive``, ``progress``, ``row_groups`` and ``row_time`` (which all intervals and tests of the page then
            allow for), those of a network or predictor such as ``segments`` and ``class_names``, and the options of
            ``method``, such as ``max_permutations`` of ``"shapley"``, which count for the global importance alone.

    Returns:
        A ``Report`` with ``html``, ``markdown``, ``path``, ``save()`` and ``open()``. A notebook shows the page.

    Raises:
        InputError: an argument cannot be used, ``y`` is missing or of another length, or ``path`` exists. Nothing is
            written.
        EnvironmentProblem: the file cannot be written.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> from sklearn.linear_model import LinearRegression
        >>> X = np.random.default_rng(0).normal(size=(80, 2))
        >>> model = LinearRegression().fit(X[:40], X[:40, 0])
        >>> page = pg.report(model, X[40:], X[40:, 0], n_repeats=2, random_state=0)
        >>> "<title>LinearRegression" in page.html
        True
    """
    check_flag("overwrite", overwrite)
    check_flag("what_if", what_if)
    check_flag("keep_rows", keep_rows)
    _check_options(title, most_rows, interactions, refits, train)
    target = None if path is None else check_path(path, overwrite=overwrite, endings=ENDINGS)
    seed = resolve_seed(random_state)
    tell_of_other_order(X, y=y, sample_weight=sample_weight)
    method, options = with_options(method, options)
    options = options if method == "permgrad" else {"method": method, **options}
    with sparing(), full_float32():
        read = ReadModel(model, X, y, seed=seed, **options)
        if interactions and read.rows.table is None:
            problem = "interactions= measures pairs of features of a table, and this network has other inputs"
            hint = "Leave it out, or call pg.explain(model, X, y, interactions=2)."
            raise InputError(problem, hint=hint, code="PG006")
        read.rows = replace(read.rows, sensitive=sensitive_columns(sensitive, read.rows))
        for name, value in (("sensitive=", sensitive), ("refits=", refits)):
            if sample_weight is not None and value is not None:
                problem = f"A report with {name} takes no sample_weight, because it counts every row once"
                raise InputError(problem, hint="Leave one of them out, or call pg.explain for it.", code="PG006")
        if sample_weight is not None:
            read.weigh(sample_weight)
        name = read.model.name
        empty = Assessment(title=title or name, target=read.target, task=read.model.task, subject=read.model.subject)
        ranking = {"method": read.method, "options": read.method_options}
        budget = Budget(seed=seed, most_rows=most_rows, interactions=interactions, refits=refits, **ranking)
        learned = read.train(train)
        if train is not None and len(read.rows) == 1:  # a single row takes its replacement values from training rows
            read.model = replace(read.model, options={"background": train[0], **read.model.options})
        refit = _refits(model, train, learned, budget)
        work = Work(read.model, read.rows, empty, budget, train=learned, refit=refit)
        empty.data = describe_data(work)
        if read.rows.table is None:
            empty.data.columns = read.inputs
        content = assess(work)
        facts: dict[str, Any] = {"command": _call(name, train, options, seed), "seed": seed, "cut": budget.clock.cut}
        provenance = ProvenanceSection(versions=versions(), machine=this_machine(), **facts)
        content = with_what_if(content, read.model.model, large=what_if, keep_rows=keep_rows)
        content = replace(content, provenance=provenance)
    sentences = verdict(content)
    short = markdown(content.title, sentences, effect_lines(content))
    page = Report(render_report(replace(content, sentences=sentences)), markdown=short)
    return page if target is None else page.save(target, overwrite=overwrite)


def _check_options(title: Any, most_rows: Any, interactions: Any, refits: Any, train: Any) -> None:
    """Refuse what cannot be shown or measured, before any work."""
    if title is not None and (not isinstance(title, str) or not title.strip()):
        raise InputError(f"title must be text, got {shown(title)}", hint="Leave it out for a default.", code="PG001")
    if most_rows is not None and most_rows != "auto":
        check_whole("most_rows", most_rows, "pass for example 1000, or None for all rows", least=2)
    if interactions is not None:
        check_whole("interactions", interactions, "pass for example 10, or 0 for none", least=0)
        if interactions == 1:
            raise InputError("interactions=1 has no pairs", hint="Pass at least 2, or 0 for none.", code="PG002")
    if refits is not None:
        check_whole("refits", refits, "pass at least 5, for example 10", least=5)
        if train is None:
            problem = "refits= trains on the training rows"
            raise InputError(problem, hint="Pass train=(X_train, y_train) too.", code="PG005")


def _refits(estimator: Any, train: Any, learned: Rows | None, budget: Budget) -> Callable[[int], Explanation] | None:
    """Return what explains further trainings, if they were asked for."""
    if budget.refits is None:
        return None
    if isinstance(getattr(estimator, "layout", None), StoredLayout):  # of these columns, not of those of each refit
        estimator = clone(estimator).set_params(layout=None)
    further: dict[str, Any] = {}
    if learned is not None and learned.dependence is not None:
        name, values = learned.dependence.argument
        if len(np.unique(values)) == 1:
            hint = "Pass train=(X_train, y_train, values), or the name of a column in both tables."
            raise InputError(f"refits= needs {name} of the training rows too", hint=hint, code="PG005")
        further[name] = values
    return lambda count: explain_refits(estimator, *train[:2], refits=count, random_state=budget.seed, **further)


def _call(name: str, train: Any, options: Mapping[str, Any], seed: int) -> str:
    """Return the call in words, for the page."""
    arguments = [name, "X", "y", *(["train=(X_train, y_train)"] if train is not None else [])]
    arguments += [f"{key}={shown(value)}" for key, value in options.items() if key != "progress"]
    return f"permgrad.report({', '.join([*arguments, f'random_state={seed}'])})"


def check_path(
    path: Any, *, overwrite: bool, flag: str = "overwrite=True", endings: Sequence[str] = (".html", ".htm")
) -> Path:
    """Return the path of a page, or refuse one that cannot be written. ``flag`` is what replaces a file."""
    if not isinstance(path, (str, os.PathLike)) or not str(path).strip():
        raise InputError(f"path must be a file to write, got {shown(path)}", hint="Pass 'report.html'.", code="PG001")
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder", hint=f"Pass a file, such as {target / 'report.html'}.", code="PG050")
    if target.suffix.lower() not in endings:
        problem = f"A report is an HTML file, got path={os.fspath(target)!r}"
        raise InputError(problem, hint=f"Pass {os.fspath(target.with_suffix('.html'))!r}.", code="PG001")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists", hint=f"Choose another path, or pass {flag}.", code="PG050")
    return target
