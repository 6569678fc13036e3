"""Sandboxes at each level, started once; what needs a level that is not reached is skipped by name."""

from __future__ import annotations

import os

import pytest

from common.sandbox.contract import Level, Limits, SandboxError
from common.sandbox.pool import Sandbox

# The wall is far, so that on a busy machine nothing else than what is tested ends a program.
QUICK = Limits(wall=120.0, cpu=1, memory=128, disk=8, processes=6, output=4096)
SECRET = "kept outside"


def start(level: Level) -> Sandbox:
    """A sandbox at exactly `level`; a test that needs it is skipped where there is none."""
    os.environ["SANDBOX_TEST_SECRET"] = SECRET
    try:
        return Sandbox(level, preload=("json", "ctypes", "socket", "threading"), limits=QUICK, most=level)
    except SandboxError as error:
        pytest.skip(f"needs the level {level.name}: {error}")
    finally:
        del os.environ["SANDBOX_TEST_SECRET"]


@pytest.fixture(scope="module")
def full():
    with start(Level.FULL) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def limits():
    with start(Level.LIMITS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module", params=list(Level), ids=lambda level: level.name.lower())
def either(request):
    with start(request.param) as sandbox:
        yield sandbox
