"""What entry points use of jobs and records."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from common.study.configuration import Settings
from common.study.errors import StudyError
from common.study.jobs import Job, Record, portions
from common.study.rows import misfits, part_columns, row_counts
from common.study.study import labelled, tidy

JOB = Job("s", {}, "", {"length": 3, "rate": 0.5, "arm": "a"}, (4,))


@dataclass
class World:
    length: int
    rates: tuple[float, ...]
    prompts: int = 8


def test_a_job_reads_what_a_dataclass_has_a_field_for():
    assert JOB.read(World, rates=(0.1,)) == World(3, (0.1,), 8)
    with pytest.raises(TypeError, match="rates"):
        JOB.read(World)


def test_a_record_of_one_seed_has_one_row():
    record = Record.of_one_seed({"share": 0.25}, {"p": [0, 1], "none": []})
    assert record.scalars["share"].shape == (1,)
    np.testing.assert_array_equal(record.series["p"], [[0.0, 1.0]])
    assert record.frame(JOB.seeds)["seed"].unique().tolist() == [4]
    with pytest.raises(ValueError, match="one row per seed"):
        record.frame(replace(JOB, seeds=(0, 1)).seeds)


def test_portions_hold_every_seed_once_and_in_order():
    assert list(portions(range(5), 2)) == [(0, 1), (2, 3), (4,)]
    assert list(portions((), 2)) == []


def test_a_flat_configuration_has_dotted_names():
    class Group(Settings):
        batch: int = 2

    class Config(Settings):
        run: Group = Group()
        seeds: int = 1

    assert Config().flat() == {"run.batch": 2, "seeds": 1}


def test_parts_of_a_record_are_rows_with_their_own_columns():
    parts = [({"arm": arm}, Record({"score": np.array([value])})) for arm, value in (("a", 1.0), ("b", 2.0))]
    frame = Record({"seconds": np.array([3.0])}, parts=parts).frame((4,))
    assert frame[["name", "arm", "value"]].fillna("-").to_numpy().tolist() == [
        ["seconds", "-", 3.0],
        ["score", "a", 1.0],
        ["score", "b", 2.0],
    ]


def test_a_column_of_a_record_that_is_also_a_label_of_its_job_is_named():
    values = Record(parts=[({"arm": "b"}, Record({"score": np.zeros(1)}))]).frame((4,))
    with pytest.raises(StudyError, match=r"s arm=a seed=4: .* both have a column 'arm'"):
        labelled(replace(JOB, labels={"arm": "a"}), values)
    assert labelled(JOB, values)["sweep"].tolist() == ["s"]


class TestRowsOfParts:
    """What `verify` asks of a frame whose records bring columns themselves."""

    JOBS = (
        Job("train", {"objective": "a"}, "", {}, (4,)),
        Job("cost", {}, "", {}, (4,)),
    )

    def frame(self):
        cost = Record(parts=[({"objective": name}, Record({"seconds": np.ones(1)})) for name in "ab"])
        train = Record({"score": np.ones(1)})
        return tidy(
            [labelled(job, record.frame((4,))) for job, record in zip(self.JOBS, (train, cost), strict=True)]
        )

    def test_they_are_counted_with_their_job(self):
        frame = self.frame()
        assert part_columns(frame, self.JOBS) == {"cost": ["objective"]}
        assert row_counts(frame, self.JOBS) == [1, 2]
        assert misfits(frame, self.JOBS, {"cost": ["objective"]}) == []

    def test_columns_that_the_manifest_does_not_name_are_of_no_job(self):
        frame = self.frame()
        lines = misfits(frame, self.JOBS)
        assert lines[0] == "no rows of job cost seed=4, seed 4"
        assert lines[1] == "rows of sweep=cost objective=a seed=4 are of no job"
        added = frame.assign(lucky=1)
        assert misfits(added, self.JOBS, {"cost": ["objective"]})[0].startswith(
            "columns are sweep, objective"
        )

    def test_a_part_of_another_sweep_is_of_no_job(self):
        frame = self.frame()
        forged = pd.concat([frame, frame[frame["name"] == "score"].assign(objective="c")])
        lines = misfits(forged, self.JOBS, {"cost": ["objective"]})
        assert lines == ["rows of sweep=train objective=c seed=4 are of no job"]
