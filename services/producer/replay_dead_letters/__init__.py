"""Parses the dead letters of lines anew and sends what is a record now, once."""
