"""CLIPScore of a dance and its music: are they close to each other in CLIP's space.

The mean over frames of the cosine between the CLIP embedding of the frame and the
Wav2CLIP embedding of the music, unscaled. The paper does not say how frames are pooled;
the cosine of the mean embedding would be larger.
"""

import numpy as np
from jaxtyping import Float

from dabfusion_jax.metrics.alignment import Score


def clip_score(
  frames: Float[np.ndarray, "t d"], music: Float[np.ndarray, "d"]
) -> Score:
  """Of embeddings of any length; negative cosines are kept, zero vectors undefined."""
  frames, music = np.asarray(frames, np.float64), np.asarray(music, np.float64)
  lengths = np.linalg.norm(frames, axis=-1) * np.linalg.norm(music)
  if not len(frames) or not (lengths > 0).all():
    return Score(None, "zero_embedding")
  return Score(float((frames @ music / lengths).mean()))
