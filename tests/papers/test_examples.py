"""The examples of the READMEs on SmolLM2: what is replaced is there, and the committed runs are of it."""

import ast
import json
from importlib import import_module

import pandas as pd
import pytest

from common.study.assets import ASSETS
from common.study.card import list_papers
from common.study.example import MODEL, adapted
from common.study.paths import EXAMPLE, ROOT, papers_root, results_root

SLUGS = [slug for slug in list_papers() if (papers_root() / slug / "example.py").is_file()]


def setting(slug):
    return import_module(f"papers.{slug}.example")


@pytest.mark.parametrize("slug", SLUGS)
def test_what_is_replaced_stands_in_the_example_once(slug):
    code = adapted(slug, setting(slug).REPLACED)
    ast.parse(code)
    assert f'"{MODEL}"' in code


@pytest.mark.parametrize("slug", SLUGS)
def test_the_committed_run_is_of_this_example_and_model_and_is_of_a_clean_tree(slug):
    folder = results_root() / slug / EXAMPLE
    manifest, log = json.loads((folder / "manifest.json").read_text()), pd.read_csv(folder / "log.csv")
    assert manifest["replaced"] == setting(slug).REPLACED
    assert manifest["model"]["sha256"] == ASSETS[MODEL].sha256
    assert manifest["dirty"] is None
    assert manifest["cost"]["core_seconds"] <= 300
    for what in setting(slug).SHOWN:
        trainer, column = what.split()
        assert log.loc[log["trainer"] == trainer, column].notna().sum() >= 3, what
    assert (folder / "curve.png").stat().st_size > 5000


@pytest.mark.parametrize("slug", SLUGS)
def test_the_readme_links_to_its_run(slug):
    readme = (ROOT / "papers" / slug / "README.md").read_text()
    assert f"`make example PAPER={slug}`" in readme
    assert f"(../../results/{slug}/{EXAMPLE}/curve.png)" in readme


def test_the_template_and_the_study_have_no_example():
    assert not {"zoo", "_template"} & {*SLUGS}
