"""HTML that cannot be injected into: everything is text, and escaped, unless it was built here."""

from __future__ import annotations

import base64
import math
import re
import unicodedata
from collections.abc import Iterable
from html import escape, unescape
from pathlib import Path
from typing import Any

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""No script, no font, no frame, nothing from anywhere else: only what stands in the file."""

WITHOUT_END = ("meta", "img", "br")

STYLE = """
:root { color-scheme: light dark; --text: #1c2330; --quiet: #5c6675; --ground: #ffffff; --raised: #f5f7fa; --line: #dde2ea;
  --accent: #0072b2; --good: #00694b; --good-ground: #e2f4ec; --bad: #9c3f00; --bad-ground: #fdeee2; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --quiet: #9aa5b4; --ground: #14181f; --raised: #1d232d;
  --line: #323b49; --accent: #6cb8e8; --good: #74d6ae; --good-ground: #143227; --bad: #f5a66a; --bad-ground: #3a2412; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 5rem; max-width: 62rem; background: var(--ground); color: var(--text);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; }
h1 { margin: 0; font-size: 2.1rem; line-height: 1.2; letter-spacing: -0.015em; }
h2 { margin: 3rem 0 0.8rem; padding-top: 1.1rem; border-top: 1px solid var(--line); font-size: 1.3rem; line-height: 1.3; }
h3 { margin: 1.6rem 0 0.4rem; font-size: 1rem; }
p { margin: 0.5rem 0; max-width: 46rem; }
a { color: var(--accent); }
.lead { margin: 0.4rem 0 0; font-size: 1.1rem; color: var(--quiet); }
.title { display: flex; flex-wrap: wrap; gap: 0.4rem 1rem; align-items: center; }
.badge { padding: 0.1rem 0.7rem; border-radius: 1rem; font-size: 0.9rem; font-weight: 600; background: var(--bad-ground);
  color: var(--bad); }
.badge.ok { background: var(--good-ground); color: var(--good); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.9rem; margin: 1.6rem 0 0; }
.card { padding: 0.8rem 1rem 0.9rem; border-radius: 0.6rem; background: var(--raised); }
.card .name { color: var(--quiet); font-size: 0.88rem; }
.card .value { font-size: 1.55rem; font-weight: 600; line-height: 1.35; white-space: nowrap; }
.card .note { color: var(--quiet); font-size: 0.85rem; line-height: 1.4; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.6rem 0; font-size: 0.95rem; }
th, td { padding: 0.36rem 1.1rem 0.36rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; }
thead th { color: var(--quiet); font-weight: 600; font-size: 0.86rem; line-height: 1.35; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
td.number { padding-left: 0.8rem; }
pre { margin: 0.6rem 0; padding: 0.9rem 1.1rem; border-radius: 0.6rem; background: var(--raised); overflow-x: auto;
  font: 0.87rem/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; tab-size: 4; }
code { font: 0.92em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.math { font-family: "Latin Modern Roman", "STIX Two Text", Cambria, "DejaVu Serif", Georgia, serif; font-style: italic;
  white-space: nowrap; }
sub, sup { font-size: 0.72em; line-height: 0; font-style: inherit; }
figure { margin: 1rem 0 1.6rem; }
figure img { display: block; width: 100%; height: auto; padding: 0.6rem; border-radius: 0.6rem; background: #ffffff;
  border: 1px solid var(--line); }
figcaption { margin-top: 0.5rem; color: var(--quiet); font-size: 0.9rem; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; }
ul { padding-left: 1.2rem; }
.columns { display: flex; flex-wrap: wrap; gap: 0 4.5rem; }
footer { margin-top: 3.5rem; color: var(--quiet); font-size: 0.85rem; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } h2, figure, table { break-inside: avoid; } }
"""


class Html(str):
    """Text that is HTML already. Anything else is escaped where it enters an element."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: str) -> Html:
    """An element: children and attribute values are escaped, unless they are `Html`; `class_` stands for `class`."""
    inside = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    if name in WITHOUT_END:
        return Html(f"<{name}{inside}>")
    return Html(f"<{name}{inside}>{join(children)}</{name}>")


def join(parts: Iterable[Any]) -> Html:
    """Parts one after the other; what is not `Html` is escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts))


def page(title: str, *body: Any) -> Html:
    """A whole document that needs nothing else: style inline, no script, and a policy that keeps it so."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    return Html(f"<!doctype html>\n{tag('html', head, tag('body', *body), lang='en')}\n")


def table(header: Iterable[Any], rows: Iterable[Iterable[Any]], numbers: Iterable[int] = ()) -> Html:
    """A table whose first column names its rows; the columns `numbers` are aligned to the right."""
    right = set(numbers)

    def cell(element: str, column: int, content: Any) -> Html:
        return tag(element, content, class_="number") if column in right else tag(element, content)

    head = tag("tr", *(cell("th", column, content) for column, content in enumerate(header)))
    lines = [tag("tr", *(cell("td" if column else "th", column, content) for column, content in enumerate(row))) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines)), class_="wide")


