"""JPEG files as coefficients: reading, writing, turning, and tensors for classifiers."""
