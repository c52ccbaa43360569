"""A headless Chromium for the tests of the pages, and the screenshots of the docs.

    python -m tests.screenshot shards/ docs/page.png --sample 475fbbf34c4c367998f8-000360167
    python -m tests.screenshot shards/ docs/quiz.png --height 800 --quiz KEYS

Needs `chromium` and `chromedriver` on PATH (Debian: `apt install chromium-driver`) and the `dev` extra.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from mvp_data.quiz.page import write_quiz
from mvp_data.quiz.score import QuizConfig
from mvp_data.viewer.page import write_page

FLAGS = (
    "--headless",
    "--no-sandbox",  # Chromium needs it to run as root in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def missing() -> str:
    """The missing programs, as a message; empty if a browser can be started."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs {' and '.join(absent)} on PATH" if absent else ""


@contextmanager
def chromium(width_px: int = 1280, height_px: int = 900, *, dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A browser with a new profile and a viewport of that size; below 600 px of width it emulates a phone."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width_px},{height_px}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            emulate(driver, width_px, height_px, dark=dark)
            yield driver
        finally:
            driver.quit()


def emulate(driver: webdriver.Chrome, width_px: int = 1280, height_px: int = 900, *, dark: bool = False) -> None:
    """Set the viewport and the colour scheme; below 600 px of width as a phone."""
    size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": width_px < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


def main() -> None:
    """Write a page of some shards, open it, and save a screenshot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help="a shard or a folder of shards")
    parser.add_argument("png", type=Path, help="the image to write")
    parser.add_argument("--sample", default="", help="key of the puzzle to show instead of the first")
    parser.add_argument("--reveal", action="store_true", help="with the answer")
    parser.add_argument("--quiz", metavar="KEYS", help="a quiz page instead, after these letters; + stands for Enter")
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    parser.add_argument("--width", type=int, default=1280, help="px; below 600 as a phone")
    parser.add_argument("--height", type=int, default=1000, help="px; 0 for the whole page")
    args = parser.parse_args()
    if reason := missing():
        parser.error(reason)
    with tempfile.TemporaryDirectory() as folder, chromium(args.width, args.height or 1000, dark=args.dark) as driver:
        page = Path(folder) / "page.html"
        if args.quiz is None:
            write_page(args.shards, page, key=args.sample)
        else:
            write_quiz(args.shards, page, QuizConfig(puzzles=12))
        driver.get(page.as_uri())
        body = driver.find_element(By.TAG_NAME, "body")
        if args.quiz is not None:
            body.send_keys(Keys.ENTER, args.quiz.replace("+", Keys.ENTER))
        if args.reveal:
            body.send_keys("r")
        if not args.height:
            height = driver.execute_script("return document.documentElement.scrollHeight")
            emulate(driver, args.width, height, dark=args.dark)
        body.send_keys(Keys.NULL)
        screenshot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
        screenshot.quantize(256).save(args.png, optimize=True)  # 256 colours: a third of the size
    print(f"wrote {args.png}")


if __name__ == "__main__":
    main()
