"""The Explorer in a real browser, mounted in Flask and in Starlette."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.routing import Mount

from pgcorpus.integrations.explorer import Explorer, TokenAccess
from pgcorpus.integrations.explorer.asgi import asgi
from pgcorpus.integrations.explorer.flask import blueprint
from tests.support.browser import Browser
from tests.support.explored import EMBEDDER, IMAGE, LINK, SCRIPT, everybody
from tests.support.serving import serve_asgi, serve_wsgi
from tests.support.waiting import wait_until

TOKEN = TokenAccess()

# The ratio of contrast of each text to what stands behind it (WCAG 2.2, "contrast ratio"), where it is under 4.5.
CONTRASTS = """
const parse = color => color.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
  .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = element => {
  for (let each = element; each; each = each.parentElement) {
    const color = parse(getComputedStyle(each).backgroundColor);
    if (color.length === 3 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const poor = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest("svg, .hidden, .skip")) continue;
  const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < 4.5) poor.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
}
return poor;
"""


@pytest.fixture(scope="module")
def flask_site(corpus: Engine) -> Iterator[str]:
    """The address of the Explorer in a Flask app."""
    app = Flask(__name__)
    app.register_blueprint(blueprint(Explorer(corpus, EMBEDDER, access=everybody)), url_prefix="/corpus")
    with serve_wsgi(app) as address:
        yield f"{address}/corpus"


@pytest.fixture(scope="module")
def asgi_site(corpus: Engine) -> Iterator[str]:
    """The address of the Explorer in a Starlette app, and of one behind a secret link."""
    open_to_all = Explorer(corpus, EMBEDDER, access=everybody)
    routes = [Mount("/corpus", asgi(open_to_all)), Mount("/secret", asgi(Explorer(corpus, EMBEDDER, access=TOKEN)))]
    with serve_asgi(Starlette(routes=routes)) as address:
        yield f"{address}/corpus"


@pytest.fixture(params=["flask_site", "asgi_site"])
def site(request: pytest.FixtureRequest) -> str:
    """The address of the Explorer, in both kinds of apps."""
    address: str = request.getfixturevalue(request.param)
    return address


def test_a_reader_searches_narrows_and_follows_to_the_source(browser: Browser, site: str) -> None:
    browser.open(f"{site}/?collection=guide")
    browser.find("#q").send_keys("number50 apples")
    _leave(browser, browser.find("form button").click)
    assert browser.text("[role=status]") == "10 results in guide"
    assert "number50" in browser.text(".results li:first-child mark:last-of-type")
    browser.screenshot("explorer-search")

    _click(browser, ".facets a", "faq")
    assert "kind: faq ✕" in browser.text(".chips")
    assert browser.find("#q").get_attribute("value") == "number50 apples"

    _click(browser, ".results a.source", "book1.md")
    assert browser.text("h1") == "book1.md"
    assert browser.find(".here").get_attribute("id") == browser.driver.current_url.partition("#")[2]
    browser.screenshot("explorer-source")

    _click(browser, ".here .links a", "More like this")
    assert browser.text("h1") == "More like this"
    assert len(browser.find_all(".results > li")) == 10
    assert _went_nowhere_else(browser, site)
    assert not browser.console()


def test_hostile_documents_stay_text(browser: Browser, site: str) -> None:
    browser.open(f"{site}/?collection=hostile")
    pages = [browser.driver.current_url] + [
        str(each.get_attribute("href")) for each in browser.find_all(".results a, .facets a")
    ]
    pages.append(f"{site}/?collection=hostile&q=hostile+words")
    assert len(pages) > 10
    for css in (".results .snippet", ".facets", ".results .from"):
        assert any(word in each.text for each in browser.find_all(css) for word in (SCRIPT, IMAGE, LINK))
    for page in pages:
        assert page.startswith(site)
        browser.open(page)
        assert browser.run("return window.hit === undefined && !document.querySelector('script, img')")
    assert _went_nowhere_else(browser, site)
    # Not even the policy had anything to stop.
    assert not browser.console()


def test_the_keyboard_is_enough(browser: Browser, asgi_site: str) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> str:
        ActionChains(browser.driver).send_keys(*keys).perform()
        return str(browser.run("return document.activeElement.id || document.activeElement.innerText"))

    browser.open(f"{asgi_site}/?collection=guide")
    assert press(Keys.TAB) == "Skip to the content"
    assert browser.find(".skip").location["x"] >= 0
    assert press(Keys.ENTER) == "main"
    assert press(Keys.TAB) == "q"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    _leave(browser, lambda: press("number7", Keys.ENTER))
    assert browser.text("[role=status]") == "10 results in guide"
    browser.find("#q").click()
    order = [press(Keys.TAB) for _ in range(6)]
    assert order[:5] == ["Search", "collection", "mode", "k", "Filter"]
    press(Keys.TAB)  # the first result
    _leave(browser, lambda: press(Keys.ENTER))
    assert "number" in browser.text("main")


PAGES = (
    "/?collection=guide&q=number7",
    "/?collection=hostile&q=hostile&where=%7B",
    "/?collection=hostile&q=hostile+words&is=%5B%22source%22%2C%22javascript%3Awindow.hit%3D3%22%5D",
    "/?collection=other+model&q=pears",
    "/like?collection=guide&id=5",
    "/source?collection=guide&source=book0.md&at=5",
    "/document?collection=hostile&id=63",
    "/collections",
    "/recall?collection=guide",
    "/nowhere",
)


def test_it_can_be_read_on_a_phone_and_in_the_dark(browser: Browser, asgi_site: str) -> None:
    for number, page in enumerate(PAGES):
        browser.viewport(360, 740, mobile=True)
        browser.open(asgi_site + page)
        assert not browser.overflows, page
        browser.screenshot(f"explorer-phone-{number}")
        browser.viewport()
        assert not browser.overflows, page
        for scheme, ground in (("light", "rgb(247, 247, 245)"), ("dark", "rgb(20, 23, 26)")):
            browser.color_scheme(scheme)
            assert browser.run("return getComputedStyle(document.body).backgroundColor") == ground
            assert browser.run(CONTRASTS) == [], f"{page} {scheme}"
        browser.screenshot(f"explorer-dark-{number}")


def test_what_colours_say_is_said_without_them(browser: Browser, asgi_site: str) -> None:
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.cdp("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}, dark])
    browser.open(f"{asgi_site}/?collection=guide")
    lines = browser.run(
        "return [...document.querySelectorAll('.top li a')].map(each => getComputedStyle(each).borderBottomColor)"
    )
    assert lines.count(lines[0]) == 1  # the page's own
    browser.cdp("Emulation.setEmulatedMedia", media="print", features=[dark])
    assert browser.run("return getComputedStyle(document.body).color") == "rgb(28, 33, 38)"
    browser.cdp("Emulation.setEmulatedMedia", media="")


def test_every_page_can_be_told_apart_by_ear(browser: Browser, asgi_site: str) -> None:
    titles = set()
    for page in PAGES:
        browser.open(asgi_site + page)
        titles.add(browser.driver.title)
        assert len(browser.find_all("h1")) == len(browser.find_all("main")) == 1
        ids = browser.run("return [...document.querySelectorAll('[id]')].map(each => each.id)")
        assert len(ids) == len(set(ids))
        assert browser.run(
            "return [...document.querySelectorAll('[aria-describedby], [aria-labelledby]')].every(each =>"
            "(each.ariaDescribedByElements ?? each.ariaLabelledByElements ?? []).length > 0)"
        )
        fields = "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
        assert browser.run(f"{fields}.every(each => each.labels.length === 1)")
    assert len(titles) >= 8


def test_a_secret_link_lets_in_and_stays_secret(browser: Browser, asgi_site: str) -> None:
    secret = asgi_site.replace("/corpus", "/secret")
    browser.open(f"{secret}/?token=wrong&q=apples")
    assert browser.text("h1") == "Not allowed"
    browser.open(TOKEN.url(secret))
    assert browser.driver.current_url == f"{secret}/"
    assert TOKEN.token not in browser.driver.page_source
    _leave(browser, lambda: browser.find("#q").send_keys("number7\n"))
    assert "results in" in browser.text("[role=status]")
    assert browser.run("return document.cookie") == ""
    assert len([url for url in browser.requests() if TOKEN.token in url]) == 1


def test_a_secret_link_on_a_page_of_elsewhere_lets_in(browser: Browser, asgi_site: str, tmp_path: Path) -> None:
    secret = asgi_site.replace("/corpus", "/secret")
    page = tmp_path / "leading.html"
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={TOKEN.url(secret)}&q=number7">')
    browser.open(page.as_uri())
    wait_until(lambda: browser.driver.current_url == f"{secret}/?q=number7")
    wait_until(lambda: browser.find_all(".results"))


def _click(browser: Browser, css: str, containing: str) -> None:
    _leave(browser, next(each for each in browser.find_all(css) if containing in each.text).click)


def _leave(browser: Browser, action: Callable[[], object]) -> None:
    """Do what leads to another page, and wait until that is there."""
    browser.run("window.isLeft = true")
    action()
    wait_until(lambda: browser.run("return !window.isLeft && document.readyState === 'complete'"))


def _went_nowhere_else(browser: Browser, site: str) -> bool:
    asked = [url for url in browser.requests() if not url.startswith("data:")]
    return bool(asked) and all(url.startswith(site) for url in asked)
