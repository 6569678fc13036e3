"""The level of isolation stands in the manifest of what ran generated code, and in no key."""

import time

import pytest

from common.sandbox.contract import Level
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.provenance import sandbox_levels
from common.study.store import Cost, Store
from common.study.worker import Limits, execute
from tests.common.sandbox.conftest import start


def job_of(name, **config):
    return Job("answers", {}, f"tests.common.sandbox.generated:{name}", config, (1,))


def cost_of(job, folder):
    assert execute(job, job_key(job), folder, Limits(), None, time.time()).error == ""
    return Store(folder).cost(job_key(job))


@pytest.mark.parametrize("level", list(Level))
def test_a_job_notes_the_level_of_its_sandbox(tmp_path, level):
    start(level).close()  # skips where the kernel does not reach it
    assert cost_of(job_of("answers", level=level.name), tmp_path).sandbox == level.name.lower()


def test_a_job_without_generated_code_says_so(tmp_path):
    assert cost_of(job_of("nothing"), tmp_path).sandbox == "not used"


def test_a_manifest_lists_the_levels():
    costs = [Cost(1.0, 1.0), Cost(1.0, 1.0, sandbox="limits"), Cost(1.0, 1.0, sandbox="full")]
    assert sandbox_levels(costs) == "full, limits"
    assert sandbox_levels(costs[:1]) == "not used"
