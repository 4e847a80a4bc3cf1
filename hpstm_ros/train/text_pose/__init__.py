"""Training and evaluation of text to pose."""
