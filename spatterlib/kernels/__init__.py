"""Numba kernels: arrays in, arrays out, nothing else. Outputs are allocated by the caller and reused.

Each kernel has one text; its plain reference lives in the tests. Kernels import nothing of the house but one another.

They are grouped by what they serve: `detection`, `measuring`, `learning`, `simulation`. Beside these stands what all
share: how they are compiled and kept, and colour, which reading and detection both need.

Any kernel may call any other: what is compiled is kept under a digest of all files of this package (`cache`), so it is
compiled anew when one of them changes, and only then.
"""
