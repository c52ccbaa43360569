"""The corpus that pass 2 of a build makes puzzles from.

It has the de-duplicated frames of each video with their vectors, and the similarity thresholds.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import numpy as np

from mvp_data.bank.bank import Bank
from mvp_data.config.options import EmbedConfig, MineConfig, PackConfig
from mvp_data.core.errors import ConfigError
from mvp_data.core.seeds import unit
from mvp_data.core.types import Encoder, Source, Vectors, VideoEntry
from mvp_data.embedding.calibration import Calibration
from mvp_data.puzzles.dedup import Track, deduplicate, group_videos
from mvp_data.puzzles.motion import clearly_moves
from mvp_data.puzzles.vector_files import RowBuffer, allocate


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Thresholds on cosine similarity, from the encoder's calibration or from options."""

    repeat: float  # at or above: the same frame
    ambiguous: float  # at or above: a distractor could be mistaken for the hidden frame
    scene: float  # at or above: the same scene
    low: float  # below: a distractor is too easy; halfway between unrelated frames and the same scene

    @property
    def distinct(self) -> float:
        """Below: two hidden frames differ enough to be ordered."""
        return min(self.ambiguous, self.repeat)

    @property
    def copy(self) -> float:
        """At or above: may be the same moment in a copy of the video.

        It is twice as far from 1 as `ambiguous`, since a copy may be scaled, cropped and compressed at once, and
        sampled half a second apart.
        """
        return 2 * self.ambiguous - 1

    @classmethod
    def resolve(cls, calibration: Calibration, embed: EmbedConfig, mine: MineConfig) -> "Thresholds":
        """The thresholds from options where given, else from the calibration.

        Raises:
            ConfigError: the options leave no band between the low and the high end.
        """
        repeat = _first(embed.dedup_threshold, calibration.repeat)
        ambiguous = _first(mine.similarity_high, calibration.ambiguous)
        low = _first(mine.similarity_low, (calibration.unrelated + calibration.scene) / 2)
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

    Compared by identity, so that results for a video can be cached.
    """

    source: Source
    entry: VideoEntry
    group: str  # smallest id among its near-duplicates
    split: str
    kept: tuple[int, ...]  # indices into entry.frames
    matrix: Vectors = field(repr=False)  # [N, D]; may contain other videos as well
    first_row: int = 0  # of this video in the matrix

    @property
    def vectors(self) -> Vectors:
        """The vectors of the kept frames [len(kept), D], without a copy."""
        return self.matrix[self.first_row : self.first_row + len(self.kept)]

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
        """Positions of these frames among the kept ones."""
        return [bisect_left(self.kept, frame) for frame in frames]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames, in pixels."""
        return self.entry.width_px, self.entry.height_px


def read_entries(bank: Bank, video_ids: Sequence[str]) -> dict[str, VideoEntry]:
    """Read entries from the bank. Their thumbnails (2.3 GB for a million frames) may be in temporary files.

    Raises:
        OutputError: an entry is damaged.
    """
    thumbnails = RowBuffer(bank.workspace)
    entries: dict[str, VideoEntry] = {}
    for video_id in video_ids:
        entry = bank.read(video_id)
        frames = entry.frames.with_thumbnails(thumbnails.add(entry.frames.thumbnails))
        entries[video_id] = replace(entry, frames=frames)
    return entries


def kept_videos(
    sources: Mapping[str, Source],
    entries: Mapping[str, VideoEntry],
    bank: Bank,
    encoder: Encoder,
    thresholds: Thresholds,
    pack: PackConfig,
    seed: int,
) -> list[KeptVideo]:
    """De-duplicate the frames of each video, group near-duplicate videos, and draw the split of each group.

    Raises:
        OutputError: vectors are missing from the bank, or damaged.
    """
    used = [entry for entry in entries.values() if entry.usable]
    ends = accumulate(len(entry.usable) for entry in used)
    rows = {entry.video_id: range(end - len(entry.usable), end) for entry, end in zip(used, ends, strict=True)}
    vectors = allocate(sum(map(len, rows.values())), encoder.dimension, bank.workspace)
    for video_id, own in rows.items():
        vectors[own.start : own.stop] = bank.read_vectors(video_id, encoder, rows=len(own))
    tracks = {e.video_id: Track(times_s=e.frames.times_s[e.frames.usable], rows=rows[e.video_id]) for e in used}
    groups = group_videos(tracks, vectors, thresholds.copy)
    splits = split_groups(groups.values(), seed=seed, val_share=pack.val_share, test_share=pack.test_share)
    found: dict[str, KeptVideo] = {}
    matrix, first_row = allocate(len(vectors), encoder.dimension, bank.workspace), 0
    # Videos that are searched together get consecutive rows, so that `stacked` needs no copy.
    for entry in sorted(used, key=lambda e: (splits[groups[e.video_id]], e.width_px, e.height_px)):
        video_id, usable = entry.video_id, entry.usable
        own_vectors = vectors[rows[video_id].start : rows[video_id].stop]
        kept = deduplicate(own_vectors, thresholds.repeat, _moved(entry))
        matrix[first_row : first_row + len(kept)] = own_vectors[list(kept)]
        found[video_id] = KeptVideo(
            source=sources[video_id],
            entry=entry,
            group=groups[video_id],
            split=splits[groups[video_id]],
            kept=tuple(usable[row] for row in kept),
            matrix=matrix,
            first_row=first_row,
        )
        first_row += len(kept)
    return [found[entry.video_id] for entry in used]


def _moved(entry: VideoEntry) -> Callable[[int, int], bool]:
    """Whether something in the scene moved between two usable frames of this video, given by number."""
    thumbnails = [entry.frames.thumbnail(frame) for frame in entry.usable]
    return lambda first, second: clearly_moves(thumbnails[first], thumbnails[second])


def split_groups(groups: Iterable[str], *, seed: int, val_share: float, test_share: float) -> dict[str, str]:
    """The split of each group of near-duplicate videos, drawn from its name and the seed.

    If the draws leave no group for `train`, as may happen with few videos, the group with the highest draw gets it.
    """
    draws = {group: unit("split", seed, group) for group in sorted(set(groups))}
    splits = {
        group: "val" if draw < val_share else "test" if draw < val_share + test_share else "train"
        for group, draw in draws.items()
    }
    if draws and "train" not in splits.values() and val_share + test_share < 1:
        splits[max(draws, key=lambda group: draws[group])] = "train"
    return splits


def stacked(videos: Sequence[KeptVideo]) -> Vectors:
    """The vectors of all videos [N, D], in order; not a copy if they are consecutive rows of one matrix."""
    if all(a.matrix is b.matrix and a.first_row + len(a.kept) == b.first_row for a, b in pairwise(videos)):
        return videos[0].matrix[videos[0].first_row : videos[-1].first_row + len(videos[-1].kept)]
    return np.concatenate([video.vectors for video in videos])


def _first(option: float | None, calibrated: float) -> float:
    return calibrated if option is None else option
