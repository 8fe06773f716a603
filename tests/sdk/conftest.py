"""Two upstreams and the gateway before them, fresh for each test, and ended whatever becomes of it."""

import os
import signal

import pytest

from gateway import BINARY, Gateway
from upstream import Upstream

# The SDKs would send requests for loopback through a proxy of the surroundings.
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ.pop(name, None)
    os.environ.pop(name.lower(), None)


def pytest_configure():
    # A run that is told to end takes its gateway with it.
    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def pytest_report_header():
    return f"gateway: {BINARY}"


@pytest.fixture(params=["anthropic", "openai"])
def sdk(request):
    return request.param


@pytest.fixture
def first():
    """The primary."""
    with Upstream("first") as upstream:
        yield upstream


@pytest.fixture
def second():
    """The secondary."""
    with Upstream("second") as upstream:
        yield upstream


@pytest.fixture
def settings():
    """Further settings of the gateway; a file of tests may have its own."""
    return ""


@pytest.fixture
def gateway(sdk, first, second, tmp_path, settings):
    with Gateway(tmp_path, sdk, {"first": first, "second": second}, settings) as gateway:
        yield gateway
