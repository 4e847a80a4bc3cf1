"""Seeing: the human figure, drawings and clips without a screen, the web viewer and the report."""
