"""Whether the built site holds together: `python docs/check_site.py build/site`.

Part of `make docs`. Sphinx checks the references that it resolves. This looks at what came out:
that each link to a page or a place in one leads somewhere, that nothing is fetched from the network
to show a page, that all public names of both languages are there, and that pictures have a text.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import bufferbridge as bb

#: What a browser fetches by itself.
_FETCHED = {
    ("link", "href"),
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
}


class Page(HTMLParser):
    """The anchors, links and complaints of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.wrong: list[str] = []
        self.names: set[str] = set()  # what signatures are of
        self._open = 0  # elements, within that of a name
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        if self._open or "sig-name" in found.get("class", "").split():
            self._open += 1
        if tag in ("img", "svg") and not _text_of(tag, found):
            self.wrong.append(f"a picture without a text: {found}")
        for name, value in found.items():
            remote = bool(urlsplit(value).netloc)
            if (tag, name) in _FETCHED and remote and found.get("rel") != "canonical":
                self.wrong.append(f"fetched from the network: {value}")
            elif (
                name in ("href", "src")
                and not remote
                and not value.startswith(("data:", "mailto:"))
            ):
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._open -= bool(self._open)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.names.add(data)


def _text_of(tag: str, attributes: dict[str, str]) -> str:
    if tag == "svg" and attributes.get("role") != "img":
        return "an icon of the theme"
    return attributes.get("alt") or attributes.get("aria-label") or ""


def check(site: Path) -> list[str]:
    """What is wrong, in lines."""
    pages = {
        path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.glob("**/*.html"))
    }
    wrong = []
    for path, page in pages.items():
        wrong += [f"{path.name}: {what}" for what in page.wrong]
        for link in page.links:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append(f"{path.name}: {link}: there is no such file")
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors
            ):
                wrong.append(f"{path.name}: {link}: there is no such place")
    python = {f"bufferbridge.{name}" for name in bb.__all__}
    wrong += [
        f"{n} is not in the reference"
        for n in python - pages[site / "reference-python.html"].anchors
    ]
    code = "import BufferBridge; Tuple(map(string, names(BufferBridge)))"
    julia = {*bb.eval(code, bb.newmodule("Names"))} - {"BufferBridge"}
    wrong += [
        f"{n} is not in the reference" for n in julia - pages[site / "reference-julia.html"].names
    ]
    return sorted(wrong)


if __name__ == "__main__":
    complaints = check(Path(sys.argv[1]).resolve())
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(bool(complaints))
