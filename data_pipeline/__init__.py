"""Data sets of dance videos: sources, media, music, clips and their records."""

from data_pipeline.numba_cache import choose_cache

choose_cache()  # Numba reads the variable once, when it is imported
