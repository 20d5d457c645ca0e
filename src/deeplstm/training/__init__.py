"""How any task of this library is trained: options, the run folder, the loop, checkpoints, curves."""
