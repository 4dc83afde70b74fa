"""The page in headless Chromium: each tab does its main job, by mouse, by keyboard and on a small screen."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ppgn.web import jobs
from tests.web.conftest import Site

playwright = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra dev, is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: apt-get install chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"
WAIT = 30_000  # milliseconds, at most
SHIFTS = """window.shifts = 0; new PerformanceObserver((list) => { for (const one of list.getEntries())
  if (!one.hadRecentInput) window.shifts += one.value; }).observe({ type: "layout-shift", buffered: true });"""
# Controls without a name, as the browser's own tree of accessibility has them.
NAMELESS = {"button", "checkbox", "combobox", "link", "radio", "searchbox", "slider", "spinbutton", "tab", "textbox"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright.expect.set_options(timeout=WAIT)
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=BROWSER, args=FLAGS.split())
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A page of its own, whose errors and requests to other addresses fail the test."""
    opened = fresh(browser, site)
    yield opened
    opened.context.close()
    assert opened.wrong == []


def fresh(browser: Any, site: Site, **screen: Any) -> Any:
    context = browser.new_context(**screen)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda asked: page.wrong.append(asked.url) if not own(asked.url, site) else None)
    page.on("console", lambda said: page.wrong.append(said.text) if "Content Security" in said.text else None)
    page.add_init_script(SHIFTS)
    page.goto(site.address)
    page.locator("main.ready").wait_for()
    return page


def own(url: str, site: Site) -> bool:
    return url.startswith((f"{site.address}/", "data:", "blob:"))


def small(page: Any, tab: str, seeds: str = "0-1") -> Any:
    """The form of a tab, for the tiny model."""
    form = page.locator(f"#{tab} form.ask")
    if form.get_by_label("Model").count():
        form.get_by_label("Model").select_option("model.safetensors")
    form.get_by_label("Seeds").fill(seeds)
    return form


def steps(page: Any, count: int) -> None:
    page.get_by_text("How the chains walk").click()
    page.locator("#sample").get_by_label("Steps", exact=True).fill(str(count))


def status(page: Any, tab: str) -> Any:
    return page.locator(f"#{tab} [role=status]")


def shown(page: Any, name: str) -> None:
    """Write a screenshot for the eye, where PPGN_SCREENSHOTS names a folder."""
    if folder := os.environ.get("PPGN_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def expect(thing: Any) -> Any:
    return playwright.expect(thing)


def finished(page: Any, tab: str) -> None:
    page.locator(f"#{tab} .again:not([hidden])").wait_for()


def test_sample_draws_goes_on_and_says_how_to_repeat_it(page: Any) -> None:
    small(page, "sample")
    box = page.get_by_role("combobox", name="Class", exact=True)
    box.fill("snowbird")
    page.locator("[role=option]", has_text="junco, snowbird").click()
    page.get_by_role("button", name="Remove goldfish").click()
    steps(page, 3)
    page.get_by_role("button", name="Draw").click()
    finished(page, "sample")
    assert page.locator("#sample .pictures img").count() == 2
    command = page.get_by_label("Command").first.text_content()
    assert re.fullmatch(r"ppgn sample target=junco seeds=0-1 model=\S+/model.safetensors steps=3", command)
    assert 'ppgn.sample("junco", seeds="0-1"' in page.get_by_label("Lines of Python").first.text_content()
    curve = page.locator("#sample .chart svg").first.get_attribute("aria-label")
    assert "2 chains" in curve
    assert "step 3 of 3" in curve
    assert page.locator("#sample .chart svg").count() == 2  # the judge's as well
    with page.expect_download() as packed:
        page.get_by_text("Download the run's folder").first.click()
    assert packed.value.suggested_filename.endswith(".zip")
    shown(page, "sample")
    page.locator("#sample .pictures button").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("network sees")
    page.get_by_role("button", name="Four near it").click()
    finished(page, "sample")
    expect(page.locator("#sample .pictures img")).to_have_count(4)
    assert re.search(r"init=\S+seed-0000.png strength=0.4", page.get_by_label("Command").first.text_content())
    page.locator("#sample .pictures button").first.click()
    page.get_by_role("button", name="Animate its walk").click()
    page.get_by_alt_text("The chain as it walks, again and again").wait_for()
    assert page.evaluate("shifts") < 0.1


@pytest.mark.parametrize(
    ("kind", "name", "text", "words"),
    [
        ("Expression", "Expression", "imagenet:castle & ~imagenet:lakeside", "'condition='\"'\"'imagenet:castle & "),
        ("Caption", "Sentence", "a dog", "target='\"'\"'a dog'\"'\"'' condition=caption"),
        ("Hidden unit", "Layer", "blocks.1", "target=17 condition=unit condition.layer=blocks.1"),
    ],
)
def test_other_things_can_be_drawn(page: Any, kind: str, name: str, text: str, words: str) -> None:
    small(page, "sample", "0")
    page.get_by_role("radio", name=kind).check()
    page.locator("#sample").get_by_role("textbox", name=name, exact=True).or_(
        page.locator("#sample").get_by_role("combobox", name=name, exact=True)
    ).fill(text)
    steps(page, 1)
    page.get_by_role("button", name="Draw").click()
    finished(page, "sample")
    assert words in page.get_by_label("Command").first.text_content()


def test_a_hole_is_painted_and_filled_at_full_size(page: Any, photo: Path) -> None:
    page.get_by_role("tab", name="Paint a hole").click()
    small(page, "inpaint")
    page.get_by_label("Photo (PNG, JPEG, WebP)").first.set_input_files(photo)
    canvas = page.locator("#inpaint canvas")
    canvas.wait_for()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 15, box["y"] + 15)
    page.mouse.down()
    page.mouse.move(box["x"] + 30, box["y"] + 20, steps=3)
    page.mouse.up()
    page.locator("#inpaint").get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Fill the hole").click()
    finished(page, "inpaint")
    completions = page.locator("#inpaint figure img")
    assert completions.count() == 2
    assert completions.first.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [60, 40]
    assert "mask=" in page.locator("#inpaint pre").first.text_content()
    shown(page, "inpaint")


