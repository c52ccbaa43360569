"""All kinds of `--src`, on real folders, tars and a local web server."""

import io
import json
import os
import socket
import sys
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from mvp_data.core.containers import VIDEO_EXTENSIONS
from mvp_data.core.errors import SkipReason, SourceError
from mvp_data.core.types import Source
from mvp_data.sources.fetch import local_file
from mvp_data.sources.scan import ScanProblem, scan, shown
from tests.web import serve

# Names a shell, a tar, a URL or a glob would stumble over.
ODD_NAMES = [
    "with space.mp4",
    " leading.mp4",
    "new\nline.mp4",
    "emoji 🎬.mp4",
    "dots.in.the.name.mp4",
    "-rf.mp4",
    "a::b.mp4",
    "x.tar::y.mp4",
    "[1].mp4",
    "what?*.mp4",
    "per%20cent.mp4",
    "hash#1.mp4",
    "back\\slash.mp4",
    "quote'\".mp4",
    "UPPER.MP4",
    "no_extension",
    "trailing.",
]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def paths(*srcs: object) -> list[str]:
    return [source.path for source in scan([str(src) for src in srcs]).sources]


def problems(*srcs: object) -> dict[str, tuple[SkipReason, str]]:
    return {found.path: (found.reason, found.detail) for found in scan([str(src) for src in srcs]).problems}


def make_tar(path: Path, *names: str) -> None:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/scan", recursive=True)


def test_a_folder_gives_sources_with_names_relative_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "src/b.mp4", "src/a/c.webm", "src/a/b/d.MOV")
    result = scan([str(tmp_path / "src")])
    assert result.problems == ()
    assert result.sources == tuple(
        Source(location=str(tmp_path / "src" / name), path=name) for name in ("a/b/d.MOV", "a/c.webm", "b.mp4")
    )


def test_paths_do_not_depend_on_the_name_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "src/b.mp4", "src/a/c.webm")
    first = paths(tmp_path / "src")
    monkeypatch.chdir(tmp_path)
    assert paths("src") == paths("./src/") == paths("src/../src") == first
    assert [source.location for source in scan(["src"]).sources] == [f"{tmp_path}/src/{path}" for path in first]
    (tmp_path / "src").rename(tmp_path / "renamed")
    assert paths("renamed") == first


def test_every_regular_file_ends_as_source_or_problem(tmp_path: Path) -> None:
    touch(tmp_path, "v.mp4", "notes.txt", "cover.JPG", "song.m4a", "mystery", "film.dat", ".DS_Store", "._v.mp4")
    touch(tmp_path, ".git/objects/aa", "x.json", "part.mp4.crdownload")
    assert paths(tmp_path) == ["film.dat", "mystery", "part.mp4.crdownload", "song.m4a", "v.mp4"]
    found = problems(tmp_path)
    assert sorted(found) == [".DS_Store", "._v.mp4", ".git", "cover.JPG", "notes.txt", "x.json"]
    assert found["cover.JPG"] == (SkipReason.NOT_A_VIDEO, "extension .jpg is not a video's")
    assert found[".git"][1].startswith("hidden")


def test_the_whole_corpus_is_accounted_for(corpus: Path) -> None:
    result = scan([str(corpus)])
    every = {str(path.relative_to(corpus)) for path in corpus.rglob("*") if path.is_file()}
    assert {found.path for found in (*result.sources, *result.problems)} == every
    assert len(result.sources) + len(result.problems) == len(every)
    videos = {name for name in every if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS}
    assert videos <= {source.path for source in result.sources}
    assert {problem.reason for problem in result.problems} <= {SkipReason.NOT_A_VIDEO}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"src/{name}")
    expected = name.replace("\\", "\\\\")
    (found,) = scan([str(tmp_path / "src")]).sources
    (named,) = scan([str(tmp_path / "src" / name)]).sources
    assert found == named == Source(location=str(tmp_path / "src" / name), path=expected)
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": f"src/{name}"}))
    (listed,) = scan([str(tmp_path / "list.jsonl")]).sources
    assert (listed.location, listed.path) == (found.location, f"src/{expected}")
    with local_file(found, tmp_path / "spool") as path:
        assert path.read_bytes() == b"x"


