"""Each benchmark runs at a tiny setting and ends with one line of JSON; speed itself is not judged here."""

import json
import os

import pytest

from common.study.assets import missing, reason
from common.study.paths import ROOT
from tests import forks

pytestmark = pytest.mark.slow

KEYS = {"benchmark", "ratio", "min", "max", "n", "seconds", "bound", "seeds", "threads", "load", "machine"}
FURTHER = {
    "agents": {"aim", "rows", "turns", "tokens_per_second"},
    "decoder": {"rows", "row_steps", "at_evaluation"},
    "decoder_hooks": {"aim", "off", "same_texts", "rows", "megabytes", "smollm2"},
    "grpo_step": {
        *("aim", "dense", "update_only", "rows_kept", "update_share_of_stock"),
        *("prompts", "samples", "steps_per_batch", "parameters"),
    },
    "reproduce_warm": {"aim", "warm_seconds"},
    "sandbox": {"aim", "programs_per_second", "cpu_seconds_per_program", "level"},
    "speculative": {
        *("over_plain", "over_generate", "tokens_per_second", "acceptance_length", "cycle_ms", "same_texts"),
        *("peak_mb", "by_rows", "c_peak", "forward_ms"),
    },
    "speculative_smollm2": {"aim", "decoders"},
    "two_workers": {"aim", "host", "jobs"},
}
NEEDS = {"speculative_smollm2": ("smollm2", "humaneval", "trivia")}


def test_every_benchmark_is_tested():
    files = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert files == set(FURTHER)


@pytest.mark.parametrize("name", FURTHER)
def test_the_output_is_one_line_of_json_with_the_bound_beside_the_measurement(name, tmp_path):
    if lacking := missing(NEEDS.get(name, ())):
        pytest.skip(reason(lacking))
    done = forks.run(("--quick",), tmp_path, os.environ, ROOT / "benchmarks" / f"{name}.py")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    content = json.loads(line)
    assert set(content) == KEYS | FURTHER[name]
    assert 0 < content["min"] <= content["ratio"] <= content["max"]
    assert content["bound"] > 0
    assert content["seeds"]
