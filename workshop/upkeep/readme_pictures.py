"""`python3 -m workshop pictures`: makes the README's pictures anew, from the running apps in a browser."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

from workshop.core.errors import WorkshopError
from workshop.host.ports import free_port
from workshop.host.start import gallery_server, make_databases, train_models
from workshop.setup.process import ROOT
from workshop.upkeep.browsers import installed_browsers, launch_options

FOLDER = ROOT / "docs" / "images"
SIZE = {"width": 1100, "height": 850}
FLOWER = {"Sepal length": "5.1", "Sepal width": "3.5", "Petal length": "1.4", "Petal width": "0.2"}


class NoBrowser(WorkshopError):
    """There is no browser that could take a picture."""


def gallery(page: Page, url: str) -> None:
    page.goto(url)


def iris(page: Page, url: str) -> None:
    page.goto(f"{url}/04_iris/")
    for label, value in FLOWER.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("main").get_by_role("button").first.click()


def census(page: Page, url: str) -> None:
    page.goto(f"{url}/05_census/")
    page.get_by_role("main").get_by_role("button").first.click()


def housing(page: Page, url: str) -> None:
    page.goto(f"{url}/06_housing/")
    page.get_by_role("main").get_by_role("button").first.click()


ATTEMPTS = 4  # to take a picture
PAUSE = 1000  # milliseconds between two of them

PICTURES: tuple[Callable[[Page, str], None], ...] = (gallery, iris, census, housing)


def make_pictures(folder: Path = FOLDER) -> Iterator[Path]:
    """Take every picture into `folder`, and give each file's path as it is done.

    Raises `NoBrowser` where there is none.
    """
    found = installed_browsers()
    if not found:
        raise NoBrowser(
            "The pictures need a browser: install Chromium, Chrome or Edge, or name one with "
            "WORKSHOP_BROWSER=PATH."
        )
    folder.mkdir(parents=True, exist_ok=True)
    make_databases()
    # The port of JupyterLab is not asked here; without one the gallery would show no buttons for notebooks.
    server = gallery_server("127.0.0.1", free_port(), lab_port=8888, token="0" * 32)
    with server, sync_playwright() as playwright:
        server.wait_until_ready()
        train_models(server.url)
        try:
            browser = playwright.chromium.launch(executable_path=found[0], **launch_options())
        except Error as error:
            raise NoBrowser(f"{found[0]} does not start: {str(error).splitlines()[0]}") from error
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        for show in PICTURES:
            show(page, server.url)
            file = folder / f"{show.__name__}.png"
            take(page, file)
            yield file
        browser.close()


def take(page: Page, file: Path) -> None:
    """Take a picture of a page. Chromium can fail to while the machine is busy, so it is asked again."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(Error):
            page.screenshot(path=file)
            return
        page.wait_for_timeout(PAUSE)
    page.screenshot(path=file)
