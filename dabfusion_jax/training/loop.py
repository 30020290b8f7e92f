"""The training loop of both stages.

The workdir is the run: the same command resumes from its newest checkpoint, and state,
optimizer, moving average, random numbers and data position continue exactly, so that an
interrupted run ends bit for bit where an uninterrupted one does.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils

from dabfusion_jax.parallel import hardware, sharding
from dabfusion_jax.settings.loop import LoopSettings
from dabfusion_jax.stages.base import PyTree, Stage
from dabfusion_jax.storage.checkpointing import Checkpoints
from dabfusion_jax.storage.run_config import check_config, write_config
from dabfusion_jax.storage.run_folder import RunFolder
from dabfusion_jax.training import writers
from dabfusion_jax.training.evaluation import HeldOutLoss
from dabfusion_jax.training.health import HealthCheck
from dabfusion_jax.training.hooks import Hook
from dabfusion_jax.training.optimizer import make_optimizer
from dabfusion_jax.training.pictures import Pictures
from dabfusion_jax.training.progress import Progress
from dabfusion_jax.training.state import (
  TrainState,
  abstract_state,
  create_state,
  make_init,
  shardings_of,
)
from dabfusion_jax.training.step import check_frozen_parts, make_train_step
from dabfusion_jax.training.trace import Trace
from dabfusion_jax.training.watchdog import Watchdog
from data_pipeline.errors import UserError

# Exit statuses after a signal, 128 + its number, as shells report them.
TERMINATED, INTERRUPTED = 143, 130


def train(
  stage: Stage,
  dataset: Iterable[PyTree],
  settings: LoopSettings,
  run: RunFolder,
  *,
  eval_dataset: Iterable[PyTree] | None = None,
  initialise: Callable[[TrainState], TrainState] = lambda state: state,
  on_begin: Callable[[], None] = lambda: None,
  trace_skip: int = 0,
  trace_steps: int = 0,
) -> TrainState:
  """Trains to `settings.num_steps`, resuming if the run has begun.

  Args:
    stage: what is trained.
    dataset: endless; its iterator yields dicts of numpy arrays whose first axis is
      this process's share of the batch, or of global arrays of JAX, and has `get_state`
      and `set_state` (as a Grain `IterDataset`'s does). The first batch also serves for
      the pictures.
    settings: kept as config.json. A resume with other settings is refused, except for
      `run_config.MAY_CHANGE`.
    run: its folder: config.json, metrics.jsonl, checkpoints, events, pictures.
    eval_dataset: like `dataset`, of held-out examples; every iterator of it yields the
      same batches. None: no held-out loss is measured.
    initialise: applied to a new state, e.g. a warm start.
    on_begin: called once the run is accepted and config.json written, before any step.
    trace_skip: steps of this process before those recorded for XProf.
    trace_steps: how many steps to record; 0: none.

  Returns:
    The final state.

  Raises:
    InvalidMetricError: loss, gradient, update or parameters are not finite, or too many
      steps in a row are bad; the state is not saved.
    CheckpointError: a checkpoint cannot be saved or restored.
    UserError: settings that do not fit the devices, the data or the earlier run.
    SystemExit: status 143 after SIGTERM, 130 after Ctrl-C, with everything saved.
  """
  changes = check_config(run, settings)
  optimizer = make_optimizer(settings.optimizer)
  mesh = sharding.make_mesh(settings.mesh)
  batch_sharding = sharding.batch_sharding(mesh)
  init_key, loop_key, picture_key = jax.random.split(jax.random.key(settings.seed), 3)
  eval_key = jax.random.fold_in(picture_key, 1)

  batches = iter(dataset)
  with jax.set_mesh(mesh):  # as for later ones: another mesh is another program
    first_batch = jax.device_get(peek(batches))
  num_parts = settings.gradient_accumulation
  batch_spec = sharding.global_batch_spec(first_batch, mesh, num_parts)
  batch_size = jax.tree.leaves(batch_spec)[0].shape[0]
  logging.info("Batches of %d over %d devices.", batch_size, mesh.size)

  with contextlib.ExitStack() as stack:
    stack.enter_context(jax.set_mesh(mesh))
    is_measured = eval_dataset is not None and settings.eval_every > 0
    checkpoints = stack.enter_context(
      Checkpoints(
        run.path,
        settings.keep_checkpoints,
        settings.keep_best_checkpoints,
        "eval_loss" if is_measured else "train_loss",
      )
    )
    init = make_init(stage, optimizer.tx, batch_spec)
    abstract = abstract_state(init, init_key, mesh, settings.fsdp_min_bytes)
    check_frozen_parts(settings.frozen_parts, abstract.params)
    state = checkpoints.restore(abstract, batches)
    if state is None:
      state = initialise(create_state(init, init_key, abstract))
    start, num_steps = int(state.step), settings.num_steps
    if start >= num_steps:
      logging.info("%s is finished; raise num_steps=%d to train on.", run, num_steps)
      return state
    for change in changes:
      logging.warning("%s resumes, %s: its result will differ.", run, change)
    write_config(run, settings)
    on_begin()
    logging.info("%s continues after step %d of %d.", run, start, num_steps)
    if not start:
      writers.log_parameter_overview(abstract.params)
    stack.callback(run.send)
    writer = stack.enter_context(writers.open_writer(run.local, start))
    stop_status = stack.enter_context(signal_watch())

    frozen = jax.device_put(stage.frozen, jax.NamedSharding(mesh, jax.P()))
    logging.info("Compiling the training step.")
    step_fn, flops = hardware.compile_step(
      jax.jit(
        make_train_step(stage, optimizer, settings),
        donate_argnums=0,
        out_shardings=(shardings_of(abstract), None),
      ),
      state,
      frozen,
      sharding.place(batch_spec, batch_sharding),
      loop_key,
      optimizer.learning_rate(start),
      num_devices=mesh.size,
    )
    progress = Progress(num_steps, batch_size, mesh.size, flops * num_parts)
    health = HealthCheck(checkpoints.wait, settings.max_skipped_steps)
    watchdog = Watchdog(run.path, settings.stall_seconds, start)
    hooks: list[Hook] = [
      health,
      watchdog,
      Trace(run.local, start + trace_skip + 1, trace_steps),
      Pictures(stage, first_batch, picture_key, mesh, writer, settings),
    ]
    held_out = None
    if is_measured:
      held_out = HeldOutLoss(
        stage, frozen, eval_dataset, eval_key, mesh, writer, settings
      )
      hooks.append(held_out)
    elif settings.eval_every:
      logging.warning("There is no test split: no held-out loss chooses the best step.")
    for hook in hooks:
      stack.enter_context(hook)

    def report(step, metrics, started=None):
      with progress.waiting("device"):
        jax.block_until_ready(metrics)
      # A CPU may have done the step after it, `started`, before the call returned.
      done = step
      if started and all(x.is_ready() for x in jax.tree.leaves(started[1])):
        done = started[0]
      values = {name: float(value) for name, value in jax.device_get(metrics).items()}
      for hook in hooks:
        hook.after_step(step, values)
      progress.start(done)
      if step % settings.log_every == 0 or step == num_steps:
        for hook in hooks:
          values |= hook.scalars()
        writer.write_scalars(step, values | progress.report(step, done))

    # With several simulated devices, steps in flight can wait for each other.
    in_flight = jax.default_backend() != "cpu" or mesh.size == 1
    pending = None  # (step, metrics) of the step before, perhaps still running
    for step in range(start + 1, num_steps + 1):
      with contextlib.ExitStack() as around:
        for hook in hooks:
          around.enter_context(hook.around_step(step))
        with progress.waiting("data"):
          batch = next_batch(batches, step)
        batch = sharding.to_global_batch(batch, batch_sharding)
        rate = optimizer.learning_rate(step - 1)
        state, metrics = step_fn(state, frozen, batch, loop_key, rate)
      if not in_flight:
        with progress.waiting("device"):
          jax.block_until_ready(state)
      if pending is not None:
        report(*pending, started=(step, metrics))
      pending = (step, metrics)
      status = stop_status(step)
      stop = status != 0 and step < num_steps  # else it ends anyway
      saves = step % settings.checkpoint_every == 0 or step == num_steps or stop
      due = [hook for hook in hooks if hook.is_due(step)]
      if saves or due:
        report(*pending)  # first: a state gone bad is neither saved nor drawn
        pending = None
      for hook in due:
        if hook.before_save and not stop:
          hook.on_state(step, state)
      if saves:
        writer.settle()
        run.send()
        loss = health.mean_loss()
        if held_out is not None:
          loss = held_out.loss_at(step)
        checkpoints.save(step, state, batches, loss)
        if stop or step == num_steps:
          checkpoints.wait()  # while the watchdog watches
          watchdog.after_step(step, {})  # the last pictures have time of their own
      if stop:
        logging.warning("Stopped: saved step %d; the same command resumes.", step)
        raise SystemExit(status)
      for hook in due:
        if not hook.before_save:
          hook.on_state(step, state)
  return state


def peek(batches: Any) -> PyTree:
  """Returns the first batch of an iterator, which stays at its beginning."""
  beginning = batches.get_state()
  first = next(batches)
  batches.set_state(beginning)
  return first


def next_batch(batches: Any, step: int) -> PyTree:
  """Returns the next batch.

  Raises:
    UserError: the data has ended.
  """
  try:
    return next(batches)
  except StopIteration:
    raise UserError(
      f"The data ended before step {step}; a training dataset must repeat."
    ) from None


@contextlib.contextmanager
def signal_watch() -> Iterator[Callable[[int], int]]:
  """Yields a function step -> the status to stop with after it, 0 to go on.

  SIGTERM and Ctrl-C stop a training; a second Ctrl-C does so at once, without saving.
  With several processes JAX's preemption service settles on one step for all. It knows
  of SIGTERM only, so that Ctrl-C counts as one.
  """
  is_alone = jax.process_count() == 1
  received: list[int] = []

  def terminate(*unused):
    received.append(TERMINATED)

  def interrupt(*unused):
    received.append(INTERRUPTED)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.warning("Ctrl-C: saves after this step; again: stops without saving.")
    if not is_alone:
      signal.raise_signal(signal.SIGTERM)

  def status(step):
    if is_alone:
      return received[0] if received else 0
    return TERMINATED if multihost_utils.reached_preemption_sync_point(step) else 0

  handlers = {signal.SIGINT: interrupt} | (
    {signal.SIGTERM: terminate} if is_alone else {}
  )
  if threading.current_thread() is not threading.main_thread():
    handlers = {}  # only the main thread may set signal handlers
  before = {number: signal.signal(number, handlers[number]) for number in handlers}
  try:
    yield status
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
