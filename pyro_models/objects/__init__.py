"""Images as a handful of objects, each with a presence, a place and a look (AIR, DAIR)."""
