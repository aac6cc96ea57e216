"""The live view in a browser without a window: what it shows, and what a drag does to the board.

With BELLRELAY_PICTURES set to a folder, the screenshots of the documentation are written there.
"""

import os
import time
from pathlib import Path

import pytest
from PIL import Image
from viewed_relay import BIN_PS, TOKEN, ViewedRelay

pytestmark = pytest.mark.needs_server


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    calibrate = "BELLRELAY_PICTURES" in os.environ
    with ViewedRelay(tmp_path_factory.mktemp("viewed"), calibrate=calibrate) as running:
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
    page.set_default_timeout(90_000)
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(relay.url)
    until(page, "document.getElementById('histogram').dataset.shown > 3")
    yield page
    page.close()
    assert complaints == []


def until(page, expression, seconds=90):
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


def picture(page, name, full=True):
    """A screenshot of the documentation; 128 colours show all that there is."""
    folder = os.environ.get("BELLRELAY_PICTURES")
    if folder:
        path = Path(folder) / name
        page.screenshot(path=str(path), full_page=full)
        with Image.open(path) as shot:
            few = shot.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


def drag(page, selector, pixels):
    x, y = centre(page, selector)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels / 2, y)
    page.mouse.move(x + pixels, y)
    page.mouse.up()


def eventually(relay, enough, seconds=90):
    """The board's counters, once they are so."""
    end = time.monotonic() + seconds
    while not enough(counters := relay.status()["counters"]):
        assert time.monotonic() < end, counters
        time.sleep(0.2)
    return counters


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
    # On a machine so busy that the line loses something, the page says so.
    alarms = page.inner_text("#alarms")
    assert alarms == "none" or "board-line" in alarms, alarms
    assert page.locator("#simulation").is_visible()
    relay.measure("arm-a power -42.1 dBm", "laser wavelength 1550.1234 nm")
    until(page, "document.getElementById('monitors').innerText.includes('1550.1234 nm')")
    until(page, "document.getElementById('n-clicks').textContent !== '–'")
    if relay.calibrated:
        until(page, "['dip', 'tdc'].every(i => document.getElementById(i).naturalWidth > 100)")
    picture(page, "live-view.png")


def test_updates_keep_coming(page):
    before = page.evaluate("Number(document.getElementById('histogram').dataset.shown)")
    # How many a second a busy machine manages is a figure of bench/live_view.py.
    until(page, f"document.getElementById('histogram').dataset.shown >= {before + 10}")


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
    counters = eventually(
        relay, lambda c: c.get("early_0", 0) > 400 and c.get("outside_0", 0) > 400
    )
    until(page, "document.getElementById('n-clicks').textContent !== '–'")
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
    """From the top of the page to a window's edge by Tab, and moved by arrow keys."""
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to(page, "token")
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    until(page, "document.getElementById('access').textContent === 'may change settings'")
    tab_to(page, "handle-late-1")
    # Who comes by keyboard sees where he is.
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    before = int(page.get_attribute("#handle-late-1", "aria-valuenow"))
    page.keyboard.press("ArrowLeft")
    until(page, "document.getElementById('said').textContent === 'in force'")
    assert int(page.get_attribute("#handle-late-1", "aria-valuenow")) == before - BIN_PS
    assert window_of(relay, "late")[1] == before - BIN_PS
    tab_to(page, "undo")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('said').textContent === 'undone'")
    until(page, f"document.getElementById('handle-late-1').ariaValueNow == {before}")


