"""Frozen prefix and feature bank, one session, many sessions, a study."""
