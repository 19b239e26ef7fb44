"""Data sets from the products of runs, from published sets and from alerts; and back into other formats."""
