"""The markdown of text widgets."""

import pytest

from local.dashboards.markdown import MarkdownError, html_of


def test_headings_paragraphs_lists_and_what_stands_in_a_line() -> None:
    text = "# One\n## Two\nA **bold** and *soft*\n`code_of_it` line.\n\n- first\n* [second](https://x.y/z)"
    assert html_of(text) == (
        "<h2>One</h2><h3>Two</h3>"
        "<p>A <b>bold</b> and <em>soft</em> <code>code_of_it</code> line.</p>"
        '<ul><li>first</li><li><a href="https://x.y/z" rel="noreferrer">second</a></li></ul>'
    )


def test_markup_in_a_text_is_text() -> None:
    assert html_of("<b>&") == "<p>&lt;b&gt;&amp;</p>"
    assert "<a" not in html_of("[x](javascript:alert(1))")


@pytest.mark.parametrize("line", ["| a | b |", "> quoted", "![x](y)", "---", "```", "1. one"])
def test_what_is_not_drawn_is_refused(line: str) -> None:
    with pytest.raises(MarkdownError, match="not known here"):
        html_of(f"text\n\n{line}")
