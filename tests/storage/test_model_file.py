"""A file of weights is read, or refused in one line."""

import json
import struct

import pytest
from etils import epath

from dabfusion_jax.storage.model_file import SavedStageError, read_model


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E8M0", "I64", "BOOL"])
def test_weights_of_a_dtype_that_no_stage_has_are_damage(tmp_path, dtype):
  size = {"BF16": 2, "I64": 8}.get(dtype, 1)
  table = {"params/x": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4 * size]}}
  table["__metadata__"] = {"step": "1", "digest": "0"}
  header = json.dumps(table).encode()
  path = tmp_path / "model.safetensors"
  path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * size))
  with pytest.raises(SavedStageError, match="model.safetensors is damaged"):
    read_model(epath.Path(path))