def test_an_edit_is_shown_before_after_and_as_a_difference(page: Any, photo: Path) -> None:
    page.get_by_role("tab", name="Edit").click()
    small(page, "edit", "0").get_by_label("Steps", exact=True).fill("2")
    page.locator("#edit").get_by_label("Photo (PNG, JPEG, WebP)").set_input_files(photo)
    page.locator("#edit canvas").wait_for()
    page.get_by_role("button", name="Edit").click()
    finished(page, "edit")
    alts = page.locator("#edit figure img").evaluate_all("every => every.map((one) => one.alt)")
    assert alts == ["Before", "After, seed 0", "Difference, seed 0"]
    expect(page.locator("#edit .found")).to_contain_text("judge")


def test_a_unit_is_shown_by_several_methods(page: Any) -> None:
    page.get_by_role("tab", name="Unit").click()
    form = small(page, "unit", "0")
    expect(form).to_contain_text("blocks.4.2 has")
    form.get_by_label("Network").fill("efficientnet_lite0")
    form.get_by_label("Layer").fill("blocks.1")
    form.get_by_label("Looks at each picture").fill("2")
    page.get_by_role("button", name="Show the unit").click()
    finished(page, "unit")
    assert page.locator("#unit .found h2").all_text_contents() == ["ppgn", "maco", "lucid"]
    assert page.locator("#unit .found img").count() == 3


def test_models_show_their_cards(page: Any) -> None:
    page.get_by_role("tab", name="Models").click()
    page.get_by_role("button", name="natural64", exact=True).click()
    expect(page.locator("#model-card h2").first).to_have_text("natural64")
    assert page.locator("#model-card table").count() > 1
    page.get_by_role("button", name="model.safetensors", exact=True).click()
    expect(page.locator("#model-card")).to_contain_text("random weights")
    page.get_by_role("button", name="Sample with model.safetensors").click()
    expect(page.locator("#sample").get_by_label("Model")).to_have_value("model.safetensors")
    page.get_by_role("tab", name="Models").click()
    page.get_by_label("A model of the hub").fill("../etc")
    page.get_by_role("button", name="Show its card").click()
    expect(page.locator("#model-card")).to_contain_text("unknown model")


def long(page: Any) -> None:
    """Begin a walk that would not end."""
    small(page, "sample", "0")
    steps(page, 9999)
    page.get_by_role("button", name="Draw").click()
    expect(status(page, "sample")).to_contain_text(re.compile(r"step \d+ of 9999"))


def free(site: Site, seconds: float) -> float:
    """How long it took until no job ran any more."""
    begun = time.monotonic()
    while any(not job.over for job in list(site.queue.jobs.values())):
        assert time.monotonic() - begun < seconds
        time.sleep(0.02)
    return time.monotonic() - begun


def test_stop_ends_a_walk_and_the_page_can_go_on(page: Any, site: Site) -> None:
    long(page)
    page.locator("#sample").get_by_role("button", name="Stop").click()
    expect(status(page, "sample")).to_have_text("stopped")
    assert free(site, 1) < 1
    expect(page.get_by_role("button", name="Draw")).to_be_enabled()


