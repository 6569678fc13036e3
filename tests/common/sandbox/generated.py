"""A job that runs generated code."""

import numpy as np

from common.sandbox.contract import Level
from common.sandbox.pool import Sandbox
from common.study.jobs import Record


def answers(job, workspace):
    with Sandbox(Level.LIMITS, most=Level[job.config["level"]]) as sandbox:
        return Record({"answer": np.array([float(sandbox.run("print(6 * 7)").stdout)])})


def nothing(job, workspace):
    return Record({"answer": np.zeros(1)})
