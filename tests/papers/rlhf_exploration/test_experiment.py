"""The study's configuration: no value pretends to be the paper's; every sweep of the card has jobs."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure, paper_values
from papers.rlhf_exploration.experiment import COIN_BETA, HARD_BETA, HARD_GAP, PROFILES, Config, jobs
from papers.rlhf_exploration.method import PROTOCOLS

CARD = load_card("rlhf_exploration")


def test_the_paper_reports_no_value_and_none_is_declared():
    assert paper_values(Config) == {}
    assert not any(figure.reported for figure in CARD.figures.values())
    cells = [cell for table in CARD.tables.values() for row in table.reported.rows.values() for cell in row]
    assert all(cell is None or isinstance(cell, str) for cell in cells)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_sweep_of_the_card_has_jobs_at_every_profile(profile):
    sweeps = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert sweeps == CARD.needs() - ({"lm"} if profile == "smoke" else set())


def test_the_settings_that_claims_read_are_run_at_laptop():
    config = configure(Config, PROFILES, "laptop")
    assert HARD_BETA in config.ce1.betas
    assert COIN_BETA in config.ce1.betas
    assert {HARD_GAP, 2.0, 4.0, 10.0} <= set(config.ce2.gaps)
    assert config.envelope.seeds >= 30
    assert config.ce1.seeds >= 30
    assert config.ce2.seeds >= 12


def test_protocols_of_a_cell_differ_in_the_protocol_alone():
    cells: dict[tuple, set[str]] = {}
    for job in jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged):
        if job.sweep in ("ce1", "ce2"):
            rest = tuple(sorted((key, value) for key, value in job.config.items() if key != "protocol"))
            cells.setdefault((*rest, job.seeds), set()).add(job.config["protocol"])
    assert all(names == set(PROTOCOLS) for names in cells.values())
    assert len(cells) == 11


def test_judged_seeds_are_the_cards():
    laptop = jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged)
    assert {seed for job in laptop for seed in job.seeds} == set(range(3000, 3030))
