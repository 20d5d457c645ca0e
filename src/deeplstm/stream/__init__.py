"""A trained network, one time step at a time."""