def test_names_that_are_not_utf8_differ_and_stay_usable(tmp_path: Path) -> None:
    for name in (b"caf\xe9.mp4", b"caf\\xe9.mp4", "café.mp4".encode()):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(name)
    sources = scan([str(tmp_path)]).sources
    assert [source.path for source in sources] == ["caf\\\\xe9.mp4", "caf\\xe9.mp4", "café.mp4"]
    for source in sources:
        json.dumps(source.path).encode()
        source.path.encode()
        with local_file(source, tmp_path / "spool") as path:
            assert shown(os.fsdecode(path.read_bytes())) == source.path


def test_special_files_are_problems_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "v.mp4", "empty.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.mp4"))
        found = problems(tmp_path)
    assert paths(tmp_path) == ["empty.mp4", "v.mp4"]  # an empty file is detected when it is opened
    assert {name: reason for name, (reason, _) in found.items()} == dict.fromkeys(
        ("fifo.mp4", "gone.mp4", "s.mp4"), SkipReason.UNREADABLE
    )


def test_an_unreadable_folder_is_a_problem_below_and_an_error_at_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "src/a.mp4", "src/secret/b.mp4", "src/z/c.mp4")
    real = os.scandir

    def refuse(path: str) -> object:
        if os.path.basename(path) == "secret":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert paths(tmp_path / "src") == ["a.mp4", "z/c.mp4"]
    assert problems(tmp_path / "src") == {"secret": (SkipReason.UNREADABLE, "folder cannot be read: Permission denied")}
    with pytest.raises(SourceError, match=r"--src .*secret: cannot be read \(Permission denied\)"):
        scan([str(tmp_path / "src/secret")])


