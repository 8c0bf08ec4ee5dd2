"""The command line of codectk."""
