"""The training loop of both stages.

The workdir is the run: the same command goes on from its newest checkpoint, and state,
optimiser, moving average, random numbers and data position continue exactly, so that a
run that was interrupted ends bit for bit where an undisturbed one does.
"""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils

from dabfusion_jax.parallel import hardware, sharding
from dabfusion_jax.stages.base import Stage
from dabfusion_jax.storage import checkpointing
from dabfusion_jax.storage.run_config import check_config, write_config
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training import writers
from dabfusion_jax.training.health import Judge
from dabfusion_jax.training.optimizer import Optimizer
from dabfusion_jax.training.state import (
  TrainState,
  abstract_state,
  create_state,
  make_init,
  shardings_of,
)
from dabfusion_jax.training.step import make_train_step
from dabfusion_jax.training.watchdog import Watchdog
from data_pipeline.errors import UserError

PyTree = Any
TERMINATED = 143  # exit status after SIGTERM, 128 + 15 as shells report it


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """Settings of the loop; the `*_every` count in steps."""

  num_steps: int
  log_every: int
  picture_every: int
  checkpoint_every: int
  keep_checkpoints: int  # the newest so many stay
  keep_best_checkpoints: int  # and those of the lowest mean loss since the one before
  seed: int  # of parameters and noise; the data has its own
  ema_decay: float  # reached after a warm-up
  gradient_accumulation: int  # parts a batch is taken in, one after the other
  mesh: tuple[tuple[str, int], ...]  # e.g. (("data", -1), ("fsdp", 1))
  fsdp_min_bytes: int  # smaller arrays are replicated
  # Bad steps in a row that are skipped; one more ends the run. 0: the first does.
  max_skipped_steps: int
  spike_grad_norm: float | None  # a step beyond it is bad; None: any finite is good
  stall_seconds: (
    float  # without a step until the run ends and names who hangs; 0: never
  )

  def __post_init__(self):
    counts = ("num_steps", "log_every", "picture_every", "checkpoint_every")
    for name in (*counts, "gradient_accumulation"):
      if getattr(self, name) < 1:
        raise UserError(f"{name} must be at least 1, got {getattr(self, name)}.")
    if not 0 <= self.ema_decay < 1:
      raise UserError(f"ema_decay must lie in [0, 1), got {self.ema_decay}.")
    for name in ("max_skipped_steps", "stall_seconds"):
      if getattr(self, name) < 0:
        raise UserError(f"{name} must not be negative, got {getattr(self, name)}.")
    if self.spike_grad_norm is not None and self.spike_grad_norm <= 0:
      raise UserError(
        f"spike_grad_norm must be positive or None, got {self.spike_grad_norm}."
      )


