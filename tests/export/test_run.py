"""Exports: the columns, types and files that each project's loader reads, and the safety of the folder.

The schemas here are those read by TRL 1.16 with datasets 3.0, 4.0 and 5.2, verl 0.9.1, ms-swift 4.6.0,
LLaMA-Factory 0.9.5 and EasyR1 (source at 8700709); `test_projects.py` runs the real loaders.
"""

import importlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mvp_data.core.errors import ConfigError, OutputError, ShardError
from mvp_data.export import run, targets
from mvp_data.export.catalogue import TARGETS
from mvp_data.export.run import export
from mvp_data.shards.prompt import PromptConfig, flat_text, messages
from mvp_data.shards.tar import Sample, read_shard, write_shard
from mvp_data.tasks.catalogue import TASKS
from tests.samples import make_folder, make_sample, make_shard, make_twins
from tests.task_samples import make_mixed_folder, make_task_sample

PROMPT = PromptConfig()
PARQUET = [name for name, target in TARGETS.items() if target.format == "parquet"]
JSONL = [name for name, target in TARGETS.items() if target.format == "jsonl"]
FACTS = dict.fromkeys(("key", "pair_id", "task"), pa.string())
FACTS |= {"k": pa.int64(), "difficulty": pa.float64(), "video_path": pa.string()}
TRUTH = {"answer": pa.string(), "pool": pa.int64(), "ordered": pa.bool_()}
IMAGES = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
TEXT_MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
PIECES = pa.list_(pa.struct({"type": pa.string(), "text": pa.string()}))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six samples to train on, three to test."""
    folder = tmp_path_factory.mktemp("shards")
    train = make_shard(folder / "shard-000000.tar", 6)
    test = write_shard(folder / "test-000000.tar", (make_sample(i, split="test") for i in range(6, 9)))
    make_folder(folder, [train, test])
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def samples_of(shards: Path) -> list[Sample]:
    return list(read_shard(shards / "shard-000000.tar"))


def jpegs(sample: Sample) -> list[bytes]:
    return [*sample.context, *sample.candidates]


@pytest.mark.parametrize("to", TARGETS)
def test_each_split_is_one_file_with_every_sample_once(shards: Path, tmp_path: Path, to: str) -> None:
    report = export(shards, tmp_path / "out", to=to, prompt=PROMPT)
    assert report.splits == {"train": 6, "test": 3}
    assert (report.samples, report.pictures, report.width_px, report.height_px) == (9, 20, 112, 56)
    for split, count in report.splits.items():
        assert len(rows_of(tmp_path / "out" / TARGETS[to].file(split))) == count
    about = json.loads((tmp_path / "out" / "export.json").read_bytes())
    assert about["complete"]
    assert about["splits"] == report.splits


@pytest.mark.parametrize("to", TARGETS)
def test_each_placeholder_has_its_image_in_order(shards: Path, tmp_path: Path, to: str) -> None:
    export(shards, tmp_path, to=to, prompt=PROMPT)
    for row, sample in zip(rows_of(tmp_path / TARGETS[to].file("train")), samples_of(shards), strict=True):
        if to in JSONL:
            stored = [(tmp_path / path).read_bytes() for path in row["images"]]
        else:
            stored = [image["bytes"] for image in row["images"]]
        assert stored == jpegs(sample)
        question = row["problem"] if to == "easyr1" else row["messages" if to in JSONL else "prompt"][0]["content"]
        if isinstance(question, str):
            assert question == flat_text(sample.record, PROMPT)
            assert question.count("<image>") == len(stored)
        else:
            pieces = [{name: text for name, text in piece.items() if text is not None} for piece in question]
            assert pieces == messages(sample.record, PROMPT)[0]["content"]
            assert sum(piece["type"] == "image" for piece in pieces) == len(stored)


@pytest.mark.parametrize(
    ("to", "columns"),
    [
        (
            "trl",
            {
                "prompt": pa.list_(pa.struct({"role": pa.string(), "content": PIECES})),
                "images": IMAGES,
                **TRUTH,
                **FACTS,
            },
        ),
        (
            "verl",
            {
                "data_source": pa.string(),
                "prompt": TEXT_MESSAGES,
                "images": IMAGES,
                "ability": pa.string(),
                "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
                "extra_info": pa.struct({"split": pa.string(), "index": pa.int64(), **TRUTH, **FACTS}),
            },
        ),
        ("easyr1", {"problem": pa.string(), "answer": pa.string(), "images": IMAGES, **FACTS}),
    ],
)
def test_columns_of_the_parquet_targets(shards: Path, tmp_path: Path, to: str, columns: dict[str, Any]) -> None:
    export(shards, tmp_path, to=to, prompt=PROMPT)
    assert pq.read_schema(tmp_path / "train.parquet").equals(pa.schema(columns))


@pytest.mark.parametrize("to", PARQUET)
def test_datasets_opens_the_folder_with_pil_images(
    shards: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(shards, tmp_path / "out", to=to, prompt=PROMPT)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 6, "test": 3}
    first, sample = loaded["train"][0], samples_of(shards)[0]
    for shown, jpeg in zip(first["images"], jpegs(sample), strict=True):
        assert shown.tobytes() == Image.open(io.BytesIO(jpeg)).tobytes()


def test_easyr1_reads_a_file_as_its_source_says(shards: Path, tmp_path: Path) -> None:
    """`verl/utils/dataset.py` of hiyouga/EasyR1 at 8700709: these calls, columns named by its configuration."""
    export(shards, tmp_path / "out", to="easyr1", prompt=PROMPT)
    file = str(tmp_path / "out" / "train.parquet")
    rows = datasets.load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path / "cache"))
    for row in rows:
        assert len(row["problem"].split("<image>")) - 1 == len(row["images"])
        assert all(image.mode == "RGB" and image.size == (112, 56) for image in row["images"])
        assert isinstance(row["answer"], str)


def test_columns_of_the_jsonl_targets(shards: Path, tmp_path: Path) -> None:
    record = samples_of(shards)[0].record
    truth = "".join(record.answer)
    rows = {}
    for to in JSONL:
        export(shards, tmp_path / to, to=to, prompt=PROMPT)
        rows[to] = rows_of(tmp_path / to / "train.jsonl")[0]
    facts = {*FACTS, "messages", "images"}
    assert rows["ms-swift"].keys() == facts | {"solution"}
    assert rows["ms-swift"]["solution"] == f"{truth}/8"
    assert rows["llamafactory"].keys() == facts
    assert [turn["role"] for turn in rows["llamafactory"]["messages"]] == ["user", "assistant"]
    assert rows["llamafactory"]["messages"][1]["content"] == f"<answer>{', '.join(record.answer)}</answer>"
    assert (rows["jsonl"]["answer"], rows["jsonl"]["pool"]) == (truth, 8)
    assert rows["jsonl"]["record"]["candidates"][0]["label"] == "A"
    assert rows["jsonl"]["record"]["key"] == record.key
    info = json.loads((tmp_path / "llamafactory" / "dataset_info.json").read_bytes())
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "mvp_train": "train.jsonl",
        "mvp_test": "test.jsonl",
    }


def test_image_paths_are_relative_and_stay_in_the_folder(shards: Path, tmp_path: Path) -> None:
    export(shards, tmp_path, to="jsonl", prompt=PROMPT)
    paths = [
        path for split in ("train", "test") for row in rows_of(tmp_path / f"{split}.jsonl") for path in row["images"]
    ]
    assert len(set(paths)) == 9 * 20
    on_disk = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "images").rglob("*.jpg")}
    assert set(paths) == on_disk


def test_folders_of_images_and_row_groups_have_a_size_limit(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "GROUP_ROWS", 4)
    export(shards, tmp_path / "lines", to="jsonl", prompt=PROMPT)
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "lines" / "images").iterdir()}
    assert counts == {"00000": 80, "00001": 80, "00002": 20}
    export(shards, tmp_path / "table", to="verl", prompt=PROMPT)
    file = pq.ParquetFile(tmp_path / "table" / "train.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 2]
    assert [row["extra_info"]["index"] for row in rows_of(tmp_path / "table" / "train.parquet")] == list(range(6))


def test_row_groups_end_when_images_fill_them(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sum(map(len, jpegs(samples_of(shards)[0])))
    monkeypatch.setattr(run, "GROUP_BYTES", one // 2)
    export(shards, tmp_path, to="trl", prompt=PROMPT)
    assert pq.ParquetFile(tmp_path / "train.parquet").num_row_groups == 6


@pytest.mark.parametrize("to", TARGETS)
def test_all_tasks_in_one_export(tmp_path: Path, to: str) -> None:
    """Rows of 8 to 12 images; each row has the question and the ground truth of its task."""
    folder = make_mixed_folder(tmp_path / "shards", 2, context=4)
    report = export(folder, tmp_path / "out", to=to, prompt=PROMPT)
    assert report.tasks == dict.fromkeys(TASKS, 2)
    assert report.pictures == 12
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"Tasks: {', '.join(f'{task} 2' for task in TASKS)}." in text
    records = [make_task_sample(task, i, context=4).record for task in TASKS for i in range(2)]
    for row, record in zip(rows_of(tmp_path / "out" / TARGETS[to].file("train")), records, strict=True):
        given = row.get("record") or row.get("extra_info") or row
        assert (given["key"], given["task"]) == (record.key, record.task)
        assert len(row["images"]) == 4 + len(record.candidates)
        if to in ("trl", "jsonl"):
            asked = record.question
            assert (row["answer"], row["pool"], row["ordered"]) == (
                "".join(record.answer),
                asked.choices,
                asked.ordered,
            )
        if to == "llamafactory":
            assert row["messages"][1]["content"] == f"<answer>{', '.join(record.answer)}</answer>"
    if to in PARQUET:
        loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), split="train")
        assert [len(images) for images in loaded["images"]] == [4 + len(r.candidates) for r in records]


@pytest.mark.parametrize("to", TARGETS)
def test_same_shards_same_bytes(shards: Path, tmp_path: Path, to: str) -> None:
    contents = []
    for name in ("a", "b"):
        export(shards, tmp_path / name / "out", to=to, prompt=PROMPT)
        out = tmp_path / name / "out"
        files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "grpo.yaml")
        contents.append({path.relative_to(out): path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_the_prompt_has_the_given_options(shards: Path, tmp_path: Path) -> None:
    config = PromptConfig(thinking=True, timestamps=True, context=False)
    report = export(shards, tmp_path, to="ms-swift", prompt=config)
    row, sample = rows_of(tmp_path / "train.jsonl")[0], samples_of(shards)[0]
    assert row["messages"][0]["content"] == flat_text(sample.record, config)
    assert [Path(path).name for path in row["images"]] == list(sample.record.member_names[13:])
    assert [(tmp_path / path).read_bytes() for path in row["images"]] == list(sample.candidates)
    assert (report.thinking, report.timestamps, report.pictures) == (True, True, 8)


def test_a_single_shard_can_be_exported(shards: Path, tmp_path: Path) -> None:
    report = export(shards / "test-000000.tar", tmp_path, to="trl", prompt=PROMPT)
    assert report.splits == {"test": 3}
    assert "dataset_train_split: test" in (tmp_path / "grpo.yaml").read_text(encoding="utf-8")


def write_rates(path: Path, rates: dict[str, tuple[int, float]], pair_ids: Sequence[str] = ()) -> Path:
    rollouts, spread = zip(*rates.values(), strict=True)
    pairs = list(pair_ids) or [""] * len(rates)
    table = pa.table(
        {
            "key": list(rates),
            "pair_id": pairs,
            "rollouts": pa.array(rollouts, pa.int32()),
            "reward_std": pa.array(spread),
        }
    )
    pq.write_table(table, path)
    return path


def test_pass_rates_keep_samples_with_different_rewards(shards: Path, tmp_path: Path) -> None:
    keys = [sample.record.key for sample in samples_of(shards)]
    rates = {keys[0]: (8, 0.0), keys[1]: (8, 0.0), keys[2]: (8, 0.01), keys[3]: (8, 0.4), keys[4]: (0, 0.0)}
    file = write_rates(tmp_path / "rates.parquet", rates)
    report = export(shards / "shard-000000.tar", tmp_path / "out", to="easyr1", prompt=PROMPT, pass_rates=file)
    assert [row["key"] for row in rows_of(tmp_path / "out" / "train.parquet")] == [keys[2], keys[3]]
    assert report.left_out == {"always_the_same": 2, "not_measured": 2}


def test_a_pair_is_exported_whole_or_not_at_all(tmp_path: Path) -> None:
    """Pairs: the rewards of one sample differ; of none; one sample was not measured."""
    pairs = [make_twins(number) for number in range(3)]
    write_shard(tmp_path / "a.tar", [sample for pair in pairs for sample in pair])
    records = [sample.record for pair in pairs for sample in pair]
    rates = {r.key: (8, std) for r, std in zip(records, (0.0, 0.3, 0.0, 0.0, 0.3), strict=False)}
    file = write_rates(tmp_path / "rates.parquet", rates, [r.pair_id for r in records[:5]])
    for to, name in (("trl", "train.parquet"), ("verl", "train.parquet"), ("jsonl", "train.jsonl")):
        report = export(tmp_path / "a.tar", tmp_path / to, to=to, prompt=PROMPT, pass_rates=file)
        rows = [row.get("extra_info", row.get("record", row)) for row in rows_of(tmp_path / to / name)]
        assert [(row["key"], row["pair_id"]) for row in rows] == [(r.key, records[0].key) for r in records[:2]]
        assert report.left_out == {"always_the_same": 2, "not_measured": 2}


def test_pass_rates_that_leave_nothing_or_cannot_be_read(shards: Path, tmp_path: Path) -> None:
    file = write_rates(tmp_path / "rates.parquet", {"other": (8, 0.5)})
    with pytest.raises(ConfigError, match=r"leaves no sample .*not_measured 9"):
        export(shards, tmp_path / "a", to="trl", prompt=PROMPT, pass_rates=file)
    pq.write_table(pa.table({"key": ["a"], "correct": [1]}), file)
    with pytest.raises(ConfigError, match="not the pass rates"):
        export(shards, tmp_path / "b", to="trl", prompt=PROMPT, pass_rates=file)
    file.write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match="not the pass rates"):
        export(shards, tmp_path / "b", to="trl", prompt=PROMPT, pass_rates=file)
    assert not (tmp_path / "b").exists()  # refused before anything is written


def test_replaces_an_export_only_with_overwrite(shards: Path, tmp_path: Path) -> None:
    export(shards, tmp_path, to="ms-swift", prompt=PROMPT)
    with pytest.raises(OutputError, match="--overwrite"):
        export(shards, tmp_path, to="trl", prompt=PROMPT)
    export(shards, tmp_path, to="trl", prompt=PROMPT, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "export.json",
        "grpo.yaml",
        "train.parquet",
        "test.parquet",
    }


@pytest.mark.parametrize("names", [["notes.txt", "export.json"], ["README.md", "images/cat.jpg", "train.parquet"]])
def test_foreign_files_are_never_removed(shards: Path, tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        export(shards, tmp_path, to="jsonl", prompt=PROMPT, overwrite=True)
    assert [(tmp_path / name).read_text() for name in names] == ["mine"] * len(names)


def test_an_export_into_a_folder_of_shards_is_refused(shards: Path) -> None:
    with pytest.raises(OutputError, match="not empty"):
        export(shards, shards, to="trl", prompt=PROMPT, overwrite=True)
    assert len(samples_of(shards)) == 6


@pytest.mark.parametrize("to", ["trl", "ms-swift"])
def test_a_damaged_shard_leaves_no_rows_and_the_next_try_succeeds(tmp_path: Path, to: str) -> None:
    tar = tmp_path / "shard-000000.tar"
    make_shard(tar, 3)
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ShardError, match="shard-000000"):
        export(tar, tmp_path / "out", to=to, prompt=PROMPT)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names <= {"export.json", "images"}
    assert not json.loads((tmp_path / "out" / "export.json").read_bytes())["complete"]
    tar.write_bytes(whole)
    assert export(tar, tmp_path / "out", to=to, prompt=PROMPT, overwrite=True).samples == 3


def test_a_key_that_occurs_twice_does_not_mix_images(tmp_path: Path) -> None:
    shards = [make_shard(tmp_path / f"shard-00000{i}.tar", 2) for i in range(2)]
    make_folder(tmp_path, shards)
    with pytest.raises(ShardError, match="video0-s000-v0: the key occurs twice"):
        export(tmp_path, tmp_path / "out", to="jsonl", prompt=PROMPT)


def test_unknown_targets_and_thinking_for_sft_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of trl, verl, easyr1, ms-swift, llamafactory, jsonl"):
        export(shards, tmp_path / "out", to="nemo", prompt=PROMPT)
    with pytest.raises(ConfigError, match="thinking"):
        export(shards, tmp_path / "out", to="llamafactory", prompt=PromptConfig(thinking=True))
    assert not (tmp_path / "out").exists()


def test_unusual_text_is_exported_unchanged(tmp_path: Path) -> None:
    make_shard(tmp_path / "shard-000000.tar", 2, video_path='a "b"/ünï\u2028\ncode\\.mp4')
    for to in ("jsonl", "verl"):
        export(tmp_path / "shard-000000.tar", tmp_path / to, to=to, prompt=PROMPT)
        path = tmp_path / to / TARGETS[to].file("train")
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if to == "jsonl" else rows_of(path)
        facts = rows[0]["record"] if to == "jsonl" else rows[0]["extra_info"]
        assert facts["video_path"] == 'a "b"/ünï\u2028\ncode\\.mp4'


@pytest.mark.parametrize("to", TARGETS)
def test_the_readme_names_its_files_and_how_to_train(shards: Path, tmp_path: Path, to: str) -> None:
    report = export(shards, tmp_path, to=to, prompt=PROMPT)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    wanted = {
        "trl": ["trl grpo --config grpo.yaml", "mvp_train.reward.mvp_reward"],
        "verl": ["train.parquet data.val_files=test.parquet", "pkg://mvp_train.adapters", "=verl_score"],
        "easyr1": ["train.parquet data.val_files=test.parquet", ":easyr1_score", "limit_images=20"],
        "ms-swift": ["--dataset train.jsonl --val_dataset test.jsonl", "--reward_funcs mvp", "ROOT_IMAGE_DIR=."],
        "llamafactory": ["no GRPO", "dataset=mvp_train eval_dataset=mvp_test"],
        "jsonl": ["from mvp_train.reward import RewardConfig, score"],
    }
    assert [word for word in [*wanted[to], *map(TARGETS[to].file, report.splits)] if word not in text] == []


def test_the_prompt_limit_grows_with_the_number_of_images(tmp_path: Path) -> None:
    few = export(make_tar(tmp_path / "few.tar", context=4), tmp_path / "few", to="verl", prompt=PROMPT)
    many = export(make_tar(tmp_path / "many.tar", context=90), tmp_path / "many", to="verl", prompt=PROMPT)
    assert few.prompt_tokens == 1024  # 12 images of 8 tokens, 16 around each, 512 of text
    assert many.prompt_tokens == 3072  # 98 of them


def make_tar(path: Path, context: int) -> Path:
    make_shard(path, 1, context=context)
    assert make_sample(0, context=context).record.k == 4
    return path


def test_foreign_images_are_never_removed(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(shards, out, to="jsonl", prompt=PROMPT)
    mine = out / "images" / "my_photo.jpg"
    mine.write_bytes(b"years of work")
    with pytest.raises(OutputError, match=r"my_photo\.jpg"):
        export(shards, out, to="jsonl", prompt=PROMPT, overwrite=True)
    assert mine.exists()
    mine.unlink()
    export(shards, out, to="jsonl", prompt=PROMPT, overwrite=True)
    (out / "export.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="not empty"):
        export(shards, out, to="jsonl", prompt=PROMPT, overwrite=True)


def test_the_catalogue_lists_each_module_of_targets_once() -> None:
    modules = {path.stem for path in Path(targets.__file__).parent.glob("*.py")} - {"__init__"}
    assert len(TARGETS) == len(modules)
    assert {target.row.__module__.rpartition(".")[2] for target in TARGETS.values()} == modules


@pytest.mark.parametrize("to", [name for name, target in TARGETS.items() if target.reward])
def test_the_reward_of_a_target_exists_in_the_trainer(to: str) -> None:
    module, _, name = TARGETS[to].reward.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
