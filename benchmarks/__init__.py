"""Speed beside torch (`python -m benchmarks`) and published results reproduced (`python -m benchmarks.results.*`)."""
