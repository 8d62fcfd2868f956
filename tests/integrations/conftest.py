from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run import run_table


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("logged")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        rng.normal(size=(240, 3)), columns=["age", "dose", "`odd`\nname"]
    )
    table["ill"] = np.where(table["age"] + 0.3 * rng.normal(size=240) > 0, "yes", "no")
    table.to_csv(folder / "table.csv", index=False)
    request = RunRequest(
        table=str(folder / "table.csv"),
        target=("ill",),
        out=folder / "run",
        preset="fast",
    )
    run_table(request, say=lambda line: None)
    return folder / "run"
