"""Finding, checking and asking models, on a tiny untrained one; vLLM as far as it can be tested without it."""

import importlib.util
import inspect
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mvp_data.core.errors import ConfigError, MissingDependencyError
from mvp_data.shards.prompt import PromptConfig, messages, prompt_images
from mvp_train.dataset import to_row
from mvp_train.evaluation.ask import AskConfig
from mvp_train.evaluation.evaluate import evaluate, read_completions
from mvp_train.recipe import ModelConfig
from tests.samples import make_sample
from tests.train.evaluation.test_evaluate import ABOUT, make_samples

pytest.importorskip("transformers", reason="needs the train extra")
import torch

from mvp_train.models.load import (
    LocalModel,
    Sampling,
    base_of,
    find_model,
    load_model,
    load_processor,
    lora_config,
    model_size,
    prompt_cost,
    quiet_libraries,
    with_weights,
)
from mvp_train.models.untrained import SHAPES, find_shape, make_config, save
from mvp_train.models.vllm import VllmModel, chat

PROMPT = PromptConfig()


@pytest.fixture(autouse=True)
def quiet() -> None:
    quiet_libraries()


def asked(number: int, **record: Any) -> tuple[Any, list[Image.Image]]:
    sample = make_sample(number, **record)
    opened = [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in prompt_images(sample, PROMPT)]
    return messages(sample.record, PROMPT), opened


