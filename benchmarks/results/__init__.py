"""Published results, reproduced: each script prints its target beside what came out."""
