"""URLs: which schemes are allowed, and how much a server may send."""

import sys
import time
from pathlib import Path

import pytest

from mvp_data.core.errors import SourceError
from mvp_data.sources import folders
from mvp_data.system import http_limits, urls
from tests.web import serve


@pytest.mark.parametrize(
    "url",
    [
        "reference://a.json",
        "dask://x",
        "jupyter://x",
        "python://x",
        "zip://a.mp4",
        "local:///a.mp4",
        "data://x",
        "nonsense://x",
    ],
)
def test_schemes_without_files_are_refused(url: str) -> None:
    with pytest.raises(SourceError, match="is not accepted; use one of file, memory, http"):
        urls.scheme_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::http://host/a.mp4",
        "zip://a.mp4::http://host/b.zip",
        "filecache::s3://b/a.mp4",
        "http://host/a::file:///etc/passwd",
    ],
)
def test_chained_urls_are_refused(url: str) -> None:
    with pytest.raises(SourceError, match="chained"):
        urls.scheme_of(url)


@pytest.mark.parametrize(
    ("location", "scheme"),
    [
        ("/data/a.mp4", ""),
        ("a::b.mp4", ""),
        ("-a: b.mp4", ""),
        ("S3://b/a.mp4", "s3"),
        ("http://h/a::b.mp4", "http"),
        ("file:///a", "file"),
    ],
)
def test_schemes(location: str, scheme: str) -> None:
    assert urls.scheme_of(location) == scheme


def test_a_missing_driver_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(SourceError, match=r"gs://.*pip install gcsfs"):
        urls.driver("gs://bucket/a.mp4")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x.mp4", "data:text/plain,x", ""])
def test_redirects_reach_no_local_file_and_are_limited(tmp_path: Path, target: str) -> None:
    """The last one redirects to itself."""
    with serve(tmp_path) as site:
        for streaming in (True, False):
            with (
                pytest.raises(urls.failures(site.url)),
                urls.open_binary(f"{site.url}/go?{target}", streaming=streaming) as file,
            ):
                file.read(1)
        with pytest.raises(urls.failures(site.url)):
            list(folders.remote_entries(f"{site.url}/go?{target}"))


def test_links_are_found_in_linear_time() -> None:
    start = time.process_time()
    for page in ("<a " + " " * 1_000_000, "<a href=" * 100_000, "<a href='" * 100_000, 'href="' + "x" * 1_000_000):
        assert http_limits.links("http://h/", page) == set()
    assert time.process_time() - start < 3


def test_a_slow_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "SLOW_S", 0.2)

    def drain(url: str) -> None:
        with urls.open_binary(url, streaming=True) as file:
            while file.read(1):
                pass

    with serve(tmp_path) as site, pytest.raises(TimeoutError, match="slower than 1000 bytes per second"):
        drain(f"{site.url}/drip.mp4")


def test_messages_have_the_http_status(tmp_path: Path) -> None:
    with serve(tmp_path) as site:
        for name, said in (("gone.mp4", "404"), ("private.mp4", "403"), ("broken.mp4", "500")):
            with pytest.raises(urls.failures(site.url)) as caught:
                urls.size_bytes(f"{site.url}/{name}")
            assert said in urls.explain(caught.value)


def test_shown_urls_have_no_secrets() -> None:
    assert urls.name_in("https://me:secret@host/a%20b.mp4?token=secret#x") == "https://host/a b.mp4"
    assert urls.name_in("https://host?token=secret") == "https://host"
    assert urls.name_in("sftp://me:secret@host/a?b.mp4") == "sftp://host/a?b.mp4"
    assert urls.name_in("hf://datasets/u/r@main/a.mp4") == "hf://datasets/u/r@main/a.mp4"
