"""CAESAR-Freq: scientific fields by frequency transforms and learned priors, with an error bound that holds."""
