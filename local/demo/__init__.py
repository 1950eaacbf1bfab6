"""`make demo`: the whole pipeline once, seen from outside as a user would see it."""
