"""What networks make of images: vectors, from which scores of a column are learned."""

#: Patches on each side of an image that explanations name: few enough for a list with the table's columns.
PATCHES = 4
