"""The page of a report in a real browser, on a phone and on a wide screen.

The page is opened from its file, as a reader does who was sent it.
"""

from __future__ import annotations

import re

import pandas as pd
import pytest
from browser import headless_browser, needs_browser
from made_runs import LR, write_rich_run
from playwright.sync_api import expect

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
def trials(report):
    return pd.read_parquet(report.trials)


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


# All trials: filter, sort, brush, point, choose --------------------------------------------------

SHOWN_ROWS = """rows => rows.filter(row => !row.hidden).map(
    row => [...row.children].map(cell => cell.textContent))"""


class Explored:
    """The part of the page that a reader explores."""

    def __init__(self, page):
        self.page, self.complaints = page, []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.part = page.locator(".explorer")
        self.headers = self.part.locator("thead th").all_text_contents()

    def shown(self, column):
        """Cells of a column, of the rows that are shown, from above."""
        rows = self.part.locator("tbody tr").evaluate_all(SHOWN_ROWS)
        return [row[self.headers.index(column)] for row in rows]

    def keeps(self, trials, *, of):
        """Whether the page comes to say how many trials are shown."""
        expect(self.part.locator("output")).to_have_text(f"{len(trials)} of {len(of)} trials")

    def drag(self, axis, first, last):
        """Drag along an axis from a tick to another, or a little beyond."""
        title = self.part.locator("#parallel text", has_text=re.compile(f"^{axis}$")).bounding_box()
        ends = [self._tick(title, tick) for tick in (first, last)]
        self.page.mouse.move(*ends[0])
        self.page.mouse.down()
        self.page.mouse.move(*ends[1], steps=4)
        self.page.mouse.up()

    def _tick(self, title, text):
        place = title["x"] + title["width"] / 2
        boxes = [
            tick.bounding_box()
            for tick in self.part.locator("#parallel text", has_text=re.compile(f"^{text}$")).all()
        ]
        box = next(box for box in boxes if 0 < box["x"] - place < 20)
        return place, box["y"] + box["height"] / 2


@pytest.fixture(scope="module")
def explored(browser, report):
    page = browser.new_page(viewport={"width": 1400, "height": 1600})
    page.goto(report.report_html.as_uri(), wait_until="load")
    page.locator(".explorer").scroll_into_view_if_needed()
    yield Explored(page)
    page.close()


@pytest.fixture
def all_shown(explored, trials):
    explored.part.get_by_role("button", name="Show all").click()
    explored.keeps(trials, of=trials)
    yield explored
    assert explored.complaints == []


def test_an_arm_that_is_unticked_goes(all_shown, trials):
    all_shown.part.get_by_label("random").uncheck()

    others = trials[trials["arm"] != "random"]
    all_shown.keeps(others, of=trials)
    assert sorted(all_shown.shown("arm")) == sorted(others["arm"])


def test_a_bound_that_is_typed_holds_and_shows_as_a_brush(all_shown, trials):
    all_shown.part.locator("details").evaluate("one => { one.open = true; }")
    all_shown.part.locator("[name=val_correlation]").first.fill("0.55")

    kept = trials[trials["val_correlation"] >= 0.55]
    assert 0 < len(kept) < len(trials)
    all_shown.keeps(kept, of=trials)
    assert len(all_shown.shown("val_correlation")) == len(kept)
    expect(all_shown.part.locator(".mark-rect:not(.brush_area) path")).to_have_count(1)


def test_a_column_sorts_either_way_and_what_has_no_value_stays_last(all_shown):
    header = all_shown.part.get_by_role("button", name="val_correlation", exact=True)
    orders = []
    for _ in range(2):
        header.click()
        orders.append(all_shown.shown("val_correlation"))

    for order, falling in zip(orders, (True, False), strict=True):
        numbers = [float(cell) for cell in order if cell != "–"]
        assert order[len(numbers) :] == ["–"] * (len(order) - len(numbers))
        assert numbers == sorted(numbers, reverse=falling)
    assert orders[0][-1] == orders[1][-1] == "–"


