"""`mvp-data verify --repair`: rebuilds the damaged files of a build from its bank, byte for byte.

It needs no video: it reads options and thresholds from the index, the list of videos from the ledger, and frames and
vectors from the bank. Pass 2 runs again, and a shard is replaced only if the new one has the sha256 of the index.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mvp_data.bank.bank import Bank
from mvp_data.core.errors import OutputError, ShardError
from mvp_data.core.types import Source
from mvp_data.core.version import __version__
from mvp_data.pipeline.dataset_card import card_facts, write_card
from mvp_data.pipeline.ledger import LEDGER_NAME, read_ledger
from mvp_data.pipeline.output_folder import CARD_NAME, REPORT_NAME, SAMPLES_NAME, locked
from mvp_data.pipeline.pack import Packed, Packer, Provenance
from mvp_data.pipeline.report import make_report, stored_report, write_report
from mvp_data.pipeline.sample_table import SampleRow, write_samples
from mvp_data.puzzles.corpus import kept_videos
from mvp_data.puzzles.make import PuzzleSet
from mvp_data.puzzles.partitions import mine_all
from mvp_data.shards.index import INDEX_NAME, Index, ShardInfo, read_index
from mvp_data.shards.record import parse_object
from mvp_data.shards.tar import sample_spans, write_shard
from mvp_data.system.progress import Progress
from mvp_data.verify.findings import Verification
from mvp_data.verify.run import read_config, verify
from mvp_data.verify.table_checks import rows_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """The rebuilt files, the failures with their reasons, and the result of `verify` afterwards."""

    rebuilt: tuple[str, ...]
    failed: tuple[str, ...]
    after: Verification


def repair(folder: str | Path, *, bank: Path | None = None) -> Repair:
    """Rebuild the damaged and missing files of a build; all others stay as they are.

    Raises:
        OutputError: the folder does not exist, another run is using it, the index is damaged, or the bank is not the
            one of this build. Then nothing has changed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder: give the --out folder of a build")
    with locked(folder):
        found = verify(folder)
        if INDEX_NAME in found.broken:
            raise OutputError(f"{found.checks[0].lines[0]}; only the shards and the tables can be repaired")
        rebuilt: list[str] = []
        failed: list[str] = []
        # Shards first: the tables can be checked only against whole shards.
        while set(found.broken) - set(rebuilt) and not failed:
            repairer = _Repairer(folder, bank, found.broken)
            repairer.run()
            rebuilt += repairer.rebuilt
            failed += repairer.failed
            found = verify(folder)
        return Repair(rebuilt=tuple(rebuilt), failed=tuple(failed), after=found)


