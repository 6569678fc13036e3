"""What people see: text as it was written, whatever it contains and wherever it goes."""

import yaml

HOSTILE = "[/b] [low, high] [red]x :smile:"
KEPT = ("slug", "arxiv", "year", "seeds", "kind", "role", "test", "control", "primary", "profile")


def hostile(part, key=""):
    """The same card with `HOSTILE` behind every text that a person chooses."""
    if key in KEPT or part is None:
        return part
    if isinstance(part, dict):
        return {name: hostile(value, name) for name, value in part.items()}
    if isinstance(part, list):
        return [hostile(value) for value in part]
    return f"{part} {HOSTILE}" if isinstance(part, str) else part


def test_every_verb_shows_the_text_of_a_card_as_it_is(repository):
    path = repository.root / "papers" / "toy" / "paper.yaml"
    path.write_text(yaml.safe_dump(hostile(yaml.safe_load(path.read_text())), sort_keys=False))
    repository.edit("experiment.py", '"noise"', f'"noise {HOSTILE}"')
    repository.edit("experiment.py", '"method", 2.0', f'"method {HOSTILE}", 2.0')
    repository.edit("report.py", '_scores(frame, "method")', f'_scores(frame, "method {HOSTILE}")')

    def shown(*arguments):
        done = repository(*arguments, COLUMNS="400")
        assert done.returncode == 0, done.stderr
        return done.stdout.count(HOSTILE)

    assert shown("plan", "toy") == 2  # the sweep and the tuning budget
    assert shown("reproduce", "toy", "--update") >= 4  # every statement, and why one is untested
    assert shown("list", "toy") >= 8
    assert shown("list") == 1
    for arguments in (("verify", "toy"), ("status",), ("gc", "--dry-run"), ("clean", "toy")):
        shown(*arguments)


def test_a_misspelt_sweep_is_an_error_that_names_it(repository):
    """It would leave a claim untested, and the run would end well."""
    repository.edit("paper.yaml", "metric: error, needs: [noise]", "metric: error, needs: [niose]")
    done = repository("reproduce", "toy", "--profile", "smoke")
    assert done.returncode == 1
    assert (
        "unknown sweep 'niose', did you mean 'noise'? (needs of exact1 in papers/toy/paper.yaml)"
        in done.stderr
    )
