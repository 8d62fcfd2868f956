"""Models of other libraries, fitted on encoded rows."""
