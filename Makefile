# The README's two commands are `make demo` and `make test`. Each makes .venv if it is missing, installs with plain pip, and runs.
# Nothing is installed again while this folder and the three files that name what to install stay as they are.

SHELL := /bin/sh
NAMES := python3 python3.13 python3.12 python3.11
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ifneq ($(origin PYTHON),command line)
PYTHON := $(shell for p in $(NAMES); do "$$p" -c '$(FITS)' 2>/dev/null && { command -v "$$p"; break; }; done)
endif
STAMP := .venv/.installed
STATE = { pwd; cat settings.ini setup.py pyproject.toml; } | cksum
DATA :=

.PHONY: demo test test-gpu prepare preview docs lab times env clean-env

demo: env ## rank, label and report on the small world, or on DATA=an archive or a folder; writes into demo/
	.venv/bin/active-defects demo $(if $(DATA),--data '$(DATA)')

test: env ## clean and export, then every notebook, then every test
	.venv/bin/python tests/run_tests.py

test-gpu: env ## the notebooks with their cuda cells, where a GPU is found
	@if .venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; \
	then OMP_NUM_THREADS=1 .venv/bin/nbdev_test --flags cuda --n_workers 1 --timing; \
	else echo 'no GPU found: the cuda cells were not run'; fi

prepare: env ## after editing a notebook: clean, export, copy JavaScript, write the lists of chapters
	.venv/bin/python tests/prepare.py

preview: env ## the whole book as HTML in _preview/, without Quarto
	.venv/bin/python tests/preview.py

docs: env ## the site in _docs/, with Quarto
	.venv/bin/python tests/docs.py

lab: env ## JupyterLab at the first chapter
	.venv/bin/jupyter lab nbs/begin/fifty_labels.ipynb

times: env ## measure how long each notebook runs, where its code has changed
	.venv/bin/python tests/times.py

env:
	@if [ "$$($(STATE))" != "$$(cat $(STAMP) 2>/dev/null)" ]; then \
	  set -e; \
	  if ! .venv/bin/python -c 'import pip; $(FITS)' 2>/dev/null; then \
	    if ! '$(PYTHON)' -c '$(FITS)' 2>/dev/null; then \
	      echo 'No Python 3.11, 3.12 or 3.13 with venv was found (looked for $(if $(PYTHON),$(PYTHON),$(NAMES))).' >&2; \
	      echo 'Install one (on Debian or Ubuntu: python3-venv as well), or name it: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.12' >&2; \
	      exit 2; \
	    fi; \
	    echo 'Making .venv with $(PYTHON)'; '$(PYTHON)' -m venv --clear .venv; \
	  fi; \
	  echo 'Installing active_defects into .venv: a few minutes the first time, about 1.6 GB'; \
	  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	  $(STATE) > $(STAMP); \
	fi

clean-env: ## forget the environment; the next command makes a fresh one
	rm -rf .venv