def tab_to(page, identity, most=60):
    """Press Tab until an element has the focus: it is reached, and nothing holds the focus fast."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == identity:
            return
    raise AssertionError(f"no Tab leads to {identity}")


def test_everything_that_does_something_is_reached_by_keys(page):
    unlock(page)
    unreachable = page.evaluate(
        "[...document.querySelectorAll('button, input, a')].filter(e => e.tabIndex < 0).length"
    )
    assert unreachable == 0
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input')].filter(e => !(e.textContent.trim()"
        " || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert nameless == []


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
        if page.get_attribute("html", "data-theme") == "dark":
            until(page, "document.getElementById('n-clicks').textContent !== '–'")
            picture(page, "live-view-dark.png")
    assert len(set(colours)) == 2
    page.reload()
    # As this browser left it.
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colours[-1]


def test_what_is_read_from_two_metres_is_large(page):
    """A third of a degree, 12 mm at two metres: 45 px on a screen of 96 pixels per inch."""
    page.click("#big")
    until(page, "document.getElementById('n-clicks').textContent !== '–'")
    until(page, "document.querySelectorAll('#fates td').length > 0")
    heights = page.evaluate(
        "[...document.querySelectorAll('.numbers output')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(heights) >= 64  # of which capitals are 70 %
    smallest = page.evaluate(
        "Math.min(...['#state', '#fates td', '#alarms', 'h2']"
        ".map(s => parseFloat(getComputedStyle(document.querySelector(s)).fontSize)))"
    )
    assert smallest >= 24
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Histograms come again in the plot that was made anew.
    shown = page.evaluate("Number(document.getElementById('histogram').dataset.shown)")
    until(page, f"document.getElementById('histogram').dataset.shown > {shown + 2}")
    picture(page, "live-view-big.png", full=False)
    page.click("#big")
    assert page.locator("#windows").is_visible()


def test_monitors_are_shown_and_what_is_wrong_with_one_is_an_alarm(page, relay):
    relay.measure("arm-a power -42.00 dBm", "laser wavelength 1550.1234 nm")
    until(page, "document.getElementById('monitors').innerText.includes('-42.00 dBm')")
    until(page, "document.getElementById('monitors').innerText.includes('1550.1234 nm')")
    relay.measure("laser wavelength 1551.5 nm")
    until(page, "document.getElementById('monitors').innerText.includes('beyond limits')")
    until(page, "document.getElementById('alarms').innerText.includes('monitor-limits.md')")
    relay.measure("laser wavelength 1550.1234 nm")
    until(page, "!document.getElementById('alarms').innerText.includes('monitor-limits')")


def test_who_changed_what_is_listed_and_on_record(page, relay):
    unlock(page)
    page.fill("#why", "a late pulse")
    page.fill("#windows input[name=late-0]", "7090")
    page.click("#windows button[type=submit]")
    until(page, "document.getElementById('said').textContent === 'in force'")
    until(page, "document.getElementById('changes').innerText.includes('ada, live view: a late p')")
    page.click("#undo")
    until(page, "document.getElementById('said').textContent === 'undone'")
    until(page, "document.getElementById('changes').innerText.includes('rolled-back')")
    last = [r for r in relay.on_record() if r["user.id"] == "operator:ada"][-3:]
    assert [(r["event.action"], r["event.outcome"]) for r in last] == [
        ("settings-changed", "success"),
        ("settings-undone", "unknown"),
        ("settings-undone", "success"),
    ]
    assert last[0]["event.reason"] == "a late pulse"
    # Nobody who reads the log of the daemon, or the record, learns a token.
    for path in (*relay.folder.glob("*.log"), *(relay.folder / "log" / "audit").iterdir()):
        assert TOKEN not in path.read_text()


def test_the_last_calibrations_are_shown(page, relay):
    """Calibrations are run for pictures alone; that records are served is tested beside this."""
    until(page, "document.getElementById('tdc-said').textContent !== ''")
    if not relay.calibrated:
        assert "bellrelay calibrate hom" in page.inner_text("#dip-said")
        assert page.locator("#tdc").is_hidden()
        return
    for name in ("dip", "tdc"):
        until(page, f"document.getElementById('{name}').naturalWidth > 100")
    assert "simulation" in page.inner_text("#dip-said")


def test_nothing_is_fetched_from_elsewhere(browser, relay):
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(relay.url)
    until(page, "document.getElementById('histogram').dataset.shown > 0")
    page.close()
    assert asked
    assert all(url.startswith((relay.url, "data:")) for url in asked)
