"""Which labels of a data set are likely wrong, and how well such rows are found.

- ``folds``: judgements of every row by a network that has not seen it, nor anything of its images.
- ``confident``: what such judgements say about labels, confident learning (Northcutt, Jiang & Chuang 2021).
- ``physics``: what catalogues, other visits and the measured shape say.
- ``ranking``: both together, one order of all rows with reasons in words.
- ``quality``: how many of wrong labels that were planted are found.
"""
