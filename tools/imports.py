"""The import graph of the two packages, read from their syntax trees; imports inside functions count as well.

python -m tools.imports                              # levels of the folders, and every arrow between two of them
python -m tools.imports --draw docs/architecture.svg # the picture of docs/architecture.md
"""

import argparse
import ast
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mvp_data", "mvp_train")
Graph: TypeAlias = Mapping[str, frozenset[str]]  # a node, and the nodes that it imports


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrow:
    """One import: `importer` and `imported` are dotted module names, `names` what is taken from it."""

    importer: str
    imported: str
    names: tuple[str, ...]
    place: str  # path:line

    def __str__(self) -> str:
        return f"{self.place}: {self.importer} imports {', '.join(self.names) or 'all'} of {self.imported}"


def arrows(root: Path = ROOT) -> tuple[Arrow, ...]:
    """Every import between two modules of `PACKAGES` below `root`, sorted by place."""
    modules = {_dotted(path.relative_to(root)): path for package in PACKAGES for path in (root / package).rglob("*.py")}
    found: list[Arrow] = []
    for module, path in sorted(modules.items()):
        where = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for imported, names in _imported(node, module, path.name == "__init__.py", modules):
                if imported in modules and imported != module:
                    place = f"{where}:{getattr(node, 'lineno', 0)}"
                    found.append(Arrow(importer=module, imported=imported, names=names, place=place))
    return tuple(found)


