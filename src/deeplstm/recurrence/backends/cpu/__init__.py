"""Recurrent loops compiled for the host processor through LLVM."""
