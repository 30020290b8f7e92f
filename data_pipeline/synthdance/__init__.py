"""Generates a dance data set: music, dancers and videos with known truth."""
