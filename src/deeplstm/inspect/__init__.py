"""What a network does inside: its gates' weights, their values over time, and how far back it looks."""
