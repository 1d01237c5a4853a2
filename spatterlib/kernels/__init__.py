"""Numba kernels: arrays in, arrays out, nothing else. Outputs are allocated by the caller and reused.

Each kernel has one text; its plain reference lives in the tests.
"""
