"""The bank returns an entry as it was stored, or an error names the file to delete; it never returns half of one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from mvp_data.bank.bank import Bank, encoder_key, skipped
from mvp_data.core.errors import OutputError, Skip, SkipReason
from mvp_data.core.types import Boundary, VideoEntry
from tests.builders import ENCODER, jpeg_of, kept_video, store, walk

VIDEO = kept_video(walk(7, "bank"), name="ab12", shots=[0, 0, 0, 1, 1, 1, 1])


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    bank = Bank(tmp_path / "bank", "hash")
    bank.create()
    return bank


def path_of(tmp_path: Path, suffix: str) -> Path:
    return next(tmp_path.rglob(f"ab12{suffix}"))


def test_an_entry_is_read_as_written(bank: Bank) -> None:
    entry = replace(
        VIDEO.entry,
        damaged_packets=3,
        rate_fps=2.0,
        crop=(0.0, 0.125, 1.0, 0.875),
        boundaries=(
            Boundary(kind="cut", start_s=1.5, end_s=1.5),
            Boundary(kind="dissolve", start_s=0.1 + 0.2, end_s=4.0),
        ),
    )
    store(bank, replace(VIDEO, entry=entry))
    assert bank.has("ab12")
    assert bank.read("ab12") == entry
    assert type(bank.read("ab12").frames[0].shot) is int
    assert entry.usable == tuple(range(1, 14, 2))


def test_a_skipped_entry_is_read_as_written(bank: Bank) -> None:
    entry = skipped("cd34", SkipReason.DECODE_ERROR, "line 1\nünï 🎬")
    bank.write_facts(entry)
    assert bank.has("cd34")
    assert bank.read("cd34") == entry
    assert (entry.skip, entry.usable, entry.info) == ("decode_error", (), None)


def test_jpegs_are_found_after_rejected_frames(bank: Bank) -> None:
    """Rejected frames with and without a JPEG come before the requested frame."""
    store(bank, VIDEO)
    assert {f.jpeg_bytes > 0 for f in VIDEO.entry.frames if f.reject} == {True, False}
    with bank.jpegs(bank.read("ab12")) as jpeg:
        for index in (*VIDEO.kept, *reversed(VIDEO.kept), 3):
            assert jpeg(index) == jpeg_of(VIDEO, index)
    assert len({jpeg_of(VIDEO, i) for i in VIDEO.kept}) == len(VIDEO.kept)


def test_vectors_are_read_as_written(bank: Bank) -> None:
    assert not bank.has_vectors("ab12", ENCODER)
    bank.write_vectors("ab12", ENCODER, VIDEO.vectors)
    assert bank.has_vectors("ab12", ENCODER)
    found = bank.read_vectors("ab12", ENCODER, rows=7)
    assert found.dtype == np.float32
    assert np.abs(found - VIDEO.vectors).max() < 1e-3
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(7), abs=1e-6)


@pytest.mark.parametrize(
    "change", [{"name": "test:other"}, {"weights_sha256": "cd" * 32}, {"engine": "numpy-cuda-fp32"}, {"dimension": 8}]
)
def test_encoders_never_mix(bank: Bank, change: dict[str, object]) -> None:
    bank.write_vectors("ab12", ENCODER, VIDEO.vectors)
    other = replace(ENCODER, **change)  # type: ignore[arg-type]
    assert not bank.has_vectors("ab12", other)
    assert bank.calibration_path(other, "x") != bank.calibration_path(ENCODER, "x")


def test_a_folder_name_for_any_encoder() -> None:
    for name in ("open_clip:ViT-B-32//home/me/../x y.pt", "a" * 300, "..", "ü:\n"):
        key = encoder_key(replace(ENCODER, name=name))
        assert len(key) < 60
        assert "/" not in key
        assert "." not in key


def test_options_never_mix(tmp_path: Path) -> None:
    store(Bank(tmp_path, "one"), VIDEO)
    assert not Bank(tmp_path, "two").has("ab12")
    assert Bank(tmp_path, "one").has("ab12")


def test_an_interrupted_video_leaves_nothing(bank: Bank, tmp_path: Path) -> None:
    def fails(error: BaseException) -> Callable[[IO[bytes]], VideoEntry]:
        def make(blob: IO[bytes]) -> VideoEntry:
            blob.write(b"half")
            raise error

        return make

    for error in (Skip(SkipReason.STATIC, "x"), KeyboardInterrupt(), MemoryError(), OSError("codec")):
        with pytest.raises((type(error), OutputError)):
            bank.write("ab12", fails(error))
        assert not bank.has("ab12")
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_facts_come_last(bank: Bank, tmp_path: Path) -> None:
    """A video whose run was killed before it wrote the facts is not done; a second run completes it."""
    store(bank, VIDEO)
    path_of(tmp_path, ".parquet").unlink()
    assert not bank.has("ab12")
    path_of(tmp_path, ".jpgs").write_bytes(b"something older and longer" * 10_000)
    store(bank, VIDEO)
    with bank.jpegs(bank.read("ab12")) as jpeg:
        assert jpeg(VIDEO.kept[-1]) == jpeg_of(VIDEO, VIDEO.kept[-1])


def test_the_same_entry_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        bank = Bank(tmp_path / name, "hash")
        store(bank, VIDEO)
        bank.write_vectors("ab12", ENCODER, VIDEO.vectors)
        contents.append({p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"PAR1" + bytes(100) + b"PAR1",
        lambda data: data.replace(b"transition", b"transiti\xff\xfe"),
    ],
    ids=["empty", "half", "zeros", "text"],
)
def test_damaged_facts(bank: Bank, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store(bank, VIDEO)
    path = path_of(tmp_path, ".parquet")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OutputError, match="delete this file"):
        bank.read("ab12")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"kind"', b'"kinx"'), (b'"cut"', b'"cot"'), (b'"crop"', b'"krop"'), (b"{", b"["), (b'"codec"', b'"c"')],
)
def test_damaged_metadata(bank: Bank, tmp_path: Path, old: bytes, new: bytes) -> None:
    import pyarrow.parquet as pq

    store(bank, VIDEO)
    path = path_of(tmp_path, ".parquet")
    table = pq.read_table(path)
    facts = table.schema.metadata[b"mvp"]
    assert old in facts
    pq.write_table(table.replace_schema_metadata({b"mvp": facts.replace(old, new)}), path)
    with pytest.raises(OutputError, match="delete this file"):
        bank.read("ab12")


def test_facts_of_another_program(bank: Bank, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    store(bank, VIDEO)
    path = path_of(tmp_path, ".parquet")
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(OutputError, match="delete this file"):
        bank.read("ab12")
    with pytest.raises(OutputError, match="is missing; run again"):
        bank.read("nothing")


def test_a_system_error_does_not_advise_to_delete_the_file(bank: Bank, tmp_path: Path) -> None:
    store(bank, VIDEO)
    bank.write_vectors("ab12", ENCODER, VIDEO.vectors)
    for suffix in (".parquet", ".jpgs", ".npy"):
        path = path_of(tmp_path, suffix)
        path.unlink()
        path.symlink_to(path)  # a system error that is not about the content
    with pytest.raises(OutputError, match=r"\.parquet: cannot be read \(.*\); fix the cause"):
        bank.read("ab12")
    with pytest.raises(OutputError, match=r"\.jpgs: cannot be read \(.*\); fix the cause"), bank.jpegs(VIDEO.entry):
        pass
    with pytest.raises(OutputError, match=r"\.npy: cannot be read \(.*\); fix the cause"):
        bank.read_vectors("ab12", ENCODER, rows=7)


def test_damaged_blob(bank: Bank, tmp_path: Path) -> None:
    store(bank, VIDEO)
    path = path_of(tmp_path, ".jpgs")
    path.write_bytes(path.read_bytes()[:-1])
    with bank.jpegs(VIDEO.entry) as jpeg:
        assert jpeg(1) == jpeg_of(VIDEO, 1)
        with pytest.raises(OutputError, match="damaged; delete it"):
            jpeg(VIDEO.kept[-1])
    path.unlink()
    with pytest.raises(OutputError, match=r"ab12\.jpgs"), bank.jpegs(VIDEO.entry):
        pass


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((6, 16), np.float16),
        np.zeros((7, 8), np.float16),
        np.zeros(7, np.float16),
        np.full((7, 16), np.nan, np.float16),
        np.zeros((7, 16), np.float16),
        np.array([["x"] * 16] * 7),
        np.array([{"a": 1}] * 7, dtype=object),  # a pickle
    ],
    ids=["rows", "columns", "flat", "nan", "zero", "text", "pickle"],
)
def test_damaged_vectors(bank: Bank, tmp_path: Path, content: np.ndarray) -> None:  # type: ignore[type-arg]
    bank.write_vectors("ab12", ENCODER, VIDEO.vectors)
    np.save(path_of(tmp_path, ".npy"), content, allow_pickle=True)
    with pytest.raises(OutputError, match="delete"):
        bank.read_vectors("ab12", ENCODER, rows=7)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"words", b"PK\x03\x04" + bytes(40)])
def test_vectors_in_another_format(bank: Bank, tmp_path: Path, content: bytes) -> None:
    bank.write_vectors("ab12", ENCODER, VIDEO.vectors)
    path_of(tmp_path, ".npy").write_bytes(content)
    with pytest.raises(OutputError, match="delete this file"):
        bank.read_vectors("ab12", ENCODER, rows=7)


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="--bank"):
        Bank(tmp_path / "file" / "bank", "hash").create()
