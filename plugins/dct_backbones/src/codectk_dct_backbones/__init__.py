"""DCT backbones: image classifiers that read the coefficients of JPEG files, and a codec that keeps those they read."""
