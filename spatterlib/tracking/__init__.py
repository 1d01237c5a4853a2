"""Tracks of particles in recordings of high-speed cameras: links, tables, their score, and other programs' files."""
