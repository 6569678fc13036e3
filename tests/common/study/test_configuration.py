from dataclasses import dataclass

import pytest

from common.study.configuration import configure, paper, paper_values
from common.study.errors import StudyError


@dataclass(frozen=True)
class Config:
    rate: float = paper(1e-6, "App. B.1")
    steps: int = 3
    k: float | None = 0.4
    name: str = "x"


PROFILES = {"paper": {}, "laptop": {"rate": 0.1}}


def test_the_paper_profile_is_the_papers_values_with_their_place():
    assert configure(Config, PROFILES, "paper").rate == 1e-6
    assert paper_values(Config) == {"rate": (1e-6, "App. B.1")}
    assert configure(Config, PROFILES, "laptop").rate == 0.1


def test_overrides_are_read_with_the_type_of_their_field():
    config = configure(Config, PROFILES, "laptop", {"steps": "7", "rate": "2e-3", "name": "7"})
    assert (config.steps, config.rate, config.name) == (7, 2e-3, "7")


@pytest.mark.parametrize(
    ("profile", "overrides", "message"),
    [
        ("labtop", {}, "unknown profile 'labtop', did you mean 'laptop'"),
        ("laptop", {"step": "1"}, "unknown parameter 'step', did you mean 'steps'"),
        ("laptop", {"steps": "ten"}, "parameter 'steps' expects int, got 'ten'"),
        ("laptop", {"steps": "1.5"}, "parameter 'steps' expects int, got '1.5'"),
        ("laptop", {"rate": "fast"}, "parameter 'rate' expects float, got 'fast'"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_fix(profile, overrides, message):
    with pytest.raises(StudyError, match=message):
        configure(Config, PROFILES, profile, overrides)


def test_a_profile_that_names_an_unknown_field_is_an_error():
    with pytest.raises(StudyError, match="parameter in profile 'laptop' 'stepz'"):
        configure(Config, {"laptop": {"stepz": 1}}, "laptop")
