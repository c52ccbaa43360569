"""The checks of pairs: the candidates are the same, and the hidden run of one sample is the decoy run of the other."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mvp_data.core.seeds import stable_hash
from mvp_data.shards.record import Record
from mvp_data.verify.findings import Finding


class PairCheck:
    """Checks the pairs of one shard after the other; memory holds a hash of each `pair_id`."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def shard(self, records: Sequence[Record]) -> Iterator[Finding]:
        """The problems of the pairs in a whole shard: both samples of a pair are in one shard."""
        pairs: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record.pair_id:
                pairs[record.pair_id].append(record)
        for pair_id, members in pairs.items():
            name = stable_hash(pair_id)
            if name in self._seen or len(members) != 2:
                where = f"{len(members)} here" + (", others in another shard" if name in self._seen else "")
                text = f"{members[0].key}: pair {pair_id!r:.100} must have 2 samples in one shard, there are {where}"
            else:
                text = pair_problem(*members)
            self._seen.add(name)
            if text:
                yield Finding(check="pairs", text=text)


def pair_problem(a: Record, b: Record) -> str:
    """The rule that a pair breaks, or an empty string."""
    names = f"{a.key} and {b.key}, a pair,"
    for name in ("task", "split", "video_group", "pair_kind"):
        if getattr(a, name) != getattr(b, name):
            return f"{names} have {name} {getattr(a, name)!r:.100} and {getattr(b, name)!r:.100}"
    if (_run(a, "order"), _run(a, "decoy")) != (_run(b, "decoy"), _run(b, "order")):
        return f"{names}: the hidden frames of each are not the decoys of the other"
    if {(c.video_id, c.frame) for c in a.candidates} != {(c.video_id, c.frame) for c in b.candidates}:
        return f"{names} have different candidates"
    if a.pair_kind == "same_strip" and (a.video_id, a.context) != (b.video_id, b.context):
        return f"{names} are twins of one strip with different context frames"
    return ""


def _run(record: Record, kind: str) -> list[tuple[str, int]]:
    """The frames of the hidden run (`order`) or of the decoy run (`decoy`), first to last."""
    run = sorted((c for c in record.candidates if getattr(c, kind) >= 0), key=lambda c: getattr(c, kind))
    return [(c.video_id, c.frame) for c in run]