class _Repairer:
    """One round of repair: rebuilds the broken shards or, if all shards are whole, the broken tables."""

    def __init__(self, folder: Path, bank: Path | None, broken: Sequence[str]) -> None:
        self._folder, self._broken = folder, set(broken)
        self._index = read_index(folder)
        self._config, self._encoder, self._thresholds = read_config(self._index, folder, bank)
        if self._index.tool_version != __version__:
            written, advice = self._index.tool_version, "repair it with that version"
            raise OutputError(f"{folder}: written by mvp-data {written}, this is {__version__}: {advice}")
        config, encoder = self._config, self._encoder
        self._made = Provenance(
            config_hash=self._index.config_hash, encoder=encoder, mask=config.mask, seed=config.seed
        )
        self.rebuilt: list[str] = []
        self.failed: list[str] = []  # one line for each file

    def run(self) -> None:
        """Rebuild the broken shards, or the broken tables if there is no broken shard."""
        shards = [info for info in self._index.shards if info.name in self._broken]
        if LEDGER_NAME in self._broken:
            advice = "delete it and run the same `mvp-data build` command"
            line = f"{self._folder / LEDGER_NAME}: cannot be repaired from a bank: {advice}"
            if shards:
                raise OutputError(f"{line}; without it no shard can be repaired")
            self.failed.append(line)
        if shards:
            self._shards(shards)
        else:
            self._tables()

    def _pass_2(self) -> tuple[PuzzleSet, Packer]:
        """Run pass 2 on the bank: the puzzles of the build, and their packer.

        Raises:
            OutputError: the bank is damaged, or not the one of this build.
        """
        root = self._config.bank_folder
        if not root.is_dir():
            raise OutputError(f"{root}: no such bank: give the bank of this build with --bank, or build again")
        bank = Bank(root, self._config.extract_hash())
        rows = [row for row in read_ledger(self._folder) if row.split]  # the other videos have no usable frame
        needed = {row.video_id: row.path for row in rows}
        missing = [path for video_id, path in needed.items() if not bank.has(video_id)]
        if missing:
            found = f"lacks {len(missing)} of {len(needed)} videos of {self._folder}, such as {missing[0]!r:.200}"
            raise OutputError(f"{root}: {found}: give the bank of this build with --bank, or build again")
        extra = _extra_columns(self._folder, self._index, self._broken)
        source = {
            video_id: Source(location="", path=path, extra=extra.get(video_id, ())) for video_id, path in needed.items()
        }
        entries = {video_id: bank.read(video_id) for video_id in sorted(needed)}
        pack, seed = self._config.pack, self._config.seed
        videos = kept_videos(source, entries, bank, self._encoder, self._thresholds, pack, seed)
        with Progress(len(videos), "mining", "video") as bar:
            puzzle_set = mine_all(videos, self._config.puzzle_options, self._thresholds, bar.update)
        return puzzle_set, Packer(videos, bank, self._config.pack, self._made)

    def _shards(self, broken: Sequence[ShardInfo]) -> None:
        """Write the broken shards; a shard whose sha256 differs from the index is not replaced."""
        puzzle_set, packer = self._pass_2()
        plan = dict(packer.plan(puzzle_set.puzzles))
        if {name: len(puzzles) for name, puzzles in plan.items()} != {s.name: s.samples for s in self._index.shards}:
            found = f"does not give the samples of {self._folder}: it is damaged, or belongs to another build"
            raise OutputError(f"{self._config.bank_folder}: {found}: build again")
        with Progress(len(broken), "packing", "shard") as bar:
            for info in broken:
                try:
                    samples = map(packer.sample, plan[info.name])
                    write_shard(self._folder / info.name, samples, sha256=info.sha256)
                    self.rebuilt.append(info.name)
                except (ShardError, OutputError) as error:
                    problem = str(error).removeprefix(f"{self._folder / info.name}: ")
                    self.failed.append(f"{self._folder / info.name}: left as it is ({problem}): build again")
                bar.update()

    def _tables(self) -> None:
        """Write the broken tables; all shards are whole."""
        out, index = self._folder, self._index
        records = [(info.name, span.record) for info in index.shards for span in sample_spans(out / info.name)]
        if SAMPLES_NAME in self._broken:
            write_samples(out, records)
            self.rebuilt.append(SAMPLES_NAME)
        if REPORT_NAME in self._broken:
            puzzle_set, _ = self._pass_2()
            packed, rows = Packed(shards=index.shards, records=tuple(records)), read_ledger(out)
            folders = out, self._config.bank_folder
            report = make_report(*folders, rows, puzzle_set, packed, self._config.puzzle, self._thresholds)
            write_report(out, asdict(replace(report, encoder=str(self._encoder))))
            self.rebuilt.append(REPORT_NAME)
        if CARD_NAME in self._broken:
            report = stored_report(out, self._config.bank_folder)
            write_card(out, index.shards, card_facts(self._made, self._config.mine.distractors, report))
            self.rebuilt.append(CARD_NAME)


def _extra_columns(folder: Path, index: Index, broken: set[str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """The extra manifest columns of each video, from `samples.parquet` or, if it is broken, from the whole shards."""
    found: dict[str, str] = {}
    with suppress(ShardError):
        for row in rows_of(folder / SAMPLES_NAME, SampleRow):
            found[row["video_id"]] = row["extra"]
    if SAMPLES_NAME in broken:
        for info in index.shards:
            if info.name not in broken:
                found |= {span.record.video_id: span.record.extra for span in sample_spans(folder / info.name)}
    columns: dict[str, tuple[tuple[str, str], ...]] = {}
    for video_id, text in found.items():
        with suppress(ShardError):
            values = parse_object(text.encode(), limit_bytes=len(text.encode()))
            columns[video_id] = tuple((name, str(value)) for name, value in values.items())
    return columns
