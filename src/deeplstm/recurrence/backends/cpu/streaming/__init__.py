"""Kernels for one step at a time: few rows, so the weights are what must be read, and read once."""
