"""What runs a cell over time: `scan`, the one door, and the backends behind it."""
