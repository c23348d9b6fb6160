"""The documentation's examples run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [p for p in sorted((ROOT / "docs").glob("*.md")) if ">>> " in p.read_text()]


def test_readme(run_python):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert "BoundsError" in run_python(code).stdout


def test_examples(run_python):
    """All pages in one process, where nothing else has been."""
    assert len(PAGES) > 10
    done = run_python(
        """
        import doctest, os, sys
        wrong = []
        os.chdir(sys.argv[1])  # for the paths of examples
        for page in sys.argv[2:]:
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            failed, tried = doctest.testfile(page, module_relative=False, optionflags=flags)
            if failed or not tried:
                wrong.append(f"{page}: {failed} of {tried} failed")
        print("\\n".join(wrong))
        sys.exit(len(wrong))
        """,
        arguments=[str(ROOT), *map(str, PAGES)],
    )
    assert done.stdout.strip() == ""


def _anchors(page):
    """What `#...` may name in a page: its headings, as GitHub writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)", text, re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_links():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if link.startswith("http"):
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in _anchors(target), f"{page.name}: {link}"
