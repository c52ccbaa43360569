"""Shared fixtures: the optional corpus of real videos, and the demo weights where they have been fetched."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real videos beside the checkout; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "corpus"
    if not folder.is_dir():
        pytest.skip("needs the corpus of real videos at ../shared/corpus")
    return folder
