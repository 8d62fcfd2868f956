"""The examples of docs/any-model.md that need a service or another library."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import permgrad as pg

PAGE = Path(__file__).resolve().parents[1] / "docs" / "any-model.md"
BLOCKS = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
_draws = np.random.default_rng(4)
X = pd.DataFrame(_draws.normal(size=(120, 3)), columns=["age", "dose", "noise"])


def _chance(table):
    return 1 / (1 + np.exp(-2 * table["age"].to_numpy(float)))


Y = np.where(_draws.random(120) < _chance(X), "yes", "no")


class _Server(BaseHTTPRequestHandler):
    """Answers as a REST endpoint, plumber and Openscoring do, the first time badly."""

    failed = False

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/predict" and not _Server.failed:
            _Server.failed = True
            self.send_error(503)
            return
        if self.path.endswith("/csv"):
            share = _chance(pd.read_csv(StringIO(body)))
            named = {"outcome": "yes", "probability(no)": 1 - share}
            frame = pd.DataFrame(named | {"probability(yes)": share})
            answer = frame.to_csv(index=False)
        else:
            share = _chance(pd.DataFrame(json.loads(body)))
            both_chances = pd.DataFrame({"no": 1 - share, "yes": share})
            answer = both_chances.to_json(orient="records")
            if self.path == "/r":
                answer = json.dumps(share.tolist())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    http_server = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=http_server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http_server.server_port}"
    http_server.shutdown()
    http_server.server_close()


@pytest.mark.parametrize(
    ("name", "path"),
    [("rest", "/predict"), ("plumber", "/r"), ("pmml", "/openscoring/model/mine/csv")],
)
def test_models_behind_a_service(server, name, path, tmp_path):
    pytest.importorskip("requests")
    scope = {"pd": pd, "np": np}
    exec(BLOCKS[0], scope)
    kind = {"class_names": ["no", "yes"]} if name == "plumber" else {}
    ask = lambda table: scope[name](table, server + path)  # noqa: E731 — as users do
    model = pg.Model(ask, cache=tmp_path, batch_size=200, **kind)
    explanation = pg.explain(model, X, Y, n_repeats=2, progress=False)
    local = pg.Model(
        lambda table: np.c_[1 - _chance(table), _chance(table)],
        class_names=["no", "yes"],
    )
    expected = pg.explain(local, X, Y, n_repeats=2, progress=False)
    assert expected.values.max() > 0.1
    # JSON and CSV of pandas have ten digits.
    np.testing.assert_allclose(
        explanation.values[:, 0], expected.values[:, 0], atol=1e-6
    )


def _survival():
    event_time = _draws.exponential(5 * np.exp(-X["age"].to_numpy()))
    censoring_time = _draws.exponential(20, len(X))
    return np.minimum(event_time, censoring_time), event_time <= censoring_time


def test_scikit_survival():
    pytest.importorskip("sksurv", reason="scikit-survival is not installed")
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    time, event = _survival()
    cox = CoxPHSurvivalAnalysis().fit(X, Surv.from_arrays(event, time))
    scope = {"pg": pg, "np": np, "cox": cox, "X": X, "time": time, "event": event}
    exec(BLOCKS[1], scope)
    assert scope["ranked"].ranking()[0] == "age"


def test_pycox():
    pytest.importorskip("pycox", reason="pycox is not installed")
    import torch
    from pycox.models import CoxPH

    time, event = _survival()
    net = CoxPH(torch.nn.Linear(3, 1, bias=False))
    rows = X.to_numpy("float32")
    kinds = (time.astype("float32"), event.astype("float32"))
    net.fit(rows, kinds, epochs=200, verbose=False)
    net.compute_baseline_hazards()
    scope = {"pg": pg, "np": np, "net": net, "X": X, "time": time}
    exec(BLOCKS[2], scope | {"years": [1, 2, 4]})


def test_the_score_of_times_needs_no_library():
    """The same call as for scikit-survival, with a concordance written out."""
    time, event = _survival()

    def concordance(model, rows, y):
        risk = model.predict(rows)
        late = abs(y)
        pairs = (y > 0)[:, None] & (late[:, None] < late[None])
        higher = risk[:, None] > risk[None]
        return float((higher & pairs).sum() / pairs.sum())

    class Risk:
        def predict(self, table):
            return table["age"].to_numpy()

    signed = np.where(event, time, -time)
    explanation = pg.explain(Risk(), X, signed, scoring=concordance, progress=False)
    assert explanation.ranking()[0] == "age"


@pytest.mark.parametrize("form", ["fields", "columns"])
def test_one_message_says_what_works_for_survival(form):
    time, event = _survival()
    y = np.array(
        list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)]
    )
    if form == "columns":
        y = np.column_stack([event, time])
    with pytest.raises(pg.InputError) as refused:
        pg.explain(lambda table: table["age"].to_numpy(), X, y, progress=False)
    words = (
        "Of survival, pass y = np.where(event, time, -time) with scoring= a function "
        "of model, X and y, or a column of 0 and 1 for each year survived with "
        "loss='brier' and a function that returns these chances (docs/any-model.md)"
    )
    assert words in str(refused.value)
