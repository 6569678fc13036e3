"""OpChain as a task of a run."""

import pytest

from common.rl.run import Run
from common.tasks import opchain
from common.tasks.opchain.training import OpChain
from tests.common.rl.test_run import RUN


def test_the_mix_of_levels_is_that_of_the_run():
    run: Run = RUN.changed({"training_prompts": 100, "mix": "0.6,0.3,0.1,0"})
    levels = [item.level for item in OpChain(run, 0).training]
    assert [levels.count(level) for level in opchain.LEVELS] == [60, 30, 10, 0]
    with pytest.raises(ValueError, match="shares of E, M, H, X"):
        OpChain(run.changed({"mix": "0.5,0.5"}), 0)
