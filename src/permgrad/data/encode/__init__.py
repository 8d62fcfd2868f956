"""From a frame to encoded columns, feature by feature."""
