"""Train a tiny model to put hidden frames back in order: on a CPU, in minutes, with the whole pipeline.

    python examples/learn_tiny.py learned/

1. Make synthetic videos: a drum with three faces turns left or right, one face a second, and moves from room to room.
   Three seconds are hidden, so each face is hidden once and the candidates alone carry no information: all six orders
   are equally likely. The context shows which way the drum turns and which face is next.
2. Build shards with `mvp_data`: a room is a shot, and whole shots are hidden. A quarter of the videos is held out.
3. Warm up a Qwen2.5-VL of 0.4 million random parameters. It first learns the form of an answer, from random answers to
   samples without context. Then it sees right answers, a minority, until it predicts them slightly better than chance.
4. Train it with GRPO, with the code of `mvp-train grpo`, in two runs. Train a control from the same start with shuffled
   rewards: the control cannot learn anything about the samples.
5. Evaluate all three models on the held-out samples, with and without the context.

`--seed` changes the weights and the sampling, not the videos. Needs the weights of the built-in encoder (`mvp-data
weights fetch`). benchmarks/results/training.md has the results of this script.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mvp_data
from mvp_data.config.options import from_options
from mvp_data.core.seeds import shuffled, stable_hash, unit
from mvp_data.shards.prompt import PromptConfig, content
from mvp_train.dataset import Samples, select, to_row
from mvp_train.evaluation.ask import AskConfig
from mvp_train.evaluation.evaluate import evaluate
from mvp_train.evaluation.metrics import Row
from mvp_train.models.load import load_model
from mvp_train.models.untrained import save
from mvp_train.recipe import DataConfig, ModelConfig, Recipe, ShardsConfig, from_values
from mvp_train.reward import MvpReward
from mvp_train.training.prepare import plan
from mvp_train.training.run_folder import METRICS_NAME

SIDE_PX = 112  # of a video; its frames are stored at 28 x 28, which is one token for Qwen2.5-VL
FPS = 15
ROOMS, ROOM_S = 9, 3
FACES_A_SECOND = 1.08  # not 1, so that the hidden order differs between rooms
FACES = np.array([(215, 70, 60), (235, 215, 90), (40, 70, 170)])
BUILD = {
    "fps": 1,
    "max_fps": 1,
    "min_frames": 2,
    "max_pixels": 784,
    "mask_policy": "whole_shot",
    "hidden_frames": 3,
    "distractors": 0,
    "context_frames": 4,  # two before the gap, two after it
    # Synthetic frames are more similar than real ones, so the absolute thresholds on similarity are switched off.
    "dedup_threshold": 0.9999,
    "similarity_low": -1,
    "similarity_high": 0.9999,
    "reversible": "keep",  # a drum turns both ways; only the context shows which
    "samples_per_video": 0,
    "max_overlap": 1,  # neighbouring rooms show each other
    "val_share": 0,
    "test_share": 0.25,
}
WARM_UP_RATE = 2e-3
ANSWER_TOKENS = 8  # <answer> A , B , C </answer> and the end
BLIND_LOSS = math.log(6) / ANSWER_TOKENS  # nats a token, if the form is certain and all 6 answers are equally likely
ABOUT_TO_SEE = 0.98  # of the blind loss
Reward = Callable[..., list[float]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of the experiment."""

    films: int = 480
    warm_up_batch: int = 64  # doubled while the model learns the form
    form_steps: int = 80
    right_steps: int = 150  # at most
    steps: tuple[int, ...] = (200, 150)  # of a first run of GRPO, and of a second one that starts from its model
    prompts: int = 32  # different ones in a step
    generations: int = 8


