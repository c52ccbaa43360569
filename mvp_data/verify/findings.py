"""The checks of `verify`, their findings, and the report.

Every finding is counted; the report shows the first ones of each check.
"""

import json
from dataclasses import asdict, dataclass, field

from mvp_data.core.text import plural, printable
from mvp_data.pipeline.ledger import LEDGER_NAME
from mvp_data.pipeline.output_folder import CARD_NAME, REPORT_NAME, SAMPLES_NAME
from mvp_data.shards.index import INDEX_NAME
from mvp_data.shards.record import REBUILD

CHECKS = {
    INDEX_NAME: "parses, and matches its shards and its configuration",
    "folder": "contains no other files",
    "bytes": "each shard has the size and the sha256 of the index",
    "records": "each file and record of a shard parses, and belongs to this build",
    "pictures": "each image decodes in full, to its stated size",
    "keys": "no key occurs twice",
    "shape": "all samples of a task have the same files",
    "splits": "no video, and no copy of it, is in two splits",
    "repeats": "no sample shows an image twice",
    "margin": "similarities agree with the thresholds",
    "pairs": "both samples of a pair are in one shard, with the same candidates and opposite answers",
    "encoding": "all images of a sample have the same JPEG settings",
    "labels": "each label is right equally often (a warning if not)",
    SAMPLES_NAME: "has the row of each sample, in order",
    LEDGER_NAME: "lists each video, and counts its samples",
    REPORT_NAME: "agrees with the shards and the ledger",
    CARD_NAME: "exists",
}
SHOWN = 5  # findings of each check in the report


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One failed check: what is wrong and where. A warning does not make a build bad."""

    check: str
    text: str
    warning: bool = False


@dataclass(kw_only=True, slots=True)
class Check:
    """The result of one check. Each line says what is wrong, where, and what to do."""

    name: str
    meaning: str
    looked_at: int = 0
    problems: int = 0
    warnings: int = 0
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Collects the findings of one run of `verify`."""

    remedy: str  # the advice for damaged files
    checks: dict[str, Check] = field(default_factory=lambda: {n: Check(name=n, meaning=m) for n, m in CHECKS.items()})
    broken: dict[str, None] = field(default_factory=dict)  # damaged files, in the order found

    def looked_at(self, check: str, count: int = 1) -> None:
        """Add `count` to the number of objects that a check has examined."""
        self.checks[check].looked_at += count

    def add(self, finding: Finding, advice: str) -> None:
        """Count a finding; keep its text, followed by `advice`, if it is among the first of its check."""
        check = self.checks[finding.check]
        check.warnings += finding.warning
        check.problems += not finding.warning
        if len(check.lines) < SHOWN:
            kind = "warning: " if finding.warning else ""
            text = finding.text.removesuffix(f": {REBUILD}")  # `advice` is better: it names the folder
            check.lines.append(f"{kind}{text}: {advice}")

    def damaged(self, check: str, name: str, text: str) -> None:
        """Count a damaged file of the build."""
        self.broken[name] = None
        self.add(Finding(check=check, text=text), self.remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The result of `verify`: plain values only, so `asdict` gives JSON."""

    path: str
    shards: int
    samples: int  # that could be read
    checks: tuple[Check, ...]
    broken: tuple[str, ...]  # damaged or missing files of the build
    foreign: tuple[str, ...]  # files that do not belong to the build

    @property
    def ok(self) -> bool:
        """Whether no check found a problem; warnings do not count."""
        return not any(check.problems for check in self.checks)


def to_json(found: Verification) -> str:
    """The result as JSON, for scripts."""
    return json.dumps({**asdict(found), "ok": found.ok}, indent=1)


def to_text(found: Verification) -> str:
    """A table of the checks, then the first findings of each check, one on each line."""
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
    well = f"no problem found, {plural(warnings, 'warning')}" if warnings else "no problem found"
    lines += ["", well if found.ok else "problems found: see above"]
    return "\n".join(map(printable, lines))  # file and group names come from outside
