"""Training and evaluation of the alignment of text, motion and scene."""
