"""Blocks as Markdown; a Markdown reader that is not ours says what a text comes out as."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from stage1.pages.blocks import (
    Caution,
    Code,
    Commands,
    Details,
    Gallery,
    Heading,
    Items,
    Mark,
    Picture,
    Strong,
    Table,
    paragraph,
)
from stage1.pages.markdown import escaped, markdown


def shown(text):
    """The plain text that a reader of the Markdown sees, and whether anything else is in it."""
    (_, inline, _) = MarkdownIt().parse(text)
    return "".join(token.content for token in inline.children), {t.type for t in inline.children}


@pytest.mark.parametrize(
    "text",
    [
        "val_correlation of __init__ and _private_ and a_",
        "2 * 3 * 4 and *this*",
        "a `code` and a \\ and a \\* ",
        "<script>alert(1)</script> &amp; <b>",
        "[−3.0%, +7.1%] is no link",
        'neither is [x](url) nor \\\\[x](url "t") nor [x [y](u)](v)',
        "nor are ![](url) and ![x](url)",
        "[x]: url",
        "<RuntimeError: 5 | 6>",
        "p <0.001 & 2 < 3 &c.; &#60; &lt;",
    ],
)
def test_any_text_comes_out_letter_by_letter(text):
    content, kinds = shown(escaped(text))

    assert content == text.rstrip()
    assert kinds <= {"text", "text_special"}


def test_line_ends_in_a_text_do_not_end_a_row_and_a_name_stays_readable():
    assert escaped("one\n\n two") == "one two"
    assert escaped("val_corr_m1") == "val_corr_m1"


def test_a_table_has_its_caption_its_alignment_and_escaped_bars():
    table = Table(["arm", "s"], [[Code("a|b"), "1"], [Strong("c"), "2"]], "Time", numbers_from=1)

    assert markdown([table]) == (
        "**Time**\n\n| arm | s |\n| --- | ---: |\n| `a\\|b` | 1 |\n| **c** | 2 |\n"
    )


def test_a_table_is_one_to_a_markdown_reader():
    table = Table(["a | b", "c"], [["1 | 2", "<x>"], ["", "4"]])

    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown([table]))

    begun = [place for place, token in enumerate(tokens) if token.type in ("th_open", "td_open")]
    cells = ["".join(part.content for part in tokens[p + 1].children) for p in begun]
    assert cells == ["a | b", "c", "1 | 2", "<x>", "", "4"]


def test_pictures_are_links_and_missing_ones_say_why():
    there = Picture("Curves", "How fast.", "figures/curves.png", b"png", "")
    missing = Picture("Cost", "", "", b"", "nothing was timed")

    text = markdown([Gallery([there, missing])])

    assert text == (
        "![Curves](figures/curves.png)\n\n**Curves.** How fast.\n\n**Cost**: nothing was timed\n"
    )


def test_the_other_blocks():
    blocks = [
        Heading("Name", level=1),
        Caution("Warning", "Beware."),
        paragraph(Mark("SUPPORTED"), " so ", Code("x")),
        Items([(Strong("arm"), ": a way"), ("b",)]),
        Commands(["python -m a", "python -m b"]),
        Details("More", [paragraph("in <it>")]),
    ]

    assert markdown(blocks) == (
        "# Name\n\n"
        "> **Warning.** Beware.\n\n"
        "**SUPPORTED** so `x`\n\n"
        "- **arm**: a way\n- b\n\n"
        "    python -m a\n    python -m b\n\n"
        "<details><summary>More</summary>\n\nin &lt;it>\n\n</details>\n"
    )


def test_code_with_a_backtick_stays_code():
    assert markdown([paragraph(Code("a`b"))]) == "``a`b``\n"
