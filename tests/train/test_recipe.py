"""Recipes: reading, overriding and refusing them."""

from pathlib import Path

import pytest

from mvp_data.core.errors import ConfigError
from mvp_train.recipe import DataConfig, Recipe, ShardsConfig, from_values, read_recipe, to_yaml

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SMALL = """
model: {path: some/model}
data: {shards: shards/}
grpo: {learning_rate: 1e-6, output_dir: out}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = read_recipe(path)
    assert path.read_text().splitlines()[0].endswith(f"grpo recipes/{path.name}"), "line 1 is the command"
    assert recipe.grpo["output_dir"]


def test_defaults(small: Path) -> None:
    recipe = read_recipe(small)
    assert recipe.data == DataConfig(shards=(ShardsConfig(path="shards/"),))
    assert recipe.lora is None
    assert recipe.output_dir == Path("out")


def test_a_written_recipe_reads_the_same(tmp_path: Path) -> None:
    for path in RECIPES:
        recipe = read_recipe(path)
        copy = tmp_path / path.name
        copy.write_text(to_yaml(recipe))
        assert read_recipe(copy) == recipe


def test_exponents_without_a_dot_are_numbers(small: Path) -> None:
    assert read_recipe(small).grpo["learning_rate"] == 1e-6
    assert read_recipe(small, ["grpo.learning_rate=2e-7"]).grpo["learning_rate"] == 2e-7
    assert read_recipe(small, ["model.revision='12e4567'"]).model.revision == "12e4567", "a quoted one is a text"


def test_overrides(small: Path) -> None:
    given = ["data.limit=8", "lora.r=4", "lora.target_modules=[q_proj, v_proj]", "prompt.thinking=true"]
    recipe = read_recipe(small, [*given, "data.shards=[a, {path: b, weight: 0.5}]"])
    assert recipe.data.limit == 8
    assert recipe.lora == {"r": 4, "target_modules": ["q_proj", "v_proj"]}
    assert recipe.prompt.thinking
    assert [(s.path, s.weight) for s in recipe.data.shards] == [("a", 1.0), ("b", 0.5)]
    assert read_recipe(small, ["lora.r=4", "lora=null"]).lora is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data.limt=3", "unknown key limt; did you mean limit"),
        ("grop.x=1", "unknown key grop; did you mean grpo"),
        ("data.limit=many", "data.limit: 'many' is str, not int"),
        ("data.limit=true", "data.limit: True is bool, not int"),
        ("data.limit=-1", "negative"),
        ("data.split=tain", "must be one of train, val, test"),
        ("data.order=random", "must be one of shuffled"),
        ("data.shards=[]", "name a folder of shards"),
        ("data.shards=[{paht: a}]", "did you mean path"),
        ("data.shards=[{weight: 2.0}]", "path"),
        ("data.shards=[{path: a, weight: 0}]", "weight"),
        ("data.min_pass_rate=0.9; data.max_pass_rate=0.1", "pass rates"),
        ("model.path=''", "model.path"),
        ("model.dtype=int8", "must be one of bfloat16"),
        ("reward.exact=0.9", "add up to 1"),
        ("model=7", "must be a mapping"),
        ("data.limit", "not an override"),
        (".=3", "not an override"),
        ("data.limit=[", "not valid YAML"),
        ("data.limit=[&a 1, *a]", "aliases"),
        ("data={limit: 1, limit: 2}", "the key limit is given twice"),
    ],
)
def test_invalid_overrides(small: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_recipe(small, text.split("; "))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["[1, 2]", "model: [", "model: &a {b: *a}", "!!python/object/apply:os.getcwd []", "1: 2", "\xff", ""]
)
def test_files_that_are_not_recipes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as error:
        read_recipe(path)
    assert str(path) in str(error.value) or "bad.yaml" in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_a_base(tmp_path: Path, small: Path) -> None:
    above = tmp_path / "above.yaml"
    above.write_text("base: small.yaml\ngrpo: {output_dir: other}\nlora: {r: 2}\n")
    recipe = read_recipe(above)
    assert recipe.grpo == {"learning_rate": 1e-6, "output_dir": "other"}
    assert recipe.lora == {"r": 2}
    assert recipe.model.path == "some/model"


@pytest.mark.parametrize("base", ["../small.yaml", "/etc/passwd", "loop.yaml", "7"])
def test_bases_that_are_refused(tmp_path: Path, base: str) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(f"base: {base}\n")
    with pytest.raises(ConfigError, match=r"base"):
        read_recipe(path)


def test_from_values_needs_a_model_and_shards() -> None:
    with pytest.raises(ConfigError, match=r"model\.path"):
        from_values({"data": {"shards": "a"}})
    with pytest.raises(ConfigError, match=r"data\.shards"):
        from_values({"model": {"path": "a"}})
    assert isinstance(from_values({"model": {"path": "a"}, "data": {"shards": "a"}}), Recipe)
