"""Events of the music of a clip."""

import numpy as np

from dabfusion_jax.evaluation.reading.music_events import continue_beats


def test_beats_tracked_in_a_clip_are_continued_to_its_edges():
  beats = continue_beats(np.array([0.7, 1.2, 1.7, 2.2]), 4.0)
  np.testing.assert_allclose(beats, np.arange(-0.3, 4.3, 0.5), atol=1e-9)
  assert len(continue_beats(np.array([1.0]), 4.0)) == 1
  np.testing.assert_allclose(
    continue_beats(np.array([0.0, 0.5]), 1.0), [-0.5, 0, 0.5, 1.0]
  )
