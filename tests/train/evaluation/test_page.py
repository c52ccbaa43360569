"""The page of answers in a real browser: what it shows, and what a hostile completion cannot do."""

import re
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from mvp_train.evaluation import page
from mvp_train.evaluation.page import MAX_TEXT, Shown, slots, write_page
from mvp_train.reward import RewardConfig, score
from tests.samples import make_sample

PWN = "document.title='pwned'"
HOSTILE = f"""</pre></details></main><script>{PWN}</script><img src=x onerror="{PWN}"><style>*{{display:none}}</style>
<!-- {{{{title}}}} \u202e \ud800 <a href="javascript:{PWN}">&lt;b&gt;</a><answer>"""
TITLE = f"</title><script>{PWN}</script>{{{{shown}}}}"


def shown(number: int, completion: str, step: int | None = None) -> Shown:
    sample = make_sample(number)
    graded = score(completion, "".join(sample.record.answer), len(sample.candidates), RewardConfig())
    return Shown(sample=sample, completion=completion, score=graded, step=step)


@pytest.fixture
def opened(browser: Chrome, tmp_path: Path) -> Chrome:
    """A page of three: first and last answer hidden frames in turned order, a hostile text, the right answer."""
    answers = [make_sample(i).record.answer for i in range(3)]
    first, second, *_, last = answers[0]
    wrong = next(c.label for c in make_sample(0).record.candidates if c.order < 0)
    texts = [
        f"<answer>{last}, {second}, {wrong}, {first}</answer>",
        HOSTILE,
        f"<answer>{', '.join(answers[2])}</answer>",
    ]
    assert write_page(tmp_path / "page.html", [shown(i, t, step=10 * i) for i, t in enumerate(texts)], TITLE) == 3
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # forget what earlier pages said
    browser.get((tmp_path / "page.html").as_uri())
    return browser


def texts(browser: Chrome, selector: str) -> list[str]:
    return [str(e.get_property("textContent")).strip() for e in browser.find_elements(By.CSS_SELECTOR, selector)]


def test_shows_puzzle_answer_and_marks(opened: Chrome) -> None:
    record = make_sample(0).record
    first = "details:first-of-type"
    assert len(opened.find_elements(By.CSS_SELECTOR, f"{first} img")) == 12 + 8
    assert all(i.get_property("naturalWidth") == 112 for i in opened.find_elements(By.CSS_SELECTOR, f"{first} img"))
    times = [f"{c.time_s:.2f} s" for c in record.context]
    assert texts(opened, f"{first} .strip figcaption") == [*times[:5], *record.answer, *times[5:]]
    assert texts(opened, f"{first} .badge") == list("ABCDEFGH")
    outlined = texts(opened, f"{first} .hidden .badge")
    assert outlined == sorted(record.answer)
    right, model = texts(opened, f"{first} .answers dd")
    assert right == "".join(record.answer)
    kinds = [li.get_attribute("class") for li in opened.find_elements(By.CSS_SELECTOR, f"{first} dd li[class]")]
    assert kinds == ["moved", "right", "wrong", "moved"]
    assert model[0] == record.answer[3]
    summaries = texts(opened, "summary")
    assert [s.split("reward")[0] for s in summaries] == ["step 0", "step 10", "step 20"]
    assert [("not exact" in s, "no valid answer" in s) for s in summaries] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert "1.000" in summaries[2]
    assert texts(opened, f"{first} .parts dt") == [
        "valid", "selection", "recall", "order", "position", "exact", "set", "reward",
    ]  # fmt: skip


def test_nothing_hostile_runs_and_nothing_is_loaded(opened: Chrome) -> None:
    assert texts(opened, "details pre")[1] == HOSTILE.replace("\ud800", "?").strip()
    assert texts(opened, "h1") == [TITLE]
    assert opened.title == f"{TITLE} · masked video prediction"
    assert opened.find_elements(By.CSS_SELECTOR, "script, a, pre *") == []
    assert len(opened.find_elements(By.TAG_NAME, "details")) == 3
    loaded = opened.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    said = opened.get_log("browser")  # type: ignore[no-untyped-call]
    assert [entry for entry in said if entry["level"] in ("SEVERE", "WARNING")] == []


def test_the_policy_stops_what_is_not_the_template(opened: Chrome, tmp_path: Path) -> None:
    """The net under the escaping: no script has leave, not even the page's own."""
    spoilt = (tmp_path / "page.html").read_text().replace("<main", f"<script>{PWN}</script><main")
    (tmp_path / "spoilt.html").write_text(spoilt)
    opened.get((tmp_path / "spoilt.html").as_uri())
    assert "pwned" not in opened.title.split("<")[0]
    said = opened.get_log("browser")  # type: ignore[no-untyped-call]
    assert any("Content Security Policy" in entry["message"] for entry in said)


@pytest.mark.parametrize("width_px", [1280, 390])
def test_fits_the_window(opened: Chrome, width_px: int) -> None:
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 600}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.execute_script("return document.documentElement.scrollWidth") == width_px


def test_slots() -> None:
    assert slots(("A", "C", "E"), ("A", "B", "C")) == [("A", "right"), ("C", "moved"), ("E", "wrong")]
    assert slots(None, ("A", "B")) == []


def test_a_page_too_large_holds_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [shown(i, "none") for i in range(3)]
    write_page(tmp_path / "page.html", items, "t")
    whole = (tmp_path / "page.html").stat().st_size
    monkeypatch.setattr(page, "MAX_PAGE_BYTES", whole - 100)
    assert write_page(tmp_path / "page.html", items, "t") == 2
    assert (tmp_path / "page.html").stat().st_size < whole
    assert (tmp_path / "page.html").read_text().rstrip().endswith("</html>")


def test_long_texts_are_cut_and_pages_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, [shown(0, "x" * 10 * MAX_TEXT)], "t")
    data = (tmp_path / "a.html").read_text()
    assert data == (tmp_path / "b.html").read_text()
    assert f"[... {10 * MAX_TEXT} characters in all]" in data
    assert max(len(run) for run in re.findall("x+", data)) == MAX_TEXT
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", data)
