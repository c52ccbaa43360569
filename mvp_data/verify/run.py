"""`mvp-data verify`: a folder of shards against its index, its other files, and the rules of a good puzzle.

One pass over the bytes; nothing is changed. docs/verify.md says what each check means.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mvp_data import __version__
from mvp_data.config import GROUPS, BuildConfig
from mvp_data.embed import Encoder
from mvp_data.errors import ConfigError, OutputError, ShardError
from mvp_data.inspect import printable
from mvp_data.output import STARTED_NAME, is_own
from mvp_data.pipeline import build_hash
from mvp_data.puzzles.corpus import Thresholds
from mvp_data.report import plural
from mvp_data.shard_cache import megabytes
from mvp_data.shard_index import INDEX_NAME, Index, read_index
from mvp_data.verify.findings import Check, Finding, Tally
from mvp_data.verify.shards import ShardWalk


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What `verify` found; plain values only, so that `asdict` is JSON."""

    path: str
    shards: int
    samples: int  # that could be read
    checks: tuple[Check, ...]
    broken: tuple[str, ...]  # files of the build that are damaged or missing
    foreign: tuple[str, ...]  # files that are not of the build

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return not any(check.problems for check in self.checks)


def verify(folder: str | Path, *, quiet: bool = False) -> Verification:
    """Check a folder of shards; `quiet` shows no progress.

    Raises:
        OutputError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder: give the --out folder of a build")
    tally = Tally(remedy=f"`mvp-data verify {folder} --repair` makes it again")
    tally.looked_at[INDEX_NAME] = 1
    try:
        index = _index(folder)
    except ShardError as error:
        there = (folder / INDEX_NAME).exists()
        text = str(error) if there else f"{folder}: no {INDEX_NAME}, so no finished build"
        tally.add(Finding(check=INDEX_NAME, text=text), _index_advice(folder))
        return Verification(
            path=str(folder), shards=0, samples=0, checks=tally.checks(), broken=(INDEX_NAME,), foreign=()
        )
    foreign = _look_around(folder, index, tally)
    walk = ShardWalk(folder, index, tally)
    with megabytes(sum(shard.bytes for shard in index.shards), "verify", quiet=quiet) as add:
        for shard in index.shards:
            walk.shard(shard, add)
    walk.finish()
    return Verification(
        path=str(folder),
        shards=len(index.shards),
        samples=walk.totals.samples,
        checks=tally.checks(),
        broken=tuple(tally.broken),
        foreign=foreign,
    )


def read_config(index: Index, folder: Path, bank: Path | None) -> tuple[BuildConfig, Encoder, Thresholds]:
    """The configuration, encoder and thresholds that an index states; sources are written nowhere.

    Raises:
        ShardError: it states none that this version knows.
    """
    try:
        options = index.config["options"]
        groups = {name: kind(**options[name]) for name, kind in GROUPS.items()}
        config = BuildConfig(src=("not known",), out=folder, bank=bank, seed=options["seed"], **groups)
        if not all(isinstance(value, float) for value in index.config["thresholds"].values()):
            raise TypeError("a threshold is no number")
        return config, Encoder(**index.config["encoder"]), Thresholds(**index.config["thresholds"])
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{folder / INDEX_NAME}: states no whole configuration ({error!r})") from error


def _index(folder: Path) -> Index:
    """The index, if it agrees with itself."""
    index = read_index(folder)
    config, encoder, _ = read_config(index, folder, None)
    if index.tool_version == __version__ and build_hash(config, encoder) != index.config_hash:
        raise ShardError(f"{folder / INDEX_NAME}: its options are not those of its config_hash")
    return index


def _index_advice(folder: Path) -> str:
    if (folder / STARTED_NAME).exists():
        return "the same `mvp-data build` command finishes the build"
    if (folder / INDEX_NAME).exists():
        return "the same `mvp-data build` command with --overwrite writes it again; the bank keeps what is decoded"
    return "empty the folder and run the same `mvp-data build` command; the bank keeps what is decoded"


def _look_around(folder: Path, index: Index, tally: Tally) -> tuple[str, ...]:
    """Name what lies in the folder and is not of this build; what is hidden harms no reader, so it is a warning."""
    shards = {shard.name for shard in index.shards}
    foreign: list[str] = []
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror}): check its permissions") from error
    for path in paths:
        name = path.name
        tally.looked_at["folder"] += 1
        if name in shards or (is_own(name) and not name.endswith((".tar", ".tmp")) and name != STARTED_NAME):
            continue
        foreign.append(name)
        if name == STARTED_NAME:
            text, advice = "says that a build is not finished", "the same `mvp-data build` command finishes it"
        elif is_own(name) and name.endswith(".tmp"):
            text, advice = "left by a run that was killed", "remove it, unless a build is at work there"
        elif is_own(name):
            text, advice = f"a shard that {INDEX_NAME} does not name", "move it away"
        else:
            text, advice = "no file of a build", "move it away"
        tally.add(Finding(check="folder", text=f"{path}: {text}", warning=name.startswith(".")), advice)
    return tuple(foreign)


def to_json(found: Verification) -> str:
    """The findings as JSON, for scripts."""
    return json.dumps({**asdict(found), "ok": found.ok}, indent=1)


def to_text(found: Verification) -> str:
    """A table of the checks, then one line for each of the first problems of each."""
    lines = [f"{found.path}: {plural(found.samples, 'sample')} in {plural(found.shards, 'shard')}", ""]
    lines += [f"{'check':<16} {'looked at':>9}  found"]
    for check in found.checks:
        state = plural(check.problems, "problem") if check.problems else "ok" if check.looked_at else "not checked"
        state = plural(check.warnings, "warning") if check.warnings and not check.problems else state
        lines.append(f"{check.name:<16} {check.looked_at:>9}  {state:<12} {check.meaning}")
    for check in found.checks:
        lines += ["", *check.lines] if check.lines else []
        more = check.problems + check.warnings - len(check.lines)
        lines += [f"... and {more} more of {check.name}"] if more else []
    warnings = sum(check.warnings for check in found.checks)
    well = f"all is well, {plural(warnings, 'warning')}" if warnings else "all is well"
    lines += ["", well if found.ok else "not well: see above"]
    return "\n".join(map(printable, lines))  # names of files and groups that somebody else chose
