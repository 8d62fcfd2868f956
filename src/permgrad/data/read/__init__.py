"""From a file to a frame of cells."""
