"""Check the built site: every link and anchor leads somewhere, and no page loads
anything from elsewhere.

    python docs/check_site.py            # links
    python docs/check_site.py --browser  # also search and accessibility (axe), in
    Chromium, on a wide and a narrow page

The site has to be built before, by ``make docs``.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).resolve().parent / "_build" / "html"
#: Pages of every kind.
PAGES = (
    *(
        "index.html",
        "tutorials/index.html",
        "tutorials/ten-minutes-with-a-table.html",
        "how-to.html",
        "methods.html",
    ),
    *(
        "auto_gallery/index.html",
        "reference/python/explain.html",
        "reference/commands/permgrad-run.html",
    ),
    *("reference/errors.html", "glossary.html", "search.html"),
)
WIDTHS = (1400, 390)
#: What loads when a page opens, as opposed to what a reader follows.
_LOADED = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("source", "src"),
    ("iframe", "src"),
}
_AXE = """
<script src="{axe}"></script><script>
addEventListener("load", () => setTimeout(() => axe.run().then((result) => {{
  const found = document.createElement("pre");
  found.id = "axe-found";
  found.textContent = JSON.stringify({{
    "violations": result.violations.map((one) => [one.id, one.nodes.length, one.nodes[0].html]),
    "passes": result.passes.length, "wide": document.documentElement.scrollWidth - innerWidth }});
  document.body.append(found);
}}), 300));
</script></body>"""


class Page(HTMLParser):
    """The places that a page has, and those that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = {"", "top"}
        self.links: list[tuple[str, str]] = []  # the element, and where it leads
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note identifiers and links."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value or "")
            elif (
                name in ("href", "src")
                and value
                and not (tag == "link" and ("rel", "canonical") in attrs)
            ):
                self.links.append((f"{tag} {name}", value))


def dead_links(site: Path) -> list[str]:
    """Return what leads nowhere, and what is loaded from elsewhere, one line each."""
    files = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in files}
    if len(pages) < len(PAGES):
        raise SystemExit(f"No site in {site}. Run 'make docs' first.")
    faults = []
    for path, page in sorted(pages.items()):
        for element, link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if tuple(element.split()) in _LOADED and parts.scheme != "data":
                    faults.append(f"{path.relative_to(site)}: loads {link}")
                continue
            target = (
                (path.parent / unquote(parts.path)).resolve() if parts.path else path
            )
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                faults.append(f"{path.relative_to(site)}: no file {link}")
            elif (
                target in pages and unquote(parts.fragment) not in pages[target].places
            ):
                faults.append(f"{path.relative_to(site)}: no place {link}")
    return list(dict.fromkeys(faults))


def opened(address: str, width: int) -> str:
    """Return a page as Chromium leaves it after its scripts ran."""
    browser = next(
        filter(
            None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
        ),
        None,
    )
    if browser is None:
        raise SystemExit("--browser needs Chromium.")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
        ]
        command += [
            f"--user-data-dir={profile}",
            f"--window-size={width},1600",
            "--virtual-time-budget=20000",
        ]
        done = subprocess.run(
            [*command, "--dump-dom", address],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    return done.stdout


def violations(site: Path, page: str, width: int) -> list[str]:
    """Return what axe finds on a page, one line each."""
    axe = Path(find_spec("axe_core_python").origin).parent / "axe.min.js"  # type: ignore[union-attr,arg-type]
    text = (site / page).read_text(encoding="utf-8")
    copy = (site / page).with_name("axe-copy.html")
    copy.write_text(
        text.replace("</body>", _AXE.format(axe=axe.as_uri())), encoding="utf-8"
    )
    try:
        found = re.search(
            r'<pre id="axe-found">(.*?)</pre>', opened(copy.as_uri(), width), re.DOTALL
        )
    finally:
        copy.unlink()
    if found is None:
        return [f"{page} at {width}: axe did not finish"]
    result = json.loads(html.unescape(found[1]))
    faults = [
        f"{page} at {width}: {rule} on {count}, first {first}"
        for rule, count, first in result["violations"]
    ]
    if result["passes"] < 10:
        faults.append(f"{page} at {width}: axe had little to look at")
    if result["wide"] > 0:
        faults.append(
            f"{page} at {width}: {result['wide']} pixels wider than the window"
        )
    return faults


def search_faults(site: Path) -> list[str]:
    """Return a line if the search finds nothing without a server."""
    page = opened(f"{(site / 'search.html').as_uri()}?q=shapley", WIDTHS[0])
    found = re.search(r"found (\d+) pages", page)
    count = int(found[1]) if found else 0
    return [] if count > 3 else [f"search.html?q=shapley: {count} results"]


def main() -> None:
    """Check, and print what is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--browser",
        action="store_true",
        help="Also try search and accessibility in Chromium.",
    )
    parser.add_argument("--site", type=Path, default=SITE)
    arguments = parser.parse_args()
    site = arguments.site.resolve()
    faults = dead_links(site)
    if arguments.browser:
        faults += search_faults(site)
        faults += [
            line
            for page in PAGES
            for width in WIDTHS
            for line in violations(site, page, width)
        ]
    for line in faults:
        print(line, file=sys.stderr)
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
