"""Machine code: written as LLVM IR, compiled for the host, kept on disk."""
