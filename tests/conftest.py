"""Shared fixtures: the optional corpus of real videos, and the demo weights if they have been fetched."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from mvp_data.core.errors import WeightsError
from mvp_data.embedding.weights import find
from tests import ROOT
from tests.clips import render
from tests.scenes import SAME_BYTES, film, journey

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# The time of an example depends on the load of the machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# With --no-loadscope-reorder these files start first, so that no worker is left alone with a long one at the end.
LONG_FILES = (
    "pipeline/test_build.py",
    "train/test_training.py",
    "train/test_learn_tiny.py",
    "audit/test_run.py",
    "engines/test_ray.py",
    "test_crash.py",
    "quiz/test_page.py",
    "train/test_dataset.py",
    "test_faults.py",
    "ingest/test_merge_banks.py",
    "cli/test_main.py",
    "video/decode/test_real.py",
    "test_hostile.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of the long files first."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real videos next to the checkout; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "corpus"
    if not folder.is_dir():
        pytest.skip("needs the corpus of real videos at ../shared/corpus")
    return folder


@pytest.fixture(scope="session")
def tinyvit() -> str:
    """The faster built-in encoder, for tests that run whole builds; they are skipped without its weights."""
    try:
        find("tinyvit")
    except WeightsError as error:
        pytest.skip(str(error))
    return "builtin:tinyvit"


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Chrome]":
    """The browser of this process, for `browser`."""
    from tests import screenshot

    if reason := screenshot.missing():
        pytest.skip(reason)
    with screenshot.chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(chromium: "Chrome") -> "Chrome":
    """A headless browser with the viewport and colours of a laptop; tests are skipped without one."""
    from tests import screenshot

    screenshot.emulate(chromium)
    return chromium


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A typical folder: four good films, a copy, a short film, a still film, and files that are not videos."""
    folder = tmp_path_factory.mktemp("films")
    for seed in range(4):
        film(folder / f"film {seed}.mp4", seed=seed, seconds=12)
    (folder / "deep" / "er").mkdir(parents=True)
    shutil.copy(folder / "film 0.mp4", folder / "deep" / "er" / "copy.mp4")
    film(folder / "short.mp4", seed=9, seconds=1.5)
    render(folder / "still.mp4", frames=120, fps=12, size=(224, 126), paint=journey(3, 10_000_000), options=SAME_BYTES)
    (folder / "text.mp4").write_text("no video at all")
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("a sidecar")
    whole = (folder / "film 1.mp4").read_bytes()
    (folder / "cut off.mp4").write_bytes(whole[: len(whole) // 2])
    return folder
