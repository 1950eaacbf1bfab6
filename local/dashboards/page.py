"""The look that the demo's report and the dashboards share: one style sheet, light and dark."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

# Its colours: https://jfly.uni-koeln.de/color/
_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def page(title: str, body: str, head: str = "", layout: str = "") -> str:
    """A whole HTML page; `body` and `head` are HTML, `title` is text; `layout` may be `wide`."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{head}</head>"
        f'<body><main class="{layout}">{body}</main></body></html>\n'
    )


def card(title: str, content: str, size: str = "half") -> str:
    """A box with a heading; `size` is whole, half or third (of the width), or `half tall`."""
    return f'<section class="card {size}"><h2>{escape(title)}</h2>{content}</section>'


def figures(named: Sequence[tuple[str, str | None]]) -> str:
    """Numbers to be read from afar, each under its name; None is one that is not there yet."""
    shown = "".join(
        f"<div><dt>{escape(name)}</dt>"
        + ("<dd class=none>none yet</dd>" if value is None else f"<dd>{escape(value)}</dd>")
        + "</div>"
        for name, value in named
    )
    return f'<dl class="figures">{shown}</dl>'


def html_table(headers: list[str], rows: list[list[object]]) -> str:
    """A table; columns that hold only numbers stand to the right."""
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        for i in range(len(headers))
    ]

    def cells(tag: str, values: list[object]) -> str:
        return "".join(
            f"<{tag}{' class=number' if right else ''}>{_shown(value)}</{tag}>"
            for value, right in zip(values, numeric, strict=True)
        )

    head = f"<thead><tr>{cells('th', list(headers))}</tr></thead>"
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
