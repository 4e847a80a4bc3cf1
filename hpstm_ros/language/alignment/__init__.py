"""Joint embedding of text, motion and scene, after MonSTeR (Collorone et al., ICCV 2025)."""
