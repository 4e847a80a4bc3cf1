"""Visualisation: human figure, off-screen rendering, web viewer and report."""