def test_many_files_take_a_kilobyte_each(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for folder in range(10):
        touch(src, f"{folder}/00000.mp4")
        for number in range(1, 1000):  # a link is faster to make than a file
            os.link(f"{src}/{folder}/00000.mp4", f"{src}/{folder}/{number:05d}.mp4")
    tracemalloc.start()
    result = scan([str(src)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(result.sources) == 10_000
    assert result.sources[1_234].path == "1/00234.mp4"
    assert peak < 10 << 20


def test_an_existing_path_has_priority_over_a_glob(tmp_path: Path) -> None:
    touch(tmp_path, "[x].mp4", "x.mp4", "d*/a.mp4", "dd/b.mp4")
    assert paths(tmp_path / "[x].mp4") == ["[x].mp4"]
    assert paths(tmp_path / "d*") == ["a.mp4"]


def test_several_srcs_give_each_location_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "b/x.mp4")
    (tmp_path / "list.csv").write_text("path,note\nb/x.mp4,hello\n")
    every = (tmp_path / "a", tmp_path / "b", tmp_path, tmp_path / "list.csv", tmp_path / "a/x.mp4")
    expected = (
        Source(location=f"{tmp_path}/a/x.mp4", path="a/x.mp4"),
        Source(location=f"{tmp_path}/b/x.mp4", path="b/x.mp4", extra=(("note", "hello"),)),
    )
    for srcs in (every, every[::-1]):
        assert scan([str(src) for src in srcs]).sources == expected
    two = scan([str(tmp_path / "a"), str(tmp_path / "b")]).sources  # one name, two places
    assert [source.path for source in two] == ["x.mp4", "x.mp4"]
    assert [source.location for source in two] == [f"{tmp_path}/a/x.mp4", f"{tmp_path}/b/x.mp4"]


def test_limit_takes_the_first_in_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}.mp4" for name in "dacb"), "n.txt")
    result = scan([str(tmp_path)], limit=2)
    assert [source.path for source in result.sources] == ["a.mp4", "b.mp4"]
    assert len(result.problems) == 1
    assert len(scan([str(tmp_path)], limit=9).sources) == 4
    with pytest.raises(ValueError, match="limit"):
        scan([str(tmp_path)], limit=-1)


@pytest.mark.parametrize(
    ("src", "message"),
    [
        ("none", "no such file or folder"),
        ("none.mp4", "no such file or folder"),
        ("none/*.mp4", "no files there"),
        ("*.webm", "no files there"),
        ("empty", "no files there"),
        ("empty.txt", "no files there"),
        ("gone", "cannot be read"),
        ("fifo", "not a regular file"),
        ("", "empty"),
        ("a\0b", "empty, or not a valid file name"),
        ("zip://x", "not accepted"),
        ("simplecache::http://h/x.mp4", "chained"),
        ("memory://nothing/here", "cannot be read (not found)"),
        ("http://127.0.0.1:9/x.mp4", "cannot be read"),
        ("file:///nowhere/at/all", "no such file or folder"),
    ],
)
def test_srcs_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, src: str, message: str) -> None:
    touch(tmp_path, "v.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# nothing yet\n")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        scan(["v.mp4", src])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_of_a_manifest_are_relative_absolute_or_urls(tmp_path: Path) -> None:
    touch(tmp_path, "lists/a.mp4", "b.mp4", "c d.mp4")
    url = "https://me:secret@host/e%20f.mp4?sig=secret"
    (tmp_path / "lists/l.txt").write_text(
        f"a.mp4\n../b.mp4\n{tmp_path}/c d.mp4\nfile://{tmp_path}/lists/a.mp4\n{url}\n"
    )
    found = {source.path: source.location for source in scan([str(tmp_path / "lists/l.txt")]).sources}
    assert found == {
        "../b.mp4": f"{tmp_path}/b.mp4",
        f"{tmp_path}/c d.mp4": f"{tmp_path}/c d.mp4",
        "a.mp4": f"{tmp_path}/lists/a.mp4",
        "https://host/e f.mp4": url,
    }


def test_bad_rows_are_problems_and_the_rest_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "ok.mp4", "notes.txt")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    bad = [
        "gone.mp4",
        "folder",
        "fifo.mp4",
        "/dev/zero",
        "zip://a::http://b/c",
        "reference://x",
        "n" * 5000,
        "\0",
        "\ud800",
    ]
    rows = [{"path": path} for path in [*bad, "notes.txt", "ok.mp4"]]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = problems(tmp_path / "l.jsonl")
    assert paths(tmp_path / "l.jsonl") == ["ok.mp4"]
    assert sorted(found) == sorted([*map(shown, bad), "notes.txt"])
    assert {reason for name, (reason, _) in found.items() if name != "notes.txt"} == {SkipReason.UNREADABLE}
    json.dumps([*found], ensure_ascii=False).encode()


def test_a_row_without_its_driver_is_a_problem_with_the_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    (tmp_path / "l.txt").write_text("gs://bucket/a.mp4\nftp://no.such.host.invalid/a.mp4\n")
    assert paths(tmp_path / "l.txt") == ["ftp://no.such.host.invalid/a.mp4"]  # nobody is called while scanning
    assert "pip install gcsfs" in problems(tmp_path / "l.txt")["gs://bucket/a.mp4"][1]
    with pytest.raises(SourceError, match="pip install gcsfs"):
        scan(["gs://bucket/a.mp4"])


