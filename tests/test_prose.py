"""The text of the repository is plain English: none of the phrases below occurs in it.

Each entry has a pattern, its cure and a sentence that it must catch. A space in a pattern matches any white space, so
the search finds a phrase across a line break. It ignores case. In `.py` files it reads comments, docstrings, strings
with a space in them (others are data), and names of functions and classes with underscores as spaces. In other text
files it reads everything.

List the hits as file:line: phrase -> cure, by default of the whole tree:

    python -m tests.test_prose [PATH ...]
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from bisect import bisect_right
from collections.abc import Iterator

import pytest

from tests import ROOT

LEFT_OUT = ("tests/test_prose.py", "LICENSE")
SUFFIXES = ("Makefile", ".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".html", ".j2", ".css", ".js")
VERBS = "says? said tells? told knows? knew holds? held takes? took makes? made needs? sees? saw costs? keeps? kept"
COMPARED = "longer more less fewer larger smaller later earlier better worse faster slower reason need"
STANDS = "at in on there beside between behind before after above below under alone next around together out still"
LIES = (
    "in inside within at on there here above below under behind before beside between beyond among around outside "
    "apart where ready next side farther deeper near open"
)


def _any(words: str) -> str:
    return f"(?:{words.replace(' ', '|')})"


PHRASES: list[tuple[str, str, str]] = [
    # noun clauses as definitions: name the thing
    (
        r"\A\s*(?-i:What|Whose|Who)\b(?![^.]*\?)",
        "name the thing: 'The result of a job.'",
        "What a worker says of a source.",
    ),
    (
        rf"\bwhat (?:an?|the|each|every|one|this|that) (?:\w+ ){{1,2}}{_any(VERBS)}(?: of\b| about\b|[.,;:)])",
        "name the thing",
        "as multiples of what the film took.",
    ),
    (
        r"\bwhat is (?:known|foretold|told|shown|found|asked|kept|there|left|said)\b",
        "name the thing: 'the known files'",
        "It keeps what is known of a video.",
    ),
    (r"\bwhat (?:tells|says|makes)\b", "name the thing", "what tells the packets apart"),
    # who as the subject: the model, a solver, the caller
    (r"\bwhoever\b", "the model, a solver, the caller", "Whoever looks at the candidates alone fails."),
    (
        r"\b(?:somebody|someone|anybody|anyone|nobody|one|those|him) who\b",
        "the model, a solver, the caller",
        "hard for one who goes by pixels",
    ),
    (
        r"\bfor who\b|(?<![\w'])who (?:sees|looks|goes|takes|knows|gets|works|holds|made)\b",
        "the model, a solver, the caller",
        "to say who sees what",
    ),
    (
        r"\b(?:he|she|his|him) (?:looks|sees|is|has|goes|takes|must|gets)\b",
        "the model, a solver, the caller",
        "whatever he looks at",
    ),
    # negation of the noun: negate the verb ('there is no X' is legal)
    (
        rf"(?<!there\s)\b(?:is|are|was|were) no (?!{_any(COMPARED)}\b)[a-z]+",
        "is not a X; cannot X",
        "It is no URL that can be written to.",
    ),
    (r"\bnone of which\b", "two sentences", "four files, none of which is used"),
    (
        r"(?<!there\s)\b(?:is|are|was|were) (?-i:none)\b",
        "is not one; does not exist",
        "letters that are none of the choices",
    ),
    (r"\bto be had\b", "is available", "where no memory is to be had"),
    # place verbs: is, continues, results in, running, next to, whose
    (r"\bof which\b", "whose; start a new sentence", "a file of which nothing was read"),
    (r"\bin hand\b", "in progress, running", "It finishes the videos in hand."),
    (r"\b(?:go|goes|going|went|gone) on\b", "continue, resume", "The same command goes on."),
    (r"\b(?:come|comes|came|coming) out\b", "result in, return, write", "The same shards come out."),
    (rf"\bstands? {_any(STANDS)}\b", "is", "A file stands at its place."),
    (r"\bwhere (?:\w+ ){1,3}stands?\b", "the state of", "It says where a build stands."),
    (rf"\b(?:lies?|lay|lying) {_any(LIES)}\b", "is", "The mask lies in one shot."),
    (r"\bat work\b", "running", "A worker is at work."),
    (r"\bat rest\b", "idle", "two workers at rest"),
    (r"\bbeside (?:it|them|that|this)\b", "next to it, in the same folder, also", "the log beside it"),
    # old or bent words
    (r"\bdearer\b", "more expensive", "only dearer"),
    (r"\b(?:foretell|foretells|foretold)\b", "predict", "the largest size is foretold"),
    (r"\bspoilt\b", "damaged", "a thousand spoilt videos"),
    (r"\bmend(?:s|ed|ing)?\b", "fix, repair", "Mend the cause and run it again."),
    (r"\bmade-up\b", "synthetic", "made-up videos"),
    (r"\banew\b", "again", "To write it anew, run this."),
    (
        r"\b(?:whereof|wherein|thereof|therein|whereupon|hereof)\b",
        "start a new sentence",
        "the folder and the files therein",
    ),
    (r"\bstrew\w*\b", "scattered", "strewn-in distractors"),
    (r"\bfor want of\b", "without; because X is missing", "refused for want of motion"),
    (r"\b(?:let|lets) \w+ loose\b", "runs", "The audit lets solvers loose on shards."),
    (r"\bsays? nothing of\b", "does not depend on, does not show", "Candidates alone say nothing of their order."),
    (
        r"\b(?:say|says|said|tell|tells|told|know|knows|known) of (?:a|an|the|it|its|their|them|each|every)\b",
        "about",
        "as the bank says of a video",
    ),
    (
        r"\bas (?:wrong|right|good|bad|well) on (?:one|it) as\b",
        "scores exactly chance",
        "is as wrong on one as right on the other",
    ),
    (r"\bthe same goes for\b", "also applies to", "The same goes for tars."),
    (r"\bput to (?:a|the|it|them)\b", "asked, shown to", "the question put to a model"),
    (r"\bworth (?:a|its|the) \w+ of\b", "say the amount", "a folder worth a day of work"),
    # riddles
    (
        r"\bpaid for\b",
        "rewarded; 'a control trained with shuffled rewards'",
        "a control that is paid for other puzzles' answers",
    ),
    (
        r"\bgiv(?:e|es|en|ing) (?:itself|themselves|it|them|the answer) away\b",
        "is a shortcut",
        "a pool that gives itself away",
    ),
    (r"\bgives? away\b", "is a shortcut, reveals", "files that give away the answer"),
    # coined words: the field's term
    (r"\blikeness\w*\b", "similarity", "difficulty by likeness"),
    (r"\bdrawn (?:films?|videos?|clips?|scenes?|worlds?)\b", "synthetic videos", "puzzles from drawn films"),
    (r"\bpiles? of (?:videos|films|clips|files)\b", "video corpus", "any pile of videos"),
    (
        r"\bspare (?:frames?|pictures?|packets?|ones?|images?)\b",
        "disposable (non-reference) frames",
        "Spare frames are left out.",
    ),
    (r"\bskim(?:s|med|ming)?\b", "sparse decoding", "The pass skims the stream."),
    (r"\b(?:thousand|million|billion|M|B|k) weights\b", "parameters", "a model of 0.4 million weights"),
    (r"\bguest (?:videos?|puzzles?)\b|\bguests\b", "neighbour videos", "a cell and its guests"),
    (r"\bkeepers?\b", "name the process", "the keeper of the cluster"),
    (r"\bjournals?\b", "run log", "the journal of a build"),
    (r"\bverdicts\b", "quality of frames; results", "frames and their verdicts"),
    (r"(?<!`)\bpictures\b(?!`)", "frames; images where they are files or arrays", "the pictures of a sample"),
    (r"\bcopy judge|\bjudges' noise\b", "noise of the two similarity measures", "in units of the judges' noise"),
]

FINE = [
    "There is no cut in this span; there are no samples of it, and a resumed build is no longer than a plain one.",
    "Such a file is skipped, such as an empty one. A folder beside the shards holds the cache.",
    "The figure shows a picture of one puzzle. `tts` stands for text to speech; K stands for the hidden frames.",
    "The model that sees only the candidates scores exactly chance. Some of them are right, none of the others is.",
    "Which files does a build read? What does the ledger hold?",
    "Fetch the weights of the encoder; a model of 0.4 million parameters.",
    "Run the same command again to resume. Whether the encoder is loaded. The lying clock. The person who solves it.",
    "It outcomes nothing: understands, underlies, relies on, goes online, drawn at random, one spare GPU.",
]

Piece = tuple[int, str]  # line number of its first line, text


def pieces_of(path: str, text: str) -> Iterator[list[Piece]]:
    """Runs of prose; a phrase is looked for inside a run only, and a run's first word is a sentence's first."""
    if path.endswith(".py"):
        yield from _python(text)
    else:
        unlinked = re.sub(
            r"\[[^]]*\](?=\(\S*tests/)", "", text
        )  # the name of a test: it is checked where it is defined
        lines = list(enumerate(unlinked.splitlines(), 1))
        block: list[Piece] = []
        for number, line in lines:
            starts = not line.strip() or re.match(r"\s*([-*#|>]|\d+\.)\s", line)
            if starts and block:
                yield block
                block = []
            if line.strip():
                block.append((number, line))
        if block:
            yield block


def _python(text: str) -> Iterator[list[Piece]]:
    kind, run = 0, []  # type: int, list[Piece]
    previous = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            continue
        prose = token.string
        if token.type == tokenize.STRING:
            prose = _string(token.string)
        if token.type == tokenize.COMMENT:
            prose = token.string.lstrip("#: ")
        alone = token.type == tokenize.COMMENT and run and token.start[0] != run[-1][0] + 1
        if run and (token.type != kind or alone or token.type not in (tokenize.STRING, tokenize.COMMENT)):
            yield run
            run = []
        kind = token.type
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            if " " in prose or token.type == tokenize.COMMENT:
                run.extend((token.start[0] + row, line) for row, line in enumerate(prose.split("\n")))
        elif token.type == tokenize.NAME:
            if previous in ("def", "class"):
                yield [(token.start[0], token.string.replace("_", " "))]
            previous = token.string
    if run:
        yield run


def _string(literal: str) -> str:
    """The text of a string literal without its quotes, in as many lines as it has."""
    body = literal.lstrip("rbufRBUF")
    quote = body[:3] if body[:3] in ('"""', "'''") else body[:1]
    return body[len(quote) : -len(quote)]


