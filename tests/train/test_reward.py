"""The reward: what is read, what it earns, that no repair lowers it, and that known tricks earn nothing."""

import time
from dataclasses import asdict, fields
from functools import cache
from itertools import combinations, permutations, product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mvp_data.core.errors import ConfigError
from mvp_data.shards.prompt import PromptConfig, flat_text
from mvp_data.shards.record import LABELS
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import METRICS, chance, reward_chance
from mvp_train.reward import INVALID, MvpReward, RewardConfig, Score, mvp_reward, parse, score, score_record
from tests.samples import make_record
from tests.task_samples import ANY_ORDER, make_task_sample

SHIPPED = RewardConfig()
SIZES = [(k, n - k) for n in range(1, 8) for k in range(1, n + 1)]
PARTS = ("selection", "recall", "order", "position", "exact", "set")


def tagged(labels: str) -> str:
    return f"<answer>{', '.join(labels)}</answer>"


def answers(k: int, others: int) -> list[str]:
    """All valid answers; the right one is ABC ..., so label i belongs in slot i."""
    return ["".join(labels) for labels in permutations(LABELS[: k + others], k)]


@cache
def graded(k: int, others: int, weights: RewardConfig = SHIPPED) -> dict[str, Score]:
    return {a: score(tagged(a), LABELS[:k], k + others, weights) for a in answers(k, others)}


def repaired(answer: str, slot: int) -> str:
    """`answer` with the right label in `slot`; the label it displaces takes the vacated slot, if there is one."""
    right, labels = LABELS[slot], list(answer)
    if right in labels:
        labels[labels.index(right)] = labels[slot]
    labels[slot] = right
    return "".join(labels)


def falls(k: int, others: int, weights: RewardConfig = SHIPPED) -> list[tuple[str, str]]:
    """Corrections of one mistake that lower the reward."""
    scores = graded(k, others, weights)
    return [
        (answer, better)
        for answer in scores
        for slot in range(k)
        if answer[slot] != LABELS[slot]
        and scores[better := repaired(answer, slot)].reward < scores[answer].reward - 1e-12
    ]


# Parsing


@pytest.mark.parametrize(
    "text",
    [
        "<answer>C, A, F, B</answer>",
        "<answer>c,a,f,b</answer>",
        "<ANSWER> C A F B </Answer>",
        "< answer >\nC\nA\nF\nB\n< / answer >",
        "<answer>[C, A, F, B]</answer>",
        "<answer>(C) -> (A) -> (F) -> (B).</answer>",
        "<answer>C → A → F → B</answer>",
        "<answer>C > A > F > B</answer>",
        "<answer>“C”; 'A'; \"F\"; `B`</answer>",
        "<answer>C.\tA.\r\nF. B.</answer>",
        "<think>Perhaps <answer>A, B, C, D</answer>, or not: 1 < 2.</think>\n<answer>C, A, F, B</answer> That is it.",
        "<answer>no</answer><answer>C, A, F, B</answer>",
        "<answer><answer>C, A, F, B</answer>",
        "<answer>C, A, F, B</answer></answer>",
        "<answer>C, A, F, B</answer> <answer>",
        "<answer>C, A, F, B</answer> <answer>A, B, C, D",
        "<answer>C, A, F, B</answer> I wrote it between the <answer></answer> tags.",
        "<answer>**C**, **A**, **F**, **B**</answer>",
        "<answer>C, A, F, and B</answer>",
        "<answer>C, A, F and B</answer>",
        "<answer>* C\n* A\n* F\n* B</answer>",
        "<answer><C>, <A>, <F>, <B></answer>",
        "<answer>C、A、F、B</answer>",
        "<answer>C | A | F | B</answer>",
    ],
)
def test_readable(text: str) -> None:
    assert parse(text, 8, 4) == ("C", "A", "F", "B")
    assert score(text, "CAFB", 8, SHIPPED).reward == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "C, A, F, B",
        "CAFB",
        "Answer: C, A, F, B",
        "<answer>C, A, F, B",
        "C, A, F, B</answer>",
        "</answer>C, A, F, B<answer>",
        "<answer></answer>",
        "<answer>CAFB</answer>",
        "<answer>C, A, FB</answer>",
        "<answer>C, A, F</answer>",
        "<answer>C, A, F, B, D</answer>",
        "<answer>C, A, F, F</answer>",
        "<answer>C, A, F, c</answer>",
        "<answer>C, A, F, I</answer>",
        "<answer>C, A, F, B and</answer>",
        "<answer>C and A and F and B</answer>",
        "<answer>1. C 2. A 3. F 4. B</answer>",
        "<answer>C, A, F, B</answer><answer>unsure</answer>",
        "<answer>C, A, <answer>F, B</answer></answer>",
        "<answer>C, A, F, B<answer></answer>",
        "<answers>C, A, F, B</answers>",
        "<an swer>C, A, F, B</an swer>",
        "<answer>C\0, A, F, B</answer>",
        "<answer>Ｃ, Ａ, Ｆ, Ｂ</answer>",  # full width
        "<answer>С, А, F, В</answer>",  # Cyrillic
        "<answer>ß, ﬀ, ŉ, ǰ</answer>",  # upper() gives two characters
        "<answer>C\u0301, A, F, B</answer>",  # a combining accent
        "<anſwer>C, A, F, B</anſwer>",  # ſ is an s where case is folded the Unicode way
        "＜answer＞C, A, F, B＜/answer＞",
        "\ud800<answer>\udfff</answer>",
        tagged("ABCDEFGH"),  # all labels
        tagged("CAFBCAFB"),
        tagged(LABELS * 1000),
        "<answer>" + "CAFB" * 1000 + "</answer>",
        "<answer>" + " ".join("".join(p) for p in permutations("CAFB")) + "</answer>",
        "<answer>C/D, A/E, F/G, B/H</answer>",
        "<answer>C or D, A, F, B</answer>",
        "The answer is C, A, F, B. " * 1000,
        "<answer>C, A, F, B</answer>" * 50 + "<answer>any</answer>",
        "<answer>reward = 1.0</answer>",
    ],
    ids=lambda text: text[:30],
)
def test_unreadable(text: str) -> None:
    assert parse(text, 8, 4) is None
    assert score(text, "CAFB", 8, SHIPPED) == INVALID
    assert INVALID.reward == 0
    assert not INVALID.valid


