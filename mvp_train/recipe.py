"""A recipe: one YAML file with the model, the shards, the prompt, the reward and the settings of training.

Unknown keys are errors, values are type-checked, and `a.b=value` on the command line overrides a key. The sections
`grpo` and `lora` have the keys of TRL's `GRPOConfig` and PEFT's `LoraConfig`; `mvp_train.training.prepare` checks them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from mvp_data.core.errors import ConfigError
from mvp_data.shards.prompt import PromptConfig
from mvp_data.shards.record import SPLITS
from mvp_data.system.yaml import parse_yaml, read_text
from mvp_data.tasks.catalogue import TASKS
from mvp_train.reward import RewardConfig

DTYPES = ("bfloat16", "float16", "float32")
ORDERS = ("shuffled", "curriculum", "as_written")
MAX_BASES = 4
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The model: `path` is a folder, the Hub name of a downloaded model, or `random:NAME` (untrained)."""

    path: str = ""
    revision: str = "main"
    dtype: str = "bfloat16"
    attn_implementation: str = "sdpa"
    max_prompt_tokens: int = 16384  # a longer prompt is an error before the run starts

    def __post_init__(self) -> None:
        require(bool(self.path), "model.path: name a model, such as Qwen/Qwen2.5-VL-7B-Instruct or a folder")
        require(self.dtype in DTYPES, f"model.dtype: {self.dtype!r} must be one of {', '.join(DTYPES)}")
        require(self.max_prompt_tokens > 0, f"model.max_prompt_tokens: {self.max_prompt_tokens} must be positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardsConfig:
    """One set of shards: a folder, a tar or a URL. Each sample is shown `weight` times in one epoch."""

    path: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        require(bool(self.path), "data.shards: an item has no path")
        require(0 < self.weight <= 1000, f"data.shards: weight {self.weight} of {self.path} must be in (0, 1000]")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The choice and the order of the samples."""

    shards: tuple[ShardsConfig, ...] = ()
    split: str = "train"
    tasks: tuple[str, ...] = ()  # empty: all
    order: str = "shuffled"
    limit: int = 0  # 0: all
    seed: int = 0
    pass_rates: str = ""  # an output of `mvp-train filter`
    min_pass_rate: float = 0.0  # with pass rates, only samples with min <= rate <= max whose completions
    max_pass_rate: float = 1.0  # earned different rewards; GRPO learns nothing from the others
    cache: str = ""  # folder for copies of remote shards; empty: in the user's cache

    def __post_init__(self) -> None:
        require(bool(self.shards), "data.shards: name a folder of shards, a .tar or a URL")
        require(self.split in SPLITS, f"data.split: {self.split!r} must be one of {', '.join(SPLITS)}")
        unknown = [task for task in self.tasks if not (isinstance(task, str) and task in TASKS)]
        require(not unknown, f"data.tasks: unknown {', '.join(map(repr, unknown)):.80}; there are {', '.join(TASKS)}")
        require(self.order in ORDERS, f"data.order: {self.order!r} must be one of {', '.join(ORDERS)}")
        require(self.limit >= 0, f"data.limit: {self.limit} must not be negative")
        ok = 0 <= self.min_pass_rate <= self.max_pass_rate <= 1
        require(ok, f"data: pass rates {self.min_pass_rate} to {self.max_pass_rate} must be a range in [0, 1]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The whole recipe; without `lora` all parameters are trained."""

    model: ModelConfig
    data: DataConfig
    prompt: PromptConfig = field(default_factory=PromptConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    lora: Mapping[str, Any] | None = None
    grpo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output_dir(self) -> Path:
        """The folder of checkpoints and logs."""
        return Path(str(self.grpo.get("output_dir") or "output")).expanduser()


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides, `section.key=value` with a YAML value such as `1e-6`, `[a, b]` or `null`.

    A recipe may name another one in its folder as `base`; it then contains only the differences. Raises `ConfigError`
    if the file is missing or not YAML, keys are unknown (the message lists them), or a value is invalid.
    """
    values = _with_base(path)
    for override in overrides:
        _override(values, override)
    try:
        return from_values(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def from_values(values: Mapping[str, Any]) -> Recipe:
    """The recipe with these plain values, nested as in YAML. Raises `ConfigError` like `read_recipe`."""
    checked("", values, Recipe)
    data = dict(_mapping("data", values.get("data")))
    given = [{"path": item} if isinstance(item, str) else item for item in _items(data.get("shards"))]
    data["shards"] = tuple(_section(ShardsConfig, "data.shards", item) for item in given)
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
    """The recipe as YAML with all defaults; `read_recipe` returns the same recipe."""
    import yaml

    return yaml.safe_dump(asdict(recipe), sort_keys=False)


def checked(section: str, given: Mapping[str, Any], cls: Any) -> dict[str, Any]:
    """Check the keys and the plain types of `given` against the fields of the dataclass `cls`; 2 becomes 2.0.

    `ConfigError` for unknown keys (the message lists them, with similar known ones) and for a value of another type.
    """
    plain = {kind.__name__: kind for kind in (bool, int, float, str)}
    kinds = {f.name: plain.get(str(f.type), f.type) for f in fields(cls)}  # PEFT's annotations are strings
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
            require(type(item) in allowed, f"{section}.{key}: {item!r:.80} is {type(item).__name__}, not {names}")
    return values


def _with_base(path: Path, depth: int = 0) -> dict[str, Any]:
    """The values of a recipe, merged over those of its `base` in the same folder."""
    text = read_text(path, what="a recipe, such as recipes/smoke.yaml")
    values = dict(_mapping(str(path), parse_yaml(text, where=str(path))))
    base = values.pop("base", None)
    if base is None:
        return values
    plain = isinstance(base, str) and base == Path(base).name
    require(plain, f"{path}: base: must be the name of a recipe in the same folder, not {base!r:.80}")
    require(depth < MAX_BASES, f"{path}: a chain of more than {MAX_BASES} bases; is a recipe its own base?")
    return _merged(_with_base(path.parent / base, depth + 1), values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key at any depth; values that are not mappings are replaced."""
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _merged(below[key], above[key])
    return merged


def _override(values: dict[str, Any], text: str) -> None:
    """Set one `a.b=value` in nested mappings."""
    name, equals, value = text.partition("=")
    keys = name.split(".")
    require(bool(equals) and all(keys), f"{text!r}: not an override; write section.key=value")
    for depth, key in enumerate(keys[:-1]):
        inner = values[key] if values.get(key) is not None else {}
        values[key] = dict(_mapping(".".join(keys[: depth + 1]), inner))
        values = values[key]
    values[keys[-1]] = parse_yaml(value, where=text)


def _items(value: Any) -> list[Any]:
    """A list unchanged; a single value, such as a path or a task, as a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _section(cls: type[T], name: str, value: Any) -> T:
    """`cls(**value)` with keys and types checked against the fields of `cls`."""
    return cls(**checked(name, _mapping(name, value), cls))


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    ok = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    require(ok, f"{name}: must be a mapping of keys to values, not {value!r:.80}")
    return dict(value)


def require(ok: bool, problem: str) -> None:
    """Raise `ConfigError` with the problem unless `ok`."""
    if not ok:
        raise ConfigError(problem)
