"""A codec for codectk: a learned transform of blocks, packed by bzip2."""