COMPILED = [(re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), cure) for pattern, cure, _ in PHRASES]


def hits(path: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Line, phrase found and its cure."""
    for run in pieces_of(path, text):
        joined = "\n".join(line for _, line in run)
        starts = [0]
        for _, line in run[:-1]:
            starts.append(starts[-1] + len(line) + 1)
        for pattern, cure in COMPILED:
            for found in pattern.finditer(joined):
                yield run[bisect_right(starts, found.start()) - 1][0], " ".join(found[0].split()), cure


def tracked(*paths: str) -> list[str]:
    """Text files under version control; new files count as well, ignored ones do not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    named = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in sorted(set(named)) if name.endswith(SUFFIXES) and (ROOT / name).is_file()]


def listing(*paths: str) -> list[str]:
    lines = []
    for name in tracked(*paths):
        if name not in LEFT_OUT:
            found = sorted(hits(name, (ROOT / name).read_text(encoding="utf-8")))
            lines += [f"{name}:{line}: {phrase} -> {cure}" for line, phrase, cure in found]
    return lines


def test_the_text_is_plain_english() -> None:
    found = listing(".")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("pattern", "sentence"), [(pattern, sentence) for pattern, _, sentence in PHRASES])
def test_each_phrase_is_caught(pattern: str, sentence: str) -> None:
    compiled = re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE)
    wrapped = sentence.replace(" ", "\n    # ")
    for text in (sentence, sentence.upper() if "(?-i:" not in pattern else sentence, sentence.replace(" ", "\n")):
        assert compiled.search(text), text
    found = [phrase for _, phrase, _ in hits("a.py", f"x = 1\n    # {wrapped}\n")]
    assert any(compiled.search(phrase) or compiled.match(sentence) for phrase in found)


@pytest.mark.parametrize("sentence", FINE)
def test_plain_sentences_pass(sentence: str) -> None:
    assert not list(hits("a.md", sentence))


def test_python_is_searched_where_it_has_prose() -> None:
    source = (
        '"""A line.\n\nThe mask lies\nin one shot."""\n'
        "likeness = in_hand = lies_in = 1\n"
        "def test_it_goes_on(): ...\n"
        "# the log is the\n# journal\n"
        'say("is no "\n    f"URL {x}", "likeness", key["pictures"])\n'
    )
    ast.parse(source)
    found = [(line, phrase) for line, phrase, _ in hits("a.py", source)]
    assert found == [(3, "lies in"), (6, "goes on"), (8, "journal"), (9, "is no URL")]


def test_markdown_is_searched_by_paragraph_and_item() -> None:
    text = "It goes\non.\n\n- It goes\n- on.\n\n## What it costs\n"
    assert [(line, phrase) for line, phrase, _ in hits("a.md", text)] == [(1, "goes on")]


if __name__ == "__main__":
    print("\n".join(listing(*(sys.argv[1:] or ["."]))))
