"""Streaks in crops as physics: what a camera can measure, speeds, the gas-flow index, a row per layer."""
