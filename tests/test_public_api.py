"""The public API is exactly `mvp_data.__all__`, and documented."""

import importlib.metadata
import inspect
import re

import mvp_data
from tests import ROOT


def test_everything_public_is_listed_and_there() -> None:
    public = {
        name for name, value in vars(mvp_data).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(mvp_data.__all__)


def test_everything_public_is_documented() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in mvp_data.__all__:
        assert f"`{name}" in page, f"{name} is missing in docs/api.md"
        value = getattr(mvp_data, name)
        if callable(value):
            assert inspect.getdoc(value), name


def test_the_versions_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert mvp_data.__version__ == newest[1] == importlib.metadata.version("masked-video-prediction")
