"""The checks of `verify`, their findings, and the report.

Every finding is counted; the report shows the first ones of each check.
"""

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field

from mvp_data.core.text import plural, printable
from mvp_data.pipeline.ledger import LEDGER_NAME
from mvp_data.pipeline.output_folder import CARD_NAME, REPORT_NAME, SAMPLES_NAME
from mvp_data.shards.index import INDEX_NAME
from mvp_data.shards.record import REBUILD

CHECKS = {
    INDEX_NAME: "parses, fits its shards and its configuration",
    "folder": "contains no other files",
    "bytes": "each shard has the size and the sha256 of the index",
    "records": "each file and record of a shard parses, and is of this build",
    "pictures": "each JPEG decodes in full, to its stated size",
    "keys": "no key comes twice",
    "shape": "all samples of a task have the same files",
    "splits": "no video, and no copy of it, is in two splits",
    "repeats": "no sample shows a picture twice",
    "margin": "similarities are within the thresholds",
    "encoding": "all pictures of a sample have the same JPEG settings",
    "labels": "each label is right equally often (a warning if not)",
    SAMPLES_NAME: "has the row of each sample, in order",
    LEDGER_NAME: "knows each video, and counts its samples",
    REPORT_NAME: "adds up to the same",
    CARD_NAME: "is there",
}
SHOWN = 5  # findings of each check in the report


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One failed check: what is wrong and where. A warning does not make a build bad."""

    check: str
    text: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """The result of one check. Each line says what is wrong, where, and what to do."""

    name: str
    meaning: str
    looked_at: int
    problems: int
    warnings: int
    lines: tuple[str, ...]


@dataclass(kw_only=True, slots=True)
class Tally:
    """Collects the findings of one run of `verify`."""

    remedy: str  # the advice for damaged files
    looked_at: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[str, None] = field(default_factory=dict)  # damaged files, in the order found

    def add(self, finding: Finding, advice: str) -> None:
        """Count a finding."""
        (self.warnings if finding.warning else self.problems)[finding.check] += 1
        if len(self.lines[finding.check]) < SHOWN:
            kind = "warning: " if finding.warning else ""
            text = finding.text.removesuffix(f": {REBUILD}")  # `advice` is better: it names the folder
            self.lines[finding.check].append(f"{kind}{text}: {advice}")

    def damaged(self, check: str, name: str, text: str) -> None:
        """Count a damaged file of the build."""
        self.broken[name] = None
        self.add(Finding(check=check, text=text), self.remedy)

    def checks(self) -> tuple[Check, ...]:
        """The results of all checks, in the order of `CHECKS`."""
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
    well = f"all is well, {plural(warnings, 'warning')}" if warnings else "all is well"
    lines += ["", well if found.ok else "not well: see above"]
    return "\n".join(map(printable, lines))  # file and group names come from outside
