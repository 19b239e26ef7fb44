"""Subtraction engines behind one contract: science and aligned reference in, `Difference` out."""
