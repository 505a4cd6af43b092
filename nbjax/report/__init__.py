"""Figures, tables, one self-contained HTML page."""
