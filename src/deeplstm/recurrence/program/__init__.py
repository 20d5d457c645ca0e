"""From a cell's code to a program: what to compute before the loop over time, inside it and after it, forward and backward."""
