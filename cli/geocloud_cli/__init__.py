"""The command line of geocloud: one file a command; options.py holds what they share."""
