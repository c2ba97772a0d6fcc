"""The report in a real browser, opened from disk."""

import json
import re
import shutil
import time
from dataclasses import asdict, replace

import pytest
import shapely
from archive import make_archive

from geocloud.batch import BatchOptions, read_entries, run_batch
from geocloud.batch.report import PORTION, write_report
from geocloud.batch.state import Manifest

pytestmark = pytest.mark.slow

selenium = pytest.importorskip("selenium", reason="needs selenium: pip install 'geocloud[test]'")

EVIL = "</script><img src=x onerror=document.title='evil'>"


def written(folder, scenes):
    """The report of some entries, written from a manifest."""
    folder.joinpath("manifest.sqlite").unlink(missing_ok=True)
    with Manifest(folder / "manifest.sqlite") as manifest:
        rows = [(asdict(e) | {"files": json.dumps(e.files), "transform": None, "key": e.name}) for e in scenes]
        names = list(rows[0])
        with manifest._database as database:
            marks = ", ".join(f":{name}" for name in names)
            database.executemany(f"INSERT INTO scenes ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608
    return write_report(read_entries(folder), folder)


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


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20, 0.05).until(lambda _: condition())


def show(browser, path):
    browser.get("about:blank")  # a URL that differs only after # would not be reloaded
    browser.get(path.as_uri())
    wait(browser, lambda: browser.execute_script("return document.body.dataset.ready"))
    return browser


@pytest.fixture
def page(browser, entries):
    return show(browser, entries[0] / "masks" / "report.html")


def find(page, selector):
    return page.find_elements("css selector", selector)


def texts(page, selector):
    """Texts in the page's DOM; rendered text may be capitalised or wrapped."""
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(found => found.textContent)", selector
    )


def names(page):
    return texts(page, "#rows td.name b")


def numbers(page, column):
    return [float(text) for text in texts(page, f"#rows td.{column}") if text]


def enter(page, element, value):
    """Fills in a filter and waits for the new list."""
    code = "const at = document.getElementById(arguments[0]); at.value = arguments[1]; "
    page.execute_script(f"{code} at.dispatchEvent(new Event('input', {{bubbles: true}}))", element, value)
    time.sleep(0.3)


def test_every_scene_is_listed_with_its_reason(page, entries):
    assert names(page) == sorted(e.name for e in entries[1])
    assert len(texts(page, "#rows p.failed")) == 10
    assert "16 scenes" in page.find_element("id", "totals").text
    assert not [line for line in page.get_log("browser") if line["level"] == "SEVERE"]
    assert all(cell.is_displayed() for cell in find(page, "#rows p.failed"))
    assert sum(text == "✕ failed" for text in texts(page, "#rows td.state")) == 10  # not by colour alone


def test_sorting(page):
    page.find_element("css selector", "th.cloud button").click()
    rising = numbers(page, "cloud")
    assert rising == sorted(rising) and len(set(rising)) > 1
    page.find_element("css selector", "th.cloud button").click()
    assert numbers(page, "cloud") == rising[::-1]
    assert page.find_element("css selector", "th.cloud").get_attribute("aria-sort") == "descending"
    assert texts(page, "#rows td.cloud")[0]  # missing values are sorted last in both directions


def test_filters(page):
    enter(page, "search", "sun elevation")
    assert len(names(page)) == 1
    enter(page, "search", "stack_")
    assert names(page) == ["stack_002", "stack_005"]
    enter(page, "search", "")
    enter(page, "state", "failed")
    assert len(names(page)) == 10 and "10 of 16" in page.find_element("id", "count").text
    enter(page, "state", "")
    enter(page, "low", "30")
    assert numbers(page, "cloud") and all(value >= 30 for value in numbers(page, "cloud"))
    enter(page, "low", "")
    enter(page, "from", "2024-06-30")
    assert set(texts(page, "#rows td.day")) == {"2024-07-01"}


def test_rows_show_scene_and_mask_and_link_their_files(page, entries):
    from selenium.webdriver.common.keys import Keys

    row = next(row for row in find(page, "#rows tr") if "stack_002" in row.text)
    links = {link.text: link.get_attribute("href") for link in row.find_elements("css selector", "a")}
    folder = entries[0] / "masks"
    assert links["mask"] == (folder / "stack_002_cloudmask.tif").as_uri()
    assert links["STAC item"] == (folder / "stack_002.json").as_uri()
    sizes = "return [...arguments[0].querySelectorAll('img')].map(i => i.complete && i.naturalWidth)"
    wait(page, lambda: page.execute_script(sizes, row) == [64, 64, 64])
    first = row.find_element("css selector", "a")
    page.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "STAC item", "by keyboard"


