"""Boxes that people drew, in the formats of the tools that they use: pure functions between files and a record."""