def train(
  stage: Stage,
  optimizer: Optimizer,
  dataset: Iterable[PyTree],
  loop: LoopConfig,
  run: RunFolder,
  config: Mapping[str, Any],
  *,
  initialise: Callable[[TrainState], TrainState] = lambda state: state,
  trace: writers.Trace = writers.NO_TRACE,
) -> TrainState:
  """Trains to `loop.num_steps`, or goes on doing so, and returns the final state.

  Args:
    stage: what is trained.
    optimizer: from `make_optimizer`.
    dataset: endless; its iterator yields dicts of numpy arrays whose first axis is
      this process's share of the batch, and has `get_state` and `set_state` (as a
      Grain `IterDataset`'s does). The first batch also serves for the pictures.
    loop: settings of the loop.
    run: its folder: config.json, metrics.jsonl, checkpoints, events, pictures.
    config: everything the run was started with, kept as config.json. A resume with
      another config is refused, except for `run_config.MAY_CHANGE`.
    initialise: what a fresh state goes through, e.g. a warm start.
    trace: which steps to record for XProf.

  Raises:
    FloatingPointError: loss, gradient, update or parameters are not finite; the state
      is not saved. Or: too many bad steps in a row.
    CheckpointError: a checkpoint cannot be saved or restored.
    ValueError: settings that do not fit the devices, the data or the earlier run.
    SystemExit: status 143 after SIGTERM, with everything saved.
  """
  changes = check_config(run, config)
  mesh, backend = sharding.make_mesh(loop.mesh), jax.default_backend()
  batch_sharding = sharding.batch_sharding(mesh)
  init_key, loop_key, picture_key = jax.random.split(jax.random.key(loop.seed), 3)

  batches = iter(dataset)
  beginning = batches.get_state()
  first_batch = next(batches)
  batches.set_state(beginning)
  batch_spec = sharding.global_batch_spec(first_batch, mesh, loop.gradient_accumulation)
  batch_size = jax.tree.leaves(batch_spec)[0].shape[0]
  logging.info("Batches of %d over %d %s devices.", batch_size, mesh.size, backend)

  with contextlib.ExitStack() as stack:
    stack.enter_context(jax.set_mesh(mesh))
    checkpoints = stack.enter_context(
      checkpointing.Checkpoints(
        run.path, loop.keep_checkpoints, loop.keep_best_checkpoints
      )
    )
    init = make_init(stage, optimizer.tx, batch_spec)
    abstract = abstract_state(init, init_key, mesh, loop.fsdp_min_bytes)
    state = checkpoints.restore(abstract, batches)
    if state is None:
      state = initialise(create_state(init, init_key, abstract))
    start = int(state.step)
    if start >= loop.num_steps:
      logging.info(
        "%s is finished: step %d of %d. Raise num_steps to train on, or choose "
        "another workdir.",
        run,
        start,
        loop.num_steps,
      )
      return state
    for change in changes:
      logging.warning(
        "%s goes on otherwise than it began: %s. It will not equal an undisturbed run.",
        run,
        change,
      )
    write_config(run, config)
    if start:
      logging.info("Resuming %s from step %d.", run, start)
    else:
      writers.log_parameter_overview(abstract.params)
    stack.callback(run.send)
    writer = stack.enter_context(
      writers.Writer(run.local, start)
      if jax.process_index() == 0
      else writers.NullWriter()
    )
    should_stop = stack.enter_context(sigterm_watch())
    watchdog = stack.enter_context(Watchdog(run.path, loop.stall_seconds))
    step_fn = jax.jit(
      make_train_step(
        stage,
        optimizer,
        ema_decay=loop.ema_decay,
        gradient_accumulation=loop.gradient_accumulation,
        skip_bad_steps=loop.max_skipped_steps > 0,
        spike_grad_norm=loop.spike_grad_norm,
      ),
      donate_argnums=0,
      out_shardings=(shardings_of(abstract), None),
    )
    logging.info("Compiling the training step.")
    step_fn, flops = hardware.compile_step(
      step_fn, state, sharding.place(batch_spec, batch_sharding), loop_key
    )
    progress = writers.Progress(
      loop.num_steps, batch_size, flops * loop.gradient_accumulation
    )
    judge = Judge(checkpoints, loop.max_skipped_steps)
    # With several simulated devices, steps left in flight can wait for each other.
    in_flight = backend != "cpu" or mesh.size == 1

    def report(step, metrics):
      values = {name: float(value) for name, value in jax.device_get(metrics).items()}
      judge(step, values)
      watchdog.beat(step)
      progress.start(step)
      if step % loop.log_every == 0 or step == loop.num_steps:
        writer.write_scalars(step, values | judge.counts() | progress.report(step))

    pending = None  # (step, metrics) of the step before, perhaps still running
    for step in range(start + 1, loop.num_steps + 1):
      with trace.step(run.local, step - start, step):
        with progress.waiting():
          batch = next_batch(batches, step)
        batch = sharding.to_global_batch(batch, batch_sharding)
        state, metrics = step_fn(state, batch, loop_key)
      if not in_flight:
        jax.block_until_ready(state)
      if pending is not None:
        report(*pending)
      pending = (step, metrics)
      last = step == loop.num_steps
      stop = should_stop(step)
      if step % loop.checkpoint_every == 0 or last or stop:
        report(*pending)  # before the save: a state gone bad is not saved
        pending = None
        writer.settle()
        run.send()
        checkpoints.save(step, state, batches, judge.mean_loss())
      if step % loop.picture_every == 0 or last:
        draw(stage, state, first_batch, picture_key, mesh, writer)
      if stop and not last:
        logging.warning(
          "SIGTERM: saved step %d; the same command goes on from there.", step
        )
        raise SystemExit(TERMINATED)
  return state


def draw(
  stage: Stage,
  state: TrainState,
  batch: PyTree,
  key: jax.Array,
  mesh: jax.sharding.Mesh,
  writer: Any,
) -> None:
  """Writes the stage's pictures of the averaged parameters, made on one device."""
  params, batch_stats = sharding.host_copy((state.ema_params, state.batch_stats), mesh)
  if jax.process_index() == 0:
    with jax.set_mesh(sharding.one_device_mesh()):
      pictures = stage.pictures(params, batch_stats, batch, key)
    writer.write_pictures(int(state.step), pictures)


def next_batch(batches: Any, step: int) -> PyTree:
  """The next batch; data that ends is a mistake in its making."""
  try:
    return next(batches)
  except StopIteration:
    raise UserError(
      f"The data ended before step {step}; a training dataset must repeat."
    ) from None


@contextlib.contextmanager
def sigterm_watch():
  """Yields step -> whether to stop after it because SIGTERM has come.

  With several processes JAX's preemption service settles on one step for all.
  """
  if jax.process_count() > 1:
    yield multihost_utils.reached_preemption_sync_point
  elif threading.current_thread() is not threading.main_thread():
    yield lambda step: False  # only the main thread may set signal handlers
  else:
    came = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *unused: came.set())
    try:
      yield lambda step: came.is_set()
    finally:
      signal.signal(signal.SIGTERM, before)
