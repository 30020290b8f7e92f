"""Data sets of dance videos: sources, media, music, clips and their records."""

from data_pipeline.interrupts import end_quietly

end_quietly()

from data_pipeline.numba_cache import choose_cache  # noqa: E402

choose_cache()  # Numba reads the variable once, when it is imported
