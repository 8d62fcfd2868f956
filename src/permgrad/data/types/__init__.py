"""What each column is, and what users are told of it."""
