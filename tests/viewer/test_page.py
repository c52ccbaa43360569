"""The page in a real browser: its content, its keys, and file names with markup, which must not run."""

import io
import re
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from mvp_data.core.errors import ConfigError, OutputError, ShardError
from mvp_data.shards.record import extra_json
from mvp_data.shards.tar import write_shard
from mvp_data.viewer import page
from mvp_data.viewer.page import spread, write_page
from tests.samples import make_folder, make_record, make_sample, make_shard, make_twins

PWN = "document.title='pwned'"
HOSTILE = f"""clips/</script><script>{PWN}</script><img src=x onerror="{PWN}">'".mp4"""
EXTRA = extra_json((("caption", "<!-- <script> & \u2028 </script>"), ("<b>name</b>", "{{data}}")))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a<b>&'set")
    make_folder(folder, [make_shard(folder / "shard-000000.tar", 3, video_path=HOSTILE, extra=EXTRA)])
    return folder


@pytest.fixture
def opened(browser: Chrome, shards: Path, tmp_path: Path) -> Chrome:
    """The page, freshly opened from a file."""
    write_page(shards, tmp_path / "page.html")
    console(browser)  # clears the messages of earlier pages
    browser.get((tmp_path / "page.html").as_uri())
    return browser


def console(browser: Chrome) -> list[dict[str, str]]:
    """The console messages since the last call."""
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]


def text(browser: Chrome, selector: str = "body") -> str:
    """The visible text of an element."""
    return browser.find_element(By.CSS_SELECTOR, selector).text


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def tab_to(browser: Chrome, element: str) -> None:
    for _ in range(20):
        press(browser, Keys.TAB)
        if browser.switch_to.active_element.get_attribute("id") == element:
            return
    pytest.fail(f"{element} cannot be reached with the tab key")


def test_shows_a_puzzle_without_its_answer(opened: Chrome) -> None:
    record = make_record(0, video_path=HOSTILE, extra=EXTRA)
    assert "Puzzle 1 of 3" in text(opened)
    assert "Which 4 of the 8 fill the gap, in what order?" in text(opened)
    opened.execute_async_script(  # fails if an image cannot be decoded
        "Promise.all([...document.images].map(image => image.decode())).then(arguments[0])"
    )
    images = opened.find_elements(By.CSS_SELECTOR, "main img")
    assert len(images) == 12 + 8
    assert all(image.get_property("naturalWidth") == record.width_px for image in images)
    tiles = [t.text for t in opened.find_elements(By.CSS_SELECTOR, "#strip figcaption")]
    times = [f"{c.time_s:.2f} s" for c in record.context]
    assert tiles == [*times[:5], "hidden 1", "hidden 2", "hidden 3", "hidden 4", *times[5:]]
    assert [b.text for b in opened.find_elements(By.CSS_SELECTOR, "#pool .badge")] == list("ABCDEFGH")
    for secret in (record.video_path, record.key, "distractor", "neighbourhood", "1st"):
        assert secret not in text(opened, "main")
    assert opened.find_elements(By.CSS_SELECTOR, ".right, .wrong") == []
    for place in ("answer", "rows", "about"):
        assert opened.execute_script(f"return document.querySelector('#{place}').textContent") == ""


def test_keys_reveal_and_hide(opened: Chrome) -> None:
    record = make_record(0, video_path=HOSTILE, extra=EXTRA)
    press(opened, "r")
    assert text(opened, "#answer") == ", ".join(record.answer)
    assert text(opened, "#where") == f"Puzzle 1 of 3: {', '.join(record.answer)}"
    right = opened.find_elements(By.CSS_SELECTOR, "#pool .right")
    found = {
        f.find_element(By.CSS_SELECTOR, ".place").text: f.find_element(By.CSS_SELECTOR, ".badge").text for f in right
    }
    assert found == dict(zip(("1st", "2nd", "3rd", "4th"), record.answer, strict=True))
    filled = [t.text for t in opened.find_elements(By.CSS_SELECTOR, "#strip .slot figcaption")]
    assert [t.split(" ")[0] for t in filled] == list(record.answer)
    rows = [
        [c.text for c in r.find_elements(By.TAG_NAME, "td")] for r in opened.find_elements(By.CSS_SELECTOR, "#rows tr")
    ]
    for row, c in zip(rows, record.candidates, strict=True):
        role = "distractor" if c.order < 0 else ["1st", "2nd", "3rd", "4th"][c.order] + " of 4"
        origin = c.origin.replace("_", " ")
        assert row == [c.label, role, origin, f"{c.time_s:.2f} s", str(c.shot), f"{c.similarity:.3f}", c.video_path]
    for fact in (record.key, f"{record.difficulty:.3f}", "5.25 s to 8.25 s", "anchored", "{{data}}", "<b>name</b>"):
        assert fact in text(opened, "#about")
    press(opened, Keys.ENTER)
    assert record.key not in text(opened)
    assert opened.execute_script("return document.querySelector('#rows').childElementCount") == 0


