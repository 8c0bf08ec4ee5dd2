"""What this distribution brings to codectk. Imports nothing heavy."""

CODECTK_API = 1
