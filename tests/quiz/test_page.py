"""The quiz in a real browser: solved by keys and by dragging, saved, graded; the page reveals no answer."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import permutations
from pathlib import Path
from statistics import mean

import pytest
import typer
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from typer.testing import CliRunner

from mvp_data.cli.quiz import quiz_command
from mvp_data.core.errors import ConfigError, OutputError, ShardError
from mvp_data.quiz import page as quiz_module
from mvp_data.quiz.page import choose, grade, puzzle_id, read_answers, write_quiz
from mvp_data.quiz.score import QuizConfig, QuizResult, measure, to_text
from mvp_data.shards.record import LABELS, Record, extra_json
from mvp_data.shards.tar import iter_samples, write_shard
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import chance
from mvp_data.tasks.task import Question
from mvp_train.reward import RewardConfig, score
from tests.samples import make_folder, make_record, make_sample, make_shard, make_twins
from tests.task_samples import EXACT_BY_CHANCE, make_task_sample
from tests.tasks.test_toy_task import TOY

HOSTILE = """clips/</script><script>document.title='pwned'</script><img src=x onerror="document.title='pwned'">.mp4"""
EXTRA = extra_json((("caption", "<!-- <script> & \u2028 </script>"),))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a<b>&'set")
    make_folder(folder, [make_shard(folder / "shard-000000.tar", 4, video_path=HOSTILE, extra=EXTRA)])
    return folder


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser, duration=0).send_keys(*keys).perform()


def text(browser: Chrome, selector: str) -> str:
    """The visible text of an element."""
    return browser.find_element(By.CSS_SELECTOR, selector).text


def asked(browser: Chrome, records: dict[str, Record]) -> Record:
    """The record of the puzzle on the screen."""
    return records[browser.execute_script("return puzzle.id")]


def by_id(path: Path) -> dict[str, Record]:
    """The records of shards by the ids that a page gives them."""
    return {puzzle_id(sample.record.key): sample.record for sample in iter_samples(path)}


def puzzles_of(page: Path) -> list[dict[str, object]]:
    data = page.read_text().split('id="data">')[1].split("</script>")[0]
    return list(json.loads(data)["puzzles"])


def drag(browser: Chrome, what: str, onto: str) -> None:
    """Drag one element onto another, by id; onto itself: a small movement while clicking."""
    one, other = (browser.find_element(By.ID, name) for name in (what, onto))
    held = ActionChains(browser, duration=20).click_and_hold(one).move_by_offset(0, -20)
    (held if what == onto else held.move_to_element(other)).release().perform()


def swipe(browser: Chrome, what: str, onto: str) -> None:
    """Drag by touch."""
    spots = "const r = document.getElementById(arguments[0]).getBoundingClientRect(); return [r.x + 20, r.y + 20]"
    (x, y), (to_x, to_y) = (browser.execute_script(spots, name) for name in (what, onto))
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x, "y": y - 30}]),
        ("touchMove", [{"x": to_x, "y": to_y}]),
        ("touchEnd", []),
    ):
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def drag_about(browser: Chrome, record: Record) -> None:
    """Drag in every way, then give the right answer by mouse and touch in turn."""
    wrong = next(c.label for c in record.candidates if c.order < 0)
    drag(browser, f"candidate-{wrong}", f"candidate-{wrong}")  # neither a move nor a click
    assert slots(browser) == ["1", "2", "3", "4"]
    drag(browser, f"candidate-{wrong}", "slot-2")
    assert slots(browser) == ["1", "2", wrong, "4"]
    other = record.answer[0]
    drag(browser, f"candidate-{other}", "slot-0")
    drag(browser, "slot-2", "slot-0")  # they change places
    assert slots(browser) == [wrong, "2", other, "4"]
    drag(browser, "slot-2", f"candidate-{wrong}")  # back
    assert slots(browser) == [wrong, "2", "3", "4"]
    browser.find_element(By.ID, f"candidate-{wrong}").click()
    assert slots(browser) == ["1", "2", "3", "4"]
    for place, label in enumerate(record.answer):
        (swipe if place % 2 else drag)(browser, f"candidate-{label}", f"slot-{place}")


def saved(browser: Chrome) -> str:
    """The answers as text, at the end of the page."""
    return str(browser.find_element(By.ID, "text").get_property("value"))


def slots(browser: Chrome) -> list[str]:
    return [slot.text for slot in browser.find_elements(By.CSS_SELECTOR, "#strip button.slot")]


def test_solved_by_keys_and_by_dragging_then_graded(browser: Chrome, shards: Path, tmp_path: Path) -> None:
    assert write_quiz(shards, tmp_path / "quiz.html", QuizConfig(seed=3)) == 4
    records = by_id(shards)
    browser.get((tmp_path / "quiz.html").as_uri())
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    press(browser, Keys.ENTER)
    assert text(browser, "#where") == "Puzzle 1 of 4"
    assert text(browser, "#question") == "Which 4 of the 8 fill the gap, in what order?"
    first = asked(browser, records)
    a, b, c, d = first.answer
    press(browser, Keys.ENTER)  # an incomplete answer is refused
    assert text(browser, "#where") == "Puzzle 1 of 4"
    press(browser, a, a)
    assert slots(browser) == ["1", "2", "3", "4"]
    press(browser, a, d, Keys.BACK_SPACE, b.lower(), d, c)  # c and d are in each other's place
    assert slots(browser) == [a, b, d, c]
    ActionChains(browser, duration=0).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT).key_up(Keys.SHIFT).perform()
    assert slots(browser) == list(first.answer)
    press(browser, Keys.ENTER)
    second = asked(browser, records)
    press(browser, *second.answer[::-1], "?", Keys.ENTER)  # the right set, backwards
    press(browser, *asked(browser, records).answer, Keys.ENTER)
    last = asked(browser, records)
    drag_about(browser, last)
    assert slots(browser) == list(last.answer)
    press(browser, Keys.ENTER)
    assert text(browser, "#where") == "4 of 4 answered"
    browser.find_element(By.ID, "save-end").click()
    answers = tmp_path / "answers.json"
    WebDriverWait(browser, 10, 0.05).until(lambda _: answers.exists() and answers.stat().st_size)
    assert json.loads(saved(browser)) == json.loads(answers.read_text())
    assert json.loads(saved(browser))["quiz"] == {
        "puzzles": 4,
        "seed": 3,
        "split": "",
        "task": "",
        "half": "first",
        "reader": "",
        "kind": "",
    }  # as many as there are
    found = grade(shards, [answers])
    assert [item.metrics["exact"] for item in found.puzzles] == [1, 0, 1, 1]
    missed = found.puzzles[1]
    assert (missed.key, missed.right, missed.answer) == (second.key, second.answer, second.answer[::-1])
    assert missed.metrics == {"exact": 0, "set": 1, "selection": 1, "order": 0, "position": 0}
    assert [item.clear for item in found.puzzles] == [True, False, True, True]
    assert all(0 < item.seconds < 60 for item in found.puzzles)
    (row,) = found.summary
    assert (row.puzzles, row.unclear) == (4, 1)
    assert row.estimates["exact"].mean == 0.75
    assert row.estimates["exact"].low < 0.75 < row.estimates["exact"].high
    assert row.estimates["exact"].chance == chance("exact", 4, 4).mean
    assert "0.750" in to_text(found)


def test_each_task_is_asked_and_answered(browser: Chrome, tmp_path: Path) -> None:
    infos = [write_shard(tmp_path / f"{t}.tar", [make_task_sample(t, n) for n in range(2)]) for t in TASKS]
    make_folder(tmp_path, infos)
    records, answers = by_id(tmp_path), []
    write_quiz(tmp_path, tmp_path / "quiz.html")
    browser.get((tmp_path / "quiz.html").as_uri())
    press(browser, Keys.ENTER)
    for _ in records:
        record = asked(browser, records)
        brief = TASKS[record.task].asks_briefly.format(k=record.k, n=len(record.candidates))
        assert text(browser, "#question") == brief[0].upper() + brief[1:]
        labels = record.answer[::-1] if record.task == "select" else record.answer
        if record.task == "odd-one-out":
            drag(browser, f"candidate-{record.answer[0]}", "slot-0")
        else:
            press(browser, *labels)
        if record.task == "arrow":  # the gap shows the frames in the chosen direction
            shown = (
                "return [...document.querySelectorAll('#strip .slot img')].map((image) => image.alt.at(-1)).join('')"
            )
            assert browser.execute_script(shown) == ("1234" if record.answer == ("A",) else "4321")
        answers.append({"id": puzzle_id(record.key), "answer": list(labels)})
        press(browser, Keys.ENTER)
    assert [
        {name: item[name] for name in ("id", "answer")} for item in json.loads(saved(browser))["answers"]
    ] == answers
    (tmp_path / "answers.json").write_text(saved(browser))
    found = grade(tmp_path, [tmp_path / "answers.json"])
    assert [item.metrics["exact"] for item in found.puzzles] == [1] * len(records)
    assert [row.name for row in found.summary] == ["all", *TASKS]
    levels = {row.name: row.estimates["exact"].chance for row in found.summary}
    assert levels.pop("all") == pytest.approx(mean(EXACT_BY_CHANCE.values()))
    assert levels == pytest.approx(EXACT_BY_CHANCE)
    assert "order" not in found.summary[0].estimates  # `select` has none


def test_a_new_task_needs_no_change_of_the_page(
    browser: Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy task asks for one of four hidden frames, so its slot is next to the candidates and not in the gap."""
    monkeypatch.setitem(TASKS, TOY.name, TOY)
    sample = make_task_sample(TOY.name)
    write_shard(tmp_path / "a.tar", [sample])
    write_quiz(tmp_path / "a.tar", tmp_path / "quiz.html")
    browser.get((tmp_path / "quiz.html").as_uri())
    press(browser, Keys.ENTER)
    assert text(browser, "#question") == "Which of the 8 comes first in the gap?"
    assert text(browser, "#pool #slot-0") == "answer"
    assert slots(browser) == []
    press(browser, *sample.record.answer, Keys.ENTER)
    (tmp_path / "answers.json").write_text(saved(browser))
    assert grade(tmp_path / "a.tar", [tmp_path / "answers.json"]).puzzles[0].metrics == {"exact": 1}


