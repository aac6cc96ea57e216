"""The live view in a browser without a window: what it shows, and what a drag does to the board.

With BELLRELAY_PICTURES set to a folder, the screenshots of the documentation are written there.
"""

import os
import time
from pathlib import Path

import pytest
from viewed_relay import TOKEN, ViewedRelay

pytestmark = pytest.mark.needs_server


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    with ViewedRelay(tmp_path_factory.mktemp("viewed")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(requires_program):
    path = requires_program("chromium", "apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def complaints():
    """What the browser's console complained of; nothing may be left at a test's end."""
    return []


@pytest.fixture
def page(browser, relay, complaints):
    page = browser.new_page(viewport={"width": 1600, "height": 1400})
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(relay.url)
    until(page, "document.getElementById('histogram').dataset.shown > 3")
    yield page
    page.close()
    assert complaints == []


def until(page, expression, seconds=15):
    """Until a JavaScript expression is true; Playwright's own wait is stopped by the page's CSP."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression}: {page.inner_text('#said')}"
        page.wait_for_timeout(50)


def unlock(page):
    page.fill("#token", TOKEN)
    page.click("#unlock button")
    assert page.inner_text("#access") == "may change settings"


def centre(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def refusal(complaints, code):
    """The browser itself tells of an answer that refuses; that was meant here."""
    assert len(complaints) == 1
    assert f"status of {code}" in complaints.pop()


def picture(page, name):
    folder = os.environ.get("BELLRELAY_PICTURES")
    if folder:
        page.screenshot(path=str(Path(folder) / name), full_page=True)


def drag(page, selector, pixels):
    x, y = centre(page, selector)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels / 2, y)
    page.mouse.move(x + pixels, y)
    page.mouse.up()


def window_of(relay, name):
    return relay.versions()[-1]["values"]["windows"][name]


def test_it_shows_the_relay_as_it_is(page, relay):
    assert page.inner_text("#relay") == "charles"
    assert page.inner_text("#state") == "running"
    assert page.title() == "charles – bellrelay"
    until(page, "document.querySelectorAll('#fates tbody th').length > 0")
    names = [d.name for d in relay.link.detectors]
    assert page.locator("#fates tbody th").all_inner_texts() == names
    assert page.locator("#pairs tbody tr").count() == len(names)
    assert "start, acquisition" in page.inner_text("#events")
    assert page.inner_text("#alarms") == "none"
    until(page, "document.getElementById('n-clicks').textContent !== '–'")
    picture(page, "live-view.png")


def test_updates_keep_coming(page):
    before = page.evaluate("Number(document.getElementById('histogram').dataset.shown)")
    page.wait_for_timeout(3000)
    after = page.evaluate("Number(document.getElementById('histogram').dataset.shown)")
    # How many a busy machine manages is a figure of bench/live_view.py.
    assert after - before >= 3


def test_without_the_token_nothing_can_be_changed(page, relay, complaints):
    assert page.inner_text("#access") == "locked"
    assert page.locator("#windows button[type=submit]").is_disabled()
    assert page.locator("#handle-early-0").is_disabled()
    page.fill("#token", "wrong")
    page.click("#unlock button")
    versions = len(relay.versions())
    page.click("#windows button[type=submit]")
    until(page, "document.getElementById('said').textContent.includes('does not fit')")
    assert page.inner_text("#access") == "locked"
    assert len(relay.versions()) == versions
    refusal(complaints, 401)


def test_a_drag_of_a_window_changes_the_board_and_the_next_histogram_shows_it(page, relay):
    unlock(page)
    before = relay.status()
    start, end = relay.link.windows()[0]
    width = page.evaluate(
        "() => { const a = document.getElementById('handle-early-0').getBoundingClientRect().x;"
        "const b = document.getElementById('handle-early-1').getBoundingClientRect().x;"
        "return b - a; }"
    )
    # The window's start to the middle of the pulse: half of the early clicks fall outside.
    drag(page, "#handle-early-0", width / 2)
    until(page, "document.getElementById('said').textContent === 'in force'")
    moved = window_of(relay, "early")
    assert moved[1] == end
    assert moved[0] == pytest.approx((start + end) / 2, abs=(end - start) / 20)
    after = relay.status()
    assert after["acquisition"] == before["acquisition"] + 1
    # What the board counts by its registers, from the new acquisition on.
    until(
        page, f"document.getElementById('histogram').dataset.acquisition == {after['acquisition']}"
    )
    page.wait_for_timeout(1500)
    counters = relay.status()["counters"]
    assert counters["outside_0"] == pytest.approx(counters["early_0"], rel=0.25)
    field = page.evaluate("document.getElementById('windows').elements['early-0'].value")
    assert int(field) == moved[0]
    picture(page, "live-view-drag.png")


def test_what_was_changed_is_undone(page, relay):
    unlock(page)
    page.fill("#windows input[name=late-0]", "7100")
    page.click("#windows button[type=submit]")
    until(page, "document.getElementById('said').textContent === 'in force'")
    assert window_of(relay, "late")[0] == 7100
    page.click("#undo")
    until(page, "document.getElementById('said').textContent === 'undone'")
    assert relay.versions()[-1]["state"] == "rolled-back"
    late = relay.link.windows()[1][0]
    until(page, f"document.getElementById('windows').elements['late-0'].value == {late}")


def test_by_keyboard_alone(page, relay):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    unlock(page)
    page.focus("#handle-late-1")
    before = page.get_attribute("#handle-late-1", "aria-valuenow")
    page.keyboard.press("ArrowLeft")
    until(page, "document.getElementById('said').textContent === 'in force'")
    assert int(page.get_attribute("#handle-late-1", "aria-valuenow")) == int(before) - 16
    assert window_of(relay, "late")[1] == int(before) - 16
    unreachable = page.evaluate(
        "[...document.querySelectorAll('button, input')].filter(e => e.tabIndex < 0).length"
    )
    assert unreachable == 0


def test_a_wrong_value_is_told_by_key_and_changes_nothing(page, relay, complaints):
    unlock(page)
    versions = len(relay.versions())
    page.fill("#windows input[name=early-0]", "9000")
    page.fill("#windows input[name=early-1]", "8000")
    page.click("#windows button[type=submit]")
    until(page, "document.getElementById('said').textContent.includes('allowed')")
    assert "windows.early" in page.inner_text("#said")
    assert len(relay.versions()) == versions
    refusal(complaints, 400)


def test_dark_and_light(page):
    colours = []
    for _ in range(2):
        page.click("#theme")
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        picture(page, f"live-view-{page.get_attribute('html', 'data-theme')}.png")
    assert len(set(colours)) == 2


def test_nothing_is_fetched_from_elsewhere(browser, relay):
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(relay.url)
    until(page, "document.getElementById('histogram').dataset.shown > 0")
    page.close()
    assert asked
    assert all(url.startswith((relay.url, "data:")) for url in asked)
