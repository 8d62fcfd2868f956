"""What networks make of images: vectors, from which scores of a column are learned."""