def test_the_page_has_neither_answers_nor_provenance(browser: Chrome, shards: Path, tmp_path: Path) -> None:
    write_quiz(shards, tmp_path / "quiz.html")
    whole = (tmp_path / "quiz.html").read_text()
    data = whole.split('id="data">')[1].split("</script>")[0]  # what is not the template's
    assert whole.replace(data, "").count("{{") == 0
    for record in by_id(shards).values():
        secrets = [record.key, record.video_path, record.video_id, record.config_hash, "pwned", str(shards.parent)]
        secrets += [f"{frame.time_s:.2f}" for frame in record.context]
        secrets += [text for c in record.candidates for text in (f"{c.time_s:.2f}", f"{c.similarity:.3f}")]
        secrets += [json.dumps(record.answer), json.dumps(record.answer, separators=(",", ":")), "neighbourhood"]
        assert [secret for secret in secrets if secret in data] == []
    browser.get((tmp_path / "quiz.html").as_uri())
    assert "connect-src" not in whole  # it can send nothing to anybody
    names = {"id", "question", "words", "answer_is_gap", "in_a_row", "k", "slots", "choices", "ordered", "gap"}
    names |= {"width_px", "height_px", "context", "candidates"}
    assert all(set(item) == names for item in browser.execute_script("return puzzles"))
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    press(browser, Keys.ENTER, "a", " ", Keys.ARROW_RIGHT)
    assert text(browser, "#big-text") == "candidate B · 15 of 21"
    press(browser, Keys.ESCAPE)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dark", [False, True])
