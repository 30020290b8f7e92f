"""The training loop of both stages.

The workdir is the run: the same command goes on from its newest checkpoint, and state,
optimiser, moving average, random numbers and data position continue exactly, so that a
run that was interrupted ends bit for bit where an undisturbed one does.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from jax.experimental import multihost_utils

from dabfusion_jax import checkpointing, sharding, train_state, writers
from dabfusion_jax.optimizer import Optimizer
from dabfusion_jax.stages.base import Stage
from dabfusion_jax.train_state import TrainState

PyTree = Any
TERMINATED = 143  # exit status after SIGTERM, 128 + 15 as shells report it
MUST_BE_FINITE = ("loss", "grad_norm", "update_norm", "param_norm")
# Settings that may differ when a run is resumed: they change how long it runs, what
# it shows and where, not what is learnt.
MAY_CHANGE = (
  "num_steps",
  "log_every",
  "picture_every",
  "checkpoint_every",
  "keep_checkpoints",
  "gradient_accumulation",
  "mesh",
  "fsdp_min_bytes",
)


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """Settings of the loop; the `*_every` count in steps."""

  num_steps: int
  log_every: int
  picture_every: int
  checkpoint_every: int
  keep_checkpoints: int  # the newest so many stay
  seed: int  # of parameters and noise; the data has its own
  ema_decay: float  # reached after a warm-up
  gradient_accumulation: int  # parts a batch is taken in, one after the other
  mesh: tuple[tuple[str, int], ...]  # e.g. (("data", -1), ("fsdp", 1))
  fsdp_min_bytes: int  # smaller arrays are replicated

  def __post_init__(self):
    counts = ("num_steps", "log_every", "picture_every", "checkpoint_every")
    for name in (*counts, "gradient_accumulation"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
    if not 0 <= self.ema_decay < 1:
      raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}.")


def train(
  stage: Stage,
  optimizer: Optimizer,
  dataset: Iterable[PyTree],
  loop: LoopConfig,
  workdir: str | pathlib.Path,
  config: Mapping[str, Any],
) -> TrainState:
  """Trains to `loop.num_steps`, or goes on doing so, and returns the final state.

  Args:
    stage: what is trained.
    optimizer: from `make_optimizer`.
    dataset: endless; its iterator yields dicts of numpy arrays whose first axis is
      this process's share of the batch, and has `get_state` and `set_state` (as a
      Grain `IterDataset`'s does). The first batch also serves for the pictures.
    loop: settings of the loop.
    workdir: folder of the run: config.json, metrics.jsonl, checkpoints, events,
      pictures.
    config: everything the run was started with, kept as config.json. A resume with
      another config is refused, except for `MAY_CHANGE`.

  Raises:
    FloatingPointError: loss, gradient, update or parameters are not finite; the state
      is not saved.
    CheckpointError: a checkpoint cannot be saved or restored.
    ValueError: settings that do not fit the devices, the data or the earlier run.
    SystemExit: status 143 after SIGTERM, with everything saved.
  """
  workdir = pathlib.Path(workdir)
  check_config(workdir, config)
  mesh = sharding.make_mesh(loop.mesh)
  batch_sharding = sharding.batch_sharding(mesh)
  init_key, loop_key, picture_key = jax.random.split(jax.random.key(loop.seed), 3)

  batches = iter(dataset)
  beginning = batches.get_state()
  first_batch = next(batches)
  batches.set_state(beginning)
  batch_spec = sharding.global_batch_spec(first_batch, mesh, loop.gradient_accumulation)
  batch_size = jax.tree.leaves(batch_spec)[0].shape[0]

  with contextlib.ExitStack() as stack:
    stack.enter_context(jax.set_mesh(mesh))
    checkpoints = stack.enter_context(
      checkpointing.Checkpoints(workdir, loop.keep_checkpoints)
    )
    init = train_state.make_init(stage, optimizer.tx, batch_spec)
    abstract = train_state.abstract_state(init, init_key, mesh, loop.fsdp_min_bytes)
    state = checkpoints.restore(abstract, batches)
    if state is None:
      state = train_state.create_state(init, init_key, abstract)
    start = int(state.step)
    if start >= loop.num_steps:
      logging.info(
        "%s is finished: step %d of %d. Raise num_steps to train on, or choose "
        "another workdir.",
        workdir,
        start,
        loop.num_steps,
      )
      return state
    write_config(workdir, config)
    if start:
      logging.info("Resuming %s from step %d.", workdir, start)
    else:
      writers.log_parameter_overview(abstract.params)
    writer = stack.enter_context(
      writers.Writer(workdir, start)
      if jax.process_index() == 0
      else writers.NullWriter()
    )
    should_stop = stack.enter_context(sigterm_watch())
    progress = writers.Progress(loop.num_steps, batch_size)
    step_fn = jax.jit(
      make_train_step(stage, optimizer, loop.ema_decay, loop.gradient_accumulation),
      donate_argnums=0,
      out_shardings=(train_state.shardings_of(abstract), None),
    )
    # With several simulated devices, steps left in flight can wait for each other.
    in_flight = jax.default_backend() != "cpu" or mesh.size == 1

    def report(step, metrics):
      values = {name: float(value) for name, value in jax.device_get(metrics).items()}
      check_finite(step, values, checkpoints)
      progress.start(step)
      if step % loop.log_every == 0 or step == loop.num_steps:
        writer.write_scalars(step, values | progress.report(step))

    logging.info("Compiling the training step; the first one takes longest.")
    pending = None  # (step, metrics) of the step before, perhaps still running
    for step in range(start + 1, loop.num_steps + 1):
      batch = sharding.to_global_batch(next_batch(batches, step), batch_sharding)
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
        checkpoints.save(step, state, batches)
      if step % loop.picture_every == 0 or last:
        draw(stage, state, first_batch, picture_key, mesh, writer)
      if stop and not last:
        logging.warning(
          "SIGTERM: saved step %d; the same command goes on from there.", step
        )
        raise SystemExit(TERMINATED)
  return state


def make_train_step(
  stage: Stage, optimizer: Optimizer, ema_decay: float, gradient_accumulation: int
) -> Callable:
  """Returns (state, global batch, key) -> (state, metrics), pure."""

  def train_step(state, batch, key):
    key = jax.random.fold_in(key, state.step)
    grads, batch_stats, metrics = mean_gradients(
      stage, state, batch, key, gradient_accumulation
    )
    updates, opt_state = optimizer.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema_params = train_state.update_ema(state.ema_params, params, ema_decay, state.step)
    metrics = metrics | {
      "learning_rate": optimizer.learning_rate(state.step),
      "grad_norm": optax.tree.norm(grads),
      "update_norm": optax.tree.norm(updates),
      "param_norm": optax.tree.norm(params),
    }
    state = TrainState(state.step + 1, params, batch_stats, opt_state, ema_params)
    return state, metrics

  return train_step


def mean_gradients(
  stage: Stage, state: TrainState, batch: PyTree, key: jax.Array, num_parts: int
) -> tuple[PyTree, PyTree, dict[str, jax.Array]]:
  """Gradients and metrics of a batch: (grads, batch_stats, metrics with `loss`).

  Taken in `num_parts` parts the memory of activations is that of one part, and the
  gradient is the mean of theirs. Without BatchNorm it is that of the whole batch, with
  other noise; with it, statistics are per part and the running ones see every part.
  """

  def part(batch_stats, batch, key):
    (loss, (batch_stats, metrics)), grads = jax.value_and_grad(
      stage.loss, has_aux=True
    )(state.params, batch_stats, batch, key)
    return batch_stats, (grads, metrics | {"loss": loss})

  if num_parts == 1:
    batch_stats, (grads, metrics) = part(state.batch_stats, batch, key)
    return grads, batch_stats, metrics

  # Every num_parts-th example, so that each device splits what it holds.
  parts = jax.tree.map(
    lambda x: jnp.swapaxes(x.reshape(-1, num_parts, *x.shape[1:]), 0, 1), batch
  )
  zeros = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)
  first = jax.tree.map(lambda x: x[0], parts)
  sums = zeros(jax.eval_shape(part, state.batch_stats, first, key)[1])

  def body(carry, inputs):
    batch_stats, sums = carry
    index, examples = inputs
    examples = jax.tree.map(sharding.constrain_batch, examples)
    batch_stats, values = part(batch_stats, examples, jax.random.fold_in(key, index))
    return (batch_stats, jax.tree.map(jnp.add, sums, values)), None

  (batch_stats, sums), _ = jax.lax.scan(
    body, (state.batch_stats, sums), (jnp.arange(num_parts), parts)
  )
  grads, metrics = jax.tree.map(lambda x: x / num_parts, sums)
  return grads, batch_stats, metrics


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
    raise ValueError(
      f"The data ended before step {step}; a training dataset must repeat."
    ) from None


def check_finite(
  step: int, metrics: Mapping[str, float], checkpoints: checkpointing.Checkpoints
) -> None:
  """Raises FloatingPointError naming step and metric unless training is sound."""
  for name in MUST_BE_FINITE:
    if not math.isfinite(metrics[name]):
      good = checkpoints.wait()
      saved = "nothing is saved" if good is None else f"step {good} is saved"
      raise FloatingPointError(
        f"{name} is {metrics[name]} at step {step} ({saved}). Lower the learning rate, "
        "set clip_norm, or look at the data."
      )


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


def check_config(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Refuses to go on in a workdir that was started with other settings.

  Raises:
    ValueError: naming the settings that differ, with both values.
  """
  path = workdir / "config.json"
  if checkpointing.latest_step(workdir) is None or not path.exists():
    return
  before = flatten(json.loads(path.read_text()))
  now = flatten(json.loads(json.dumps(config)))
  differing = [
    f"{name} was {before.get(name, 'absent')!r}, now {now.get(name, 'absent')!r}"
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name) and name.split(".")[0] not in MAY_CHANGE
  ]
  if differing:
    raise ValueError(
      f"{workdir} was trained with other settings: {'; '.join(differing)}. Restore "
      "them, or choose another workdir."
    )


def write_config(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Writes WORKDIR/config.json in one move."""
  if jax.process_index() == 0:
    workdir.mkdir(parents=True, exist_ok=True)
    temporary = workdir / "config.json.tmp"
    temporary.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    temporary.replace(workdir / "config.json")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """{"unet": {"dim": 8}} -> {"unet.dim": 8}."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[f"{prefix}{name}"] = value
  return flat