def test_a_reload_in_the_middle_goes_on_watching_and_a_closed_tab_frees_the_device(
    browser: Any, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = fresh(browser, site)
    long(page)
    page.reload()
    expect(status(page, "sample")).to_contain_text(re.compile(r"step \d+ of 9999"))
    assert page.locator("#sample .pictures img").count() == 1
    monkeypatch.setattr(jobs, "GRACE", 1.0)
    page.close()
    free(site, 6)
    page.context.close()


def test_two_tabs_at_once_take_turns(browser: Any, site: Site) -> None:
    first, second = fresh(browser, site), fresh(browser, site)
    long(first)
    small(second, "sample", "1")
    steps(second, 1)
    second.get_by_role("button", name="Draw").click()
    expect(status(second, "sample")).to_have_text("waiting, 1 before this one")
    first.locator("#sample").get_by_role("button", name="Stop").click()
    finished(second, "sample")
    assert second.locator("#sample .pictures img").count() == 1
    expect(status(first, "sample")).to_have_text("stopped")
    for page in (first, second):
        page.context.close()


@pytest.mark.parametrize(("data", "said"), [(b"no picture", "not an image"), (b"", "not an image")])
def test_a_bad_upload_is_one_line(page: Any, data: bytes, said: str) -> None:
    page.get_by_role("tab", name="Paint a hole").click()
    page.get_by_role("button", name="Fill the hole").click()
    expect(status(page, "inpaint")).to_have_text("image is missing: choose a photo")
    file = {"name": "photo.png", "mimeType": "image/png", "buffer": data}
    page.get_by_label("Photo (PNG, JPEG, WebP)").first.set_input_files(file)
    expect(status(page, "inpaint")).to_contain_text(said)
    assert not page.locator("#inpaint canvas").is_visible()


def test_what_is_no_class_is_said_where_one_looks(page: Any) -> None:
    small(page, "sample", "0")
    page.get_by_role("button", name="Remove goldfish").click()
    page.get_by_role("button", name="Draw").click()
    expect(status(page, "sample")).to_have_text("nothing to draw: type a class, for example goldfish")
    page.locator("#sample").get_by_label("Seeds").fill("0-99")
    page.get_by_role("combobox", name="Class", exact=True).fill("goldfihs")
    page.get_by_role("button", name="Draw").click()
    expect(status(page, "sample")).to_contain_text("at most 64")
    page.locator("#sample").get_by_label("Seeds").fill("0")
    page.get_by_role("button", name="Draw").click()
    expect(status(page, "sample")).to_contain_text("nearest: goldfish")
    assert page.locator("#sample .pictures img").count() == 0


def test_all_can_be_done_by_keyboard(page: Any, photo: Path) -> None:
    press = page.keyboard.press
    page.get_by_role("tab", name="Sample").focus()
    for _ in range(5):
        press("ArrowRight")  # around to where it began
    expect(page.get_by_role("tab", name="Sample")).to_be_focused()
    small(page, "sample", "0")
    box = page.get_by_role("combobox", name="Class", exact=True)
    box.focus()
    press("Backspace")
    page.keyboard.type("golden ret")
    press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", re.compile("classes-"))
    press("Enter")
    expect(page.get_by_role("button", name="Remove golden retriever")).to_be_visible()
    page.get_by_text("How the chains walk").focus()
    press("Enter")
    page.locator("#sample").get_by_label("Steps", exact=True).fill("1")
    press("Enter")
    finished(page, "sample")
    page.locator("#sample .pictures button").first.focus()
    press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#sample .pictures button").first).to_be_focused()
    page.get_by_role("tab", name="Sample").focus()
    press("ArrowRight")
    page.locator("#inpaint").get_by_label("Photo (PNG, JPEG, WebP)").set_input_files(photo)
    canvas = page.locator("#inpaint canvas")
    canvas.wait_for()
    canvas.focus()
    for key in ("ArrowLeft", "ArrowUp", " ", "Shift+ArrowRight", "Shift+ArrowRight", "+"):
        press(key)
    painted = "c => c.getContext('2d').getImageData(c.width / 2 - 1, c.height / 2 - 1, 1, 1).data[3]"
    assert canvas.evaluate(painted) > 0
    press("Tab")
    expect(page.locator("#inpaint").get_by_role("slider", name="Brush")).to_be_focused()


def test_a_narrow_screen_shows_everything(browser: Any, site: Site) -> None:
    page = fresh(browser, site, viewport={"width": 360, "height": 640}, has_touch=True)
    for name in ("Sample", "Paint a hole", "Edit", "Unit", "Models"):
        page.get_by_role("tab", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    page.get_by_role("tab", name="Sample").click()
    small(page, "sample")
    steps(page, 1)
    page.get_by_role("button", name="Draw").click()
    finished(page, "sample")
    shown(page, "narrow")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#sample .pictures button").first.click()
    assert page.get_by_role("dialog").bounding_box()["width"] <= 360
    page.context.close()
    assert page.wrong == []


def test_every_control_has_a_name(page: Any, photo: Path) -> None:
    page.locator("#inpaint input[type=file]").set_input_files(photo)
    page.locator("#edit input[type=file]").set_input_files(photo)
    page.evaluate("document.querySelectorAll('[hidden]').forEach((one) => { one.hidden = false; })")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate("document.getElementById('picture').show()")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]]
    controls = [(role, name) for role, name in roles if role.lower() in NAMELESS]
    assert len(controls) > 50
    assert [role for role, name in controls if not name.strip()] == []
    images = page.locator("img:visible").evaluate_all("every => every.filter((one) => !one.alt && one.src).length")
    assert images == 0
