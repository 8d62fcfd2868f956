"""The application of docs/serving.md starts, and answers as ``predict`` does."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from verification import verify_serving


def test_the_application_is_short_and_reads_the_model_once():
    lines = [line for line in verify_serving.application().splitlines() if line]
    assert len(lines) <= 45
    compile("\n".join(lines), "app.py", "exec")
    assert sum("pg.load" in line for line in lines) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["network", "lightgbm"])
def test_the_application_answers_refuses_and_ends(tmp_path, kind):
    for package in ("fastapi", "uvicorn"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed, which docs/serving.md needs")
    verify_serving.save_model(tmp_path, kind)
    with verify_serving.served(tmp_path) as (process, port):
        equal, _ = verify_serving.equal_answers(port, tmp_path, 40)
        assert equal == 40
        assert verify_serving.refused(port) == []
        assert verify_serving.unseen(port, tmp_path)
        seconds, printed = verify_serving.stopped(process, port, tmp_path)
    assert seconds < 10
    assert "Traceback" not in printed
    assert verify_serving.SECRET not in printed
