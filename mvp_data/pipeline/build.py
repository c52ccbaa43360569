"""The commands `build` and `index`, step by step: scan, extract, embed; then de-duplicate, mine, pack and index."""

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
from mvp_data.pipeline.ledger import LedgerRow, make_ledger, write_ledger
from mvp_data.pipeline.output_folder import finish, lacks_retried, locked, prepare, refuse_other_sources, start
from mvp_data.pipeline.pack import Packed, Packer, Provenance
from mvp_data.pipeline.report import BuildReport, IndexReport, make_report, stored_report, write_report
from mvp_data.pipeline.run_log import RunLog
from mvp_data.pipeline.sample_table import write_samples
from mvp_data.puzzles.corpus import Thresholds, kept_videos, read_entries
from mvp_data.puzzles.partitions import mine_all
from mvp_data.shards.index import Index, write_index
from mvp_data.sources.scan import ScanResult, scan
from mvp_data.video.decode.codec_check import undecodable


@dataclass(frozen=True, kw_only=True)
class _Indexed:
    """The results of pass 1 that pass 2 needs."""

    found: ScanResult
    outcomes: tuple[Outcome, ...]
    entries: dict[str, VideoEntry]  # of the videos that decoded well
    bank: Bank
    encoder: Encoder
    calibration: Calibration
    workers: Mapping[str, float] = field(default_factory=dict)  # for the report


def index(config: BuildConfig, *, num_tasks: int = 1, task_index: int = 0, log_json: bool = False) -> IndexReport:
    """Run pass 1 only: decode, cut, sample and embed every source into the bank, for a later `build`.

    With `num_tasks`, the sources are divided between that many runs, and this is run `task_index` (from 0). The runs
    may share a bank, or write one each, to be joined with `merge`.

    Raises:
        MvpError: the sources, the bank or the weights cannot be used.
    """
    if not 0 <= task_index < num_tasks:
        raise ConfigError(f"task_index: {task_index} is not between 0 and {num_tasks - 1}")
    log = RunLog(log_json=log_json)
    embedder = load_embedder(config.embed.embedder)
    task = f"{task_index}-of-{num_tasks}" if num_tasks > 1 else ""
    with _bank(config).held(), log.kept_in(config.bank_folder, task=task):
        found = _scan(config, log)
        problems = found.problems if task_index == 0 else ()  # one run reports them
        share = replace(found, sources=found.sources[task_index::num_tasks], problems=problems)
        with engine_for(config, log.warn) as engine:
            outcomes, _ = _extract(config, share, log, engine)
            done = _embed(config, embedder, share, outcomes, log, engine)
    skipped = Counter(p.reason.value for p in done.found.problems)
    skipped.update(o.skip for o in done.outcomes if o.skip)
    return IndexReport(
        bank=config.bank_folder,
        sources=len(done.found.sources) + len(done.found.problems),
        videos=len(done.entries),
        skipped=dict(skipped),
        seconds=log.seconds,
    )


def build(config: BuildConfig, *, overwrite: bool = False, log_json: bool = False) -> BuildReport:
    """Build shards of puzzles from videos; after an interruption the same call resumes.

    The same corpus, configuration and seed give the same bytes, with any number of workers. A video that cannot be
    used raises no error; the ledger gives the reason. Worker processes are spawned, so a script that calls this needs
    `if __name__ == "__main__":`.

    Raises:
        MvpError: the sources, the output folder, the bank or the weights cannot be used.
    """
    embedder = load_embedder(config.embed.embedder)
    config_hash = build_hash(config, embedder.encoder)
    log = RunLog(log_json=log_json)
    found = _scan(config, log)
    with locked(config.out) as lock:
        finished = prepare(config.out, config_hash, overwrite=overwrite)
        if finished is not None:
            refuse_other_sources(config.out, finished, found)
        with _bank(config).held(), log.kept_in(config.out, lock):
            with engine_for(config, log.warn) as engine:
                outcomes, workers = _extract(config, found, log, engine)
                corpus = _corpus_hash(found, outcomes)
                if finished is not None and not lacks_retried(config.out, finished, corpus, config.retried):
                    return stored_report(config.out, config.bank_folder)
                done = _embed(config, embedder, found, outcomes, log, engine)
            return _make(config, config_hash, replace(done, workers=workers), log)


def _bank(config: BuildConfig) -> Bank:
    return Bank(config.bank_folder, config.extract_hash())


def build_hash(config: BuildConfig, encoder: Encoder) -> str:
    """Return the hash that identifies a build: of its options, the encoder and this version."""
    return digest({"options": config.content_hash(), "encoder": asdict(encoder)})


def _corpus_hash(found: ScanResult, outcomes: Sequence[Outcome]) -> str:
    """Return the hash of the sources: paths, contents, outcomes and columns of a manifest."""
    videos = [(o.source.path, o.video_id, o.skip, o.source.extra) for o in outcomes]
    return digest([videos, [(p.path, p.reason) for p in found.problems]])