@pytest.mark.parametrize(("forward", "back"), [("j", "k"), (Keys.ARROW_RIGHT, Keys.ARROW_LEFT)])
def test_keys_go_to_other_puzzles(opened: Chrome, forward: str, back: str) -> None:
    press(opened, forward, "r")
    assert make_record(1).key in text(opened)
    press(opened, forward)
    assert text(opened, "#where") == "Puzzle 3 of 3"  # and its answer is hidden again
    press(opened, forward)
    assert text(opened, "#where") == "Puzzle 1 of 3"
    press(opened, back, back)
    assert text(opened, "#where") == "Puzzle 2 of 3"


def test_tab_reaches_everything(opened: Chrome) -> None:
    tab_to(opened, "next")
    press(opened, Keys.ENTER)  # presses the button; this is not the shortcut
    assert text(opened, "#where") == "Puzzle 2 of 3"
    tab_to(opened, "reveal")
    press(opened, Keys.SPACE)
    assert make_record(1).key in text(opened)
    assert opened.switch_to.active_element.get_attribute("aria-expanded") == "true"
    press(opened, Keys.TAB)
    assert opened.switch_to.active_element.get_attribute("role") == "region"  # a wide table scrolls by keys
    summary = opened.find_element(By.TAG_NAME, "summary")
    summary.send_keys(Keys.ENTER)
    assert "chi-square p" in text(opened, "#charts")
    assert text(opened, "#where").startswith("Puzzle 2 of 3: ")


def test_no_injected_code_runs_and_nothing_is_loaded(opened: Chrome, shards: Path) -> None:
    press(opened, "r")
    assert HOSTILE in text(opened, "#about")
    assert opened.title == f"{shards.name} · masked video prediction"
    assert text(opened, "h1") == shards.name
    assert len(opened.find_elements(By.TAG_NAME, "script")) == 2
    loaded = opened.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert [entry for entry in console(opened) if entry["level"] in ("SEVERE", "WARNING")] == []


def test_the_policy_stops_what_is_not_the_template(opened: Chrome, tmp_path: Path) -> None:
    """A second defence behind escaping: the policy does not have the hash of an injected script."""
    injected = (tmp_path / "page.html").read_text().replace("<main", "<script>document.title='pwned'</script><main")
    (tmp_path / "injected.html").write_text(injected)
    opened.get((tmp_path / "injected.html").as_uri())
    assert "pwned" not in opened.title
    assert any("Content Security Policy" in entry["message"] for entry in console(opened))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width_px", [1280, 390])
def test_layout(opened: Chrome, width_px: int, dark: bool) -> None:
    """Not blank, not wider than the window, and in the requested colour scheme."""
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    press(opened, "r")
    picture = Image.open(io.BytesIO(opened.get_screenshot_as_png())).convert("L")
    assert picture.size == (width_px, 900)
    assert sum(count > 0 for count in picture.histogram()) > 50
    corner = picture.getpixel((2, 2))
    assert isinstance(corner, int)
    assert (corner < 60) == dark
    assert opened.execute_script("return document.documentElement.scrollWidth") == width_px


def test_page_is_the_same_each_time_and_holds_no_folder_names(shards: Path, tmp_path: Path) -> None:
    assert write_page(shards, tmp_path / "a.html") == write_page(shards, tmp_path / "b.html") == 3
    data = (tmp_path / "a.html").read_bytes()
    assert data == (tmp_path / "b.html").read_bytes()
    assert str(shards.parent).encode() not in data
    assert not re.search(rb"""(src|href)=["']?(https?:|//)""", data)


