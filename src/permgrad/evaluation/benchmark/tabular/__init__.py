"""Tables of known functions through hybrid networks."""
