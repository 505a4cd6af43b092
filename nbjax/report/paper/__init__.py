"""The paper's figures and tables, ours beside what it reports."""
