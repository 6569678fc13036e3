"""What every paper's configuration owes the paper."""

from importlib import import_module

import pytest

from common.study.card import list_papers
from common.study.configuration import configure, paper_values


@pytest.mark.parametrize("slug", list_papers())
def test_the_paper_profile_keeps_every_value_of_the_paper_and_names_its_place(slug):
    experiment = import_module(f"papers.{slug}.experiment")
    config = configure(experiment.Config, experiment.PROFILES, "paper")
    for name, (value, place) in paper_values(experiment.Config).items():
        assert config.value(name) == value
        assert place
