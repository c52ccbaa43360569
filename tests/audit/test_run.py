"""Each planted leak is found, clean shards have none, and the audit uses only the inputs of a model."""

import io
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvp_data.audit.run import Audit, audit, embedder_for, second_embedder_for
from mvp_data.core.errors import ConfigError, ShardError, WeightsError
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.shards.record import LABELS, Record
from mvp_data.shards.tar import Sample, read_shard, write_shard
from mvp_data.tasks.catalogue import TASKS
from tests.audit_plants import BAGS, GAP, PLANTS, Plant, plant_sample, plant_shard, strip_twins
from tests.samples import make_folder, make_sample, make_shard

SAMPLES = 60


class MeanColour:
    """An encoder whose vector is the image scaled to 3 x 2 px."""

    encoder = Encoder(name="test:colour", weights_sha256="ab" * 32, dimension=18, engine="numpy")

    def embed(self, pictures: list[Picture]) -> Vectors:
        rows = np.stack([np.asarray(Image.fromarray(p).resize((3, 2)), np.float32).ravel() - 127.6 for p in pictures])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_shard(tmp_path_factory.mktemp("control") / "c.tar", PLANTS["control"], SAMPLES)


def outcomes(found: Audit, task: str = "mvp") -> dict[str, str]:
    (part,) = (part for part in found.parts if part.task == task)
    return {result.name: result.verdict for result in part.results}


