"""Layers against reference layers: control charts, how long they run until they alarm, their picture."""
