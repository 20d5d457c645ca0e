"""The equations, one file per cell, in plain PyTorch."""
