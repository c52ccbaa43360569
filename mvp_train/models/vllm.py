"""Answers from vLLM, for many prompts at once. Needs a GPU that vLLM supports.

Written for vLLM 0.33 (`vllm.LLM.chat` with `image_pil` parts). The only module that names vllm.
"""

from collections.abc import Sequence
from typing import Any

from mvp_data.core.errors import ConfigError, MissingDependencyError
from mvp_data.core.seeds import stable_hash
from mvp_data.shards.prompt import Message
from mvp_train.models.load import Sampling, base_of, quiet_libraries, with_weights
from mvp_train.recipe import ModelConfig


class VllmModel:
    """A full model (not an adapter) in a vLLM engine; the largest prompt sets the engine's limits."""

    def __init__(self, config: ModelConfig, *, images: int, max_new_tokens: int) -> None:
        """Load the model for prompts of up to `images` images.

        Raises:
            ConfigError: the model is not on this machine, or is a LoRA adapter.
            MissingDependencyError: vLLM is not installed.
        """
        quiet_libraries()
        folder = with_weights(config)
        if base_of(folder) is not None:
            raise ConfigError(
                f"{folder}: is a LoRA adapter; merge it into its base model, or use --engine transformers"
            )
        try:
            import vllm
        except ImportError as error:
            raise MissingDependencyError("--engine vllm needs vLLM and a GPU: pip install vllm") from error
        self._params = vllm.SamplingParams
        self._llm = vllm.LLM(
            model=str(folder),
            dtype=config.dtype,
            max_model_len=config.max_prompt_tokens + max_new_tokens,
            limit_mm_per_prompt={"image": images, "video": 0},
        )

    def answer(
        self, prompts: Sequence[Sequence[Message]], images: Sequence[Sequence[Any]], sampling: Sampling
    ) -> list[list[str]]:
        """The completions of each prompt. Each prompt has its own seed."""
        chats = [chat(*pair) for pair in zip(prompts, images, strict=True)]
        common = {"n": sampling.samples, "temperature": sampling.temperature, "max_tokens": sampling.max_new_tokens}
        params = [self._params(**common, seed=stable_hash(sampling.seed, i) >> 33) for i in range(len(chats))]
        answers = self._llm.chat(chats, params, use_tqdm=False, chat_template_content_format="openai")
        return [[completion.text for completion in answer.outputs] for answer in answers]


def chat(prompt: Sequence[Message], images: Sequence[Any]) -> list[dict[str, Any]]:
    """The messages in vLLM's format, with an image in place of each placeholder."""
    rest = iter(images)

    def filled(piece: Any) -> Any:
        return {"type": "image_pil", "image_pil": next(rest)} if piece["type"] == "image" else piece

    return [{"role": message["role"], "content": [filled(p) for p in message["content"]]} for message in prompt]