def film(path: Path, *corpus: int) -> None:
    """Write a video of a drum that turns by about one face a second, in grey rooms that change every three seconds."""
    import av

    way = 1 if unit("film", "way", *corpus) < 0.5 else -1
    begins = 3 * unit("film", "begins", *corpus)
    tints = np.array([[0.8 + 0.35 * unit("film", "tint", face, *corpus)] for face in range(3)])
    faces = (FACES * tints).clip(0, 255)
    down, across = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    drum = (abs(across - SIDE_PX / 2) < 50) & (abs(down - SIDE_PX / 2) < 30)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.thread_count = SIDE_PX, SIDE_PX, "yuv420p", 1
        for second in range(ROOM_S * ROOMS):
            around = np.empty((SIDE_PX, SIDE_PX, 3))
            _discs(around, 11, (8, 30), ("room", second // ROOM_S, *corpus))
            _discs(around, 3, (5, 11), ("passers-by", second, *corpus))
            for number in range(second * FPS, (second + 1) * FPS):
                turned = begins + way * FACES_A_SECOND * number / FPS
                face = np.floor((across - 14) / 84 + turned).astype(int) % 3
                picture = np.where(drum[..., None], faces[face], around).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _discs(
    picture: "np.ndarray[Any, Any]", count: int, radius_px: tuple[int, int], draw: tuple[str | int, ...]
) -> None:
    """Paint random grey discs; if there are more than three, the first fills the frame."""
    rng = np.random.default_rng(stable_hash(*draw))
    down, across = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    for number in range(count):
        x, y = rng.uniform(0, SIDE_PX, 2)
        size = 2 * SIDE_PX if count > 3 and number == 0 else rng.uniform(*radius_px)
        picture[(across - x) ** 2 + (down - y) ** 2 < size**2] = rng.uniform(0, 255)


def shards(folder: Path, films: int, corpus: int = 0, **options: object) -> Path:
    """Make the videos and build their shards, unless they exist; return the folder of the shards."""
    (folder / "films").mkdir(parents=True, exist_ok=True)
    for number in range(films):
        path = folder / "films" / f"film{number:04d}.mp4"
        if not path.exists():
            film(path, corpus, number)
    out = folder / "shards"
    if not (out / "index.json").exists():
        mvp_data.build(from_options({"src": str(folder / "films"), "out": out, **BUILD, **options}))
    return out


def split_of(shards: Path, split: str) -> Samples:
    """The samples of one split, in the order of the shards."""
    return select(DataConfig(shards=(ShardsConfig(path=str(shards)),), split=split, order="as_written"))


def untrained(folder: Path, samples: Samples, seed: int) -> Path:
    """Write an untrained model whose tokenizer has a token for each piece of the prompt, and one for each letter.

    Its weights have a standard deviation of 1 / sqrt(fan-in), which keeps the scale of activations. The usual 0.02 is
    for wide models; with it, this narrow model learns several times slower. Embeddings get 0.2.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    save(folder, seed=seed, text={"num_hidden_layers": 3}, vision={"depth": 1, "fullatt_block_indexes": [0]})
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    processor.tokenizer.add_tokens(_tokens(samples))
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1:
                spread = 0.2 if "embed_tokens" in name else 1 / math.sqrt(weights[0].numel())
                weights.normal_(0, spread, generator=drawn)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokens(samples: Samples) -> list[str]:
    """The texts of the prompts with and without context, split around the letters, and the parts of an answer."""
    record = samples[0].record
    letters = [candidate.label for candidate in record.candidates]
    found = ["<answer>", "</answer>", ", ", "\n", ": ", *letters]
    for context in (True, False):
        for piece in content(record, PromptConfig(context=context)):
            text = piece.get("text", "")
            found.append(text[: -len("\nA: ")] if text.endswith(tuple(f"\n{letter}: " for letter in letters)) else text)
    return [text for text in dict.fromkeys(found) if text]


def warm_up(model: Path, out: Path, samples: Samples, size: Size, seed: int) -> Path:
    """Teach the model in `model` the form of an answer by supervised next-token training; save it to `out`.

    First come samples without context and random answers, so that there is only the form to learn, and prompts without
    context are not new in the ablation. Then come whole samples with right answers, fewer than the random ones, until
    the loss is below that of a guess in the right form: the first sign that the model uses the images.
    """
    import torch

    learner = load_model(ModelConfig(path=str(model), dtype="float32"))
    optimiser = torch.optim.AdamW(learner.model.parameters(), lr=WARM_UP_RATE, betas=(0.9, 0.98), weight_decay=0)
    learner.model.train()
    losses: list[float] = []
    for step in range(size.form_steps + size.right_steps):
        right = step >= size.form_steps
        count = size.warm_up_batch if right else 2 * size.warm_up_batch
        inputs, answers = _taught(learner.processor, [_lesson(samples, right, (seed, step, i)) for i in range(count)])
        for group in optimiser.param_groups:
            group["lr"] = WARM_UP_RATE * min(1, (step + 1) / 10)
        loss = learner.model(**inputs, labels=answers).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.model.parameters(), 1.0)
        optimiser.step()
        losses += [loss.item()] * right
        if len(losses) >= 10 and sum(losses[-10:]) / 10 < ABOUT_TO_SEE * BLIND_LOSS:
            break
    print(f"warm-up: {size.form_steps} steps for the form, then {len(losses)} with right answers", file=sys.stderr)
    learner.model.save_pretrained(out)
    learner.processor.save_pretrained(out)
    return out


def _lesson(samples: Samples, right: bool, draw: tuple[str | int, ...]) -> dict[str, Any]:
    """A row of the warm-up: a sample and the answer `shown` for it."""
    sample = samples[stable_hash("warm-up", *draw) % len(samples)]
    labels = [candidate.label for candidate in sample.record.candidates]
    answer = sample.record.answer if right else shuffled(labels, "answer", *draw)[: sample.record.k]
    return {**to_row(sample, PromptConfig(context=right)), "shown": ", ".join(answer)}


def _taught(processor: Any, rows: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """A batch of prompts with their answers, and the tokens to predict: those of the answers."""
    texts = [
        processor.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        + f"<answer>{row['shown']}</answer><|im_end|>"
        for row in rows
    ]
    inputs = processor(text=texts, images=[row["images"] for row in rows], padding=True, return_tensors="pt")
    answers = inputs["input_ids"].clone()
    answers[:, :-ANSWER_TOKENS] = -100
    return inputs, answers


def recipe(model: Path, shards: Path, out: Path, size: Size, seed: int, steps: int) -> Recipe:
    """The recipe, which `mvp-train grpo` would read from a file."""
    pictures = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    return from_values(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "data": {"shards": str(shards), "seed": seed},
            "reward": {"format": 0.1, "selection": 0.0, "order": 0.1, "position": 0.5, "exact": 0.3},
            "grpo": {
                "output_dir": str(out),
                "seed": seed,
                "max_steps": steps,
                "per_device_train_batch_size": size.prompts * size.generations,
                "num_generations": size.generations,
                "max_completion_length": ANSWER_TOKENS + 2,
                "learning_rate": 1e-3,
                "lr_scheduler_type": "linear",
                "warmup_steps": 10,
                "adam_beta2": 0.98,
                "beta": 0.05,  # without it the model settles on one answer before it uses the images
                "generation_kwargs": {"suppress_tokens": _ids(model, pictures)},  # the model fails on them in an answer
                "bf16": False,
                "use_cpu": True,
                "gradient_checkpointing": False,
                "logging_steps": 5,
                "save_strategy": "no",
                "report_to": "none",
            },
        }
    )


def _ids(model: Path, tokens: Sequence[str]) -> list[int]:
    from transformers import AutoTokenizer

    found: list[int] = AutoTokenizer.from_pretrained(model, local_files_only=True).convert_tokens_to_ids(list(tokens))
    return found


def of_other_puzzles(reward: MvpReward, samples: Samples, seed: int) -> Reward:
    """The reward with shuffled right answers: each sample has the answer of another one, the same in every step."""
    truths = {key: "".join(samples[i].record.answer) for i, key in enumerate(samples.keys)}
    dealt = dict(zip(truths, shuffled(list(truths.values()), "control", seed), strict=True))

    def shuffled_reward(completions: Any, answer: Any, pool: Any, key: Any, **others: Any) -> list[float]:
        reward(completions=completions, answer=answer, pool=pool, **others)  # logs the real metrics
        return reward(completions=completions, answer=[dealt[k] for k in key], pool=pool)

    return shuffled_reward


def asked(model: Path, samples: Samples, out: Path, probe: str = "") -> Row:
    """The metrics of the model's greedy answers to the samples; replaces an earlier report."""
    import shutil

    shutil.rmtree(out, ignore_errors=True)
    ask = AskConfig(max_new_tokens=ANSWER_TOKENS + 2, batch_size=64, probe=probe)
    report = evaluate(
        lambda: load_model(ModelConfig(path=str(model), dtype="float32")), samples, out, ask, {"model": str(model)}
    )
    return report.rows[0]


def prove(folder: Path, shards: Path, size: Size, seed: int) -> dict[str, Row]:
    """Warm up, train, train the control, and evaluate all three on the held-out samples; the results by name."""
    from mvp_train.training.trainer import train  # imports TRL, which is slow

    shown, held_out = split_of(shards, "train"), split_of(shards, "test")
    warm = warm_up(untrained(folder / "untrained", shown, seed), folder / "warm", shown, size, seed)
    found = {"warmed up": asked(warm, held_out, folder / "eval-warm")}
    for name in ("control", "grpo"):
        model = warm
        for number, steps in enumerate(size.steps, 1):
            wanted = recipe(model, shards, folder / f"{name}-{number}", size, seed, steps)
            reward = of_other_puzzles(MvpReward(wanted.reward), shown, seed) if name == "control" else None
            model = train(plan(wanted, overwrite=True), reward=reward)
            found[f"{name}, run {number}"] = asked(model, held_out, folder / f"eval-{name}-{number}")
    for probe in ("removed-context", "shuffled-context"):
        found[f"grpo, {probe}"] = asked(model, held_out, folder / f"eval-{probe}", probe)
    return found


def curve(runs: Sequence[Path]) -> list[tuple[int, float]]:
    """Step and share of exact completions in training, over consecutive runs."""
    points: list[tuple[int, float]] = []
    for run in runs:
        before = points[-1][0] if points else 0
        lines = [json.loads(line) for line in (run / METRICS_NAME).read_text(encoding="utf-8").splitlines()]
        points += [(before + line["step"], line["mvp/exact"]) for line in lines if "mvp/exact" in line]
    return points


def plot(folder: Path, chance: float, out: Path) -> None:
    """Plot the curves of the experiment and of its control; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, colour, label in (("grpo", "tab:blue", "GRPO"), ("control", "tab:orange", "shuffled rewards")):
        runs = sorted(folder.glob(f"{name}-[0-9]"))
        axes.plot(*zip(*curve(runs), strict=True), color=colour, label=label)
    axes.axhline(chance, color="black", linestyle="--", linewidth=0.8, label="chance")
    axes.set(xlabel="step", ylabel="exact, of sampled answers", ylim=(0, 1))
    axes.legend(frameon=False)
    figure.savefig(out, dpi=110)


def main() -> None:
    """Run the experiment and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is written")
    parser.add_argument("--seed", type=int, default=0, help="of weights and sampling [0]")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # quickest for so small a model, and the same sums everywhere
    size, begun_s = Size(), time.process_time()
    built = shards(given.folder, size.films)
    found = prove(given.folder / f"seed{given.seed}", built, size, given.seed)
    print(f"{'':24}{'exact':>7}   95 % interval   {'set':>5}  valid")
    for name, row in found.items():
        e, pair, valid = (row.estimates[metric] for metric in ("exact", "set", "valid"))
        print(f"{name:24}{e.mean:7.3f}   {e.low:5.3f} .. {e.high:5.3f}  {pair.mean:6.3f} {valid.mean:6.3f}")
    row = found["warmed up"]
    chance = row.estimates["exact"].chance or 0.0
    print(
        f"chance {chance:.3f}; {row.samples} held-out puzzles of {row.video_groups} films; seed {given.seed}; ", end=""
    )
    print(f"{time.process_time() - begun_s:.0f} CPU seconds beside the workers that decode")
    try:
        plot(given.folder / f"seed{given.seed}", chance, given.folder / f"seed{given.seed}" / "curve.png")
    except ImportError:
        print("no matplotlib, so no curve.png")


if __name__ == "__main__":
    main()
