"""Pages from templates: values are escaped, missing values are errors, and a page keeps its limit."""

import base64
import hashlib
import io
import json
import re
from html import unescape
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from mvp_data.core.errors import OutputError
from mvp_data.core.html import check_free, page_json, render, write_html

EVIL = "</script><b onclick='x'>\"&{{ parts }}"
QUIZ = {"format": page_json(1), "tool_version": page_json("1"), "quiz": page_json({"puzzles": 9})}


def quiz(parts: list[object], limit: int) -> tuple[int, str]:
    file = io.BytesIO()
    written = write_html(file, "mvp_data.quiz", "page.html", map(page_json, parts), limit=limit, **QUIZ)
    return written, file.getvalue().decode()


def test_values_are_escaped() -> None:
    values = {"state": EVIL, "conclusion": EVIL, "facts": EVIL, "parts": [], "results": {EVIL: EVIL}, "metrics": {}}
    page = render("mvp_data.audit", "report.html", title=EVIL, **values)
    assert "<b onclick" not in page
    assert unescape(page).count(EVIL) == 7


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("mvp_data.audit", "report.html", parts=[])


def test_json_cannot_end_its_script_element() -> None:
    text = page_json({"a": EVIL, "b": "\u2028é"})
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == {"a": EVIL, "b": "\u2028é"}


def test_a_page_has_as_many_parts_as_fit_and_at_least_one() -> None:
    parts: list[object] = [{"id": str(number), "x": "y" * 1000} for number in range(4)]
    written, whole = quiz(parts, 1 << 20)
    assert written == 4
    for limit, count in ((len(whole.encode()) + 4, 4), (len(whole.encode()) - 100, 3), (0, 1)):
        written, page = quiz(parts, limit)
        data = page.split('id="data">')[1].split("</script>")[0]
        assert written == len(json.loads(data)["puzzles"]) == count
        assert page.endswith("</html>\n")


def test_the_policy_has_the_hashes_of_style_and_script() -> None:
    page = quiz([], 0)[1]
    policy = unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0])
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'; " in policy
    assert policy.startswith("default-src 'none'; img-src data:; ")


def test_only_an_older_page_is_replaced(tmp_path: Path) -> None:
    mark = b"<!doctype html>\n<!-- a page of mvp-data quiz -->"
    check_free(tmp_path / "new.html", mark)
    (tmp_path / "old.html").write_text(quiz([], 0)[1])
    check_free(tmp_path / "old.html", mark)
    (tmp_path / "other.html").write_text("<!doctype html>")
    for taken in (tmp_path / "other.html", tmp_path):
        with pytest.raises(OutputError, match="exists and was not written by mvp-data quiz: choose another name"):
            check_free(taken, mark)
