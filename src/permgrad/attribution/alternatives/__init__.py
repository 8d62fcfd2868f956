"""What would have to differ in a row: what its cells may become, what is wanted, and the search for few near changes."""
