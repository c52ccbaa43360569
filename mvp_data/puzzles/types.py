"""The values that the steps of a puzzle pass on: Strip -> Episode -> Opening -> Puzzle."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mvp_data.tasks import right_answer

Places: TypeAlias = tuple[int, ...]  # positions among the kept frames of a video


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameRef:
    """A kept frame by name: the video's id and the frame's position among the bank's frames of that video."""

    video_id: str
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """A run of de-duplicated frames of one video, in order: the raw material of one sample."""

    video_id: str
    frames: tuple[int, ...]  # indices into the bank's frames of the video, rising
    shots: tuple[int, ...]  # the shot of each


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """A strip with a hidden segment: `frames[mask_start : mask_start + k]` are hidden, the rest is context."""

    strip: Strip
    mask_start: int
    k: int

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.mask_start <= len(self.strip.frames) - self.k:
            raise ValueError(f"mask [{self.mask_start}, +{self.k}) outside a strip of {len(self.strip.frames)} frames")

    @property
    def hidden(self) -> tuple[int, ...]:
        """Frame indices of the hidden segment, in order."""
        return self.strip.frames[self.mask_start : self.mask_start + self.k]

    @property
    def context(self) -> tuple[int, ...]:
        """Frame indices of the visible frames, in order."""
        return self.strip.frames[: self.mask_start] + self.strip.frames[self.mask_start + self.k :]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One labelled picture of the pool. `order` is its place in the hidden segment, or -1 for a distractor."""

    label: str
    frame: FrameRef
    order: int
    decoy: int  # its place in a decoy run, or -1
    origin: str  # hidden | neighbourhood | same_video | corpus
    similarity: float  # highest cosine similarity to a hidden frame (to another one, for a hidden frame)


@dataclass(frozen=True, kw_only=True, slots=True)
class Puzzle:
    """An episode with its labelled pool: everything of a sample but the pixels."""

    key: str
    task: str
    episode: Episode
    candidates: tuple[Candidate, ...]
    difficulty: float  # 0 easy .. 1 hard
    doubt: str  # why its order may be argued about, where such runs are kept: reversible, looping or empty
    margin: float  # distance of the most alike pair that must differ from the ambiguity threshold, in cosine

    @property
    def answer(self) -> tuple[str, ...]:
        """The labels that answer it."""
        return right_answer(self.task, self.candidates)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """A hidden segment for a task, in every way it may be shown; at least one."""

    task: str
    episodes: tuple[Episode, ...]

    @property
    def hidden(self) -> tuple[int, ...]:
        """Frame indices of the hidden segment, in order."""
        return self.episodes[0].hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class Distractor:
    """A mined frame with the vector it was judged by."""

    frame: FrameRef
    origin: str
    similarity: float  # highest cosine to a hidden frame
    vector: npt.NDArray[np.float32]
    thumbnail: bytes
    decoy: int = -1  # its place in a decoy run, or -1


class Drop(StrEnum):
    """Why a hidden segment gives no puzzle; counted in the report."""

    POLICY = "policy"  # the mask policy does not allow it
    LITTLE_CONTEXT = "little_context"  # too few visible frames are left around it
    NO_MOTION = "no_motion"  # two hidden frames in a row differ by noise alone
    REPEATED_HIDDEN = "repeated_hidden"  # too few hidden frames that clearly differ: no order to see
    REPEATED_CONTEXT = "repeated_context"  # a hidden frame is already visible in the context
    RECURRING = "recurring"  # most hidden frames have a closer twin elsewhere than beside them, and no clear order
    LOOPING = "looping"  # the run comes again elsewhere in the video, in the same order or backwards
    REVERSIBLE = "reversible"  # the run is as plausible backwards, to both judges
    FEW_DISTRACTORS = "few_distractors"  # fewer admissible distractors than asked for
    NO_DECOY = "no_decoy"  # no other run may stand beside it in a pool
    DIFFICULTY = "difficulty"  # easier or harder than asked for, or the other one of its pair is
