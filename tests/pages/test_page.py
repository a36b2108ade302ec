"""Blocks as a page that holds everything it shows."""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from stage1.pages.blocks import (
    Caution,
    Code,
    Commands,
    Details,
    Explorer,
    Gallery,
    Heading,
    Items,
    Mark,
    Picture,
    Table,
    paragraph,
)
from stage1.pages.page import html

PNG = b"\x89PNG\r\n\x1a\n"
EVIL = "<script>alert('x')</script> & \"quoted\""


class Page(HTMLParser):
    """Elements in order with their attributes and text; a wrong nesting is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text_of(self, tag):
        return [text for name, text in self.texts if name == tag]


def page_of(*blocks):
    return Page(html([Heading("Study", level=1), *blocks]))


def test_a_page_is_nested_properly_and_names_its_study_and_language():
    page = page_of(Heading("Verdicts"), paragraph("text"))

    assert page.open == []
    assert page.text_of("title") == page.text_of("h1") == ["Study"]
    assert page.all("html") == [{"lang": "en"}]


def test_the_page_asks_for_nothing_from_outside():
    picture = Picture("Curves", "How fast.", "figures/curves.png", PNG, "")

    text = html([Heading("Study", level=1), Gallery([picture])])

    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", text)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text


def test_a_picture_is_inside_with_its_words():
    page = page_of(Gallery([Picture("Curves", "How fast.", "figures/curves.png", PNG, "")]))

    ((image,), (caption, said)) = page.all("img"), page.texts[-2:]
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == PNG
    assert image["alt"] == "Curves"
    assert (caption, said) == (("strong", "Curves."), ("figcaption", "How fast."))


def test_a_missing_picture_is_one_line():
    page = page_of(Gallery([Picture("Cost", "", "", b"", "nothing was timed")]))

    assert page.all("img") == []
    assert page.text_of("p") == [": nothing was timed"]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(Heading(EVIL), id="heading"),
        pytest.param(paragraph(EVIL), id="paragraph"),
        pytest.param(Caution("Warning", EVIL), id="caution"),
        pytest.param(Table([EVIL], [[Code(EVIL)], [EVIL]], EVIL), id="table"),
        pytest.param(Gallery([Picture(EVIL, EVIL, "x", PNG, "")]), id="picture"),
        pytest.param(Items([(EVIL,)]), id="list"),
        pytest.param(Commands([EVIL]), id="commands"),
        pytest.param(Details(EVIL, [paragraph(EVIL)]), id="details"),
    ],
)
def test_text_is_never_markup(block):
    page = page_of(block)

    assert page.all("script") == []
    assert any(EVIL in text for _, text in page.texts)


def test_data_of_the_script_are_never_markup_and_only_its_own_scripts_may_run():
    data = {"names": [EVIL], "columns": [], "metrics": [{"name": EVIL}], "colors": {}}

    text = html([Heading("Study", level=1), Explorer(data)])

    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, flags=re.DOTALL)
    (held, *run) = scripts
    assert held[0] == ' type="application/json"'
    assert json.loads(held[1]) == data
    policy = next(m["content"] for m in Page(text).all("meta") if "http-equiv" in m)
    hashes = [base64.b64encode(sha256(body.encode()).digest()).decode() for _, body in run]
    assert policy.endswith("script-src " + " ".join(f"'sha256-{one}'" for one in hashes))
    assert "unsafe-eval" not in policy
    assert "Redistribution and use in source and binary forms" in run[0][1]


def test_a_table_has_a_header_row_names_and_a_box_to_scroll_in():
    page = page_of(Table(["arm", "s"], [["random", "1.0"]], "Time", numbers_from=1))

    assert [cell["scope"] for cell in page.all("th")] == ["col", "col", "row"]
    assert page.all("td") == [{"data-label": "s", "class": "number"}]
    assert page.text_of("caption") == ["Time"]
    assert {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Time"} in page.all(
        "div"
    )


def test_links_above_lead_to_every_section():
    page = page_of(Heading("The plan's table"), Heading("Part", level=3), Heading("Cost"))

    targets = [link["href"].removeprefix("#") for link in page.all("a")]
    assert targets == ["the-plan-s-table", "cost"]
    assert targets == [heading["id"] for heading in page.all("h2")]


def test_a_verdict_is_words_with_a_look_of_its_own():
    page = page_of(paragraph(Mark("NOT EVALUABLE"), " because"))

    assert page.all("span") == [{"class": "mark not-evaluable"}]
    assert page.text_of("span") == ["NOT EVALUABLE"]


def test_spaces_between_pieces_of_a_line_stay():
    text = html([Heading("Study", level=1), paragraph("the ", Code("x"), " of ", Code("y"), ".")])

    assert "<p>the <code>x</code> of <code>y</code>.</p>" in text


def test_commands_keep_their_lines():
    page = page_of(Commands(["python -m a", "python -m b"]))

    assert page.text_of("code") == ["python -m a python -m b"]
    assert "python -m a\npython -m b" in html(
        [Heading("S", level=1), Commands(["python -m a", "python -m b"])]
    )
