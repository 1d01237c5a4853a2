"""Kernels of the simulator: particles that fly, the streaks that they draw, and the exposure of a frame."""