def test_a_malformed_manifest_stops_the_scan(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,n\na.mp4\n")
    with pytest.raises(SourceError, match=r"l\.csv, line 2"):
        scan([str(tmp_path / "l.csv")])


def test_manifests_in_a_folder_are_only_files(tmp_path: Path) -> None:
    touch(tmp_path, "v.mp4")
    (tmp_path / "l.txt").write_text("/etc/passwd\n")
    assert paths(tmp_path) == ["v.mp4"]


def test_tars(tmp_path: Path) -> None:
    names = ("s1.mp4", "s1.json", "s1.txt", "sub/s2.key.WEBM", "../up::x.mkv", "._s1.mp4", "README")
    touch(tmp_path, "v.mp4")
    make_tar(tmp_path / "x.tar", *names)
    expected = ["x.tar::../up::x.mkv", "x.tar::s1.mp4", "x.tar::sub/s2.key.WEBM"]
    assert paths(tmp_path / "x.tar") == expected
    assert paths(tmp_path) == ["v.mp4", *expected]
    assert problems(tmp_path / "x.tar") == {
        "x.tar": (SkipReason.NOT_A_VIDEO, "4 members are not videos (.json 1, .mp4 1, .txt 1, no extension 1)")
    }
    (tmp_path / "l.csv").write_text("path,set\nx.tar,train\n")
    assert [source.extra for source in scan([str(tmp_path / "l.csv")]).sources] == [(("set", "train"),)] * 3


def test_damaged_and_empty_tars(tmp_path: Path) -> None:
    make_tar(tmp_path / "cut.tar", "a.mp4", "b.mp4")
    os.truncate(tmp_path / "cut.tar", 1024 + 100)
    make_tar(tmp_path / "none.tar")
    touch(tmp_path, "junk.tar", "packed.tar.gz")
    assert paths(tmp_path) == ["cut.tar::a.mp4"]
    found = problems(tmp_path)
    assert found["cut.tar"][1].startswith("damaged after 1 members")
    assert found["junk.tar"][0] is SkipReason.UNREADABLE
    assert found["none.tar"] == (SkipReason.NOT_A_VIDEO, "the tar holds no files")
    assert found["packed.tar.gz"][0] is SkipReason.NOT_A_VIDEO


def test_one_member_of_a_large_tar_is_read_without_listing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tar(tmp_path / "x.tar", *(f"{number:05d}.mp4" for number in range(2000)))
    source = scan([str(tmp_path / "x.tar")]).sources[-1]
    assert source.path == "x.tar::01999.mp4"
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("lists the tar again"))
    with local_file(source, tmp_path / "spool") as path:
        assert path.read_bytes() == b"abc"


def test_file_urls(tmp_path: Path) -> None:
    touch(tmp_path, "src/a b.mp4", "src/c.mp4")
    assert scan([f"file://{tmp_path}/src"]) == scan([f"{tmp_path}/src"])
    assert scan([f"file://{tmp_path}/src/*b.mp4"]).sources[0].location == f"{tmp_path}/src/a b.mp4"


