"""Everything that reads a file of somebody else, with good examples to spoil: what tests and benchmark attack."""

import io
import json
import tarfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mvp_data.audit.features import measure, visible_part
from mvp_data.bank.bank import Bank
from mvp_data.config.options import from_options, read_yaml
from mvp_data.core.errors import MvpError, Skip
from mvp_data.core.types import ByteRange
from mvp_data.pipeline.ledger import LedgerRow
from mvp_data.pipeline.output_folder import REPORT_NAME, SAMPLES_NAME
from mvp_data.pipeline.sample_table import SampleRow, sample_row
from mvp_data.quiz.page import read_answers
from mvp_data.shards.index import Index, ShardInfo, parse_index
from mvp_data.shards.offsets import load_offsets
from mvp_data.shards.prompt import PromptConfig
from mvp_data.shards.reader import open_shards
from mvp_data.shards.record import from_json, to_json
from mvp_data.shards.tar import Sample, read_shard
from mvp_data.sources import tars
from mvp_data.sources.manifests import read_manifest
from mvp_data.verify.table_checks import LedgerCheck, Totals, report_finding, rows_of
from mvp_data.video.decode.images import jpeg_luma
from mvp_train.dataset import to_row
from mvp_train.recipe import read_recipe
from mvp_train.reward import RewardConfig, score
from tests.builders import ENCODER, films, store
from tests.poison import forged_tars, mutants, twisted_json
from tests.samples import draw, make_record, make_sample, make_shard

RECIPE = b"""model: {path: some/model, dtype: float16}
data:
  shards: [{path: shards/, weight: 1.5}, more.tar]
  tasks: [mvp, arrow]
reward: {format: 0.2, selection: 0.2, order: 0.1, position: 0.25, exact: 0.25}
lora: {r: 16}
grpo: {learning_rate: 1e-6, num_generations: 8, output_dir: out}
"""
CONFIG = b"""src: [videos, "more/*.mp4"]
out: shards
fps: 2
hidden_frames: 5
tasks: mvp=0.7,jigsaw=0.3
difficulty: 0.1:0.9
similarity_high: 0.9
"""
ANSWERS = (
    b"<think>B?</think><answer>C, A, F, B</answer>",
    "<ANSWER> [c] → a, f and b </answer> <answer></answer>".encode(),
    b"<answer>" * 5 + b"A" * 9 + b"</answer>" * 5,
)


@dataclass(frozen=True, kw_only=True)
class Parser:
    """Something that reads; `errors` are what it may raise for bad input."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = (MvpError,)
    forge: Callable[[bytes, int, str], Iterator[bytes]] | None = None  # damage that knows the format

    def attacks(self, name: str, count: int) -> Iterator[bytes]:
        """`count` bad inputs, the same each time."""
        forged = count // 2 if self.forge else 0
        if self.forge:
            yield from self.forge(self.seeds[0], forged, name)
        yield from mutants(self.seeds, count - forged, name)


def parsers(folder: Path) -> dict[str, Parser]:
    """All of them; they use `folder` to put what they read."""
    shard = folder / "shard-000000.tar"
    info = make_shard(shard, 2)
    return {
        **_manifests(folder),
        "config": Parser(read=_file(folder / "c.yaml", lambda p: from_options(read_yaml(p))), seeds=(CONFIG,)),
        "recipe": Parser(read=_file(folder / "r.yaml", read_recipe), seeds=(RECIPE,)),
        "record": Parser(read=from_json, seeds=(to_json(make_record()),), forge=twisted_json),
        "shard": Parser(
            read=lambda data: list(read_shard(io.BytesIO(data))), seeds=(shard.read_bytes(),), forge=forged_tars
        ),
        "index": Parser(read=lambda data: parse_index(data, "index.json"), seeds=(_index(info),), forge=twisted_json),
        "offsets": _offsets(folder, shard),
        "tar": Parser(
            read=_file(folder / "videos.tar", _list_tar), seeds=(_videos(), *map(_videos, (1, 2))), forge=forged_tars
        ),
        "answer": Parser(read=_graded, seeds=ANSWERS, errors=()),
        "quiz answers": Parser(read=_file(folder / "answers.json", read_answers), seeds=(_quiz(),), forge=twisted_json),
        "report.json": Parser(read=_report(folder), seeds=(_report_seed(),), errors=(), forge=twisted_json),
        "samples.parquet": Parser(
            read=_file(folder / SAMPLES_NAME, lambda p: list(rows_of(p, SampleRow))), seeds=(_samples(),)
        ),
        "ledger.parquet": Parser(
            read=_file(folder / "ledger.parquet", lambda p: LedgerCheck(p.parent)), seeds=(_ledger(),)
        ),
        "images": Parser(read=_picture, seeds=_jpegs(), errors=(MvpError, Skip)),
        **_bank(folder),
    }


def _file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def put_and_read(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return put_and_read


def _manifests(folder: Path) -> dict[str, Parser]:
    row = {"path": "a.mp4", "fps": 25, "tags": ["x", {"y": None}], "note": "caf\u00e9 </script>"}
    table = pa.table({"path": ["a.mp4", "b.mp4"], "n": [1, None], "tags": [["x", "y"], []], "d": [{"a": 1}, None]})
    parquet = io.BytesIO()
    pq.write_table(table, parquet)
    seeds = {
        "txt": b"a.mp4\n# no\nhttps://h/b.mp4\r\n\ncaf\xe9.mp4\n",
        "csv": b'path,fps,note\na.mp4,25,"x, ""y"""\nb.mp4,,\n',
        "jsonl": json.dumps(row).encode(),
        "parquet": parquet.getvalue(),
    }
    return {
        f"manifest.{kind}": Parser(
            read=_file(folder / f"list.{kind}", lambda p: list(read_manifest(str(p)))),
            seeds=(seed,),
            forge=twisted_json if kind == "jsonl" else None,
        )
        for kind, seed in seeds.items()
    }