def test_a_random_model_depends_on_its_seed_alone(tiny: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    second, third = save(tmp_path / "b"), save(tmp_path / "c", seed=1)
    read = [(folder / "model.safetensors").read_bytes() for folder in (tiny, second, third)]
    assert read[0] == read[1] != read[2]


@pytest.mark.parametrize(
    ("name", "billions"), [("qwen2_5_vl-3b", 3.75), ("qwen2_5_vl-7b", 8.29), ("qwen3_vl-8b", 8.77)]
)
def test_large_random_models_have_the_released_sizes(tmp_path: Path, name: str, billions: float) -> None:
    """The numbers of parameters are those of the published weights; nothing is allocated."""
    make_config(SHAPES[name]).save_pretrained(tmp_path)
    _, parameters, _ = model_size(tmp_path, None)
    assert parameters / 1e9 == pytest.approx(billions, abs=0.006)


@pytest.mark.parametrize("model_fixture", ["tiny", "tiny_qwen3"])
def test_an_answer_does_not_depend_on_the_batch(request: pytest.FixtureRequest, model_fixture: str) -> None:
    """Prompts of different lengths, padded on the left: the same greedy answers alone and together."""
    folder = request.getfixturevalue(model_fixture)
    model = load_model(ModelConfig(path=str(folder), dtype="float32"))
    with torch.no_grad():  # larger weights, so that answers differ
        for weight in model.model.parameters():
            if weight.dim() > 1:
                weight.mul_(3)
    asks = [asked(number, context=12 - 3 * number) for number in range(3)]
    prompts, images = [a[0] for a in asks], [a[1] for a in asks]
    together = model.answer(prompts, images, Sampling(max_new_tokens=6))
    alone = [model.answer([p], [i], Sampling(max_new_tokens=6))[0] for p, i in asks]
    assert together == alone
    assert len({texts[0] for texts in together}) > 1


def test_greedy_ignores_the_generation_settings_of_the_model(tiny: Path, tmp_path: Path) -> None:
    """The files of released models turn on sampling and a repetition penalty; transformers uses them as defaults."""
    folder = shutil.copytree(tiny, tmp_path / "model")
    values = json.loads((folder / "generation_config.json").read_bytes())
    values |= {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 1.5}
    (folder / "generation_config.json").write_text(json.dumps(values))
    prompt, images = asked(0, context=2, mask_start=1)

    def ask(path: Path, temperature: float) -> list[list[str]]:
        model = load_model(ModelConfig(path=str(path), dtype="float32"))
        draws = [Sampling(max_new_tokens=8, temperature=temperature, seed=seed) for seed in range(3)]
        return [model.answer([prompt], [images], sampling)[0] for sampling in draws]

    assert ask(folder, 0.0) == ask(tiny, 0.0)
    assert len({texts[0] for texts in ask(folder, 0.0)}) == 1
    assert ask(folder, 1.0) == ask(tiny, 1.0)


def test_sampling_is_seeded_and_keeps_the_random_state(tiny: Path) -> None:
    model = load_model(ModelConfig(path=str(tiny), dtype="float32"))
    prompt, images = asked(0, context=2, mask_start=1)
    before = torch.random.get_rng_state()
    texts = [
        model.answer([prompt], [images], Sampling(max_new_tokens=5, temperature=1.0, samples=3, seed=seed))[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) > 1


def test_prompt_cost(tiny: Path) -> None:
    prompt, images = asked(0)
    cost = prompt_cost(load_processor(tiny), prompt, images)
    assert cost.images == 20 * (112 // 28) * (56 // 28)
    assert cost.total > cost.images + 20
    assert cost.text.count("<|image_pad|> x 8") == 20


@pytest.mark.parametrize("path", ["nobody/nothing-of-this-name", "./no/such/folder", "/nowhere"])
def test_a_missing_model(path: str) -> None:
    with pytest.raises(ConfigError) as error:
        find_model(ModelConfig(path=path))
    said = str(error.value)
    assert "hf download nobody/nothing-of-this-name" in said if path.startswith("nobody") else "no such folder" in said


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        find_model(ModelConfig(path=str(tmp_path)))


def test_a_random_model_gets_its_weights_when_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of a large one needs no weights: the folder holds a configuration and a processor at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    large = find_model(ModelConfig(path="random:qwen2_5_vl-7b"))
    assert not list(large.glob("*.safetensors"))
    assert load_processor(large).image_token == "<|image_pad|>"
    config = ModelConfig(path="random:qwen2_5_vl", dtype="float32")
    folder = find_model(config)
    assert folder.is_relative_to(tmp_path)
    assert not list(folder.glob("*.safetensors"))
    assert with_weights(config) == folder
    first = (folder / "model.safetensors").stat().st_mtime_ns
    assert load_model(config).model.num_parameters() == model_size(folder, None)[1]
    assert (folder / "model.safetensors").stat().st_mtime_ns == first, "made once"


def test_an_unknown_random_name() -> None:
    with pytest.raises(ConfigError, match="random:qwen2_5_vl-7b"):
        find_model(ModelConfig(path="random:qwen9"))
    assert find_shape("qwen3_vl").kind == "qwen3_vl"


def test_a_model_without_a_chat_template(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    for name in ("tokenizer_config.json", "processor_config.json"):
        if (folder / name).is_file():
            values = json.loads((folder / name).read_bytes())
            values.pop("chat_template", None)
            (folder / name).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="no chat template"):
        load_processor(folder)


def test_padding_is_on_the_left_for_every_model(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    values = json.loads((folder / "tokenizer_config.json").read_bytes())
    assert values["padding_side"] == "left"
    (folder / "tokenizer_config.json").write_text(json.dumps({**values, "padding_side": "right"}))
    assert load_processor(folder).tokenizer.padding_side == "left"


def test_a_tokenizer_is_refused_as_a_processor(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    load_processor(tiny).tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="processor"):
        load_processor(folder)


def test_lora_keys_and_values(tiny: Path) -> None:
    assert lora_config(None) is None
    assert lora_config({"r": 4, "target_modules": ["q_proj"]}).r == 4
    with pytest.raises(ConfigError, match="lora: unknown key rank"):
        lora_config({"rank": 4})
    with pytest.raises(ConfigError, match=r"lora\.r: 'many' is str"):
        lora_config({"r": "many"})
    whole, adapted = model_size(tiny, None)[1:], model_size(tiny, {"r": 4, "target_modules": ["q_proj"]})[1:]
    assert adapted == (whole[0], 2 * 4 * (64 + 64))  # layers times rank times the sides of A and B
    assert whole[1] == 0


def test_an_adapter_is_loaded_on_its_base(tiny: Path, tmp_path: Path) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(tiny)
    tuned = get_peft_model(
        base, lora_config({"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False})
    )
    tuned.save_pretrained(tmp_path / "adapter")
    load_processor(tiny).save_pretrained(tmp_path / "adapter")
    assert base_of(tmp_path / "adapter") == tiny
    assert base_of(tiny) is None
    prompt, images = asked(1)
    loaded = load_model(ModelConfig(path=str(tmp_path / "adapter"), dtype="float32"))
    inputs = loaded.processor(
        text=[loaded.processor.apply_chat_template(prompt, tokenize=False)], images=[images], return_tensors="pt"
    )
    with torch.no_grad():
        wanted, found = tuned.eval()(**inputs).logits, loaded.model(**inputs).logits
        plain = tuned.unload()(**inputs).logits
    assert torch.allclose(wanted, found)
    assert not torch.allclose(wanted, plain)


def test_an_untrained_network_guesses(tiny: Path, tmp_path: Path) -> None:
    """End to end with a real, tiny Qwen2.5-VL: none of its completions is an answer, and all are in the report."""
    samples = make_samples(tmp_path / "shards", 4)
    config = ModelConfig(path=str(tiny), dtype="float32")
    ask = AskConfig(rollouts=2, temperature=1.0, max_new_tokens=6, batch_size=3, seed=1)
    reports = [evaluate(lambda: load_model(config), samples, tmp_path / name, ask, ABOUT) for name in ("a", "b")]
    assert reports[0] == reports[1]  # the same seed gives the same completions
    texts = [outcome.completion for outcome in read_completions(tmp_path / "a" / "completions.parquet")]
    assert len(texts) == 8
    assert len(set(texts)) > 4
    assert reports[0].rows[0].estimates["valid"].mean == 0
    greedy = evaluate(lambda: load_model(config), samples, tmp_path / "c", AskConfig(max_new_tokens=6), ABOUT)
    assert (greedy.completions, greedy.rows[0].estimates["exact"].mean) == (4, 0)


def test_both_engines_have_the_same_signature() -> None:
    assert inspect.signature(VllmModel.answer) == inspect.signature(LocalModel.answer)


def test_each_placeholder_gets_its_image() -> None:
    row = to_row(make_sample(0), PromptConfig())
    (message,) = chat(row["prompt"], row["images"])
    assert message["role"] == "user"
    pieces = message["content"]
    assert [p["image_pil"] for p in pieces if p["type"] == "image_pil"] == row["images"]
    assert [p for p in pieces if p["type"] == "text"] == [p for p in row["prompt"][0]["content"] if p["type"] == "text"]
    assert all(piece["type"] in ("text", "image") for piece in row["prompt"][0]["content"])  # the row is unchanged


def test_adapters_and_a_missing_vllm_are_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny)}))
    with pytest.raises(ConfigError, match="a LoRA adapter"):
        VllmModel(ModelConfig(path=str(tmp_path / "adapter")), images=20, max_new_tokens=64)
    if importlib.util.find_spec("vllm") is None:
        with pytest.raises(MissingDependencyError, match="pip install vllm"):
            VllmModel(ModelConfig(path=str(tiny)), images=20, max_new_tokens=64)
