"""Kernels that measure streaks in crops: ridges, their lines, and pieces of a line made one."""
