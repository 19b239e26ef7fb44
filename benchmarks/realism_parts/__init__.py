"""Parts of ``benchmarks/realism.py``: frames, mimicry, statistics, classifiers and figures."""
