"""Studies: comparisons of ways to train that can be repeated on any data set, with seeds and intervals."""
