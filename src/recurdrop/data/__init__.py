"""Data: one file per kind."""