def test_memory_urls(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    touch(tmp_path, "v")
    make_tar(tmp_path / "x.tar", "in.mp4")
    memory.pipe(
        {"/scan/a.mp4": b"1", "/scan/b/c.mp4": b"2", "/scan/n.txt": b"b/c.mp4\n/etc/passwd\nfile:///etc/passwd\n"}
    )
    memory.pipe({"/scan/b/x.tar": (tmp_path / "x.tar").read_bytes(), "/scan/.h/d.mp4": b"3"})
    assert paths("memory://scan") == ["a.mp4", "b/c.mp4", "b/x.tar::in.mp4"]
    assert sorted(problems("memory://scan")) == [".h", "n.txt"]
    assert paths("memory://scan/**/*.mp4") == ["a.mp4", "b/c.mp4"]
    assert paths("memory://scan/n.txt") == ["b/c.mp4"]
    for source in scan(["memory://scan"]).sources:
        with local_file(source, tmp_path / "spool") as path:
            assert path.stat().st_size in (1, 3)


@pytest.mark.parametrize("ranges", [True, False])
def test_http(tmp_path: Path, ranges: bool) -> None:
    names = [name for name in ODD_NAMES if name != "new\nline.mp4"]  # pages list it, but no server need serve it
    touch(tmp_path, *(f"web/{name}" for name in names), "web/sub/é.webm", "web/n.json", "web/a.mp4")
    make_tar(tmp_path / "web/x.tar", "in.mp4")
    with serve(tmp_path / "web", ranges=ranges) as site:
        result = scan([f"{site.url}/"])
        assert [found.path for found in result.problems] == ["n.json"]
        assert sorted(source.path for source in result.sources) == sorted(
            [*map(shown, names), "sub/é.webm", "a.mp4", "x.tar::in.mp4"]
        )
        for source in result.sources:
            with local_file(source, tmp_path / "spool") as path:
                assert path.read_bytes() in (b"x", b"abc")
        assert scan([f"{site.url}/a.mp4?key=1"]).sources == (Source(location=f"{site.url}/a.mp4?key=1", path="a.mp4"),)
        with pytest.raises(SourceError, match="404"):
            scan([f"{site.url}/gone.mp4"])
        with pytest.raises(SourceError, match="404"):
            scan([f"{site.url}/gone/"])


def test_a_manifest_from_a_url_may_not_name_local_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    touch(tmp_path, "web/sub/a b#1.mp4")
    bad = [str(secret), f"file://{secret}", f"FILE://{secret}", "local:///x"]
    (tmp_path / "web/sub/l.txt").write_text("\n".join(["a b#1.mp4", "memory://scan/x.mp4", *bad]))
    with serve(tmp_path / "web") as site:
        result = scan([f"{site.url}/sub/l.txt"])
        assert [source.path for source in result.sources] == ["a b#1.mp4", "memory://scan/x.mp4"]
        with local_file(result.sources[0], tmp_path / "spool") as path:
            assert path.read_bytes() == b"x"
    assert sorted(problem.path for problem in result.problems) == sorted(bad)


def test_problems_are_values() -> None:
    problem = ScanProblem(path="x", reason=SkipReason.UNREADABLE, detail="d")
    assert {problem, problem} == {problem}


def test_the_same_scan_twice_is_the_same(corpus: Path) -> None:
    assert scan([str(corpus)]) == scan([str(corpus)])


def test_no_secret_of_a_row_reaches_path_or_detail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    rows = ["https://me:hush@h/a.mp4?k=hush", "sftp://me:hush@h/b.mp4", "dask://me:hush@h/c.mp4"]
    (tmp_path / "l.txt").write_text("\n".join([*rows, "simplecache::https://me:hush@h/d.mp4"]))
    result = scan([str(tmp_path / "l.txt")])
    assert [source.path for source in result.sources] == ["https://h/a.mp4"]
    assert len(result.problems) == 3
    assert not any("hush" in problem.path + problem.detail for problem in result.problems)


def test_a_build_does_not_scan_its_own_output(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "out/shard-000000.tar", "out.bank/x.jpgs", "other/b.mp4")
    found = scan([str(tmp_path)], leave_out=(tmp_path / "out", tmp_path / "out.bank", tmp_path / "not there"))
    assert [source.path for source in found.sources] == ["a.mp4", "other/b.mp4"]
    assert not found.problems


def test_files_of_one_name_under_two_srcs_are_two_problems(tmp_path: Path) -> None:
    touch(tmp_path, "one/notes.txt", "two/notes.txt")
    found = scan([str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "one")])
    assert [problem.path for problem in found.problems] == ["notes.txt", "notes.txt"]


def test_a_duplicate_row_names_the_columns_that_are_not_used(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("path,caption\na.mp4,dog\na.mp4,cat\na.mp4,cat\n")
    found = scan([str(tmp_path / "list.csv")])
    assert [source.extra for source in found.sources] == [(("caption", "cat"),)]
    ((problem),) = found.problems
    assert (problem.path, problem.reason) == ("a.mp4", SkipReason.DUPLICATE)
    assert "dog" in problem.detail
