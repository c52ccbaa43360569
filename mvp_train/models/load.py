"""Models and their processors: finding them without a download, checking them early, and generating answers.

The only module that names torch and PEFT. Call `quiet_libraries` first.
"""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ConfigError, MissingDependencyError
from mvp_data.core.text import one_line
from mvp_data.shards.prompt import Message
from mvp_train.recipe import ModelConfig, checked

RANDOM = "random:"  # prefix of the untrained models
_END_BYTES = 1 << 16  # hashed at each end of a weights file
INSTALL = "pip install 'masked-video-prediction[train]' (in a checkout: pip install '.[train]')"


def quiet_libraries() -> None:
    """Keep transformers' progress bars and warnings off stderr; `MissingDependencyError` if it is not installed."""
    try:
        from transformers.utils import logging
    except ImportError as error:
        raise MissingDependencyError(f"models need torch and transformers: {INSTALL}") from error
    logging.disable_progress_bar()
    # transformers 5.23 renamed gradient checkpointing; TRL 1.16 and older recipes use the old name, which still works
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*deprecated", category=FutureWarning)


def find_model(config: ModelConfig) -> Path:
    """The folder of a model: the given folder, one in the Hub's cache, or one created here for `random:NAME`.

    `ConfigError` if the model is not on this machine; the message has the command that downloads it.
    """
    if config.path.startswith(RANDOM):
        return _random_model(config)
    folder = Path(config.path).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ConfigError(f"{folder}: not a model, it holds no config.json; name the folder that does")
        return folder
    if len(folder.parts) != 2 or folder.is_absolute():
        raise ConfigError(
            f"{config.path}: no such folder; give a folder, or a Hub model such as Qwen/Qwen2.5-VL-7B-Instruct"
        )
    return _cached(config)


def with_weights(config: ModelConfig) -> Path:
    """The folder of a model with its weights; those of `random:NAME` are created if they are missing."""
    folder = find_model(config)
    if config.path.startswith(RANDOM) and not any(folder.glob("*.safetensors")):
        from mvp_train.models.untrained import save

        save(folder, config.path.removeprefix(RANDOM), dtype=config.dtype)
    return folder


def fingerprint(folder: Path) -> str:
    """A hash of both ends of each weights file; distinguishes models of the same name in milliseconds."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            found.update(f"{path.name} {size} ".encode() + file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            found.update(file.read(_END_BYTES))
    base = base_of(folder)
    return found.hexdigest()[:16] + (f" on {fingerprint(base)}" if base is not None else "")


def base_of(folder: Path) -> Path | None:
    """The base model of a LoRA adapter, or None for a whole model; `ConfigError` if it is not on this machine."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        base = str(json.loads(path.read_bytes())["base_model_name_or_path"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(f"{path}: damaged, it names no base model ({one_line(error)})") from error
    return find_model(ModelConfig(path=base))


def load_processor(folder: Path) -> Any:
    """The processor of a model, set to left padding. Checks that it takes images and has a chat template.

    Raises:
        ConfigError: it takes no images or has no chat template, so prompts would be silently wrong.
        MissingDependencyError: torchvision is missing; transformers then returns only a tokenizer.
    """
    from transformers import AutoProcessor, ProcessorMixin

    try:
        processor = AutoProcessor.from_pretrained(folder, padding_side="left", local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder}: its processor cannot be loaded ({one_line(error)})") from error
    if not isinstance(processor, ProcessorMixin):
        from transformers.utils import is_torchvision_available

        if not is_torchvision_available():
            raise MissingDependencyError("image processors need torchvision: pip install torchvision")
        raise ConfigError(f"{folder}: not a vision-language model, it has no image processor; name one that has")
    if not getattr(processor, "chat_template", None) and not processor.tokenizer.chat_template:
        raise ConfigError(f"{folder}: no chat template; use an instruction-tuned model, or add chat_template.jinja")
    if processor.tokenizer.padding_side != "left":  # right padding changes log-probabilities without an error
        raise ConfigError(
            f"{folder}: the tokenizer pads on the {processor.tokenizer.padding_side} and must pad on the left"
        )
    return processor


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptCost:
    """Tokens of one prompt."""

    total: int
    images: int  # of all images together
    text: str  # the prompt as the model sees it; a run of image tokens is written once, with its length


def prompt_cost(processor: Any, prompt: Sequence[Message], images: Sequence[Any]) -> PromptCost:
    """Count the tokens of one prompt with its images; `ConfigError` if the processor would resize the images."""
    width, height = images[0].size
    sizes = [getattr(processor.image_processor, name, 1) for name in ("patch_size", "merge_size")]
    multiple = math.prod(sizes) if all(isinstance(size, int) for size in sizes) else 1  # 1 if unknown
    if width % multiple or height % multiple:
        raise ConfigError(
            f"frames of {width}x{height} px: the sides must be multiples of {multiple} px for this model; "
            f"build the shards again with --patch-multiple {multiple} (224 suits 28 and 32)"
        )
    text = processor.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
    ids = processor(text=[text], images=[list(images)], return_tensors="pt")["input_ids"][0].tolist()
    token = processor.image_token
    count = ids.count(processor.tokenizer.convert_tokens_to_ids(token))
    shown = text.replace(token, f"{token} x {count // len(images)}")
    return PromptCost(total=len(ids), images=count, text=shown)