SNIPPETS = ["<answer>", "</answer>", "<ANSWER >", "< / answer>", "<", ">", "/", "answer", "C", "A", "f", "b", "H", "I"]
SNIPPETS += [", ", " ", "\n", "→", "->", "[", "]", "\0", "\ud800", "ſ", "Ａ", "<answer>C, A, F, B</answer>"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(SNIPPETS) | st.text(st.characters(exclude_categories=[]), max_size=5), max_size=30))
def test_any_string_is_graded(pieces: list[str]) -> None:
    """Never raises, and earns what its labels earn, or 0. Text before an answer does not matter."""
    text = "".join(pieces)
    got, labels = score(text, "CAFB", 8, SHIPPED), parse(text, 8, 4)
    assert 0 <= got.reward <= 1
    assert got.valid == (labels is not None)
    if labels is not None:
        assert len(set(labels)) == 4
        assert set(labels) <= set("ABCDEFGH")
        assert got == score(tagged("".join(labels)), "CAFB", 8, SHIPPED)
    assert parse(text + tagged("HGFE"), 8, 4) == ("H", "G", "F", "E")


@settings(max_examples=100, deadline=None)
@given(
    st.permutations(LABELS[:9]),
    st.lists(st.text(" ,;:.-=>→()[]{}\"'`\n\t*_|–、\u200b", min_size=1, max_size=4), min_size=1, max_size=9),
)
def test_any_separator_between_labels(pool: list[str], marks: list[str]) -> None:
    labels = pool[: len(marks)]
    inner = "".join(mark + label for mark, label in zip(marks, labels, strict=True))
    assert parse(f"<answer>{inner}</answer>", 9, len(labels)) == tuple(labels)
    assert parse(f"<answer>{inner.lower()}</answer>", 9, len(labels)) == tuple(labels)


REPEATED = ["<answer>", "</answer>", "<", "< ", "</ ", " ", "<answer ", "<answer></answer>", "<answer>A ", "A, ", "→"]


