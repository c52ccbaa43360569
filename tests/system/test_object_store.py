"""A store on a local disk through fsspec; `test_upload` uploads a build to one."""

from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec.implementations.local
import pytest

from mvp_data.core.errors import OutputError, SourceError
from mvp_data.system.object_store import Store

Local = fsspec.implementations.local.LocalFileSystem


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def test_files_are_read_as_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert (store.size("x/y"), store.read("x/y")) == (-1, None)
    store.put(tmp_path / "a", "x/y", 5)
    assert (store.size("x/y"), store.read("x/y")) == (5, b"12345")
    store.get("x/y", file := BytesIO())
    assert file.getvalue() == b"12345"
    (tmp_path / "a").write_bytes(b"6")
    store.put(tmp_path / "a", "x/y", 1)
    assert store.read("x/y") == b"6"
    store.remove("x/y")
    store.remove("x/y")
    assert store.size("x/y") == -1


def test_an_incomplete_upload_is_not_visible(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the upload fails or is silently cut, the earlier file stays."""
    (tmp_path / "a").write_bytes(b"12345")
    store.put(tmp_path / "a", "x", 5)

    def half(self: Any, source: str, target: str, **_: Any) -> None:
        Path(target).write_bytes(b"123")

    def fails(self: Any, source: str, target: str, **_: Any) -> None:
        Path(target).write_bytes(b"123")
        raise OSError(113, "No route")

    for put_file, problem in ((half, "3 of 5 bytes have arrived"), (fails, "No route")):
        monkeypatch.setattr(Local, "put_file", put_file)
        for name in ("x", "z"):
            with pytest.raises(OutputError, match=problem):
                store.put(tmp_path / "a", name, 5)
        assert (store.read("x"), store.size("z")) == (b"12345", -1)
        assert [path.name for path in (tmp_path / "store").iterdir()] == ["x"]


def test_an_incomplete_download_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("x", b"12345")
    monkeypatch.setattr(Local, "open", lambda self, path, mode: BytesIO(b"123"))
    with pytest.raises(OutputError, match="3 of 5 bytes received"):
        store.get("x", BytesIO())


def test_urls_that_are_not_accepted() -> None:
    for url in ("/plain/folder", "https://host/x", "memory://x"):
        with pytest.raises(SourceError, match="cannot write to this URL"):
            Store(url)
    for url in ("file://", "file://a/folder"):
        with pytest.raises(SourceError, match="not an absolute path"):
            Store(url)
