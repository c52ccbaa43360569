"""Writes puzzles to shards: plans the shards, makes the records, and copies the JPEGs from the bank."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tarfile import BLOCKSIZE, RECORDSIZE

from mvp_data.bank.bank import Bank
from mvp_data.config.options import MaskConfig, PackConfig
from mvp_data.core.seeds import stable_hash
from mvp_data.core.types import Encoder
from mvp_data.core.version import __version__
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.types import Candidate, Puzzle
from mvp_data.shards.index import ShardInfo
from mvp_data.shards.record import SPLITS, CandidateFrame, ContextFrame, Record, extra_json, to_json
from mvp_data.shards.tar import Sample, write_shard
from mvp_data.tasks.catalogue import TASKS

SHARD_STEMS = {"train": "shard", "val": "val", "test": "test"}  # shard-000000.tar, val-000000.tar


def shard_stem(task: str, split: str) -> str:
    """Return the start of the names of these shards: `shard` or `val` for `mvp`, `jigsaw-shard` for another task."""
    return TASKS[task].shard_stem(SHARD_STEMS[split])


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """The shards that were written, and a pair (shard name, record) for each sample."""

    shards: tuple[ShardInfo, ...]
    records: tuple[tuple[str, Record], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The facts about a build that are stored in each of its records."""

    config_hash: str
    encoder: Encoder
    mask: MaskConfig
    seed: int


