"""What holds for every test."""

import gc
import os
import random
import sys
from collections.abc import Iterator

# The cores are shared by whole tests: threads for small tensors would only wait, busily. Before any library.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Trainers take a GPU that they see, and with it other bits: every machine tests the same.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.scheduler.protocol import Scheduling

LONGEST = "test_notebooks.py"  # every paper at `smoke`

# Deadlines and the check for slow generation measure the clock: on a busy machine they fail without a fault.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test that draws from a global generator draws the same alone as after any other test."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global generator is what libraries draw from)
    if "torch" in sys.modules:  # who does not use it need not load it
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def frozen_imports() -> Iterator[None]:
    """Each training starts with a full garbage collection; let it not walk the imported modules.

    Nor let a session inside this one, which a gate of a mutant is, walk and thaw them.
    """
    inside = gc.get_freeze_count() > 0
    if not inside:
        gc.collect()
        gc.freeze()
    yield
    if not inside:
        gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: a worker waits a third of its time, for kills, time-outs and other processes."""
    return (os.cpu_count() or 1) + 1


class ByFileOrPaper(LoadFileScheduling):
    """A worker takes a whole file, which shares fixtures; of the longest one a paper's tests."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        paper = test.partition("[")[2].removesuffix("]")
        return f"{file} {paper}" if file.endswith(LONGEST) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """The scheduler above in the place of ``--dist``."""
    return ByFileOrPaper(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests start first, the longest before all: started last it would leave cores idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != LONGEST, item.path not in slow))
