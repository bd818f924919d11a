"""Look at the built site in a browser, as its readers do.

``python docs/check_site.py docs/_build/html screenshots`` needs Chromium and
ChromeDriver (Debian: chromium, chromium-driver) and ``pip install selenium``. Opens
pages of every kind in light and in dark mode and at the width of a phone, leaves a
picture of each, and ends with an error if

* a link of any page leads to no page, or to no place on it;
* a page asks for anything that is not part of the site, or logs an error;
* a page, or a heading or paragraph on it, is wider than the screen;
* the search finds nothing.
"""

import argparse
import json
import shutil
import sys
import threading
import time
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PAGES = {
    "home": "index.html",
    "install": "install.html",
    "tutorial": "auto_examples/plot_tutorial.html",
    "guide": "user_guide/index.html",
    "how": "user_guide/how_it_works.html",
    "archive": "user_guide/archive.html",
    "command": "user_guide/command_line.html",
    "habits": "user_guide/scikit_learn.html",
    "gallery": "auto_examples/index.html",
    "example": "auto_examples/plot_embedding_map.html",
    "api": "api.html",
    "class": "api/sksimclr.SimCLRTransformer.html",
    "reproducing": "reproducing.html",
    "benchmarks": "benchmarks.html",
    "changelog": "changelog.html",
    "search": "search.html?q=temperature",
}
# name: (width, height, scheme, is a phone)
SCREENS = {
    "light": (1280, 1000, "light", False),
    "dark": (1280, 1000, "dark", False),
    "phone": (390, 844, "light", True),
}


class Links(HTMLParser):
    """The links and the named places of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = set(), {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Collect what leads elsewhere, and where one can arrive."""
        attributes = dict(attributes)
        for key in ("href", "src"):
            if attributes.get(key):
                self.links.add(attributes[key])
        for key in ("id", "name"):
            self.places.add(attributes.get(key))


def dead_links(site):
    """Return the links within the site that lead nowhere, and from where."""
    pages = {
        path: Links(path.read_text())
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.relative_to(site).parts
    }
    dead = []
    for path, page in pages.items():
        for link in sorted(page.links):
            address, place = urldefrag(link)
            if urlsplit(address).scheme or address.startswith("//"):
                continue
            address = unquote(urlsplit(address).path)
            target = (path.parent / address).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.exists() or (known and unquote(place) not in known.places):
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


def serve(site):
    """Return the address at which the site is served from now on."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def start_browser():
    """Return a Chromium that asks for nothing by itself and logs what pages do."""
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ):
        options.add_argument(argument)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


def set_screen(browser, width, height, scheme, is_phone):
    """Make the window a screen of that size, in light or in dark mode."""
    screen = {"width": width, "height": height, "mobile": is_phone}
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", screen | {"deviceScaleFactor": 1}
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def outside_requests(browser, address):
    """Return what the page has asked of others than the site."""
    urls = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
    return [url for url in urls if not url.startswith((address, "data:", "blob:"))]


def look(browser, address, name, page, screen, folder):
    """Leave a picture of a page, and return what is wrong with it."""
    width, *_ = SCREENS[screen]
    set_screen(browser, *SCREENS[screen])
    browser.get(address + page)
    wrong = []
    if name == "search":
        results = "#search-results li"
        WebDriverWait(browser, 20).until(
            lambda page: page.find_elements(By.CSS_SELECTOR, results)
        )
    WebDriverWait(browser, 20).until(
        lambda page: page.execute_script(
            "return [...document.images].every(image => image.complete"
            " || image.loading == 'lazy')"
        )
    )
    scheme = browser.execute_script("return document.documentElement.dataset.theme")
    if scheme != SCREENS[screen][2]:
        wrong.append(f"is in {scheme} mode")
    extent = browser.execute_script("return document.documentElement.scrollWidth")
    if extent > width:
        wrong.append(f"is {extent} pixels wide, the screen {width}")
    cut = browser.execute_script(
        "return [...document.querySelectorAll('article :is(h1, h2, dt, p, figure)')]"
        ".filter(element => element.scrollWidth > element.clientWidth + 1)"
        ".map(element => element.textContent.slice(0, 60))"
    )
    wrong += [f"cuts off {text!r}" for text in cut]
    wrong += [f"asks for {url}" for url in outside_requests(browser, address)]
    wrong += [
        f"logs {entry['message']}"
        for entry in browser.get_log("browser")
        if entry["level"] in ("WARNING", "SEVERE")
    ]
    time.sleep(0.5)  # until what fades in has done so
    browser.save_screenshot(str(folder / f"{name}_{screen}.png"))
    return [f"{page}, {screen}: {what}" for what in wrong]


def main():
    """Check the site, print what is wrong, and return how many things are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path, help="folder of the built pages")
    parser.add_argument("screenshots", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    site = options.site.resolve()
    options.screenshots.mkdir(parents=True, exist_ok=True)
    wrong = [f"dead link: {link}" for link in dead_links(site)]
    address, browser = serve(site), start_browser()
    try:
        for screen in SCREENS:
            for name, page in PAGES.items():
                wrong += look(browser, address, name, page, screen, options.screenshots)
    finally:
        browser.quit()
    print(*wrong, sep="\n")
    print(f"{len(PAGES) * len(SCREENS)} pictures, {len(wrong)} things are wrong")
    return min(len(wrong), 1)


if __name__ == "__main__":
    sys.exit(main())
