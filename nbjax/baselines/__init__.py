"""Older kinds of methods, on a study's own splits."""
