"""A trainer for codectk: a linear predictor of pixels."""
