"""Options of earlier versions. The command line and YAML files refuse them; the message names the replacement."""

from collections.abc import Mapping, Sequence

from mvp_data.core.errors import ConfigError

BUILD: Mapping[str, str] = {}  # of `build`, `index` and files of build options
REMOVED: Mapping[str, Mapping[str, str]] = {  # command -> option -> what to do now
    "build": BUILD,
    "index": BUILD,
    "quiz": {"--serve": "write the page with --out PAGE, then grade the answers that it saves with --grade ANSWERS"},
}


def refuse_removed(arguments: Sequence[str]) -> None:
    """Raise `ConfigError` if the arguments contain an option that its command no longer has."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    for argument in arguments:
        if argument == "--":  # only positional arguments follow
            return
        if message := removed(command, argument.partition("=")[0]):
            raise ConfigError(message)


def removed(command: str, option: str) -> str:
    """The message for an option that `command` no longer has; empty for any other."""
    advice = REMOVED.get(command, {}).get(option, "")
    return f"{command} {option} was removed: {advice}" if advice else ""
