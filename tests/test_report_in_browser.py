"""The page of a report in a real browser, on a phone and on a wide screen.

The page is opened from its file, as a reader does who was sent it.
"""

from __future__ import annotations

import pytest
from browser import headless_browser, needs_browser
from made_runs import write_rich_run

from stage1.pages.answer_section import EASIER, HELPS, TRAIN
from stage1.pages.study_page import write_report

pytestmark = needs_browser

OUTSIDE = """() => [...document.body.querySelectorAll('*')]
    .filter(element => !element.parentElement.closest('.scroll') && element.checkVisibility())
    .filter(element => {
        const box = element.getBoundingClientRect();
        return box.left < 0 || box.right > document.documentElement.clientWidth;
    })
    .map(element => element.outerHTML.slice(0, 100))
"""
"""What lies outside the page, but for what scrolls in a box of its own."""
TABLES = """tables => tables.map(table => {
    const box = table.closest('.scroll').getBoundingClientRect();
    return table.checkVisibility() && box.width > 0 && box.height >= 20;
})"""
IMAGES = """images => images.map(image => ({
    alt: image.alt, pixels: image.naturalWidth, shown: image.getBoundingClientRect().width,
}))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = write_rich_run(tmp_path_factory.mktemp("runs") / "rich", configurations=36)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def browser():
    with headless_browser() as chromium:
        yield chromium


@pytest.fixture(params=[400, 1400], ids=["phone", "wide"])
def opened(request, browser, report):
    """The page with everything unfolded, what it asked for and what it complained of."""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    asked, complaints = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.report_html.as_uri(), wait_until="load")
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    yield page, asked, complaints
    page.close()


def test_the_page_asks_for_nothing_but_itself_and_the_browser_has_no_complaint(opened, report):
    _, asked, complaints = opened

    assert asked == [report.report_html.as_uri()]
    assert complaints == []


def test_the_three_answers_are_seen_without_scrolling(browser, report):
    for width in (400, 1400):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(report.report_html.as_uri(), wait_until="load")

        for question in (HELPS, EASIER, TRAIN):
            box = page.locator("p", has_text=question).bounding_box()
            assert box["y"] + box["height"] <= 800

        page.close()


def test_nothing_lies_outside_the_page(opened):
    page, _, _ = opened

    width, room = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= room
    assert page.evaluate(OUTSIDE) == []


def test_every_table_is_visible(opened):
    page, _, _ = opened

    visible = page.eval_on_selector_all("table", TABLES)

    assert len(visible) >= 15
    assert all(visible)


def test_every_figure_is_loaded_readable_and_named(opened, report):
    page, _, _ = opened

    images = page.eval_on_selector_all("img", IMAGES)

    assert len(images) == len(list(report.figures.glob("*.png"))) == 11
    assert all(image["alt"] for image in images)
    assert all(image["pixels"] >= 1000 for image in images)
    assert all(image["shown"] >= 350 for image in images)


def test_links_lead_to_the_sections(opened):
    page, _, _ = opened

    for link in page.query_selector_all("nav a"):
        link.click()
        target = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
        assert target.bounding_box()["y"] < 900


def test_verdicts_are_cards_on_a_phone_and_a_table_on_a_wide_screen(opened):
    page, _, _ = opened

    first = page.locator("table").first
    wide = page.viewport_size["width"] > 1000
    assert first.locator("thead").is_visible() is wide
    assert first.locator("tbody tr").first.bounding_box()["height"] > (20 if wide else 120)
