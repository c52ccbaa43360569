"""Options as dataclass fields with help, range and choices, and the checks of their values."""

import math
import os
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ConfigError


def option(
    default: Any,
    help_text: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with the help, range and choices that the command line, the checks and the docs use."""
    return field(default=default, metadata={"help": help_text, "low": low, "high": high, "choices": choices})


def check_fields(config: Any) -> None:
    """Check every option of a configuration; convert integers to float and texts to Path if the field has that type.

    Raises:
        ConfigError: a value has the wrong type, is out of range, or is not one of the choices.
    """
    for f in fields(config):
        value, meta = getattr(config, f.name), f.metadata
        if value is None or not meta:
            continue
        value = _typed(f.name, value, f)
        object.__setattr__(config, f.name, value)  # 2 and 2.0 must give the same hash
        if meta["choices"] and value not in meta["choices"]:
            raise ConfigError(f"{f.name}: {value!r:.80} is not one of {', '.join(meta['choices'])}")
        if isinstance(value, int | float) and not meta["low"] <= value <= meta["high"]:
            raise ConfigError(f"{f.name}: {value} is outside [{meta['low']:g}, {meta['high']:g}]")


def value_type(f: Field[Any]) -> type:
    """The type of an option without None: `float` for `float | None`."""
    (plain,) = (t for t in getattr(f.type, "__args__", (f.type,)) if t is not type(None))
    assert isinstance(plain, type), f.name
    return plain


def check_path_name(path: object) -> None:
    """Raise `ConfigError` for a text or path that cannot be a file name: with NUL or lone surrogates."""
    try:
        if isinstance(path, str | Path) and b"\0" in os.fsencode(path):
            raise ValueError("NUL")
    except ValueError as error:  # UnicodeEncodeError is one too
        raise ConfigError(f"{str(path)!r}: not a valid file name") from error


def _typed(name: str, value: Any, f: Field[Any]) -> Any:
    wanted = value_type(f)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return float(value)
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise ConfigError(f"{name}: the number does not fit 64 bits")
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigError(f"{name}: must be {wanted.__name__}, not {value!r:.80}")
    return value
