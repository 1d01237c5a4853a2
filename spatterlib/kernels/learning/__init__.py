"""Kernels for learning: crops to samples, the stages of LeNet5, and what crops look like in a few numbers."""
