"""nbjax: from a small set of labelled histology slides to honest statistics about transfer learning."""

__version__ = "0.1.0"
