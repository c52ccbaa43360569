"""Untrained Qwen-VL models, the `random:` models of recipes: for smoke tests, and to measure speed and memory.

Speed and memory do not depend on the values of the weights, so the large models have exactly the shapes of the released
ones. Nothing is downloaded: the weights are random and the small tokenizer is trained here.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ConfigError

SPECIAL = [
    f"<|{name}|>"
    for name in ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
]
# Gives the output of the chat templates of Qwen2-VL and later for text and images, without a system message.
CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for piece in message.content %}
            {%- if piece.type == 'image' %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif piece.type == 'text' %}
                {{- piece.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
# The tokenizer is trained on these texts, so that the words of prompts and answers are single tokens.
TEXTS = (
    "These are frames of one video, in order. At the gap, frames are missing. [gap: 4 frames are missing here]",
    "candidates, shuffled; of them fill the gap, the others do not: The missing frames, shuffled:",
    "Which candidates fill the gap, in their original order? Give different letters, first to last, like this:",
    "First think about what happens, between <think> and </think>. Then give No other frame of it is shown.",
    "<answer>W, X, Y, Z</answer> system user assistant Somewhere, Other frames may be left out without a mark.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The sizes of a model, under their names in the transformers configuration of its kind.

    Its defaults for `vision` are those of the released models, except `hidden_size` of qwen2_5_vl.
    """

    kind: str  # qwen2_5_vl | qwen3_vl
    text: Mapping[str, Any]
    vision: Mapping[str, Any]


SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def _text(*sizes: int, rope: tuple[float, list[int]], tied: bool, **others: int) -> dict[str, Any]:
    """The text part of a configuration: `SIZES` in order, theta and sections of the rotary embedding, others."""
    positions = {"rope_type": "default", "rope_theta": rope[0], "mrope_section": rope[1]}
    named = dict(zip(SIZES, sizes, strict=True))
    return {**named, **others, "rope_parameters": positions, "tie_word_embeddings": tied}


TINY_ROPE, TINY_VISION = (1e4, [4, 2, 2]), {"depth": 2, "hidden_size": 64, "intermediate_size": 192, "num_heads": 4}
SHAPES = {
    "qwen2_5_vl": Shape(
        kind="qwen2_5_vl",
        text=_text(64, 192, 2, 4, 2, rope=TINY_ROPE, tied=True),
        vision=TINY_VISION | {"fullatt_block_indexes": [1]},
    ),
    "qwen3_vl": Shape(
        kind="qwen3_vl",
        text=_text(64, 192, 2, 4, 2, rope=TINY_ROPE, tied=True, head_dim=16),
        vision=TINY_VISION | {"deepstack_visual_indexes": [0], "num_position_embeddings": 64},
    ),
    "qwen2_5_vl-3b": Shape(
        kind="qwen2_5_vl",
        text=_text(2048, 11008, 36, 16, 2, rope=(1e6, [16, 24, 24]), tied=True, vocab_size=151_936),
        vision={"hidden_size": 1280},
    ),
    "qwen2_5_vl-7b": Shape(
        kind="qwen2_5_vl",
        text=_text(3584, 18944, 28, 28, 4, rope=(1e6, [16, 24, 24]), tied=False, vocab_size=152_064),
        vision={"hidden_size": 1280},
    ),
    "qwen3_vl-8b": Shape(
        kind="qwen3_vl",
        text=_text(4096, 12288, 36, 32, 8, rope=(5e6, [24, 20, 20]), tied=False, vocab_size=151_936, head_dim=128),
        vision={},
    ),
}


def save(
    folder: Path,
    name: str = "qwen2_5_vl",
    *,
    seed: int = 0,
    dtype: str = "float32",
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
) -> Path:
    """Write an untrained model with its tokenizer and processor to `folder` atomically; return the folder.

    `text` and `vision` override sizes of the named `Shape`, for example `text={"num_hidden_layers": 3}`. Raises
    `ConfigError` if there is no model of this name.
    """
    import transformers

    known = find_shape(name)
    shape = replace(known, text={**known.text, **(text or {})}, vision={**known.vision, **(vision or {})})
    tokenizer = _tokenizer()
    transformers.set_seed(seed)
    model = transformers.AutoModelForImageTextToText.from_config(make_config(shape, tokenizer), dtype=dtype)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return _write(folder, [model, _processor(shape, tokenizer)])


def save_without_weights(folder: Path, name: str) -> Path:
    """Write only the configuration and the processor: enough for a plan, and done in seconds for any size."""
    shape, tokenizer = find_shape(name), _tokenizer()
    return _write(folder, [make_config(shape, tokenizer), _processor(shape, tokenizer)])


def find_shape(name: str) -> Shape:
    """The shape of this name; `ConfigError` lists the names that exist."""
    if name not in SHAPES:
        known = ", ".join(f"random:{known}" for known in SHAPES)
        raise ConfigError(f"model.path: there is no model random:{name}; choose one of {known}")
    return SHAPES[name]


def make_config(shape: Shape, tokenizer: Any = None) -> Any:
    """The transformers configuration of a shape; the vocabulary is the tokenizer's unless the shape names one."""
    import transformers

    tokenizer = tokenizer or _tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32_768,
        **shape.text,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"out_hidden_size": text["hidden_size"], **shape.vision}
    tokens = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in tokens.items()}
    common = {**ids, "tie_word_embeddings": shape.text["tie_word_embeddings"]}
    if shape.kind == "qwen2_5_vl":
        return transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **common)
    text["rope_parameters"] = {**text["rope_parameters"], "mrope_interleaved": True}
    return transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **common)


def _write(folder: Path, parts: Sequence[Any]) -> Path:
    """Save the parts to one folder, which appears only when it is complete."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in parts:
        part.save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder


def _tokenizer() -> Any:
    """A byte-level BPE tokenizer of about 450 entries: whole words of the prompt, single letters, no unknown bytes."""
    import tokenizers
    import transformers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    # tags and words whole, digits one by one
    pieces = tokenizers.Regex(r"</?[a-z]+>|\p{N}|[^\s\p{L}\p{N}]+|\s?\p{L}+|\s+")
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(pieces, "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=640, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(TEXTS * 8, trainer)
    bpe.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[token for token in SPECIAL if token not in ("<|im_end|>", "<|endoftext|>")],
        padding_side="left",
        model_max_length=32_768,
        chat_template=CHAT_TEMPLATE,
    )


def _processor(shape: Shape, tokenizer: Any) -> Any:
    import transformers

    patch = 14 if shape.kind == "qwen2_5_vl" else 16
    pixels = {"shortest_edge": (2 * patch) ** 2, "longest_edge": 1280 * (2 * patch) ** 2}
    images = transformers.Qwen2VLImageProcessor(patch_size=patch, merge_size=2, temporal_patch_size=2, size=pixels)
    kind = transformers.Qwen2_5_VLProcessor if shape.kind == "qwen2_5_vl" else transformers.Qwen3VLProcessor
    video = transformers.Qwen2VLVideoProcessor if shape.kind == "qwen2_5_vl" else transformers.Qwen3VLVideoProcessor
    return kind(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=video(patch_size=patch),
        chat_template=CHAT_TEMPLATE,
    )
