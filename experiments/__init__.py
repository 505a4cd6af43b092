"""Scripts, one a job: parse flags, call nbjax, say where the results are."""
