"""The command line: `reprise <verb>`, which the Makefile calls."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from common.study import assets
from common.study.card import list_papers, load_card
from common.study.console import console, prepare_streams
from common.study.errors import StudyError
from common.study.paths import is_committed, papers_root, results_root
from common.study.study import Options, Study, parse_parameters

CONSOLE = console()
# jsonschema, below papermill, would build a grammar of IRIs for seconds; without it, it does not check them.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
PROFILE = click.option(
    "--profile",
    default="laptop",
    show_default=True,
    help="smoke, laptop, desk, gpu or paper: how large the run is.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; prints one clear line for a mistake, a traceback only with DEBUG=1."""
    prepare_streams()
    debug = bool(os.environ.get("DEBUG"))
    try:
        cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.ClickException as error:
        if debug:
            raise
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: finished jobs are kept, the same command goes on from there", err=True)
        sys.exit(130)
    except OSError as error:
        if debug:
            raise
        click.echo(
            f"error: {error.strerror or error}: {error.filename or ''} (DEBUG=1 shows where)", err=True
        )
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Reproduce papers: run their experiments, regenerate their tables and figures, judge their claims."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options shared by the verbs that describe a run."""
    decorators = [
        PROFILE,
        click.option("--seeds", default="", help="A count (3) or a list (5,8); default: the card's seeds."),
        click.option("--only", default="", help="Ids of tables, figures, claims, comma-separated."),
        click.option("--model", default="", help="Hub id, folder or asset (smollm2) to use."),
        click.option(
            "--set", "parameters", multiple=True, help="Override a configuration field: NAME=VALUE."
        ),
        click.option(
            "--workers", default=0, type=click.IntRange(min=0), help="Worker processes; 0: one a core."
        ),
        click.option("--backend", default="loky", type=click.Choice(["loky", "ray"]), help="Where jobs run."),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def _read(
    seeds: str, only: str, model: str, parameters: Sequence[str], workers: int, backend: str
) -> Options:
    ids = tuple(part.strip().lower() for part in only.split(",") if part.strip())
    return Options(seeds, ids, model, parse_parameters(" ".join(parameters)), workers, backend)


def _slugs(paper: str) -> list[str]:
    return list_papers() if paper == "all" else [load_card(paper).slug]


@cli.command()
@click.argument("paper")
@_options
@click.option("--update", is_flag=True, help="Write the tracked results/<paper>/<profile>/.")
def reproduce(paper: str, profile: str, update: bool, **given: Any) -> None:
    """Run the experiment of PAPER ('all' for every one) and regenerate its tables, figures and verdicts."""
    from common.study.housekeeping import in_use

    options = _read(**given)
    for slug in _slugs(paper):
        study = Study(slug, profile, options)
        with in_use(slug):
            _reproduce(study, update)


def _reproduce(study: Study, update: bool) -> None:
    from common.study import execution, ledger, results
    from common.study.artefacts import Artefacts
    from common.study.comparison import compare_runs

    start = time.perf_counter()
    if update and (lacked := study.lacked(study.every_job)):
        raise StudyError(f"UPDATE=1 {assets.reason(lacked)}")
    target = results.destination(study, update)
    results.check_writable(target)
    work = study.run()
    CONSOLE.print(f"{len(work.jobs) - len(work.pending)} jobs were there, {len(work.pending)} ran")
    artefacts = Artefacts(study)
    with CONSOLE.status("tables, figures, notebook"), results.staged(target) as folder:
        results.write(study, artefacts, folder, lambda path: execution.execute(study, path))
        compared = "" if update else compare_runs(folder, study.committed)
    if update:
        results.update_readmes(study, target)
    CONSOLE.print(ledger.terminal(study, artefacts.verdicts, artefacts.premises))
    if compared:
        CONSOLE.print(f"against the committed results: {compared}")
    CONSOLE.print(f"notebook: {results.relative(target / 'reproduce.ipynb')}", soft_wrap=True)
    CONSOLE.print(f"done in {time.perf_counter() - start:.0f} s")


@cli.command("verify")
@click.argument("paper")
@click.option("--profile", default="", help="One results folder; default: every committed profile.")
def verify_command(paper: str, profile: str) -> None:
    """Check the committed results of PAPER ('all' for every one) against card, code and stored values."""
    from common.study.verify import NOT_PROVED, verify_paper, verify_whole

    papers = (verify_paper(slug, profile) for slug in _slugs(paper))
    problems, consistent = 0, False
    for place, findings in chain(chain.from_iterable(papers), verify_whole() if paper == "all" else ()):
        problems += len(findings.problems)
        consistent |= findings.state == "consistent"
        CONSOLE.print(f"{place}: {findings.state}", soft_wrap=True)
        for line in (*findings.problems, *(f"note: {note}" for note in findings.notes)):
            CONSOLE.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if consistent:
        CONSOLE.print(NOT_PROVED, soft_wrap=True)
    if problems:
        raise StudyError(f"{problems} problem(s); make reproduce UPDATE=1 regenerates the results")


@cli.command()
@click.argument("paper")
@_options
def plan(paper: str, profile: str, **given: Any) -> None:
    """Show what `reproduce` would run, and the time it would take, without running it."""
    options = _read(**given)
    for slug in _slugs(paper):
        study = Study(slug, profile, options)
        work = study.plan()
        table = Table(title=f"{slug} at {profile}: {len(work.pending)} of {len(work.jobs)} jobs to run")
        for heading in ("sweep", "jobs", "to run", "core seconds"):
            table.add_column(heading, justify="left" if heading == "sweep" else "right")
        for sweep in dict.fromkeys(job.sweep for job in work.jobs.values()):
            keys = [key for key, job in work.jobs.items() if job.sweep == sweep]
            waiting = [key for key in keys if key in work.pending]
            seconds = sum(work.seconds[key] for key in waiting)
            table.add_row(sweep, str(len(keys)), str(len(waiting)), f"{seconds:.0f}")
        CONSOLE.print(table)
        workers = study.workers
        total = sum(work.seconds[key] for key in work.pending)
        CONSOLE.print(
            f"about {total / workers / 60:.1f} min on {workers} worker(s); the card's tuning budget:"
        )
        CONSOLE.print(f"  {study.card.tuning}", soft_wrap=True)


@cli.command("list")
@click.argument("paper", required=False)
def list_command(paper: str | None) -> None:
    """List the papers, or every table, figure and claim of PAPER."""
    if paper:
        _list_entries(paper)
        return
    table = Table(title="papers")
    for heading in ("paper", "title", "arXiv", "claims", "tables", "figures", "committed"):
        table.add_column(heading)
    for slug in list_papers():
        card = load_card(slug)
        done = sorted(
            path.name for path in (results_root() / slug).glob("*") if (path / "manifest.json").is_file()
        )
        shown = ", ".join(name for name in done if is_committed(name)) or "-"
        sizes = [str(len(part)) for part in (card.claims, card.tables, card.figures)]
        table.add_row(slug, card.title, card.arxiv or card.kind, *sizes, shown)
    CONSOLE.print(table)


def _list_entries(paper: str) -> None:
    card = load_card(paper)
    source = f"arXiv:{card.arxiv}" if card.kind == "paper" else card.kind
    table = Table(title=f"{card.title} ({source})")
    for heading in ("id", "kind", "what", "from"):
        table.add_column(heading)
    for name, entry in card.tables.items():
        table.add_row(
            name, "table", entry.title, entry.profile if not entry.absent else f"absent: {entry.absent}"
        )
    for name, figure in card.figures.items():
        table.add_row(
            name, "figure", figure.title, figure.profile if not figure.absent else f"absent: {figure.absent}"
        )
    for name, claim in card.claims.items():
        table.add_row(name, claim.kind, claim.statement, claim.profile)
    CONSOLE.print(table)


@cli.command("rejudge")
@click.argument("paper")
@click.option("--profile", default="", help="One results folder; default: every committed profile.")
def rejudge_command(paper: str, profile: str) -> None:
    """Judge the committed results of PAPER ('all' for every one) anew from their stored values."""
    from common.study import ledger, overview
    from common.study.rejudge import rejudge

    for slug in _slugs(paper):
        for name in [profile] if profile else [folder.name for folder in overview.committed(slug)]:
            made = rejudge(slug, name)
            CONSOLE.print(f"{slug}/{name}: {ledger.counts(made.verdicts, made.study.card.claims)}")


@cli.command("restore")
@click.argument("paper")
@PROFILE
def restore_command(paper: str, profile: str) -> None:
    """Take the records of the committed results of PAPER, so that a changed study computes what is new."""
    from common.study.rejudge import restore

    for slug in _slugs(paper):
        restored, left = restore(slug, profile)
        CONSOLE.print(f"{slug}/{profile}: {restored} records restored, {left} jobs left to compute")


@cli.command()
@click.argument("paper", default="all")
def status(paper: str) -> None:
    """Show which results exist, whether their sources are current, and their verdicts."""
    from common.study.status import rows

    table = Table(title="results")
    for heading in ("paper", "folder", "sources", "verdicts"):
        table.add_column(heading)
    for slug in _slugs(paper):
        for row in rows(slug):
            table.add_row(*row)
    CONSOLE.print(table)


@cli.command()
@click.option("--out", default="", help="Folder to write to; default: site/ of the repository.")
def site(out: str) -> None:
    """Write the committed results as web pages that open from a file."""
    from common.study.paths import ROOT
    from common.study.results import relative
    from common.study.site.build import build

    index = build(Path(out).absolute() if out else ROOT / "site")
    CONSOLE.print(f"open {relative(index)}", soft_wrap=True)


@cli.command()
@click.argument("paper")
def example(paper: str) -> None:
    """Run the example of PAPER's README on SmolLM2 for a few steps; writes results/<paper>/example."""
    from common.study.example import run

    folder = run(load_card(paper).slug)
    CONSOLE.print(f"log and curve: {os.path.relpath(folder)}", soft_wrap=True)


@cli.command("score")
@click.argument("paper")
@click.option("--benchmark", required=True, type=click.Path(path_type=Path), help="File of questions.")
@click.option("--answers", required=True, type=click.Path(path_type=Path), help="File of answers to them.")
def score_command(paper: str, benchmark: Path, answers: Path) -> None:
    """Score a user's answers to a benchmark of PAPER, where the paper reads one (its score.py)."""
    slug = load_card(paper).slug
    able = [name for name in list_papers() if (papers_root() / name / "score.py").is_file()]
    if slug not in able:
        raise StudyError(f"{slug} scores no benchmark; papers that do: {', '.join(able) or 'none'}")
    for line in import_module(f"papers.{slug}.score").lines(benchmark, answers):
        CONSOLE.print(line, markup=False, highlight=False, soft_wrap=True)


@cli.command("assets")
@click.argument("paper", required=False)
def assets_command(paper: str | None) -> None:
    """Bring the real models of set-up into this environment, and what the jobs of PAPER read beyond them."""
    names = [name for name, asset in assets.ASSETS.items() if asset.default]
    for slug in _slugs(paper) if paper else ():
        names += [name for name in _read_by(slug) if name not in names]
    for line in assets.install(names):
        click.echo(line)


def _read_by(slug: str) -> list[str]:
    """Assets that jobs of any profile of a paper read."""
    names: set[str] = set()
    for profile in Study(slug, "smoke").experiment.PROFILES:
        with suppress(StudyError):  # a profile that the study refuses has no jobs
            names.update(name for job in Study(slug, profile).every_job for name in job.assets)
    return sorted(names)


@cli.command()
@click.argument("paper")
def new(paper: str) -> None:
    """Scaffold the folder of a new PAPER that passes `make test` with untested claims."""
    from common.study.scaffold import scaffold

    for path in scaffold(paper):
        CONSOLE.print(f"wrote {os.path.relpath(path)}", soft_wrap=True)


@cli.command()
@click.argument("paper")
def clean(paper: str) -> None:
    """Remove the records and untracked results of PAPER; committed results stay."""
    from common.study import housekeeping

    for slug in _slugs(paper):
        for line in housekeeping.clean(slug):
            CONSOLE.print(line, markup=False, soft_wrap=True)


@cli.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc(dry_run: bool) -> None:
    """Remove records that no profile of any paper asks for any more."""
    from common.study import housekeeping

    for line in housekeeping.collect(dry_run):
        CONSOLE.print(line, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
