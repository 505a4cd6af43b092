"""Data in, Matplotlib figure out."""
