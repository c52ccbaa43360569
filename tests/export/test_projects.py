"""The exports under the real loaders and the real reward plumbing of verl, ms-swift and LLaMA-Factory.

Each needs an environment of its own, since they pin different versions of transformers and datasets:

    pip install verl qwen-vl-utils && pytest tests/export/test_projects.py -k verl
    pip install ms-swift msgspec qwen-vl-utils && pytest tests/export/test_projects.py -k swift -m 'slow or not slow'
    pip install llamafactory && pytest tests/export/test_projects.py -k llamafactory
"""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mvp_data.export.run import export
from mvp_data.export.target import ExportReport
from mvp_data.shards.prompt import PromptConfig
from mvp_train import adapters
from tests.samples import make_shard

pytestmark = pytest.mark.filterwarnings("default")  # warnings of these projects
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def needs(module: str, package: str) -> None:
    pytest.importorskip(module, reason=f"needs an environment with {package}, see the top of this file")


def tiny_model(tmp_path: Path) -> Path:
    from mvp_train.models.untrained import save

    save(tmp_path / "tiny")
    return tmp_path / "tiny"


def exported(tmp_path: Path, to: str) -> ExportReport:
    make_shard(tmp_path / "shard-000000.tar", 4)
    return export(tmp_path / "shard-000000.tar", tmp_path / to, to=to, prompt=PromptConfig(timestamps=True))


def arguments(report: ExportReport, command: str) -> list[str]:
    """The arguments that the README of the export gives to `command`."""
    text = (report.out / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"{re.escape(command)}\s(.*?)\n\n", text, re.DOTALL)
    assert found is not None
    return shlex.split(found[1].replace("\\\n", " "))


def test_verl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("verl", "verl")
    import numpy as np
    import torch
    import verl
    from hydra import compose, initialize_config_dir
    from transformers import AutoProcessor
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset

    report, model = exported(tmp_path, "verl"), tiny_model(tmp_path)
    monkeypatch.chdir(report.out)
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", overrides=arguments(report, "verl.trainer.main_ppo"))
    processor = AutoProcessor.from_pretrained(model)
    config.data.filter_overlong_prompts = True
    rows = RLHFDataset(config.data.train_files, processor.tokenizer, config.data, processor)
    assert len(rows) == report.samples  # no prompt is too long
    messages = rows[0]["raw_prompt"]
    images, _ = asyncio.run(RLHFDataset.process_vision_info(messages, image_patch_size=14, config=config.data))
    assert [image.size for image in images] == [(112, 56)] * 20
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert len(processor(text=[text], images=images)["image_grid_thw"]) == 20

    async def reward(completion: str) -> dict[str, Any]:
        manager = load_reward_manager(config, processor.tokenizer)
        ids = processor.tokenizer(completion, return_tensors="pt")["input_ids"]
        facts = {name: np.array([rows[0][name]], object) for name in ("data_source", "reward_model", "extra_info")}
        data = verl.DataProto.from_dict(
            tensors={"responses": ids, "attention_mask": torch.ones_like(ids)}, non_tensors=facts
        )
        return dict(await manager.run_single(data))

    answer = rows[0]["extra_info"]["answer"]
    right = asyncio.run(reward(f"<answer>{', '.join(answer)}</answer>"))
    assert (right["reward_score"], right["reward_extra_info"]["acc"]) == (1.0, 1.0)
    assert asyncio.run(reward("no idea"))["reward_score"] == 0.0


def test_swift_loader_and_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("swift", "ms-swift")
    from swift.dataset import load_dataset
    from swift.rewards import orms
    from swift.rlhf_trainers.utils import resolve_reward_funcs
    from swift.utils import import_external_file

    report = exported(tmp_path, "ms-swift")
    monkeypatch.chdir(report.out)
    # with the options of its GRPO arguments
    rows, _ = load_dataset("train.jsonl", strict=True, load_from_cache_file=False, remove_unused_columns=False)
    assert len(rows) == report.samples
    assert all(Path(image["path"]).is_file() for row in rows for image in row["images"])
    assert rows[0]["messages"][0]["content"].count("<image>") == len(rows[0]["images"])
    orms.pop(adapters.SWIFT_NAME, None)
    import_external_file(adapters.__file__)
    (reward,), _ = resolve_reward_funcs([adapters.SWIFT_NAME], args=object())
    answer = rows[0]["solution"].partition("/")[0]
    texts = [f"<answer>{', '.join(answer)}</answer>", "no idea"]
    assert reward(texts, solution=[rows[0]["solution"]] * 2, key=[rows[0]["key"]] * 2) == [1.0, 0.0]


@pytest.mark.slow
def test_swift_trains_two_steps(tmp_path: Path) -> None:
    needs("swift", "ms-swift")
    report, model = exported(tmp_path, "ms-swift"), tiny_model(tmp_path)
    given = arguments(report, "swift rlhf")
    ids = tmp_path / "ids.py"  # its template has the number of the image token in Qwen's vocabulary
    ids.write_text(
        "from swift.template.templates.qwen import Qwen2VLTemplate\n"
        "from transformers import AutoTokenizer\n"
        f"tokenizer = AutoTokenizer.from_pretrained({str(model)!r})\n"
        "Qwen2VLTemplate.image_token_id = tokenizer.convert_tokens_to_ids('<|image_pad|>')\n"
    )
    at = given.index("--external_plugins") + 1
    given[at : given.index("--reward_funcs")] = [adapters.__file__, str(ids)]
    given[given.index("--model") + 1] = str(model)
    tiny = "--model_type qwen2_5_vl --template qwen2_5_vl --torch_dtype float32 --attn_impl eager --max_steps 2"
    small = "--num_generations 2 --max_completion_length 8 --per_device_train_batch_size 2 --logging_steps 1"
    rest = f"--report_to none --save_strategy no --eval_strategy no --output_dir {tmp_path / 'out'}"
    command = [sys.executable, "-m", "swift.cli.main", "rlhf", *given, *f"{tiny} {small} {rest}".split()]
    environment = os.environ | ENVIRONMENT | {"ROOT_IMAGE_DIR": "."}
    done = subprocess.run(
        command, env=environment, cwd=report.out, capture_output=True, text=True, check=False, timeout=230
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rewards/SwiftReward/mean" in done.stdout + done.stderr


def test_llamafactory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("llamafactory.data", "llamafactory")
    import yaml
    from llamafactory.data import SFTDataCollatorWith4DAttentionMask, get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    report, model = exported(tmp_path, "llamafactory"), tiny_model(tmp_path)
    monkeypatch.chdir(report.out)
    given = dict(word.split("=", 1) for word in arguments(report, "llamafactory-cli train"))
    changed = {"model_name_or_path": str(model), "use_cpu": "true", "report_to": "none"}
    values = {name: yaml.safe_load(value) for name, value in (given | changed).items()}
    of_model, of_data, of_training, _, _ = get_train_args(values)
    tools = load_tokenizer(of_model)
    tokenizer = tools["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, of_data)
    rows = get_dataset(template, of_model, of_data, of_training, "sft", **tools)["train_dataset"]
    assert len(rows) == report.samples
    learnt = tokenizer.decode([label for label in rows[0]["labels"] if label >= 0])
    assert re.match(r"<answer>[A-H](, [A-H]){3}</answer>", learnt)
    collate = SFTDataCollatorWith4DAttentionMask(template=template, tokenizer=tokenizer, processor=tools["processor"])
    assert len(collate([rows[0], rows[1]])["image_grid_thw"]) == 40
