"""Builds on real Ray clusters; `test_fleet`, `test_start` and `ingest/test_node_worker` test the parts quickly."""

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mvp_data import build, read_index
from mvp_data.config.options import from_options
from mvp_data.pipeline.ledger import read_ledger
from tests.clusters import BUILD, OPTIONS, Site, needs_ray, site
from tests.ingest.test_chunk_jobs import SLOW, all_of, slide_show
from tests.ray_nodes import start_nodes
from tests.scenes import film

pytestmark = needs_ray


@pytest.fixture
def place() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture(scope="module")
def few_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos, and a file that is not a video."""
    folder = tmp_path_factory.mktemp("few")
    for seed in range(3):
        film(folder / f"film {seed}.mp4", seed=seed, seconds=6)
    (folder / "text.mp4").write_text("no video at all")
    return folder


@pytest.fixture(scope="module")
def many_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough videos for a node to be lost meanwhile."""
    folder = tmp_path_factory.mktemp("many")
    for seed in range(8):
        film(folder / f"film {seed}.mp4", seed=seed, seconds=12)
    return folder


def words(src: Path, out: Path, embedder: str, *more: str) -> tuple[str, ...]:
    """The arguments of a build on Ray."""
    ray = ("--engine", "ray", "--workers", "2", *more)
    return (*BUILD, "--src", str(src), "--out", str(out), "--embedder", embedder, *OPTIONS, *ray)


def on_this_machine(src: Path, out: Path, embedder: str) -> dict[str, bytes]:
    """Build the same with the local engine; return its files."""
    pairs = zip(OPTIONS[::2], OPTIONS[1::2], strict=True)
    options = {name.removeprefix("--").replace("-", "_"): int(v) if v.isdigit() else v for name, v in pairs}
    build(from_options({"src": str(src), "out": out, "embedder": embedder, **options}))
    return results(out)


def results(out: Path) -> dict[str, bytes]:
    """Return the content of all files of a build, except the report with its times."""
    read_index(out)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name != "report.json"}


def test_a_cluster_of_this_machine_gives_the_same_files_and_is_gone(
    few_films: Path, tmp_path: Path, tinyvit: str, place: Site
) -> None:
    ended = place.run("build.log", words(few_films, tmp_path / "far", tinyvit), limit_s=120)
    assert ended.code == 0, ended.output
    assert results(tmp_path / "far") == on_this_machine(few_films, tmp_path / "near", tinyvit)
    assert place.await_none() == []
    for word in ("ray", "Warning", "session"):
        assert word not in ended.output, "no output of Ray is shown; bars may be, on a slow machine"


def until(what: Callable[[], object], limit_s: float = 180.0) -> None:
    """Wait until a condition holds."""
    over = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < over
        time.sleep(0.02)


def entries(bank: Path) -> int:
    """Count the finished videos."""
    return len(list(bank.glob("*/frames/*/*.parquet")))


@pytest.mark.slow
def test_a_lost_node_costs_only_time(many_films: Path, tmp_path: Path, tinyvit: str, place: Site) -> None:
    address = start_nodes(place)
    build_args = words(many_films, tmp_path / "far", tinyvit, "--ray-address", address)
    process = place.start("build.log", build_args)
    until(lambda: entries(tmp_path / "far.bank") >= 2)
    (place.folder / "kill").touch()
    ended = place.ended("build.log", process, limit_s=180)
    assert (place.folder / "killed").exists()
    assert ended.code == 0, ended.output
    assert "is lost" in ended.output
    assert results(tmp_path / "far") == on_this_machine(many_films, tmp_path / "near", tinyvit)
    assert not list((tmp_path / "far.bank" / "tmp").iterdir())


DRIVER_APART = """
import json, os, sys
from mvp_data import build
from mvp_data.config.options import from_options

if __name__ == "__main__":
    os.dup2(os.open(sys.argv[1], os.O_RDONLY), 200, inheritable=False)
    build(from_options(json.loads(sys.argv[2])))
"""


