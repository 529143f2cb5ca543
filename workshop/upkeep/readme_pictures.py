"""Takes the README's pictures of the running apps. It needs the tests' packages and a browser:

    .venv/bin/python -m workshop.upkeep.readme_pictures [FOLDER]

The pictures are saved in docs/images, or in FOLDER.
"""

import base64
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE
from workshop.host.ports import free_port
from workshop.host.start import gallery_server, train_models
from workshop.setup.process import ROOT
from workshop.upkeep.browsers import installed_browsers

FOLDER = ROOT / "docs" / "images"
SIZE = {"width": 1100, "height": 850}  # pixels
# Three apps side by side, each as on a phone, are readable in a README that is 900 pixels wide.
PHONE = {"width": 390, "height": 640}
APPS = "04_iris/", "05_census/", "06_housing/"
SIDE_BY_SIDE = f"""<style>
  body {{ margin: 0; display: flex; gap: 16px; padding: 16px; background: #dcd8ea }}
  img {{ width: {PHONE["width"]}px; height: {PHONE["height"]}px; border-radius: 14px }}
</style>"""
FLOWER = {"Sepal length": "5.1", "Sepal width": "3.5", "Petal length": "1.4", "Petal width": "0.2"}


def take_pictures(folder: Path) -> Iterator[Path]:
    """Save every picture in `folder`, and yield the path of each.

    Raises `WorkshopError` if no browser is installed, or if it doesn't start.
    """
    found = installed_browsers()
    if not found:
        raise WorkshopError(
            "The pictures need a browser: install Chromium, Chrome or Edge, or name one with "
            "WORKSHOP_BROWSER=PATH."
        )
    folder.mkdir(parents=True, exist_ok=True)
    # JupyterLab isn't running, but with its port the gallery shows the buttons for notebooks.
    server = gallery_server("127.0.0.1", free_port(), lab_port=8888, token="0" * 32)
    with server, sync_playwright() as playwright:
        server.wait_until_ready()
        train_models(server.url)
        try:
            browser = playwright.chromium.launch(executable_path=found[0])
        except Error as error:
            raise WorkshopError(
                f"{found[0]} doesn't start: {str(error).splitlines()[0]}"
            ) from error
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(f"{server.url}/")
        take(page, folder / "gallery.png")
        yield folder / "gallery.png"
        page = browser.new_page(viewport=PHONE, color_scheme="light", device_scale_factor=2)
        answers = [answer_of(page, f"{server.url}/{path}") for path in APPS]
        images = [f'<img src="data:image/png;base64,{each}">' for each in answers]
        page.set_viewport_size({"width": 3 * PHONE["width"] + 64, "height": PHONE["height"] + 32})
        page.goto("about:blank")
        page.set_content(SIDE_BY_SIDE + "".join(images))
        take(page, folder / "apps.png")
        yield folder / "apps.png"
        browser.close()


def answer_of(page: Page, url: str) -> str:
    """Return a picture, in base64, of an app's result for its example, or for a flower."""
    page.goto(url)
    for label, value in FLOWER.items() if "iris" in url else ():
        page.get_by_label(label).fill(value)
    page.get_by_role("main").get_by_role("button").first.click()
    page.wait_for_load_state()
    return base64.b64encode(take(page)).decode()


def take(page: Page, file: Path | None = None) -> bytes:
    """Take a screenshot. On a busy machine Chromium sometimes fails, so it tries up to four times."""
    for _ in range(3):
        with contextlib.suppress(Error):
            return page.screenshot(path=file)
        page.wait_for_timeout(1000)
    return page.screenshot(path=file)


if __name__ == "__main__":
    os.environ[BASE] = str(ROOT)  # the original apps, not a learner's copy
    try:
        for picture in take_pictures(Path(sys.argv[1]) if sys.argv[1:] else FOLDER):
            print(f"made {picture}")
    except WorkshopError as problem:
        sys.exit(str(problem))
