"""Footage of one's own: which frames to annotate, and the task made of them."""
