"""The page, in a real browser."""

import io
import shutil
import time

import numpy as np
import pytest
from archive import make_archive
from PIL import Image

from geocloud.batch import BatchOptions, run_batch
from geocloud.batch.report import write_report

selenium = pytest.importorskip("selenium", reason="needs selenium: pip install 'geocloud[test]'")


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, run_batch([str(make_archive(folder / "archive", 16))], folder / "masks", BatchOptions())


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture
def page(browser, entries):
    browser.get((entries[0] / "masks" / "report.html").as_uri())
    return browser


def column(page, name):
    return [cell.text for cell in page.find_elements("css selector", f"#rows tr td.{name}")]


def numbers(page, index):
    cells = page.find_elements("css selector", f"#rows tr td:nth-child({index})")
    return [float(cell.text) for cell in cells if cell.text]


def head(page, key):
    return page.find_element("css selector", f"th[data-key={key}]")


def test_every_scene_is_listed_with_its_reason(page, entries):
    assert column(page, "name") == sorted((e.name for e in entries[1]), key=str.lower)
    assert sum(bool(text) for text in column(page, "reason")) == 10
    assert "16 scenes" in page.find_element("id", "totals").text
    assert not [line for line in page.get_log("browser") if line["level"] == "SEVERE"]


def test_sorting(page):
    head(page, "cloud").click()
    rising = numbers(page, 4)
    assert rising == sorted(rising) and len(set(rising)) > 1
    head(page, "cloud").click()
    assert numbers(page, 4) == rising[::-1]
    assert head(page, "cloud").get_attribute("aria-sort") == "descending"
    assert not column(page, "reason")[0]  # what has no number comes last, either way


def test_filters(page):
    from selenium.webdriver.support.ui import Select

    page.find_element("id", "search").send_keys("sun elevation")
    assert len(column(page, "name")) == 1
    page.find_element("id", "search").clear()
    page.find_element("id", "search").send_keys("stack_")
    assert column(page, "name") == ["stack_002", "stack_005"]
    page.refresh()
    Select(page.find_element("id", "state")).select_by_value("failed")
    assert len(column(page, "name")) == 10
    page.refresh()
    page.find_element("id", "low").send_keys("30")
    assert all(value >= 30 for value in numbers(page, 4))


def test_the_slider_moves_between_scene_and_mask(page):
    next(row for row in page.find_elements("css selector", "#rows tr") if "stack_002" in row.text).click()
    slider, pictures = page.find_element("id", "slider"), page.find_element("id", "pictures")
    page.execute_script("window.scrollTo(0, 0)")

    def at(value):
        page.execute_script("arguments[0].value = arguments[1]; arguments[0].oninput()", slider, value)
        time.sleep(0.2)
        shot = Image.open(io.BytesIO(pictures.screenshot_as_png)).convert("RGB").resize((60, 60))
        return sum(r > 180 and 60 < g < 130 and b < 40 for r, g, b in np.asarray(shot).reshape(-1, 3))

    mask_whole, half, scene_whole = at(0), at(50), at(100)
    assert mask_whole > half > scene_whole == 0


def test_choosing_on_the_map(page):
    paths = page.find_elements("css selector", "#footprints path")
    assert len(paths) == 6
    title = paths[2].find_element("css selector", "title").get_attribute("textContent")
    page.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", paths[2])
    assert title.partition(":")[0] in page.find_element("id", "facts").text


def test_it_stands_alone_and_names_cannot_break_it(entries, tmp_path):
    text = (entries[0] / "masks" / "report.html").read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    from dataclasses import replace

    evil = [replace(entries[1][0], name="</script><script>alert(1)</script>", error="<img src=x onerror=alert(1)>")]
    assert "<script>alert" not in write_report(evil, tmp_path).read_text()


def test_two_thousand_scenes(browser, entries, tmp_path):
    from dataclasses import replace

    from selenium.webdriver.support.ui import WebDriverWait

    done = [e for e in entries[1] if e.state == "done"]
    many = [replace(done[i % len(done)], name=f"scene_{i:04}", cloud_percent=i / 20) for i in range(2000)]
    started = time.monotonic()
    browser.get(write_report(many, tmp_path).as_uri())
    WebDriverWait(browser, 15).until(lambda b: len(b.find_elements("css selector", "#rows tr")) == 2000)
    head(browser, "cloud").click()
    head(browser, "cloud").click()
    assert browser.find_element("css selector", "#rows tr td.name").text == "scene_1999"
    assert time.monotonic() - started < 20
