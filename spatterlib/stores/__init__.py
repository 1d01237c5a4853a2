"""Stores of crops and their table: opening, conversion, and the built-in kinds."""
