"""`python -m codectk_cli` is the same as `codectk`."""

from codectk_cli.main import main

main()