@pytest.mark.parametrize("name", [name for name, plant in PLANTS.items() if plant.caught_by])
def test_planted_leaks_are_caught(name: str, tmp_path: Path) -> None:
    found = audit(plant_shard(tmp_path / "leak.tar", PLANTS[name], SAMPLES))
    assert set(PLANTS[name].caught_by) <= set(found.leaks)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_a_leak_nothing_wins(seed: int, tmp_path: Path) -> None:
    shard = plant_shard(tmp_path / "c.tar", PLANTS["control"], SAMPLES, seed=seed)
    found = audit(shard, embedder=MeanColour())
    assert found.leaks == ()
    assert "wins" not in outcomes(found).values()
    (part,) = found.parts
    assert (part.samples, part.video_groups, part.resampled) == (SAMPLES, SAMPLES // 3, "video groups")


def test_two_runs_are_found_only_by_their_scenery(tmp_path: Path) -> None:
    """Only the context shows which of two runs is hidden: a solver that takes either run does not win."""
    found = audit(plant_shard(tmp_path / "a.tar", PLANTS["two runs"], SAMPLES))
    assert found.leaks == BAGS
    assert outcomes(found)["path-pixels"] == "wins"
    (chain,) = (result for result in found.parts[0].results if result.name == "chain-pixels")
    assert chain.estimates["exact"].low > 0.05 > chain.estimates["exact"].chance
    assert found.parts[0].seeing_runs["exact"] == 0.25


def test_twins_are_learned_and_resampled_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pool with the opposite answer in another fold would teach the opposite of the truth."""
    shard = plant_shard(tmp_path / "a.tar", PLANTS["twins"], SAMPLES)
    found = audit(shard)
    assert found.parts[0].video_groups == SAMPLES // 2
    assert found.leaks == BAGS
    assert "below" not in {result.verdict for result in found.parts[0].results if "inverted" not in result.name}
    for name in ("alike-pixels", "chain-pixels"):
        (result,) = (result for result in found.parts[0].results if result.name == name)
        assert result.estimates["selection"].mean == 0
    monkeypatch.setattr("mvp_data.audit.tally.twins", lambda pictures, least: np.zeros((0, 2), int))
    apart = audit(shard)
    assert apart.parts[0].video_groups == SAMPLES
    assert outcomes(apart)["probe-candidates"] == "below"


def test_twins_of_one_video_are_resampled_together(tmp_path: Path) -> None:
    samples = []
    for number in range(10):
        made = plant_sample(number, PLANTS["twins"])
        samples.append(replace(made, record=replace(made.record, video_group="one")))
    write_shard(tmp_path / "a.tar", samples)
    (part,) = audit(tmp_path / "a.tar").parts
    assert (part.video_groups, part.resampled) == (1, "samples")
    (chain,) = (result for result in part.results if result.name == "chain-pixels")
    assert (chain.estimates["selection"].mean, chain.verdict) == (0, "chance")


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if not task.main])
def test_kinds_depend_on_the_task(task: str, tmp_path: Path) -> None:
    found = audit(plant_shard(tmp_path / "a.tar", PLANTS["two runs"], SAMPLES, task=task))
    (part,) = found.parts
    bags = BAGS if task in ("select", "next") else ()
    assert (part.task, found.leaks) == (task, bags)
    kinds = {result.name: result.kind for result in part.results}
    among = "leak" if TASKS[task].decoys else "content"
    assert (kinds["chain-pixels"], kinds["probe-candidates"], kinds["probe-artefacts"]) == (among, among, "leak")
    assert outcomes(found, task)["path-pixels"] == "wins"
    for result in part.results:
        assert set(result.judged) <= set(part.chance) == set(result.estimates)
    if task == "odd-one-out":
        assert outcomes(found, task)["alike-pixels"] == "wins"
    if TASKS[task].distractors == 0:
        assert outcomes(found, task)["chain-pixels"] == "chance"  # a run, but not its direction


@pytest.mark.parametrize(
    ("task", "plant", "caught"),
    [
        ("jigsaw", "darkening", "probe-artefacts"),
        ("arrow", "darkening", "probe-artefacts"),
        ("select", "other quantisation", "probe-artefacts"),
        ("odd-one-out", "larger JPEGs", "probe-artefacts"),
        ("arrow", "burnt-in clock", "overlay"),
        ("odd-one-out", "always D", "labels"),
    ],
)
def test_leaks_of_every_task_are_caught(task: str, plant: str, caught: str, tmp_path: Path) -> None:
    plants = {
        **PLANTS,
        "darkening": replace(PLANTS["darkening twins"], twins=False),
        "always D": Plant(caught_by=(), arrange=fourth),
    }
    assert caught in audit(plant_shard(tmp_path / "a.tar", plants[plant], SAMPLES, task=task)).leaks


def test_each_task_is_judged_separately(tmp_path: Path) -> None:
    shards = []
    for task, plant, count in (("mvp", "answer is ABCD", 24), ("jigsaw", "control", 12)):
        shards.append(plant_shard(tmp_path / f"{task}-000000.tar", PLANTS[plant], count, task=task))
    make_folder(tmp_path, [write_shard(path, list(read_shard(path))) for path in shards])
    found = audit(tmp_path)
    assert [(part.task, part.samples, part.l) for part in found.parts] == [("mvp", 24, 4), ("jigsaw", 12, 0)]
    assert found.leaks == ("mvp labels", "mvp positions")
    assert ["too wide" in part.warnings[0] for part in found.parts] == [True, True]
    assert found.sure_level > audit(shards[0], samples=12).sure_level  # more questions, so more chances of luck


def test_an_embedder_adds_solvers(tmp_path: Path) -> None:
    shard = plant_shard(tmp_path / "leak.tar", PLANTS["another look"], SAMPLES)
    found = audit(shard, embedder=MeanColour())
    assert found.encoder == "test:colour"
    assert {"alike-embedding", "chain-embedding"} <= set(found.leaks)
    assert outcomes(found)["path-embedding"] == "wins"
    assert not [name for name in outcomes(audit(shard, samples=9)) if name.endswith("embedding")]


def test_burnt_in_clocks_are_counted(tmp_path: Path, control: Path) -> None:
    assert audit(control, samples=15).parts[0].overlay_share == 0
    assert audit(plant_shard(tmp_path / "clock.tar", PLANTS["burnt-in clock"], 15)).parts[0].overlay_share == 1


def fourth(record: Record) -> Record:
    """The odd one is always D."""
    pool = sorted(record.candidates, key=lambda c: c.order < 0)
    pool.insert(3, pool.pop())
    candidates = tuple(replace(c, label=LABELS[i]) for i, c in enumerate(pool))
    return replace(record, candidates=candidates, answer=TASKS[record.task].right_answer(candidates))


def scrambled(samples: Iterator[Sample]) -> Iterator[Sample]:
    """The same images, labels, gap and K; all other fields differ."""
    for number, sample in enumerate(samples):
        record = sample.record
        other = {"video_id": "v", "video_path": "p.mp4"}
        candidates = tuple(
            replace(
                c,
                time_s=100 + c.time_s,
                shot=9,
                frame=7,
                similarity=0.1,
                origin=c.origin if c.order >= 0 else "corpus",
                **other,
            )
            for c in record.candidates
        )
        context = tuple(replace(c, time_s=100 + c.time_s, shot=3, frame=1) for c in record.context)
        facts = {
            "mask_policy": "free",
            "hidden_start_s": 0.0,
            "hidden_end_s": 900.0,
            "sampled_fps": 4.0,
            "difficulty": 0.5,
            "seed": number,
            "config_hash": "other",
            "tool_version": "9",
            "encoder_name": "other",
            "encoder_weights_sha256": "f" * 64,
            "video_duration_s": 1000.0,
            "extra": '{"a":"b"}',
            "split": "test",
        }
        changed = replace(record, candidates=candidates, context=context, **other, **facts)  # type: ignore[arg-type]
        yield Sample(record=changed, context=sample.context, candidates=sample.candidates)


@pytest.mark.parametrize("name", ["control", "burnt-in clock", "larger JPEGs"])
def test_provenance_is_not_used(name: str, tmp_path: Path) -> None:
    shard = plant_shard(tmp_path / "a.tar", PLANTS[name], 15)
    other = tmp_path / "b.tar"
    write_shard(other, scrambled(read_shard(shard)))
    first, second = (asdict(audit(path, embedder=MeanColour())) for path in (shard, other))
    for found in (first, second):
        for part in found["parts"]:
            part.pop("rows")  # by kind of pair and by shots
        found.pop("shown")  # by split
    assert {**first, "path": ""} == {**second, "path": ""}


def test_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    make_folder(folder, [make_shard(folder / "shard-000000.tar", 9), make_shard(folder / "shard-000001.tar", 6)])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = audit(folder)
    assert found.samples == found.samples_of == 15
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_audited_samples_are_evenly_spread(control: Path) -> None:
    found = audit(control, samples=20)
    assert (found.samples, found.samples_of, found.parts[0].video_groups) == (20, SAMPLES, 20)
    with pytest.raises(ConfigError, match="at least 1"):
        audit(control, samples=0)


def test_few_samples_and_few_videos_give_a_warning(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [make_sample(i) for i in range(3)])
    found = audit(tmp_path / "a.tar")
    (part,) = found.parts
    assert "too wide" in part.warnings[0]
    assert "one video group" in part.warnings[1]
    assert (part.video_groups, part.resampled) == (1, "samples")
    assert not {"labels", "positions", "probe-candidates", "probe-artefacts"} & outcomes(found).keys()
    write_shard(tmp_path / "b.tar", [make_sample(i) for i in range(6)])
    assert "2 video groups" in audit(tmp_path / "b.tar").parts[0].warnings[1]


@pytest.mark.parametrize("mask_start", [0, 1, 7, 8])
def test_gaps_at_an_edge(mask_start: int, tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [make_sample(i, context=8, mask_start=mask_start) for i in range(6)])
    assert set(outcomes(audit(tmp_path / "a.tar", embedder=MeanColour()))) >= {"path-pixels", "nearest-embedding"}


@pytest.mark.parametrize(("k", "others", "context"), [(1, 1, 1), (2, 0, 2), (6, 1, 3), (1, 4, 1), (3, 14, 2)])
def test_every_shape_of_puzzle_can_be_audited(k: int, others: int, context: int, tmp_path: Path) -> None:
    samples = [make_sample(i, k=k, distractors=others, context=context, mask_start=context // 2) for i in range(6)]
    write_shard(tmp_path / "a.tar", samples)
    (part,) = audit(tmp_path / "a.tar").parts
    assert (part.k, part.l) == (k, others)
    for result in part.results:
        for estimate in result.estimates.values():
            assert estimate.low <= estimate.mean + 1e-6
            assert estimate.mean - 1e-6 <= estimate.high


def test_large_pools_leave_out_solvers_that_search(tmp_path: Path) -> None:
    samples = [make_sample(i, k=12, distractors=14, context=4, mask_start=2) for i in range(4)]
    write_shard(tmp_path / "a.tar", samples)
    found = audit(tmp_path / "a.tar")
    assert "path-pixels" not in outcomes(found)
    assert "too many candidates" in found.parts[0].warnings[-1]


@pytest.mark.parametrize("change", [{"k": 3}, {"distractors": 3}, {"context": 11}])
def test_shards_of_several_shapes_stop(change: dict[str, int], tmp_path: Path) -> None:
    make_folder(
        tmp_path, [make_shard(tmp_path / "shard-000000.tar", 3), make_shard(tmp_path / "shard-000001.tar", 3, **change)]
    )
    with pytest.raises(ShardError, match=r"mvp with \(k, l, context\) \(4, 4, 12\) and .*: audit each build alone"):
        audit(tmp_path)


def test_shards_of_several_builds_stop(tmp_path: Path) -> None:
    first = make_sample(0)
    other = make_sample(1)
    samples = [first, replace(other, record=replace(other.record, config_hash="decaf"))]
    write_shard(tmp_path / "a.tar", samples)
    with pytest.raises(ShardError, match="samples of two builds, 'c0ffee' and 'decaf': audit each alone"):
        audit(tmp_path / "a.tar")


def test_an_undecodable_image_stops_with_its_key(tmp_path: Path) -> None:
    sample = plant_sample(0, Plant(caught_by=()))
    for place in range(len(sample.candidates)):
        data = sample.candidates[place]
        broken = data[: data.index(b"\xff\xc4")] + b"\xff\xd9"  # it has a size and no content
        pool = (*sample.candidates[:place], broken, *sample.candidates[place + 1 :])
        write_shard(tmp_path / "a.tar", [Sample(record=sample.record, context=sample.context, candidates=pool)])
        with pytest.raises(ShardError, match=f"{sample.record.key}: an image cannot be decoded"):
            audit(tmp_path / "a.tar")


def test_grey_and_progressive_images(tmp_path: Path) -> None:
    def again(data: bytes, **options: object) -> bytes:
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).convert(str(options.pop("mode", "RGB"))).save(file, "JPEG", **options)  # type: ignore[arg-type]
        return file.getvalue()

    samples = []
    for number in range(SAMPLES):
        made = plant_sample(number, PLANTS["control"])
        pool = [
            again(data, progressive=c.order < 0, quality=90)
            for data, c in zip(made.candidates, made.record.candidates, strict=True)
        ]
        context = tuple(again(data, mode="L") for data in made.context)
        samples.append(Sample(record=made.record, context=context, candidates=tuple(pool)))
    write_shard(tmp_path / "a.tar", samples)
    assert "probe-artefacts" in audit(tmp_path / "a.tar").leaks


def test_only_a_built_in_encoder_of_the_build_is_loaded(tmp_path: Path, tinyvit: str) -> None:
    sample = make_sample(0)
    for name in ("test", "open_clip:ViT-B-32//home/me/weights.pt"):
        record = replace(sample.record, encoder_name=name)
        write_shard(tmp_path / "a.tar", [Sample(record=record, context=sample.context, candidates=sample.candidates)])
        with pytest.raises(ConfigError, match="name it with --embedder, or give --no-embedding"):
            embedder_for(tmp_path / "a.tar")
    assert embedder_for(tmp_path / "a.tar", tinyvit).encoder.name == tinyvit


def test_plants_change_only_the_planted_property() -> None:
    """Both shards show the same frames, and the gap is where the record says."""
    plain, larger = (plant_sample(5, PLANTS[name]) for name in ("control", "larger JPEGs"))
    assert plain.record == larger.record
    assert plain.record.mask_start == GAP
    for a, b, c in zip(plain.candidates, larger.candidates, plain.record.candidates, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(a))), np.asarray(Image.open(io.BytesIO(b))))
        assert (len(a) > len(b)) == (c.order < 0)


@pytest.fixture(scope="module")
def audited(strips: Path) -> Audit:
    return audit(strips)


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pairs of same-strip twins, of 12 videos; the candidates of one are one smooth motion."""
    made = (sample for number in range(24) for sample in strip_twins(number, videos=12, bridge=1 + number % 3))
    path = tmp_path_factory.mktemp("strips") / "a.tar"
    write_shard(path, made)
    return path


def test_same_strip_twins_need_the_gap(audited: Audit) -> None:
    """Only the joint fit is right on both twins; gap-blind solvers score 0 by construction."""
    (part,) = audited.parts
    results = {result.name: result for result in part.results}
    assert (part.pairs, part.orphans, next(iter(part.chance))) == (24, 0, "pair")
    for name in ("context-bag-pixels", "context-bag-hog", "split-runs"):
        for metric in ("selection", "pair", "pair set"):
            estimate = results[name].estimates[metric]
            assert (estimate.low, estimate.mean, estimate.high) == (0, 0, 0), (name, metric)
    assert results["split-runs"].estimates["exact"].mean > 0.3
    assert results["joint-all"].estimates["pair"].mean > 0.8
    assert results["joint-all"].verdict == "wins"
    assert audited.leaks == ()


def test_the_place_of_the_gap_is_reported_against_its_floor(audited: Audit) -> None:
    """All gaps of these twins are at one place or a bridge later, so their place tells the twin."""
    (part,) = audited.parts
    assert part.told_first is not None
    assert part.told_first.mean > 0.9
    (result,) = (result for result in part.results if result.name == "mask-start")
    assert result.estimates["pair"].chance == pytest.approx(2 * part.told_first.chance - 1)


def test_rows_and_visible_frames(audited: Audit) -> None:
    assert next((row.name, row.samples) for row in audited.parts[0].rows) == ("same strip", 48)
    assert [(shown.split, shown.samples, shown.one) for shown in audited.shown] == [("train", 48, 0)]


def test_samples_of_pairs_are_audited_together(strips: Path) -> None:
    for samples, pairs in ((20, 10), (21, 10), (3, 1), (1, 1)):
        (part,) = audit(strips, samples=samples).parts
        assert (part.pairs, part.orphans, part.samples) == (pairs, 0, 2 * pairs)


def test_orphans_give_a_warning(strips: Path, tmp_path: Path) -> None:
    whole = list(read_shard(strips))
    write_shard(tmp_path / "a.tar", whole[3:])
    (part,) = audit(tmp_path / "a.tar").parts
    assert (part.pairs, part.orphans) == (22, 1)
    assert any("1 of 23 pairs have only one of their two samples" in warning for warning in part.warnings)


def test_answers_in_other_samples_are_found(tmp_path: Path) -> None:
    """Every second sample is a copy of the strip whose context shows the hidden frames of the first."""
    samples = []
    for number in range(24):
        hiding, other = strip_twins(number, videos=12)
        frames = dict(zip([c.frame for c in hiding.record.candidates], hiding.candidates, strict=True))
        frames |= dict(zip([c.frame for c in hiding.record.context], hiding.context, strict=True))
        shown = (*range(2, 9), *range(14, 19))  # both frames next to the gap, and all hidden frames between them
        context = tuple(replace(c, frame=f, time_s=float(f)) for c, f in zip(other.record.context, shown, strict=True))
        record = replace(other.record, key=f"other{number}", pair_id="", mask_start=7, context=context)
        samples += [replace(hiding, record=replace(hiding.record, pair_id=""))]
        samples += [Sample(record=record, context=tuple(frames[f] for f in shown), candidates=other.candidates)]
    write_shard(tmp_path / "a.tar", samples)
    found = audit(tmp_path / "a.tar")
    assert [(shown.samples, shown.whole) for shown in found.shown] == [(48, 24)]
    assert "cross-sample" in found.leaks


def test_a_second_encoder_adds_a_space(control: Path) -> None:
    found = audit(control, embedder=MeanColour(), second=MeanColour(), samples=9)
    assert (found.encoder, found.second_encoder) == ("test:colour", "test:colour")
    assert {"path-second", "joint-second", "path-hog"} <= outcomes(found).keys()


def test_the_second_encoder_is_another_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(spec: str) -> MeanColour:
        loaded.append(spec)
        if spec == "builtin:dinov2-s" and len(loaded) > 2:
            raise WeightsError("missing")
        return MeanColour()

    monkeypatch.setattr("mvp_data.audit.run.load_embedder", load)
    first = MeanColour()
    first.encoder = replace(first.encoder, name="builtin:tinyvit")
    assert second_embedder_for("none", first) is None
    assert second_embedder_for("", first) is not None
    assert second_embedder_for("builtin:tinyvit", first) is not None
    assert second_embedder_for("", first) is None
    assert loaded == ["builtin:dinov2-s", "builtin:tinyvit", "builtin:dinov2-s"]