class Packer:
    """Writes the puzzles of one build."""

    def __init__(self, videos: Sequence[KeptVideo], bank: Bank, config: PackConfig, made: Provenance) -> None:
        self._videos: Mapping[str, KeptVideo] = {v.entry.video_id: v for v in videos}
        self._bank, self._config, self._made = bank, config, made

    def pack(self, puzzles: Sequence[Puzzle], out: Path, on_sample: Callable[[], object] = lambda: None) -> Packed:
        """Write every puzzle to a shard of its task and split.

        Raises:
            OutputError: the folder cannot be written, or the bank is damaged.
        """
        shards: list[ShardInfo] = []
        records: list[tuple[str, Record]] = []
        for name, members in self.plan(puzzles):

            def samples(name: str = name, members: Sequence[Puzzle] = members) -> Iterator[Sample]:
                for puzzle in members:
                    sample = self.sample(puzzle)
                    records.append((name, sample.record))
                    on_sample()
                    yield sample

            shards.append(write_shard(out / name, samples()))
        return Packed(shards=tuple(shards), records=tuple(records))

    def plan(self, puzzles: Sequence[Puzzle]) -> Iterator[tuple[str, list[Puzzle]]]:
        """Yield (file name, puzzles) of each shard. Tasks have separate shards, because their members differ."""
        by_kind: dict[tuple[str, str], list[Puzzle]] = defaultdict(list)
        for puzzle in puzzles:
            by_kind[puzzle.task, self._video(puzzle).split].append(puzzle)
        for task, split in ((task, split) for task in TASKS for split in SPLITS if (task, split) in by_kind):
            units: dict[str, list[Puzzle]] = defaultdict(list)
            for puzzle in sorted(by_kind[task, split], key=lambda p: p.key):
                units[puzzle.pair_id or puzzle.key].append(puzzle)
            for number, members in enumerate(
                cut(sorted(units.values(), key=self._rank), self._tar_bytes, self._config)
            ):
                yield f"{shard_stem(task, split)}-{number:06d}.tar", members

    def _rank(self, unit: Sequence[Puzzle]) -> tuple[float, int, str]:
        """Return the sort key of a pair or a puzzle of its own, so that both samples of a pair are neighbours.

        It is the mean difficulty for a curriculum, otherwise a hash that mixes the videos.
        """
        key = unit[0].pair_id or unit[0].key
        mean = sum(puzzle.difficulty for puzzle in unit) / len(unit)
        easy_first = self._config.shard_order == "easy_first"
        return (round(mean, 4) if easy_first else 0.0, stable_hash("pack", self._made.seed, key), key)

    def _tar_bytes(self, puzzle: Puzzle) -> int:
        """Return the size of a sample in its shard: each member has a header block, and is padded to whole blocks."""
        video = self._video(puzzle)
        context = video.entry.frames.jpeg_bytes[list(puzzle.episode.context)].tolist()
        pool = (int(self._videos[c.frame.video_id].entry.frames.jpeg_bytes[c.frame.index]) for c in puzzle.candidates)
        sizes = [*context, *pool, len(to_json(self.record(puzzle)))]
        return sum((2 + (size - 1) // BLOCKSIZE) * BLOCKSIZE for size in sizes)

    def sample(self, puzzle: Puzzle) -> Sample:
        """Return a puzzle with its images: the JPEGs of the bank, because a second encoding could be a shortcut."""
        with ExitStack() as stack:
            names = sorted({puzzle.episode.strip.video_id, *(c.frame.video_id for c in puzzle.candidates)})
            jpeg = {v: stack.enter_context(self._bank.jpegs(self._videos[v].entry)) for v in names}
            own = jpeg[puzzle.episode.strip.video_id]
            return Sample(
                record=self.record(puzzle),
                context=tuple(own(frame) for frame in puzzle.episode.context),
                candidates=tuple(jpeg[c.frame.video_id](c.frame.index) for c in puzzle.candidates),
            )

    def record(self, puzzle: Puzzle) -> Record:
        """Return the JSON of a sample."""
        video, episode, made = self._video(puzzle), puzzle.episode, self._made
        frames = video.entry.frames
        return Record(
            key=puzzle.key,
            task=puzzle.task,
            pair_id=puzzle.pair_id,
            split=video.split,
            k=episode.k,
            l=len(puzzle.candidates) - episode.k,
            answer=puzzle.answer,
            width_px=video.entry.width_px,
            height_px=video.entry.height_px,
            mask_start=episode.mask_start,
            mask_policy=made.mask.mask_policy,
            hidden_start_s=frames[episode.hidden[0]].time_s,
            hidden_end_s=frames[episode.hidden[-1]].time_s,
            sampled_fps=video.entry.rate_fps,
            difficulty=puzzle.difficulty,
            doubt=puzzle.doubt,
            margin=puzzle.margin,
            seed=made.seed,
            config_hash=made.config_hash,
            tool_version=__version__,
            encoder_name=made.encoder.name,
            encoder_weights_sha256=made.encoder.weights_sha256,
            video_id=video.entry.video_id,
            video_path=video.source.path,
            video_group=video.group,
            video_duration_s=video.entry.duration_s,
            extra=extra_json(video.source.extra),
            context=tuple(ContextFrame(time_s=frames[f].time_s, shot=frames[f].shot, frame=f) for f in episode.context),
            candidates=tuple(self._candidate(c) for c in puzzle.candidates),
        )

    def _candidate(self, candidate: Candidate) -> CandidateFrame:
        video = self._videos[candidate.frame.video_id]
        frame = video.entry.frames[candidate.frame.index]
        return CandidateFrame(
            label=candidate.label,
            order=candidate.order,
            decoy=candidate.decoy,
            origin=candidate.origin,
            video_id=video.entry.video_id,
            video_path=video.source.path,
            time_s=frame.time_s,
            shot=frame.shot,
            frame=candidate.frame.index,
            similarity=candidate.similarity,
        )

    def _video(self, puzzle: Puzzle) -> KeptVideo:
        return self._videos[puzzle.episode.strip.video_id]


def cut(
    units: Sequence[Sequence[Puzzle]], tar_bytes: Callable[[Puzzle], int], config: PackConfig
) -> Iterator[list[Puzzle]]:
    """Yield the puzzles of each shard, within the limits of samples and bytes.

    A unit, a pair or a puzzle of its own, is never divided; a larger one has its own shard.
    """
    members: list[Puzzle] = []
    size = RECORDSIZE  # at most this many bytes end a tar
    for unit in units:
        more = sum(map(tar_bytes, unit))
        full = len(members) + len(unit) > config.shard_samples or size + more > config.shard_mb * 1e6
        if members and full:
            yield members
            members, size = [], RECORDSIZE
        members += unit
        size += more
    if members:
        yield members
