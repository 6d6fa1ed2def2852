"""`make bench`: how fast this server is, measured against the limits of the same machine."""
