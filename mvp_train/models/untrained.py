"""Untrained Qwen-VL models made from their configuration alone: for smoke tests, and to measure speed and memory.

Speed and memory do not depend on what the weights say, so the large ones have exactly the shapes of the released
models. The tokenizer is a small one made here on the spot; nothing is downloaded.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvp_data.errors import ConfigError, MissingDependencyError

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# What the chat templates of Qwen2-VL and later give for text and images, without a system message.
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
# The words a tiny vocabulary should hold whole, so that prompts and answers are short.
TEXTS = (
    "These are frames of one video, in order. At the gap, frames are missing. [gap: 4 frames are missing here]",
    "candidates, shuffled; of them fill the gap, the others do not: The missing frames, shuffled:",
    "Which candidates fill the gap, in their original order? Give different letters, first to last, like this:",
    "First think about what happens, between <think> and </think>. Then give No other frame of it is shown.",
    "<answer>W, X, Y, Z</answer> system user assistant",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a model; `vocabulary` 0 means that of the tokenizer."""

    kind: str  # qwen2_5_vl | qwen3_vl
    hidden: int = 64
    feed_forward: int = 192
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    vocabulary: int = 0
    rope_theta: float = 10_000.0
    rope_sections: tuple[int, int, int] = (4, 2, 2)  # time, height, width: half of head_size together
    tied: bool = True
    vision_hidden: int = 64
    vision_feed_forward: int = 192
    vision_layers: int = 2
    vision_heads: int = 4
    vision_taps: tuple[int, ...] = (1,)  # layers with full attention (2.5), layers whose features are added (3)
    vision_positions: int = 64


_SEVEN_B = Shape(
    kind="qwen2_5_vl",
    hidden=3584,
    feed_forward=18944,
    layers=28,
    heads=28,
    kv_heads=4,
    head_size=128,
    vocabulary=152_064,
    rope_theta=1e6,
    rope_sections=(16, 24, 24),
    tied=False,
    vision_hidden=1280,
    vision_feed_forward=3420,
    vision_layers=32,
    vision_heads=16,
    vision_taps=(7, 15, 23, 31),
)
SHAPES: Mapping[str, Shape] = {
    "qwen2_5_vl": Shape(kind="qwen2_5_vl"),
    "qwen3_vl": Shape(kind="qwen3_vl", vision_taps=(0,)),
    "qwen2_5_vl-3b": replace(
        _SEVEN_B, hidden=2048, feed_forward=11008, layers=36, heads=16, kv_heads=2, vocabulary=151_936, tied=True
    ),
    "qwen2_5_vl-7b": _SEVEN_B,
    "qwen3_vl-8b": Shape(
        kind="qwen3_vl",
        hidden=4096,
        feed_forward=12288,
        layers=36,
        heads=32,
        kv_heads=8,
        head_size=128,
        vocabulary=151_936,
        rope_theta=5e6,
        rope_sections=(24, 20, 20),
        tied=False,
        vision_hidden=1152,
        vision_feed_forward=4304,
        vision_layers=27,
        vision_heads=16,
        vision_taps=(8, 16, 24),
        vision_positions=2304,
    ),
}


def save(folder: Path, name: str = "qwen2_5_vl", *, seed: int = 0, dtype: str = "float32", **sizes: Any) -> Path:
    """Write a random model with tokenizer and processor to `folder`, whole or not at all; returns the folder.

    `sizes` replaces fields of the named `Shape`, for example `hidden=128, head_size=32, rope_sections=(6, 5, 5)`.

    Raises:
        ConfigError: no such name.
    """
    import transformers

    shape = replace(find_shape(name), **sizes)
    tokenizer = _tokenizer()
    transformers.set_seed(seed)
    config = make_config(shape, tokenizer)
    model = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return _write(folder, [model, _processor(shape, tokenizer)])


def save_without_weights(folder: Path, name: str) -> Path:
    """Write only what a plan needs, the configuration and the processor: seconds, whatever the size of the model."""
    shape, tokenizer = find_shape(name), _tokenizer()
    return _write(folder, [make_config(shape, tokenizer), _processor(shape, tokenizer)])


def _write(folder: Path, parts: Sequence[Any]) -> Path:
    """Each part's own files, in a folder that appears whole."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in parts:
        part.save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder


def find_shape(name: str) -> Shape:
    """The shape called `name`; `ConfigError` with the names there are."""
    if name not in SHAPES:
        raise ConfigError(f"model.path: random:{name} is none of {', '.join(f'random:{known}' for known in SHAPES)}")
    return SHAPES[name]


def make_config(shape: Shape, tokenizer: Any = None) -> Any:
    """The transformers configuration of a shape."""
    import transformers

    tokenizer = tokenizer or _tokenizer()
    names = {"bos": "<|endoftext|>", "eos": "<|im_end|>", "pad": "<|endoftext|>"}
    rope = {"rope_type": "default", "rope_theta": shape.rope_theta, "mrope_section": list(shape.rope_sections)}
    text = {
        "vocab_size": shape.vocabulary or len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": 32_768,
        "rope_parameters": rope,
        "tie_word_embeddings": shape.tied,
        **{f"{part}_token_id": tokenizer.convert_tokens_to_ids(token) for part, token in names.items()},
    }
    vision: dict[str, Any] = {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_feed_forward,
        "num_heads": shape.vision_heads,
        "out_hidden_size": shape.hidden,
    }
    ids = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    common = {key: tokenizer.convert_tokens_to_ids(token) for key, token in ids.items()}
    common["tie_word_embeddings"] = shape.tied
    if shape.kind == "qwen2_5_vl":
        vision |= {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": list(shape.vision_taps)}
        return transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **common)
    text |= {"head_dim": shape.head_size}
    rope["mrope_interleaved"] = True
    vision |= {"patch_size": 16, "deepstack_visual_indexes": list(shape.vision_taps)}
    vision["num_position_embeddings"] = shape.vision_positions
    return transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **common)


def _tokenizer() -> Any:
    """A byte-level BPE of about 450 entries: whole words of the prompt, single letters, no unknown bytes."""
    import tokenizers
    import transformers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    letters = tokenizers.Regex(
        r"</?[a-z]+>|\p{N}|[^\s\p{L}\p{N}]+|\s?\p{L}+|\s+"
    )  # tags and words whole, digits one by one
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(letters, "isolated"),
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
    from transformers.utils import is_torchvision_available

    if not is_torchvision_available():
        raise MissingDependencyError("Qwen-VL processors need torchvision: pip install torchvision")
    patch = 14 if shape.kind == "qwen2_5_vl" else 16
    pixels = {"shortest_edge": (2 * patch) ** 2, "longest_edge": 1280 * (2 * patch) ** 2}
    pictures = transformers.Qwen2VLImageProcessor(patch_size=patch, merge_size=2, temporal_patch_size=2, size=pixels)
    kind = transformers.Qwen2_5_VLProcessor if shape.kind == "qwen2_5_vl" else transformers.Qwen3VLProcessor
    video = transformers.Qwen2VLVideoProcessor if shape.kind == "qwen2_5_vl" else transformers.Qwen3VLVideoProcessor
    return kind(
        image_processor=pictures,
        tokenizer=tokenizer,
        video_processor=video(patch_size=patch),
        chat_template=CHAT_TEMPLATE,
    )
