"""CLIPScore: how close a dance and its music are in CLIP's space.

It is the mean over frames of the cosine between the CLIP embedding of the frame and the
Wav2CLIP embedding of the music, not scaled. The paper does not say how frames are
pooled; the cosine of the mean embedding would be larger.
"""

import numpy as np
from jaxtyping import Float

from dabfusion_jax.metrics.alignment import Score


def clip_score(
  frames: Float[np.ndarray, "t d"], music: Float[np.ndarray, "d"]
) -> Score:
  """Computes the score of embeddings of any length; undefined for zero vectors.

  Negative cosines are kept.
  """
  frames, music = np.asarray(frames, np.float64), np.asarray(music, np.float64)
  lengths = np.linalg.norm(frames, axis=-1) * np.linalg.norm(music)
  if not len(frames) or not (lengths > 0).all():
    return Score(None, "zero_embedding")
  return Score(float((frames @ music / lengths).mean()))
