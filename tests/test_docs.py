"""The documentation's examples run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bufferbridge as bb
from bufferbridge.__main__ import main

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


def _squeezed(text):
    """Source code with the parts of its strings joined, however they are written."""
    text = re.sub(r"\\(?=[\"'])", "", text)  # \" in a string is "
    text = re.sub(r"\"\s*\*?\s*(#[^\n]*\n\s*)?[fr]*\"", "", text)  # "a" "b", "a" *\n "b", "a" f"b"
    return re.sub(r"\s+", " ", text)


def test_troubleshooting_quotes_messages_that_exist():
    """Headings and the tables' first columns are messages, and … what differs in them.

    Each is in our sources, or in what the example under its heading prints.
    """
    files = [*(ROOT / "bufferbridge").glob("*.py"), *(ROOT / "csrc").glob("*.[ch]")]
    files += (ROOT / "jlsrc" / "src").glob("*.jl")
    sources = _squeezed("\n".join(p.read_text() for p in files))
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    sections = re.split(r"^### ", page, flags=re.M)[1:]
    messages, unknown = 0, []
    for section in sections:
        heading, _, body = section.partition("\n")
        printed = re.sub(r"\s+", " ", "".join(re.findall(r"```python\n(.*?)```", body, re.S)))
        rows = re.findall(r"^\| (`.*?) \| ", body, re.M)
        for message in re.findall(r"`([^`]{6,})`(?! below)", "\n".join([heading, *rows])):
            messages += 1
            for piece in message.split("…"):
                # A variable may stand at the border of a word: 'names' of the fields, "s" for more.
                words = piece.strip(" '\":,;")
                # glibc's, which no test can have it print.
                if words == "cannot allocate memory in static TLS block":
                    continue
                if words not in sources and words not in printed:
                    unknown.append(f"{heading}: {words!r}")
    assert unknown == []
    assert messages > 160


def test_the_command_line_is_described(capsys):
    page = (ROOT / "docs" / "command-line.md").read_text()
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.search(r"\{([\w,-]+)\}", capsys.readouterr().out)[1].split(",")
    for command in commands:
        section = re.search(rf"^## {command}$.*?(?=^## |\Z)", page, re.M | re.S)
        assert section, command
        with pytest.raises(SystemExit):
            main([command, "--help"])
        options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
        assert options <= set(re.findall(r"--[a-z-]+", section[0])), command


def test_our_environment_variables_are_described():
    page = (ROOT / "docs" / "environment.md").read_text()
    folders = (ROOT / name for name in ("bufferbridge", "csrc", "jlsrc/src", "tests"))
    for path in (p for f in folders for p in f.iterdir() if p.suffix in (".py", ".jl")):
        for name in re.findall(r"\bBUFFERBRIDGE_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()):
            assert f"`{name}`" in page, f"{path.name}: {name}"


def test_the_reference_has_all_names():
    """The blocks without names document all that the others leave out, if it has a docstring."""
    for language in ("python", "julia"):
        page = (ROOT / "docs" / f"reference-{language}.md").read_text()
        assert f"```{{{language}-reference}}\n" in page
    data = re.findall(
        r"py:data:: bufferbridge\.(\w+)", (ROOT / "docs/reference-python.md").read_text()
    )
    for name in set(bb.__all__) - set(data):
        assert getattr(bb, name).__doc__, name
    undocumented = bb.eval(
        """
        import BufferBridge
        filter(names(BufferBridge)) do name
            name !== :BufferBridge &&
                !haskey(Base.Docs.meta(BufferBridge), Base.Docs.Binding(BufferBridge, name))
        end
        """,
        bb.newmodule("References"),
    )
    assert list(undocumented) == []
