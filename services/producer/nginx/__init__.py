"""nginx's own configuration: which log it writes in which format."""
