"""Ways to run a scan. Each module has ``why_not(call)``, reasons or none, and ``run(call)``, (y, state, traces)."""
