import pytest

from common.study.configuration import Settings, configure, paper, paper_values
from common.study.errors import StudyError


class Theory(Settings):
    draws: int = 1000
    steps: int = 9


class Tabular(Settings):
    draws: int = 5
    prompts: int = paper(512, "Table 6")


class Config(Settings):
    rate: float = paper(1e-6, "App. B.1")
    steps: int = 3
    k: float | None = 0.4
    name: str = "x"
    theory: Theory = Theory()
    tabular: Tabular = Tabular()


PROFILES = {"paper": {}, "laptop": {"rate": 0.1, "tabular.prompts": 8}}


def test_the_paper_profile_is_the_papers_values_with_their_place():
    assert configure(Config, PROFILES, "paper").rate == 1e-6
    assert paper_values(Config) == {"rate": (1e-6, "App. B.1"), "tabular.prompts": (512, "Table 6")}
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
        ("laptop", {"draws": "3"}, "'draws' stands in several groups; write theory.draws or tabular.draws"),
        ("laptop", {"theory.prompts": "3"}, "unknown parameter 'theory.prompts', did you mean"),
        ("laptop", {"theory": "3"}, "unknown parameter 'theory', did you mean"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_fix(profile, overrides, message):
    with pytest.raises(StudyError, match=message):
        configure(Config, PROFILES, profile, overrides)


def test_a_profile_that_names_an_unknown_field_is_an_error():
    with pytest.raises(StudyError, match="parameter in profile 'laptop' 'stepz'"):
        configure(Config, {"laptop": {"stepz": 1}}, "laptop")


def test_a_field_of_a_group_has_a_dotted_name_of_which_the_last_part_is_enough_if_it_stands_alone():
    config = configure(Config, PROFILES, "laptop", {"theory.draws": "7", "prompts": "3"})
    assert (config.theory.draws, config.tabular.draws, config.tabular.prompts) == (7, 5, 3)
    assert (
        configure(Config, PROFILES, "laptop", {"steps": "4"}).theory.steps == 9
    )  # the exact name comes first


def test_a_changed_copy_is_checked_as_a_new_one_is():
    config = Config().changed({"theory.draws": 7, "k": None})
    assert (config.theory.draws, config.k, Config().theory.draws) == (7, None, 1000)
    with pytest.raises(StudyError, match=r"parameter 'steps' cannot be 1\.5"):
        config.changed({"steps": 1.5})
    with pytest.raises(StudyError, match="parameter 'draws' cannot be 'many'"):
        config.changed({"theory.draws": "many"})
