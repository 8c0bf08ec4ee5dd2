"""Classical codecs for codectk: JPEG, WebP, AVIF, JPEG 2000, PNG and JPEG-LS, and for fields SZ3, ZFP and SPERR.

Importing this package imports nothing else; codectk finds the codecs through `codectk_classic.plugin`.
"""