def _index(info: ShardInfo) -> bytes:
    counts = {"samples": 2, "videos": 1, "train": 2, "val": 0, "test": 0}
    index = Index(tool_version="1", config={"k": [4]}, config_hash="c0ffee", counts=counts, shards=(info,))
    return json.dumps(asdict(index)).encode()


def _offsets(folder: Path, shard: Path) -> Parser:
    """A damaged offset index is refused, or gives a correct sample."""
    shards = open_shards(shard, cache=folder, quiet=True)

    def read(data: bytes) -> object:
        shards.offsets.write_bytes(data)
        load_offsets.cache_clear()
        return [shards.read(number) for number in range(min(2, len(shards)))]

    return Parser(read=read, seeds=(shards.offsets.read_bytes(),))


def _videos(tar_format: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for name in ("a.mp4", "b/" + "long" * (40 if tar_format else 10) + ".mp4", "a.txt"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(b"x" * 700))
    return file.getvalue()


def _list_tar(path: Path) -> object:
    listing = tars.list_members(str(path))
    for member in listing.members:
        with suppress(EOFError):
            place = ByteRange(container=str(path), offset=member.offset, size=min(member.size, 1 << 16))
            tars.copy_member(place, io.BytesIO())
    return listing


def _graded(data: bytes) -> object:
    found = score(data.decode(errors="replace"), "CAFB", 8, RewardConfig())
    assert 0 <= found.reward <= 1
    return found


def _quiz() -> bytes:
    quiz = {"puzzles": 2, "seed": 0, "split": "", "task": "", "half": "first", "reader": "", "kind": ""}
    answer = {"id": "0" * 16, "answer": ["A", "B"], "seconds": 1.5, "clear": True, "note": "n"}
    return json.dumps({"format": 2, "tool_version": "1", "quiz": quiz, "answers": [answer]}).encode()


def _report_seed() -> bytes:
    return json.dumps({"samples": 2, "splits": {"train": 2}, "tasks": {}, "thresholds": {"low": 0.1}}).encode()


def _report(folder: Path) -> Callable[[bytes], object]:
    (folder / "beside").mkdir()
    ledger = LedgerCheck(folder / "beside")
    return _file(folder / "beside" / REPORT_NAME, lambda p: report_finding(p.parent, {"low": 0.1}, Totals(), ledger))


def _samples() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([sample_row("a.tar", make_record(n)) for n in range(3)]), file)
    return file.getvalue()


def _ledger() -> bytes:
    plain = {str: "x", int: 1, float: 0.5, bool: True}
    row = {name: plain[kind] for name, kind in LedgerRow.__annotations__.items()}
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row, {**row, "frames_rejected": "{}"}]), file)
    return file.getvalue()


def _jpegs() -> tuple[bytes, ...]:
    """Plain, progressive, grey, CMYK and with restarts and metadata, all of one size."""
    picture = Image.open(io.BytesIO(draw(0, 1.0, 60)))
    exif = Image.Exif()
    exif[270] = "a caption"
    found = []
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("RGB", {}),
        ("RGB", {"progressive": True}),
        ("L", {}),
        ("CMYK", {}),
    )
    for mode, options in (*kinds, ("RGB", {"restart_marker_rows": 1, "exif": exif})):
        file = io.BytesIO()
        picture.convert(mode).save(file, "JPEG", quality=80, **options)
        found.append(file.getvalue())
    return tuple(found)


def _picture(data: bytes) -> object:
    """A picture in the place of one of a sample, taken by all that decode."""
    good = make_sample()
    sample = Sample(record=good.record, context=(data, *good.context[1:]), candidates=(data, *good.candidates[1:]))
    for reader in (
        lambda: to_row(sample, PromptConfig()),
        lambda: measure(visible_part(sample)),
        lambda: jpeg_luma(data),
    ):
        with suppress(MvpError, Skip), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what Pillow says of damaged metadata
            reader()
    return sample


def _bank(folder: Path) -> dict[str, Parser]:
    """The files of the bank are ours, but disks are what they are."""
    (film,) = films(1)
    bank = Bank(folder / "bank", "hash")
    store(bank, film)
    bank.write_vectors(film.entry.video_id, ENCODER, film.vectors)
    name = film.entry.video_id

    def images(_: Path) -> object:
        with bank.jpegs(film.entry) as jpeg:
            return [jpeg(index) for index in film.entry.usable]

    (table,), (blob,), (vectors,) = (list((folder / "bank").rglob(f"*.{kind}")) for kind in ("parquet", "jpgs", "npy"))
    rows = len(film.vectors)
    return {
        "bank .parquet": Parser(read=_file(table, lambda _: bank.read(name)), seeds=(table.read_bytes(),)),
        "bank .jpgs": Parser(read=_file(blob, images), seeds=(blob.read_bytes(),)),
        "bank .npy": Parser(
            read=_file(vectors, lambda _: bank.read_vectors(name, ENCODER, rows=rows)),
            seeds=(vectors.read_bytes(),),
            errors=(MvpError,),
        ),
    }
