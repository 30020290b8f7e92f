"""Draws people who pass for photographs at 128 pixels, with their exact motion."""
