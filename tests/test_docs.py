"""The docs say what the code does: options, commands, reasons, links."""

import re
import sys
from pathlib import Path

import pytest

from mvp_data.cli.build import PANELS
from mvp_data.config.options import GROUPS, all_options
from mvp_data.core.errors import SkipReason
from mvp_data.puzzles.types import Drop
from tests import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])


CLASSES = {name: kind.__name__ for name, kind in GROUPS.items()} | {"": "BuildConfig"}


def options_page() -> str:
    """The page that lists every option, made from the fields of the configuration."""
    lines = [
        "# Options",
        "",
        "Every option of `mvp-data build`, the same on the command line (`--hidden-frames 5`), in a YAML file for",
        "`--config` (`hidden_frames: 5`; an unknown key is an error) and in Python (`MaskConfig(hidden_frames=5)`).",
        "Only `--src` and `--out` are required. `[calibrated]` means that the default is measured for each encoder:",
        "see [embedders](embedders.md).",
        "",
        "```yaml",
        "# build.yaml: a flat list of options; mvp-data build --config build.yaml",
        "src: [videos, more/list.csv]",
        "out: shards",
        "hidden_frames: 5",
        "mask_policy: within_shot",
        "```",
        "",
        "Frames and vectors are kept in the bank, so a build with another K, mask policy or similarity range decodes",
        "no video again. To use the bank of an earlier build, name it:",
        "",
        "```",
        "mvp-data build --src videos --out shards5 --bank shards.bank --hidden-frames 5",
        "```",
        "",
        "On the command line only: `--config FILE`, `--overwrite` (replace an earlier build), `--dry-run` (list what",
        "would be done), `--json`.",
    ]
    group = None
    for name, f in all_options():
        if name != group:
            group = name
            lines += ["", f"## {PANELS[name]} (`{CLASSES[name]}`)", "", "| option | default | |", "|---|---|---|"]
        default = "" if f.default is None else f"`{f.default}`"
        names = ", ".join(f"`{choice}`" for choice in f.metadata["choices"])
        choices = f" One of: {names}." if names else ""
        lines.append(f"| `--{f.name.replace('_', '-')}` | {default} | {f.metadata['help']}{choices} |")
    return "\n".join(lines) + "\n"


def test_the_options_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == options_page(), (
        "run: python -m tests.test_docs"
    )


def test_every_reason_is_explained() -> None:
    page = (ROOT / "docs" / "puzzles.md").read_text(encoding="utf-8")
    for reason in [*SkipReason, *Drop]:
        assert f"`{reason.value}`" in page, reason


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_options_and_links_in_the_docs_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {f"--{f.name.replace('_', '-')}" for _, f in all_options()}
    known |= {"--src", "--out", "--config", "--overwrite", "--dry-run", "--json", "--help", "--version"}
    known |= {"--log-json", "--num-tasks", "--task-index"}
    for command in re.findall(r"^(?:\$ )?(mvp-data (?:build|index) .*)$", text, re.MULTILINE):
        assert set(re.findall(r"(?<=\s)--[a-z-]+", command)) <= known, command
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        named = page.parent / target if target else page
        assert named.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(named), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_files_named_in_the_docs_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"\b((?:mvp_data|benchmarks|examples|tests)/[\w/]+\.py)\b", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_promise_names_tests_that_exist() -> None:
    """A row of the table links to the test that would fail if its promise broke."""
    rows = (
        (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").partition("| promise | tests |")[2].splitlines()
    )
    named = [re.findall(r"\[([^]]+)\]\(\.\./(tests/[\w/]+\.py)\)", row) for row in rows if row.startswith("| ")]
    assert len(named) > 20
    assert all(named)
    for words, page in (test for row in named for test in row):
        assert f"def test_{words.replace(' ', '_')}(" in (ROOT / page).read_text(encoding="utf-8"), words


if __name__ == "__main__":
    (ROOT / "docs" / "options.md").write_text(options_page(), encoding="utf-8")
    sys.exit(0)
