"""The markdown of text widgets as HTML: headings, paragraphs, lists, bold, code and links.

Every character of the text is escaped first, so that a text can't bring markup of its own. What
CloudWatch would draw and this does not (tables, images, rules, quotes) is refused.
"""

import re
from html import escape
from itertools import groupby

_HEADING = re.compile(r"(#{1,3}) (.+)")
_ITEM = re.compile(r"[-*] (.+)")
_REFUSED = re.compile(r"\||>|!\[|---|```|\d+\. |    |#{4}")


class MarkdownError(ValueError):
    """A text that is not drawn here; the message says which line."""


def html_of(text: str) -> str:
    """The text as HTML. Headings begin at h3: the page has h1 and each widget's title is an h2."""
    blocks = []
    for kind, group in groupby(text.splitlines(), _kind):
        lines = list(group)
        if kind == "heading":
            blocks += [_heading(line) for line in lines]
        elif kind == "item":
            items = "".join(f"<li>{_inline(_ITEM.sub(r'\1', line))}</li>" for line in lines)
            blocks.append(f"<ul>{items}</ul>")
        elif kind == "text":
            blocks.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "".join(blocks)


def _kind(line: str) -> str:
    if not line.strip():
        return "space"
    if _HEADING.fullmatch(line):
        return "heading"
    if _ITEM.fullmatch(line):
        return "item"
    if _REFUSED.match(line):
        raise MarkdownError(f"markdown that is not known here: {line}")
    return "text"


def _heading(line: str) -> str:
    match = _HEADING.fullmatch(line)
    if match is None:
        raise TypeError(f"{line} is no heading")
    level = min(len(match[1]), 2) + 1
    return f"<h{level}>{_inline(match[2])}</h{level}>"


def _inline(text: str) -> str:
    text = escape(text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    text = re.sub(r"(?<![\w*])\*([^*]+)\*(?![\w*])", r"<em>\1</em>", text)
    return re.sub(
        r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2" rel="noreferrer">\1</a>', text
    )
