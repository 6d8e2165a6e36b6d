"""The pytest plugin: the fixture `wf_env`. Nothing of wf is imported before it is used."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wf.testing import Env


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("wf").addoption(
        "--wf-crash",
        action="store_true",
        help="in tests with wf_env, lose the worker at every step: before its result is written, "
        "and after it",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "wf(**options): how wf_env is made, with the arguments of wf.testing.Env"
    )


@pytest.fixture
def wf_env(request: pytest.FixtureRequest) -> Generator[Env]:
    """An engine with virtual time for this test: see `wf.testing.Env`."""
    from wf.testing import Env

    marker = request.node.get_closest_marker("wf")
    options = dict(marker.kwargs) if marker is not None else {}
    options.setdefault("crash", request.config.getoption("--wf-crash"))
    with Env(**options) as env:
        yield env
