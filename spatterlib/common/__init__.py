"""Helpers that several stages share: files, threads, progress, image encoding; each module does one thing."""