@pytest.mark.parametrize("text", [*REPEATED, "\udfff"])
@pytest.mark.parametrize(
    "around", [("", ""), ("<answer>", "</answer>"), ("<answer", ">C, A, F, B</answer>"), ("<", "")]
)
def test_time_is_linear_in_the_length(text: str, around: tuple[str, str]) -> None:
    """A quadratic parser would take minutes for 1 MB; this one takes at most 0.2 CPU seconds."""
    long = around[0] + text * (1_000_000 // len(text)) + around[1]
    started = time.process_time()
    score(long, "CAFB", 8, SHIPPED)
    assert time.process_time() - started < 5


def test_a_megabyte_of_spaces_around_a_right_answer() -> None:
    assert score(f"<answer>{' ' * 500_000}C, A, F, B{' ' * 500_000}</answer>", "CAFB", 8, SHIPPED).reward == 1


# Grades


def test_by_hand() -> None:
    """CFAH against CAFB: three of four chosen, of six pairs two concordant, one slot right."""
    got = score(tagged("CFAH"), "CAFB", 8, SHIPPED)
    assert got == Score(
        valid=True, selection=0.5, recall=0.75, order=2 / 6, position=0.25, exact=0.0, set=0.0, reward=got.reward
    )
    assert got.reward == pytest.approx(0.2 + 0.2 * 0.5 + 0.1 / 3 + 0.25 * 0.25)


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_guessing_earns_the_chance_level(k: int, others: int) -> None:
    scores = list(graded(k, others).values())
    for metric in METRICS:
        values = [getattr(s, metric) for s in scores]
        assert sum(values) / len(values) == pytest.approx(chance(metric, k, others).mean, abs=1e-12)
    rewards = [s.reward for s in scores]
    mean = sum(rewards) / len(rewards)
    level = reward_chance(k, others, asdict(SHIPPED))
    assert mean == pytest.approx(level.mean, abs=1e-12)
    assert sum((r - mean) ** 2 for r in rewards) / len(rewards) == pytest.approx(level.variance, abs=1e-12)


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_bounds(k: int, others: int) -> None:
    """No valid answer earns less than an invalid one, and only the right answer earns the maximum."""
    scores = dict(graded(k, others))
    best = scores.pop(LABELS[:k])
    assert best.reward == pytest.approx(1 if others else 1 - SHIPPED.selection)
    assert all(INVALID.reward <= s.reward < best.reward for s in scores.values())
    assert all(-1 <= s.selection <= 1 for s in scores.values())


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_in_any_order(k: int, others: int) -> None:
    """All orders of the same labels earn what the best order earns where order counts; more hits earn more."""
    best: dict[int, Score] = {}
    for answer, got in graded(k, others).items():
        free = score(tagged(answer), LABELS[:k], k + others, SHIPPED, ordered=False)
        hits = len({*answer} & {*LABELS[:k]})
        assert best.setdefault(hits, free) == free
        assert all(getattr(free, part) >= getattr(got, part) for part in (*PARTS, "reward"))
        assert free.exact == free.set
        if answer == "".join(sorted(answer)):  # its hits are in order
            assert free.order == got.order or k == 1
    rising = [best[hits].reward for hits in sorted(best)]
    assert rising == sorted(set(rising))
    assert rising[0] >= 0
    assert rising[-1] == pytest.approx(1 if others else 1 - SHIPPED.selection)
    sets = [sum(label in LABELS[:k] for label in answer) for answer in combinations(LABELS[: k + others], k)]
    level = reward_chance(k, others, asdict(SHIPPED), ordered=False)
    mean = sum(best[hits].reward for hits in sets) / len(sets)
    assert mean == pytest.approx(level.mean, abs=1e-12)
    assert sum((best[hits].reward - mean) ** 2 for hits in sets) / len(sets) == pytest.approx(level.variance, abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_is_graded_by_its_question(task: str) -> None:
    record = make_task_sample(task, 1).record
    right = score_record(tagged("".join(record.answer)), record, SHIPPED)
    assert (right.exact, right.valid) == (1, True)
    asked = record.question
    assert right.reward == pytest.approx(1 if asked.choices > asked.slots else 1 - SHIPPED.selection)
    turned = score_record(tagged("".join(record.answer[::-1])), record, SHIPPED)
    assert turned.exact == (task in ANY_ORDER)
    wrong = next(label for label in LABELS if label not in record.answer)
    if asked.slots == 1:
        got = score_record(tagged(wrong), record, SHIPPED)
        assert got.reward == pytest.approx(0.2 - 0.2 / (asked.choices - 1))
        assert got.valid
    for label in (LABELS[asked.choices], wrong * 2, LABELS[: asked.slots + 1]):  # none of the choices; one too many
        assert score_record(tagged(label), record, SHIPPED) == INVALID


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_echoing_the_question_of_a_task(task: str, thinking: bool) -> None:
    record = make_task_sample(task).record
    text = flat_text(record, PromptConfig(thinking=thinking))
    assert score_record(text, record, SHIPPED) == INVALID
    assert score_record(tagged("".join(record.answer)) + text, record, SHIPPED) == INVALID


# Repairing a mistake never lowers it


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_corrections_never_lower_the_reward(k: int, others: int) -> None:
    assert falls(k, others) == []


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_a_missing_positive_for_a_distractor_lowers_no_part(k: int, others: int) -> None:
    scores = graded(k, others)
    for answer, slot, label in product(scores, range(k), LABELS[:k]):
        if answer[slot] not in LABELS[:k] and label not in answer:
            better = scores[answer[:slot] + label + answer[slot + 1 :]]
            assert all(getattr(better, part) >= getattr(scores[answer], part) for part in PARTS)


def least_position(k: int) -> float:
    """The weight of position, per weight of order, from which no repair lowers the reward (docs/reward.md)."""
    return 0 if k < 3 else 2 * (k - 2 - (k + 1) % 2) / (k - 1)


@pytest.mark.parametrize("k", range(2, 8))
def test_the_condition_on_weights_is_exact(k: int) -> None:
    """At the bound no repair costs anything, just below it one does; twice the weight of order is always enough."""
    bound = least_position(k)
    assert bound < 2
    for others in range(min(3, 8 - k)):
        assert falls(k, others, weighted(bound)) == []
    if bound:
        assert falls(k, 0, weighted(bound * 0.98)) != []


def weighted(position_per_order: float) -> RewardConfig:
    rest = 0.7 / (1 + position_per_order)
    return RewardConfig(format=0.15, selection=0.15, order=rest, position=0.7 - rest, exact=0.0)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(0, 20)] * 5), st.sampled_from([(3, 2), (4, 1), (5, 0), (2, 4)]))
