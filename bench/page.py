"""Writes the measured parts of docs/performance.md, one for each version of Julia, and their plots.

A part stands between two marks, which name the version; only that part is replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rows import PROCESS_ROWS, ROWS
from run import PEER_NAMES, conditions, ratio_in_words, ratio_of, table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN = "<!-- measured with Julia {}: begin -->\n"
END = "<!-- measured with Julia {}: end -->\n"

WITHIN, OVER, GOAL = "#4477aa", "#ee7733", "#222222"
STYLES = [("#aa3377", "o"), ("#228833", "s"), ("#ccbb44", "D"), ("#888888", "^")]


def update(report: dict[str, Any]) -> None:
    """Put the report into the page, in place of the last one with this version of Julia."""
    julia = report["bridges"]["bufferbridge"]["versions"]["Julia"].rpartition(".")[0]
    begin, end = BEGIN.format(julia), END.format(julia)
    text = PAGE.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"{PAGE} has no part for Julia {julia}: {begin}{end}")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    picture = PAGE.with_name(f"performance-{julia}.svg")
    plot(report, picture)
    PAGE.write_text(before + begin + "\n" + as_markdown(report, picture.name) + "\n" + end + after)


def as_markdown(report: dict[str, Any], picture: str) -> str:
    (headings, *lines), notes = table(report)
    parts = [
        [f"- {line}" for line in conditions(report)],
        [f"![The ratios of the table as bars, with the goals]({picture})"],
        markdown_table(headings[:7], [line[:7] for line in lines]),
    ]
    if len(headings) > 7:
        parts.append(["The ratios again, with the peers':"])
        chosen = [0, 4, *range(7, len(headings))]
        names = ["what", "bufferbridge", *headings[7:]]
        parts.append(markdown_table(names, [[line[i] for i in chosen] for line in lines]))
    if notes:
        parts.append(["  \n".join(notes)])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def markdown_table(headings: list[str], lines: list[list[str]]) -> list[str]:
    left = ("what", "baseline", "verdict")
    rule = ["---" if heading in left else "---:" for heading in headings]
    where = headings.index("baseline") if "baseline" in headings else None
    lines = [[f"`{x}`" if i == where else x for i, x in enumerate(line)] for line in lines]
    return ["| " + " | ".join(line) + " |" for line in [headings, rule, *lines]]


def plot(report: dict[str, Any], path: Path) -> None:
    """Ratios as bars, their goals as marks, the peers as points, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "bufferbridge", "font.size": 9})
    bridges = report["bridges"]
    rows = [*ROWS, *PROCESS_ROWS]
    figure, axes = plt.subplots(figsize=(9, 0.27 * len(rows) + 1.4), layout="constrained")
    axes.set_xscale("log")
    left = 0.06  # where the bars begin: a logarithmic scale has no zero
    for y, row in enumerate(rows):
        ratio = ratio_of(bridges["bufferbridge"]["rows"][row.key])
        if ratio is None:
            axes.text(left * 1.05, y, "not in this version", va="center", color="#777777")
        else:
            colour = WITHIN if ratio <= row.goal else OVER
            axes.barh(y, ratio - left, left=left, height=0.62, color=colour, zorder=2)
            axes.annotate(
                ratio_in_words(ratio),
                (left, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color="white",
                fontsize=8,
                zorder=4,
            )
        axes.plot([row.goal] * 2, [y - 0.42, y + 0.42], color=GOAL, linewidth=2.2, zorder=5)
    for name, (colour, marker) in zip(PEER_NAMES, STYLES):
        if name not in bridges:
            continue
        found = [(ratio_of(bridges[name]["rows"][row.key]), y) for y, row in enumerate(rows)]
        points = [(x, y) for x, y in found if x is not None]
        style = {"color": colour, "marker": marker, "edgecolor": "white", "linewidth": 0.5}
        axes.scatter(*zip(*points), s=30, zorder=6, label=name, **style)
    axes.barh([0], [0], color=WITHIN, label="ours, within its goal")
    axes.barh([0], [0], color=OVER, label="ours, over it")
    axes.plot([], [], color=GOAL, linewidth=2.2, label="goal")
    axes.axvline(1, color="#999999", linewidth=1, zorder=1)
    axes.set_yticks(range(len(rows)), [row.what for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=left)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}")
    axes.set_xlabel("cost in baselines (see the table), logarithmic: left is faster")
    axes.grid(axis="x", which="major", color="#dddddd", zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(
        loc="outside upper center", ncols=7, columnspacing=1.2, handlelength=1.2, frameon=False
    )
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)
