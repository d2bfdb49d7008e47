# The environment, the book and the tests. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
COLAB := .venv-colab
COLAB_PYTHON ?= $(firstword $(foreach version,3.13 3.12,$(shell command -v python$(version))) none)

# The networks are small: one thread is as fast as two, and many times faster on a busy machine,
# where threads that wait for each other spin.
export OMP_NUM_THREADS ?= 1

# What students get of an assignment: without solutions and hidden tests.
STUDENTS := $(patsubst notebooks/assignments/%,notebooks/students/%,\
    $(wildcard notebooks/assignments/*.ipynb))

# A file of tests or a notebook stays in one process, which runs it from top to bottom. What takes
# long comes first, so that no process is left alone with it at the end. The students' versions are
# executed by `make book`, and their cells are those of the assignments.
NBVAL := --nbval-lax --nbval-cell-timeout 300 --numprocesses 2 --dist loadfile

# Where rows of a GPU are measured: in the environment if there is one, else with what the machine has.
GPU_PYTHON ?= $(if $(findstring command,$(origin PYTHON)),$(PYTHON),$(firstword $(wildcard $(BIN)/python) $(PYTHON)))
GPU_NEEDS := numpy scipy pandas sklearn joblib tqdm packaging PIL torch torchvision pytest pytest_timeout hypothesis
MINUTES ?= 12
OUT ?= gpu_out
DATA ?= gpu_data
CACHE ?= gpu_cache

# Say one sentence and stop.
stop = { echo '$(1)' >&2; exit 1; }

.PHONY: help book test prose solutions colab gpu gpu-data gpu-merge serve clean
.DELETE_ON_ERROR:

help:
	@echo 'make book    build the book into _build/html: every notebook is executed'
	@echo 'make test    run the linter, the tests, the doctests, every notebook and the checks of the book'
	@echo 'make prose   say in figures how the chapters and pages read'
	@echo 'make solutions   run the folded solutions of all chapters, which takes some minutes more'
	@echo 'make colab   run every notebook with the versions that Colab has; needs Python 3.13 or 3.12'
	@echo 'make gpu     on a machine with a GPU: measure the rows that want one, for 12 minutes'
	@echo 'make gpu-data    pack the data for it; make gpu-merge adds its rows to the book'
	@echo 'make serve   show the built book on http://127.0.0.1:$(PORT)'
	@echo 'make clean   remove everything that make has made, but not the rows of make gpu'

book: $(VENV)/.package $(STUDENTS)
	$(BIN)/python book/build.py

test: $(VENV)/.nbgrader $(STUDENTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest notebooks tests/notebooks tests minilearn book/experiments \
	    --ignore notebooks/students --doctest-modules $(NBVAL) --no-loadscope-reorder --nbval-current-env

prose: $(VENV)/.package
	@$(BIN)/python book/prose.py

solutions: $(VENV)/.package
	MINILEARN_SOLUTIONS=1 $(BIN)/python -m pytest tests/notebooks/test_solutions.py \
	    --numprocesses 2 --no-loadscope-reorder

colab: $(VENV)/.package $(STUDENTS) $(COLAB)/.requirements
	MINILEARN_COLAB=$(abspath $(COLAB)) $(BIN)/python -m pytest tests/notebooks/test_colab.py
	JUPYTER_PATH=$(abspath $(COLAB)/share/jupyter) $(BIN)/python -m pytest notebooks $(NBVAL) \
	    --nbval-kernel-name colab

# Needs no network and installs nothing: a machine with a GPU comes with its own PyTorch.
gpu:
	@lack=$$($(GPU_PYTHON) -c 'import importlib.util as u, sys; \
	print(*(m for m in sys.argv[1:] if not u.find_spec(m)))' $(GPU_NEEDS)) || exit 1; test -z "$$lack" || \
	{ echo "$(GPU_PYTHON) lacks $$lack: install them with pip (sklearn is scikit-learn, PIL is pillow)." >&2; exit 1; }
	@TRITON_INTERPRET=0 $(GPU_PYTHON) -m book.experiments.gpu --minutes $(MINUTES) --out $(OUT) --data $(DATA) \
	    --cache $(CACHE)

gpu-data:
	@$(GPU_PYTHON) -m book.experiments.gpu_data $(DATA)

gpu-merge:
	@$(GPU_PYTHON) -m book.experiments.gpu --merge --out $(OUT)

serve:
	@test -f _build/html/index.html || $(MAKE) book
	@echo 'http://127.0.0.1:$(PORT)'
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

clean:
	rm -rf _build notebooks/students gpu_data gpu_cache $(VENV) $(COLAB) *.egg-info .pytest_cache .hypothesis
	find . '(' -name __pycache__ -o -name .ruff_cache ')' -type d -prune -exec rm -rf {} +

notebooks/students/%: notebooks/assignments/% minilearn/course/sources.py | $(VENV)/.package
	$(BIN)/python -m minilearn.course assign $< $@

# The stamp is removed first and made last, so that an install that was interrupted is begun anew.
$(VENV)/.requirements: requirements.txt constraints.txt
	@command -v $(PYTHON) > /dev/null || $(call stop,No $(PYTHON) here: install Python 3.11 or newer.)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || $(call stop,$(PYTHON) is older than \
	Python 3.11: name a newer one as in: make PYTHON=python3.12 book)
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || $(call stop,$(PYTHON) cannot make environments: \
	on Debian and Ubuntu install python3-venv.)
	@test -f $@ || rm -rf $(VENV)
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

# Without build isolation setuptools comes from the environment, so this step needs no network.
$(VENV)/.package: $(VENV)/.requirements pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

# With it submissions are graded; it brings JupyterLab, which the book does not need.
$(VENV)/.nbgrader: $(VENV)/.package
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation \
	    -e '.[course]' -c constraints.txt
	@touch $@

$(COLAB)/.requirements: book/colab.txt
	@$(COLAB_PYTHON) -c "" 2> /dev/null || $(call stop,No Python 3.13 or 3.12 here: name one as in: \
	make COLAB_PYTHON=python3.12 colab)
	@rm -rf $(COLAB)
	$(COLAB_PYTHON) -m venv $(COLAB)
	$(COLAB)/bin/python -m pip install --disable-pip-version-check -r book/colab.txt
	$(COLAB)/bin/python -m ipykernel install --prefix $(COLAB) --name colab
	@touch $@
