"""What pass 2 sees of the bank: per video its de-duplicated frames with their vectors, and the thresholds in force."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mvp_data.bank import Bank
from mvp_data.calibrate import Calibration
from mvp_data.config import BuildConfig
from mvp_data.dedup import deduplicate
from mvp_data.errors import ConfigError
from mvp_data.matrix import Gathered
from mvp_data.seeds import unit
from mvp_data.types import Source, Vectors, VideoEntry


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Cosine similarities that decide; from the encoder's calibration unless an option says otherwise."""

    repeat: float  # at or above: the same picture
    ambiguous: float  # at or above: a distractor could pass for the hidden frame
    scene: float  # at or above: the same scene
    low: float  # below: a distractor is too easy; halfway from unrelated pictures to the same scene

    @property
    def distinct(self) -> float:
        """Below: two hidden frames can be told apart, and so ordered."""
        return min(self.ambiguous, self.repeat)

    @property
    def copy(self) -> float:
        """At or above: may be the same moment in a copy of the video.

        Twice as far from 1 as `ambiguous`: a copy may be scaled, cropped and compressed at once, and sampled half a
        second apart.
        """
        return 2 * self.ambiguous - 1

    @classmethod
    def resolve(cls, calibration: Calibration, config: BuildConfig) -> "Thresholds":
        """Options first, calibration else.

        Raises:
            ConfigError: the options leave no band between the two ends.
        """
        repeat = _first(config.embed.dedup_threshold, calibration.repeat)
        ambiguous = _first(config.mine.similarity_high, calibration.ambiguous)
        low = _first(config.mine.similarity_low, (calibration.unrelated + calibration.scene) / 2)
        if low >= min(ambiguous, repeat):
            raise ConfigError(
                f"no similarity band is left: low end {low:g}, high end {ambiguous:g}, repeats from {repeat:g} "
                "(calibrated where no option is given); change --similarity-low, --similarity-high or "
                "--dedup-threshold"
            )
        return cls(repeat=repeat, ambiguous=ambiguous, scene=calibration.scene, low=low)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeptVideo:
    """A usable video: its bank entry and the frames that de-duplication kept.

    Equal to itself alone, so that what is found out about one can be remembered.
    """

    source: Source
    entry: VideoEntry
    group: str  # smallest id among its near-duplicates
    split: str
    kept: tuple[int, ...]  # indices into entry.frames
    vectors: Vectors = field(repr=False)  # [len(kept), D]

    @property
    def times_s(self) -> tuple[float, ...]:
        """Time of each kept frame."""
        return tuple(self.entry.frames.times_s[list(self.kept)].tolist())

    def shot(self, place: int) -> int:
        """Shot of one kept frame."""
        return int(self.entry.frames.shots[self.kept[place]])

    def thumbnail(self, place: int) -> bytes:
        """Thumbnail of one kept frame."""
        return self.entry.frames.thumbnail(self.kept[place])

    @property
    def shots(self) -> tuple[int, ...]:
        """Shot of each kept frame."""
        return tuple(self.entry.frames.shots[list(self.kept)].tolist())

    def rows(self, frames: Iterable[int]) -> list[int]:
        """Places of these frames among the kept ones."""
        return [bisect_left(self.kept, frame) for frame in frames]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures, in pixels."""
        return self.entry.width_px, self.entry.height_px


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedVideo:
    """A video as pass 1 left it."""

    source: Source
    entry: VideoEntry
    vectors: Vectors = field(repr=False)  # of the usable frames

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures, in pixels."""
        return self.entry.width_px, self.entry.height_px


def read_entries(bank: Bank, video_ids: Sequence[str]) -> dict[str, VideoEntry]:
    """Entries of the bank, with their thumbnails gathered where they may leave memory: of a million frames 576 MB.

    Raises:
        OutputError: an entry is damaged.
    """
    gathered = Gathered(bank.workspace)
    entries: dict[str, VideoEntry] = {}
    for video_id in video_ids:
        entry = bank.read(video_id)
        frames = entry.frames.with_thumbnails(gathered.put(entry.frames.thumbnails))
        entries[video_id] = replace(entry, frames=frames)
    return entries


def keep(video: IndexedVideo, *, threshold: float, group: str, split: str) -> KeptVideo:
    """De-duplicate one video."""
    rows = deduplicate(video.vectors, threshold)
    usable = video.entry.usable
    return KeptVideo(
        source=video.source,
        entry=video.entry,
        group=group,
        split=split,
        kept=tuple(usable[row] for row in rows),
        vectors=np.ascontiguousarray(video.vectors[list(rows)]),
    )


def split_groups(groups: Iterable[str], *, seed: int, val_share: float, test_share: float) -> dict[str, str]:
    """The split of every group of near-duplicate videos.

    A function of the group's name and the seed alone, but for one thing: if chance leaves nothing to train on, as it
    may with a handful of videos, the group that came nearest is taken.
    """
    draws = {group: unit("split", seed, group) for group in sorted(set(groups))}
    splits = {
        group: "val" if draw < val_share else "test" if draw < val_share + test_share else "train"
        for group, draw in draws.items()
    }
    if draws and "train" not in splits.values() and val_share + test_share < 1:
        splits[max(draws, key=lambda group: draws[group])] = "train"
    return splits


def _first(option: float | None, calibrated: float) -> float:
    return calibrated if option is None else option
