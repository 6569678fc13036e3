"""The site of all papers: its links lead somewhere, and a browser shows every page without a complaint."""

import shutil

import pytest

from common.study import overview
from common.study.card import list_papers
from common.study.site.build import build
from tests.common.study.pages import faults, pages

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("built") / "site"
    build(target)
    return target


def test_every_paper_has_its_page_and_every_link_leads_somewhere(site):
    assert list(faults(site)) == []
    assert {path.name for path in site.iterdir() if path.is_dir()} == set(list_papers())


def test_the_root_readme_shows_the_committed_verdicts():
    assert overview.problems() == []


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, where it and its driver are installed."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the site needs playwright to be looked at"
    )
    if program is None:
        pytest.skip("chromium, to look at the site, is missing (apt install chromium)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield running
        running.close()


def test_a_phone_shows_every_page_without_complaints_and_without_scrolling_sideways(site, browser):
    page, complaints = browser.new_page(viewport=PHONE), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on("request", lambda request: complaints.extend([request.url] * request.url.startswith("http")))
    for path in pages(site):
        page.goto(path.as_uri())
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1] == PHONE["width"], path
        broken = page.evaluate("[...document.images].filter(one => !one.naturalWidth).map(one => one.src)")
        assert (complaints, broken) == ([], []), path
    assert page.evaluate("getComputedStyle(document.body).margin") == "0px"  # the style sheet is in use
