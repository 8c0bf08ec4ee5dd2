"""Settings of the whole suite, made before any library reads them."""

import os

# Several test processes share the cores: threads of one that spin while they wait would stop those of the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
