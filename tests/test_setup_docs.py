"""What the documentation shows works: its Python blocks run, its links lead somewhere,
its commands exist.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from apart import run_script

ROOT = Path(__file__).resolve().parents[1]
#: Packages of extras that pages import.
EXTRAS = (
    "lightgbm",
    "xgboost",
    "catboost",
    "captum",
    "shap",
    "shapiq",
    "polars",
    "mlflow",
    "wandb",
    "onnxruntime",
)
#: Folders that the build of the site writes.
BUILT = {"_build", "auto_gallery", "records", "reference"}
OUTSIDE = ("README.md", "CONTRIBUTING.md", "benchmarks/decisions.md")
PAGES = sorted(
    page
    for page in (*(ROOT / name for name in OUTSIDE), *(ROOT / "docs").rglob("*.md"))
    if not BUILT & set(page.relative_to(ROOT).parts)
)


def name_of_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix().removeprefix("docs/")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```",
        page.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=name_of_page
)
def test_python_blocks_run(page, tmp_path):
    # A process of its own: the pages register methods and data sets, which must not
    # leak into other tests.
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    ended = run_script(program, cwd=tmp_path)
    missing = re.search(r"No module named '(\w+)'", ended.stderr)
    if missing and missing[1] in EXTRAS:
        pytest.skip(f"{missing[1]} is not installed")
    assert ended.returncode == 0, ended.stderr
    if page.name == "README.md":
        outputs = blocks(page, "text")
        assert outputs
        assert [output for output in outputs if output not in ended.stdout] == []


def test_the_pages_that_must_have_examples_have_them():
    with_blocks = {page.name for page in PAGES if blocks(page, "python")}
    assert {
        "README.md",
        "extending.md",
        "any-model.md",
        "large-tables.md",
    } <= with_blocks


def test_the_examples_of_the_readme_give_the_same_numbers_to_everybody():
    page = "\n".join(blocks(ROOT / "README.md", "python"))
    calls = [node for node in ast.walk(ast.parse(page)) if isinstance(node, ast.Call)]
    # What explains has the seed 0 by default.
    drawing = [
        node
        for node in calls
        if re.search(r"HyNN\w+$|Forest\w+$|_split$", ast.unparse(node.func))
    ]
    assert len(drawing) >= 3
    fixed = [
        node
        for node in drawing
        if "random_state" in {keyword.arg for keyword in node.keywords}
    ]
    assert [ast.unparse(node) for node in drawing if node not in fixed] == []
    assert "torch.rand" not in page or "torch.manual_seed(" in page


@pytest.mark.parametrize("page", PAGES, ids=name_of_page)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    broken = [
        target
        for target in targets
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def headings(page: Path) -> set[str]:
    """Return the names by which links find the headings of a page."""
    text = re.sub(
        r"^```.*?^```",
        "",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of_page)
def test_links_to_headings_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    targets = [
        (page.parent / file if file else page, heading) for file, heading in links
    ]
    assert [heading for file, heading in targets if heading not in headings(file)] == []


def prose(page: Path) -> str:
    """Return a page without code and tables."""
    text = re.sub(
        r"^```.*?^```|^\|[^\n]*",
        "",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    return re.sub(r"`[^`]*`", "code", text)


def test_pages_are_written_in_short_sentences():
    texts = [prose(page) for page in PAGES]
    sentences = [
        re.split(r"(?<=[.!?:])\s+|\n\s*\n|\n\s*(?:[-*#]|\d+\.)\s", text)
        for text in texts
    ]
    assert sum(len(text.split()) for text in texts) > 10_000, (
        "there is something to read"
    )
    assert (
        sum(len(sentence.split()) > 35 for page in sentences for sentence in page) < 20
    )
    assert (
        sum(text.count(";") for text in texts)
        < 3 * sum(len(text.split()) for text in texts) / 1000
    )


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_the_first_screen_of_the_readme_says_how_to_begin():
    screen = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:25]
    assert {"make demo", "make test"} <= {
        line.partition("#")[0].strip() for line in screen
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of_page)
def test_commands_and_options_exist(page):
    """Every ``permgrad …`` and ``make …`` line in a console block names commands and
    options that exist.
    """
    from typer.testing import CliRunner

    from permgrad.cli import app

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in "\n".join(blocks(page, "console")).splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        if words[:1] == ["permgrad"]:
            shown = CliRunner().invoke(app, [words[1], "--help"]).output
            for option in (
                word.partition("=")[0] for word in words if word.startswith("--")
            ):
                assert re.search(rf"{option}\b", shown), line


def project() -> dict:
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and line[0] != "#")


def name_of(need: str) -> str:
    return re.split(r"[<>=\[ ]", need)[0].lower().replace("_", "-")


def test_pinned_versions_cover_every_direct_dependency():
    extras = project()["optional-dependencies"].values()
    pinned = pins("constraints.txt")
    for need in [
        *project()["dependencies"],
        *(need for extra in extras for need in extra),
    ]:
        assert name_of(need) in {*pinned, "permgrad"}, need
    assert pinned["torch"] == "2.13.0"


def test_lower_bounds_are_the_versions_that_the_lowest_environment_has():
    """Each core dependency states one lower bound and no more, and is pinned to it for
    `make test-lowest`.
    """
    needs = project()["dependencies"]
    assert {"numpy", "pandas", "torch"} <= {name_of(need) for need in needs}
    bounds = dict(
        re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)", need).groups() for need in needs
    )
    lowest = pins("constraints-lowest.txt")
    assert lowest == bounds
    # The newest versions, which `make test` has, are another set.
    newest = pins("constraints.txt")
    numbers = {
        name: [tuple(map(int, pinned[name].split("."))) for pinned in (lowest, newest)]
        for name in bounds
    }
    assert all(low < high for low, high in numbers.values())


def test_the_lowest_environment_has_the_tools_of_the_tests_and_no_extra():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [installs] = re.findall(
        r"install -c constraints-lowest\.txt -e \. (.*?)\n\t@touch", makefile, re.DOTALL
    )
    tools = re.findall(r"'([^']+)'", installs)
    assert {name_of(tool) for tool in tools} == {
        "pytest",
        "pytest-timeout",
        "hypothesis",
    }
    assert set(tools) <= set(project()["optional-dependencies"]["dev"])


def test_records_have_different_titles():
    titles = [
        page.read_text(encoding="utf-8").partition("\n")[0]
        for page in (ROOT / "benchmarks/results").glob("*.md")
    ]
    assert len(titles) > 20
    assert sorted({title for title in titles if titles.count(title) > 1}) == []
