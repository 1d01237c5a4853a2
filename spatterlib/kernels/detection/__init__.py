"""Kernels that find spatter: where frames differ, outlines of it, rows of the table, overlapping boxes."""
