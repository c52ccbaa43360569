"""Shards as text: a table of statistics, and one puzzle in words."""

from pathlib import Path

from mvp_data.core.errors import ShardError
from mvp_data.core.text import WIDTH, printable
from mvp_data.shards.prompt import twin_gap
from mvp_data.shards.record import CandidateFrame, Record
from mvp_data.shards.tar import Sample, iter_samples
from mvp_data.tasks.catalogue import TASKS
from mvp_data.viewer.summary import Summary

BAR = 40  # columns of the longest bar
UNEVEN_P = 0.001  # a fair shuffle gives a smaller p once in a thousand builds


def find_sample(path: Path, key: str = "", task: str = "") -> Sample:
    """The sample with this key; without a key, the first sample (of the task, if given). Raises `ShardError`."""
    for sample in iter_samples(path):
        if key == sample.record.key or (not key and task in ("", sample.record.task)):
            return sample
    raise ShardError(f"{path}: no sample has the key {key!r}: `mvp-data inspect {path}` prints a key that exists")


def to_table(summary: Summary) -> str:
    """The statistics as text, at most 98 columns wide."""
    s, deciles = summary, summary.difficulty_deciles
    others = ", ".join(f"{name} {count}" for name, count in s.tasks.items() if name != s.task)
    splits = ", ".join(f"{name} {count}" for name, count in s.splits.items() if count)
    lines = [
        printable(s.path, WIDTH),
        f"  samples      {s.samples} from {s.videos} video{'s' * (s.videos != 1)} ({splits})",
        f"  task         {s.task}" + (f" (also here: {others}; see --task)" if others else ""),
        f"  shards       {s.shards}, {_size(s.bytes)}, {_size(s.bytes / sum(s.tasks.values()))} a sample",
        f"  puzzle       K={s.k} hidden + l={s.l} distractors, {s.context_frames} context frames",
        f"  pairs        {_listed(s.pairs)}",
        f"  mask policy  {_listed(s.mask_policies)}",
        f"  frames       {_listed(s.picture_sizes)} px",
        f"  encoder      {_listed(s.encoders)}",
        f"  made by      mvp-data {_listed(s.tool_versions)}",
        f"  difficulty   {deciles[0]:.2f} easiest, {deciles[5]:.2f} median, {deciles[10]:.2f} hardest",
        f"  deciles      {'  '.join(f'{value:.2f}' for value in deciles)}",
        "",
        "  origin                frames   similarity:  min  median    max",
    ]
    for origin, spread in s.similarity.items():
        numbers = f"{spread.min:6.3f}  {spread.median:6.3f} {spread.max:6.3f}"
        lines.append(f"  {origin:<18}{spread.count:>10}            {numbers}")
    if s.slots < len(s.labels):  # otherwise every answer has every label
        lines += ["", f"  label is right (fair share {s.slots / len(s.labels):.1%})"]
        lines += [f"  {x.label:>6}  {x.share:6.1%}  {_bar(x.share, 1)}" for x in s.labels]
        verdict = "even" if s.labels_p >= UNEVEN_P else "UNEVEN: the labels are a shortcut"
        lines += [f"          {verdict} (chi-square p = {s.labels_p:.3f})"]
    lines += ["", "  context frames before the gap"]
    lines += _histogram(list(s.mask_starts.values()))
    return "\n".join(line.rstrip()[:WIDTH] for line in lines)


def puzzle_in_words(sample: Sample) -> str:
    """One puzzle as text: the context with its gap, the pool and its sources, the answer."""
    record = sample.record
    lines = [
        f"puzzle {record.key}",
        f"  from {printable(record.video_path, WIDTH - 7)}",
        f"  {record.split}, {record.mask_policy} mask, difficulty {record.difficulty:.2f}, "
        f"sampled at {record.sampled_fps:g} fps, {record.width_px}x{record.height_px} px",
        *([printable(f"  one of a pair ({record.pair_kind}): {record.pair_id}", WIDTH)] if record.pair_id else []),
        "",
        "  context (seconds)",
        *_strip_in_words(record),
        "",
        f"  candidates: {asked(record)}",
        *(_candidate_line(record, candidate) for candidate in record.candidates),
        "",
        f"  answer  {', '.join(_named(record, label) for label in record.answer)}",
    ]
    return "\n".join(lines)


def _strip_in_words(record: Record) -> list[str]:
    """The times of the context, with the gap and the frames that are left out without a mark, in their places."""
    span = f"{record.hidden_start_s:.2f} to {record.hidden_end_s:.2f}"
    marks = {record.mask_start: f"gap: {record.k} frames hidden, {span}"}
    if (place := twin_gap(record)) >= 0:
        left_out = sorted(c.time_s for c in record.candidates if c.decoy >= 0)
        marks[place] = f"left out without a mark: {len(left_out)} frames, {left_out[0]:.2f} to {left_out[-1]:.2f}"
    lines, start = list[str](), 0
    for place in sorted(marks):
        lines += _wrapped([f"{frame.time_s:.2f}" for frame in record.context[start:place]])
        lines.append(f"      [ {marks[place]} ]")
        start = place
    return lines + _wrapped([f"{frame.time_s:.2f}" for frame in record.context[start:]])


def asked(record: Record) -> str:
    """The question of a puzzle in one short sentence."""
    return TASKS[record.task].asks_briefly.format(k=record.k, n=len(record.candidates))


def _named(record: Record, label: str) -> str:
    """A label of an answer, with its meaning if it does not name a candidate: `A (forwards)`."""
    word = TASKS[record.task].word(label)
    return f"{label} ({word})" if word else label


def _candidate_line(record: Record, candidate: CandidateFrame) -> str:
    role = "distractor"
    if candidate.order >= 0:
        role = f"hidden, {candidate.order + 1} of {record.k}"
    elif candidate.decoy >= 0:
        role = f"decoy run, {candidate.decoy + 1}"
    elsewhere = "" if candidate.video_id == record.video_id else candidate.video_path
    letter = candidate.label if TASKS[record.task].lettered else " "
    start = (
        f"    {letter}  {role:<14}{candidate.time_s:>9.2f} s  shot {candidate.shot:<4}"
        f"{candidate.origin:<14} similarity {candidate.similarity:5.3f}  "
    )
    return (start + printable(elsewhere, WIDTH - len(start))).rstrip()


def _wrapped(words: list[str], per_line: int = 10) -> list[str]:
    return ["    " + "".join(f"{word:>9}" for word in words[i : i + per_line]) for i in range(0, len(words), per_line)]


def _histogram(counts: list[int], most_lines: int = 13) -> list[str]:
    """One line for each position, or for each range of positions if there are many."""
    band = -(-len(counts) // most_lines)
    sums = {start: sum(counts[start : start + band]) for start in range(0, len(counts), band)}
    names = {start: f"{start}-{min(start + band, len(counts)) - 1}" if band > 1 else str(start) for start in sums}
    return [f"  {names[start]:>6}  {n:>6}  {_bar(n, max(sums.values()))}" for start, n in sums.items()]


def _listed(counts: dict[str, int]) -> str:
    """`a`, or `a (30), b (12)` with the most frequent first."""
    if len(counts) == 1:
        return printable(next(iter(counts)))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{printable(name)} ({count})" for name, count in ranked[:4])
    return shown + (f" and {len(ranked) - 4} more" if len(ranked) > 4 else "")


def _bar(value: float, top: float) -> str:
    return "█" * round(BAR * value / top)


def _size(count: float) -> str:
    """A readable size in decimal units: `412 kB`, `1.3 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit in ("bytes", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
