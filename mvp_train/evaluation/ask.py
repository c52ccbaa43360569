"""Asks a model the questions of samples, batch by batch, optionally with a probe: a change of each question."""

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

from mvp_data.core.seeds import shuffled, stable_hash
from mvp_data.shards.prompt import Message, PromptConfig, twin_gap
from mvp_data.shards.record import Record
from mvp_data.shards.tar import Sample
from mvp_data.tasks.catalogue import TASKS
from mvp_train.dataset import Samples, to_row
from mvp_train.models.load import Sampling
from mvp_train.recipe import require
from mvp_train.reward import RewardConfig

PROBES = {  # by name, with what its report means
    "shuffled-context": "the context frames are shuffled",
    "removed-context": "the context is left out",
    "blank-candidates": "all candidates are grey: a score above chance is a leak",
    "unmarked-gap": "the gap is not marked: a pair score above chance is a leak",
    "moved-gap": "the gap is at the twin's place: set counts answers that switch with it, twin_set those that stay",
}
LOG_EVERY_S = 30.0  # interval of the progress bar, if stderr is not a terminal


class Answers(Protocol):
    """A model that answers prompts, such as `models.load.LocalModel` and `models.vllm.VllmModel`."""

    def answer(
        self, prompts: Sequence[Sequence[Message]], images: Sequence[Sequence[Any]], sampling: Sampling
    ) -> list[list[str]]:
        """The completions of each prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskConfig:
    """How samples are asked and scored. The seed of a batch depends on `seed` and on the keys of its samples."""

    prompt: PromptConfig = field(default_factory=PromptConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    probe: str = ""  # one of PROBES
    rollouts: int = 1  # completions of each sample
    temperature: float = 0.0  # 0: greedy
    max_new_tokens: int = 256
    batch_size: int = 8  # samples
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rollouts", "max_new_tokens", "batch_size"):
            require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}: must be at least 1")
        require(0 <= self.temperature <= 10, f"temperature {self.temperature}: must be from 0 to 10")
        same = self.rollouts > 1 and self.temperature == 0
        require(not same, f"{self.rollouts} completions at temperature 0 are all the same: set a temperature above 0")
        require(self.probe in ("", *PROBES), f"probe {self.probe!r:.40}: must be one of {', '.join(PROBES)}")


def ask_all(
    model: Answers, samples: Samples, ask: AskConfig, start: int = 0
) -> Iterator[list[tuple[Sample, list[str]]]]:
    """Yield batches of samples, from sample `start` on, each with its completions; shows progress on stderr."""
    from tqdm import tqdm

    shown = {"context": ask.probe != "removed-context", "gap": ask.probe != "unmarked-gap"}
    prompt = replace(ask.prompt, **{name: on and getattr(ask.prompt, name) for name, on in shown.items()})
    often_s = 0.1 if sys.stderr.isatty() else LOG_EVERY_S
    with tqdm(total=len(samples), initial=start, unit=" samples", mininterval=often_s) as bar:
        for at in range(start, len(samples), ask.batch_size):
            batch = [probed(samples[i], ask.probe) for i in range(at, min(at + ask.batch_size, len(samples)))]
            rows = [to_row(sample, prompt) for sample in batch]
            sampling = Sampling(
                max_new_tokens=ask.max_new_tokens,
                temperature=ask.temperature,
                samples=ask.rollouts,
                seed=stable_hash("ask", ask.seed, *(sample.record.key for sample in batch)) >> 33,  # 31 bits
            )
            texts = model.answer([row["prompt"] for row in rows], [row["images"] for row in rows], sampling)
            yield list(zip(batch, texts, strict=True))
            bar.update(len(batch))


def probed(sample: Sample, name: str) -> Sample:
    """The sample with shuffled context images (not times), grey candidates or a moved gap; others change the prompt."""
    if name == "moved-gap":
        return replace(sample, record=_moved(sample.record))
    if name == "blank-candidates":
        grey = _grey(sample.record.width_px, sample.record.height_px)
        return replace(sample, candidates=(grey,) * len(sample.candidates))
    if name == "shuffled-context":
        require(len(sample.context) > 1, f"{sample.record.key}: a single context frame cannot be shuffled")
        places = list(range(len(sample.context)))
        order = shuffled(places, "context_shuffled", sample.record.key)
        order = order if order != places else [*places[1:], *places[:1]]
        return replace(sample, context=tuple(sample.context[i] for i in order))
    return sample


def check_samples(samples: Samples) -> None:
    """Raise `ConfigError` if there are no samples, or if a key occurs twice."""
    require(len(samples) > 0, "there are no samples to ask")
    require(len(set(samples.keys)) == len(samples), "a sample occurs twice: name each set of shards once")


def samples_for(probe: str, samples: Samples) -> Samples:
    """The samples that a probe can change: for `moved-gap` only same-strip twins; `ConfigError` if there are none."""
    if probe != "moved-gap":
        return samples
    import pyarrow.compute as pc

    twins = samples.where(pc.equal(samples.column("pair_kind"), "same_strip"))
    require(len(twins) > 0, "--probe moved-gap: there are no same-strip twins: build shards with them")
    print(f"moved-gap: asks the {len(twins)} of {len(samples)} samples that are same-strip twins", file=sys.stderr)
    return twins


def _moved(record: Record) -> Record:
    """The twin's puzzle with the labels of this one: the gap is at the twin's place, and its frames are right."""
    origins = "same_strip", "hidden"
    pool = tuple(replace(c, order=c.decoy, decoy=c.order, origin=origins[c.order < 0]) for c in record.candidates)
    times = [c.time_s for c in pool if c.order >= 0]
    span: dict[str, Any] = {"hidden_start_s": min(times), "hidden_end_s": max(times), "mask_start": twin_gap(record)}
    return replace(record, candidates=pool, answer=TASKS[record.task].right_answer(pool), **span)


@lru_cache(maxsize=8)
def _grey(width_px: int, height_px: int) -> bytes:
    """A flat grey JPEG."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (128, 128, 128)).save(file, "JPEG", quality=90)
    return file.getvalue()
