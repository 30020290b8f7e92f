"""Dance videos from one picture and a piece of music."""