@pytest.mark.slow
def test_nodes_without_a_common_disk_give_the_same_bytes(
    few_films: Path, tmp_path: Path, tinyvit: str, place: Site
) -> None:
    """The path of the driver's bank does not exist on a node; the chunks of a long video pass through the store."""
    src = tmp_path / "src"
    shutil.copytree(few_films, src)
    slide_show(src / "long.mkv")
    options = {"src": str(src), "embedder": tinyvit, "val_share": 0.0, **SLOW}
    build(from_options({**options, "out": str(tmp_path / "near")}))
    (tmp_path / "driver.py").write_text(DRIVER_APART)
    far = {"engine": "ray", "workers": 2, "ray_address": start_nodes(place), "store": f"file://{tmp_path}/store"}
    times: list[dict[str, int]] = []
    for name in ("far", "again"):
        (tmp_path / name).mkdir()
        given = {**options, **far, "out": str(tmp_path / name / "out"), "bank": "/proc/self/fd/200/bank"}
        driver = [str(tmp_path / "driver.py"), str(tmp_path / name), json.dumps(given)]
        ended = place.run(f"{name}.log", driver, limit_s=240)
        assert ended.code == 0, ended.output
        assert results(tmp_path / name / "out") == results(tmp_path / "near")
        assert all_of(tmp_path / name / "bank") == all_of(tmp_path / "near.bank")
        assert all_of(tmp_path / "store") == all_of(tmp_path / "near.bank"), "no chunk and no mark is left"
        assert not list(place.folder.glob("mvp-scratch-*"))
        times.append({str(path): path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.*")})
    assert times[0] == times[1], "finished work in the store is not done again"


@pytest.mark.slow
def test_a_killed_run_finds_its_work_in_the_store_and_a_lost_node_costs_none(
    many_films: Path, tmp_path: Path, tinyvit: str, place: Site
) -> None:
    """The driver is killed, then a node while the same command resumes."""
    out, store = tmp_path / "far", tmp_path / "store"
    far = words(many_films, out, tinyvit, "--ray-address", start_nodes(place), "--store", f"file://{store}")
    process = place.start("killed.log", far)
    until(lambda: entries(store) >= 2)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/frames/*/*.parquet")}
    process = place.start("build.log", far)
    until(lambda: entries(store) > len(before))
    (place.folder / "kill").touch()
    ended = place.ended("build.log", process, limit_s=180)
    assert (place.folder / "killed").exists()
    assert ended.code == 0, ended.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert results(out) == on_this_machine(many_films, tmp_path / "near", tinyvit)
    assert all_of(tmp_path / "far.bank") == all_of(tmp_path / "near.bank")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("after_s", [0.5, 2.0, 4.0, 0.0])
def test_a_signal_ends_a_cluster_of_this_machine(
    few_films: Path, tmp_path: Path, tinyvit: str, place: Site, number: int, code: int, after_s: float
) -> None:
    """Also while Ray starts, when an exception from a handler crashes the process; 0: during the videos."""
    process = place.start("build.log", words(few_films, tmp_path / "far", tinyvit))
    until(lambda: list(place.folder.glob("ray/session_*")))
    if after_s:
        time.sleep(after_s)
    else:
        until(lambda: entries(tmp_path / "far.bank"))
    process.send_signal(number)
    ended = place.ended("build.log", process, limit_s=60)
    # While Ray starts, its own SIGTERM handler aborts the process for a moment; no process is left then either.
    aborts = {-signal.SIGABRT} if number == signal.SIGTERM and after_s else set()
    assert ended.code in {code, 0} | aborts, ended.output
    if ended.code == code:
        assert ended.output.endswith("mvp-data: stopped; run the same command again to resume\n")
    assert place.await_none() == []


AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # idle; Ray lets them wait a minute for its dead server


@pytest.mark.slow
def test_a_killed_driver_leaves_no_worker_and_the_same_command_resumes(
    few_films: Path, tmp_path: Path, tinyvit: str, place: Site
) -> None:
    process = place.start("build.log", words(few_films, tmp_path / "far", tinyvit))
    until(lambda: entries(tmp_path / "far.bank"))
    process.kill()
    process.wait()
    left = place.await_none(20.0)
    assert [line for line in left if not line.partition(" ")[2].startswith(AGENTS)] == []
    ended = place.run("again.log", words(few_films, tmp_path / "far", tinyvit), limit_s=240)
    assert ended.code == 0, ended.output
    assert results(tmp_path / "far") == on_this_machine(few_films, tmp_path / "near", tinyvit)
    assert place.await_none(120.0) == [], "Ray ends its agents too, after a minute"


@pytest.mark.slow
def test_limits_hold_on_a_cluster_and_have_their_reasons(
    few_films: Path, tmp_path: Path, tinyvit: str, place: Site
) -> None:
    out = tmp_path / "far"
    few = (*words(few_films, out, tinyvit), "--video-memory-mb", "60")
    ended = place.run("build.log", few, limit_s=120)
    assert ended.code == 1, ended.output
    assert Counter(row.reason for row in read_ledger(out)) == {"memory": 4}


DRIVER_ALONE = """
import os, sys
from pathlib import Path
from mvp_data.config.options import from_options
from mvp_data.ingest.scheduler import engine_for, extract_all
from mvp_data.core.types import Source

if __name__ == "__main__":
    held = os.dup2(os.open(sys.argv[1], os.O_RDONLY), 200)  # a number that no other process has in use
    config = from_options({"src": "x", "out": sys.argv[2], "engine": "ray", "workers": 1})
    with engine_for(config) as engine:
        (outcome,) = extract_all([Source(location=f"/proc/self/fd/{held}", path="a.mp4")], config, engine=engine)
    print(outcome.skip, outcome.detail)
"""


@pytest.mark.slow
def test_what_only_the_driver_sees_is_explained(few_films: Path, tmp_path: Path, place: Site) -> None:
    """A path that differs in each process simulates a disk that the nodes do not have."""
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER_ALONE)
    ended = place.run("build.log", [str(driver), str(few_films / "film 0.mp4"), str(tmp_path / "far")], limit_s=120)
    assert ended.code == 0, ended.output
    assert "No such file or directory; this machine can read it: every node must be able to read it" in ended.output
