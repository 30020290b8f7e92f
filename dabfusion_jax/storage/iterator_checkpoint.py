"""The position of a data iterator in a checkpoint: one small file per process."""

import asyncio
import json
from typing import Any

import jax

from data_pipeline.errors import UserError


class IteratorCheckpoint:
  """Lets orbax save and restore an iterator that has `get_state` and `set_state`."""

  def __init__(self, batches: Any):
    self._batches = batches

  async def save(self, directory):
    text = json.dumps(self._batches.get_state())  # now; the file is written later
    name = f"process_{jax.process_index()}-of-{jax.process_count()}.json"

    async def write():
      folder = await directory.await_creation()
      await asyncio.to_thread((folder / name).write_text, text)

    return write()

  async def load(self, directory):
    async def read():
      # No glob: it would take brackets in the path of the run for a pattern.
      paths = [path for path in directory.iterdir() if path.name.startswith("process_")]
      states = {path.name: path.read_text() for path in paths}
      name = f"process_{jax.process_index()}-of-{jax.process_count()}.json"
      if name not in states and len(set(states.values())) == 1:
        # A position counted in global batches holds for any number of processes.
        name = next(iter(states))
      if name not in states:
        raise UserError(
          f"data position of {name} is missing; resume with as many processes as before"
        )
      self._batches.set_state(json.loads(states[name]))

    return read()