@example((1, 1, 1, 2, 0), (5, 0))
def test_custom_weights_within_the_conditions(parts: tuple[int, ...], size: tuple[int, int]) -> None:
    selection, order, exact = parts[0], parts[1], parts[2]
    form, position = selection + parts[3], 2 * order + parts[4]
    total = form + selection + order + position + exact
    assume(total > 0)
    weights = RewardConfig(
        format=form / total,
        selection=selection / total,
        order=order / total,
        position=position / total,
        exact=exact / total,
    )
    assert falls(*size, weights) == []
    assert min(s.reward for s in graded(*size, weights).values()) >= -1e-12


# Tricks


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize(("k", "others"), [(1, 1), (2, 2), (4, 4), (4, 20), (8, 18), (13, 13), (26, 0), (1, 25)])
def test_echoing_the_question(k: int, others: int, thinking: bool) -> None:
    record = make_record(3, k=k, distractors=others, context=6, mask_start=3)
    question = flat_text(record, PromptConfig(thinking=thinking, timestamps=True))
    answer, pool = "".join(record.answer), k + others
    assert score(question, answer, pool, SHIPPED) == INVALID
    assert score(tagged(answer) + question, answer, pool, SHIPPED) == INVALID
    assert score(question + tagged(answer), answer, pool, SHIPPED).exact == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.permutations(LABELS[:8]).map(lambda p: "".join(p[:4])), min_size=1, max_size=20))
def test_the_last_of_several_answers_counts(guesses: list[str]) -> None:
    last = score(tagged(guesses[-1]), "CAFB", 8, SHIPPED)
    assert score(" or ".join(map(tagged, guesses)), "CAFB", 8, SHIPPED) == last
    assert score("".join(f"<answer>{'; '.join(g)}; " for g in guesses) + "</answer>" * 9, "CAFB", 8, SHIPPED) in (
        last,
        INVALID,
    )


# Weights and columns


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"exact": 0.5}, r"add up to 1, not 1.25 \(format 0.2 \+ selection 0.2 \+ order 0.1 \+ position 0.25 \+ exact"),
        ({"order": -0.1, "exact": 0.45}, r"in \[0, 1\], not order -0.1$"),
        ({"format": float("nan"), "order": 2.0}, r"in \[0, 1\], not format nan, order 2.0$"),
        ({"exact": float("inf")}, "exact inf"),
    ],
)
def test_impossible_weights(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RewardConfig(**weights)


def test_weights_that_add_up_but_for_rounding() -> None:
    RewardConfig(format=0.3333333, selection=0.3333333, order=0.0, position=0.3333333, exact=0.0)


COLUMNS = {"answer": ["CAFB", "BA"], "pool": [8, 4]}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: [{"role": "assistant", "content": text}],
        lambda text: [{"role": "assistant", "content": [{"type": "text", "text": text[:9]}, {"text": text[9:]}]}],
        lambda text: [{"role": "assistant", "content": None}, {"role": "assistant", "content": text}],
    ],
    ids=["text", "message", "pieces", "messages"],
)
def test_called_as_trl_does(wrap) -> None:  # type: ignore[no-untyped-def]
    logged: dict[str, float] = {}
    rewards = mvp_reward(
        prompts=["", ""],
        completions=[wrap(tagged("CAFB")), wrap(tagged("AB"))],
        completion_ids=[[1], [2]],
        log_metric=logged.__setitem__,
        log_extra=None,
        trainer_state=None,
        key=["a", "b"],
        **COLUMNS,
    )
    second = score(tagged("AB"), "BA", 4, SHIPPED)
    assert rewards == [1.0, second.reward]
    assert logged == {
        "mvp/valid": 1.0,
        "mvp/selection": 1.0,
        "mvp/recall": 1.0,
        "mvp/order": 0.5,
        "mvp/position": 0.5,
        "mvp/exact": 0.5,
        "mvp/set": 1.0,
    }