def _make(config: BuildConfig, config_hash: str, done: _Indexed, log: RunLog) -> BuildReport:
    """Run pass 2: make puzzles and shards from the bank."""
    thresholds = Thresholds.resolve(done.calibration, config.embed, config.mine)
    made = Provenance(config_hash=config_hash, encoder=done.encoder, mask=config.mask, seed=config.seed)
    with log.step("deduplicate"):
        source = {o.video_id: o.source for o in reversed(done.outcomes)}  # the first source with the same bytes wins
        videos = kept_videos(source, done.entries, done.bank, done.encoder, thresholds, config.pack, config.seed)
    with log.step("mine", "mining", total=len(videos), unit="video") as advance:
        puzzle_set = mine_all(videos, config.puzzle_options, thresholds, lambda: advance(1))
    start(config.out, config_hash)
    packer = Packer(videos, done.bank, config.pack, made)
    with log.step("pack", "packing", total=len(puzzle_set.puzzles), unit="sample") as advance:
        packed = packer.pack(puzzle_set.puzzles, config.out, lambda: advance(1))
    kept = {v.entry.video_id: v for v in videos}
    rows = make_ledger(done.found.problems, done.outcomes, done.entries, kept, puzzle_set, config.mask)
    report = replace(
        make_report(config.out, config.bank_folder, rows, puzzle_set, packed, config.puzzle, thresholds),
        encoder=str(done.encoder),
        workers=dict(done.workers),
        seconds=log.seconds,
        cpu_seconds=log.cpu_seconds,
        rates=log.rates,
    )
    _write_tables(config, made, done, rows, packed, report)
    return report


def _scan(config: BuildConfig, log: RunLog) -> ScanResult:
    """Find the sources; the files of this build do not count as sources."""
    with log.step("scan"):
        return scan(config.src, limit=config.limit, leave_out=(config.out, config.bank_folder))


def _extract(
    config: BuildConfig, found: ScanResult, log: RunLog, engine: Engine
) -> tuple[tuple[Outcome, ...], dict[str, float]]:
    """Extract every source into the bank; return the outcomes, and the resources that the workers used."""
    if missing := undecodable(config.decode.decoder):
        log.warn(
            f"the {config.decode.decoder} back end cannot decode {', '.join(missing)} here: such videos are skipped as "
            f"{SkipReason.UNSUPPORTED_CODEC}; mvp-data doctor shows more"
        )
    usage = Usage()
    with log.step("extract", "decoding", total=len(found.sources), unit="video") as advance:

        def ended(outcome: Outcome) -> None:
            advance(1, known=outcome.known)
            log.video(outcome.source.path, outcome.video_id, outcome.skip, outcome.detail)

        outcomes = extract_all(found.sources, config, ended, usage, log.stopping, engine)
    took_s = max(log.seconds["extract"], 1e-3)
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
    log: RunLog,
    engine: Engine,
) -> _Indexed:
    """Compute the vectors of every video in the bank that has none yet."""
    bank = _bank(config)
    ids = sorted({o.video_id for o in outcomes if not o.skip})
    with log.step("read bank"):
        entries = read_entries(bank, ids)
    to_do = [entry for entry in entries.values() if not bank.has_vectors(entry.video_id, embedder.encoder)]
    frames = sum(len(entry.usable) for entry in to_do)
    log.log("encoder", **asdict(embedder.encoder))
    with log.step("embed", "embedding", total=frames, unit="frame") as advance:
        stored = bank_at(config.bank_folder.absolute(), config.extract_hash(), store=config.store)
        embed_with(engine, stored, to_do, embedder, config.embed.embedder, advance)
    with log.step("calibrate"):
        calibration = calibration_for(embedder, bank, entries, config.seed)
    return _Indexed(
        found=found,
        outcomes=outcomes,
        entries=entries,
        bank=bank,
        encoder=embedder.encoder,
        calibration=calibration,
    )


def _write_tables(
    config: BuildConfig,
    made: Provenance,
    done: _Indexed,
    rows: Sequence[LedgerRow],
    packed: Packed,
    report: BuildReport,
) -> None:
    """Write all files except the shards; the index last, because its presence means that the build is complete.

    A build without samples has no index, so its folder cannot be mistaken for a dataset.
    """
    out = config.out
    write_ledger(out, rows)
    write_report(out, asdict(report))
    if report.samples:
        write_samples(out, packed.records)
        write_card(out, packed.shards, card_facts(made, config.mine.distractors, report))
        facts = {
            "options": {name: asdict(getattr(config, name)) for name in GROUPS} | {"seed": config.seed},
            "encoder": asdict(done.encoder),
            "thresholds": report.thresholds,
            "corpus": _corpus_hash(done.found, done.outcomes),
        }
        index = Index(
            tool_version=__version__,
            config=facts,
            config_hash=made.config_hash,
            counts={**report.splits, "samples": report.samples, "videos": report.used},
            shards=packed.shards,
        )
        write_index(out, index)
    finish(out)
