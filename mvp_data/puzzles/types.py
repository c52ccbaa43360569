"""The values that the steps of pass 2 exchange: Strip -> Episode -> HiddenSegment -> Puzzle."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mvp_data.tasks.catalogue import TASKS

Places: TypeAlias = tuple[int, ...]  # positions among the kept frames of a video


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRef:
    """A reference to a kept frame: the video id, and the index of the frame in the bank."""

    video_id: str
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """De-duplicated frames of one video, in order: the frames of one sample. Frames between them may be left out."""

    video_id: str
    frames: tuple[int, ...]  # indices in the bank, rising
    shots: tuple[int, ...]  # of each frame


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """A strip with a hidden segment: `frames[mask_start : mask_start + k]` are hidden, the rest is context."""

    strip: Strip
    mask_start: int
    k: int

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.mask_start <= len(self.strip.frames) - self.k:
            raise ValueError(
                f"cannot hide {self.k} frames from position {self.mask_start} of a strip of {len(self.strip.frames)}"
            )

    @property
    def hidden(self) -> tuple[int, ...]:
        """Frame indices of the hidden segment, in order."""
        return self.strip.frames[self.mask_start : self.mask_start + self.k]

    @property
    def context(self) -> tuple[int, ...]:
        """Frame indices of the visible frames, in order."""
        return self.strip.frames[: self.mask_start] + self.strip.frames[self.mask_start + self.k :]

    @property
    def before(self) -> int | None:
        """Frame index of the visible frame before the gap."""
        return self.strip.frames[self.mask_start - 1] if self.mask_start else None

    @property
    def after(self) -> int | None:
        """Frame index of the visible frame after the gap."""
        end = self.mask_start + self.k
        return self.strip.frames[end] if end < len(self.strip.frames) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One labelled frame of the pool. `order` is its position in the hidden segment, or -1 for a distractor."""

    label: str
    frame: FrameRef
    order: int
    decoy: int  # its position in a decoy run, or -1
    origin: str  # hidden | same_strip | neighbourhood | same_video | corpus
    similarity: float  # highest cosine to a hidden frame (for a hidden frame: to another one)


@dataclass(frozen=True, kw_only=True, slots=True)
class Puzzle:
    """An episode with its labelled pool: a sample without the pixels."""

    key: str
    task: str
    pair_id: str = ""  # shared by both puzzles of a pair
    episode: Episode
    candidates: tuple[Candidate, ...]
    difficulty: float  # 0 easy .. 1 hard
    doubt: str  # why the order is ambiguous (reversible | exchangeable | looping), if such runs are kept; else empty
    margin: float  # the ambiguity threshold minus the highest similarity in the pool

    @property
    def answer(self) -> tuple[str, ...]:
        """The labels of the right answer."""
        return TASKS[self.task].right_answer(self.candidates)


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenSegment:
    """A hidden segment for a task, with an episode for each context in which it may be shown; at least one."""

    task: str
    episodes: tuple[Episode, ...]

    @property
    def hidden(self) -> tuple[int, ...]:
        """Frame indices of the hidden segment, in order."""
        return self.episodes[0].hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class Distractor:
    """A frame chosen as a wrong candidate."""

    frame: FrameRef
    origin: str
    similarity: float  # highest cosine to a hidden frame
    vector: npt.NDArray[np.float32]
    thumbnail: bytes
    decoy: int = -1  # its position in a decoy run, or -1


class Drop(StrEnum):
    """The reason why a hidden segment gives no puzzle; the report counts them."""

    POLICY = "policy"  # the mask policy does not allow it
    MONTAGE = "montage"  # it spans more shots than --max-hidden-shots
    LITTLE_CONTEXT = "little_context"  # too few visible frames around it
    NO_MOTION = "no_motion"  # two consecutive hidden frames differ only by noise
    REPEATED_HIDDEN = "repeated_hidden"  # too few hidden frames clearly differ, so their order cannot be seen
    REPEATED_CONTEXT = "repeated_context"  # the context shows a hidden frame
    RECURRING = "recurring"  # most hidden frames are more similar to a far frame than to their neighbours
    LOOPING = "looping"  # the run occurs again in the video, forwards or backwards
    REVERSIBLE = "reversible"  # backwards is as plausible, by vectors and by pixels
    EXCHANGEABLE = "exchangeable"  # neither vectors nor pixels speak for the order of two neighbouring hidden frames
    FEW_DISTRACTORS = "few_distractors"  # too few admissible distractors
    NO_DECOY = "no_decoy"  # no other run of the video can be its decoy
    DIFFICULTY = "difficulty"  # its difficulty, or the mean of its pair, is outside --difficulty
    SHOWN = "shown"  # another sample of its split shows its hidden frames