def test_the_overview_shows_the_scenes(page, entries):
    picture = (entries[0] / "masks" / "report" / "overview.svg").read_text()
    assert len(re.findall(r"M[\d.]+ [\d.]+h", picture)) == 6, "a box for each scene that is done"
    assert page.execute_script("return document.querySelector('#overview img').naturalWidth") > 0


def test_scenes_of_one_place_share_a_box_in_the_overview(entries, tmp_path):
    done = next(e for e in entries[1] if e.state == "done")
    shapes = [shapely.to_geojson(shapely.box(x, y, x + 1, y + 1)) for x in range(8) for y in range(4)] * 2
    written(tmp_path, [replace(done, name=f"s{i}", footprint=s, cloud_percent=i) for i, s in enumerate(shapes)])
    picture = (tmp_path / "report" / "overview.svg").read_text()
    assert len(re.findall(r"M[\d.]+ [\d.]+h", picture)) == 32
    assert set(re.findall(r'path fill="(#\w+)"', picture)) == {"#2b6ca8", "#6fa3cc", "#b9b6b0"}, "means of 16 to 47 %"


def test_nothing_is_wider_than_a_phone(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


CONTRAST = """
const parts = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
const behind = at => { for (; at; at = at.parentElement) {
  const colour = parts(getComputedStyle(at).backgroundColor);
  if (colour.length === 3 || colour[3] === 1) return colour;
} return [255, 255, 255]; };
return [...document.querySelectorAll("body *")].filter(at => at.checkVisibility() && !at.disabled &&
    [...at.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())).map(at => {
  const [a, b] = [light(parts(getComputedStyle(at).color)), light(behind(at))].sort((a, b) => b - a);
  return [(a + .05) / (b + .05), at.textContent];
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    found = page.execute_script(CONTRAST)
    assert len(found) > 60 and min(found)[0] >= 4.5, min(found)
    back = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (scheme == "dark") == (back == "rgb(16, 22, 28)")


def test_it_stands_alone(entries):
    folder = entries[0] / "masks"
    for path in (folder / "report.html", *(folder / "report").iterdir()):
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http://" not in text and "https://" not in text and "fetch(" not in text, path


def test_names_and_reasons_of_strangers_are_only_text(browser, entries, tmp_path):
    failed = next(e for e in entries[1] if e.state == "failed")
    done = next(e for e in entries[1] if e.state == "done")
    evil = [
        replace(failed, name=f"a{EVIL}", error=f"{EVIL}\u2028'\"]);", notes=EVIL, source=f"javascript:{EVIL}"),
        replace(done, name=f"b{EVIL}", files={"mask": "javascript:alert(1)", EVIL: "x"}, crs=EVIL, uploaded=None),
    ]
    page = show(browser, written(tmp_path, evil))
    assert names(page) == [e.name for e in evil] and texts(page, "#rows p.failed") == [evil[0].error]
    wait(page, lambda: not find(page, "#rows img"))  # there are no thumbnails
    assert page.title == tmp_path.name
    assert all(link.get_attribute("href").startswith("file:") for link in find(page, "a"))


def test_many_scenes(browser, entries, tmp_path):
    done = next(e for e in entries[1] if e.state == "done")
    many = 3 * PORTION + 7
    page = show(
        browser, written(tmp_path, [replace(done, name=f"scene_{i:04}", cloud_percent=i / 10) for i in range(many)])
    )
    assert len(names(page)) == 100 and f"{many}" in page.find_element("id", "count").text
    page.find_element("css selector", "th.cloud button").click()
    page.find_element("css selector", "th.cloud button").click()
    assert names(page)[0] == f"scene_{many - 1}"
    page.find_element("id", "more").click()
    assert len(names(page)) == 200 and names(page)[-1] == f"scene_{many - 200}"
    enter(page, "search", "scene_2345")
    assert names(page) == ["scene_2345"]


def test_written_again_it_replaces_the_earlier_one(entries, tmp_path):
    scenes = [replace(entry, name=f"s{i}") for i, entry in enumerate(list(entries[1])[:3] * 400)]
    written(tmp_path, scenes)
    assert len(list((tmp_path / "report").glob("scenes-*.js"))) == 2
    written(tmp_path, scenes[:1])
    assert len(list((tmp_path / "report").glob("scenes-*.js"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.sqlite", "report", "report.html"]