def test_fits_a_laptop(browser: Chrome, shards: Path, tmp_path: Path, dark: bool) -> None:
    """Video, candidates and buttons fit without scrolling, and every control has a name."""
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    write_quiz(shards, tmp_path / "quiz.html")
    browser.get((tmp_path / "quiz.html").as_uri())
    press(browser, Keys.ENTER)
    for height in (800, 650):
        size = {"width": 1280, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        edge = "document.querySelector('{}').getBoundingClientRect().{}".format
        fits = f"return innerHeight === {height} && {edge('#pool', 'bottom')} <= {edge('#tools', 'top')}"
        WebDriverWait(browser, 5, 0.02).until(partial(Chrome.execute_script, script=fits))
    assert browser.execute_script("return document.documentElement.scrollWidth") == 1280
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(19, 22, 25)" if dark else "rgb(246, 245, 242)")
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [
        node for node in tree if node.get("role", {}).get("value") in ("button", "checkbox", "textbox", "image")
    ]
    assert len(controls) >= 4 + 8 + 12 + 4
    assert [node for node in controls if not node["name"]["value"]] == []


GOOD = {"id": puzzle_id(make_record(0).key), "answer": ["A", "B", "C", "D"], "seconds": 2, "clear": True, "note": "é"}


QUIZ = {"puzzles": 30, "seed": 0, "split": "", "task": "", "half": "first", "reader": "", "kind": ""}


def answers_of(*items: object, **other: object) -> str:
    return json.dumps({"format": 2, "tool_version": "1", "quiz": QUIZ, "answers": list(items), **other})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not the answers of a quiz"),
        ("[]", "not the answers of a quiz"),
        ("{}", "not the answers of a quiz"),
        ("[" * 100_000, "not the answers of a quiz"),
        (answers_of(GOOD, format=1), "of format 2"),
        (answers_of(GOOD, more=1), "of format 2"),
        (answers_of(), "contains no answers"),
        (answers_of(GOOD, GOOD), "answers a puzzle twice"),
        (answers_of(GOOD, quiz=[]), "quiz: not an object with exactly puzzles, seed, split, task, half, reader, kind"),
        (
            answers_of(GOOD, quiz={**QUIZ, "task": "chess"}),
            "task 'chess': unknown; choose one of mvp",
        ),
        (answers_of({**GOOD, "answer": ["A", "B"]}), "the answer 'A, B' is not 4 different of A to H"),
        (answers_of({**GOOD, "answer": ["A", "B", "C", "I"]}), "is not 4 different of A to H"),
        (answers_of({**GOOD, "answer": {}}), "answer 1: answer {} is not a value that a quiz page saves"),
        (answers_of({**GOOD, "id": "../../etc/passwd"}), "belong to puzzles that"),
        (answers_of(7), "answer 1: not an object with exactly id, answer, seconds, clear, note"),
    ],
)
def test_damaged_answers_are_refused(shards: Path, tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "answers.json").write_text(content)
    with pytest.raises(ConfigError) as refused:
        grade(shards, [tmp_path / "answers.json"])
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_answers_file(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_answers(tmp_path / "answers.json")


def test_damaged_shards_leave_no_page(shards: Path, tmp_path: Path) -> None:
    whole = (shards / "shard-000000.tar").read_bytes()
    for number, data in enumerate((whole[:-3000], whole.replace(b"\xff\xd8\xff", b"\xff\xd8\x00"), b"")):
        (tmp_path / f"{number}.tar").write_bytes(data)
        with pytest.raises(ShardError, match=rf"{number}\.tar"):
            write_quiz(tmp_path / f"{number}.tar", tmp_path / "quiz.html")
    assert not (tmp_path / "quiz.html").exists()
    shard = shards / "shard-000000.tar"
    for taken in (shard, tmp_path):
        with pytest.raises(OutputError, match="was not written by"):
            write_quiz(shard, taken)
    assert shard.read_bytes() == whole


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs of two video groups, and three samples of a third group without a pair."""
    path = tmp_path_factory.mktemp("twins") / "a.tar"
    samples = [sample for number in range(6) for sample in make_twins(number)]
    write_shard(path, [*samples, *map(make_sample, range(6, 9))])
    return path


def shown(path: Path, **quiz: object) -> list[Record]:
    """The records of the puzzles of a quiz, in order."""
    return [place.read().record for place in choose(path, QuizConfig(**quiz))]  # type: ignore[arg-type]


def test_puzzles_are_spread_over_videos(twins: Path, tmp_path: Path) -> None:
    for seed in range(5):
        for count in (3, 6):
            groups = Counter(record.video_group for record in shown(twins, puzzles=count, seed=seed))
            assert set(groups.values()) == {count // 3}
            assert len(groups) == 3
    orders = {tuple(record.key for record in shown(twins, seed=seed)) for seed in range(5)}
    assert len(orders) == 5
    for name in ("one.html", "other.html"):
        write_quiz(twins, tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "other.html").read_bytes()


def test_a_reader_never_sees_both_samples_of_a_pair(twins: Path) -> None:
    """Two readers see the same pairs, one sample each; which one is drawn pair by pair."""
    for seed in range(5):
        first, second = (shown(twins, seed=seed, half=half) for half in ("first", "second"))
        assert len(first) == 9
        assert [r.pair_id or r.key for r in first] == [r.pair_id or r.key for r in second]
        assert len({r.pair_id or r.key for r in first}) == 9
        assert all((a.key == b.key) == (not a.pair_id) for a, b in zip(first, second, strict=True))
    halves = {r.key[-2:] for seed in range(5) for r in shown(twins, seed=seed) if r.pair_id}
    assert halves == {"-a", "-b"}


def test_whole_pairs_only_if_asked(twins: Path) -> None:
    both = shown(twins, half="both", puzzles=7)
    pairs = Counter(record.pair_id or record.key for record in both)
    assert len(both) in (6, 7)
    assert all(count == 2 for pair, count in pairs.items() if pair.endswith("-a"))
    again = [
        number for number, r in enumerate(both) if r.pair_id in {earlier.pair_id for earlier in both[:number]} - {""}
    ]
    assert again == list(range(len(both) - len(again), len(both))), "the second samples come last"
    seed = next(seed for seed in range(99) if shown(twins, seed=seed)[0].pair_id)
    with pytest.raises(ConfigError, match="1 puzzles are less than a pair"):
        shown(twins, half="both", puzzles=1, seed=seed)


def answers_by(path: Path, file: Path, answer: Callable[[Record], Sequence[str]], **quiz: object) -> Path:
    """The file of a reader who answers each puzzle of a quiz like this."""
    config = QuizConfig(**quiz)  # type: ignore[arg-type]
    given = [
        {"id": puzzle_id(r.key), "answer": list(answer(r)), "seconds": 1, "clear": True, "note": ""}
        for r in shown(path, **quiz)
    ]
    file.write_text(json.dumps({"format": 2, "tool_version": "1", "quiz": asdict(config), "answers": given}))
    return file


def early(record: Record) -> list[str]:
    """The earlier one of the two runs, wherever the gap is; without a decoy run, the hidden one."""
    hidden = sorted((c for c in record.candidates if c.order >= 0), key=lambda c: c.order)
    decoys = sorted((c for c in record.candidates if c.decoy >= 0), key=lambda c: c.decoy)
    return [c.label for c in (decoys if decoys and decoys[0].time_s < hidden[0].time_s else hidden)]


def test_the_pair_score_of_two_readers(twins: Path, tmp_path: Path) -> None:
    """Ana is right; a model names one run always. Each alone has no pair; a pair needs both readers to be right."""
    ana = answers_by(twins, tmp_path / "a.json", lambda r: r.answer, half="first", reader="Ana", kind="human")
    bot = answers_by(twins, tmp_path / "b.json", early, half="second", reader="bot", kind="model")
    found = grade(twins, [ana, bot])
    assert [row.name for row in found.summary] == ["all", "reader Ana (human)", "reader bot (model)"]
    everyone, human, model = found.summary
    assert (everyone.pairs, human.pairs, model.pairs) == (6, 0, 0)
    right = sum(item.metrics["exact"] for item in found.puzzles if item.kind == "model" and item.pair_id)
    assert 0 < right < 6
    estimate = everyone.estimates["pair_score"]
    assert list(everyone.estimates)[:2] == ["pair_score", "pair_set"]
    assert estimate.mean == pytest.approx(right / 6)
    assert estimate.chance == pytest.approx(1 / 1680**2)
    assert estimate.low < estimate.mean < estimate.high
    assert "18 of 60 puzzles of a.tar answered by Ana (human), bot (model)" in to_text(found)
    blind = answers_by(twins, tmp_path / "c.json", early, half="both", reader="bot", kind="model")
    (row,) = grade(twins, [blind]).summary
    assert (row.pairs, row.estimates["pair_score"].mean, row.estimates["pair_set"].mean) == (6, 0, 0)
    assert row.estimates["exact"].mean == pytest.approx((6 + 3) / 15)
    with pytest.raises(ConfigError, match="bot answers a puzzle twice"):
        grade(twins, [bot, blind])


def test_the_record_says_who_read() -> None:
    assert (QuizConfig(reader="Ana", kind="human").kind, QuizConfig().kind) == ("human", "")
    for wrong in ({"reader": "Ana"}, {"kind": "human"}, {"reader": "Ana", "kind": "robot"}, {"half": "third"}):
        with pytest.raises(ConfigError):
            QuizConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="shorten it"):
        QuizConfig(reader="x" * 81, kind="human")


def test_a_page_too_large_holds_fewer(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_quiz(shards, tmp_path / "quiz.html") == 4
    whole = (tmp_path / "quiz.html").stat().st_size
    monkeypatch.setattr(quiz_module, "MAX_PAGE_BYTES", whole - 100)
    assert write_quiz(shards, tmp_path / "quiz.html") == 3
    assert (tmp_path / "quiz.html").stat().st_size < whole
    assert len(puzzles_of(tmp_path / "quiz.html")) == 3


def test_only_the_split_and_task_asked_for(tmp_path: Path) -> None:
    make_folder(
        tmp_path,
        [
            make_shard(tmp_path / "a.tar", 3),
            write_shard(tmp_path / "b.tar", [make_task_sample("jigsaw", n) for n in range(2)]),
            write_shard(tmp_path / "c.tar", [make_sample(9, split="val")]),
        ],
    )
    assert len(choose(tmp_path, QuizConfig())) == 6
    assert len(choose(tmp_path, QuizConfig(split="val"))) == 1
    assert len(choose(tmp_path, QuizConfig(task="jigsaw"))) == 2
    with pytest.raises(ConfigError, match="no sample of split 'val' and task 'jigsaw'"):
        choose(tmp_path, QuizConfig(split="val", task="jigsaw"))
    for wrong in ({"split": "holdout"}, {"task": "chess"}, {"puzzles": 0}):
        with pytest.raises(ConfigError):
            QuizConfig(**wrong)


def test_measures_are_those_of_the_reward() -> None:
    """Every answer to small puzzles, graded here and by the trainer."""
    for k, others in ((1, 1), (1, 3), (2, 0), (2, 3), (3, 0), (3, 2)):
        labels = LABELS[: k + others]
        right, form = labels[::-1][:k], Question(slots=k, choices=k + others, ordered=True)
        for given in permutations(labels, k):
            told = score(f"<answer>{', '.join(given)}</answer>", right, k + others, RewardConfig())
            found = measure(form, right, given)
            assert found == {name: getattr(told, name) for name in found}
            assert len(found) == 1 + 2 * (k > 1 and others > 0) + 2 * (k > 1)
            loose = measure(replace(form, ordered=False), right, given)
            assert loose["exact"] == told.set
            assert all(loose[name] == getattr(told, name) for name in loose.keys() - {"exact"})


def test_the_command(shards: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(quiz_command)

    def run(*options: object) -> tuple[str, BaseException | None]:
        done = CliRunner().invoke(app, [str(shards), *map(str, options)])
        return done.output, done.exception

    output, failed = run("--out", tmp_path / "quiz.html", "--n", 2)
    assert failed is None
    assert output.startswith("2 puzzles to solve: file://")
    (tmp_path / "answers.json").write_text(answers_of(GOOD))
    output, failed = run("--grade", tmp_path / "answers.json", "--results", tmp_path / "results.json", "--json")
    assert failed is None
    assert json.loads(output) == json.loads((tmp_path / "results.json").read_text())
    assert QuizResult.__dataclass_fields__.keys() == json.loads(output).keys()
    for wrong, kind in (
        ((), ConfigError),
        (("--grade", tmp_path / "answers.json", "--out", tmp_path / "x.html"), ConfigError),
        (("--out", shards / "quiz.html"), OutputError),
        (("--grade", tmp_path / "answers.json", "--results", tmp_path / "results.json"), OutputError),
        (("--out", tmp_path / "x.html", "--task", "chess"), ConfigError),
        (("--grade", tmp_path / "answers.json", "--task", "chess"), ConfigError),
    ):
        assert isinstance(run(*wrong)[1], kind), wrong
