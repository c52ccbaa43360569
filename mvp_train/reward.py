from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    format: float = 0.2
    selection: float = 0.2
    order: float = 0.1
    position: float = 0.25
    exact: float = 0.25