def lora_config(values: Mapping[str, Any] | None) -> Any:
    """PEFT's `LoraConfig` for a recipe's `lora` section, or None without one; `ConfigError` for bad keys and values."""
    if values is None:
        return None
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingDependencyError(f"lora needs PEFT: {INSTALL}") from error
    values = checked("lora", values, LoraConfig)
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **values})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"lora: {one_line(error)}") from error


def model_size(folder: Path, lora: Mapping[str, Any] | None) -> tuple[Any, int, int]:
    """The configuration of a model's language part, its number of parameters, and the number that `lora` adds."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config, adapter = AutoConfig.from_pretrained(base_of(folder) or folder, local_files_only=True), 0
    with torch.device("meta"):  # allocates no memory for the weights
        model = AutoModelForImageTextToText.from_config(config)
        model.tie_weights()
        parameters = model.num_parameters()
        if lora is not None:
            from peft import get_peft_model

            adapter, _ = get_peft_model(model, lora_config(lora)).get_nb_trainable_parameters()
    return config.get_text_config(), parameters, adapter


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a model answers: `samples` completions for each prompt; `temperature` 0 is greedy."""

    max_new_tokens: int
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0


class LocalModel:
    """A model and its processor in this process, ready to answer."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Drop the model's own generation settings.

        transformers uses them for every parameter that a `generate` call does not set. Those of the released models
        turn on sampling and a repetition penalty, so greedy answers would not be greedy.
        """
        from transformers import GenerationConfig

        ends = model.generation_config.eos_token_id
        pad = processor.tokenizer.pad_token_id
        model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=pad)
        self.model, self.processor = model, processor

    def answer(
        self, prompts: Sequence[Sequence[Message]], images: Sequence[Sequence[Any]], sampling: Sampling
    ) -> list[list[str]]:
        """The completions of each prompt. Keeps the caller's random state."""
        import torch
        from transformers import GenerationConfig

        texts = [
            self.processor.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
            for prompt in prompts
        ]
        inputs = self.processor(text=texts, images=[*map(list, images)], padding=True, return_tensors="pt")
        inputs = inputs.to(self.model.device)
        samples, heat = sampling.samples, sampling.temperature
        drawn = {"do_sample": True, "temperature": heat, "top_k": 0, "top_p": 1.0} if heat else {"do_sample": False}
        config = GenerationConfig(max_new_tokens=sampling.max_new_tokens, num_return_sequences=samples, **drawn)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(sampling.seed)
            tokens = self.model.generate(**inputs, generation_config=config)
        answers = self.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [answers[i * samples : (i + 1) * samples] for i in range(len(prompts))]


def load_model(config: ModelConfig) -> LocalModel:
    """Load a model in evaluation mode, with its LoRA adapter if the folder holds one, on the GPU if there is one.

    `ConfigError` if the model is not on this machine or cannot be loaded.
    """
    quiet_libraries()
    folder = with_weights(config)
    processor = load_processor(folder)
    import torch
    from transformers import AutoModelForImageTextToText

    base = base_of(folder)
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            base or folder,
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attn_implementation,
            local_files_only=True,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{base or folder}: the model cannot be loaded ({one_line(error)})") from error
    if base is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LocalModel(model.to(device).eval(), processor)


def _random_model(config: ModelConfig) -> Path:
    """The folder of an untrained model, at first without weights: a plan needs none, and large ones take minutes."""
    from mvp_train.models.untrained import find_shape, save_without_weights

    name = config.path.removeprefix(RANDOM)
    find_shape(name)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "masked-video-prediction" / "random" / f"{name}-{config.dtype}"
    return folder if (folder / "config.json").is_file() else save_without_weights(folder, name)


def _cached(config: ModelConfig) -> Path:
    """The snapshot of a Hub model in the local cache; `ConfigError` if weights are missing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    fetch = f"hf download {config.path}" + (f" --revision {config.revision}" if config.revision != "main" else "")
    try:
        folder = Path(snapshot_download(config.path, revision=config.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ConfigError(f"{config.path}: not on this machine; download it with: {fetch}") from error
    index = folder / "model.safetensors.index.json"
    try:
        found = json.loads(index.read_bytes())["weight_map"].values() if index.is_file() else ("model.safetensors",)
        missing = sorted(name for name in {*map(str, found)} if not (folder / name).is_file())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{index}: damaged ({one_line(error)}); download it again with: {fetch}") from error
    if missing and not (folder / "adapter_model.safetensors").is_file():
        raise ConfigError(f"{config.path}: {len(missing)} weight files are missing; download them with: {fetch}")
    return folder
