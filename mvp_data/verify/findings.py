"""What `verify` checks, and how it keeps count: every finding is counted, the first of each check are named."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from mvp_data.ledger import LEDGER_NAME
from mvp_data.output import CARD_NAME, REPORT_NAME, SAMPLES_NAME
from mvp_data.schema import REBUILD
from mvp_data.shard_index import INDEX_NAME

CHECKS = {
    INDEX_NAME: "parses, fits its shards and its configuration",
    "folder": "nothing else lies there",
    "bytes": "each shard has the size and the sha256 of the index",
    "records": "each file and record of a shard parses, and is of this build",
    "pictures": "each JPEG decodes in full, to its stated size",
    "keys": "no key comes twice",
    "shape": "all samples of a task have the same files",
    "splits": "no video, and no copy of it, is in two splits",
    "repeats": "no sample shows a picture twice",
    "margin": "similarities lie within the thresholds",
    "encoding": "all pictures of a sample have the same JPEG settings",
    "labels": "each label is right equally often (a warning if not)",
    SAMPLES_NAME: "has the row of each sample, in order",
    LEDGER_NAME: "knows each video, and counts its samples",
    REPORT_NAME: "adds up to the same",
    CARD_NAME: "is there",
}
SHOWN = 5  # findings of a check that are named


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A check that failed, and what is wrong where; a warning does not make a folder bad."""

    check: str
    text: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check: how much it looked at and what it found. A line says what is wrong, where, and what to do."""

    name: str
    meaning: str
    looked_at: int
    problems: int
    warnings: int
    lines: tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class Tally:
    """The counts of a run of `verify`."""

    remedy: str  # for damage
    looked_at: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[str, None] = field(default_factory=dict)  # files, in the order found

    def add(self, finding: Finding, advice: str) -> None:
        """Count a finding."""
        (self.warnings if finding.warning else self.problems)[finding.check] += 1
        if len(self.lines[finding.check]) < SHOWN:
            kind = "warning: " if finding.warning else ""
            text = finding.text.removesuffix(f": {REBUILD}")  # `advice` is the better one: it knows the folder
            self.lines[finding.check].append(f"{kind}{text}: {advice}")

    def damaged(self, check: str, name: str, text: str) -> None:
        """Count a file of the build that must be made again."""
        self.broken[name] = None
        self.add(Finding(check=check, text=text), self.remedy)

    def checks(self) -> tuple[Check, ...]:
        """All of them, in the order of `CHECKS`."""
        return tuple(
            Check(
                name=name,
                meaning=meaning,
                looked_at=self.looked_at[name],
                problems=self.problems[name],
                warnings=self.warnings[name],
                lines=tuple(self.lines[name]),
            )
            for name, meaning in CHECKS.items()
        )
