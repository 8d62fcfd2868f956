"""Build one package's page of a LightGBM model, in an environment that has this
package. Called by report_peers.py.

    python benchmarks/speed/_report_peers.py PACKAGE FOLDER

``FOLDER/rows.npz`` has the rows. The last line printed is JSON: seconds, processor
seconds, bytes and the version.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

Rows = tuple[pd.DataFrame, np.ndarray]


def permgrad(model: Any, train: Rows, test: Rows, page: Path) -> None:
    """One call."""
    import permgrad as pg

    pg.report(model, *test, train=train, path=page, progress=False)


def interpret(model: Any, train: Rows, test: Rows, page: Path) -> None:
    """The explanations that InterpretML's dashboard shows for a black box, each figure
    written into one file.
    """
    from interpret.blackbox import MorrisSensitivity, PartialDependence, ShapKernel
    from interpret.data import ClassHistogram
    from interpret.perf import ROC

    def predict(rows: Any) -> Any:  # it passes cells as objects
        return model.predict_proba(
            pd.DataFrame(np.asarray(rows, dtype=np.float64), columns=train[0].columns)
        )

    explained = [
        ClassHistogram().explain_data(*train),
        ROC(predict).explain_perf(*test),
        MorrisSensitivity(predict, train[0]).explain_global(),
        PartialDependence(predict, train[0]).explain_global(),
        ShapKernel(predict, train[0].sample(50, random_state=0)).explain_local(
            test[0][:5], test[1][:5]
        ),
    ]
    figures = []
    for one in explained:
        count = len(one.selector) if one.selector is not None else 0
        figures += [one.visualize(key) for key in [None, *range(count)]]
    drawn = [figure for figure in figures if hasattr(figure, "to_html")]
    parts = [
        figure.to_html(include_plotlyjs=place == 0, full_html=False)
        for place, figure in enumerate(drawn)
    ]
    page.write_text("\n".join(parts), encoding="utf-8")


def skrub(_model: Any, train: Rows, _test: Rows, page: Path) -> None:
    """The page of a table."""
    from skrub import TableReport

    TableReport(train[0].assign(y=train[1]), verbose=0).write_html(page)


def explainerdashboard(model: Any, _train: Rows, test: Rows, page: Path) -> None:
    """The dashboard, exported without its server."""
    from explainerdashboard import ClassifierExplainer, ExplainerDashboard

    explainer = ClassifierExplainer(model, test[0], pd.Series(test[1]))
    ExplainerDashboard(explainer, shap_interaction=False).save_html(page)


def shapash(model: Any, train: Rows, test: Rows, page: Path) -> None:
    """The report."""
    from shapash import SmartExplainer

    explainer = SmartExplainer(model=model)
    explainer.compile(
        x=test[0], y_target=pd.Series(test[1], index=test[0].index, name="y")
    )
    explainer.generate_report(
        output_file=str(page),
        x_train=train[0],
        y_train=pd.Series(train[1], index=train[0].index, name="y"),
        y_test=pd.Series(test[1], index=test[0].index, name="y"),
    )


PACKAGES: dict[str, Callable[..., None]] = {
    one.__name__: one
    for one in (permgrad, interpret, skrub, explainerdashboard, shapash)
}


def main() -> None:
    """Fit the model, build the page and print what it took."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    stored = np.load(folder / "rows.npz", allow_pickle=False)
    columns = [str(each) for each in stored["columns"]]
    train, test = (
        (pd.DataFrame(stored[f"X_{part}"], columns=columns), stored[f"y_{part}"])
        for part in ("train", "test")
    )
    model = lightgbm.LGBMClassifier(
        n_estimators=100, random_state=0, n_jobs=1, verbosity=-1
    ).fit(*train)
    page = folder / f"{name}.html"
    started, processor = time.perf_counter(), time.process_time()
    PACKAGES[name](model, train, test, page)
    facts = {
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - processor,
        "bytes": page.stat().st_size,
        "version": importlib.metadata.version(name),
    }
    sys.stdout.write(f"\n{json.dumps(facts)}\n")


if __name__ == "__main__":
    main()