def test_a_brush_keeps_what_passes_and_a_click_takes_it_away(all_shown, trials):
    all_shown.drag("lr", "0.002", "0.01")

    column = trials[f"param.{LR}"]
    kept = trials[(column >= 2e-3) & (column <= 1e-2)]
    assert 0 < len(kept) < len(trials)
    all_shown.keeps(kept, of=trials)
    fields = all_shown.part.locator(f"[name='{LR}']")
    bounds = [float(field.input_value()) for field in fields.all()]
    ends = kept[f"param.{LR}"].agg(["min", "max"]).tolist()
    assert bounds == pytest.approx(ends, rel=1e-5)

    all_shown.drag("patch_len", "8", "16")
    both = kept[kept["param.transfer_learning.patch_len"] >= 8]
    all_shown.keeps(both, of=trials)

    all_shown.drag("lr", "0.001", "0.001")
    rest = trials[trials["param.transfer_learning.patch_len"] >= 8]
    all_shown.keeps(rest, of=trials)


def test_a_line_that_is_pointed_at_is_named_and_a_click_draws_its_curves(all_shown, trials):
    all_shown.part.get_by_label("name has").fill("design007")
    for arm in ("random", "shuffled"):
        all_shown.part.get_by_label(arm).uncheck()
    all_shown.keeps(range(2), of=trials)
    all_shown.part.get_by_role("button", name="Choose none").click()
    line = all_shown.part.locator("#parallel .line path[stroke='#0072B2']").first
    place = line.evaluate(
        """path => {
            const between = path.getPointAtLength(path.getTotalLength() / 8); // two axes
            const at = between.matrixTransform(path.getScreenCTM());
            return [at.x, at.y];
        }"""
    )

    all_shown.page.mouse.move(*place)

    assert (
        all_shown.part.locator(".readout")
        .text_content()
        .startswith("design007, pretrained, design, seed")
    )
    assert "lr " in all_shown.part.locator(".readout").text_content()
    assert all_shown.part.locator("tr.pointed").count() == 1

    all_shown.page.mouse.click(*place)

    expect(all_shown.part.locator("li")).to_contain_text("design007, pretrained, design, seed")
    expect(all_shown.part.locator("#curves .mark-line path")).to_have_count(1)


def test_trials_are_chosen_and_metrics_changed_by_keyboard(all_shown):
    all_shown.part.get_by_label("name has").fill("design010")
    all_shown.part.get_by_role("button", name="Choose none").click()
    first = all_shown.part.get_by_role("button", name="design010").first
    first.focus()

    all_shown.page.keyboard.press("Enter")
    all_shown.page.keyboard.press("Tab")
    all_shown.page.keyboard.press("Space")

    assert first.get_attribute("aria-pressed") == "true"
    expect(all_shown.part.locator("#curves .mark-line path")).to_have_count(2)
    all_shown.part.get_by_label("metric").select_option("train_loss")
    assert "train_loss" in all_shown.part.locator("#curves").text_content()


def test_with_a_script_nothing_is_said_to_those_without(all_shown):
    assert not all_shown.page.locator("#all-trials + p").is_visible()


def test_the_plots_are_as_wide_as_the_page(all_shown):
    all_shown.page.set_viewport_size({"width": 1000, "height": 1600})

    for plot in ("#parallel svg", "#curves svg"):
        expect(all_shown.part.locator(plot)).to_have_attribute("width", re.compile(r"^9\d\d$"))


def test_without_script_everything_else_is_there(browser, report):
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.report_html.as_uri(), wait_until="load")

    assert not page.locator(".explorer").is_visible()
    assert page.locator("#all-trials + p").is_visible()
    assert page.locator("#leaderboard + .scroll table").is_visible()
    page.close()


def test_print_has_the_plots_as_they_are_on_the_screen_without_fields_and_rows(all_shown):
    all_shown.page.emulate_media(media="print")

    assert all_shown.part.locator("#parallel svg").is_visible()
    assert all_shown.part.locator("output").is_visible()
    for hidden in (".fields", "button", "select", ".readout"):
        assert not all_shown.part.locator(hidden).first.is_visible()
    assert not all_shown.part.locator("tbody tr").first.is_visible()

    all_shown.page.emulate_media(media="screen")
