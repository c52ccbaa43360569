"""The text, JSON and page of an audit."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mvp_data.audit.report import check, gate, to_html, to_json, to_text, write_report
from mvp_data.audit.run import Audit, audit
from mvp_data.audit.visibility import Shown
from mvp_data.core.errors import ConfigError, OutputError
from mvp_data.shards.tar import write_shard
from tests.audit_plants import PLANTS, plant_shard, strip_twins
from tests.samples import make_folder, make_shard
from tests.screenshot import chromium, missing


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_shard(tmp_path_factory.mktemp("shards") / "leak.tar", PLANTS["answer is ABCD"], 24)


@pytest.fixture(scope="module")
def found(shard: Path) -> Audit:
    return audit(shard)


def test_the_table(found: Audit) -> None:
    text = to_text(found)
    assert all(len(line) <= 98 for line in text.split("\n")), text
    for result in found.parts[0].results:
        (line,) = [line for line in text.split("\n") if line.strip().startswith(f"{result.name} ")]
        assert line.endswith(result.verdict)
    assert "LEAK: the answers can be found by a shortcut, with labels, positions" in text
    assert "too wide" in text
    assert "no leak found, but the test is too weak" in to_text(
        replace(found, parts=(replace(found.parts[0], results=found.parts[0].results[:1]),))
    )
    assert re.search(r"sees only runs +0.000 +0.500 +0.250\n", text)


def test_each_task_has_a_table(found: Audit) -> None:
    (part,) = found.parts
    both = replace(found, parts=(part, replace(part, task="select")))
    assert "mvp labels, mvp positions, select labels, select positions" in " ".join(to_text(both).split())
    assert to_text(both).count("probe-artefacts") == 2
    assert json.loads(to_json(both))["leaks"] == ["mvp labels", "mvp positions", "select labels", "select positions"]
    assert to_html(both).count("<svg") == 6


def test_the_gate(found: Audit) -> None:
    (part,) = found.parts
    clean = replace(part, results=part.results[:1], samples=30)
    assert gate(found, "none") == ""
    assert gate(found, "leak").startswith("labels, positions can win by a shortcut")
    assert gate(replace(found, parts=(clean,)), "leak") == ""
    few = gate(replace(found, parts=(clean, replace(clean, task="jigsaw", samples=29))), "leak")
    assert few.startswith("jigsaw: 29 samples cannot show that there is no leak")
    one = gate(replace(found, parts=(replace(clean, video_groups=1),)), "leak")
    assert one.startswith("mvp: one video group cannot show")


def test_json_has_all_results(found: Audit) -> None:
    values = json.loads(to_json(found))
    assert values["leaks"] == ["labels", "positions"]
    (part,) = values["parts"]
    assert (values["samples"], part["k"], part["l"]) == (24, 4, 4)
    assert {r["name"]: r["verdict"] for r in part["results"]} == {r.name: r.verdict for r in found.parts[0].results}
    assert set(part["results"][0]["estimates"]["exact"]) == {"mean", "low", "high", "chance"}
    assert part["seeing_runs"]["exact"] == 0.25


def test_the_folder(found: Audit, shard: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "audit"
    page = write_report(found, out, shard)
    assert sorted(path.name for path in out.iterdir()) == ["audit.json", "report.html"]
    assert page == out / "report.html"
    first = page.read_bytes()
    assert write_report(found, out, shard).read_bytes() == first
    (out / "mine.txt").touch()
    with pytest.raises(OutputError, match="not the folder of an audit"):
        write_report(found, out, shard)


def test_refuses_to_write_into_the_shards(tmp_path: Path) -> None:
    make_folder(tmp_path, [make_shard(tmp_path / "shard-000000.tar", 3)])
    before = sorted(tmp_path.iterdir())
    found = audit(tmp_path)
    for shards in (tmp_path, tmp_path / "shard-000000.tar"):
        with pytest.raises(OutputError, match="must hold only shards"):
            write_report(found, tmp_path, shards)
    with pytest.raises(OutputError, match="must hold only shards"):
        write_report(found, tmp_path / "audit", tmp_path)
    with pytest.raises(OutputError, match="not the folder of an audit"):
        write_report(found, tmp_path / "index.json", tmp_path / "shard-000000.tar")
    assert sorted(tmp_path.iterdir()) == before


def test_bad_options_fail_before_the_audit(tmp_path: Path) -> None:
    check(None, tmp_path, "none")
    check(tmp_path / "audit", tmp_path / "shards", "leak")
    with pytest.raises(ConfigError, match="choose one of none, leak"):
        check(None, tmp_path, "leaks")
    with pytest.raises(OutputError, match="must hold only shards"):
        check(tmp_path, tmp_path, "none")


def test_text_from_shards_is_escaped(found: Audit) -> None:
    evil = '<script>alert(1)"\x1b[2J'
    part = replace(found.parts[0], warnings=(evil,))
    page = to_html(replace(found, path=f"a/{evil}", encoder=evil, parts=(part,)))
    assert "<script" not in page
    assert "\x1b" not in page + to_text(replace(found, path=evil, encoder=evil))
    assert page.count("&lt;script&gt;") >= 3


def test_the_page_is_well_formed(found: Audit) -> None:
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)  # type: ignore[method-assign]
    page = to_html(found)
    parser.feed(page)
    assert tags.count("svg") == 3
    assert tags.count("circle") == 3 * len(found.parts[0].results)
    assert "{{" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "nan" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL)


def test_in_a_browser(found: Audit, shard: Path, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    page = write_report(found, tmp_path / "audit", shard)
    for width_px, dark in ((1280, False), (400, True)):
        with chromium(width_px, 900, dark=dark) as driver:
            driver.get(page.as_uri())
            assert driver.get_log("browser") == []
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width_px
            colour = "return getComputedStyle(document.querySelector('g.leak.wins circle')).fill"
            assert (
                driver.execute_script(colour) != "rgb(0, 0, 0)"
            )  # the page's content security policy allows its style


def test_pairs_are_the_headline(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", (sample for number in range(6) for sample in strip_twins(number, videos=3)))
    found = audit(tmp_path / "a.tar")
    text = to_text(found)
    assert all(len(line) <= 98 for line in text.split("\n")), text
    assert re.search(r"pair +selection +exact\n", text)
    assert "12 samples in 6 pairs of 3 video groups" in " ".join(text.split())
    assert re.search(
        r"mask_start tells the first twin from the second in \S+ \(.*\), by arithmetic", " ".join(text.split())
    )
    assert re.search(r"same strip +12 +6 +0.00/0.00", text)
    assert "same strip" in to_html(found)
    json.loads(to_json(found), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_held_out_samples_that_others_show_and_orphans_fail_the_gate(found: Audit) -> None:
    clean = replace(found.parts[0], results=found.parts[0].results[:1], samples=30)
    for split, fails in (("val", True), ("train", False)):
        shown = Shown(split=split, samples=9, one=2, whole=1)
        reason = gate(replace(found, parts=(clean,), shown=(shown,)), "leak")
        assert (split in reason) == bool(reason) == fails
    reason = gate(replace(found, parts=(replace(clean, orphans=3),), shown=()), "leak")
    assert reason.startswith("mvp: 3 pairs have one sample only; filter by pair_id")
