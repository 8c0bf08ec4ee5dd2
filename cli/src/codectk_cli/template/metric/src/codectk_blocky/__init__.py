"""A metric for codectk: the mean absolute error."""
