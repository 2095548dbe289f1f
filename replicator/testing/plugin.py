"""The pytest plugin: fixtures, a marker, options, and what a failing test is told.

    @pytest.mark.topology(replicas=1, engine="redis")
    def test_it(topology): ...                  # started, and ended with the test

    def test_it(topology_of): ...               # a factory, for tests that want several or say later what they want

    def test_it(session_topology): ...          # one for the whole session; `topology_options` says which

What `topology` starts without a marker is of the engine that the option --topology-engine (or the ini value
topology_engine) says, with two replicas. A failing test's report gets the timeline and the end of each node's log, and
where the HTML page lies.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from replicator.testing.topologies import Topology

_LOG_LINES = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    """--topology-engine, --topology-report."""
    group = parser.getgroup("replicator")
    group.addoption("--topology-engine", metavar="ENGINE", help="replicator, redis, valkey or the path of a server")
    group.addoption("--topology-report", metavar="FOLDER", help="where the HTML pages of failing tests go")
    parser.addini("topology_engine", "the engine of topologies (replicator, redis, valkey, PATH)", default="replicator")


def pytest_configure(config: pytest.Config) -> None:
    """The marker has a line in --markers."""
    config.addinivalue_line(
        "markers", "topology(replicas=2, sentinels=0, engine=..., **options): of the fixture topology"
    )


def _made() -> list[Topology]:
    """Those of this test and of the session; empty as long as nobody has made one."""
    module = sys.modules.get("replicator.testing.topologies")
    return [] if module is None else module.made


def _options(config: pytest.Config, given: dict[str, Any]) -> dict[str, Any]:
    engine = config.getoption("--topology-engine") or config.getini("topology_engine")
    return {"engine": engine, **given}


@pytest.fixture
def topology_of(pytestconfig: pytest.Config) -> Iterator[Callable[..., Topology]]:
    """topology_of(replicas=2, ...): a running topology, ended with the test."""
    from replicator.testing.topologies import Topology

    started: list[Topology] = []

    def make(*arguments: Any, **options: Any) -> Topology:
        made = Topology(*arguments, **_options(pytestconfig, options))
        made.__enter__()
        started.append(made)
        return made

    yield make
    for one in started:
        one.close()


@pytest.fixture
def topology(request: pytest.FixtureRequest, topology_of: Callable[..., Topology]) -> Topology:
    """A running topology, as the marker topology(...) says."""
    marker = request.node.get_closest_marker("topology")
    return topology_of(*(marker.args if marker else ()), **(marker.kwargs if marker else {}))


@pytest.fixture(scope="session")
def topology_options() -> dict[str, Any]:
    """What session_topology is made with: to be overridden in a conftest.py."""
    return {}


@pytest.fixture(scope="session")
def session_topology(pytestconfig: pytest.Config, topology_options: dict[str, Any]) -> Iterator[Topology]:
    """One running topology for all tests that ask for it; they see what others did to it."""
    from replicator.testing.topologies import Topology

    with Topology(**_options(pytestconfig, topology_options)) as made:
        yield made


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Topologies of earlier tests that have ended are no concern of this one."""
    made = _made()
    made[:] = [one for one in made if one.is_running]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Tell a failing test what its topologies went through."""
    report: Any = yield
    if call.when == "call" and report.failed:
        for number, one in enumerate(_made()):
            if one.was_started:
                report.sections.append((f"topology {number + 1}: what happened", one.timeline()))
                for name in one.nodes:
                    tail = one[name].log.splitlines()[-_LOG_LINES:]
                    report.sections.append((f"topology {number + 1}: log of {name}", "\n".join(tail)))
                report.sections.append((f"topology {number + 1}: page", str(_page(item, one, number))))
    return report  # type: ignore[no-any-return]  # pytest takes what a wrapper returns for the hook's result


def _page(item: pytest.Item, one: Topology, number: int) -> Path:
    folder = Path(
        item.config.getoption("--topology-report") or Path(tempfile.gettempdir(), f"topologies-{os.getuid()}")
    )
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in item.nodeid)
    path = folder.resolve() / f"{name[-120:]}-{number + 1}.html"
    one.report(path)
    return path
