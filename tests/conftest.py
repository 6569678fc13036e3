"""What holds for every test."""

import gc
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

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
    """Each training starts with a full garbage collection; let it not walk the imported modules."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
