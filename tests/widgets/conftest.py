"""A browser without a network, and an example of every figure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from figure_examples import EXAMPLES
from playwright.sync_api import Browser, Page, sync_playwright
from shared import CHROMIUM

PAGE = """<!doctype html><html lang="en" data-theme="{theme}">
<meta name="viewport" content="width=device-width"><title>A figure</title>
<style>
body {{ margin: 1rem; font-family: sans-serif; background: {paper}; color: {ink}; }}
</style>
<main>{figure}</main></html>"""
COLORS = {
    "light": {"paper": "#ffffff", "ink": "#222832"},
    "dark": {"paper": "#14181e", "ink": "#ced6dd"},
}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, once for all tests of figures."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Tabs:
    """Pages without a network. A page that is done with is emptied and used again, because a new
    one costs more than what it shows."""

    def __init__(self, browser: Browser):
        self.context = browser.new_context(offline=True)
        self.context.set_default_timeout(60_000)  # a busy machine is no reason to fail
        self.free = []

    def take(self) -> Page:
        return self.free.pop() if self.free else self.context.new_page()

    def give_back(self, page: Page) -> None:
        page.mouse.move(0, 0)
        page.goto("about:blank")
        self.free.append(page)


@pytest.fixture(scope="session")
def tabs(browser) -> Tabs:
    """The pages of all tests."""
    return Tabs(browser)


@contextlib.contextmanager
def opening(tabs: Tabs) -> Iterator[Callable[..., Page]]:
    """A function that shows a figure and returns its page, on which nothing may go wrong."""
    wrong, taken = [], []

    def said(message):
        if message.type == "error":
            wrong.append(message.text)

    def asked(request):
        if request.url.startswith("http"):
            wrong.append(request.url)

    listeners = {"pageerror": lambda error: wrong.append(str(error))}
    listeners |= {"console": said, "request": asked}

    def show(figure, width: int = 1000, theme: str = "light") -> Page:
        page = tabs.take()
        taken.append(page)
        page.bring_to_front()  # behind another page it would be drawn once a second
        page.set_viewport_size({"width": width, "height": 800})
        for event, listener in listeners.items():
            page.on(event, listener)
        page.set_content(PAGE.format(theme=theme, figure=figure.html(), **COLORS[theme]))
        page.wait_for_selector(".minilearn-figure [role=status]:not(:empty)")
        return page

    yield show
    for page in taken:
        tabs.give_back(page)
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
    assert not wrong, wrong


@pytest.fixture
def opened(tabs):
    """A function that shows a figure on a page of the test's own."""
    with opening(tabs) as show:
        yield show


@pytest.fixture(scope="module")
def desk(figure, tabs) -> Page:
    """A page for all tests that only look at the figure."""
    with opening(tabs) as show:
        yield show(figure)


@pytest.fixture(scope="module")
def phone(figure, tabs) -> Page:
    """A narrow one, in the dark."""
    with opening(tabs) as show:
        yield show(figure, width=390, theme="dark")


@pytest.fixture
def shown(figure, opened) -> Page:
    """The page of the figure that a file is about."""
    return opened(figure)


@pytest.fixture
def compute():
    """A function that calls a function of a figure's module in the browser."""

    def call(page: Page, figure, name: str, *arguments):
        program = """async ([text, given]) => {
            const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
            const result = (await import(url)).asked(...given);
            return ArrayBuffer.isView(result) ? [...result] : result;
        }"""
        text = f"{figure.module()}\nexport const asked = {name};"
        return page.evaluate(program, [text, arguments])

    return call


@pytest.fixture(scope="module", params=sorted(EXAMPLES))
def figure(request):
    """Every figure, one after another."""
    return EXAMPLES[request.param]()
