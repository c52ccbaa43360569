"""Runs a Ray cluster of two nodes on this machine until it is killed: `python -m tests.ray_nodes FOLDER CPUS`.

FOLDER/address appears when the cluster is ready. Create FOLDER/kill to kill the second node; FOLDER/killed appears
afterwards.
"""

import sys
import time
from pathlib import Path
from typing import Any

from tests.clusters import Site

STORE_BYTES = 100 << 20


def main(folder: Path, cpus: int) -> None:
    from ray.cluster_utils import Cluster

    each: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=each)
    second = cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    write(folder / "address", cluster.address)
    while not (folder / "kill").exists():
        time.sleep(0.02)
    cluster.remove_node(second, allow_graceful=False)
    write(folder / "killed", "")
    while True:
        time.sleep(60)


def write(path: Path, text: str) -> None:
    """Write a file in one step, because another process waits for it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def start_nodes(place: Site, *, cpus: int = 1, limit_s: float = 90.0) -> str:
    """Start such a cluster, which ends with the site; return its address."""
    process = place.start("nodes.log", ["-m", "tests.ray_nodes", str(place.folder), str(cpus)])
    until = time.monotonic() + limit_s
    while not (place.folder / "address").exists():
        assert process.poll() is None, place.output("nodes.log")
        assert time.monotonic() < until, place.output("nodes.log")
        time.sleep(0.1)
    return (place.folder / "address").read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
