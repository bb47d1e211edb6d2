"""The code in README.md and docs/ runs: every ```python block of a page, in order, in one namespace."""

import re
from pathlib import Path

import pytest

from sstricks.solvers import registry

ROOT = Path(__file__).parents[1]
PAGES = [
    page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in page.read_text()
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_solvers", dict(registry._solvers))  # a page may register solvers of its own
    monkeypatch.setattr(registry, "_iterations", dict(registry._iterations))
    namespace = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), start=1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


def test_pages_have_code():
    for name in ("README.md", "docs/field-guide.md", "docs/tutorial.md"):
        assert ROOT / name in PAGES


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in {head.lower().replace(" ", "-") for head in heads}, f"{page.name} links to #{anchor}"


def test_the_tutorial_keeps_its_promise():
    """A structure in under 30 lines, from its class to its solver."""
    structure = re.search(r"^class Phrases.*?^```", (ROOT / "docs/tutorial.md").read_text(), re.DOTALL | re.MULTILINE)
    assert structure is not None
    lines = [line for line in structure.group().splitlines()[:-1] if line.strip()]
    assert 10 < len(lines) < 30
