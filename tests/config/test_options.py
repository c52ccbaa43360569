"""Options: their sources, wrong values, and which of them make pass 1 run again."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mvp_data.config.fields import value_type
from mvp_data.config.options import (
    GROUPS,
    BuildConfig,
    DecodeConfig,
    FramesConfig,
    MaskConfig,
    MineConfig,
    all_options,
    from_options,
    read_yaml,
)
from mvp_data.config.presets import PRESETS
from mvp_data.core.errors import ConfigError

BASE: dict[str, Any] = {"src": ["videos"], "out": "shards"}

# A value other than the default for every option; the test below fails when one is missing.
OTHER: dict[str, Any] = {
    "bank": "elsewhere",
    "seed": 7,
    "workers": 3,
    "limit": 9,
    "video_timeout_s": 60.0,
    "video_memory_mb": 512,
    "retry": "timeout,crash",
    "max_failures": 3,
    "engine": "ray",
    "ray_address": "head:6379",
    "store": "s3://bucket/work",
    "decoder": "ffmpeg",
    "decode": "full",
    "shots": "none",
    "fps": 2.0,
    "max_fps": 8.0,
    "min_frames": 16,
    "patch_multiple": 32,
    "max_pixels": 50_000,
    "jpeg_quality": 80,
    "trim_s": 0.5,
    "embedder": "builtin:tinyvit",
    "dedup_threshold": 0.9,
    "hidden_frames": 5,
    "context_frames": 20,
    "mask_policy": "free",
    "max_hidden_shots": 3,
    "samples_per_video": 2,
    "frame_reuse": 2,
    "max_overlap": 0.5,
    "reversible": "keep",
    "distractors": 6,
    "neighbourhood_share": 0.25,
    "same_video_share": 0.5,
    "neighbourhood_s": 5.0,
    "similarity_low": 0.1,
    "similarity_high": 0.8,
    "decoy_share": 0.5,
    "cross_video_decoys": True,
    "mine_cells": 4,
    "mine": "random",
    "tasks": "mvp=1,jigsaw=3",
    "difficulty": "0.25:0.75",
    "shard_order": "easy_first",
    "shard_samples": 10,
    "shard_mb": 5.0,
    "val_share": 0.2,
    "test_share": 0.1,
}
NEEDS = {name: {"engine": "ray"} for name in ("ray_address", "store")}  # options that have an effect only with others
PASS_1 = {"decode", "frames"}  # and the seed


def test_every_option_has_help_another_value_and_a_unique_name() -> None:
    options = list(all_options())
    names = [f.name for _, f in options]
    assert sorted(names) == sorted(OTHER)
    for _, f in options:
        assert len(f.metadata["help"]) > 10, f.name
        assert value_type(f) in (bool, int, float, str, Path)
    assert set(GROUPS) == {"decode", "frames", "embed", "mask", "mine", "puzzle", "pack"}


@pytest.mark.parametrize("name", OTHER)
def test_each_option_is_set_and_round_trips(name: str, tmp_path: Path) -> None:
    config = from_options({**BASE, **NEEDS.get(name, {}), name: OTHER[name]})
    assert config != from_options(BASE)
    assert from_options(config.to_options()) == config
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config.to_options()))
    assert from_options(read_yaml(tmp_path / "build.yaml")) == config


def test_the_flat_form_round_trips() -> None:
    config = from_options({**BASE, **OTHER})
    assert from_options(config.to_options()) == config
    assert config.to_options() == {**BASE, **OTHER}


def test_null_means_the_default() -> None:
    assert from_options({**BASE, **dict.fromkeys(OTHER)}) == from_options(BASE)


@pytest.mark.parametrize(("group", "name"), [(group, f.name) for group, f in all_options()])
def test_hashes_change_with_their_options(group: str, name: str) -> None:
    """`extract_hash` depends on decode, frames and seed; `content_hash` on every group and the seed."""
    before, after = from_options(BASE), from_options({**BASE, **NEEDS.get(name, {}), name: OTHER[name]})
    assert (before.extract_hash() != after.extract_hash()) == (group in PASS_1 or name == "seed")
    assert (before.content_hash() != after.content_hash()) == (group != "" or name == "seed")


def test_hashes_do_not_depend_on_where_or_how_options_are_given() -> None:
    one = from_options({**BASE, "fps": 2, "trim_s": 1})
    two = BuildConfig(src=("other",), out=Path("x"), frames=FramesConfig(fps=2.0, trim_s=1.0))
    three = BuildConfig(src=("other",), out=Path("x"), frames=FramesConfig(fps=2, trim_s=1))
    assert one.extract_hash() == two.extract_hash() == three.extract_hash()
    assert one.content_hash() == two.content_hash() == three.content_hash()
    assert one.extract_hash() != one.content_hash()


def test_presets() -> None:
    short = from_options({**BASE, "preset": "short", "hidden_frames": 5})
    assert (short.mask.hidden_frames, short.mask.frame_reuse) == (5, 2), "options that are given win"
    assert from_options({**BASE, "preset": "default"}) == from_options(BASE)
    assert from_options({**BASE, "preset": "paper"}).mine.decoy_share == 0
    with pytest.raises(ConfigError, match="preset: 'long' is not one of default, short, paper"):
        from_options({**BASE, "preset": "long"})
    for preset in PRESETS:
        from_options({**BASE, **PRESETS[preset]})


def test_unknown_keys_are_all_listed() -> None:
    with pytest.raises(ConfigError, match="unknown options: fsp, hidden-frames"):
        from_options({**BASE, "hidden-frames": 4, "fsp": 1})
    with pytest.raises(ConfigError, match=r"unknown option: frames\b"):
        from_options({**BASE, "frames": {"fps": 2}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"fps": "2"},
        {"engine": "spark"},
        {"ray_address": "head:6379"},
        {"store": "s3://bucket/work"},
        {"fps": True},
        {"fps": float("nan")},
        {"fps": [1]},
        {"min_frames": 32.5},
        {"min_frames": 32.0},
        {"hidden_frames": "four"},
        {"hidden_frames": True},
        {"mask_policy": 3},
        {"mask_policy": "anchor"},
        {"decoder": "opencv"},
        {"bank": 3},
        {"seed": -1},
        {"seed": "0"},
        {"workers": -1},
        {"workers": 1.5},
        {"video_timeout_s": 0},
        {"jpeg_quality": 101},
        {"max_pixels": 100},
        {"hidden_frames": 1},
        {"distractors": -1},
        {"context_frames": 1},
        {"max_hidden_shots": 0},
        {"frame_reuse": 5},
        {"max_overlap": 1.1},
        {"cross_video_decoys": 1},
        {"cross_video_decoys": "yes"},
        {"dedup_threshold": 1.5},
        {"shard_mb": 0},
        {"val_share": -0.1},
        {"shots": "cuts"},
        # contradictions
        {"fps": 5.0},
        {"fps": 0.5, "max_fps": 0.25},
        {"max_pixels": 1000, "patch_multiple": 32},
        {"neighbourhood_share": 0.8, "same_video_share": 0.3},
        {"similarity_low": 0.5, "similarity_high": 0.5},
        {"val_share": 0.6, "test_share": 0.6},
        {"src": []},
        {"src": [3]},
        {"src": None},
        {"src": {"a": 1}},
        {"out": None},
        {"out": 3},
    ],
    ids=str,
)
def test_wrong_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        from_options({**BASE, **wrong})
    text = str(caught.value)
    assert "\n" not in text
    key = next(k for k, v in wrong.items() if v is not None or k in ("src", "out"))
    assert key in text or {"src": "source", "out": "--out"}.get(key, key) in text


@pytest.mark.parametrize("make", [lambda: FramesConfig(fps="2"), lambda: MaskConfig(hidden_frames=4.0)])  # type: ignore[arg-type]
def test_wrong_types_from_python(make: Any) -> None:
    with pytest.raises(ConfigError, match="must be"):
        make()


def test_a_single_text_is_not_split_into_letters() -> None:
    with pytest.raises(ConfigError, match="src"):
        BuildConfig(src="videos", out=Path("x"))  # type: ignore[arg-type]
    assert from_options({**BASE, "src": "videos"}).src == ("videos",)


def test_limits_fit_the_sample_format() -> None:
    """A record has labels A..Z, and two digits in `context_00`."""
    from mvp_data.shards.record import LABELS, MAX_CONTEXT

    high = {f.name: f.metadata["high"] for _, f in all_options()}
    assert high["hidden_frames"] + high["distractors"] <= len(LABELS)
    assert high["context_frames"] <= MAX_CONTEXT


def test_values_at_the_ends_of_their_ranges_are_accepted() -> None:
    for _, f in all_options():
        for end in (f.metadata["low"], f.metadata["high"]):
            if abs(end) == float("inf") or f.name == "patch_multiple":
                continue
            extra = {"max_fps": 120.0} if f.name == "fps" else {"fps": 0.01} if f.name == "max_fps" else {}
            shares = {"neighbourhood_share": 0.0, "same_video_share": 0.0, "val_share": 0.0, "test_share": 0.0}
            value = value_type(f)(end)
            assert from_options({**BASE, **shares, **extra, f.name: value}).to_options()[f.name] == value


@pytest.mark.parametrize(("out", "bank"), [("shards", "shards.bank"), ("a/b.c", "a/b.c.bank"), ("/x/y/", "/x/y.bank")])
def test_the_bank_is_next_to_out(out: str, bank: str) -> None:
    assert from_options({**BASE, "out": out}).bank_folder == Path(bank)


@pytest.mark.parametrize("options", [{"bank": "o"}, {"bank": "o/bank"}, {"bank": "x/../o"}, {"out": "/"}])
def test_no_bank_inside_out(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--bank"):
        from_options({**BASE, "out": "o", **options})


def test_out_must_not_be_a_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="also a --src"):
        from_options({"src": str(tmp_path), "out": tmp_path})


def test_paths_as_text_or_path() -> None:
    config = BuildConfig(src=(Path("a"), "b"), out="shards")  # type: ignore[arg-type]
    assert (config.src, config.out) == (("a", "b"), Path("shards"))


@pytest.mark.parametrize("wrong", [{"mask": {"hidden_frames": 3}}, {"mask": None}, {"out": 3}])
def test_wrong_groups_from_python(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        BuildConfig(**{"src": ("a",), "out": Path("o"), **wrong})  # type: ignore[arg-type]


def test_an_unknown_option_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean hidden_frames"):
        from_options({**BASE, "hidden-frames": 3})


def test_bank_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert from_options({**BASE, "out": "."}).bank_folder == tmp_path / "here.bank"
    assert from_options({**BASE, "out": ".."}).bank_folder == tmp_path.with_name(f"{tmp_path.name}.bank")
    assert from_options({**BASE, "bank": "b"}).bank_folder == Path("b")


def test_workers() -> None:
    assert from_options({**BASE, "workers": 5}).worker_count == 5
    assert from_options(BASE).worker_count >= 1


def test_configs_are_frozen_and_checked_when_replaced() -> None:
    config = from_options(BASE)
    with pytest.raises(AttributeError):
        config.mask.hidden_frames = 5  # type: ignore[misc]
    with pytest.raises(ConfigError, match="hidden_frames"):
        replace(config.mask, hidden_frames=99)
    assert all(is_dataclass(f.type) or f.metadata or f.name in ("src", "out") for f in fields(BuildConfig))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- fps\n- 2", "mapping"),
        ("just words", "mapping"),
        ("", "mapping"),
        ("3: 4", "mapping"),
        ("fps:\t2\n\tx: 1", "not valid YAML"),
        ("fps: [1, 2", "not valid YAML"),
        ("fps: !!python/object:os.system ls", "not valid YAML"),
        ("fps: !!python/object/apply:os.system ['touch pwned']", "not valid YAML"),
        ("fps: 2026-13-45", "not valid YAML"),
        ("[" * 1500, "not valid YAML"),
        ("a: 1\x00", "not valid YAML"),
    ],
)
def test_bad_yaml(text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "build.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["build.yaml"], "nothing was run"


def test_yaml_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text("fps: 2 # " + "x" * (1 << 20))
    (tmp_path / "latin.yaml").write_bytes(b"src: caf\xe9")
    for name, problem in (("big.yaml", "larger"), ("latin.yaml", "UTF-8"), ("gone.yaml", "read"), (".", "not a file")):
        with pytest.raises(ConfigError, match=problem):
            read_yaml(tmp_path / name)


def test_yaml_numbers(tmp_path: Path) -> None:
    (tmp_path / "build.yaml").write_text("src: videos\nout: shards\nfps: 2\nseed: 0x10\nbank:\n")
    config = from_options(read_yaml(tmp_path / "build.yaml"))
    assert (config.frames.fps, config.seed, config.bank) == (2.0, 16, None)
    assert type(config.frames.fps) is float


def test_defaults_that_the_documents_promise() -> None:
    config = from_options(BASE)
    assert (config.mask.hidden_frames, config.mine.distractors, config.mask.context_frames) == (4, 4, 12)
    assert (config.frames.fps, config.frames.max_fps, config.frames.patch_multiple) == (1.0, 4.0, 28)
    assert config.decode == DecodeConfig(decoder="pyav", shots="adaptive")
    assert (config.mine, config.mask.mask_policy) == (MineConfig(), "anchored")
