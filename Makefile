# Both work on a fresh machine with Python >= 3.11, git and make:
#   make search [ARGS="--budget-ms 0.15"]   searches on the embedded data
#   make test                               runs the tests
PYTHON ?= python3
BIN := .venv/bin
ARGS ?= --budget-ms 20

.PHONY: search test test-oldest test-oldest-part test-slow coverage check lint types docs clean

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

search: .venv/.installed
	$(BIN)/nassuite search $(ARGS)

# One process for each core, each with one thread: tests of one file stay together.
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# The same with the oldest versions that pyproject.toml allows, in an environment of its own.
test-oldest: .venv-oldest/.installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n auto --dist loadfile

# Of these the tests that meet every package that we require: what CI runs, for the whole takes as long as `make test`.
OLDEST_PART := \
	tests/compress/test_prune.py tests/compress/test_quantize.py tests/data/test_official.py tests/data/test_preprocess.py \
	tests/latency/test_certificate.py tests/latency/test_devices.py tests/latency/test_predictor.py \
	tests/search/test_driver.py tests/search/test_guided.py tests/search/test_ranking.py tests/search/test_storage.py \
	tests/test_cli.py tests/test_models.py tests/test_onnx_export.py tests/test_run_directory.py tests/test_sensitivity.py \
	tests/test_settings.py tests/test_study.py tests/test_terminal.py

test-oldest-part: .venv-oldest/.installed
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n auto --dist loadfile $(OLDEST_PART)

.venv-oldest/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[dev]'
	touch $@

# Lines of the package that the quick tests run.
coverage: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --cov=nassuite --cov-report=term-missing:skip-covered

test-slow: .venv/.installed
	$(BIN)/python -m pytest -m slow

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

docs: .venv/.installed
	$(BIN)/mkdocs build --quiet --strict --site-dir build/docs

check: lint types docs test

clean:
	rm -rf .venv .venv-oldest build dist
