"""Secrets: their values, where they are stored, and how they are rotated."""
