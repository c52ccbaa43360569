"""A killed build gives the same result after it resumes; `benchmarks/crash.py` kills at every change of a file."""

import sys

import pytest

from tests.crash_disk import unsynced
from tests.crashes import Kill, Site, Trial, attempt, make_site, undisturbed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def site(tinyvit: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A small corpus, and the files of an undisturbed build."""
    return undisturbed(make_site(tmp_path_factory.mktemp("site"), tinyvit))


def test_a_build_killed_in_every_stage_gives_the_same_result(site: Site) -> None:
    kills = (
        Kill(at="rename bank/tmp/", power_cut=True),  # the images; without their facts they do not count
        Kill(at="rename bank/tmp/", whom="parent"),  # its worker continues, and meets the next run
        Kill(at=".npy"),
        Kill(at="write out/.select-shard-000000", torn=True),
        Kill(at="synced out/.index.json", power_cut=True),
    )
    verdict = attempt(site, Trial(kills=kills, resumed="workers"), "killed")
    assert [stage for stage, _ in verdict.hit] == ["decode", "decode", "embed", "pack", "index"], verdict
    assert verdict.sound, verdict


def test_a_worker_that_dies_leaves_nothing_behind(site: Site) -> None:
    """Its video is tried again in the same run, and its incomplete files are removed."""
    assert site.run is not None
    first = next(n for n, event in enumerate(site.run.events) if str(event).startswith("rename bank/tmp/"))
    verdict = attempt(site, Trial(kills=(Kill(at=first, whom="self"),)), "worker")
    assert verdict.hit == (), f"not the worker alone: {verdict}"
    assert verdict.sound, verdict


def test_written_files_survive_a_power_cut(site: Site) -> None:
    """Each file is synced before it gets its name, and its folder afterwards."""
    assert site.run is not None
    assert unsynced(site.run.events, site.expected) == []
