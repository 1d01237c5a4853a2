"""Kernels of particle tracking: bright spots and short streaks in a frame, and their links from frame to frame."""
