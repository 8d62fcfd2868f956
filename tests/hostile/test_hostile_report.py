"""Fifty injection strings as names, levels, target and path: from CSV through `run` to
a page in a real browser.
"""

from __future__ import annotations

import http.server
import threading
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from invoking import call

MARK = "document.documentElement.dataset.broken=1"
#: What runs, asks for something, or ends an element, an attribute, a script, a style or
#: a comment. PORT is ours.
PAYLOADS = [
    f"<script>{MARK}</script>", f"</script><script>{MARK}</script>", f"<SCRIPT >{MARK}</SCRIPT >", f"<scr<script>ipt>{MARK}</script>",
    f"<img src=x onerror={MARK}>", f"<img src=x onerror='{MARK}'>", f'"><img src=x onerror="{MARK}">', f"'><img src=x onerror={MARK}>",
    f"<svg onload={MARK}>", f"<svg><script>{MARK}</script></svg>", ("<svg><animate "
                                                                   f"onbegin={MARK} "
                                                                   "attributeName=x "
                                                                   "dur=1s>"), f"<body onload={MARK}>",
    f"<iframe srcdoc='<script>parent.{MARK}</script>'>", f"<iframe src=javascript:{MARK}>", f"<a href=javascript:{MARK}>x</a>", f"javascript:{MARK}",
    f"<details open ontoggle={MARK}>", f"<input autofocus onfocus={MARK}>", f"<video><source onerror={MARK}></video>", f"<math><mtext></mtext><script>{MARK}</script></math>",
    f"</style><script>{MARK}</script>", f"</title><script>{MARK}</script>", f"</textarea><script>{MARK}</script>", f"</td></tr></table><script>{MARK}</script>",
    f"--><script>{MARK}</script>", f"]]><script>{MARK}</script>", f"<![CDATA[<script>{MARK}</script>]]>", f"<!--><script>{MARK}</script>-->",
    f"&lt;script&gt;{MARK}&lt;/script&gt;", f"&#60;script&#62;{MARK}&#60;/script&#62;", f"\\u003cscript\\u003e{MARK}\\u003c/script\\u003e", f"%3Cscript%3E{MARK}%3C/script%3E",
    f"';{MARK};//", f'";{MARK};//', f"`;{MARK};//", f"${{{MARK}}}", "{{ 7 * 7 }}", "{% raw %}{{ config }}", "#{7*7}", "<%= 7*7 %>",
    "<img src=http://127.0.0.1:PORT/img>", ("<link rel=stylesheet "
                                           "href=http://127.0.0.1:PORT/css>"), "<style>@import 'http://127.0.0.1:PORT/import';</style>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:PORT/meta'>", "<base href=http://127.0.0.1:PORT/>", "url(http://127.0.0.1:PORT/url)",
    "<object data=http://127.0.0.1:PORT/object>", "$\\href{http://127.0.0.1:PORT/tex}{x}$", '=HYPERLINK("http://127.0.0.1:PORT/cell")', "\u202e<b>turned</b>",
]  # fmt: skip


class Words(HTMLParser):
    """The text of a page, outside script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words.append(data)


@pytest.fixture
def listener():
    """A server on this machine that only remembers what it was asked for."""
    requested_paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requested_paths.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], requested_paths
    server.shutdown()
    server.server_close()
    thread.join()


@needs_browser
def test_the_browser_would_run_it(tmp_path, listener):
    """The mark and the listener work: a page that is not escaped leaves both."""
    port, requested_paths = listener
    page_visit = visit(
        f"<html><body>{PAYLOADS[4]}<img src=http://127.0.0.1:{port}/img></body></html>",
        tmp_path,
    )
    assert 'data-broken="1"' in page_visit.page
    assert any("/img" in url for url in page_visit.requests), (
        "requests are seen in the browser's log too"
    )
    assert "/img" in requested_paths


@needs_browser
def test_nothing_from_a_table_runs_or_asks_for_anything(tmp_path, listener):
    port, requested_paths = listener
    strings = [payload.replace("PORT", str(port)) for payload in PAYLOADS]
    assert len(set(strings)) == 50
    rng = np.random.default_rng(0)
    rows = 240
    table = pd.DataFrame({name: rng.normal(size=rows) for name in strings[:24]})
    for column_number, name in enumerate(strings[24:27]):
        levels = strings[27 + 7 * column_number : 34 + 7 * column_number]
        table[name] = rng.choice(levels, rows)
    labels = strings[48:50]
    target = f"<b onclick={MARK}>target</b>"
    table[target] = np.where(
        table[strings[0]] + (table[strings[24]] == strings[27]) > 0, *labels
    )
    source = tmp_path / f"a&b<img src=x onerror={MARK}>.csv".replace("/", "")
    table.to_csv(source, index=False)
    out = tmp_path / f"<svg onload={MARK}>"
    call(
        "run",
        source,
        "--target",
        target,
        "--preset",
        "fast",
        "--out",
        out,
        "--seed",
        "0",
    )
    page_visit = visit(out / "report.html", tmp_path)
    assert 'data-broken="1"' not in page_visit.page
    assert requested_paths == []
    assert page_visit.requests == []
    assert page_visit.said == []
    words = "".join(Words(page_visit.page).words)
    squeezed = "".join(words.split())
    shown = [
        text
        for text in [*strings[:27], *labels, target]
        if "".join(text.split())[:12] in squeezed
    ]
    assert len(shown) >= 25, "names are shown as text"
