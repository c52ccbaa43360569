"""The list of export targets. To add one, write `targets/NAME.py` and list its `TARGET` here."""

from mvp_data.export.target import Target
from mvp_data.export.targets import easyr1, jsonl, llamafactory, swift, trl, verl

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (trl.TARGET, verl.TARGET, easyr1.TARGET, swift.TARGET, llamafactory.TARGET, jsonl.TARGET)
}