def test_rows_of_several_tasks() -> None:
    logged: dict[str, float] = {}
    texts = [tagged("FBCA"), tagged("FBCA"), tagged("B"), tagged("A")]
    columns = {"answer": ["ABCF", "ABCF", "A", "A"], "pool": [8, 8, 2, 2], "ordered": [False, True, True, True]}
    task = ["select", "mvp", "arrow", "arrow"]
    rewards = mvp_reward(completions=texts, task=task, log_metric=logged.__setitem__, **columns)
    assert rewards == pytest.approx([1.0, score(texts[1], "ABCF", 8, SHIPPED).reward, 0.0, 1.0])
    assert mvp_reward(completions=texts, **columns) == rewards
    assert {name.partition("/")[0] for name in logged} == {"select", "mvp", "arrow"}
    assert (logged["select/exact"], logged["mvp/exact"], logged["arrow/exact"]) == (1, 0, 0.5)
    del columns["ordered"]  # an export of before there were tasks
    assert mvp_reward(completions=texts, **columns)[:2] == [rewards[1]] * 2


@pytest.mark.parametrize("nothing", ["", [], [{"role": "assistant", "content": None}], [{"role": "assistant"}]])
def test_empty_completions(nothing) -> None:  # type: ignore[no-untyped-def]
    logged: dict[str, float] = {}
    assert mvp_reward(completions=[nothing], answer=["CAFB"], pool=[8], log_metric=logged.__setitem__) == [0.0]
    assert set(logged.values()) == {0.0}
    assert mvp_reward(completions=[], answer=[], pool=[], log_metric=logged.__setitem__) == []


def test_own_weights() -> None:
    only_exact = MvpReward(RewardConfig(format=0, selection=0, order=0, position=0, exact=1))
    assert only_exact(completions=[tagged("CAFB"), tagged("BA")], **COLUMNS) == [1.0, 1.0]
    assert only_exact(completions=[tagged("CABF"), tagged("AB")], **COLUMNS) == [0.0, 0.0]
    assert only_exact.__name__ == mvp_reward.__name__ == "mvp_reward"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pool": [8]}, "no column 'answer': make the rows with"),
        ({"answer": ["CAFB"]}, "no column 'pool': make the rows with"),
        ({"answer": [None], "pool": [8]}, "column 'answer' must hold str only"),
        ({"answer": [["C", "A"]], "pool": [8]}, "column 'answer' must hold str only"),
        ({"answer": ["CAFB"], "pool": [8], "ordered": ["no"]}, "column 'ordered' must hold bool only"),
        ({"answer": ["CAFB"], "pool": ["8"]}, "column 'pool' must hold int only"),
        ({"answer": ["C, A"], "pool": [8]}, "answer 'C, A' must be different labels of a pool of 8"),
        ({"answer": ["CAFC"], "pool": [8]}, "'CAFC'"),
        ({"answer": ["CAFI"], "pool": [8]}, "'CAFI'"),
        ({"answer": [""], "pool": [8]}, "answer '' must be"),
        ({"answer": ["CAFB"], "pool": [27]}, "pool of 27"),
        ({"answer": ["CAFB"], "pool": [-1]}, "pool of -1"),
    ],
)
def test_rows_without_a_right_answer(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        mvp_reward(completions=["unreadable"], **columns)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_defaults_are_the_documented_ones() -> None:
    assert asdict(SHIPPED) == {"format": 0.2, "selection": 0.2, "order": 0.1, "position": 0.25, "exact": 0.25}
    assert {f.name for f in fields(Score)} == {"valid", "reward", *PARTS}