def _dotted(path: Path) -> str:
    """`mvp_data/core/types.py` -> `mvp_data.core.types`; a package is named without `__init__`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(
    node: ast.AST, module: str, is_package: bool, modules: Mapping[str, Path]
) -> list[tuple[str, tuple[str, ...]]]:
    """The modules that a node imports, with the names taken; `from package import module` names the module."""
    if isinstance(node, ast.Import):
        return [(alias.name, ()) for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parts, base] if base else parts)
    inner = [alias.name for alias in node.names if f"{base}.{alias.name}" in modules]
    taken = tuple(alias.name for alias in node.names if alias.name not in inner)
    return [(f"{base}.{name}", ()) for name in inner] + ([(base, taken)] if taken else [])


def folder(module: str) -> str:
    """The top folder that a module belongs to: a subfolder counts as its parent, and `mvp_train` is one folder.

    >>> folder("mvp_data.video.decode.pyav"), folder("mvp_data"), folder("mvp_train.models.load")
    ('video', 'mvp_data', 'mvp_train')
    """
    package, *rest = module.split(".")
    return rest[0] if package == "mvp_data" and rest else package


def folders(found: Iterable[Arrow]) -> Graph:
    """The graph between top folders."""
    return _graph((folder(arrow.importer), folder(arrow.imported)) for arrow in found)


def modules(found: Iterable[Arrow]) -> Graph:
    """The graph between modules."""
    return _graph((arrow.importer, arrow.imported) for arrow in found)


def _graph(pairs: Iterable[tuple[str, str]]) -> Graph:
    edges: dict[str, set[str]] = defaultdict(set)
    for importer, imported in pairs:
        edges[imported]
        if importer != imported:
            edges[importer].add(imported)
    return {node: frozenset(edges[node]) for node in sorted(edges)}


def circles(graph: Graph) -> list[tuple[str, ...]]:
    """Groups of nodes that import each other, directly or through others (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(tuple(sorted(group)))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def levels(graph: Graph) -> dict[str, int]:
    """The level of each node: 1 where it imports nothing, else one more than the highest that it imports.

    Raises:
        ValueError: the graph has a circle.
    """
    if groups := circles(graph):
        raise ValueError(f"these import each other: {'; '.join(', '.join(group) for group in groups)}")
    found: dict[str, int] = {}

    def level(node: str) -> int:
        if node not in found:
            found[node] = 1 + max(map(level, graph[node]), default=0)
        return found[node]

    for node in graph:
        level(node)
    return found


def direct(graph: Graph) -> Graph:
    """The graph without the arrows that follow from others (its transitive reduction): enough for a picture."""

    def below(node: str) -> set[str]:
        return {other for child in graph[node] for other in ({child} | below(child))}

    return {
        node: frozenset(child for child in children if not any(child in below(other) for other in children))
        for node, children in graph.items()
    }


BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 132, 46, 16, 44, 24  # px


def draw(graph: Graph, sizes: Mapping[str, int]) -> str:
    """An SVG with one row for each level, the lowest at the bottom; `sizes` is the number of modules of each folder."""
    found = levels(graph)
    rows = [[node for node in graph if found[node] == level] for level in range(1, max(found.values()) + 1)]
    place = {node: place - len(row) / 2 for row in rows for place, node in enumerate(row)}
    for row in rows[1:]:  # each box close to those that it imports, so that few lines cross
        row.sort(key=lambda node: (sum(place[child] for child in direct(graph)[node]) / len(direct(graph)[node]), node))
        place.update({node: number - len(row) / 2 for number, node in enumerate(row)})
    width = 2 * MARGIN + max(len(row) for row in rows) * (BOX_W + GAP_X) - GAP_X
    height = 2 * MARGIN + len(rows) * (BOX_H + GAP_Y) - GAP_Y
    corner: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        left = (width - len(row) * (BOX_W + GAP_X) + GAP_X) / 2
        for place, node in enumerate(row):
            corner[node] = left + place * (BOX_W + GAP_X), height - MARGIN - BOX_H - level * (BOX_H + GAP_Y)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for node, children in direct(graph).items():
        for child in sorted(children):
            (x1, y1), (x2, y2) = corner[node], corner[child]
            start, end = f"{x1 + BOX_W / 2:g} {y1 + BOX_H:g}", f"{x2 + BOX_W / 2:g} {y2:g}"
            bend = (y1 + BOX_H + y2) / 2
            curve = f"M {start} C {x1 + BOX_W / 2:g} {bend:g}, {x2 + BOX_W / 2:g} {bend:g}, {end}"
            lines.append(f'<path d="{curve}" fill="none" stroke="#9aa5b1" stroke-width="1.3"/>')
    for node, (x, y) in corner.items():
        count = f"{sizes[node]} module{'s' * (sizes[node] != 1)}"
        lines += [
            f'<rect x="{x:g}" y="{y:g}" width="{BOX_W}" height="{BOX_H}" rx="6" fill="#eef4fb" stroke="#4a6fa5"/>',
            _text(x, y + 20, 15, "#111", escape(node)),
            _text(x, y + 37, 11, "#555", count),
        ]
    return "\n".join([*lines, "</svg>", ""])


def _text(x: float, y: float, size: int, colour: str, words: str) -> str:
    middle = f'x="{x + BOX_W / 2:g}" y="{y:g}" text-anchor="middle"'
    return f'<text {middle} font-size="{size}" fill="{colour}">{words}</text>'


def _text(x: float, y: float, size: int, colour: str, words: str) -> str:
    middle = f'x="{x + BOX_W / 2:g}" y="{y:g}" text-anchor="middle"'
    return f'<text {middle} font-size="{size}" fill="{colour}">{words}</text>'


def sizes(root: Path = ROOT) -> dict[str, int]:
    """The number of modules of each top folder, without `__init__` where that only describes its package."""
    counted: dict[str, int] = defaultdict(int)
    for package in PACKAGES:
        for path in (root / package).rglob("*.py"):
            if path.name != "__init__.py" or path.parent == root / "mvp_data":
                counted[folder(_dotted(path.relative_to(root)))] += 1
    return dict(counted)


def main() -> None:
    """List the levels and arrows, or draw them."""
    parser = argparse.ArgumentParser(description="The import graph of mvp_data and mvp_train.")
    parser.add_argument("--draw", type=Path, metavar="FILE.svg", help="write the picture of docs/architecture.md")
    parser.add_argument("--json", action="store_true", help="print the levels and the graph as JSON")
    asked = parser.parse_args()
    graph = folders(arrows())
    if asked.draw:
        asked.draw.write_text(draw(graph, sizes()), encoding="utf-8")
        return
    found = levels(graph)
    if asked.json:
        json.dump(
            {node: {"level": found[node], "imports": sorted(graph[node])} for node in graph}, sys.stdout, indent=1
        )
        print()
        return
    for node in sorted(graph, key=lambda node: (found[node], node)):
        print(f"{found[node]}  {node:<12} {', '.join(sorted(graph[node]))}")


if __name__ == "__main__":
    main()
