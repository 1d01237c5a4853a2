"""Recordings as frames: opening, clips, and the built-in readers."""
