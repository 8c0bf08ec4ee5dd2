"""A dataset for codectk: pictures of waves."""