def section(title: str, content: Html) -> Html:
    """A titled section, or nothing where there is nothing to say."""
    return tag("section", tag("h2", title), content) if content else Html()


def card(name: str, value: Any, note: Any) -> Html:
    """One large value with its name and a note."""
    parts = ((name, "name"), (value, "value"), (note, "note"))
    return tag("div", *(tag("div", content, class_=kind) for content, kind in parts), class_="card")


def picture(path: Path, caption: str) -> Html:
    """A PNG inside the page, or nothing where the file is missing."""
    if not path.exists():
        return Html()
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = tag("img", src=f"data:image/png;base64,{data}", alt=caption)
    return tag("figure", image, tag("figcaption", caption))


def listing(path: Path, note: str) -> Html:
    """A text file to be unfolded, or nothing where it is missing."""
    if not path.exists():
        return Html()
    content = tag("pre", path.read_text(encoding="utf-8"))
    return tag("details", tag("summary", f"{path.name}, {note}"), content)


def prose(text: str) -> Html:
    """Text as a docstring has it, with mathematics between dollar signs set with italics, sub- and superscripts."""
    parts = re.split(r"\$([^$]+)\$", text)
    return join(tag("span", _mathematics(part), class_="math") if number % 2 else part for number, part in enumerate(parts))


SYMBOLS = {
    "partial": "∂",
    "nabla": "∇",
    "cdot": "·",
    "times": "×",
    "infty": "∞",
    "in": "∈",
    "pm": "±",
    "leq": "≤",
    "geq": "≥",
    "ldots": "…",
    "dots": "…",
}


def _mathematics(source: str) -> Html:
    """The LaTeX that equations of a docstring use: Greek letters, scripts, fractions and roots; the rest stays as it is."""
    text = escape(source)
    text = re.sub(r"\\(?:left|right|,|;|!|quad)(?![a-z])", "", text)
    text = re.sub(r"\\[td]?frac\{([^{}]*)\}\{([^{}]*)\}", lambda found: f"{_bracketed(found[1])}/{_bracketed(found[2])}", text)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"√(\1)", text)
    text = re.sub(r"\\sqrt\s*(\w)", r"√\1", text)
    text = re.sub(r"\\[td]?frac\s*(\w)\s*(\w)", r"\1/\2", text)
    text = re.sub(r"\\([A-Za-z]+)", _symbol, text)
    text = re.sub(r"_\{([^{}]*)\}|_(\w)", lambda found: f"<sub>{found[1] or found[2]}</sub>", text)
    text = re.sub(r"\^\{([^{}]*)\}|\^(\w)", lambda found: f"<sup>{found[1] or found[2]}</sup>", text)
    return Html(text.replace("-", "−"))


def plain(text: str) -> str:
    """A docstring's line for a terminal: the mathematics between dollar signs without its LaTeX."""

    def unmarked(found: re.Match[str]) -> str:
        marked = re.sub(
            r"<su([bp])>(.*?)</su[bp]>", lambda script: ("_" if script[1] == "b" else "^") + _bracketed(script[2]), _mathematics(found[1])
        )
        return unescape(marked)

    return re.sub(r"\$([^$]+)\$", unmarked, text)


def _bracketed(part: str) -> str:
    return part if part.isalnum() else f"({part})"


def _symbol(found: re.Match[str]) -> str:
    name = found[1]
    if name in SYMBOLS:
        return SYMBOLS[name]
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {name.removeprefix('var')}")
    except KeyError:
        return name


def symbol(name: str) -> Html:
    """A coordinate, field or coefficient: one letter as mathematics, a word as a word."""
    return prose(f"${name}$") if len(name) == 1 else join([name])


def number(value: float | None, digits: int = 2) -> Html:
    """A number as it is typeset, `3.2 × 10⁻⁷`; a dash for one that is missing or was not finite."""
    if value is None or not math.isfinite(value):
        return Html("–")
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return Html(f"{float(f'{value:.{digits}g}'):g}".replace("-", "−"))
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return Html(f"{mantissa}\u00a0×\u00a010<sup>{int(exponent)}</sup>".replace("-", "−"))


def duration(seconds: float | None) -> Html:
    """`0.4 s`, `75 s`, `12 min`."""
    if seconds is None:
        return Html("–")
    if seconds < 0.01:
        return Html("under 0.01 s")
    if seconds < 10:
        return Html(f"{seconds:.2g}\u00a0s")
    return Html(f"{seconds:.0f}\u00a0s" if seconds < 600 else f"{seconds / 60:.0f}\u00a0min")
