"""Injected markup in each free text of records, audits and completions, on all pages, in a real browser.

A page shows it as text or not at all: none of its code runs, it loads nothing and creates no element.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from mvp_data.audit.report import to_html
from mvp_data.audit.run import audit
from mvp_data.quiz.page import write_quiz
from mvp_data.shards.record import Record, extra_json
from mvp_data.shards.tar import Sample, write_shard
from mvp_data.viewer.page import write_page
from mvp_train.evaluation.page import Shown
from mvp_train.evaluation.page import write_page as write_answers
from mvp_train.reward import RewardConfig, score_record
from tests.samples import make_folder, make_sample

PWN = "document.title='pwned';fetch('http://127.0.0.1:9/');alert(1)"
FREE = (  # free text; the other fields of a record are numbers or one of a few words
    "mask_policy", "config_hash", "tool_version", "encoder_name", "encoder_weights_sha256", "video_id", "video_path",
    "video_group", "pair_id", "caption", "licence",
)  # fmt: skip


def poison(name: str) -> str:
    """A text that runs if it is parsed as HTML, an attribute, a script, a style, a URL or a template."""
    return (
        f'{name}</script></title></style></pre><script>{PWN}</script><img class=pwn src=x onerror="{PWN}">'
        f'<svg class=pwn onload="{PWN}"><a class=pwn href="javascript:{PWN}">\'"`--><!-- {{{{data}}}} ${{{PWN}}} '
        f"&lt;\u202e\u2028\x1b[2J\x00"
    )


def poisoned(number: int) -> Sample:
    sample = make_sample(number)
    record = sample.record
    texts = {name: poison(name) for name in FREE}
    decoy = next(c.label for c in record.candidates if c.order < 0)  # a pair has a decoy run
    candidates = tuple(
        replace(
            c,
            decoy=-(c.label != decoy),
            video_id=f"{texts['video_id']}{'' if c.origin != 'corpus' else '2'}",
            video_path=poison("elsewhere"),
        )
        for c in record.candidates
    )
    extra = json.dumps({poison("column"): poison("cell"), "__proto__": {"a": [poison("deep")]}, "n": 10**400})
    return replace(sample, record=replace(record, **texts, candidates=candidates, extra=extra))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shards") / "<script>alert(1)<"
    folder.mkdir()
    samples = [poisoned(n) for n in range(3)]
    make_folder(folder, [write_shard(folder / "shard-000000.tar", samples)])
    out = tmp_path_factory.mktemp("pages")
    write_page(folder, out / "inspect.html")
    write_quiz(folder, out / "quiz.html")
    found = audit(folder)
    part = replace(found.parts[0], warnings=(poison("warning"),))
    found = replace(found, encoder=poison("encoder"), parts=(part,))
    (out / "audit.html").write_text(to_html(found), encoding="utf-8")
    said = [
        Shown(sample=s, completion=poison("said"), score=score_record("", s.record, RewardConfig())) for s in samples
    ]
    write_answers(out / "answers.html", said, poison("title"), notes=poison("notes"))
    return {path.stem: path for path in out.iterdir()}


SHOWN = {
    "inspect": ("video_path", "column", "cell", "deep", "encoder_name", "mask_policy"),
    "quiz": (),
    "audit": ("warning", "encoder"),
    "answers": ("title", "notes", "said"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_poison_is_text(browser: Chrome, pages: dict[str, Path], name: str) -> None:
    browser.get_log("browser")  # type: ignore[no-untyped-call]  # clears the messages of earlier pages
    browser.get(pages[name].as_uri())
    if name == "inspect":
        ActionChains(browser).send_keys("r").perform()  # reveals the answer and the provenance
    shown = str(browser.execute_script("return document.body.textContent"))
    for field in SHOWN[name]:
        assert f"{field}</script></title></style></pre><script>{PWN[:20]}" in shown, field
    assert "pwned" not in browser.title.partition("<")[0]
    assert (
        browser.find_elements(By.CSS_SELECTOR, ".pwn, body script:not([type]):not(:last-of-type), iframe, a[href]")
        == []
    )
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [url for url in loaded if not url.startswith("data:")] == []
    said = browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [entry for entry in said if entry["level"] in ("SEVERE", "WARNING")] == []


def test_every_free_text_of_a_record_is_poisoned() -> None:
    """A new text field is one of a few words, or must be added to `FREE`."""
    texts = {name for name, value in asdict(poisoned(0).record).items() if isinstance(value, str)}
    assert texts == {*FREE, "key", "task", "split", "doubt", "extra"}
    assert isinstance(poisoned(0).record, Record)
    assert extra_json((("a", poison("b")),))
