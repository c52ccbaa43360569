"""The prompt of a sample, for the trainer and all exports.

A prompt is a list of text pieces and image placeholders. `prompt_images` returns the JPEGs in the order of these
placeholders.
"""

from dataclasses import dataclass
from typing import TypeAlias

from mvp_data.shards.record import LABELS, Record
from mvp_data.shards.tar import Sample
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.task import Question

Piece: TypeAlias = dict[str, str]  # {"type": "text", "text": ...} or {"type": "image"}
Message: TypeAlias = dict[str, str | list[Piece]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptConfig:
    """Options of the prompt. `context=False` leaves out the visible frames, `gap=False` the mark of the gap: probes."""

    thinking: bool = False  # ask for reasoning between <think> tags before the answer
    timestamps: bool = False  # state the time of each context frame in the video
    context: bool = True
    gap: bool = True


def messages(record: Record, config: PromptConfig) -> list[Message]:
    """One user message whose content interleaves text and `{"type": "image"}`, as chat templates expect."""
    return [{"role": "user", "content": content(record, config)}]


def flat_text(record: Record, config: PromptConfig, placeholder: str = "<image>") -> str:
    """The prompt as one string, with `placeholder` for each image."""
    return "".join(piece.get("text", placeholder) for piece in content(record, config))


def prompt_images(sample: Sample, config: PromptConfig) -> tuple[bytes, ...]:
    """The JPEGs of a sample, one for each placeholder, in order."""
    return (*(sample.context if config.context else ()), *sample.candidates)


def twin_gap(record: Record) -> int:
    """The number of context frames before the gap of its twin, whose frames this sample leaves out without a mark.

    -1 unless the sample is one of same-strip twins.
    """
    if record.pair_kind != "same_strip":
        return -1
    start_s = min(c.time_s for c in record.candidates if c.decoy >= 0)
    return sum(frame.time_s < start_s for frame in record.context)


def content(record: Record, config: PromptConfig) -> list[Piece]:
    """Text pieces and image placeholders: context with the gap marked, the candidates, the question.

    Candidates have letters if the answer names them.
    """
    task = TASKS[record.task]
    pieces = [*_context(record, config), _text(task.pool_line(record.k, record.l))]
    for candidate in record.candidates:
        pieces += [_text(f"\n{candidate.label}: " if task.lettered else ""), {"type": "image"}]
    return _joined([*pieces, _text(_question(record, config))])


def _context(record: Record, config: PromptConfig) -> list[Piece]:
    """The visible frames in order, with the gap; without context only a sentence about missing frames.

    Twins leave out the frames of their twin's gap without a mark. The sentence about that is in every prompt of a task
    with decoys, so it tells nothing about a sample.
    """
    if not config.context:
        return [_text(f"{_frames(record.k)} missing from a video. No other frame of it is shown.")]
    where = "At the gap" if config.gap else "Somewhere"
    silent = " Other frames may be left out without a mark." if TASKS[record.task].decoys else ""
    pieces = [_text(f"These are frames of one video, in order. {where}, {_frames(record.k)} missing.{silent}\n")]
    gap = record.mask_start if config.gap else -1
    for place, frame in enumerate(record.context):
        if place == gap:
            pieces.append(_gap(record))
        if config.timestamps:
            pieces.append(_text(f"\n{frame.time_s:.1f} s: "))
        pieces.append({"type": "image"})
    if gap == len(record.context):
        pieces.append(_gap(record))
    return pieces


def _gap(record: Record) -> Piece:
    return _text(f"\n[gap: {_frames(record.k)} missing here]\n")


def _question(record: Record, config: PromptConfig) -> str:
    """The question, with an example of the format. The example is not a valid answer, so copying it earns nothing."""
    asked = record.question
    order = "first to last" if asked.ordered else "in any order"
    letters = f"{asked.slots} different letters, {order}" if asked.slots > 1 else "one letter"
    thinking = "First think about what happens, between <think> and </think>. Then give" if config.thinking else "Give"
    return f"\n{TASKS[record.task].asks} {thinking} {letters}, like this: <answer>{_example(asked)}</answer>"


def _example(asked: Question) -> str:
    """Letters that are not choices, or the word "letter" if too few are left."""
    unused = LABELS[asked.choices :]
    return ", ".join(unused[-asked.slots :] if len(unused) >= asked.slots else ["letter"] * asked.slots)


def _frames(count: int) -> str:
    return f"{count} frames are" if count != 1 else "1 frame is"


def _text(text: str) -> Piece:
    return {"type": "text", "text": text}


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Join adjacent texts: some chat templates insert a line break between pieces."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and "text" in piece and "text" in joined[-1]:
            joined[-1] = _text(joined[-1]["text"] + piece["text"])
        else:
            joined.append(piece)
    return joined
