"""Draws where generated dancers stand: cameras, panoramas, walls, floors and lenses."""
