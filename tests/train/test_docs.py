"""docs/training.md agrees with the recipes, the keys and the prompt."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from mvp_data.shards.prompt import PromptConfig, flat_text
from mvp_train.models.untrained import SHAPES
from mvp_train.recipe import DataConfig, ModelConfig, Recipe, from_values
from tests.samples import make_record

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def rows(section: str) -> dict[str, str]:
    """Key and default of each row of a section's table."""
    table = PAGE.split(f"**{section}**", 1)[1].split("\n\n")[1]
    cells = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    keys = [(re.findall("`([^`]+)`", keys), default.strip().strip("`").split(", ")) for keys, default in cells]
    return {key: default for names, defaults in keys for key, default in zip(names, defaults, strict=True)}


@pytest.mark.parametrize(("section", "cls"), [("model", ModelConfig), ("data", DataConfig)])
def test_every_key_with_its_default(section: str, cls: type) -> None:
    told = rows(section)
    assert list(told) == [f.name for f in fields(cls)]
    for f in fields(cls):
        default = "" if f.default in (MISSING, (), "") else f"{f.default:g}" if f.type is float else str(f.default)
        assert told[f.name] == default, f.name


def test_all_sections_are_documented() -> None:
    assert re.findall(r"^\*\*(\w+)\*\*", PAGE, re.MULTILINE) == [f.name for f in fields(Recipe)]


def test_prompt_keys_are_named() -> None:
    paragraph = PAGE.split("**prompt**", 1)[1].split("\n\n")[0]
    assert all(f"`{f.name}`" in paragraph for f in fields(PromptConfig))


def test_the_prompt_is_the_real_one() -> None:
    assert flat_text(make_record(), PromptConfig()) in PAGE


def test_recipes_and_random_models_are_listed() -> None:
    table = PAGE.split("## Recipes")[1].split("\n\n")[1]
    assert set(re.findall(r"`([\w-]+\.yaml)` \|", table)) == {path.name for path in (ROOT / "recipes").glob("*.yaml")}
    paragraph = next(line for line in PAGE.splitlines() if line.startswith("`random:` takes"))
    assert set(re.findall("`([^`]+)`", paragraph)) == {"random:", *SHAPES}


def test_the_example_of_a_weighted_list_is_valid() -> None:
    (item,) = re.findall(r"`(\{path: \.\.\., weight: [\d.]+\})`", PAGE)
    import yaml

    recipe = from_values({"model": {"path": "a"}, "data": {"shards": ["b", yaml.safe_load(item)]}})
    assert [shards.weight for shards in recipe.data.shards] == [1.0, 0.5]
