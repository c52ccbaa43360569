"""The options of a build, one field each. They define the command line, the YAML files and docs/options.md."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mvp_data.config.fields import check_fields, check_path_name, option
from mvp_data.config.presets import options_of
from mvp_data.config.removed import removed
from mvp_data.core.errors import ConfigError, SkipReason
from mvp_data.core.version import __version__
from mvp_data.system.yaml import parse_yaml, read_text
from mvp_data.tasks.catalogue import TASKS, parse_shares

BACKENDS = ("pyav", "decord", "ffmpeg")
METHODS = ("adaptive", "transnetv2", "none")
MASK_POLICIES = ("anchored", "within_shot", "whole_shot", "free")
DECODES = ("sparse", "full")
MINE_ORDERS = ("band", "random", "adversarial")
EXTRACT_VERSION = 3  # increased when pass 1 stores different data for the same options


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How a video is decoded and cut into shots."""

    decoder: str = option("pyav", "Library that decodes the videos.", choices=BACKENDS)
    decode: str = option(
        "sparse",
        "sparse skips frames that are neither sampled nor needed to decode others (pyav only).",
        choices=DECODES,
    )
    shots: str = option("adaptive", "Shot detector.", choices=METHODS)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """Which frames are sampled, and how they are stored."""

    fps: float = option(1.0, "Frames sampled per second of video.", low=0.01, high=120)
    max_fps: float = option(4.0, "Highest sampling rate, for short videos (frames per second).", low=0.01, high=120)
    min_frames: int = option(
        64, "A video with fewer frames than this at --fps is sampled at a higher rate.", low=2, high=512
    )
    patch_multiple: int = option(28, "Frame width and height are multiples of this (pixels).", low=1, high=512)
    max_pixels: int = option(112_896, "Largest frame area (pixels); 112,896 is 448 x 252.", low=784, high=4_194_304)
    jpeg_quality: int = option(90, "JPEG quality of all frames.", low=50, high=100)
    trim_s: float = option(0.1, "Frames this close to a shot boundary are not used (seconds).", low=0, high=10)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_fps < self.fps:
            raise ConfigError(f"max_fps: {self.max_fps:g} is below fps {self.fps:g}; raise it or lower fps")
        if self.max_pixels < self.patch_multiple**2:
            raise ConfigError(f"max_pixels: {self.max_pixels} is less than one {self.patch_multiple} px patch")


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """The image encoder, and the similarity at which two frames count as the same."""

    embedder: str = option(
        "builtin", "Image encoder: builtin, builtin:NAME, or open_clip:MODEL/PRETRAINED (a tag or a file)."
    )
    dedup_threshold: float | None = option(
        None, "Drop a frame that is at least this similar to the last kept frame (cosine) [calibrated].", low=-1, high=1
    )

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Which frames are hidden, and how many stay visible."""

    hidden_frames: int = option(4, "Number of hidden key frames (K).", low=2, high=12)
    context_frames: int = option(12, "Number of visible frames around the hidden segment.", low=2, high=100)
    mask_policy: str = option("anchored", "Rule that decides which segments may be hidden.", choices=MASK_POLICIES)
    max_hidden_shots: int = option(2, "Most shots in a hidden segment.", low=1, high=12)
    samples_per_video: int = option(32, "Most samples of one video (0: no limit; a pair needs 2).", low=0)
    frame_reuse: int = option(1, "Number of pairs in which a frame may be hidden (training split only).", low=1, high=4)
    max_overlap: float = option(
        0.1,
        "Largest share of training samples whose hidden frames another sample shows (1: no check, in any split).",
        low=0,
        high=1,
    )
    reversible: str = option("drop", "Segments that loop, or look the same in reverse.", choices=("drop", "keep"))

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MineConfig:
    """How the distractors, the wrong candidates of a puzzle, are chosen."""

    distractors: int = option(4, "Number of wrong candidates in a puzzle (l).", low=0, high=14)
    decoy_share: float = option(
        1.0, "Share of puzzles whose distractors form a decoy run; the others get scattered distractors.", low=0, high=1
    )
    cross_video_decoys: bool = option(False, "Also pair segments of different videos, which are easy to tell apart.")
    neighbourhood_share: float = option(
        0.5, "Share of scattered distractors from near the hidden segment.", low=0, high=1
    )
    same_video_share: float = option(
        0.25, "Share of scattered distractors from elsewhere in the video; the rest: other videos.", low=0, high=1
    )
    neighbourhood_s: float = option(
        30.0, "Frames up to this far from the hidden segment are near it (seconds).", low=0, high=1e6
    )
    mine_cells: int = option(
        0, "Mine a large corpus in about this many parts of similar videos (0: all at once).", low=0, high=1_000_000
    )
    mine: str = option(
        "band", "Scattered distractors taken first: most similar, any, or most misleading.", choices=MINE_ORDERS
    )
    similarity_low: float | None = option(
        None, "Lowest similarity of a distractor to a hidden frame (cosine) [calibrated].", low=-1, high=1
    )
    similarity_high: float | None = option(
        None,
        "Similarity from which a distractor or a pair of hidden frames counts as ambiguous (cosine) [calibrated].",
        low=-1,
        high=1,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.neighbourhood_share + self.same_video_share > 1:
            raise ConfigError("neighbourhood_share + same_video_share is above 1; lower one of them")
        low, high = self.similarity_low, self.similarity_high
        if low is not None and high is not None and low >= high:
            raise ConfigError(f"similarity_low {low:g} is not below similarity_high {high:g}")


@dataclass(frozen=True, kw_only=True)
class PuzzleConfig:
    """Which puzzles are made and kept."""

    tasks: str = option("mvp", f"Tasks and their shares, such as mvp=0.7,jigsaw=0.3. Tasks: {', '.join(TASKS)}.")
    difficulty: str = option("0:1", "Keep only puzzles of this difficulty, LOW:HIGH between 0 (easy) and 1 (hard).")

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "tasks", ",".join(f"{task}={share:g}" for task, share in parse_shares(self.tasks)))
        low, high = self.difficulty_range
        object.__setattr__(self, "difficulty", f"{low:g}:{high:g}")

    @property
    def task_shares(self) -> tuple[tuple[str, float], ...]:
        """Each task with its share; the shares add up to 1."""
        shares = parse_shares(self.tasks)
        total = sum(share for _, share in shares)
        return tuple((task, share / total) for task, share in shares)

    @property
    def difficulty_range(self) -> tuple[float, float]:
        """The lowest and the highest difficulty that is kept."""
        low, colon, high = self.difficulty.partition(":")
        try:
            limits = float(low), float(high)
        except ValueError:
            limits = math.nan, math.nan
        if not (colon and 0 <= limits[0] < limits[1] <= 1):
            raise ConfigError(f"difficulty: {self.difficulty!r} is not a range LOW:HIGH such as 0.3:0.8")
        return limits


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """How samples are split and written to shards."""

    shard_order: str = option("mixed", "Order of the samples within a split.", choices=("mixed", "easy_first"))
    shard_samples: int = option(1000, "Most samples in a shard.", low=1)
    shard_mb: float = option(1000.0, "Largest size of a shard (megabytes).", low=0.1, high=1e6)
    val_share: float = option(0.05, "Share of video groups in the validation split.", low=0, high=1)
    test_share: float = option(0.05, "Share of video groups in the test split.", low=0, high=1)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.val_share + self.test_share > 1:
            raise ConfigError("val_share + test_share is above 1; lower one of them")


@dataclass(frozen=True, kw_only=True)
class PuzzleOptions:
    """The options that determine the puzzles of a given bank: the part of a `BuildConfig` that `make_puzzles` reads."""

    mask: MaskConfig
    mine: MineConfig
    puzzle: PuzzleConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """All options of a build; `BuildConfig(src=("videos",), out=Path("shards"))` has the defaults of `mvp-data build`.

    Raises:
        ConfigError: an option is out of range or contradicts another one.
    """

    src: tuple[str, ...]
    out: Path
    bank: Path | None = option(None, "Folder of the bank: extracted frames and vectors [OUT.bank].")
    seed: int = option(0, "Seed of all random choices.", low=0, high=2**63 - 1)
    workers: int = option(0, "Number of decoding processes (0: one per core).", low=0)
    engine: str = option("local", "Decode and embed on this machine or on Ray.", choices=("local", "ray"))
    ray_address: str = option("", "Ray cluster to use, HOST:PORT or auto [start one on this machine].")
    store: str = option("", "URL of an object store, for a Ray cluster without a shared disk.")
    limit: int = option(0, "Use only the first N sources (0: all).", low=0)
    video_timeout_s: float = option(
        1800.0, "Time limit for a video, or for each 20 minutes of a long one (seconds).", low=1, high=1e6
    )
    video_memory_mb: int = option(4096, "Memory limit of a decoding process (megabytes; 0: no limit).", low=0)
    retry: str = option("", "Ledger reasons whose videos are tried again, such as timeout,memory,crash.")
    max_failures: int = option(50, "Stop after this many failed videos if none has succeeded (0: never).", low=0)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    mine: MineConfig = field(default_factory=MineConfig)
    puzzle: PuzzleConfig = field(default_factory=PuzzleConfig)
    pack: PackConfig = field(default_factory=PackConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.out, str | Path):
            raise ConfigError(f"out: must be a path, not {self.out!r}")
        object.__setattr__(self, "out", Path(self.out))
        for group, kind in GROUPS.items():
            if not isinstance(getattr(self, group), kind):
                raise ConfigError(f"{group}: must be a {kind.__name__}, not {getattr(self, group)!r}")
        if isinstance(self.src, str):
            raise ConfigError(f"src: must be a tuple of strings, not {self.src!r}")
        object.__setattr__(self, "src", tuple(str(src) for src in self.src))
        for name, _ in self.puzzle.task_shares:
            count = TASKS[name].pool_size(self.mine.distractors)
            asked = TASKS[name].question(self.mask.hidden_frames, count)
            if not asked.ordered and asked.slots == asked.choices:
                raise ConfigError(f"tasks: {name} has nothing to choose from with --distractors {count}")
        unknown = sorted(self.retried - {reason.value for reason in SkipReason})
        if unknown:
            reasons = ", ".join(reason.value for reason in SkipReason)
            raise ConfigError(f"retry: unknown reasons {', '.join(unknown)}; the reasons are {reasons}")
        for name in ("ray_address", "store"):
            if getattr(self, name) and self.engine != "ray":
                raise ConfigError(f"{name}: has no effect without --engine ray; add it or leave {name} out")
        bank, out = self.bank_folder.resolve(), self.out.resolve()
        if any(Path(src).resolve() == out for src in self.src):
            raise ConfigError(f"out: {self.out} is also a --src; choose another folder")
        if bank == out or out in bank.parents:
            raise ConfigError(f"bank: {bank} must not be --out or inside it; choose another folder for --bank")
        if not self.src:
            raise ConfigError("no source: give --src a folder, file, glob, manifest, tar or URL")

    @property
    def bank_folder(self) -> Path:
        """The folder of the bank: `bank`, or next to `out`."""
        if self.bank is not None:
            return self.bank
        out = self.out if self.out.name not in ("", "..") else self.out.resolve()
        return out.parent / f"{out.name}.bank"

    @property
    def puzzle_options(self) -> PuzzleOptions:
        """The options for `make_puzzles`."""
        return PuzzleOptions(mask=self.mask, mine=self.mine, puzzle=self.puzzle, seed=self.seed)

    @property
    def retried(self) -> frozenset[str]:
        """The ledger reasons in `retry`."""
        return frozenset(word.strip() for word in self.retry.split(",") if word.strip())

    @property
    def worker_count(self) -> int:
        """The number of decoding processes."""
        return self.workers or usable_cores()

    def extract_hash(self) -> str:
        """A hash of all options that affect the data of pass 1; builds with other hashes do not share bank entries."""
        parts = {"decode": asdict(self.decode), "frames": asdict(self.frames)}
        return digest({**parts, "seed": self.seed, "version": EXTRACT_VERSION})

    def content_hash(self) -> str:
        """A hash of all options that affect the bytes of the shards for a given corpus."""
        parts = {name: asdict(getattr(self, name)) for name in GROUPS}
        return digest({**parts, "seed": self.seed, "version": EXTRACT_VERSION, "tool": __version__})

    def to_options(self) -> dict[str, Any]:
        """The options as one flat mapping, as in a YAML file."""
        flat: dict[str, Any] = {"src": list(self.src), "out": str(self.out)}
        for group, f in all_options():
            value = getattr(getattr(self, group) if group else self, f.name)
            flat[f.name] = str(value) if isinstance(value, Path) else value
        return flat


GROUPS: dict[str, type] = {f.name: f.type for f in fields(BuildConfig) if is_dataclass(f.type)}  # type: ignore[misc]


def all_options() -> Iterator[tuple[str, Field[Any]]]:
    """(group, field) of every option except `src` and `out`; the group is "" for fields of `BuildConfig` itself."""
    for f in fields(BuildConfig):
        if f.name in GROUPS:
            yield from ((f.name, inner) for inner in fields(GROUPS[f.name]))
        elif f.name not in ("src", "out"):
            yield "", f


def digest(value: Any) -> str:
    """A hash of a JSON value: 12 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def from_options(options: Mapping[str, Any]) -> BuildConfig:
    """Make a `BuildConfig` from flat options, `{"src": ["videos"], "out": "shards", "hidden_frames": 5}`.

    `preset` names options of `presets`; options that are also given win.

    Raises:
        ConfigError: keys are unknown (all are listed), or a value has the wrong type or is out of range.
    """
    known = {f.name: group for group, f in all_options()}
    given = {name: value for name, value in options.items() if name != "preset" and value is not None}
    options = {**options_of(options.get("preset") or "default"), **given}
    if unknown := sorted(set(options) - set(known) - {"src", "out"}):
        raise ConfigError(f"unknown option{'s' * (len(unknown) > 1)}: {', '.join(unknown)}; {_hint(unknown, known)}")
    src, out = options.get("src", ()), options.get("out")
    if not isinstance(src, str | list | tuple) or not all(isinstance(s, str) for s in src):
        raise ConfigError(f"src: must be a string or a list of strings, not {src!r}")
    if not isinstance(out, str | Path):
        raise ConfigError("no output folder: give --out")
    paths = (src,) if isinstance(src, str) else tuple(src)
    for name in (out, options.get("bank"), *paths):
        check_path_name(name)
    values: dict[str, dict[str, Any]] = {group: {} for group in ("", *GROUPS)}
    for name, group in known.items():
        if options.get(name) is not None:
            values[group][name] = options[name]
    own = values.pop("")
    return BuildConfig(src=paths, out=Path(out), **own, **{group: GROUPS[group](**values[group]) for group in values})


def _hint(unknown: Sequence[str], known: Iterable[str]) -> str:
    names = [name.replace("-", "_") for name in unknown]
    if gone := [text for name in names if (text := removed("build", "--" + name.replace("_", "-")))]:
        return "; ".join(gone)
    meant = [match for name in names for match in get_close_matches(name, list(known), n=1)]
    return f"did you mean {', '.join(meant)}?" if meant else "see mvp-data build --help"


def usable_cores() -> int:
    """Cores that this process may use; a container may have fewer than the machine."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping of option names to values.
    """
    loaded = parse_yaml(read_text(path, what="a file of build options"), where=str(path))
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ConfigError(f"{path}: must be a mapping of option names to values, such as `fps: 2`")
    return loaded
