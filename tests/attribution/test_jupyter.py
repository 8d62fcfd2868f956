"""Explanations in a notebook's kernel: with its event loop running, as values, plots
and progress in a cell.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rounding import as_many_threads, rounding

import permgrad as pg

pytest.importorskip(
    "ipykernel", reason="ipykernel is not installed: pip install -e '.[dev]'"
)
manager = pytest.importorskip(
    "jupyter_client.manager", reason="jupyter_client is not installed"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SECONDS = 120


class Kernel:
    """A notebook's kernel in a process of its own."""

    def __init__(self, folder: Path) -> None:
        environment = as_many_threads(IPYTHONDIR=str(folder / "ipython"))
        self.process, self.client = manager.start_new_kernel(
            kernel_name="python3",
            env=environment,
            cwd=str(folder),
            startup_timeout=SECONDS,
        )

    def run(self, cell: str) -> list[dict[str, Any]]:
        """Run a cell and return its messages; an error in it is one here."""
        messages: list[dict[str, Any]] = []
        answer = self.client.execute_interactive(
            textwrap.dedent(cell),
            timeout=SECONDS,
            output_hook=messages.append,
            store_history=False,
        )
        assert answer["content"]["status"] == "ok", "\n".join(
            answer["content"].get("traceback", [])
        )
        return messages

    def close(self) -> None:
        self.client.stop_channels()
        self.process.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    notebook_kernel = Kernel(tmp_path_factory.mktemp("notebook"))
    try:
        yield notebook_kernel
    finally:
        notebook_kernel.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a model and its rows."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    y = X["a"] + 0.2 * rng.normal(size=120)
    folder = tmp_path_factory.mktemp("model")
    pg.HyNNRegressor(preset="fast", max_epochs=3, random_state=0, progress=False).fit(
        X, y
    ).save(folder / "model")
    X.assign(y=y).to_parquet(folder / "rows.parquet")
    return folder


READ = """
    import json, pandas as pd, permgrad as pg
    rows = pd.read_parquet(r"{folder}/rows.parquet")
    X, y = rows.drop(columns="y"), rows["y"]
    model = pg.load(r"{folder}/model")
"""


def texts(messages: list[dict[str, Any]], name: str = "stdout") -> str:
    return "".join(
        message["content"]["text"]
        for message in messages
        if message["msg_type"] == "stream" and message["content"]["name"] == name
    )


def test_a_cell_gives_what_a_script_gives(kernel: Kernel, model: Path) -> None:
    rows = pd.read_parquet(model / "rows.parquet")
    options = {"n_repeats": 3, "random_state": 0, "progress": False}
    expected_explanation = pg.explain(
        pg.load(model / "model"), rows.drop(columns="y"), rows["y"], **options
    )
    assert expected_explanation.ranking()[0] == "a"
    kernel.run(READ.format(folder=model))
    # Once as a cell is run, once while it is awaited by the kernel's own loop.
    for call in (
        "explained = pg.explain({})",
        "async def own():\n    return pg.explain({})\nexplained = await own()",
    ):
        messages = kernel.run(call.format(f"model, X, y, **{options}"))
        assert texts(messages) + texts(messages, "stderr") == ""
        cell_values = json.loads(
            texts(kernel.run("print(json.dumps(explained.values.tolist()))"))
        )
        np.testing.assert_allclose(
            cell_values,
            expected_explanation.values,
            rtol=0,
            atol=rounding(expected_explanation.values),
        )


def test_progress_and_plots_are_shown_in_the_cell(kernel: Kernel, model: Path) -> None:
    kernel.run(READ.format(folder=model))
    messages = kernel.run(
        "explained = pg.explain(model, X, y, n_repeats=2, random_state=0, "
        "progress=True); explained"
    )
    assert "\r" in texts(messages, "stderr")  # a bar, which is rewritten
    shown = [
        message["content"]["data"]
        for message in messages
        if message["msg_type"] == "execute_result"
    ]
    assert len(shown) == 1
    assert "a" in shown[0]["text/plain"]
    messages = kernel.run("explained.plot.bar()")
    drawn = [
        message["content"]["data"]
        for message in messages
        if message["msg_type"] in ("execute_result", "display_data")
    ]
    assert any(
        {"image/png", "image/svg+xml", "text/html"} & set(drawn_data)
        for drawn_data in drawn
    ), messages
    messages = kernel.run("explained.plot.bar().show()")
    assert [
        "image/png" in message["content"]["data"]
        for message in messages
        if message["msg_type"] == "display_data"
    ] == [True]
    # What a figure has drawn is let go with the cell.
    kernel.run("import matplotlib.pyplot as plt; assert plt.get_fignums() == []")


def test_a_refusal_is_one_and_the_kernel_goes_on(kernel: Kernel, model: Path) -> None:
    kernel.run(READ.format(folder=model))
    with pytest.raises(AssertionError, match=r"No output 7"):
        kernel.run("pg.explain(model, X, y, target=7)")
    assert texts(kernel.run("print(len(X))")) == "120\n"
