"""Read YAML from untrusted sources: plain values only, in limited time and memory."""

import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ConfigError
from mvp_data.core.text import one_line

MAX_BYTES = 128 << 10  # YAML is slow to parse; a recipe takes 3 kB
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")


def read_text(path: Path, *, what: str) -> str:
    """The text of a small UTF-8 file; error messages use `what` for the expected kind of file.

    Raises:
        ConfigError: it cannot be read, is not a regular file, is too large, or is not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():  # opening a FIFO would block
            raise ConfigError(f"{path}: not a file; give {what}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give {what}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text; give {what}") from error
    except ValueError as error:
        raise ConfigError(f"{str(path)!r}: not a valid file name") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 10} KiB; give {what}")
    return text


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML; error messages begin with `where`. Aliases are refused: a few lines could expand to gigabytes.

    Raises:
        ConfigError: it is not YAML, or has aliases, tags, a duplicate key, or an integer beyond 64 bits.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 with three changes: `1e-6`, which has no dot, is a number; duplicate keys are errors; so are
        integers beyond 64 bits.
        """

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                raise ConfigError(f"{where}: YAML aliases (*name) are not accepted; write the value out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys = Counter(str(self.construct_object(key, deep=True)) for key, _ in node.value)
            if repeated := [key for key, count in keys.items() if count > 1]:
                raise ConfigError(f"{where}: the key {repeated[0]} is given twice; keep one")
            return super().construct_mapping(node, deep)

        def construct_small(self, node: yaml.ScalarNode) -> int:
            number = self.construct_yaml_int(node)
            if abs(number) >= 1 << 63:
                raise ValueError("a number that does not fit 64 bits")
            return number

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_small)
    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date such as 2026-13-45
        raise ConfigError(f"{where}: not valid YAML ({one_line(error) or 'nested too deep'})") from error
