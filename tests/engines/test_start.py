"""The engine that the options choose."""

import socket
import sys
from pathlib import Path

import pytest

from mvp_data.config.options import from_options
from mvp_data.core.errors import ConfigError, MissingDependencyError
from mvp_data.engines import local
from mvp_data.engines.base import Limits
from mvp_data.engines.local import Local
from mvp_data.ingest.scheduler import engine_for
from tests.engines.local_jobs import act


def test_the_default_is_this_machine(tmp_path: Path) -> None:
    config = from_options({"src": "videos", "out": tmp_path / "out", "workers": 2})
    with engine_for(config) as engine:
        assert isinstance(engine, Local)
        assert engine.worker_count == 2
        done = engine.run_all(act, [("a", 1), ("b", 2)], limits=Limits(timeout_s=30.0), stop=lambda: False)
        assert dict(done) == {("a", 1): "a 1", ("b", 2): "b 2"}


def test_alone_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(local, "run_all", lambda work, jobs, *, workers, **_: iter([asked.append(workers)]))
    for alone in (False, True):
        list(Local(5).run_all(act, [], limits=Limits(), stop=lambda: False, alone=alone))
    assert asked == [5, 1]


def test_without_ray_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    config = from_options({"src": "videos", "out": tmp_path / "out", "engine": "ray"})
    with (
        pytest.raises(MissingDependencyError, match=r"pip install 'masked-video-prediction\[ray\]'"),
        engine_for(config),
    ):
        pass


@pytest.mark.parametrize("address", ["ray://head:1", "head", "head:port", "head:70000"])
def test_an_address_must_be_host_and_port(tmp_path: Path, address: str) -> None:
    config = from_options({"src": "videos", "out": tmp_path / "out", "engine": "ray", "ray_address": address})
    with pytest.raises(ConfigError, match=f"{address} is not HOST:PORT"), engine_for(config):
        pass


def test_an_address_where_nobody_listens_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        config = from_options({"src": "videos", "out": tmp_path / "out", "engine": "ray", "ray_address": address})
        with pytest.raises(ConfigError, match=f"nothing answers at {address}"), engine_for(config):
            pass
