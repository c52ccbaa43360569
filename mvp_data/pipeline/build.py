"""The whole job, step by step: scan, extract, embed, de-duplicate, mask, mine, pack, index."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from mvp_data.bank.bank import Bank
from mvp_data.bank.remote_bank import bank_at
from mvp_data.config.options import GROUPS, BuildConfig, digest
from mvp_data.core.errors import ConfigError, SkipReason
from mvp_data.core.types import Encoder, VideoEntry
from mvp_data.core.version import __version__
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.calibration import Calibration
from mvp_data.embedding.load import load_embedder
from mvp_data.engines.base import Engine, Usage
from mvp_data.ingest.embed import calibration_for, embed_with
from mvp_data.ingest.jobs import Outcome
from mvp_data.ingest.scheduler import engine_for, extract_all
from mvp_data.pipeline.dataset_card import card_facts, write_card
from mvp_data.pipeline.finished import corpus_hash, may_be_better, refuse_others
from mvp_data.pipeline.ledger import LedgerRow, make_ledger, write_ledger
from mvp_data.pipeline.output_folder import finish, locked, prepare, start
from mvp_data.pipeline.pack import Packed, Packer
from mvp_data.pipeline.report import BuildReport, IndexReport, make_report, stored_report, write_report
from mvp_data.pipeline.run_log import Journal
from mvp_data.pipeline.sample_table import write_samples
from mvp_data.puzzles.corpus import Thresholds, kept_videos, read_entries
from mvp_data.puzzles.partitions import mine_all
from mvp_data.shards.index import Index, write_index
from mvp_data.sources.scan import ScanResult, scan
from mvp_data.video.decode.codec_check import undecodable


@dataclass(frozen=True, kw_only=True)
class _Indexed:
    """Pass 1 as pass 2 takes it over."""

    found: ScanResult
    outcomes: tuple[Outcome, ...]
    entries: dict[str, VideoEntry]  # of the videos that decoded well
    bank: Bank
    encoder: Encoder
    calibration: Calibration
    workers: Mapping[str, float] = field(default_factory=dict)  # how those of extraction were used, for the report


def index(config: BuildConfig, *, num_tasks: int = 1, task_index: int = 0, log_json: bool = False) -> IndexReport:
    """Fill the bank and stop: decode, cut, sample and embed every source. `build` later finds all of it done.

    With `num_tasks`, this is one of several runs, numbered from 0, that share the sources between them; they may share
    a bank, or have one each for `merge`.

    Raises:
        MvpError: the sources, the bank or the weights cannot be used.
    """
    if not 0 <= task_index < num_tasks:
        raise ConfigError(f"task_index: {task_index} is none of {num_tasks} tasks, which are numbered from 0")
    journal = Journal(log_json=log_json)
    embedder = load_embedder(config.embed.embedder)
    task = f"{task_index}-of-{num_tasks}" if num_tasks > 1 else ""
    with _bank(config).held(), journal.kept_in(config.bank_folder, task=task):
        found = _scan(config, journal)
        problems = found.problems if task_index == 0 else ()  # said once
        share = replace(found, sources=found.sources[task_index::num_tasks], problems=problems)
        with engine_for(config, journal.warn) as engine:
            outcomes, _ = _extract(config, share, journal, engine)
            done = _embed(config, embedder, share, outcomes, journal, engine)
    skipped = Counter(p.reason.value for p in done.found.problems)
    skipped.update(o.skip for o in done.outcomes if o.skip)
    return IndexReport(
        bank=config.bank_folder,
        sources=len(done.found.sources) + len(done.found.problems),
        videos=len(done.entries),
        skipped=dict(skipped),
        seconds=journal.seconds,
    )


def build(config: BuildConfig, *, overwrite: bool = False, log_json: bool = False) -> BuildReport:
    """Make shards of puzzles out of videos; the same call resumes what was interrupted.

    The same corpus, configuration and seed give the same bytes, whatever the number of workers. Processes are started
    afresh for decoding, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Raises:
        MvpError: the sources, the output folder, the bank or the weights cannot be used. A bad video is no such case:
            it gets its row in the ledger.
    """
    embedder = load_embedder(config.embed.embedder)
    config_hash = build_hash(config, embedder.encoder)
    journal = Journal(log_json=log_json)
    found = _scan(config, journal)
    with locked(config.out) as lock:
        finished = prepare(config.out, config_hash, overwrite=overwrite)
        if finished is not None:
            refuse_others(config, finished, found)
        with _bank(config).held(), journal.kept_in(config.out, lock):
            with engine_for(config, journal.warn) as engine:
                outcomes, workers = _extract(config, found, journal, engine)
                if finished is not None and not may_be_better(config, finished, corpus_hash(found, outcomes)):
                    return stored_report(config)
                done = _embed(config, embedder, found, outcomes, journal, engine)
            return _make(config, config_hash, replace(done, workers=workers), journal)


def _bank(config: BuildConfig) -> Bank:
    return Bank(config.bank_folder, config.extract_hash())


def build_hash(config: BuildConfig, encoder: Encoder) -> str:
    """Names a build: its options, the encoder, and this version."""
    return digest({"options": config.content_hash(), "encoder": asdict(encoder)})


def _make(config: BuildConfig, config_hash: str, done: _Indexed, journal: Journal) -> BuildReport:
    """Pass 2: puzzles and shards out of the bank."""
    thresholds = Thresholds.resolve(done.calibration, config.embed, config.mine)
    with journal.step("deduplicate"):
        source = {o.video_id: o.source for o in reversed(done.outcomes)}  # the first source of the same bytes wins
        videos = kept_videos(
            source, done.entries, done.bank, done.encoder, thresholds, pack=config.pack, seed=config.seed
        )
    with journal.step("mine", "mining", total=len(videos), unit="video") as advance:
        puzzle_set = mine_all(videos, config.puzzle_options, thresholds, lambda: advance(1))
    start(config.out, config_hash)
    packer = Packer(videos, done.bank, config, done.encoder, config_hash)
    with journal.step("pack", "packing", total=len(puzzle_set.puzzles), unit="sample") as advance:
        packed = packer.pack(puzzle_set.puzzles, config.out, lambda: advance(1))
    kept = {v.entry.video_id: v for v in videos}
    rows = make_ledger(done.found.problems, done.outcomes, done.entries, kept, puzzle_set, config)
    report = make_report(config, rows, puzzle_set, packed, thresholds, done.workers, journal)
    report = replace(report, encoder=str(done.encoder))
    _write_all(config, config_hash, done, rows, packed, report)
    return report


def _scan(config: BuildConfig, journal: Journal) -> ScanResult:
    """All sources but what builds of this very configuration put out."""
    with journal.step("scan"):
        return scan(config.src, limit=config.limit, leave_out=(config.out, config.bank_folder))


def _extract(
    config: BuildConfig, found: ScanResult, journal: Journal, engine: Engine
) -> tuple[tuple[Outcome, ...], dict[str, float]]:
    """Bring every source into the bank; what became of each, and how the worker processes were used."""
    if missing := undecodable(config.decode.decoder):
        journal.warn(
            f"the {config.decode.decoder} back end cannot decode {', '.join(missing)} here: such videos are skipped as "
            f"{SkipReason.UNSUPPORTED_CODEC}; mvp-data doctor shows more"
        )
    usage = Usage()
    with journal.step("extract", "decoding", total=len(found.sources), unit="video") as advance:

        def ended(outcome: Outcome) -> None:
            advance(1, known=outcome.known)
            journal.video(outcome.source.path, outcome.video_id, outcome.skip, outcome.detail)

        outcomes = extract_all(found.sources, config, ended, usage, journal.stopping, engine)
    took_s = max(journal.seconds["extract"], 1e-3)
    workers = {
        "count": engine.worker_count,
        "busy_share": round(usage.busy_s / engine.worker_count / took_s, 3),
        "peak_mb": round(usage.peak_mb, 1),
    }
    return outcomes, workers


def _embed(
    config: BuildConfig,
    embedder: Embedder,
    found: ScanResult,
    outcomes: tuple[Outcome, ...],
    journal: Journal,
    engine: Engine,
) -> _Indexed:
    """Give every video in the bank its vectors."""
    bank = _bank(config)
    ids = sorted({o.video_id for o in outcomes if not o.skip})
    with journal.step("read bank"):
        entries = read_entries(bank, ids)
    to_do = [entry for entry in entries.values() if not bank.has_vectors(entry.video_id, embedder.encoder)]
    frames = sum(len(entry.usable) for entry in to_do)
    journal.log("encoder", **asdict(embedder.encoder))
    with journal.step("embed", "embedding", total=frames, unit="frame") as advance:
        stored = bank_at(config.bank_folder.absolute(), config.extract_hash(), store=config.store)
        embed_with(engine, stored, to_do, embedder, config.embed.embedder, advance)
    with journal.step("calibrate"):
        calibration = calibration_for(embedder, bank, entries, config.seed)
    return _Indexed(
        found=found,
        outcomes=outcomes,
        entries=entries,
        bank=bank,
        encoder=embedder.encoder,
        calibration=calibration,
    )


def _write_all(
    config: BuildConfig,
    config_hash: str,
    done: _Indexed,
    rows: Sequence[LedgerRow],
    packed: Packed,
    report: BuildReport,
) -> None:
    """Everything beside the shards; the index last, since its presence means that all the rest is there.

    Without a sample there is no index either: the ledger says why, and nobody takes the folder for a dataset.
    """
    out = config.out
    write_ledger(out, rows)
    write_report(out, asdict(report))
    if not report.samples:
        finish(out)
        return
    write_samples(out, packed.records)
    write_card(out, packed.shards, card_facts(config, config_hash, done.encoder, report))
    totals = {**report.splits, "samples": report.samples, "videos": report.used}
    facts = {
        "options": {name: asdict(getattr(config, name)) for name in GROUPS} | {"seed": config.seed},
        "encoder": asdict(done.encoder),
        "thresholds": report.thresholds,
        "corpus": corpus_hash(done.found, done.outcomes),
    }
    write_index(
        out,
        Index(
            tool_version=__version__,
            config=facts,
            config_hash=config_hash,
            counts=totals,
            shards=packed.shards,
        ),
    )
    finish(out)