def test_puzzles_are_evenly_spread(tmp_path: Path) -> None:
    second = write_shard(tmp_path / "b.tar", map(make_sample, range(10, 20)))
    make_folder(tmp_path, [make_shard(tmp_path / "a.tar", 10), second])
    assert write_page(tmp_path, tmp_path / "page.html", puzzles=5, seed=1) == 5
    shown = re.findall(rb'"key":"([^"]+)"', (tmp_path / "page.html").read_bytes())
    wanted = [make_record(i).key.encode() for i in sorted(spread(20, 5, 1))]
    assert shown == wanted
    assert spread(200, 5, 1) != spread(200, 5, 2)
    assert spread(3, 24, 0) == {0, 1, 2}
    for count, number in ((100, 7), (24, 23), (1000, 24)):
        gaps = sorted(spread(count, number, 3))
        assert len(gaps) == number
        steps = {b - a for a, b in pairwise(gaps)}
        assert max(steps) - min(steps) <= 1


def test_the_twin_of_a_sample_is_on_the_page(browser: Chrome, tmp_path: Path) -> None:
    """A key goes to the other puzzle of the pair; the answer shows the frames that are left out without a mark."""
    pairs = [make_twins(number) for number in range(6)]
    write_shard(tmp_path / "a.tar", [*(a for a, _ in pairs), make_sample(30), *(b for _, b in pairs)])
    b = pairs[4][1].record
    assert write_page(tmp_path / "a.tar", tmp_path / "page.html", puzzles=5, key=b.key) == 6
    shown = re.findall(r'"pair_id":"([^"]*)"', (tmp_path / "page.html").read_text())
    assert shown[:2] == [b.pair_id] * 2
    assert all(shown.count(pair_id) == 2 for pair_id in shown if pair_id)
    browser.get((tmp_path / "page.html").as_uri())
    tiles = "return [...document.querySelectorAll('#strip figcaption')].map(tile => tile.textContent.split(' ')[0])"
    assert browser.execute_script(tiles).count("hidden") == 4
    assert "left" not in browser.execute_script(tiles)
    press(browser, "r")
    assert f"{b.pair_id} (same strip)" in text(browser, "#about")
    assert [name for name in browser.execute_script(tiles)[:8] if name == "left"] == ["left"] * 4
    first = browser.execute_script(tiles)
    assert first.index("left") == 4, "before the gap of the second sample"
    press(browser, "t")
    other = browser.execute_script(tiles)
    assert text(browser, "#about").splitlines()[1] == pairs[4][0].record.key
    assert other.index("left") == 4 + 4 + 2, "after the gap of the first sample and the bridge"
    browser.find_element(By.ID, "twin").click()
    assert text(browser, "#about").splitlines()[1] == b.key


def test_a_page_too_large_holds_fewer(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_page(shards, tmp_path / "page.html", puzzles=3)
    whole = (tmp_path / "page.html").stat().st_size
    monkeypatch.setattr(page, "MAX_PAGE_BYTES", whole - 100)
    assert write_page(shards, tmp_path / "page.html", puzzles=3) == 2
    assert (tmp_path / "page.html").stat().st_size < whole


def test_other_files_are_not_replaced(shards: Path, tmp_path: Path) -> None:
    shard = shards / "shard-000000.tar"
    before = shard.read_bytes()
    with pytest.raises(OutputError, match="was not written by"):
        write_page(shard, shard)
    assert shard.read_bytes() == before
    with pytest.raises(OutputError, match="was not written by"):
        write_page(shard, tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(shard, tmp_path / "nowhere" / "page.html")
    with pytest.raises(ConfigError, match="at least 1"):
        write_page(shard, tmp_path / "page.html", puzzles=0)


def test_a_damaged_shard_leaves_no_page(shards: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes((shards / "shard-000000.tar").read_bytes()[:-3000])
    with pytest.raises(ShardError, match=r"cut\.tar"):
        write_page(cut, tmp_path / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["cut.tar"]


def test_a_sample_asked_for_comes_first(tmp_path: Path) -> None:
    make_folder(tmp_path, [make_shard(tmp_path / "a.tar", 10)])
    for number in (0, 7):
        key = make_record(number).key
        assert write_page(tmp_path, tmp_path / "page.html", puzzles=3, key=key) == 3
        shown = re.findall(r'"key":"([^"]+)"', (tmp_path / "page.html").read_text())
        assert shown[0] == key
        assert len(set(shown)) == 3
    with pytest.raises(ShardError):
        write_page(tmp_path, tmp_path / "page.html", key="nobody")
