"""A recipe: one YAML file that says which model learns from which shards, how, and for what reward.

Unknown keys fail and are listed, values are type-checked, and `a.b=value` on the command line overrides a key.
The `grpo` and `lora` sections are TRL's `GRPOConfig` and PEFT's `LoraConfig`, key for key: they are checked by
those classes in `mvp_train.training.prepare`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from mvp_data.errors import ConfigError
from mvp_data.prompt import PromptConfig
from mvp_data.schema import SPLITS
from mvp_data.tasks import TASKS
from mvp_data.yaml_text import parse_yaml, read_text
from mvp_train.reward import RewardConfig

ORDERS = ("shuffled", "curriculum", "as_written")
MAX_BASES = 4
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The model: `path` is a folder, the Hub name of a model in the cache, or `random:NAME` (untrained)."""

    path: str = ""
    revision: str = "main"
    dtype: str = "bfloat16"
    attn_implementation: str = "sdpa"
    max_prompt_tokens: int = 16384  # a sample whose prompt is longer stops the run before it starts

    def __post_init__(self) -> None:
        _require(bool(self.path), "model.path: name a model, such as Qwen/Qwen2.5-VL-7B-Instruct or a folder")
        _require(self.dtype in ("bfloat16", "float16", "float32"), f"model.dtype: {self.dtype!r} is no dtype")
        _require(self.max_prompt_tokens > 0, f"model.max_prompt_tokens: {self.max_prompt_tokens} is not positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardsConfig:
    """One set of shards: a folder, a tar or a URL. `weight` is how often each sample is shown in one epoch."""

    path: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        _require(0 < self.weight <= 1000, f"data.shards: weight {self.weight} of {self.path} is outside (0, 1000]")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which samples are shown, and in what order. Pass rates are what `mvp-train filter` writes."""

    shards: tuple[ShardsConfig, ...] = ()
    split: str = "train"
    tasks: tuple[str, ...] = ()  # empty: all
    order: str = "shuffled"
    limit: int = 0  # 0: all
    seed: int = 0
    pass_rates: str = ""
    min_pass_rate: float = 0.0  # with pass rates, samples with min <= rate <= max are shown, and of them those
    max_pass_rate: float = 1.0  # whose completions earned different rewards: from the others a group learns nothing
    cache: str = ""  # folder for copies of remote shards; the user's cache folder if empty

    def __post_init__(self) -> None:
        _require(bool(self.shards), "data.shards: name a folder of shards, a .tar or a URL")
        _require(self.split in SPLITS, f"data.split: {self.split!r} is none of {', '.join(SPLITS)}")
        unknown = [task for task in self.tasks if task not in TASKS]
        _require(not unknown, f"data.tasks: {', '.join(map(repr, unknown)):.80} is none of {', '.join(TASKS)}")
        _require(self.order in ORDERS, f"data.order: {self.order!r} is none of {', '.join(ORDERS)}")
        _require(self.limit >= 0, f"data.limit: {self.limit} is negative")
        ok = 0 <= self.min_pass_rate <= self.max_pass_rate <= 1
        _require(ok, f"data: pass rates from {self.min_pass_rate} to {self.max_pass_rate} are no range in [0, 1]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything `mvp-train grpo` needs; `lora` is None for training all weights."""

    model: ModelConfig
    data: DataConfig
    prompt: PromptConfig = field(default_factory=PromptConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    lora: Mapping[str, Any] | None = None
    grpo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output_dir(self) -> Path:
        """Where checkpoints and logs go."""
        return Path(str(self.grpo.get("output_dir") or "output")).expanduser()


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `section.key=value` overrides on top (values are YAML: `1e-6`, `[a, b]`, `null`).

    A recipe may name another one of its folder as `base`, and then holds only what differs.

    Raises:
        ConfigError: no such file, no YAML, an unknown key (all are listed), or a value that is not possible.
    """
    values = _with_base(path)
    for override in overrides:
        _override(values, override)
    try:
        return from_values(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def from_values(values: Mapping[str, Any]) -> Recipe:
    """A recipe from nested plain values, as YAML holds them. Raises `ConfigError` as `read_recipe` does."""
    checked("", values, Recipe)
    data = dict(_mapping("data", values.get("data")))
    data["shards"] = _shards(data.get("shards"))
    data["tasks"] = tuple(_items(data.get("tasks")))
    lora = values.get("lora")
    return Recipe(
        model=_section(ModelConfig, "model", values.get("model")),
        data=_section(DataConfig, "data", data),
        prompt=_section(PromptConfig, "prompt", values.get("prompt")),
        reward=_section(RewardConfig, "reward", values.get("reward")),
        lora=None if lora is None else _mapping("lora", lora),
        grpo=_mapping("grpo", values.get("grpo")),
    )


def to_yaml(recipe: Recipe) -> str:
    """The recipe with every default written out; `read_recipe` gives the same recipe back."""
    import yaml

    values = asdict(recipe)
    values["data"]["shards"] = [dict(item) for item in values["data"]["shards"]]
    return yaml.safe_dump(values, sort_keys=False)


def checked(section: str, given: Mapping[str, Any], cls: Any) -> dict[str, Any]:
    """`given`, its keys and plain types checked against the fields of the dataclass `cls`; 2 becomes 2.0.

    Raises:
        ConfigError: unknown keys (all are listed, with what may have been meant), or a value of another type.
    """
    plain = {kind.__name__: kind for kind in (bool, int, float, str)}
    kinds = {f.name: plain.get(str(f.type), f.type) for f in fields(cls)}  # PEFT annotates with texts
    if unknown := sorted(set(given) - set(kinds)):
        meant = [name for key in unknown for name in get_close_matches(key, kinds, n=1)]
        hint = f"did you mean {', '.join(meant)}?" if meant else f"known: {', '.join(list(kinds)[:12])}"
        where = f"{section}: " if section else ""
        raise ConfigError(f"{where}unknown key{'s' * (len(unknown) > 1)} {', '.join(unknown)}; {hint}")
    values = dict(given)
    for key, item in given.items():
        allowed = set(get_args(kinds[key])) or {kinds[key]}  # `int | None` allows both
        if float in allowed and type(item) is int and int not in allowed:
            values[key] = float(item)
        elif allowed <= {*plain.values(), NoneType}:
            names = " or ".join(sorted(kind.__name__.replace("NoneType", "null") for kind in allowed))
            _require(type(item) in allowed, f"{section}.{key}: {item!r:.80} is {type(item).__name__}, not {names}")
    return values


def _read_yaml(path: Path) -> dict[str, Any]:
    text = read_text(path, what="a recipe; they lie in recipes/")
    return dict(_mapping(str(path), parse_yaml(text, where=str(path))))


def _with_base(path: Path, depth: int = 0) -> dict[str, Any]:
    """The values of a recipe on top of those of the recipe that its `base` names, in the same folder."""
    values = _read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    plain = isinstance(base, str) and base == Path(base).name
    _require(plain, f"{path}: base: must be the name of a recipe in the same folder, not {base!r:.80}")
    _require(depth < MAX_BASES, f"{path}: more than {MAX_BASES} recipes stand on each other; is one its own base?")
    return _merged(_with_base(path.parent / base, depth + 1), values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Key by key, at any depth; what is not a mapping is replaced."""
    both = {key: _merged(below[key], above[key]) for key in above if _are_mappings(below.get(key), above[key])}
    return {**below, **above, **both}


def _are_mappings(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _override(values: dict[str, Any], text: str) -> None:
    """Set one `a.b=value` in nested mappings."""
    name, equals, value = text.partition("=")
    keys = name.split(".")
    _require(bool(equals) and all(keys), f"{text!r} is no override; write section.key=value")
    for depth, key in enumerate(keys[:-1]):
        inner = values[key] if values.get(key) is not None else {}
        values[key] = dict(_mapping(".".join(keys[: depth + 1]), inner))
        values = values[key]
    values[keys[-1]] = parse_yaml(value, where=text)


def _shards(value: Any) -> tuple[ShardsConfig, ...]:
    """One path, or a list of paths and of mappings with `path` and `weight`."""
    given = [{"path": item} if isinstance(item, str) else item for item in _items(value)]
    return tuple(_section(ShardsConfig, "data.shards", item) for item in given)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _section(cls: type[T], name: str, value: Any) -> T:
    """`cls(**value)` with keys and types checked against the fields of `cls`."""
    given = checked(name, _mapping(name, value), cls)
    try:
        return cls(**given)
    except TypeError as error:  # a field without default is missing
        raise ConfigError(f"{name}: {str(error).partition(' ')[2]}") from error


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    ok = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    _require(ok, f"{name}: must be a mapping of keys to values, not {value!r:.80}")
    return dict(value)


def _require(ok: bool, problem: str) -> None:
    if not ok:
        raise ConfigError(problem)
